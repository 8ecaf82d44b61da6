"""How well a fitted face, rendered again, repeats the photo's skin: peak signal-to-noise ratio in sRGB values.

    PSNR = 10 log10(255^2 / MSE)      MSE: mean over pixels and channels of (rendered - photo)^2, sRGB 0-255

rendered = sRGB(albedo * shading(smooth normal, light)), with the fit's own spherical-harmonics light. A face without a
light of its own, such as the mean face, takes the light that suits it best on the very pixels that are compared:
`spherical_harmonics.estimate_lighting`.

The pixels are those on which *every* compared face shows plain skin, so that none gains by being small or misplaced:
its nearest triangle lies in the model's region `face` and in none of FEATURE_REGIONS, and the pixel is not within a
margin of the photo's true eyes, brows and mouth, which also serves models without such regions. In photos, where hair
may cover the forehead, it also lies within the convex hull of the true points.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...fitting.images import Pixels
from ...fitting.landmarks import GROUPS, box_size
from ...fitting.results import FitResult
from ...models.colour import linear_to_srgb, srgb_to_linear
from ...models.morphable_model import MorphableModel
from ...render.cameras import Camera
from ...render.normals import normalised, vertex_normals
from ...render.rasterizer import Fragments, interpolate, rasterize
from ...render.spherical_harmonics import estimate_lighting, shade

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

FEATURE_REGIONS = ("eyes", "sockets", "lids", "brows", "lips", "mouth", "teeth")
"""Regions of a model's face that are not plain skin."""

FEATURE_MARGINS = {"right_brow": 0.07, "left_brow": 0.07, "right_eye": 0.05, "left_eye": 0.05, "mouth": 0.04}
"""Around the true points of each group, relative to the face's size sqrt(w h)."""

MIN_PIXELS = 100  # fewer pixels of skin say nothing
ROUNDING = 1.0 / 12.0  # variance of a photo's 8-bit rounding: no rendering can be shown to be closer
GREY = 0.4  # reflectance where a model has no colours; the light, free in each channel, takes over tone and brightness


@dataclass(frozen=True, eq=False)
class Appearance:
    """A posed, coloured face."""

    camera: Camera
    vertices: Array  # (N, 3) mm, model frame
    reflectance: Array  # (N, 3) linear
    lighting: Array | None = None  # (9, 3); None: what suits the photo best


def appearance(model: MorphableModel, result: FitResult) -> Appearance:
    """Return how a usable fit looks."""
    assert result.camera is not None
    assert result.vertices is not None
    own = reflectance(model) if result.reflectance is None else result.reflectance
    return Appearance(result.camera, result.vertices, own, result.lighting)


def reflectance(model: MorphableModel) -> Array:
    """Return the mean linear reflectance (N, 3) of a model; grey where it has no colours."""
    colours = model.reflectance()
    return np.full((model.n_vertices, 3), GREY) if colours is None else np.asarray(colours, dtype=np.float64)


def psnr(
    model: MorphableModel, photo: Pixels, truth: Array, faces: Mapping[str, Appearance], *, hair: bool = False
) -> dict[str, float]:
    """Return the PSNR, dB, of each face against a photo (H, W, 3), all on the same pixels.

    truth: (68, 2) px, where the photo's eyes, brows and mouth are. hair: whether it may cover the forehead.
    Empty where fewer than MIN_PIXELS are left.
    """
    plain = plain_skin(model)
    views = {name: _rasterized(model, face, photo) for name, face in faces.items()}
    seen = ~features(truth, *photo.shape[:2])
    if hair:
        seen &= within(truth, *photo.shape[:2])
    for view in views.values():
        seen &= view.covered & plain[view.triangle]
    if seen.sum() < MIN_PIXELS:
        return {}
    target = photo[seen].astype(np.float64)
    ratios = {}
    for name, face in faces.items():
        surface = np.hstack([vertex_normals(face.vertices, model.triangles) @ face.camera.rotation.T, face.reflectance])
        values = interpolate(views[name], model.triangles, surface)[seen]
        normals, albedo = normalised(values[:, :3]), values[:, 3:]
        lighting = face.lighting
        if lighting is None:
            lighting = estimate_lighting(normals, albedo, srgb_to_linear(photo[seen]))
        rendered = 255.0 * linear_to_srgb(shade(normals, albedo, lighting))
        error = max(float(np.mean((rendered - target) ** 2)), ROUNDING)
        ratios[name] = 10.0 * float(np.log10(255.0**2 / error))
    return ratios


def plain_skin(model: MorphableModel) -> Mask:
    """Return (T,): the triangles of the region `face`, or of the whole model, with no corner in FEATURE_REGIONS."""
    inside = model.regions.get("face", np.ones(model.n_vertices, dtype=bool)).copy()
    for name in FEATURE_REGIONS:
        inside &= ~model.regions.get(name, np.zeros(model.n_vertices, dtype=bool))
    return np.asarray(inside[model.triangles].all(axis=1))


def features(landmarks: Array, height: int, width: int) -> Mask:
    """Return (H, W): the pixels in or near the eyes, brows and mouth of a face with points (68, 2), px."""
    mask = np.zeros((height, width), np.uint8)
    size = box_size(landmarks)
    for group, margin in FEATURE_MARGINS.items():
        outline = np.rint(landmarks[GROUPS[group]]).astype(np.int32)
        closed = not group.endswith("brow")
        if closed:
            cv2.fillPoly(mask, [outline], 1)
        # A line with round ends, twice the margin thick, around a shape widens it by the margin.
        cv2.polylines(mask, [outline], closed, 1, thickness=2 * round(margin * size) + 1)
    return mask.astype(bool)


def within(landmarks: Array, height: int, width: int) -> Mask:
    """Return (H, W): the pixels in the convex hull of points (68, 2), px."""
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(landmarks).astype(np.int32)), 1)
    return mask.astype(bool)


def _rasterized(model: MorphableModel, face: Appearance, photo: Pixels) -> Fragments:
    return rasterize(face.camera, face.vertices, model.triangles, *photo.shape[:2])
