"""A sheet of people that a model can be: its mean and random draws from its prior, each seen from two sides."""

import numpy as np
from numpy.typing import NDArray

from ...models.morphable_model import MorphableModel
from ...render.cameras import ScaledOrthographic, rotation_from_angles
from ...render.compositing import over
from ...render.drawing import BACKGROUND, Panel, Picture, montage
from ...render.renderer import Renderer

HEIGHT, WIDTH = 320, 240  # px of one view
COLUMNS = 4
YAWS = (0.0, 50.0)  # degrees
LIMIT = 2.5  # standard deviations at which coefficients are cut off


def draw_people(model: MorphableModel, renderer: Renderer, *, count: int = 7, seed: int = 0) -> Picture:
    """Return a picture (H, W, 3) of the mean and of `count` people drawn with identity and albedo ~ N(0, 1)."""
    rng = np.random.default_rng(seed)
    panels = [Panel(_portrait(model, renderer, np.zeros(model.n_identity), np.zeros(model.n_albedo)), "mean")]
    for k in range(count):
        identity, albedo = (np.clip(rng.standard_normal(n), -LIMIT, LIMIT) for n in (model.n_identity, model.n_albedo))
        panels.append(Panel(_portrait(model, renderer, identity, albedo), f"{k + 1}"))
    return montage(panels, COLUMNS)


def _portrait(
    model: MorphableModel, renderer: Renderer, identity: NDArray[np.float64], albedo: NDArray[np.float64]
) -> Picture:
    """Return the views of one person side by side, at the same scale for all people of the model."""
    vertices = model.vertices(identity)
    colours = model.albedo_mean
    if colours is not None and model.albedo is not None:
        colours = np.clip(colours + np.tensordot(albedo, model.albedo, 1), 0.0, 1.0)
    low, high = model.mean.min(axis=0), model.mean.max(axis=0)
    scale = 0.85 * HEIGHT / float((high - low).max())
    views = []
    for yaw in YAWS:
        rotation = rotation_from_angles(yaw, 0.0, 0.0)
        middle = (rotation @ (low + high))[:2] / 2.0
        centre = np.array([WIDTH - 1.0, HEIGHT - 1.0]) / 2.0
        camera = ScaledOrthographic(rotation, centre - scale * middle, scale)
        drawn = renderer.draw(camera, vertices, model.triangles, HEIGHT, WIDTH, colours=colours)
        views.append(over(np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8), drawn))
    return np.hstack(views)
