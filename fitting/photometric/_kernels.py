"""Numba kernels of the photometric stage. Formulas and names as in `problem.py`; a *sample* is one pixel's point.

Samples are listed by triangle: those of triangle t are first[t] to first[t + 1]. Every kernel takes a range of
triangles and writes only what belongs to them, so that ranges can be shared among threads.
"""

import math

import numpy as np
from numba import njit

from ..mesh_assembly._kernels import PACKED

C0, C1, C2, C20, C22 = (
    math.sqrt(1.0 / (4.0 * math.pi)),
    math.sqrt(3.0 / (4.0 * math.pi)) * 2.0 / 3.0,
    math.sqrt(15.0 / (4.0 * math.pi)) / 4.0,
    math.sqrt(5.0 / (16.0 * math.pi)) / 4.0,
    math.sqrt(15.0 / (16.0 * math.pi)) / 4.0,
)
"""Factors of the shading basis, see render/spherical_harmonics.py."""

FUSED = {"contract", "nsz"}
"""Floating-point licence: a multiplication and an addition may become one instruction; nothing is reordered."""

EDGE = 1e-3  # px: how close to the last row or column of pixels bilinear interpolation goes


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def displayed(linear):
    """Return the sRGB value of linear light and its slope; x^(1 / 2.4) = x^(5 / 12) takes two kinds of roots."""
    if linear <= 0.0031308:
        return 12.92 * linear, 12.92
    third = np.cbrt(linear)
    power = third * math.sqrt(math.sqrt(third))
    return 1.055 * power - 0.055, 1.055 * power / (2.4 * linear)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def shading_basis(x, y, z, values):
    """Write the nine functions of the unit normal (x, y, z) to `values` (9,)."""
    values[0], values[1], values[2], values[3] = C0, C1 * y, C1 * z, C1 * x
    values[4], values[5], values[6] = C2 * x * y, C2 * y * z, C20 * (3.0 * z * z - 1.0)
    values[7], values[8] = C2 * x * z, C22 * (x * x - y * y)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def triangle_normal(points, triangle, normal):
    """Write the unit normal of a triangle of points (V, 3) to `normal` (3,); return its doubled area."""
    a, b, c = triangle[0], triangle[1], triangle[2]
    ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    scale = 1.0 / length if length > 0.0 else 0.0
    normal[0], normal[1], normal[2] = nx * scale, ny * scale, nz * scale
    return length


@njit(cache=True, error_model="numpy", nogil=True)
def triangle_normals(points, triangles, normals):
    """Write the unit normals (T, 3) of triangles (T, 3) over points (V, 3)."""
    for t in range(len(triangles)):
        triangle_normal(points, triangles[t], normals[t])


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _carried(start, flat, flat_start, normal):
    """Write the unit normal of a sample whose triangle's normal went from `flat_start` to `flat`; return |.| before."""
    x, y, z = start[0] + flat[0] - flat_start[0], start[1] + flat[1] - flat_start[1], start[2] + flat[2] - flat_start[2]
    length = math.sqrt(x * x + y * y + z * z)
    scale = 1.0 / length if length > 0.0 else 0.0
    normal[0], normal[1], normal[2] = x * scale, y * scale, z * scale
    return scale


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _place(points, triangle, weights, window):
    """Return where a sample falls in the reduced photo: row and column of pixels, and the shares of the next ones."""
    factor, left, top, right, bottom = window
    a, b, c = triangle[0], triangle[1], triangle[2]
    u = weights[0] * points[a, 0] + weights[1] * points[b, 0] + weights[2] * points[c, 0]
    v = weights[0] * points[a, 1] + weights[1] * points[b, 1] + weights[2] * points[c, 1]
    u = min(max(factor * u + left, 0.0), right - EDGE)
    v = min(max(factor * v + top, 0.0), bottom - EDGE)
    row, column = int(v), int(u)
    return row, column, v - row, u - column


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def residuals(triangles_range, photo, window, points, mesh, samples, albedo, light, residual):
    """Write photo - model (M, 3), in sRGB values, of the samples of the triangles in the range (begin, end).

    photo (H, W, 3); window: see `levels.Level.window`; points (V, 3) camera frame, px; mesh = (triangles (T, 3),
    first (T + 1,), flat_start (T, 3)); samples = (barycentric (M, 3), normal_start (M, 3)); albedo (V, 3);
    light (9, 3).
    """
    triangles, first, flat_start = mesh
    barycentric, normal_start = samples
    flat, normal, basis = np.empty(3), np.empty(3), np.empty(9)
    for t in range(triangles_range[0], triangles_range[1]):
        triangle = triangles[t]
        triangle_normal(points, triangle, flat)
        for m in range(first[t], first[t + 1]):
            weights = barycentric[m]
            row, column, down, along = _place(points, triangle, weights, window)
            _carried(normal_start[m], flat, flat_start[t], normal)
            shading_basis(normal[0], normal[1], normal[2], basis)
            for k in range(3):
                upper = (1.0 - along) * photo[row, column, k] + along * photo[row, column + 1, k]
                lower = (1.0 - along) * photo[row + 1, column, k] + along * photo[row + 1, column + 1, k]
                shading = 0.0
                for p in range(9):
                    shading += basis[p] * light[p, k]
                rho = 0.0
                for i in range(3):
                    rho += weights[i] * albedo[triangle[i], k]
                value, _ = displayed(rho * shading)
                residual[m, k] = (1.0 - down) * upper + down * lower - value


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _normal_derivative(points, triangle, derivative):
    """Write d(unit normal) / d(corners) (3, 9) of a triangle, and return its normal's parts.

    N = u x v with u = b - a, v = c - a:  dN = du x v + u x dv,  d(N / |N|) = (I - n n^T) dN / |N|.
    """
    a, b, c = triangle[0], triangle[1], triangle[2]
    ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    scale = 1.0 / length if length > 0.0 else 0.0
    nx, ny, nz = nx * scale, ny * scale, nz * scale
    crossed = (((0.0, vz, -vy), (-vz, 0.0, vx), (vy, -vx, 0.0)), ((0.0, -uz, uy), (uz, 0.0, -ux), (-uy, ux, 0.0)))
    for corner in range(2):
        for j in range(3):
            x, y, z = crossed[corner][0][j], crossed[corner][1][j], crossed[corner][2][j]
            along = nx * x + ny * y + nz * z
            derivative[0, 3 * corner + 3 + j] = scale * (x - along * nx)
            derivative[1, 3 * corner + 3 + j] = scale * (y - along * ny)
            derivative[2, 3 * corner + 3 + j] = scale * (z - along * nz)
    for i in range(3):
        for j in range(3):
            derivative[i, j] = -derivative[i, 3 + j] - derivative[i, 6 + j]


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _shading_gradient(x, y, z, light, k):
    """Return d(basis . light_k) / d(normal)."""
    l4, l5, l7, l8 = C2 * light[4, k], C2 * light[5, k], C2 * light[7, k], 2.0 * C22 * light[8, k]
    return (
        C1 * light[3, k] + l4 * y + l7 * z + l8 * x,
        C1 * light[1, k] + l4 * x + l5 * z - l8 * y,
        C1 * light[2, k] + l5 * y + l7 * x + 6.0 * C20 * light[6, k] * z,
    )


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _sample_derivatives(photo, window, points, triangle, sample, flats, albedo, light, work, slopes):
    """Write per channel (residual, d/du, d/dv, d/dn_x, d/dn_y, d/dn_z) of one sample to `work` (3, 6).

    (u, v) is where the sample lies in the image, n its triangle's normal. `slopes` (3, 2) receives the derivatives of
    the residual by the shading and by the albedo.
    """
    weights, normal_start = sample
    flat, flat_start, normal, basis = flats
    row, column, down, along = _place(points, triangle, weights, window)
    shrink = _carried(normal_start, flat, flat_start, normal)
    x, y, z = normal[0], normal[1], normal[2]
    shading_basis(x, y, z, basis)
    for k in range(3):
        here, right = photo[row, column, k], photo[row, column + 1, k]
        below, corner = photo[row + 1, column, k], photo[row + 1, column + 1, k]
        shading = 0.0
        for p in range(9):
            shading += basis[p] * light[p, k]
        rho = 0.0
        for i in range(3):
            rho += weights[i] * albedo[triangle[i], k]
        value, slope = displayed(rho * shading)
        upper, lower = here + along * (right - here), below + along * (corner - below)
        gx, gy, gz = _shading_gradient(x, y, z, light, k)
        radial = gx * x + gy * y + gz * z
        slopes[k, 0], slopes[k, 1] = -slope * rho, -slope * shading
        gain = slopes[k, 0] * shrink
        work[k, 0] = upper + down * (lower - upper) - value
        work[k, 1] = window[0] * ((1.0 - down) * (right - here) + down * (corner - below))
        work[k, 2] = window[0] * (lower - upper)
        work[k, 3] = gain * (gx - radial * x)
        work[k, 4] = gain * (gy - radial * y)
        work[k, 5] = gain * (gz - radial * z)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def triangle_sums(triangles_range, photo, window, points, mesh, samples, albedo, light, weight, blocks, vectors):
    """Write sum w g g^T (T, 45) and sum w g r (T, 9) of the triangles in the range; weight (M,), the rest as above.

    A sample's derivative by its triangle's corners is g = b (x) (d/du, d/dv) + N^T d/dn, with N (3, 9) the triangle's
    own: the sums over samples are taken in these (6 + 3) coordinates, and N joins once per triangle.
    """
    triangles, first, flat_start = mesh
    barycentric, normal_start = samples
    flat, normal, basis = np.empty(3), np.empty(3), np.empty(9)
    work, slopes, turn = np.empty((3, 6)), np.empty((3, 2)), np.empty((3, 9))
    square, moment = np.empty((9, 9)), np.empty(9)
    for t in range(triangles_range[0], triangles_range[1]):
        triangle = triangles[t]
        triangle_normal(points, triangle, flat)
        square[:], moment[:] = 0.0, 0.0
        for m in range(first[t], first[t + 1]):
            if weight[m] == 0.0:
                continue
            weights = barycentric[m]
            sample = (weights, normal_start[m])
            flats = (flat, flat_start[t], normal, basis)
            _sample_derivatives(photo, window, points, triangle, sample, flats, albedo, light, work, slopes)
            _add_sample(work, weights, weight[m], square, moment)
        _normal_derivative(points, triangle, turn)
        _to_corners(square, moment, turn, blocks[t], vectors[t])


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _add_sample(work, b, w, square, moment):
    """Add a sample's w z z^T, upper triangle, and w z r for z = (b_0 (u, v), b_1 (u, v), b_2 (u, v), n)."""
    uu, uv, vv = 0.0, 0.0, 0.0
    ux, uy, uz, vx, vy, vz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    xx, xy, xz, yy, yz, zz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    ru, rv, rx, ry, rz = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(3):
        r, u, v, x, y, z = w * work[k, 0], work[k, 1], work[k, 2], work[k, 3], work[k, 4], work[k, 5]
        ru, rv, rx, ry, rz = ru + r * u, rv + r * v, rx + r * x, ry + r * y, rz + r * z
        uu, uv, vv = uu + u * u, uv + u * v, vv + v * v
        ux, uy, uz = ux + u * x, uy + u * y, uz + u * z
        vx, vy, vz = vx + v * x, vy + v * y, vz + v * z
        xx, xy, xz, yy, yz, zz = xx + x * x, xy + x * y, xz + x * z, yy + y * y, yz + y * z, zz + z * z
    for i in range(3):
        bi = w * b[i]
        moment[2 * i] += b[i] * ru
        moment[2 * i + 1] += b[i] * rv
        for j in range(i, 3):
            bij = bi * b[j]
            square[2 * i, 2 * j] += bij * uu
            square[2 * i, 2 * j + 1] += bij * uv
            square[2 * i + 1, 2 * j] += bij * uv
            square[2 * i + 1, 2 * j + 1] += bij * vv
        square[2 * i, 6] += bi * ux
        square[2 * i, 7] += bi * uy
        square[2 * i, 8] += bi * uz
        square[2 * i + 1, 6] += bi * vx
        square[2 * i + 1, 7] += bi * vy
        square[2 * i + 1, 8] += bi * vz
    moment[6] += rx
    moment[7] += ry
    moment[8] += rz
    square[6, 6] += w * xx
    square[6, 7] += w * xy
    square[6, 8] += w * xz
    square[7, 7] += w * yy
    square[7, 8] += w * yz
    square[8, 8] += w * zz


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _to_corners(square, moment, turn, block, vector):
    """Write E Z E^T, packed, and E m for Z (9, 9), upper triangle, and m (9,), where g = E z (see triangle_sums)."""
    mixed, half = np.empty((6, 9)), np.empty((3, 9))  # Z_12 N, and Z_22 N
    for j in range(9):
        for i in range(6):
            mixed[i, j] = square[i, 6] * turn[0, j] + square[i, 7] * turn[1, j] + square[i, 8] * turn[2, j]
        half[0, j] = square[6, 6] * turn[0, j] + square[6, 7] * turn[1, j] + square[6, 8] * turn[2, j]
        half[1, j] = square[6, 7] * turn[0, j] + square[7, 7] * turn[1, j] + square[7, 8] * turn[2, j]
        half[2, j] = square[6, 8] * turn[0, j] + square[7, 8] * turn[1, j] + square[8, 8] * turn[2, j]
    for i in range(9):
        corner, axis = i // 3, i % 3
        vector[i] = turn[0, i] * moment[6] + turn[1, i] * moment[7] + turn[2, i] * moment[8]
        if axis < 2:
            vector[i] += moment[2 * corner + axis]
        for j in range(i, 9):
            value = turn[0, i] * half[0, j] + turn[1, i] * half[1, j] + turn[2, i] * half[2, j]
            other, across = j // 3, j % 3
            if axis < 2:
                value += mixed[2 * corner + axis, j]
            if across < 2:
                value += mixed[2 * other + across, i]
                if axis < 2:
                    p, q = 2 * corner + axis, 2 * other + across
                    value += square[min(p, q), max(p, q)]
            block[PACKED[i, j]] = value


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def triangle_cross(triangles_range, photo, window, points, mesh, samples, albedo, light, weight, modes, cross):
    """Write sum w g h^T (T, 9, 27 + A): h is the residual's derivative by light (channel by channel) and albedo.

    modes (V, 3, A): the albedo's change per unit of each coefficient.
    """
    triangles, first, flat_start = mesh
    barycentric, normal_start = samples
    flat, normal, basis, g = np.empty(3), np.empty(3), np.empty(9), np.empty(9)
    work, slopes, turn = np.empty((3, 6)), np.empty((3, 2)), np.empty((3, 9))
    for t in range(triangles_range[0], triangles_range[1]):
        triangle = triangles[t]
        triangle_normal(points, triangle, flat)
        _normal_derivative(points, triangle, turn)
        cross[t] = 0.0
        for m in range(first[t], first[t + 1]):
            weights = barycentric[m]
            sample = (weights, normal_start[m])
            flats = (flat, flat_start[t], normal, basis)
            _sample_derivatives(photo, window, points, triangle, sample, flats, albedo, light, work, slopes)
            for k in range(3):
                for i in range(9):
                    g[i] = turn[0, i] * work[k, 3] + turn[1, i] * work[k, 4] + turn[2, i] * work[k, 5]
                for i in range(3):
                    g[3 * i] += weights[i] * work[k, 1]
                    g[3 * i + 1] += weights[i] * work[k, 2]
                by_shading, by_albedo = weight[m] * slopes[k, 0], weight[m] * slopes[k, 1]
                for i in range(9):
                    row = cross[t, i]
                    for p in range(9):
                        row[9 * k + p] += g[i] * by_shading * basis[p]
                    for a in range(modes.shape[2]):
                        mode = 0.0
                        for c in range(3):
                            mode += weights[c] * modes[triangle[c], k, a]
                        row[27 + a] += g[i] * by_albedo * mode
