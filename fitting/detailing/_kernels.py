"""Compiled loops of the detail stage. Formulas and names as in `detail.py`.

Heights stand at the texels (S, S), everything that the photo tells in the cells (S - 1, S - 1) between four of them.
Rows are taken one after the other through small ring buffers, so that a step of the solver reads and writes each
array once.
"""

import math

import numpy as np
from numba import njit

from ..photometric._kernels import C1, C2, C20, C22, FUSED, REORDERED, displayed, shading_basis
from ..texturing._kernels import HIDDEN, INSET, LOOSE, observe, project, sample

CHANNELS = 3

DARKEST = 1e-3
"""Linear light and reflectance below which a ratio says nothing."""

LEAST_VARIANCE = 1e-5
"""mm^2, of a log colour: keeps the covariance well conditioned."""

W11, W12, W22, A11, A12, A22, LEFT, BELOW, TWIST = 0, 1, 2, 3, 4, 5, 6, 7, 8
"""Entries of the table of cells, see `apply`."""


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def observe_cells(triangle, barycentric, mesh, tangents, carried, scene, cells):
    """Write what each cell is and shows; what no chart covers stays zero.

    triangle (S, S) and barycentric (S, S, 3) are the surface's at the cells' centres, tangents (T, 2, 3) mm per texel
    along a row and down a column, carried (N, 5) of the vertices: whether the photo counts there, 0-1, and what is
    interpolated. cells: normals (3, S, S) unit; axes (2, 3, S, S); frames (3, S, S); metric (2, S, S), the area, mm^2,
    and the ratio of height to width; values (4, S, S) interpolated; colours (3, S, S) linear; seen (S, S) 0-1.
    """
    normals, axes, frames, metric, values, colours, seen = cells
    size = len(triangle)
    colour, shading, n = np.zeros(3), np.zeros(3), np.zeros(3)
    for y in range(size - 1):
        for x in range(size - 1):
            t = triangle[y, x]
            if t < 0 or mesh.kinds[t] == HIDDEN or mesh.kinds[t] == INSET:
                continue
            a, b, c = mesh.triangles[t, 0], mesh.triangles[t, 1], mesh.triangles[t, 2]
            i, j, k = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            for m in range(3):
                n[m] = i * mesh.normals[a, m] + j * mesh.normals[b, m] + k * mesh.normals[c, m]
            length = math.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
            p, q = tangents[t, 0], tangents[t, 1]
            e = p[0] * p[0] + p[1] * p[1] + p[2] * p[2]
            f = p[0] * q[0] + p[1] * q[1] + p[2] * q[2]
            g = q[0] * q[0] + q[1] * q[1] + q[2] * q[2]
            area = math.sqrt(max(e * g - f * f, 0.0))
            if not (length > 0.0 and area > 1e-12):
                continue
            for m in range(3):
                n[m] /= length
                normals[m, y, x] = n[m]
            metric[0, y, x], metric[1, y, x] = area, math.sqrt(g / e)
            # The root of a symmetric 2 x 2 matrix M is (M + sqrt(det) 1) / sqrt(trace + 2 sqrt(det)).
            scale = 1.0 / (area * math.sqrt(e + g + 2.0 * area))
            w11, w12, w22 = (g + area) * scale, -f * scale, (e + area) * scale
            frames[0, y, x], frames[1, y, x], frames[2, y, x] = w11, w12, w22
            write_axes(p, q, w11, w12, w22, n, axes, y, x)
            for m in range(4):
                values[m, y, x] = i * carried[a, 1 + m] + j * carried[b, 1 + m] + k * carried[c, 1 + m]
            if mesh.kinds[t] == LOOSE:
                continue
            weight = observe(mesh, scene, a, b, c, barycentric[y, x], mesh.kinds[t], mesh.level[0, t], colour, shading)
            seen[y, x] = weight * (i * carried[a, 0] + j * carried[b, 0] + k * carried[c, 0])
            if weight > 0.0:
                write_colour(mesh, scene, a, b, c, barycentric[y, x], p, q, mesh.level[0, t], colour, colours, y, x)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def write_axes(p, q, w11, w12, w22, n, axes, y, x):
    """Write the orthonormal tangents (p, q) W, turned from the triangle's plane into that of n by the shortest way."""
    ax, ay, az = w11 * p[0] + w12 * q[0], w11 * p[1] + w12 * q[1], w11 * p[2] + w12 * q[2]
    bx, by, bz = w12 * p[0] + w22 * q[0], w12 * p[1] + w22 * q[1], w12 * p[2] + w22 * q[2]
    fx, fy, fz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    cosine = fx * n[0] + fy * n[1] + fz * n[2]
    if cosine < 0.0:
        fx, fy, fz, cosine = -fx, -fy, -fz, -cosine
    ux, uy, uz = fy * n[2] - fz * n[1], fz * n[0] - fx * n[2], fx * n[1] - fy * n[0]
    for m in range(2):
        vx, vy, vz = (ax, ay, az) if m == 0 else (bx, by, bz)
        along = (ux * vx + uy * vy + uz * vz) / (1.0 + cosine)
        axes[m, 0, y, x] = cosine * vx + uy * vz - uz * vy + along * ux
        axes[m, 1, y, x] = cosine * vy + uz * vx - ux * vz + along * uy
        axes[m, 2, y, x] = cosine * vz + ux * vy - uy * vx + along * uz


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def write_colour(mesh, scene, a, b, c, weights, p, q, level, colour, colours, y, x):
    """Write the mean light of a cell: of the middles of its quarters, each from the level of the photo that is as fine.

    The cell is around a point of the triangle a, b, c with barycentric `weights`, p and q its sides, mm; `level` has
    one pixel for it.
    """
    px = weights[0] * mesh.points[a, 0] + weights[1] * mesh.points[b, 0] + weights[2] * mesh.points[c, 0]
    py = weights[0] * mesh.points[a, 1] + weights[1] * mesh.points[b, 1] + weights[2] * mesh.points[c, 1]
    pz = weights[0] * mesh.points[a, 2] + weights[1] * mesh.points[b, 2] + weights[2] * mesh.points[c, 2]
    for quarter in range(4):
        s, r = 0.25 if quarter % 2 else -0.25, 0.25 if quarter // 2 else -0.25
        u, v = project(scene.lens, px + s * p[0] + r * q[0], py + s * p[1] + r * q[1], pz + s * p[2] + r * q[2])
        sample(scene.pyramid, u, v, level - 1.0, colour)
        for k in range(CHANNELS):
            colours[k, y, x] += 0.25 * colour[k]


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def precision(colours, area, shares, seen, spots, noise, telling, weights):
    """Write the weights (6, S, S) of the cells' residuals, entries 11, 12, 13, 22, 23, 33 (see noise.py).

    spots (3, 3) is the skin's covariance. A channel tells nothing below telling[0] and beyond telling[3], all it can
    between telling[1] and telling[2].
    """
    size = seen.shape[0]
    variance = np.zeros(3)
    for y in range(size - 1):
        for x in range(size - 1):
            if not (seen[y, x] > 0.0 and area[y, x] > 0.0):
                continue
            pixel = area[y, x] / max(shares[y, x], 1e-6)
            for k in range(CHANNELS):
                _, slope = displayed(max(colours[k, y, x], DARKEST))
                deviation = noise / (slope * max(colours[k, y, x], DARKEST))
                clear = min(
                    (colours[k, y, x] - telling[0]) / (telling[1] - telling[0]),
                    (telling[3] - colours[k, y, x]) / (telling[3] - telling[2]),
                )
                variance[k] = pixel * deviation * deviation / max(min(clear, 1.0), 1e-4) ** 2 + LEAST_VARIANCE
            a, b, c = spots[0, 0] + variance[0], spots[0, 1], spots[0, 2]
            d, e, f = spots[1, 1] + variance[1], spots[1, 2], spots[2, 2] + variance[2]
            c11, c12, c13 = d * f - e * e, c * e - b * f, b * e - c * d
            scale = area[y, x] / (a * c11 + b * c12 + c * c13)
            weights[0, y, x], weights[1, y, x], weights[2, y, x] = scale * c11, scale * c12, scale * c13
            weights[3, y, x], weights[4, y, x] = scale * (a * f - c * c), scale * (b * c - a * e)
            weights[5, y, x] = scale * (a * d - b * b)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def shade(light, x, y, z):
    """Return the shading and its gradient by the unit normal (x, y, z) under light (9,)."""
    h0, h1, h2, h3, h4, h5, h6, h7, h8 = shading_basis(x, y, z)
    value = h0 * light[0] + h1 * light[1] + h2 * light[2] + h3 * light[3] + h4 * light[4]
    value += h5 * light[5] + h6 * light[6] + h7 * light[7] + h8 * light[8]
    by_x = C1 * light[3] + C2 * (y * light[4] + z * light[7]) + 2.0 * C22 * x * light[8]
    by_y = C1 * light[1] + C2 * (x * light[4] + z * light[5]) - 2.0 * C22 * y * light[8]
    by_z = C1 * light[2] + C2 * (y * light[5] + x * light[7]) + 6.0 * C20 * z * light[6]
    return value, by_x, by_y, by_z


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def slopes(heights, frames, first, second):
    """Write the slopes gamma = W (D_u, D_w) of heights (S, S) in the cells: first and second (S, S), the last row and
    column zero."""
    size = heights.shape[0]
    for y in range(size - 1):
        upper, lower = heights[y], heights[y + 1]
        for x in range(size - 1):
            down = upper[x + 1] - lower[x]
            across = lower[x + 1] - upper[x]
            u, w = np.float32(0.5) * (across + down), np.float32(0.5) * (across - down)
            first[y, x] = frames[0, y, x] * u + frames[1, y, x] * w
            second[y, x] = frames[1, y, x] * u + frames[2, y, x] * w


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def add_adjoint(first, second, frames, heights):
    """Add to heights (S, S) the adjoint of `slopes`, of first and second (S, S)."""
    size = heights.shape[0]
    for y in range(size - 1):
        for x in range(size - 1):
            u = frames[0, y, x] * first[y, x] + frames[1, y, x] * second[y, x]
            w = frames[1, y, x] * first[y, x] + frames[2, y, x] * second[y, x]
            across, down = np.float32(0.5) * (u + w), np.float32(0.5) * (u - w)
            heights[y, x] -= across
            heights[y + 1, x + 1] += across
            heights[y, x + 1] += down
            heights[y + 1, x] -= down


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def tilted(first, second, normals, axes, y, x):
    """Return the unit normal of a cell at its slope, and the length of n - g before it was made unit."""
    a, b = first[y, x], second[y, x]
    nx = normals[0, y, x] - a * axes[0, 0, y, x] - b * axes[1, 0, y, x]
    ny = normals[1, y, x] - a * axes[0, 1, y, x] - b * axes[1, 1, y, x]
    nz = normals[2, y, x] - a * axes[0, 2, y, x] - b * axes[1, 2, y, x]
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    return nx / length, ny / length, nz / length, length


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def write_excess(logs, seen, first, second, normals, axes, light, floor, excess):
    """Write logs (3, S, S) less the log of the shading at slopes first and second (S, S), where a cell is seen.

    axes (2, 3, S, S) are the unit tangents that slopes are along; shading below floor (3,) counts as that.
    """
    size = seen.shape[0]
    for y in range(size - 1):
        for x in range(size - 1):
            if not seen[y, x] > 0.0:
                continue
            nx, ny, nz, _ = tilted(first, second, normals, axes, y, x)
            for k in range(CHANNELS):
                value = shade(light[:, k], nx, ny, nz)[0]
                excess[k, y, x] = logs[k, y, x] - math.log(max(value, floor[k]))


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def linearise(first, second, normals, axes, light, floor, target, precision, curvature, pull):
    """Write each cell's part of the normal equations in its slopes, and return the data's energy.

    target (3, S, S) is what the log of the shading should be; precision (6, S, S) the weights 11, 12, 13, 22, 23, 33
    of its errors. curvature (3, S, S) gets J'PJ's 11, 12, 22, pull (2, S, S) the gradient.
    """
    size = first.shape[0]
    total = 0.0
    residual, slope = np.zeros(3), np.zeros((3, 2))
    for y in range(size - 1):
        for x in range(size - 1):
            if not precision[0, y, x] > 0.0:
                continue
            nx, ny, nz, length = tilted(first, second, normals, axes, y, x)
            for k in range(CHANNELS):
                value, by_x, by_y, by_z = shade(light[:, k], nx, ny, nz)
                residual[k] = target[k, y, x] - math.log(max(value, floor[k]))
                inverse = -1.0 / (value * length) if value > floor[k] else 0.0
                along = by_x * nx + by_y * ny + by_z * nz
                by_x, by_y, by_z = by_x - along * nx, by_y - along * ny, by_z - along * nz
                for m in range(2):
                    part = by_x * axes[m, 0, y, x] + by_y * axes[m, 1, y, x] + by_z * axes[m, 2, y, x]
                    slope[k, m] = inverse * part
            p11, p12, p13 = precision[0, y, x], precision[1, y, x], precision[2, y, x]
            p22, p23, p33 = precision[3, y, x], precision[4, y, x], precision[5, y, x]
            r0, r1, r2 = residual[0], residual[1], residual[2]
            w0, w1, w2 = p11 * r0 + p12 * r1 + p13 * r2, p12 * r0 + p22 * r1 + p23 * r2, p13 * r0 + p23 * r1 + p33 * r2
            total += 0.5 * (r0 * w0 + r1 * w1 + r2 * w2)
            a0, a1, a2 = slope[0, 0], slope[1, 0], slope[2, 0]
            b0, b1, b2 = slope[0, 1], slope[1, 1], slope[2, 1]
            pull[0, y, x] = -(a0 * w0 + a1 * w1 + a2 * w2)
            pull[1, y, x] = -(b0 * w0 + b1 * w1 + b2 * w2)
            c0, c1, c2 = p11 * a0 + p12 * a1 + p13 * a2, p12 * a0 + p22 * a1 + p23 * a2, p13 * a0 + p23 * a1 + p33 * a2
            curvature[0, y, x] = a0 * c0 + a1 * c1 + a2 * c2
            curvature[1, y, x] = b0 * c0 + b1 * c1 + b2 * c2
            c0, c1, c2 = p11 * b0 + p12 * b1 + p13 * b2, p12 * b0 + p22 * b1 + p23 * b2, p13 * b0 + p23 * b1 + p33 * b2
            curvature[2, y, x] = b0 * c0 + b1 * c1 + b2 * c2
    return total


@njit(cache=True, error_model="numpy", nogil=True, fastmath=REORDERED)
def slope_row(upper, lower, cells, slopes):
    """Write slopes and twist of one row of cells to slopes (3, S + 1), from their second entry on.

    upper and lower (S,) are the heights above and below; cells as in `apply`.
    """
    half = np.float32(0.5)
    count = len(upper) - 1
    w11, w12, w22 = cells[W11, :count], cells[W12, :count], cells[W22, :count]
    upper_left, upper_right, lower_left, lower_right = upper[:count], upper[1:], lower[:count], lower[1:]
    first, second, twist = slopes[0, 1:], slopes[1, 1:], slopes[2, 1:]
    for x in range(count):
        down = upper_right[x] - lower_left[x]
        across = lower_right[x] - upper_left[x]
        twist[x] = (upper_left[x] - upper_right[x]) + (lower_right[x] - lower_left[x])
        u, w = half * (across + down), half * (across - down)
        first[x] = w11[x] * u + w12[x] * w
        second[x] = w12[x] * u + w22[x] * w


@njit(cache=True, error_model="numpy", nogil=True, fastmath=REORDERED)
def flux_row(before, here, after, above, cells, pulls):
    """Write what one row of cells pulls at its corners to pulls (3, S + 1), from entry 1 on: along either diagonal,
    and all four by turns.

    before, here, after (3, S + 1): slopes and twist of three rows of cells; above, cells: the first two's tables.
    """
    half = np.float32(0.5)
    count = cells.shape[1] - 1
    w11, w12, w22 = cells[W11, :count], cells[W12, :count], cells[W22, :count]
    a11, a12, a22 = cells[A11, :count], cells[A12, :count], cells[A22, :count]
    right, left, below, up = cells[LEFT, 1:], cells[LEFT, :count], cells[BELOW, :count], above[BELOW, :count]
    p, p_left, p_right = here[0, 1:], here[0, :count], here[0, 2:]
    q, q_left, q_right = here[1, 1:], here[1, :count], here[1, 2:]
    p_above, q_above, p_below, q_below = before[0, 1:], before[1, 1:], after[0, 1:], after[1, 1:]
    across, down, turns = pulls[0, 1:], pulls[1, 1:], pulls[2, 1:]
    twist, stiffness = here[2, 1:], cells[TWIST, :count]
    for x in range(count):
        tie = left[x] + right[x] + up[x] + below[x]
        f = (a11[x] + tie) * p[x] + a12[x] * q[x]
        f -= left[x] * p_left[x] + right[x] * p_right[x] + up[x] * p_above[x] + below[x] * p_below[x]
        g = a12[x] * p[x] + (a22[x] + tie) * q[x]
        g -= left[x] * q_left[x] + right[x] * q_right[x] + up[x] * q_above[x] + below[x] * q_below[x]
        u, w = w11[x] * f + w12[x] * g, w12[x] * f + w22[x] * g
        across[x], down[x], turns[x] = half * (u + w), half * (u - w), stiffness[x] * twist[x]


@njit(cache=True, error_model="numpy", nogil=True, fastmath=REORDERED)
def gather_row(upper, lower, prior, values, result):
    """Write one row (C + 1,) of H values; upper and lower (3, C + 2) are the cells' pulls above and below.

    Return the row's part of values . result.
    """
    total = np.float32(0.0)
    count = len(values)
    a, b, c, d = upper[0, :count], upper[1, 1:], lower[0, 1:], lower[1, :count]
    e, e_left, f, f_left = upper[2, 1:], upper[2, :count], lower[2, 1:], lower[2, :count]
    for x in range(count):
        value = (a[x] - b[x]) + (d[x] - c[x]) + (e_left[x] - e[x]) + (f[x] - f_left[x]) + prior[x] * values[x]
        result[x] = value
        total += value * values[x]
    return np.float64(total)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=REORDERED)
def apply(cells, prior, values, result, ring, pulls):
    """Write H values (S, S) to result and return values . H values; ring (3, 3, S + 1), pulls (2, 3, S + 1) scratch.

    cells (S, 9, S) holds, row by row, of each cell W's entries 11, 12, 22, the curvature's 11, 12, 22, the bending
    weights of its ties to the cell on the left (for the first column zero) and to the one below, and the stiffness of
    its twist D_00 - D_01 - D_10 + D_11, which slopes do not see; the last row and column are zero. prior (S, S) is
    what H has on its diagonal besides.
    """
    size = values.shape[0]
    ring[:] = 0.0
    pulls[:] = 0.0
    total = 0.0
    slope_row(values[0], values[1], cells[0], ring[0])
    for y in range(size):
        # The cells of row y hang below the texels of row y.
        after = ring[(y + 1) % 3]
        if y + 2 < size:
            slope_row(values[y + 1], values[y + 2], cells[y + 1], after)
        else:
            after[:] = 0.0
        # The last row of cells is empty, and so is what stands above the first.
        flux_row(ring[(y + 2) % 3], ring[y % 3], after, cells[(y + size - 1) % size], cells[y], pulls[y % 2])
        total += gather_row(pulls[(y + 1) % 2], pulls[y % 2], prior[y], values[y], result[y])
    return total


@njit(cache=True, error_model="numpy", nogil=True, fastmath=REORDERED)
def step_row(scale, direction, image, inverse, solution, residual):
    """Move one row of solution and residual along a direction whose image under H is given; return r . M^-1 r."""
    total = np.float32(0.0)
    for x in range(len(direction)):
        solution[x] += scale * direction[x]
        rest = residual[x] - scale * image[x]
        residual[x] = rest
        total += rest * rest * inverse[x]
    return np.float64(total)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=REORDERED)
def turn_row(scale, inverse, residual, direction):
    """Make one row of the next direction: M^-1 r + scale times the last."""
    for x in range(len(direction)):
        direction[x] = inverse[x] * residual[x] + scale * direction[x]


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def conjugate_gradients(cells, prior, inverse, right, steps, tolerance, solution):
    """Solve H solution = right (S, S) from zero; return the steps taken and the last r . M^-1 r relative to the first.

    inverse (S, S) is the preconditioner's. It ends after `steps`, or where the residual has fallen to `tolerance`.
    """
    size = right.shape[0]
    ring, pulls = np.zeros((3, 3, size + 1), right.dtype), np.zeros((2, 3, size + 1), right.dtype)
    residual, direction, image = right.copy(), np.zeros_like(right), np.empty_like(right)
    solution[:] = 0.0
    now = 0.0
    for y in range(size):
        turn_row(np.float32(0.0), inverse[y], residual[y], direction[y])
        now += step_row(np.float32(0.0), direction[y], direction[y], inverse[y], solution[y], residual[y])
    first, taken = now, 0
    while taken < steps and now > tolerance * first and now > 1e-30:
        curvature = apply(cells, prior, direction, image, ring, pulls)
        if not curvature > 0.0:
            break
        scale, after = np.float32(now / curvature), 0.0
        for y in range(size):
            after += step_row(scale, direction[y], image[y], inverse[y], solution[y], residual[y])
        turn = np.float32(after / now)
        for y in range(size):
            turn_row(turn, inverse[y], residual[y], direction[y])
        now = after
        taken += 1
    return taken, now / first if first > 0.0 else 0.0


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED)
def add_diagonal(cells, prior, diagonal):
    """Add the diagonal of H to diagonal (S, S), but for what bending couples within one texel's four cells."""
    size = prior.shape[0]
    for y in range(size - 1):
        row, above = cells[y], cells[(y + size - 1) % size]
        for x in range(size - 1):
            tie = row[LEFT, x] + row[LEFT, x + 1] + above[BELOW, x] + row[BELOW, x]
            w11, w12, w22 = row[W11, x], row[W12, x], row[W22, x]
            a11, a12, a22 = row[A11, x] + tie, row[A12, x], row[A22, x] + tie
            u, w = 0.5 * (w11 + w12), 0.5 * (w12 + w22)
            across = a11 * u * u + 2.0 * a12 * u * w + a22 * w * w + row[TWIST, x]
            u, w = 0.5 * (w11 - w12), 0.5 * (w12 - w22)
            down = a11 * u * u + 2.0 * a12 * u * w + a22 * w * w + row[TWIST, x]
            diagonal[y, x] += across
            diagonal[y + 1, x + 1] += across
            diagonal[y, x + 1] += down
            diagonal[y + 1, x] += down
    for y in range(size):
        for x in range(size):
            diagonal[y, x] += prior[y, x]
