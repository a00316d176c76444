"""CIFAR-10 as its authors publish it: a tar.gz of pickled batches, downloaded once and read with suspicion.

The address and the checksums come from torchvision. Downloading and reading are done here, because torchvision
downloads without a timeout, falls back to http, writes directly to the final name and unpickles any object it
finds. The archive is read in place: nothing is unpacked, so no path in it can lead anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import pickle
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np

from hpo.data.arrays import SIDE, DataSet, Labels, OnProgress, Pixels, Split, make_data_set
from hpo.errors import DataError
from hpo.system.files import atomic_file, read_regular

# torchvision's names too (a test compares them). Written out because importing torchvision takes two seconds,
# and looking whether a file is there should not.
FILENAME = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"

TIMEOUT = 30.0  # seconds without a byte after which a download fails
CHUNK = 1 << 20  # bytes
MAX_FILE_BYTES = 1 << 26  # of a file of batches; the official ones have half of it
REMEDY = "Delete it; hpo will look elsewhere or download it again."

_TOO_MUCH = (OverflowError, RecursionError, MemoryError)  # from a pickle that asks for too large objects
_reconstruct = np.empty(0).__reduce__()[0]  # in numpy.core before numpy 2, in numpy._core since
_HARMLESS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


@dataclass(frozen=True)
class Archive:
    """The archive's address and the files that it must contain, as pairs of name and MD5."""

    url: str
    md5: str
    train: tuple[tuple[str, str], ...]
    test: tuple[tuple[str, str], ...]
    meta: tuple[str, str]

    @property
    def files(self) -> dict[str, str]:
        """Every file that is read, with its MD5."""
        return dict([self.meta, *self.train, *self.test])


def official() -> Archive:
    """Return the archive that torchvision knows (imports torch)."""
    from torchvision.datasets import CIFAR10

    return Archive(
        url=CIFAR10.url,
        md5=CIFAR10.tgz_md5,
        train=tuple((name, md5) for name, md5 in CIFAR10.train_list),
        test=tuple((name, md5) for name, md5 in CIFAR10.test_list),
        meta=(CIFAR10.meta["filename"], CIFAR10.meta["md5"]),
    )


def download(archive: Archive, data_dir: Path, progress: OnProgress) -> Path:
    """Download the archive into `data_dir`; its final name appears only when it is complete and its MD5 matches.

    Raises:
        DataError: There is no connection or it broke, the file is another one, or it cannot be written.
    """
    target = data_dir / FILENAME
    try:
        with _connect(archive.url) as response, atomic_file(target) as file:
            total = int(response.headers.get("Content-Length") or 0)
            done, md5 = 0, hashlib.md5(usedforsecurity=False)
            progress(f"downloading {FILENAME}", 0, total)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                md5.update(chunk)
                done += len(chunk)
                progress(f"downloading {FILENAME}", done, total)
            if done < total:
                raise DataError(f"the connection ended after {done:,} of {total:,} bytes")
            if md5.hexdigest() != archive.md5:
                raise DataError(f"the downloaded file has MD5 {md5.hexdigest()}, expected {archive.md5}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(str(getattr(error, "reason", error)) or type(error).__name__) from error
    return target


@contextlib.contextmanager
def _connect(url: str) -> Iterator[http.client.HTTPResponse]:
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise DataError(f"{url} is neither http nor https")
    try:
        response = urllib.request.urlopen(url, timeout=TIMEOUT)  # noqa: S310 - the scheme was checked
    except urllib.error.HTTPError as error:
        with error:  # it is the response too, and would keep the socket open
            raise DataError(f"the server answered {error.code} {error.reason}") from error
    with response:
        if urlsplit(response.geturl()).scheme != scheme:
            raise DataError(f"{url} redirects to {response.geturl()}, which is not {scheme}")
        yield response


@dataclass(frozen=True)
class PickledBatches:
    """The official batches, in the downloaded archive or in the folder that a person unpacked it to.

    Attributes:
        path: The tar.gz or the folder.
        archive: What must be in it; None means `official()`, called when it is needed.
    """

    path: Path
    archive: Archive | None = None

    @property
    def key(self) -> str:
        """Identifies these batches in the cache: their path, and the size and time of each file."""
        try:
            files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
            stats = [(file.name, file.stat()) for file in files]
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error}.") from error
        return repr((str(self.path.resolve()), [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]))

    def read(self, progress: OnProgress) -> DataSet:
        """Verify and decode all batches.

        Raises:
            DataError: A file is missing, damaged or another one; the message names it.
        """
        archive = self.archive or official()
        progress("reading batches", 0, 0)
        contents = _from_folder(self.path, archive) if self.path.is_dir() else _from_tar(self.path, archive)
        for name, md5 in archive.files.items():
            if name not in contents:
                raise DataError(f"{self.path} lacks {name}. {REMEDY}")
            if hashlib.md5(contents[name], usedforsecurity=False).hexdigest() != md5:
                raise DataError(f"{self.path}: {name} is damaged (wrong MD5). {REMEDY}")
        try:
            classes = _class_names(contents[archive.meta[0]])
            train = _join([_batch(contents.pop(name), len(classes)) for name, _ in archive.train])
            test = _join([_batch(contents.pop(name), len(classes)) for name, _ in archive.test])
        except (pickle.UnpicklingError, ValueError, TypeError, LookupError, AttributeError, EOFError, *_TOO_MUCH) as error:
            raise DataError(f"{self.path} does not contain CIFAR-10's batches: {error}. {REMEDY}") from error
        return make_data_set("cifar10", classes, train, test, f"CIFAR-10's official batches, from {self.path}.")


def _from_folder(folder: Path, archive: Archive) -> dict[str, bytes]:
    try:
        return {name: read_regular(folder / name, MAX_FILE_BYTES) for name in archive.files if (folder / name).exists()}
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error}.") from error


def _from_tar(path: Path, archive: Archive) -> dict[str, bytes]:
    """Read in one pass: to go back in a compressed stream, it would have to be decompressed again."""
    contents, unpacked = {}, 0
    if not path.is_file():  # reading a pipe would block
        raise DataError(f"{path} is not a regular file. {REMEDY}")
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                unpacked += member.size
                if member.size > MAX_FILE_BYTES or unpacked > 8 * MAX_FILE_BYTES:
                    raise DataError(
                        f"{path} contains more than CIFAR-10: {member.name[:100]!r} has {member.size:,} bytes. {REMEDY}"
                    )
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                if folder == FOLDER and name in archive.files and member.isfile():
                    contents[name] = cast("io.BufferedReader", tar.extractfile(member)).read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{path} is damaged: {error}. {REMEDY}") from error
    return contents


class _Unpickler(pickle.Unpickler):
    """Creates dicts, lists, numbers, bytes and numpy arrays, and no other objects."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it would load {module}.{name}")
        return _HARMLESS[module, name]


def _unpickle(content: bytes) -> dict[bytes, Any]:
    unpickled = _Unpickler(io.BytesIO(content), encoding="bytes").load()  # pickled by Python 2: its str are bytes
    return cast("dict[bytes, Any]", unpickled)


def _class_names(content: bytes) -> tuple[str, ...]:
    return tuple(name.decode() for name in _unpickle(content)[b"label_names"])


def _batch(content: bytes, n_classes: int) -> Split:
    batch = _unpickle(content)
    data: Pixels = batch[b"data"]  # (n, 3072) uint8: a plane of red, one of green, one of blue
    labels: Labels = np.asarray(batch[b"labels"], dtype=np.int64)
    if data.dtype != np.uint8 or data.shape != (len(labels), 3 * SIDE * SIDE):
        raise ValueError(f"a batch has {data.dtype} data of shape {data.shape} for {len(labels)} labels")
    if len(labels) and not 0 <= labels.min() <= labels.max() < n_classes:
        raise ValueError(f"a batch has labels outside 0..{n_classes - 1}")
    return Split(np.ascontiguousarray(data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)), labels)


def _join(batches: list[Split]) -> Split:
    return Split(np.concatenate([b.images for b in batches]), np.concatenate([b.labels for b in batches]))
