"""Downloading a pinned file: resumable, verified, and in place whole or not at all.

The bytes go to a file `NAME.part` beside the target. An interrupted download leaves it, and the next one asks the
server for the rest (HTTP Range, RFC 9110 section 14). Once it has the pinned size its SHA-256 is compared, and only
then does it take the target's name; with another hash it is removed.
"""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from .catalogue import Download
from .errors import ModelError, OutputError

TIMEOUT = 30.0  # s without a byte
_BLOCK = 1 << 16

Progress = Callable[[int], None]
"""Called with the number of bytes that are there."""


def fetch(download: Download, target: Path, progress: Progress = lambda _: None) -> None:
    """Download a file to `target`, going on where an earlier attempt ended.

    ModelError where the server cannot be reached, refuses, breaks off (what came is kept) or sends another file than
    the pinned one (nothing is kept); OutputError where the file cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _complete(download, part, progress)
        _require_pinned(download, part)
        part.replace(target)
    except OSError as problem:
        raise OutputError(f"{target}: cannot be written ({problem.strerror or problem})") from None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _complete(download: Download, part: Path, progress: Progress) -> None:
    """Append to the file `part` what it still lacks; ModelError where not all of it comes."""
    received = part.stat().st_size if part.exists() else 0
    progress(received)
    if received >= download.size:
        return
    with _request(download.url, received) as response:
        resumed = response.status == http.client.PARTIAL_CONTENT  # else the server sends all of it
        received = received if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            while received < download.size and (block := _block(response)):
                received += file.write(block)
                progress(received)
    if received < download.size:
        raise ModelError(
            f"{download.url}: expected {download.size} bytes, got {received} before the connection ended; "
            "the same command goes on from there"
        )


def _request(url: str, start: int) -> http.client.HTTPResponse:
    headers = {"User-Agent": "facefit", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT
        )
        return response
    except urllib.error.HTTPError as problem:
        with problem:
            raise ModelError(f"{url}: the server answered {problem.code} ({problem.reason})") from None
    except urllib.error.URLError as problem:
        raise ModelError(f"{url}: no connection ({problem.reason})") from None
    except (OSError, http.client.HTTPException) as problem:
        raise ModelError(f"{url}: no answer ({problem or type(problem).__name__})") from None


def _block(response: http.client.HTTPResponse) -> bytes:
    """Return the next bytes, none at the end or where the connection broke."""
    try:
        return response.read1(_BLOCK)
    except (OSError, http.client.HTTPException):
        return b""


def _require_pinned(download: Download, part: Path) -> None:
    size, found = part.stat().st_size, sha256(part)
    if (size, found) != (download.size, download.sha256):
        part.unlink()
        raise ModelError(
            f"{download.url}: expected {download.size} bytes with SHA-256 {download.sha256}, got {size} bytes with "
            f"{found}; nothing was kept"
        )
