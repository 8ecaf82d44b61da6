"""A run: plan, put right, hand shard after shard to the engine, write each as it gets complete.

    sources -> ledger (the plan) -> tasks, shard by shard -> engine -> OpenShard -> files -> ledger

Shards are begun in order and written as they get complete. One that stays open behind the others has an image in hand,
so there is never more than one open shard beside those: a slow image does not pile up the records of what comes after
it. On Ctrl-C no further shard is begun and those in hand are finished; a second Ctrl-C ends the run at once. Nothing
that is visible is lost by either, nor by a kill.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ...models.errors import ImageError, InvalidInputError
from .dataset import SUMMARY, Dataset, open_dataset, write_json
from .engine import Done, Engine, Failed, Task
from .labelled import FitterSpec, Labelled, quarantined
from .ledger import Counts, Extension
from .progress import Reporter, Silent
from .records import shared_columns
from .shards import OpenShard, counts_of, discard_temporaries, publish, reconcile, write_tables, write_timings
from .sources import Sources


@dataclass(frozen=True)
class RunOptions:
    """What a call chooses of how a dataset is made; no record depends on it."""

    shard_size: int = 500  # images per shard
    limit: int | None = None  # images of the sources that are planned, None: all

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be."""
        for name in ("shard_size", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInputError(f"{name}: expected a number from 1, got {value}")


@dataclass(frozen=True)
class Summary:
    """What a dataset holds after a run."""

    planned: int  # images
    counts: Counts  # of those that are through
    unread: tuple[str, ...]  # sentences on sources that could not be looked at
    interrupted: bool  # whether the run was told to stop before the end

    @property
    def complete(self) -> bool:
        """Whether every planned image is through."""
        return self.counts.images == self.planned

    def as_json(self) -> dict[str, Any]:
        """Return it in JSON types."""
        counts = asdict(self.counts)
        faces = counts.pop("faces")
        return {"images": self.planned, "finished": self.counts.images, **counts, "faces": faces,
                "complete": self.complete, "unread": list(self.unread)}  # fmt: skip


def label(
    sources: Sources, folder: Path, spec: FitterSpec, engine: Engine, options: RunOptions | None = None,
    reporter: Reporter | None = None,
) -> Summary:  # fmt: skip
    """Label the images of `sources` into the dataset in `folder`, going on where an earlier run stopped.

    Raises ImageError where there is no image at all, InvalidInputError and OutputError as `open_dataset` does,
    OutputError also where a file cannot be written, EngineError where no worker can be had.
    """
    options, reporter = options or RunOptions(), reporter or Silent()
    with open_dataset(folder, spec.description, options.shard_size) as dataset, _tidied(folder):
        for note in reconcile(folder, dataset.ledger):
            reporter.say(note)
        extension = dataset.ledger.extend(islice(sources, options.limit), options.shard_size)
        _tell(extension, sources, reporter)
        if dataset.ledger.planned() == 0:
            raise ImageError(f"{' '.join(sources.names)}: expected pictures, got none")
        with _interruptible(reporter) as stop:
            _Labelling(dataset, spec, engine, reporter, stop).run()
        summary = Summary(dataset.ledger.planned(), dataset.ledger.totals(), tuple(sources.unread), stop.is_set())
        write_json(folder / SUMMARY, summary.as_json())
    return summary


@dataclass
class _Labelling:
    """The images of one run, on their way through the engine."""

    dataset: Dataset
    spec: FitterSpec
    engine: Engine
    reporter: Reporter
    stop: threading.Event
    opened: dict[int, OpenShard] = field(default_factory=dict)  # by number

    def run(self) -> None:
        finished = self.dataset.ledger.totals()
        self.reporter.begin(self.dataset.ledger.planned(), finished.images)
        with closing(self.engine.run(self._tasks(), self.spec)) as results:
            for result in results:
                shard, labelled = self.opened[result.task.shard], self._labelled(result)
                shared = shared_columns(result.task.item, result.sha256, self.dataset.digest)
                shard.add(result.task.position, shared, labelled)
                finished += counts_of(labelled)
                self.reporter.advance(finished)
                if shard.complete:
                    self._finish(shard)

    def _tasks(self) -> Iterator[Task]:
        """Yield what the engine is to do next."""
        for shard in self.dataset.ledger.waiting():
            if self.stop.is_set():
                return
            self.opened[shard.number] = OpenShard(self.dataset.folder, shard, self.dataset.metadata)
            for position, item in self.dataset.ledger.items(shard):
                yield Task(position, shard.number, item)

    def _labelled(self, result: Done | Failed) -> Labelled:
        if isinstance(result, Done):
            return result.labelled
        self.reporter.say(f"{result.task.item.key}: quarantined: {result.reason}")
        return quarantined(result.reason)

    def _finish(self, shard: OpenShard) -> None:
        """Write a complete shard and make it visible."""
        started = time.perf_counter()
        files = write_tables(shard)
        files = write_timings(shard, time.perf_counter() - started) | files
        publish(self.dataset.folder, self.dataset.ledger, shard.shard, files, shard.counts)
        del self.opened[shard.shard.number]


def _tell(extension: Extension, sources: Sources, reporter: Reporter) -> None:
    if extension.twice:
        reporter.say(f"{extension.twice:,} images were named twice and count once")
    if extension.renamed:
        reporter.say(f"{extension.renamed:,} images share their key with another one and got a suffix, such as ~2")
    for sentence in sources.unread:
        reporter.say(sentence)


@contextmanager
def _tidied(folder: Path) -> Iterator[None]:
    """Leave no temporary file behind, where this process is still there to see to it."""
    try:
        yield
    finally:
        with suppress(OSError):
            discard_temporaries(folder)


@contextmanager
def _interruptible(reporter: Reporter) -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets; the second raises KeyboardInterrupt, as ever."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_interrupt(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        reporter.say("finishing the shards in hand; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
