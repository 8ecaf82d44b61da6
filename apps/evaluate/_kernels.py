"""Closest points of a triangle mesh: the walk through a tree of boxes, and the closest point of one triangle.

A triangle's closest point is the foot of the perpendicular where that falls inside it, else the nearest point of its
three edges (C. Ericson, Real-Time Collision Detection, 2005, sections 5.1.2 and 5.1.5). The feet's barycentric
coordinates solve the normal equations of  min |a + v ab + w ac - p|²  by Cramer's rule; a triangle without area has
determinant zero, so it falls through to its edges, and an edge without length to its end point.
"""

import math

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", inline="always")
def _minus(u, v):
    return u[0] - v[0], u[1] - v[1], u[2] - v[2]


@njit(cache=True, error_model="numpy", inline="always")
def _dot(u, v):
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]


@njit(cache=True, error_model="numpy", inline="always")
def _along(origin, step, direction):
    return origin[0] + step * direction[0], origin[1] + step * direction[1], origin[2] + step * direction[2]


@njit(cache=True, error_model="numpy")
def closest_on_segment(p, a, b):
    """Return the point of the segment a-b closest to p; all are tuples of three floats."""
    edge = _minus(b, a)
    length2 = _dot(edge, edge)
    if length2 == 0.0:
        return a
    return _along(a, min(max(_dot(_minus(p, a), edge) / length2, 0.0), 1.0), edge)


@njit(cache=True, error_model="numpy")
def closest_on_triangle(p, a, b, c):
    """Return the point of the triangle a, b, c closest to p; all are tuples of three floats."""
    ab, ac, ap = _minus(b, a), _minus(c, a), _minus(p, a)
    bb, bc, cc, pb, pc = _dot(ab, ab), _dot(ab, ac), _dot(ac, ac), _dot(ap, ab), _dot(ap, ac)
    determinant = bb * cc - bc * bc
    v = cc * pb - bc * pc
    w = bb * pc - bc * pb
    if v > 0.0 and w > 0.0 and v + w < determinant:
        return _along(_along(a, v / determinant, ab), w / determinant, ac)

    best, best2 = a, math.inf
    for q in (closest_on_segment(p, a, b), closest_on_segment(p, b, c), closest_on_segment(p, c, a)):
        away = _minus(q, p)
        away2 = _dot(away, away)
        if away2 < best2:
            best, best2 = q, away2
    return best


@njit(cache=True, error_model="numpy")
def _squared_distance_to_box(p, lower, upper):
    total = 0.0
    for axis in range(3):
        outside = max(lower[axis] - p[axis], 0.0, p[axis] - upper[axis])
        total += outside * outside
    return total


@njit(cache=True, error_model="numpy")
def closest_points(points, corners, starts, lower, upper):
    """Return, for each point, the closest point of a triangle mesh and the number of the triangle it lies on.

    points: (n, 3). corners: (T, 3, 3), sorted by leaf. The tree is a full binary one, numbered like a heap: node k
    has children 2k + 1 and 2k + 2 and the box lower[k], upper[k]; leaf j holds the triangles starts[j]:starts[j + 1].
    """
    first_leaf = starts.size - 2
    closest = np.empty((points.shape[0], 3))
    triangle = np.empty(points.shape[0], np.int64)
    waiting = np.empty(128, np.int64)  # one sibling per level waits, and no tree has 127 levels
    for i in range(points.shape[0]):
        p = (points[i, 0], points[i, 1], points[i, 2])
        best2 = math.inf
        waiting[0] = 0
        count = 1
        while count > 0:
            count -= 1
            node = waiting[count]
            if _squared_distance_to_box(p, lower[node], upper[node]) >= best2:
                continue
            if node < first_leaf:
                near, far = 2 * node + 1, 2 * node + 2
                if _squared_distance_to_box(p, lower[far], upper[far]) < _squared_distance_to_box(
                    p, lower[near], upper[near]
                ):
                    near, far = far, near
                waiting[count] = far
                waiting[count + 1] = near
                count += 2
                continue
            for t in range(starts[node - first_leaf], starts[node - first_leaf + 1]):
                a = (corners[t, 0, 0], corners[t, 0, 1], corners[t, 0, 2])
                b = (corners[t, 1, 0], corners[t, 1, 1], corners[t, 1, 2])
                c = (corners[t, 2, 0], corners[t, 2, 1], corners[t, 2, 2])
                q = closest_on_triangle(p, a, b, c)
                away = _minus(q, p)
                away2 = _dot(away, away)
                if away2 < best2:
                    best2 = away2
                    closest[i, 0], closest[i, 1], closest[i, 2] = q
                    triangle[i] = t
    return closest, triangle
