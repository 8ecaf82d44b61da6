"""Time of the photometric stage: an iteration and its shares, a round's other work, a whole fit, and NumPy's Adam.

    python benchmarks/photometric.py [--repeats 10] [--no-adam]

Photos are rendered here: random people of each model under a lamp, on a patchwork. An iteration is the residual, the
sums over triangles, their projection to the unknowns, light's and albedo's own part, the damped step and the trial's
energy, on all pixels of a face of 256 and of 512 px; the unknowns are pose, shape, light and albedo. Beside it stands
what it replaces: float32 syrk of the explicit Jacobian of that size, at its fastest on one thread, divided by the
threads. A whole fit has the default options and starts from the landmark stage.
Every figure is the fastest of several: other work on the machine can only add to it. The ICT model, cut to about 120
unknowns, takes part where FACEFIT_TEST_DATA names the test data.
"""

import argparse
import math
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.linalg.blas import ssyrk

import facefit
from facefit.fitting.gauss_newton import GaussNewtonOptions, minimise
from facefit.fitting.initializers import InitializerInput, MeanFace
from facefit.fitting.landmark_noise import LandmarkNoise, expand_sigma
from facefit.fitting.landmark_problem import POSE
from facefit.fitting.landmark_stage import LandmarkStageOptions, fit_landmark_stage
from facefit.fitting.landmark_task import JawMatching, LandmarkTask, state_of
from facefit.fitting.landmarks import LandmarkConvention, face_box
from facefit.fitting.mesh_assembly.equations import MeshPattern, TriangleSums, project
from facefit.fitting.options import FitOptions
from facefit.fitting.parameters import FaceParameters
from facefit.fitting.photometric import _kernels
from facefit.fitting.photometric.appearance import (
    appearance_equations,
    displayed,
    first_appearance,
    linear_slopes,
    refined,
)
from facefit.fitting.photometric.correlation import integral_range
from facefit.fitting.photometric.levels import make_level
from facefit.fitting.photometric.options import PhotometricOptions
from facefit.fitting.photometric.outliers import background_density, skin_mixture
from facefit.fitting.photometric.problem import FaceState, PhotometricProblem
from facefit.fitting.photometric.stage import fit_photometric_stage
from facefit.fitting.photometric.surface import skin_surface
from facefit.fitting.photometric.view import make_view
from facefit.fitting.ridge import minimise_bounded_quadratic
from facefit.fitting.threads import single_threaded_blas
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles
from facefit.render.renderer import NumbaRenderer
from facefit.render.spherical_harmonics import FACTORS, basis

SIGMA = 0.02  # of the landmarks, relative to the face's size
SCALE_OF_ERRORS = 0.05  # sRGB units
SIZES = (256, 512)  # px, the face's in the photos that an iteration is timed on
FITS = (180, 256, 400)  # px, likewise of whole fits
ICT_MODES = {"identity": 62, "expression": 52}  # with the pose 120 unknowns


@dataclass(frozen=True, eq=False)
class Photo:
    """A rendered face."""

    image: np.ndarray  # (H, W, 3) uint8
    landmarks: np.ndarray  # (68, 2) px, noisy


def render(model: MorphableModel, size: int, seed: int) -> Photo:
    """Return a random person of a model, `size` px, at a random pose under a random lamp, before a patchwork."""
    rng = np.random.default_rng(seed)
    vertices = model.vertices(0.8 * rng.normal(size=model.n_identity))
    marks, side, scale = model.landmark_positions(vertices), round(2.2 * size), size / model.face_size
    rotation = rotation_from_angles(*rng.uniform(-1.0, 1.0, 3) * (25.0, 10.0, 10.0))
    centre = side / 2.0 - scale * (rotation @ marks.mean(axis=0))[:2]
    camera = ScaledOrthographic(rotation, centre, scale)
    light = np.zeros((9, 3))
    light[0], light[1], light[2], light[3] = 2.2, -0.6 * rng.uniform(), -1.0, 0.5 * rng.normal()
    skin = np.full((model.n_vertices, 3), (0.52, 0.33, 0.25))
    if model.albedo_mean is not None and model.albedo is not None:
        skin = model.albedo_mean + np.tensordot(0.7 * rng.normal(size=len(model.albedo)), model.albedo, 1)
    head = NumbaRenderer().draw(
        camera, vertices, model.triangles, side, side, colours=np.clip(skin, 0.02, 1.0), lighting=light
    )  # fmt: skip
    alpha = head[..., 3:] / 255.0
    patches = np.kron(rng.integers(0, 256, (side // 8 + 1, side // 8 + 1, 3)), np.ones((8, 8, 1)))[:side, :side]
    image = alpha * head[..., :3] + (1.0 - alpha) * patches + rng.normal(size=head[..., :3].shape) * 3.0
    noise = rng.normal(size=(68, 2)) * SIGMA * size
    return Photo(np.clip(image, 0, 255).astype(np.uint8), camera.project(marks)[:, :2] + noise)


def landmark_fit(model: MorphableModel, photo: Photo) -> tuple[FaceParameters, LandmarkTask]:
    """Return where the photometric stage starts."""
    noise, convention = LandmarkNoise(expand_sigma(SIGMA)), LandmarkConvention.SEMANTIC
    given = InitializerInput(
        model, photo.image, np.array(face_box(photo.landmarks)), photo.landmarks, noise.sigma, convention
    )  # fmt: skip
    found = fit_landmark_stage(
        model, photo.landmarks, MeanFace()(given), noise, convention, LandmarkStageOptions(), math.inf
    )  # fmt: skip
    return found.parameters, found.task


def milliseconds(job: Callable[[], object], repeats: int) -> float:
    """Return the fastest of `repeats` runs after a first one."""
    job()
    fastest = math.inf
    for _ in range(repeats):
        started = time.perf_counter()
        job()
        fastest = min(fastest, time.perf_counter() - started)
    return 1e3 * fastest


@contextmanager
def shared(threads: int) -> Iterator[Executor | None]:
    """Yield an executor of that many threads, None for one."""
    if threads == 1:
        yield None
        return
    with ThreadPoolExecutor(threads) as executor:
        yield executor


@dataclass(frozen=True, eq=False)
class Bench:
    """One photo's problem on all pixels of its face, at the landmark stage's state and the light that suits it."""

    problem: PhotometricProblem
    state: FaceState
    round_jobs: dict[str, Callable[[], object]]


def prepare(model: MorphableModel, size: int) -> Bench:
    """Return the problem at the default options on a photo whose face has `size` px."""
    options, photo = PhotometricOptions(), render(model, size, seed=1)
    parameters, task = landmark_fit(model, photo)
    pose, surface = state_of(parameters), skin_surface(model, options.albedo_deviation, options.albedo_length)
    side = len(photo.image)
    level = make_level(photo.image, np.array([0.0, 0.0, side, side]), 1.0)
    assert level is not None
    view = make_view(surface, level, pose, options.min_cosine)
    state, ones = FaceState(pose, first_appearance(view)), np.ones(len(view))
    landmarks = task.problem(pose.scale, JawMatching().again(task, pose).match)
    problem = PhotometricProblem(view, landmarks, ones, SCALE_OF_ERRORS, options.degrees_of_freedom)
    residual = problem.residual(state)
    problem = replace(problem, weight=ones / integral_range(view, residual, ones, float(size)))
    mixture = skin_mixture(view, problem.degrees, background_density(view, 0.1 * size), float(size))
    square, weights = np.einsum("mk,mk->m", residual, residual), problem.sample_weights(residual)
    jobs: dict[str, Callable[[], object]] = {
        "view": lambda: make_view(surface, level, pose, options.min_cosine),
        "pattern of the equations": lambda: MeshPattern.from_triangles(view.triangles, len(view.vertices)),
        "landmarks": lambda: task.problem(pose.scale, JawMatching().again(task, pose).match).robust(pose, 4.0),
        "background": lambda: skin_mixture(view, 4.0, background_density(view, 0.1 * size), float(size)),
        "outliers": lambda: mixture.probability(square, problem.sigma),
        "scale of the errors": lambda: np.median(np.abs(residual)),
        "integral range": lambda: integral_range(view, residual, ones, float(size)),
        "first light and albedo": lambda: refined(view, state.appearance, weights),
    }  # fmt: skip
    return Bench(problem, state, jobs)


def iteration_jobs(bench: Bench, executor: Executor | None) -> dict[str, Callable[[], object]]:
    """Return the parts of an iteration."""
    problem, state, view = replace(bench.problem, executor=executor), bench.state, bench.problem.view
    dtype, count = view.basis.dtype, len(view.triangles)
    pose, appearance = state
    model_points, points = view.model_points(pose.coefficients), problem._camera_points(pose)
    weights, modes = problem.sample_weights(problem.residual(state)), view.appearance_modes
    cross, pulls = np.empty((count, 9, 27 + modes.shape[2]), dtype), np.empty((count, 3, 9))
    sums = TriangleSums(np.empty((count, 45), dtype), np.empty((count, 9), dtype), cross)
    reflectance = view.surface.albedo.reflectance(appearance.coefficients, view.albedo_rows)
    slopes, centres = linear_slopes(view, appearance.light, reflectance), view.centres
    equations, (lower, upper) = problem.normal_equations(state), problem.step_bounds(state)
    damped, rng = equations.matrix + 1e-3 * np.diag(equations.matrix.diagonal()), np.random.default_rng(0)
    return {
        "residual": lambda: problem.sample_weights(problem.residual(state)),
        "sums over triangles": lambda: problem._share(
            _kernels.triangle_sums, state, points, weights, (*sums[:2], pulls)
        ),
        "their coupling": lambda: _kernels.triangle_cross(
            (0, count), pulls, view.triangles, (centres.barycentric, centres.functions), *slopes, modes, cross
        ),
        "projection": lambda: project(
            view.pattern, sums, view.basis, model_points, pose.rotation, pose.scale, executor
        ),
        "light and albedo": lambda: appearance_equations(view, appearance, weights),
        "step": lambda: minimise_bounded_quadratic(damped, -equations.gradient, lower, upper),
        "trial energy": lambda: problem.energy(problem.retract(state, 1e-6 * rng.normal(size=len(damped)))),  # anew
        "landmarks": lambda: problem.landmarks.normal_equations(pose),
    }  # fmt: skip


def print_iterations(model: MorphableModel, threads: tuple[int, ...], repeats: int) -> None:
    """Print an iteration's time and shares, its syrk's, and those of a round's other work."""
    for size in SIZES:
        bench = prepare(model, size)
        view = bench.problem.view
        unknowns = POSE + view.basis.shape[2] + 27 + view.surface.albedo.size
        jacobian = np.ones((unknowns, 3 * len(view)), np.float32, order="F")
        syrk = milliseconds(partial(ssyrk, 1.0, jacobian), max(repeats // 2, 3))
        del jacobian
        print(f"  {size} px: {len(view)} pixels, {len(view.vertices)} vertices, {unknowns} unknowns")
        for count in threads:
            with shared(count) as executor:
                parts = {name: milliseconds(job, repeats) for name, job in iteration_jobs(bench, executor).items()}
            total = sum(parts.values())
            print(f"    {count} thread(s): {total:6.2f} ms an iteration, {total / (syrk / count):.2f} x syrk "
                  f"({syrk / count:.1f} ms)   {shares(parts)}")  # fmt: skip
        parts = {name: milliseconds(job, repeats) for name, job in bench.round_jobs.items()}
        print(f"    a round's other work: {sum(parts.values()):6.2f} ms   {shares(parts)}")


def shares(parts: dict[str, float]) -> str:
    """Return the parts in words."""
    return ", ".join(f"{name} {part:.2f}" for name, part in parts.items())


def print_fits(model: MorphableModel, threads: tuple[int, ...], repeats: int) -> None:
    """Print the time of whole photometric fits."""
    photos = [render(model, size, seed) for seed, size in enumerate(FITS)]
    starts = [landmark_fit(model, photo) for photo in photos]
    for count in threads:
        options, found = PhotometricOptions(threads=count), []
        for photo, start in zip(photos, starts, strict=True):
            job = partial(fit_photometric_stage, photo.image, *start, options)
            found.append(milliseconds(job, repeats))
        print(f"  a whole fit, {count} thread(s): {np.round(found, 1)} ms for faces of {FITS} px")


def adam(problem: PhotometricProblem, state: FaceState, goal: float, limit: int) -> tuple[float, int, float]:
    """Descend by Adam (Kingma & Ba, 2015) until the energy is `goal`: the energy reached, steps, and seconds.

    NumPy, on the exact gradient of the same energy; each unknown is in units of its curvature at the start, which
    spares Adam the search for step sizes.
    """
    unit = 1.0 / np.sqrt(problem.normal_equations(state).matrix.diagonal())
    mean, square = np.zeros(len(unit)), np.zeros(len(unit))
    started, energy, step = time.perf_counter(), math.inf, 0
    while step < limit and energy > goal:
        step += 1
        energy, gradient = gradient_of(problem, state)
        scaled = gradient * unit
        mean, square = 0.9 * mean + 0.1 * scaled, 0.999 * square + 0.001 * scaled**2
        change = -0.3 * (mean / (1.0 - 0.9**step)) / (np.sqrt(square / (1.0 - 0.999**step)) + 1e-8)
        state = problem.retract(state, np.clip(change * unit, *problem.step_bounds(state)))
    return energy, step, time.perf_counter() - started


def gradient_of(problem: PhotometricProblem, state: FaceState) -> tuple[float, np.ndarray]:
    """Return energy and gradient (6 + P + 27 + A,) in plain NumPy, by the chain rule from pixels to unknowns."""
    view, (pose, appearance), albedo = problem.view, state, problem.view.surface.albedo
    light, modes = appearance.light, albedo.modes[view.albedo_rows]
    photo, (factor, left, top, right, bottom) = view.level.photo, view.level.window
    turned = pose.scale * view.model_points(pose.coefficients) @ pose.rotation.T  # q, without the translation
    points = turned + np.append(pose.translation, 0.0)
    weights, corners = view.barycentric, view.corners
    owner = np.repeat(np.arange(len(view.triangles)), np.diff(view.first))
    place = np.einsum("mc,mcx->mx", weights, points[corners])[:, :2] * factor + (left, top)
    place = np.clip(place, 0.0, np.array([right, bottom]) - _kernels.EDGE)
    column, row = place.T.astype(int)
    along, down = (place - (np.stack([column, row], axis=1))).T[..., None]
    a, b, c, d = photo[row, column], photo[row, column + 1], photo[row + 1, column], photo[row + 1, column + 1]
    upper, lower = a + along * (b - a), c + along * (d - c)

    triangles = points[view.triangles]
    u, v = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    cross = np.cross(u, v)
    length = np.linalg.norm(cross, axis=1, keepdims=True)
    flat = cross / length
    normal = view.normals + (flat - view.triangle_normals)[owner]
    size = np.linalg.norm(normal, axis=1, keepdims=True)
    normal /= size
    rho = view.of_samples(albedo.reflectance(appearance.coefficients, view.albedo_rows))
    functions = basis(normal)
    shading = functions @ light
    value, slope = displayed(rho * shading)
    residual = upper + down * (lower - upper) - value
    energy = problem.photometric_energy(residual)

    pull = problem.sample_weights(residual)[:, None] * residual
    by_place = factor * np.stack(
        [(pull * ((1.0 - down) * (b - a) + down * (d - c))).sum(axis=1), (pull * (lower - upper)).sum(axis=1)], axis=1
    )  # fmt: skip
    x, y, z = normal.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    polynomials = (
        [zero, zero, zero, one, y, zero, zero, z, 2 * x],
        [zero, one, zero, zero, x, z, zero, zero, -2 * y],
        [zero, zero, one, zero, zero, y, 6 * z, x, zero],
    )
    by_shading = -pull * slope * rho
    slant = np.stack([((np.stack(p, axis=1) * FACTORS) @ light * by_shading).sum(axis=1) for p in polynomials], axis=1)
    slant = (slant - normal * (normal * slant).sum(axis=1, keepdims=True)) / size
    by_flat = np.stack([np.bincount(owner, slant[:, k], len(triangles)) for k in range(3)], axis=1)
    by_flat = (by_flat - flat * (flat * by_flat).sum(axis=1, keepdims=True)) / length

    by_point = np.zeros_like(points)
    for i in range(3):
        for k in range(2):
            by_point[:, k] += np.bincount(corners[:, i], weights[:, i] * by_place[:, k], len(points))
    by_u, by_v = np.cross(v, by_flat), np.cross(by_flat, u)
    for i, force in enumerate((-by_u - by_v, by_u, by_v)):
        for k in range(3):
            by_point[:, k] += np.bincount(view.triangles[:, i], force[:, k], len(points))
    in_model = (pose.scale * by_point @ pose.rotation).astype(view.basis.dtype)
    shares = view.barycentric[:, :, None] * (-pull * slope * shading)[:, None]
    by_albedo = view.to_vertices(np.add.reduceat(shares, view.first[:-1], axis=0)).astype(modes.dtype)
    other = problem.landmarks.normal_equations(pose)
    of_pose = np.concatenate([
        np.cross(turned, by_point).sum(axis=0), by_point[:, :2].sum(axis=0), [(turned * by_point).sum()],
        in_model.ravel() @ view.basis.reshape(in_model.size, -1),
    ])  # fmt: skip
    of_appearance = np.concatenate(
        [(functions.T @ by_shading).T.ravel(), by_albedo.ravel() @ modes.reshape(by_albedo.size, -1)]
    )
    of_appearance += appearance.precision @ appearance.stacked
    return energy + other.energy + appearance.energy, np.concatenate([of_pose + other.gradient, of_appearance])


def print_adam(model: MorphableModel, steps: int = 10, limit: int = 400) -> None:
    """Print how much longer Adam takes to the energy that the stage's own steps reach."""
    bench = prepare(model, 80)
    ours = partial(minimise, bench.problem, bench.state, GaussNewtonOptions(steps, 1e-3, 1e-3))
    outcome, seconds = ours(), milliseconds(ours, 3) / 1e3
    exact = bench.problem.normal_equations(bench.state).gradient
    error = np.abs(gradient_of(bench.problem, bench.state)[1] - exact).max() / np.abs(exact).max()
    energy, taken, spent = adam(bench.problem, bench.state, outcome.energy, limit)
    reached = "the same energy" if energy <= outcome.energy else f"no nearer than {energy - outcome.energy:.1f} nats"
    print(f"  {outcome.iterations} damped steps, {1e3 * seconds:.0f} ms, to {outcome.energy:.1f} nats from "
          f"{outcome.initial_energy:.1f}; NumPy's Adam (gradients agree to {error:.0e}): {taken} steps, "
          f"{1e3 * spent:.0f} ms to {reached}: {spent / seconds:.0f} x")  # fmt: skip


@contextmanager
def ict_model() -> Iterator[MorphableModel | None]:
    """Yield the ICT model of the test data, None where there is none."""
    folder = os.environ.get("FACEFIT_TEST_DATA")
    archive = Path(folder or ".") / "ict" / "ict_facekit.tar.xz"
    if folder is None or not archive.is_file():
        yield None
        return
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(archive) as content:
            content.extractall(place, filter="data")
        model = facefit.load_model(Path(place) / "FaceXModel")
        yield model.truncated(**ICT_MODES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument(
        "--no-adam", action="store_true", help="leave out the comparison with Adam, which takes a while"
    )
    arguments = parser.parse_args()
    with single_threaded_blas(), ict_model() as ict:
        first = render(facefit.load_model("default"), 128, seed=0)
        started = time.perf_counter()
        facefit.fit(first.image, landmarks=first.landmarks, options=FitOptions())
        print(f"the first fit of the process: {time.perf_counter() - started:.1f} s, compilation or its cache included")
        for name, model in (("default", facefit.load_model("default")), ("ICT", ict)):
            if model is None:
                print(f"{name}: left out, FACEFIT_TEST_DATA names no ict/ict_facekit.tar.xz")
                continue
            print(f"{name}: {model.n_identity} + {model.n_expression} coefficients")
            print_iterations(model, (1, 2), arguments.repeats)
            print_fits(model, (1, 2), max(arguments.repeats // 2, 1))
            if not arguments.no_adam:
                print_adam(model)


if __name__ == "__main__":
    main()
