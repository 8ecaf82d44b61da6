"""The quality of a fit: the probability that it is a good one, from what it tells of itself.

A fit is *good* where its surface lies on the photo's face within GOOD = 3 % of the face's size:

    error = mean over the vertices of the face of |projected fit - projected truth| / size      size: scale * face_size

Two things must be so: the points belong to a face that is there, and the fit lies near enough to it. Each has a chance
of its own by the evidence x_k below, which is brought to 0-1 between the ends of its range, 1 the worse,

    quality = P(error < GOOD) = P(there) P(near)          P = 1 / (1 + exp(-(offset - sum_k w_k x_k))),    w_k >= 0

so that quality never rises where evidence gets worse, and precise points cannot make up for a photo without a face. A
number that is none counts as the worst. There are three sets of constants: for a fit of the points alone, for one that
the photo refined, and for one whose refinement was rejected. Without the photo P(there) is taken to be one.

    residual     RMS distance of the observed points from the fitted ones, relative to the face's size; logarithmic
    deviation    posterior standard deviation of the fitted points in the image, RMS, likewise; logarithmic
    identity     |identity|^2 / K, how unusual the person would be; logarithmic
    turn         1 - cosine of the angle between the face's direction and the line of sight: 0 frontal, 1 a profile
    disagreement 1 - the correlation of photo and rendering after a high-pass (photometric/agreement.py)

Calibration (apps/evaluate/quality_calibration.py prints the constants; docs/quality.md has the figures): fits of random
people of the default model under noise, occlusion, poor light and wrong points. P(near) is found where the points are
the face's: with thresholds t_j on the error, P(error < t_j) = 1 / (1 + exp(-(a_j - w.x))), the proportional odds model,
by penalised maximum likelihood, so that the weights come from how large errors are and not only from on which side of
GOOD they lie (McCullagh, Regression models for ordinal data, J. R. Statist. Soc. B 1980). P(there) is what is left to
explain when all fits are taken together. The noise that was assumed, the expression, the errors' scale, the share of
skin, the photo's resolution and how far the points were moved were tried as well: beside these five they got little or
no weight.

What it cannot know: whether points that were fitted without the photo belong to a face at all, how faces differ that
no people of the model resemble, and the depth, which a single photo shows least.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .landmark_problem import LandmarkProblem
from .landmark_stage import LandmarkFit
from .landmark_task import state_of
from .photometric.stage import PhotometricFit
from .status import FitStatus

Array = NDArray[np.float64]

GOOD = 0.03
"""Largest error of a good fit, relative to the face's size; a choice: 4 mm on a head, which still looks in place."""


@dataclass(frozen=True)
class Scale:
    """From where to where a kind of evidence is told apart."""

    best: float
    worst: float
    logarithmic: bool = False

    def position(self, value: float) -> float:
        """Return 0 at the best end of the range or beyond it, 1 at the worst one, beyond it, or for no number."""
        if not math.isfinite(value):
            return 1.0
        if self.logarithmic:
            share = math.log(max(value, self.best) / self.best) / math.log(self.worst / self.best)
        else:
            share = (value - self.best) / (self.worst - self.best)
        return min(max(share, 0.0), 1.0)


SCALES: Mapping[str, Scale] = {
    "residual": Scale(0.005, 0.1, logarithmic=True),
    "deviation": Scale(0.002, 0.02, logarithmic=True),
    "identity": Scale(0.05, 4.0, logarithmic=True),
    "turn": Scale(0.0, 0.6),
    "disagreement": Scale(0.0, 1.0),
}


@dataclass(frozen=True)
class Evidence:
    """What a fit tells of itself; see the module's text."""

    residual: float  # relative to the face's size
    deviation: float  # relative to the face's size
    identity: float  # mean square of the coefficients, standard deviations
    turn: float  # 0-2
    disagreement: float | None = None  # 0-2; None: no photo was looked at
    refined: bool = False  # whether what the photo said was accepted


@dataclass(frozen=True)
class Odds:
    """The probability of something by the evidence."""

    offset: float  # log odds where the evidence is the best
    weights: Mapping[str, float]  # log odds that the worst of each kind of evidence takes off

    def probability(self, evidence: Evidence) -> float:
        """Return P, 0-1."""
        odds = self.offset
        for name, weight in self.weights.items():
            value = getattr(evidence, name)
            odds -= weight * SCALES[name].position(math.nan if value is None else value)
        return 1.0 / (1.0 + math.exp(-odds))


@dataclass(frozen=True)
class Calibration:
    """The constants for one kind of fit."""

    near: Odds
    there: Odds | None = None  # None: taken for granted

    def quality(self, evidence: Evidence) -> float:
        """Return the quality, 0-1."""
        return self.near.probability(evidence) * (1.0 if self.there is None else self.there.probability(evidence))


# As quality_calibration.py prints them.
THERE = Odds(8.98, {"disagreement": 12.66})
POINTS = Calibration(Odds(21.18, {"residual": 10.51, "deviation": 9.1, "identity": 8.87, "turn": 0.33}))
REFINED = Calibration(
    Odds(17.51, {"residual": 5.91, "deviation": 8.56, "identity": 6.45, "disagreement": 3.89}), THERE
)  # fmt: skip
REJECTED = Calibration(Odds(13.19, {"residual": 11.58, "identity": 6.74, "disagreement": 3.51}), THERE)


def probability_of_good(evidence: Evidence) -> float:
    """Return the quality, 0-1, for any evidence."""
    if evidence.disagreement is None:
        return POINTS.quality(evidence)
    return (REFINED if evidence.refined else REJECTED).quality(evidence)


def fit_quality(found: LandmarkFit, refined: PhotometricFit | None) -> float:
    """Return the quality of what the stages found; `refined` is None where no photo was looked at.

    0 where the stages themselves say that it is no face: of such fits to renderings not one was good.
    """
    last = refined if refined is not None and refined.accepted else found
    if last.status in (FitStatus.DEGENERATE, FitStatus.DIVERGED):
        return 0.0
    return probability_of_good(evidence_of(found, refined))


def evidence_of(found: LandmarkFit, refined: PhotometricFit | None) -> Evidence:
    """Return the evidence of what the stages found."""
    accepted = refined is not None and refined.accepted
    last = refined if refined is not None and refined.accepted else found
    task, parameters = found.task, last.parameters
    assert last.landmarks is not None
    assert last.covariance is not None
    size = parameters.camera.scale * task.model.face_size
    used = np.isfinite(task.noise.sigma)
    apart = (last.landmarks - task.observed)[used] / size
    problem = task.problem(parameters.camera.scale)
    return Evidence(
        residual=float(np.sqrt((apart**2).sum(axis=1).mean())),
        deviation=_deviation(problem, last) / size,
        identity=float(np.mean(parameters.identity**2)) if len(parameters.identity) else 0.0,
        turn=1.0 + float(parameters.camera.rotation[2, 2]),
        disagreement=None if refined is None else 1.0 - refined.agreement,
        refined=accepted,
    )


def _deviation(problem: LandmarkProblem, last: LandmarkFit | PhotometricFit) -> float:
    """Return the posterior standard deviation, px, RMS, of the problem's points in the image."""
    assert last.covariance is not None
    plain = np.tile(np.eye(2), (len(problem.observed), 1, 1))
    jacobian = replace(problem, whitening=plain, pairs=problem.pairs[:0]).jacobian(state_of(last.parameters))
    variance = float(np.einsum("ij,ij->", jacobian @ last.covariance, jacobian)) / len(problem.observed)
    return math.sqrt(max(variance, 0.0))
