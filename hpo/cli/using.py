"""The commands that use what a study has found, or prove it: `predict`, `export`, `reproduce`."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.options import File, Form, Format, Storage, Study, Text, Whole, option
from hpo.errors import NoResultError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hpo.networks.network import Network
    from hpo.report.reproduction import Reproduction

app = typer.Typer()

TELL_AFTER = 5.0  # seconds from which on the speed is told at the end
_FILES = (".safetensors", ".ckpt")


@app.command(
    epilog="Examples:  hpo predict birds photo.jpg    hpo predict birds album/ --format csv    find . | hpo predict birds -"
)
def predict(
    network: Annotated[str, typer.Argument(metavar="STUDY|FILE", help="Name of a study, or a network.safetensors.")],
    pictures: Annotated[list[str], typer.Argument(metavar="PICTURE…", help="Files, folders, or - for a list on standard input.")],
    top: Annotated[int, option("--top", metavar="N", min=1, help="Classes to name, the most probable ones.")] = 3,
    form: Form = Format.table,
    trial: Annotated[Whole, option("--trial", metavar="N", min=0, help="Of a study: not the best trial, but this one.")] = None,
    device: Annotated[str, option("--device", metavar="cpu|cuda", help="Where to compute.")] = "cpu",
    code: Annotated[File, option("--code", metavar="FILE.py", help="Of a network's file: the code that builds it.")] = None,
    storage: Storage = None,
    quiet: Annotated[bool, option("--quiet", "-q", help="Print only the result.")] = False,
) -> int:
    """Classify pictures with a study's best network: any size, any format that Pillow reads."""
    from hpo.cli import streams
    from hpo.cli.rows import show_rows
    from hpo.cli.views import watching
    from hpo.networks.predicting import classify, found

    opened = _opened(network, trial, device, storage, code)
    names = found(_named(pictures))
    if not names:
        raise UsageError("there are no pictures to classify: the folders or the list are empty.")
    began, rows = time.monotonic(), []
    with watching(quiet=quiet, verbose=False) as watcher:
        for answer in classify(opened, names, watcher.preparing):
            if answer.probabilities is None:
                watcher.warned(f"{answer.picture} {answer.why}; passed over")
            else:
                rows.append(_row(answer.picture, answer.probabilities, opened.classes, top, form))
    if not rows:
        raise NoResultError(
            f"none of the {len(names):,} pictures can be read." if len(names) > 1 else "the picture cannot be read."
        )
    show_rows(rows, form, empty="", kept=("picture", "class"))
    spent = time.monotonic() - began
    if spent > TELL_AFTER and not quiet:
        left = f", {len(names) - len(rows):,} passed over" if len(rows) < len(names) else ""
        streams.tell(f"{len(names):,} pictures in {spent:.0f} s, {len(names) / spent:,.0f} per second{left}.")
    return 0


@app.command(epilog="Examples:  hpo export cifar10 out    hpo export cifar10 out --as onnx,card")
def export(
    study: Study,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; an earlier export there is replaced.")],
    forms: Annotated[
        Text,
        option("--as", metavar="FORM,…", help="onnx, torch, safetensors, source, card. Default: all that can be made here."),
    ] = None,
    storage: Storage = None,
    data_dir: Annotated[
        File, option("--data-dir", metavar="DIR", help="Folder for data sets. Default: the study's, $HPO_DATA_DIR, data.")
    ] = None,
    form: Form = Format.table,
) -> int:
    """Write the best network as files that run without hpo, each checked to compute the same."""
    from hpo import api
    from hpo.cli import rows, streams
    from hpo.cli.views import watching

    asked = [word.strip() for word in forms.split(",") if word.strip()] if forms is not None else None
    with watching(quiet=False, verbose=False) as watcher:
        made = api.export(study, folder, forms=asked, storage=storage, data_dir=data_dir, told=watcher.preparing)
    for sentence in made.left_out:
        streams.tell(sentence)
    table = [dataclasses.asdict(proof) for proof in made.proofs]
    if form is Format.table:
        table = [{key: value for key, value in row.items() if key not in ("form", "opset")} for row in table]
    rows.show_rows(table, form, empty="", kept=("file", "largest_difference", "classes_differ"))
    streams.tell(f"wrote {made.folder}; compared on {made.images:,} scored images.")
    return 0


@app.command(epilog="Examples:  hpo reproduce cifar10    hpo reproduce cifar10 7 --format json")
def reproduce(
    study: Study,
    trial: Annotated[
        Whole, typer.Argument(metavar="[TRIAL]", min=0, help="Number of a trial. Default: the best one.", show_default=False)
    ] = None,
    command: Annotated[
        Text, option("--command", metavar="WORDS", help="Of a study that a program trains: its words again.")
    ] = None,
    device: Annotated[str, option("--device", metavar="auto|cpu|cuda", help="Where to train; auto: as the study was.")] = "auto",
    data_dir: Annotated[File, option("--data-dir", metavar="DIR", help="Folder for data sets. Default: the study's.")] = None,
    storage: Storage = None,
    form: Form = Format.table,
    quiet: Annotated[bool, option("--quiet", "-q", help="Print only the result.")] = False,
) -> int:
    """Train a trial again and say whether it came out the same: to the last bit, within noise, or not (exit code 5).

    Nothing of the study is changed. A training that is interrupted is continued by the same command.
    """
    from hpo import api
    from hpo.cli import streams
    from hpo.cli.views import watching
    from hpo.runner.signals import CODES
    from hpo.settings import RunOptions

    options = RunOptions.of(device=device, data_dir=data_dir)
    with watching(quiet=quiet, verbose=False) as watcher:
        found = api.reproduce(study, trial, command=command, options=options, storage=storage, watcher=watcher)
    if found.stopped:
        streams.tell(f"trial {found.trial.number} of study {study}: {found.why}. The same command continues.")
        return CODES[found.stopped]
    _show(found, form, quiet=quiet)
    return found.exit_code


def _show(found: Reproduction, form: str, *, quiet: bool) -> None:
    """Print what came of a trial that was trained again."""
    from hpo.cli import rows, streams

    epochs = [row._asdict() for row in found.rows]
    if form == "csv":
        rows.show_rows(epochs, form, empty="")
    elif form == "json":
        differs = [{"what": what, "before": before, "now": now} for what, before, now in found.differs]
        told = {"study": found.record.name, "trial": found.trial.number, "verdict": found.verdict, "why": found.why}
        print(rows.to_json(told | {"differs": differs, "epochs": epochs, "network": found.network}))
    else:
        print(streams.visible(found.sentence))
        for what, before, now in found.differs:
            print(streams.visible(f"  {what}: {before} when the study was made, now {now}"))
        if found.verdict != "identical" and not found.differs and found.rows:
            print("  nothing that is recorded of the environment differs.")
        if found.network and not quiet:
            streams.tell(f"its network: {found.network}")


def _opened(name: str, trial: int | None, device: str, storage: str | None, code: Path | None) -> Network:
    """Return the network in a file, or of a study."""
    if name.endswith(_FILES) or os.sep in name:
        from hpo.networks.network import Network

        if trial is not None:
            raise UsageError(f"--trial is for a study, and {name} is a file.")
        return Network.open(name, device=device, code=code)
    from hpo.store.database import locate
    from hpo.store.reading.record import load

    return load(name, locate(storage), whole=False).network(trial, device=device)


def _named(words: list[str]) -> list[str]:
    """Return what a command line names; `-` stands for paths on standard input: one per line, or with zero bytes between them."""
    names: list[str] = []
    for word in words:
        if word == "-":
            listed = sys.stdin.buffer.read()
            parts = listed.split(b"\0") if b"\0" in listed else [line.removesuffix(b"\r") for line in listed.split(b"\n")]
            names += [os.fsdecode(part) for part in parts if part]
        else:
            names.append(word)
    return names


def _row(picture: str, probabilities: npt.NDArray[np.float32], classes: tuple[str, ...], top: int, form: str) -> dict[str, Any]:
    """Return a picture with its most probable classes, as a row."""
    from hpo.cli.rows import Share

    row: dict[str, Any] = {"picture": picture}
    for i, label in enumerate((-probabilities).argsort(kind="stable")[:top]):
        after, probability = f"_{i + 1}" if i else "", float(probabilities[label])
        row |= {f"class{after}": classes[label], f"probability{after}": Share(probability) if form == "table" else probability}
    return row
