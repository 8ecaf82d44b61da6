"""The seam for engines: something that labels images in other processes, on this machine or on many.

An engine takes tasks from an iterator as its workers get free, and yields what became of each, in any order: `Done`,
or `Failed` where no worker survived the image. Each task comes back exactly once. What is to be tried again goes before
what is new, so that a shard stays open for no longer than its own images take. Closing the generator that `run` returns
ends the workers.
"""

import hashlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

from ...models.errors import FacefitError, ImageError
from .labelled import Fitter, FitterSpec, Labelled, unreadable
from .sources import Item, read_item


class EngineError(FacefitError):
    """No worker can be had: every one dies before it could label an image."""


@dataclass(frozen=True, slots=True)
class Task:
    """One image to label."""

    position: int  # of the image in the dataset's plan
    shard: int  # number of the shard that its records go to
    item: Item


@dataclass(frozen=True, slots=True)
class Done:
    """An image that a worker is through with."""

    task: Task
    sha256: str | None  # of the image's file; None where it could not be read
    labelled: Labelled


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that no worker survived."""

    task: Task
    sha256: str | None  # of the image's file; None where no worker got so far as to read it
    reason: str  # such as "crashed (SIGSEGV) twice"


class Engine(Protocol):
    """Anything that labels images."""

    def run(self, tasks: Iterator[Task], spec: FitterSpec) -> Generator[Done | Failed, None, None]:
        """Yield what became of each task. Raises EngineError where no worker can be had."""


def label_item(
    fitter: Fitter, item: Item, has_read: Callable[[str], None] = lambda sha256: None
) -> tuple[str | None, Labelled]:
    """Do a task, in a worker: return the SHA-256 of the image's file, and what became of the image.

    `has_read` is told the hash before the image is decoded: the rest may not be survived.
    """
    try:
        data = read_item(item)
    except ImageError as problem:
        return None, unreadable(str(problem))
    sha256 = hashlib.sha256(data).hexdigest()
    has_read(sha256)
    return sha256, fitter(item, data)
