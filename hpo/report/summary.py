"""The numbers of a study, computed once: findings, figures, tables and notes are made from them.

Everything here is derived from the study alone, so the same study gives the same summary. A study that hpo did not
make has no settings and may minimize: then its values are plain numbers, and statements about accuracies are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hpo.objective import FIRST
from hpo.proof.finalists import about
from hpo.report.statistics import gains, resampling, rungs
from hpo.report.statistics.importance import Importance, importances
from hpo.scoring import correct
from hpo.settings import METRICS
from hpo.store import repetitions
from hpo.store.own import are_shares, best_first, is_our_study, metrics
from hpo.store.reading.trials import as_columns, stints, texts

if TYPE_CHECKING:
    from hpo.objective import Objective
    from hpo.proof.finalists import Finalists
    from hpo.store.reading.record import StudyRecord
    from hpo.store.schema import Distribution

STATES = ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING", "FOREIGN")
TUTORIAL = 0.57  # test accuracy of the tutorial's network on CIFAR-10's 10,000 test images
TUTORIAL_IMAGES, TUTORIAL_CLASSES = 10_000, 10
CIFAR10_TRAINING_IMAGES = 50_000


@dataclass(frozen=True)
class Summary:
    """The numbers of one study.

    Attributes:
        name: The study's name.
        maximize: Whether more is better.
        settings, space, environment: As the run stored them; empty where missing.
        recipe: Version of the parts of training that no point describes.
        objective: What it maximizes.
        command: The command that made the study; empty if missing.
        ended: The stored reason why its last run ended; empty if missing.
        trials: One row per trial; `hpo.store.reading.trials.Trials.table` with seconds filled from the times where missing,
            began and ended (seconds since the first start), reason as one line, and best (best value so far).
        params, curves, distributions: As in `hpo.store.reading.trials.Trials`.
        metrics: What the best trial measured beside its score, by name: a value for each epoch.
        finalists: What the best trials and the default point score when they are trained again; None if nobody did.
        repeats: Whether the study is such trainings itself: the best of them is only the luckiest.
        best_params: Its parameters, as they are stored.
        folder: The study's folder, which records the images that each trial got right; None if unknown.
        artifacts: The best trial's, with its answers; None if unknown.
    """

    name: str
    maximize: bool
    settings: Mapping[str, Any]
    space: Mapping[str, Any]
    environment: Mapping[str, Any]
    recipe: object
    objective: Objective
    command: str
    trials: pd.DataFrame
    params: pd.DataFrame
    curves: pd.DataFrame
    distributions: dict[str, Distribution] = field(default_factory=dict)
    ended: str = ""
    metrics: Mapping[str, list[float]] = field(default_factory=dict)
    best_params: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    finalists: Finalists | None = None
    repeats: bool = False
    artifacts: Path | None = None

    @property
    def sign(self) -> int:
        """What values are multiplied with so that more is better."""
        return 1 if self.maximize else -1

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of trials by state; all states are present."""
        return {state: int((self.trials["state"] == state).sum()) for state in STATES}

    @cached_property
    def finished(self) -> pd.DataFrame:
        """The COMPLETE trials with a finite value; in a study of hpo's, only trials that hpo made."""
        return self.trials.loc[_done(self.trials)]

    @cached_property
    def standing(self) -> pd.Series[float]:
        """Rank of each trial that finished or was stopped early with a score, 0 for the worst; equal trials share a rank."""
        return rungs.standing(self)

    @cached_property
    def best(self) -> int | None:
        """Number of the best finished trial, the earliest of equals."""
        numbers = best_first(zip(self.finished.index.tolist(), self.finished["value"], strict=True), maximize=self.maximize)
        return numbers[0] if numbers else None

    @cached_property
    def best_value(self) -> float:
        """Value of the best finished trial; NaN without one."""
        return math.nan if self.best is None else float(self.trials["value"][self.best])

    @cached_property
    def default_value(self) -> float | None:
        """Value of trial 0, the space's default point; None if it did not finish, or there is none."""
        return float(self.finished["value"][0]) if 0 in self.given and 0 in self.finished.index else None

    @cached_property
    def choice(self) -> gains.Choice | None:
        """How its selection affects the best trial's score."""
        return gains.choose(self)

    def answers(self, number: int) -> correct.Bits | None:
        """Return which of the scored images a trial got right; None if unknown."""
        if number not in self._answers:
            path = self.folder / correct.FOLDER / correct.name(number) if self.folder and self.n_scored else None
            value = float(self.trials["value"][number])
            self._answers[number] = correct.read(path, self.n_scored or 0, value) if path else None
        return self._answers[number]

    @cached_property
    def _answers(self) -> dict[int, correct.Bits | None]:
        return {}

    @cached_property
    def best_named(self) -> int | None:
        """Number of the best finished trial of a starting point of the space (the default included); None without one."""
        named = self.finished["value"][[number for number in self.given if number in self.finished.index]]
        return next(iter(best_first(zip(named.index.tolist(), named, strict=True), maximize=self.maximize)), None)

    @cached_property
    def given(self) -> list[int]:
        """Trials of the space's starting points: the default point, then `starts`."""
        if not self.ours or self.by_run or 0 not in self.params.index:
            return []
        starts = self.space.get("starts")
        default = self.params.loc[0].to_dict()
        points = [default | start for start in starts if isinstance(start, dict) and start] if isinstance(starts, list) else []
        return [0, *(n for n in self.params.index[1:].tolist() if points and self.params.loc[n].to_dict() in points)]

    @property
    def by_run(self) -> bool:
        """Whether its trials say themselves what they vary: none is the default point."""
        return self.ours and self.space.get("parameters") == {}

    @property
    def ours(self) -> bool:
        """Whether hpo made this study: only then are its values scores."""
        return is_our_study({"settings": self.settings, "objective": self.objective.stored}, maximize=self.maximize)

    @property
    def score_name(self) -> str:
        """What a trial's value is called."""
        return self.objective.score.name if self.ours else "value"

    @cached_property
    def is_share(self) -> bool:
        """Whether all values are fractions that may be shown as per cent."""
        return self.ours and self.objective.score.is_share and are_shares(self.finished["value"])

    @cached_property
    def n_scored(self) -> int | None:
        """Number of images of which each score is the share that was right; None where it is none."""
        return self.n_images if self.is_share and self.maximize and self.score_name == METRICS[0] else None

    @property
    def n_images(self) -> int | None:
        """Number of scored images; None if unknown."""
        n = self.environment.get("n_scored")
        return n if isinstance(n, int) and not isinstance(n, bool) and n > 0 else None

    @property
    def counts_classes(self) -> bool:
        """Whether the score counts each class as much, so that it is no share of images."""
        return self.ours and self.is_share and self.score_name in METRICS[1:]

    @cached_property
    def resampled(self) -> tuple[float, float] | None:
        """95 % interval of the best trial's score where it counts classes, not images; None if unknown."""
        return resampling.interval(self)

    @cached_property
    def tutorial(self) -> float | None:
        """The tutorial's accuracy if this study's scores are comparable: on all of CIFAR-10's test set, in colour."""
        settings, environment = self.settings, self.environment
        asked = (settings.get("dataset"), settings.get("score", "test"), settings.get("limit_test")) == ("cifar10", "test", None)
        n_train = environment.get("n_train", CIFAR10_TRAINING_IMAGES)
        whole = self.n_scored == TUTORIAL_IMAGES and (n_train == CIFAR10_TRAINING_IMAGES or bool(settings.get("limit_train")))
        alike = len(self.classes) in (0, TUTORIAL_CLASSES) and environment.get("channels", 3) == 3
        return TUTORIAL if asked and whole and alike else None

    @cached_property
    def epochs(self) -> int:
        """Epochs of a trial that is not stopped early, or how often it reports; 0 if unknown."""
        planned = self.settings.get("epochs")
        if isinstance(planned, int) and planned > 0 and not self.by_run:
            return planned
        return int(self.finished["epochs"].max()) if len(self.finished) else 0

    @cached_property
    def lasted(self) -> float:
        """Seconds from the first start to the last end of a trial or of a stint of training; NaN if no end is known."""
        first = self.trials["start"].min()
        ends = [float(end) for end in self.trials["ended"].dropna()]
        if not pd.isna(first):
            zero = first.replace(tzinfo=UTC).timestamp()
            ends += [
                until - zero
                for stored in self.trials["stints"]
                for _, since, until in stints(stored)
                if zero - 1 <= since <= until
            ]
        return max(ends, default=math.nan)

    @cached_property
    def importance(self) -> list[Importance]:
        """The effect of each parameter: those that decide first, then by share; empty with too few trials."""
        return importances(
            self.params.loc[self.standing.index, list(self.distributions)],
            np.asarray(self.standing, dtype=np.float64),
            self.distributions,
        )

    @property
    def deciding(self) -> list[str]:
        """Names of the parameters that decide, the largest share first."""
        return [one.name for one in self.importance if one.decides]

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes; empty if unknown."""
        names = self.environment.get("classes")
        return [str(name) for name in names] if isinstance(names, list | tuple) else []


def summarize(record: StudyRecord) -> Summary:
    """Compute the summary of a study."""
    attributes, raw = record.attributes, as_columns(record.trials, record.varied)
    command = attributes.get("command", "")
    return Summary(
        name=record.name,
        maximize=record.maximize,
        settings=_mapping(attributes.get("settings")),
        space=_mapping(record.objective.as_made(attributes.get("space"))),
        environment=_mapping(attributes.get("environment")),
        recipe=attributes.get("recipe", FIRST),
        objective=record.objective,
        command=command if isinstance(command, str) else json.dumps(command),
        trials=_derive(raw.table, record.maximize),
        params=raw.params,
        curves=raw.curves,
        distributions=raw.distributions,
        ended=str(_mapping(attributes.get("stopped")).get("reason", "")),
        metrics=metrics(record.winner.user_attrs) if record.winner and not record.by_run else {},
        best_params=record.winner.params if record.winner else {},
        folder=record.folder,
        finalists=about(record),
        repeats=repetitions.stored(attributes) is not None,
        artifacts=record.winner_folder,
    )


def _mapping(value: object) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


def _derive(table: pd.DataFrame, maximize: bool) -> pd.DataFrame:
    table = table.copy()
    first = table["start"].min()
    table["began"] = (table["start"] - first).dt.total_seconds()
    table["ended"] = (table["complete"] - first).dt.total_seconds()
    table["seconds"] = table["seconds"].fillna(table["ended"] - table["began"])
    table["reason"] = pd.Series(texts(table["reason"]), index=table.index, dtype=object)
    value = table["value"].where(_done(table))
    table["best"] = (value.cummax() if maximize else value.cummin()).ffill()
    return table


def _done(table: pd.DataFrame) -> pd.Series[bool]:
    """Return which trials are complete and have a result; trials of another program are FOREIGN in a study of hpo's."""
    done: pd.Series[bool] = (table["state"] == "COMPLETE") & np.isfinite(table["value"])
    return done
