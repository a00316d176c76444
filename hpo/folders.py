"""Where a study's files are. Only this module turns names and paths from a database into paths.

Anybody may have written a database. So a study's name is never a path, a stored checkpoint is looked for in its study's own
folder alone, and what is removed lies in that folder, links followed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.settings import is_study_name

if TYPE_CHECKING:
    from sqlalchemy import URL

NETWORK = "network.safetensors"  # in a trial's folder: what it leaves when it is done

_CHECKPOINT = re.compile(  # of any system's paths
    r"(?:.*[/\\])?(trial-\d{5,9})[/\\](epoch[A-Za-z0-9_.-]*|network\.safetensors)", re.DOTALL
)
_READABLE = 60  # characters of an odd name that its file name shows


@dataclass(frozen=True)
class Location:
    """Where a database is.

    Attributes:
        path: The SQLite file, or None for a server.
        folder: Where the checkpoints of its studies go.
        server: Its URL, which may hold a password: show `str(location)` instead; empty for a file.
    """

    path: Path | None
    folder: Path
    server: str = field(default="", repr=False)

    @property
    def url(self) -> URL:
        """For SQLAlchemy, which takes longer to import than reading a file takes."""
        from sqlalchemy import URL, make_url

        return URL.create("sqlite", database=str(self.path)) if self.path else make_url(self.server)

    def __str__(self) -> str:
        return str(self.path) if self.path else self.url.set(query={}).render_as_string(hide_password=True)


def file_name(name: str) -> str:
    """Return a study's name as one part of a path: a name that `hpo run` takes as it is, any other made harmless.

    The `~`, which no name that `hpo run` takes has, keeps the two kinds apart; the digest keeps odd names apart.
    """
    if is_study_name(name):
        return name
    shown = re.sub(r"[^A-Za-z0-9_-]+", "-", name[:_READABLE]).strip("-")
    return f"{shown}~{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:12]}"


def study_folder(location: Location, name: str) -> Path:
    """Return where a study's lock and its trials' folders are; always a folder in the database's own."""
    return location.folder / file_name(name)


def trial_folder(folder: Path, number: int) -> Path:
    """Return where a trial's checkpoints and results are, in its study's folder."""
    return folder / f"trial-{number:05d}"


def stored_checkpoint(location: Location, path: Path) -> str:
    """Return what a trial's attribute says of its checkpoint: where it is in the database's folder, so that both move together.

    A server's folder is this machine's alone: there it is the whole path.
    """
    return str(path) if location.path is None else "/".join(path.parts[-3:])


def checkpoint(location: Location, name: str, stored: object) -> Path | None:
    """Return where the checkpoint is that a trial's attribute names; None for anything but a checkpoint's path.

    Paths of older studies are absolute: only their end counts, so a study that was moved or copied has its own files. A server's
    studies are looked for where they were made, if they are not here.
    """
    match = _CHECKPOINT.fullmatch(stored) if isinstance(stored, str) else None
    if match is None or "\0" in match[0]:
        return None
    here = study_folder(location, name) / match[1] / match[2]
    there = Path(match[0])
    return there if location.path is None and there.is_absolute() and not here.is_file() else here


def is_within(path: Path, folder: Path) -> bool:
    """Whether a path is in a folder, links followed; only then may it be removed."""
    real, home = path.parent.resolve() / path.name, folder.parent.resolve() / folder.name
    return real != home and real.is_relative_to(home)
