"""For developers: calibrates the quality of fits, prints the constants of fitting/quality.py and how good they are.

    python -m facefit.apps.evaluate.quality_calibration [--scenes 1600] [--synthetic DIR] [--aflw2000 DIR]

Scenes with an even number calibrate, the others are held out; `quality_scenes.py` makes them. Each is fitted by its
points alone and with the photo. Points of something else than the face take no part for fits of points alone, which
cannot know. The folders are those of `evaluate`: their faces, with points as they are, disturbed and detected, only
ever test; their error is that of the 68 points.

The table tells, for each kind of fit: how many there are, how many are good, Spearman's rank correlation of quality
with the error and the area under the ROC curve of good fits against the others, both beside those of the landmarks'
residual alone, 1 / (1 + mean square of the whitened residuals); Brier's score; and the observed share of good fits
where quality lies within each of BINS, with their number.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata, spearmanr

from ...fitting.dlib_detector import DlibDetector
from ...fitting.gold_standard import DegenerateConfigurationError
from ...fitting.images import load_image
from ...fitting.initializers import InitializerInput, MeanFace
from ...fitting.landmark_stage import LandmarkFit, fit_landmark_stage
from ...fitting.landmarks import face_box
from ...fitting.photometric.stage import PhotometricFit, fit_photometric_stage
from ...fitting.pipeline import landmark_assumptions
from ...fitting.quality import GOOD, SCALES, Calibration, Evidence, Odds, evidence_of, fit_quality
from ...fitting.status import FitStatus
from ...fitting.threads import single_threaded_blas
from ...models.errors import InvalidInputError
from ...models.morphable_model import MorphableModel
from ...models.store import load_model
from .datasets import Sample, read_aflw2000, read_synthetic
from .quality_scenes import DETECTED, MISHAPS, QualityScene, mishap_scene, random_quality_scene

Array = NDArray[np.float64]

SEED = 20261
WRONG = {"turned", "scaled", "other", "elsewhere"}
KINDS: Mapping[str, tuple[str, ...]] = {
    "points": ("residual", "deviation", "identity", "turn"),
    "refined": ("residual", "deviation", "identity", "turn", "disagreement"),
    "rejected": ("residual", "identity", "disagreement"),
}
"""The kinds of fit, and the evidence by which each is near the face."""

PRESENCE = ("disagreement",)
"""The evidence by which a face is there."""

THRESHOLDS = (0.008, 0.011, 0.015, 0.02, 0.025, GOOD, 0.04, 0.06, 0.1, 0.2)
"""Errors that the proportional odds model tells apart."""

MIN_FITS = 10  # of a kind, fewer do not calibrate it
SHRINKAGE = 0.02  # weight of the squared weights beside the log likelihood
BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


@dataclass(frozen=True)
class Outcome:
    """One fit, and how far it is from the truth."""

    number: int  # of the scene
    kind: str  # one of KINDS, or "failed"
    photo: bool  # whether the photo was looked at
    evidence: Evidence | None
    quality: float  # by the constants in place
    former: float  # by the landmarks' residual alone
    error: float  # relative to the face's size
    depth_error: float  # the same in three dimensions
    tags: frozenset[str]


# --- Fits --------------------------------------------------------------------------------------------------------


def outcomes(number: int, scene: QualityScene, model: MorphableModel, *, own: bool = True) -> list[Outcome]:
    """Return the scene's fits, of its points alone and with the photo; own: the scene's person is of the model."""
    noise, convention = landmark_assumptions(model, scene.options)
    points = scene.landmarks
    given = InitializerInput(
        model, scene.image, np.array(face_box(points)), points, noise.sigma, convention
    )  # fmt: skip
    with single_threaded_blas():
        try:
            found = fit_landmark_stage(
                model, points, MeanFace()(given), noise, convention, scene.options.landmark
            )  # fmt: skip
        except DegenerateConfigurationError:
            nothing = Outcome(number, "failed", False, None, 0.0, 0.0, math.inf, math.inf, scene.tags)
            return [nothing, replace(nothing, photo=True)]
        refined = None
        if found.status.usable:
            refined = fit_photometric_stage(scene.image, found.parameters, found.task, scene.options.photometric)
        tried: list[tuple[bool, PhotometricFit | None]] = [(False, None), (True, refined)]
        return [_outcome(number, scene, model, found, photo, fit, own) for photo, fit in tried]


def _outcome(
    number: int, scene: QualityScene, model: MorphableModel, found: LandmarkFit, photo: bool,
    refined: PhotometricFit | None, own: bool,
) -> Outcome:  # fmt: skip
    last = refined if refined is not None and refined.accepted else found
    camera, shape = last.parameters.camera, model.vertices(last.parameters.identity, last.parameters.expression)
    kind = "points" if refined is None else "refined" if refined.accepted else "rejected"
    if found.status is FitStatus.DEGENERATE:
        kind = "failed"
    return Outcome(
        number=number,
        kind=kind,
        photo=photo,
        evidence=evidence_of(found, refined),
        quality=fit_quality(found, refined),
        former=1.0 / (1.0 + last.landmark_energy / float(np.isfinite(found.task.noise.sigma).sum())),
        error=scene.error(camera, shape, model) if own else scene.point_error(camera, shape, model),
        depth_error=scene.error(camera, shape, model, depth=True) if own else math.nan,
        tags=scene.tags,
    )


def rendered_outcomes(model: MorphableModel, numbers: Iterable[int]) -> Iterator[Outcome]:
    """Yield the fits of random scenes."""
    for number in numbers:
        scene = random_quality_scene(model, np.random.default_rng([SEED, number]))
        yield from outcomes(number, scene, model)


def photo_outcomes(model: MorphableModel, samples: Sequence[Sample]) -> Iterator[Outcome]:
    """Yield fits of photos with known points: those points as they are and disturbed, and detected ones."""
    detector = DlibDetector(allow_cnn=False)
    for number, sample in enumerate(samples):
        image = load_image(sample.image).pixels
        for k, mishap in enumerate(MISHAPS):
            scene = mishap_scene(image, sample.landmarks, np.random.default_rng([SEED, number, k]), mishap)
            yield from outcomes(number, scene, model, own=False)
        for face in detector.detect(image)[:1]:
            plain = mishap_scene(image, sample.landmarks, np.random.default_rng(0), "none")
            scene = replace(plain, landmarks=face.landmarks, options=DETECTED, tags=frozenset({"detected"}))
            yield from outcomes(number, scene, model, own=False)


# --- Calibration -------------------------------------------------------------------------------------------------


def calibrate(fits: Sequence[Outcome]) -> dict[str, Calibration]:
    """Return the constants of each kind. Those of P(there) are found once, from all fits that looked at the photo.

    InvalidInputError where some kind has too few fits.
    """
    near = {}
    for kind, names in KINDS.items():
        right = [fit for fit in fits if fit.kind == kind and not WRONG & fit.tags]
        if len(right) < MIN_FITS:
            raise InvalidInputError(f"scenes: expected at least {MIN_FITS} fits that are {kind}, got {len(right)}")
        near[kind] = _odds(names, *proportional_odds(_positions(right, names), _errors(right)))
    seen = [fit for fit in fits if fit.kind in ("refined", "rejected")]
    given = np.array([near[fit.kind].probability(fit.evidence) for fit in seen if fit.evidence is not None])
    there = _odds(PRESENCE, *remaining_odds(_positions(seen, PRESENCE), _errors(seen) < GOOD, given))
    return {kind: Calibration(odds, None if kind == "points" else there) for kind, odds in near.items()}


def _odds(names: Sequence[str], offset: float, weights: Array) -> Odds:
    """Return constants as they are pasted."""
    return Odds(
        round(offset, 2), {name: round(float(w), 2) for name, w in zip(names, weights, strict=True) if w > 0.005}
    )  # fmt: skip


def _errors(fits: Sequence[Outcome]) -> Array:
    return np.array([fit.error for fit in fits])


def _positions(fits: Sequence[Outcome], names: Sequence[str]) -> Array:
    return np.array([[SCALES[name].position(getattr(fit.evidence, name)) for name in names] for fit in fits])


def remaining_odds(positions: Array, good: NDArray[np.bool_], given: Array) -> tuple[float, Array]:
    """Return offset and weights (K,) >= 0 of P in P(good) = given P, by maximum likelihood with a small ridge."""

    def cost(parameters: Array) -> float:
        odds = np.clip(parameters[0] - positions @ parameters[1:], -60.0, 60.0)
        chance = np.clip(given / (1.0 + np.exp(-odds)), 1e-9, 1.0 - 1e-9)
        return float(-np.log(np.where(good, chance, 1.0 - chance)).sum() + SHRINKAGE * parameters @ parameters)

    bounds = [(None, None)] + [(0.0, None)] * positions.shape[1]
    best = minimize(cost, np.ones(1 + positions.shape[1]), method="L-BFGS-B", bounds=bounds).x
    return float(best[0]), best[1:]


def blind(fit: Outcome) -> bool:
    """Whether a fit of points alone was given those of something else, which it cannot know."""
    return not fit.photo and bool(WRONG & fit.tags)


def proportional_odds(positions: Array, errors: Array) -> tuple[float, Array]:
    """Return log odds of an error below GOOD at zero, and weights (K,) >= 0, from positions (n, K) and errors (n,).

    P(error < t_j) = 1 / (1 + exp(-(a_j - w.x))) with a_j rising, by likelihood and a small ridge on w.
    """
    share = (errors[:, None] < np.array(THRESHOLDS)).mean(axis=0)
    kept = np.flatnonzero((share > 0.02) & (share < 0.98) | (np.array(THRESHOLDS) == GOOD))
    levels = np.array(THRESHOLDS)[kept]
    bin_of, count = (errors[:, None] >= levels).sum(axis=1), len(levels)

    def offsets(parameters: Array) -> Array:
        rises = np.concatenate([[0.0], np.cumsum(np.exp(parameters[1:count]))])
        return np.asarray(parameters[0] + rises)

    def cost(parameters: Array) -> float:
        weights = parameters[count:]
        odds = offsets(parameters) - (positions @ weights)[:, None]
        below = 1.0 / (1.0 + np.exp(-np.clip(odds, -60.0, 60.0)))
        ends = np.hstack([np.zeros((len(errors), 1)), below, np.ones((len(errors), 1))])
        inside = np.take_along_axis(np.diff(ends, axis=1), bin_of[:, None], axis=1)
        return float(-np.log(np.maximum(inside, 1e-9)).sum() + SHRINKAGE * weights @ weights)

    start = np.concatenate([[0.0], np.full(count - 1, -0.5), np.ones(positions.shape[1])])
    bounds = [(None, None)] * count + [(0.0, None)] * positions.shape[1]
    best = minimize(cost, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000, "maxfun": 10**6}).x
    return float(offsets(best)[list(levels).index(GOOD)]), best[count:]


# --- Figures -----------------------------------------------------------------------------------------------------


def area_under_curve(score: Array, positive: NDArray[np.bool_]) -> float:
    """Return the probability that a positive's score (n,) is above a negative's, ties counting half."""
    ranks, n, m = rankdata(score), int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return math.nan
    return float((ranks[positive].sum() - n * (n + 1) / 2.0) / (n * m))


def rank_correlation(score: Array, error: Array) -> float:
    """Return Spearman's correlation of a score with the error, positive where a high score means a small error."""
    return float(spearmanr(-score, error)[0]) if len(score) > 2 and np.ptp(score) > 0.0 else math.nan


def reliability(quality: Array, good: NDArray[np.bool_]) -> str:
    """Return, for each of BINS with fits in it, mean quality, the observed share of good fits, and their number."""
    parts = []
    for low, high in pairwise(BINS):
        inside = (quality >= low) & ((quality < high) | (high == 1.0))
        if inside.any():
            parts.append(f"{quality[inside].mean():.2f} {good[inside].mean():.2f} ({inside.sum()})")
    return "  ".join(parts)


def row(label: str, fits: Sequence[Outcome]) -> str:
    """Return one line of the table, by the quality that the fits carry."""
    if not fits:
        return f"{label:<34}    0"
    quality, former = np.array([fit.quality for fit in fits]), np.array([fit.former for fit in fits])
    error, depth = np.array([fit.error for fit in fits]), np.array([fit.depth_error for fit in fits])
    good = error < GOOD
    return (
        f"{label:<34} {len(fits):>4}  {good.mean():.2f}  {rank_correlation(quality, error):.2f} "
        f"({rank_correlation(former, error):.2f})  {area_under_curve(quality, good):.2f} "
        f"({area_under_curve(former, good):.2f})  {rank_correlation(quality, depth):.2f}   "
        f"{float(np.mean((quality - good) ** 2)):.3f}  {reliability(quality, good)}"
    )


SUBSETS: Mapping[str, Callable[[Outcome], bool]] = {
    "with photo, all": lambda fit: fit.photo,
    "with photo, usable": lambda fit: fit.photo and fit.kind != "failed",
    "  refined": lambda fit: fit.kind == "refined",
    "  rejected": lambda fit: fit.kind == "rejected",
    "  covered": lambda fit: fit.photo and fit.kind != "failed" and "covered" in fit.tags,
    "  outliers": lambda fit: fit.photo and fit.kind != "failed" and "outliers" in fit.tags,
    "  no points of something else": lambda fit: fit.photo and fit.kind != "failed" and not WRONG & fit.tags,
    "points alone, all": lambda fit: not fit.photo and not blind(fit),
    "points alone, usable": lambda fit: fit.kind == "points" and not blind(fit),
}


def table(title: str, fits: Sequence[Outcome]) -> str:
    """Return the figures of some fits, by subset."""
    head = f"{title:<34}    n  good  Spearman     AUC          3D     Brier  quality observed (n)"
    return "\n".join([head, *(row(label, [fit for fit in fits if inside(fit)]) for label, inside in SUBSETS.items())])


def with_constants(fits: Iterable[Outcome], constants: Mapping[str, Calibration]) -> list[Outcome]:
    """Return fits with the quality that given constants give them."""
    return [
        replace(fit, quality=constants[fit.kind].quality(fit.evidence))
        if fit.kind in constants and fit.evidence is not None else fit
        for fit in fits
    ]  # fmt: skip


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description="Calibrate the quality of fits.")
    parser.add_argument("--scenes", type=int, default=1600, help="how many renderings, half of them held out")
    parser.add_argument("--synthetic", type=Path, help="folder of rendered heads with exact geometry, to test on")
    parser.add_argument("--aflw2000", type=Path, help="folder of photos of AFLW2000-3D, to test on")
    return parser.parse_args()


def main() -> None:
    """Print constants and tables."""
    arguments, model = _arguments(), load_model("default")
    fits = list(rendered_outcomes(model, range(arguments.scenes)))
    constants = calibrate([fit for fit in fits if fit.number % 2 == 0])
    for kind, calibration in constants.items():
        print(f"{kind.upper()} = {calibration}")
    fits = with_constants(fits, constants)
    print(table("renderings, calibration", [fit for fit in fits if fit.number % 2 == 0]))
    print(table("renderings, held out", [fit for fit in fits if fit.number % 2]))
    for name, folder, read in (
        ("synthetic", arguments.synthetic, read_synthetic), ("aflw2000", arguments.aflw2000, read_aflw2000)
    ):  # fmt: skip
        if folder is not None:
            print(table(name, with_constants(photo_outcomes(model, read(folder)), constants)))


if __name__ == "__main__":
    main()
