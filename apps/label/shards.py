"""A shard's files: collected, written, made visible, and put right after a kill at any instant.

Visible exactly once, whatever happens:

    1  every file is written under a temporary name and flushed to the disk (fsync)
    2  the ledger notes their hashes: written
    3  each is renamed to its own name, faces-*.parquet last, and the folder is flushed
    4  the ledger notes: visible

A kill before 2 leaves temporary files that the ledger does not know: they are removed, and the shard's images are
labelled again. Between 2 and 4, what is not renamed yet is renamed, provided that each file is the one whose hash the
ledger knows. A file appears whole or not at all, and where faces-K is there, so are the others of shard K.

What exporters make of an image is kept in a file of its own until the shard is complete: maps are large, and the
members of a shard's tars stand in the order of the images, not in that in which workers are through with them.
"""

import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...models.errors import OutputError
from .labelled import TARS, Labelled
from .ledger import Counts, FileState, Ledger, Shard
from .records import image_record, parquet_bytes, timing_records

_TEMPORARY = re.compile(rf"\.(faces|images|timings|{'|'.join(TARS)}|manifest|summary|report)[-.].*\.tmp")
_SHARD_FILE = re.compile(rf"(faces|images|timings)-\d{{5,}}\.parquet|({'|'.join(TARS)})-\d{{5,}}\.tar")
_BLOCK = 512  # bytes: tar's unit
_CHUNK = 1 << 20  # bytes


@dataclass
class OpenShard:
    """A shard whose images are being labelled."""

    folder: Path
    shard: Shard
    metadata: Mapping[str, str]  # of its tables
    counts: Counts = field(default_factory=Counts)  # of the images so far
    _images: dict[int, Mapping[str, Any]] = field(default_factory=dict)  # by position in the plan
    _faces: dict[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    _timings: dict[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    _spooled: dict[str, dict[int, Path]] = field(default_factory=dict)  # the same, by tar

    @property
    def complete(self) -> bool:
        """Whether every image of the shard is labelled."""
        return len(self._images) == self.shard.count

    def add(self, position: int, shared: Mapping[str, Any], labelled: Labelled) -> None:
        """Take what became of an image; `shared` are the columns of `records.shared_columns`."""
        self._faces[position] = [{**shared, **face} for face in labelled.faces]
        self._timings[position] = timing_records(shared["key"], labelled.seconds)
        for tar, files in labelled.files.items():
            if files:
                self._spooled.setdefault(tar, {})[position] = self._spool(tar, position, files)
        self._images[position] = image_record(shared, labelled)
        self.counts += counts_of(labelled)

    def tables(self) -> dict[str, bytes]:
        """Return the tables of records, by file name."""
        return {
            self._name("images"): parquet_bytes("images", _in_order(self._images), self.metadata),
            self._name("faces"): parquet_bytes("faces", _joined(self._faces), self.metadata),
        }

    def timings(self, write_seconds: float) -> dict[str, bytes]:
        """Return the table of timings, by file name."""
        rows = _joined(self._timings) + timing_records(None, {"write": write_seconds})
        return {self._name("timings"): parquet_bytes("timings", rows, self.metadata)}

    def tars(self) -> dict[str, list[Path]]:
        """Return the parts of the tars of what exporters made, in order, by file name; none where they made nothing."""
        return {f"{tar}-{self.shard.number:05}.tar": _in_order(self._spooled[tar]) for tar in sorted(self._spooled)}

    def _name(self, table: str) -> str:
        return f"{table}-{self.shard.number:05}.parquet"

    def _spool(self, tar: str, position: int, files: Mapping[str, bytes]) -> Path:
        path = self.folder / f".{tar}-{self.shard.number:05}.{position}.tmp"
        with _explained(path), path.open("wb") as file:
            for name in sorted(files):
                file.write(tar_member(name, files[name]))
        return path


def counts_of(labelled: Labelled) -> Counts:
    """Return what one image counts as."""
    return Counts(**{labelled.outcome.value: 1}, faces=len(labelled.faces))


def tar_member(name: str, data: bytes) -> bytes:
    """Return a file as a tar holds it: the same bytes for the same content."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return header.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % _BLOCK)


def write_tables(shard: OpenShard) -> dict[str, FileState]:
    """Write a complete shard's files of records under their temporary names, and return what they are to be."""
    files = {name: _stage_parts(shard.folder, name, parts) for name, parts in shard.tars().items()}
    return files | {name: _stage(shard.folder, name, data) for name, data in shard.tables().items()}


def write_timings(shard: OpenShard, seconds: float) -> dict[str, FileState]:
    """Write a complete shard's timings under their temporary name."""
    return {name: _stage(shard.folder, name, data) for name, data in shard.timings(seconds).items()}


def publish(folder: Path, ledger: Ledger, shard: Shard, files: Mapping[str, FileState], counts: Counts) -> None:
    """Make written files visible: steps 2 to 4 of the module's text. The last of `files` appears last."""
    ledger.mark_written(shard, files, counts)
    for name in files:
        _rename(folder, name)
    sync_folder(folder)
    ledger.mark_visible(shard)
    for tar in TARS:
        for spooled in folder.glob(f".{tar}-{shard.number:05}.*.tmp"):
            spooled.unlink(missing_ok=True)


def reconcile(folder: Path, ledger: Ledger) -> list[str]:
    """Put right what a kill left behind, and return sentences on what was not as it had been written."""
    notes = []
    for shard, files in ledger.written():
        if all(_bring_out(folder, name, state) for name, state in files.items()):
            sync_folder(folder)
            ledger.mark_visible(shard)
        else:
            ledger.mark_planned(shard)
    for shard, files in ledger.visible():
        if wrong := [name for name, state in files.items() if _size(folder / name) != state.size]:
            notes.append(f"{folder / wrong[0]}: missing or not as it was written; its shard is done again")
            ledger.mark_planned(shard)
    known = {name for _, files in ledger.visible() for name in files}
    with _explained(folder):
        for path in sorted(folder.iterdir()):
            stray = _SHARD_FILE.fullmatch(path.name) and path.name not in known
            if stray or _TEMPORARY.fullmatch(path.name):
                path.unlink()
    return notes


def discard_temporaries(folder: Path) -> None:
    """Remove temporary files, as far as that can be done."""
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the platform can."""
    if os.name != "posix":
        return
    with _explained(folder):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the system says of a path into a sentence."""
    try:
        yield
    except OSError as problem:
        raise OutputError(f"{path}: cannot be written ({problem.strerror or problem})") from None


def _temporary(folder: Path, name: str) -> Path:
    return folder / f".{name}.tmp"


def _stage(folder: Path, name: str, data: bytes) -> FileState:
    """Write a file under its temporary name, on the disk when this returns."""
    path = _temporary(folder, name)
    with _explained(folder / name), path.open("wb") as file:
        file.write(data)
        _flush(file)
    return FileState(hashlib.sha256(data).hexdigest(), len(data))


def _stage_parts(folder: Path, name: str, parts: Sequence[Path]) -> FileState:
    """Write a tar from its members' files."""
    path = _temporary(folder, name)
    with _explained(folder / name), path.open("wb") as file:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file, _CHUNK)
        file.write(bytes(2 * _BLOCK))
        _flush(file)
    return FileState(_hash(path), path.stat().st_size)


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _rename(folder: Path, name: str) -> None:
    with _explained(folder / name):
        os.replace(_temporary(folder, name), folder / name)


def _bring_out(folder: Path, name: str, state: FileState) -> bool:
    """Make sure that a written file is visible; False where it is nowhere as it was written."""
    temporary = _temporary(folder, name)
    if _is(temporary, state):
        _rename(folder, name)
        return True
    return _is(folder / name, state)


def _is(path: Path, state: FileState) -> bool:
    return _size(path) == state.size and _hash(path) == state.sha256


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_order(by_position: Mapping[int, Any]) -> list[Any]:
    return [by_position[position] for position in sorted(by_position)]


def _joined(by_position: Mapping[int, Sequence[Any]]) -> list[Any]:
    return [row for rows in _in_order(by_position) for row in rows]
