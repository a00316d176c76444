"""Keeps what the dashboard shows of a study current: a note, reasons why trials ended early, and two figures of the winner.

They are stored in the study's system attributes, in the dashboard's own format. The figures are the page's, which the dashboard
draws itself. Only a study's runner publishes, since it alone writes. Notes that a person wrote are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo import folders
from hpo.dashboard import note
from hpo.report.artifacts import read_artifacts
from hpo.report.document import as_json
from hpo.report.figures import winner
from hpo.report.summary import summarize
from hpo.report.winner import class_names
from hpo.store import ledger
from hpo.store.reading import reader
from hpo.system.failpoints import reach

if TYPE_CHECKING:
    from hpo.report.figures.figure import Figure
    from hpo.report.summary import Summary
    from hpo.store.reading.record import StudyRecord

FIGURE = "dashboard:plot_data:hpo-"  # followed by name and part, as in optuna_dashboard/_custom_plot_data.py


def publish(record: StudyRecord) -> None:
    """Update the note, the trials' notes and the figures of a study; does nothing for a study that hpo did not make.

    Raises:
        StorageError: The database cannot be written.
    """
    if record.settings is None:
        return
    summary = summarize(record)
    before = reader.published(record)
    values = note.of_study(note.note_of(summary), before) | note.of_trials(summary, before, record)
    drawn = _figures(summary, record)
    reach("publication.drawn")
    values |= {key: part for key, part in drawn.items() if before.get(key) != part}
    ledger.publish(record, values, {key for key in before if key.startswith(FIGURE)} - drawn.keys())
    reach("publication.written")


def _figures(summary: Summary, record: StudyRecord) -> Mapping[str, str]:
    """Return the attributes of the winner's figures: Plotly's JSON, cut like notes."""
    figures = [winner.learning(summary), _confusion(summary, record)]
    parts: dict[str, str] = {}
    for figure in filter(None, figures):
        layout: dict[str, Any] = {"title": {"text": f"{figure.title}, trial {summary.best}"}, "height": figure.height}
        layout["legend"] = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}  # beside, it would cover the second axis
        parts |= note.cut(as_json({"data": figure.data, "layout": figure.layout | layout}), f"{FIGURE}{figure.id}:")
    return parts


def _confusion(summary: Summary, record: StudyRecord) -> Figure | None:
    stored = None if summary.best is None else summary.trials["checkpoint"][summary.best]
    checkpoint = folders.checkpoint(record.location, record.name, stored)
    scores = read_artifacts(checkpoint.parent).scores if checkpoint else None
    return winner.confusion(scores, class_names(summary, scores)) if scores else None
