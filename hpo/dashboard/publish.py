"""Keeps what the dashboard shows of a study current: a note, reasons why trials ended early, and two pictures of the winner.

They are stored in the study's system attributes, in the dashboard's own format, and the pictures in a folder beside the
checkpoints. Only a study's runner publishes, since it alone writes. Notes that a person wrote, and pictures that a person removed
in the dashboard, are left as they are.
"""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpo import folders
from hpo.dashboard import pictures, stored_notes
from hpo.dashboard.note import note_of
from hpo.dashboard.server import artifacts_folder
from hpo.errors import StorageError
from hpo.report.artifacts import read_artifacts
from hpo.report.figures.figure import BEST_COLOR, COLORS, REFERENCE_COLOR
from hpo.report.summary import summarize
from hpo.report.winner import class_names
from hpo.store import ledger
from hpo.store.trials import LARGEST
from hpo.system.failpoints import reach
from hpo.system.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hpo.report.summary import Summary
    from hpo.store.record import StudyRecord

PICTURE = "artifacts:"  # the dashboard's key of a study's artifact, followed by its id
_PICTURE = re.compile(r"trial-(?P<trial>\d{1,9})-(?P<kind>confusion|learning)\.png")  # the file name that a person sees


def publish(record: StudyRecord) -> None:
    """Update the note, the trials' notes and the pictures of a study; does nothing for a study that hpo did not make.

    Raises:
        StorageError: The database or the folder of pictures cannot be written.
    """
    if record.settings is None:
        return
    summary = summarize(record)
    before = ledger.published(record)
    try:
        drawn, there, removed = _pictures(summary, before, record)
    except OSError as error:
        raise StorageError(f"a picture of the winner cannot be stored: {error}") from None
    note = "\n\n".join([note_of(summary).rstrip(), *_shown(there, record)]) + "\n"
    values = stored_notes.of_study(note, before) | stored_notes.of_trials(summary, before, record)
    reach("publication.drawn")
    ledger.publish(record, values | drawn, removed)
    reach("publication.written")
    for key in removed:
        with contextlib.suppress(OSError):
            (_folder(record) / key.removeprefix(PICTURE)).unlink()


def _pictures(summary: Summary, before: Mapping[str, Any], record: StudyRecord) -> tuple[dict[str, str], list[str], set[str]]:
    """Draw the winner's missing pictures; return the entries to store, the keys of all its pictures, and keys to remove."""
    ours = {key for key, value in before.items() if key.startswith(PICTURE) and _is_ours(key, value, record)}
    there: list[str] = []
    entries: dict[str, str] = {}
    for kind, draw in _drawings(summary, record).items():
        picture = _id(kind, summary.best, record, default=0 in summary.finished.index)
        key = PICTURE + picture
        if key in before and key not in ours:
            continue  # a person removed it
        if key in ours and (_folder(record) / picture).exists():
            there.append(key)
        elif (png := draw()) is not None:
            write_atomically(_folder(record) / picture, png)
            name = f"trial-{summary.best}-{kind}.png"
            entry = {"artifact_id": picture, "filename": name, "mimetype": "image/png", "encoding": None, "by": "hpo"}
            entries[key] = json.dumps(entry)
            there.append(key)
    return entries, there, ours - set(there)


def _shown(keys: list[str], record: StudyRecord) -> list[str]:
    """Return Markdown that shows pictures, for the end of the note."""
    pictures = [f"![picture of the winner](/artifacts/{record.study_id}/{key.removeprefix(PICTURE)})" for key in keys]
    return ["## The winner in pictures", *pictures] if pictures else []


def _is_ours(key: str, value: object, record: StudyRecord) -> bool:
    """Whether an entry is of a picture that hpo draws of this study, so that its file may be removed."""
    try:
        entry = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return False
    if not isinstance(entry, dict) or entry.get("by") != "hpo":
        return False
    drawn = _PICTURE.fullmatch(str(entry.get("filename")))
    return drawn is not None and key.removeprefix(PICTURE) in {
        _id(drawn["kind"], int(drawn["trial"]), record, default=default) for default in (True, False)
    }


def _id(kind: str, trial: int | None, record: StudyRecord, *, default: bool) -> str:
    """Return an id that is unique for this picture of this study, since all studies of a database share a folder."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{record.name} {record.study_id} {kind} {trial} {default}"))


def _folder(record: StudyRecord) -> Path:
    return artifacts_folder(record.location)


def _drawings(summary: Summary, record: StudyRecord) -> dict[str, Callable[[], bytes | None]]:
    best = summary.best
    if best is None:
        return {}
    return {"confusion": lambda: _confusion(summary, best, record), "learning": lambda: _learning(summary, best)}


def _confusion(summary: Summary, best: int, record: StudyRecord) -> bytes | None:
    checkpoint = folders.checkpoint(record.location, record.name, summary.trials["checkpoint"][best])
    scores = read_artifacts(checkpoint.parent).scores if checkpoint else None
    return None if scores is None else pictures.confusion(scores, class_names(summary, scores), f"Confusion matrix, trial {best}")


def _learning(summary: Summary, best: int) -> bytes | None:
    curves = []
    if best != 0 and 0 in summary.finished.index:
        curves.append(_curve("trial 0, the default", REFERENCE_COLOR, summary.curves.T[0].dropna()))
    curves.append(_curve(f"trial {best}", BEST_COLOR, summary.curves.T[best].dropna()))
    losses = []
    for key, name, color in (
        ("train_loss", "training, smoothed labels" if summary.label_smoothing else "training", COLORS["COMPLETE"]),
        ("score_loss", "scored images", COLORS["PRUNED"]),
    ):
        given = summary.trials[key][best]
        if isinstance(given, list):
            losses.append(_curve(name, color, pd.Series(given, range(1, len(given) + 1), dtype=object)))
    panels = [pictures.Panel(summary.score_name, summary.is_share, curves), pictures.Panel("loss", False, losses)]
    panels = [panel._replace(curves=[c for c in panel.curves if c.x]) for panel in panels]
    panels = [panel for panel in panels if panel.curves]
    return pictures.learning(panels, f"Learning curve, trial {best}") if panels else None


def _curve(name: str, color: str, values: pd.Series[Any]) -> pictures.Curve:
    """Return a curve of the values that are numbers, since attributes may contain anything."""
    kept = [(int(x), float(y)) for x, y in zip(values.index, values, strict=True) if _is_number(y)]
    return pictures.Curve(name, color, [x for x, _ in kept], [y for _, y in kept])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
