"""Numba kernels of the normal equations through a mesh. Formulas and names as in `equations.py`."""

import numpy as np
from numba import njit

PACKED = np.zeros((9, 9), np.intp)
"""Where entry (i, j) of a triangle's symmetric 9 x 9 block lies among its 45 packed numbers."""
PACKED[np.triu_indices(9)] = np.arange(45)
PACKED += np.triu(PACKED, 1).T

FUSED = {"contract"}
"""Floating-point licence: a multiplication and an addition may become one instruction; nothing is reordered."""


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def right_hand_rows(first, rows, pattern, sums, pose, basis, frame):
    """Write the rows [(U + D / 2) B | C | b] of the vertices from `first` on to `rows` (n, 3, 6 + P + Q + 1)."""
    row_start, columns, source_start, sources = pattern
    blocks, vectors, cross = sums
    end, last = 6 + basis.shape[2], rows.shape[2] - 1
    rows[:] = 0.0
    gathered, block = np.empty((3, 3), rows.dtype), np.empty((3, 3), rows.dtype)
    for v in range(first, first + len(rows)):
        row = rows[v - first]
        for pair in range(row_start[v], row_start[v + 1]):
            w = columns[pair]
            gathered[:] = 0.0
            for n in range(source_start[pair], source_start[pair + 1]):
                t, i, j = sources[n, 0], sources[n, 1], sources[n, 2]
                for k in range(3):
                    for m in range(3):
                        gathered[k, m] += blocks[t, PACKED[i + k, j + m]]
                if i == j:  # v itself is this corner: the rows of C and b are its sums too
                    for k in range(3):
                        _add(row[k, end:last], cross[t, i + k])
                        row[k, last] += vectors[t, i + k]
            _turn(gathered, frame, block, 0.5 if w == v else 1.0)
            _add_product(row, 0, block, pose[w])
            _add_product(row, 6, block, basis[w])
        for q in range(end, last + 1):
            x, y, z = row[0, q], row[1, q], row[2, q]
            for k in range(3):
                row[k, q] = frame[0, k] * x + frame[1, k] * y + frame[2, k] * z


@njit(cache=True, error_model="numpy", fastmath=FUSED)
def _add(target, source):
    """Add source (Q,) to target (Q,)."""
    for q in range(len(source)):
        target[q] += source[q]


@njit(cache=True, error_model="numpy", fastmath=FUSED)
def _turn(block, frame, turned, factor):
    """Write factor M^T block M to `turned`; all (3, 3)."""
    for m in range(3):
        x, y, z = frame[0, m], frame[1, m], frame[2, m]
        a = block[0, 0] * x + block[0, 1] * y + block[0, 2] * z
        b = block[1, 0] * x + block[1, 1] * y + block[1, 2] * z
        c = block[2, 0] * x + block[2, 1] * y + block[2, 2] * z
        for k in range(3):
            turned[k, m] = factor * (frame[0, k] * a + frame[1, k] * b + frame[2, k] * c)


@njit(cache=True, error_model="numpy", fastmath=FUSED)
def _add_product(row, first, block, columns):
    """Add block (3, 3) times columns (3, K) to `row` (3, .), from its column `first` on."""
    for i in range(3):
        a, b, c = block[i, 0], block[i, 1], block[i, 2]
        for k in range(columns.shape[1]):
            row[i, first + k] += a * columns[0, k] + b * columns[1, k] + c * columns[2, k]


@njit(cache=True, error_model="numpy")
def stable_order(keys, items, count):
    """Return `items` (n,), indices into `keys`, sorted by their keys 0 to `count` - 1; equals keep their order."""
    place = np.zeros(count + 1, np.int64)
    for item in items:
        place[keys[item] + 1] += 1
    for key in range(count):
        place[key + 1] += place[key]
    ordered = np.empty_like(items)
    for item in items:
        ordered[place[keys[item]]] = item
        place[keys[item]] += 1
    return ordered
