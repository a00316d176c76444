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
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pydantic import create_model

from hpo.errors import UsageError, nearest
from hpo.objective import Objective
from hpo.own.declare import SPACE
from hpo.scoring.score import Score
from hpo.search_space import SearchSpace
from hpo.system.children import python
from hpo.system.files import expanded

if TYPE_CHECKING:
    from hpo.search_space import Knobs

LOADER = "hpo.own.train"


class Form(NamedTuple):
    """What an option expects of a function.

    Attributes:
        option: Without its dashes; also the function's usual name.
        arguments: That it is called with.
        how: Its head, as an example.
    """

    option: str
    name: str
    arguments: tuple[str, ...]
    how: str


TRAIN = Form("train", "train", ("config", "data", "resume"), "def train(config, data, resume): … yield hpo.Epoch(score, state=…)")
MODEL = Form("model", "build", ("config", "data"), "def build(config, data): … return net")
FORMS = {form.option: form for form in (TRAIN, MODEL)}


class Told(NamedTuple):
    """What a file declares.

    Attributes:
        path, name, digest: The file, the function's name, and the file's SHA-256.
        space, score: As declared; the space is None where there is none.
    """

    path: Path
    name: str
    digest: str
    space: SearchSpace | None
    score: Score


def of_file(source: str) -> Objective:
    """Return the objective that a file declares.

    Args:
        source: `FILE.py:name` of a generator function; `:train` may be left out.

    Raises:
        UsageError: As for `told`.
    """
    found = told(source, TRAIN)
    return Objective(
        name=f"{found.path.name}:{found.name}",
        knobs=_knobs(found.space) if found.space else None,
        presets={SPACE: found.space.model_dump()["parameters"]} if found.space else {},
        loader=LOADER,
        score=found.score,
        kind=TRAIN.option,
        source=f"{found.path}:{found.name}",
        digest=found.digest,
        study=found.path.stem,
    )


def told(source: str, form: Form) -> Told:
    """Return what a file declares, found out by a process that imports it.

    Args:
        source: `FILE.py:name`; the usual name may be left out.
        form: What the function should be.

    Raises:
        UsageError: There is no such file, it cannot be imported, or it declares something that is none; says what and where.
    """
    path, name, digest = located(source, form.option, form.name)
    code = f"from hpo.own import describe; describe.main({str(path)!r}, {name!r}, {form.option!r})"
    answer = asked(code, form.option, path)
    space = SearchSpace.model_validate(answer["space"]) if answer["space"] else None
    return Told(path, name, digest, space, Score(**answer["score"]))


def located(source: str, option: str, name: str) -> tuple[Path, str, str]:
    """Return the file and the function that an option names, and the file's SHA-256.

    Args:
        source: `FILE.py:name`, or `FILE.py`.
        option: Of the command.
        name: The function's where none is named.

    Raises:
        UsageError: There is no such file.
    """
    text, _, named = source.rpartition(":") if source.rpartition(":")[2].isidentifier() else (source, "", "")
    path = expanded(text or source).absolute()
    try:
        return path, named or name, hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"--{option} {source}: {path} cannot be read: {error.strerror}. Write FILE.py:{name}") from None


def _knobs(space: SearchSpace) -> Knobs:
    """Return the parameters that a file declares as a model, so that a space file can vary or fix these and no others."""
    fields: dict[str, Any] = {name: (Any, parameter.default) for name, parameter in space.parameters.items()}
    return create_model("Knobs", **fields)


def asked(code: str, option: str, path: Path) -> dict[str, Any]:
    """Let a process run our `code`, which imports a file and says what that declares (see `tell`).

    Raises:
        UsageError: The file cannot be imported, or declares what is none; names the option.
    """
    done = subprocess.run(python(code), stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603  # our own text
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise UsageError(f"--{option} {path.name}: importing it ended its process. {' '.join(last)}".rstrip()) from None
    if "error" in answer:
        raise UsageError(f"--{option} {path.name}: {answer['error']}")
    return answer


def main(path: str, name: str, option: str) -> None:
    """Print what the file at `path` declares, as one line of JSON."""
    tell(lambda: _declared(imported(Path(path)), name, FORMS[option]), Path(path))


def tell(declare: Callable[[], dict[str, Any]], path: Path) -> None:
    """Print what a file declares, or why it cannot, as one line of JSON; what the file prints itself goes to standard error."""
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        declared = declare()
    except UsageError as error:
        declared = {"error": str(error)}
    except ImportedError as error:
        declared = {"error": f"it cannot be imported: {said(error.args[0], path)}"}
    print(json.dumps(declared), file=line, flush=True)


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


def function(module: ModuleType, name: str, form: Form = TRAIN) -> Callable[..., Any]:
    """Return the function of a file: for own training code a generator.

    Raises:
        UsageError: There is none, it is no generator where one is needed or is one where none is, or it takes other arguments.
    """
    generates = form is TRAIN
    known = [key for key, value in vars(module).items() if callable(value) and inspect.isgeneratorfunction(value) == generates]
    found = getattr(module, name, None)
    if not callable(found):
        raise UsageError(f"it has no function {name!r}.{nearest(name, known) if known else ''} It needs one: {form.how}")
    if inspect.isgeneratorfunction(inspect.unwrap(found)) != generates:
        raise UsageError(
            f"{name} is no generator: it yields nothing. Yield after each epoch: {form.how}"
            if generates
            else f"{name} is a generator, and should return a network: {form.how}"
        )
    try:
        inspect.signature(found).bind(*form.arguments)
    except TypeError as error:
        taken = ", ".join(inspect.signature(found).parameters)
        wanted = ", ".join(form.arguments)
        raise UsageError(f"{name}({taken}) does not take the arguments {wanted}: {error}. {form.how}") from None
    return cast("Callable[..., Any]", found)


def said(error: BaseException, path: Path) -> str:
    """Return an error in one line, with the line of the file that it passed through last."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f" ({path.name}, line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    if isinstance(error, SyntaxError):
        where = f" ({Path(error.filename or path).name}, line {error.lineno})"
        return f"{type(error).__name__}: {error.msg}{where}"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{where}"


def _declared(module: ModuleType, name: str, form: Form) -> dict[str, Any]:
    function(module, name, form)
    space, score = getattr(module, "space", None), getattr(module, "objective", Score())
    if space is not None and not isinstance(space, SearchSpace):
        raise UsageError(f"space is a {type(space).__name__}. Declare it by hpo.space(lr=hpo.log(1e-4, 1), …)")
    if not isinstance(score, Score):
        raise UsageError(f'objective is a {type(score).__name__}. Declare it by hpo.maximize("accuracy") or hpo.minimize("loss")')
    return {"space": space.model_dump(mode="json") if space else None, "score": score._asdict()}
