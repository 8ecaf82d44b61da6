"""Photos per second and core of `facefit label`, where the time goes, and what workers, faults and restarts cost.

    python benchmarks/label.py [--photos 48] [--pairs 5] [--records 100000] [--faulty 240] [--only NAME ...]

The photos are those of FACEFIT_TEST_DATA, or the astronaut mirrored and cropped where it names no folder. `scaling`
runs one worker and two, in turn, and gives the ratio of the best rates, and the best and the median one of the pairs;
the rate is that between the results, without the workers' start. Then where one worker's seconds go. `hand-over`
labels empty images with a fitter that does nothing. `faults` compares a run with a photo each that crashes, loops and
allocates 8 GB with one without them: the time limit is 10 s. `resume` starts the command on a dataset of finished
records and one new photo, up to its end: planning, the worker's start and that photo.
"""

import argparse
import contextlib
import ctypes
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq
from PIL import Image

from facefit.apps.label.engine import Done, Failed, Task, label_item
from facefit.apps.label.fitter import LabelSpec, make_spec
from facefit.apps.label.labelled import Fitter, FitterSpec, Labelled, Outcome
from facefit.apps.label.ledger import Counts
from facefit.apps.label.local_engine import LocalEngine
from facefit.apps.label.run import RunOptions, label
from facefit.apps.label.sources import Item, Sources

ASTRONAUT = Path(__file__).resolve().parent.parent / "examples" / "astronaut.jpg"
FAULTS: dict[bytes, Callable[[], Any]] = {
    b"crash": lambda: ctypes.string_at(0),
    b"loop": lambda: time.sleep(3600),
    b"allocate": lambda: bytearray(8 << 30),
}
TIMEOUT = 10.0  # s


class Clock:
    """A reporter that notes when each result came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def say(self, sentence: str) -> None:
        print(f"  {sentence}")

    def begin(self, total: int, done: int) -> None:
        pass

    def advance(self, counts: Counts) -> None:
        self.times.append(time.perf_counter())

    def rate(self, workers: int) -> float:
        """Images per second between the second result of each worker and the last but those that run out alone."""
        begin, end = 2 * workers, len(self.times) - workers
        return (end - begin) / (self.times[end] - self.times[begin])


@dataclass(frozen=True)
class Nothing:
    """A fitter that does nothing, in front of the description of one that does."""

    description: Mapping[str, Any]

    def build(self) -> Fitter:
        return label_nothing


def label_nothing(item: Item, data: bytes) -> Labelled:
    face = {"face_index": 0, "status": "CONVERGED", "identity": [0.5] * 80, "expression": [0.5] * 51,
            "landmarks": [1.0] * 136, "rotation": [1.0] * 9}  # fmt: skip
    return Labelled(Outcome.OK, "CONVERGED", "nothing done", {"width": 1, "height": 1}, (face,))


@dataclass(frozen=True)
class Faulty:
    """Fits, except for images that hold one of FAULTS."""

    inner: FitterSpec

    @property
    def description(self) -> Mapping[str, Any]:
        return self.inner.description

    def build(self) -> Fitter:
        fitter = self.inner.build()

        def label_or_fail(item: Item, data: bytes) -> Labelled:
            FAULTS.get(data, lambda: None)()
            return fitter(item, data)

        return label_or_fail


class Inline:
    """Labels in this process."""

    def run(self, tasks: Iterator[Task], spec: FitterSpec) -> Generator[Done | Failed, None, None]:
        fitter = spec.build()
        for task in tasks:
            yield Done(task, *label_item(fitter, task.item))


def photos(folder: Path, count: int) -> Path:
    """Write `count` photos: those there are, then mirrored, cropped, and so on."""
    named = os.environ.get("FACEFIT_TEST_DATA")
    places = [Path(named) / place for place in ("aflw2000", "synthetic", "landmarks68")] if named else []
    found = [path for place in places for path in sorted(place.glob("*.jpg"))] or [ASTRONAUT]
    folder.mkdir()
    for k in range(count):
        with Image.open(found[k % len(found)]) as file:
            image = file.convert("RGB")
        turn = k // len(found)
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if turn % 2 else image
        image.crop((turn // 2, turn // 2, image.width, image.height)).save(folder / f"{k:05}.jpg", quality=92)
    return folder


def timed(folder: Path, out: Path, spec: FitterSpec, workers: int, **engine: float) -> tuple[Clock, float]:
    """Label a folder; return when results came, and the seconds of it all."""
    clock, started = Clock(), time.perf_counter()
    label(Sources([str(folder)]), out, spec, LocalEngine(workers=workers, **engine), RunOptions(), clock)  # type: ignore[arg-type]
    return clock, time.perf_counter() - started


def print_scaling(work: Path, spec: LabelSpec, count: int, pairs: int) -> None:
    folder, ratios, rates = photos(work / "photos", count), [], {1: 0.0, 2: 0.0}
    for k in range(pairs):
        pair = {workers: timed(folder, work / f"{k}-{workers}", spec, workers)[0].rate(workers) for workers in (1, 2)}
        ratios.append(pair[2] / pair[1])
        rates = {workers: max(rates[workers], rate) for workers, rate in pair.items()}
        print(f"  pair {k + 1}: {pair[1]:.2f}/s with one worker, {pair[2]:.2f}/s with two: {ratios[-1]:.2f} x")
    print(f"  {rates[1]:.2f} photos per second and core; two workers: {rates[2]:.2f}, of the best of each "
          f"{rates[2] / rates[1]:.2f} x; of the pairs the best {max(ratios):.2f} x, median "
          f"{statistics.median(ratios):.2f} x")  # fmt: skip
    print_shares(sorted(work.glob("*-1")))


def print_shares(runs: Sequence[Path]) -> None:
    seconds: Counter[str] = Counter()
    images = 0
    for run in runs:
        table = pq.read_table(run / "timings-00000.parquet")
        images += pq.read_metadata(run / "images-00000.parquet").num_rows
        for step, value in zip(table["step"].to_pylist(), table["seconds"].to_pylist(), strict=True):
            seconds[step] += value
    whole = sum(seconds.values())
    for step, value in seconds.most_common():
        print(f"  {step:12} {1e3 * value / images:8.1f} ms a photo {value / whole:6.1%}")


def empty_images(folder: Path, count: int) -> Path:
    folder.mkdir()
    for k in range(count):
        (folder / f"{k:06}.png").touch()
    return folder


def print_hand_over(work: Path, count: int) -> None:
    clock, _ = timed(empty_images(work / "empty", count), work / "out", Nothing({"nothing": 1}), 2)
    print(f"  {1e6 / clock.rate(2):.0f} us an image with two workers, records written")


def print_faults(work: Path, spec: LabelSpec, count: int) -> None:
    folder = photos(work / "photos", count)
    plain, plain_seconds = timed(folder, work / "plain", Faulty(spec), 2, timeout=TIMEOUT)
    for k, fault in enumerate(FAULTS):
        (folder / f"{(k + 1) * count // 4:05}.jpg").write_bytes(fault)
    _, faulty_seconds = timed(folder, work / "faulty", Faulty(spec), 2, timeout=TIMEOUT)
    print(f"  {count} photos: {plain_seconds:.1f} s without faults, {faulty_seconds:.1f} s with {len(FAULTS)}: "
          f"{(faulty_seconds - plain_seconds) / len(FAULTS):.1f} s of two workers each; for 2,000 photos that is "
          f"{100 * (faulty_seconds - plain_seconds) / (2000 / plain.rate(2)):.1f} %")  # fmt: skip


def print_resume(work: Path, spec: LabelSpec, count: int) -> None:
    from facefit.apps.main import main

    folder, out = empty_images(work / "empty", count), work / "out"
    started = time.perf_counter()
    label(Sources([str(folder)]), out, Nothing(spec.description), Inline(), RunOptions())
    print(f"  {count:,} records written in {time.perf_counter() - started:.0f} s")
    (folder / "a new one.jpg").write_bytes(ASTRONAUT.read_bytes())
    started = time.perf_counter()
    begun: list[float] = []
    real = LocalEngine.run

    def watched(engine: LocalEngine, tasks: Iterator[Task], spec: FitterSpec) -> Generator[Done | Failed, None, None]:
        def first() -> Iterator[Task]:
            for task in tasks:
                begun.append(time.perf_counter() - started)
                yield task

        return real(engine, first(), spec)

    argv = ["facefit", "label", str(folder), "-o", str(out), "--workers", "1", "--quiet"]
    with contextlib.suppress(SystemExit), patch.object(LocalEngine, "run", watched), patch.object(sys, "argv", argv):
        main()
    print(f"  one more image: its task is there after {begun[0]:.1f} s; with the worker's start, its fit and its shard "
          f"{time.perf_counter() - started:.1f} s")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--faulty", type=int, default=240)
    parts = ("scaling", "hand-over", "faults", "resume")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    chosen = parser.parse_args()
    spec = make_spec()
    runs: dict[str, Callable[[Path], None]] = {
        "scaling": lambda work: print_scaling(work, spec, chosen.photos, chosen.pairs),
        "hand-over": lambda work: print_hand_over(work, 5000),
        "faults": lambda work: print_faults(work, spec, chosen.faulty),
        "resume": lambda work: print_resume(work, spec, chosen.records),
    }
    for name in chosen.only:
        print(name)
        with tempfile.TemporaryDirectory() as folder:
            runs[name](Path(folder))


if __name__ == "__main__":
    main()
