"""A dataset's folder: what it holds, and that it is one.

    manifest.json           what all records depend on: schema, options, model, seed, code; and the hash of that
    ledger.sqlite           the plan and how far it is
    faces-00000.parquet     and so on: see shards.py
    summary.json            the counts

A later run into the same folder goes on with it, if it would make the same records: where the manifest says otherwise
it is refused, with every difference named.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...models.errors import InvalidInputError, OutputError
from ...models.files import atomic_write
from .ledger import Ledger
from .records import SCHEMA, file_metadata
from .shards import sync_folder

MANIFEST = "manifest.json"
LEDGER = "ledger.sqlite"
SUMMARY = "summary.json"
KIND = "facefit labels"

_BEFORE_MANIFEST = (LEDGER, f"{LEDGER}-journal")
"""What a run that was killed at its very beginning may have left."""


@dataclass(frozen=True)
class Dataset:
    """An open dataset, locked for this run."""

    folder: Path
    ledger: Ledger
    provenance: Mapping[str, Any]  # what all records depend on

    @property
    def digest(self) -> str:
        """The hash of the provenance, which every row carries."""
        return provenance_hash(self.provenance)

    @property
    def metadata(self) -> dict[str, str]:
        """What every table says of where it comes from."""
        return file_metadata(self.provenance, self.digest)


@contextmanager
def open_dataset(folder: Path, description: Mapping[str, Any], shard_size: int) -> Iterator[Dataset]:
    """Open a dataset, or begin one in a folder that is empty or not there, and lock it.

    Raises OutputError for a folder that cannot be written to, holds something else or is in use, InvalidInputError for
    a dataset whose records depend on other options, another model or other code than `description` tells.
    """
    provenance = {"schema": SCHEMA, **json.loads(json.dumps(description))}
    manifest = {"kind": KIND, "provenance_hash": provenance_hash(provenance), "shard_size": shard_size, **provenance}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in folder.iterdir())
    except OSError as problem:
        raise OutputError(f"{folder}: cannot be written to ({problem.strerror or problem})") from None
    if MANIFEST in names:
        _check(folder / MANIFEST, manifest)
        if LEDGER not in names:
            raise OutputError(f"{folder}: expected {LEDGER} beside {MANIFEST}, got none")
    elif other := [n for n in names if n not in _BEFORE_MANIFEST and not n.startswith(f".{MANIFEST}.")]:
        raise OutputError(f"{folder}: expected a new folder or a dataset with a {MANIFEST}, got one with {other[0]}")
    with Ledger(folder / LEDGER) as ledger:
        if MANIFEST not in names:
            write_json(folder / MANIFEST, manifest)
            sync_folder(folder)
        yield Dataset(folder, ledger, provenance)


def provenance_hash(provenance: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what records depend on."""
    return hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of JSON, whole or not at all."""
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return a text for each value that differs between two manifests, under its dotted name."""
    old, new = _flattened(there), _flattened(here)
    names = [name for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]
    return [
        f"{name}: {_shown(old, name)} there, {_shown(new, name)} now" for name in names if name != "provenance_hash"
    ]


def _check(path: Path, manifest: Mapping[str, Any]) -> None:
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(there, dict) or there.get("kind") != KIND:
            raise ValueError("of something else")
    except (OSError, ValueError) as problem:
        raise OutputError(f"{path}: expected the manifest of a dataset, got one that is not ({problem})") from None
    if found := differences(there, manifest):
        raise InvalidInputError(
            f"{path.parent}: expected the options, model and code that the dataset was begun with, got others: "
            f"{'; '.join(found)}. Go on with the same, or label into a new folder"
        )


def _flattened(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {
        name: inner
        for key, part in value.items()
        for name, inner in _flattened(part, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def _shown(values: Mapping[str, Any], name: str) -> str:
    text = json.dumps(values[name]) if name in values else "nothing"
    return text if len(text) <= 80 else f"{text[:60]}..."
