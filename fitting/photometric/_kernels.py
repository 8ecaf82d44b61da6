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

REORDERED = FUSED | {"reassoc"}
"""The same, and a sum may be taken in parts: in the same order in every run."""

EDGE = 1e-3  # px: how close to the last row or column of pixels bilinear interpolation goes

LEAST_POWER, CELLS = -9, 32
"""Displayed values come from a table: of linear values from 2^LEAST_POWER to 8, CELLS to a power of two."""
_EDGES = ((np.arange(CELLS * (3 - LEAST_POWER) + 1) + (1023 + LEAST_POWER) * CELLS) << 47).view(np.float64)
_MIDDLES = 0.5 * (_EDGES[1:] + _EDGES[:-1])
INVERSE, POWER = 1.0 / _MIDDLES, _MIDDLES ** (5.0 / 12.0)
S1, S2, S3, S4, S5, S6, S7 = np.cumprod([(5.0 / 12.0 - k) / (k + 1.0) for k in range(7)]).tolist()
"""Binomial series of (1 + e)^(5/12)."""


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def displayed(linear):
    """Return the sRGB value of linear light and its slope.

    x^(1 / 2.4) by its series about the middle of x's cell, which the leading bits of x name: |e| < 1/64, and the first
    term left out is below 1e-16.
    """
    if linear <= 0.0031308:
        return 12.92 * linear, 12.92
    if linear < 8.0:
        cell = (np.float64(linear).view(np.int64) >> 47) - (1023 + LEAST_POWER) * CELLS
        e = linear * INVERSE[cell] - 1.0
        series = 1.0 + e * (S1 + e * (S2 + e * (S3 + e * (S4 + e * (S5 + e * (S6 + e * S7))))))
        power = POWER[cell] * series
    else:
        power = linear ** (5.0 / 12.0)
    return 1.055 * power - 0.055, 1.055 * power / (2.4 * linear)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def shading_basis(x, y, z):
    """Return the nine functions of the unit normal (x, y, z)."""
    polar = C20 * (3.0 * z * z - 1.0)
    return C0, C1 * y, C1 * z, C1 * x, C2 * x * y, C2 * y * z, polar, C2 * x * z, C22 * (x * x - y * y)


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
def sample_normals(triangles, owner, barycentric, smooth, normals):
    """Write the smooth unit normals (M, 3) at points of triangles `owner` (M,); smooth (N, 3): the vertices'."""
    for m in range(len(owner)):
        a, b, c = triangles[owner[m], 0], triangles[owner[m], 1], triangles[owner[m], 2]
        i, j, k = barycentric[m, 0], barycentric[m, 1], barycentric[m, 2]
        x = i * smooth[a, 0] + j * smooth[b, 0] + k * smooth[c, 0]
        y = i * smooth[a, 1] + j * smooth[b, 1] + k * smooth[c, 1]
        z = i * smooth[a, 2] + j * smooth[b, 2] + k * smooth[c, 2]
        length = math.sqrt(x * x + y * y + z * z)
        scale = 1.0 / length if length > 0.0 else 0.0
        normals[m, 0], normals[m, 1], normals[m, 2] = x * scale, y * scale, z * scale


@njit(cache=True, error_model="numpy", nogil=True, fastmath=REORDERED)
def add_modes(modes, coefficients, rows, values):
    """Add modes[rows] @ coefficients to values (M, 3); modes (N, 3, A), of the coefficients' type."""
    for m in range(len(rows)):
        for k in range(3):
            mode, total = modes[rows[m], k], modes.dtype.type(0.0)
            for a in range(len(coefficients)):
                total += mode[a] * coefficients[a]
            values[m, k] += total


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def appearance_sums(triangles_range, mesh, samples, colours, albedo, light, weight, sums):
    """Write what light and albedo need of each triangle's samples where the view was made.

    With e = w tau (value - colour), tau the slope of the displayed value: sums = (sum e rho f (T, 3, 9),
    sum b_i e shading (T, 3 corners, 3 channels), sum w tau^2 (T, 3)). colours (M, 3) sRGB; the rest as in `residuals`.
    """
    triangles, first, _ = mesh
    barycentric, normals = samples
    by_light, by_corner, squares = sums
    at_corners = np.empty((3, 3))
    for t in range(triangles_range[0], triangles_range[1]):
        _corner_values(albedo, triangles[t], at_corners)
        by_light[t], by_corner[t], squares[t] = 0.0, 0.0, 0.0
        for m in range(first[t], first[t + 1]):
            f = shading_basis(normals[m, 0], normals[m, 1], normals[m, 2])
            i, j, n = barycentric[m, 0], barycentric[m, 1], barycentric[m, 2]
            for k in range(3):
                rho = i * at_corners[0, k] + j * at_corners[1, k] + n * at_corners[2, k]
                shading = _shading(f, light, k)
                value, tau = displayed(rho * shading)
                error = weight[m] * tau * (value - colours[m, k])
                squares[t, k] += weight[m] * tau * tau
                for p in range(9):
                    by_light[t, k, p] += error * rho * f[p]
                by_corner[t, 0, k] += i * error * shading
                by_corner[t, 1, k] += j * error * shading
                by_corner[t, 2, k] += n * error * shading


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def appearance_design(corners, barycentric, functions, by_shading, by_albedo, modes, design):
    """Write the derivative (n, 3, 27 + A) of values by light, channel by channel, and albedo to `design`.

    corners (n, 3): the rows of `modes` (V, 3, A) that a point lies between; functions (n, 9); by_shading, by_albedo
    (n, 3): the values' derivatives.
    """
    for m in range(len(corners)):
        i, j, h = barycentric[m, 0], barycentric[m, 1], barycentric[m, 2]
        for k in range(3):
            row = design[m, k]
            row[:27] = 0.0
            for p in range(9):
                row[9 * k + p] = by_shading[m, k] * functions[m, p]
            a, b, c = modes[corners[m, 0], k], modes[corners[m, 1], k], modes[corners[m, 2], k]
            x, y, z = by_albedo[m, k] * i, by_albedo[m, k] * j, by_albedo[m, k] * h
            x, y, z = modes.dtype.type(x), modes.dtype.type(y), modes.dtype.type(z)
            for q in range(modes.shape[2]):
                row[27 + q] = x * a[q] + y * b[q] + z * c[q]


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _carried(start, shift):
    """Return the unit normal of a sample whose triangle's normal moved by `shift`, and 1 / |.| of the sum before."""
    x, y, z = start[0] + shift[0], start[1] + shift[1], start[2] + shift[2]
    length = math.sqrt(x * x + y * y + z * z)
    scale = 1.0 / length if length > 0.0 else 0.0
    return x * scale, y * scale, z * scale, scale


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _pixel(corners, weights, right, bottom):
    """Return where a sample falls in the level: row and column of pixels, and the shares of the next ones.

    corners: u and v of its triangle's three corners, px of the level.
    """
    u = weights[0] * corners[0] + weights[1] * corners[1] + weights[2] * corners[2]
    v = weights[0] * corners[3] + weights[1] * corners[4] + weights[2] * corners[5]
    u, v = min(max(u, 0.0), right - EDGE), min(max(v, 0.0), bottom - EDGE)
    row, column = int(v), int(u)
    return row, column, v - row, u - column


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _prepared(points, triangle, flat_start, window, flat):
    """Return a triangle's corners in the level (6,), and how far its normal moved; `flat` (3,) is room for that."""
    factor, left, top, _, _ = window
    a, b, c = triangle[0], triangle[1], triangle[2]
    triangle_normal(points, triangle, flat)
    corners = (
        factor * points[a, 0] + left, factor * points[b, 0] + left, factor * points[c, 0] + left,
        factor * points[a, 1] + top, factor * points[b, 1] + top, factor * points[c, 1] + top,
    )  # fmt: skip
    return corners, (flat[0] - flat_start[0], flat[1] - flat_start[1], flat[2] - flat_start[2])


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _shading(f, light, k):
    """Return the shading of channel k from the nine functions f."""
    return (
        f[0] * light[0, k] + f[1] * light[1, k] + f[2] * light[2, k]
        + f[3] * light[3, k] + f[4] * light[4, k] + f[5] * light[5, k]
        + f[6] * light[6, k] + f[7] * light[7, k] + f[8] * light[8, k]
    )  # fmt: skip


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def residuals(triangles_range, photo, window, points, mesh, samples, albedo, light, residual):
    """Write photo - model (M, 3), in sRGB values, of the samples of the triangles in the range (begin, end).

    photo (H, W, 3); window: see `levels.Level.window`; points (V, 3) camera frame, px; mesh = (triangles (T, 3),
    first (T + 1,), flat_start (T, 3)); samples = (barycentric (M, 3), normal_start (M, 3)); albedo (V, 3);
    light (9, 3).
    """
    triangles, first, flat_start = mesh
    barycentric, normal_start = samples
    flat = np.empty(3)
    for t in range(triangles_range[0], triangles_range[1]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        corners, shift = _prepared(points, triangles[t], flat_start[t], window, flat)
        for m in range(first[t], first[t + 1]):
            weights = (barycentric[m, 0], barycentric[m, 1], barycentric[m, 2])
            row, column, down, along = _pixel(corners, weights, window[3], window[4])
            x, y, z, _ = _carried(normal_start[m], shift)
            f = shading_basis(x, y, z)
            for k in range(3):
                upper = (1.0 - along) * photo[row, column, k] + along * photo[row, column + 1, k]
                lower = (1.0 - along) * photo[row + 1, column, k] + along * photo[row + 1, column + 1, k]
                rho = weights[0] * albedo[a, k] + weights[1] * albedo[b, k] + weights[2] * albedo[c, k]
                value, _ = displayed(rho * _shading(f, light, k))
                residual[m, k] = (1.0 - down) * upper + down * lower - value


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _normal_derivative(points, triangle, n, derivative):
    """Write d(unit normal n) / d(corners) (3, 9) of a triangle.

    N = u x v with u = b - a, v = c - a:  dN = -v x du + u x dv,  d(N / |N|) = (I - n n^T) dN / |N|.
    """
    a, b, c = triangle[0], triangle[1], triangle[2]
    ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    scale = 1.0 / length if length > 0.0 else 0.0
    _write_turn((-scale * vx, -scale * vy, -scale * vz), n, derivative[:, 3:6])
    _write_turn((scale * ux, scale * uy, scale * uz), n, derivative[:, 6:9])
    for i in range(3):
        for j in range(3):
            derivative[i, j] = -derivative[i, 3 + j] - derivative[i, 6 + j]


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _write_turn(w, n, turn):
    """Write (I - n n^T) [w] = [w] - n (n x w)^T, with [w] x = w x x, to `turn` (3, 3)."""
    across = (n[1] * w[2] - n[2] * w[1], n[2] * w[0] - n[0] * w[2], n[0] * w[1] - n[1] * w[0])
    for i in range(3):
        turn[i, 0], turn[i, 1], turn[i, 2] = -n[i] * across[0], -n[i] * across[1], -n[i] * across[2]
    turn[0, 1] -= w[2]
    turn[0, 2] += w[1]
    turn[1, 0] += w[2]
    turn[1, 2] -= w[0]
    turn[2, 0] -= w[1]
    turn[2, 1] += w[0]


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _shading_gradient(x, y, z, light, k):
    """Return d(basis . light_k) / d(normal)."""
    l4, l5, l7, l8 = C2 * light[4, k], C2 * light[5, k], C2 * light[7, k], 2.0 * C22 * light[8, k]
    return (
        C1 * light[3, k] + l4 * y + l7 * z + l8 * x,
        C1 * light[1, k] + l4 * x + l5 * z - l8 * y,
        C1 * light[2, k] + l5 * y + l7 * x + 6.0 * C20 * light[6, k] * z,
    )


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, inline="always")  # a tenth faster
def _sample_derivatives(photo, window, corners, shift, weights, normal_start, albedo, light, work, slopes):
    """Write per channel (residual, d/du, d/dv, d/dn_x, d/dn_y, d/dn_z) of one sample to `work` (3, 6).

    (u, v) is where the sample lies in the image, n its triangle's normal; albedo: (3, 3) of the corners. `slopes` (3,)
    receives the displayed values' derivatives by linear light.
    """
    row, column, down, along = _pixel(corners, weights, window[3], window[4])
    x, y, z, shrink = _carried(normal_start, shift)
    f = shading_basis(x, y, z)
    for k in range(3):
        here, right = photo[row, column, k], photo[row, column + 1, k]
        below, corner = photo[row + 1, column, k], photo[row + 1, column + 1, k]
        shading = _shading(f, light, k)
        rho = weights[0] * albedo[0, k] + weights[1] * albedo[1, k] + weights[2] * albedo[2, k]
        value, slope = displayed(rho * shading)
        upper, lower = here + along * (right - here), below + along * (corner - below)
        gx, gy, gz = _shading_gradient(x, y, z, light, k)
        radial = gx * x + gy * y + gz * z
        slopes[k] = slope
        gain = -slope * rho * shrink
        work[k, 0] = upper + down * (lower - upper) - value
        work[k, 1] = window[0] * ((1.0 - down) * (right - here) + down * (corner - below))
        work[k, 2] = window[0] * (lower - upper)
        work[k, 3] = gain * (gx - radial * x)
        work[k, 4] = gain * (gy - radial * y)
        work[k, 5] = gain * (gz - radial * z)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _corner_values(values, triangle, at_corners):
    """Write the values (V, 3) of a triangle's corners to `at_corners` (3, 3)."""
    for i in range(3):
        for k in range(3):
            at_corners[i, k] = values[triangle[i], k]


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def triangle_sums(triangles_range, photo, window, points, mesh, samples, albedo, light, weight, sums):
    """Write sums over each triangle's samples for the triangles in the range; weight (M,), the other inputs as above.

    sums = (blocks (T, 45), vectors (T, 9), pulls (T, 3, 9)): sum w g g^T and sum w g r over all channels, and per
    channel sum w tau g, where tau is the slope of the displayed value.

    A sample's derivative by its triangle's corners is g = E z with z = (b_0 (u, v), b_1 (u, v), b_2 (u, v), n), where
    u, v and n stand for the derivatives by them: the sums over samples are taken of z, and E, which holds the normal's
    derivative N (3, 9), joins once per triangle.
    """
    triangles, first, flat_start = mesh
    barycentric, normal_start = samples
    blocks, vectors, pulls = sums
    flat, at_corners = np.empty(3), np.empty((3, 3))
    work, slopes, turn = np.empty((3, 6)), np.empty(3), np.empty((3, 9))
    of_triangle = (np.empty((3, 6)), np.empty((3, 6)), np.empty(6), np.empty(9), np.empty((3, 9)))
    room = (np.empty((6, 9)), np.empty((3, 9)), np.empty((9, 9)))
    for t in range(triangles_range[0], triangles_range[1]):
        triangle = triangles[t]
        corners, shift = _prepared(points, triangle, flat_start[t], window, flat)
        _corner_values(albedo, triangle, at_corners)
        for part in of_triangle[:2]:
            part[:] = 0.0
        of_triangle[2][:], of_triangle[3][:], of_triangle[4][:] = 0.0, 0.0, 0.0
        for m in range(first[t], first[t + 1]):
            if weight[m] == 0.0:
                continue
            b = (barycentric[m, 0], barycentric[m, 1], barycentric[m, 2])
            _sample_derivatives(
                photo, window, corners, shift, b, normal_start[m], at_corners, light, work, slopes
            )  # fmt: skip
            _add_sample(work, slopes, b, weight[m], of_triangle)
        _normal_derivative(points, triangle, flat, turn)
        _to_corners(of_triangle, turn, room, blocks[t])
        _moment_to_corners(of_triangle[3], turn, vectors[t])
        for k in range(3):
            _moment_to_corners(of_triangle[4][k], turn, pulls[t, k])


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _add_sample(work, slopes, b, w, sums):
    """Add a sample to the sums of w b_i b_j times (uu, uv, vv), w b_i times (u n, v n), w n n^T, w z r, and w tau z."""
    places, mixed, normals, moment, pulls = sums
    uu, uv, vv = 0.0, 0.0, 0.0
    ux, uy, uz, vx, vy, vz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    xx, xy, xz, yy, yz, zz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    ru, rv, rx, ry, rz = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(3):
        r, u, v, x, y, z = work[k, 0], work[k, 1], work[k, 2], work[k, 3], work[k, 4], work[k, 5]
        ru, rv, rx, ry, rz = ru + r * u, rv + r * v, rx + r * x, ry + r * y, rz + r * z
        uu, uv, vv = uu + u * u, uv + u * v, vv + v * v
        ux, uy, uz = ux + u * x, uy + u * y, uz + u * z
        vx, vy, vz = vx + v * x, vy + v * y, vz + v * z
        xx, xy, xz, yy, yz, zz = xx + x * x, xy + x * y, xz + x * z, yy + y * y, yz + y * z, zz + z * z
        tau, pull = w * slopes[k], pulls[k]
        for i in range(3):
            pull[2 * i] += tau * b[i] * u
            pull[2 * i + 1] += tau * b[i] * v
        pull[6] += tau * x
        pull[7] += tau * y
        pull[8] += tau * z
    pairs = (w * b[0] * b[0], w * b[0] * b[1], w * b[0] * b[2], w * b[1] * b[1], w * b[1] * b[2], w * b[2] * b[2])
    for n in range(6):
        places[0, n] += pairs[n] * uu
        places[1, n] += pairs[n] * uv
        places[2, n] += pairs[n] * vv
    for i in range(3):
        bi = w * b[i]
        mixed[i, 0] += bi * ux
        mixed[i, 1] += bi * uy
        mixed[i, 2] += bi * uz
        mixed[i, 3] += bi * vx
        mixed[i, 4] += bi * vy
        mixed[i, 5] += bi * vz
        moment[2 * i] += bi * ru
        moment[2 * i + 1] += bi * rv
    moment[6] += w * rx
    moment[7] += w * ry
    moment[8] += w * rz
    normals[0] += w * xx
    normals[1] += w * xy
    normals[2] += w * xz
    normals[3] += w * yy
    normals[4] += w * yz
    normals[5] += w * zz


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _moment_to_corners(moment, turn, vector):
    """Write E m (9,) of a sum m (9,) of z's multiples."""
    for i in range(9):
        vector[i] = turn[0, i] * moment[6] + turn[1, i] * moment[7] + turn[2, i] * moment[8]
    for i in range(3):
        vector[3 * i] += moment[2 * i]
        vector[3 * i + 1] += moment[2 * i + 1]


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def _to_corners(sums, turn, room, block):
    """Write E Z E^T, packed, where Z = sum w z z^T comes as `_add_sample` left it.

    With Z in parts of places p and normals n, E Z E^T = Z_pp + (H + H^T),  H = Z_pn N + 1/2 N^T Z_nn N.
    """
    places, mixed, normals, _, _ = sums
    by_place, by_normal, half = room
    xx, xy, xz, yy, yz, zz = normals[0], normals[1], normals[2], normals[3], normals[4], normals[5]
    for j in range(9):
        x, y, z = turn[0, j], turn[1, j], turn[2, j]
        for i in range(3):
            by_place[2 * i, j] = mixed[i, 0] * x + mixed[i, 1] * y + mixed[i, 2] * z
            by_place[2 * i + 1, j] = mixed[i, 3] * x + mixed[i, 4] * y + mixed[i, 5] * z
        by_normal[0, j] = 0.5 * (xx * x + xy * y + xz * z)
        by_normal[1, j] = 0.5 * (xy * x + yy * y + yz * z)
        by_normal[2, j] = 0.5 * (xz * x + yz * y + zz * z)
    for i in range(9):
        x, y, z = turn[0, i], turn[1, i], turn[2, i]
        for j in range(9):
            half[i, j] = x * by_normal[0, j] + y * by_normal[1, j] + z * by_normal[2, j]
    for i in range(3):
        for axis in range(2):
            for j in range(9):
                half[3 * i + axis, j] += by_place[2 * i + axis, j]
    n = 0
    for i in range(9):
        for j in range(i, 9):
            block[n] = half[i, j] + half[j, i]
            n += 1
    n = 0
    for i in range(3):
        for j in range(i, 3):
            block[PACKED[3 * i, 3 * j]] += places[0, n]
            block[PACKED[3 * i, 3 * j + 1]] += places[1, n]
            block[PACKED[3 * i + 1, 3 * j + 1]] += places[2, n]
            if i < j:
                block[PACKED[3 * i + 1, 3 * j]] += places[1, n]
            n += 1


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def triangle_cross(triangles_range, pulls, triangles, centres, by_shading, by_albedo, modes, cross):
    """Write sum w g h^T (T, 9, 27 + A) of the triangles in the range, h = -tau (by_shading f, by_albedo modes).

    pulls: as `triangle_sums` left them; centres = (barycentric (T, 3), functions f (T, 9)); by_shading, by_albedo
    (T, 3); modes (V, 3, A): the albedo's change per unit of each coefficient.
    """
    barycentric, functions = centres
    h = np.empty(9 + modes.shape[2], cross.dtype)
    for t in range(triangles_range[0], triangles_range[1]):
        cross[t] = 0.0
        i, j, n = barycentric[t, 0], barycentric[t, 1], barycentric[t, 2]
        for k in range(3):
            for p in range(9):
                h[p] = -by_shading[t, k] * functions[t, p]
            a, b, c = modes[triangles[t, 0], k], modes[triangles[t, 1], k], modes[triangles[t, 2], k]
            x, y, z = -by_albedo[t, k] * i, -by_albedo[t, k] * j, -by_albedo[t, k] * n
            x, y, z = modes.dtype.type(x), modes.dtype.type(y), modes.dtype.type(z)
            for q in range(modes.shape[2]):
                h[9 + q] = x * a[q] + y * b[q] + z * c[q]
            for corner in range(9):
                pull, row = cross.dtype.type(pulls[t, k, corner]), cross[t, corner]
                for p in range(9):
                    row[9 * k + p] += pull * h[p]
                for q in range(modes.shape[2]):
                    row[27 + q] += pull * h[9 + q]
