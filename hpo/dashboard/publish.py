"""What Optuna's dashboard shows of a study beyond its trials: a note, why trials ended early, and the winner in two pictures.

All of it lies in the study's system attributes, in the dashboard's own format, and the pictures in a folder beside the
checkpoints. Only a study's runner publishes: it alone writes. What a person wrote or removed in the dashboard stays so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hpo import folders
from hpo.dashboard import pictures
from hpo.dashboard.note import note_of, trial_note
from hpo.dashboard.server import artifacts_folder
from hpo.errors import StorageError
from hpo.failpoints import reach
from hpo.files import write_atomically
from hpo.report.artifacts import read_artifacts
from hpo.report.figures.figure import BEST_COLOR, COLORS, REFERENCE_COLOR
from hpo.report.summary import summarize
from hpo.report.winner import class_names
from hpo.report.words import score
from hpo.store import attributes
from hpo.store.database import guarded
from hpo.store.trials import LARGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hpo.report.summary import Summary
    from hpo.store.record import StudyRecord

PART = 2045  # characters of a note in one attribute, as in optuna_dashboard/_note.py, which takes 2.5 s to import
MAX_NOTES = 300  # notes of trials, and as many of failures more: for each of them the dashboard looks through all of them
DIGEST = "hpo:note"  # of the note that we wrote last: another one is a person's
PICTURE = "artifacts:"  # the dashboard's key of a study's artifact, before its id
_PICTURE = re.compile(r"trial-(?P<trial>\d{1,9})-(?P<kind>confusion|learning)\.png")  # its file's name for a person


def publish(record: StudyRecord) -> None:
    """Bring what the dashboard shows of a study up to date; of one that hpo did not make, nothing.

    Raises:
        StorageError: The database or the folder of pictures refuses.
    """
    if record.settings is None:
        return
    with guarded(record.location):
        summary = summarize(record.study, record.folder)
    before = attributes.read(record)
    try:
        drawn, there, removed = _pictures(summary, before, record)
    except OSError as error:
        raise StorageError(f"a picture of the winner cannot be stored: {error}") from None
    note = "\n\n".join([note_of(summary).rstrip(), *_shown(there, record)]) + "\n"
    values = _study_note(note, before) | _trial_notes(summary, before, record)
    reach("publication.drawn")
    attributes.write(record, values | drawn, removed)
    reach("publication.written")
    for key in removed:
        with contextlib.suppress(OSError):
            (_folder(record) / key.removeprefix(PICTURE)).unlink()


# -- notes -------------------------------------------------------------------------------------------------------------


def _study_note(body: str, before: Mapping[str, Any]) -> dict[str, Any]:
    shown = _body(before)
    if shown == body or (shown and _digest(shown) != before.get(DIGEST)):
        return {}
    longer = dict.fromkeys((key for key in before if key.startswith(_key("str:"))), "")  # parts of a longer note
    return longer | _noted(body, before.get(_key("ver"), 0) + 1) | {DIGEST: _digest(body)}


def _trial_notes(summary: Summary, before: Mapping[str, Any], record: StudyRecord) -> dict[str, Any]:
    """Return the notes of trials that failed or were stopped and have none yet; failures find room where others do not."""
    trials = summary.trials
    n = sum(key.endswith(":note_ver") and key != _key("ver") for key in before)
    if not summary.counts["FAIL"] + summary.counts["PRUNED"] or n >= 2 * MAX_NOTES:
        return {}
    ids = attributes.trial_ids(record)
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
    """Return the study's note as the dashboard puts it together."""
    parts = [key for key in stored if key.startswith(_key("str:"))]
    return "".join(stored.get(f"{_key('str:')}{i}", "") for i in range(len(parts)))


def _noted(body: str, version: int, trial_id: int | None = None) -> dict[str, Any]:
    parts = {f"{_key('str:', trial_id)}{i // PART}": body[i : i + PART] for i in range(0, len(body), PART)}
    return {_key("ver", trial_id): version} | parts


def _key(what: str, trial_id: int | None = None) -> str:
    return f"dashboard:note_{what}" if trial_id is None else f"dashboard:{trial_id}:note_{what}"


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8", "replace")).hexdigest()


# -- pictures ----------------------------------------------------------------------------------------------------------


def _pictures(summary: Summary, before: Mapping[str, Any], record: StudyRecord) -> tuple[dict[str, str], list[str], set[str]]:
    """Draw what is new of the winner; return entries to store, the keys of all its pictures, and those of an earlier winner's."""
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
    study = record.study._study_id  # noqa: SLF001  # there is no public one
    pictures = [f"![picture of the winner](/artifacts/{study}/{key.removeprefix(PICTURE)})" for key in keys]
    return ["## The winner in pictures", *pictures] if pictures else []


def _is_ours(key: str, value: object, record: StudyRecord) -> bool:
    """Whether an entry is of a picture that was drawn of this study: its file may be removed, whoever wrote the entry."""
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
    """The same for the same picture, another for any other: a study's folder is shared by all studies of its database."""
    study = record.study._study_id  # noqa: SLF001  # there is no public one
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{record.name} {study} {kind} {trial} {default}"))


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
    return None if scores is None else pictures.confusion(scores, class_names(summary, scores), f"What trial {best} confuses")


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
    panels = [pictures.Panel("accuracy", summary.is_accuracy, curves), pictures.Panel("loss", False, losses)]
    panels = [panel._replace(curves=[c for c in panel.curves if c.x]) for panel in panels]
    panels = [panel for panel in panels if panel.curves]
    return pictures.learning(panels, f"How trial {best} learned") if panels else None


def _curve(name: str, color: str, values: pd.Series[Any]) -> pictures.Curve:
    """A curve of the values that are numbers; attributes may hold anything."""
    kept = [(int(x), float(y)) for x, y in zip(values.index, values, strict=True) if _is_number(y)]
    return pictures.Curve(name, color, [x for x, _ in kept], [y for _, y in kept])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
