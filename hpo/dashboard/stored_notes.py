"""Notes as optuna-dashboard stores them: cut into system attributes of the study."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.dashboard.note import trial_note
from hpo.report.words import score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hpo.report.summary import Summary
    from hpo.store.record import StudyRecord

PART = 2045  # characters of a note per attribute, as in optuna_dashboard/_note.py, which takes 2.5 s to import
MAX_NOTES = 300  # notes of trials, and as many more of failures, because the dashboard searches all notes for each of them
DIGEST = "hpo:note"  # of the note that hpo wrote last; if it differs, a person has edited the note


def of_study(body: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of the study's note; none if it is current, or a person has edited it."""
    shown = _body(before)
    if shown == body or (shown and _digest(shown) != before.get(DIGEST)):
        return {}
    longer = dict.fromkeys((key for key in before if key.startswith(_key("str:"))), "")  # parts of a longer note
    return longer | _noted(body, before.get(_key("ver"), 0) + 1) | {DIGEST: _digest(body)}


def of_trials(summary: Summary, before: Mapping[str, Any], record: StudyRecord) -> dict[str, Any]:
    """Return notes for failed and stopped trials without one. Their number is limited, with more room for failures."""
    trials = summary.trials
    n = sum(key.endswith(":note_ver") and key != _key("ver") for key in before)
    if not summary.counts["FAIL"] + summary.counts["PRUNED"] or n >= 2 * MAX_NOTES:
        return {}
    ids = {trial.number: trial.trial_id for trial in record.trials}
    failed, pruned = (
        [number for number in trials.index[trials["state"] == state] if _key("ver", ids[number]) not in before]
        for state in ("FAIL", "PRUNED")
    )
    new = failed[: 2 * MAX_NOTES - n]
    new += pruned[: max(0, MAX_NOTES - n - len(new))]
    found: dict[str, Any] = {}
    for number in new:
        state, reason, last = (trials[column][number] for column in ("state", "reason", "last"))
        value = score(last, summary) if state == "PRUNED" and np.isfinite(last) else ""
        found |= _noted(trial_note(state, reason, value), 1, ids[number])
    return found


def _body(stored: Mapping[str, Any]) -> str:
    """Return the study's note, joined as the dashboard joins it."""
    parts = [key for key in stored if key.startswith(_key("str:"))]
    return "".join(stored.get(f"{_key('str:')}{i}", "") for i in range(len(parts)))


def cut(body: str, key: str) -> dict[str, str]:
    """Return a text as parts that an attribute has room for."""
    return {f"{key}{i // PART}": body[i : i + PART] for i in range(0, len(body), PART)}


def _noted(body: str, version: int, trial_id: int | None = None) -> dict[str, Any]:
    return {_key("ver", trial_id): version} | cut(body, _key("str:", trial_id))


def _key(what: str, trial_id: int | None = None) -> str:
    return f"dashboard:note_{what}" if trial_id is None else f"dashboard:{trial_id}:note_{what}"


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8", "replace")).hexdigest()
