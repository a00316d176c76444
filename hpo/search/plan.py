"""A plan decides who trains on: which trials go on after an epoch, which wait for others, and which stop.

Halving (halving.py) lets trials wait; Optuna's pruners (pruning.py) decide at once. A plan keeps the trials that wait. Whoever
runs a study asks it three things: what a trial shall do after an epoch (`judge`), which of those that wait goes on (`next`), and
which of them never will (`hopeless`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.search.open_trial import OpenTrial


Does = Literal["go on", "wait", "stop"]


class Judgement(NamedTuple):
    """What a trial shall do after an epoch.

    Attributes:
        does: It trains on, waits until the plan lets it go on, or stops for good.
        notes: System attributes of the trial that are new with this.
    """

    does: Does
    notes: Mapping[str, Any] = {}


GO_ON = Judgement("go on")


class Plan(ABC):
    """Decides who trains on. Unless a plan says otherwise, nobody waits.

    Trials that are spared, of the points that a space names, are trained to the end whatever they score.

    Attributes:
        waiting: The trials that wait, by number.
    """

    waiting: Mapping[int, OpenTrial] = MappingProxyType({})

    def load(self, stored: FrozenTrial, opened: OpenTrial | None) -> None:  # noqa: B027  # a plan in which nobody waits has nothing to do
        """Take note of a trial of the database; `opened` if it is running: it waits if it did before."""

    @abstractmethod
    def judge(self, trial: OpenTrial, epoch: int) -> Judgement:
        """Return what a trial shall do after an epoch whose score it knows; one that shall wait, waits from now on.

        An epoch may be judged again: after a crash, or when a checkpoint brings it back.
        """

    def next(self, *, last: bool = False) -> OpenTrial | None:  # noqa: ARG002  # nobody waits
        """Return the waiting trial that may go on now; `last` if no trial begins any more."""
        return None

    def resume(self, trial: OpenTrial) -> None:  # noqa: B027  # a plan in which nobody waits has nothing to do
        """Let a waiting trial go on."""

    def hopeless(self, total: int | None) -> list[OpenTrial]:  # noqa: ARG002  # nobody waits
        """Return the waiting trials that will not go on, in the order in which they stop.

        Args:
            total: Trials that the study shall have; None if no trial goes on any more.
        """
        return []

    def end(self, number: int, *, failed: bool) -> None:  # noqa: B027  # a plan in which nobody waits has nothing to do
        """Take note that a trial has ended."""

    @abstractmethod
    def stopped_at(self, number: int) -> int | None:
        """Return the epoch after which a trial is as good as stopped, though it waits or is trained on; None for any other."""
