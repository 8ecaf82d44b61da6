"""What a window of the photo shows of a fit: square panels that a person judges it by.

    photo         the window itself
    landmarks     observed and fitted points, each pair joined
    geometry      the surface over the photo
    rerendering   albedo times light over the photo

and where the fit has found albedo and light of its own:

    residual      photo - re-rendering on the skin, in luma (the weighted sum of sRGB values)
    albedo        linear reflectance, as a white light from everywhere would show it
    light         a white ball in the fitted light, seen as the camera sees the face, exposed for its brightest spot

A fit without these is re-rendered with the model's mean albedo under the light that best explains the photo's pixels
on the face (`estimate_lighting`), so that shading in the wrong place shows a surface in the wrong place.

The surface has the fit's detail, where there is any; a wire mesh is that of the model. Drawings over the photo show the
model's face region alone, fading out at its border: hair and neck are not what was fitted. Eyes and the inside of the
mouth belong to it, unless the model has no colours for them.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...fitting.detailing.relief import detailed_mesh
from ...fitting.landmarks import POLYLINES
from ...fitting.results import FitResult
from ...models.colour import linear_to_srgb, srgb_to_linear, to_uint8
from ...models.errors import InvalidInputError
from ...models.morphable_model import MorphableModel
from ...render.cameras import Camera
from ...render.compositing import over
from ...render.drawing import Colour, draw_label, draw_points, draw_polylines
from ...render.normals import normalised, vertex_normals
from ...render.rasterizer import Fragments, interpolate
from ...render.renderer import Renderer, Shading
from ...render.result_picture import DETAILED
from ...render.spherical_harmonics import estimate_lighting, shade
from ...render.tessellation import FineMesh, tessellated
from .window import SIDE, Window

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

PANELS = ("photo", "landmarks", "geometry", "rerendering", "residual", "albedo", "light")
"""Names of all panels; the last three need a fitted light."""

LEGEND = 26  # px, height of the strip under the landmarks and the residual
SOFTNESS = 4.0 / SIDE  # over which the face region fades out, relative to the panel
SAMPLES = 4000  # the light is estimated from about so many pixels of the face
GREY = 0.35  # linear reflectance of models without albedo
BALL_RADIUS = 0.92  # relative to half of the picture
BRIGHTEST = 0.9  # linear value of the ball's brightest spot

SKIN = ("face",)
OPENINGS = ("eyes", "sockets", "mouth", "teeth")
"""Regions that are seen through the face's openings."""

OBSERVED: Colour = (255, 176, 32)
FITTED: Colour = (64, 220, 255)
GAP: Colour = (255, 72, 72)
NEUTRAL: Colour = (62, 64, 69)

RESIDUAL_RANGE = 48.0 / 255.0  # luma; larger residuals look like this
DARKER: Colour = (24, 72, 190)  # the photo, by that much
EQUAL: Colour = (238, 238, 238)
BRIGHTER: Colour = (190, 48, 24)
LUMA = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709
WHITE_LIGHT = np.sqrt(4.0 * np.pi) * np.eye(9, 1) @ np.ones((1, 3))  # from everywhere: radiance = reflectance


def draw_panels(
    image: Pixels,
    result: FitResult,
    model: MorphableModel,
    renderer: Renderer,
    window: Window,
    shading: Shading = "sh",
    surface: FineMesh | None = None,
) -> dict[str, Pixels]:
    """Return panels (S, S, 3) by name, in the order of PANELS, of a fit to an upright image (H, W, 3) uint8 RGB.

    `shading` is that of the geometry, `surface` what `drawn_surface` returns, where it is known already. Raises
    InvalidInputError for a result that holds no face.
    """
    if result.camera is None or result.vertices is None:
        raise InvalidInputError(f"result: expected one with a fitted face, got {result.status.name}")
    photo, camera, inside = window.resample(image), window.camera(result.camera), window.inside(image)
    mesh, size = (result.vertices, model.triangles), (window.side, window.side)
    seen = renderer.rasterize(camera, *mesh, *size)
    skin, face = _weight(seen, model, SKIN), _weight(seen, model, SKIN + OPENINGS)
    surface = drawn_surface(result, model) if surface is None else surface
    clay = draw_surface(renderer, camera, clay_surface(result, surface, shading), size, shading=shading)
    albedo, own = _albedo(result, model), result.reflectance is not None and result.lighting is not None
    lighting = result.lighting
    if not own or lighting is None:
        lighting = _lighting(photo, (skin > 0.5) & inside, seen, camera, *mesh, albedo)
    lit = draw_surface(renderer, camera, surface, size, colours=surface.values, lighting=lighting)
    panels = {
        "photo": photo,
        "landmarks": _landmarks(photo, window, result),
        "geometry": over(photo, _faded(clay, face)),
        "rerendering": over(photo, _faded(lit, skin if model.albedo_mean is None else face)),
    }
    if not own:
        return panels
    ground = np.full((*size, 3), NEUTRAL, np.uint8)
    unlit = renderer.draw(camera, *mesh, *size, colours=albedo, lighting=WHITE_LIGHT)
    return panels | {
        "residual": residual_map(photo, lit, np.where(inside, skin, 0.0)),
        "albedo": over(ground, unlit),
        "light": over(np.full((SIDE, SIDE, 3), NEUTRAL, np.uint8), lit_ball(lighting, SIDE)),
    }


def drawn_surface(result: FitResult, model: MorphableModel) -> FineMesh:
    """Return the surface that pictures show, with the fit's detail where there is any; its values are the albedo."""
    assert result.vertices is not None
    albedo = _albedo(result, model)
    if result.detail is None:
        return tessellated(result.vertices, model.triangles, 0, albedo)
    return detailed_mesh(result, albedo)


def clay_surface(result: FitResult, surface: FineMesh, shading: Shading) -> FineMesh:
    """Return what geometry is shown by: the surface, or the fitted mesh itself where its edges are shown."""
    if shading in DETAILED:
        return surface
    assert result.vertices is not None and result.triangles is not None
    return tessellated(result.vertices, result.triangles, 0)


def draw_surface(renderer: Renderer, camera: Camera, surface: FineMesh, size: tuple[int, int], **look: Any) -> Pixels:
    """Return a picture (H, W, 4) of a surface, shaded by its own normals; `look` is what `Renderer.draw` takes."""
    return renderer.draw(camera, surface.vertices, surface.triangles, *size, normals=surface.normals, **look)


def _albedo(result: FitResult, model: MorphableModel) -> Array:
    """Return the albedo (N, 3) that was fitted with a light, else the model's mean, else grey."""
    assert result.vertices is not None
    if result.reflectance is not None and result.lighting is not None:
        return np.asarray(result.reflectance, np.float64)
    albedo = np.full_like(result.vertices, GREY)
    if model.albedo_mean is not None:
        albedo[:] = model.albedo_mean
    return albedo


def residual_map(photo: Pixels, drawn: Pixels, weight: Array) -> Pixels:
    """Return luma of photo (S, S, 3) minus that of a drawn picture (S, S, 4), in colours, on a neutral ground.

    EQUAL is 0, DARKER and BRIGHTER are -RESIDUAL_RANGE and RESIDUAL_RANGE, and between them colours change evenly.
    `weight` (S, S) 0-1: how much each pixel counts as skin.
    """
    residual = (photo.astype(np.float64) - drawn[:, :, :3]) @ LUMA / 255.0
    # Where the outline covers a pixel in part, the photo shows as much of what is behind.
    colours = np.dstack([residual_colours(residual), drawn[:, :, 3]])
    panel = over(np.full_like(photo, NEUTRAL), _faded(colours, weight))
    panel[-LEGEND:] //= 4
    bar = residual_colours(np.linspace(-RESIDUAL_RANGE, RESIDUAL_RANGE, 129))
    panel[8 - LEGEND : -8, 142 : 142 + len(bar)] = bar
    bound = f"{255.0 * RESIDUAL_RANGE:.0f}"
    panel = draw_label(panel, f"photo darker  -{bound}", (10, len(panel) - LEGEND + 4))
    return draw_label(panel, f"+{bound}  brighter, of 255", (279, len(panel) - LEGEND + 4))


def residual_colours(residual: ArrayLike) -> Pixels:
    """Return the colours (..., 3) of residuals (...), luma 0-1."""
    share = np.clip(np.asarray(residual, np.float64) / RESIDUAL_RANGE, -1.0, 1.0)[..., None]
    end = np.where(share < 0.0, np.array(DARKER), np.array(BRIGHTER))
    return np.rint(EQUAL + np.abs(share) * (end - EQUAL)).astype(np.uint8)


def lit_ball(lighting: ArrayLike, diameter: int) -> Pixels:
    """Return a matt white ball, RGBA (D, D, 4), under light (9, 3), seen from the camera.

    Photos do not tell a bright light from a pale face, so the ball shows the light's directions and colours, not its
    strength: the brightest channel anywhere on the ball is shown as BRIGHTEST.
    """
    radius = BALL_RADIUS * diameter / 2.0
    centred = (np.arange(diameter) - (diameter - 1) / 2.0) / radius
    x, y = np.meshgrid(centred, centred)
    distance = np.hypot(x, y)
    normals = normalised(np.stack([x, y, -np.sqrt(np.maximum(1.0 - distance**2, 0.0))], axis=-1))
    radiance = shade(normals, 1.0, lighting)
    brightest = float(radiance.max())
    colours = to_uint8(linear_to_srgb(radiance * (BRIGHTEST / brightest if brightest > 0.0 else 0.0)))
    coverage = np.clip((1.0 - distance) * radius + 0.5, 0.0, 1.0)  # of the outline's pixels
    return np.dstack([colours, to_uint8(coverage)])


def _weight(seen: Fragments, model: MorphableModel, names: Sequence[str]) -> Array:
    """Return how much each pixel belongs to the named regions, 0-1, with a soft border inside them; without `face`,
    what the model covers.
    """
    if "face" not in model.regions:
        return seen.covered.astype(np.float64)
    chosen = np.any([model.regions[name] for name in names if name in model.regions], axis=0)
    weight = interpolate(seen, model.triangles, chosen[:, None].astype(np.float64))[:, :, 0]
    sigma = SOFTNESS * len(weight)
    soft = cv2.GaussianBlur(weight, (0, 0), sigma)
    # Blurring halves the weight at the silhouette too, where the face must stay opaque: only covered pixels count.
    coverage = cv2.GaussianBlur(seen.covered.astype(np.float64), (0, 0), sigma)
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
        return WHITE_LIGHT
    stride = max(1, int(mask.sum()) // SAMPLES)
    surface = interpolate(seen, triangles, np.hstack([normals, np.asarray(albedo, np.float64)]))[mask][::stride]
    radiance = srgb_to_linear(photo[mask][::stride])
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
        panel = draw_label(panel, text, (x, window.side - LEGEND + 4), colour)
    return panel
