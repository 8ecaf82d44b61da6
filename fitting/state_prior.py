"""What is known of a face's pose and shape before its points are looked at: a normal distribution about a state.

    E(x) = 1/2 d' information d,        d = (log(R R_0'), t - t_0, log(s / s_0), c - c_0)

with the logarithm of a rotation as an angle times an axis. Under a step of the solver, R <- exp([omega]) R, the first
part of d changes by the inverse of the left Jacobian of SO(3),

    log(exp([omega]) exp([w])) = w + J(w)^-1 omega + O(omega^2)
    J(w)^-1 = 1 - [w] / 2 + (1 / |w|^2 - (1 + cos |w|) / (2 |w| sin |w|)) [w]^2

and the others by the step itself. J. Sola, J. Deray, D. Atchuthan, A micro Lie theory for state estimation in
robotics, 2018, eq. 146 (also T. Barfoot, State Estimation for Robotics, 2017, eq. 7.77b).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..render.cameras import ScaledOrthographic
from ._kernels import rotated

Array = NDArray[np.float64]


class PoseAndShape(NamedTuple):
    """A state of the solver: scaled orthographic pose and stacked coefficients."""

    rotation: Array  # (3, 3) model to camera
    translation: Array  # (2,) px
    scale: float  # px/mm
    coefficients: Array  # (P,) identity, then expression

    @property
    def camera(self) -> ScaledOrthographic:
        """The camera of the pose."""
        return ScaledOrthographic(self.rotation, self.translation, self.scale)

    def stepped(self, step: Array) -> "PoseAndShape":
        """Return the state at `step` (6 + P,) from this one."""
        return PoseAndShape(
            rotated(self.rotation, step[:3]),
            self.translation + step[3:5],
            self.scale * float(np.exp(step[5])),
            self.coefficients + step[6:],
        )

    def step_to(self, other: "PoseAndShape") -> Array:
        """Return the step (6 + P,) that leads to another state: the inverse of `stepped`."""
        return np.concatenate([
            rotation_vector(other.rotation @ self.rotation.T),
            other.translation - self.translation,
            [np.log(other.scale / self.scale)],
            other.coefficients - self.coefficients,
        ])  # fmt: skip


@dataclass(frozen=True, eq=False)
class StatePrior:
    """A normal distribution of states."""

    mean: PoseAndShape
    information: Array  # (6 + P, 6 + P) inverse covariance, in a step's units

    def difference(self, state: PoseAndShape) -> Array:
        """Return d (6 + P,): the step that leads from the mean to `state`."""
        return self.mean.step_to(state)

    def energy(self, state: PoseAndShape) -> float:
        """Return E in nats."""
        d = self.difference(state)
        return float(0.5 * d @ self.information @ d)

    def equations(self, state: PoseAndShape) -> tuple[float, Array, Array]:
        """Return energy, gradient (6 + P,) and Gauss-Newton matrix at `state`."""
        d = self.difference(state)
        turn = inverse_left_jacobian(d[:3])
        pull = self.information @ d
        matrix = self.information.copy()
        matrix[:3] = turn.T @ matrix[:3]
        matrix[:, :3] = matrix[:, :3] @ turn
        return float(0.5 * d @ pull), np.concatenate([turn.T @ pull[:3], pull[3:]]), matrix


def rotation_vector(rotation: Array) -> Array:
    """Return the axis of a rotation (3, 3) times its angle in radians, 0 to pi."""
    sine = 0.5 * np.array([
        rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1],
    ])  # fmt: skip
    size, cosine = float(np.linalg.norm(sine)), 0.5 * (float(np.trace(rotation)) - 1.0)
    angle = float(np.arctan2(size, cosine))
    if size > 1e-8:
        return sine * (angle / size)
    if cosine > 0.0:
        return sine
    # Half a turn: the axis is the largest column of (R + 1) / 2 = a a'.
    square = 0.5 * (rotation + np.eye(3))
    axis = square[:, int(square.diagonal().argmax())]
    return np.asarray(np.pi * axis / np.linalg.norm(axis))


def inverse_left_jacobian(vector: Array) -> Array:
    """Return J(w)^-1 (3, 3) of the module's text."""
    x, y, z = vector
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = float(np.linalg.norm(vector))
    if angle < 1e-3:
        second = 1.0 / 12.0 + angle**2 / 720.0
    else:
        second = 1.0 / angle**2 - (1.0 + np.cos(angle)) / (2.0 * angle * np.sin(angle))
    return np.eye(3) - 0.5 * cross + second * cross @ cross
