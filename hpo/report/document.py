"""One HTML file from a template: everything is inlined, nothing is fetched, and only our two scripts may run.

The page's security policy names these scripts by their hashes, so that no text of a study can run as a script. Data
is in JSON blocks that the browser does not execute. The result does not depend on the clock: the same study gives the
same bytes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import StorageError
from hpo.report.figures.figure import COLORS, NIGHT, WORDS
from hpo.system.failpoints import reach
from hpo.system.files import expanded, refusal, write_atomically

if TYPE_CHECKING:
    import jinja2

    from hpo.report.figures.figure import Figure


def render(
    template: str,
    figures: list[Figure],
    trials: dict[str, Any] | None,
    *,
    network: dict[str, Any] | None = None,
    **values: object,
) -> str:
    """Return a page.

    Args:
        template: Its name.
        figures: What it draws.
        trials: The table of trials; None if there is none.
        network: What classifies pictures on it (network.py); None if nothing does.
        values: What else the template needs.
    """
    from markupsafe import Markup

    plotly, script = _plotly(), _own("page.js") + _own("table.js") + (_own("sees.js") if network else "")
    policy = (
        f"default-src 'none'; script-src '{_hash(plotly)}' '{_hash(script)}'; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )  # Plotly styles its elements inline; a style alone can neither run nor fetch anything here
    drawn = [{"id": f.id, "data": f.data, "layout": f.layout, "height": f.height} for f in figures]
    colors = {"night": NIGHT, "states": {word: COLORS[state] for state, word in WORDS.items()}}
    return (
        _environment()
        .get_template(template)
        .render(
            policy=policy,
            plotly=Markup(plotly),  # noqa: S704 - these seven are our own files, or JSON without any "<"
            script=Markup(script),  # noqa: S704
            style=Markup(_own("page.css")),  # noqa: S704
            colors=Markup(as_json(colors)),  # noqa: S704
            figures=Markup(as_json(drawn)),  # noqa: S704
            trials=Markup(as_json(trials)),  # noqa: S704
            network=Markup(as_json(network)) if network else "",  # noqa: S704
            titles={f.id: f.title for f in figures},
            **values,
        )
    )


def write(out: Path, page: str) -> Path:
    """Write `page` to `out`, completely or not at all. Its folder is created if missing, but not that folder's parent.

    Raises:
        StorageError: The parent of the folder is missing, or the file cannot be written.
    """
    out = expanded(out)
    if not out.parent.parent.is_dir():  # probably a typing error: do not create a tree of folders
        raise StorageError(f"cannot write {out}: there is no folder {out.parent}. Create it, or choose another one with --out.")
    try:
        write_atomically(out, page.encode("utf-8", "replace"))  # JSON can contain a lone surrogate, which UTF-8 cannot encode
    except OSError as error:
        raise StorageError(f"cannot write {out}: {refusal(error, out)} Choose another place with --out.") from error
    reach("report.written")
    return out


def as_json(value: object) -> str:
    """Return JSON for a script element: without `<`, its text cannot close the element."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@functools.cache
def _plotly() -> str:
    return resources.files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8")


@functools.cache
def _own(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    loader = jinja2.PackageLoader("hpo.report", "")
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
