"""One run from its first check to its last message: database, lock, workers, study, loop. What `hpo run` and `hpo.run` call."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo import folders
from hpo.errors import NoResultError, StorageError, UsageError
from hpo.pools.devices import described, seats
from hpo.pools.local import LocalPool
from hpo.runner import provenance
from hpo.runner.asked import Asked, where
from hpo.runner.board import Watcher, logged_to, reached
from hpo.runner.loop import Runner
from hpo.runner.signals import CODES, Stoppable, stopping_by_signals
from hpo.runner.workers.crew import Crew
from hpo.scoring.classes import advice, of_environment
from hpo.settings import DEFAULT_TRIALS, PLACES, RunOptions, Settings, data_folder, study_name
from hpo.store import place, sqlite
from hpo.store.database import exists, locate
from hpo.store.reading import record
from hpo.system.failpoints import reach
from hpo.system.locks import Lock

if TYPE_CHECKING:
    from hpo.folders import Location
    from hpo.objective import Objective
    from hpo.search import study
    from hpo.search_space import SearchSpace
    from hpo.store.definition import Definition
    from hpo.store.repetitions import Repetitions


SHORT = 3600.0  # seconds: on one core, the largest network of `basic` takes from 25 minutes to more than that


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        record: The study as it is stored now.
        reason: `total`, `exhausted: …`, `timeout`, `target: …`, `patience: …`, `failures: …`, `deaths: …`, `interrupted`,
            `terminated` or `hung up`.
        total: Finished trials that the study was asked to have.
        idle: Whether that was so before: there was nothing to do, and nothing was changed.
    """

    record: record.StudyRecord
    reason: str
    total: int = DEFAULT_TRIALS
    idle: bool = False

    @property
    def exit_code(self) -> int:
        """The code that a command ends with."""
        kind = self.reason.partition(":")[0]
        if kind in ("failures", "deaths") or (kind in ("total", "exhausted") and self.record.winner is None):
            return NoResultError.exit_code
        return CODES.get(kind, 0)


def run(
    name: str | None = None,
    *,
    objective: Objective,
    settings: Settings | None = None,
    space: SearchSpace | str | None = None,
    options: RunOptions | None = None,
    storage: str | None = None,
    watcher: Watcher | None = None,
    must_exist: bool = False,
    repetitions: Repetitions | None = None,
) -> Outcome:
    """Create a study or continue it, until it has `options.trials` finished trials in total or another limit is reached.

    Arguments and errors are those of `hpo.run`, whose work this is; `must_exist` refuses to make a new study.
    `repetitions`: what a study of finalists trains; more of it, where there is one already.
    """
    settings, options, watcher = settings or Settings(), options or RunOptions(), watcher or Watcher()
    _check_score(objective, settings, options)
    name = study_name(_named(objective, settings) if name is None else name)
    given = {key: getattr(settings, key) for key in settings.model_fields_set}
    asked = Asked(name, locate(storage), given, objective, objective.whole(space), repetitions)
    with contextlib.ExitStack() as stack:
        stack.enter_context(logged_to(watcher))
        _check_place(asked.location, watcher)
        before = asked.stored(must_exist=must_exist)
        lock = Lock(folders.study_folder(asked.location, asked.name) / "lock", holder=provenance.holder())
        if before is not None:
            objective = replace(objective, score=before.objective.score) if objective.guessed else objective
            settings, options = where(before, asked.given), _remembered(options, before)
            found = record.load(asked.name, asked.location)
            _warn_of_change(found.objective, objective, watcher)
            if reason := _nothing_left(found, options, before.repetitions):
                return Outcome(found, reason, options.trials or DEFAULT_TRIALS, idle=True)
            _take(lock, asked.name, stack)
        else:
            options = options.model_copy(update=_n_trials(repetitions))
            settings.check_given()
        objective = objective.judged_by(settings.metric)
        asked = replace(asked, objective=objective)
        recipe = before.recipe if before is not None else objective.recipe
        planned = seats(options.workers, options.device, lanes=objective.lanes, cores=_cores(objective, options))
        pool = LocalPool(planned, settings, data_folder(options.data_dir), objective, recipe)
        stack.callback(pool.close)
        runners = stack.enter_context(stopping_by_signals())
        watcher.preparing(_starting(len(pool.processes), objective), 0, 0)
        crew = Crew(pool, watcher, grows=options.workers == "auto")
        environment = crew.assemble()
        asked = replace(asked, suited=objective.default_space(environment)) if before is None and asked.space is None else asked
        starts = asked.starts(settings, watcher) if before is None else []
        _take(lock, asked.name, stack)
        at_once = {"at_once": described(planned, options.workers)} if crew.size > crew.n_seats else {}
        writable = asked.opened(settings, recipe, starts, environment | at_once, crew.size)
        writable.note("options", _to_remember(options, settings))
        reach("run.noted")
        runner = Runner(writable, crew, options, watcher)
        runner.board.where = described(planned, options.workers)
        runner.board.told = _told(writable.space if asked.suited else None, objective, environment)
        reason = _conducted(runner, writable, watcher, runners)
    return Outcome(record.load(asked.name, asked.location), reason, options.trials or DEFAULT_TRIALS)


def _conducted(runner: Runner, writable: study.WritableStudy, watcher: Watcher, stopped_by_signals: list[Stoppable]) -> str:
    """Run a study that is prepared, note why that ended, and return it."""
    stopped_by_signals.append(runner)
    watcher.opened(runner.board)
    reason = runner.run()
    writable.note("stopped", {"reason": reason, "at": datetime.now(UTC).isoformat(timespec="seconds")})
    reach("run.stopped")
    watcher.closing(runner.board)
    return reason


def _told(space: SearchSpace | None, objective: Objective, environment: Mapping[str, Any]) -> list[str]:
    """Return what a run says first, beside the study's name: the space that hpo chose by images and device, and rare classes."""
    found = []
    if space is not None and objective.suited:
        found.append(
            f"space {space.name}, chosen for these images and this device (--space names another): {', '.join(space.varied)}"
        )
    counts = of_environment(environment)
    return [*found, *filter(None, [advice(counts, objective.score.name) if counts else ""])]


def _check_place(location: Location, watcher: Watcher) -> None:
    """Look before the workers are started at what would end the run after an hour.

    Raises:
        StorageError: The database is damaged, or database and checkpoints cannot grow where they are.
    """
    if location.path is None:  # a server's own disk is its own affair; the checkpoints are here
        place.check(location.folder)
        return
    if exists(location):
        sqlite.recognize(location.path)
        if problems := sqlite.problems(location.path, quick=True):
            raise StorageError(f"{location} is damaged ({problems[0]}). Restore a copy, or: {sqlite.recovery(location.path)}")
    place.check(location.path)
    if risk := place.risk(location.path):
        watcher.warned(risk)


def _named(objective: Objective, settings: Settings) -> str:
    """Return the name of a study that was given none."""
    return objective.study or (settings.images if "dataset" in objective.settings else objective.name)


def _check_score(objective: Objective, settings: Settings, options: RunOptions) -> None:
    if options.target is not None:
        objective.score.check(options.target)
    if "metric" in settings.model_fields_set - {*objective.settings}:
        raise UsageError(f"--metric is for hpo's own networks: {objective.name} says itself what counts. Leave it out.")


def _cores(objective: Objective, options: RunOptions) -> int:
    """Return how many cores of a CPU train a trial: two where time is short, so that a large network can be done in it.

    A program of one's own may use one core whatever it is given.
    """
    is_short = options.timeout is not None and options.timeout <= SHORT
    return 2 if is_short and "dataset" in objective.settings else 1


def _starting(n: int, objective: Objective) -> str:
    return f"starting {n} worker{'s' if n > 1 else ''}: loading {objective.source or 'PyTorch and the data set'}"


def _remembered(options: RunOptions, before: Definition) -> RunOptions:
    """Return the options with what an earlier run of the study was given and this one was not."""
    earlier = before.options
    data_dir = earlier.get("data_dir")
    return options.model_copy(
        update={
            "trials": options.trials or earlier.get("trials"),
            "keep_checkpoints": options.keep_checkpoints or earlier.get("keep_checkpoints"),
            "data_dir": data_folder(options.data_dir, Path(data_dir) if data_dir else None),
        }
        | _n_trials(before.repetitions)
    )


def _to_remember(options: RunOptions, settings: Settings) -> dict[str, Any]:
    """Return what the next run of the study takes over where it is not given."""
    places = {key: str(place) for key in PLACES if (place := getattr(settings, key))}
    kept = {"trials": options.trials, "keep_checkpoints": options.keep_checkpoints}
    return kept | places | {"data_dir": str(data_folder(options.data_dir).absolute())}


def _n_trials(repetitions: Repetitions | None) -> dict[str, int]:
    return {"trials": len(repetitions.trainings)} if repetitions else {}


def _warn_of_change(before: Objective, now: Objective, watcher: Watcher) -> None:
    if now.digest == before.digest:
        return
    made, read = (digest[:12] or "none" for digest in (before.digest, now.digest))
    changed = f"{now.name} has changed since the study was made (SHA-256 {made}…, now {read}…)"
    watcher.warned(f"{changed}: earlier trials were trained by other code.")


def _nothing_left(found: record.StudyRecord, options: RunOptions, repetitions: Repetitions | None) -> str:
    """Return why a run of a study would end before it began anything; empty if it would not."""
    if repetitions:
        n_ended = sum(trial.state.is_finished() for trial in found.own)
        return "total" if n_ended >= len(repetitions.trainings) else ""
    if found.n_finished >= (options.trials or DEFAULT_TRIALS):
        return "total"
    stopped = found.attributes.get("stopped")
    ended = str(stopped.get("reason")) if isinstance(stopped, dict) else ""
    if ended.startswith("exhausted") and all(trial.state.is_finished() for trial in found.trials):
        return ended
    best = (found.winner.number, found.winner.value or 0.0) if found.winner else None
    return reached(options.target, best, found.score)


def _take(lock: Lock, name: str, stack: contextlib.ExitStack) -> None:
    """Hold the study's lock until the run ends."""
    if not lock.held:
        lock.take(f"study {name!r} is being run", f"Wait for it, or end it; watch it with: hpo show {name}")
        stack.callback(lock.release)
        reach("lock.taken")
