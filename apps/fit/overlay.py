"""One picture by which a person can judge a fit: six square panels around the face, and a line that says what it is.

    photo                               landmarks, observed and fitted      geometry over the photo
    mean albedo in the photo's light    turned to yaw -40 degrees           turned to yaw +40 degrees

Every one of the first four shows the same window of the photo, SIDE px wide whatever the face's size, through the
fit's own camera: with the window's upper left edge at c (px) and z panel pixels per photo pixel,

    u' = z (u - c) - 1/2         (pixel (0, 0) is a centre)

The fourth panel is the model's mean albedo under the light that best explains the photo's pixels on the face
(`estimate_lighting`), so that shading in the wrong place shows a surface in the wrong place. Both drawings on the photo
show the model's face region alone, fading out at its border: hair and neck are not what was fitted.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...fitting.detection import View
from ...fitting.landmarks import POLYLINES
from ...fitting.results import FitResult
from ...models.colour import srgb_to_linear
from ...models.errors import InvalidInputError
from ...models.morphable_model import MorphableModel
from ...render.cameras import Camera, ScaledOrthographic, rotation_from_angles
from ...render.compositing import over
from ...render.drawing import BACKGROUND, Colour, Panel, draw_label, draw_points, draw_polylines, montage
from ...render.normals import normalised, vertex_normals
from ...render.rasterizer import Fragments, interpolate
from ...render.renderer import Renderer, Shading
from ...render.spherical_harmonics import estimate_lighting

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

SIDE = 416  # px of a panel
HEAD_CENTRE = (0.0, -14.0, -40.0)  # mm, model frame: what the window is centred on
HEAD_RADIUS = 150.0  # mm from there to the window's sides
TURN = 40.0  # degrees of yaw of the turned views
LEGEND = 26  # px, height of the strip under the landmarks
SOFTNESS = 4.0  # px over which the face region fades out
STRIDE = 7  # the light is estimated from every so-manieth pixel of the face
GREY = 0.35  # linear reflectance of models without albedo

OBSERVED: Colour = (255, 176, 32)
FITTED: Colour = (64, 220, 255)
GAP: Colour = (255, 72, 72)
NEUTRAL: Colour = (62, 64, 69)


@dataclass(frozen=True, eq=False)
class Window:
    """A square of the photo, SIDE panel pixels wide."""

    corner: Array  # (2,) px of the photo: its upper left edges
    zoom: float  # panel pixels per photo pixel

    @classmethod
    def around(cls, camera: Camera) -> "Window":
        """Return the window around the head that a camera sees."""
        centre = camera.project(np.array(HEAD_CENTRE))
        # Its scale there, by a step along the camera's own x axis.
        aside = camera.project(np.array(HEAD_CENTRE) + HEAD_RADIUS * camera.rotation[0])
        radius = float(aside[0] - centre[0])
        return cls(centre[:2] - radius, SIDE / (2.0 * radius))

    def to_panel(self, points: ArrayLike) -> Array:
        """Map px (..., 2) of the photo to the panel's."""
        return (np.asarray(points, dtype=np.float64) - self.corner) * self.zoom - 0.5

    def camera(self, camera: Camera) -> Camera:
        """Return the camera that shows the panel what `camera` shows the photo."""
        return camera.zoomed(self.zoom, self.to_panel(np.zeros(2)))

    def inside(self, image: Pixels) -> NDArray[np.bool_]:
        """Return the mask (SIDE, SIDE) of the panel's pixels that show the photo, not what lies beside it."""
        centres = (np.arange(SIDE) + 0.5) / self.zoom
        x, y = centres + self.corner[0], centres + self.corner[1]
        height, width = image.shape[:2]
        return ((y > -0.5) & (y < height - 0.5))[:, None] & ((x > -0.5) & (x < width - 0.5))

    def resample(self, image: Pixels) -> Pixels:
        """Return the panel (SIDE, SIDE, 3) of an image; BACKGROUND beside the image.

        Reduction averages first, so that time and memory depend on the part of the photo that is seen, and only
        there; the rest of the map is one exact resampling.
        """
        if not self.inside(image).any():
            return np.full((SIDE, SIDE, 3), BACKGROUND, np.uint8)
        corner = np.maximum(np.floor(self.corner), 0.0) - 0.5  # whole pixels of the photo
        opposite = np.minimum(np.ceil(self.corner + SIDE / self.zoom) + 0.5, np.array(image.shape[1::-1]) - 0.5)
        view = View.of(image, np.concatenate([corner, opposite]), min(self.zoom, 1.0))
        matrix = np.column_stack([np.diag(view.step * self.zoom), self.to_panel(view.to_image([0.0, 0.0]))])
        panel = cv2.warpAffine(
            view.pixels, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        return np.where(self.inside(image)[:, :, None], panel, np.array(BACKGROUND, np.uint8))


def draw_overlay(
    image: Pixels,
    result: FitResult,
    model: MorphableModel,
    renderer: Renderer,
    title: str = "",
    shading: Shading = "sh",
) -> Pixels:
    """Return the picture (H, W, 3) of a fit to an upright image (H, W, 3) uint8 RGB, `title` along its top.

    `shading` is that of the geometry, over the photo and turned.

    Raises InvalidInputError for a result that holds no face.
    """
    if result.camera is None or result.vertices is None:
        raise InvalidInputError(f"result: expected one with a fitted face, got {result.status.name}")
    window = Window.around(result.camera)
    photo, camera = window.resample(image), window.camera(result.camera)
    mesh = result.vertices, model.triangles
    albedo = np.full_like(result.vertices, GREY) if model.albedo_mean is None else model.albedo_mean
    seen = renderer.rasterize(camera, *mesh, SIDE, SIDE)
    face = _face_weight(seen, model)
    lighting = _lighting(photo, (face > 0.5) & window.inside(image), seen, camera, *mesh, albedo)
    clay = renderer.draw(camera, *mesh, SIDE, SIDE, shading=shading)
    lit = renderer.draw(camera, *mesh, SIDE, SIDE, colours=albedo, lighting=lighting)
    panels = [
        Panel(photo, "photo"),
        Panel(_landmarks(photo, window, result), "landmarks"),
        Panel(over(photo, _faded(clay, face)), "geometry"),
        Panel(over(photo, _faded(lit, face)), "mean albedo in the photo's light"),
        *(Panel(_turned(renderer, yaw, *mesh, shading), f"turned to yaw {yaw:+.0f}°") for yaw in (-TURN, TURN)),
    ]
    return _titled(montage(panels, 3), title)


def _face_weight(seen: Fragments, model: MorphableModel) -> Array:
    """Return how much each pixel belongs to the model's face region, 0-1, with a soft border inside the region."""
    if "face" not in model.regions:
        return seen.covered.astype(np.float64)
    weight = interpolate(seen, model.triangles, model.regions["face"][:, None].astype(np.float64))[:, :, 0]
    soft = cv2.GaussianBlur(weight, (0, 0), SOFTNESS)
    # Blurring halves the weight at the silhouette too, where the face must stay opaque: only covered pixels count.
    coverage = cv2.GaussianBlur(seen.covered.astype(np.float64), (0, 0), SOFTNESS)
    return np.where(seen.covered, np.clip(2.0 * soft / np.maximum(coverage, 1e-6) - 1.0, 0.0, 1.0), 0.0)


def _faded(drawn: Pixels, weight: Array) -> Pixels:
    """Return a drawn picture (H, W, 4) with its alpha scaled by weights (H, W) 0-1."""
    faded = drawn.copy()
    # The outline's own pixels lie half outside the mesh and have no weight: they take their best neighbour's.
    spread = cv2.dilate(weight, np.ones((3, 3), np.uint8))
    faded[:, :, 3] = np.rint(drawn[:, :, 3] * np.where(weight > 0.0, weight, spread))
    return faded


def _lighting(
    photo: Pixels,
    mask: NDArray[np.bool_],
    seen: Fragments,
    camera: Camera,
    vertices: Array,
    triangles: NDArray[np.int32],
    albedo: ArrayLike,
) -> Array:
    """Return the light (9, 3) that best explains the photo on the masked pixels; plain white light without any."""
    normals = vertex_normals(vertices, triangles) @ camera.rotation.T
    if not mask.any():
        return np.sqrt(4.0 * np.pi) * np.eye(9, 1) @ np.ones((1, 3))
    surface = interpolate(seen, triangles, np.hstack([normals, np.asarray(albedo, np.float64)]))[mask][::STRIDE]
    radiance = srgb_to_linear(photo[mask][::STRIDE])
    return estimate_lighting(normalised(surface[:, :3]), surface[:, 3:], radiance)


def _landmarks(photo: Pixels, window: Window, result: FitResult) -> Pixels:
    """Return the panel with observed and fitted points, each pair joined, and a legend."""
    assert result.landmarks is not None
    assert result.landmarks_fitted is not None
    panel = np.rint(photo * 0.8).astype(np.uint8)
    fitted = window.to_panel(result.landmarks_fitted)
    observed = window.to_panel(result.landmarks)
    for line in POLYLINES:
        panel = draw_polylines(panel, [fitted[list(line.indices)]], FITTED, closed=line.closed)
    panel = draw_polylines(panel, list(np.stack([observed, fitted], axis=1)), GAP, thickness=2)
    panel = draw_points(panel, observed, OBSERVED, radius=2.4)
    panel[-LEGEND:] //= 4
    for x, text, colour in ((10, "observed", OBSERVED), (90, "fitted", FITTED), (150, "apart", GAP)):
        panel = draw_label(panel, text, (x, SIDE - LEGEND + 4), colour)
    return panel


def _turned(renderer: Renderer, yaw: float, vertices: Array, triangles: NDArray[np.int32], shading: Shading) -> Pixels:
    """Return the geometry from a fixed distance, level, on a neutral background."""
    rotation, scale = rotation_from_angles(yaw, 0.0, 0.0), SIDE / (2.0 * HEAD_RADIUS)
    centre = np.full(2, (SIDE - 1) / 2.0)
    camera = ScaledOrthographic(rotation, centre - scale * (rotation @ HEAD_CENTRE)[:2], scale)
    drawn = renderer.draw(camera, vertices, triangles, SIDE, SIDE, shading=shading)
    return over(np.full((SIDE, SIDE, 3), NEUTRAL, np.uint8), drawn)


def _titled(sheet: Pixels, title: str) -> Pixels:
    """Return a sheet with a line of text above it."""
    if not title:
        return sheet
    strip = np.full((40, sheet.shape[1], 3), BACKGROUND, np.uint8)
    return np.vstack([draw_label(strip, title, (12, 14), size=18.0), sheet])
