"""The main loop: ask for configurations, hand them to workers, record epochs, stop poor trials, until a limit is reached.

Only this process writes the study. It notices at once when a worker dies. If this process dies, database and checkpoints still
have everything except the epochs in training.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hpo.folders import stored_checkpoint
from hpo.messages import (
    DeviceLost,
    EpochDone,
    Job,
    Started,
    Suggest,
    Suggested,
    Tick,
    TrialDone,
    TrialFailed,
    TrialPruned,
    Verdict,
)
from hpo.pools import Died
from hpo.runner.board import Board, limit_reached
from hpo.runner.mishaps import TRIAL_DEATHS
from hpo.runner.retention import Folders
from hpo.runner.supply import Supply
from hpo.runner.workers.crew import TURN
from hpo.runner.workers.seating import Seating, continuing, death
from hpo.system.failpoints import reach

if TYPE_CHECKING:
    from collections.abc import Collection

    from hpo.messages import Epoch
    from hpo.pools import Event
    from hpo.runner.board import Watcher
    from hpo.runner.workers.crew import Crew
    from hpo.search.open_trial import OpenTrial
    from hpo.search.plan import Does
    from hpo.search.study import WritableStudy
    from hpo.settings import RunOptions


class Runner:
    """Runs a study until one of its limits is reached.

    Args:
        study: Open for writing; this process holds its lock.
        crew: Its workers are started; each becomes ready in its own time.
        options: Limits of this run.
        watcher: Shows it.
    """

    def __init__(self, study: WritableStudy, crew: Crew, options: RunOptions, watcher: Watcher) -> None:
        self._study, self._crew, self._options, self._watcher = study, crew, options, watcher
        self._folders = Folders(study, options.keep_checkpoints or 1)
        self._mishaps = crew.mishaps
        self.board = Board.of(study, options, crew.size)
        self._seated = Seating(self.board)
        self._supply = Supply(study, self.board, crew, watcher)
        self.board.at_once, self.board.n_train = crew.at_once, crew.environment.get("n_train", 0)

    def stop(self, reason: str) -> None:
        """Let workers finish their epoch, then end; a later run continues their trials. Only the first reason counts."""
        self.board.stop(reason)

    def run(self) -> str:
        """Run until nothing is left to do; return why the run ended: `total`, `exhausted: …`, or the reason given to `stop`."""
        self.stop(limit_reached(self.board, self._options))
        if self._supply.wanted(len(self._seated)):
            self._study.claim()
        turned = time.monotonic()
        while self._assign() or self._seated:
            listening = time.monotonic()
            event = self._crew.listen()
            listened = min(TURN, time.monotonic() - listening)
            if event is not None:
                self._handle(event)
            self._watcher.changed(self.board)
            before, turned = turned, time.monotonic()
            self._check_clock(turned, deaf=turned - before - listened)
        for trial in self._study.plan.hopeless(None):
            if not self.board.stopping and self.board.n_finished < self.board.total:
                self._stop_waiting(trial)
        ended = "total" if self.board.n_finished >= self.board.total else f"exhausted: {self._study.ended}"
        return self.board.stopping or ended

    def _assign(self) -> bool:
        """Hand trials to idle workers; return whether any remain to be handed out."""
        while self._supply.wanted(len(self._seated)):
            worker = self._crew.free(self._seated.trains, drain=self._supply.has_loners)
            if worker is None:
                return True
            trial = self._supply.next(worker, len(self._seated))
            self._crew.idle.discard(worker)
            self._seated.sit(worker, trial)
            point = {} if self._study.space.by_run else self._study.space.point(trial.params)
            folder, seed = self._folders.of(trial.number), self._study.seed(trial.number)
            self._crew.send(worker, Job(trial=trial.number, point=point, folder=folder, seed=seed))
            reach("job.sent")
        return False

    def _handle(self, event: Event) -> None:
        worker, message = event.worker, event.message
        trial = self._seated.heard(worker)
        match message:
            case Died():
                self._process_died(worker, message)
            case DeviceLost() if trial:
                self._mishaps.suspect(trial.number)
                self._watcher.warned(f"trial {trial.number}: {message.reason}")
            case Tick() if trial:
                row = self.board.rows[worker]
                row.fraction, row.images_per_second = message.fraction, message.images_per_second
            case Started() if trial:
                self._started(worker, trial, message)
            case Suggest() if trial:
                self._suggest(worker, trial, message)
            case EpochDone() if trial:
                self._crew.trained(worker, message, self._seated.trains)
                self.board.at_once = self._crew.at_once
                trial.can_wait = message.kept
                does = self._epoch_done(worker, trial, message.epoch)
                self._watcher.epoch(self.board, trial, message.epoch)
                for sentence in message.said:
                    self._watcher.noted(f"trial {trial.number}: {sentence}")
                self._answer(worker, trial, does, asks=message.asks)
            case TrialDone() if trial:
                self._done(self._release(worker), message)
            case TrialPruned() if trial:
                trial.noted(message.notes, message.seconds)
                self._prune(self._release(worker))
            case TrialFailed() if trial:
                trial.noted(message.notes, 0.0)
                if message.crowded and not self._mishaps.alone(message.trial):
                    self._crowded(self._release(worker), message.reason)
                else:
                    self._failed(self._release(worker), message.cause, message.reason)

    def _started(self, worker: int, trial: OpenTrial, message: Started) -> None:
        self._crew.begins(worker, trial.number)
        trial.started(worker, message)
        does: Does = "go on"
        for sentence in message.passed_over:
            self._watcher.warned(f"trial {trial.number}: {sentence}")
        if message.epochs:
            self._watcher.resumed(self.board, trial, message.epochs[-1].number)
        for epoch in message.epochs:  # that a checkpoint brought back; the last may be news to the database
            does = self._epoch_done(worker, trial, epoch)
        self._answer(worker, trial, does)

    def _epoch_done(self, worker: int, trial: OpenTrial, epoch: Epoch) -> Does:
        """Record an epoch; return what the trial shall do as far as the plan is concerned."""
        trial.measured(epoch)
        does = self._study.report(trial, epoch.number, epoch.score)
        self.board.rows[worker].done(epoch, self.board.n_train)
        return does

    def _suggest(self, worker: int, trial: OpenTrial, asked: Suggest) -> None:
        """Give a trial the parameter that its code asks for."""
        try:
            found = self._study.suggest(trial, asked.name, asked.distribution)
        except (ValueError, LookupError, TypeError) as error:
            self._crew.send(worker, Suggested(trial=trial.number, error=f"{asked.name}: {error}"))
            return
        place = found.distribution.to_internal_repr(found.value)
        self._crew.send(worker, Suggested(trial=trial.number, value=place, warning=found.warning))
        reach("suggestion.sent")

    def _answer(self, worker: int, trial: OpenTrial, does: Does, *, asks: bool = False) -> None:
        """Tell a worker what to do after an epoch, and record what that means for its trial.

        Where a trial's code asks whether to stop, it is told, and ends by itself.
        """
        if asks and not self.board.stopping:
            self._crew.send(worker, Verdict(trial=trial.number, go_on=True, stop=does == "stop"))
            return
        last = not asks and trial.epoch >= self._study.settings.epochs
        go_on = does == "go on" and (last or not self.board.stopping)
        self._crew.send(worker, Verdict(trial=trial.number, go_on=go_on))
        if go_on:
            reach("verdict.sent")
            return
        self._release(worker)
        match does:
            case "stop":
                self._prune(trial)
            case "wait":
                self._waits(trial)
            case _:
                self._study.leave(trial)

    def _waits(self, trial: OpenTrial) -> None:
        """Count a trial that waits, and stop those that wait in vain from now on."""
        self.board.count("running", "waiting")
        self.board.has_tried(trial.number)
        self._watcher.waits(self.board, trial)
        for hopeless in self._study.plan.hopeless(self.board.total):
            self._stop_waiting(hopeless)

    def _done(self, trial: OpenTrial, message: TrialDone) -> None:
        if message.checkpoint:
            trial.attributes["checkpoint"] = stored_checkpoint(self._study.location, message.checkpoint)
        trial.noted(message.notes, message.seconds)
        self._folders.keep_correct(trial.number)
        score = trial.score if message.value is None else message.value  # code of one's own may need fewer epochs
        self._study.complete(trial, score)
        self._ended(trial, "complete", score)

    def _prune(self, trial: OpenTrial) -> None:
        after = f"epoch {trial.epoch}" if not self._study.space.by_run else f"step {trial.epoch}" if trial.scores else "no report"
        trial.attributes["reason"] = f"stopped by the {self._study.settings.pruner} pruner after {after}"
        self._folders.keep_correct(trial.number)
        self._study.prune(trial)
        self._ended(trial, "pruned", None)

    def _stop_waiting(self, trial: OpenTrial) -> None:
        self.board.count("waiting", "running")
        self._prune(trial)

    def _ended(self, trial: OpenTrial, state: str, score: float | None) -> None:
        """Count a trial that is complete with a score, or pruned."""
        self._mishaps.ended_well()
        self.board.count("running", state)
        self.board.has_tried(trial.number)
        if score is not None:
            self.board.has_completed(trial.number, score, named=trial.params in self._study.space.first)
        reach("trial.tidying")
        self._folders.tidy(trial.number, score)
        reach("trial.tidied")
        self._watcher.ended(self.board, trial, state)
        self.stop(limit_reached(self.board, self._options))

    def _failed(self, trial: OpenTrial, cause: str, reason: str) -> None:
        trial.attributes["reason"] = reason
        self._study.fail(trial)
        self.board.count("running", "fail")
        self._folders.tidy(trial.number, None)
        self._watcher.ended(self.board, trial, "fail")
        self.stop(self._mishaps.failed(cause, reason))

    def _crowded(self, trial: OpenTrial, reason: str) -> None:
        """Let a trial that had too little memory beside others go on alone."""
        self._mishaps.crowded(trial.number)
        self._watcher.warned(f"trial {trial.number}, beside others: {reason} It continues alone.")
        self._supply.interrupted.appendleft(trial)

    def _release(self, worker: int) -> OpenTrial:
        """Take its trial from a worker, which can train another."""
        self._crew.idle.add(worker)
        return self._seated.take(worker)

    def _process_died(self, worker: int, died: Died, silent: Collection[int] = ()) -> None:
        """Record the death of a worker's process, and what becomes of its trials; `silent`: those that are to blame for it."""
        self._crew.end(worker)  # a silent one still lives
        trials = [self._seated.take(other) for other in self._crew.beside(worker) if other in self._seated]
        numbers = [trial.number for trial in trials]
        self._mishaps.died(self._crew.seat(worker), silent or numbers)
        going_on = [number for number in numbers if not self._mishaps.deadly(number)]
        self._watcher.warned(death(self._crew.name(worker), died, numbers, going_on, silent))
        for trial in reversed(trials):
            if trial.number in going_on:
                self._supply.interrupted.appendleft(trial)
            else:
                self._failed(trial, "killed", f"its worker died {TRIAL_DEATHS} times: {died.why}")
        self.stop(self._mishaps.too_many_deaths(died.why))
        if not self.board.stopping:
            self._crew.replace(worker, died)

    def _check_clock(self, now: float, deaf: float) -> None:
        """Check the time limits.

        For the last `deaf` seconds the runner did not listen (the database was locked, or the machine slept). Messages of that
        time are not read yet, so it does not count as the workers' silence.
        """
        self.stop(limit_reached(self.board, self._options))
        self._seated.excuse(now, deaf)
        if self._options.trial_timeout is not None:
            self._end_silent(now, self._options.trial_timeout)
        if self.board.grace_is_over and self._seated:
            self._leave_all()

    def _end_silent(self, now: float, limit: float) -> None:
        """End the processes in which a trial says nothing any more; those beside it go on in another one, and are not blamed."""
        while late := self._seated.silent(now, limit):
            worker = min(late)
            silent = [self._seated.trains[other] for other in self._crew.beside(worker) if other in late]
            self._process_died(worker, Died(f"silent for {late[worker]:.0f} s (--trial-timeout)", ""), silent)

    def _leave_all(self) -> None:
        """End workers in the middle of their epoch."""
        trains = self._seated.trains
        for worker in trains:
            self._crew.end(worker)
            self._study.leave(self._seated.take(worker))
        self._watcher.warned(f"the grace of {self.board.grace:g} s is over: {continuing(trains.values())} last completed epoch.")
