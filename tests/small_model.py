"""A small morphable model with every optional part, whose geometry is known in closed form.

The surface is the height field z = h(x, y) over a square grid symmetric in x, counter-clockwise seen from +Z; so the
point of the surface over a given (x, y) has known barycentric weights. Modes are random.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefit.models.morphable_model import JawContour, LandmarkEmbedding, MorphableModel, UVMap

SIDE = 13  # vertices per side of the grid
EXTENT = 80.0  # mm from the middle to the border
STEP = 2.0 * EXTENT / (SIDE - 1)


def small_parts(seed: int = 0) -> dict[str, Any]:
    """Return the arguments of a valid model; tests replace one of them to break it."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(-EXTENT, EXTENT, SIDE), np.linspace(-EXTENT, EXTENT, SIDE), indexing="ij")
    x, y = x.ravel(), y.ravel()
    n = len(x)
    mean = np.stack([x, y, 40.0 * np.exp(-(x**2 + y**2) / 4000.0)], axis=1)
    a = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).ravel()
    cells = np.stack([a, a + 1, a + SIDE + 1, a + SIDE], axis=1)
    triangles = np.stack([cells[:, [0, 1, 2]], cells[:, [0, 2, 3]]], axis=1).reshape(-1, 3)  # two by two
    return {
        "name": "small",
        "licence": "CC0-1.0",
        "citation": "made up for a test: größer",
        "mean": mean,
        "identity": rng.standard_normal((3, n, 3)),
        "triangles": triangles,
        "expression": rng.standard_normal((2, n, 3)),
        "expression_names": ("blink", "smile"),
        "expression_sigma": np.array([0.5, 1.0]),
        "expression_lower": np.array([0.0, -np.inf]),
        "expression_upper": np.array([1.0, np.inf]),
        "albedo_mean": rng.uniform(0.1, 0.9, (n, 3)),
        "albedo": 0.1 * rng.standard_normal((2, n, 3)),
        "uv": UVMap(0.5 + mean[:, :2] / (2.0 * EXTENT), triangles),
        "landmarks": replace(embedding(landmark_places(rng)), sigma=np.linspace(0.01, 0.04, 68)),
        "landmarks_contour": replace(embedding(landmark_places(rng)), sigma=np.linspace(0.04, 0.02, 68)),
        "contour": JawContour(np.flatnonzero((x < 0.0) & (y == x)), np.flatnonzero((x > 0.0) & (y == -x))),
        "regions": {"face": x**2 + y**2 < 2500.0, "upper.half": y > 0.0},
        "mirror": np.arange(n).reshape(SIDE, SIDE)[:, ::-1].ravel(),
        "source_transform": np.diag([10.0, 10.0, 10.0, 1.0]),
    }


def small_model(**changes: Any) -> MorphableModel:
    """Return the model of `small_parts` with some of its arguments changed."""
    return MorphableModel(**small_parts() | changes)


def landmark_places(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return 68 places (x, y), mm: the jaw on an arc from the subject's right to its left, the others anywhere."""
    angle = np.linspace(0.0, np.pi, 17)
    jaw = np.stack([-60.0 * np.cos(angle), -65.0 * np.sin(angle)], axis=1)
    return np.concatenate([jaw, rng.uniform(-50.0, 50.0, (51, 2))])


def embedding(places: NDArray[np.float64]) -> LandmarkEmbedding:
    """Return the points of the surface over `places` (68, 2) mm."""
    cell = np.floor((places + EXTENT) / STEP).astype(int)
    u, v = ((places + EXTENT) / STEP - cell).T
    lower = u >= v  # the cell's first triangle: corners at (0, 0), (1, 0), (1, 1)
    weights = np.where(lower[:, None], np.stack([1.0 - u, u - v, v], axis=1), np.stack([1.0 - v, u, v - u], axis=1))
    return LandmarkEmbedding(2 * (cell[:, 1] * (SIDE - 1) + cell[:, 0]) + ~lower, weights)
