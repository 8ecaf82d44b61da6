"""The files of a folder or of an archive, read in place: nothing is ever written to disk.

Archives are zips and tars, plain or packed with gzip, bzip2 or xz, told apart by their first bytes. Nobody vouches for
them: a member whose name is absolute or climbs with `..`, and any link or device, condemns the whole archive; sizes
are bounded before anything is unpacked, and a tar is read through a stream that refuses to go further than that, since
its own headers decide how much its reader asks for. Headers are bounded more tightly: the time that `tarfile` takes for
an extended one grows with the square of its size.
"""

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from ..errors import FacefitError, ModelError

MAX_MEMBER_BYTES = 2**24
MAX_TOTAL_BYTES = 2**30
MAX_MEMBERS = 10_000
"""What one file, all files of an archive, and their number may come to; ICT-FaceKit's are 2.6 MB, 405 MB and 161."""

MAX_HEADER_BYTES, MAX_HEADERS_BYTES = 2**11, 2**23
"""What one header of a tar, and all of them, may come to; with long names and attributes, half a kilobyte is usual."""

DAMAGE = (
    *(OSError, EOFError, RuntimeError, MemoryError, ValueError, OverflowError, IndexError),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
)
"""What the standard library raises on files that are damaged or no archives."""

_PACKED: tuple[tuple[bytes, Callable[[IO[bytes]], Any]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
)

Wanted = Callable[[PurePosixPath], bool]


def read_members(path: Path, wanted: Wanted) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield (name, content) of every wanted file of a folder, to a depth of two, or of an archive.

    ModelError, naming file and member, for whatever is unsafe, too large or cannot be read whole.
    """
    members = _in_folder if path.is_dir() else _in_zip if zipfile.is_zipfile(path) else _in_tar
    try:
        yield from members(path, wanted)
    except FacefitError:
        raise
    except DAMAGE as problem:
        raise ModelError(f"{path}: not a readable folder or archive ({problem or type(problem).__name__})") from None


def first_names(path: Path, within: int = 2**26) -> Iterator[PurePosixPath]:
    """Yield the names of an archive's members, of a tar only those in its first `within` bytes unpacked.

    Stops without an error where the file is damaged or no archive.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from map(PurePosixPath, archive.namelist())
        else:
            with _opened_tar(path, within) as (tar, _):
                for member in tar:
                    yield PurePosixPath(member.name)
    except DAMAGE:
        return


def _in_folder(path: Path, wanted: Wanted) -> Iterator[tuple[PurePosixPath, bytes]]:
    for file in sorted([*path.glob("*"), *path.glob("*/*")]):
        name = PurePosixPath(file.relative_to(path).as_posix())
        if wanted(name) and file.is_file():  # no pipe, which would never end
            with file.open("rb") as opened:
                content = opened.read(MAX_MEMBER_BYTES + 1)
            yield name, _bounded(path, name, content)


def _in_zip(path: Path, wanted: Wanted) -> Iterator[tuple[PurePosixPath, bytes]]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_TOTAL_BYTES:
            raise ValueError(f"expected at most {MAX_MEMBERS} members and {MAX_TOTAL_BYTES} bytes, got more")
        for member in members:
            name = _safe(path, member.filename, plain=not stat.S_ISLNK(member.external_attr >> 16))
            if member.is_dir() or not wanted(name):
                continue
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{name}: expected a stored or deflated member, got another")
            with archive.open(member) as file:
                yield name, _bounded(path, name, file.read(MAX_MEMBER_BYTES + 1))


def _in_tar(path: Path, wanted: Wanted) -> Iterator[tuple[PurePosixPath, bytes]]:
    with _opened_tar(path, MAX_TOTAL_BYTES) as (archive, stream):
        for count, member in enumerate(archive):
            if count >= MAX_MEMBERS:
                raise ValueError(f"expected at most {MAX_MEMBERS} members, got more")
            name = _safe(path, member.name, plain=member.isdir() or (member.isreg() and not member.issparse()))
            if member.isreg() and wanted(name):
                yield name, _bounded(path, name, stream.content(member))


def _safe(path: Path, text: str, *, plain: bool) -> PurePosixPath:
    """Return a member's name; ModelError for one that leads out of the archive, and for what is no plain file."""
    name = PurePosixPath(text.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts:
        raise ModelError(f"{path}: expected members inside the archive, got {text!r}")
    if not plain:
        raise ModelError(f"{path}: expected plain files and folders only, got the link or device {text!r}")
    return name


def _bounded(path: Path, name: PurePosixPath, content: bytes) -> bytes:
    if len(content) > MAX_MEMBER_BYTES:
        raise ModelError(f"{path}: {name}: expected at most {MAX_MEMBER_BYTES} bytes, got more")
    return content


@contextmanager
def _opened_tar(path: Path, within: int) -> Iterator[tuple[tarfile.TarFile, "_BoundedStream"]]:
    """Open a tar, packed or not, of which no more than `within` bytes will be unpacked; also yield its stream."""
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        unpack = next((unpack for magic, unpack in _PACKED if start.startswith(magic)), None)
        stream = _BoundedStream(file if unpack is None else unpack(file), within)
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as archive:
            yield archive, stream


class _BoundedStream:
    """The part of a binary stream that `tarfile` uses for headers, up to `limit` bytes from its start."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream, self._limit, self._headers_left = stream, limit, MAX_HEADERS_BYTES

    def read(self, size: int) -> bytes:
        if not 0 <= size <= min(MAX_HEADER_BYTES, self._headers_left):
            raise ValueError(
                f"expected headers of at most {MAX_HEADER_BYTES} bytes, {MAX_HEADERS_BYTES} in all, got one of {size}"
            )
        self._headers_left -= size
        self._check(self._stream.tell() + size)
        return self._stream.read(size)

    def content(self, member: tarfile.TarInfo) -> bytes:
        """Return what a plain file of the tar holds, of more than MAX_MEMBER_BYTES one byte more than that."""
        size = min(member.size, MAX_MEMBER_BYTES + 1)
        self._check(member.offset_data + size)
        self._stream.seek(member.offset_data)
        content: bytes = self._stream.read(size)
        if len(content) < size:
            raise EOFError(f"{member.name}: expected {size} bytes, got {len(content)}")
        return content

    def seek(self, offset: int) -> int:
        self._check(offset)
        return self._stream.seek(offset)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, end: int) -> None:
        if end > self._limit:
            raise ValueError(f"expected at most {self._limit} bytes unpacked, got more")
