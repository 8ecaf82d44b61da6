"""Light, albedo and what is not skin, at the true pose and shape of a photo made under known light."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from photometric_scenes import Picture, angle_between, covered, dominant_direction, photographed, random_light
from scenes import random_scene

import facefit
from facefit.fitting.photometric.appearance import (
    BAND_SIGMA,
    CHROMA_SIGMA,
    Appearance,
    appearance_equations,
    first_appearance,
    refined,
)
from facefit.fitting.photometric.levels import make_level
from facefit.fitting.photometric.outliers import SkinMixture, background_density, skin_mixture
from facefit.fitting.photometric.problem import FaceState, PhotometricProblem
from facefit.fitting.photometric.surface import Surface, make_surface
from facefit.fitting.photometric.view import View, make_view
from facefit.models.morphable_model import MorphableModel
from facefit.render.spherical_harmonics import basis

Array = NDArray[np.float64]

SIZE = 100.0  # px, the faces' in their photos, which are looked at without a reduction


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


@pytest.fixture(scope="module")
def surface(model: MorphableModel) -> Surface:
    """The model's skin, its albedo in the model's own modes alone."""
    return make_surface(model, 0.0, 30.0)


@pytest.fixture(scope="module")
def head(model: MorphableModel) -> Surface:
    """The same in its mean albedo: nothing but light is unknown."""
    return make_surface(replace(model, albedo=None), 0.0, 30.0)


def picture_of(model: MorphableModel, seed: int, *, noise: float = 0.0, tone: float = 1.0) -> Picture:
    """Return a photo whose albedo coefficients are `tone` times random ones."""
    rng = np.random.default_rng(seed)
    scene = random_scene(model, rng, face_px=(SIZE, SIZE))
    return photographed(scene, rng, random_light(rng), tone * rng.standard_normal(model.n_albedo), noise)


def view_of(picture: Picture, surface: Surface) -> View:
    height, width = picture.image.shape[:2]
    level = make_level(picture.image, np.array([0.0, 0.0, width, height]), 1.0)
    assert level is not None
    return make_view(surface, level, picture.scene.state, 0.25)


def problem_of(picture: Picture, view: View) -> PhotometricProblem:
    landmarks = picture.task(0.02).problem(picture.scene.camera.scale)
    return PhotometricProblem(view, landmarks, np.ones(len(view)), 0.02, 4.0)


def truth_of(picture: Picture, surface: Surface) -> FaceState:
    """Return the true state; the albedo's own deviation is none."""
    coefficients = np.zeros(surface.albedo.size)
    coefficients[: surface.albedo.n_model] = picture.albedo[: surface.albedo.n_model]
    return FaceState(picture.scene.state, Appearance(picture.light, coefficients, 1.0))


def mixture_of(view: View) -> SkinMixture:
    return skin_mixture(view, 4.0, background_density(view, 0.1 * SIZE), SIZE)


def true_residual(picture: Picture, surface: Surface) -> tuple[View, Array]:
    """Return the view of the truth and what is left of the photo there."""
    view = view_of(picture, surface)
    return view, problem_of(picture, view).residual(truth_of(picture, surface))


def solved(view: View, weight: float = 1e4) -> Appearance:
    """Return light and albedo after more steps than they need."""
    appearance = first_appearance(view)
    for _ in range(8):
        appearance = refined(view, appearance, np.full(len(view), weight))
    return appearance


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_left_of_the_photo_at_the_truth(model: MorphableModel, surface: Surface, seed: int) -> None:
    """But the photo's 8 bits, and at edges of tone and shape what the level's smoothing takes away."""
    picture = picture_of(model, seed)
    residual = np.abs(true_residual(picture, surface)[1])
    assert np.median(residual) < 0.5 / 255.0
    assert np.percentile(residual, 90) < 0.01


@pytest.mark.parametrize("seed", range(4))
def test_light_on_a_known_albedo_is_found(model: MorphableModel, head: Surface, seed: int) -> None:
    """Its shading of all that is seen, and where it comes from; what shines on the back of the head stays unknown."""
    picture = picture_of(model, seed, tone=0.0)
    view = view_of(picture, head)
    found, functions = solved(view), basis(view.normals)
    assert len(found.coefficients) == 0
    true = functions @ picture.light
    assert np.linalg.norm(functions @ found.light - true) < 0.015 * np.linalg.norm(true)
    assert angle_between(dominant_direction(found.light), dominant_direction(picture.light)) < 20.0


@pytest.mark.parametrize("seed", range(4))
def test_albedo_and_light_are_found(model: MorphableModel, surface: Surface, seed: int) -> None:
    """Albedo up to its brightness, which the photo cannot tell from the light's."""
    picture = picture_of(model, seed)
    view = view_of(picture, surface)
    found = solved(view)

    def error(coefficients: Array) -> float:
        true, got = (surface.albedo.reflectance(c, view.albedo_rows) for c in (picture.albedo, coefficients))
        return float(np.linalg.norm((true * got).sum() / (got * got).sum() * got - true) / np.linalg.norm(true))

    assert error(found.coefficients) < 0.03
    assert error(found.coefficients) < 0.3 * error(np.zeros_like(picture.albedo))
    functions = basis(view.normals)
    shading, true = functions @ found.light, functions @ picture.light
    assert np.corrcoef(shading.ravel(), true.ravel())[0, 1] > 0.95
    residual = problem_of(picture, view).residual(FaceState(picture.scene.state, found))
    assert np.median(np.abs(residual)) < 1.0 / 255.0


def test_solution_is_the_minimum_and_the_matrix_its_curvature(model: MorphableModel) -> None:
    """Of the energy in the module's text, as the kernels see the photo; with a free deviation of the albedo."""
    surface = make_surface(model, 0.15, 60.0)
    picture = picture_of(model, 5, noise=0.005)
    height, width = picture.image.shape[:2]
    level = make_level(picture.image, np.array([0.0, 0.0, width, height]), 0.25)
    assert level is not None
    view = make_view(surface, level, picture.scene.state, 0.25)
    assert len(view) < 2000, "all samples count"
    problem, weight = problem_of(picture, view), 400.0
    appearance = solved(view, weight)

    def energy(x: Appearance) -> float:
        residual = problem.residual(FaceState(picture.scene.state, x))
        return 0.5 * weight * float((residual**2).sum()) + sum(x.energies.values())

    matrix, gradient = appearance_equations(view, appearance, np.full(len(view), weight))
    assert np.abs(gradient / np.sqrt(matrix.diagonal())).max() < 0.02, "nats per standard deviation"
    rng = np.random.default_rng(0)
    middle = energy(appearance)
    for _ in range(10):
        step = rng.standard_normal(len(matrix)) / np.sqrt(matrix.diagonal())
        curvature = step @ matrix @ step
        ahead, behind = energy(appearance.moved(0.1 * step)), energy(appearance.moved(-0.1 * step))
        assert abs(ahead - behind) / 0.2 < 0.02 * np.sqrt(curvature), "nats per standard deviation"
        assert (ahead + behind - 2.0 * middle) / 0.01 == pytest.approx(curvature, rel=0.1)


def test_light_can_be_refined_without_the_deviation(model: MorphableModel) -> None:
    """The face's own deviation then stays as it is, and the step is the least for all the others."""
    surface = make_surface(model, 0.15, 60.0)
    view = view_of(picture_of(model, 5), surface)
    split, weights = 27 + surface.albedo.n_model, np.full(len(view), 400.0)
    start = first_appearance(view)
    start = replace(start, coefficients=start.coefficients + 0.1)
    found = refined(view, start, weights, deviation=False)
    step = found.stacked - start.stacked
    np.testing.assert_array_equal(step[split:], 0.0)
    matrix, gradient = appearance_equations(view, start, weights)
    slope = (gradient + matrix @ step)[:split]
    np.testing.assert_allclose(slope, 0.0, atol=1e-6 * np.abs(gradient).max())
    assert np.abs(refined(view, start, weights).stacked - start.stacked)[split:].max() > 0.01


def test_prior_of_the_light_is_that_of_the_text() -> None:
    """1/2 (mean / (sigma ambient))^2 for grey light, and the channels' deviations apart from it."""
    grey, tinted = np.zeros((9, 3)), np.zeros((9, 3))
    grey[2], tinted[2] = 0.7, (0.1, -0.1, 0.0)
    ambient, one = 1.6, Appearance(grey, np.array([1.0, -2.0]), 1.6)
    assert one.energies["lighting"] == pytest.approx(0.5 * (0.7 / (BAND_SIGMA[1] * ambient)) ** 2)
    assert one.energies["albedo"] == pytest.approx(2.5)
    other = replace(one, light=tinted)
    assert other.energies["lighting"] == pytest.approx(0.5 * 0.02 / (CHROMA_SIGMA[1] * ambient) ** 2)
    both = replace(one, light=grey + tinted)
    assert both.energies["lighting"] == pytest.approx(one.energies["lighting"] + other.energies["lighting"])
    assert both.energy == pytest.approx(sum(both.energies.values()))
    np.testing.assert_array_equal(one.precision, one.precision.T)
    assert np.linalg.eigvalsh(one.precision)[0] > 0.0
    np.testing.assert_array_equal(one.moved(np.zeros(29)).stacked, one.stacked)
    step = np.arange(29.0)
    np.testing.assert_array_equal(one.moved(step).stacked, one.stacked + step)


@pytest.mark.parametrize("seed", range(4))
def test_what_covers_the_face_is_no_skin(model: MorphableModel, surface: Surface, seed: int) -> None:
    """Here it looks unlike any skin; what is seen of the face is skin."""
    picture = picture_of(model, seed, noise=0.01)
    hidden = covered(picture, np.random.default_rng(seed))
    view, residual = true_residual(hidden, surface)
    gamma = mixture_of(view).probability((residual**2).sum(axis=1), 0.02)
    mask = (hidden.image != picture.image).any(axis=2).ravel()[view.pixels]
    assert gamma.min() >= 0.0
    assert gamma.max() <= 1.0
    assert gamma[picture.face.ravel()[view.pixels] & ~mask].mean() > 0.98
    assert mask.sum() > 1000
    assert gamma[mask].mean() < 0.15


def test_density_of_the_background_is_one(model: MorphableModel, surface: Surface) -> None:
    """It integrates to one over the colours, is highest where the background's is, and needs no background."""
    picture = picture_of(model, 0)
    view = view_of(picture, surface)
    density = background_density(view, 0.1 * SIZE)
    assert density.mean() == pytest.approx(1.0, rel=1e-9)
    assert density.min() > 0.0
    bin_of = (picture.image[0, 0] // 16).astype(int)
    assert np.abs(np.array(np.unravel_index(density.argmax(), density.shape)) - bin_of).max() <= 1
    np.testing.assert_array_equal(background_density(view, 1e6), np.full_like(density, 0.5))


@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_gained_by_calling_pixels_outliers(model: MorphableModel, surface: Surface, seed: int) -> None:
    """A sample's cost is no less than nothing, grows with its error, and is that of the cheaper kind, skin or not."""
    picture = covered(picture_of(model, seed, noise=0.01), np.random.default_rng(seed))
    view, residual = true_residual(picture, surface)
    mixture = mixture_of(view)

    def cost(error: Array) -> Array:
        return mixture.energy((error**2).sum(axis=1), 0.02)

    costs = [cost(k * residual) for k in (0.0, 0.5, 1.0, 2.0, 10.0)]
    assert costs[0].min() >= 0.0
    assert all((after >= before - 1e-9).all() for before, after in pairwise(costs))
    as_other = cost(np.full_like(residual, 1e6))
    assert (as_other >= costs[-1] - 1e-9).all()
    square = (residual**2).sum(axis=1) / 0.02**2
    as_skin = 3.5 * np.log1p(square / 4.0) - np.log(view.of_samples(surface.prior[view.vertices]))
    cheaper = np.minimum(as_skin, as_other)
    assert (costs[2] <= cheaper + 1e-9).all()
    assert (costs[2] >= cheaper - np.log(2.0) - 1e-9).all()
