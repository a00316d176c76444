"""Any program as an objective: its words have places for parameters, and its lines of JSON are epochs.

    python train.py --lr {lr} --width {width} --resume {checkpoint}
    {"epoch": 1, "accuracy": 0.61, "train_loss": 1.2}

No shell is involved: the text is cut into words once, and a value is put into its word whatever it contains.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import string
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import SpaceError, UsageError, nearest
from hpo.objective import Objective
from hpo.own.declare import GIVEN, SPACE
from hpo.search_space import SearchSpace
from hpo.system.files import expanded

if TYPE_CHECKING:
    from hpo.scoring.score import Score

LOADER = "hpo.own.program"
CHECKPOINT = "checkpoint"  # the place for a folder of the trial's own, where a program keeps what it goes on from
_PLACES = (*GIVEN, CHECKPOINT)


def of_command(command: str, score: Score, space: str | None) -> Objective:
    """Return a program as an objective.

    Args:
        command: Its words, as in a shell; `{name}` is a parameter's place.
        score: What the study is judged by: the key of its lines of JSON that has it.
        space: Path of a space file; None: that of the study that is continued.

    Raises:
        UsageError: There is no such program, or a place or a parameter stands alone.
    """
    words = words_of(command)
    places = places_in(words)
    program = shutil.which(words[0])
    if program is None or "{" in words[0]:
        raise UsageError(f"--command: there is no program {words[0]!r}. The first word names one, and no shell reads the others.")
    found = SearchSpace.from_toml(expanded(space)) if space else None
    if found is not None:
        _check(places, found)
    scripts = [Path(word).stem for word in words if word.endswith((".py", ".sh"))]
    return Objective(
        name=command if len(command) <= 60 else command[:59] + "…",
        knobs=None,
        presets={SPACE: found.model_dump()["parameters"]} if found else {},
        loader=LOADER,
        score=score,
        study=next(iter(scripts), Path(program).stem),
        kind="command",
        source=command,
        digest=hashlib.sha256(command.encode()).hexdigest(),
    )


def _check(places: list[str], space: SearchSpace) -> None:
    """Refuse a parameter that has no place, and a place without a parameter."""
    if without := [name for name in space.varied if name not in places]:
        raise SpaceError(f"--command has no place {{{without[0]}}}, and space {space.name!r} varies {without[0]!r}.")
    known = [*space.parameters, *_PLACES]
    if unknown := [name for name in places if name not in known]:
        raise SpaceError(f"--command: space {space.name!r} has no parameter {unknown[0]!r}.{nearest(unknown[0], known)}")


def words_of(command: str) -> list[str]:
    """Return the words of a command, as a shell cuts them."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--command cannot be cut into words: {error}.") from None
    if not words:
        raise UsageError("--command is empty. Write a program's words: 'python train.py --lr {lr}'")
    return words


def places_in(words: list[str]) -> list[str]:
    """Return the names in braces; `{{` and `}}` stand for the braces themselves."""
    try:
        found = [name for word in words for _, name, _, _ in string.Formatter().parse(word) if name is not None]
    except ValueError as error:
        raise UsageError(f"--command: {error}. Braces name parameters; write {{{{ and }}}} for braces themselves.") from None
    if odd := [name for name in found if not name.isidentifier()]:
        raise UsageError(f"--command: {{{odd[0]}}} names no parameter. Write {{{{ and }}}} for braces themselves.")
    return list(dict.fromkeys(found))
