"""The damped Gauss-Newton loop: optima as SciPy finds them, every status, monotony and independence of units."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jacobians import assert_jacobian
from scipy.optimize import least_squares

from facefit.fitting.gauss_newton import GaussNewtonOptions, NormalEquations, minimise
from facefit.fitting.status import FitStatus

seeds = st.integers(0, 2**32 - 1)
PATIENT = GaussNewtonOptions(max_iterations=500, tolerance=1e-14)


@dataclass(frozen=True, eq=False)
class VectorProblem:
    """Nonlinear least squares over a vector within bounds."""

    function: Callable[[np.ndarray], np.ndarray]
    derivative: Callable[[np.ndarray], np.ndarray]
    lower: np.ndarray
    upper: np.ndarray
    visited: list[float] = field(default_factory=list)  # the energy wherever the loop linearised

    def residual(self, x):
        return self.function(x)

    def jacobian(self, x):
        return self.derivative(x)

    def energy(self, x):
        return 0.5 * float(self.function(x) @ self.function(x))

    def normal_equations(self, x):
        r, j = self.function(x), self.derivative(x)
        self.visited.append(self.energy(x))
        return NormalEquations(self.energy(x), j.T @ r, j.T @ j)

    def step_bounds(self, x):
        return self.lower - x, self.upper - x

    def retract(self, x, step):
        return np.clip(x + step, self.lower, self.upper)


def free_problem(function, derivative, size):
    return VectorProblem(function, derivative, np.full(size, -np.inf), np.full(size, np.inf))


def rosenbrock(lower=(-np.inf, -np.inf), upper=(np.inf, np.inf)):
    return VectorProblem(
        lambda x: np.array([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]]),
        lambda x: np.array([[-20.0 * x[0], 10.0], [-1.0, 0.0]]),
        np.array(lower),
        np.array(upper),
    )


def decay(rng):
    """Fit a exp(-b t) + c to noisy samples: a >= 0, 0.2 <= b <= 1.5, c free."""
    t = np.linspace(0.0, 4.0, 25)
    y = 2.5 * np.exp(-rng.uniform(0.1, 2.0) * t) + 0.5 + 0.05 * rng.standard_normal(len(t))
    return VectorProblem(
        lambda x: x[0] * np.exp(-x[1] * t) + x[2] - y,
        lambda x: np.stack([np.exp(-x[1] * t), -x[0] * t * np.exp(-x[1] * t), np.ones_like(t)], axis=1),
        np.array([0.0, 0.2, -np.inf]),
        np.array([np.inf, 1.5, np.inf]),
    )


def linear(rng, rows, columns, rank=None):
    design = rng.standard_normal((rows, rank or columns))
    if rank:
        design = design @ rng.standard_normal((rank, columns))
    target = rng.standard_normal(rows)
    return free_problem(lambda x: design @ x - target, lambda x: design, columns), design, target


def scipy_optimum(problem, start):
    with np.errstate(all="ignore"):
        return least_squares(
            problem.function, start, problem.derivative, (problem.lower, problem.upper),
            method="trf", xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=5000,
        )  # fmt: skip


# --- Optima ------------------------------------------------------------------------------------------------------


@given(seeds)
def test_problems_of_this_file_have_right_jacobians(seed):
    rng = np.random.default_rng(seed)
    x = np.array([rng.uniform(0.5, 3.0), rng.uniform(0.5, 1.0), rng.normal()])
    assert_jacobian(decay(rng), x, names=("a", "b", "c"))
    assert_jacobian(rosenbrock(), x[:2])


@pytest.mark.parametrize(
    "bounds",
    [
        ((-np.inf, -np.inf), (np.inf, np.inf)),
        ((-2.0, 1.5), (0.8, 4.0)),
        ((-2.0, -2.0), (0.5, 2.0)),
        ((1.2, -np.inf), (np.inf, np.inf)),
        ((-2.0, -1.0), (2.0, 0.5)),
    ],
)
def test_rosenbrock_within_bounds_ends_where_scipy_ends(bounds):
    problem = rosenbrock(*bounds)
    start = np.clip([-1.2, 1.0], np.array(bounds[0]) + 0.01, np.array(bounds[1]) - 0.01)
    found = minimise(problem, start, PATIENT)
    expected = scipy_optimum(problem, start)
    assert found.status is FitStatus.CONVERGED
    np.testing.assert_allclose(found.state, expected.x, atol=1e-6)
    assert found.energy <= expected.cost + 1e-12


@given(seeds)
def test_curve_fit_within_bounds_ends_where_scipy_ends(seed):
    problem = decay(np.random.default_rng(seed))
    start = np.array([1.0, 0.5, 0.0])
    found = minimise(problem, start, PATIENT)
    expected = scipy_optimum(problem, start)
    assert found.status is FitStatus.CONVERGED
    assert found.energy <= expected.cost * (1.0 + 1e-7)
    np.testing.assert_allclose(found.state, expected.x, atol=1e-3)  # SciPy's stays strictly inside the bounds


@given(seeds, st.integers(1, 12))
def test_linear_problem_takes_one_solve(seed, columns):
    problem, design, target = linear(np.random.default_rng(seed), columns + 5, columns)
    found = minimise(problem, np.zeros(columns), GaussNewtonOptions(tolerance=1e-9, initial_damping=1e-12))
    assert (found.status, found.iterations) == (FitStatus.CONVERGED, 1)
    np.testing.assert_allclose(found.state, np.linalg.lstsq(design, target)[0], atol=1e-7)


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_dependent_columns_do_not_stop_it(rng, rank):
    problem, design, target = linear(rng, 20, 8, rank)
    found = minimise(problem, np.zeros(8), PATIENT)
    assert found.status is FitStatus.CONVERGED
    best = np.linalg.lstsq(design, target, rcond=1e-10)[0]
    assert found.energy == pytest.approx(problem.energy(best), rel=1e-10)
    assert np.isfinite(found.state).all()


def test_a_variable_that_nothing_depends_on_stays(rng):
    _, design, target = linear(rng, 20, 4)
    wider = free_problem(lambda x: design @ x[:4] - target, lambda x: np.column_stack([design, np.zeros(20)]), 5)
    found = minimise(wider, np.append(np.zeros(4), 3.0), PATIENT)
    assert found.status is FitStatus.CONVERGED
    assert found.state[4] == 3.0
    np.testing.assert_allclose(found.state[:4], np.linalg.lstsq(design, target)[0], atol=1e-8)


def test_start_at_the_optimum_takes_no_step():
    found = minimise(rosenbrock(), np.array([1.0, 1.0]))
    assert (found.status, found.iterations, found.energy) == (FitStatus.CONVERGED, 0, 0.0)
    np.testing.assert_array_equal(found.state, [1.0, 1.0])


@given(seeds)
def test_convergence_promises_a_fall_below_the_tolerance(seed):
    """Half the squared distance to the optimum, in the metric of J^T J: what the tolerance is a bound of."""
    problem = decay(np.random.default_rng(seed))
    loose = minimise(problem, np.array([1.0, 0.5, 0.0]), GaussNewtonOptions(max_iterations=500, tolerance=1e-4))
    best = minimise(problem, np.array([1.0, 0.5, 0.0]), PATIENT)
    assert loose.status is FitStatus.CONVERGED
    assert loose.energy - best.energy <= 2e-4


# --- Invariants --------------------------------------------------------------------------------------------------


@given(seeds, st.floats(-3.0, 3.0), st.floats(-3.0, 3.0))
def test_energy_never_rises(seed, x, y):
    problem = rosenbrock((-2.0, -np.inf), (0.9, np.inf)) if seed % 2 else rosenbrock()
    start = np.clip([x, y], problem.lower, problem.upper)
    found = minimise(problem, start, PATIENT)
    energies = [*problem.visited, found.energy]
    assert energies[0] == found.initial_energy
    assert all(after <= before for before, after in pairwise(energies))
    assert found.energy == problem.energy(found.state)
    assert ((problem.lower <= found.state) & (found.state <= problem.upper)).all()


@pytest.mark.parametrize("iterations", [1, 2, 5, 10, 40])
def test_units_of_the_variables_do_not_matter(iterations):
    unit = np.array([1e6, 1e-6])
    plain = rosenbrock((-2.0, -np.inf), (0.9, np.inf))
    scaled = VectorProblem(
        lambda x: plain.function(x / unit), lambda x: plain.derivative(x / unit) / unit,
        plain.lower * unit, plain.upper * unit,
    )  # fmt: skip
    options = GaussNewtonOptions(max_iterations=iterations, tolerance=1e-12)
    one = minimise(plain, np.array([-1.2, 1.0]), options)
    other = minimise(scaled, np.array([-1.2, 1.0]) * unit, options)
    assert (other.status, other.iterations) == (one.status, one.iterations)
    np.testing.assert_allclose(other.state / unit, one.state, rtol=1e-9)
    assert other.energy == pytest.approx(one.energy, rel=1e-9)


def test_the_same_call_gives_the_same_bits(rng):
    problem = decay(rng)
    one, other = (minimise(problem, np.array([1.0, 0.5, 0.0])) for _ in range(2))
    np.testing.assert_array_equal(one.state, other.state)
    assert (one.energy, one.iterations) == (other.energy, other.iterations)


# --- How it ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 1, 10])
def test_limit_of_iterations(limit):
    start = np.array([-1.2, 1.0])
    found = minimise(rosenbrock(), start, GaussNewtonOptions(max_iterations=limit))
    assert (found.status, found.iterations) == (FitStatus.MAX_ITERATIONS, limit)
    assert found.status.usable
    assert found.energy < found.initial_energy or limit < 10


@dataclass(frozen=True, eq=False)
class Liar(VectorProblem):
    """Normal equations that point uphill."""

    def normal_equations(self, x):
        honest = super().normal_equations(x)
        return replace(honest, gradient=-honest.gradient)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 1e6])
def test_equations_that_lie_end_stalled(size):
    honest = rosenbrock()
    liar = Liar(lambda x: size * honest.function(x), lambda x: size * honest.derivative(x), honest.lower, honest.upper)
    start = np.array([-1.2, 1.0])
    found = minimise(liar, start, GaussNewtonOptions(max_iterations=1000))
    assert found.status is FitStatus.STALLED
    assert not found.status.usable
    np.testing.assert_array_equal(found.state, start)
    assert found.energy == found.initial_energy == liar.energy(start)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_energy_that_is_not_finite_at_the_start_is_divergence(value):
    problem = free_problem(lambda x: np.array([value, 1.0]), lambda x: np.ones((2, 1)), 1)
    found = minimise(problem, np.zeros(1))
    assert (found.status, found.iterations) == (FitStatus.DIVERGED, 0)
    np.testing.assert_array_equal(found.state, [0.0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("from_x", [-np.inf, 2.0], ids=["at the start", "on the way"])
def test_derivatives_that_are_not_finite_are_divergence(value, from_x):
    """Energy 1/2 (x - 5)^2 with steps held below 2.5: the derivative breaks at once, or once x has passed 2."""
    problem = VectorProblem(
        lambda x: x - 5.0,
        lambda x: np.array([[value if x[0] > from_x else 1.0]]),
        np.array([-np.inf]),
        np.array([2.5]),
    )
    found = minimise(problem, np.zeros(1))
    assert found.status is FitStatus.DIVERGED
    assert found.state[0] in (0.0, 2.5)
    assert found.energy == problem.energy(found.state)


def test_a_wall_of_infinite_energy_is_backed_off_from():
    """r = (x - 1, log x): full steps from x = 3 leave the domain, where the energy is NaN."""
    problem = free_problem(
        lambda x: np.array([0.1 * (x[0] - 1.0), np.log(x[0]) if x[0] > 0.0 else np.nan]),
        lambda x: np.array([[0.1], [1.0 / x[0]]]),
        1,
    )
    found = minimise(problem, np.array([10.0]), PATIENT)
    assert found.status is FitStatus.CONVERGED
    np.testing.assert_allclose(found.state, [1.0], atol=1e-6)


def test_deadline_in_the_past_is_a_timeout():
    start = np.array([-1.2, 1.0])
    found = minimise(rosenbrock(), start, deadline=time.perf_counter() - 1.0)
    assert (found.status, found.iterations) == (FitStatus.TIMEOUT, 0)
    np.testing.assert_array_equal(found.state, start)
    at_optimum = minimise(rosenbrock(), np.ones(2), deadline=-math.inf)
    assert at_optimum.status is FitStatus.CONVERGED


def test_deadline_on_the_way_keeps_the_last_accepted_state():
    plain = rosenbrock()

    def slow(x):
        time.sleep(0.01)
        return plain.derivative(x)

    problem = VectorProblem(plain.function, slow, plain.lower, plain.upper)
    found = minimise(problem, np.array([-1.2, 1.0]), PATIENT, deadline=time.perf_counter() + 0.035)
    assert found.status is FitStatus.TIMEOUT
    assert found.iterations >= 1
    assert found.energy == plain.energy(found.state) < found.initial_energy


@pytest.mark.parametrize("status", FitStatus)
def test_every_status_is_a_sentence_and_says_whether_the_fit_is_usable(status):
    assert len(status.value.split()) >= 3
    assert status.usable == (status.name in ("CONVERGED", "MAX_ITERATIONS"))


def test_statuses_are_the_closed_set_of_the_contract():
    names = "CONVERGED MAX_ITERATIONS STALLED DIVERGED DEGENERATE NO_FACE BAD_INPUT TIMEOUT"
    assert [status.name for status in FitStatus] == names.split()
