"""How many independent pixels a photo is worth: the integral range of noise whose correlation is known."""

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facefit.fitting.photometric.correlation import TAKEN_UP, WINDOW, integral_range

Array = NDArray[np.float64]

SIZE = 80.0  # px, the face's as the estimate is told: its windows are many to the oval below
LARGEST = 4.0 * np.pi * (WINDOW * SIZE) ** 2  # px^2, the window's own


@pytest.fixture(scope="module")
def view() -> Any:
    """An oval of samples, in no order, and a level around it: what the estimate knows of a view."""
    row, column = np.indices((500, 440))
    inside = np.hypot((row - 250.0) / 230.0, (column - 220.0) / 200.0) < 1.0
    pixels = np.random.default_rng(0).permutation(np.flatnonzero(inside))
    return SimpleNamespace(level=SimpleNamespace(photo=np.zeros((*inside.shape, 3), np.float32)), pixels=pixels)


def noise(view: Any, length: float, seed: int = 0) -> Array:
    """Return noise (M, 3) of unit variance and autocorrelation exp(-d^2 / 2 length^2); 0: white."""
    height, width = view.level.photo.shape[:2]
    border = 50
    field = np.random.default_rng(seed).standard_normal((height + 2 * border, width + 2 * border, 3))
    if length > 0.0:
        blur = length / np.sqrt(2.0)
        field = cv2.GaussianBlur(field, (0, 0), blur) * np.sqrt(4.0 * np.pi) * blur
    return field[border:-border, border:-border].reshape(-1, 3)[view.pixels].astype(np.float64)


def estimate(view: Any, residual: Array, weight: Array | None = None) -> float:
    return integral_range(view, residual, np.ones(len(residual)) if weight is None else weight, SIZE)


@pytest.mark.parametrize("seed", range(3))
def test_pixels_of_white_noise_count_one_by_one(view: Any, seed: int) -> None:
    assert estimate(view, noise(view, 0.0, seed)) == pytest.approx(TAKEN_UP, rel=0.3)


@pytest.mark.parametrize("length", [1.5, 2.5, 4.0, 5.5])
@pytest.mark.parametrize("seed", range(3))
def test_range_of_smooth_noise_is_its_integral(view: Any, length: float, seed: int) -> None:
    """2 pi l^2, within 30 %, from well below the window to its size."""
    expected = TAKEN_UP * 2.0 * np.pi * length**2
    assert expected < LARGEST
    assert estimate(view, noise(view, length, seed)) == pytest.approx(expected, rel=0.3)


def test_range_lies_between_a_pixel_and_the_window(view: Any) -> None:
    ones = np.ones((len(view.pixels), 3))
    assert estimate(view, ones) == pytest.approx(LARGEST)
    assert estimate(view, noise(view, 40.0)) == pytest.approx(LARGEST)
    row, column = np.divmod(view.pixels, view.level.photo.shape[1])
    alternating = np.where((row + column) % 2, 1.0, -1.0)[:, None] * ones
    assert estimate(view, alternating) == 1.0
    assert estimate(view, 0.0 * ones) == 1.0


def test_range_has_no_unit_but_the_pixels(view: Any) -> None:
    residual = noise(view, 2.5)
    assert estimate(view, 100.0 * residual) == pytest.approx(estimate(view, residual), rel=1e-4)


def test_what_is_not_believed_has_no_say(view: Any) -> None:
    """A hand before a tenth of the face: large errors, all alike, and of no weight."""
    residual, row = noise(view, 2.5), view.pixels // view.level.photo.shape[1]
    covered = row > np.quantile(row, 0.9)
    hidden = np.where(covered[:, None], 20.0, residual)
    assert estimate(view, hidden) > 2.0 * estimate(view, residual)
    assert estimate(view, hidden, (~covered).astype(np.float64)) == pytest.approx(estimate(view, residual), rel=0.1)
