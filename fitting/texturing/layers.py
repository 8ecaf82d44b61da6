"""From a fitted face to what the kernels work on, and the offsets that join the layers of its texture.

    photo       S = the photo's linear light at the texel's point of the surface
    mirrored    R = S(x') s(x) / s(x'), with x' the mirror image of x and s the shading under the estimated light
    model       M = rho s, with rho the fitted reflectance

Each as photographed, and with the light taken out: S / s, S(x') / s(x'), rho. Layers are joined in display values d
(sRGB), where equal steps look equal; an offset o moves d to

    d + o  :=  (d + SOFT) exp(o) - SOFT

a factor for what is bright, so that hues stay, a sum for what is nearly black. The mirrored layer is moved to agree
with the photo where both are seen, then the model's to agree with either (`membrane`):

    o_R = membrane of S - R,        o_M = membrane of (S, or R + o_R where the photo is missing) - M

and the texture is S over R + o_R over M + o_M, each by its weight (`visibility`).
"""

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.spatial import cKDTree

from ...models.morphable_model import MorphableModel
from ...render.rasterizer import Fragments
from . import _kernels
from ._kernels import BOTH, CHANNELS, HIDDEN, INSET, LOOSE, MIRROR, OWN, SKIN
from .atlas import TextureSpace
from .membrane import continued, surface_laplacian
from .tables import Mesh, Scene

Array = NDArray[np.float64]

INSETS = ("eyes", "teeth")
"""Regions that show between lids and lips."""

OUTSKIRTS = ("ears", "scalp", "neck")
"""Regions whose outline a fit knows less well than the face's: few points or pixels tell of it, and hair covers it."""

NEVER_SEEN = ("mouth", "sockets")
"""Regions inside the head, but for what of them is an inset."""

LASHES = 6.0
"""mm from the eyes within which the photo, dark with lashes and shadow, tells nothing of skin that it does not show:
what folded lids uncover when they close."""

ENOUGH = 0.25
"""Texels about a vertex, in sums of barycentric weights, from which its mean difference counts in full."""

COARSE_SIZE = 384
"""Texels per side of the texture in which the differences are measured: vertices lie some texels apart in it."""


def triangle_kinds(model: MorphableModel) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the kinds (T,) of the model's triangles and (N,) of its vertices: SKIN, INSET or HIDDEN."""
    of_triangle = np.full(len(model.triangles), SKIN, np.uint8)
    of_vertex = np.full(model.n_vertices, SKIN, np.uint8)
    for names, kind in ((OUTSKIRTS, LOOSE), (NEVER_SEEN, HIDDEN), (INSETS, INSET)):
        for name in names:
            if name in model.regions:
                of_triangle[model.regions[name][model.triangles].all(axis=1)] = kind
                of_vertex[model.regions[name]] = kind
    return of_triangle, of_vertex


def clear_of_lashes(model: MorphableModel, points: Array) -> NDArray[np.bool_]:
    """Return (N,): the vertices at `points` (N, 3) mm that lie beyond LASHES of the model's eyes, or are theirs."""
    eyes = model.regions.get("eyes", np.zeros(model.n_vertices, dtype=bool))
    if not eyes.any():
        return ~eyes
    return np.asarray(eyes | (cKDTree(points[eyes]).query(points, distance_upper_bound=LASHES)[0] > LASHES))


@dataclass(frozen=True, eq=False)
class Layers:
    """A fitted face ready for the loops over texels."""

    mesh: Mesh
    scene: Scene
    drawn: NDArray[np.uint8]  # (S, S, 3) the model's albedo texture, zeros where it has none
    clear: NDArray[np.bool_]  # (N,) vertices beyond LASHES of the eyes, and the eyes' own

    def offsets(self, space: TextureSpace, workers: Executor) -> Array:
        """Return the offsets of the mirrored and of the model's layer at the vertices: (N, 2, CHANNELS).

        Texels that differ are counted in `space`, whose size `drawn` has.
        """

        def differences(band: tuple[slice, Fragments]) -> Array:
            rows, seen = band
            part = np.zeros((len(self.mesh.points), 3, 1 + CHANNELS))
            drawn = self.drawn[rows]
            _kernels.add_differences(seen.triangle, seen.barycentric, drawn, self.mesh, self.scene, part)
            return part

        # In the order of the bands: the sum does not depend on the number of threads.
        sums = np.sum(list(workers.map(differences, space.bands())), axis=0)
        weights, totals = sums[..., 0], sums[..., 1:]
        laplacian = surface_laplacian(self.mesh.triangles, self.mesh.kinds, len(self.mesh.points))
        mirrored = _membrane(laplacian, totals[:, BOTH], weights[:, BOTH])
        total = totals[:, OWN] + totals[:, MIRROR] + weights[:, MIRROR, None] * mirrored
        model = _membrane(laplacian, total, self.clear * (weights[:, OWN] + weights[:, MIRROR]))
        return np.stack([mirrored, model], axis=1)

    def blend(
        self,
        rows: slice,
        seen: Fragments,
        offsets: Array,
        photographed: NDArray[np.uint8],
        albedo: NDArray[np.uint8],
        confidence: NDArray[np.uint8],
    ) -> None:
        """Write the rows of the textures, (S, S, 3) and (S, S)."""
        _kernels.blend(
            seen.triangle, seen.barycentric, self.drawn[rows], self.mesh, self.scene, offsets,
            photographed[rows], albedo[rows], confidence[rows],
        )  # fmt: skip


def _membrane(laplacian: csc_array, totals: Array, weights: Array) -> Array:
    """Return the membrane through the mean differences, of weighted sums (N, C) and the sums of their weights (N,)."""
    mean = totals / np.maximum(weights, 1e-9)[:, None]
    return continued(laplacian, mean, np.minimum(weights / ENOUGH, 1.0))
