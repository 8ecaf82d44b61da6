"""What a dataset holds, gathered in one pass over its tables: counts, histograms, and which images to look at.

Tables are read a batch of rows and a few columns at a time, and of all rows no more is kept than numbers of bins, the
REASONS first texts, and SHEET candidates for each sheet, so a million records take the memory of a batch. The same
tables give the same survey.

The sheets: both ends of the faces in the order of their quality, the first of equal ones being the better; and images
that failed, chosen by a hash of their keys, which is as good as drawn at random, as many of each outcome as there is
room for.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.errors import OutputError
from .arrow import pyarrow
from .labelled import Outcome

SHEET = 24
"""Images of a contact sheet."""

REASONS = 1000
"""Different texts of what went wrong that are counted one by one."""

BATCH = 4096
"""Rows that are read at a time."""

OTHER_REASONS = "(other reasons)"

_IMAGE_COLUMNS = ("key", "outcome", "status", "message", "faces_found")
_FACE_COLUMNS = ("key", "face_index", "status", "quality", "landmark_error", "landmarks_fitted", "yaw", "pitch", "roll")

Array = NDArray[np.float64]


@dataclass
class Histogram:
    """How often values fall into bins of equal width; those beyond either end are counted in its bin."""

    title: str
    unit: str
    low: float
    high: float
    bins: int
    counts: NDArray[np.int64] = field(init=False)  # (bins,)
    beyond: int = 0  # values outside low..high
    missing: int = 0  # rows without a value
    total: float = 0.0  # sum of the values

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.counts = np.zeros(self.bins, np.int64)

    @property
    def number(self) -> int:
        """How many values there are."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float | None:
        """The mean of the values, None where there is none."""
        return self.total / self.number if self.number else None

    def add(self, values: Array) -> None:
        """Count values (n,); NaN stands for none."""
        given = values[np.isfinite(values)]
        places = np.floor((given - self.low) * self.bins / (self.high - self.low))
        self.counts += np.bincount(np.clip(places, 0, self.bins - 1).astype(np.intp), minlength=self.bins)
        self.beyond += int(((given < self.low) | (given > self.high)).sum())
        self.missing += len(values) - len(given)
        self.total += float(given.sum())


@dataclass(frozen=True)
class Face:
    """A face for a sheet."""

    key: str
    index: int
    quality: float
    status: str
    error: float | None  # landmark error, share of the face's size
    landmarks: tuple[float, ...] | None  # 136 px: x, y, x, y, ... as matched


@dataclass(frozen=True)
class Failure:
    """An image without a usable fit, for a sheet."""

    key: str
    outcome: str
    message: str


@dataclass
class Survey:
    """What a dataset holds."""

    outcomes: Counter[str] = field(default_factory=Counter)  # images by Outcome
    statuses: Counter[str] = field(default_factory=Counter)  # images by name of FitStatus
    reasons: Counter[str] = field(default_factory=Counter)  # images without a usable fit by message
    faces_found: int = 0
    faces: int = 0  # exported
    histograms: dict[str, Histogram] = field(default_factory=lambda: {
        "quality": Histogram("Quality", "", 0.0, 1.0, 25),
        "landmark_error": Histogram("Landmark error", "% of the face's size", 0.0, 10.0, 25),
        "yaw": Histogram("Yaw", "degrees", -90.0, 90.0, 36),
        "pitch": Histogram("Pitch", "degrees", -90.0, 90.0, 36),
        "roll": Histogram("Roll", "degrees", -90.0, 90.0, 36),
    })  # fmt: skip
    best: Sequence[Face] = ()  # of highest quality, the best first
    worst: Sequence[Face] = ()  # of lowest quality, the worst first; none of the best
    failures: Sequence[Failure] = ()

    @property
    def images(self) -> int:
        """How many images there are."""
        return self.outcomes.total()


def survey(folder: Path, shards: Iterable[int]) -> Survey:
    """Return what the shards of these numbers hold. Raises OutputError for a table that cannot be read."""
    found, failed, ranked = Survey(), _Failures(), _Ranking()
    for number in shards:
        for batch in _batches(folder / f"images-{number:05}.parquet", _IMAGE_COLUMNS):
            _count_images(batch, found, failed)
        for batch in _batches(folder / f"faces-{number:05}.parquet", _FACE_COLUMNS):
            _count_faces(batch, found, ranked)
    found.best, found.worst = ranked.sheets()
    found.failures = failed.sheet()
    return found


def _batches(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    """Yield a table's rows, a batch at a time."""
    try:
        with pyarrow("parquet").ParquetFile(path) as table:
            yield from table.iter_batches(batch_size=BATCH, columns=list(columns), use_threads=False)
    except (pyarrow().ArrowException, OSError) as problem:
        reason = str(problem).strip().split("\n")[0]
        raise OutputError(f"{path}: expected a table of a dataset, got one that cannot be read ({reason})") from None


def _count_images(batch: Any, found: Survey, failed: "_Failures") -> None:
    for counter, column in ((found.outcomes, "outcome"), (found.statuses, "status")):
        for entry in batch.column(column).value_counts().to_pylist():
            counter[entry["values"] or "-"] += entry["counts"]
    found.faces_found += pyarrow("compute").sum(batch.column("faces_found")).as_py() or 0
    wrong = pyarrow("compute").not_equal(batch.column("outcome"), Outcome.OK.value)
    for row in batch.select(["key", "outcome", "message"]).filter(wrong).to_pylist():
        failure = Failure(row["key"], row["outcome"], row["message"] or "")
        known = failure.message in found.reasons or len(found.reasons) < REASONS
        found.reasons[failure.message if known else OTHER_REASONS] += 1
        failed.add(failure)


def _count_faces(batch: Any, found: Survey, ranked: "_Ranking") -> None:
    errors = 100.0 * relative_errors(_numbers(batch, "landmark_error"), batch.column("landmarks_fitted"))
    quality = _numbers(batch, "quality")
    for name, histogram in found.histograms.items():
        histogram.add(errors if name == "landmark_error" else _numbers(batch, name))
    ranked.add(batch, quality, errors / 100.0, found.faces)
    found.faces += len(batch)


def relative_errors(errors: Array, landmarks: Any) -> Array:
    """Return landmark errors (n,) px as shares of the square root of the area of the box of each face's landmarks.

    `landmarks` is the column of lists of 136 px. NaN where there are no landmarks, or their box has no area.
    """
    there = np.asarray(landmarks.is_valid())
    points = np.asarray(landmarks.flatten(), dtype=np.float64).reshape(-1, 68, 2)
    size = np.full(len(errors), np.nan)
    size[there] = np.sqrt(np.ptp(points, axis=1).prod(axis=1))
    size[size == 0.0] = np.nan
    return errors / size


def _numbers(batch: Any, column: str) -> Array:
    """Return a column (n,), NaN for null."""
    return np.asarray(batch.column(column).to_numpy(zero_copy_only=False), dtype=np.float64)


class _Ranking:
    """The best and the worst faces so far."""

    def __init__(self) -> None:
        # Heaps whose first entry is the one to be replaced: (rank, rank among equals, face).
        self._best: list[tuple[float, int, Face]] = []
        self._worst: list[tuple[float, int, Face]] = []
        self._rated = 0

    def add(self, batch: Any, quality: Array, errors: Array, first: int) -> None:
        """Consider the faces of a batch, the first of which is number `first`; those without quality are left out."""
        rated = np.flatnonzero(np.isfinite(quality))
        self._rated += len(rated)
        for heap, sign in ((self._best, 1), (self._worst, -1)):
            # Of this batch, no more than SHEET can stay.
            for row in rated[np.lexsort((-sign * rated, sign * quality[rated]))[-SHEET:]].tolist():
                entry = (sign * float(quality[row]), -sign * (first + row))
                if len(heap) < SHEET:
                    heapq.heappush(heap, (*entry, _face(batch, row, errors[row])))
                elif entry > heap[0][:2]:
                    heapq.heapreplace(heap, (*entry, _face(batch, row, errors[row])))

    def sheets(self) -> tuple[list[Face], list[Face]]:
        """Return the best faces and the worst ones, none of them twice."""
        best, worst = ([entry[2] for entry in sorted(heap, reverse=True)] for heap in (self._best, self._worst))
        half = (self._rated + 1) // 2
        return best[:half], worst[: self._rated - min(half, SHEET)]


def _face(batch: Any, row: int, error: float) -> Face:
    values = {name: batch.column(name)[row].as_py() for name in ("key", "face_index", "status", "quality")}
    points = batch.column("landmarks_fitted")[row].as_py()
    return Face(values["key"], values["face_index"], values["quality"], values["status"],
                float(error) if np.isfinite(error) else None, None if points is None else tuple(points))  # fmt: skip


class _Failures:
    """Failures that are kept for the sheet: of each outcome, those whose keys have the smallest hashes."""

    def __init__(self) -> None:
        self._kept: dict[str, list[tuple[int, str, Failure]]] = {}  # heaps, the largest hash first

    def add(self, failure: Failure) -> None:
        heap = self._kept.setdefault(failure.outcome, [])
        digest = int.from_bytes(hashlib.sha256(failure.key.encode("utf-8", "replace")).digest()[:8])
        entry = (-digest, failure.key, failure)
        if len(heap) < SHEET:
            heapq.heappush(heap, entry)
        elif entry[:2] > heap[0][:2]:
            heapq.heapreplace(heap, entry)

    def sheet(self) -> list[Failure]:
        """Return SHEET failures at most, by outcome: as many of each as come to it in turn."""
        order = [outcome.value for outcome in (Outcome.QUARANTINED, Outcome.REJECTED, Outcome.NO_FACE)]
        heaps = {outcome: sorted(self._kept.get(outcome, ()), reverse=True) for outcome in order}
        taken = dict.fromkeys(order, 0)
        for _ in range(SHEET):
            free = [outcome for outcome in order if taken[outcome] < len(heaps[outcome])]
            if free:
                taken[min(free, key=lambda outcome: taken[outcome])] += 1
        return [entry[2] for outcome in order for entry in heaps[outcome][: taken[outcome]]]
