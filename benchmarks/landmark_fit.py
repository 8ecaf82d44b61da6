"""Time of one warm fit of 68 points with the sliding contour, on one core, and the share of each step.

    python benchmarks/landmark_fit.py [--model default] [--repeats 300]

Prints the median and the fastest fit over a handful of seeded people of the model and poses, then how the time splits.
The steps are timed by wrapping the functions, which adds some microseconds to each call: read the shares, not their
sum.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

import facefit
from facefit.fitting import gauss_newton, landmark_problem, landmark_stage
from facefit.fitting.dlib_detector import LANDMARK_SIGMA
from facefit.fitting.initializers import InitializerInput, MeanFace
from facefit.fitting.landmark_noise import LandmarkNoise
from facefit.fitting.landmarks import LandmarkConvention
from facefit.fitting.threads import single_threaded_blas
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles

STEPS = {
    "matching the outline": (landmark_stage, "match_contour"),
    "affine camera": (landmark_stage, "fit_scaled_orthographic"),
    "bounded solves": (gauss_newton, "minimise_bounded_quadratic"),
    "bounded solves (start)": (landmark_stage, "minimise_bounded_quadratic"),
    "normal equations": (landmark_problem.LandmarkProblem, "normal_equations"),
    "energy": (landmark_problem.LandmarkProblem, "energy"),
    "posterior": (landmark_stage, "inverse_positive_definite"),
}


def people(model: MorphableModel, count: int = 5) -> list[np.ndarray]:
    """Return noisy observed landmarks (68, 2) of random people at random poses."""
    rng = np.random.default_rng(0)
    faces = []
    for _ in range(count):
        points = model.landmark_positions(model.vertices(rng.normal(size=model.n_identity)))
        rotation = rotation_from_angles(rng.uniform(-30, 30), rng.uniform(-15, 15), rng.uniform(-15, 15))
        camera = ScaledOrthographic(rotation, np.array([256.0, 256.0]), 1.5)
        noise = rng.normal(size=(68, 2)) * LANDMARK_SIGMA[:, None] * model.face_size * camera.scale
        faces.append(camera.project(points)[:, :2] + noise)
    return faces


def fit(model: MorphableModel, points: np.ndarray, noise: LandmarkNoise) -> Any:
    """Fit one face as the pipeline does."""
    given = InitializerInput(model, None, np.zeros(4), points, noise.sigma, LandmarkConvention.CONTOUR)
    start = MeanFace()(given)
    options = landmark_stage.LandmarkStageOptions()
    return landmark_stage.fit_landmark_stage(model, points, start, noise, LandmarkConvention.CONTOUR, options)


def timed(spent: dict[str, float], label: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `function` so that its time is added to `spent[label]`."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[label] += time.perf_counter() - started

    return wrapper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="a name in the store or a path")
    parser.add_argument("--repeats", type=int, default=300)
    arguments = parser.parse_args()
    repeats = arguments.repeats
    model, noise = facefit.load_model(arguments.model), LandmarkNoise(LANDMARK_SIGMA)
    faces = people(model)
    with single_threaded_blas():
        results = [fit(model, face, noise) for face in faces]
        times = []
        for k in range(repeats):
            started = time.perf_counter()
            fit(model, faces[k % len(faces)], noise)
            times.append(time.perf_counter() - started)
        iterations = np.mean([r.iterations for r in results])
        print(f"landmark fit with contour, {model.n_identity} + {model.n_expression} coefficients, one core")
        by_face = 1e3 * np.reshape(times, (-1, len(faces)))
        fastest = by_face.min(axis=0)
        print(f"  {np.median(fastest):.2f} ms: the median over the faces of each one's fastest, {np.round(fastest, 2)}")
        print(f"  {np.median(by_face):.2f} ms: the median of all, which others' work on the machine makes longer")
        print(f"  {iterations:.1f} Gauss-Newton solves a fit")

        spent: dict[str, float] = defaultdict(float)
        for label, (home, name) in STEPS.items():
            setattr(home, name, timed(spent, label, getattr(home, name)))
        started = time.perf_counter()
        for k in range(repeats):
            fit(model, faces[k % len(faces)], noise)
        total = time.perf_counter() - started
    for label, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {label:24s} {1e3 * seconds / repeats:6.3f} ms  {100 * seconds / total:5.1f} %")
    print(f"  {'the rest':24s} {1e3 * (total - sum(spent.values())) / repeats:6.3f} ms")


if __name__ == "__main__":
    main()
