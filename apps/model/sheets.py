"""Sheets that show what a morphable model can be: people, modes of shape, expression units, modes of skin.

A sheet is a list of figures, each one set of coefficients with a caption. The functions that make sheets know the
model's statistics; `draw_sheet` draws all figures of one at the same scale, so that sizes compare.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...models.errors import InvalidInputError, ModelError
from ...models.morphable_model import MorphableModel
from ...render.cameras import ScaledOrthographic, rotation_from_angles
from ...render.compositing import over
from ...render.drawing import BACKGROUND, Panel, Picture, montage
from ...render.renderer import Renderer

HEIGHT, WIDTH = 320, 240  # px of one view
FILL = 0.85  # of a view is taken by what it is framed on
CAPTION = 20  # px
FRONT, TURNED = 0.0, 50.0  # degrees of yaw
ASPECT = 1.6  # width by height that a sheet comes close to
MOST = 121  # figures: the sheet then stays below 6000 px per side

PEOPLE_LIMIT = 2.5  # standard deviations at which the coefficients of random people are cut off
IDENTITY_STEP, ALBEDO_STEP, UNBOUNDED_STEP = 3.0, 2.0, 2.0  # standard deviations from the mean
MODES = 10  # identity modes that are shown unless told otherwise

Coefficients = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Figure:
    """One face; coefficients that are None are the mean's."""

    caption: str
    identity: Coefficients | None = None  # (K,) standard deviations
    expression: Coefficients | None = None  # (E,) units
    albedo: Coefficients | None = None  # (A,) standard deviations


@dataclass(frozen=True, eq=False)
class Sheet:
    """Figures in reading order and how to look at them."""

    figures: tuple[Figure, ...]
    yaws: tuple[float, ...] = (FRONT, TURNED)  # degrees, one view of each figure for each
    together: int = 1  # so many figures in turn stay on one row
    close: bool = False  # framed on the landmarks, where the model has them, instead of on all of it


def random_people(model: MorphableModel, count: int = 7, seed: int = 0) -> Sheet:
    """Return the mean and `count` people drawn with identity and albedo ~ N(0, 1)."""
    rng = np.random.default_rng(seed)
    figures = [Figure("mean")]
    for k in range(count):
        identity, albedo = (
            np.clip(rng.standard_normal(n), -PEOPLE_LIMIT, PEOPLE_LIMIT) for n in (model.n_identity, model.n_albedo)
        )
        figures.append(Figure(f"{k + 1}", identity=identity, albedo=albedo))
    return Sheet(tuple(figures))


def identity_modes(model: MorphableModel, first: int | None = None) -> Sheet:
    """Return modes of shape, three figures for each: -3 standard deviations, the mean, +3.

    `first` is how many, None for ten, or for all where there are fewer. Raises ModelError where the model has none,
    InvalidInputError where it has fewer than `first`.
    """
    count = _count("identity modes", model, model.n_identity, first, usual=MODES)
    return Sheet(_modes("identity", model.n_identity, count, IDENTITY_STEP), together=3)


def expression_units(model: MorphableModel, first: int | None = None) -> Sheet:
    """Return the mean, then each expression unit at its upper bound, or at +2 standard deviations where it has none.

    `first` is how many units, None for all. Raises as `identity_modes` does.
    """
    count = _count("expression units", model, model.n_expression, first)
    figures = [Figure("mean")]
    for k, (caption, value) in enumerate(zip(model.expression_names[:count], model.expression_upper, strict=False)):
        if not np.isfinite(value):
            caption, value = f"{caption}, +{UNBOUNDED_STEP:g} SD", UNBOUNDED_STEP * model.expression_sigma[k]
        figures.append(Figure(caption, expression=value * np.eye(model.n_expression)[k]))
    return Sheet(tuple(figures), close=True)


def albedo_modes(model: MorphableModel, first: int | None = None) -> Sheet:
    """Return modes of albedo from the front, three figures for each: -2 standard deviations, the mean, +2.

    `first` is how many, None for all. Raises as `identity_modes` does.
    """
    count = _count("albedo modes", model, model.n_albedo, first)
    return Sheet(_modes("albedo", model.n_albedo, count, ALBEDO_STEP), yaws=(FRONT,), together=3)


def draw_sheet(sheet: Sheet, model: MorphableModel, renderer: Renderer) -> Picture:
    """Return a sheet's picture (H, W, 3); InvalidInputError for more than 121 figures, which nobody could look at."""
    if len(sheet.figures) > MOST:
        raise InvalidInputError(f"sheet: expected {MOST} figures at most, got {len(sheet.figures)}; choose fewer")
    panels = [Panel(_portrait(figure, sheet, model, renderer), figure.caption) for figure in sheet.figures]
    return montage(panels, columns(sheet), caption_size=CAPTION)


def columns(sheet: Sheet) -> int:
    """Return how many figures stand in a row, for a sheet of about the ASPECT."""
    wanted = np.sqrt(ASPECT * len(sheet.figures) * HEIGHT / (WIDTH * len(sheet.yaws)))
    return sheet.together * max(1, round(wanted / sheet.together))


def _count(what: str, model: MorphableModel, available: int, first: int | None, usual: int | None = None) -> int:
    """Return how many of a model's `available` modes or units to show: `first`, or the `usual` ones (None: all)."""
    if available == 0:
        raise ModelError(f"model {model.name!r} has no {what} to draw")
    if first is not None and not 1 <= first <= available:
        raise InvalidInputError(f"{what}: expected 1 to {available} of them, as model {model.name!r} has, got {first}")
    return first or min(available, usual or available)


def _modes(parameter: str, size: int, count: int, step: float) -> tuple[Figure, ...]:
    """Return three figures for each of the first `count` coefficients: at -step, zero and +step."""
    figures = []
    for k in range(count):
        coefficients = step * np.eye(size)[k]
        figures += [
            Figure(f"{parameter}[{k}], -{step:g} SD", **{parameter: -coefficients}),
            Figure("mean"),
            Figure(f"{parameter}[{k}], +{step:g} SD", **{parameter: coefficients}),
        ]
    return tuple(figures)


def _portrait(figure: Figure, sheet: Sheet, model: MorphableModel, renderer: Renderer) -> Picture:
    """Return the views of one figure side by side."""
    vertices, colours = model.vertices(figure.identity, figure.expression), model.reflectance(figure.albedo)
    views = []
    for yaw in sheet.yaws:
        camera = _camera(model, yaw, sheet.close)
        drawn = renderer.draw(camera, vertices, model.triangles, HEIGHT, WIDTH, colours=colours)
        views.append(over(np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8), drawn))
    return np.hstack(views)


def _camera(model: MorphableModel, yaw: float, close: bool) -> ScaledOrthographic:
    """Return the view of the model's mean that all its figures share."""
    framed = model.landmark_positions(model.mean) if close and model.landmarks is not None else model.mean
    low, high = framed.min(axis=0), framed.max(axis=0)
    across, up, deep = high - low
    scale = FILL / max(up / HEIGHT, across / WIDTH, deep / WIDTH)
    rotation = rotation_from_angles(yaw, 0.0, 0.0)
    middle = (rotation @ (low + high))[:2] / 2.0
    centre = np.array([WIDTH - 1.0, HEIGHT - 1.0]) / 2.0
    return ScaledOrthographic(rotation, centre - scale * middle, scale)
