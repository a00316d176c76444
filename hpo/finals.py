"""Finalists: the best trials of a study and its default point, trained again with the same fresh seeds, in studies of their own.

STUDY.finalists repeats points with seeds, as one run that can be interrupted. Under `--score validation`, STUDY.test then trains
the winner on all training images and reads the test set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo import api, objectives
from hpo.dashboard import beside
from hpo.errors import NoResultError, StudyLockedError, UsageError
from hpo.proof import finalists as proof
from hpo.search import finalists as search
from hpo.settings import PLACES, RunOptions, derived_seed, study_name
from hpo.store import repetitions
from hpo.store.database import exists, locate, open_database
from hpo.store.reading.reader import names
from hpo.store.reading.record import load
from hpo.store.repetitions import SUFFIX, TEST_SUFFIX, Entry, Repetitions
from hpo.system.locks import Lock

if TYPE_CHECKING:
    from hpo.objective import Objective
    from hpo.parameters import Value
    from hpo.proof.finalists import Finalists
    from hpo.runner.board import Watcher
    from hpo.runner.session import Outcome
    from hpo.search_space import SearchSpace
    from hpo.settings import Settings
    from hpo.store.reading.record import StudyRecord

TOP, SEEDS = 3, 5
DONE = ("total", "exhausted")  # reasons of a run's end that leave nothing to train


def finalists(
    study: str,
    *,
    top: int = TOP,
    seeds: int = SEEDS,
    epochs: int | None = None,
    ablation: bool = False,
    command: str | None = None,
    objective: Objective | None = None,
    options: RunOptions | None = None,
    storage: str | None = None,
    watcher: Watcher | None = None,
) -> Finalists:
    """Train the best few trials of a study and its default point again, each with the same fresh seeds, and say what that proves.

    Called again it continues; more `top` and more `seeds` add to what is there.

    Args:
        study: Its name.
        top: How many of the best trials that differ; the default point is trained in any case.
        seeds: Trainings of each, 2 at least.
        epochs: Of each training; by default those of the study.
        ablation: Also put each choice of the winner back to the default, one at a time, with the same seeds.
        command: The words of a study's program, where it is trained by one.
        objective: What is optimized, where it was given to `hpo.run` as a value.
        options: Workers, device and time of this run; its `trials`, `target` and `patience` do not apply.
        storage: As for `hpo.run`.
        watcher: Receives the events of the runs.

    Returns:
        Means, gains, the winner; `missing` says how many trainings are still to be done if the run was interrupted.

    Raises:
        UsageError: No such study, one that hpo did not make, or a number that is too small.
        NoResultError: No trial of it is complete.
        StudyLockedError: It is being run.
    """
    wanted = Wanted(top, seeds, epochs, ablation, command, objective)
    return conduct(study, wanted, options=options, storage=storage, watcher=watcher)[0]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is to be trained; the arguments of `finalists`."""

    top: int
    seeds: int
    epochs: int | None
    ablation: bool
    command: str | None
    objective: Objective | None = None


def conduct(study: str, wanted: Wanted, **how: Any) -> tuple[Finalists, Outcome]:  # noqa: ANN401  # options, storage, watcher
    """Do the work of `finalists`; return the result and how the last of its runs ended."""
    if wanted.top < 1:
        raise UsageError(f"--top = {wanted.top}: one finalist at least.")
    if wanted.seeds < 2:
        raise UsageError(f"--seeds = {wanted.seeds}: the interval of a mean needs two trainings at least; five are usual.")
    origin = _origin(study, how["storage"])
    contest = _Contest(origin, origin.space, _objective(origin, wanted), **how)  # type: ignore[arg-type]  # checked
    settings = contest.settings(wanted.epochs)  # before anything is chosen: says what does not fit
    plan = contest.plan(wanted.top, wanted.seeds)
    outcome = contest.train(origin.name + SUFFIX, plan, settings)
    found = contest.found()
    if outcome.reason.partition(":")[0] in DONE and found.winner is not None and wanted.ablation:
        plan = plan.with_entries(search.ablations(contest.space, found.winner.entry.point))
        outcome = contest.train(origin.name + SUFFIX, plan, settings)
        found = contest.found()
    reads = origin.has("score") and origin.settings is not None and origin.settings.score == "validation"
    if outcome.reason.partition(":")[0] in DONE and found.winner is not None and reads:
        outcome = contest.read(found.winner.entry.point, found.winner.entry.trial, settings)
        found = contest.found()
    if found.winner is not None and contest.trained:
        contest.publish()
    return found, outcome


def _origin(study: str, storage: str | None) -> StudyRecord:
    """Return the study whose finalists are wanted.

    Raises:
        UsageError, NoResultError, StudyLockedError: It can have none, or none now.
    """
    found = load(study, locate(storage))
    if (of := repetitions.stored(found.attributes)) is not None:
        raise UsageError(f"study {study!r} is itself made of repeated trainings. Name the study that they come from: {of.study}")
    if not found.ours or found.settings is None or found.space is None:
        raise UsageError(f"study {study!r} was not made by hpo, so nobody knows how to train its points again.")
    if found.by_run:
        raise UsageError(
            f"study {study!r} is of an objective whose trials say themselves what they vary: none is the default point, "
            "and there is no point to train again. Fix its winner's values in the objective, and run that with several seeds."
        )
    study_name(found.name + SUFFIX)
    lock = Lock(found.folder / "lock")
    if not lock.is_free():
        raise StudyLockedError(f"study {study!r} is being run, and its best may change. Wait for it: hpo show {study}")
    _ = found.best  # raises, where there is none
    return found


def _objective(origin: StudyRecord, wanted: Wanted) -> Objective:
    """Return what trains the points of a study, by the recipe that it was made with."""
    found = wanted.objective or objectives.of_record(origin, wanted.command, by="finalists")
    if found.name != origin.objective.name:
        raise UsageError(f"study {origin.name!r} is of the objective {origin.objective.name!r}, and this is {found.name!r}.")
    return dataclasses.replace(found, recipe=origin.recipe)


@dataclasses.dataclass(frozen=True)
class _Contest:
    """A study and how its finalists are trained.

    Attributes:
        trained: Studies that have more trainings now.
    """

    origin: StudyRecord
    space: SearchSpace
    objective: Objective
    options: RunOptions | None = None
    storage: str | None = None
    watcher: Watcher | None = None
    trained: list[str] = dataclasses.field(default_factory=list)

    def settings(self, epochs: int | None) -> Settings:
        """Return the settings of the finalists: the study's, so that images are the same; nothing is searched or stopped.

        Raises:
            UsageError: The finalists that are there were trained for another number of epochs.
        """
        made = self.origin.settings
        if made is None:
            raise AssertionError("a study without settings has no finalists")
        known = self._stored(SUFFIX)
        if known is not None and known.settings is not None:
            if epochs not in (None, known.settings.epochs):
                raise UsageError(
                    f"study {known.name!r} was trained with --epochs {known.settings.epochs}, and you asked for {epochs}. "
                    f"Leave --epochs out to continue it."
                )
            epochs = known.settings.epochs
        places = {key: Path(place) for key in PLACES if (place := self._remembered().get(key)) and getattr(made, key)}
        other = {"sampler": "random", "pruner": "none", "warm_start": None, "epochs": epochs or made.epochs}
        return type(made).of(**{**made.model_dump(include=made.model_fields_set), **other, **places})

    def plan(self, top: int, n_seeds: int) -> Repetitions:
        """Return what is to be trained: what is planned already, and what is asked for beyond it.

        Raises:
            NoResultError: No trial differs from the default point.
        """
        wanted = search.chosen(self.origin, self.space, top, n_seeds)
        known = self._stored(SUFFIX)
        before = repetitions.stored(known.attributes) if known else None
        if before is not None and sum(entry.role == "finalist" for entry in before.entries) >= top:
            return before.with_seeds(list(wanted.seeds))
        found, name = len(wanted.entries) - 1, self.origin.name
        if not found:
            raise NoResultError(
                f"study {name!r} has no complete trial that differs from the default point: there is nothing to compare. "
                f"Continue it: hpo resume {name} --trials N"
            )
        if found < top and self.watcher:
            self.watcher.warned(
                f"study {name!r} has fewer than {top} complete trials that differ from the default point and from each other: "
                f"{found}. No more are trained again."
            )
        return before.with_seeds(list(wanted.seeds)).with_entries(list(wanted.entries)) if before else wanted

    def train(self, name: str, plan: Repetitions, settings: Settings) -> Outcome:
        """Train what is missing of a plan, in a study of its own."""
        remembered = self._remembered().get("data_dir")
        options = self.options or RunOptions()
        if options.data_dir is None and isinstance(remembered, str) and Path(remembered).is_dir():
            options = options.model_copy(update={"data_dir": Path(remembered)})
        outcome = api.run_as_told(
            name,
            str(self.storage) if self.storage else None,
            self.watcher,
            settings=settings,
            space=self.space,
            objective=self.objective,
            options=options,
            repetitions=plan,
        )
        self.trained.extend([] if outcome.idle else [name])
        return outcome

    def read(self, winner: Mapping[str, Value], trial: int | None, settings: Settings) -> Outcome:
        """Train the winner on all training images, scored on the test set: once, whatever it scores."""
        known = self._stored(TEST_SUFFIX)
        before = repetitions.stored(known.attributes) if known else None
        entry = Entry(role="winner", point=dict(winner), trial=trial)
        seed = derived_seed(settings.seed, "test", 0)
        plan = before or Repetitions(study=self.origin.name, entries=(entry,), seeds=(seed,))
        plan = plan.with_entries([entry])
        if before and known and len(plan.entries) > len(before.entries) and self.watcher:
            self.watcher.warned(
                f"another winner has read the test set before (study {known.name}): "
                f"this is reading {len(before.entries) + 1}, and says less than the first."
            )
        return self.train(self.origin.name + TEST_SUFFIX, plan, settings.model_copy(update={"score": "test"}))

    def found(self) -> Finalists:
        """Return what is proven so far."""
        result = proof.about(load(self.origin.name, self.origin.location))
        if result is None:
            raise AssertionError("finalists were trained, and are not found")
        return result

    def publish(self) -> None:
        """Let the dashboard's notes of the study and of its finalists say what was found; their own runs knew less."""
        for name in (self.origin.name, self.origin.name + SUFFIX):
            try:
                beside.publish(name, str(self.storage) if self.storage else None)
            except Exception as error:  # noqa: BLE001  # the trainings are done, and a note is no reason to lose their result
                if self.watcher:
                    self.watcher.warned(f"the dashboard's note of study {name!r} is not up to date: {error}")

    def _stored(self, suffix: str) -> StudyRecord | None:
        location = self.origin.location
        name = self.origin.name + suffix
        return load(name, location) if exists(location) and name in names(open_database(location)) else None

    def _remembered(self) -> Mapping[str, Any]:
        found = self.origin.attributes.get("options")
        return found if isinstance(found, dict) else {}
