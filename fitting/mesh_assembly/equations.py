"""Normal equations of pose and shape from sums over each triangle's pixels, without ever forming a Jacobian.

A pixel's residual r sees the unknowns only through the nine camera-frame coordinates of its triangle's corners,
dr = g^T dq_t, and through Q further unknowns that act on it linearly (light, albedo), dr = h^T dl. So the pixels enter
the normal equations only through sums per triangle with the pixels' weights w,

    S_t = sum w g g^T   (9, 9)        b_t = sum w g r   (9,)        C_t = sum w g h^T   (9, Q)

and these add up over the triangles of the mesh as the elements of a stiffness matrix do: to S (3 V, 3 V), sparse and
symmetric with a 3 x 3 block S_vw wherever v and w share a triangle, b (3 V,) and C (3 V, Q). Vertex v stands at
q_v = M p_v with M = s R and p_v = mean_v + sum_k c_k basis_vk (mm). In the tangent space (omega, dt, d log s, dc) of
`landmark_problem.py`

    dq_v = omega x q_v + (dt, 0) + q_v d log s + M basis_v dc
         = M B_v (omega, dt, d log s, dc),    B_v = [R_0 x p_v, R_1 x p_v, R_2 x p_v, R_0 / s, R_1 / s, p_v, basis_v]

where R_i is row i of R and the cross products use R (R^T e_i x p) = e_i x R p. With every block turned into the model's
frame, S_vw <- M^T S_vw M and b_v, C_v <- M^T b_v, M^T C_v, the model's own basis serves every iteration uncopied, and

    matrix = B^T S B        gradient = B^T b        cross = B^T C

S = U + D + U^T (U strictly above the block diagonal D) halves the sparse product: with T = (U + D / 2) B, the matrix is
B^T T + (B^T T)^T, exactly symmetric. All three come from one dense product B^T [T | C | b]; it is the bulk of the time,
and grows with the number of vertices, not of pixels.

The vertices are taken in chunks of a fixed size whose partial products are added in order, in float64: the result is
the same, bit for bit, however many threads share the chunks.

Source: the assembly of element matrices in the finite element method (Zienkiewicz, Taylor & Zhu, The Finite Element
Method: Its Basis and Fundamentals, 2013, section 1.3).
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...models.errors import InvalidInputError
from ._kernels import right_hand_rows, stable_order

Array = NDArray[np.float64]
Floats = NDArray[np.floating]  # float32 in production, float64 in tests

POSE = 6
"""Number of pose entries at the head of a step."""

CHUNK = 256
"""Vertices per partial product: about what a second-level cache holds, and enough for a dense product at full speed."""


class MeshPattern(NamedTuple):
    """Where the triangles' blocks land in S: its pairs (v, w), v <= w, by row, and each pair's sources.

    Depends on the list of triangles only; make it anew when the visible triangles change.
    """

    row_start: NDArray[np.int32]  # (V + 1,) pairs row_start[v] to row_start[v + 1] have v as their first vertex
    columns: NDArray[np.int32]  # (E,) the second vertex w of each pair
    source_start: NDArray[np.int32]  # (E + 1,) sources source_start[e] to source_start[e + 1] add up to pair e
    sources: NDArray[np.int32]  # (F, 3) triangle, first row and first column of the 3 x 3 part of its 9 x 9 block

    @classmethod
    def from_triangles(cls, triangles: ArrayLike, vertex_count: int) -> "MeshPattern":
        """Return the pattern of triangles (T, 3), indices of vertices 0 to V - 1; vertices may be in none.

        Raises InvalidInputError where the triangles have another shape, type or range.
        """
        corners = np.asarray(triangles)
        if corners.ndim != 2 or corners.shape[1] != 3 or corners.dtype.kind not in "iu":
            raise InvalidInputError(f"expected integer triangles (T, 3), got {corners.dtype} {corners.shape}")
        if corners.size and not 0 <= corners.min() <= corners.max() < vertex_count:
            raise InvalidInputError(
                f"expected vertices 0 to {vertex_count - 1}, got {corners.min()} to {corners.max()}"
            )
        first, second = np.divmod(np.arange(9), 3)  # the nine ordered pairs of a triangle's corners
        corners = corners.astype(np.int32)
        v, w = corners[:, first].ravel(), corners[:, second].ravel()
        # By row, then by column, then by source: one result for one list.
        source = stable_order(v, stable_order(w, np.flatnonzero(v <= w), vertex_count), vertex_count)
        row, column = v[source], w[source]
        fresh = np.ones(len(source) + 1, dtype=bool)
        fresh[1:-1] = (row[1:] != row[:-1]) | (column[1:] != column[:-1])
        source_start = np.flatnonzero(fresh) if len(source) else np.zeros(1, np.intp)
        pairs = source_start[:-1]
        triangle, corner = np.divmod(source.astype(np.int32), np.int32(9))
        return cls(
            np.searchsorted(row[pairs], np.arange(vertex_count + 1, dtype=np.int32)).astype(np.int32),
            column[pairs],
            source_start.astype(np.int32),
            np.stack([triangle, 3 * first[corner], 3 * second[corner]], axis=1).astype(np.int32),
        )

    @property
    def vertex_count(self) -> int:
        """V."""
        return len(self.row_start) - 1


class TriangleSums(NamedTuple):
    """Sums over each triangle's pixels, of one type; a corner's three camera-frame coordinates stand together."""

    blocks: Floats  # (T, 45) w g g^T: the upper triangle row by row, as np.triu_indices(9) and _kernels.PACKED order it
    vectors: Floats  # (T, 9) w g r
    cross: Floats | None = None  # (T, 9, Q) w g h^T; None: no further unknowns


@dataclass(frozen=True, eq=False)
class ProjectedEquations:
    """Normal equations in the tangent space (omega, dt, d log s, dc)."""

    matrix: Array  # (6 + P, 6 + P) B^T S B, symmetric
    gradient: Array  # (6 + P,) B^T b
    cross: Array | None  # (6 + P, Q) B^T C


def project(
    pattern: MeshPattern,
    sums: TriangleSums,
    basis: Floats,
    points: Floats,
    rotation: Array,
    scale: float,
    executor: Executor | None = None,
) -> ProjectedEquations:
    """Return the normal equations of a mesh from the sums over its triangles' pixels.

    basis (V, 3, P): the model's, mm per unit, coefficients last, C-contiguous; points (V, 3): p, mm, model frame;
    rotation (3, 3) model to camera; scale px/mm. basis and sums are all float32 or all float64: so is the arithmetic.
    An executor of threads shares out the chunks; BLAS should be held at one thread (`threads.py`) where one is given.

    Raises InvalidInputError where shapes or types disagree.
    """
    _validate(pattern, sums, basis, points, rotation)
    count, _, coefficients = basis.shape
    size = POSE + coefficients
    cross = np.zeros((len(sums.blocks), 9, 0), basis.dtype) if sums.cross is None else sums.cross
    width = size + cross.shape[2] + 1
    pose = _pose_columns(points, rotation, scale).astype(basis.dtype)
    frame = (scale * rotation).astype(basis.dtype)

    def partial_product(first: int) -> tuple[Floats, Floats]:
        chunk = slice(first, min(first + CHUNK, count))
        n = chunk.stop - first
        rows = np.empty((n, 3, width), basis.dtype)
        right_hand_rows(first, rows, tuple(pattern), (sums.blocks, sums.vectors, cross), pose, basis, frame)
        right = rows.reshape(3 * n, -1)
        return pose[chunk].reshape(3 * n, -1).T @ right, basis[chunk].reshape(3 * n, -1).T @ right

    product = np.zeros((size, width))
    share: Callable[..., Iterable[tuple[Floats, Floats]]] = executor.map if executor else map
    for head, tail in share(partial_product, range(0, count, CHUNK)):
        product[:POSE] += head
        product[POSE:] += tail
    half, gradient = product[:, :size], product[:, -1].copy()
    return ProjectedEquations(half + half.T, gradient, None if sums.cross is None else product[:, size:-1].copy())


def _pose_columns(points: Floats, rotation: Array, scale: float) -> Array:
    """Return the pose columns (V, 3, 6) of B."""
    columns = np.empty((*points.shape, POSE))
    for i in range(3):
        columns[:, :, i] = np.cross(rotation[i], points)
    columns[:, :, 3] = rotation[0] / scale
    columns[:, :, 4] = rotation[1] / scale
    columns[:, :, 5] = points
    return columns


def _validate(pattern: MeshPattern, sums: TriangleSums, basis: Floats, points: Floats, rotation: Array) -> None:
    count = pattern.vertex_count
    unknowns = 0 if sums.cross is None else sums.cross.shape[-1]
    listed = int(pattern.sources[:, 0].max(initial=-1)) + 1
    for name, array, shape in (
        ("basis", basis, (count, 3, basis.shape[-1])),
        ("points", points, (count, 3)),
        ("rotation", rotation, (3, 3)),
        ("blocks", sums.blocks, (listed, 45)),
        ("vectors", sums.vectors, (listed, 9)),
        ("cross", sums.cross, (listed, 9, unknowns)),
    ):
        if array is None:
            continue
        if array.shape != shape:
            raise InvalidInputError(f"expected {name} {shape}, got {array.shape}")
        if name not in ("points", "rotation") and array.dtype != basis.dtype:
            raise InvalidInputError(f"expected {name} of {basis.dtype}, the basis' type, got {array.dtype}")
