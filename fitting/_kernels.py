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


@njit(cache=True, error_model="numpy")
def nearest_outline_points(points, first, second, share, observed, scale, translation, gate):
    """Return for each observed point (L, 2), px, the index of the nearest outline point in the image, or -1.

    Outline point o lies at (1 - share) points[first] + share points[second]; points (M, 3) are in the camera frame,
    mm. -1 where none is nearer than `gate` px.
    """
    best = np.full(len(observed), -1, dtype=np.intp)
    nearest = np.full(len(observed), gate * gate)
    for o in range(len(first)):
        i, j, a = first[o], second[o], share[o]
        u = scale * ((1.0 - a) * points[i, 0] + a * points[j, 0]) + translation[0]
        v = scale * ((1.0 - a) * points[i, 1] + a * points[j, 1]) + translation[1]
        for k in range(len(observed)):
            distance = (u - observed[k, 0]) ** 2 + (v - observed[k, 1]) ** 2
            if distance < nearest[k]:
                nearest[k] = distance
                best[k] = o
    return best


@njit(cache=True, error_model="numpy")
def blended_points(mean, basis, first, second, share):
    """Return mean (S, 3) and basis (P, S, 3) of the points (1 - share) p[first] + share p[second]."""
    count = len(first)
    blended_mean = np.empty((count, 3))
    blended_basis = np.empty((len(basis), count, 3))
    for s in range(count):
        i, j, b = first[s], second[s], share[s]
        a = 1.0 - b
        for k in range(3):
            blended_mean[s, k] = a * mean[i, k] + b * mean[j, k]
            for p in range(len(basis)):
                blended_basis[p, s, k] = a * basis[p, i, k] + b * basis[p, j, k]
    return blended_mean, blended_basis


@njit(cache=True, error_model="numpy")
def place_on_outline(landmarks, outline_mean, outline_basis, normals, slack, weights, mean, basis, whitening):
    """Write the outline's points of the sliding landmarks (S,) into mean, basis and whitening of all, in place."""
    for s in range(len(landmarks)):
        m = landmarks[s]
        nx, ny = normals[s, 0], normals[s, 1]
        whitening[m, 0, 0], whitening[m, 0, 1] = weights[m] * nx, weights[m] * ny
        whitening[m, 1, 0], whitening[m, 1, 1] = -slack * weights[m] * ny, slack * weights[m] * nx
        for k in range(3):
            mean[m, k] = outline_mean[s, k]
            for p in range(len(basis)):
                basis[p, m, k] = outline_basis[p, s, k]


FREE, AT_LOWER, AT_UPPER = 0, -1, 1


@njit(cache=True, error_model="numpy")
def reduced_system(matrix, vector, lower, upper, side):
    """Return the system of the free entries, with the others held at their bounds: indices, matrix and vector."""
    free = np.flatnonzero(side == FREE)
    reduced = np.empty((len(free), len(free)))
    right = np.empty(len(free))
    for a in range(len(free)):
        i = free[a]
        right[a] = vector[i]
        for b in range(len(free)):
            reduced[a, b] = matrix[i, free[b]]
        for j in range(len(side)):
            if side[j] == AT_LOWER:
                right[a] -= matrix[i, j] * lower[j]
            elif side[j] == AT_UPPER:
                right[a] -= matrix[i, j] * upper[j]
    return free, reduced, right


@njit(cache=True, error_model="numpy")
def kkt_violations(matrix, vector, lower, upper, side, free, solution, target):
    """Write each entry's side after exchange into `target` and return (c, number of violations).

    A free entry beyond a bound goes to that bound; a held one whose gradient points inwards becomes free.
    """
    c = np.where(side == AT_LOWER, lower, upper)
    c[free] = solution
    count = 0
    for i in range(len(c)):
        target[i] = side[i]
        if side[i] == FREE:
            if c[i] < lower[i]:
                target[i] = AT_LOWER
            elif c[i] > upper[i]:
                target[i] = AT_UPPER
        else:
            gradient = -vector[i]
            for j in range(len(c)):
                gradient += matrix[i, j] * c[j]
            if side[i] * gradient > 0.0:
                target[i] = FREE
        if target[i] != side[i]:
            count += 1
    return c, count
