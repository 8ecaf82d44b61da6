"""The one finite-difference check that every Jacobian of facefit passes.

A problem on a manifold has a residual r(x), a retraction x + d, and claims J = d r(x + d) / d d at d = 0. Along each
entry k of the tangent space the central difference with step h, extrapolated once (Richardson),

    D(h) = (r(x + h e_k) - r(x - h e_k)) / 2h,        J_k = (4 D(h/2) - D(h)) / 3 + O(h^4),

is exact to about eps |r| / h, so h may be large. The check compares column by column, relative to the column's length,
since the columns' units differ.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
State = TypeVar("State")


class Differentiable(Protocol[State]):
    """What the check needs to know of a problem."""

    def residual(self, state: State) -> Array:
        """Return the residual (R,)."""

    def jacobian(self, state: State) -> Array:
        """Return its derivative (R, P) with respect to a step."""

    def retract(self, state: State, step: Array) -> State:
        """Return the state at `step` (P,) from `state`."""


def finite_differences(problem: Differentiable[State], state: State, size: int, steps: ArrayLike = 1e-3) -> Array:
    """Return the extrapolated central differences (R, P) of the residual through the retraction; `steps`: h, per entry.

    Where the retraction clips at a bound or the residual is not smooth, choose a state and steps that stay clear of it.
    """

    def central(k: int, h: float) -> Array:
        step = np.zeros(size)
        step[k] = h
        ahead = np.asarray(problem.residual(problem.retract(state, step)), dtype=np.float64)
        behind = np.asarray(problem.residual(problem.retract(state, -step)), dtype=np.float64)
        return (ahead - behind) / (2.0 * h)

    lengths = np.broadcast_to(np.asarray(steps, dtype=np.float64), (size,))
    return np.stack([(4.0 * central(k, h / 2.0) - central(k, h)) / 3.0 for k, h in enumerate(lengths)], axis=1)


def assert_jacobian(
    problem: Differentiable[State],
    state: State,
    *,
    steps: ArrayLike = 1e-3,
    tolerance: float = 1e-7,
    names: Sequence[str] | None = None,
) -> None:
    """Fail unless each column of the Jacobian at `state` agrees with differences to `tolerance` of the column's length.

    A failure lists every wrong column by its name (`names`, one per entry of the tangent space) with its worst row.
    """
    residual = np.asarray(problem.residual(state), dtype=np.float64)
    claimed = np.asarray(problem.jacobian(state), dtype=np.float64)
    assert claimed.ndim == 2, f"the Jacobian has shape {claimed.shape}"
    assert len(claimed) == len(residual), f"the Jacobian has {len(claimed)} rows for {len(residual)} residuals"
    assert np.isfinite(claimed).all(), "the Jacobian is not finite"
    size = claimed.shape[1]
    labels = [f"column {k}" for k in range(size)] if names is None else list(names)
    assert len(labels) == size, f"{len(labels)} names for {size} columns"
    measured = finite_differences(problem, state, size, steps)
    # What rounding of the residual puts into a difference, far above it: the floor for columns of zeros.
    floor = 100.0 * np.finfo(np.float64).eps * (1.0 + np.linalg.norm(residual)) / np.min(steps)
    error, length = np.abs(claimed - measured), np.linalg.norm(measured, axis=0)
    allowed = tolerance * length + floor
    report = [
        f"{labels[k]}: row {i}: claimed {claimed[i, k]:.9g}, differences {measured[i, k]:.9g}, "
        f"column length {length[k]:.3g}"
        for k in range(size)
        for i in [int(error[:, k].argmax())]
        if error[i, k] > allowed[k]
    ]
    assert not report, f"{len(report)} of {size} columns of the Jacobian are wrong:\n" + "\n".join(report)
