"""One Gauss-Newton step for all frames of a person in a clip: a pose and expression for each, one identity for all.

With steps y_t of frame t's state x_t = (pose, expression), and z of the identity i, a frame's own energy is to second
order  g_t' (y_t, z) + 1/2 (y_t, z)' H_t (y_t, z).  The second differences of the states are normally distributed about
zero, so

    E = sum_t g_t' (y_t, z) + 1/2 (y_t, z)' H_t (y_t, z)
        + 1/2 sum_t |W_t (d_t + a_t y_{t-1} - (a_t + b_t) y_t + b_t y_{t+1})|^2  +  c / 2 |i + z|^2

d_t being the second difference of the x_t,  b_t (x_{t+1} - x_t) - a_t (x_t - x_{t-1})  (of rotations: of their steps
from frame to frame), and W_t the inverse of the deviations that a frame's acceleration has. The time before a frame is
1 / a_t and that after it 1 / b_t of their mean: a_t = b_t = 1 where frames come evenly. With two frames to a block the
matrix is block-tridiagonal, with a border for z (`block_tridiagonal.py`). The differences' change with the steps is
taken to first order, as if a frame turned the head little.

Expressions have bounds: a unit that the solution takes beyond one is pinned to it, a pinned one that would rather go
back is released, and the rest is solved for again until nothing changes, or ROUNDS times (a primal-dual active set; M.
Hintermüller, K. Ito, K. Kunisch, The primal-dual active set strategy as a semismooth Newton method, 2003).

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
from .state_prior import PoseAndShape

Array = NDArray[np.float64]

ROUNDS = 10
"""Solves at most."""

CERTAIN = 1e8
"""Information about a unit that is pinned."""

TINY = 1e-5
"""How far beyond its bound a unit is let be: the last step is cut to the bounds in any case."""

SHORTEST = 1e-3
"""s: less time between two frames counts as this much."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a frame alone says of a step from where its face is: its part of the module's text."""

    gradient: Array  # (6 + E,) of y
    information: Array  # (6 + E, 6 + E)
    cross: Array  # (6 + E, K) of y and z

    @classmethod
    def nothing(cls, size: int, split: int) -> "Evidence":
        """Return that of a frame which tells nothing, of 6 + E = `size` unknowns and K = `split` of the identity.

        It holds its state ever so little, so that it is determined even without neighbours.
        """
        return cls(np.zeros(size), 1e-6 * np.eye(size), np.zeros((size, split)))


def split_equations(equations: NormalEquations, split: int) -> tuple[Evidence, NormalEquations]:
    """Return a frame's equations in pose, identity (the first `split` coefficients) and expression as evidence, and
    the equations of z.
    """
    own = np.ones(len(equations.gradient), dtype=bool)
    own[POSE : POSE + split] = False
    gradient, matrix = equations.gradient, equations.matrix
    evidence = Evidence(gradient[own], matrix[np.ix_(own, own)], matrix[np.ix_(own, ~own)])
    return evidence, NormalEquations(equations.energy, gradient[~own], matrix[np.ix_(~own, ~own)])


@dataclass(frozen=True, eq=False)
class ClipProblem:
    """The energy of the module's text, of F frames."""

    states: Sequence[PoseAndShape]  # F, expression alone
    evidence: Sequence[Evidence]  # F
    seconds: Array  # (F,) increasing
    weights: Array  # (F, 6 + E) squares of W; zero in the first and last row, and where the chain is broken
    shared: NormalEquations  # (K) the sum of all frames' equations of z
    identity: Array  # (K,)
    identity_prior: float  # c
    lower: NDArray[np.floating]  # (E,) bounds of the expression
    upper: NDArray[np.floating]  # (E,)

    def steps(self) -> tuple[Array, Array]:
        """Return y (F, 6 + E) and z (K,); raises numpy.linalg.LinAlgError where they are not determined."""
        expression = np.array([state.coefficients for state in self.states])
        free = np.full((len(self.states), POSE), np.inf)
        lower, upper = np.hstack([-free, self.lower - expression]), np.hstack([free, self.upper - expression])
        diagonals, right = self._smoothness()
        right -= np.array([one.gradient for one in self.evidence])
        side = np.zeros(lower.shape, dtype=np.int8)  # -1 pinned to the lower bound, 1 to the upper
        for _ in range(ROUNDS):
            y, z = self._solved(diagonals, right, side != 0, np.where(side < 0, lower, np.where(side > 0, upper, 0.0)))
            below, above = (side == 0) & (y < lower - TINY), (side == 0) & (y > upper + TINY)
            # A pin gives way to the force on it; what it holds back from going inside is to be released.
            released = (side < 0) & (y > lower) | (side > 0) & (y < upper)
            if not (below | above | released).any():
                break
            side[released], side[below], side[above] = 0, -1, 1
        return np.clip(y, lower, upper), z

    def _solved(self, diagonals: Array, right: Array, pinned: NDArray[np.bool_], target: Array) -> tuple[Array, Array]:
        """Return the steps with some entries (F, 6 + E) pinned to targets; diagonals and right as of `_smoothness`."""
        count, size = pinned.shape
        diagonals = diagonals.copy()
        diagonals[0] += np.where(pinned, CERTAIN, 0.0)
        right = right + np.where(pinned, CERTAIN * target, 0.0)
        pairs = [slice(first, min(first + 2, count)) for first in range(0, count, 2)]
        steps, z = solve_bordered(
            (_within([one.information for one in self.evidence[pair]], diagonals[:, pair]) for pair in pairs),
            (_between(diagonals[:, pair], after.stop - after.start) for pair, after in pairwise(pairs)),
            (np.concatenate([one.cross for one in self.evidence[pair]]) for pair in pairs),
            self.shared.matrix + self.identity_prior * np.eye(len(self.identity)),
            [right[pair].ravel() for pair in pairs],
            -self.shared.gradient - self.identity_prior * self.identity,
        )
        return np.concatenate(steps).reshape(count, size), z

    def _smoothness(self) -> tuple[Array, Array]:
        """Return the smoothness' entries (3, F, 6 + E) between a frame and itself, the next and the one after it; and
        the right-hand side (F, 6 + E).
        """
        count, size = self.weights.shape
        diagonals, right = np.zeros((3, count, size)), np.zeros((count, size))
        pace, second = paces(self.seconds), second_differences(self.states, self.seconds)
        for t in range(1, count - 1):
            factors = (pace[t, 0], -pace[t].sum(), pace[t, 1])
            for i in range(3):
                right[t - 1 + i] -= factors[i] * self.weights[t] * second[t]
                for j in range(i, 3):
                    diagonals[j - i, t - 1 + i] += factors[i] * factors[j] * self.weights[t]
        return diagonals, right


def second_differences(states: Sequence[PoseAndShape], seconds: Array) -> Array:
    """Return d (F, 6 + E) of the module's text, zero in the first and the last row."""
    second, pace = np.zeros((len(states), POSE + len(states[0].coefficients))), paces(seconds)
    steps = [before.step_to(after) for before, after in pairwise(states)]
    for t in range(1, len(states) - 1):
        second[t] = pace[t, 1] * steps[t] - pace[t, 0] * steps[t - 1]
    return second


def paces(seconds: Array) -> Array:
    """Return a and b (F, 2) of the module's text; zero in the first and the last row."""
    pace, passed = np.zeros((len(seconds), 2)), np.maximum(np.diff(seconds), SHORTEST)
    for t in range(1, len(seconds) - 1):
        around = passed[t - 1 : t + 1]
        pace[t] = around.mean() / around
    return pace


def _within(information: Sequence[Array], diagonals: Array) -> Array:
    """Return the matrix of one or two frames, of information (n, n) each and smoothness (3, 1 or 2, n)."""
    blocks = [0.5 * (one + one.T) + np.diag(more) for one, more in zip(information, diagonals[0], strict=True)]
    if len(blocks) == 1:
        return blocks[0]
    beside = np.diag(diagonals[1, 0])
    return np.block([[blocks[0], beside], [beside, blocks[1]]])


def _between(diagonals: Array, after: int) -> Array:
    """Return the matrix between two frames, of smoothness (3, 2, n), and the one or two after them."""
    size = diagonals.shape[2]
    matrix = np.zeros((2, size, 2, size))
    entries = np.arange(size)
    matrix[0, entries, 0, entries] = diagonals[2, 0]
    matrix[1, entries, 0, entries] = diagonals[1, 1]
    matrix[1, entries, 1, entries] = diagonals[2, 1]
    return matrix[:, :, :after].reshape(2 * size, after * size)
