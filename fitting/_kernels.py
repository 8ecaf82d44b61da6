"""Numba kernels of the landmark stage. Formulas and names as in `landmark_problem.py` and `contour.py`."""

import math

import numpy as np
from numba import njit

from ..render._kernels import accumulate_normals


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
    jacobian = np.empty((6 + coefficients, 2 * count))
    seen = np.empty((count, 2, 3))  # the whitened derivative of each point in the image by its place in the model frame
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
        for k in range(3):
            seen[m, 0, k] = scale * (w00 * rotation[0, k] + w01 * rotation[1, k])
            seen[m, 1, k] = scale * (w10 * rotation[0, k] + w11 * rotation[1, k])
    for p in range(coefficients):
        for m in range(count):
            b0, b1, b2 = basis[p, m, 0], basis[p, m, 1], basis[p, m, 2]
            jacobian[6 + p, 2 * m] = seen[m, 0, 0] * b0 + seen[m, 0, 1] * b1 + seen[m, 0, 2] * b2
            jacobian[6 + p, 2 * m + 1] = seen[m, 1, 0] * b0 + seen[m, 1, 1] * b1 + seen[m, 1, 2] * b2
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
def vertex_normals(points, triangles):
    """Return area-weighted unit normals (M, 3) of the points (M, 3); zero where the triangles around have no area."""
    normals = np.zeros(points.shape)
    accumulate_normals(points, triangles, normals)
    for v in range(len(normals)):
        length = math.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)
        if length > 0.0:
            for k in range(3):
                normals[v, k] /= length
    return normals


@njit(cache=True, error_model="numpy")
def occluding_boundary(points, triangles, searched):
    """Find where the smooth surface turns away from the viewer, in the first `searched` triangles.

    points (M, 3) camera frame, z away from the viewer; triangles (T, 3) counter-clockwise from outside in the model
    frame. Returns, per segment of the outline, its triangle's corners (S, 3), the barycentric weights of its two ends
    (S, 2, 3) and the outward unit normals in the image there (S, 2, 2). Neighbouring segments share ends and normals.
    """
    normals = vertex_normals(points, triangles)
    corners = np.empty((searched, 3), dtype=np.int32)
    ends = np.zeros((searched, 2, 3))
    outward = np.empty((searched, 2, 2))
    count = 0
    for t in range(searched):
        facing = 0
        for k in range(3):
            facing += normals[triangles[t, k], 2] < 0.0
        if facing == 0 or facing == 3 or not _convex_along_sight(points, normals, triangles[t]):
            continue
        end, flat = 0, False
        ends[count] = 0.0
        for k in range(3):
            following = (k + 1) % 3
            i, j = triangles[t, k], triangles[t, following]
            if (normals[i, 2] < 0.0) == (normals[j, 2] < 0.0):
                continue
            share = normals[i, 2] / (normals[i, 2] - normals[j, 2])
            ends[count, end, k], ends[count, end, following] = 1.0 - share, share
            nx = (1.0 - share) * normals[i, 0] + share * normals[j, 0]
            ny = (1.0 - share) * normals[i, 1] + share * normals[j, 1]
            length = math.sqrt(nx * nx + ny * ny)
            flat = flat or length == 0.0
            outward[count, end, 0], outward[count, end, 1] = nx / length, ny / length
            end += 1
        if not flat:
            corners[count] = triangles[t]
            count += 1
    return corners[:count], ends[:count], outward[:count]


@njit(cache=True, error_model="numpy")
def _convex_along_sight(points, normals, triangle):
    """Whether n_z, linear on the triangle, grows along the line of sight: the fold is convex and can be seen.

    With edges e1, e2 and A = e1 x e2, the gradient of n_z in the triangle's plane is
    ((n_b - n_a) e2 x A + (n_c - n_a) A x e1) / |A|^2; only the sign of its z matters.
    """
    a, b, c = triangle[0], triangle[1], triangle[2]
    e1x, e1y, e1z = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    e2x, e2y, e2z = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    ax, ay = e1y * e2z - e1z * e2y, e1z * e2x - e1x * e2z
    by_b, by_c = normals[b, 2] - normals[a, 2], normals[c, 2] - normals[a, 2]
    return by_b * (e2x * ay - e2y * ax) + by_c * (ax * e1y - ay * e1x) > 0.0


@njit(cache=True, error_model="numpy")
def nearest_outline_points(points, corners, ends, normals, observed, scale, translation, gates):
    """Return for each observed point (L, 2), px, the nearest segment of the outline in the image, and where on it.

    Segments as `occluding_boundary` gives them; points (M, 3) camera frame, mm. Returns the index (L,), -1 where none
    is nearer than `gates` (L,) px, the barycentric weights (L, 3) of the nearest point, and its unit normal (L, 2).
    """
    best = np.full(len(observed), -1, dtype=np.intp)
    weights, direction = np.zeros((len(observed), 3)), np.zeros((len(observed), 2))
    nearest = gates * gates
    end = np.empty((2, 2))
    for o in range(len(corners)):
        for e in range(2):
            for k in range(2):
                place = 0.0
                for c in range(3):
                    place += ends[o, e, c] * points[corners[o, c], k]
                end[e, k] = scale * place + translation[k]
        du, dv = end[1, 0] - end[0, 0], end[1, 1] - end[0, 1]
        length2 = du * du + dv * dv
        for m in range(len(observed)):
            along = (observed[m, 0] - end[0, 0]) * du + (observed[m, 1] - end[0, 1]) * dv
            along = min(max(along / length2, 0.0), 1.0) if length2 > 0.0 else 0.0
            u, v = end[0, 0] + along * du - observed[m, 0], end[0, 1] + along * dv - observed[m, 1]
            distance = u * u + v * v
            if distance < nearest[m]:
                nearest[m] = distance
                best[m] = o
                for c in range(3):
                    weights[m, c] = (1.0 - along) * ends[o, 0, c] + along * ends[o, 1, c]
                for k in range(2):
                    direction[m, k] = (1.0 - along) * normals[o, 0, k] + along * normals[o, 1, k]
    for m in range(len(observed)):
        length = math.sqrt(direction[m, 0] ** 2 + direction[m, 1] ** 2)
        if length > 0.0:
            direction[m] /= length
        else:
            best[m] = -1  # the ends' normals are opposite: this is no outline
    return best, weights, direction


@njit(cache=True, error_model="numpy")
def blended_points(mean, basis, corners, weights):
    """Return mean (S, 3) and basis (P, S, 3) of the points with barycentric weights (S, 3) on corners (S, 3)."""
    count = len(corners)
    blended_mean = np.zeros((count, 3))
    blended_basis = np.zeros((len(basis), count, 3))
    for s in range(count):
        for c in range(3):
            v, w = corners[s, c], weights[s, c]
            if w == 0.0:
                continue
            for k in range(3):
                blended_mean[s, k] += w * mean[v, k]
                for p in range(len(basis)):
                    blended_basis[p, s, k] += w * basis[p, v, k]
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
    """Return the system of the free entries, with the others held at their bounds: indices, matrix and vector.

    Of the matrix, which is symmetric, only the upper triangle is written; below it stands nothing of meaning.
    """
    free = np.flatnonzero(side == FREE)
    fixed = np.where(side == AT_LOWER, lower, np.where(side == AT_UPPER, upper, 0.0))
    away = np.flatnonzero(fixed)  # most bounds that hold are zero
    reduced = np.empty((len(free), len(free)))
    right = np.empty(len(free))
    for a in range(len(free)):
        row = matrix[free[a]]
        right[a] = vector[free[a]]
        for b in range(a, len(free)):
            reduced[a, b] = row[free[b]]
        for j in away:
            right[a] -= row[j] * fixed[j]
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
