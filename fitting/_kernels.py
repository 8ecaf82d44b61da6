"""Numba kernels of the landmark stage. Formulas and names as in `landmark_problem.py` and `contour.py`."""

import math

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy")
def rotated(rotation, omega):
    """Return exp([omega]) R (3, 3): R turned about the axis omega (3,) by |omega| radians (Rodrigues' formula)."""
    x, y, z = omega[0], omega[1], omega[2]
    angle2 = x * x + y * y + z * z
    angle = math.sqrt(angle2)
    if angle < 1e-5:
        first, second = 1.0 - angle2 / 6.0, 0.5 - angle2 / 24.0
    else:
        first, second = math.sin(angle) / angle, (1.0 - math.cos(angle)) / angle2
    turn = np.empty((3, 3))
    turn[0, 0] = 1.0 - second * (y * y + z * z)
    turn[1, 1] = 1.0 - second * (x * x + z * z)
    turn[2, 2] = 1.0 - second * (x * x + y * y)
    turn[0, 1], turn[1, 0] = second * x * y - first * z, second * x * y + first * z
    turn[0, 2], turn[2, 0] = second * x * z + first * y, second * x * z - first * y
    turn[1, 2], turn[2, 1] = second * y * z - first * x, second * y * z + first * x
    product = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                product[i, j] += turn[i, k] * rotation[k, j]
    return product


@njit(cache=True, error_model="numpy")
def whitened_residual(rotation, translation, scale, points, observed, whitening, pairs, correlation):
    """Return the whitened residual (2 M,) of points (M, 3) seen by the camera against observed (M, 2)."""
    count = len(points)
    residual = np.empty(2 * count)
    for m in range(count):
        du = translation[0] - observed[m, 0]
        dv = translation[1] - observed[m, 1]
        for k in range(3):
            du += scale * rotation[0, k] * points[m, k]
            dv += scale * rotation[1, k] * points[m, k]
        residual[2 * m] = whitening[m, 0, 0] * du + whitening[m, 0, 1] * dv
        residual[2 * m + 1] = whitening[m, 1, 0] * du + whitening[m, 1, 1] * dv
    _decorrelate(residual.reshape(1, -1), pairs, correlation)
    return residual


@njit(cache=True, error_model="numpy")
def whitened_jacobian(rotation, scale, points, basis, whitening, pairs, correlation):
    """Return J^T (6 + P, 2 M): rows rotation (3), translation (2), log scale, coefficients (P)."""
    count, coefficients = len(points), len(basis)
    jacobian = np.zeros((6 + coefficients, 2 * count))
    rows = scale * rotation[:2]
    for m in range(count):
        q = np.zeros(3)
        for i in range(3):
            for k in range(3):
                q[i] += scale * rotation[i, k] * points[m, k]
        w00, w01 = whitening[m, 0, 0], whitening[m, 0, 1]
        w10, w11 = whitening[m, 1, 0], whitening[m, 1, 1]
        # d(u, v) for a rotation vector about the camera's axes is its cross product with q.
        tangent = ((0.0, -q[2]), (q[2], 0.0), (-q[1], q[0]), (1.0, 0.0), (0.0, 1.0), (q[0], q[1]))
        for p in range(6):
            du, dv = tangent[p]
            jacobian[p, 2 * m] = w00 * du + w01 * dv
            jacobian[p, 2 * m + 1] = w10 * du + w11 * dv
        a00, a01, a02 = rows[0, 0], rows[0, 1], rows[0, 2]
        a10, a11, a12 = rows[1, 0], rows[1, 1], rows[1, 2]
        for p in range(coefficients):
            b0, b1, b2 = basis[p, m, 0], basis[p, m, 1], basis[p, m, 2]
            du = a00 * b0 + a01 * b1 + a02 * b2
            dv = a10 * b0 + a11 * b1 + a12 * b2
            jacobian[6 + p, 2 * m] = w00 * du + w01 * dv
            jacobian[6 + p, 2 * m + 1] = w10 * du + w11 * dv
    _decorrelate(jacobian, pairs, correlation)
    return jacobian


@njit(cache=True, error_model="numpy")
def _decorrelate(rows, pairs, correlation):
    """Replace the entries of each pair by their whitened sum and difference, in place, along the last axis."""
    total = 1.0 / math.sqrt(2.0 * (1.0 + correlation))
    opening = 1.0 / math.sqrt(2.0 * (1.0 - correlation))
    for q in range(len(pairs)):
        for axis in range(2):
            i, j = 2 * pairs[q, 0] + axis, 2 * pairs[q, 1] + axis
            for p in range(len(rows)):
                upper, lower = rows[p, i], rows[p, j]
                rows[p, i] = total * (upper + lower)
                rows[p, j] = opening * (upper - lower)


@njit(cache=True, error_model="numpy")
def occluding_boundary(points, triangles, edges):
    """Find where the smooth surface turns away from the viewer, on the given edges.

    points (M, 3) camera frame, z away from the viewer; triangles (T, 3) counter-clockwise from outside in the model
    frame; edges (E, 2). Returns crossing (E,) bool, share (E,) of the second end, and the image normal (E, 2).
    """
    normals = np.zeros(points.shape)
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (a, b, c):
            normals[v, 0] += nx
            normals[v, 1] += ny
            normals[v, 2] += nz
    crossing = np.zeros(len(edges), dtype=np.bool_)
    share = np.zeros(len(edges))
    outward = np.zeros((len(edges), 2))
    for e in range(len(edges)):
        i, j = edges[e, 0], edges[e, 1]
        ni, nj = normals[i, 2], normals[j, 2]
        # The facing end (n_z < 0) must be the nearer one: else this is the far rim of a hollow, seen by nobody.
        if (ni < 0.0) == (nj < 0.0) or (points[j, 2] - points[i, 2]) * (nj - ni) <= 0.0:
            continue
        length_i = math.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + ni * ni)
        length_j = math.sqrt(normals[j, 0] ** 2 + normals[j, 1] ** 2 + nj * nj)
        if length_i == 0.0 or length_j == 0.0:
            continue
        a = (ni / length_i) / (ni / length_i - nj / length_j)
        nx = (1.0 - a) * normals[i, 0] / length_i + a * normals[j, 0] / length_j
        ny = (1.0 - a) * normals[i, 1] / length_i + a * normals[j, 1] / length_j
        length = math.sqrt(nx * nx + ny * ny)
        if length == 0.0:
            continue
        crossing[e] = True
        share[e] = a
        outward[e, 0] = nx / length
        outward[e, 1] = ny / length
    return crossing, share, outward
