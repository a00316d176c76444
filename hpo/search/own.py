"""Which trials of a study are hpo's own, told from what every version of hpo has stored.

Optuna's databases are open: a program may enqueue a point, ask for a trial and never end it, or add one with a value of its own
making. Those are shown, but they are no results of the search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.trial import TrialState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

REFUSED = "hpo:refused"  # a trial's system attribute: an enqueued point that is none of the space's; hpo has failed it


def is_ours(trial: FrozenTrial, varied: Mapping[str, BaseDistribution] | None) -> bool:
    """Return whether hpo has tried a trial.

    It has every varied parameter and no other, drawn from the study's own space. If it is complete, its value is the last
    accuracy that was reported. An enqueued trial that nobody has begun is nobody's yet.

    Args:
        trial: As stored.
        varied: `samplers.distributions` of the study's space; None in a study that hpo did not make, where all trials count.
    """
    if varied is None:
        return True
    if trial.state == TrialState.WAITING:
        return False
    if trial.state == TrialState.FAIL and REFUSED in trial.system_attrs:
        return True
    if trial.state == TrialState.COMPLETE and trial.value != trial.intermediate_values.get(trial.last_step or 0):
        return False
    return trial.distributions == varied
