"""A file's faces found from the whole of it, and handed out frame by frame as a tracker does."""

import threading
from collections.abc import Callable, Iterable, Iterator
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


class Replay:
    """What was found, in the place of a `Tracker`; a frame beyond the end shows nobody."""

    def __init__(self, model: MorphableModel, found: Iterable[list[TrackedFace]]) -> None:
        """Hand out the faces of each frame in turn."""
        self.model, self._found = model, iter(found)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hold nothing open."""

    def track(self, frame: ArrayLike, seconds: float | None = None) -> list[TrackedFace]:
        """Return the faces of the next frame."""
        return next(self._found, [])

    def reset(self) -> None:
        """Change nothing: all frames are known already."""

    def calibrate_neutral(self) -> None:
        """Change nothing."""


def find_all(
    opened: Callable[[], Source],
    limit: int | None,
    model: MorphableModel,
    options: TrackerOptions,
    say: Callable[[str], None],
) -> Replay:
    """Go through a file, opened anew each time, and return the faces of its first `limit` frames.

    `say` is told each time: the whole of it takes a while.
    """
    rounds = count(1)

    def frames() -> Iterator[tuple[Pixels, float]]:
        say(f"whole clip: going through the file, {next(rounds)} of {PASSES + 1}")
        # A file that breaks off has the frames that came; the run itself tells of it.
        with suppress(SourceLostError), closing(opened().frames(threading.Event())) as source:
            for frame in islice(source, limit):
                yield frame.pixels, frame.seconds

    return Replay(model, track_clip(frames, model, options))
