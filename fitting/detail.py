"""The detail stage: wrinkles and folds, as heights D over the fitted surface, from their shading.

The surface q = p + D n over the fitted p with its smooth normal n has, to first order in D, the normal

    n(D) = normalised(n - grad D),          grad D = gamma_1 a_1 + gamma_2 a_2

with gamma the slopes of D along an orthonormal frame a of the surface (`detailing/observation.py`). A cell between
four texels, whose linear colour I the photo shows, is explained by

    log I = log rho + a + log(basis(n(D)) . light) + noise          3 channels

rho the fitted albedo, light the fitted light, and a what either misses, smooth over the surface: the mean of
log I - log rho - log shading over albedo_length (`detailing/skin.py`). With J the derivative of log shading by gamma,
minimise over the texels' heights

    E(D) = 1/2 sum_cells w r' C^-1 r area  +  1/2 integral bending |grad gamma|^2 + screening D^2  +  mirror

    w          how well a cell is seen, times how far it shows skin, times a robust weight of the residual's brightness
    C          covariance of a cell's log colour per mm^2: pixel noise, and the spots of skin (`detailing/noise.py`)
    bending    smoothness of the change of normals between neighbours; with screening it is a Gaussian random field of
               spectrum 1 / (screening + bending k^4), whose deviation and length scale the options give:
                   screening = 1 / (8 deviation^2 length^2),      bending = screening length^4
    mirror     1/2 integral s (D - D_mirrored)^2 / (8 mirror_deviation^2 length^2) where the photo shows a point less
               well than its mirror image, s being that difference; where neither is seen screening grows, and D falls
               to zero

All sums are integrals over the surface in mm, and data count by pixels and area: D does not depend on the texture's
size but for what a coarser one cannot hold. In the cells' one-point quadrature a checkerboard of heights has no slope;
its twist D_00 - D_01 - D_10 + D_11 is given a stiffness of its own (hourglass control).

Coarse to fine, from COARSEST texels or more to the size asked for, each level starting at the last one's heights: a
few rounds of a, weights and mirror anew, then one step of the damped Gauss-Newton loop (`gauss_newton.py`), solved by
preconditioned conjugate gradients without a matrix (`detailing/problem.py`).

J. T. Barron, J. Malik, Shape, illumination, and reflectance from shading, PAMI 2015 (smoothness of the change of
normals, soft boundaries); P. Garrido et al., Reconstructing detailed dynamic face geometry from monocular video,
SIGGRAPH Asia 2013 (refinement of a fitted face under its estimated light); D. Flanagan, T. Belytschko, A uniform
strain hexahedron and quadrilateral with orthogonal hourglass control, IJNME 1981; F. Lindgren, H. Rue, J. Lindstrom,
An explicit link between Gaussian fields and Gaussian Markov random fields, JRSS B 2011 (variance of the prior).
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.morphable_model import MorphableModel, UVMap, require_model
from ..models.uv_atlas import model_atlas
from ..render.compositing import checked_photo
from .animation import guessed_split
from .detail_map import DetailMap
from .detailing import mirroring
from .detailing.noise import measured_noise, precision
from .detailing.observation import Cells, Trust, around, observe
from .detailing.options import DetailOptions
from .detailing.problem import DetailProblem, excess
from .detailing.skin import skin_weight, smooth_excess, trust
from .gauss_newton import GaussNewtonOptions, minimise
from .results import FitResult
from .status import FitStatus
from .texturing.atlas import TextureSpace
from .texturing.fitted_face import FittedFace, checked_face
from .texturing.options import TextureOptions
from .texturing.tables import Scene
from .threads import single_threaded_blas

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

COARSEST = 48
"""Texels per side: no level has less."""

TWIST = 20.0
"""Stiffness of a cell's twist, in units of bending / area: 2 is what bending asks for, the rest holds noise down."""

SETTLED = 1e-4
"""Fall of energy relative to what is left, promised by a step, at which a level has converged."""

DAMPING = 1e-3
"""The steps' initial damping."""

LEAST_SEEN = 100
"""Cells that must be seen before they tell of detail."""

FLATTER = 10.0
"""How much more screening counts where neither a point nor its mirror image is seen."""

COVERED = 0.05
"""How well a texel, or its mirror image, must be seen to be covered."""


@dataclass(frozen=True, eq=False)
class DetailFit:
    """What the detail stage found."""

    detail: DetailMap | None  # None where too little of the face is seen
    status: FitStatus
    iterations: int  # Gauss-Newton solves
    initial_energy: dict[str, float]  # nats by term, of a surface without detail under the last weights
    final_energy: dict[str, float]  # nats by term


def fit_detail_stage(
    image: ArrayLike,
    result: FitResult,
    model: MorphableModel,
    options: DetailOptions | None = None,
    deadline: float = math.inf,
) -> DetailFit:
    """Find the heights of a fitted face in the photo (H, W, 3) uint8 RGB that it was fitted to.

    The light is the result's, or estimated where it has none. Status: CONVERGED; MAX_ITERATIONS; STALLED where too
    little of the face is seen; TIMEOUT past `deadline`, in seconds on the clock of time.perf_counter, with the level
    that was reached. Raises InvalidInputError for another kind of image, and where the result has no geometry or
    another model's; MissingDependencyError where an atlas must be made without xatlas.
    """
    options = DetailOptions() if options is None else options
    face = checked_face(checked_photo(image), result, require_model(model))
    with single_threaded_blas():
        found = _Run.of(face, model_atlas(model), options).descend(deadline)
        return found if found.detail is None else replace(found, detail=guessed_split(found.detail, result, model))


def level_sizes(size: int) -> list[int]:
    """Return the sizes of the levels, coarse to fine: each about half of the next, none below COARSEST."""
    sizes = [size]
    while sizes[-1] >= 2 * COARSEST:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes[::-1]


@dataclass(frozen=True, eq=False)
class _Level:
    """What stays the same on one level."""

    cells: Cells
    precision: Floats  # (6, S, S) of the residuals
    ties: Floats  # (3, S, S), see DetailProblem
    screening: Floats  # (S, S) times area
    mirror: tuple[Floats, Floats] | None  # (S, S) texels each, see mirroring.py
    tie: Floats  # (S, S) to the mirror image, times area


@dataclass(frozen=True, eq=False)
class _Run:
    """One face's constants."""

    face: FittedFace
    uv: UVMap
    options: DetailOptions
    seen: TextureOptions  # what counts as seen
    scene: Scene
    trust: Trust
    noise: float  # sRGB values

    @classmethod
    def of(cls, face: FittedFace, uv: UVMap, options: DetailOptions) -> "_Run":
        """Look at the photo once."""
        seen = TextureOptions(max_angle=options.max_angle, outline_mm=options.outline_mm, outline_px=1.5)
        scene = face.scene(seen, face.mesh(TextureSpace(uv, options.size), seen))
        noise = measured_noise(face) if options.noise is None else options.noise
        return cls(face, uv, options, seen, scene, trust(face.model, face.vertices), noise)

    def descend(self, deadline: float) -> DetailFit:
        """Run all levels."""
        heights, iterations, status = np.zeros((1, 1), np.float32), 0, FitStatus.MAX_ITERATIONS
        for size in level_sizes(self.options.size):
            level = self._level(size)
            if (level.cells.seen > 0.0).sum() * (self.options.size / size) ** 2 < LEAST_SEEN:
                return DetailFit(None, FitStatus.STALLED, iterations, {}, {})
            heights = np.asarray(cv2.resize(heights, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)
            for _ in range(self.options.rounds):
                problem = self._problem(level, heights)
                tolerance = SETTLED * max(problem.energy(heights), 1.0)
                outcome = minimise(problem, heights, GaussNewtonOptions(1, tolerance, DAMPING), deadline)
                heights, status, iterations = outcome.state, outcome.status, iterations + outcome.iterations
                if status is not FitStatus.MAX_ITERATIONS:
                    break
            if status in (FitStatus.TIMEOUT, FitStatus.DIVERGED):
                break
        return self._fit(level, problem, heights, status, iterations)

    def _level(self, size: int) -> _Level:
        options = self.options
        cells = observe(self.face, self.scene, self.uv, size, self.seen, self.trust)
        first = excess(cells, self.scene.light, self.scene.shadow, np.zeros((size, size), np.float32))
        cells = replace(cells, seen=cells.seen * skin_weight(first, cells, options.contrast))
        mirror, shown = None, around(cells.seen)
        mirrored, tied = shown, 0.0
        if options.mirror_deviation is not None:
            mirror = mirroring.mirrored_places(self.face.model, self.uv, size)
            tied = (options.deviation / options.mirror_deviation) ** 2
        if mirror is not None:
            mirrored = mirroring.looked_up(shown, mirror)
        screening = 1.0 / (8.0 * options.deviation**2 * options.length**2)
        area = np.where(cells.texels > 0.0, cells.texels, np.float32(cells.width**2))
        unseen = 1.0 - np.minimum(np.maximum(shown, mirrored), 1.0)
        return _Level(
            cells, precision(cells, self.noise), bending_ties(cells, screening * options.length**4),
            (screening * area * (1.0 + FLATTER * unseen)).astype(np.float32), mirror,
            (tied * screening * area * np.maximum(mirrored - shown, 0.0)).astype(np.float32),
        )  # fmt: skip

    def _problem(self, level: _Level, heights: Floats) -> DetailProblem:
        """Return the problem with albedo, weights and mirror as they are at some heights."""
        cells, options, scene = level.cells, self.options, self.scene
        left = excess(cells, scene.light, scene.shadow, heights)
        albedo = smooth_excess(left, cells.seen, options.albedo_length / cells.width)
        # Once more, without what is no wrinkle's: a dark line must not pull the skin's colour beside it.
        weight = self._weight(cells, left - albedo)
        albedo = smooth_excess(left, weight, options.albedo_length / cells.width)
        weight = self._weight(cells, left - albedo)
        anchor = np.zeros_like(heights)
        if level.mirror is not None:
            anchor = level.tie * mirroring.looked_up(heights, level.mirror)
        return DetailProblem(
            cells, scene.light, scene.shadow, cells.logs - albedo, level.precision * weight, level.ties,
            level.screening + level.tie, anchor, options.steps, options.tolerance**2,
        )  # fmt: skip

    def _weight(self, cells: Cells, rest: Floats) -> Floats:
        """Return the weights (S, S) of the cells: those of the robust cost x^2 / (1 + x^2) of the rest's mean."""
        return cells.seen / (1.0 + (rest.mean(axis=0) / np.float32(self.options.outlier)) ** 2) ** 2

    def _fit(
        self, level: _Level, problem: DetailProblem, heights: Floats, status: FitStatus, iterations: int
    ) -> DetailFit:
        size, shown = self.options.size, around(level.cells.seen)
        mirrored = shown if level.mirror is None else mirroring.looked_up(shown, level.mirror)
        final, initial = problem.energies(heights), problem.energies(np.zeros_like(heights))
        if status is FitStatus.DIVERGED or not np.isfinite(heights).all():
            return DetailFit(None, FitStatus.DIVERGED, iterations, initial, final)
        if len(heights) != size:  # out of time on a coarser level
            heights, shown, mirrored = (
                np.asarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
                for part in (heights, shown, mirrored)
            )
        confidence = np.rint(255.0 * np.clip(shown, 0.0, 1.0)).astype(np.uint8)
        detail = DetailMap.unsplit(heights, np.maximum(shown, mirrored) > COVERED, confidence, self.uv)
        return DetailFit(detail, status, iterations, initial, final)


def bending_ties(cells: Cells, bending: float) -> Floats:
    """Return the weights (3, S, S) of what ties a cell to the one on its left and the one below, and of its twist."""
    there, ties = cells.there, np.zeros((3, cells.size, cells.size), np.float32)
    aspect = np.where(there, cells.aspect, np.float32(1.0))
    # A difference over a cell's width, squared, times its area: height / width.
    across = np.sqrt(aspect[:, 1:] * aspect[:, :-1])
    down = 1.0 / np.sqrt(aspect[1:] * aspect[:-1])
    ties[0][:, 1:] = np.where(there[:, 1:] & there[:, :-1], bending * across, 0.0)
    ties[1][:-1] = np.where(there[1:] & there[:-1], bending * down, 0.0)
    ties[2][there] = TWIST * bending / cells.area[there]
    return ties
