"""A membrane over the surface: what is known of an offset at some vertices, continued smoothly to all others.

Gradient-domain blending pastes a region by keeping its gradients and solving Laplace's equation for the offset, whose
values along the seam are the difference of the two pictures there. Here the domain is the surface itself, not the
texture, so neither a cut of the atlas nor a gutter is in the way: with D_i the mean difference seen about vertex i
and w_i in 0-1 how much of it is seen,

    minimise   DATA sum_i w_i |o_i - D_i|^2  +  sum_edges |o_i - o_j|^2  +  REST sum_i |o_i|^2

where edges that cross from one kind of surface to another do not count, so that skin leaves teeth alone. Where much
is seen, o follows D; elsewhere it is harmonic, and fades within about 1 / sqrt(REST) edges; a part of the surface
that is not seen at all keeps o = 0. The equations are sparse, symmetric and positive definite.

P. Perez, M. Gangnet, A. Blake, Poisson image editing, SIGGRAPH 2003 (eq. 4-5, the offset's form);
P. Bhat et al., GradientShop, TOG 2010 (the screening term).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array, diags_array
from scipy.sparse.linalg import splu

from ._kernels import LOOSE, SKIN

Array = NDArray[np.float64]

DATA = 10.0
REST = 2.5e-4


def surface_laplacian(triangles: NDArray[np.int32], kinds: NDArray[np.uint8], vertices: int) -> csc_array:
    """Return the graph Laplacian (N, N) of the edges of triangles (T, 3), cut where their `kinds` (T,) meet."""
    # An edge joins two vertices of one kind: each vertex is of the greatest kind among its triangles.
    of_vertex = np.zeros(vertices, np.uint8)
    np.maximum.at(of_vertex, triangles, np.where(kinds == LOOSE, SKIN, kinds)[:, None])
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    i, j = edges[of_vertex[edges[:, 0]] == of_vertex[edges[:, 1]]].T
    weights = np.ones(2 * len(i))
    adjacent = coo_array((weights, (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(vertices, vertices))
    degree = np.asarray(adjacent.sum(axis=1)).ravel()
    return csc_array(diags_array(degree) - adjacent.tocsc())


def continued(laplacian: csc_array, known: Array, weights: Array) -> Array:
    """Return the offsets (N, C) of the membrane through `known` (N, C), `weights` (N,) 0-1 (see the module's text)."""
    if not weights.any():
        return np.zeros_like(known)
    system = csc_array(laplacian + diags_array(DATA * weights + REST))
    solver = splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    return np.asarray(solver.solve(DATA * weights[:, None] * known))
