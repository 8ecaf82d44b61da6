"""The step of a whole clip: the minimum of the energy that it states, within the bounds."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from facefit.fitting.clip_problem import ClipProblem, Evidence, split_equations
from facefit.fitting.gauss_newton import NormalEquations
from facefit.fitting.ridge import minimise_bounded_quadratic
from facefit.fitting.state_prior import PoseAndShape

Array = NDArray[np.float64]

IDENTITY, EXPRESSION = 3, 2
SIZE = 6 + EXPRESSION


def turn(t: int) -> Array:
    """The rotation vector of frame t: ever faster about one axis."""
    return np.array([0.0, 0.05 * t**1.5, 0.0])


def problem(
    rng: np.random.Generator, count: int, *, bound: float = np.inf
) -> tuple[ClipProblem, list[NormalEquations]]:
    """A clip of random frames of a turning head, and their equations in pose, identity and expression."""
    equations, states = [], []
    for t in range(count):
        root = rng.standard_normal((SIZE + IDENTITY, SIZE + IDENTITY))
        matrix = root @ root.T + 0.1 * np.eye(SIZE + IDENTITY)
        equations.append(NormalEquations(0.0, rng.standard_normal(SIZE + IDENTITY), matrix))
        rotation = Rotation.from_rotvec(turn(t)).as_matrix()
        expression = np.clip(rng.standard_normal(EXPRESSION), -bound, bound)
        states.append(PoseAndShape(rotation, rng.standard_normal(2), float(np.exp(0.1 * rng.random())), expression))
    weights = 5.0 * rng.random((count, SIZE))
    weights[[0, -1]] = 0.0
    evidence, own = zip(*(split_equations(one, IDENTITY) for one in equations), strict=True)
    shared = NormalEquations(0.0, sum(one.gradient for one in own), sum(one.matrix for one in own))
    limit = np.full(EXPRESSION, bound)
    seconds = np.cumsum(0.01 + 0.05 * rng.random(count))
    identity = rng.standard_normal(IDENTITY)
    return ClipProblem(states, evidence, seconds, weights, shared, identity, 0.7, -limit, limit), equations


def energy(clip: ClipProblem, equations: list[NormalEquations], y: Array, z: Array) -> float:
    """The energy of the module's text, term by term."""
    total = 0.5 * clip.identity_prior * float(((clip.identity + z) ** 2).sum())
    for one, step in zip(equations, y, strict=True):
        whole = np.concatenate([step[:6], z, step[6:]])
        total += float(one.gradient @ whole + 0.5 * whole @ one.matrix @ whole)
    places = np.array([
        [*turn(t), *state.translation, np.log(state.scale), *state.coefficients] for t, state in enumerate(clip.states)
    ])  # fmt: skip
    for t in range(1, len(y) - 1):
        before, after = np.diff(clip.seconds)[t - 1 : t + 1]
        velocities = (places + y)[t] - (places + y)[t - 1], (places + y)[t + 1] - (places + y)[t]
        second = 0.5 * (before + after) * (velocities[1] / after - velocities[0] / before)
        total += float(0.5 * (clip.weights[t] * second**2).sum())
    return total


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7])
def test_the_steps_are_the_energy_s_minimum(rng, count):
    clip, equations = problem(rng, count)
    y, z = clip.steps()
    assert y.shape == (count, SIZE) and z.shape == (IDENTITY,)
    least, step = energy(clip, equations, y, z), 1e-4
    for _ in range(60):
        dy, dz = step * rng.standard_normal(y.shape), step * rng.standard_normal(z.shape)
        ahead, back = energy(clip, equations, y + dy, z + dz), energy(clip, equations, y - dy, z - dz)
        assert min(ahead, back) >= least - 1e-10
        assert abs(ahead - back) < 1e-3 * (ahead + back - 2.0 * least)  # no slope is left


def test_a_broken_chain_leaves_its_parts_to_themselves_but_for_the_identity(rng):
    clip, _ = problem(rng, 6)
    clip.weights[2:4] = 0.0
    clip = replace(clip, identity_prior=1e12, identity=np.zeros(IDENTITY))
    first = replace(
        clip, states=clip.states[:3], evidence=clip.evidence[:3], seconds=clip.seconds[:3], weights=clip.weights[:3]
    )
    np.testing.assert_allclose(clip.steps()[0][:3], first.steps()[0], atol=1e-8)


@pytest.mark.parametrize("seed", range(12))
def test_expressions_stay_within_their_bounds_and_the_rest_is_as_good_as_it_can_be(seed):
    """Against the exact bounded minimum of the same energy, made dense by its second differences."""
    clip, equations = problem(np.random.default_rng(seed), 5, bound=0.3)
    y, z = clip.steps()
    expression = np.array([state.coefficients for state in clip.states])
    assert (np.abs(expression + y[:, 6:]) <= 0.3 + 1e-9).all()

    size, count = SIZE * 5 + IDENTITY, 5
    unit, zero = np.eye(size), energy(clip, equations, np.zeros((count, SIZE)), np.zeros(IDENTITY))

    def at(x: Array) -> float:
        return energy(clip, equations, x[:-IDENTITY].reshape(count, SIZE), x[-IDENTITY:])

    ahead, back = np.array([at(e) for e in unit]), np.array([at(-e) for e in unit])
    gradient = 0.5 * (ahead - back)
    matrix = np.array(
        [[at(a + b) - ahead[i] - ahead[j] + zero for j, b in enumerate(unit)] for i, a in enumerate(unit)]
    )
    lower, upper = np.full(size, -np.inf), np.full(size, np.inf)
    places = np.arange(SIZE * count).reshape(count, SIZE)[:, 6:]
    lower[places], upper[places] = -0.3 - expression, 0.3 - expression
    exact, _ = minimise_bounded_quadratic(matrix, -gradient, lower, upper, None)
    np.testing.assert_allclose(np.concatenate([y.ravel(), z]), exact, atol=2e-4)


def test_a_frame_that_tells_nothing_lies_between_its_neighbours(rng):
    clip, _ = problem(rng, 5)
    even = np.arange(5.0)
    weights = np.full((5, SIZE), 3.0)
    weights[[0, -1]] = 0.0
    states = [state._replace(rotation=np.eye(3), scale=1.0) for state in clip.states]
    evidence = [replace(one, information=1e6 * np.eye(SIZE), gradient=0.0 * one.gradient) for one in clip.evidence]
    evidence[2] = Evidence.nothing(SIZE, IDENTITY)
    y, _ = replace(clip, states=states, evidence=evidence, seconds=even, weights=weights, identity_prior=1e9).steps()
    place = np.array([[*state.translation, *state.coefficients] for state in states]) + y[:, [3, 4, 6, 7]]
    # The least second differences about the frame and its neighbours: a cubic through the four others.
    cubic = np.array([np.polyval(np.polyfit(even[[0, 1, 3, 4]], column[[0, 1, 3, 4]], 3), 2.0) for column in place.T])
    np.testing.assert_allclose(place[2], cubic, atol=1e-3)


@pytest.mark.parametrize("where", ["gradient", "information", "cross"])
def test_what_is_not_finite_raises_or_shows(rng, where):
    clip, _ = problem(rng, 4)
    getattr(clip.evidence[1], where)[0] = np.nan
    try:
        y, z = clip.steps()
    except np.linalg.LinAlgError:
        return
    assert not (np.isfinite(y).all() and np.isfinite(z).all())


def test_a_strong_prior_holds_the_identity_at_the_mean(rng):
    clip, _ = problem(rng, 4)
    _, z = replace(clip, identity_prior=1e9).steps()
    np.testing.assert_allclose(clip.identity + z, 0.0, atol=1e-6)


def test_even_motion_is_smooth_however_unevenly_frames_come(rng):
    clip, _ = problem(rng, 6)
    speed = rng.standard_normal(SIZE)
    states = [PoseAndShape(np.eye(3), speed[3:5] * t, float(np.exp(speed[5] * t)), speed[6:] * t) for t in clip.seconds]
    still = [replace(one, gradient=0.0 * one.gradient) for one in clip.evidence]
    shared = replace(clip.shared, gradient=np.zeros(IDENTITY))
    y, z = replace(clip, states=states, evidence=still, shared=shared, identity=np.zeros(IDENTITY)).steps()
    np.testing.assert_allclose(y, 0.0, atol=1e-9)
    np.testing.assert_allclose(z, 0.0, atol=1e-9)
