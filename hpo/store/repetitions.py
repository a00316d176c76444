"""What a study of finalists repeats: points of another study, each with the same seeds. Stored with it, as its whole plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hpo.parameters import Value  # pydantic reads annotations at run time

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "finalists"  # the study's attribute
SUFFIX = ".finalists"  # of the study's name
TEST_SUFFIX = ".test"  # of the study in which the winner is trained on all training images, and reads the test set

Role = Literal["default", "finalist", "ablation", "winner"]


class Entry(BaseModel):
    """A point that is repeated.

    Attributes:
        role: Why it is.
        point: A value for each parameter that the study varies.
        trial: Of the study that it comes from; None for one that nobody has tried.
        without: Of an ablation the parameter that has its default again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    point: dict[str, Value]
    trial: int | None = None
    without: str | None = None


class Repetitions(BaseModel):
    """Points and seeds.

    Attributes:
        study: The study that the points come from.
        entries: The points; no two are equal.
        seeds: Each point is trained with each of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    entries: tuple[Entry, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)

    @property
    def trainings(self) -> list[tuple[Entry, int]]:
        """What is trained, in order: every point with the first seed, then with the next: what is interrupted is paired too."""
        return [(entry, seed) for seed in self.seeds for entry in self.entries]

    def with_entries(self, entries: list[Entry]) -> Repetitions:
        """Return it with more points; those that it has already stay as they are."""
        known = [entry.point for entry in self.entries]
        return self.model_copy(update={"entries": (*self.entries, *(entry for entry in entries if entry.point not in known))})

    def with_seeds(self, seeds: list[int]) -> Repetitions:
        """Return it with more seeds."""
        return self.model_copy(update={"seeds": tuple(dict.fromkeys([*self.seeds, *seeds]))})


def stored(attributes: Mapping[str, Any]) -> Repetitions | None:
    """Return what a study repeats; None where it is an ordinary one, or where that is not what hpo writes."""
    try:
        return Repetitions.model_validate(attributes.get(KEY))
    except ValidationError:
        return None
