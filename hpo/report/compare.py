"""Comparison of several studies: results, gains, speed, and the settings that differ.

The others are compared with the first study. Scores are comparable only if they were measured on the same images;
otherwise the table says so instead of giving a gain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpo.errors import UsageError
from hpo.report import document
from hpo.report.figures import comparison as figures
from hpo.report.statistics import gains
from hpo.report.summary import Summary, summarize
from hpo.report.words import NOTHING, duration, flat, percent, points, points_between, score
from hpo.scoring.score import PLAIN

if TYPE_CHECKING:
    from hpo.store.reading.record import StudyRecord

_SCORED_BY = ("dataset", "score", "limit_test")  # settings that decide which images are scored
OTHER_OBJECTIVE = "not comparable: another objective"
OTHER_CODE = "not comparable: trained by other code of that name"
OTHER_IMAGES = "not comparable: scored on different images"


class Comparison:
    """Several studies, each summarized once.

    Args:
        records: The studies.

    Raises:
        UsageError: There is no study, or some maximize and others minimize.
    """

    def __init__(self, records: Sequence[StudyRecord]) -> None:
        self._named = _named(records)

    def table(self) -> pd.DataFrame:
        """Return one row per study, as text for a person: best, gain over the first study, trials, time."""
        first = next(iter(self._named.values()))
        return pd.DataFrame([{"study": name} | _row(summary, first) for name, summary in self._named.items()])

    def values(self) -> list[dict[str, Any]]:
        """Return the same for a program: scores, gains (above 0: better), times in seconds; None where missing."""
        first = next(iter(self._named.values()))
        return [{"study": name} | _values(summary, first) for name, summary in self._named.items()]

    def write(self, out: Path) -> Path:
        """Write the page to `out`.

        Raises:
            StorageError: `out` cannot be written.
        """
        named = self._named
        first = next(iter(named.values()))
        alike = {name: one for name, one in named.items() if _obstacle(one, first) not in (OTHER_OBJECTIVE, OTHER_CODE)}
        drawn = [figure for figure in (figures.by_trials(alike), figures.by_time(alike)) if figure is not None]
        page = document.render(
            "compare.html.j2",
            drawn,
            None,
            title=" and ".join(named) if len(named) < 4 else f"{len(named)} studies",
            rows=self.table().to_dict("records"),
            sentences=_sentences(named),
            left_out=[name for name in named if name not in alike],
            has_intervals=any(row["best_low"] is not None for row in self.values()),
            drawings=drawn,
            names=list(named),
            differences=differences(named),
        )
        return document.write(out, page)


def differences(named: dict[str, Summary]) -> list[tuple[str, list[str]]]:
    """Return the settings that differ, each with its value in every study."""
    all_settings = [flat(summary.settings) | {"space": str(summary.space.get("name", NOTHING))} for summary in named.values()]
    keys = dict.fromkeys(key for settings in all_settings for key in settings)
    found = [(key, [settings.get(key, NOTHING) for settings in all_settings]) for key in keys]
    return [(key, values) for key, values in found if len(set(values)) > 1]


def _named(records: Sequence[StudyRecord]) -> dict[str, Summary]:
    """Summaries by name; studies of the same name, from two databases, are numbered."""
    if not records:
        raise UsageError("there is nothing to compare. Name at least two studies: hpo compare A B")
    named: dict[str, Summary] = {}
    for record in records:
        times = sum(one.name == record.name for one in named.values())
        named[f"{record.name} ({times + 1})" if times else record.name] = summarize(record)
    if len({summary.maximize for summary in named.values()}) > 1:
        raise UsageError("some of these studies maximize and others minimize, so they cannot be compared. Leave out one kind.")
    return named


def _row(summary: Summary, first: Summary) -> dict[str, str]:
    found = _values(summary, first)
    best, low, high, ended = (found[key] for key in ("best", "best_low", "best_high", "seconds_to_best"))
    return {
        "best": NOTHING if best is None else score(best, summary),
        "95 % interval": NOTHING if low is None else f"{percent(low)} to {percent(high)}",
        "gain": _gain(found, summary),
        "best trial": NOTHING if best is None else str(found["best_trial"]),
        "finished": str(found["finished"]),
        "trials": str(found["trials"]),
        "time to the best": duration(math.nan if ended is None else ended),
        "training": duration(found["seconds_of_training"]),
    }


def _values(summary: Summary, first: Summary) -> dict[str, Any]:
    best, ends = summary.best, gains.interval(summary)
    both = summary is not first and best is not None and first.best is not None
    obstacle = _obstacle(summary, first) if both else ""
    compares = both and not obstacle
    gain = gains.between(summary, first) if compares else None
    ended = None if best is None else float(summary.trials["ended"][best])
    return {
        "best": None if best is None else summary.best_value,
        **dict(zip(("best_low", "best_high"), ends or (None, None), strict=True)),
        "gain": summary.sign * (summary.best_value - first.best_value) if compares else None,
        **dict(zip(("gain_low", "gain_high"), (gain.low, gain.high) if gain else (None, None), strict=True)),
        "obstacle": obstacle or None,
        "best_trial": best,
        "finished": len(summary.finished),
        "trials": len(summary.trials),
        "seconds_to_best": ended if ended is not None and math.isfinite(ended) else None,
        "seconds_of_training": float(summary.trials["seconds"].sum()),
    }


def _gain(found: dict[str, Any], summary: Summary) -> str:
    """Return a gain as a person reads it; where less is better a sign would be a riddle."""
    gain, low, high = (found[key] for key in ("gain", "gain_low", "gain_high"))
    if gain is None:
        return found["obstacle"] or NOTHING
    if low is None:
        amount = (summary.objective.score if summary.ours else PLAIN).gained(abs(gain)).removeprefix("+")
        return f"{amount} {'better' if gain > 0 else 'worse'}" if gain else "equal"
    noise = ", within noise" if low <= 0 <= high else ""
    return f"{points(gain)} ({points_between(low, high)}{noise})"


def _obstacle(summary: Summary, first: Summary) -> str:
    """Return why the scores of two studies do not compare; empty if they do."""
    objectives = [summary.objective, first.objective]
    names = {("" if one.is_network else (one.kind, one.name), one.score) for one in objectives}
    if len(names) > 1:
        return OTHER_OBJECTIVE
    if len({"" if one.is_network else one.digest for one in objectives}) > 1:  # a file may have been moved
        return OTHER_CODE
    return "" if _same_images(summary, first) else OTHER_IMAGES


def _same_images(summary: Summary, first: Summary) -> bool:
    """Whether two studies were scored on the same images. If not all images are scored, the seed decides which ones are."""
    some = summary.settings.get("score") == "validation" or summary.settings.get("limit_test")
    keys = (*_SCORED_BY, "seed") if some else _SCORED_BY
    about = ("data_digest", "n_scored")
    return all(summary.settings.get(key) == first.settings.get(key) for key in keys) and all(
        summary.environment.get(key) == first.environment.get(key) for key in about
    )


def _sentences(named: dict[str, Summary]) -> list[str]:
    (first_name, first), *others = named.items()
    gained = {name: _gain(_values(summary, first), summary) for name, summary in others}
    return [f"{name} against {first_name}: {gain}." for name, gain in gained.items() if gain != NOTHING]
