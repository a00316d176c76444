"""The commands that run a study: `run` and `resume`. The options that both share are declared once, in `ThisRun`."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.options import DataDir, Storage, Study, Text, Whole, option
from hpo.errors import HpoError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hpo.runner.session import Outcome
    from hpo.settings import RunOptions
    from hpo.store.record import StudyRecord

app = typer.Typer()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThisRun:
    """Options of one run, which `run` and `resume` share."""

    trials: Annotated[Whole, option("--trials", "-n", help="Total number of finished trials. Default: 50.")] = None
    timeout: Annotated[Text, option("--timeout", metavar="TIME", help="Start no epoch after this time: 90s, 30m, 1h30m.")] = None
    target: Annotated[Text, option("--target", metavar="ACCURACY", help="Stop once a trial reaches it: 0.93 or 93%.")] = None
    patience: Annotated[Whole, option("--patience", metavar="N", help="Stop after N trials without a new best.")] = None
    workers: Annotated[
        str, option("--workers", "-j", metavar="auto|N", help="Training processes; auto: one per core, or four per GPU.")
    ] = "auto"
    device: Annotated[str, option("--device", metavar="auto|cpu|cuda|cuda:0,cuda:1", help="Where to train.")] = "auto"
    trial_timeout: Annotated[
        Text, option("--trial-timeout", metavar="TIME", help="Replace a worker that is silent for this long.")
    ] = None
    grace: Annotated[
        Text,
        option("--grace", metavar="TIME", help="When stopping, wait at most this long for epochs. Default: no limit."),
    ] = None
    keep_checkpoints: Annotated[
        Whole, option("--keep-checkpoints", metavar="N", help="Keep the weights of the N best trials. Default: 1.")
    ] = None
    data_dir: DataDir = None
    no_report: Annotated[bool, option("--no-report", help="Do not write the report at the end.")] = False
    storage: Storage = None
    quiet: Annotated[bool, option("--quiet", "-q", help="Print only the result.")] = False
    verbose: Annotated[bool, option("--verbose", "-v", help="Print notes too, and, without a terminal, every epoch.")] = False

    def options(self) -> RunOptions:
        """Return the validated options, as the runner takes them."""
        from hpo.settings import RunOptions

        given = {name: getattr(self, name) for name in RunOptions.model_fields}
        return RunOptions.of(**given | {"target": _fraction(self.target)})


def _with_options_of_a_run(command: Callable[..., int]) -> Callable[..., int]:
    """Let Typer see the fields of `ThisRun` in place of the command's last parameter, `this_run`."""
    *own, _ = inspect.signature(command, eval_str=True).parameters.values()
    shared = inspect.signature(ThisRun, eval_str=True).parameters.values()
    parameters = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in (*own, *shared)]

    @functools.wraps(command)
    def called(**given: Any) -> int:  # noqa: ANN401
        return command(**{p.name: given.pop(p.name) for p in own}, this_run=ThisRun(**given))

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


@app.command(epilog="Examples:  hpo run --trials 50    hpo run first --dataset digits --trials 10    hpo run night --timeout 8h")
@_with_options_of_a_run
def run(
    *,
    study: Annotated[
        Text, typer.Argument(metavar="[STUDY]", help="Name of the study. Default: the data set's name.", show_default=False)
    ] = None,
    dataset: Annotated[Text, option("--dataset", metavar="cifar10|digits", help="Images to train on. Default: cifar10.")] = None,
    epochs: Annotated[Whole, option("--epochs", help="Epochs per trial (unless stopped early). Default: 10.")] = None,
    space: Annotated[
        Text, option("--space", metavar="basic|wide|tutorial|FILE.toml", help="Search space: what to vary. Default: basic.")
    ] = None,
    score: Annotated[
        Text, option("--score", metavar="test|validation", help="Images that trials are scored on. Default: test.")
    ] = None,
    sampler: Annotated[
        Text, option("--sampler", metavar="tpe|gp|random|qmc", help="How configurations are chosen. Default: tpe.")
    ] = None,
    pruner: Annotated[
        Text, option("--pruner", metavar="halving|median|hyperband|none", help="How poor trials are stopped. Default: halving.")
    ] = None,
    seed: Annotated[Whole, option("--seed", help="Seed of all random numbers. Default: 0.")] = None,
    warm_start: Annotated[Text, option("--warm-start", metavar="STUDY", help="Start with the best trials of that study.")] = None,
    limit_train: Annotated[Whole, option("--limit-train", metavar="N", help="Train on N images only.")] = None,
    limit_test: Annotated[Whole, option("--limit-test", metavar="N", help="Score on N images only.")] = None,
    this_run: ThisRun,
) -> int:
    """Create or continue a study until it has --trials finished trials; then write the report.

    On Ctrl-C, SIGTERM or SIGUSR1, workers finish their epoch first; a second one stops immediately. The same command continues.
    """
    from hpo import api
    from hpo.settings import Settings

    settings = Settings.of(
        dataset=dataset,
        epochs=epochs,
        score=score,
        sampler=sampler,
        pruner=pruner,
        seed=seed,
        warm_start=warm_start,
        limit_train=limit_train,
        limit_test=limit_test,
    )
    return _run(functools.partial(api.run, study, settings=settings, space=space), this_run)


@app.command(epilog="Examples:  hpo resume cifar10    hpo resume cifar10 --trials 100")
@_with_options_of_a_run
def resume(*, study: Study, this_run: ThisRun) -> int:
    """Continue a study with its stored settings; --trials may raise the total."""
    from hpo import api

    return _run(functools.partial(api.resume, study), this_run)


def _run(begin: Callable[..., Outcome], this_run: ThisRun) -> int:
    from hpo import api
    from hpo.cli import streams, views

    quiet, storage, options = this_run.quiet, this_run.storage, this_run.options()
    try:
        with views.watching(quiet=quiet, verbose=this_run.verbose) as watcher:
            outcome = begin(options=options, storage=storage, watcher=watcher)
    except (KeyboardInterrupt, SystemExit):
        streams.tell(
            "stopped immediately. Finished work is kept; run the same command to continue each trial from its last epoch."
        )
        raise
    page = None if this_run.no_report or not outcome.record.trials else _page(outcome.record, quiet=quiet)
    views.result(outcome, quiet=quiet, storage=storage, page=page, found="" if quiet else api.verdict(outcome.record))
    return outcome.exit_code


def _page(record: StudyRecord, *, quiet: bool) -> Path | None:
    """Write a study's report; if that fails, the run still counts."""
    from hpo import api
    from hpo.cli import streams

    try:
        return api.write_report(record)
    except HpoError as error:
        if not quiet:
            streams.complain(f"no report: {error}")
        return None


def _fraction(text: str | None) -> float | str | None:
    """Read `0.93` and `93%`; any other text is passed on for RunOptions to refuse."""
    if text is None:
        return None
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return text
