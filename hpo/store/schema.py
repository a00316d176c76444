"""What hpo stores, in Optuna's words: parameters as distributions, and the names of the attributes of trials and studies.

Importing it imports no Optuna: commands that only show a space know these names too.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING

from hpo.parameters import Choices, IntRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.distributions import BaseDistribution

    from hpo.parameters import FloatRange
    from hpo.space import SearchSpace

MEASURED = ("seconds", "images_per_second", "n_parameters", "macs")  # attributes of a trial that are numbers
STINTS = "stints"  # a trial's attribute: [worker, from, to] for each time that it was trained, Unix time in seconds

# System attributes, which Optuna's dashboard does not show.
LEVELS = "hpo:rungs"  # a study's: its rungs; studies made before it was stored have those of their epochs
WAITS = "hpo:waits"  # a trial's: the epoch, a rung of halving, after which it waits
UNEARNED = "hpo:unearned"  # a trial's: the epoch after which Optuna's pruner would have stopped a trial that is spared
REFUSED = "hpo:refused"  # a trial's: an enqueued point that is none of the space's; hpo has failed it


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return the varied parameters in Optuna's words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a range that is no whole number of steps ends at its last one
        return {name: _distribution(p) for name, p in space.varied.items()}


def _distribution(p: IntRange | FloatRange | Choices) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(p, Choices):
        return CategoricalDistribution(p.choices)
    if isinstance(p, IntRange):
        return IntDistribution(p.low, p.high, log=p.log, step=p.step or 1)
    return FloatDistribution(p.low, p.high, log=p.log, step=p.step)


@contextlib.contextmanager
def experimental() -> Iterator[None]:
    """Use what Optuna calls experimental without its warning: names of metrics, GP and QMC are years old."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
