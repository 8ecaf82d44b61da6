"""Where a detector sees the 68 landmarks on a model: rendering, detecting, projecting back.

Random people of the model are drawn in random light from several sides. Each detected point is carried to the surface
point that its pixel shows, or, beside the face, to the nearest pixel that shows the face; that is where it would be on
the mean. A landmark is the sample nearest to the median of its samples; where the model has a mirror map, those of the
mirrored landmark are among them, and a landmark of the midline is the point of the surface's midline nearest to it.
Inner landmarks come from all views in which their surface faces the camera, the jaw's from nearly frontal ones only: on
a turned face they slide along the outline.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from ...fitting.detection import FaceDetector
from ...fitting.landmarks import COUNT, JAW, MIRROR
from ...models.colour import to_uint8
from ...models.errors import ModelError
from ...models.morphable_model import LandmarkEmbedding, MorphableModel
from ...render.cameras import ScaledOrthographic, rotation_from_angles
from ...render.normals import vertex_normals
from ...render.rasterizer import rasterize
from ...render.shading import shade_fragments
from .surface_mirror import SurfaceMirror

Array = NDArray[np.float64]
Place = tuple[int, Array]
"""A point of the surface: its triangle, and its barycentric weights (3,) there."""

SIDE = 420  # px of the pictures
YAWS = (-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0)  # degrees
PITCH = 8.0  # degrees, standard deviation
LIMIT = 2.0  # standard deviations at which coefficients are cut off
FRONTAL = 10.0  # degrees of yaw up to which the jaw's points are read
ENOUGH = 8  # samples that a landmark must have; each person gives the chin one
FACING = 0.35  # least cosine between surface and viewer at an inner landmark
BACKGROUND = 0.35  # sRGB


@dataclass(frozen=True, eq=False)
class View:
    """A picture of a random person, and what made it."""

    picture: NDArray[np.uint8]  # (SIDE, SIDE, 3) sRGB
    camera: ScaledOrthographic
    yaw: float  # degrees
    vertices: Array  # (N, 3) mm, model frame


def random_views(
    model: MorphableModel, people: int, rng: np.random.Generator, yaws: Iterable[float] = YAWS
) -> Iterator[View]:
    """Draw `people` random people of a model, without expression, each from all `yaws` (degrees) in one light."""
    for _ in range(people):
        identity, albedo = (np.clip(rng.standard_normal(n), -LIMIT, LIMIT) for n in (model.n_identity, model.n_albedo))
        vertices, light = model.vertices(identity), _light(rng)
        for yaw in yaws:
            rotation = rotation_from_angles(yaw, PITCH * rng.standard_normal(), 3.0 * rng.standard_normal())
            camera = _framed(model, rotation)
            fragments = rasterize(camera, vertices, model.triangles, SIDE, SIDE)
            colours = model.reflectance(albedo)
            drawn = shade_fragments(fragments, camera, vertices, model.triangles, colours=colours, lighting=light)
            picture = drawn[..., :3] + BACKGROUND * (1.0 - drawn[..., 3:])
            yield View(to_uint8(picture), camera, yaw, vertices)


def find_landmarks(
    model: MorphableModel,
    detector: FaceDetector,
    *,
    people: int = 40,
    seed: int = 0,
    kept: NDArray[np.intp] | None = None,
) -> LandmarkEmbedding:
    """Return the embedding of the landmarks where `detector` sees them on renderings of the model.

    With a mirror map they are symmetric. Those `kept` stay as the model has them. ModelError where it lacks these, or
    where the detector finds too few faces.
    """
    kept = np.zeros(0, dtype=np.intp) if kept is None else kept
    samples = _samples(model, detector, people, seed)
    carriers, weights = np.zeros(COUNT, dtype=np.int32), np.zeros((COUNT, 3))
    if len(kept):
        own = model.required_landmarks
        carriers[kept], weights[kept] = own.triangles[kept], own.weights[kept]
    surface = None if model.mirror is None else SurfaceMirror(model.triangles, model.mirror)
    for landmark in np.setdiff1d(np.arange(COUNT), kept).tolist():
        twin = int(MIRROR[landmark])
        if surface is None:
            carriers[landmark], weights[landmark] = _middle(model, _enough(model, samples[landmark], landmark))
        elif landmark == twin:
            carriers[landmark], weights[landmark] = _on_midline(model, _enough(model, samples[landmark], landmark))
        elif landmark < twin:
            places = samples[landmark] + [surface.mirrored(*place) for place in samples[twin]]
            carriers[landmark], weights[landmark] = _middle(model, _enough(model, places, landmark))
            carriers[twin], weights[twin] = surface.mirrored(int(carriers[landmark]), weights[landmark])
    return LandmarkEmbedding(carriers, weights)


def _samples(model: MorphableModel, detector: FaceDetector, people: int, seed: int) -> list[list[Place]]:
    """Return the surface points at which each landmark was seen."""
    face = _face_triangles(model)
    samples: list[list[Place]] = [[] for _ in range(COUNT)]
    for view in random_views(model, people, np.random.default_rng(seed)):
        found = detector.detect(view.picture)
        if not found:
            continue
        fragments = rasterize(view.camera, view.vertices, model.triangles[face], SIDE, SIDE)
        rows, columns = distance_transform_edt(~fragments.covered, return_distances=False, return_indices=True)
        facing = -(vertex_normals(view.vertices, model.triangles) @ view.camera.rotation[2])
        pixels = np.clip(np.rint(found[0].landmarks), 0, SIDE - 1).astype(int)
        for landmark, (x, y) in enumerate(pixels.tolist()):
            seen = rows[y, x], columns[y, x]
            carrier, place = int(face[fragments.triangle[seen]]), fragments.barycentric[seen]
            frontal = abs(view.yaw) <= FRONTAL
            if frontal if landmark in JAW else place @ facing[model.triangles[carrier]] > FACING:
                samples[landmark].append((carrier, place))
    return samples


def _enough(model: MorphableModel, places: list[Place], landmark: int) -> list[Place]:
    if len(places) < ENOUGH:
        raise ModelError(
            f"model {model.name!r}: expected the detector to see landmark {landmark} on {ENOUGH} pictures, got "
            f"{len(places)}; is the model upright, +Y up and +Z out of the face?"
        )
    return places


def _face_triangles(model: MorphableModel) -> NDArray[np.intp]:
    """Return the triangles of the region `face`, all where the model has none."""
    face = model.regions.get("face", np.ones(model.n_vertices, dtype=bool))
    return np.flatnonzero(face[model.triangles].all(axis=1))


def _positions(model: MorphableModel, places: Sequence[Place]) -> Array:
    """Return the places (n, 3), mm, on the mean."""
    corners = model.triangles[[carrier for carrier, _ in places]]
    return np.einsum("nc,ncx->nx", np.array([weights for _, weights in places]), model.mean[corners])


def _middle(model: MorphableModel, places: Sequence[Place]) -> Place:
    """Return the place nearest to the median of all."""
    points = _positions(model, places)
    return places[int(np.linalg.norm(points - np.median(points, axis=0), axis=1).argmin())]


def _on_midline(model: MorphableModel, places: Sequence[Place]) -> Place:
    """Return the point of the surface's midline nearest to the median of all places."""
    assert model.mirror is not None
    median = np.median(_positions(model, places), axis=0)
    own = model.mirror == np.arange(model.n_vertices)
    carriers = np.flatnonzero(own[model.triangles].sum(axis=1) == 2)
    corners = model.triangles[carriers]
    ends = corners[own[corners]].reshape(-1, 2)
    start, along = model.mean[ends[:, 0]], model.mean[ends[:, 1]] - model.mean[ends[:, 0]]
    share = np.clip(np.einsum("nx,nx->n", median - start, along) / np.einsum("nx,nx->n", along, along), 0.0, 1.0)
    best = int(np.linalg.norm(start + share[:, None] * along - median, axis=1).argmin())
    weights = np.zeros(3)
    weights[own[corners[best]]] = 1.0 - share[best], share[best]
    return int(carriers[best]), weights


def _framed(model: MorphableModel, rotation: Array) -> ScaledOrthographic:
    """Return a camera that shows the mean's head, with half as much again around the face, in the picture."""
    points = (model.mean @ rotation.T)[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    size = float((high - low).max())
    if size == 0.0:
        raise ModelError(f"model {model.name!r}: expected a surface to draw, got vertices in one place")
    scale = 0.9 * SIDE / size
    return ScaledOrthographic(rotation, (SIDE - 1.0) / 2.0 - scale * 0.5 * (low + high), scale)


def _light(rng: np.random.Generator) -> Array:
    """Return random light (9, 3): some from everywhere, more from above, the front and one side, slightly coloured."""
    light = np.zeros(9)
    light[0] = rng.uniform(1.6, 2.2)  # 3.5 is white from all around
    light[1:4] = rng.uniform(-2.4, -0.4), rng.uniform(-2.8, -0.8), rng.uniform(-2.0, 2.0)  # y down, z away, x
    light[4:] = 0.15 * rng.standard_normal(5)
    return light[:, None] * rng.uniform(0.92, 1.08, 3)
