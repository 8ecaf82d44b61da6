"""One picture by which a person can judge a fit: square panels around the face, and a line that says what it is.

    photo          landmarks     geometry                              turned to yaw -40 degrees
    re-rendering   residual      albedo, and the light on a ball       turned to yaw +40 degrees

`panels.py` says what they show. A fit that has found no light of its own is judged by its geometry alone:

    photo                               landmarks                      geometry
    mean albedo in the photo's light    turned to yaw -40 degrees      turned to yaw +40 degrees
"""

import numpy as np
from numpy.typing import NDArray

from ...fitting.results import FitResult
from ...models.errors import InvalidInputError
from ...models.morphable_model import MorphableModel
from ...render.cameras import ScaledOrthographic, rotation_from_angles
from ...render.compositing import over
from ...render.drawing import BACKGROUND, Panel, draw_label, montage
from ...render.renderer import Renderer, Shading
from ...render.tessellation import FineMesh
from .panels import NEUTRAL, clay_surface, draw_panels, draw_surface, drawn_surface, lit_ball
from .window import HEAD_CENTRE, HEAD_RADIUS, SIDE, Window

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

TURN = 40.0  # degrees of yaw of the turned views
BALL = 112  # px, diameter of the ball beside the albedo


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
    surface = drawn_surface(result, model)
    drawn = draw_panels(image, result, model, renderer, Window.around(result.camera), shading, surface)
    clay = clay_surface(result, surface, shading)
    turned = [Panel(_turned(renderer, yaw, clay, shading), f"turned to yaw {yaw:+.0f}°") for yaw in (-TURN, TURN)]
    upper = [Panel(drawn[name], name) for name in ("photo", "landmarks", "geometry")]
    if result.lighting is None or result.reflectance is None:
        lower = [Panel(drawn["rerendering"], "mean albedo in the photo's light")]
        return _titled(montage([*upper, *lower, *turned], 3), title)
    lower = [
        Panel(drawn["rerendering"], "re-rendering"),
        Panel(drawn["residual"], "residual: photo - re-rendering"),
        Panel(_with_ball(drawn["albedo"], result.lighting), "albedo, and the light on a white ball"),
    ]
    return _titled(montage([*upper, turned[0], *lower, turned[1]], 4), title)


def _with_ball(panel: Pixels, lighting: Array) -> Pixels:
    """Return a panel with a ball in the light at its lower right."""
    picture = panel.copy()
    picture[-BALL:, -BALL:] = over(picture[-BALL:, -BALL:], lit_ball(lighting, BALL))
    return picture


def _turned(renderer: Renderer, yaw: float, surface: FineMesh, shading: Shading) -> Pixels:
    """Return the geometry from a fixed distance, level, on a neutral background."""
    rotation, scale = rotation_from_angles(yaw, 0.0, 0.0), SIDE / (2.0 * HEAD_RADIUS)
    centre = np.full(2, (SIDE - 1) / 2.0)
    camera = ScaledOrthographic(rotation, centre - scale * (rotation @ HEAD_CENTRE)[:2], scale)
    drawn = draw_surface(renderer, camera, surface, (SIDE, SIDE), shading=shading)
    return over(np.full((SIDE, SIDE, 3), NEUTRAL, np.uint8), drawn)


def _titled(sheet: Pixels, title: str) -> Pixels:
    """Return a sheet with a line of text above it."""
    if not title:
        return sheet
    strip = np.full((40, sheet.shape[1], 3), BACKGROUND, np.uint8)
    return np.vstack([draw_label(strip, title, (12, 14), size=18.0), sheet])
