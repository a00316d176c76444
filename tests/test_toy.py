"""Somebody's own objective, a function of two parameters in toy.py, is searched as the built-in network is."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import toy
from watchers import Interrupted, Told

import hpo
from hpo.cli.main import main
from hpo.errors import UsageError
from hpo.scoring.score import Score

SETTINGS = hpo.Settings(epochs=3)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(toy.__file__).parent))

    def run(begin=hpo.run, trials=12, target=None, **options):
        given = hpo.RunOptions(trials=trials, workers=1, device="cpu", target=target)
        return begin("hill", options=given, **{"objective": toy.OBJECTIVE} | options)

    return run


def test_it_runs_prunes_resumes_and_reports(run, capsys):
    with pytest.raises(KeyboardInterrupt):
        run(settings=SETTINGS, watcher=Interrupted())
    resumed = Told()
    record = run(hpo.resume, watcher=resumed).record
    assert (2, 1) in resumed.trials  # trial 1 waits after its first step, so that the fifth is trial 2's first
    assert record.counts["complete"] + record.counts["pruned"] == 12
    assert record.counts["pruned"] >= 4
    best = record.best
    assert best.value == max(t.value for t in record.own if t.state.name == "COMPLETE")
    assert best.value == 3 * (800 - (best.params["east"] - 3) ** 2 - 10 * (best.params["north"] - 4) ** 2)
    assert best.user_attrs["slope"] == 7
    assert record.rows(top=1)[0]["height"] == best.value
    assert main(["show", "hill"]) == 0
    shown = capsys.readouterr().out
    assert "height" in shown
    assert not any(word in shown for word in ("dataset", "score", "macs"))
    page = hpo.write_report(record).read_text()
    assert f"{best.value:.4g} m" in page.replace("\N{NO-BREAK SPACE}", " ")
    words = page[: page.index("plotly.js")] if "plotly.js" in page else page
    assert "accuracy" not in words
    assert "CIFAR" not in words


def test_less_is_better_where_it_says_so(run, capsys):
    depth = dataclasses.replace(toy.OBJECTIVE, name="valley", score=Score("depth", "m", maximize=False))
    with pytest.raises(KeyboardInterrupt):
        run(settings=SETTINGS, objective=depth, watcher=Interrupted())
    record = run(hpo.resume, objective=depth, trials=20).record
    values = {t.number: t.value for t in record.own if t.state.name == "COMPLETE"}
    assert record.counts["complete"] + record.counts["pruned"] == 20
    assert record.counts["pruned"] >= 8
    assert record.best.value == min(values.values())
    assert record.study.direction.name == "MINIMIZE"
    assert record.study.best_trial.number == record.best.number
    assert record.rows(sort="depth")[0]["number"] == record.rows(top=1)[0]["number"] == record.best.number
    after_one = {t.number: t.intermediate_values[1] for t in record.own}
    stopped = [after_one[t.number] for t in record.own if t.state.name == "PRUNED" and t.last_step == 1]
    assert min(stopped) > min(after_one.values())
    lowest = sorted(after_one, key=after_one.get)[:3]
    assert all(record.trials[number].last_step > 1 for number in lowest)
    assert [folder.name for folder in record.folder.glob("trial-*")] == [f"trial-{record.best.number:05d}"]  # the lowest's stays
    best = f"{record.best.value:.4g} m"
    page = hpo.write_report(record).read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "depth" in page
    assert "less is better" in page
    assert best in page
    assert main(["show", "hill"]) == 0
    assert f"{record.best.value:.4g}" in capsys.readouterr().out


def test_a_target_is_reached_from_above_where_less_is_better(run):
    depth = dataclasses.replace(toy.OBJECTIVE, name="valley", score=Score("depth", "m", maximize=False))
    outcome = run(settings=SETTINGS, objective=depth, trials=20, target=2390.0)
    assert outcome.reason.startswith("target: trial ")
    assert outcome.record.best.value <= 2390
    assert outcome.record.n_finished < 20


def test_it_continues_with_its_own_objective_only(run):
    run(settings=SETTINGS, trials=1)
    with pytest.raises(UsageError, match=r"study 'hill' is of the objective 'hill', which hpo does not know"):
        run(hpo.resume, objective=None)


def test_the_name_of_the_built_in_network_is_taken(run):
    with pytest.raises(UsageError, match="'convnet' is the name of hpo's own"):
        run(settings=SETTINGS, objective=dataclasses.replace(toy.OBJECTIVE, name="convnet"))


def test_a_worker_that_trains_it_does_not_load_torch():
    code = "import sys, toy, hpo.training.worker; print('torch' in sys.modules, 'optuna' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(toy.__file__).parent, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
