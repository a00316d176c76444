"""Worker timeline: the trials that each worker trained, over time.

A trial may be trained in several stints: halving lets it wait in between, or a run ends and another run continues it. Recorded
stints are drawn as recorded. A trial without stints, as in a study that hpo did not make, is drawn from its start to its end.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from hpo.report.figures.figure import COLORS, GROUND, WORDS, Figure, axis, numbers, thinned
from hpo.report.words import count, duration, percent
from hpo.store.reading.trials import MAX_WORKERS, stints

if TYPE_CHECKING:
    from hpo.report.summary import Summary

# A trial was interrupted if it took longer than its training by this factor and these seconds.
INTERRUPTED_FACTOR, INTERRUPTED_SECONDS = 1.5, 60.0
CROWD = 200  # stints of a timeline from which on there is no room for an edge around each


class _Stint(NamedTuple):
    trial: int
    worker: float  # NaN: unknown
    began: float  # seconds since the study's first start
    ended: float
    told: bool  # recorded in the study; otherwise it is the time from the trial's start to its end


def timeline(summary: Summary) -> Figure | None:
    """Draw a bar for each stint, in the lane of its worker and the colour of its trial's state."""
    timed = summary.trials[np.isfinite(summary.trials["began"])]
    end = float(np.fmax(timed["began"].max(), summary.lasted))
    if not end >= 1:  # too short to show, or without times
        return None
    shown, note = thinned(summary, timed, 400)
    table = pd.DataFrame(_lanes(summary, list(_stints(summary, timed, end))), columns=list(_Stint._fields))
    spans = table["ended"] - table["began"]
    drawn = table["trial"].isin(shown.index)
    states = timed["state"][table["trial"]].to_numpy()
    unit, per = ("h", 3600.0) if end > 2 * 3600 else ("min", 60.0) if end > 120 else ("s", 1.0)
    edge = {"width": 0.5 if drawn.sum() < CROWD else 0, "color": GROUND}
    data = []
    for state in ("RUNNING", "COMPLETE", "PRUNED", "FAIL"):  # a paused trial is drawn below the trials trained in between
        some = table[drawn & (states == state)]
        if len(some):
            hover = f"trial %{{customdata}}, {WORDS[state]}<br>%{{x:.2f}} {unit}<extra></extra>"
            bar: dict[str, Any] = {"type": "bar", "orientation": "h", "base": numbers(some["began"] / per)}
            bar |= {"x": numbers(spans[some.index].clip(lower=0) / per), "y": some["worker"].astype(int).tolist()}
            bar |= {"name": WORDS[state], "width": 0.8, "hovertemplate": hover, "marker": {"color": COLORS[state], "line": edge}}
            data.append(bar | {"customdata": some["trial"].tolist()})
    n_lanes = int(table["worker"].nunique())
    seconds = timed["seconds"][table["trial"]].to_numpy()
    busy = float(np.where(table["told"], spans, np.fmin(seconds, spans)).sum() / (n_lanes * end))
    used = f", {percent(min(busy, 1), 0)} of the time in training" if busy > 0 else ""
    alt = f"{count(n_lanes, 'worker')} over {duration(end)}{used}."
    if (~table["told"] & (spans > INTERRUPTED_FACTOR * seconds + INTERRUPTED_SECONDS)).any():
        note = f"Trials that were interrupted or paused are drawn from their start to their end. {note}".strip()
    layout = {"barmode": "overlay", "xaxis": axis(f"time since the first start ({unit})")}
    layout["yaxis"] = axis("worker", dtick=1 if n_lanes < 20 else None, autorange="reversed")
    return Figure("timeline", "Worker timeline", alt, data, layout, max(240, min(600, 140 + 40 * n_lanes)), note)


def _stints(summary: Summary, trials: pd.DataFrame, end: float) -> Iterator[_Stint]:
    zero = summary.trials["start"].min().replace(tzinfo=dt.UTC).timestamp()
    columns = (trials[name] for name in ("stints", "worker", "began", "ended"))
    for trial, stored, worker, began, ended in zip(trials.index, *columns, strict=True):
        told = [_Stint(trial, float(who), since - zero, until - zero, told=True) for who, since, until in stints(stored)]
        told = [one for one in told if began - 1 <= one.began <= one.ended <= end + 1]
        lane = worker if 0 <= worker < MAX_WORKERS else math.nan
        yield from told or [_Stint(trial, lane, began, end if math.isnan(ended) else ended, told=False)]


def _lanes(summary: Summary, stints: list[_Stint]) -> list[_Stint]:
    """Fill in unknown workers. A trial in training has not recorded its worker yet: it is placed where a worker is free.

    If the study records no workers, trials that overlap in time get different lanes.
    """
    planned = summary.environment.get("workers")
    known = {int(one.worker) for one in stints if not math.isnan(one.worker)}
    known |= set(range(planned)) if isinstance(planned, int) and planned <= MAX_WORKERS else set()
    free = dict.fromkeys(sorted(known), -math.inf)  # the time since which each worker is free
    placed = []
    for one in sorted(stints, key=lambda stint: stint.began):
        idle = [worker for worker, since in free.items() if since <= one.began]
        lane = idle[0] if idle else min(free, key=lambda worker: free[worker]) if known else len(free)
        lane = lane if math.isnan(one.worker) else int(one.worker)
        free[lane] = max(free.get(lane, one.ended), one.ended)
        placed.append(one._replace(worker=lane))
    return sorted(placed)
