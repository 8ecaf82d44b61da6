"""What is to be done and what is done: an SQLite file in the dataset's folder.

    items     the plan: every image, in order, with where its bytes lie
    shards    ranges of the plan, and how far each is:
                  planned    its images are to be labelled
                  written    its files lie under temporary names; their hashes stand here
                  visible    its files lie under their own names

The plan only grows: further images are appended, in shards of their own. An image is known by the file it lies in and
its place there, so the same one named twice is planned once; different ones of one key get ~2, ~3, ... behind it.

The file is locked for as long as it is open, by this process alone, and the system lets go of the lock when the process
ends, however it ends. Commits are synchronous: what they say survives a kill at any instant.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from ...models.errors import OutputError
from .sources import Item

VERSION = 1

_TABLES = """
create table items (
    position integer primary key, key text not null unique, path blob not null, kind text not null,
    first integer not null, second integer not null, image text not null, unique (path, first, second, image));
create table shards (
    number integer primary key, first integer not null, count integer not null, state text not null,
    files text not null, counts text not null);
"""
_PLANNED, _WRITTEN, _VISIBLE = "planned", "written", "visible"


@dataclass(frozen=True)
class Shard:
    """A range of the plan whose records share files."""

    number: int
    first: int  # position of its first image in the plan
    count: int  # of images


@dataclass(frozen=True)
class FileState:
    """What a shard's file is to be."""

    sha256: str
    size: int  # bytes


@dataclass(frozen=True)
class Counts:
    """How many images count as what, and how many faces are exported."""

    ok: int = 0
    no_face: int = 0
    rejected: int = 0
    quarantined: int = 0
    faces: int = 0

    @property
    def images(self) -> int:
        """All images: each counts as exactly one thing."""
        return self.ok + self.no_face + self.rejected + self.quarantined

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Extension:
    """What images offered to the plan became."""

    new: int  # appended
    known: int  # planned by an earlier run
    twice: int  # offered a second time in this run
    renamed: int  # appended with a suffix behind their key


class Ledger:
    """The ledger of one dataset, open and locked. Raises OutputError where the file cannot be used."""

    def __init__(self, path: Path) -> None:
        """Open the ledger, or begin one, and lock it against any other run."""
        self._path = path
        with self._explained():
            self._database = sqlite3.connect(path, timeout=0.0, isolation_level=None)
        try:
            with self._explained():
                self._begin()
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def extend(self, items: Iterable[Item], shard_size: int) -> Extension:
        """Append the images that are not planned yet, in shards of `shard_size`, all or nothing."""
        with self._transaction():
            start = self.planned()
            known = twice = renamed = 0
            position, suffixes = start, dict[str, int]()
            for item in items:
                place = (os.fsencode(item.path), *item.place, item.column)
                row = self._one("select position from items where path=? and first=? and second=? and image=?", place)
                if row is not None:
                    known, twice = (known + 1, twice) if row[0] < start else (known, twice + 1)
                    continue
                key = self._free_key(item.key, suffixes)
                renamed += key != item.key
                self._database.execute(
                    "insert into items values (?,?,?,?,?,?,?)", (position, key, place[0], item.kind, *place[1:])
                )
                position += 1
            number = self._one("select count(*) from shards")[0]
            for k, first in enumerate(range(start, position, shard_size)):
                values = (number + k, first, min(shard_size, position - first), _PLANNED, "{}", "{}")
                self._database.execute("insert into shards values (?,?,?,?,?,?)", values)
        return Extension(position - start, known, twice, renamed)

    def planned(self) -> int:
        """Return how many images are planned."""
        with self._explained():
            return int(self._one("select count(*) from items")[0])

    def items(self, shard: Shard) -> list[tuple[int, Item]]:
        """Return the images of a shard with their positions in the plan."""
        query = "select position, key, path, kind, first, second, image from items where position>=? and position<?"
        with self._explained():
            rows = self._database.execute(f"{query} order by position", (shard.first, shard.first + shard.count))
            return [
                (position, Item(key, os.fsdecode(path), kind, (first, second), column))
                for position, key, path, kind, first, second, column in rows
            ]

    def find(self, key: str) -> Item | None:
        """Return the image of a key, None where none is planned under it."""
        with self._explained():
            row = self._one("select path, kind, first, second, image from items where key=?", (key,))
        return None if row is None else Item(key, os.fsdecode(row[0]), row[1], (row[2], row[3]), row[4])

    def waiting(self) -> list[Shard]:
        """Return the shards whose images are to be labelled, in order."""
        return [shard for shard, _ in self._shards(_PLANNED)]

    def written(self) -> list[tuple[Shard, dict[str, FileState]]]:
        """Return the shards that were written and may not be visible, with their files."""
        return self._shards(_WRITTEN)

    def visible(self) -> list[tuple[Shard, dict[str, FileState]]]:
        """Return the shards that are through, with their files."""
        return self._shards(_VISIBLE)

    def mark_written(self, shard: Shard, files: Mapping[str, FileState], counts: Counts) -> None:
        """Note that a shard's files lie under their temporary names, whole and on the disk."""
        content = json.dumps({name: [state.sha256, state.size] for name, state in files.items()})
        self._update(shard, _WRITTEN, content, json.dumps(counts.__dict__))

    def mark_visible(self, shard: Shard) -> None:
        """Note that a shard's files lie under their own names."""
        with self._transaction():
            self._database.execute("update shards set state=? where number=?", (_VISIBLE, shard.number))

    def mark_planned(self, shard: Shard) -> None:
        """Note that a shard is to be done again."""
        self._update(shard, _PLANNED, "{}", "{}")

    def totals(self) -> Counts:
        """Return the counts of all visible shards."""
        with self._explained():
            rows = self._database.execute("select counts from shards where state=?", (_VISIBLE,))
            return sum((Counts(**json.loads(row[0])) for row in rows), Counts())

    def _begin(self) -> None:
        for pragma in ("locking_mode=exclusive", "synchronous=full"):
            self._database.execute(f"pragma {pragma}")
        self._database.execute("begin exclusive")
        version = self._one("pragma user_version")[0]
        if version == 0 and self._one("select count(*) from sqlite_master")[0] == 0:
            for statement in _TABLES.split(";"):
                self._database.execute(statement)
            self._database.execute(f"pragma user_version={VERSION}")
        elif version != VERSION:
            raise OutputError(f"{self._path}: expected a ledger of version {VERSION}, got {version}")
        self._database.execute("commit")

    def _free_key(self, key: str, suffixes: dict[str, int]) -> str:
        """Return the key, or the first one with a suffix that is not taken; `suffixes` remembers where to look on."""
        found, number = key, suffixes.get(key, 2)
        while self._one("select 1 from items where key=?", (found,)) is not None:
            found = f"{key}~{number}"
            number += 1
            suffixes[key] = number
        return found

    def _shards(self, state: str) -> list[tuple[Shard, dict[str, FileState]]]:
        with self._explained():
            rows = list(self._database.execute(
                "select number, first, count, files from shards where state=? order by number", (state,)
            ))  # fmt: skip
        return [
            (Shard(*row[:3]), {name: FileState(*state) for name, state in json.loads(row[3]).items()}) for row in rows
        ]

    def _update(self, shard: Shard, state: str, files: str, counts: str) -> None:
        with self._transaction():
            self._database.execute(
                "update shards set state=?, files=?, counts=? where number=?", (state, files, counts, shard.number)
            )

    def _one(self, query: str, values: tuple[Any, ...] = ()) -> Any:
        return self._database.execute(query, values).fetchone()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the block, or nothing of it."""
        with self._explained():
            self._database.execute("begin immediate")
            try:
                yield
                self._database.execute("commit")
            except BaseException:
                if self._database.in_transaction:  # SQLite itself may have undone it, where the disk is full
                    self._database.execute("rollback")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite says into a sentence."""
        try:
            yield
        except sqlite3.Error as problem:
            if getattr(problem, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise OutputError(f"{self._path.parent}: expected a dataset for this run alone, got one that another "
                                  "run is writing") from None  # fmt: skip
            raise OutputError(f"{self._path}: cannot be used ({problem})") from None
