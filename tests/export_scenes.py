"""A fitted face for the exporters' tests: a random person of a model before a camera, as a `FitResult`."""

from typing import Any

import numpy as np
from scenes import random_expression

from facefit.fitting.detail_map import DetailMap
from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.models.morphable_model import MorphableModel
from facefit.models.uv_atlas import model_atlas
from facefit.render.cameras import Camera, Perspective, ScaledOrthographic, rotation_from_angles

HEIGHT, WIDTH = 480, 640
TILTED = rotation_from_angles(25.0, -8.0, 12.0)
ORTHOGRAPHIC = ScaledOrthographic(TILTED, np.array([311.3, 230.8]), 1.37)
PERSPECTIVE = Perspective(TILTED, np.array([-12.0, 8.0, 640.0]), 900.0, np.array([318.2, 241.9]))


def fitted(model: MorphableModel, camera: Camera = ORTHOGRAPHIC, seed: int = 0, **changes: Any) -> FitResult:
    """Return a random person of `model`, its points where the camera sees them; `changes` replace fields."""
    rng = np.random.default_rng(seed)
    identity, expression = rng.standard_normal(model.n_identity), random_expression(model, rng)
    vertices = model.vertices(identity, expression)
    parts: dict[str, Any] = {
        "camera": camera,
        "identity": identity,
        "expression": expression,
        "reflectance": model.reflectance(),
        "vertices": vertices,
        "vertices_image": camera.project(vertices),
        "triangles": model.triangles,
    }
    if model.landmarks is not None:
        parts["landmarks_fitted"] = camera.project(model.landmark_positions(vertices))[:, :2]
    return FitResult(FitStatus.CONVERGED, "made up for a test", **parts | changes)


def waves(size: int = 128, height: float = 0.8, crests: int = 16) -> np.ndarray:
    """Return heights (size, size), mm, of crossed waves that fade out towards the map's border."""
    x = (np.arange(size) + 0.5) / size
    wave, fade = np.sin(2.0 * np.pi * crests * x), np.sin(np.pi * x) ** 2
    return (height * np.outer(wave * fade, np.roll(wave, size // 7) * fade)).astype(np.float32)


def detailed(model: MorphableModel, heights: np.ndarray | None = None, **options: Any) -> FitResult:
    """Return `fitted` with heights, by default `waves`, in the model's atlas."""
    given = waves() if heights is None else heights
    seen = np.ones(given.shape, bool)
    detail = DetailMap.unsplit(given, seen, np.full(given.shape, 200, np.uint8), model_atlas(model))
    return fitted(model, **options, detail=detail)
