"""One Gauss-Newton step for all frames of a person in a clip: a pose and expression for each, one identity for all.

With steps y_t of frame t's state x_t = (pose, expression), and z of the identity i, a frame's own energy is to second
order  g_t' (y_t, z) + 1/2 (y_t, z)' H_t (y_t, z).  The second differences of the states are normally distributed about
zero, so

    E = sum_t g_t' (y_t, z) + 1/2 (y_t, z)' H_t (y_t, z)
        + 1/2 sum_t |W_t (d_t + y_{t+1} - 2 y_t + y_{t-1})|^2  +  c / 2 |i + z|^2

d_t being the second difference of the x_t (of rotations: of their steps from frame to frame) and W_t the inverse of the
deviations that a frame's acceleration has. With two frames to a block the matrix is block-tridiagonal, with a border
for z (`block_tridiagonal.py`). Expressions have bounds; a unit that the solution takes beyond one is pinned to it and
the rest solved for again, at most ROUNDS times.

The smoothness is Whittaker-Henderson's with the frames' own information as weights (P. Eilers, A perfect smoother,
Analytical Chemistry 2003); the same estimate by recursion: H. Rauch, F. Tung, C. Striebel, Maximum likelihood estimates
of linear dynamic systems, 1965.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .block_tridiagonal import solve_bordered
from .gauss_newton import NormalEquations
from .landmark_problem import POSE
from .state_prior import PoseAndShape, StatePrior

Array = NDArray[np.float64]

ROUNDS = 5
"""Solves, each with the units pinned that the last one took beyond their bounds."""

CERTAIN = 1e8
"""Information about a unit that is pinned."""

TINY = 1e-3
"""How far beyond its bound a unit is let be: the last step is cut to the bounds in any case."""

SECOND = (1.0, -2.0, 1.0)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a frame alone says of a step from where its face is: its part of the module's text."""

    gradient: Array  # (6 + E,) of y
    information: Array  # (6 + E, 6 + E)
    cross: Array  # (6 + E, K) of y and z
    identity_gradient: Array  # (K,) of z
    identity_information: Array  # (K, K)

    @classmethod
    def of_equations(cls, equations: NormalEquations, split: int) -> "Evidence":
        """Return that of a frame's equations in pose, identity (the first `split` coefficients) and expression."""
        own = np.ones(len(equations.gradient), dtype=bool)
        own[POSE : POSE + split] = False
        gradient, matrix = equations.gradient, equations.matrix
        return cls(
            gradient[own], matrix[np.ix_(own, own)], matrix[np.ix_(own, ~own)],
            gradient[~own], matrix[np.ix_(~own, ~own)],
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class ClipProblem:
    """The energy of the module's text, of F frames."""

    states: Sequence[PoseAndShape]  # F, expression alone
    evidence: Sequence[Evidence]  # F
    weights: Array  # (F, 6 + E) squares of W; zero in the first and last row, and where the chain is broken
    identity: Array  # (K,)
    identity_prior: float  # c
    lower: NDArray[np.floating]  # (E,) bounds of the expression
    upper: NDArray[np.floating]  # (E,)

    def steps(self) -> tuple[Array, Array]:
        """Return y (F, 6 + E) and z (K,); raises numpy.linalg.LinAlgError where they are not determined."""
        expression = np.array([state.coefficients for state in self.states])
        free = np.full((len(self.states), POSE), np.inf)
        lower, upper = np.hstack([-free, self.lower - expression]), np.hstack([free, self.upper - expression])
        pinned, target = np.zeros(lower.shape, dtype=bool), np.zeros_like(lower)
        for _ in range(ROUNDS):
            y, z = self._solved(pinned, target)
            low, high = y < lower - TINY, y > upper + TINY
            if not (low | high).any():
                break
            target = np.where(low, lower, np.where(high, upper, target))
            pinned |= low | high
        return np.clip(y, lower, upper), z

    def _solved(self, pinned: NDArray[np.bool_], target: Array) -> tuple[Array, Array]:
        """Return the steps with some entries (F, 6 + E) pinned to targets."""
        count, size = pinned.shape
        diagonals, right = self._smoothness()
        diagonals[0] += np.where(pinned, CERTAIN, 0.0)
        right += np.where(pinned, CERTAIN * target, 0.0) - np.array([one.gradient for one in self.evidence])
        blocks = np.array([0.5 * (one.information + one.information.T) for one in self.evidence])
        pairs = [slice(first, min(first + 2, count)) for first in range(0, count, 2)]
        corner = self.identity_prior * np.eye(len(self.identity)) + sum(
            one.identity_information for one in self.evidence
        )
        pull = -self.identity_prior * self.identity - sum(one.identity_gradient for one in self.evidence)
        steps, z = solve_bordered(
            [_within(blocks[pair], diagonals[:, pair]) for pair in pairs],
            [_between(diagonals[:, pair], len(range(count)[after])) for pair, after in pairwise(pairs)],
            [np.concatenate([one.cross for one in self.evidence[pair]]) for pair in pairs],
            corner,
            [right[pair].ravel() for pair in pairs],
            pull,
        )
        return np.concatenate(steps).reshape(count, size), z

    def _smoothness(self) -> tuple[Array, Array]:
        """Return the smoothness' entries (3, F, 6 + E) between a frame and itself, the next and the one after it; and
        the right-hand side (F, 6 + E).
        """
        count, size = self.weights.shape
        diagonals, right = np.zeros((3, count, size)), np.zeros((count, size))
        turns = [_difference(before, after) for before, after in pairwise(self.states)]
        for t in range(1, count - 1):
            weight, second = self.weights[t], turns[t] - turns[t - 1]
            for i in range(3):
                right[t - 1 + i] -= SECOND[i] * weight * second
                for j in range(i, 3):
                    diagonals[j - i, t - 1 + i] += SECOND[i] * SECOND[j] * weight
        return diagonals, right


def _within(blocks: Array, diagonals: Array) -> Array:
    """Return the matrix of one or two frames (1 or 2, n, n) and their smoothness (3, 1 or 2, n)."""
    if len(blocks) == 1:
        return np.asarray(blocks[0] + np.diag(diagonals[0, 0]))
    beside = np.diag(diagonals[1, 0])
    return np.block([[blocks[0] + np.diag(diagonals[0, 0]), beside], [beside, blocks[1] + np.diag(diagonals[0, 1])]])


def _between(diagonals: Array, after: int) -> Array:
    """Return the matrix between two frames, of smoothness (3, 2, n), and the one or two after them."""
    size = diagonals.shape[2]
    matrix = np.zeros((2, size, 2, size))
    entries = np.arange(size)
    matrix[0, entries, 0, entries] = diagonals[2, 0]
    matrix[1, entries, 0, entries] = diagonals[1, 1]
    matrix[1, entries, 1, entries] = diagonals[2, 1]
    return matrix[:, :, :after].reshape(2 * size, after * size)


def _difference(before: PoseAndShape, after: PoseAndShape) -> Array:
    return StatePrior(before, np.zeros((0, 0))).difference(after)
