"""The annotated pictures of a run as an MP4 that browsers play; every picture keeps its time of presentation.

The film has the size of its first picture, rounded up to even numbers by repeating the last row or column. A picture of
another size is scaled to fit, its proportions kept, on black.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ...models.errors import InvalidInputError, OutputError
from ..export.h264 import H264Film, checked_rate, load_pyav
from .output import PendingFile, Say, checked_ending, to_stderr

if TYPE_CHECKING:
    from ...fitting.tracking import TrackedFace
    from .frames import Frame

Pixels = NDArray[np.uint8]

QUALITY, PRESET = 20, "veryfast"  # x264's: a frame of 640 x 480 takes a few milliseconds of one core


class VideoSink:
    """Writes the annotated pictures of a run to one film."""

    wants_picture = True

    def __init__(self, path: str | Path, fps: float, *, say: Say = to_stderr) -> None:
        """Open a film (.mp4) at a nominal rate, frames per second.

        Raises InvalidInputError for another ending or no rate, MissingDependencyError without PyAV, OutputError where
        the file cannot be made.
        """
        load_pyav()
        self._path, self._fps, self._say = checked_ending(path, ".mp4"), checked_rate(fps), say
        self._pending = PendingFile(self._path)
        self._film: H264Film | None = None  # from the first picture on, which gives it its size
        self._size = (0, 0)  # px, height and width of the first picture
        self._told = False  # that the size changed
        self._failed = False  # to write a picture

    def write(self, frame: "Frame", faces: Sequence["TrackedFace"], picture: Pixels | None) -> None:
        """Add the annotated picture; OutputError where it cannot be written."""
        if picture is None or picture.ndim != 3 or picture.shape[2] != 3:
            got = "None" if picture is None else f"shape {picture.shape}"
            raise InvalidInputError(f"picture: expected the annotated frame (H, W, 3), got {got}")
        if self._film is None:
            self._open(*picture.shape[:2])
        elif picture.shape[:2] != self._size:
            self._tell_of_size(*picture.shape[:2])
        assert self._film is not None
        try:
            self._film.write(_padded(_fitted(picture, self._size)), frame.seconds)
        except OutputError:
            self._failed = True
            raise

    def close(self) -> None:
        """Finish the film and give it its name; OutputError where that fails: then no file of that name is made."""
        if self._film is None:
            self._pending.discard()
            self._say(f"{self._path.name}: not written, there was no picture")
            return
        try:
            self._film.close()
        except OutputError:
            self._pending.discard()
            if not self._failed:  # else it was told already
                raise
        else:
            self._pending.keep()

    def _open(self, height: int, width: int) -> None:
        """Begin the film with the size of its first picture."""
        self._size = (height, width)
        even = (height + height % 2, width + width % 2)
        self._film = H264Film(self._pending.hidden, *even, self._fps, quality=QUALITY, preset=PRESET, name=self._path)

    def _tell_of_size(self, height: int, width: int) -> None:
        """Tell once that the pictures' size has changed."""
        if not self._told:
            self._told = True
            first = f"{self._size[1]} x {self._size[0]}"
            self._say(f"{self._path.name}: the picture is now {width} x {height} px, scaled to fit the first {first}")


def _fitted(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """Return a picture scaled to fit a size (height, width), px, in the middle of black."""
    height, width = picture.shape[:2]
    if (height, width) == size:
        return picture
    scale = min(size[0] / height, size[1] / width)
    inner = (max(1, min(size[0], round(scale * height))), max(1, min(size[1], round(scale * width))))
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = np.zeros((*size, 3), np.uint8)
    canvas[top : top + inner[0], left : left + inner[1]] = cv2.resize(picture, inner[::-1], interpolation=method)
    return canvas


def _padded(picture: Pixels) -> Pixels:
    """Return a picture of even height and width: MP4's pixels share their colour two by two."""
    down, right = (side % 2 for side in picture.shape[:2])
    return (
        np.asarray(cv2.copyMakeBorder(picture, 0, down, 0, right, cv2.BORDER_REPLICATE)) if down or right else picture
    )
