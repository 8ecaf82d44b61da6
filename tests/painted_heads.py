"""Photographs of heads with fine paint on them, and how well a texture shows them again.

A painted head has the albedo of its vertices times a paint laid out by the model's atlas, band-limited noise that no
vertex can hold, under known light. Its photo is drawn finer than asked for and averaged. The light stays where it is
when the camera moves on, so that what the texture holds as photographed can be held against another view.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.models.colour import linear_to_srgb, to_uint8
from facefit.models.morphable_model import MorphableModel, UVMap
from facefit.render.cameras import Camera, ScaledOrthographic, rotation_from_angles
from facefit.render.compositing import magnified
from facefit.render.normals import normalised, vertex_normals
from facefit.render.rasterizer import Fragments, interpolate, rasterize
from facefit.render.spherical_harmonics import basis

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

LAMBERT = np.array([1.0] + [2.0 / 3.0] * 3 + [1.0 / 4.0] * 5)
"""A_l / pi, the part of `spherical_harmonics.basis` that is the clamped cosine's."""


@dataclass(frozen=True, eq=False)
class PaintedHead:
    """A head, the photo's camera, and all that is true of its colours."""

    model: MorphableModel
    vertices: Array  # (N, 3) mm
    camera: Camera  # the photo's
    light: Array  # (9, 3), in that camera's frame
    reflectance: Array  # (N, 3) linear
    paint: Array  # (P, P, 3), factor of the reflectance
    height: int  # px
    width: int  # px

    def photo(self, camera: Camera | None = None, background: tuple[int, int, int] = (90, 110, 130)) -> Pixels:
        """The photo (H, W, 3), or another camera's view of the same surface under the same light."""
        camera = self.camera if camera is None else camera
        rows = []
        for top in range(0, self.height, 256):
            view = camera.zoomed(1.0, np.array([0.0, -top]))
            rows.append(self._strip(view, min(256, self.height - top), background))
        return np.concatenate(rows)

    def _strip(self, camera: Camera, height: int, background: tuple[int, int, int]) -> Pixels:
        uv = self.model.uv
        assert uv is not None
        fragments = rasterize(magnified(camera, 2), self.vertices, self.model.triangles, 2 * height, 2 * self.width)
        normals = vertex_normals(self.vertices, self.model.triangles) @ self.camera.rotation.T
        seen = interpolate(fragments, self.model.triangles, np.hstack([normals, self.reflectance]))
        shading = basis(normalised(seen[..., :3])) @ self.light
        colour = seen[..., 3:] * shading * looked_up(self.paint.astype(np.float32), uv, fragments)
        display = np.where(fragments.covered[..., None], linear_to_srgb(colour), np.array(background) / 255.0)
        return to_uint8(cv2.resize(display, (self.width, height), interpolation=cv2.INTER_AREA))

    @property
    def result(self) -> FitResult:
        """The truth as a fit returns it."""
        return FitResult(
            FitStatus.CONVERGED, "true", camera=self.camera, vertices=self.vertices, triangles=self.model.triangles,
            reflectance=self.reflectance, lighting=self.light,
        )  # fmt: skip


def painted_head(
    model: MorphableModel, seed: int, *, height: int, yaw: float = 15.0, paint_size: int = 1024, blur: float = 1.5
) -> PaintedHead:
    """Draw a head that fills the height of its photo, which is 3/4 as wide; `blur` of the paint in its own texels."""
    rng = np.random.default_rng(seed)
    active = np.where(rng.random(model.n_expression) < 0.2, np.abs(rng.standard_normal(model.n_expression)), 0.0)
    expression = np.clip(active * model.expression_sigma, model.expression_lower, model.expression_upper)
    vertices = model.vertices(rng.standard_normal(model.n_identity), expression)
    width = 3 * height // 4
    rotation = rotation_from_angles(yaw, 4.0, -3.0)
    turned = vertices @ rotation[:2].T
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = 0.92 * min(height / (high - low)[1], width / (high - low)[0])
    centre = np.array([width, height]) / 2.0 - scale * (low + high) / 2.0
    reflectance = model.reflectance(0.7 * rng.standard_normal(model.n_albedo))
    assert reflectance is not None
    noise = cv2.GaussianBlur(rng.standard_normal((paint_size, paint_size, 3)), (0, 0), blur)
    paint = np.exp(0.2 * noise / noise.std())
    camera = ScaledOrthographic(rotation, centre, scale)
    colours = np.clip(reflectance, 0.02, 1.0).astype(np.float64)
    return PaintedHead(model, vertices, camera, lamp_light(rng), colours, paint, height, width)


def lamp_light(rng: np.random.Generator) -> Array:
    """Draw light (9, 3): a lamp in front of the face, up to 40 degrees off the line of sight, over ambient light."""
    angle, around = np.radians(rng.uniform(15.0, 40.0)), rng.uniform(0.0, 2.0 * np.pi)
    to_lamp = np.array([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), -np.cos(angle)])
    ambient = rng.uniform(0.35, 0.6)
    tints = 1.0 + 0.08 * rng.standard_normal((2, 3))
    light = np.outer(np.pi * (1.0 - ambient) * basis(to_lamp) / LAMBERT, tints[1])
    light[0] += ambient * np.sqrt(4.0 * np.pi) * tints[0]
    return light


def looked_up(texture: NDArray, uv: UVMap, fragments: Fragments) -> NDArray:
    """Return a texture's (S, S, C), bilinear, at the surface's points (H, W, C) that the pixels show."""
    size = len(texture)
    corners = uv.coordinates.astype(np.float64)[uv.triangles[np.maximum(fragments.triangle, 0)]]
    u, v = np.moveaxis(np.einsum("hwc,hwcx->hwx", fragments.barycentric, corners), -1, 0)
    x, y = (u * size - 0.5).astype(np.float32), (size - 0.5 - v * size).astype(np.float32)
    return cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def psnr(first: NDArray, second: NDArray, mask: NDArray[np.bool_]) -> float:
    """Return the peak signal-to-noise ratio, dB, of two pictures of 0-255 over a mask."""
    difference = first[mask].astype(np.float64) - second[mask]
    return float(20.0 * np.log10(255.0 / np.sqrt(np.mean(difference**2))))


def covered_skin(head: PaintedHead, confidence: Pixels, fragments: Fragments, uv: UVMap) -> NDArray[np.bool_]:
    """Return the mask (H, W) of pixels that show the region `skin` where the texture has seen it."""
    skin = head.model.regions["skin"][head.model.triangles].all(axis=1)
    sure = looked_up(confidence.astype(np.float32)[..., None], uv, fragments)
    return np.append(skin, False)[fragments.triangle] & (sure.reshape(fragments.triangle.shape) > 0.0)


def rendering_error(
    head: PaintedHead, photo: Pixels, photographed: Pixels, confidence: Pixels, uv: UVMap, camera: Camera
) -> tuple[float, float]:
    """Return the PSNR, dB, of the textured mesh against a photo on covered skin, and that skin's share of all skin."""
    fragments = rasterize(camera, head.vertices, head.model.triangles, head.height, head.width)
    mask = covered_skin(head, confidence, fragments, uv)
    everywhere = covered_skin(head, np.full_like(confidence, 255), fragments, uv)
    drawn = looked_up(photographed, uv, fragments)
    return psnr(drawn, photo, mask), float(mask.sum() / everywhere.sum())


def turned_camera(head: PaintedHead, degrees: float) -> ScaledOrthographic:
    """Return the photo's camera, turned so much further about the head."""
    camera = head.camera
    assert isinstance(camera, ScaledOrthographic)
    rotation = rotation_from_angles(degrees, 0.0, 0.0) @ np.diag([1.0, -1.0, -1.0]) @ camera.rotation
    middle = head.vertices.mean(axis=0)
    centre = np.array([head.width, head.height]) / 2.0
    return ScaledOrthographic(rotation, centre - camera.scale * (rotation @ middle)[:2], camera.scale)
