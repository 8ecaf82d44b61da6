"""How far each eye is open, measured in the photo: what 68 points say poorly and the pixels well.

Coordinates of one eye: x along the line of its corners, -1 at the nasal and 1 at the temporal one; y in mm upwards,
across that line in the image. Both lids end at the corners and arch between them, each with its own height and skew:

    upper(x) = y0 + u (1 - x^2)^0.6 (1 + s_u x)         lower(x) = y0 + l (1 - x^2)^0.6 (1 + s_l x)         l <= u

y0 shifts the whole eye, since a detector does. A closed eye is u = l, wherever that line lies.

Every sample f = (log luminance, saturation), both relative to the skin around the eye (a plane fitted robustly in x
and y), is explained by what it shows; each class is a mixture of skin, sclera, dark and clutter:

    between the lids:   p_iris within an iris radius of the iris' column c, p_sclera beside it
    a lid's margin:     p_lash, in a band of thickness t above the upper or below the lower lid
    elsewhere:          p_skin

    log p(f | u, l, s_u, s_l, t_u, t_l, y0, c) = const + k [ sum_inside log(p_iris or p_sclera / p_skin)
                                                             + sum_bands log(p_lash / p_skin) ]

Dark pixels alone open no eye: they are lashes, or an iris that has sclera beside it. k < 1 is one over the number of
samples that share their error: one independent sample per INDEPENDENT_AREA, or per two pixels if these are larger.

Given y0 and c the sums over the upper and the lower lid part, and each is a difference of sums along the columns, so
the posterior is had on the whole grid: S_u(u), the log of the sum over s_u and t_u, from the curve of each height, and

    p(u, l | y0, c) = exp(S_u(u) + S_l(l)) [l <= u] p(u) p(l) p(y0)

Its mean and standard deviation at a landmark's x are the measurement; MODEL_SIGMA and PIXEL_SIGMA are added for what
lashes, make-up, the curves' form and the photo's blur leave open. An eye whose best explanation is hardly better than
bare skin, MIN_SUPPORT, is covered rather than closed, and says nothing.

The idea, an eye as a parametric template with regions of its own brightness: Yuille, Hallinan, Cohen, "Feature
extraction from faces using deformable templates", IJCV 8(2), 1992. The diameter of the human iris hardly varies,
11.7 mm: Ruefer, Schroeder, Erb, "White-to-white corneal diameter", Cornea 24(3), 2005.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array, read_only
from ..models.errors import InvalidInputError
from .images import Pixels, checked_image
from .landmarks import COUNT, LEFT_EYELID_PAIRS, RIGHT_EYELID_PAIRS

Array = NDArray[np.float64]

EYELID_PAIRS = read_only(np.concatenate([RIGHT_EYELID_PAIRS, LEFT_EYELID_PAIRS]))
"""(4, 2) upper and lower point of each measured opening."""

MODEL_SIGMA = 1.5
"""mm, error of an opening beyond its posterior: lashes, make-up, the form of the curves, where a model's points lie."""

PIXEL_SIGMA = 0.7
"""px, what the blur of a photo adds to it: in a small eye the lids, the lashes and the iris run together."""

INDEPENDENT_AREA = 3.0
"""mm^2 of the face whose samples share their error."""

MIN_WIDTH = 6.0
"""px between the corners of an eye, below which it says nothing."""

MIN_VISIBLE_WIDTH = 12.0
"""mm between the corners as seen, of about 28: below, the eye is turned away."""

MIN_INSIDE = 0.8
"""Share of an eye's window that must lie in the image."""

MAX_SKIN_SPREAD = 0.3
"""Robust deviation of log luminance around the eye, above which there is hair or an occluder rather than skin."""

MIN_CONTRAST = 0.03
"""Standard deviation of log luminance over the window, below which nothing is to be seen."""

MIN_SUPPORT = 3.0
"""nats by which an eye, open or closed, must explain the window better than bare skin does."""

SHIFT_SIGMA = 1.5
"""mm, standard deviation of the eye's vertical place against the landmarks' corners."""

SKEW_SIGMA = 0.5
"""Standard deviation of a lid curve's skew."""

LASH_SIGMA = 0.7
"""mm, how much thicker than usual lashes or a line of make-up are."""

MAX_COORDINATE = 1e6
"""px, beyond which nothing is looked for."""

_NASAL_TEMPORAL = ((39, 36), (42, 45))
_ROW = 0.5  # mm
_X = read_only(np.linspace(-1.4, 1.4, 29))
_Y = read_only(np.arange(13.0, -13.25, -_ROW))
_SKEWS = read_only(np.array([-0.5, 0.0, 0.5]))  # s
_SHIFTS = read_only(np.arange(-6, 7, 3))  # rows, y0
_LASHES = read_only(np.arange(7))  # rows, t
_IRIS_COLUMNS = read_only(np.linspace(-0.5, 0.5, 5))  # c
_IRIS_RADIUS = 0.38  # of half the distance of the corners, 5.85 mm of 15.5
_LUMA = read_only(np.array([0.299, 0.587, 0.114], dtype=np.float32))  # of sRGB values: ITU-R BT.601


@dataclass(frozen=True, eq=False)
class EyelidOpenings:
    """The measured openings of the four EYELID_PAIRS."""

    opening: Array  # (4,) px, upper minus lower lid along the eye's upward axis; 0 where nothing was measured
    sigma: Array  # (4,) px, standard deviation; inf where the photo says nothing
    upper: Array  # (4, 2) px, the points on the upper lids; the landmarks given where nothing was measured
    lower: Array  # (4, 2) px, the points on the lower lids; the same


def measure_eyelid_openings(image: Pixels, landmarks: ArrayLike, scale: float) -> EyelidOpenings:
    """Measure how far the eyes of a face are open.

    `image` (H, W, 3) uint8 sRGB; `landmarks` (68, 2) px of a fitted model: eye corners, and where between them the
    pairs lie, are taken from these, the lids are not. `scale` is the camera's in px/mm. Raises InvalidInputError for
    wrong shapes, points that are not finite and a scale that is not positive.
    """
    image = checked_image(image)
    points = np.clip(checked_array("landmarks", landmarks, (COUNT, 2)), -MAX_COORDINATE, MAX_COORDINATE)
    if not 0.0 < scale < np.inf:
        raise InvalidInputError(f"scale: expected a positive number of px/mm, got {scale}")
    upper, lower = points[EYELID_PAIRS[:, 0]], points[EYELID_PAIRS[:, 1]]
    opening, sigma = np.zeros(len(EYELID_PAIRS)), np.full(len(EYELID_PAIRS), np.inf)
    for side, corners in enumerate(_NASAL_TEMPORAL):
        window = _Window.of(points[corners[0]], points[corners[1]], scale, mirrored=side == 0)
        evidence = None if window is None else _evidence(image, window)
        if window is None or evidence is None:
            continue
        mine = slice(2 * side, 2 * side + 2)
        x_upper, x_lower = window.along(upper[mine]), window.along(lower[mine])
        lids = _posterior(evidence, window.weight, x_upper, x_lower)
        if lids.support < MIN_SUPPORT:
            continue
        opening[mine] = scale * (lids.upper - lids.lower)
        sigma[mine] = np.sqrt(scale**2 * (lids.deviation**2 + MODEL_SIGMA**2) + PIXEL_SIGMA**2)
        upper[mine], lower[mine] = window.to_image(x_upper, lids.upper), window.to_image(x_lower, lids.lower)
    return EyelidOpenings(opening, sigma, upper, lower)


@dataclass(frozen=True, eq=False)
class _Window:
    """The coordinates of one eye in the image."""

    middle: Array  # (2,) px, between the corners
    half: Array  # (2,) px, from the middle to the temporal corner
    up: Array  # (2,) px/mm
    weight: float  # k, of a sample

    @classmethod
    def of(cls, nasal: Array, temporal: Array, scale: float, mirrored: bool) -> "_Window | None":
        """Return the window of an eye, or None where that is too small, turned away or larger than any photo.

        In the image of the subject's right eye (`mirrored`) up is on the other side of the axis.
        """
        half = 0.5 * temporal - 0.5 * nasal
        length = float(np.hypot(*half))
        if not max(MIN_WIDTH, MIN_VISIBLE_WIDTH * scale) <= 2.0 * length < MAX_COORDINATE:
            return None
        up = np.array([half[1], -half[0]]) * ((-scale if mirrored else scale) / length)
        sample = _ROW * (_X[1] - _X[0]) * length / scale  # mm^2
        return cls(nasal + half, half, up, sample / max(INDEPENDENT_AREA, 2.0 / scale**2))

    def to_image(self, x: Array, y: Array) -> Array:
        """Return the pixels (..., 2) of eye coordinates."""
        return self.middle + x[..., None] * self.half + y[..., None] * self.up

    def along(self, points: Array) -> Array:
        """Return x of points (n, 2) px, kept to where the lids are apart."""
        return np.clip((points - self.middle) @ self.half / (self.half @ self.half), -0.6, 0.6)

    def sample(self, image: Pixels) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the colours (rows, columns, 3), 0-1, at the samples, and whether these lie in the image.

        Where samples are wider apart than pixels these are averaged first.
        """
        positions = self.to_image(_X, _Y[:, None])
        size = np.array(image.shape[1::-1])
        inside = np.all((positions > -0.5) & (positions < size - 0.5), axis=-1)
        low = np.clip(np.floor(positions.min(axis=(0, 1))), 0, size - 1).astype(int)
        high = np.clip(np.ceil(positions.max(axis=(0, 1))) + 1, low + 1, size).astype(int)
        part: NDArray[Any] = image[low[1] : high[1], low[0] : high[0]]
        step = min(float(np.hypot(*self.half)) * (_X[1] - _X[0]), float(np.hypot(*self.up)) * _ROW)  # px
        reduced = np.maximum(np.rint((high - low) / max(step, 1.0)), 1.0).astype(int)
        if (reduced < high - low).any():
            part = cv2.resize(part, tuple(reduced.tolist()), interpolation=cv2.INTER_AREA)
        at = ((positions - low + 0.5) * (reduced / (high - low)) - 0.5).astype(np.float32)
        colours = cv2.remap(part, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return colours.astype(np.float32) / 255.0, inside


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Log likelihood ratios (rows, columns) against skin, 0 outside the image."""

    iris: Array
    sclera: Array
    lash: Array


def _evidence(image: Pixels, window: _Window) -> _Evidence | None:
    """Return what each sample speaks for, or None where the eye is not in the image, or no skin around it."""
    colour, inside = window.sample(image)
    if inside.mean() < MIN_INSIDE:
        return None
    luminance = np.log(colour @ _LUMA + 0.04).astype(np.float64)
    saturation = ((colour[..., 0] - colour[..., 2]) / (colour.sum(axis=-1) + 0.15)).astype(np.float64)
    around = _AROUND & inside
    if luminance[inside].std() < MIN_CONTRAST or around.sum() < 0.5 * _AROUND.sum():
        return None
    skin_luminance, luminance_spread = _skin_plane(luminance, around)
    if luminance_spread > MAX_SKIN_SPREAD:
        return None
    skin_saturation, saturation_spread = _skin_plane(saturation, around)
    own = max(float(np.median(skin_saturation[around])), 0.0)
    ratios = _log_ratios(
        np.clip(luminance - skin_luminance, -2.5, 2.5), np.clip(saturation - skin_saturation, -1.0, 1.0),
        np.hypot(luminance_spread, 0.22), np.hypot(saturation_spread, 0.02), own,
    )  # fmt: skip
    return _Evidence(*(ratio * inside for ratio in ratios))


def _skin_plane(values: Array, around: NDArray[np.bool_]) -> tuple[Array, float]:
    """Return the plane (rows, columns) through most of the values `around` the eye, and their robust deviation.

    Reweighted least squares with Geman-McClure weights; the deviation is the MAD's.
    """
    design, known = _PLANE[around], values[around]
    plane = np.array([np.median(known), 0.0, 0.0])
    for _ in range(3):
        residual = known - design @ plane
        spread = max(1.48 * float(np.median(np.abs(residual))), 0.03)
        weights = (1.0 + (0.5 * residual / spread) ** 2) ** -2
        weighted = design * weights[:, None]
        plane = np.linalg.solve(weighted.T @ design + np.diag([1e-6, 5.0, 5.0]), weighted.T @ known)
    residual = known - design @ plane
    return _PLANE @ plane, max(1.48 * float(np.median(np.abs(residual))), 0.03)


def _log_ratios(
    luminance: Array, saturation: Array, luminance_spread: float, saturation_spread: float, own: float
) -> tuple[Array, Array, Array]:
    """Return log p_iris / p_skin, log p_sclera / p_skin, log p_lash / p_skin of samples relative to the skin.

    `own` is the skin's saturation, which sclera and dark parts have less of: in a grey photo it tells nothing. The
    classes are broad, since light, make-up and people differ; white in warm light may well look like skin.
    """

    def normal(mean_l: float, sigma_l: float, mean_s: float, sigma_s: float) -> Array:
        square = ((luminance - mean_l) / sigma_l) ** 2 + ((saturation - mean_s) / sigma_s) ** 2
        return np.exp(-0.5 * square) / (sigma_l * sigma_s)

    skin = normal(0.0, luminance_spread, 0.0, saturation_spread)
    white = normal(0.15, 0.35, -0.6 * own, 0.25 * own + 0.03)
    dark = normal(-1.0, 0.5, -0.4 * own, 0.4 * own + 0.05)
    clutter = 0.05 * normal(-0.2, 0.8, 0.0, 0.6 * own + 0.06)
    outside = np.log(0.95 * skin + clutter)
    iris = np.log(0.65 * dark + 0.27 * white + 0.03 * skin + clutter)
    sclera = np.log(0.55 * white + 0.05 * dark + 0.35 * skin + clutter)
    lash = np.log(0.80 * dark + 0.15 * skin + clutter)
    return iris - outside, sclera - outside, lash - outside


@dataclass(frozen=True, eq=False)
class _Lid:
    """The grid of one lid's curves, and what is known of it beforehand."""

    heights: Array  # (h,) mm, of the curve's middle over the corners
    usual: float  # mm, mean of the heights
    spread: float  # mm, their standard deviation
    lashes: float  # mm, a thickness that needs no excuse
    outwards: int  # 1 where the lashes are above the curve, -1 where below
    shifted: NDArray[np.intp]  # (shift, skew, h, column) where the sums above each shifted curve stand
    banded: NDArray[np.intp]  # (offset, skew, h, column) the same for all shifts with all thicknesses
    bands: NDArray[np.intp]  # (thickness, shift) the offset of a band's outer edge

    @classmethod
    def of(cls, heights: Array, usual: float, spread: float, lashes: float, outwards: int) -> "_Lid":
        """Tabulate the curves."""
        edges = np.rint((_Y[0] - _curves(heights, _X[_BETWEEN])) / _ROW + 0.5).astype(np.intp)  # rows above

        def places(offsets: NDArray[np.intp]) -> NDArray[np.intp]:
            rows = np.clip(edges - offsets[:, None, None, None], 0, len(_Y))
            return read_only(rows * _COLUMNS + np.arange(_COLUMNS))

        thickness = outwards * _LASHES
        offsets = np.arange(_SHIFTS[0] + thickness.min(), _SHIFTS[-1] + thickness.max() + 1)
        bands = read_only(_SHIFTS + thickness[:, None] - offsets[0])
        return cls(read_only(heights), usual, spread, lashes, outwards, places(_SHIFTS), places(offsets), bands)

    def score(self, evidence: _Evidence, weight: float) -> Array:
        """Return this lid's part of the log posterior (iris column, shift, skew, h)."""
        beside = _sums_above(evidence.sclera, self.shifted).sum(axis=-1)
        gain = _sums_above(evidence.iris - evidence.sclera, self.shifted) @ _IRIS.T
        above = np.moveaxis(gain, -1, 0) + beside  # what an eye that reached the top of the window would have
        prior = -0.5 * ((self.heights - self.usual) / self.spread) ** 2 - 0.5 * (_SKEWS[:, None] / SKEW_SIGMA) ** 2
        return -self.outwards * weight * above + self._lash_score(evidence.lash, weight) + prior

    def _lash_score(self, lash: Array, weight: float) -> Array:
        """Return the log of the sum over thicknesses (shift, skew, h); beyond the usual they are less likely."""
        above = _sums_above(lash, self.banded).sum(axis=-1)
        bands = self.outwards * weight * (above[self.bands[0]] - above[self.bands])  # (thickness, shift, skew, h)
        excess = np.maximum(_ROW * _LASHES - self.lashes, 0.0) / LASH_SIGMA
        return _log_sum(bands - 0.5 * excess[:, None, None, None] ** 2, axis=0)


def _sums_above(values: Array, places: NDArray[np.intp]) -> Array:
    """Return the sums (n, skew, h, column) of values (rows, columns) over what is above tabulated curves."""
    sums = np.zeros((len(_Y) + 1, _COLUMNS))
    np.cumsum(values[:, _BETWEEN], axis=0, out=sums[1:])
    return sums.ravel().take(places)


@dataclass(frozen=True, eq=False)
class _Lids:
    """Posterior of the lids at given x: (n,) mm."""

    upper: Array
    lower: Array
    deviation: Array  # standard deviation of upper - lower
    support: float  # nats, log of the best lids' likelihood over that of bare skin, with their priors


def _posterior(evidence: _Evidence, weight: float, x_upper: Array, x_lower: Array) -> _Lids:
    """Return the lids at x (n,) each, under the posterior of all heights, skews, lashes, shifts and iris columns."""
    shifts = _ROW * _SHIFTS
    upper, upper_mean, upper_square = _without_skew(_UPPER.score(evidence, weight), _curves(_UPPER.heights, x_upper))
    lower, lower_mean, lower_square = _without_skew(_LOWER.score(evidence, weight), _curves(_LOWER.heights, x_lower))
    upper -= 0.5 * (shifts[:, None] / SHIFT_SIGMA) ** 2
    joint = upper[..., :, None] + lower[..., None, :]  # (iris column, shift, upper height, lower height)
    joint += _ORDER
    best = float(joint.max())
    joint = np.exp(joint - best)
    joint /= joint.sum()
    of_upper, of_lower = joint.sum(axis=-1), joint.sum(axis=-2)
    mean_u = np.einsum("csh,cshn->n", of_upper, upper_mean)
    mean_l = np.einsum("csh,cshn->n", of_lower, lower_mean)
    square = np.einsum("csh,cshn->n", of_upper, upper_square) + np.einsum("csh,cshn->n", of_lower, lower_square)
    cross = np.einsum("cshn,cshn->n", joint @ lower_mean, upper_mean)
    variance = square - 2.0 * cross - (mean_u - mean_l) ** 2
    shift = float(of_upper.sum(axis=(0, 2)) @ shifts)
    return _Lids(mean_u + shift, mean_l + shift, np.sqrt(np.maximum(variance, 0.0)), best)


def _without_skew(score: Array, y: Array) -> tuple[Array, Array, Array]:
    """Return the score summed over skews (c, s, h), and mean and mean square (c, s, h, n) of y under them."""
    total = _log_sum(score, axis=2)
    weights = np.exp(score - total[:, :, None])
    return total, np.einsum("cskh,khn->cshn", weights, y), np.einsum("cskh,khn->cshn", weights, y**2)


def _log_sum(score: Array, axis: int) -> Array:
    """Return log sum exp along an axis."""
    best = score.max(axis=axis, keepdims=True)
    return np.squeeze(best, axis) + np.log(np.exp(score - best).sum(axis=axis))


def _curves(heights: Array, x: Array) -> Array:
    """Return y (skew, height, n) mm of a lid's curves at x (n,), without the shift."""
    return (1.0 - x**2) ** 0.6 * heights[:, None] * (1.0 + _SKEWS[:, None, None] * x)


_BETWEEN = read_only(np.abs(_X) < 0.97)
_COLUMNS = int(_BETWEEN.sum())  # between the corners
_IRIS = read_only((np.abs(_X[_BETWEEN] - _IRIS_COLUMNS[:, None]) < _IRIS_RADIUS).astype(np.float64))
_UPPER = _Lid.of(np.arange(-4.0, 9.25, 0.5), usual=3.5, spread=3.0, lashes=1.0, outwards=1)
_LOWER = _Lid.of(np.arange(-6.0, 2.25, 0.5), usual=-2.5, spread=2.0, lashes=0.0, outwards=-1)
_ORDER = read_only(np.where(_UPPER.heights[:, None] >= _LOWER.heights, 0.0, -1e6))  # log prior: lids do not cross
_AROUND = read_only(
    ((np.abs(_Y[:, None]) > 8.0 * np.sqrt(1.0 - np.minimum(_X**2, 1.0)) + 1.5) | (np.abs(_X) > 1.2))
    & ((np.arange(len(_Y))[:, None] + np.arange(len(_X))) % 4 == 0)
)  # samples that no eye covers, one in four
_PLANE = read_only(np.stack(np.broadcast_arrays(1.0, _X, _Y[:, None] / 10.0), axis=-1))
