"""How many images the classes have, as a study notes it, and whether that needs saying."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hpo.settings import METRICS

UNEQUAL = 1.5  # times as many training images of one class as of another, from which on that is said
MAX_NAME = 40  # characters of a class's name


class Frequencies(NamedTuple):
    """How many images each class has.

    Attributes:
        names: Of the classes.
        train, scored: Images to train on and to score, in the same order.
    """

    names: tuple[str, ...]
    train: tuple[int, ...]
    scored: tuple[int, ...]

    @property
    def unequal(self) -> bool:
        """Whether some classes are much rarer than others."""
        return max(self.train) >= UNEQUAL * max(1, min(self.train))

    @property
    def majority(self) -> float:
        """The share of the scored images that the most frequent class has: the accuracy of always naming it."""
        return max(self.scored) / sum(self.scored)

    def said(self) -> str:
        """Return `from 12 (owl) to 340 (sparrow) training images per class`."""
        few, many = (self.train.index(end(self.train)) for end in (min, max))
        ends = [f"{self.train[i]:,} ({self.names[i][:MAX_NAME]})" for i in (few, many)]
        return f"from {ends[0]} to {ends[1]} training images per class"


def of_environment(environment: Mapping[str, Any]) -> Frequencies | None:
    """Return what a worker said of the classes; None where it did not, or somebody else wrote something odd."""
    names, counts = environment.get("classes"), environment.get("class_counts")
    if not isinstance(names, list | tuple) or not isinstance(counts, dict):
        return None
    found = [counts.get(side) for side in ("train", "scored")]
    for side in found:
        if (
            not isinstance(side, list)
            or len(side) != len(names)
            or not all(type(n) is int and n >= 0 for n in side)
            or not sum(side)
        ):
            return None
    train, scored = (tuple(side) for side in found if side)
    return Frequencies(tuple(map(str, names)), train, scored)


def advice(found: Frequencies, metric: str) -> str:
    """Return what a run says first of classes of unequal frequency; empty where there is nothing to say."""
    if not found.unequal:
        return ""
    if metric != METRICS[0]:
        return f"classes are unequally frequent, {found.said()}; by {metric} each counts as much"
    return (
        f"classes are unequally frequent, {found.said()}: always naming the most frequent one has an accuracy of "
        f"{found.majority:.1%}; --metric balanced-accuracy counts each class as much"
    )
