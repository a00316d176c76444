"""The study's note for Optuna's dashboard: winner, findings, settings and space in Markdown, from the same summary."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hpo.report.findings import find
from hpo.report.rows import flat, space_rows
from hpo.report.words import clipped, parameter, score

if TYPE_CHECKING:
    from hpo.report.summary import Summary

LONGEST_REASON = 900  # characters; even escaped, it fits into one attribute of a note
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~$&-])")


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
    if summary.best is None:
        return ""
    chosen = {str(name): column[summary.best] for name, column in summary.params.items()}
    said = ", ".join(f"{literal(name)} = {literal(parameter(value))}" for name, value in chosen.items())
    return f"**Trial {summary.best}: {score(summary.best_value, summary)}**" + (f" with {said}" if said else "")


def _findings(summary: Summary) -> str:
    return "## Findings\n\n" + "\n".join(f"- {literal(finding.text)}" for finding in find(summary))


def _settings(summary: Summary) -> str:
    rows = [f"| {literal(key)} | {literal(value)} |" for key, value in flat(summary.settings).items()]
    return "\n".join(["## Settings", "", "| setting | value |", "|---|---|", *rows]) if rows else ""


def _space(summary: Summary) -> str:
    rows = [f"| {literal(name)} | {literal(range_)} | {literal(default)} |" for name, range_, default in space_rows(summary)]
    return "\n".join(["## Search space", "", "| parameter | range | default |", "|---|---|---|", *rows]) if rows else ""


def _code(text: str) -> str:
    """Return indented code, since the text could close a fence."""
    return "\n".join(f"    {line}" for line in text.splitlines())
