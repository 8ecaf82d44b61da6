"""What to label: the images that folders, lists, patterns, tar archives and Parquet files stand for.

    folder          the pictures below it, at any depth; key: the path relative to it
    picture         itself; key: its name
    list.txt        one path a line, relative to the list's folder; key: the line
    'a/*/b*.jpg'    what matches, in the order of the alphabet; key: the path relative to the part before the first *
    archive.tar     the members that are pictures (WebDataset's layout is one); key: the member's name
    table.parquet   each row of an image column: binary, or a structure with `bytes` as Hugging Face writes it;
                    key: a key column's value, or TABLE.parquet#ROW

An `Item` says where an image's bytes lie; a worker reads them with `read_item`. Archives are indexed by a walk over
their headers, so that any member is one seek away, and must not be compressed. A tar that is cut in the middle gives
the members whose headers are there; the one that is cut is rejected when its turn comes.

Tar: POSIX.1-2017, pax, "ustar Interchange Format"; the layout of keys in WebDataset is nothing that matters here.
"""

import glob
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any

from ...models.errors import ImageError, InvalidInputError
from ..fit.command import PICTURES
from .arrow import pyarrow

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
"""Archives that cannot be read from the middle."""

_BLOCK = 512  # bytes: tar's unit


@dataclass(frozen=True, slots=True)
class Item:
    """One image to label: what it is called and where its bytes lie."""

    key: str  # unique in a dataset
    path: str  # absolute, of the file that holds it
    kind: str = "file"  # file, tar or parquet
    place: tuple[int, int] = (0, 0)  # tar: offset and size, bytes; parquet: row group, and row in it
    column: str = ""  # parquet: the image column


@dataclass(frozen=True)
class Columns:
    """Which columns of Parquet files to read."""

    image: str = "image"
    key: str | None = None  # None: rows are numbered


@dataclass
class Sources:
    """The images of several sources, joined in the order given, each source in an order of its own that never changes.

    Iterating yields items whose keys and places may repeat; the ledger makes them unique.
    """

    names: Sequence[str]
    columns: Columns = field(default_factory=Columns)
    skip: Path | None = None  # a folder that is not looked into: the dataset's own
    unread: list[str] = field(default_factory=list)  # filled while iterating: sentences on what could not be looked at

    def __post_init__(self) -> None:
        """Refuse sources that are missing or of a kind that cannot be read, before anything is done."""
        if not self.names:
            raise InvalidInputError("images: expected a folder, pattern, list, tar or Parquet file, got none")
        for name in self.names:
            for path, _ in _expanded(name):
                self._check(path)

    def __iter__(self) -> Iterator[Item]:
        for name in self.names:
            for path, key in _expanded(name):
                yield from self._items(path, key)

    def _check(self, path: str) -> None:
        """Refuse what can be seen to be wrong at once."""
        if os.path.isdir(path):
            try:
                os.scandir(path).close()
            except OSError as problem:
                raise ImageError(f"{path}: expected a folder that can be read, got {_reason(problem)}") from None
        elif not os.path.lexists(path):
            raise ImageError(f"{path}: expected a folder, pattern, list, tar, Parquet file or picture, got none")
        elif path.lower().endswith(COMPRESSED):
            raise ImageError(f"{path}: expected an uncompressed .tar, whose members can be read one by one, got a "
                             "compressed one: unpack it, or pack it again without compression")  # fmt: skip
        elif path.lower().endswith(".tar"):
            _check_tar(path)
        elif path.lower().endswith(".parquet"):
            _check_columns(path, self.columns)

    def _items(self, path: str, key: str) -> Iterable[Item]:
        if os.path.isdir(path):
            return self._pictures_below(path)
        absolute = _canonical(path)
        match Path(path).suffix.lower():
            case ".txt":
                return _listed(absolute)
            case ".tar":
                return self._members(absolute)
            case ".parquet":
                return _rows(absolute, self.columns)
        return [Item(key, absolute)]

    def _pictures_below(self, root: str) -> Iterator[Item]:
        """Yield the pictures of a folder, then those of each folder in it; hidden ones are left out, links followed."""
        seen = {os.path.realpath(self.skip)} if self.skip else set()
        waiting = [("", os.path.realpath(root))]
        while waiting:
            prefix, folder = waiting.pop()
            if folder in seen:
                continue
            seen.add(folder)
            try:
                with os.scandir(folder) as found:
                    entries = [(entry.name, entry.is_dir(), entry.is_symlink()) for entry in found if _is_shown(entry)]
            except OSError as problem:
                self.unread.append(f"{folder}: cannot be looked into ({_reason(problem)})")
                continue
            entries.sort()
            for name, is_folder, _ in entries:
                if not is_folder and _is_picture(name):
                    yield Item(_text(prefix + name), os.path.join(folder, name))
            for name, is_folder, is_link in reversed(entries):
                if is_folder:
                    inner = os.path.join(folder, name)
                    waiting.append((f"{prefix}{name}/", os.path.realpath(inner) if is_link else inner))

    def _members(self, path: str) -> Iterator[Item]:
        """Yield the pictures of a tar by a walk over its headers."""
        last = "its beginning"
        try:
            with tarfile.open(path, "r:") as archive:
                while (member := archive.next()) is not None:
                    vars(archive)["members"].clear()  # they would all be kept
                    last = member.name
                    if member.isreg() and _is_picture(member.name.rpartition("/")[2]):
                        place = (member.offset_data, member.size)
                        yield Item(_text(member.name), path, "tar", place)
                damaged = _more_than_padding(path, archive.offset)
        except (tarfile.TarError, OSError):
            damaged = True
        if damaged:
            self.unread.append(f"{path}: the archive is cut or damaged after {last!r}: what may follow is not known")


def read_item(item: Item) -> bytes:
    """Return the bytes of an image's file. ImageError, whose text names no folder, where they cannot be had."""
    try:
        if item.kind == "parquet":
            return _read_row(item)
        if not S_ISREG(os.stat(item.path).st_mode):  # opening a pipe would wait for its other end
            raise ImageError("expected a file, got something else under its name")
        with open(item.path, "rb") as file:
            if item.kind == "file":
                return file.read()
            offset, size = item.place
            file.seek(offset)
            data = file.read(size)
    except OSError as problem:
        raise ImageError(f"cannot be read ({_reason(problem)})") from None
    if len(data) != size:
        raise ImageError(f"expected {size} bytes, got {len(data)}: the archive is cut in the middle of this member")
    return data


def _expanded(name: str) -> Iterator[tuple[str, str]]:
    """Yield (path, key of a picture there) for what a source's name stands for: itself, or the matches of a pattern."""
    if os.path.lexists(name) or not glob.has_magic(name):
        yield name, _text(os.path.basename(name))
        return
    fixed = os.path.dirname(name[: next(k for k, c in enumerate(name) if c in "*?[")])
    matches = sorted(glob.iglob(name, recursive=True))
    if not matches:
        raise ImageError(f"{name}: expected a pattern that something matches, got one that nothing does")
    for path in matches:
        yield path, _text(Path(os.path.relpath(path, fixed or os.curdir)).as_posix())


def _check_tar(path: str) -> None:
    try:
        tarfile.open(path, "r:").close()
    except (tarfile.TarError, OSError) as problem:
        raise ImageError(f"{path}: expected an uncompressed tar, got another file ({_first_line(problem)})") from None


def _listed(path: str) -> Iterator[Item]:
    folder = os.path.dirname(path)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                if name := line.strip("\r\n"):
                    yield Item(_text(name), _canonical(os.path.join(folder, name)))
    except OSError as problem:
        raise ImageError(f"{path}: expected a list that can be read, got {_reason(problem)}") from None


def _rows(path: str, columns: Columns) -> Iterator[Item]:
    table = _open_parquet(path)
    name, number = os.path.basename(path), 0
    for group in range(table.num_row_groups):
        count = table.metadata.row_group(group).num_rows
        keys: Sequence[Any] = [None] * count
        if columns.key is not None:
            keys = table.read_row_group(group, columns=[columns.key], use_threads=False).column(0).to_pylist()
        for row, key in enumerate(keys):
            yield Item(f"{name}#{number}" if key is None else _text(str(key)), path, "parquet", (group, row),
                       columns.image)  # fmt: skip
            number += 1


def _check_columns(path: str, columns: Columns) -> None:
    """Refuse a Parquet file that lacks one of the columns, or whose images are of another type."""
    schema, types = _open_parquet(path).schema_arrow, pyarrow("types")
    for wanted in (columns.image, *([] if columns.key is None else [columns.key])):
        if wanted not in schema.names:
            raise ImageError(f"{path}: expected a column {wanted!r}, got the columns {', '.join(schema.names)}")
    found = schema.field(columns.image).type
    inner = found
    if types.is_struct(found) and found.get_field_index("bytes") >= 0:
        inner = found.field("bytes").type
    if not (types.is_binary(inner) or types.is_large_binary(inner)):
        raise ImageError(
            f"{path}: column {columns.image!r}: expected binary, or a structure with binary `bytes`, got {found}"
        )


def _open_parquet(path: str) -> Any:
    try:
        return pyarrow("parquet").ParquetFile(path)
    except (pyarrow().ArrowException, OSError) as problem:
        raise ImageError(f"{path}: expected a Parquet file, got {_first_line(problem)}") from None


def _read_row(item: Item) -> bytes:
    try:
        value = _row_group(item.path, item.place[0], item.column)[item.place[1]].as_py()
    except (pyarrow().ArrowException, IndexError, KeyError) as problem:
        raise ImageError(f"cannot be read ({_first_line(problem)})") from None
    data = value["bytes"] if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise ImageError("expected an image in this row, got none")
    return data


@lru_cache(maxsize=1)
def _row_group(path: str, group: int, column: str) -> Any:
    """Return the image column of a row group. Neighbouring rows are asked for one after the other."""
    table = pyarrow("parquet").ParquetFile(path)
    nested = pyarrow("types").is_struct(table.schema_arrow.field(column).type)
    return table.read_row_group(group, columns=[f"{column}.bytes" if nested else column], use_threads=False).column(0)


def _more_than_padding(path: str, offset: int) -> bool:
    """Whether a tar goes on after the place where the walk ended: something other than zeros stands there."""
    with open(path, "rb") as file:
        file.seek(offset)
        return any(file.read(_BLOCK))


def _is_shown(entry: "os.DirEntry[str]") -> bool:
    return not entry.name.startswith(".")


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in PICTURES


def _canonical(path: str) -> str:
    """Return one absolute path per file, whatever folders it is named through; a link to a file stays itself."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(_real_folder(folder), name)


@lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _text(name: str) -> str:
    """Return a file's name as text that every table can hold; bytes that are no text become question marks."""
    return os.fsencode(name).decode("utf-8", errors="replace")


def _reason(problem: OSError) -> str:
    return problem.strerror or str(problem)


def _first_line(problem: BaseException) -> str:
    return str(problem).strip().split("\n")[0]
