"""The step of a whole clip: the minimum of the energy that it states, within the bounds."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from facefit.fitting.clip_problem import ClipProblem, Evidence
from facefit.fitting.gauss_newton import NormalEquations
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
    evidence = [Evidence.of_equations(one, IDENTITY) for one in equations]
    limit = np.full(EXPRESSION, bound)
    return ClipProblem(states, evidence, weights, rng.standard_normal(IDENTITY), 0.7, -limit, limit), equations


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
        second = (places + y)[t + 1] - 2.0 * (places + y)[t] + (places + y)[t - 1]
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
    first = replace(clip, states=clip.states[:3], evidence=clip.evidence[:3], weights=clip.weights[:3])
    np.testing.assert_allclose(clip.steps()[0][:3], first.steps()[0], atol=1e-8)


def test_expressions_stay_within_their_bounds_and_the_rest_is_solved_for_again(rng):
    clip, equations = problem(rng, 5, bound=0.3)
    y, z = clip.steps()
    ends = np.array([state.coefficients for state in clip.states]) + y[:, 6:]
    assert (np.abs(ends) <= 0.3 + 1e-9).all() and (np.abs(np.abs(ends) - 0.3) < 1e-6).any()
    cut, z_cut = replace(clip, lower=np.full(EXPRESSION, -np.inf), upper=np.full(EXPRESSION, np.inf)).steps()
    expression = np.array([state.coefficients for state in clip.states])
    cut[:, 6:] = np.clip(expression + cut[:, 6:], -0.3, 0.3) - expression
    assert energy(clip, equations, y, z) < energy(clip, equations, cut, z_cut)


def test_a_strong_prior_holds_the_identity_at_the_mean(rng):
    clip, _ = problem(rng, 4)
    _, z = replace(clip, identity_prior=1e9).steps()
    np.testing.assert_allclose(clip.identity + z, 0.0, atol=1e-6)
