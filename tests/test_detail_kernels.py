"""The detail stage's loops against plain NumPy, and its energy's derivatives against differences."""

import numpy as np
import pytest
from jacobians import assert_jacobian, finite_differences
from numpy.typing import NDArray

from facefit.fitting.detailing import _kernels
from facefit.render.spherical_harmonics import basis

Array = NDArray[np.float64]

pytestmark = pytest.mark.kernels

SIZE = 6
TELLING = (0.002, 0.008, 0.9, 0.97)
FLOOR = np.full(3, 0.05)


def table(rng: np.random.Generator, size: int = SIZE) -> tuple[Array, Array]:
    """Draw the cells (S, 9, S) and the prior (S, S) of a valid system; some cells have no surface."""
    cells, last = np.zeros((size, 9, size)), size - 1
    there = rng.random((last, last)) < 0.9
    roots = rng.standard_normal((last, last, 2, 2))
    frames = np.einsum("yxci,yxcj->yxij", roots, roots) + 0.5 * np.eye(2)
    halves = rng.standard_normal((last, last, 3, 2))
    curvature = np.einsum("yxci,yxcj->yxij", halves, halves)
    for entry, (matrix, i, j) in enumerate(
        [(frames, 0, 0), (frames, 0, 1), (frames, 1, 1), (curvature, 0, 0), (curvature, 0, 1), (curvature, 1, 1)]
    ):
        cells[:last, entry, :last] = np.where(there, matrix[..., i, j], 0.0)
    left, below = rng.random((last, last)), rng.random((last, last))
    cells[:last, _kernels.LEFT, 1:last] = np.where(there[:, 1:] & there[:, :-1], left[:, 1:], 0.0)
    cells[: last - 1, _kernels.BELOW, :last] = np.where(there[1:] & there[:-1], below[:-1], 0.0)
    cells[:last, _kernels.TWIST, :last] = np.where(there, rng.random((last, last)), 0.0)
    return cells, 0.1 + rng.random((size, size))


def slope_matrix(cells: Array) -> Array:
    """Return the slopes (2, S, S, S * S) as a matrix: W times central differences over a cell's four texels."""
    size = len(cells)
    matrix = np.zeros((2, size, size, size, size))
    for y in range(size - 1):
        for x in range(size - 1):
            u, w = np.zeros((2, size, size))
            u[y : y + 2, x], u[y : y + 2, x + 1] = -0.5, 0.5
            w[y, x : x + 2], w[y + 1, x : x + 2] = -0.5, 0.5
            a, b, c = cells[y, :3, x]
            matrix[0, y, x], matrix[1, y, x] = a * u + b * w, b * u + c * w
    return matrix.reshape(2, size, size, -1)


def dense(cells: Array, prior: Array) -> Array:
    """Return H (S * S, S * S), term by term."""
    size, slopes = len(cells), slope_matrix(cells)
    matrix = np.diag(prior.ravel())
    for y in range(size):
        for x in range(size):
            a, b, c = cells[y, 3:6, x]
            g = slopes[:, y, x]
            matrix += g.T @ np.array([[a, b], [b, c]]) @ g
            if x > 0:
                away = g - slopes[:, y, x - 1]
                matrix += cells[y, _kernels.LEFT, x] * away.T @ away
            if y + 1 < size:
                away = g - slopes[:, y + 1, x]
                matrix += cells[y, _kernels.BELOW, x] * away.T @ away
            if x + 1 < size and y + 1 < size:
                twist = np.zeros((size, size))
                twist[y : y + 2, x : x + 2] = [[1.0, -1.0], [-1.0, 1.0]]
                matrix += cells[y, _kernels.TWIST, x] * np.outer(twist, twist)
    return matrix


def applied(cells: Array, prior: Array, values: Array) -> tuple[Array, float]:
    size, result = len(cells), np.empty_like(values)
    square = _kernels.apply(cells, prior, values, result, np.empty((3, 3, size + 1)), np.empty((2, 3, size + 1)))
    return result, square


def test_the_product_is_the_matrix_of_the_energy(rng):
    cells, prior = table(rng)
    matrix, values = dense(cells, prior), rng.standard_normal((SIZE, SIZE))
    result, square = applied(cells, prior, values)
    np.testing.assert_allclose(result.ravel(), matrix @ values.ravel(), atol=1e-12)
    assert square == pytest.approx(values.ravel() @ matrix @ values.ravel(), rel=1e-12)


def test_conjugate_gradients_solve_the_system_and_their_preconditioner_is_near_its_diagonal(rng):
    cells, prior = table(rng)
    matrix, right, solution = dense(cells, prior), rng.standard_normal((SIZE, SIZE)), np.empty((SIZE, SIZE))
    diagonal = np.zeros_like(prior)
    _kernels.add_diagonal(cells, prior, diagonal)
    ratio = diagonal.ravel() / matrix.diagonal()
    assert ratio.min() > 0.6 and ratio.max() < 1.6
    steps, left = _kernels.conjugate_gradients(cells, prior, 1.0 / diagonal, right, 500, 1e-26, solution)
    np.testing.assert_allclose(matrix @ solution.ravel(), right.ravel(), atol=1e-10)
    assert 0 < steps < 500 and left <= 1e-26
    few, _ = _kernels.conjugate_gradients(cells, prior, 1.0 / diagonal, right, 3, 0.0, solution)
    assert few == 3
    nothing, _ = _kernels.conjugate_gradients(cells, prior, 1.0 / diagonal, np.zeros_like(right), 9, 0.0, solution)
    assert nothing == 0 and not solution.any()


def test_slopes_and_their_adjoint(rng):
    cells, _ = table(rng)
    frames = np.ascontiguousarray(cells[:, :3].transpose(1, 0, 2))
    heights, (first, second) = rng.standard_normal((SIZE, SIZE)), np.zeros((2, SIZE, SIZE))
    _kernels.slopes(heights, frames, first, second)
    matrix = slope_matrix(cells)
    np.testing.assert_allclose([first, second], matrix @ heights.ravel(), atol=1e-13)
    pull, back = rng.standard_normal((2, SIZE, SIZE)), np.zeros((SIZE, SIZE))
    _kernels.add_adjoint(pull[0], pull[1], frames, back)
    np.testing.assert_allclose(back.ravel(), np.einsum("iyxk,iyx->k", matrix, pull), atol=1e-13)


def shaded_cells(rng: np.random.Generator, size: int) -> tuple[Array, Array, Array]:
    """Draw unit normals that face the camera (3, S, S), tangents at right angles (2, 3, S, S), and light (9, 3)."""
    normals = rng.standard_normal((3, size, size)) * 0.4 + np.array([0.0, 0.0, -1.0])[:, None, None]
    normals /= np.linalg.norm(normals, axis=0)
    first = np.cross(normals, rng.standard_normal(3)[:, None, None], axis=0)
    first /= np.linalg.norm(first, axis=0)
    light = 0.3 * rng.standard_normal((9, 3))
    light[0] += 4.0
    return normals, np.stack([first, np.cross(normals, first, axis=0)]), light


def log_shading(normals: Array, axes: Array, light: Array, slopes: Array) -> Array:
    """Return the log of the shading (3, S, S) at slopes (2, S, S)."""
    tilted = normals - slopes[0] * axes[0] - slopes[1] * axes[1]
    tilted /= np.linalg.norm(tilted, axis=0)
    values = np.moveaxis(basis(np.moveaxis(tilted, 0, -1)) @ light, -1, 0)
    return np.log(np.maximum(values, FLOOR[:, None, None]))


def test_the_excess_is_what_shading_does_not_explain(rng):
    normals, axes, light = shaded_cells(rng, SIZE)
    logs, slopes = rng.standard_normal((3, SIZE, SIZE)), 0.3 * rng.standard_normal((2, SIZE, SIZE))
    seen, excess = (rng.random((SIZE, SIZE)) < 0.7).astype(float), np.full((3, SIZE, SIZE), 9.0)
    _kernels.write_excess(logs, seen, slopes[0], slopes[1], normals, axes, light, FLOOR, excess)
    expected = np.full_like(excess, 9.0)
    inner = np.zeros((SIZE, SIZE), bool)
    inner[:-1, :-1] = seen[:-1, :-1] > 0.0
    expected[:, inner] = (logs - log_shading(normals, axes, light, slopes))[:, inner]
    np.testing.assert_allclose(excess, expected, atol=1e-12)


class Shading:
    """One cell's log shading by its two slopes, for the shared check of derivatives."""

    def __init__(self, normals: Array, axes: Array, light: Array) -> None:
        self.normals, self.axes, self.light = normals, axes, light

    def residual(self, state: Array) -> Array:
        return -log_shading(self.normals, self.axes, self.light, state.reshape(2, 1, 1)).ravel()

    def retract(self, state: Array, step: Array) -> Array:
        return state + step


def test_each_cell_s_part_of_the_normal_equations(rng):
    size = 4
    normals, axes, light = shaded_cells(rng, size)
    slopes, target = 0.3 * rng.standard_normal((2, size, size)), rng.standard_normal((3, size, size))
    roots = rng.standard_normal((size, size, 3, 3))
    weights = np.einsum("yxci,yxcj->yxij", roots, roots)
    precision = np.stack([weights[..., i, j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))])
    precision[:, 1, 1] = 0.0  # unseen
    curvature, pull = np.zeros((3, size, size)), np.zeros((2, size, size))
    energy = _kernels.linearise(
        slopes[0], slopes[1], normals, axes, light, FLOOR, target, precision, curvature, pull
    )  # fmt: skip
    total = 0.0
    for y in range(size - 1):
        for x in range(size - 1):
            if (y, x) == (1, 1):
                assert not curvature[:, y, x].any() and not pull[:, y, x].any()
                continue
            here = np.s_[..., y : y + 1, x : x + 1]
            cell, state = Shading(normals[here], axes[here], light), slopes[:, y, x]
            jacobian = finite_differences(cell, state, 2)
            residual, p = target[:, y, x] + cell.residual(state), weights[y, x]
            expected = jacobian.T @ p @ jacobian
            found = curvature[:, y, x]
            np.testing.assert_allclose([found[0], found[1], found[2]], expected[[0, 0, 1], [0, 1, 1]], rtol=1e-6)
            np.testing.assert_allclose(pull[:, y, x], jacobian.T @ p @ residual, rtol=1e-6)
            total += 0.5 * residual @ p @ residual
    assert energy == pytest.approx(total, rel=1e-10)


class WholeEnergy:
    """The stage's energy of heights, in double precision: its residual is the energy, its Jacobian the gradient."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.cells, self.prior = table(rng)
        self.cells[:, 3:6] = 0.0
        self.frames = np.ascontiguousarray(self.cells[:, :3].transpose(1, 0, 2))
        self.normals, self.axes, self.light = shaded_cells(rng, SIZE)
        self.target = rng.standard_normal((3, SIZE, SIZE))
        self.precision = np.zeros((6, SIZE, SIZE))
        self.precision[[0, 3, 5]] = rng.random((3, SIZE, SIZE))

    def _parts(self, state: Array) -> tuple[float, Array]:
        heights, (first, second) = state.reshape(SIZE, SIZE), np.zeros((2, SIZE, SIZE))
        _kernels.slopes(heights, self.frames, first, second)
        curvature, pull = np.zeros((3, SIZE, SIZE)), np.zeros((2, SIZE, SIZE))
        data = _kernels.linearise(
            first, second, self.normals, self.axes, self.light, FLOOR, self.target, self.precision, curvature, pull
        )  # fmt: skip
        gradient, square = applied(self.cells, self.prior, heights)
        _kernels.add_adjoint(pull[0], pull[1], self.frames, gradient)
        return data + 0.5 * square, gradient

    def residual(self, state: Array) -> Array:
        return np.array([self._parts(state)[0]])

    def jacobian(self, state: Array) -> Array:
        return self._parts(state)[1].reshape(1, -1)

    def retract(self, state: Array, step: Array) -> Array:
        return state + step


def test_the_gradient_of_the_whole_energy(rng):
    assert_jacobian(WholeEnergy(rng), 0.1 * rng.standard_normal(SIZE * SIZE), tolerance=1e-6)


def test_shading_below_the_floor_pulls_nowhere(rng):
    normals, axes, light = shaded_cells(rng, 3)
    curvature, pull = np.zeros((3, 3, 3)), np.zeros((2, 3, 3))
    precision = np.zeros((6, 3, 3))
    precision[[0, 3, 5]] = 1.0
    dark = _kernels.linearise(
        np.zeros((3, 3)), np.zeros((3, 3)), normals, axes, light, np.full(3, 1e3), np.zeros((3, 3, 3)), precision,
        curvature, pull,
    )  # fmt: skip
    assert not curvature.any() and not pull.any()
    assert dark == pytest.approx(4 * 3 * 0.5 * np.log(1e3) ** 2)


def test_precision_is_the_inverse_of_the_noise_s_covariance(rng):
    spots = np.cov(rng.standard_normal((3, 9)))
    colours, area = rng.uniform(0.05, 0.6, (3, SIZE, SIZE)), rng.uniform(0.5, 2.0, (SIZE, SIZE))
    shares, seen = rng.uniform(0.5, 9.0, (SIZE, SIZE)), (rng.random((SIZE, SIZE)) < 0.8).astype(float)
    weights = np.zeros((6, SIZE, SIZE))
    _kernels.precision(colours, area, shares, seen, spots, 0.01, TELLING, weights)
    for y in range(SIZE - 1):
        for x in range(SIZE - 1):
            if not seen[y, x]:
                assert not weights[:, y, x].any()
                continue
            rho = colours[:, y, x]
            display = 1.055 * rho ** (1 / 2.4) - 0.055
            slope = 2.4 / (display + 0.055)  # of the log of linear light by the displayed value
            noise = area[y, x] / shares[y, x] * (0.01 * slope) ** 2 + _kernels.LEAST_VARIANCE
            expected = area[y, x] * np.linalg.inv(spots + np.diag(noise))
            np.testing.assert_allclose(weights[:, y, x], expected[[0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]], rtol=1e-6)


@pytest.mark.parametrize("value", [0.999, 1e-3])
def test_a_channel_that_is_saturated_or_black_tells_nothing(value):
    colours, ones = np.full((3, 2, 2), 0.4), np.ones((2, 2))
    colours[0] = value
    weights = np.zeros((6, 2, 2))
    _kernels.precision(colours, ones, ones, ones, 1e-3 * np.eye(3), 0.01, TELLING, weights)
    assert weights[0, 0, 0] < 1e-3 * weights[3, 0, 0]
