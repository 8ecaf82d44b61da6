"""Which cells show skin that shading can be read from, and the skin's slowly varying albedo.

Both look at the *excess* of a cell, (3,): the log of its colour less that of the fitted albedo and of the shading. On
skin it is about the same everywhere. Its robust mean and covariance are those of a Student's t distribution (by
expectation maximisation, NU degrees of freedom); a cell far out is a lip, a brow, hair or a shadow. Hair of the skin's
own colour betrays itself by its contrast, which is a wrinkle's only in places:

    calm = 1 / (1 + (s / contrast)^4),      s the standard deviation of the excess's mean over the channels near by.

The albedo's own slow variation, and the light's that nine numbers do not hold, is the excess's mean over the surface
near by (a normalised convolution), weighted as the cells are.

K. Lange, R. Little, J. Taylor, Robust statistical modeling using the t distribution, JASA 1989; H. Knutsson, C.-F.
Westin, Normalized and differential convolution, CVPR 1993.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ...models.morphable_model import MorphableModel
from .observation import Cells, Trust

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

NU = 4.0
"""Degrees of freedom."""

EXPECTATIONS = 8
"""Rounds of expectation maximisation."""

USUAL = 10.0
"""Squared Mahalanobis distance up to which a colour is the skin's; at twice that its weight is a quarter."""

LEAST = 50
"""Cells that must be seen before they tell what skin looks like."""

COLOUR_MM, MEAN_MM, CONTRAST_MM = 2.0, 3.0, 4.0
"""Over which colours, and the mean and the square of the excess, are taken near by."""

LANDMARK_RINGS = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47), (60, 61, 62, 63, 64, 65, 66, 67))
"""Landmarks of the lids and of the inner lips, each a closed line."""

OPENING_MM = (3.0, 6.0)
"""Distance from these lines at which the photo begins to count, and at which it counts in full: lashes, and the line
between the lips, are dark for other reasons than their slope."""


BORDER_MM = 35.0
"""Distance to the face's border from which contrast is as likely a wrinkle's as a hair's."""

BORDER_CONTRAST = 0.4
"""At the border itself a surface is taken for hair from this share of the contrast."""


def trust(model: MorphableModel, vertices: Array) -> Trust:
    """Return how far each of the vertices (N, 3) mm is from where skin ends."""
    return Trust(_clear_of_openings(model, vertices), _inside(model, vertices))


def _clear_of_openings(model: MorphableModel, vertices: Array) -> Array:
    """Return (N,) 0-1: how far vertices lie from the edges of lids and lips; 1 for a model without points."""
    if model.landmarks is None:
        return np.ones(len(vertices))
    points = model.landmark_positions(vertices)
    steps = np.linspace(0.0, 1.0, 8, endpoint=False)[:, None]
    sides = [(ring[k - 1], ring[k]) for ring in LANDMARK_RINGS for k in range(len(ring))]
    line = np.concatenate([(1.0 - steps) * points[a] + steps * points[b] for a, b in sides])
    near, far = OPENING_MM
    return np.clip((cKDTree(line).query(vertices)[0] - near) / (far - near), 0.0, 1.0)


def _inside(model: MorphableModel, vertices: Array) -> Array:
    """Return the distance (N,), mm, of the vertices of the region `face` to its border; 0 beyond it."""
    face = model.regions.get("face")
    if face is None or face.all():
        return np.full(len(vertices), BORDER_MM)
    corners = face[model.triangles]
    crossed = model.triangles[corners.any(axis=1) & ~corners.all(axis=1)]
    skin = model.regions.get("skin", np.ones(len(vertices), dtype=bool))
    border = np.unique(crossed[skin[crossed].all(axis=1)])
    if not len(border):
        return np.full(len(vertices), BORDER_MM)
    distance = cKDTree(vertices[border]).query(vertices, distance_upper_bound=BORDER_MM)[0]
    return np.where(face, np.minimum(distance, BORDER_MM), 0.0)


def skin_weight(excess: Floats, cells: Cells, contrast: float) -> Floats:
    """Return (S, S) 0-1: how far cells are to be believed to show skin, by colour and contrast; excess (3, S, S)."""
    seen = cells.seen > 0.3
    if seen.sum() < LEAST:
        return np.ones_like(cells.seen)
    mean, precision = _student(excess[:, seen].T.astype(np.float64))
    far = excess - mean[:, None, None].astype(np.float32)
    square = np.einsum("iyx,ij,jyx->yx", far, precision.astype(np.float32), far, optimize=True)
    colour = 1.0 / (1.0 + np.maximum(square - USUAL, 0.0) / USUAL) ** 2
    near = near_by(colour, cells.seen, COLOUR_MM / cells.width)
    grey = excess.mean(axis=0)
    rest = grey - near_by(grey, cells.seen, MEAN_MM / cells.width)
    deviation = np.sqrt(np.maximum(near_by(rest * rest, cells.seen, CONTRAST_MM / cells.width), 0.0))
    bearable = contrast * (BORDER_CONTRAST + (1.0 - BORDER_CONTRAST) * cells.inside / BORDER_MM)
    return np.asarray(near * near / (1.0 + (deviation / bearable) ** 4), np.float32)


def near_by(values: NDArray[np.floating], weight: Floats, sigma: float) -> Floats:
    """Return the means of values (S, S), weighted by weight (S, S) and a Gaussian of so many texels; 0 far from any."""
    stack = np.stack([values * weight, weight], axis=2).astype(np.float32)
    blurred = _blurred(stack, sigma)
    return np.asarray(blurred[..., 0] / np.maximum(blurred[..., 1], 1e-3), np.float32)


def smooth_excess(excess: Floats, weight: Floats, sigma: float) -> Floats:
    """Return the mean of excess (3, S, S) near by, as `near_by` does."""
    stack = np.concatenate([excess * weight, weight[None]]).transpose(1, 2, 0)
    blurred = _blurred(np.ascontiguousarray(stack), sigma)
    return np.ascontiguousarray((blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-3)).transpose(2, 0, 1))


def _blurred(stack: Floats, sigma: float) -> Floats:
    """Return an image (S, S, C) blurred by a Gaussian of sigma texels; a wide one works on a reduced image."""
    size, factor = stack.shape[0], max(1, int(sigma / 4.0))
    if factor == 1:
        return np.asarray(cv2.GaussianBlur(stack, (0, 0), max(sigma, 0.3)), np.float32)
    count = -(-size // factor)
    padded = np.pad(stack, ((0, count * factor - size), (0, count * factor - size), (0, 0)))
    small = cv2.resize(padded, (count, count), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), sigma / factor)
    whole = cv2.resize(blurred, (count * factor, count * factor), interpolation=cv2.INTER_LINEAR)
    return np.asarray(whole[:size, :size], np.float32)


def _student(samples: Array) -> tuple[Array, Array]:
    """Return mean (3,) and inverse scale matrix (3, 3) of a Student's t distribution of samples (M, 3)."""
    mean = np.median(samples, axis=0)
    spread = 1.4826 * np.median(np.abs(samples - mean), axis=0)
    scale, floor = np.diag(spread**2 + 1e-4), 1e-4 * np.eye(3)
    for _ in range(EXPECTATIONS):
        away = samples - mean
        square = np.einsum("mi,ij,mj->m", away, np.linalg.inv(scale), away, optimize=True)
        weight = (NU + 3.0) / (NU + square)
        mean = weight @ samples / weight.sum()
        away = samples - mean
        scale = (weight[:, None] * away).T @ away / len(samples) + floor
    return mean, np.asarray(np.linalg.inv(scale), np.float64)
