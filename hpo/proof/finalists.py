"""What the trainings of a study of finalists prove.

Every finalist is trained with the same seeds, so differences are taken seed by seed. A seed is there for the interval: no result
is that of one seed. A finalist of which a training failed is shown and never named: its mean would be that of the lucky seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hpo.errors import StorageError, UsageError
from hpo.parameters import Value
from hpo.proof import reading
from hpo.proof.intervals import Estimate, estimate
from hpo.store import repetitions
from hpo.store.database import exists, open_database
from hpo.store.reading.reader import names
from hpo.store.reading.record import load
from hpo.store.schema import SEED

if TYPE_CHECKING:
    from hpo.proof.reading import Reading
    from hpo.scoring.score import Score
    from hpo.store.reading.record import StudyRecord
    from hpo.store.repetitions import Entry, Repetitions

COSTS = ("macs", "n_parameters")  # what makes a network simpler, the first that is known


@dataclass(frozen=True)
class Finalist:
    """A point with its trainings.

    Attributes:
        entry: The point, and where it comes from.
        scores: By seed, of the trainings that are complete.
        n_failed: Trainings that failed.
        costs: Multiply-adds and parameters, as far as they are known.
        before: The score that the study itself has of it; None where it is not comparable.
        gain: Over the default point, or of an ablation what the winner gains over it; None where that cannot be said.
    """

    entry: Entry
    scores: Mapping[int, float]
    n_failed: int
    costs: Mapping[str, float]
    before: float | None = None
    gain: Estimate | None = None

    @property
    def name(self) -> str:
        """As a sentence calls it."""
        match self.entry.role:
            case "default":
                return "the default point"
            case "ablation":
                return f"{self.entry.without} at its default"
            case _:
                return f"trial {self.entry.trial}"

    @cached_property
    def mean(self) -> Estimate | None:
        """Of its scores; None for fewer than two."""
        return estimate([*self.scores.values()])

    @cached_property
    def optimism(self) -> Estimate | None:
        """The study's score less the mean; the score itself has no spread."""
        return None if self.before is None else estimate([self.before - score for score in self.scores.values()])


@dataclass(frozen=True)
class Finalists:
    """The result of a study of finalists.

    Attributes:
        study: The study that they come from.
        name: Their own study.
        score: What they are judged by.
        epochs: Of each training.
        seeds: With which each point is trained.
        finalists: The default point, then the others as the study ranked them.
        ablations: The winner with one choice put back to the default, each.
        missing: Trainings that are not done yet.
        best: Number of the study's best trial.
        reading: The test set, read by the winner; None where the study was scored on it, or where that is still to be done.
    """

    study: str
    name: str
    score: Score
    epochs: int
    seeds: tuple[int, ...]
    finalists: tuple[Finalist, ...]
    ablations: tuple[Finalist, ...] = ()
    missing: int = 0
    best: int | None = None
    reading: Reading | None = None

    @property
    def default(self) -> Finalist:
        """The default point."""
        return self.finalists[0]

    @cached_property
    def _able(self) -> list[tuple[float, Finalist]]:
        """Those of which every training is complete, each with the penalty of its mean."""
        return [
            (self.score.penalty(one.mean.mean), one)
            for one in self.finalists
            if one.mean and not one.n_failed and len(one.scores) == len(self.seeds)
        ]

    @cached_property
    def winner(self) -> Finalist | None:
        """The finalist of the best mean; None while trainings are missing."""
        return min(self._able, key=lambda able: able[0])[1] if self._able and not self.missing else None

    @cached_property
    def simplest(self) -> Finalist | None:
        """The cheapest of those within one standard error of the winner (Breiman et al., CART, 1984).

        None where it is the winner itself, or where costs are not known.
        """
        if self.winner is None or self.winner.mean is None or (cost := self.cost) is None:
            return None
        limit = self.score.penalty(self.winner.mean.mean) + self.winner.mean.error
        found = min((one for penalty, one in self._able if penalty <= limit), key=lambda one: one.costs[cost])
        return found if found.costs[cost] < self.winner.costs[cost] else None

    @property
    def cost(self) -> str | None:
        """By what they are compared in simplicity."""
        return next((key for key in COSTS if self._able and all(one.costs.get(key) for _, one in self._able)), None)

    @property
    def is_told(self) -> bool:
        """Whether the winner is better than the default point, beyond what seeds do."""
        gain = self.winner.gain if self.winner else None
        return gain is not None and gain.excludes_zero

    @property
    def chosen(self) -> Finalist | None:
        """The finalist that the study itself called its best; its optimism is the study's."""
        return next((one for one in self.finalists if one.entry.trial is not None and one.entry.trial == self.best), None)


def of(record: StudyRecord, origin: StudyRecord | None = None) -> Finalists | None:
    """Return what a study of finalists proves; None where it is none.

    Args:
        record: The study of finalists.
        origin: The study that they come from, for its scores.
    """
    plan = repetitions.stored(record.attributes)
    if plan is None or record.settings is None:
        return None
    ended = _by_training(record)
    comparable = origin is not None and origin.settings is not None and origin.settings.epochs == record.settings.epochs
    before = {trial.number: trial.value for trial in origin.ranked} if origin and comparable else {}
    entries = [_finalist(entry, plan, ended, before) for entry in plan.entries]
    finalists = [one for one in entries if one.entry.role in ("default", "finalist")]
    if not finalists or finalists[0].entry.role != "default":
        return None
    others = finalists[1:]
    compared = [finalists[0], *(_with_gain(one, one, finalists[0], len(others)) for one in others)]
    found = Finalists(
        study=plan.study,
        name=record.name,
        score=record.score,
        epochs=record.settings.epochs,
        seeds=plan.seeds,
        finalists=tuple(compared),
        missing=sum(len(plan.seeds) - len(one.scores) - one.n_failed for one in finalists),
        best=origin.winner.number if origin and origin.winner else None,
    )
    return _with_ablations(found, entries)


def _with_ablations(found: Finalists, entries: list[Finalist]) -> Finalists:
    """Return a result with what each choice of its winner brought, where all of them were put back."""
    winner = found.winner
    if winner is None:
        return found
    point, default = winner.entry.point, found.default.entry.point
    put_back = []
    for name in (name for name in default if point[name] != default[name]):
        other = next((one for one in entries if one.entry.point == {**point, name: default[name]}), None)
        if other is not None:
            entry = other.entry.model_copy(update={"role": "ablation", "without": name})
            put_back.append(replace(other, entry=entry))
    if not any(one.entry.role == "ablation" for one in entries):
        return found
    return replace(found, ablations=tuple(_with_gain(one, winner, one, len(put_back)) for one in put_back))


def _with_gain(one: Finalist, better: Finalist, control: Finalist, comparisons: int) -> Finalist:
    """Return a finalist with the differences `better` less `control`, seed by seed; `comparisons` share the error."""
    paired = [score - control.scores[seed] for seed, score in better.scores.items() if seed in control.scores]
    return replace(one, gain=None if better.n_failed or control.n_failed else estimate(paired, comparisons))


Training = tuple[Mapping[str, Value], int, float | None, Mapping[str, Any]]  # point, seed, score if it is complete, notes


def _by_training(record: StudyRecord) -> list[Training]:
    """Return what has ended of a study of finalists."""
    complete = {trial.number: trial.value for trial in record.ranked}
    ended = [(trial, record.notes(trial)) for trial in record.own if trial.state.is_finished()]
    return [
        (trial.params, notes[SEED], complete.get(trial.number), notes)
        for trial, notes in ended
        if isinstance(notes.get(SEED), int)
    ]


def _finalist(entry: Entry, plan: Repetitions, ended: list[Training], before: Mapping[int, float | None]) -> Finalist:
    own = [(seed, score, notes) for point, seed, score, notes in ended if point == entry.point and seed in plan.seeds]
    scores = {seed: score for seed, score, _ in own if score is not None}
    costs = {key: float(notes[key]) for _, _, notes in own for key in COSTS if isinstance(notes.get(key), int | float)}
    known = before.get(entry.trial) if entry.trial is not None else None
    return Finalist(entry, scores, len(own) - len(scores), costs, known)


def about(record: StudyRecord) -> Finalists | None:
    """Return what was found of a study by its finalists, whether it is the study itself or theirs; None where there are none."""
    plan = repetitions.stored(record.attributes)
    name = plan.study if plan else record.name
    is_theirs = plan is not None and plan.entries[0].role == "default"
    own = record if is_theirs else _other(record, name + repetitions.SUFFIX)
    readings = _other(record, name + repetitions.TEST_SUFFIX) if own else None
    if own is None:
        return None
    found = of(own, _other(record, name) if plan else record)
    if found is None or found.winner is None or readings is None:
        return found
    return replace(found, reading=reading.of_winner(readings, found.winner.entry.point))


def _other(record: StudyRecord, name: str) -> StudyRecord | None:
    """Return another study of the same database; None where there is none, or none that can be read: that says it by itself."""
    try:
        there = exists(record.location) and name in names(open_database(record.location))
        return load(name, record.location) if there else None
    except (StorageError, UsageError):
        return None
