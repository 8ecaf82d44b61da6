"""Synthetic scenes that carry their ground truth, and a small random model for exact and fast tests.

A scene is a random person of a model, posed before a scaled orthographic camera, with its 68 semantic points:

    identity ~ N(0, 1);    each expression unit is at rest with probability 0.8, else half-normal with its sigma, or
    normal where its lower bound is negative, clipped to its bounds;    yaw, pitch, roll uniform in their ranges;
    landmarks = projection + N(0, sigma F),    F = scale * model.face_size (px).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from facefit.fitting.state_prior import PoseAndShape
from facefit.models.morphable_model import LandmarkEmbedding, MorphableModel
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles

Array = NDArray[np.float64]
Range = tuple[float, float]

ACTIVE = 0.2
"""Probability that an expression unit is not at rest."""


def with_one_landmark_map(model: MorphableModel) -> MorphableModel:
    """The model with its semantic points in both conventions: what differs then is whether the jaw slides."""
    return replace(model, landmarks_contour=None)


@dataclass(frozen=True, eq=False)
class Scene:
    """One face and all that is true of it."""

    model: MorphableModel
    identity: Array  # (K,) standard deviations
    expression: Array  # (E,) units
    yaw: float  # degrees
    pitch: float  # degrees
    roll: float  # degrees
    camera: ScaledOrthographic
    sigma: float  # of the landmarks' noise, relative to face_px
    vertices: Array  # (N, 3) mm, model frame
    exact: Array  # (68, 2) px, semantic points without noise
    landmarks: Array  # (68, 2) px, with it

    @property
    def face_px(self) -> float:
        """The face's size F in px, the unit of sigma."""
        return self.camera.scale * self.model.face_size

    @property
    def coefficients(self) -> Array:
        """Identity, then expression (K + E,)."""
        return np.concatenate([self.identity, self.expression])

    @property
    def state(self) -> PoseAndShape:
        """The truth as a state of the landmark stage's solver."""
        return PoseAndShape(self.camera.rotation, self.camera.translation, self.camera.scale, self.coefficients)


def random_scene(
    model: MorphableModel,
    rng: np.random.Generator,
    *,
    sigma: float = 0.0,
    yaw: Range = (-30.0, 30.0),
    pitch: Range = (-15.0, 15.0),
    roll: Range = (-20.0, 20.0),
    face_px: Range = (80.0, 400.0),
) -> Scene:
    """Draw one scene; angles in degrees, the face's size in px, `sigma` relative to it."""
    identity = rng.standard_normal(model.n_identity)
    expression = random_expression(model, rng)
    a, b, c = (float(rng.uniform(*limits)) for limits in (yaw, pitch, roll))
    scale = float(rng.uniform(*face_px)) / model.face_size
    camera = ScaledOrthographic(rotation_from_angles(a, b, c), rng.uniform(200.0, 800.0, 2), scale)
    vertices = model.vertices(identity, expression)
    # Through the basis in double precision: the vertices are only as exact as the model's single precision.
    points = model.semantic_basis.positions(np.concatenate([identity, expression]))
    exact = camera.project(points)[:, :2]
    noise = sigma * scale * model.face_size * rng.standard_normal(exact.shape)
    return Scene(model, identity, expression, a, b, c, camera, sigma, vertices, exact, exact + noise)


def random_scenes(model: MorphableModel, count: int, seed: int, **choices: Any) -> Iterator[Scene]:
    """Yield `count` scenes, the same for the same seed; `choices` as in `random_scene`."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield random_scene(model, rng, **choices)


def random_expression(model: MorphableModel, rng: np.random.Generator) -> Array:
    """Draw expression coefficients (E,) within their bounds, most of them at rest."""
    draw = model.expression_sigma * rng.standard_normal(model.n_expression)
    draw = np.where(model.expression_lower < 0.0, draw, np.abs(draw))
    active = rng.random(model.n_expression) < ACTIVE
    return np.where(active, np.clip(draw, model.expression_lower, model.expression_upper), 0.0)


def toy_model(seed: int = 0, *, vertices: int = 40, identity: int = 5, expression: int = 4) -> MorphableModel:
    """Return a random egg of about a head's size with valid landmarks; its expressions mix all kinds of bounds.

    The landmarks are random points of the surface that faces a frontal camera; those of the jaw run from the subject's
    right to its left.
    """
    rng = np.random.default_rng(seed)
    mean, triangles = egg(vertices, np.array([75.0, 100.0, 80.0]), seed)
    corners = mean[triangles]
    facing = np.flatnonzero(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0.0)
    chosen, weights = rng.choice(facing, 68), rng.dirichlet(np.ones(3), 68)
    jaw = np.argsort((weights[:, :, None] * corners[chosen]).sum(axis=1)[:17, 0])
    chosen[:17], weights[:17] = chosen[:17][jaw], weights[:17][jaw]
    kinds = np.array([(0.0, 1.0), (-np.inf, np.inf), (-0.5, 2.0), (0.0, np.inf)])
    bounds = kinds[np.arange(expression) % len(kinds)]
    return MorphableModel(
        name="toy",
        licence="none",
        citation="none",
        mean=mean,
        triangles=triangles,
        identity=4.0 * rng.standard_normal((identity, vertices, 3)),
        expression=4.0 * rng.standard_normal((expression, vertices, 3)),
        expression_names=tuple(f"unit{k}" for k in range(expression)),
        expression_sigma=rng.uniform(0.3, 1.0, expression),
        expression_lower=bounds[:, 0],
        expression_upper=bounds[:, 1],
        landmarks=LandmarkEmbedding(chosen, weights),
    )


def egg(count: int, radii: Array, seed: int = 0) -> tuple[Array, NDArray[np.int32]]:
    """Return an ellipsoid with half axes `radii` (3,) as (vertices (count, 3), triangles counter-clockwise outside).

    The vertices lie on a spiral of equal areas, turned at random so that no view is special; the triangles are those of
    their convex hull.
    """
    height = 1.0 - (2.0 * np.arange(count) + 1.0) / count
    angle = np.pi * (1.0 + np.sqrt(5.0)) * np.arange(count)
    ring = np.sqrt(1.0 - height**2)
    sphere = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    sphere = sphere @ turn
    hull = ConvexHull(sphere)
    triangles = hull.simplices.astype(np.int32)
    a, b, c = np.moveaxis(sphere[triangles], 1, 0)
    inwards = (np.cross(b - a, c - a) * hull.equations[:, :3]).sum(axis=1) < 0.0
    triangles[inwards] = triangles[inwards][:, ::-1]
    return sphere * radii, triangles
