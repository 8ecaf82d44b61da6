"""The population's mean, brought to that of adults: offsets of the pairs' mean weights.

The measures m(o) of the population's mean person depend on the offsets o of all opposite pairs. Wanted is the most
probable shift, in the population's own terms, that meets the references r within a tolerance t:

    min_o  sum_p (o_p / d_p)^2 + sum_j ((m_j(o) - r_j) / t_j)^2

with d_p the deviation of pair p's weight. With the Jacobian J of the measures, in units of d and t, a step solves
(J^T J + I) o = J^T (J o - rho), rho the residual: Gauss-Newton, repeated with the means of fresh samples of the
population, since a pair is not linear at zero.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .anthropometry import MEASURES, measured
from .head import Head
from .makehuman import MakeHuman
from .population import SIZE, Pair, draw_population, opposite_pairs

Array = NDArray[np.float64]

TOLERANCE_MM = 1.0
"""How well the means shall be met: what surveys differ by, and what the choice of a vertex makes."""
ROUNDS, SAMPLE = 4, 200


def calibrated_offsets(source: MakeHuman, head: Head, seed: int) -> dict[str, float]:
    """Return the offset of each pair's mean weight, by name; `seed` fixes the samples."""
    pairs = opposite_pairs(source, head)
    references = np.array([measure.mean for measure in MEASURES])
    offsets = np.zeros(len(pairs))
    jacobian = None
    for _ in range(ROUNDS):
        named = _named(pairs, offsets)
        mean = draw_population(source, head, SAMPLE, np.random.default_rng(seed), named).mean(axis=0)
        if jacobian is None:
            jacobian = _jacobian(pairs, head, mean) / TOLERANCE_MM
        residual = (measured(mean, head.mirror) - references) / TOLERANCE_MM
        matrix = jacobian.T @ jacobian + np.eye(len(pairs))
        offsets = np.linalg.solve(matrix, jacobian.T @ (jacobian @ offsets - residual))
    return _named(pairs, offsets)


def _named(pairs: Sequence[Pair], offsets: Array) -> dict[str, float]:
    """Return weights by name from offsets in deviations."""
    return {pair.name: float(offset) * pair.deviation for pair, offset in zip(pairs, offsets, strict=True)}


def _jacobian(pairs: Sequence[Pair], head: Head, mean: Array) -> Array:
    """Return the derivative (M, pairs) of the measures, mm, per deviation of each pair: both directions' average."""
    columns = []
    for pair in pairs:
        ends = [head.closed(head.vertices(head.base + part)) for part in (pair.low, pair.high)]
        motion = 0.5 * SIZE * pair.deviation * (ends[1] - ends[0])
        columns.append(measured(mean + motion, head.mirror) - measured(mean, head.mirror))
    return np.stack(columns, axis=1)
