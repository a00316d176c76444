"""The commands that read: they show studies, spaces, data and the machine, and write reports."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.options import File, Form, Format, States, Storage, Study, Text, Whole, option
from hpo.errors import DataError, StorageError, UsageError

if TYPE_CHECKING:
    from hpo.store.reading.record import StudyRecord

app = typer.Typer()


@app.command("list", epilog="Examples:  hpo list    hpo list --format json")
def list_studies(storage: Storage = None, form: Form = Format.table) -> int:
    """List the studies of a database."""
    from hpo.cli import streams, tables
    from hpo.store.database import exists, locate
    from hpo.store.reading.record import load_all

    location = locate(storage)
    problems: dict[str | bytes, StorageError] = {}
    found = load_all(location, problems, whole=False) if storage or exists(location) else []
    empty = "" if problems else f"{location}: no studies yet. Create one: hpo run"
    tables.show_studies(found, form, empty=empty)
    for problem in problems.values():
        streams.complain(str(problem))
    return StorageError.exit_code if problems else 0


@app.command(epilog="Examples:  hpo show cifar10    hpo show cifar10 --format json    hpo show mine --trial 3 --log")
def show(
    study: Study,
    storage: Storage = None,
    form: Form = Format.table,
    trial: Annotated[Whole, option("--trial", metavar="N", min=0, help="Show only this trial.")] = None,
    log: Annotated[bool, option("--log", help="With --trial: what its own training code has printed.")] = False,
) -> int:
    """Show one study: its settings, progress and best trial; or one trial."""
    from hpo.cli import tables
    from hpo.store.database import locate
    from hpo.store.reading.record import load

    record = load(study, locate(storage), whole=False)
    if trial is None:
        if log:
            raise UsageError(f"--log shows what one trial has printed: hpo show {study} --trial N --log")
        tables.show_study(record, form)
        return 0
    if trial >= len(record.trials):
        raise UsageError(f"study {study!r} has no trial {trial}; it has {len(record.trials)}, from 0.")
    if log:
        return _show_log(record, trial)
    tables.show_trial(record, trial, form)
    return 0


def _show_log(record: StudyRecord, number: int) -> int:
    from hpo.cli import streams
    from hpo.folders import trial_folder
    from hpo.own.log import path_of

    try:
        text = path_of(trial_folder(record.folder, number)).read_text("utf-8", "replace")
    except FileNotFoundError:
        raise UsageError(f"trial {number} of study {record.name!r} has no log: only own training code has one.") from None
    for line in text.splitlines():
        print(streams.visible(line))
    return 0


@app.command(epilog="Examples:  hpo trials cifar10 --top 5    hpo trials cifar10 --format csv > trials.csv")
def trials(
    study: Study,
    storage: Storage = None,
    form: Form = Format.table,
    state: Annotated[States, option("--state", help="Only trials in this state; can be repeated.")] = None,
    sort: Annotated[
        str,
        option("--sort", metavar="COLUMN", help="Sort by a column: lr, or -lr (largest first); accuracy puts the best first."),
    ] = "",
    top: Annotated[Whole, option("--top", metavar="N", min=1, help="Only the first N; without --sort, the best N.")] = None,
) -> int:
    """Show the trials of a study. JSON and CSV have every column."""
    from hpo.cli import tables
    from hpo.store.database import locate
    from hpo.store.reading.record import load

    record = load(study, locate(storage))
    rows = record.rows(states=state or (), sort=sort, top=top)
    none = f"study {study}: no such trials." if record.trials else f"study {study}: no trials yet."
    tables.show_trials(
        record, rows, form, empty=none if record.trials or not record.ours else f"{none} Continue it: hpo resume {study}"
    )
    return 0


@app.command(epilog="Examples:  hpo space wide    hpo space --toml > mine.toml")
def space(
    name: Annotated[str, typer.Argument(metavar="[NAME|FILE]", help="A preset, or a TOML file.")] = "basic",
    toml: Annotated[bool, option("--toml", help="Print it as a TOML file to start from.")] = False,
) -> int:
    """Show a search space."""
    from hpo.builtin.convnet import OBJECTIVE
    from hpo.cli import tables

    found = OBJECTIVE.space(name)
    if toml:
        print(found.to_toml(OBJECTIVE.described), end="")
    else:
        tables.show_space(found, OBJECTIVE.described)
    return 0


@app.command(epilog="Examples:  hpo data    hpo data digits --preview digits.png    hpo data --data birds")
def data(
    dataset: Annotated[
        Text, typer.Argument(metavar="[DATASET]", help="A name, as in hpo run --dataset. Default: cifar10.", show_default=False)
    ] = None,
    folder: Annotated[File, option("--data", metavar="DIR", help="Your own pictures, as in hpo run.")] = None,
    image_size: Annotated[Text, option("--image-size", metavar="auto|N", help="As in hpo run. Default: auto.")] = None,
    fit: Annotated[Text, option("--fit", metavar="crop|pad|stretch", help="As in hpo run. Default: crop.")] = None,
    seed: Annotated[Whole, option("--seed", help="Of the split, where there is none. Default: 0.")] = None,
    data_dir: Annotated[
        File, option("--data-dir", metavar="DIR", help="Folder for data sets. Default: $HPO_DATA_DIR, data.")
    ] = None,
    preview: Annotated[File, option("--preview", metavar="FILE.png", help="Write a labelled grid of 64 training images.")] = None,
) -> int:
    """Download a data set if necessary, verify it and describe it; of your own pictures say what is wrong with them."""
    from hpo.cli import streams, tables
    from hpo.cli.views import watching
    from hpo.data import datasets as sets
    from hpo.settings import Settings, data_folder

    settings = Settings.of(dataset=dataset, data=folder, image_size=image_size, fit=fit, seed=seed)
    settings.check_given()
    found = None
    with watching(quiet=False, verbose=False) as watcher:
        if settings.data:
            loaded, found = sets.inspected(settings.data, sets.wanted(settings), watcher.preparing)
        else:
            loaded = sets.load(settings.dataset, data_folder(data_dir), progress=watcher.preparing)
    sets.verify(loaded)
    tables.show_data(loaded)
    if found:
        tables.show_inspection(found)
    if preview:
        sets.preview(loaded, preview, found.twins if found else ())
        streams.err().print(f"wrote {preview}")
    return DataError.exit_code if found and found.broken else 0


@app.command(epilog="Examples:  hpo dashboard    hpo dashboard --open    hpo dashboard --port 8080")
def dashboard(
    storage: Storage = None,
    port: Annotated[int, option("--port", min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 0,
    open_it: Annotated[bool, option("--open", help="Open it in the browser.")] = False,
) -> int:
    """Serve optuna-dashboard for the database until Ctrl-C. Only this machine can connect."""
    from hpo.cli import streams
    from hpo.dashboard.server import HOST, server
    from hpo.store.database import locate

    with server(locate(storage), port) as made:
        address = f"http://{HOST}:{made.server_port}/dashboard/"
        streams.out().print(address)
        streams.err().print("Press Ctrl-C to stop.")
        sys.stdout.flush()
        if open_it:  # the port listens already: the browser is answered once we serve
            typer.launch(address)
        made.serve_forever()
    return 0


@app.command(epilog="Examples:  hpo report cifar10    hpo report cifar10 --with-network --open")
def report(
    study: Annotated[str, typer.Argument(metavar="[STUDY]", help="Name of a study.")] = "cifar10",
    out: Annotated[File, option("--out", metavar="FILE", help="File to write. Default: reports/STUDY.html.")] = None,
    title: Annotated[Text, option("--title", help="Heading of the page.")] = None,
    with_network: Annotated[
        bool, option("--with-network", help="Put the winner's network in: the page classifies pictures.")
    ] = False,
    open_it: Annotated[bool, option("--open", help="Open it in the browser.")] = False,
    storage: Storage = None,
) -> int:
    """Write a study's report: one HTML file that works offline."""
    from hpo import api
    from hpo.cli import streams

    page = api.write_report(api.load(study, storage), out, title=title, with_network=with_network)
    streams.out().print(str(page), soft_wrap=True)
    if open_it:
        typer.launch(page.absolute().as_uri())
    return 0


@app.command(epilog="Examples:  hpo compare cifar10 cifar10-wide    hpo compare a b c --out reports/abc.html")
def compare(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY STUDY…", help="Names of two or more studies.")],
    out: Annotated[File, option("--out", metavar="FILE", help="File to write. Default: reports/A-B….html.")] = None,
    storage: Storage = None,
    form: Form = Format.table,
) -> int:
    """Compare studies: print a table, and write a page with curves and intervals."""
    from hpo import folders
    from hpo.cli import streams
    from hpo.cli.rows import show_rows
    from hpo.report import Comparison
    from hpo.store.database import locate
    from hpo.store.reading.record import load

    if len(studies) < 2:
        raise UsageError("compare needs at least two studies: hpo compare A B")
    location = locate(storage)
    comparison = Comparison([load(name, location) for name in studies])
    table = [{str(key): value for key, value in row.items()} for row in comparison.table().to_dict("records")]
    show_rows(table if form is Format.table else comparison.values(), form, empty="", kept=("study", "best", "gain"))
    page = comparison.write(out or Path("reports") / f"{folders.file_name('-'.join(studies))}.html")
    streams.err().print(f"wrote {page}", soft_wrap=True)
    return 0


@app.command(epilog="Examples:  hpo doctor    hpo doctor cifar10 --repair    hpo doctor --json")
def doctor(
    study: Annotated[Text, typer.Argument(metavar="[STUDY]", help="Check only this study.", show_default=False)] = None,
    repair: Annotated[bool, option("--repair", help="Make the safe repairs, after a backup of the database.")] = False,
    as_json: Annotated[bool, option("--json", help="Print the findings as JSON.")] = False,
    storage: Storage = None,
) -> int:
    """Check database, checkpoints and machine, and name the command that fixes each problem."""
    from hpo.cli import streams, tables
    from hpo.doctor import checks
    from hpo.store.database import locate

    location = locate(storage)
    findings = checks.examine(location, study)
    tables.show_findings(findings, as_json=as_json)
    repairs = [(finding.found, finding.repair) for finding in findings if finding.repair]
    if repair and repairs:
        copy = checks.backup(location)
        for found, mend in repairs:
            mend()
            streams.err().print(streams.visible(f"repaired: {found}"), soft_wrap=True)
        if copy:
            streams.err().print(streams.visible(f"Backup of the database: {copy}"), soft_wrap=True)
    return StorageError.exit_code if any(finding.state == "bad" for finding in findings) else 0
