"""The command line: parse, call, exit code.

The only place that exits. Each command imports the heavy modules that it needs: `hpo --help` loads neither torch nor Optuna.
"""

from __future__ import annotations

import errno
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

import hpo
from hpo.cli import finalists, reading, running, streams, using
from hpo.cli.options import option
from hpo.errors import INTERRUPTED, HpoError, StorageError, UsageError, nearest
from hpo.system.files import FULL, GONE, current_folder_is_gone, refusal

_BadCommandLine: type[Exception] = typer.BadParameter.__mro__[1]  # click's UsageError, wherever this Typer keeps its click

_BUG = "this is a bug in hpo. Please report it with the lines above."
_OF_THE_DISK = FULL | {errno.EFBIG, errno.EIO}

app = typer.Typer(
    name="hpo",
    help="Find the best CNN that this machine can train: hpo run --trials 50",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(running.app)
app.add_typer(finalists.app)
app.add_typer(reading.app)
app.add_typer(using.app)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"hpo {hpo.__version__}")
        raise typer.Exit


@app.callback()
def _of_all_commands(
    version: Annotated[  # its callback does it
        bool, option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code (see MANUAL.md and errors.py)."""
    if arguments is None:
        streams.prepare()
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        _refuse_empty(words)
        code: int | None = app(words or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except HpoError as error:
        return _complained(str(error), error.exit_code, trace=debug)
    except _BadCommandLine as error:
        return _complained(_explained(error), UsageError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except OSError as error:
        if current_folder_is_gone():
            return _complained(GONE, StorageError.exit_code, trace=debug)
        if error.errno not in _OF_THE_DISK:
            return _complained(_BUG, HpoError.exit_code, trace=True)
        message = f"{error.filename or 'a file'} cannot be written: {refusal(error, Path(error.filename or '.'))}"
        return _complained(message, StorageError.exit_code, trace=debug)
    except Exception:  # noqa: BLE001  # a bug: it has an exit code of its own
        return _complained(_BUG, HpoError.exit_code, trace=True)
    return code or 0


def _refuse_empty(words: list[str]) -> None:
    """Refuse an empty word. A shell makes it of a variable that is not set, and to most options it would mean their default.

    Raises:
        UsageError: Names the option.
    """
    for before, word in pairwise(["", *words]):
        name, equals, value = word.partition("=")
        if not word:
            empty = before if before.startswith("-") and "=" not in before else "an argument"
        else:
            empty = name if name.startswith("--") and equals and not value else ""
        if empty:
            raise UsageError(f"{empty} is empty: give it a value, or leave it out. (A variable of the shell that is not set?)")


def _explained(error: Any) -> str:  # noqa: ANN401  # click's UsageError
    """Return one line that says what is wrong with a command line and where to find help."""
    context = error.ctx
    command = f"hpo {context.info_name} --help" if context and context.parent else "hpo --help"
    message = " ".join(error.format_message().split())
    unknown = getattr(error, "option_name", None)
    if unknown and context:
        options = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
        hint = nearest(unknown, options)
        message = f"No such option: {unknown}." + (hint if "Did you mean" in hint else "")
    return f"{message} ({command})"


def _complained(message: str, code: int, *, trace: bool = False) -> int:
    if trace:
        streams.show_trace()
    streams.complain(message)
    return code
