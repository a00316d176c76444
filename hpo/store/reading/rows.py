"""A study's trials as rows of plain values: what `hpo trials` prints, and programs read."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hpo.errors import UsageError, nearest
from hpo.store import own
from hpo.store.own import FINISHED, FOREIGN, best_first
from hpo.store.schema import MEASURED, NOTED, State

if TYPE_CHECKING:
    from hpo.store.reading.record import StudyRecord
    from hpo.store.schema import Trial

COLUMNS = ("number", "state", "epochs", *MEASURED, "reason", "started", "ended")  # of every study


def chosen(record: StudyRecord, states: Collection[str] = (), sort: str = "", top: int | None = None) -> list[dict[str, Any]]:
    """Return trials as rows: those of some states, sorted, the first `top`.

    Args:
        record: The study.
        states: In lower case; none for all.
        sort: A column, `-` before it for the largest first; the measure (accuracy, value) is sorted best first,
            complete trials before pruned ones. What is missing comes last. Without it by number, or best first where `top` is
            given.
        top: As many rows at most.

    Raises:
        UsageError: No such column.
    """
    found = [row(record, trial) for trial in record.trials if not states or record.state(trial) in states]
    column, descending = sort.removeprefix("-"), sort.startswith("-")
    columns = list(dict.fromkeys(key for one in found for key in one))
    if column and found and column not in columns:
        raise UsageError(f"study {record.name!r} has no column {column!r}.{nearest(column, columns)}")
    if column == record.measure or (top is not None and not column):
        stopped = ((t.number, t.value) for t in record.own if t.state == State.PRUNED)  # at an earlier epoch: no results
        order = [*(trial.number for trial in record.ranked), *best_first(stopped, maximize=record.maximize)]
        place = {number: i for i, number in enumerate(order[::-1] if descending else order)}
        found.sort(key=lambda one: place.get(one["number"], len(place)))
    elif column:
        there = [one for one in found if one.get(column) is not None]
        there.sort(key=lambda one: _sortable(one[column]), reverse=descending)
        found = [*there, *(one for one in found if one.get(column) is None)]
    return found[:top]


def row(record: StudyRecord, trial: Trial) -> dict[str, Any]:
    """Return a trial as plain values; accuracies 0 to 1, times in UTC as ISO 8601."""
    state, notes = record.state(trial), record.notes(trial)
    foreign = f"{trial.state.name.lower()} by another program" if state == FOREIGN else None
    before = {
        "number": trial.number,
        "state": state,
        record.measure: trial.value if trial.state in FINISHED and not foreign else None,
        "epochs": len(record.curve(trial)) if record.by_run else trial.last_step or 0,
    }
    after = {
        **{key: notes.get(key) for key in MEASURED},
        "reason": notes.get("reason", foreign),
        "started": _iso(trial.datetime_start),
        "ended": _iso(trial.datetime_complete),
    }
    taken = before | after
    params = {f"{name} (parameter)" if name in taken else name: value for name, value in trial.params.items()}
    if record.by_run:  # what an Optuna objective has noted
        noted = {key: one for key, one in notes.items() if key not in NOTED and isinstance(one, bool | int | float | str)}
        params |= {f"{key} (noted)" if key in taken | params else key: one for key, one in noted.items()}
    elif record.ours:  # after the last epoch; the built-in network's losses are on the page
        left_out = ("train_loss", "score_loss") if record.objective.is_network else ()
        ends = {name: values[-1] for name, values in own.metrics(notes).items() if name not in left_out}
        params |= {f"{name} (metric)" if name in taken | params else name: value for name, value in ends.items()}
    return before | params | after


def _sortable(value: object) -> tuple[bool, float, str]:
    """Numbers before texts; parameters of a stranger's may be both."""
    number = isinstance(value, int | float)
    return not number, float(value) if isinstance(value, int | float) else 0.0, "" if number else str(value)


def _iso(time: datetime | None) -> str | None:
    return time.astimezone(UTC).isoformat(timespec="milliseconds") if time else None
