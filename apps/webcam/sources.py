"""Where frames come from: a camera, a video file, a folder of pictures, a stream.

    0, 1, ...     a camera by its number; live
    clip.mp4      a video file, each frame at its own time of presentation, whatever the rate between them
    frames/       a folder: its pictures in the order of the alphabet, 1/30 s apart; or one picture
    rtsp://...    what else has :// in it: a stream that OpenCV opens; live

A source is opened when it is made, so that one that is not there is told of before anything else starts. Damaged frames
are skipped and counted. A live source that fails is opened again for PATIENCE seconds before it counts as lost. A file
that ends before its own time is up, is lost as well: SourceLostError, after the frames that came.
"""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ...fitting.images import read_image
from ...models.errors import FacefitError, ImageError
from ..fit.command import PICTURES
from .frames import Frame

Pixels = NDArray[np.uint8]
Size = tuple[int, int]

RATE = 30.0  # frames per second, where a source does not say
CAMERA_SIZE: Size = (640, 480)  # px, width and height: what a camera is asked for unless the call says otherwise
PATIENCE = 5.0  # s for which a live source that failed is opened again and again
RETRY = 0.5  # s between two such attempts
ANSWER = 5.0  # s that a stream's server may take to answer
FAILURES, FAILING = 10, 2.0  # so many failed reads in a row, or s of them, and a live source has failed
ATTEMPTS = 100  # failed reads in a row after which a file has no more frames
CUT = 1.0  # s that may be missing at a file's end before it counts as cut off


class SourceError(FacefitError):
    """A source is not there or cannot be opened."""


class SourceLostError(FacefitError):
    """A source broke off on the way; what came before is good."""


class Source(Protocol):
    """Gives frames one after another."""

    @property
    def name(self) -> str:
        """What to call it in a sentence."""

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace, so that late ones are worth nothing."""

    @property
    def expected(self) -> int | None:
        """How many frames there should be; None where nobody knows."""

    @property
    def rate(self) -> float:
        """Frames per second, about."""

    @property
    def damaged(self) -> int:
        """How many frames were skipped so far because they could not be decoded."""

    def frames(self, stopping: threading.Event) -> Generator[Frame, None, None]:
        """Yield the frames until there are no more or `stopping` is set; once. SourceLostError where they break off."""


class Capture(Protocol):
    """What is used of cv2.VideoCapture."""

    def isOpened(self) -> bool:  # noqa: N802  OpenCV's name
        """Whether there is anything to read from."""

    def grab(self) -> bool:
        """Fetch the next frame; whether there was one."""

    def retrieve(self) -> tuple[bool, Any]:
        """Decode it."""

    def get(self, prop: int, /) -> float:
        """Return a property."""

    def release(self) -> None:
        """Close it."""


def open_source(text: str, *, size: Size | None = None, say: Callable[[str], None] = lambda sentence: None) -> Source:
    """Return the source that a text stands for (see the module's text).

    A camera is asked for `size` (width, height in px; None: CAMERA_SIZE); larger frames of any source are reduced to
    fit into it (None: they are not). `say` is told, from any thread, what a person should know. Raises SourceError
    where there is nothing to read from.
    """
    if text.isascii() and text.isdigit():
        wanted = CAMERA_SIZE if size is None else size
        return LiveSource(f"camera {text}", lambda: _open_camera(int(text), wanted), size, say, patience=PATIENCE)
    if "://" in text:
        return LiveSource(text, lambda: _open_stream(text), size, say, patience=PATIENCE)
    if os.path.isdir(text) or Path(text).suffix.lower() in PICTURES:
        return PictureSource(text, size, say)
    if not os.path.exists(text):
        raise SourceError(
            f"{text}: expected a camera's number, a video, a folder of pictures or a stream's URL, got no such file"
        )
    return FileSource(text, lambda: _open_file(text), size)


class FileSource:
    """A video file: every frame that can be decoded, at its own time."""

    live = False

    def __init__(self, path: str, opener: Callable[[], Capture], size: Size | None = None) -> None:
        """Open it; SourceError where it cannot be."""
        self.name, self.damaged, self._size = path, 0, size
        self._capture = opener()
        if not self._capture.isOpened():
            raise SourceError(f"{path}: expected a video that OpenCV can decode, got another file or a damaged one")
        count, rate = self._capture.get(cv2.CAP_PROP_FRAME_COUNT), self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if np.isfinite(rate) and 0.0 < rate <= 1000.0 else RATE
        self.expected = int(count) if np.isfinite(count) and 0 < count < 1e9 else None

    def frames(self, stopping: threading.Event) -> Generator[Frame, None, None]:
        """Yield the frames (see `Source`)."""
        number, failures, last = 0, 0, -1.0 / self.rate
        try:
            while failures < ATTEMPTS and not stopping.is_set():
                pixels, captured = _read(self._capture)
                if pixels is None:
                    if self._all_came(number):
                        break
                    failures += 1
                    continue
                seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
                if not last < seconds < 1e9:
                    seconds = last + 1.0 / self.rate
                if failures:  # a gap in time tells how many frames a damaged place has cost
                    self.damaged += max(1, round((seconds - last) * self.rate) - 1)
                yield Frame(number, seconds, captured, _fitted(pixels, self._size))
                number, failures, last = number + 1, 0, seconds
        finally:
            self._capture.release()
        if not stopping.is_set():
            self._check_end(number, last)

    def _all_came(self, delivered: int) -> bool:
        return self.expected is not None and delivered + self.damaged >= self.expected

    def _check_end(self, delivered: int, last: float) -> None:
        """SourceLostError where frames and time are missing at the end."""
        if self.expected is None or self._all_came(delivered):
            return
        missing = self.expected - delivered - self.damaged
        if delivered == 0 or last < self.expected / self.rate - CUT:
            raise SourceLostError(f"{self.name}: broke off after {delivered} frames; the last {missing} cannot be read")
        self.damaged += missing


class LiveSource:
    """A camera or a stream: the frames as they come, timed by the clock from the first on."""

    live, expected, rate = True, None, RATE

    def __init__(
        self,
        name: str,
        opener: Callable[[], Capture],
        size: Size | None = None,
        say: Callable[[str], None] = lambda sentence: None,
        *,
        patience: float,
    ) -> None:
        """Open it; SourceError where it cannot be. `patience`: s for which it is tried again once it has failed."""
        self.name, self.damaged, self._size, self._say = name, 0, size, say
        self._opener, self._patience = opener, patience
        self._capture = opener()
        if not self._capture.isOpened():
            raise SourceError(
                f"{name}: expected one that OpenCV can open, got none; give another camera's number, a video file, a "
                "folder of pictures or a stream's URL"
            )

    def frames(self, stopping: threading.Event) -> Generator[Frame, None, None]:
        """Yield the frames (see `Source`)."""
        number, first = 0, None
        try:
            while not stopping.is_set():
                for pixels, captured in self._pictures(stopping):
                    first = captured if first is None else first
                    yield Frame(number, captured - first, captured, _fitted(pixels, self._size))
                    number += 1
                if not stopping.is_set():
                    self._open_again(stopping, number)
        finally:
            self._capture.release()

    def _pictures(self, stopping: threading.Event) -> Iterator[tuple[Pixels, float]]:
        """Yield pictures and when they were taken, until the source fails."""
        failures, since = 0, time.monotonic()
        while not stopping.is_set():
            pixels, captured = _read(self._capture)
            if pixels is not None:
                self.damaged += failures
                failures = 0
                yield pixels, captured
                continue
            since = time.monotonic() if failures == 0 else since
            failures += 1
            if failures >= FAILURES or time.monotonic() - since > FAILING:
                return
            stopping.wait(0.01)

    def _open_again(self, stopping: threading.Event, delivered: int) -> None:
        """Try until the source is there again; SourceLostError when patience is at an end."""
        self._say(f"{self.name} gives no frames any more; trying again for {self._patience:g} s")
        self._capture.release()
        until = time.monotonic() + self._patience
        while not stopping.wait(RETRY):
            self._capture = self._opener()
            if self._capture.isOpened() and self._capture.grab():
                self._say(f"{self.name} is back")
                return
            self._capture.release()
            if time.monotonic() > until:
                raise SourceLostError(f"{self.name}: broke off after {delivered} frames and did not come back")


class PictureSource:
    """The pictures of a folder, or one, RATE a second."""

    live, rate = False, RATE

    def __init__(self, path: str, size: Size | None = None, say: Callable[[str], None] = lambda sentence: None) -> None:
        """List them; SourceError where there are none."""
        self.name, self.damaged, self._size, self._say = path, 0, size, say
        self._paths = _pictures(path)
        self.expected: int | None = len(self._paths)

    def frames(self, stopping: threading.Event) -> Generator[Frame, None, None]:
        """Yield the frames (see `Source`); a skipped picture leaves its time empty."""
        number = 0
        for k, path in enumerate(self._paths):
            if stopping.is_set():
                return
            captured = time.perf_counter()
            try:
                pixels = read_image(path)
            except ImageError as problem:
                self.damaged += 1
                self._say(f"skipped: {problem}")
                continue
            yield Frame(number, k / RATE, captured, _reduced(pixels, self._size))
            number += 1


def _pictures(path: str) -> Sequence[Path]:
    if not os.path.isdir(path):
        if not os.path.isfile(path):
            raise SourceError(f"{path}: expected a picture, got no such file")
        return [Path(path)]
    try:
        inside = [entry for entry in Path(path).iterdir() if entry.suffix.lower() in PICTURES and entry.name[0] != "."]
    except OSError as problem:
        reason = problem.strerror or problem
        raise SourceError(f"{path}: expected a folder that can be read, got {reason}") from None
    if not inside:
        raise SourceError(f"{path}: expected a folder of pictures, got one without any")
    return sorted(inside)


def _read(capture: Capture) -> tuple[Pixels | None, float]:
    """Return the next picture, BGR, or None for one that cannot be read; and the time at which it was there."""
    there = capture.grab()
    captured = time.perf_counter()
    if not there:
        return None, captured
    decoded, picture = capture.retrieve()
    if not decoded or picture is None or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        return None, captured
    return picture, captured


def _fitted(picture: Pixels, size: Size | None) -> Pixels:
    """Return a picture, BGR, as RGB, reduced to fit into a size."""
    return np.asarray(cv2.cvtColor(_reduced(picture, size), cv2.COLOR_BGR2RGB), np.uint8)


def _reduced(picture: Pixels, size: Size | None) -> Pixels:
    """Return a picture reduced to fit into a width and height, its sides' ratio kept; a smaller one as it is."""
    if size is None:
        return picture
    height, width = picture.shape[:2]
    factor = min(size[0] / width, size[1] / height)
    if factor >= 1.0:
        return picture
    fitting = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(picture, fitting, interpolation=cv2.INTER_AREA), np.uint8)


def _open_camera(number: int, size: Size) -> Capture:
    with _quiet():
        capture = cv2.VideoCapture(number)
    if capture.isOpened():
        if size[0] * size[1] > CAMERA_SIZE[0] * CAMERA_SIZE[1]:  # uncompressed, USB carries few of them a second
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # what the driver queues is late
    return capture


def _open_stream(url: str) -> Capture:
    limit = round(1000 * ANSWER)
    with _quiet():
        return cv2.VideoCapture(
            url, cv2.CAP_FFMPEG, [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
        )


def _open_file(path: str) -> Capture:
    with _quiet():
        return cv2.VideoCapture(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV and FFmpeg from writing to the terminal what a sentence of ours says.

    FFmpeg's level is read once, when the first video is opened.
    """
    variable = "OPENCV_FFMPEG_LOGLEVEL"
    before, level = os.environ.get(variable), cv2.utils.logging.getLogLevel()
    os.environ.setdefault(variable, "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
        if before is None:
            os.environ.pop(variable, None)
