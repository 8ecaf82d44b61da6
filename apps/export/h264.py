"""Films that browsers play: H.264 (yuv420p) in an MP4 whose index stands in front, by PyAV.

Every frame has its own time, so a variable frame rate stays one: times count in 1/90000 s, as broadcasts do, and no
frame refers to a later one, so that they are stored in the order in which they are shown. (With such B frames an MP4 of
a variable frame rate gets durations that belong to other frames.) The index can only be written last; PyAV then moves
it to the front, so a film that was not closed is no film.

Colours are converted by, and marked as, ITU-R BT.709: players guess differently where a file does not say.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...models.errors import InvalidInputError, MissingDependencyError, OutputError

TICK = Fraction(1, 90_000)  # s, the unit of the frames' times
SLOWEST, FASTEST = 0.01, 1000.0  # frames per second
BT709, LIMITED_RANGE = 1, 1  # ITU-T H.273, tables 2-4; FFmpeg's AVCOL_RANGE_MPEG


def load_pyav() -> Any:
    """Return the module av; MissingDependencyError where it is not installed."""
    try:
        return import_module("av")
    except ImportError:
        raise MissingDependencyError("H.264 films need PyAV: pip install 'facefit[video]'") from None


def checked_rate(fps: float) -> float:
    """Return a rate in frames per second, or raise InvalidInputError where no film can have it."""
    if not SLOWEST <= fps <= FASTEST:
        raise InvalidInputError(f"fps: expected {SLOWEST:g} to {FASTEST:g} frames per second, got {fps!r}")
    return fps


class H264Film:
    """A film that is being written, frame by frame. Close it: before that the file is none.

    A context manager: it closes the film, and only lets go of the file after an error.
    """

    def __init__(
        self,
        path: str | Path,
        height: int,
        width: int,
        fps: float,
        *,
        quality: int = 18,
        preset: str = "medium",
        name: str | Path | None = None,
    ) -> None:
        """Open `path`, whatever its ending, for frames of one size, both of its numbers even.

        fps is what players are told of the rate, and the last frame's duration. quality is x264's constant rate factor:
        less is better and larger; preset is x264's trade of time for size; name is what errors call the file. Raises
        MissingDependencyError without PyAV, InvalidInputError for an odd size or no rate, OutputError where the file
        cannot be written.
        """
        self._av = load_pyav()
        if min(height, width) < 2 or height % 2 or width % 2:
            raise InvalidInputError(f"frames: expected an even height and width for MP4, got {height} x {width}")
        rate = Fraction(checked_rate(fps)).limit_denominator(1000)
        self._name, self._size = path if name is None else name, (height, width)
        self._first = math.nan  # s, the time of the first frame
        self._last = -1  # ticks, the time of the last one
        with self._failures():
            self._film = self._av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
            options = {"crf": str(quality), "preset": preset, "bf": "0"}
            self._stream = self._film.add_stream("libx264", rate=rate, options=options)
            self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, "yuv420p"
            codec = self._stream.codec_context
            codec.time_base = TICK
            codec.colorspace = codec.color_primaries = codec.color_trc = BT709
            codec.color_range = LIMITED_RANGE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def write(self, picture: NDArray[np.uint8], seconds: float) -> None:
        """Add a frame (H, W, 3) uint8 RGB, shown at `seconds` after any moment that all frames share.

        A frame that is not later than the one before comes a tick after it. Raises OutputError where it cannot be
        written, InvalidInputError for another size.
        """
        if picture.shape != (*self._size, 3):
            raise InvalidInputError(f"picture: expected shape {(*self._size, 3)}, got {picture.shape}")
        if self._last < 0:
            self._first = seconds
        self._last = max(round((seconds - self._first) / TICK), self._last + 1)
        with self._failures():
            frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")  # of limited range, as yuv420p is
            frame.pts, frame.time_base = self._last, TICK
            self._film.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is left and the index; OutputError where that fails. The film is closed all the same."""
        with self._failures():
            try:
                self._film.mux(self._stream.encode())
            finally:
                self._film.close()

    def abandon(self) -> None:
        """Let go of the file, which is of no use then."""
        with suppress(OutputError), self._failures():
            self._film.close()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn the errors of FFmpeg and of the system into an OutputError."""
        try:
            yield
        except (OSError, self._av.FFmpegError) as problem:
            reason = getattr(problem, "strerror", None) or problem
            raise OutputError(f"{self._name}: cannot be written ({reason})") from None
