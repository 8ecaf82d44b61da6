"""Photographs of heads with known relief, and how well a displacement map shows it again.

A head is a random person of a model, tessellated, with heights along its smooth normal that are laid out by the model's
atlas. Its photo follows the toolkit's model of one: linear albedo times the shading of the displaced surface's own
normals under known light, drawn finer than asked for and averaged, plus noise, rounded to 8 bits.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from painted_heads import LAMBERT

from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.fitting.texture import make_texture
from facefit.fitting.texturing.atlas import TextureSpace
from facefit.fitting.texturing.options import TextureOptions
from facefit.models.colour import linear_to_srgb, to_uint8
from facefit.models.morphable_model import MorphableModel
from facefit.models.uv_atlas import model_atlas
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles
from facefit.render.compositing import magnified
from facefit.render.normals import normalised, vertex_normals
from facefit.render.rasterizer import interpolate, rasterize
from facefit.render.spherical_harmonics import basis
from facefit.render.tessellation import displaced, looked_up, tessellated

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

MAP_SIZE = 1024
"""Texels per side of the true heights."""

MELANIN = np.array([0.3, 0.5, 0.8])
"""How freckles darken red, green and blue."""

SKIN = (0.45, 0.28, 0.21)


@dataclass(frozen=True, eq=False)
class ReliefHead:
    """A photo and all that is true of it."""

    model: MorphableModel
    image: Pixels  # (H, W, 3)
    heights: Array  # (MAP_SIZE, MAP_SIZE) mm
    result: FitResult  # the true camera, coarse surface, albedo and light, as a fit returns them

    @property
    def landmarks(self) -> Array:
        """(68, 2) px, the coarse surface's."""
        assert self.result.camera is not None and self.result.vertices is not None
        return self.result.camera.project(self.model.landmark_positions(self.result.vertices))[:, :2]

    def heights_at(self, size: int) -> NDArray[np.float32]:
        """Return the true heights as a map of size x size texels."""
        return cv2.resize(self.heights.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)

    def mirrored(self) -> "ReliefHead":
        """Return the head as a mirror shows it: photo, camera, surface and light."""
        result, model = self.result, self.model
        assert isinstance(result.camera, ScaledOrthographic) and result.vertices is not None
        assert model.mirror is not None and result.lighting is not None and result.reflectance is not None
        flip = np.array([-1.0, 1.0, 1.0])
        width = self.image.shape[1]
        x, y = result.camera.translation
        camera = ScaledOrthographic(
            result.camera.rotation * np.outer(flip, flip), np.array([width - 1.0 - x, y]), result.camera.scale
        )
        parity = np.array([1, 1, 1, -1, -1, 1, 1, -1, 1.0])[:, None]  # of the shading functions in x
        seen = replace(
            result,
            camera=camera,
            vertices=result.vertices[model.mirror] * flip,
            reflectance=result.reflectance[model.mirror],
            lighting=result.lighting * parity,
        )
        return replace(self, image=np.ascontiguousarray(self.image[:, ::-1]), result=seen)


def relief(seed: int, shortest: float = 20.0, deviation: float = 0.35, wrinkle: float = 0.8) -> Array:
    """Draw heights, mm: bumps of `shortest` to 96 texels of MAP_SIZE from crest to crest, and curved valleys."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(MAP_SIZE), np.fft.fftfreq(MAP_SIZE), indexing="ij"))

    def noise(passed: NDArray[np.bool_]) -> Array:
        values = np.fft.ifft2(np.fft.fft2(rng.standard_normal((MAP_SIZE, MAP_SIZE))) * passed).real
        return np.asarray(values / values.std())

    bumps = deviation * noise((frequency > 1.0 / 96.0) & (frequency < 1.0 / shortest))
    curves = cv2.GaussianBlur(np.exp(-((noise(frequency < 1.0 / 120.0) / 0.08) ** 2)), (0, 0), shortest / 5.0)
    somewhere = cv2.GaussianBlur(rng.standard_normal((MAP_SIZE, MAP_SIZE)), (0, 0), 60.0) > 0.0
    return np.asarray(cv2.GaussianBlur(bumps - wrinkle * curves * somewhere, (0, 0), 3.0))


def freckles(seed: int) -> Array:
    """Draw what freckles leave of the albedo, (MAP_SIZE, MAP_SIZE, 3)."""
    rng = np.random.default_rng(seed)
    spots = np.zeros((MAP_SIZE, MAP_SIZE), np.float32)
    for _ in range(1500):
        centre = (int(rng.integers(MAP_SIZE)), int(rng.integers(MAP_SIZE)))
        cv2.circle(spots, centre, int(rng.integers(3, 7)), float(rng.uniform(0.5, 1.0)), -1)
    return np.exp(-0.7 * cv2.GaussianBlur(spots, (0, 0), 1.5)[..., None] * MELANIN)


def lamp(yaw: float, pitch: float, ambient: float = 0.35) -> Array:
    """Return light (9, 3): a lamp in a direction, degrees from the line of sight, over ambient light."""
    y, p = np.radians([yaw, pitch])
    to_lamp = np.array([np.sin(y) * np.cos(p), -np.sin(p), -np.cos(y) * np.cos(p)])
    light = np.outer(np.pi * (1.0 - ambient) * basis(to_lamp) / LAMBERT, np.ones(3))
    light[0] += ambient * np.sqrt(4.0 * np.pi)
    return light


def relief_head(
    model: MorphableModel,
    seed: int,
    heights: Array | None = None,
    *,
    paint: Array | None = None,
    light: tuple[float, float] = (45.0, 30.0),
    yaw: float = 10.0,
    noise: float = 0.01,
    side: int = 600,
    expression: Array | None = None,
) -> ReliefHead:
    """Photograph a random person; heights None: a smooth one; `paint` (MAP_SIZE, MAP_SIZE, 3) multiplies the albedo."""
    rng = np.random.default_rng(seed)
    identity = 0.7 * rng.standard_normal(model.n_identity)
    posed = np.zeros(model.n_expression) if expression is None else expression
    vertices = model.vertices(identity, posed)
    heights = np.zeros((MAP_SIZE, MAP_SIZE)) if heights is None else heights
    own = model.reflectance(None)
    albedo = np.tile(SKIN, (len(vertices), 1)) if own is None else np.asarray(own, np.float64)
    skin = model.regions["skin"][model.triangles].all(axis=1)
    uv = model_atlas(model)
    fine = tessellated(vertices, model.triangles[skin], 2, values=albedo, uv=replace(uv, triangles=uv.triangles[skin]))
    points = displaced(fine, heights)
    colours = fine.values
    if paint is not None:
        assert fine.uv is not None
        places = np.zeros((len(points), 2))
        places[fine.triangles] = fine.uv.coordinates[fine.uv.triangles]
        colours = colours * np.stack([looked_up(paint[..., k], places) for k in range(3)], axis=1)
    rotation = rotation_from_angles(yaw, 3.0, -2.0)
    face = (vertices @ rotation[:2].T)[model.regions["face"]]
    low, high = face.min(axis=0), face.max(axis=0)
    scale = 0.72 * side / (high - low).max()
    camera = ScaledOrthographic(rotation, np.full(2, side / 2.0) - scale * (low + high) / 2.0, scale)
    lighting = lamp(*light)
    image = _photo(camera, points, fine.triangles, colours, lighting, side)
    image = image + noise * rng.standard_normal(image.shape)
    result = FitResult(
        FitStatus.CONVERGED, "true", camera=camera, identity=identity, expression=posed, vertices=vertices,
        vertices_image=camera.project(vertices), triangles=model.triangles, reflectance=albedo, lighting=lighting,
    )  # fmt: skip
    return ReliefHead(model, to_uint8(image), heights, result)


def _photo(
    camera: ScaledOrthographic, points: Array, triangles: NDArray[np.int32], colours: Array, light: Array, side: int
) -> Array:
    seen = rasterize(magnified(camera, 2), points, triangles, 2 * side, 2 * side)
    values = interpolate(seen, triangles, np.hstack([vertex_normals(points, triangles) @ camera.rotation.T, colours]))
    radiance = values[..., 3:] * np.maximum(basis(normalised(values[..., :3])) @ light, 0.0)
    display = np.where(seen.covered[..., None], linear_to_srgb(radiance), 0.4)
    return np.asarray(cv2.resize(display, (side, side), interpolation=cv2.INTER_AREA))


def visible_skin(head: ReliefHead, size: int = 256) -> NDArray[np.bool_]:
    """Return the mask (S, S) of the face's texels that the photo shows, as the textures' visibility has it."""
    texture = make_texture(head.image, head.result, head.model, TextureOptions(size=size))
    inside = head.model.regions["face"][head.model.triangles].all(axis=1)
    rows = [np.append(inside, False)[seen.triangle] for _, seen in TextureSpace(texture.uv, size).bands()]
    return np.concatenate(rows) & (texture.confidence > 127)


def normal_error(head: ReliefHead, found: NDArray[np.floating], mask: NDArray[np.bool_], fitted: FitResult) -> float:
    """Return the mean angle, degrees, on a mask between the true surface's normals and those of `found` heights (S, S)
    over a fitted one; both in the camera frame.
    """
    true = _normals(head.model, head.result, head.heights_at(len(found)))
    cosine = np.einsum("yxk,yxk->yx", true, _normals(head.model, fitted, found))
    return float(np.degrees(np.arccos(np.clip(cosine[mask], -1.0, 1.0))).mean())


def _normals(model: MorphableModel, result: FitResult, heights: NDArray[np.floating]) -> Array:
    """Return the unit normals (S, S, 3) of a surface with heights at its texels, from the displaced fine mesh."""
    assert result.vertices is not None and result.camera is not None
    uv, size = model_atlas(model), len(heights)
    skin = model.regions["skin"][model.triangles].all(axis=1)
    fine = tessellated(result.vertices, model.triangles[skin], 2, uv=replace(uv, triangles=uv.triangles[skin]))
    assert fine.uv is not None
    normals = vertex_normals(displaced(fine, heights), fine.triangles) @ result.camera.rotation.T
    picture = np.zeros((size, size, 3))
    for rows, seen in TextureSpace(fine.uv, size).bands():
        picture[rows] = normalised(interpolate(seen, fine.triangles, normals))
    return picture


def band_passed(heights: NDArray[np.floating], mask: NDArray[np.bool_], short: float, long: float) -> Array:
    """Return heights (S, S) on a mask between two length scales, texels: a difference of normalised Gaussians."""
    weight = mask.astype(np.float64)

    def blurred(sigma: float) -> Array:
        total = cv2.GaussianBlur(heights.astype(np.float64) * weight, (0, 0), sigma)
        return np.asarray(total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3))

    return blurred(short) - blurred(long)


def correlation(found: NDArray[np.floating], true: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """Return the correlation of two maps (S, S), band-passed between 0.7 and 10 texels of 256, on a mask."""
    unit = len(found) / 256.0
    a, b = (band_passed(heights, mask, 0.7 * unit, 10.0 * unit)[mask] for heights in (found, true))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def rms(values: NDArray[np.floating]) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(values.astype(np.float64) ** 2)))
