"""The Python API, and what the commands run, resume and report are made of: session, dashboard and page together."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.search import record, session
from hpo.search.board import Watcher
from hpo.search.publishing import Publishing
from hpo.search.storage import locate

if TYPE_CHECKING:
    from collections.abc import Callable

    from hpo.search.record import StudyRecord
    from hpo.search.session import Outcome
    from hpo.settings import RunOptions, Settings
    from hpo.space import SearchSpace


def run(
    study: str | None = None,
    *,
    settings: Settings | None = None,
    space: SearchSpace | str | None = None,
    options: RunOptions | None = None,
    storage: str | None = None,
    watcher: Watcher | None = None,
) -> Outcome:
    """Create a study or continue it, until it has `options.trials` finished trials in total or another limit is reached.

    What is given explicitly must equal what a stored study was made with; what is not given is taken from it. What
    optuna-dashboard shows of the study is kept current; a page is written by `write_report` alone.

    Args:
        study: Its name; the data set's by default.
        settings: What is equal for all trials of the study.
        space: A space, a preset's name or the path of a TOML file; `basic` by default.
        options: Limits, workers and device of this run.
        storage: Path or URL of the database; by default $HPO_STORAGE, $OPTUNA_STORAGE, then studies/hpo.db.
        watcher: Is told what happens.

    Returns:
        The study as it is stored now, and why the run ended.

    Raises:
        UsageError: A value that cannot be right, or that differs from the stored study's.
        DataError: The data set is missing or damaged.
        DeviceError: The device is not here.
        StorageError: The database or the disk refuses, or another process runs the study.
    """
    published = Publishing(watcher or Watcher(), _publisher(storage))
    return session.run(study, settings=settings, space=space, options=options, storage=storage, watcher=published)


def resume(
    study: str, *, options: RunOptions | None = None, storage: str | None = None, watcher: Watcher | None = None
) -> Outcome:
    """Continue a study as it was, with settings and space read from it.

    Raises:
        UsageError: No such study. Else as `run`.
    """
    published = Publishing(watcher or Watcher(), _publisher(storage))
    return session.run(study, options=options, storage=storage, watcher=published, must_exist=True)


def load(study: str, storage: str | None = None) -> StudyRecord:
    """Return a stored study: settings, space, trials, best; `.study` is Optuna's own object.

    Raises:
        UsageError: No such study, or one of several objectives.
        StorageError: The database is missing or cannot be used.
    """
    return record.load(study, locate(storage))


def write_report(record: StudyRecord, out: Path | str | None = None, *, title: str | None = None) -> Path:
    """Write the page that explains a study, one HTML file, and return where it is.

    Args:
        record: From `load`, or an outcome's.
        out: The file; by default `reports/STUDY.html`.
        title: Heading; the study's name by default.

    Raises:
        StorageError: `out` cannot be written, or the database cannot be read.
    """
    from hpo.report import write_report as write

    place = Path("reports", f"{record.name}.html") if out is None else Path(out)
    return write(record.study, place, title=title, artifacts=record.winner_folder)


def _publisher(storage: str | None) -> Callable[[str], None]:
    """Return what brings a study's place in the dashboard up to date; the report side is loaded when it is called."""

    @functools.cache
    def study(name: str) -> StudyRecord:
        return load(name, storage)

    def publish(name: str) -> None:
        from hpo.report import dashboard

        dashboard.publish(study(name))
        _give_back()

    return publish


def _give_back() -> None:
    """Return freed memory to the system: glibc would keep the most that a publication ever used for the rest of the night."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library, or none by that name
        ctypes.CDLL(None).malloc_trim(0)
