"""Flattening a disc: from triangles in space to a bijection onto a convex region of the plane, of least distortion.

Two steps. The first puts the boundary on a convex curve and every inner vertex i at a convex combination of its
neighbours j, with the mean value coordinates of Floater (Mean value coordinates, CAGD 2003, section 2) as weights:

    sum_j w_ij (x_j - x_i) = 0,    w_ij = (tan(a_ij / 2) + tan(b_ij / 2)) / |v_i v_j|

where a_ij and b_ij are the angles at i beside the edge. As all w_ij > 0, no triangle is flipped (Tutte 1963; Floater,
Parametrization and smooth approximation of surface triangulations, CAGD 1997).

The second moves the inner vertices downhill in the symmetric Dirichlet energy

    E(x) = sum_t c_t (|J_t|^2 + |J_t^-1|^2),    J_t the Jacobian from triangle t, times its density, to the plane

which is least, 4, where J_t is a rotation, and infinite where a triangle collapses: none can flip. Each step solves
the weighted least squares of Rabinovich et al. (Scalable locally injective mappings, TOG 2017, sections 3 and 4):

    J = U diag(s) V^T,    R = U V^T,    W = U diag(sqrt((s + 1) (s^2 + 1) / s^3)) U^T
    min sum_t c_t |W_t (J_t(x) - R_t)|^2

followed by a line search that keeps every det J_t > 0. A locally injective map of a disc whose boundary is mapped
injectively, as the convex curve is, is injective.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve

Array = NDArray[np.float64]
Indices = NDArray[np.int32]

MAX_STEPS = 80
TOLERANCE = 1e-7
"""The descent ends where a step lowers the energy by less than this share."""


def flatten(corners: Array, triangles: Indices, loop: Indices, outline: Array, density: Array, weight: Array) -> Array:
    """Return the plane coordinates (n, 2) of the vertices of a disc.

    corners (T, 3, 3): the triangles in space; triangles (T, 3): their vertices 0 .. n-1; loop (B,) boundary vertices
    that stay at outline (B, 2), on a convex curve, both counter-clockwise; density (T,) wanted length in the plane
    per length in space; weight (T,) share of each triangle in the energy.
    """
    count = int(triangles.max()) + 1
    free = np.ones(count, dtype=bool)
    free[loop] = False
    start = np.zeros((count, 2))
    start[loop] = outline
    laplacian = _mean_value_laplacian(corners, triangles, count)[free]
    start[free] = spsolve(laplacian[:, free].tocsc(), -laplacian[:, ~free] @ start[~free])
    return _least_distortion(start, free, _gradient(corners * density[:, None, None], triangles, count), weight)


def boundary_loops(triangles: Indices) -> list[Indices]:
    """Return the boundary's loops of vertices, the longest first, each with the surface on its left."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).tolist()
    inner = {(b, a) for a, b in edges}
    following = dict(edge for edge in edges if tuple(edge) not in inner)
    loops = []
    while following:
        loop = [min(following)]
        while (onward := following.pop(loop[-1])) != loop[0]:
            loop.append(onward)
        loops.append(np.array(loop, dtype=np.int32))
    return sorted(loops, key=len, reverse=True)


def singular_values(corners: Array, plane: Array) -> Array:
    """Return the singular values (T, 2), larger first, of the maps from the plane to triangles in space.

    corners (T, 3, 3) in space, plane (T, 3, 2); a flipped or collapsed triangle is the caller's business.
    """
    jacobian = _local(corners) @ np.linalg.inv(_edges(plane))
    return np.linalg.svd(jacobian, compute_uv=False)


def _edges(corners: Array) -> Array:
    """Return the matrices (T, d, 2) whose columns are a triangle's edges from its first corner."""
    return np.swapaxes(corners[:, 1:] - corners[:, :1], 1, 2)


def _local(corners: Array) -> Array:
    """Return the edges (T, 2, 2) of triangles (T, 3, 3) in a frame of each one's own plane: upper triangular."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    length = np.linalg.norm(first, axis=1)
    along = (first * second).sum(axis=1) / length
    across = np.linalg.norm(np.cross(first, second), axis=1) / length
    return np.stack([np.stack([length, along], axis=1), np.stack([np.zeros_like(length), across], axis=1)], axis=1)


def _mean_value_laplacian(corners: Array, triangles: Indices, count: int) -> sparse.csr_array:
    """Return the matrix (n, n) of row sums minus mean value weights."""
    rows, columns, entries = [], [], []
    for k in range(3):
        i, j = k, (k + 1) % 3
        for one, other in ((i, j), (j, i)):
            third = 3 - i - j
            edge, side = corners[:, other] - corners[:, one], corners[:, third] - corners[:, one]
            length = np.linalg.norm(edge, axis=1)
            cosine = (edge * side).sum(axis=1) + length * np.linalg.norm(side, axis=1)
            half_tangent = np.linalg.norm(np.cross(edge, side), axis=1) / cosine
            rows.append(triangles[:, one])
            columns.append(triangles[:, other])
            entries.append(half_tangent / length)
    position = (np.concatenate(rows), np.concatenate(columns))
    weights = sparse.coo_array((np.concatenate(entries), position), shape=(count, count)).tocsr()
    return sparse.diags_array(weights.sum(axis=1)).tocsr() - weights


def _gradient(corners: Array, triangles: Indices, count: int) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Return the matrices (T, n) that take a function on the vertices to its derivatives in the triangles' frames."""
    inverse = np.linalg.inv(_local(corners))
    slopes = np.concatenate([-inverse.sum(axis=1, keepdims=True), inverse], axis=1)
    rows = np.repeat(np.arange(len(triangles)), 3)
    x, y = (
        sparse.coo_array((slopes[:, :, k].ravel(), (rows, triangles.ravel())), shape=(len(triangles), count)).tocsr()
        for k in (0, 1)
    )
    return x, y


def _least_distortion(
    start: Array, free: NDArray[np.bool_], gradient: tuple[sparse.csr_array, sparse.csr_array], weight: Array
) -> Array:
    """Return the coordinates (n, 2) of least symmetric Dirichlet energy downhill from `start`, which has no flips."""
    weight = weight / weight.sum()
    points, energy = start, _energy(start, gradient, weight)
    for _ in range(MAX_STEPS):
        step = _proxy_minimum(points, free, gradient, weight) - points
        length = 1.0
        while (reached := _energy(points + length * step, gradient, weight)) >= energy and length > 1e-9:
            length *= 0.7
        if reached >= energy:
            break
        gain = 1.0 - reached / energy
        points, energy = points + length * step, reached
        if gain < TOLERANCE:
            break
    return points


def _jacobians(points: Array, gradient: tuple[sparse.csr_array, sparse.csr_array]) -> Array:
    return np.stack([derivative @ points for derivative in gradient], axis=2)


def _energy(points: Array, gradient: tuple[sparse.csr_array, sparse.csr_array], weight: Array) -> float:
    """Return the symmetric Dirichlet energy, infinite where a triangle is flipped (in 2D, |J^-1| = |J| / det J)."""
    jacobians = _jacobians(points, gradient)
    determinant = np.linalg.det(jacobians)
    if determinant.min() <= 0.0:
        return np.inf
    return float(weight @ ((jacobians**2).sum(axis=(1, 2)) * (1.0 + determinant**-2.0)))


def _proxy_minimum(
    points: Array, free: NDArray[np.bool_], gradient: tuple[sparse.csr_array, sparse.csr_array], weight: Array
) -> Array:
    """Return the minimum (n, 2) of the reweighted least squares about `points`, whose gradient is the energy's."""
    u, s, vt = np.linalg.svd(_jacobians(points, gradient))
    pull = np.sqrt((s + 1.0) * (s**2 + 1.0) / s**3)
    metric = u @ (pull[:, :, None] * np.swapaxes(u, 1, 2)) * np.sqrt(weight)[:, None, None]
    target = metric @ (u @ vt)
    rows = [
        sparse.hstack([sparse.diags_array(metric[:, i, j]) @ derivative for j in (0, 1)])
        for i in (0, 1)
        for derivative in gradient
    ]
    system = sparse.vstack(rows).tocsc()
    movable, flat = np.tile(free, 2), points.T.ravel()
    right = np.concatenate([target[:, i, k] for i in (0, 1) for k in (0, 1)]) - system[:, ~movable] @ flat[~movable]
    inner = system[:, movable]
    solution = flat.copy()
    solution[movable] = spsolve((inner.T @ inner).tocsc(), inner.T @ right)
    return solution.reshape(2, -1).T
