"""The study that a run is asked to create or to continue: what was named of it, against what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import UsageError
from hpo.runner import provenance
from hpo.search import study
from hpo.search.warm_start import warm_start
from hpo.settings import PLACES, Settings
from hpo.store import definition
from hpo.store.database import exists, open_database
from hpo.store.definition import Definition
from hpo.store.reading import record
from hpo.store.repetitions import KEY

if TYPE_CHECKING:
    from hpo.folders import Location
    from hpo.objective import Objective
    from hpo.parameters import Value
    from hpo.runner.board import Watcher
    from hpo.search_space import SearchSpace
    from hpo.store.repetitions import Repetitions


@dataclass(frozen=True)
class Asked:
    """The study that a run is asked to create or to continue.

    Attributes:
        given: The settings that were named; a study that exists must have been made with these.
        space: Likewise; None where none was named.
        suited: The one that is searched then, chosen by what a worker says of its data.
    """

    name: str
    location: Location
    given: dict[str, Any]
    objective: Objective
    space: SearchSpace | None
    repetitions: Repetitions | None = None
    suited: SearchSpace | None = None

    def stored(self, *, must_exist: bool) -> Definition | None:
        """Return what is known of the study, or None where there is none yet and none need be.

        Raises:
            UsageError: It was made otherwise, or must exist and does not.
        """
        found = None
        if exists(self.location):
            found = definition.stored(open_database(self.location, create=self.location.path is None), self.name)
        if found is not None:
            found = self._same(found)
        elif must_exist:
            record.load(self.name, self.location)  # says which studies there are
        return found

    def starts(self, settings: Settings, watcher: Watcher) -> list[dict[str, Value]]:
        """Return the points of another study that a new one tries; say what of it does not carry over."""
        space = self._space  # there is one, before anything is begun
        if not settings.warm_start:
            return []
        points, left_out = warm_start(settings.warm_start, self.location, self.objective, space, settings)
        for sentence in left_out:
            watcher.warned(sentence)
        return points

    def opened(
        self, settings: Settings, recipe: int, starts: list[dict[str, Value]], environment: dict[str, Any], n_workers: int
    ) -> study.WritableStudy:
        """Create the study or open it.

        Raises:
            UsageError: Another run made it in the meantime, and not as the workers were told.
        """
        database = open_database(self.location, create=True)
        before = definition.stored(database, self.name)
        if before is None:
            described, command = environment | provenance.environment(n_workers), provenance.command()
            made = Definition(
                self.name,
                self.objective,
                settings,
                self._space,
                described,
                command,
                starts,
                recipe=self.objective.recipe,
                repetitions=self.repetitions,
            )
            return study.create(database, made)
        before = self._same(before)
        if (where(before, settings.model_dump()), before.recipe) != (settings, recipe):
            raise UsageError(
                f"study {self.name!r} was created by another run in the meantime. Continue it: hpo resume {self.name}"
            )
        before.check_same_data(environment)
        writable = study.WritableStudy(database, before)
        if self.repetitions:
            writable.note(KEY, self.repetitions.model_dump(mode="json"))
        return writable

    def _same(self, found: Definition) -> Definition:
        """Return what a stored study is continued with.

        Raises:
            UsageError: It was made otherwise.
        """
        found.check_same(self.objective, self.given, self.space)
        if self.repetitions and not found.repetitions:
            raise UsageError(f"study {self.name!r} is no study of finalists. Rename it, or give the first study another name.")
        return replace(found, repetitions=self.repetitions or found.repetitions)

    @property
    def _space(self) -> SearchSpace:
        return self.space or self.suited or self.objective.space()


def where(before: Definition, given: Mapping[str, Any]) -> Settings:
    """Return a study's settings with the places that are named now, or were when it was run last."""
    named = {key: given.get(key) or before.options.get(key) for key in PLACES if getattr(before.settings, key)}
    return before.settings.model_copy(update={key: Path(place) for key, place in named.items() if isinstance(place, (str, Path))})
