"""Notes for optuna-dashboard, in Markdown: of the study (winner, findings, settings, space), and of trials that ended early.

The dashboard keeps them in system attributes of the study, cut into parts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hpo.report.findings import find
from hpo.report.words import clipped, flat, parameter, score, space_rows

if TYPE_CHECKING:
    from hpo.report.summary import Summary
    from hpo.store.reading.record import StudyRecord

PART = 2045  # characters of a note per attribute, as in optuna_dashboard/_note.py, which takes 2.5 s to import
MAX_NOTES = 300  # notes of trials, and as many more of failures, because the dashboard searches all notes for each of them
DIGEST = "hpo:note"  # of the note that hpo wrote last; if it differs, a person has edited the note
LONGEST_REASON = 900  # characters; even escaped, it fits into one attribute of a note
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~$&-])")


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


def note_of(summary: Summary) -> str:
    """Return the note about a study as Markdown; texts of the study are escaped."""
    parts = [f"# {literal(summary.name)}", _best(summary), _findings(summary), _settings(summary), _space(summary)]
    if summary.command:
        parts.append("## Commands\n\n" + _code(f"{summary.command}\nhpo report {summary.name}"))
    return "\n\n".join(part for part in parts if part) + "\n"


def trial_note(state: str, reason: str | None, value: str = "") -> str:
    """Return the reason why a trial failed or was stopped, and its last score, as Markdown."""
    said = literal(clipped(reason, LONGEST_REASON)) if reason else "no reason was recorded"
    return f"**{'Failed' if state == 'FAIL' else 'Stopped early'}:** {said}" + (f" ({literal(value)})" if value else "") + "\n"


def literal(text: str) -> str:
    """Return a text that Markdown shows unchanged, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _best(summary: Summary) -> str:
    if summary.best is None or summary.repeats:
        return ""
    chosen = {str(name): value for name, value in summary.params.loc[summary.best].items() if not pd.isna(value)}
    said = ", ".join(f"{literal(name)} = {literal(parameter(value))}" for name, value in chosen.items())
    return f"**Trial {summary.best}: {score(summary.best_value, summary)}**" + (f" with {said}" if said else "")


def _findings(summary: Summary) -> str:
    return "## Findings\n\n" + "\n".join(f"- {literal(finding.text)}" for finding in find(summary))


def _settings(summary: Summary) -> str:
    rows = [f"| {literal(key)} | {literal(value)} |" for key, value in flat(summary.settings).items()]
    return "\n".join(["## Settings", "", "| setting | value |", "|---|---|", *rows]) if rows else ""


def _space(summary: Summary) -> str:
    columns = ("parameter", "range") if summary.by_run else ("parameter", "range", "default")
    rows = [f"| {' | '.join(map(literal, row[: len(columns)]))} |" for row in space_rows(summary)]
    head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join(["## Search space", "", *head, *rows]) if rows else ""


def _code(text: str) -> str:
    """Return indented code, since the text could close a fence."""
    return "\n".join(f"    {line}" for line in text.splitlines())
