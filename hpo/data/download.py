"""One file, downloaded with suspicion: checked, atomic, never waited for longer than `TIMEOUT`, continued where it broke off.

torchvision downloads without a timeout, falls back from https to http, and writes directly to the final name.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from hpo.errors import DataError
from hpo.system.files import FULL, sync_folder

if TYPE_CHECKING:
    from hpo.data.arrays import OnProgress

TIMEOUT = 30.0  # seconds without a byte after which a download fails
CHUNK = 1 << 20  # bytes
WORTH = CHUNK  # bytes: a part that is smaller is not kept when a download fails


def download(urls: Sequence[str], md5: str, target: Path, progress: OnProgress) -> None:
    """Download a file from the first of its addresses that has it; its name appears when it is complete and its MD5 matches.

    What has arrived when a connection breaks is kept, and the next call goes on from there.

    Raises:
        DataError: No address gave the file, or it cannot be written; says of each why.
    """
    refused = []
    for url in urls:
        try:
            return _download(url, md5, target, progress)
        except DataError as error:
            refused.append(f"downloading {url} failed: {error}")
    raise DataError("; ".join(refused))


def _download(url: str, md5: str, target: Path, progress: OnProgress) -> None:
    part = target.with_name(f".{target.name}.part")
    try:
        with _connect(url, part.stat().st_size if part.is_file() else 0) as response:  # nothing is made where nobody answers
            target.parent.mkdir(parents=True, exist_ok=True)
            with part.open("ab") as file:
                _fill(file, part, response, md5, progress, target.name)
                os.fsync(file.fileno())
        part.replace(target)
        sync_folder(target.parent)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if getattr(error, "errno", None) in FULL:
            part.unlink(missing_ok=True)
        raise DataError(str(getattr(error, "reason", error)) or type(error).__name__) from error
    finally:
        if part.is_file() and part.stat().st_size < WORTH:
            part.unlink()


def _fill(file: BinaryIO, part: Path, response: http.client.HTTPResponse, md5: str, progress: OnProgress, name: str) -> None:
    """Write what is missing of a file, or all of it where the server does not give a part."""
    start = part.stat().st_size
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        start = 0
        file.truncate(0)
    found = hashlib.md5(usedforsecurity=False)
    with part.open("rb") as begun:
        while known := begun.read(CHUNK):
            found.update(known)
    done, total = start, start + int(response.headers.get("Content-Length") or 0)
    progress(f"downloading {name}", done, total)
    while chunk := response.read(CHUNK):
        file.write(chunk)
        found.update(chunk)
        done += len(chunk)
        progress(f"downloading {name}", done, total)
    if done < total:
        raise DataError(f"the connection ended after {done:,} of {total:,} bytes")
    if found.hexdigest() != md5:
        file.truncate(0)
        raise DataError(f"the downloaded file has MD5 {found.hexdigest()}, expected {md5}")


@contextlib.contextmanager
def _connect(url: str, start: int) -> Iterator[http.client.HTTPResponse]:
    """Open an address, and ask for what follows the first `start` bytes."""
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise DataError(f"{url} is neither http nor https")
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})  # noqa: S310 - the scheme was checked
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310 - likewise
    except urllib.error.HTTPError as error:
        with error:  # it is the response too, and would keep the socket open
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
                raise DataError(f"the server answered {error.code} {error.reason}") from error
        response = urllib.request.urlopen(url, timeout=TIMEOUT)  # noqa: S310 - the file has become shorter: all of it
    with response:
        if urlsplit(response.geturl()).scheme not in (scheme, "https"):
            raise DataError(f"{url} redirects to {response.geturl()}, which is not {scheme}")
        yield response
