"""What a file of one's own declares, found out in a process that imports it and says so in one line of JSON."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from pydantic import create_model

from hpo.errors import UsageError, nearest
from hpo.objective import Objective, Score
from hpo.own.declare import SPACE
from hpo.search_space import SearchSpace
from hpo.system.children import python
from hpo.system.files import expanded

if TYPE_CHECKING:
    from hpo.search_space import Knobs

LOADER = "hpo.own.train"
_ARGUMENTS = ("config", "data", "resume")
_HOW = "def train(config, data, resume): … yield hpo.Epoch(score, state=…)"


def of_file(source: str) -> Objective:
    """Return the objective that a file declares.

    Args:
        source: `FILE.py:name` of a generator function; `:train` may be left out.

    Raises:
        UsageError: There is no such file, it cannot be imported, or it declares something that is none; says what and where.
    """
    text, _, name = source.rpartition(":") if source.rpartition(":")[2].isidentifier() else (source, "", "")
    path, name = expanded(text or source).absolute(), name or "train"
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"--train {source}: {path} cannot be read: {error.strerror}. Write FILE.py:train") from None
    told = _asked(path, name)
    space = SearchSpace.model_validate(told["space"]) if told["space"] else None
    return Objective(
        name=f"{path.name}:{name}",
        knobs=_knobs(space) if space else None,
        presets={SPACE: space.model_dump()["parameters"]} if space else {},
        loader=LOADER,
        score=Score(**told["score"]),
        kind="train",
        source=f"{path}:{name}",
        digest=digest,
        study=path.stem,
    )


def _knobs(space: SearchSpace) -> Knobs:
    """Return the parameters that a file declares as a model, so that a space file can vary or fix these and no others."""
    fields: dict[str, Any] = {name: (Any, parameter.default) for name, parameter in space.parameters.items()}
    return create_model("Knobs", **fields)


def _asked(path: Path, name: str) -> dict[str, Any]:
    """Let a process import the file and say what it declares."""
    code = f"from hpo.own import describe; describe.main({str(path)!r}, {name!r})"
    done = subprocess.run(python(code), stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603  # our own text
    try:
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise UsageError(f"--train {path.name}: importing it ended its process. {' '.join(last)}".rstrip()) from None
    if "error" in told:
        raise UsageError(f"--train {path.name}: {told['error']}")
    return told


def main(path: str, name: str) -> None:
    """Print what the file at `path` declares, as one line of JSON; what it prints itself goes to standard error."""
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        told = _declared(imported(Path(path)), name)
    except UsageError as error:
        told = {"error": str(error)}
    except ImportedError as error:
        told = {"error": f"it cannot be imported: {said(error.args[0], Path(path))}"}
    print(json.dumps(told), file=line, flush=True)


class ImportedError(Exception):
    """A file raised an error while it was imported, its argument."""


def imported(path: Path) -> ModuleType:
    """Import a file, as Python would with its folder on the path.

    Raises:
        UsageError: It is no Python file.
        ImportedError: It raised an error, whichever.
    """
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path.name} is no Python file: its name should end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # SystemExit too
        raise ImportedError(error) from error
    return module


def function(module: ModuleType, name: str) -> Callable[..., Any]:
    """Return the generator function of a file.

    Raises:
        UsageError: There is none, it is no generator, or it takes other arguments.
    """
    known = [key for key, value in vars(module).items() if inspect.isgeneratorfunction(value)]
    found = getattr(module, name, None)
    if not callable(found):
        raise UsageError(f"it has no function {name!r}.{nearest(name, known) if known else ''} It needs one: {_HOW}")
    if not inspect.isgeneratorfunction(inspect.unwrap(found)):
        raise UsageError(f"{name} is no generator: it yields nothing. Yield after each epoch: {_HOW}")
    try:
        inspect.signature(found).bind(*_ARGUMENTS)
    except TypeError as error:
        taken = ", ".join(inspect.signature(found).parameters)
        raise UsageError(f"{name}({taken}) does not take the arguments {', '.join(_ARGUMENTS)}: {error}. {_HOW}") from None
    return cast("Callable[..., Any]", found)


def said(error: BaseException, path: Path) -> str:
    """Return an error in one line, with the line of the file that it passed through last."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f" ({path.name}, line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    if isinstance(error, SyntaxError):
        where = f" ({Path(error.filename or path).name}, line {error.lineno})"
        return f"{type(error).__name__}: {error.msg}{where}"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{where}"


def _declared(module: ModuleType, name: str) -> dict[str, Any]:
    function(module, name)
    space, score = getattr(module, "space", None), getattr(module, "objective", Score())
    if space is not None and not isinstance(space, SearchSpace):
        raise UsageError(f"space is a {type(space).__name__}. Declare it by hpo.space(lr=hpo.log(1e-4, 1), …)")
    if not isinstance(score, Score):
        raise UsageError(f'objective is a {type(score).__name__}. Declare it by hpo.maximize("accuracy") or hpo.minimize("loss")')
    return {"space": space.model_dump(mode="json") if space else None, "score": score._asdict()}
