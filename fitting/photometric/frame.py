"""The photometric stage of one frame of a video, which has a state near the answer to begin with.

The last level of the pyramid alone, in one thread: its few pixels are not worth a second. There is no guard: what the
caller carries on decides whether a face is lost.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...models.morphable_model import MorphableModel
from ..gauss_newton import GaussNewtonOptions, NormalEquations, minimise
from ..landmark_problem import POSE
from ..landmark_task import JawMatching, LandmarkTask
from ..state_prior import PoseAndShape
from ..status import FitStatus
from .appearance import Appearance
from .levels import make_level
from .options import PhotometricOptions
from .refinement import DAMPING, Refinement
from .surface import Surface, personal_surface, skin_surface

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class FrameFit:
    """What the pixels of one frame of a video add."""

    pose: PoseAndShape
    appearance: Appearance
    information: Array  # (6 + P, 6 + P) of a step in pose and shape, marginal over light and albedo
    agreement: float  # -1 to 1: whether the frame shows the rendered face at all, see agreement.py


@dataclass(frozen=True, eq=False)
class FrameRefiner:
    """Refines the faces of a model's skin in one frame after another."""

    surface: Surface
    options: PhotometricOptions

    @classmethod
    def of(cls, model: MorphableModel, options: PhotometricOptions) -> Self:
        """Return that of a whole model."""
        return cls(skin_surface(model, options.albedo_deviation, options.albedo_length), options)

    def personal(self, person: MorphableModel) -> Self:
        """Return that of a person's own model; an appearance means the same in both."""
        return replace(self, surface=personal_surface(self.surface, person))

    def reflectance(self, appearance: Appearance) -> Array:
        """Return the linear reflectance (N, 3), 0-1, of all vertices of the model."""
        return np.clip(self.surface.albedo.reflectance(appearance.coefficients), 0.0, 1.0)

    def refine(
        self, image: Pixels, start: PoseAndShape, task: LandmarkTask, appearance: Appearance | None
    ) -> FrameFit | None:
        """Take a few steps in an image (H, W, 3); None where too little skin is seen, or no step lowers the energy.

        The prior of `task` is what the frame before says of this one. The light and albedo of that frame are the start,
        found anew if None.
        """
        run = Refinement.of(image, start, self.surface, task, self.options)
        level = make_level(image, run.box(start), run.factors()[-1])
        pose, matching, held, last, outcome = start, JawMatching(), None, None, None
        solver = GaussNewtonOptions(1, self.options.tolerance, DAMPING)
        for _ in range(self.options.rounds):
            matching = matching.again(run.task, pose)
            found = None if level is None else run.render(level, pose, matching, appearance)
            if found is None:
                break
            last, outcome = found, minimise(found.problem, found.state, solver, held=held)
            (pose, appearance), held = outcome.state, outcome.held
            if outcome.status is not FitStatus.MAX_ITERATIONS:
                break
        if last is None or outcome is None or appearance is None:
            return None
        assert isinstance(outcome.last, NormalEquations)
        reduced, _ = marginal(outcome.last, POSE + len(pose.coefficients))
        return FrameFit(pose, appearance, reduced.matrix, run.agreement(last))

    def equations(
        self, image: Pixels, state: PoseAndShape, task: LandmarkTask, appearance: Appearance | None
    ) -> tuple[NormalEquations, Appearance, float] | None:
        """Return what an image says of a step from a state, whatever light and albedo; these; and the agreement.

        No step is taken. None where too little skin is seen. Arguments are those of `refine`.
        """
        run = Refinement.of(image, state, self.surface, task, self.options)
        level = make_level(image, run.box(state), run.factors()[-1])
        found = None if level is None else run.render(level, state, JawMatching().again(run.task, state), appearance)
        if found is None:
            return None
        reduced, step = marginal(found.problem.normal_equations(found.state), POSE + len(state.coefficients))
        return reduced, found.state.appearance.moved(step), run.agreement(found)


def marginal(equations: NormalEquations, size: int) -> tuple[NormalEquations, Array]:
    """Return the equations of the first `size` entries of a step, the others being where they lower the energy most;
    and where these others are if the first do not move.
    """
    own, cross, rest = (
        equations.matrix[part] for part in (np.s_[:size, :size], np.s_[:size, size:], np.s_[size:, size:])
    )
    reduced = np.linalg.solve(rest, np.column_stack([cross.T, equations.gradient[size:]]))
    matrix, gradient = own - cross @ reduced[:, :-1], equations.gradient[:size] - cross @ reduced[:, -1]
    energy = equations.energy - 0.5 * float(equations.gradient[size:] @ reduced[:, -1])
    return NormalEquations(energy, gradient, 0.5 * (matrix + matrix.T)), np.asarray(-reduced[:, -1], np.float64)
