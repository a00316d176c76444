"""What a study optimizes, as a value: what can be set, what is varied by default, what the score is, and who trains.

Search, store, runner and report know parameters, points (a value for each parameter) and scores. What a point means is the
objective's business: the built-in network (convnet.py) is one objective, a stranger's module another. A study stores the
objective's name; an older one stores none, and is the built-in's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import ValidationError

from hpo.errors import HpoError, SpaceError, nearest
from hpo.scoring.score import Score
from hpo.search_space import SearchSpace
from hpo.settings import metric_of
from hpo.system.files import expanded

if TYPE_CHECKING:
    from hpo.messages import Epoch, FromWorker, ToWorker
    from hpo.parameters import Value
    from hpo.search_space import Knobs

    Begin = Callable[[Mapping[str, Value], int, Path], "Trial | Asking"]  # from a point, a seed and the trial's folder
    Telling = Callable[[str, int, int], None]  # what is done, how much of it, of how much

FIRST = 1  # the recipe of studies that store none
FIRST_BUILT_IN = "convnet"  # the objective of studies that store none
MODEL = "model"  # the kind of an objective that is another network
MODELS = "hpo.builtin.models"
PRETRAINED = "pretrained"  # stands for torchvision's own weights
BUILT_IN = {FIRST_BUILT_IN: "hpo.builtin.convnet"}  # module by name: what a database says loads no other


class TrialError(HpoError):
    """This point cannot be trained to the end: the trial fails, and the search goes on.

    Attributes:
        cause: One word, the same for the same kind of failure.
    """

    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


class CrowdedError(TrialError):
    """Memory ran out. Beside other trials of the process, it may have been theirs."""

    def __init__(self, reason: str) -> None:
        super().__init__("memory", reason)


class DeviceLostError(HpoError):
    """The device computes nothing any more for this process: a kernel has failed, and nobody knows what it has written."""


class Trial(Protocol):
    """One point on its way through the epochs, in a worker."""

    @property
    def measured(self) -> Mapping[str, int | float]:
        """What is known before the first epoch, by the name that is stored."""

    @property
    def history(self) -> Sequence[Epoch]:
        """Epochs done: those that a checkpoint brought back."""

    @property
    def passed_over(self) -> Sequence[str]:
        """For each checkpoint that was not used, a sentence that says why."""

    @property
    def is_kept(self) -> bool:
        """Whether a checkpoint brings back the epochs done so far."""

    def epochs(self, tick: Callable[[int, float, float], None]) -> Iterator[Epoch]:
        """Train on, yielding after each epoch once its checkpoint is on disk; `tick` says how far it is within one."""

    def finish(self) -> Path | None:
        """Write what is to be kept of a trial that is done, and return the path of its last checkpoint, if it has one."""


@runtime_checkable
class Asking(Protocol):
    """One point that is not known before: its code asks for parameters while it runs, and whether to stop (an Optuna objective).

    It keeps no state: whoever leaves it begins it again, with the same answers.
    """

    def hold(self, number: int, ask: Callable[[FromWorker], ToWorker]) -> FromWorker | None:
        """Run the code; return how that ended, or None where the runner wants no more of it.

        Args:
            number: Of the trial.
            ask: Sends a message to the runner, and returns the answer.
        """


@dataclass(frozen=True)
class Objective:
    """What a study optimizes.

    Attributes:
        name: What a study stores.
        knobs: What can be set: a model, a field each with its default and its bounds; None where a database alone tells of it.
        presets: Search spaces by name, as tables of a space file; the first is searched where none is named.
        loader: The module that a worker loads; it has `prepare` (as in training/objective.py).
        score: What a trial is judged by.
        settings: Settings of what is trained that it has; only these are stored.
        recipe: Version of what a training does beyond its point; a study continues by the version that it was made with.
        before: Values of knobs that are younger than a stored space: they train as before the knob existed.
        steps: Batches of an epoch of a point, from that and a worker's environment; None where that is not known.
        suited: The space that is searched where none is named, from a worker's environment; None: the first preset.
        study: What a study of it is called where it is given no name; None: its data set's name, or the objective's.
        guessed: Whether nobody has named the score: a study that there is already has its own.
        kind: Where it is not the built-in network, the option that names it: `model`, `train`, `optuna` or `command`.
        source: What the loader has to know: a model's name; of somebody's own code, where it is; of a program, its words.
        digest: SHA-256 of that code.
        weights: Trained ones that a model begins with: `pretrained` or a file.
        lanes: Whether several trials can be trained in one process and come out as alone.
    """

    name: str
    knobs: Knobs | None
    presets: Mapping[str, Mapping[str, Any]]
    loader: str
    score: Score
    settings: tuple[str, ...] = ()
    recipe: int = FIRST
    before: Mapping[str, Value] = field(default_factory=dict)
    steps: Callable[[Mapping[str, Value], Mapping[str, Any]], int | None] = lambda _point, _environment: None
    suited: Callable[[Objective, Mapping[str, Any]], SearchSpace] | None = None
    study: str | None = None
    guessed: bool = False
    kind: str = ""
    source: str = ""
    digest: str = ""
    weights: str = ""
    lanes: bool = False

    def space(self, name: str | None = None) -> SearchSpace:
        """Return a preset by its name, or the space in a TOML file by its path; without a name the first preset.

        Raises:
            SpaceError: No such preset or file, or the file breaks a rule.
        """
        if name is None and not self.presets:
            raise SpaceError(f"{self.name} declares no space. Write space = hpo.space(…) there, or name one: --space FILE.toml")
        name = next(iter(self.presets)) if name is None else name
        if name in self.presets:
            return SearchSpace.of(name, self.presets[name], self.knobs)
        path = expanded(name)
        if path.suffix == ".toml" or "/" in name or os.path.exists(path):  # noqa: PTH110  # Path.exists raises where a name is too long
            return SearchSpace.from_toml(path, self.knobs)
        raise SpaceError(f"there is no space {name!r}.{nearest(name, self.presets)} The name of a space file ends in .toml.")

    def default_space(self, environment: Mapping[str, Any]) -> SearchSpace:
        """Return the space that a study searches which names none, from what a worker says of its data."""
        return self.suited(self, environment) if self.suited else self.space()

    def whole(self, space: SearchSpace | str | None) -> SearchSpace | None:
        """Return a space over all knobs, whether it is given or named; None stays None.

        Raises:
            SpaceError: No such space, or a parameter of it is none of the knobs, or breaks a bound.
        """
        if isinstance(space, str):
            return self.space(space)
        return space.over(self.knobs) if space and self.knobs else space

    def judged_by(self, metric: str) -> Objective:
        """Return it with a metric of images as its score, where a study may choose one."""
        if "metric" not in self.settings or metric == self.score.name:
            return self
        return replace(self, score=self.score._replace(name=metric))

    @property
    def is_built_in(self) -> bool:
        """Whether it is hpo's own network."""
        return self.name in BUILT_IN and not self.source

    @property
    def is_network(self) -> bool:
        """Whether hpo trains its network, the built-in one or another: its trials leave what the page shows of a network."""
        return self.is_built_in or self.kind == MODEL

    @property
    def described(self) -> dict[str, str]:
        """What each knob is, in a few words; empty where there is nothing to say."""
        fields = self.knobs.model_fields if self.knobs else {}
        return {name: knob.description or "" for name, knob in fields.items()}

    def stored_space(self, stored: object) -> SearchSpace | None:
        """Return a space that a study stores, complete where it is older than a knob; None where hpo did not write it."""
        try:
            space = SearchSpace.model_validate(self.as_made(stored))
            return space.over(self.knobs) if self.knobs and not self.source else space  # a file may have changed since
        except (ValidationError, SpaceError):
            return None

    def as_made(self, space: object) -> object:
        """Return a stored space with the knobs that are younger than it, so that it trains as when it was made."""
        parameters = space.get("parameters") if isinstance(space, dict) else None
        if not isinstance(space, dict) or not isinstance(parameters, dict):
            return space
        return {**space, "parameters": {name: {"type": "fixed", "value": v} for name, v in self.before.items()} | parameters}

    @property
    def options(self) -> list[str]:
        """The options of a command that name it, where it is somebody's own code."""
        match self.kind:
            case "model":
                named = ["--pretrained"] if self.weights == PRETRAINED else ["--weights", self.weights] if self.weights else []
                return ["--model", self.source, *named]
            case "train":
                return ["--train", self.source]
            case "command" | "optuna":
                return [f"--{self.kind}", self.source, f"--{self.score.direction}", self.score.name]
            case _:
                return []

    @property
    def stored(self) -> dict[str, str]:
        """What a study stores of it: enough to show its trials."""
        told = {"name": self.name, "score": self.score.name, "unit": self.score.unit, "direction": self.score.direction}
        own = {"kind": self.kind, "source": self.source, "digest": self.digest} if self.source else {}
        return told | own | ({"weights": self.weights} if self.weights else {})


def of_study(attributes: Mapping[str, Any]) -> Objective:
    """Return a study's objective: one of hpo's own, or of a stranger's what the study stores of it, which has no knobs.

    Args:
        attributes: The study's. Without an objective it is of an older hpo, and the built-in's.
    """
    stored = attributes.get("objective", {"name": FIRST_BUILT_IN})
    told = {key: text for key, text in stored.items() if isinstance(text, str)} if isinstance(stored, dict) else {}
    name = told.get("name", "")
    if name in BUILT_IN:
        found: Objective = import_module(BUILT_IN[name]).OBJECTIVE
        return found.judged_by(metric_of(attributes.get("settings")))
    version = attributes.get("recipe")
    score = Score(told.get("score", "score"), told.get("unit", ""), told.get("direction") != "minimize")
    if told.get("kind") == MODEL:
        model: Objective = import_module(MODELS).of_stored(told, score, version if isinstance(version, int) else FIRST)
        return model
    return Objective(
        name,
        None,
        {},
        loader="",  # what a database says loads nothing
        score=score,
        recipe=version if isinstance(version, int) else FIRST,
        kind=told.get("kind", ""),
        source=told.get("source", ""),
        digest=told.get("digest", ""),
    )
