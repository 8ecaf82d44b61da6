"""Bounded quadratics: the KKT conditions, agreement with SciPy's solvers, warm starts, and degenerate bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear, nnls

from facefit.fitting._kernels import AT_LOWER, AT_UPPER, FREE, reduced_system
from facefit.fitting.ridge import minimise_bounded_quadratic

seeds = st.integers(0, 2**32 - 1)


def random_problem(rng, n, condition=1e3):
    """Return matrix, vector, and bounds of all kinds: two-sided, one-sided, none, and equal."""
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    matrix = q @ np.diag(np.geomspace(1.0, condition, n)) @ q.T
    lower, width = rng.normal(0.0, 1.0, n), rng.choice([0.0, 0.5, 2.0], n)
    kind = rng.integers(0, 4, n)
    upper = np.where(kind & 1, np.inf, lower + width)
    lower = np.where(kind & 2, -np.inf, lower)
    return 0.5 * (matrix + matrix.T), matrix @ rng.normal(0.0, 2.0, n), lower, upper


def assert_optimal(matrix, vector, lower, upper, c, held, tolerance=1e-9):
    """The KKT conditions: feasible; zero gradient where free; pointing outwards where held, and held exactly."""
    assert ((lower <= c) & (c <= upper)).all()
    gradient = matrix @ c - vector
    scale = tolerance * (np.abs(matrix) @ np.abs(c) + np.abs(vector) + 1.0)
    assert (np.abs(gradient) <= scale)[held == FREE].all()
    assert (gradient >= -scale)[held == AT_LOWER].all()
    assert (gradient <= scale)[held == AT_UPPER].all()
    np.testing.assert_array_equal(c[held == AT_LOWER], lower[held == AT_LOWER])
    np.testing.assert_array_equal(c[held == AT_UPPER], upper[held == AT_UPPER])


@given(seeds, st.integers(1, 40), st.floats(0.0, 8.0))
def test_solution_satisfies_the_kkt_conditions(seed, n, log_condition):
    problem = random_problem(np.random.default_rng(seed), n, 10.0**log_condition)
    assert_optimal(*problem, *minimise_bounded_quadratic(*problem))


@pytest.mark.kernels
@given(seeds, st.integers(1, 12))
def test_reduced_system_agrees_with_numpy(seed, n):
    rng = np.random.default_rng(seed)
    matrix, vector, lower, upper = random_problem(rng, n)
    side = rng.integers(-1, 2, n).astype(np.int8)
    side[(side == AT_LOWER) & np.isinf(lower) | (side == AT_UPPER) & np.isinf(upper)] = FREE
    free, reduced, right = reduced_system(matrix, vector, lower, upper, side)
    np.testing.assert_array_equal(free, np.flatnonzero(side == FREE))
    np.testing.assert_array_equal(np.triu(reduced), np.triu(matrix[np.ix_(free, free)]))
    held = np.where(side == AT_LOWER, lower, upper)[side != FREE]
    np.testing.assert_allclose(right, vector[free] - matrix[np.ix_(free, side != FREE)] @ held, atol=1e-9)


def test_entries_that_nothing_moves_are_held_from_the_start():
    """Without a gradient the optimum is c = 0: at the bound, where the system to be solved is the smaller for it."""
    c, held = minimise_bounded_quadratic(np.eye(3), np.array([0.0, 0.0, 0.0]), *np.array([[0, -1, -1], [1, 0, 1]]))
    np.testing.assert_array_equal(c, 0.0)
    np.testing.assert_array_equal(held, [AT_LOWER, AT_UPPER, FREE])


@given(seeds, st.integers(1, 25))
def test_bounded_least_squares_agrees_with_scipy(seed, n):
    rng = np.random.default_rng(seed)
    design, target = rng.standard_normal((2 * n + 3, n)), 3.0 * rng.standard_normal(2 * n + 3)
    lower, upper = -rng.random(n), rng.random(n)
    found, _ = minimise_bounded_quadratic(design.T @ design, design.T @ target, lower, upper)
    with np.errstate(all="ignore"):
        expected = lsq_linear(design, target, (lower, upper), method="bvls", tol=1e-14)
    np.testing.assert_allclose(found, expected.x, atol=1e-9)


@given(seeds, st.integers(1, 25))
def test_non_negative_least_squares_agrees_with_scipy(seed, n):
    rng = np.random.default_rng(seed)
    design, target = rng.standard_normal((2 * n + 3, n)), 3.0 * rng.standard_normal(2 * n + 3)
    found, _ = minimise_bounded_quadratic(design.T @ design, design.T @ target, np.zeros(n), np.full(n, np.inf))
    np.testing.assert_allclose(found, nnls(design, target)[0], atol=1e-9)


@given(seeds, st.integers(1, 40))
def test_without_bounds_it_is_a_linear_solve(seed, n):
    matrix, vector, _, _ = random_problem(np.random.default_rng(seed), n)
    unbounded = np.full(n, np.inf)
    found, held = minimise_bounded_quadratic(matrix, vector, -unbounded, unbounded)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, vector), atol=1e-10)
    assert (held == FREE).all()


@given(seeds, st.integers(1, 40))
def test_any_guess_of_the_active_bounds_gives_the_same_answer(seed, n):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, n)
    cold, held = minimise_bounded_quadratic(*problem)
    again, held_again = minimise_bounded_quadratic(*problem, held)
    np.testing.assert_array_equal(again, cold)
    np.testing.assert_array_equal(held_again, held)
    lower, upper = problem[2:]
    guess = rng.choice(np.array([AT_LOWER, FREE, AT_UPPER], dtype=np.int8), n)
    guess[(guess == AT_LOWER) & ~np.isfinite(lower)] = FREE
    guess[(guess == AT_UPPER) & ~np.isfinite(upper)] = FREE
    before = guess.copy()
    warm, held_warm = minimise_bounded_quadratic(*problem, guess)
    assert_optimal(*problem, warm, held_warm)
    np.testing.assert_allclose(warm, cold, atol=1e-9)
    np.testing.assert_array_equal(guess, before)  # the caller's guess is not written to


@given(seeds, st.integers(1, 30))
def test_a_step_in_any_feasible_direction_never_lowers_the_quadratic(seed, n):
    rng = np.random.default_rng(seed)
    matrix, vector, lower, upper = random_problem(rng, n)
    c, _ = minimise_bounded_quadratic(matrix, vector, lower, upper)
    for size in (1e-4, 1e-2, 1.0):
        step = np.clip(c + size * rng.standard_normal(n), lower, upper) - c
        rise = step @ (matrix @ c - vector) + 0.5 * step @ matrix @ step
        assert rise >= -1e-9 * (1.0 + np.abs(vector) @ np.abs(step))


def test_equal_bounds_hold_an_entry_and_the_others_follow(rng):
    matrix, vector, _, _ = random_problem(rng, 8)
    lower, upper = np.full(8, -np.inf), np.full(8, np.inf)
    lower[[1, 4]] = upper[[1, 4]] = (0.3, -2.0)
    found, held = minimise_bounded_quadratic(matrix, vector, lower, upper)
    assert_optimal(matrix, vector, lower, upper, found, held)
    rest = np.setdiff1d(np.arange(8), [1, 4])
    reduced = vector[rest] - matrix[np.ix_(rest, [1, 4])] @ lower[[1, 4]]
    np.testing.assert_allclose(found[rest], np.linalg.solve(matrix[np.ix_(rest, rest)], reduced), atol=1e-10)


def test_all_bounds_equal_leave_nothing_to_solve(rng):
    matrix, vector, values, _ = random_problem(rng, 8)
    values = np.where(np.isfinite(values), values, 0.0)
    np.testing.assert_array_equal(minimise_bounded_quadratic(matrix, vector, values, values)[0], values)


@given(seeds, st.integers(2, 40))
def test_bounds_that_are_met_without_pressure_do_no_harm(seed, n):
    """Degenerate optima: entries that stand at a bound with zero gradient, where rounding alone decides the side."""
    rng = np.random.default_rng(seed)
    matrix, _, _, _ = random_problem(rng, n)
    optimum, kind = rng.standard_normal(n), rng.integers(0, 3, n)
    lower = np.where(kind > 0, optimum, -np.inf)
    upper = np.full(n, np.inf)
    pressure = np.where(kind == 2, rng.random(n), 0.0)
    found, _ = minimise_bounded_quadratic(matrix, matrix @ optimum - pressure, lower, upper)
    np.testing.assert_allclose(found, optimum, atol=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_entries_with_most_bounds_active(seed):
    """Strongly coupled blendshapes whose unbounded solution lies far outside the unit box."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((130, 3)) @ rng.standard_normal((3, 100))
    design = shared + 0.1 * rng.standard_normal((130, 100))
    matrix, vector = design.T @ design + 1e-4 * np.eye(100), design.T @ (50.0 * rng.standard_normal(130))
    problem = (matrix, vector, np.zeros(100), np.ones(100))
    found, held = minimise_bounded_quadratic(*problem)
    assert_optimal(*problem, found, held)
    assert np.count_nonzero(held) > 30


def test_ten_decades_of_units_do_not_matter(rng):
    matrix, vector, lower, upper = random_problem(rng, 20)
    unit = np.geomspace(1e-5, 1e5, 20)
    expected, _ = minimise_bounded_quadratic(matrix, vector, lower, upper)
    scaled = (matrix / np.outer(unit, unit), vector / unit, lower * unit, upper * unit)
    np.testing.assert_allclose(minimise_bounded_quadratic(*scaled)[0] / unit, expected, atol=1e-9)


@pytest.mark.parametrize("smallest", [0.0, -1e-3])
def test_a_matrix_that_is_not_positive_definite_is_refused(smallest):
    matrix = np.diag([1.0, 2.0, smallest])
    unbounded = np.full(3, np.inf)
    for lower in (-unbounded, np.array([-np.inf, 5.0, -np.inf])):
        with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
            minimise_bounded_quadratic(matrix, np.ones(3), lower, unbounded)


def test_arguments_are_left_as_they_were(rng):
    problem = random_problem(rng, 12)
    copies = [array.copy() for array in problem]
    minimise_bounded_quadratic(*problem)
    for array, copy in zip(problem, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
