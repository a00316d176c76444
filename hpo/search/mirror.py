"""A study in memory, as Optuna's samplers and pruners see it; what they decide goes into the database by the ledger."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, json_to_distribution
from optuna.trial import TrialState

from hpo.search.memory import FOR_PRUNERS
from hpo.search.pruning import make_pruner
from hpo.search.samplers import history_for, lasting_sampler, make_sampler, random_state, restore
from hpo.store.schema import SAMPLER, ByRun, experimental

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from hpo.parameters import Value
    from hpo.search.memory import Memory
    from hpo.settings import SearchSettings

    Fit = Callable[[Mapping[str, Value]], Mapping[str, Value]]


_SHARED = "tpe:relative_params:"  # a trial's system attributes, in which TPE keeps what it has drawn together


class Suggestion(NamedTuple):
    """What a trial that asked for a parameter gets.

    Attributes:
        value: Of the parameter.
        distribution: What it was drawn from.
        is_new: Whether it was not asked for before.
        of_trial, of_study: System attributes that are new with it.
        warning: What Optuna says of the question.
    """

    value: Any
    distribution: BaseDistribution
    is_new: bool
    of_trial: Mapping[str, Any]
    of_study: Mapping[str, Any]
    warning: str


class Mirror:
    """One study.

    Args:
        name: Of the study: Optuna's hyperband puts a trial into a bracket by its number and this.
        memory: Empty.
        direction: As Optuna calls it.
        settings: Of the study.
        varied: Its space, in Optuna's words.
        system: The study's system attributes, which hold what samplers keep there.
        levels: Epochs after which trials may be stopped, as halving has them; before the first no pruner stops any.
    """

    def __init__(
        self,
        name: str,
        memory: Memory,
        direction: Literal["maximize", "minimize"],
        settings: SearchSettings,
        varied: Mapping[str, BaseDistribution],
        system: Mapping[str, Any],
        levels: Sequence[int],
    ) -> None:
        self._memory, self._settings, self._varied = memory, settings, dict(varied)
        self._running: dict[int, optuna.Trial] = {}  # by number
        with experimental():
            pruner = make_pruner(settings, levels)
            self._study = optuna.create_study(storage=memory, study_name=name, direction=direction, pruner=pruner)
        self._id = memory.get_study_id_from_name(name)
        # the dashboard's notes and artifacts stay out: there may be thousands, and these are looked through at every trial
        self._system = {k: v for k, v in system.items() if not k.startswith(("dashboard:", "artifacts:", "hpo:"))}
        for key, value in self._system.items():
            memory.set_study_system_attr(self._id, key, value)
        self._lasting = isinstance(varied, ByRun)
        if self._lasting:
            with experimental():
                self._study.sampler = lasting_sampler(settings)
            restore(self._study.sampler, system.get(SAMPLER))

    @property
    def running(self) -> list[int]:
        """Numbers of the trials that have begun and not ended."""
        return sorted(self._running)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials by number."""
        return self._study.get_trials(deepcopy=False)

    def add(self, trial: FrozenTrial) -> None:
        """Add a stored trial."""
        trial_id = self._memory.create_new_trial(self._id, template_trial=trial)
        if trial.state == TrialState.RUNNING:
            self._running[trial.number] = self._reopened(trial_id, trial.system_attrs)

    def _reopened(self, trial_id: int, system: Mapping[str, Any]) -> optuna.Trial:
        """Return a trial that goes on, with what the sampler has drawn for parameters that it did not ask for yet."""
        opened = optuna.Trial(self._study, trial_id)
        parts = sorted((int(key.removeprefix(_SHARED)), text) for key, text in system.items() if key.startswith(_SHARED))
        if parts and self._lasting:
            drawn = json.loads("".join(text for _, text in parts))
            frozen = self._memory.get_trial(trial_id)
            opened.relative_search_space = self._study.sampler.infer_relative_search_space(self._study, frozen)
            opened._relative_params = drawn  # noqa: SLF001  # Optuna's own is drawn once for a trial too
        return opened

    def ask(self, number: int, point: Mapping[str, Value] | None, fit: Fit) -> dict[str, Any]:
        """Begin a trial: the next one, or one that was added as waiting; return its parameters.

        Args:
            number: Of the trial.
            point: Its parameters; None for what the sampler chooses.
            fit: Returns what is to be tried instead of what the sampler chose.
        """
        if point is not None and number < len(self.trials):
            self._memory.set_trial_system_attr(self._trial_id(number), "fixed_params", dict(point))
        elif point is not None:
            self._study.enqueue_trial(dict(point))
        with experimental(), self._memory.showing(history_for(self._settings.sampler)):
            if not self._lasting:
                self._study.sampler = make_sampler(self._settings, self._varied, number)
            trial = self._study.ask(self._varied)
        if trial.number != number:
            raise AssertionError(f"the mirror is at trial {trial.number}, the record at {number}")
        params = trial.params if point is not None else dict(fit(trial.params))
        for name in (name for name, value in params.items() if value != trial.params[name]):
            value = self._varied[name].to_internal_repr(params[name])
            self._memory.set_trial_param(self._trial_id(number), name, value, self._varied[name])
        self._running[number] = trial
        return params

    def suggest(self, number: int, name: str, text: str) -> Suggestion:
        """Let a running trial have a parameter.

        Args:
            number: Of the trial.
            name: Of the parameter.
            text: What it is to be drawn from, as Optuna stores it.

        Raises:
            ValueError: It is no distribution, or another than earlier trials drew it from.
        """
        trial, before = self._running[number], self.attributes(number)
        is_new = name not in trial.params
        with warnings.catch_warnings(record=True) as told, self._memory.showing(history_for(self._settings.sampler)):
            warnings.simplefilter("always")
            distribution = json_to_distribution(text)
            told.clear()  # of choices that are lists
            value = _suggested(trial, name, distribution)
        of_trial = {key: one for key, one in self.attributes(number).items() if before.get(key) != one}
        of_study = self.notes() | ({SAMPLER: random_state(self._study.sampler)} if is_new else {})
        warning = "; ".join(str(one.message) for one in told if one.category is RuntimeWarning)
        return Suggestion(value, trial.distributions[name], is_new, of_trial, of_study, warning)

    def notes(self) -> dict[str, Any]:
        """Return the study's system attributes that are new since this was called last."""
        now = self._memory.get_study_system_attrs(self._id)
        new = {key: value for key, value in now.items() if self._system.get(key) != value}
        self._system |= new
        return new

    def report(self, number: int, epoch: int, score: float) -> None:
        """Take note of a running trial's score."""
        self._running[number].report(score, epoch)

    def should_prune(self, number: int) -> bool:
        """Return what Optuna's pruner says of a running trial after its latest epoch."""
        with self._memory.showing(FOR_PRUNERS):
            return self._running[number].should_prune()

    def attributes(self, number: int) -> dict[str, Any]:
        """Return a trial's system attributes."""
        return dict(self._memory.get_trial_system_attrs(self._trial_id(number)))

    def mark(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Set system attributes of a trial."""
        for key, value in attributes.items():
            self._memory.set_trial_system_attr(self._trial_id(number), key, value)

    def describe(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Set attributes of a running trial."""
        for key, value in attributes.items():
            self._running[number].set_user_attr(key, value)

    def end(self, number: int, state: TrialState, value: float | None = None) -> None:
        """End a running trial. Optuna finds the value of a pruned one itself."""
        self._study.tell(self._running.pop(number), value, state)

    def refuse(self, number: int) -> None:
        """End a trial that was added as waiting: it failed."""
        self._memory.set_trial_state_values(self._trial_id(number), TrialState.FAIL)

    def _trial_id(self, number: int) -> int:
        return self._memory.get_trial_id_from_study_id_trial_number(self._id, number)


def _suggested(trial: optuna.Trial, name: str, asked: BaseDistribution) -> Any:  # noqa: ANN401  # whatever is drawn from
    if isinstance(asked, CategoricalDistribution):
        return trial.suggest_categorical(name, asked.choices)
    if isinstance(asked, FloatDistribution):
        return trial.suggest_float(name, asked.low, asked.high, step=asked.step, log=asked.log)
    given: Any = asked
    return trial.suggest_int(name, given.low, given.high, step=given.step, log=given.log)
