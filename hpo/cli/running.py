"""The commands that run a study: `run` and `resume`. Most of their options are the fields of `Settings` and `RunOptions`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path  # Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.options import File, Storage, Study, Text, command, option
from hpo.errors import HpoError, UsageError

if TYPE_CHECKING:
    from hpo.runner.session import Outcome
    from hpo.scoring.score import Score
    from hpo.settings import RunOptions, Settings
    from hpo.store.reading.record import StudyRecord

app = typer.Typer()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """What a run writes, and where."""

    no_report: Annotated[bool, option("--no-report", help="Do not write the report at the end.")] = False
    storage: Storage = None
    quiet: Annotated[bool, option("--quiet", "-q", help="Print only the result.")] = False
    verbose: Annotated[bool, option("--verbose", "-v", help="Print notes too, and, without a terminal, every epoch.")] = False


# What is optimized, and over which space.
Space = Annotated[
    Text,
    option(
        "--space",
        metavar="basic|wide|large|tutorial|photos|FILE.toml",
        help="What to vary. Default: basic; large on a GPU; photos for large images.",
    ),
]
Model = Annotated[
    Text,
    option("--model", metavar="convnet|NAME|FILE.py:build", help="Network: torchvision's by its name, or your own function."),
]
Pretrained = Annotated[bool, option("--pretrained", help="With a network of torchvision: begin with its trained weights.")]
Weights = Annotated[File, option("--weights", metavar="FILE", help="With a network of torchvision: begin with these weights.")]
Train = Annotated[
    Text, option("--train", metavar="FILE.py:train", help="Own training code: a generator function, its space and its score.")
]
Optuna = Annotated[
    Text,
    option(
        "--optuna",
        metavar="FILE.py:objective",
        help="An Optuna objective, as it is. It is stopped early, never paused. Direction: its create_study's, or minimize.",
    ),
]
Program = Annotated[
    Text, option("--command", metavar="'WORDS {lr}'", help="Any program: its lines of JSON are epochs. Needs --space FILE.toml.")
]
Maximize = Annotated[
    Text,
    option("--maximize", metavar="KEY", help="The score of --command (accuracy) or --optuna (value).", show_default=False),
]
Minimize = Annotated[Text, option("--minimize", metavar="KEY", help="The same, where less is better.")]


@command(
    app,
    epilog="Examples:  hpo run --trials 50    hpo run first --dataset digits --trials 10    hpo run night --timeout 8h",
    after={
        "space": "epochs",
        "model": "dataset",
        "pretrained": "model",
        "weights": "pretrained",
        "train": "weights",
        "optuna": "train",
        "command": "optuna",
        "maximize": "command",
        "minimize": "maximize",
    },
)
def run(
    *,
    study: Annotated[
        Text, typer.Argument(metavar="[STUDY]", help="Name of the study. Default: the data set's name.", show_default=False)
    ] = None,
    settings: Settings,
    space: Space = None,
    model: Model = None,
    pretrained: Pretrained = False,
    weights: Weights = None,
    train: Train = None,
    optuna: Optuna = None,
    command: Program = None,
    maximize: Maximize = None,
    minimize: Minimize = None,
    options: RunOptions,
    output: Output,
) -> int:
    """Create or continue a study until it has --trials finished trials; then write the report.

    On Ctrl-C, SIGTERM or SIGUSR1, workers finish their epoch first; a second one stops immediately. The same command continues.
    """
    from hpo import api

    return _run(
        functools.partial(
            api.run,
            study,
            settings=settings,
            space=space,
            model=model,
            pretrained=pretrained,
            weights=weights,
            train=train,
            optuna=optuna,
            command=command,
            score=_score(maximize, minimize),
        ),
        options,
        output,
    )


def _score(maximize: str | None, minimize: str | None) -> Score | None:
    """Return the score that the options name; None where they name none."""
    from hpo.scoring.score import Score

    if maximize and minimize:
        raise UsageError("--maximize and --minimize both name the score: leave one out.")
    name = maximize or minimize
    return Score(name, maximize=not minimize) if name else None


@command(app, epilog="Examples:  hpo resume cifar10    hpo resume cifar10 --trials 100")
def resume(*, study: Study, options: RunOptions, output: Output) -> int:
    """Continue a study with its stored settings; --trials may raise the total."""
    from hpo import api

    return _run(functools.partial(api.resume, study), options, output)


@app.command(epilog="Examples:  hpo new mine.py    hpo run --train mine.py:train --trials 20")
def new(file: Annotated[Path, typer.Argument(metavar="FILE.py", help="The file to write.", show_default=False)]) -> int:
    """Write training code to start from: one commented file, which runs at once."""
    from hpo.cli import streams
    from hpo.own import template

    print(streams.visible(template.write(file)))
    return 0


def _run(begin: Callable[..., Outcome], options: RunOptions, output: Output) -> int:
    from hpo import api
    from hpo.cli import ending, streams
    from hpo.cli.views import watching

    quiet, storage = output.quiet, output.storage
    try:
        with watching(quiet=quiet, verbose=output.verbose) as watcher:
            outcome = begin(options=options, storage=storage, watcher=watcher)
    except (KeyboardInterrupt, SystemExit):
        streams.tell(
            "stopped immediately. Finished work is kept; run the same command to continue each trial from its last epoch."
        )
        raise
    page = None if output.no_report or not outcome.record.trials else write_page(outcome.record, quiet=quiet)
    ending.result(outcome, quiet=quiet, storage=storage, page=page, found="" if quiet else api.verdict(outcome.record))
    return outcome.exit_code


def write_page(record: StudyRecord, *, quiet: bool) -> Path | None:
    """Write a study's report; if that fails, the run still counts."""
    from hpo import api
    from hpo.cli import streams

    try:
        return api.write_report(record)
    except HpoError as error:
        if not quiet:
            streams.complain(f"no report: {error}")
        return None
