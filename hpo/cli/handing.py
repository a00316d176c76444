"""The command that hands a network over: export."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import File, Form, Format, Storage, Study, Text, option

app = typer.Typer()


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
    rows.show_rows(table, form, empty="", kept=("form", "file", "largest_difference", "classes_differ"))
    streams.tell(f"wrote {made.folder}; compared on {made.images:,} scored images.")
    return 0
