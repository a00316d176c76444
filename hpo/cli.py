"""The commands: parse, call, exit code. With console the only printer, and the only place that exits.

Everything heavy is imported by the command that needs it: `hpo --help` loads neither torch nor Optuna.
"""

from __future__ import annotations

import functools
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from hpo.errors import INTERRUPTED, HpoError, UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

_BadCommandLine: type[Exception] = typer.BadParameter.__mro__[1]  # click's UsageError, wherever this Typer keeps its click

app = typer.Typer(
    name="hpo",
    help="Find the best CNN that this machine can train: hpo run --trials 50",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(StrEnum):
    """How data is printed."""

    table = "table"
    json = "json"
    csv = "csv"


Storage = Annotated[
    Optional[str],  # noqa: UP045  # Typer reads annotations at run time
    typer.Option("--storage", metavar="URL|PATH", help="Database. Default: $HPO_STORAGE, $OPTUNA_STORAGE, studies/hpo.db."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="A line each epoch where there is no terminal.")]
Form = Annotated[Format, typer.Option("--format", help="How to print.")]
DataDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--data-dir", envvar="HPO_DATA_DIR", help="Where data sets lie, or are put. Default: data."),
]
Study = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study.")]
Text = Optional[str]  # noqa: UP045
Whole = Optional[int]  # noqa: UP045


def _option(*names: str, help: str, **more: Any) -> Any:  # noqa: A002, ANN401  # Typer's own names and types
    return typer.Option(*names, help=help, **more)


Trials = Annotated[Whole, _option("--trials", "-n", help="Finished trials that the study shall have in total. Default: 50.")]
Timeout = Annotated[Text, _option("--timeout", metavar="TIME", help="Begin no epoch after this long: 90s, 30m, 1h30m.")]
Target = Annotated[Text, _option("--target", metavar="ACCURACY", help="End once a trial reaches it: 0.93 or 93%.")]
Patience = Annotated[Whole, _option("--patience", metavar="N", help="End after N trials without a new best.")]
Workers = Annotated[str, _option("--workers", "-j", metavar="auto|N", help="Training processes; auto: one a core or GPU.")]
Device = Annotated[str, _option("--device", metavar="auto|cpu|cuda|cuda:0,cuda:1", help="Where to train.")]
TrialTimeout = Annotated[Text, _option("--trial-timeout", metavar="TIME", help="End a worker that is silent for this long.")]
Keep = Annotated[int, _option("--keep-checkpoints", metavar="N", help="Keep the weights of the N best trials.")]
NoReport = Annotated[bool, _option("--no-report", help="Write no page at the end.")]


@app.command(epilog="Examples:  hpo run --trials 50    hpo run first --dataset digits --trials 10    hpo run night --timeout 8h")
def run(
    study: Annotated[Text, typer.Argument(metavar="[STUDY]", help="Name; default: the data set's.", show_default=False)] = None,
    trials: Trials = None,
    dataset: Annotated[Text, _option("--dataset", metavar="cifar10|digits", help="Images to learn. Default: cifar10.")] = None,
    data_dir: DataDir = None,
    epochs: Annotated[Whole, _option("--epochs", help="Of a trial that is not stopped early. Default: 10.")] = None,
    space: Annotated[
        Text, _option("--space", metavar="basic|wide|tutorial|FILE.toml", help="What to vary. Default: basic.")
    ] = None,
    score: Annotated[
        Text, _option("--score", metavar="test|validation", help="Images that pick the winner. Default: test.")
    ] = None,
    sampler: Annotated[
        Text, _option("--sampler", metavar="tpe|gp|random|qmc", help="Chooses configurations. Default: tpe.")
    ] = None,
    pruner: Annotated[
        Text, _option("--pruner", metavar="halving|median|hyperband|none", help="Stops losers. Default: halving.")
    ] = None,
    workers: Workers = "auto",
    device: Device = "auto",
    timeout: Timeout = None,
    target: Target = None,
    patience: Patience = None,
    trial_timeout: TrialTimeout = None,
    keep_checkpoints: Keep = 1,
    seed: Annotated[Whole, _option("--seed", help="Root of every random number. Default: 0.")] = None,
    limit_train: Annotated[Whole, _option("--limit-train", metavar="N", help="Train on N images only.")] = None,
    limit_test: Annotated[Whole, _option("--limit-test", metavar="N", help="Score on N images only.")] = None,
    no_report: NoReport = False,
    storage: Storage = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Create the study or continue it, until it has --trials finished trials in total; write the report.

    Ctrl-C once: workers finish their epoch, everything is kept, the same command goes on. Twice: at once.
    """
    from hpo.settings import RunOptions, Settings

    settings = Settings.of(
        dataset=dataset,
        epochs=epochs,
        score=score,
        sampler=sampler,
        pruner=pruner,
        seed=seed,
        limit_train=limit_train,
        limit_test=limit_test,
    )
    options = RunOptions.of(
        trials=trials,
        timeout=timeout,
        target=_fraction(target),
        patience=patience,
        workers=workers,
        device=device,
        data_dir=data_dir,
        trial_timeout=trial_timeout,
        keep_checkpoints=keep_checkpoints,
    )
    return _run(study, settings, space, options, storage, report=not no_report, quiet=quiet, verbose=verbose, must_exist=False)


@app.command(epilog="Examples:  hpo resume cifar10    hpo resume cifar10 --trials 100")
def resume(
    study: Study,
    trials: Trials = None,
    data_dir: DataDir = None,
    workers: Workers = "auto",
    device: Device = "auto",
    timeout: Timeout = None,
    target: Target = None,
    patience: Patience = None,
    trial_timeout: TrialTimeout = None,
    keep_checkpoints: Keep = 1,
    no_report: NoReport = False,
    storage: Storage = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Continue a study as it was, with everything read from it; --trials may raise the total."""
    from hpo.settings import RunOptions, Settings

    options = RunOptions.of(
        trials=trials,
        timeout=timeout,
        target=_fraction(target),
        patience=patience,
        workers=workers,
        device=device,
        data_dir=data_dir,
        trial_timeout=trial_timeout,
        keep_checkpoints=keep_checkpoints,
    )
    return _run(study, Settings(), None, options, storage, report=not no_report, quiet=quiet, verbose=verbose, must_exist=True)


def _run(
    study: str | None,
    settings: Any,  # noqa: ANN401
    space: str | None,
    options: Any,  # noqa: ANN401
    storage: str | None,
    *,
    report: bool,
    quiet: bool,
    verbose: bool,
    must_exist: bool,
) -> int:
    from hpo import console
    from hpo.search import session
    from hpo.search.publishing import Publishing

    try:
        with console.watching(quiet=quiet, verbose=verbose) as shown:
            watcher = Publishing(shown, _publisher(storage))
            outcome = session.run(
                study,
                settings=settings,
                space=space,
                options=options,
                storage=storage,
                watcher=watcher,
                must_exist=must_exist,
            )
    except (KeyboardInterrupt, SystemExit):
        console.complain(
            "ended at once. What was finished is kept; the same command goes on, trials in training from their last epoch."
        )
        raise
    page = _page(outcome.record, quiet=quiet) if report and outcome.record.trials else None
    console.result(outcome.record, outcome.reason, quiet=quiet, storage=storage, page=page)
    if outcome.exit_code == 0 and not outcome.record.counts["complete"]:
        return 5 if outcome.reason == "total" else 0
    return outcome.exit_code


def _publisher(storage: str | None) -> Callable[[str], None]:
    """Return what brings a study's place in the dashboard up to date; the report side is loaded when it is called."""

    @functools.cache
    def study(name: str) -> Any:  # noqa: ANN401
        from hpo.search.record import load
        from hpo.search.storage import locate

        return load(name, locate(storage))

    def publish(name: str) -> None:
        from hpo.report import dashboard

        dashboard.publish(study(name))

    return publish


def _page(record: Any, *, quiet: bool) -> Path | None:  # noqa: ANN401
    """Write a study's report; a report that cannot be written does not undo a run."""
    from hpo import console
    from hpo.report import write_report

    try:
        return write_report(record.study, Path("reports") / f"{record.name}.html", artifacts=record.winner_folder)
    except HpoError as error:
        if not quiet:
            console.complain(f"no report: {error}")
        return None


def _fraction(text: str | None) -> float | str | None:
    """Read `0.93` and `93%`; what is neither goes on as it is, for Settings to refuse."""
    if text is None:
        return None
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return text


@app.command("list", epilog="Examples:  hpo list    hpo list --format json")
def list_studies(storage: Storage = None, form: Form = Format.table) -> int:
    """List the studies of a database."""
    from hpo import console
    from hpo.search.record import load_all
    from hpo.search.storage import exists, locate

    location = locate(storage)
    found = load_all(location) if storage or exists(location) else []
    console.show_rows(
        [console.study_row(record) for record in found], form, empty=f"{location}: no studies yet. Begin one: hpo run"
    )
    return 0


@app.command(epilog="Examples:  hpo show cifar10    hpo show cifar10 --format json")
def show(study: Study, storage: Storage = None, form: Form = Format.table) -> int:
    """Show one study: what it was run with, how far it is, its best trial."""
    from hpo import console
    from hpo.search.record import load
    from hpo.search.storage import locate

    console.show_study(load(study, locate(storage)), form)
    return 0


@app.command(epilog="Examples:  hpo trials cifar10    hpo trials cifar10 --format csv > trials.csv")
def trials(study: Study, storage: Storage = None, form: Form = Format.table) -> int:
    """Show the trials of a study; JSON and CSV have every column."""
    from hpo import console
    from hpo.search.record import load
    from hpo.search.storage import locate

    record = load(study, locate(storage))
    rows = [record.row(trial) for trial in record.trials]
    if form is Format.table:
        rows = [console.trial_row(row) for row in rows]
    console.show_rows(rows, form, empty=f"study {study}: no trials yet. Continue it: hpo resume {study}")
    return 0


@app.command(epilog="Examples:  hpo space wide    hpo space --toml > mine.toml")
def space(
    name: Annotated[str, typer.Argument(metavar="[NAME|FILE]", help="basic, wide, tutorial or a TOML file.")] = "basic",
    toml: Annotated[bool, _option("--toml", help="Print it as a file to start from.")] = False,
) -> int:
    """Show a search space."""
    from hpo import console
    from hpo.space import SearchSpace

    found = SearchSpace.named(name)
    if toml:
        print(found.to_toml(), end="")
    else:
        console.show_space(found)
    return 0


@app.command(epilog="Examples:  hpo data    hpo data digits --preview digits.png")
def data(
    dataset: Annotated[str, typer.Argument(metavar="[DATASET]", help="cifar10 or digits.")] = "cifar10",
    data_dir: DataDir = None,
    preview: Annotated[
        Optional[Path],  # noqa: UP045
        _option("--preview", metavar="FILE.png", help="Write a labelled grid of 64 training images."),
    ] = None,
) -> int:
    """Fetch a data set if need be, verify it, and say what it holds."""
    from hpo import console
    from hpo.settings import DATA_DIR, Settings
    from hpo.training import data as sets

    Settings.of(dataset=dataset)
    with console.watching(quiet=False, verbose=False) as watcher:
        loaded = sets.load(dataset, data_dir or Path(DATA_DIR), progress=watcher.preparing)
    sets.verify(loaded)
    console.show_data(loaded)
    if preview:
        sets.preview(loaded, preview)
        console.err().print(f"wrote {preview}")
    return 0


@app.command(epilog="Examples:  hpo dashboard    hpo dashboard --open    hpo dashboard --port 8080")
def dashboard(
    storage: Storage = None,
    port: Annotated[int, _option("--port", min=0, max=65535, help="0: a free one.")] = 0,
    open_it: Annotated[bool, _option("--open", help="Open it in the browser.")] = False,
) -> int:
    """Serve optuna-dashboard for the database, on this machine alone, until Ctrl-C."""
    from hpo import console
    from hpo.search.dashboard import HOST, server
    from hpo.search.storage import locate

    with server(locate(storage), port) as made:
        address = f"http://{HOST}:{made.server_port}/dashboard/"
        console.out().print(address)
        console.err().print("Ctrl-C ends it.")
        sys.stdout.flush()
        if open_it:  # the port listens already: the browser is answered once we serve
            typer.launch(address)
        made.serve_forever()
    return 0


@app.command(epilog="Examples:  hpo report cifar10    hpo report cifar10 --out page.html --open")
def report(
    study: Annotated[str, typer.Argument(metavar="[STUDY]", help="Name of a study.")] = "cifar10",
    out: Annotated[
        Optional[Path],  # noqa: UP045
        _option("--out", metavar="FILE", help="Where to. Default: reports/STUDY.html."),
    ] = None,
    title: Annotated[Text, _option("--title", help="Heading of the page.")] = None,
    open_it: Annotated[bool, _option("--open", help="Open it in the browser.")] = False,
    storage: Storage = None,
) -> int:
    """Write the page that explains a study: one file that works offline."""
    from hpo import console
    from hpo.report import write_report
    from hpo.search.record import load
    from hpo.search.storage import locate

    record = load(study, locate(storage))
    page = write_report(record.study, out or Path("reports") / f"{study}.html", title=title, artifacts=record.winner_folder)
    console.out().print(str(page), soft_wrap=True)
    if open_it:
        typer.launch(page.absolute().as_uri())
    return 0


@app.command(epilog="Examples:  hpo compare cifar10 cifar10-wide    hpo compare a b c --out reports/abc.html")
def compare(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY STUDY…", help="Names of two or more studies.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        _option("--out", metavar="FILE", help="Where to. Default: reports/A-B….html."),
    ] = None,
    storage: Storage = None,
    form: Form = Format.table,
) -> int:
    """Compare studies: a table here, and a page with curves and intervals."""
    from hpo import console
    from hpo.report import comparison_table, write_comparison
    from hpo.search.record import load
    from hpo.search.storage import locate

    if len(studies) < 2:
        raise UsageError("compare needs two studies or more: hpo compare A B")
    location = locate(storage)
    loaded = [load(name, location).study for name in studies]
    rows = [{str(key): value for key, value in row.items()} for row in comparison_table(loaded).to_dict("records")]
    console.show_rows(rows, form, empty="")
    page = write_comparison(loaded, out or Path("reports") / f"{'-'.join(studies)[:100]}.html")
    console.err().print(f"wrote {page}", soft_wrap=True)
    return 0


@app.command(epilog="Examples:  hpo doctor    hpo doctor cifar10 --repair    hpo doctor --json")
def doctor(
    study: Annotated[Text, typer.Argument(metavar="[STUDY]", help="Only this one.", show_default=False)] = None,
    repair: Annotated[bool, _option("--repair", help="Do the safe repairs, after a backup of the database.")] = False,
    as_json: Annotated[bool, _option("--json", help="Print the findings as JSON.")] = False,
    storage: Storage = None,
) -> int:
    """Say what is wrong with database, checkpoints and machine, and the command that mends it."""
    from hpo import console
    from hpo.search import doctor as checks
    from hpo.search.storage import locate

    location = locate(storage)
    findings = checks.examine(location, study)
    console.show_findings(findings, as_json=as_json)
    repairs = [(finding.found, finding.repair) for finding in findings if finding.repair]
    if repair and repairs:
        copy = checks.backup(location)
        for found, mend in repairs:
            mend()
            console.err().print(f"repaired: {found}", soft_wrap=True)
        console.err().print(f"The database as it was: {copy}", soft_wrap=True)
    return 4 if any(finding.state == "bad" for finding in findings) else 0


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code (DESIGN: 0 done, 1 bug, 2 usage, 3 data, 4 storage, 5 no result)."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        code: int | None = app(words, standalone_mode=False)
    except HpoError as error:
        if debug:
            raise
        return _complain(str(error), error.exit_code)
    except _BadCommandLine as error:
        return _complain(_explained(error), UsageError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader is gone: nobody to complain to
        return 128 + 13
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    return code or 0


def _explained(error: Any) -> str:  # noqa: ANN401  # click's UsageError
    """Return what is wrong with a command line, and where help is, on one line."""
    context = error.ctx
    command = f"hpo {context.info_name} --help" if context and context.parent else "hpo --help"
    message = " ".join(error.format_message().split())
    unknown = getattr(error, "option_name", None)
    if unknown and context:
        options = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
        hint = nearest(unknown, options)
        message = f"No such option: {unknown}." + (hint if "Did you mean" in hint else "")
    return f"{message} ({command})"


def _complain(message: str, code: int) -> int:
    from hpo import console

    console.complain(message)
    return code
