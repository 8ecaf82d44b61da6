"""What the photo may be asked about a point of the surface: a depth map from its camera, and distances in it.

A point counts as seen with a weight that is a product of ramps, each 0 where the photo cannot be trusted:

    grazing      cosine between normal and viewer: a texel there covers few pixels, and a small error of the fit is a
                 large one on the surface
    outline      distance to the fitted silhouette, or to the photo's border: beyond it lies the background
    rim          distance to where eyes, teeth and skin meet: beyond it lies the other one's colour
    occlusion    depth behind the nearest surface within OCCLUDER_REACH_MM: the nose's colour is not the cheek's

and nothing counts that lies behind the depth map itself. L. Williams, Casting curved shadows on curved surfaces,
SIGGRAPH 1978 (the comparison of depths and its bias).
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ...render.cameras import Camera, Perspective
from ...render.rasterizer import rasterize
from ._kernels import LOOSE, SKIN
from .tables import DepthView

Array = NDArray[np.float64]

VIEW_SIDE = 768
"""px, the longer side of the depth map: about 0.4 mm each for a whole head."""

MAX_MAGNIFICATION = 8.0
"""Pixels of the depth map per pixel of the photo, at most."""

OCCLUDER_REACH_MM = 2.0

NOTHING = np.float32(1e9)
"""mm: the depth where no surface is."""


class PhotoBox(NamedTuple):
    """The part of the photo that the face may cover, px: the first and, excluded, the last column and row."""

    left: int
    top: int
    right: int
    bottom: int


def face_box(projected: Array, height: int, width: int) -> PhotoBox | None:
    """Return the part of a photo of height x width px that the points projected (N, 2) span; None where outside."""
    finite = projected[np.isfinite(projected).all(axis=1)]
    if not len(finite):
        return None
    low = np.clip(np.floor(finite.min(axis=0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(finite.max(axis=0)) + 1, 0, (width, height)).astype(int)
    if (high <= low).any():
        return None
    return PhotoBox(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def pixels_per_mm(camera: Camera, vertices: Array) -> float:
    """Return the scale of the photo, px/mm, at the middle of the face."""
    if isinstance(camera, Perspective):
        return camera.focal / max(float(np.median(camera.to_camera(vertices)[:, 2])), 1e-6)
    return camera.scale


def make_depth_view(
    camera: Camera, vertices: Array, triangles: NDArray[np.int32], kinds: NDArray[np.uint8], box: PhotoBox
) -> DepthView:
    """Return the depth map of the fitted surface, vertices (N, 3) mm, and the distances in it.

    kinds (T,) tells where another kind of triangle begins; `box` is the part of the photo that is looked at.
    """
    columns, rows = box.right - box.left, box.bottom - box.top
    factor = min(VIEW_SIDE / max(columns, rows), MAX_MAGNIFICATION)
    width, height = max(1, round(columns * factor)), max(1, round(rows * factor))
    # In the depth map pixel centres are whole numbers, too: u' = factor (u - left + 1/2) - 1/2.
    offset = factor * (0.5 - np.array([box.left, box.top])) - 0.5
    fragments = rasterize(camera.zoomed(factor, offset), vertices, triangles, height, width)
    depth = np.where(fragments.covered, fragments.depth, NOTHING).astype(np.float32)
    reach = int(np.ceil(OCCLUDER_REACH_MM * pixels_per_mm(camera, vertices) * factor))
    reach = min(reach, max(height, width))
    occluder = cv2.erode(depth, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8), borderValue=float(NOTHING))
    outline = _distances(fragments.covered, border=False) / factor
    rim = (
        _distances(~_changes(np.append(np.where(kinds == LOOSE, SKIN, kinds), 255)[fragments.triangle]), border=True)
        / factor
    )
    return DepthView(depth, np.asarray(occluder, np.float32), outline, rim, factor, float(box.left), float(box.top))


def empty_view() -> DepthView:
    """Return a view that shows nothing."""
    nothing = np.zeros((1, 1), np.float32)
    return DepthView(nothing - NOTHING, nothing, nothing, nothing, 1.0, 0.0, 0.0)


def _changes(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the mask (H, W) of pixels whose label differs from a neighbour's in the row or the column."""
    changed = np.zeros(labels.shape, bool)
    down, across = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    changed[1:] |= down
    changed[:-1] |= down
    changed[:, 1:] |= across
    changed[:, :-1] |= across
    return changed


def _distances(inside: NDArray[np.bool_], border: bool) -> NDArray[np.float32]:
    """Return the distance (H, W), px, of each pixel inside to the nearest outside; `border`: what lies beyond."""
    padded = np.pad(inside, 1, constant_values=border).astype(np.uint8)
    if padded.all():
        return np.full(inside.shape, NOTHING)
    return np.ascontiguousarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1], np.float32)
