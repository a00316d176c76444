"""A run in progress, as a live table on a terminal or else as plain lines; and how it ended."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.live import Live

from hpo.cli.streams import err
from hpo.cli.views.lines import PlainView
from hpo.cli.views.live import LiveView
from hpo.runner.board import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def watching(*, quiet: bool, verbose: bool) -> Iterator[Watcher]:
    """Show a run: as a live table on a terminal, else as plain lines; if `quiet`, not at all."""
    console = err()
    if quiet:
        yield Watcher()
    elif console.is_terminal and not console.is_dumb_terminal:
        view = LiveView(console, verbose=verbose)
        with Live(console=console, get_renderable=view.draw, refresh_per_second=4, transient=True):
            yield view
    else:
        yield PlainView(console, verbose=verbose)
