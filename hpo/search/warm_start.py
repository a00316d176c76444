"""Re-use what another study found: its best configurations are the first that a new one tries after its default point.

The other study may have been made on other data, with fewer images or epochs, or in another space: what it found is a suggestion,
and the new study measures it anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.errors import UsageError
from hpo.search.record import load, ranked

if TYPE_CHECKING:
    from hpo.parameters import Value
    from hpo.search.storage import Location
    from hpo.space import SearchSpace

POINTS = 5  # best configurations that are taken over


def starting_points(name: str, location: Location, space: SearchSpace) -> list[dict[str, Value]]:
    """Return the best configurations of study `name` that `space` can express, best first, at most `POINTS`.

    A parameter that the space varies and the study did not, or whose value lies outside the space's range, takes its default;
    a configuration of which nothing is left is no point.

    Raises:
        UsageError: No such study, or no complete trial of it says anything about this space.
    """
    points: list[dict[str, Value]] = []
    for trial in ranked(load(name, location).trials):
        known = {key: value for key, value in trial.params.items() if key in space.varied and space.varied[key].holds(value)}
        point = space.default | known
        if known and point != space.default and point not in points:
            points.append(point)
    if not points:
        raise UsageError(
            f"study {name!r} in {location} has no complete trial whose parameters lie in space {space.name!r}: "
            f"there is nothing to start from. Leave out --warm-start {name}"
        )
    return points[:POINTS]
