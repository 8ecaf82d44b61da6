"""A frame: one picture of a source, and when it was taken."""

import dataclasses

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """One decoded picture on its way from the source to the screen and the files."""

    number: int  # from 0, counting what the source delivered: numbers of dropped frames are missing, none is repeated
    seconds: float  # of presentation, increasing: a file's own timestamps, a device's clock from its first frame
    captured: float  # time.perf_counter() when the source handed it over: what latency is measured from
    pixels: NDArray[np.uint8]  # (H, W, 3) RGB, upright; may change its size from one frame to the next
