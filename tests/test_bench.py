"""The benchmarks run, and measure what they name; their figures are for a person on a quiet machine."""

from __future__ import annotations

import csv
import importlib
import json
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest

from hpo.builtin.convnet import OBJECTIVE
from hpo.store.schema import distributions

BENCH = Path(__file__).parent / "bench"
pytestmark = [pytest.mark.cifar10, pytest.mark.timeout(300)]


def bench(name: str, *words: object) -> str:
    """Run a benchmark and return what it printed."""
    command = [sys.executable, str(BENCH / name), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def module(monkeypatch):
    """Import a benchmark; torch and torchvision with it, so only when it is asked for."""
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module


def test_every_benchmark_finds_what_it_imports():
    each = f"""
import runpy, sys
for path in {sorted(map(str, BENCH.glob("*.py")))}:
    before = [*sys.path]
    sys.path.insert(0, {str(BENCH)!r})  # as it is started
    try:
        runpy.run_path(path)
    except ImportError as error:
        if error.name.partition(".")[0] not in ("scipy", "sklearn"):  # asked of whoever starts these benchmarks
            print(path, error)
    sys.path[:] = before
"""
    assert subprocess.run([sys.executable, "-c", each], capture_output=True, text=True, check=True).stdout == ""


def test_publications_are_timed_beside_the_dashboards_answers():
    printed = bench("publish.py", 50).splitlines()
    assert printed[1].split()[:3] == ["trials", "first", "next,"]
    assert re.fullmatch(r" +50( +\d+/\d+){4} +\d+( +\d+/\d+){2}", printed[2])


def test_every_idea_for_the_recipe_trains_another_network_than_the_base(tmp_path):
    own = ("bias_rate=64", "crops=24", "lookahead=0.95", "random_flip")
    ideas = ("base", "basic", *own, "filters=24,growth=2.5")
    words = ("--epochs", 3, "--images", 800, "--score-on", 1000, "--out", tmp_path / "rows.jsonl", *ideas)
    bench("recipe.py", *words)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["idea"] for row in rows] == list(ideas)
    assert len({str(row["accuracies"]) for row in rows}) == len(ideas)
    bench("recipe.py", *words)  # trains nothing again
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == len(ideas)


def test_learning_curves_are_recorded_once_each_whatever_stopped_the_command(tmp_path):
    out = tmp_path / "curves.csv"
    for points in (1, 3):
        bench("curves.py", "--points", points, "--images", 500, "--epochs", 2, "--out", out)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert sorted(int(row["point"]) for row in rows) == [0, 1, 2]
    for row in rows:
        assert 2 <= int(row["depth"]) <= 4
        assert all(0 <= float(row[key]) <= 1 for key in ("q1", "q2", "e1", "e2"))
        assert float(row["seconds"]) > 0


def test_throughput_is_measured_against_the_tutorials_loop_with_all_threads_and_with_all_workers():
    printed = bench("throughput.py", "--rounds", 1, "--images", 1600)  # long enough that two workers overlap
    rates = [
        float(rate.replace(",", "")) for rate in re.findall(r"(?m)^(?:the tutorial's loop|hpo|wall).*?: .*? ([\d,]+) \(", printed)
    ]
    assert len(rates) == 5
    assert min(rates) > 0
    assert len(re.findall(r"[\d.]+ \([\d.]+ to [\d.]+\) times the tutorial's", printed)) == 2


def test_throughput_by_network_knows_that_a_wider_one_takes_longer():
    printed = bench("throughput.py", "--by-net", "--rounds", 1, "--images", 256, "--depth", 2, "--filters", 16, 64)
    narrow, wide = (float(rate.replace(",", "")) for rate in re.findall(r"(?m)^depth 2 .*? ([\d,]+) \(", printed))
    assert narrow > 1.5 * wide > 0


def test_images_of_workers_count_while_all_of_them_train(module):
    throughput = module("throughput")
    early = throughput.Times(32, [0.0, 1.0, 2.0, 3.0], [])
    late = throughput.Times(32, [1.5, 2.5, 3.5], [])
    assert throughput.on_the_clock([early, late]) == 3 * 32 / 1.5  # at 2, 2.5 and 3 seconds, of the 1.5 to 3


def test_the_plain_script_searches_the_tutorial_space(module):
    trial = optuna.create_study().ask()
    module("plain").objective(trial, [], [], epochs=0)
    assert trial.distributions == distributions(OBJECTIVE.space("tutorial"))


def test_the_best_so_far_is_that_of_trials_trained_to_the_end_by_then(module, tmp_path):
    storage, began = f"sqlite:///{tmp_path}/hpo.db", datetime(2026, 3, 1, 12)  # noqa: DTZ001  # Optuna's times are naive and local
    study = optuna.create_study(study_name="one", storage=storage, direction="maximize")
    for minutes, accuracy, state in ((1, 0.9, "PRUNED"), (4, 0.6, "COMPLETE"), (2, 0.5, "COMPLETE"), (11, 0.8, "COMPLETE")):
        trial = optuna.trial.create_trial(value=accuracy, state=optuna.trial.TrialState[state])
        trial.datetime_complete = began + timedelta(minutes=minutes)
        study.add_trial(trial)
    search = module("time_to_accuracy").read(storage, "one", began.timestamp(), clock=600)
    assert [search.best(share) for share in (0.1, 0.25, 0.5, 1.0)] == [None, 0.5, 0.6, 0.6]
    assert [search.reached(accuracy) for accuracy in (0.5, 0.55, 0.7)] == [120, 240, None]
    assert search.n_pruned == 1


def test_what_a_run_measured_is_read_from_its_lines_by_the_clock_even_past_midnight(module):
    lines = "00  study cifar10: 50 trials", "58  trial 0 epoch 1/10: 69.30%, 1,330 images/s"
    log = "\n".join([*(f"23:59:{line}" for line in lines), "00:00:40  trial 0 epoch 2/10: 77.95%, 1,330 images/s"])
    began = datetime(2026, 3, 1, 23, 59, 48).timestamp()  # noqa: DTZ001  # hpo prints local times
    assert module("time_to_accuracy").measured(log, began) == [(10, pytest.approx(0.693)), (52, pytest.approx(0.7795))]


def test_a_plain_optuna_script_and_hpo_search_by_the_same_clock(tmp_path):
    words = ("--minutes", 0.5, "--limit-train", 100, "--limit-test", 100, "--folder", tmp_path / "kept")
    printed = bench("time_to_accuracy.py", *words)
    assert re.search(r"(?m)^trained to the end +\d+ +\d+$", printed)  # none, where the machine is busy
    assert re.search(r"(?m)^after any epoch +(?:[\d.]+ %|-) +(?:[\d.]+ %|-)$", printed)
    shown = re.findall(r"(?m)^best after [\d.]+ min \((\d+) %\) +(?:[\d.]+ %|-) +(?:[\d.]+ %|-)$", printed)
    assert shown == ["10", "25", "50", "100"]
    for name, study in (("plain", "plain"), ("hpo", "cifar10")):
        assert optuna.load_study(study_name=study, storage=f"sqlite:///{tmp_path}/kept/round-1/{name}/{name}.db").trials


def test_a_search_is_replayed_from_recorded_curves_the_same_each_time_and_one_that_stops_losers_trains_less():
    others = ("rank=smoothed", "cost=0.02")
    words = ("--seeds", 3, "--trials", 50, "default", "pruner=none", "pruner=optuna", "REDUCTION=2", *others)
    first, again = bench("replay.py", *words), bench("replay.py", *words, "--jobs", 1)
    assert first == again
    header, *rows = first.splitlines()
    assert header == "128 points of 10 epochs; best 69.45%; 3 seeds; median (quartiles)"
    spent = {row.split()[0]: float(row.split("spent")[1].split()[0]) for row in rows}
    assert spent["default"] < spent["REDUCTION=2"] < spent["pruner=none"]
    assert len({rows[0][33:], *(row[33:] for row in rows[-len(others) :])}) == 1 + len(others)


def test_of_a_mixed_folder_of_pictures_the_broken_ones_are_found_and_no_other():
    tree = Path(os.environ["HPO_DATA_DIR"]) / "cifar10"
    if not tree.is_dir():
        pytest.skip("CIFAR-10 is not there as images")
    printed = bench("pictures.py", "mixed", "--tree", tree, "--n", 200, "--broken", 8)
    assert "exit code 3: 8 of 200 pictures" in printed
    assert "broken: 8 are, 8 were found; missed [], false []" in printed
    assert "counts by class: equal to the truth, 192 pictures" in printed
    assert re.search(r"nothing decoded before: [\d.]+ s", printed)


def test_the_runners_cost_is_measured_beside_plain_optunas():
    printed = bench("overhead.py", "--trials", 50, "--parameters", 4, "--blocks", 1, "--block", 3, "--plain")
    found = re.search(r"wall +hpo +([\d.]+) .* plain +([\d.]+) ", printed)
    assert found, printed
    assert 0 < float(found[1]) < float(found[2])
