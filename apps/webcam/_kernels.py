"""Compiled loops of the annotated picture; other threads go on meanwhile."""

import math

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)
def blend_wire(picture, seen, triangles, chosen, points, half_width, opacity, colour):
    """Blend a colour (3,) onto the pixels (H, W, 3) within `half_width` px of an edge of the chosen triangle they show.

    seen = (triangle (H, W), barycentric (H, W, 3)); triangles (T, 3), chosen (T,), points (N, 2) px. A pixel's distance
    from an edge is its barycentric of the corner across times the triangle's height there, 2 area / |edge|.
    """
    shown, barycentric = seen
    last, heights = -1, np.zeros(3)
    for row in range(shown.shape[0]):
        for column in range(shown.shape[1]):
            t = shown[row, column]
            if t < 0 or not chosen[t]:
                continue
            if t != last:
                _write_heights(points, triangles[t], heights)
                last = t
            distance = np.inf
            for k in range(3):
                distance = min(distance, barycentric[row, column, k] * heights[k])
            alpha = opacity * min(half_width + 0.5 - distance, 1.0)
            if alpha > 0.0:
                _blend(picture[row, column], colour, alpha)


@njit(cache=True, error_model="numpy", nogil=True)
def blend_colours(picture, seen, triangles, chosen, colours, opacity):
    """Blend the interpolated colours (N, 3) 0-255 of the vertices onto the pixels that show a chosen triangle."""
    shown, barycentric = seen
    colour = np.empty(3)
    for row in range(shown.shape[0]):
        for column in range(shown.shape[1]):
            t = shown[row, column]
            if t < 0 or not chosen[t]:
                continue
            for channel in range(3):
                colour[channel] = 0.0
                for k in range(3):
                    colour[channel] += barycentric[row, column, k] * colours[triangles[t, k], channel]
            _blend(picture[row, column], colour, opacity)


@njit(cache=True, error_model="numpy", nogil=True)
def _write_heights(points, triangle, heights):
    """Write the heights (3,) of a triangle over the edges across from its corners."""
    a, b, c = points[triangle[0]], points[triangle[1]], points[triangle[2]]
    double = abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
    heights[0] = double / max(math.hypot(c[0] - b[0], c[1] - b[1]), 1e-9)
    heights[1] = double / max(math.hypot(a[0] - c[0], a[1] - c[1]), 1e-9)
    heights[2] = double / max(math.hypot(b[0] - a[0], b[1] - a[1]), 1e-9)


@njit(cache=True, error_model="numpy", nogil=True)
def _blend(pixel, colour, alpha):
    """Blend a colour (3,) 0-255 onto a pixel (3,)."""
    for channel in range(3):
        pixel[channel] = np.uint8(np.rint(pixel[channel] * (1.0 - alpha) + colour[channel] * alpha))
