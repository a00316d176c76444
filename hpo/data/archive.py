"""Files as the authors of data sets publish them: a tar.gz, a file that is compressed by itself, or one that is not.

Each is found in the data folder where torchvision puts it, packed or unpacked, and read with suspicion: its MD5 is checked
wherever one is known, and nothing is unpacked to the disk, so no path in an archive can lead anywhere.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from hpo.errors import DataError
from hpo.system.files import read_regular

REMEDY = "Delete it; hpo will look elsewhere or download it again."


@dataclass(frozen=True)
class Plain:
    """A file that is read as it is.

    Attributes:
        path: Below the data folder, with slashes.
        md5: Of the file.
        urls: Its addresses, the best one first.
        most: Bytes of a content; more are not read.
    """

    path: str
    md5: str
    urls: tuple[str, ...]
    most: int = 1 << 28

    @property
    def places(self) -> tuple[str, ...]:
        """Where it may be, below the data folder, the place that is read first coming first."""
        return (self.path,)

    def found(self, data_dir: Path) -> Path | None:
        """Return its place in a data folder; None if it is not there."""
        return next((data_dir / place for place in self.places if (data_dir / place).exists()), None)

    def contents(self, path: Path) -> Mapping[str, bytes]:
        """Return what the file at `path`, or the folder, holds, by name.

        Raises:
            DataError: It is damaged or another file.
        """
        return {path.name: _checked(path, self.md5, self.most)}


@dataclass(frozen=True)
class Gzipped(Plain):
    """A file that is compressed by itself. Of the unpacked one, no MD5 is known."""

    @property
    def places(self) -> tuple[str, ...]:
        """Where it may be."""
        return (self.path, self.path.removesuffix(".gz"))

    def contents(self, path: Path) -> Mapping[str, bytes]:
        """Return the unpacked content."""
        if path.suffix != ".gz":
            return {path.name: _checked(path, "", self.most)}
        packed = _checked(path, self.md5, self.most)
        try:
            with gzip.open(io.BytesIO(packed)) as file:
                content = file.read(self.most + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is damaged: {error}. {REMEDY}") from error
        if len(content) > self.most:
            raise DataError(f"{path} contains more than {self.most:,} bytes. {REMEDY}")
        return {path.stem: content}


@dataclass(frozen=True)
class Tar(Plain):
    """A tar.gz of one folder, which a person may have unpacked.

    Attributes:
        folder: Its name.
        members: What is read of it: names and MD5s.
        unpacked: Bytes of everything that it may hold.
    """

    folder: str = ""
    members: Mapping[str, str] = field(default_factory=dict)
    unpacked: int = 1 << 29

    @property
    def places(self) -> tuple[str, ...]:
        """Where it may be."""
        return (self.folder, self.path)

    def contents(self, path: Path) -> Mapping[str, bytes]:
        """Return the members."""
        contents = self._of_folder(path) if path.is_dir() else self._of_tar(path)
        for name, md5 in self.members.items():
            if name not in contents:
                raise DataError(f"{path} lacks {name}. {REMEDY}")
            if _md5(contents[name]) != md5:
                raise DataError(f"{path}: {name} is damaged (wrong MD5). {REMEDY}")
        return contents

    def _of_folder(self, folder: Path) -> dict[str, bytes]:
        try:
            return {name: read_regular(folder / name, self.most) for name in self.members if (folder / name).exists()}
        except OSError as error:
            raise DataError(f"{folder} cannot be read: {error}.") from error

    def _of_tar(self, path: Path) -> dict[str, bytes]:
        """Read in one pass: to go back in a compressed stream, it would have to be decompressed again."""
        contents: dict[str, bytes] = {}
        unpacked = 0
        if not path.is_file():  # reading a pipe would block
            raise DataError(f"{path} is not a regular file. {REMEDY}")
        try:
            with tarfile.open(path) as tar:
                for member in tar:
                    folder, _, name = member.name.removeprefix("./").rpartition("/")
                    wanted = folder == self.folder and name in self.members
                    unpacked += member.size
                    if unpacked > self.unpacked or (wanted and member.size > self.most):
                        raise DataError(
                            f"{path} contains more than it should: {member.name[:100]!r} has {member.size:,} bytes. {REMEDY}"
                        )
                    if wanted and member.isfile():
                        contents[name] = cast("io.BufferedReader", tar.extractfile(member)).read()
                    if len(contents) == len(self.members):
                        break
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise DataError(f"{path} is damaged: {error}. {REMEDY}") from error
        return contents


def _checked(path: Path, md5: str, most: int) -> bytes:
    try:
        content = read_regular(path, most)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    if md5 and _md5(content) != md5:
        raise DataError(f"{path} is damaged (wrong MD5). {REMEDY}")
    return content


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
