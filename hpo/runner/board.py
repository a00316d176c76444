"""The current state of a run: the runner writes it, and the views read it."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from hpo.scoring.score import Score
from hpo.settings import DEFAULT_TRIALS
from hpo.store.own import best_first

if TYPE_CHECKING:
    from hpo.messages import Epoch
    from hpo.search.open_trial import OpenTrial
    from hpo.search.study import WritableStudy
    from hpo.settings import RunOptions


@dataclass
class Row:
    """A worker and its trial.

    Attributes:
        trial: What it trains; None while it gets ready or has nothing to do.
        epoch: Epochs done.
        fraction: Share of the current epoch that is done, 0 to 1.
        score: After the latest epoch; None before the first.
        images_per_second: Of the current or latest epoch.
        scoring: Seconds that scoring took after the latest epoch.
    """

    trial: OpenTrial | None = None
    epoch: int = 0
    fraction: float = 0.0
    score: float | None = None
    images_per_second: float = 0.0
    scoring: float = 0.0

    def done(self, epoch: Epoch, n_train: int) -> None:
        """Its trial has finished an epoch, of `n_train` images; 0: nobody has said how many."""
        self.epoch, self.fraction, self.score = epoch.number, 0.0, epoch.score
        self.images_per_second = speed = epoch.images_per_second
        self.scoring = max(0.0, epoch.seconds - n_train / speed) if speed else 0.0

    def left_of_epoch(self, n_train: int) -> float | None:
        """Return the seconds that the current epoch will take still, of `n_train` images; None before the first sign of life."""
        if self.trial is None or not self.images_per_second or not n_train:
            return None
        return (1 - self.fraction) * n_train / self.images_per_second + self.scoring


@dataclass
class Board:
    """The state of a run.

    Attributes:
        study: Name.
        varied: Names of the parameters that the sampler chooses.
        epochs: Of a trial that is not stopped early; None where its code alone knows.
        total: Finished trials that the study shall have.
        score: What trials are judged by.
        counts: Trials by state: complete, pruned, fail, running, and waiting at a rung.
        best: (number, score) of the best complete trial.
        named: Scores of the complete trials of points that the space names, by number; trial 0 is the default point.
        tried: Numbers of the trials that ended in this run or came to wait at a rung.
        repeats: Whether they are the same points with several seeds: none of them is the best.
        without_best: How many trials were tried since the best became the best; 0 while there is none.
        stopping: Why no new epoch is begun any more; empty while the run goes on.
        stopping_since: When that was decided, on the monotonic clock.
        grace: Seconds that an ending run waits for epochs at most; None: until they are done.
        n_train: Images of an epoch; 0 until a worker has said so.
        told: What the first lines of a run say beside its name.
        at_once: Trials that may be in training now: of the lanes of a GPU, not all need be used.
        where: What trains, in words; empty: so many workers.
    """

    study: str
    varied: tuple[str, ...]
    epochs: int | None
    total: int
    score: Score = field(default_factory=Score)
    timeout: float | None = None
    rows: list[Row] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    best: tuple[int, float] | None = None
    named: dict[int, float] = field(default_factory=dict)
    tried: set[int] = field(default_factory=set)
    without_best: int = 0
    repeats: bool = False
    stopping: str = ""
    stopping_since: float = 0.0
    grace: float | None = None
    n_train: int = 0
    told: list[str] = field(default_factory=list)
    at_once: int = 0
    where: str = ""
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, study: WritableStudy, options: RunOptions, n_workers: int) -> Self:
        """Return the board of a run that begins."""
        best = study.best
        first = study.space.first
        board = cls(
            study=study.name,
            varied=tuple(study.space.varied),
            epochs=None if study.space.by_run else study.settings.epochs,
            total=options.trials or DEFAULT_TRIALS,
            score=study.score,
            timeout=options.timeout,
            grace=options.grace,
            repeats=study.repeats,
            rows=[Row() for _ in range(n_workers)],
            best=(best.number, best.value) if best and best.value is not None else None,
            named={
                trial.number: trial.value
                for trial in study.own
                if trial.state.name == "COMPLETE" and trial.value is not None and trial.params in first
            },
        )
        board.counts.update(trial.state.name.lower() for trial in study.own)
        board.count("running", "waiting", len(study.plan.waiting))
        return board

    def stop(self, reason: str) -> None:
        """Begin no epoch any more. The first reason stands; an empty one is none."""
        if reason and not self.stopping:
            self.stopping, self.stopping_since = reason, time.monotonic()

    def count(self, before: str, now: str, n: int = 1) -> None:
        """Move trials from one state to another."""
        self.counts[before] -= n
        self.counts[now] += n

    def has_tried(self, number: int) -> None:
        """Take note of a trial that has ended or waits: once, whatever comes of it."""
        if number not in self.tried:
            self.tried.add(number)
            self.without_best += self.best is not None

    def has_completed(self, number: int, score: float, *, named: bool = False) -> None:
        """Take note of a complete trial, which may be the best; `named`: of a point that the space names."""
        if named:
            self.named[number] = score
        if self.best is None or self.score.penalty(score) < self.score.penalty(self.best[1]):
            self.without_best = 0
        complete = dict([*([self.best] if self.best else []), (number, score)])
        [leader, *_] = best_first(complete.items(), maximize=self.score.maximize)
        self.best = leader, complete[leader]

    @property
    def n_finished(self) -> int:
        """Complete and pruned trials of the study."""
        return self.counts["complete"] + self.counts["pruned"]

    @property
    def n_tried(self) -> int:
        """Finished trials, and those that wait at a rung."""
        return self.n_finished + self.counts["waiting"]

    @property
    def left_of_epochs(self) -> float | None:
        """Estimated seconds until the last of the epochs in training is done; None while no worker has told its speed."""
        left = [row.left_of_epoch(self.n_train) for row in self.rows]
        return max((seconds for seconds in left if seconds is not None), default=None)

    @property
    def grace_is_over(self) -> bool:
        """Whether an ending run has waited long enough."""
        return bool(self.stopping) and self.grace is not None and time.monotonic() - self.stopping_since >= self.grace

    @property
    def spent(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float | None:
        """Estimated seconds to the end: what this run spent for each trial that it tried, for each that is missing.

        None before three were tried, since the first ones, trained to their last epoch, say little about those to come.
        """
        by_timeout = None if self.timeout is None else max(0.0, self.timeout - self.spent)
        if len(self.tried) < 3:
            return by_timeout
        by_trials = self.spent / len(self.tried) * max(0, self.total - self.n_tried)
        return by_trials if by_timeout is None else min(by_trials, by_timeout)


def reached(target: float | None, best: tuple[int, float] | None, score: Score) -> str:
    """Return that a target was reached, as the reason of a run's end; empty if it was not."""
    if target is None or best is None or score.penalty(best[1]) > score.penalty(target):
        return ""
    return f"target: trial {best[0]} reached {score.shown(best[1])}"


def limit_reached(board: Board, options: RunOptions) -> str:
    """Return which limit a run has reached, as the reason of its end; empty if none."""
    if reason := reached(options.target, board.best, board.score):
        return reason
    if options.patience is not None and board.without_best >= options.patience:
        return f"patience: {board.without_best} trials without a new best"
    if options.timeout is not None and board.spent >= options.timeout:
        return "timeout"
    return ""


class Watcher:
    """Whoever shows a run to a person: the runner calls, nothing comes back. This one shows nothing; views override it."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """A step of the set-up goes on (download, decoding)."""

    def opened(self, board: Board) -> None:
        """The study is open and its workers are ready."""

    def changed(self, board: Board) -> None:
        """Something on the board is new; called several times a second."""

    def resumed(self, board: Board, trial: OpenTrial, epoch: int) -> None:
        """A trial of an earlier run, of a dead worker, or that waited, goes on after `epoch`."""

    def epoch(self, board: Board, trial: OpenTrial, epoch: Epoch) -> None:
        """A trial has finished an epoch."""

    def waits(self, board: Board, trial: OpenTrial) -> None:
        """A trial waits at a rung until later ones put it among the best."""

    def ended(self, board: Board, trial: OpenTrial, state: str) -> None:
        """A trial is complete, pruned or failed."""

    def closing(self, board: Board) -> None:
        """The run has ended in good order, its last word is stored, and the study is still its own."""

    def warned(self, text: str) -> None:
        """Something went wrong that the run survives."""

    def noted(self, text: str) -> None:
        """Something that whoever asks for details wants to know."""


class Watchers(Watcher):
    """Tells several watchers, one after the other."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers
        for name in vars(Watcher):
            if not name.startswith("_"):
                setattr(self, name, functools.partial(self._tell, name))

    def _tell(self, name: str, *given: object) -> None:
        for watcher in self._watchers:
            getattr(watcher, name)(*given)


@contextlib.contextmanager
def logged_to(watcher: Watcher) -> Iterator[None]:
    """Let a watcher show what the package logs."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            (watcher.warned if record.levelno >= logging.WARNING else watcher.noted)(record.getMessage())

    logger, handler = logging.getLogger("hpo"), Handler(logging.INFO)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
