"""The normal distribution of poses and shapes that a frame of a video hands to the next."""

import numpy as np
import pytest
from jacobians import assert_jacobian
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from facefit.fitting._kernels import rotated
from facefit.fitting.state_prior import PoseAndShape, StatePrior, inverse_left_jacobian, rotation_vector

Array = NDArray[np.float64]

SIZE = 4  # coefficients


def random_state(rng: np.random.Generator, angle: float = 1.0) -> PoseAndShape:
    axis = rng.standard_normal(3)
    rotation = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
    return PoseAndShape(rotation, 100.0 * rng.standard_normal(2), 1.0 + rng.random(), rng.standard_normal(SIZE))


def moved(state: PoseAndShape, step: Array) -> PoseAndShape:
    return PoseAndShape(
        rotated(state.rotation, step[:3]),
        state.translation + step[3:5],
        state.scale * float(np.exp(step[5])),
        state.coefficients + step[6:],
    )


class Difference:
    """The step from the mean, for the shared check of derivatives."""

    def __init__(self, prior: StatePrior) -> None:
        self.prior = prior

    def residual(self, state: PoseAndShape) -> Array:
        return self.prior.difference(state)

    def jacobian(self, state: PoseAndShape) -> Array:
        matrix = np.eye(6 + SIZE)
        matrix[:3, :3] = inverse_left_jacobian(self.prior.difference(state)[:3])
        return matrix

    def retract(self, state: PoseAndShape, step: Array) -> PoseAndShape:
        return moved(state, step)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 1e-3, 0.3, 2.0, 3.1, np.pi])
def test_a_rotation_s_logarithm(rng, angle):
    axis = rng.standard_normal(3)
    axis /= np.linalg.norm(axis)
    rotation = Rotation.from_rotvec(angle * axis).as_matrix()
    found = rotation_vector(rotation)
    np.testing.assert_allclose(Rotation.from_rotvec(found).as_matrix(), rotation, atol=1e-8)
    assert np.linalg.norm(found) == pytest.approx(angle, abs=1e-8)


@pytest.mark.parametrize("angle", [0.0, 1e-4, 2e-3, 0.1, 1.5, 2.8])
def test_derivatives(rng, angle):
    mean = random_state(rng)
    axis = rng.standard_normal(3)
    turn = angle * axis / np.linalg.norm(axis)
    state = moved(mean, np.concatenate([turn, rng.standard_normal(3 + SIZE)]))
    prior = StatePrior(mean, np.eye(6 + SIZE))
    assert_jacobian(Difference(prior), state, tolerance=1e-6)


def test_its_equations_are_those_of_the_energy(rng):
    mean, state = random_state(rng), random_state(rng, 0.7)
    root = rng.standard_normal((6 + SIZE, 6 + SIZE))
    prior = StatePrior(mean, root @ root.T)
    energy, gradient, matrix = prior.equations(state)
    d = prior.difference(state)
    assert energy == pytest.approx(prior.energy(state)) == pytest.approx(0.5 * d @ prior.information @ d)
    jacobian = Difference(prior).jacobian(state)
    np.testing.assert_allclose(matrix, jacobian.T @ prior.information @ jacobian, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(gradient, jacobian.T @ prior.information @ d, rtol=1e-12, atol=1e-9)


def test_at_its_mean_it_pulls_nowhere(rng):
    mean = random_state(rng)
    energy, gradient, _ = StatePrior(mean, np.eye(6 + SIZE)).equations(mean)
    assert energy == pytest.approx(0.0, abs=1e-20)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-12)
