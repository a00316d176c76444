"""`python -m hpo run`, whole: real processes, real digits, real signals."""

import re
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from itertools import accumulate

import made
import optuna
import pytest
from hostile import in_process
from instant import InstantPool
from running import DIGITS, Hpo, left_over

from hpo.runner import session
from hpo.store.database import locate
from hpo.store.reading.record import load

AT_ONCE = 10  # seconds, on a busy machine; an epoch of long.toml takes a minute on an idle one
SIX = ("--trials", 6, "--epochs", 3, "--space", "short.toml", *DIGITS)


@pytest.fixture(scope="module")
def hpo(tmp_path_factory, cache):
    program = Hpo(tmp_path_factory.mktemp("run"), cache)
    yield program
    program.close()


def states(record):
    return [trial.state.name for trial in record.trials]


# -- the total ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(hpo):
    """Six trials in one go, on one worker, with a report."""
    return hpo("run", "whole", "--workers", 1, *(word for word in SIX if word != "--no-report"))


@pytest.fixture(scope="module")
def pair(hpo):
    """Six trials on two workers, quietly."""
    return hpo("run", "pair", "--workers", 2, "-q", *SIX)


@pytest.mark.parametrize("name", ["whole", "pair"])
def test_as_many_trials_as_were_asked_for_are_finished_whatever_the_workers(hpo, name, request):
    assert request.getfixturevalue(name).ended() == 0
    record = hpo.study(name)
    assert [trial.number for trial in record.trials] == list(range(6))
    assert set(states(record)) <= {"COMPLETE", "PRUNED"}
    assert record.trials[0].params == record.space.default
    assert record.n_finished == 6


@pytest.mark.usefixtures("whole")
def test_the_best_trials_weights_and_scores_are_kept_and_no_others(hpo):
    record = hpo.study("whole")
    folders = [path.name for path in record.folder.glob("trial-*")]
    assert folders == [f"trial-{record.best.number:05d}"]
    assert {path.name for path in record.winner_folder.iterdir()} >= {"scores.npz", "layers.json", "network.safetensors"}


@pytest.mark.slow
@pytest.mark.usefixtures("whole")
def test_two_runs_of_three_are_one_run_of_six_in_parameters_and_in_accuracies(hpo):
    """As far as both train a trial: what waits at the end of the first three is pruned then, and might have gone on among six."""
    three = ("--workers", 1, *SIX[2:])
    assert hpo("run", "parts", "--trials", 3, *three).ended() == 0
    assert hpo.study("parts").n_finished == 3
    assert hpo("run", "parts", "--trials", 6, *three).ended() == 0
    parts, whole = hpo.study("parts").trials, hpo.study("whole").trials
    assert [t.params for t in parts] == [t.params for t in whole]
    for one, other in zip(parts, whole, strict=True):
        both = one.intermediate_values.keys() & other.intermediate_values.keys()
        assert {epoch: one.intermediate_values[epoch] for epoch in both} == {e: other.intermediate_values[e] for e in both} != {}


def test_without_a_terminal_there_is_a_plain_line_a_trial(whole):
    said = whole.out + whole.err
    assert "\x1b" not in said
    assert "\r" not in said
    for number in range(6):
        assert re.search(rf"^\d\d:\d\d:\d\d  trial {number} (complete|pruned) \d+\.\d\d%  depth \d", whole.err, re.MULTILINE)


def test_the_end_names_the_winner_the_page_and_the_commands_that_go_on(hpo, whole):
    assert "best: trial " in whole.out
    for command in ("hpo resume whole", "hpo dashboard", "hpo report whole"):
        assert command in whole.err
    assert "reports/whole.html" in whole.err
    assert "whole" in (hpo.folder / "reports" / "whole.html").read_text()


def test_quiet_prints_the_result_alone(hpo, pair):
    best = hpo.study("pair").best
    assert pair.out == f"pair\t{best.number}\t{best.value:.4f}\n"
    assert pair.err == ""


# -- interrupted and continued -----------------------------------------------------------------------------------------

TWELVE = ("--trials", 2, "--workers", 1, "--epochs", 12, "--space", "short.toml", "-v", *DIGITS)


@pytest.fixture(scope="module")
def interrupted(hpo):
    """A run that got Ctrl-C after three of trial 0's twelve epochs, the workers that it had, and what the checkpoint tells."""
    program = hpo.start("run", "broken", *TWELVE).says("trial 0 epoch 3/12")
    workers = program.children()
    program.signal(signal.SIGINT)
    program.ended(seconds=60)
    return program, workers, made.newest(hpo.study("broken").folder / "trial-00000")["history"]


def test_ctrl_c_ends_with_130_leaves_no_process_and_says_how_to_go_on(interrupted):
    program, workers, _ = interrupted
    assert program.ended() == 130
    assert len(workers) == 1
    assert left_over(workers, seconds=0) == []
    assert "interrupted" in program.err
    assert "hpo resume broken" in program.err
    assert "Traceback" not in program.err


def test_the_same_command_goes_on_with_the_running_trial_under_its_number_from_its_epoch(hpo, interrupted):
    *_, history = interrupted
    continued = hpo("run", "broken", *TWELVE)
    assert 3 <= len(history) < 12
    assert continued.ended() == 0
    assert f"trial 0 epoch {len(history) + 1}/12" in continued.err
    assert f"trial 0 epoch {len(history)}/12" not in continued.err
    record = hpo.study("broken")
    assert [trial.number for trial in record.trials] == [0, 1]
    assert record.trials[0].state.name == "COMPLETE"
    assert list(record.trials[0].intermediate_values) == list(range(1, 13))
    if record.best.number == 0:  # its checkpoint is kept: seconds and all, the first epochs are those of the first run
        assert made.newest(record.folder / "trial-00000")["history"][: len(history)] == history


@pytest.fixture
def here(hpo, monkeypatch):
    """This process in the folder of the runs, for commands that start no worker."""
    monkeypatch.chdir(hpo.folder)


@pytest.mark.usefixtures("here", "interrupted")
@pytest.mark.parametrize(
    ("words", "before", "asked"),
    [
        (("--epochs", 7), "epochs = 12", "7"),
        (("--seed", 5), "seed = 0", "5"),
        (("--score", "validation"), "score = 'test'", "'validation'"),
        (("--space", "tutorial"), "filters: low 2, high 6", "low 16, high 64"),
    ],
)
def test_another_setting_or_space_is_refused_with_both_values_and_the_way_out(words, before, asked):
    code, _, err = in_process("run", "broken", *words)
    assert code == 2
    assert err.startswith("error: study 'broken' was run with ")
    for text in (before, asked, "hpo resume broken", "hpo run broken-2"):
        assert text in err


@pytest.mark.usefixtures("whole")
def test_other_data_are_refused_with_both_digests(hpo):
    shutil.copy(hpo.folder / "studies" / "hpo.db", hpo.folder / "other.db")
    storage = f"sqlite:///{hpo.folder / 'other.db'}"
    study = optuna.load_study(study_name="whole", storage=storage)
    environment = study.user_attrs["environment"]
    study.set_user_attr("environment", environment | {"data_digest": "0" * 64})
    refused = hpo("resume", "whole", "--trials", 7, "--workers", 1, "--storage", "other.db")
    assert refused.ended() == 2
    assert "0" * 64 in refused.err
    assert environment["data_digest"] in refused.err
    assert hpo.study("whole", "other.db").n_finished == 6


@pytest.mark.slow
def test_a_batch_systems_warning_to_all_processes_ends_with_143_after_the_epoch_and_keeps_the_trial(hpo):
    program = hpo.start("run", "warned", *TWELVE).says("trial 0 epoch 2/12")
    workers = program.children()
    for process in workers:
        process.send_signal(signal.SIGUSR1)
    program.signal(signal.SIGUSR1)
    assert program.ended(seconds=60) == 143
    assert left_over(workers, seconds=0) == []
    assert "warning" not in program.err
    assert states(hpo.study("warned")) == ["RUNNING"]


@pytest.fixture(scope="module")
def lasting(hpo):
    """A run in the middle of an epoch that would take a minute."""
    program = hpo.start("run", "lasting", "--dataset", "digits", "--workers", 1, "--space", "long.toml", "--no-report")
    return program.trains()


@pytest.mark.usefixtures("here")
def test_a_second_runner_is_refused_with_the_name_of_the_first(lasting):
    code, _, err = in_process("resume", "lasting")
    assert code == 4
    assert f"study 'lasting' is being run by process {lasting.process.pid} on " in err
    assert "hpo run lasting --dataset digits" in err


def test_ctrl_c_twice_ends_at_once(hpo, lasting):
    workers = lasting.children()
    lasting.signal(signal.SIGINT)
    lasting.says("workers finish their epoch")
    assert lasting.process.poll() is None
    began = time.monotonic()
    lasting.signal(signal.SIGINT)
    assert lasting.ended() == 130
    assert time.monotonic() - began < AT_ONCE
    assert left_over(workers, seconds=0) == []
    assert "Traceback" not in lasting.err
    assert states(hpo.study("lasting")) == ["RUNNING"]


LASTING = ("--dataset", "digits", "--workers", 1, "--space", "long.toml", "--no-report")


@pytest.mark.slow
def test_sigterm_ends_a_run_at_once_that_is_ending_already_and_that_is_no_error(hpo):
    program = hpo.start("run", "ending", *LASTING, "--timeout", "1s").says("timeout: workers finish their epoch")
    began = time.monotonic()
    program.signal(signal.SIGTERM)
    assert program.ended() == 143
    assert time.monotonic() - began < AT_ONCE
    assert "\nstopped immediately. Finished work is kept" in program.err
    assert "error" not in program.err


@pytest.mark.slow
def test_when_the_grace_is_over_a_run_ends_in_the_middle_of_an_epoch(hpo):
    program = hpo.start("run", "graceful", *LASTING, "--grace", "1s").trains()
    program.signal(signal.SIGTERM)
    assert program.ended() == 143
    assert re.search(
        r"terminated: workers have 1 s to finish their epoch(, which takes about \d+ \w+)?; nothing is lost", program.err
    )
    assert "the grace of 1 s is over: trial 0 continues from its last completed epoch." in program.err
    assert states(hpo.study("graceful")) == ["RUNNING"]


# -- killed ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_after_the_runner_is_killed_its_workers_end_and_the_next_run_has_exact_totals(hpo):
    words = ("run", "killed", "--trials", 3, "--workers", 2, "--pruner", "none", *TWELVE[4:])
    program = hpo.start(*words).says("trial 1 epoch 2/12")
    workers = program.children()
    program.signal(signal.SIGKILL)
    program.ended()
    assert len(workers) == 2
    assert left_over(workers, seconds=5) == []
    assert states(hpo.study("killed")) == ["RUNNING", "RUNNING"]

    assert hpo(*words).ended() == 0
    record = hpo.study("killed")
    assert len(record.trials) == record.n_finished == 3
    assert list(record.trials[0].intermediate_values) == list(range(1, 13))
    with closing(sqlite3.connect(hpo.folder / "studies" / "hpo.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_after_a_worker_is_killed_another_goes_on_with_its_trial(hpo):
    program = hpo.start("run", "orphan", "--trials", 1, *TWELVE[2:]).says("trial 0 epoch 3/12")
    program.children()[0].kill()
    assert program.ended() == 0
    assert "worker 0 killed, signal 9 (SIGKILL); out of memory? in trial 0, which continues from its last epoch" in program.err
    record = hpo.study("orphan")
    assert len(record.trials) == record.n_finished == 1
    assert list(record.trials[0].intermediate_values) == list(range(1, 13))
    assert program.err.count("trial 0 epoch 3/12") == 1


# -- other limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--target", "1%"), r"target: trial 0 reached \d+\.\d\d%"),
        (("--patience", "2"), "patience: 2 trials without a new best"),
        (("--timeout", "1s"), "timeout"),
    ],
    ids=["target", "patience", "timeout"],
)
def test_a_run_ends_at_its_limit_and_says_which(tmp_path, monkeypatch, words, reason):
    """With workers that answer at once: the limits are the runner's, and a worker's start takes seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "LocalPool", lambda seats, settings, *_: InstantPool(len(seats), settings.epochs))
    name = words[0].strip("-")
    code, _, err = in_process(
        "run", name, "--trials", 10_000, "--epochs", 1, "--workers", 1, "--sampler", "random", *words, *DIGITS
    )
    assert code == 0
    assert re.search(rf"study {name}: {reason}; ", err)
    record = load(name, locate("studies/hpo.db"))
    assert re.fullmatch(reason, record.attributes["stopped"]["reason"])
    values = [trial.value for trial in record.trials if trial.value is not None]
    match name:
        case "target":
            assert len(values) == 1
        case "patience":
            best = list(accumulate(values, max))
            assert best[-1] == best[-3]
            assert all(best[i] > best[i - 2] for i in range(2, len(best) - 1))


@pytest.mark.parametrize(
    ("words", "threads"),
    [
        ((), [1] * 8),
        (("--timeout", "1h"), [2] * 4),
        (("--timeout", "61m"), [1] * 8),
        (("--timeout", "1h", "--workers", "3"), [2] * 3),
    ],
)
def test_within_an_hour_a_trial_has_two_cores_unless_workers_are_counted(tmp_path, monkeypatch, words, threads):
    """So that a large network can be done in the time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hpo.pools.devices.n_cores", lambda: 8)
    monkeypatch.setattr("hpo.pools.devices.free_memory", lambda: 2**36)
    planned = []

    def pool(seats, settings, *_):
        planned.extend(seat.threads for seat in seats)
        return InstantPool(len(seats), settings.epochs)

    monkeypatch.setattr(session, "LocalPool", pool)
    code, _, _ = in_process("run", "--device", "cpu", "--trials", 1, "--epochs", 1, *words, *DIGITS)
    assert code == 0
    assert planned == threads


# -- data --------------------------------------------------------------------------------------------------------------


def test_missing_data_end_with_3_and_the_three_ways_to_get_them_before_anything_is_made(tmp_path, cache):
    hpo = Hpo(tmp_path, cache)
    before = set(tmp_path.rglob("*"))
    refused = hpo("run", "--trials", 2, "--workers", 1, "--storage", "new/hpo.db", "--data-dir", "data")
    assert refused.ended() == 3
    assert "error: no CIFAR-10 in " in refused.err
    for way in ("to a network", "put cifar-10-python.tar.gz into ", "or images into "):
        assert way in refused.err
    assert "Traceback" not in refused.err
    assert {path for path in tmp_path.rglob("*") if "logs" not in path.parts} == before - {tmp_path / "logs"}
