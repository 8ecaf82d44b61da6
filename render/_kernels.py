"""Compiled loops of the software rasteriser: snapped vertices in, winning triangles and barycentrics out.

Coverage is exact. Vertices live on a grid of 1/256 px as 64-bit integers, and the edge function of an edge a -> b,

    E_ab(p) = (b - a)_x (p - a)_y - (b - a)_y (p - a)_x,

is the exact doubled area of the triangle a b p. A triangle wound so that its own doubled area is positive covers a
pixel centre where its three edge functions are positive; a centre on an edge (E = 0) belongs to the triangle that has
it as a top or left edge, so triangles that share an edge cover each of its pixels once. The edge functions are also
the barycentrics: E_bc + E_ca + E_ab is the doubled area.

J. Pineda, A parallel algorithm for polygon rasterization, SIGGRAPH 1988 (edge functions).
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Grid = NDArray[np.int64]
Indices = NDArray[np.int32]

SUBPIXEL_BITS = 8  # the grid's step is 2^-8 px
GUARD_PX = 2097152.0  # 2^21 px: the farthest coordinate for which no edge function overflows 64 bits (see `snap`)
OFF_GRID = np.int64(-(2**62))  # the coordinate of a vertex that has no place on the grid


@njit(cache=True, error_model="numpy", nogil=True)
def snap(points: Floats, grid: Grid) -> None:
    """Round points (N, 3), px, px and a depth key, to the grid (N, 2) int64 of 1/256 px.

    A vertex that is not finite or lies beyond GUARD_PX becomes OFF_GRID. Inside, |coordinate| <= 2^29, a difference
    <= 2^30, a product <= 2^60 and an edge function <= 2^61.
    """
    step = float(1 << SUBPIXEL_BITS)
    for i in range(points.shape[0]):
        x, y = points[i, 0], points[i, 1]
        if abs(x) <= GUARD_PX and abs(y) <= GUARD_PX and math.isfinite(points[i, 2]):
            grid[i, 0] = np.int64(math.floor(x * step + 0.5))
            grid[i, 1] = np.int64(math.floor(y * step + 0.5))
        else:
            grid[i, 0] = OFF_GRID
            grid[i, 1] = OFF_GRID


@njit(cache=True, error_model="numpy", nogil=True)
def edge(ax: int, ay: int, bx: int, by: int, px: int, py: int) -> int:
    """Return E_ab(p), the doubled signed area of the triangle a b p."""
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


@njit(cache=True, error_model="numpy", nogil=True)
def tie(dx: int, dy: int) -> int:
    """Return what to add to E before the test E >= 0: 0 for a top or left edge of direction (dx, dy), else -1."""
    return 0 if dy < 0 or (dy == 0 and dx > 0) else -1


@njit(cache=True, error_model="numpy", nogil=True)
def fill_z_buffer(
    grid: Grid, key: Floats, triangles: Indices, cull_back: bool, winner: Indices, nearest: Floats
) -> None:
    """Write the nearest triangle of each pixel to `winner` (H, W) int32 and its key to `nearest` (H, W).

    key (N,) is linear over the image within a triangle and grows away from the viewer. `winner` comes in as -1 and
    `nearest` as +inf. Triangles are taken in order and replace only what is strictly farther, so among equal keys the
    lowest index stays. Counter-clockwise from outside means negative doubled area here, since y points down.
    """
    height, width = winner.shape
    one = 1 << SUBPIXEL_BITS
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = grid[a, 0], grid[a, 1], grid[b, 0], grid[b, 1], grid[c, 0], grid[c, 1]
        if ax == OFF_GRID or bx == OFF_GRID or cx == OFF_GRID:
            continue
        area = edge(ax, ay, bx, by, cx, cy)
        if area == 0 or (cull_back and area > 0):
            continue
        if area < 0:
            area = -area
            b, c, bx, by, cx, cy = c, b, cx, cy, bx, by

        # Pixels whose centres lie within the triangle's box; >> rounds down.
        left = max((min(ax, bx, cx) + one - 1) >> SUBPIXEL_BITS, 0)
        right = min(max(ax, bx, cx) >> SUBPIXEL_BITS, width - 1)
        top = max((min(ay, by, cy) + one - 1) >> SUBPIXEL_BITS, 0)
        bottom = min(max(ay, by, cy) >> SUBPIXEL_BITS, height - 1)
        if left > right or top > bottom:
            continue

        tie_a, tie_b, tie_c = tie(cx - bx, cy - by), tie(ax - cx, ay - cy), tie(bx - ax, by - ay)
        key_a = key[a]
        slope_b, slope_c = (key[b] - key_a) / area, (key[c] - key_a) / area
        px = left * one
        for y in range(top, bottom + 1):
            py = y * one
            e_a = edge(bx, by, cx, cy, px, py)
            e_b = edge(cx, cy, ax, ay, px, py)
            e_c = edge(ax, ay, bx, by, px, py)
            for x in range(left, right + 1):
                if ((e_a + tie_a) | (e_b + tie_b) | (e_c + tie_c)) >= 0:
                    here = key_a + e_b * slope_b + e_c * slope_c
                    if here < nearest[y, x]:
                        nearest[y, x] = here
                        winner[y, x] = t
                e_a -= (cy - by) * one
                e_b -= (ay - cy) * one
                e_c -= (by - ay) * one


@njit(cache=True, error_model="numpy", nogil=True)
def fill_barycentrics(grid: Grid, weight: Floats, triangles: Indices, winner: Indices, barycentric: Floats) -> None:
    """Write the barycentrics of each covered pixel's centre in its winning triangle to `barycentric` (H, W, 3).

    weight (N,) is 1 / depth under perspective, constant under scaled orthography: the weights that turn barycentrics
    of the image into those of the surface. Pixels without a triangle stay as they are.
    """
    height, width = winner.shape
    for y in range(height):
        py = y << SUBPIXEL_BITS
        for x in range(width):
            t = winner[y, x]
            if t < 0:
                continue
            px = x << SUBPIXEL_BITS
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ax, ay, bx, by, cx, cy = grid[a, 0], grid[a, 1], grid[b, 0], grid[b, 1], grid[c, 0], grid[c, 1]
            w_a = edge(bx, by, cx, cy, px, py) * weight[a]
            w_b = edge(cx, cy, ax, ay, px, py) * weight[b]
            w_c = edge(ax, ay, bx, by, px, py) * weight[c]
            total = w_a + w_b + w_c
            barycentric[y, x, 0] = w_a / total
            barycentric[y, x, 1] = w_b / total
            barycentric[y, x, 2] = w_c / total


@njit(cache=True, error_model="numpy", nogil=True)
def interpolate(winner: Indices, barycentric: Floats, triangles: Indices, values: Floats, image: Floats) -> None:
    """Write sum_i b_i values[i] of each covered pixel to `image` (H, W, C); values is (N, C), the rest stays."""
    height, width = winner.shape
    for y in range(height):
        for x in range(width):
            t = winner[y, x]
            if t < 0:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            b_a, b_b, b_c = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            for k in range(values.shape[1]):
                image[y, x, k] = b_a * values[a, k] + b_b * values[b, k] + b_c * values[c, k]


@njit(cache=True, error_model="numpy", nogil=True)
def accumulate_normals(vertices: Floats, triangles: Indices, total: Floats) -> None:
    """Add to total (N, 3) at each vertex the cross products (b - a) x (c - a) of its triangles."""
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            total[i, 0] += nx
            total[i, 1] += ny
            total[i, 2] += nz
