"""A rendered clip with truth: the video, and beside it `NAME.npz` with one row per frame.

landmarks (F, 68, 2) px, semantic;  yaw (F,) degrees;  expression (F, E) with expression_names (E,), among which
are the closures of both eyes (see `lids.BLINK_UNITS`)
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from ...fitting.images import LoadedImage
from ...fitting.landmarks import COUNT
from ...models.archives import read_arrays
from ...models.arrays import checked_array
from ...models.errors import InvalidInputError
from .datasets import Sample
from .lids import true_closure


def read_clip(video: str | Path, step: int = 1, limit: int | None = None) -> list[Sample]:
    """Return every step-th frame of a clip as a sample named after the frame's number; at most `limit` of them.

    Raises InvalidInputError where the video or its truth is missing or malformed, naming it.
    """
    path = Path(video)
    truth = path.with_suffix(".npz")
    for file in (path, truth):
        if not file.is_file():
            raise InvalidInputError(f"{file}: expected a video and its truth ({truth.name}) beside it, found none")
    data = read_arrays(truth, InvalidInputError)
    try:
        landmarks = checked_array("landmarks", data["landmarks"], (None, COUNT, 2))
        yaw = checked_array("yaw", data["yaw"], (len(landmarks),))
        names = [str(name) for name in data["expression_names"]]
        expression = checked_array("expression", data["expression"], (len(landmarks), len(names)))
    except KeyError as missing:
        raise InvalidInputError(f"{truth}: expected an entry {missing}, found none") from None
    except InvalidInputError as problem:
        raise InvalidInputError(f"{truth}: {problem}") from None
    closure = true_closure(names, expression)
    if closure is None:
        raise InvalidInputError(f"{truth}: expected the closure of both eyes among expression_names, found none")
    frames = range(0, len(landmarks), step)[:limit]
    return [
        Sample(str(k), path, landmarks[k], float(yaw[k]), closure={side: float(closure[side][k]) for side in closure})
        for k in frames
    ]


def read_frames(video: str | Path, samples: Iterable[Sample]) -> Iterator[tuple[Sample, LoadedImage]]:
    """Yield each sample of a clip, in the order of their numbers, with its frame.

    Raises InvalidInputError where the video cannot be read, or ends before its truth does.
    """
    capture, position = cv2.VideoCapture(str(video)), 0
    try:
        if not capture.isOpened():
            raise InvalidInputError(f"{video}: expected a video that OpenCV reads, got another file")
        for sample in samples:
            number = int(sample.name)
            # Stepping on is exact; seeking is not in every format.
            while position <= number and capture.grab():
                position += 1
            sound, frame = capture.retrieve() if position > number else (False, None)
            if not sound or frame is None:
                raise InvalidInputError(f"{video}: expected a frame {number}, got {position} frames")
            pixels = np.ascontiguousarray(frame[:, :, ::-1], np.uint8)  # OpenCV has blue first
            yield sample, LoadedImage(pixels, f"{video}#{number}", "video", "RGB", 1, "none")
    finally:
        capture.release()
