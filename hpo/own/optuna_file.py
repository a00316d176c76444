"""A file with an Optuna objective: what it says of itself before anything is trained.

What an objective varies is known only while it runs. Its direction is the one of the `create_study` in its file, which is read
and not run, since it usually stands under `if __name__ == "__main__":`.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from hpo.errors import UsageError, nearest
from hpo.objective import Objective
from hpo.own import describe
from hpo.scoring.score import Score

LOADER = "hpo.own.optuna_trial"
DEFINED_BY_RUN = "defined by run"  # the name of such a space
VALUE = "value"  # what Optuna calls the result of a trial
_HOW = "def objective(trial): …"


def of_optuna(source: str, score: Score | None = None) -> Objective:
    """Return a file's Optuna objective.

    Args:
        source: `FILE.py:name`; `:objective` may be left out.
        score: What it returns; None: as its file says, or else as Optuna has it, a value of which less is better.

    Raises:
        UsageError: There is no such file or objective, it cannot be imported, or it optimizes several values.
    """
    path, name, digest = describe.located(source, "optuna", "objective")
    told = describe.asked(f"from hpo.own import optuna_file; optuna_file.main({str(path)!r}, {name!r})", "optuna", path)
    return Objective(
        name=f"{path.name}:{name}",
        knobs=None,
        presets={DEFINED_BY_RUN: {}},
        loader=LOADER,
        score=score or Score(VALUE, maximize=told["maximize"]),
        guessed=score is None,
        kind="optuna",
        source=f"{path}:{name}",
        digest=digest,
        study=path.stem,
    )


def main(path: str, name: str) -> None:
    """Print what the file at `path` says, as one line of JSON."""

    def told() -> dict[str, Any]:
        tree = _parsed(Path(path))
        _check_import(tree, Path(path))
        maximize = _maximizes(tree)
        function(describe.imported(Path(path)), name)
        return {"maximize": maximize}

    describe.tell(told, Path(path))


def function(module: ModuleType, name: str) -> Callable[..., Any]:
    """Return the objective of a file.

    Raises:
        UsageError: There is none, or it does not take a trial.
    """
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise UsageError(f"it has no function {name!r}.{nearest(name, known) if known else ''} It needs one: {_HOW}")
    if inspect.isclass(found):
        raise UsageError(f"{name} is a class. Name a function, or an instance that can be called with a trial.")
    if inspect.isgeneratorfunction(inspect.unwrap(found)):
        raise UsageError(f"{name} yields: that is for --train. An Optuna objective returns its value: {_HOW}")
    try:
        inspect.signature(found).bind("trial")
    except TypeError as error:
        taken = ", ".join(inspect.signature(found).parameters)
        raise UsageError(f"{name}({taken}) does not take a trial alone: {error}. {_HOW}") from None
    except ValueError:  # written in C
        pass
    return cast("Callable[..., Any]", found)


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        raise describe.ImportedError(error) from error


def _check_import(tree: ast.Module, path: Path) -> None:
    """Refuse a file that searches as soon as it is imported."""
    for call in _calls(tree.body):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "optimize" and call.args:
            raise UsageError(
                f"line {call.lineno}, {ast.unparse(call.func)}(…), would search as soon as the file is imported. "
                f'hpo itself runs the objective: put that line under if __name__ == "__main__": in {path.name}.'
            )


def _calls(body: list[ast.stmt]) -> Iterator[ast.Call]:
    """Yield the calls that importing a file makes, but those within functions."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test):
            continue
        yield from (node for node in ast.walk(statement) if isinstance(node, ast.Call))


def _maximizes(tree: ast.Module) -> bool:
    """Return whether more is better, as the calls of `create_study` say; without any it is as Optuna has it: less is.

    Raises:
        UsageError: They say both, or several values at once.
    """
    said = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if ast.unparse(call.func).rpartition(".")[2] != "create_study":
            continue
        given = {word.arg: word.value for word in call.keywords}
        several = given.get("directions")
        if isinstance(several, ast.List | ast.Tuple) and len(several.elts) > 1:
            raise UsageError(
                f"line {call.lineno} creates a study of {len(several.elts)} directions, and hpo optimizes one value. "
                "Return one number, and leave directions out."
            )
        one = several.elts[0] if isinstance(several, ast.List | ast.Tuple) and several.elts else given.get("direction")
        word = "minimize" if one is None else ast.unparse(one).rpartition(".")[2].strip("'\"").lower()
        said |= {word} & {"minimize", "maximize"}
    if len(said) > 1:
        raise UsageError("it creates studies of both directions. Say which: --maximize NAME or --minimize NAME")
    return said == {"maximize"}
