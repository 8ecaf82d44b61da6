"""A file's faces found from the whole of it, and handed out frame by frame as a tracker does."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import count, islice
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...fitting.clip import PASSES, track_clip
from ...fitting.tracking import TrackedFace, TrackerOptions
from ...models.morphable_model import MorphableModel
from .sources import Source, SourceLostError

Pixels = NDArray[np.uint8]


class WholeClip:
    """What is found in a whole file, in the place of a `Tracker`; a frame beyond the end shows nobody."""

    def __init__(
        self,
        opened: Callable[[], Source],
        limit: int | None,
        model: MorphableModel,
        options: TrackerOptions,
        say: Callable[[str], None],
    ) -> None:
        """Look at a file, opened anew each time, for the faces of its first `limit` frames.

        That is done when the first of them is asked for, and `say` is told of every round, since it takes a while.
        """
        self.model, self._options = model, options
        self._opened, self._limit, self._say = opened, limit, say
        self._found: Iterator[list[TrackedFace]] | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hold nothing open."""

    def track(self, frame: ArrayLike, seconds: float | None = None) -> list[TrackedFace]:
        """Return the faces of the next frame."""
        if self._found is None:
            self._found = self._find()
        return next(self._found, [])

    def reset(self) -> None:
        """Change nothing: all frames are known already."""

    def calibrate_neutral(self) -> None:
        """Change nothing."""

    def _find(self) -> Iterator[list[TrackedFace]]:
        started, rounds = time.monotonic(), count(1)

        def frames() -> Iterator[tuple[Pixels, float]]:
            self._say(f"whole clip: going through the file, {next(rounds)} of {PASSES + 1}")
            # A file that breaks off has the frames that came; the run itself tells of it.
            with suppress(SourceLostError), closing(self._opened().frames(threading.Event())) as source:
                for frame in islice(source, self._limit):
                    yield frame.pixels, frame.seconds

        found = track_clip(frames, self.model, self._options)
        self._say(f"whole clip: fitted in {time.monotonic() - started:.0f} s")
        return found
