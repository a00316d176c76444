"""One file, downloaded with suspicion: checked, atomic, never waited for longer than `TIMEOUT`.

torchvision downloads without a timeout, falls back from https to http, and writes directly to the final name.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hpo.errors import DataError
from hpo.system.files import atomic_file

if TYPE_CHECKING:
    from hpo.data.arrays import OnProgress

TIMEOUT = 30.0  # seconds without a byte after which a download fails
CHUNK = 1 << 20  # bytes


def download(urls: Sequence[str], md5: str, target: Path, progress: OnProgress) -> None:
    """Download a file from the first of its addresses that has it; its name appears when it is complete and its MD5 matches.

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
    try:
        with _connect(url) as response, atomic_file(target) as file:
            total = int(response.headers.get("Content-Length") or 0)
            done, found = 0, hashlib.md5(usedforsecurity=False)
            progress(f"downloading {target.name}", 0, total)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                found.update(chunk)
                done += len(chunk)
                progress(f"downloading {target.name}", done, total)
            if done < total:
                raise DataError(f"the connection ended after {done:,} of {total:,} bytes")
            if found.hexdigest() != md5:
                raise DataError(f"the downloaded file has MD5 {found.hexdigest()}, expected {md5}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(str(getattr(error, "reason", error)) or type(error).__name__) from error


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
        if urlsplit(response.geturl()).scheme not in (scheme, "https"):
            raise DataError(f"{url} redirects to {response.geturl()}, which is not {scheme}")
        yield response
