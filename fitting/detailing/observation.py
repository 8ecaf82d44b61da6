"""What the photo shows in each cell between four texels, and the surface's own frame there.

With p(u, w) the fitted surface over the texture, in texels along a row and down a column, a cell at the middle of four
texels has the tangents p_u and p_w of its triangle and the smooth normal n. The first fundamental form I = [p_u.p_u,
p_u.p_w; p_u.p_w, p_w.p_w] gives its area sqrt(det I) and W = I^(-1/2), and

    (a_1, a_2) = (p_u, p_w) W,      orthonormal;        gamma = W (D_u, D_w),       grad D = gamma_1 a_1 + gamma_2 a_2

are an orthonormal frame that turns with the texture's, and the slopes of heights D along it. What a cell shows is the
mean of the photo's pixels that it covers (`texturing/pyramid.py`), weighted by how well it is seen
(`texturing/visibility.py`).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...models.morphable_model import UVMap
from ...render.cameras import ScaledOrthographic
from ...render.rasterizer import rasterize
from ..texturing.atlas import TextureSpace
from ..texturing.fitted_face import FittedFace
from ..texturing.options import TextureOptions
from ..texturing.pyramid import footprints
from ..texturing.tables import Mesh, Scene
from . import _kernels

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

DARKEST = np.float32(_kernels.DARKEST)


@dataclass(frozen=True, eq=False)
class Trust:
    """How far the photo is to be believed about each vertex, whatever it shows."""

    clear: Array  # (N,) 0-1, off the edges of lids and lips
    inside: Array  # (N,) mm to the border of the face


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a texture of S x S texels; the last row and column are empty. Camera frame."""

    normals: Floats  # (3, S, S) unit, zero where there is no surface
    axes: Floats  # (2, 3, S, S) the orthonormal tangents
    frames: Floats  # (3, S, S) W's entries 11, 12, 22, per mm
    area: Floats  # (S, S) mm^2
    aspect: Floats  # (S, S) a cell's height relative to its width
    colours: Floats  # (3, S, S) linear, of the photo
    shares: Floats  # (S, S) how many of the photo's pixels a cell stands for, px
    reflectance: Floats  # (3, S, S) linear, as fitted
    inside: Floats  # (S, S) mm to the border of the face
    seen: Floats  # (S, S) 0-1

    @property
    def size(self) -> int:
        """S."""
        return self.seen.shape[0]

    @cached_property
    def there(self) -> NDArray[np.bool_]:
        """(S, S) whether a cell has a surface."""
        return self.area > 0.0

    @cached_property
    def logs(self) -> Floats:
        """(3, S, S) the log of the colours relative to the albedo, where something is seen."""
        logs = np.zeros_like(self.colours)
        seen = self.seen > 0.0
        ratio = np.maximum(self.colours[:, seen], DARKEST) / np.maximum(self.reflectance[:, seen], DARKEST)
        logs[:, seen] = np.log(ratio)
        return logs

    @cached_property
    def width(self) -> float:
        """The median side of a cell that is seen, mm."""
        chosen = self.area[self.seen > 0.0] if (self.seen > 0.0).any() else self.area[self.there]
        return float(np.sqrt(np.median(chosen))) if len(chosen) else 1.0

    @cached_property
    def texels(self) -> Floats:
        """(S, S) mm^2 of surface about each texel: a quarter of each cell around it."""
        return around(self.area)


def around(values: Floats) -> Floats:
    """Return for each texel (S, S) a quarter of the sum over the cells around it, of values (S, S) of the cells."""
    total = 0.25 * values
    for shift in ((1, 0), (0, 1), (1, 1)):
        total += 0.25 * np.roll(values, shift, axis=(0, 1))  # the last row and column are empty
    return np.asarray(total, np.float32)


def observe(face: FittedFace, scene: Scene, uv: UVMap, size: int, options: TextureOptions, trust: Trust) -> Cells:
    """Return what the cells of a texture show."""
    space = TextureSpace(uv, size)
    mesh = face.mesh(space, options)
    flat = np.column_stack([space.texels, np.zeros(len(space.texels))])
    camera = ScaledOrthographic(np.eye(3), np.full(2, -0.5), 1.0)
    seen = rasterize(camera, flat, uv.triangles, size, size, cull="none")
    normals, frames, colours = (np.zeros((3, size, size), np.float32) for _ in range(3))
    axes, metric = np.zeros((2, 3, size, size), np.float32), np.zeros((2, size, size), np.float32)
    values, shown = np.zeros((4, size, size), np.float32), np.zeros((size, size), np.float32)
    _kernels.observe_cells(
        seen.triangle, seen.barycentric, mesh, texel_tangents(mesh, space),
        np.column_stack([trust.clear, mesh.reflectance, trust.inside]), scene,
        (normals, axes, frames, metric, values, colours, shown),
    )  # fmt: skip
    shares = footprints(face.projected, face.model.triangles, space.texels[uv.triangles]).astype(np.float32)
    pixels = np.where(metric[0] > 0.0, shares[seen.triangle], np.float32(0.0))
    return Cells(normals, axes, frames, metric[0], metric[1], colours, pixels, values[:3], values[3], shown)


def texel_tangents(mesh: Mesh, space: TextureSpace) -> Array:
    """Return the derivatives (T, 2, 3) of the surface by the texture's x and y, mm per texel; zero for no area."""
    points, places = mesh.points[mesh.triangles], space.texels[space.uv.triangles]
    edges, sides = points[:, 1:] - points[:, :1], places[:, 1:] - places[:, :1]
    (ax, ay), (bx, by) = sides[:, 0].T, sides[:, 1].T
    area = ax * by - ay * bx
    inverse = np.divide(1.0, area, out=np.zeros_like(area), where=np.abs(area) > 1e-9)
    along_x = (by[:, None] * edges[:, 0] - ay[:, None] * edges[:, 1]) * inverse[:, None]
    along_y = (ax[:, None] * edges[:, 1] - bx[:, None] * edges[:, 0]) * inverse[:, None]
    return np.stack([along_x, along_y], axis=1)
