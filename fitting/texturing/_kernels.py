"""Compiled loops over texels: what the photo shows of a point, what stands in for it, and their blend.

Formulas and names as in `layers.py`, tuples of arrays as in `tables.py`. Every loop
takes rows of the texture and writes only what belongs to them, or into sums of its own, so that rows can be shared
among threads.
"""

import math

import numpy as np
from numba import njit

from ..photometric._kernels import FUSED, displayed, shading_basis

SKIN, LOOSE, INSET, HIDDEN = 0, 1, 2, 3
"""Kinds of triangles: the face; where its outline is known less well (ears, scalp, neck); eyes and teeth, seen between
lids and lips; what a photo is never asked for."""

PHOTO, MIRRORED, MODEL = 0, 1, 2
"""Layers: the texel's own sample of the photo, that of its mirror image, the model's colour."""

CHANNELS = 6
"""Channels of a layer, sRGB 0-1: as photographed (3), the light taken out (3)."""

BOTH, OWN, MIRROR = 0, 1, 2
"""Sums at a vertex: photo less mirrored; photo less model; mirrored less model, where the photo is missing."""

RELIGHTING = 2.0
"""Greatest factor, and its inverse the least, by which a mirrored sample is relit: what a photo shows of one side of
a head says little about the light on the other."""

SOFT = 0.05
"""Display value about which a layer's offset turns from a sum (below) to a factor (above); see `layers.py`."""

DETAIL = 5.0
"""The same for what the model's albedo texture adds to the albedo of the vertices."""

DARKEST = 1e-3  # linear reflectance below which a ratio says nothing


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, forceinline=True)
def ramp(value, limits):
    """Return 0 at limits[0], 1 at limits[1], linear between, constant beyond."""
    return min(max((value - limits[0]) / (limits[1] - limits[0]), 0.0), 1.0)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, forceinline=True)
def bilinear(image, x, y):
    """Return the value of an image (H, W) at px x, y, constant beyond its border."""
    height, width = image.shape
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    column, row = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
    right, below = min(column + 1, width - 1), min(row + 1, height - 1)
    fx, fy = x - column, y - row
    upper = (1.0 - fx) * image[row, column] + fx * image[row, right]
    lower = (1.0 - fx) * image[below, column] + fx * image[below, right]
    return (1.0 - fy) * upper + fy * lower


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, forceinline=True)
def project(lens, x, y, z):
    """Return the px u, v of a point in the camera frame; a perspective one has z > 0."""
    scale = lens.focal / z if lens.perspective else lens.focal
    return scale * x + lens.x, scale * y + lens.y


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, forceinline=True)
def visibility(view, limits, kind, u, v, z, cosine):
    """Return the weight 0-1 of a point at px u, v, depth z mm, with that cosine between its normal and the viewer."""
    x = (u - view.left + 0.5) * view.factor - 0.5
    y = (v - view.top + 0.5) * view.factor - 0.5
    height, width = view.depth.shape
    if not (cosine > limits.cosine[0] and x > -0.5 and y > -0.5 and x < width - 0.5 and y < height - 0.5):
        return 0.0
    column, row = int(x + 0.5), int(y + 0.5)
    if z - view.depth[row, column] > limits.depth:
        return 0.0
    weight = ramp(cosine, limits.cosine) * ramp(z - bilinear(view.occluder, x, y), limits.occlusion)
    weight *= ramp(bilinear(view.outline, x, y), limits.loose if kind == LOOSE else limits.outline)
    return weight * ramp(bilinear(view.rim, x, y), limits.rim)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, forceinline=True)
def add_sample(pyramid, level, u, v, weight, colour):
    """Add to colour (3,) the weighted linear light of one level at px u, v of the photo, bilinear."""
    scale = 1.0 / (1 << level)
    height, width = pyramid.height[level], pyramid.width[level]
    x = min(max((u - pyramid.left + 0.5) * scale - 0.5, 0.0), width - 1.0)
    y = min(max((v - pyramid.top + 0.5) * scale - 0.5, 0.0), height - 1.0)
    column, row = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
    fx, fy = x - column, y - row
    upper = pyramid.start[level] + row * width + column
    lower = upper + (width if height > 1 else 0)
    right = 1 if width > 1 else 0
    a, b = weight * (1.0 - fy) * (1.0 - fx), weight * (1.0 - fy) * fx
    c, d = weight * fy * (1.0 - fx), weight * fy * fx
    pixels, linear = pyramid.pixels, pyramid.linear
    for k in range(3):
        colour[k] += (
            a * linear[pixels[upper, k]]
            + b * linear[pixels[upper + right, k]]
            + c * linear[pixels[lower, k]]
            + d * linear[pixels[lower + right, k]]
        )


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, forceinline=True)
def sample(pyramid, u, v, level, colour):
    """Write the linear light at px u, v to colour (3,): bilinear in the two levels next to `level`, and between."""
    level = min(max(level, 0.0), len(pyramid.start) - 1.0)
    fine = int(level)
    rest = level - fine
    colour[:] = 0.0
    add_sample(pyramid, fine, u, v, 1.0 - rest, colour)
    if rest > 0.0:
        add_sample(pyramid, fine + 1, u, v, rest, colour)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, forceinline=True)
def observe(mesh, scene, a, b, c, weights, kind, level, colour, shading):
    """Return how well the photo shows a point of the triangle a, b, c, 0-1.

    Write what it shows to colour (3,), linear, if that is more than 0, and the point's shading, which is at least
    `scene.shadow`, to shading (3,). The point has barycentric `weights` (3,).
    """
    p, n = mesh.points, mesh.normals
    wa, wb, wc = weights[0], weights[1], weights[2]
    nx = wa * n[a, 0] + wb * n[b, 0] + wc * n[c, 0]
    ny = wa * n[a, 1] + wb * n[b, 1] + wc * n[c, 1]
    nz = wa * n[a, 2] + wb * n[b, 2] + wc * n[c, 2]
    inverse = 1.0 / math.sqrt(max(nx * nx + ny * ny + nz * nz, 1e-30))
    nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
    h0, h1, h2, h3, h4, h5, h6, h7, h8 = shading_basis(nx, ny, nz)
    light = scene.light
    for k in range(3):
        value = h0 * light[0, k] + h1 * light[1, k] + h2 * light[2, k] + h3 * light[3, k] + h4 * light[4, k]
        value += h5 * light[5, k] + h6 * light[6, k] + h7 * light[7, k] + h8 * light[8, k]
        shading[k] = max(value, scene.shadow[k])

    if kind == HIDDEN:
        return 0.0
    x = wa * p[a, 0] + wb * p[b, 0] + wc * p[c, 0]
    y = wa * p[a, 1] + wb * p[b, 1] + wc * p[c, 1]
    z = wa * p[a, 2] + wb * p[b, 2] + wc * p[c, 2]
    cosine = -nz
    if scene.lens.perspective:
        if z <= 0.0:
            return 0.0
        cosine = -(nx * x + ny * y + nz * z) / math.sqrt(x * x + y * y + z * z)
    u, v = project(scene.lens, x, y, z)
    weight = visibility(scene.depths, scene.limits, kind, u, v, z, cosine)
    if weight > 0.0:
        sample(scene.pyramid, u, v, level, colour)
    return weight


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, forceinline=True)
def albedo_of(radiance, shading, reflectance, ratio):
    """Return radiance / shading, kept within `ratio` of the model's reflectance, linear."""
    return min(max(radiance / shading, ratio[0] * reflectance), ratio[1] * reflectance)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, forceinline=True)
def layers(mesh, scene, t, weights, drawn, wanted, values, alpha, work):
    """Write the colours of a texel's layers to values (3, CHANNELS) and the weights of the first two to alpha (2,).

    drawn (3,) uint8 is the albedo texture's colour (zeros where the model has none). The other layers are made where
    the photo's own weight is below `wanted`. work (5, 3) is scratch.
    """
    colour, shading, other, reflectance = work[0], work[1], work[2], work[3]
    a, b, c = mesh.triangles[t, 0], mesh.triangles[t, 1], mesh.triangles[t, 2]
    kind = mesh.kinds[t]
    alpha[PHOTO] = observe(mesh, scene, a, b, c, weights, kind, mesh.level[0, t], colour, shading)
    for k in range(3):
        rho = weights[0] * mesh.reflectance[a, k] + weights[1] * mesh.reflectance[b, k]
        rho += weights[2] * mesh.reflectance[c, k]
        if len(mesh.textured):
            plain = weights[0] * mesh.textured[a, k] + weights[1] * mesh.textured[b, k]
            plain += weights[2] * mesh.textured[c, k]
            detail = scene.pyramid.linear[drawn[k]] / max(plain, DARKEST)
            rho *= min(max(detail, 1.0 / DETAIL), DETAIL)
        reflectance[k] = max(rho, DARKEST)
        if alpha[PHOTO] < wanted:
            values[MODEL, k], _ = displayed(reflectance[k] * shading[k])
            values[MODEL, 3 + k], _ = displayed(reflectance[k])
        if alpha[PHOTO] > 0.0:
            values[PHOTO, k], _ = displayed(colour[k])
            own = albedo_of(colour[k], shading[k], reflectance[k], scene.ratio)
            values[PHOTO, 3 + k], _ = displayed(own)

    alpha[MIRRORED] = 0.0
    if not (len(mesh.mirror) and alpha[PHOTO] < wanted):
        return
    a, b, c = mesh.mirror[a], mesh.mirror[b], mesh.mirror[c]
    alpha[MIRRORED] = observe(mesh, scene, a, b, c, weights, kind, mesh.level[1, t], colour, other)
    if alpha[MIRRORED] > 0.0:
        for k in range(3):
            relit = min(max(shading[k] / other[k], 1.0 / RELIGHTING), RELIGHTING)
            values[MIRRORED, k], _ = displayed(colour[k] * relit)
            own = albedo_of(colour[k], other[k], reflectance[k], scene.ratio)
            values[MIRRORED, 3 + k], _ = displayed(own)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, forceinline=True)
def add_differences(triangle, barycentric, drawn, mesh, scene, sums):
    """Add to sums (N, 3, 1 + CHANNELS) at each vertex the layers' offsets, and before them their weights.

    triangle (H, W) and barycentric (H, W, 3) are what the texels show; drawn (H, W, 3) uint8 the albedo texture.
    """
    values, alpha, work = np.zeros((3, CHANNELS)), np.zeros(2), np.zeros((5, 3))
    height, width = triangle.shape
    for y in range(height):
        for x in range(width):
            t = triangle[y, x]
            if t < 0:
                continue
            layers(mesh, scene, t, barycentric[y, x], drawn[y, x], 2.0, values, alpha, work)
            own, mirrored = alpha[PHOTO], alpha[MIRRORED]
            for i in range(3):
                row, weight = sums[mesh.triangles[t, i]], barycentric[y, x, i]
                if own > 0.0:
                    add_difference(row[OWN], weight * own, values[PHOTO], values[MODEL])
                if own * mirrored > 0.0:
                    add_difference(row[BOTH], weight * own * mirrored, values[PHOTO], values[MIRRORED])
                if mirrored * (1.0 - own) > 0.0:
                    add_difference(row[MIRROR], weight * mirrored * (1.0 - own), values[MIRRORED], values[MODEL])


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, forceinline=True)
def add_difference(total, weight, first, second):
    """Add to total (1 + CHANNELS,) the weight and, weighted, the offset from the second layer to the first."""
    total[0] += weight
    for k in range(CHANNELS):
        total[1 + k] += weight * math.log((first[k] + SOFT) / (second[k] + SOFT))


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, forceinline=True)
def blend(triangle, barycentric, drawn, mesh, scene, offsets, photographed, albedo, confidence):
    """Write the texels' colours to photographed and albedo (H, W, 3) uint8, and how well they are seen (H, W) uint8.

    offsets (N, 2, CHANNELS) move the mirrored layer and the model's. What no chart covers stays.
    """
    values, alpha, work = np.zeros((3, CHANNELS)), np.zeros(2), np.zeros((5, 3))
    height, width = triangle.shape
    for y in range(height):
        for x in range(width):
            t = triangle[y, x]
            if t < 0:
                continue
            weights = barycentric[y, x]
            layers(mesh, scene, t, weights, drawn[y, x], 1.0, values, alpha, work)
            own, mirrored = alpha[PHOTO], alpha[MIRRORED]
            a, b, c = mesh.triangles[t, 0], mesh.triangles[t, 1], mesh.triangles[t, 2]
            for k in range(CHANNELS):
                mixed = 0.0
                if own < 1.0:
                    for layer in (MIRRORED, MODEL):
                        share = mirrored if layer == MIRRORED else 1.0 - mirrored
                        if share > 0.0:
                            offset = weights[0] * offsets[a, layer - 1, k] + weights[1] * offsets[b, layer - 1, k]
                            offset += weights[2] * offsets[c, layer - 1, k]
                            mixed += share * ((values[layer, k] + SOFT) * math.exp(offset) - SOFT)
                if own > 0.0:
                    mixed = own * values[PHOTO, k] + (1.0 - own) * mixed
                byte = np.uint8(255.0 * min(max(mixed, 0.0), 1.0) + 0.5)
                if k < 3:
                    photographed[y, x, k] = byte
                else:
                    albedo[y, x, k - 3] = byte
            confidence[y, x] = np.uint8(math.ceil(255.0 * own))


@njit(cache=True, error_model="numpy", nogil=True, fastmath=FUSED, forceinline=True)
def observe_vertices(mesh, scene, kinds, level, observed):
    """Write to observed (N, 4) the linear light that the photo shows of each vertex and, last, how well it does.

    kinds (N,) uint8 as of the triangles; `level` of the pyramid.
    """
    whole, shading = np.array([1.0, 0.0, 0.0]), np.zeros(3)
    for i in range(len(mesh.points)):
        observed[i, 3] = observe(mesh, scene, i, i, i, whole, kinds[i], level, observed[i, :3], shading)
