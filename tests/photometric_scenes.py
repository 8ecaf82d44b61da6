"""Photographs of known people: a model's own rendering under known light, what may cover a face, and error measures.

A picture is a `scenes.Scene` whose photo follows the photometric stage's own model of one, up to its clipping:

    pixel = sRGB(albedo * (basis(n) . light)) + N(0, noise) on the head, one random colour + N(0, 0.02) elsewhere,

rounded to 8 bits. Albedo is random in the model's own modes. The light is a lamp in front of the face, up to 60 degrees
off the line of sight, over ambient light of another tint, both near white:

    light = tint_a sqrt(4 pi) ambient e_0 + tint_l lamp (Y_0(d), ..., Y_8(d)),      ambient + lamp / pi = about 1.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scenes import Scene, random_scene

from facefit.apps.evaluate.scan import score_scan, umeyama
from facefit.apps.evaluate.surface import Surface
from facefit.fitting._kernels import rotated
from facefit.fitting.landmark_noise import LandmarkNoise, expand_sigma
from facefit.fitting.landmark_task import LandmarkTask, landmark_task
from facefit.fitting.landmarks import LandmarkConvention
from facefit.fitting.parameters import FaceParameters
from facefit.models.colour import to_uint8
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import Camera
from facefit.render.rasterizer import Fragments, rasterize
from facefit.render.shading import shade_fragments
from facefit.render.spherical_harmonics import basis

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

LAMBERT = np.array([1.0] + [2.0 / 3.0] * 3 + [1.0 / 4.0] * 5)
"""A_l / pi, the part of `spherical_harmonics.basis` that is the clamped cosine's."""

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])

MARGIN = 0.35
"""Background around the head, relative to the face's size."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A photo and all that is true of it; its scene's coordinates are the photo's."""

    scene: Scene
    image: Pixels  # (H, W, 3)
    light: Array  # (9, 3) spherical harmonics, camera frame
    albedo: Array  # (A,) standard deviations of the model's modes
    fragments: Fragments  # what each pixel sees of the model's triangles

    @property
    def parameters(self) -> FaceParameters:
        """The truth as a stage takes and returns it."""
        return FaceParameters(self.scene.camera, self.scene.identity, self.scene.expression)

    @property
    def face(self) -> NDArray[np.bool_]:
        """Mask (H, W) of the pixels that see the model's region `face`."""
        inside = self.scene.model.regions["face"][self.scene.model.triangles].all(axis=1)
        return np.append(inside, False)[self.fragments.triangle]

    def start(self, rng: np.random.Generator, degrees: float) -> FaceParameters:
        """Return the mean face, turned by so much about a random axis through the eyes, where the truth has them."""
        camera, model = self.scene.camera, self.scene.model
        return FaceParameters(
            replace(camera, rotation=turned(camera.rotation, rng, degrees)),
            np.zeros(model.n_identity),
            np.zeros(model.n_expression),
        )

    def task(self, sigma: float | Array) -> LandmarkTask:
        """Return the task of fitting the scene's landmarks as semantic points of the assumed noise."""
        noise = LandmarkNoise(expand_sigma(sigma))
        return landmark_task(self.scene.model, self.scene.landmarks, noise, LandmarkConvention.SEMANTIC)


def random_picture(model: MorphableModel, rng: np.random.Generator, *, noise: float = 0.01, **choices: Any) -> Picture:
    """Draw one picture; noise: of the photo, sRGB units; `choices` as in `scenes.random_scene`."""
    chosen: dict[str, Any] = {"sigma": 0.02, "face_px": (110.0, 220.0)} | choices
    scene = random_scene(model, rng, **chosen)
    return photographed(scene, rng, random_light(rng), rng.standard_normal(model.n_albedo), noise)


def photographed(scene: Scene, rng: np.random.Generator, light: Array, albedo: Array, noise: float = 0.01) -> Picture:
    """Return a scene's picture; the photo is cut out around the head, and the scene moved into it."""
    placed = scene.camera.project(scene.vertices)[:, :2]
    margin = MARGIN * scene.face_px
    low, high = np.floor(placed.min(axis=0) - margin), np.ceil(placed.max(axis=0) + margin)
    scene = moved(scene, -low)
    width, height = (high - low).astype(int).tolist()
    fragments, head = rendered(scene, light, albedo, height, width)
    colour = np.append(rng.uniform(0.1, 0.9, 3), 0.0)
    covered = head[:, :, 3:] > 0.0
    values = np.where(covered, head, colour)[:, :, :3]
    values = values + np.where(covered, noise, 0.02) * rng.standard_normal(values.shape)
    return Picture(scene, to_uint8(values), light, albedo, fragments)


def rendered(
    scene: Scene, light: Array, albedo: Array, height: int, width: int, camera: Camera | None = None
) -> tuple[Fragments, NDArray[np.float32]]:
    """Return the fragments and the picture (H, W, 4) of the head, sRGB 0-1 and coverage."""
    model, camera = scene.model, scene.camera if camera is None else camera
    own = model.reflectance(albedo if model.n_albedo else None)
    assert own is not None
    colours = np.clip(own, 0.01, 1.0)
    fragments = rasterize(camera, scene.vertices, model.triangles, height, width)
    picture = shade_fragments(fragments, camera, scene.vertices, model.triangles, colours=colours, lighting=light)
    return fragments, picture


def moved(scene: Scene, shift: Array) -> Scene:
    """Return the scene with everything in the image moved by `shift` (2,) px."""
    return replace(
        scene,
        camera=scene.camera.zoomed(1.0, shift),
        exact=scene.exact + shift,
        landmarks=scene.landmarks + shift,
    )


def random_light(rng: np.random.Generator) -> Array:
    """Draw light (9, 3) as the module's text says."""
    angle, around = np.radians(rng.uniform(15.0, 60.0)), rng.uniform(0.0, 2.0 * np.pi)
    to_lamp = np.array([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), -np.cos(angle)])
    ambient = rng.uniform(0.25, 0.6)
    exposure = rng.uniform(0.7, 1.1)
    tints = 1.0 + 0.08 * rng.standard_normal((2, 3))
    lamp = np.pi * (1.0 - ambient) * basis(to_lamp) / LAMBERT
    light = np.outer(lamp, tints[1])
    light[0] += ambient * np.sqrt(4.0 * np.pi) * tints[0]
    return exposure * light


def dominant_direction(light: Array) -> Array:
    """Return the unit vector (3,) towards where most light (9, 3) comes from: its first band's, in luminance."""
    direction = (light @ LUMINANCE)[[3, 1, 2]]
    return direction / np.linalg.norm(direction)


def turned(rotation: Array, rng: np.random.Generator, degrees: float) -> Array:
    """Return a rotation that differs by so much about a random axis."""
    axis = rng.standard_normal(3)
    return rotated(rotation, np.radians(degrees) * axis / np.linalg.norm(axis))


def angle_between(a: Array, b: Array) -> float:
    """Return the angle, degrees, between two rotations (3, 3) or unit vectors (3,)."""
    cosine = (np.trace(a @ b.T) - 1.0) / 2.0 if a.ndim == 2 else a @ b
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def shape_error(scene: Scene, identity: Array) -> float:
    """Return the mean distance, mm, of the neutral face's vertices from the true ones under the best similarity."""
    model = scene.model
    face = model.regions["face"]
    true, found = model.vertices(scene.identity)[face], model.vertices(identity)[face]
    return float(np.linalg.norm(umeyama(found, true).apply(found) - true, axis=1).mean())


def scan_error(scene: Scene, identity: Array) -> float:
    """Return the mean distance, mm, of the true neutral face's vertices from the surface of the fitted one, by ICP."""
    model = scene.model
    face = model.regions["face"]
    true, found = model.vertices(scene.identity), model.vertices(identity)
    surface = Surface(found, model.triangles[face[model.triangles].all(axis=1)])
    places = [model.landmark_positions(vertices) for vertices in (true, found)]
    return score_scan(true[face], places[0], surface, places[1]).mean


def covered(picture: Picture, rng: np.random.Generator, share: float = 0.2) -> Picture:
    """Return the picture with something in front of `share` of the face's pixels: a disc, a bar, or a hand.

    It lies anywhere on the face and has a colour of its own, a hand the colour of skin, and some texture.
    """
    rows, columns = np.indices(picture.face.shape)
    seen = np.flatnonzero(picture.face)
    middle = np.array(np.unravel_index(rng.choice(seen), picture.face.shape), dtype=float)
    y, x = rows - middle[0], columns - middle[1]
    turn = rng.uniform(0.0, 2.0 * np.pi)
    along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    kind = rng.integers(3)
    if kind == 0:
        distance = np.hypot(x, y)
    elif kind == 1:
        distance = np.abs(across)
    else:
        distance = np.minimum(np.hypot(along, across) - 0.1 * picture.scene.face_px, _from_fingers(along, across))
    # The threshold that hides the wanted share of the face.
    mask = distance <= np.quantile(distance.ravel()[seen], share)
    colour = np.array([0.75, 0.55, 0.45]) * rng.uniform(0.7, 1.2) if kind == 2 else rng.uniform(0.0, 1.0, 3)
    shade = 1.0 + 0.15 * np.sin(along / rng.uniform(3.0, 15.0)) + 0.02 * rng.standard_normal(mask.shape)
    image = np.where(mask[:, :, None], to_uint8(colour * shade[:, :, None]), picture.image)
    return replace(picture, image=image)


def misplaced(picture: Picture, rng: np.random.Generator, count: int = 7) -> Picture:
    """Return the picture with `count` landmarks displaced by 10 to 30 % of the face's size."""
    wrong = rng.choice(68, count, replace=False)
    angle = rng.uniform(0.0, 2.0 * np.pi, count)
    length = rng.uniform(0.1, 0.3, count) * picture.scene.face_px
    landmarks = picture.scene.landmarks.copy()
    landmarks[wrong] += length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return replace(picture, scene=replace(picture.scene, landmarks=landmarks))


def _from_fingers(along: Array, across: Array) -> Array:
    """Return the distance from four rays that fan out from the origin, px."""
    distances = []
    for angle in np.radians([-30.0, -10.0, 10.0, 30.0]):
        forth, aside = np.cos(angle) * along + np.sin(angle) * across, np.cos(angle) * across - np.sin(angle) * along
        distances.append(np.where(forth > 0.0, np.abs(aside), np.hypot(along, across)))
    return np.min(distances, axis=0)
