"""One face's landmarks as the stages see them: which points count, how much, and where on the surface they lie."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..models.morphable_model import MorphableModel
from ..models.point_basis import PointBasis
from .contour import FREE_MATCHINGS, ContourMatch, jumping, match_contour, on_outline
from .landmark_noise import LandmarkNoise
from .landmark_problem import LandmarkProblem
from .landmarks import LandmarkConvention
from .parameters import FaceParameters
from .state_prior import PoseAndShape, StatePrior

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LandmarkTask:
    """The constants of one face's landmark energy."""

    model: MorphableModel
    basis: PointBasis
    observed: Array  # (68, 2) px
    noise: LandmarkNoise
    sliding: bool  # whether jaw points lie on the outline
    pairs: NDArray[np.intp]  # (Q, 2) opening pairs whose points both count
    precision: Array  # (P,) 1 / sigma^2 of the coefficients' priors
    lower: Array  # (P,)
    upper: Array  # (P,)
    measured: NDArray[np.intp]  # (L,) points that the photo itself told of, see `with_measured`
    measured_whitening: Array  # (L, 2, 2) 1/px
    prior: StatePrior | None = None  # of pose and shape, in a video from the frame before

    def problem(
        self, scale: float, match: ContourMatch | None = None, counted: NDArray[np.bool_] | None = None
    ) -> LandmarkProblem:
        """Return the energy for a face of the given camera scale (px/mm), with the jaw's points on `match`.

        Only the points `counted` (68,) take part; None stands for all.
        """
        weights = self.noise.weights(scale * self.model.face_size)
        if counted is not None:
            weights *= counted
        if match is None:
            whitening = weights[:, None, None] * np.eye(2)
            mean, basis = self.basis.mean, self.basis.basis
        else:
            whitening, mean, basis = on_outline(self.basis, match, weights)
        whitening[self.measured] = self.measured_whitening
        return LandmarkProblem(
            mean, basis, self.observed, whitening, self.pairs, self.noise.opening_correlation,
            self.precision, self.lower, self.upper, self.prior,
        )  # fmt: skip

    def with_measured(self, points: NDArray[np.intp], observed: Array, whitening: Array) -> "LandmarkTask":
        """Return the task with points (L,) observed elsewhere, at (L, 2) px, under a whitening (L, 2, 2) of their own.

        An opening pair with such a point has no correlated noise any more.
        """
        places = self.observed.copy()
        places[points] = observed
        kept = ~np.isin(self.pairs, points).any(axis=1)
        return replace(
            self, observed=places, pairs=self.pairs[kept], measured=points, measured_whitening=whitening
        )  # fmt: skip


def landmark_task(
    model: MorphableModel,
    observed: Array,
    noise: LandmarkNoise,
    convention: LandmarkConvention,
    identity_prior: float = 1.0,
    expression_prior: float = 1.0,
) -> LandmarkTask:
    """Return the task of fitting `observed` (68, 2) px, finite where `noise.sigma` is; priors: weights of theirs."""
    unbounded = np.full(model.n_identity, np.inf)
    sliding = convention is LandmarkConvention.CONTOUR
    return LandmarkTask(
        model=model,
        basis=model.contour_landmark_basis if sliding else model.semantic_basis,
        observed=np.where(np.isfinite(noise.sigma)[:, None], observed, 0.0),
        noise=noise,
        sliding=sliding,
        pairs=noise.pairs,
        precision=np.concatenate(
            [np.full(model.n_identity, identity_prior), expression_prior / model.expression_sigma**2]
        ),
        lower=np.concatenate([-unbounded, model.expression_lower]),
        upper=np.concatenate([unbounded, model.expression_upper]),
        measured=np.zeros(0, dtype=np.intp),
        measured_whitening=np.zeros((0, 2, 2)),
    )


@dataclass(frozen=True, eq=False)
class JawMatching:
    """How the jaw's points have been matched to the outline so far; three rules of `contour.py` make that settle."""

    match: ContourMatch | None = None
    allowed: NDArray[np.bool_] | None = None  # (68,) points that may slide; None: all
    rounds: int = 0

    def again(self, task: LandmarkTask, state: PoseAndShape) -> "JawMatching":
        """Return the matching after a fresh round at `state`; the same where the jaw does not slide."""
        if not task.sliding:
            return self
        allowed = np.ones(len(task.observed), dtype=bool) if self.allowed is None else self.allowed.copy()
        match = match_contour(task.model, state, task.observed, self.match, allowed)
        if self.match is not None:
            allowed[np.setdiff1d(self.match.landmarks, match.landmarks)] = False
            if self.rounds >= FREE_MATCHINGS:
                allowed[jumping(self.match, match, state, task.model.face_size)] = False
        return JawMatching(match, allowed, self.rounds + 1)


def energy_terms(problem: LandmarkProblem, state: PoseAndShape, split: int) -> dict[str, float]:
    """Return the energy by term, nats; the first `split` coefficients are identity's."""
    residual = problem.residual(state)
    priors = 0.5 * problem.precision * state.coefficients**2
    return {
        "landmarks": float(0.5 * (residual @ residual)),
        "identity": float(priors[:split].sum()),
        "expression": float(priors[split:].sum()),
    }


def state_of(parameters: FaceParameters) -> PoseAndShape:
    """Return parameters as a solver's state."""
    camera = parameters.camera
    coefficients = np.concatenate([parameters.identity, parameters.expression])
    return PoseAndShape(camera.rotation, camera.translation, camera.scale, coefficients)


def parameters_of(state: PoseAndShape, split: int) -> FaceParameters:
    """Return a solver's state as parameters; the first `split` coefficients are identity's."""
    camera = state.camera
    return FaceParameters(camera, state.coefficients[:split].copy(), state.coefficients[split:].copy())
