"""Twenty thousand frames in one run, which `make soak` has: memory and the work per frame stay the same."""

import itertools
import threading
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from webcam_stubs import StubReporter, StubSink, StubSource

import facefit
from facefit.apps.webcam.drawing import Painter
from facefit.apps.webcam.frames import Frame
from facefit.apps.webcam.parameters_file import ParametersSink
from facefit.apps.webcam.pipeline import Pipeline
from facefit.apps.webcam.session import Session
from facefit.apps.webcam.sources import open_source
from facefit.fitting.threads import single_threaded_blas
from facefit.fitting.tracking import Tracker, TrackerOptions

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory that /proc tells"),
]

COUNT, STEP = 20_000, 1000
WARM = 3000  # frames after which everything has been allocated once
MEGABYTE = 2**20


class Watcher(StubSink):
    """Notes memory and the processor's time as frames go by, and keeps none of them."""

    def __init__(self) -> None:
        super().__init__(wants_picture=True)
        self.memory: list[float] = []  # MB
        self.work: list[float] = []  # s of all threads, per STEP frames
        self._count, self._before = 0, time.process_time()

    def write(self, frame: Frame, faces: object, picture: object) -> None:
        self._count += 1
        if self._count % STEP == 0:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            self.memory.append(pages * 4096 / MEGABYTE)
            now = time.process_time()
            self.work.append(now - self._before)
            self._before = now


class Loop(StubSource):
    """A clip again and again; at each end the face jumps back, so that it is lost and found."""

    def __init__(self, clip: Path) -> None:
        super().__init__(count=COUNT)
        self._clip = str(clip)

    def frames(self, stopping: threading.Event) -> Generator[Frame, None, None]:
        again = (open_source(self._clip).frames(stopping) for _ in itertools.count())
        for number, frame in enumerate(itertools.islice(itertools.chain.from_iterable(again), COUNT)):
            yield replace(frame, number=number, seconds=number / 30.0)


def test_twenty_thousand_frames_in_the_same_memory(test_data: Path, tmp_path: Path) -> None:
    model, watcher, reporter = facefit.load_model("default"), Watcher(), StubReporter()
    table = ParametersSink(tmp_path / "face.csv", model, say=reporter.say)
    options = TrackerOptions(photometric=False)
    with single_threaded_blas(), Tracker(model, options) as tracker:
        pipeline = Pipeline(Loop(test_data / "video/dev_clip.mp4"), tracker)
        summary = Session(pipeline, Painter(model), [table, watcher], reporter).run()
    print(f"\n{summary.text(0)}\nMB: {np.round(watcher.memory)}\ns of work per {STEP}: {np.round(watcher.work, 1)}")
    assert (summary.frames, reporter.said) == (COUNT, [])
    assert summary.with_face > 0.98 * COUNT
    settled = np.array(watcher.memory[WARM // STEP :])
    assert np.ptp(settled) < 20.0
    first, last = np.array_split(np.array(watcher.work[WARM // STEP :]), 2)
    assert np.median(last) < 1.5 * np.median(first), "the work per frame does not grow"
