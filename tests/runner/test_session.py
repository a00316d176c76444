"""How a run ended, as a shell is told."""

from __future__ import annotations

import pytest
from instant import new_study

from hpo.runner.session import Outcome
from hpo.store.reading import record


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("total", 5),
        ("failures: 5 in a row with the same cause (memory)", 5),
        ("deaths: workers died 5 times in a row", 5),
        ("timeout", 0),
        ("hung up", 129),
        ("interrupted", 130),
        ("terminated", 143),
    ],
)
def test_a_study_that_has_its_total_without_a_complete_trial_has_no_result(tmp_path, reason, code):
    study = new_study(tmp_path / "hpo.db")
    trial = study.ask()
    study.report(trial, 1, 0.5)
    study.prune(trial)
    assert Outcome(record.load("first", study.location), reason).exit_code == code
    trial = study.ask()
    study.report(trial, 1, 0.5)
    study.complete(trial, 0.5)
    assert Outcome(record.load("first", study.location), reason).exit_code == (0 if reason == "total" else code)
