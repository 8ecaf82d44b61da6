"""What the kernels work on: named tuples of plain arrays and numbers."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Lens(NamedTuple):
    """From the camera frame to the photo: u = focal (x, y) / z + centre, without the division where orthographic."""

    perspective: bool
    focal: float  # px, or px/mm
    x: float  # px
    y: float  # px


class Pyramid(NamedTuple):
    """A part of the photo, and its means over blocks of 2^l x 2^l px."""

    pixels: NDArray[np.uint8]  # (P, 3) all levels, one after the other, row by row
    start: NDArray[np.int64]  # (L,) where each begins
    height: NDArray[np.int64]  # (L,)
    width: NDArray[np.int64]  # (L,)
    left: float  # px of the photo, the centre of the part's first pixel
    top: float  # px
    linear: NDArray[np.float64]  # (256,) linear light of a value


class DepthView(NamedTuple):
    """The face from the photo's camera, `factor` pixels to one of the photo; all (H, W)."""

    depth: NDArray[np.float32]  # mm, of the nearest surface
    occluder: NDArray[np.float32]  # mm, the least depth near by
    outline: NDArray[np.float32]  # px of the photo to the silhouette or the photo's border
    rim: NDArray[np.float32]  # px of the photo to where another kind of triangle begins
    factor: float
    left: float  # px of the photo, the left edge of the first pixel
    top: float  # px


class Limits(NamedTuple):
    """What counts as seen. Each pair: where the weight is zero, where it is one."""

    cosine: tuple[float, float]
    outline: tuple[float, float]  # px of the photo
    loose: tuple[float, float]  # px of the photo, the same for LOOSE
    rim: tuple[float, float]  # px of the photo
    occlusion: tuple[float, float]  # mm behind the nearest surface near by
    depth: float  # mm behind the nearest surface there


class Mesh(NamedTuple):
    """The fitted surface in the camera frame, N vertices and T triangles."""

    triangles: NDArray[np.int32]  # (T, 3)
    kinds: NDArray[np.uint8]  # (T,) SKIN, INSET or HIDDEN
    points: NDArray[np.float64]  # (N, 3) mm
    normals: NDArray[np.float64]  # (N, 3) unit
    reflectance: NDArray[np.float64]  # (N, 3) linear
    textured: NDArray[np.float64]  # (N, 3) linear, what the albedo texture replaces; or (0, 3)
    mirror: NDArray[np.int32]  # (N,), or (0,)
    level: NDArray[np.float64]  # (2, T) the pyramid's level that has one pixel per texel; of the mirror images


class Scene(NamedTuple):
    """What a texel is looked up in."""

    lens: Lens
    pyramid: Pyramid
    depths: DepthView
    limits: Limits
    light: NDArray[np.float64]  # (9, 3)
    shadow: NDArray[np.float64]  # (3,) the least shading that is believed
    ratio: tuple[float, float]  # least and greatest albedo relative to the model's
