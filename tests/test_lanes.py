"""Several trials at once in one process: whatever one of them does to it, the totals are exact and the innocent are finished.

The process is real and on the CPU; on a GPU it has the same threads, with a stream each.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import fragile
import pytest
from instant import Notes

import hpo
from hpo.pools.devices import Seat
from hpo.runner import session

if TYPE_CHECKING:
    from hpo.store.reading.record import StudyRecord

SETTINGS = hpo.Settings(epochs=3, sampler="random", pruner="none")


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a study in one process of so many lanes, with trials of such fates; return its record and what a watcher noted."""
    monkeypatch.setenv("PYTHONPATH", str(Path(fragile.__file__).parent))
    monkeypatch.chdir(tmp_path)

    def begin(fates: str = "", lanes: int = 3, trials: int = 8, **options):
        monkeypatch.setenv("FATES", fates)
        monkeypatch.setattr(session, "seats", lambda *_, **__: [Seat("cpu", 1, 2**30, lanes)])
        given = hpo.RunOptions(trials=trials, workers=lanes, device="cpu", **options)
        notes = Notes()
        outcome = hpo.run("hill", settings=SETTINGS, objective=fragile.OBJECTIVE, options=given, watcher=notes)
        assert outcome.reason == "total"
        return outcome.record, notes.warnings

    return begin


def states(found: StudyRecord) -> list[str]:
    return [trial.state.name.lower() for trial in found.trials]


def together(found: StudyRecord, number: int) -> set[int]:
    """Return the trials that were in training while the last stint of one was."""
    began, ended = found.trials[number].user_attrs["stints"][-1][1:]
    stints = [(trial.number, *stint[1:]) for trial in found.trials for stint in trial.user_attrs["stints"]]
    return {other for other, since, until in stints if since < ended and until > began} - {number}


def test_trials_of_one_process_are_trained_at_the_same_time(run):
    found, warnings = run()
    assert states(found) == ["complete"] * 8
    stints = [stint for trial in found.trials for stint in trial.user_attrs["stints"]]
    assert {worker for worker, _, _ in stints} == {0, 1, 2}
    assert warnings == []


def test_a_trial_that_kills_its_process_fails_alone_and_those_beside_it_are_finished(run):
    found, warnings = run("kill:3")
    assert states(found) == ["complete"] * 3 + ["fail"] + ["complete"] * 5
    assert found.trials[3].user_attrs["reason"].startswith("its worker died 3 times: killed, signal 9")
    assert len(found.trials[3].user_attrs["stints"]) == 5  # twice beside others, which may have been the cause
    assert together(found, 3) == set()
    assert [len(trial.intermediate_values) for trial in found.trials] == [3, 3, 3, 1, 3, 3, 3, 3, 3]
    assert len(warnings) == 5
    assert warnings[0].startswith("the process of workers 0 to 2 killed, signal 9 (SIGKILL); out of memory? in trials ")


@pytest.mark.slow
def test_several_trials_that_kill_their_process_fail_each(run):
    found, _ = run("kill:1 kill:2 kill:6")
    assert [trial.number for trial in found.trials if trial.state.name == "FAIL"] == [1, 2, 6]
    assert found.counts["complete"] == 8


def test_a_trial_that_loses_the_device_is_the_first_to_train_alone(run):
    found, warnings = run("lost:2")
    assert states(found).count("complete") == 8
    assert states(found)[2] == "fail"
    assert len(found.trials[2].user_attrs["stints"]) == 4
    assert found.trials[2].user_attrs["reason"] == "its worker died 3 times: ended, since its device failed"
    assert warnings[0] == "trial 2: the GPU failed: CUDA error: device-side assert triggered"
    assert max(len(trial.user_attrs["stints"]) for trial in found.trials if trial.number != 2) == 2


def test_a_trial_that_runs_out_of_memory_beside_others_goes_on_alone(run):
    found, warnings = run("crowd:2")
    assert states(found) == ["complete"] * 8
    assert together(found, 2) == set()
    assert warnings == ["trial 2, beside others: the device ran out of memory. It continues alone."]
    assert all(len(trial.user_attrs["stints"]) == 1 for trial in found.trials if trial.number != 2)


def test_a_trial_that_runs_out_of_memory_alone_too_fails_and_costs_no_other_anything(run):
    found, _ = run("memory:2")
    assert states(found) == ["complete", "complete", "fail"] + ["complete"] * 6
    assert found.trials[2].user_attrs["reason"] == "the device ran out of memory."
    assert all(len(trial.user_attrs["stints"]) == 1 for trial in found.trials if trial.number != 2)


@pytest.mark.slow
def test_a_silent_trial_ends_its_process_and_only_it_is_blamed(run):
    found, warnings = run("hang:2", trial_timeout=2)
    assert states(found) == ["complete"] * 8
    assert len(warnings) == 1
    assert "silent for 2 s (--trial-timeout)" in warnings[0]
    assert len(found.trials[2].user_attrs["stints"]) == 2
