"""Stand-ins for cameras, trackers, screens and sinks, whose every frame is known."""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefit.apps.webcam.frames import Frame
from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.fitting.tracking import TrackedFace
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles

RATE = 30.0
HEIGHT, WIDTH = 48, 64


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """A plain picture that tells its number."""
    return np.full((height, width, 3), number % 251, np.uint8)


def frame(number: int, height: int = HEIGHT, width: int = WIDTH) -> Frame:
    return Frame(number, number / RATE, time.perf_counter(), picture(number, height, width))


@dataclass
class StubSource:
    """Gives `count` frames (None: until it is stopped), `period` seconds apart; then raises `problem`, if any."""

    count: int | None = 10
    live: bool = False
    period: float = 0.0
    problem: BaseException | None = None
    name: str = "stub"
    rate: float = RATE
    damaged: int = 0
    make: Callable[[int], Frame] = frame
    given: int = 0
    closed: bool = False

    @property
    def expected(self) -> int | None:
        return self.count

    def frames(self, stopping: threading.Event) -> Generator[Frame, None, None]:
        try:
            while (self.count is None or self.given < self.count) and not stopping.is_set():
                if self.period:
                    stopping.wait(self.period)
                self.given += 1
                yield self.make(self.given - 1)
            if self.problem is not None:
                raise self.problem
        finally:
            self.closed = True


def tracked_face(model: MorphableModel, seconds: float, *, track: int = 0, yaw: float = 0.0, **fit: Any) -> TrackedFace:
    """A face in the middle of a stub's picture, as large as half of it."""
    camera = ScaledOrthographic(rotation_from_angles(yaw, 0.0, 0.0), np.array([WIDTH, HEIGHT]) / 2.0, HEIGHT / 320.0)
    expression = fit.pop("expression", np.zeros(model.n_expression))
    vertices = model.vertices(np.zeros(model.n_identity), expression)
    landmarks = camera.project(model.landmark_positions(vertices))[:, :2]
    result = FitResult(
        FitStatus.CONVERGED, "made up", camera=camera, identity=np.zeros(model.n_identity), expression=expression,
        vertices=vertices, vertices_image=camera.project(vertices), triangles=model.triangles, landmarks=landmarks,
        landmarks_fitted=landmarks, landmark_sigma=np.full(68, 0.02), box=np.array([16.0, 8.0, 48.0, 40.0]), **fit,
    )  # fmt: skip
    return TrackedFace(track, result, seconds, {"landmarks": 0.001, "solve": 0.002})


@dataclass
class StubTracker:
    """Notes what it is asked, in which thread, and answers with `faces(seconds)`; fails at the frame `fails_at`."""

    faces: Callable[[float], Sequence[TrackedFace]] = lambda seconds: []
    duration: float = 0.0
    fails_at: int | None = None
    problem: BaseException = field(default_factory=lambda: ZeroDivisionError("a stub's"))
    log: list[Any] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def track(self, pixels: NDArray[np.uint8], seconds: float | None) -> Sequence[TrackedFace]:
        assert seconds is not None
        self.threads.add(threading.get_ident())
        if self.fails_at is not None and self.seen == self.fails_at:
            raise self.problem
        self.log.append(round(seconds * RATE))
        time.sleep(self.duration)
        return self.faces(seconds)

    @property
    def seen(self) -> int:
        return sum(isinstance(entry, int) for entry in self.log)

    def reset(self) -> None:
        self.threads.add(threading.get_ident())
        self.log.append("reset")

    def calibrate_neutral(self) -> None:
        self.threads.add(threading.get_ident())
        self.log.append("calibrate")


@dataclass
class StubSink:
    """Keeps what it is given; raises `problem` at its `fails_at`-th frame."""

    wants_picture: bool = False
    fails_at: int | None = None
    problem: BaseException = field(default_factory=lambda: ZeroDivisionError("a stub's"))
    numbers: list[int] = field(default_factory=list)
    pictures: list[NDArray[np.uint8] | None] = field(default_factory=list)
    closed: int = 0

    def write(self, frame: Frame, faces: Sequence[TrackedFace], picture: NDArray[np.uint8] | None) -> None:
        assert not self.closed
        if len(self.numbers) == self.fails_at:
            raise self.problem
        self.numbers.append(frame.number)
        self.pictures.append(picture)

    def close(self) -> None:
        self.closed += 1


@dataclass
class StubReporter:
    said: list[str] = field(default_factory=list)
    advanced: list[int] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def advance(self, count: int, figures: Any) -> None:
        self.advanced.append(count)


@dataclass
class StubCapture:
    """What OpenCV would give: a picture, or None for a frame that cannot be read; then nothing any more."""

    pictures: Iterable[NDArray[np.uint8] | None]
    times: Sequence[float] = ()  # ms
    count: float = -1.0
    rate: float = RATE
    opened: bool = True
    released: int = 0

    def __post_init__(self) -> None:
        self._left, self._next, self._position = iter(self.pictures), None, -1

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def grab(self) -> bool:
        self._next = next(self._left, None)
        self._position += self._next is not None
        return self._next is not None

    def retrieve(self) -> tuple[bool, Any]:
        return self._next is not None, self._next

    def get(self, prop: int, /) -> float:
        import cv2

        known = {cv2.CAP_PROP_FRAME_COUNT: self.count, cv2.CAP_PROP_FPS: self.rate}
        if prop == cv2.CAP_PROP_POS_MSEC:
            return self.times[self._position] if self._position < len(self.times) else 0.0
        return known[prop]

    def release(self) -> None:
        self.released += 1
