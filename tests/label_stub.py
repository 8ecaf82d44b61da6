"""A fitter that only pretends, for tests of everything around it; workers import it: standard library only.

What an image holds is what becomes of it: the texts of FAULTS, an outcome's name, or anything else for an image that is
fine. The row depends on the bytes alone.
"""

import ctypes
import hashlib
import os
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facefit.apps.label.engine import Done, Failed, Task, label_item
from facefit.apps.label.labelled import Fitter, FitterSpec, Labelled, Outcome
from facefit.apps.label.sources import Item

BALLAST: list[bytearray] = []


def _crash() -> None:
    ctypes.string_at(0)


def _loop() -> None:
    while True:
        pass


def _hold_the_interpreter() -> None:
    ctypes.PyDLL(None).sleep(3600)


def _allocate() -> None:
    BALLAST.append(bytearray(8 << 30))


def _swell() -> None:
    """Grow past every limit of one's own: the parent has to see it."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    while True:
        BALLAST.append(bytearray(b"x") * (32 << 20))
        time.sleep(0.01)


def _exit() -> None:
    os._exit(7)


def _raise() -> None:
    raise ZeroDivisionError("no such luck")


FAULTS = {
    b"crash": _crash,
    b"loop": _loop,
    b"hold": _hold_the_interpreter,
    b"allocate": _allocate,
    b"swell": _swell,
    b"exit": _exit,
    b"raise": _raise,
}
STATUSES = {b"no_face": ("NO_FACE", Outcome.NO_FACE), b"rejected": ("STALLED", Outcome.REJECTED)}


@dataclass(frozen=True)
class StubSpec:
    """Labels an image in `seconds`."""

    seconds: float = 0.0
    tally: str = ""  # a file that grows by a byte with each image that is begun
    failing_starts: str = ""  # a folder; a worker that finds a file in it takes one away and dies
    start: str = "exit"  # how it dies: exit, raise or refuse; "all but one": every one but the first, of a new folder
    files: bool = False  # whether images have files in the shard's tar
    description: Mapping[str, Any] = field(default_factory=lambda: {"stub": 1})

    def build(self) -> "StubFitter":
        if self.failing_starts:
            _fail_start(Path(self.failing_starts), self.start)
        return StubFitter(self)


def _fail_start(folder: Path, how: str) -> None:
    if how == "all but one":
        try:
            return folder.mkdir()
        except FileExistsError:
            os._exit(5)
    for path in folder.iterdir():
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        if how == "exit":
            os._exit(5)
        if how == "refuse":
            from facefit.models.errors import ModelError

            raise ModelError("model: expected one thing, got another")
        raise RuntimeError("no such device")


class StubFitter:
    """See the module's text."""

    def __init__(self, spec: StubSpec) -> None:
        self._spec = spec
        self._tally = os.open(spec.tally, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if spec.tally else None

    def __call__(self, item: Item, data: bytes) -> Labelled:
        if self._tally is not None:
            os.write(self._tally, b".")
        if data in FAULTS:
            FAULTS[data]()
        time.sleep(self._spec.seconds)
        digest = hashlib.sha256(data).digest()
        if data in STATUSES:
            status, outcome = STATUSES[data]
            return Labelled(outcome, status, "as told", {"width": 1, "height": 2}, seconds={"fit": 0.1})
        face = {"face_index": 0, "status": "CONVERGED", "message": "the fit converged", "quality": 0.5,
                "identity": [byte / 255.0 for byte in digest], "camera": "scaled_orthographic",
                "rotation": [1.0] * 9}  # fmt: skip
        image = {"width": digest[0], "height": digest[1], "faces_found": 1}
        files = {"files": {f"{item.key}.b": digest * 40, f"{item.key}.a": data}} if self._spec.files else {}
        return Labelled(
            Outcome.OK, "CONVERGED", "the fit converged", image, (face,), {"fit": time.perf_counter()}, files
        )


@dataclass(frozen=True)
class FaultySpec:
    """Labels as another spec does, except for images that hold one of FAULTS."""

    inner: FitterSpec
    failing_starts: str = ""  # as StubSpec's

    @property
    def description(self) -> Mapping[str, Any]:
        return self.inner.description

    def build(self) -> Fitter:
        if self.failing_starts:
            _fail_start(Path(self.failing_starts), "exit")
        inner = self.inner.build()

        def label(item: Item, data: bytes) -> Labelled:
            FAULTS.get(data, lambda: None)()
            return inner(item, data)

        return label


class InlineEngine:
    """An engine that labels in the test's own process, one image after the other; shows how little an engine is."""

    def __init__(self, failing: frozenset[str] = frozenset()) -> None:
        self.failing, self.done = failing, 0

    def run(self, tasks: Iterator[Task], spec: Any) -> Generator[Done | Failed, None, None]:
        fitter = spec.build()
        for task in tasks:
            self.done += 1
            if task.item.key in self.failing:
                yield Failed(task, None, "crashed (SIGSEGV) twice")
            else:
                yield Done(task, *label_item(fitter, task.item))


def write_images(folder: Path, count: int, faults: Mapping[int, bytes] | None = None) -> Path:
    """Write `count` files that StubFitter takes for images, some of them faulty; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        (folder / f"{k:05}.png").write_bytes((faults or {}).get(k, b"image %d" % k))
    return folder


def records(dataset: Path) -> dict[str, bytes]:
    """Return the content of every file that a run and an undisturbed one must have in common."""
    kinds = ("faces-", "images-", "files-", "maps-", "mat-", "manifest", "summary")
    return {path.name: path.read_bytes() for path in sorted(dataset.iterdir()) if path.name.startswith(kinds)}


def leftovers(dataset: Path) -> list[str]:
    """Return the names in a dataset that nobody should find there after a run."""
    expected = ("faces-", "images-", "timings-", "files-", "maps-", "mat-", "manifest.json", "summary.json",
                "ledger.sqlite", "report.html")  # fmt: skip
    names = [path.name for path in dataset.iterdir()]
    return [name for name in names if not name.startswith(expected) or name.endswith(("-journal", "-wal", ".tmp"))]
