"""The detail stage on heads whose relief is known, and on photos that tell nothing of any."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from detail_scenes import (
    ReliefHead,
    band_passed,
    correlation,
    freckles,
    normal_error,
    relief,
    relief_head,
    rms,
    visible_skin,
)
from numpy.typing import NDArray

import facefit
from facefit import FitOptions, FitResult, FitStatus
from facefit.fitting.detail import DetailFit, fit_detail_stage, level_sizes
from facefit.fitting.detail_map import DetailMap
from facefit.fitting.detailing.mirroring import looked_up, mirrored_places
from facefit.fitting.detailing.observation import observe
from facefit.fitting.detailing.options import DetailOptions
from facefit.fitting.detailing.skin import trust
from facefit.fitting.texturing.atlas import TextureSpace
from facefit.fitting.texturing.fitted_face import checked_face
from facefit.fitting.texturing.options import TextureOptions
from facefit.models.errors import FacefitError
from facefit.models.morphable_model import MorphableModel
from facefit.models.uv_atlas import model_atlas

Heads = Callable[..., ReliefHead]

LIGHTS = {0: (45.0, 30.0), 1: (-50.0, 20.0), 2: (10.0, 55.0)}
"""Seed of a head -> where its lamp stands."""


@pytest.fixture(scope="module")
def ict(test_data: Path) -> MorphableModel:
    return facefit.load_model(test_data / "ict" / "ict_facekit.tar.xz")


@pytest.fixture(scope="module")
def rough(ict: MorphableModel) -> Heads:
    """Heads with bumps and wrinkles by seed and noise, each made once."""
    return cache(
        lambda seed, noise=0.01: relief_head(
            ict, seed, relief(seed), light=LIGHTS[seed], yaw=10.0 - 15.0 * seed, noise=noise
        )
    )


@pytest.fixture(scope="module")
def calm() -> ReliefHead:
    """A head of the default model, smooth and little lit from the side."""
    return relief_head(facefit.load_model("default"), 7, side=300)


def detailed(head: ReliefHead, result: FitResult | None = None, **options: object) -> tuple[DetailFit, DetailMap]:
    fit = fit_detail_stage(head.image, result or head.result, head.model, DetailOptions(**options))
    assert fit.detail is not None
    return fit, fit.detail


# --- Accuracy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", LIGHTS)
def test_relief_comes_back_over_the_true_coarse_surface(rough, seed):
    head = rough(seed)
    fit, detail = detailed(head)
    skin = visible_skin(head)
    assert skin.sum() > 8000
    assert correlation(detail.displacement, head.heights_at(256), skin) >= 0.7
    coarse = normal_error(head, np.zeros((256, 256)), skin, head.result)
    assert normal_error(head, detail.displacement, skin, head.result) <= 0.7 * coarse
    assert fit.final_energy["shading"] + fit.final_energy["prior"] < fit.initial_energy["shading"]


@pytest.mark.parametrize("seed", LIGHTS)
def test_relief_comes_back_over_the_toolkit_s_own_fit(rough, seed):
    head = rough(seed)
    size = np.sqrt(np.prod(np.ptp(head.landmarks, axis=0)))
    points = head.landmarks + 0.01 * size * np.random.default_rng(seed).standard_normal((68, 2))
    options = FitOptions(stages=("landmark", "photometric", "detail"), landmark_sigma=0.01)
    result = facefit.fit(head.image, head.model, landmarks=points, options=options)
    assert result.detail is not None and [stage.name for stage in result.stages] == list(options.stages)
    skin = visible_skin(head)
    assert correlation(result.detail.displacement, head.heights_at(256), skin) >= 0.5
    coarse = normal_error(head, np.zeros((256, 256)), skin, result)
    assert normal_error(head, result.detail.displacement, skin, result) <= 0.85 * coarse


@pytest.mark.parametrize(("painted", "bound"), [(False, 0.1), (True, 0.15)])
def test_a_smooth_head_stays_smooth_freckled_or_not(ict, painted, bound):
    head = relief_head(ict, 3, paint=freckles(3) if painted else None)
    _, detail = detailed(head)
    assert rms(detail.displacement[visible_skin(head)]) < bound


def test_noise_of_the_photo_stays_out(rough):
    quiet, noisy = rough(0), rough(0, 0.02)
    skin, true = visible_skin(quiet), quiet.heights_at(256)
    errors, fine = [], []
    for head in (quiet, noisy):
        _, detail = detailed(head)
        errors.append(rms(band_passed(detail.displacement - true, skin, 0.7, 10.0)[skin]))
        # What is finer than the truth holds.
        fine.append(rms(band_passed(detail.displacement, skin, 1e-3, 0.7)[skin]))
    assert errors[1] < 1.5 * errors[0]
    assert max(fine) < 0.15 * rms(true[skin]), "ringing"


def test_heights_do_not_depend_on_the_texture_s_size(ict):
    head = relief_head(ict, 5, relief(5, shortest=48.0), noise=0.004)
    small, large = (detailed(head, size=size)[1] for size in (256, 512))
    reduced = large.displacement.reshape(256, 2, 256, 2).mean(axis=(1, 3))
    seen = (small.confidence == 255) & (large.confidence.reshape(256, 2, 256, 2).min(axis=(1, 3)) == 255)
    assert seen.sum() > 5000
    assert rms((reduced - small.displacement)[seen]) <= 0.05 * rms(small.displacement[seen])


def test_a_mirrored_photo_gives_mirrored_heights(ict):
    head = relief_head(ict, 1, relief(1), yaw=0.0, light=(40.0, 20.0))
    other = head.mirrored()
    places = mirrored_places(ict, model_atlas(ict), 256)
    assert places is not None
    (_, one), (_, two) = detailed(head), detailed(other)
    image = looked_up(two.displacement, places)
    both = (one.confidence > 200) & (looked_up(two.confidence.astype(np.float32), places) > 200.0)
    assert both.sum() > 8000
    assert rms((image - one.displacement)[both]) < 0.05 * rms(one.displacement[both])


# --- What is not seen --------------------------------------------------------------------------------------------


def test_the_unseen_side_takes_after_the_seen_one_and_what_neither_shows_is_flat(ict):
    head = relief_head(ict, 2, relief(2), yaw=50.0, light=(30.0, 20.0))
    _, detail = detailed(head)
    _, alone = detailed(head, mirror_deviation=None)
    places = mirrored_places(ict, model_atlas(ict), 256)
    assert places is not None
    image, shown = looked_up(detail.displacement, places), looked_up(detail.confidence.astype(np.float32), places)
    lent = (detail.confidence == 0) & (shown > 250.0)
    assert lent.sum() > 2000
    assert np.corrcoef(detail.displacement[lent], image[lent])[0, 1] > 0.9
    assert rms(alone.displacement[lent]) < 0.3 * rms(detail.displacement[lent])
    assert detail.coverage[lent].all()
    apart = cv2.distanceTransform((~detail.coverage).astype(np.uint8), cv2.DIST_L2, 5)
    assert (apart > 8.0).any() and np.abs(detail.displacement[apart > 8.0]).max() < 0.01
    # The seen side hardly takes after the unseen one: through the surface between them alone.
    sure = detail.confidence == 255
    assert rms((detail.displacement - alone.displacement)[sure]) < 0.2 * rms(alone.displacement[sure])


@pytest.mark.parametrize("name", ["default", "ict"])
def test_mirroring_twice_is_no_change(name, request):
    model = facefit.load_model("default") if name == "default" else request.getfixturevalue("ict")
    places = mirrored_places(model, model_atlas(model), 128)
    assert places is not None
    there = places[0] > -1.5
    assert there.mean() > 0.5
    rows, columns = np.indices((128, 128)).astype(np.float32)
    for axis, position in enumerate((columns, rows)):
        again = looked_up(places[axis], places)
        # Beside a cut of the atlas the four texels around a place lie on either side of it.
        assert (np.abs(again - position)[there] < 0.6).mean() > 0.9


def test_a_model_without_symmetry_has_no_mirror(calm):
    plain = replace(calm.model, mirror=None)
    assert mirrored_places(plain, model_atlas(plain), 64) is None
    fit = fit_detail_stage(calm.image, calm.result, plain, DetailOptions(size=64))
    assert fit.detail is not None


# --- The surface's frame -----------------------------------------------------------------------------------------


def test_cells_have_orthonormal_frames_and_the_surface_s_area(calm):
    face = checked_face(calm.image, calm.result, calm.model)
    uv, seen = model_atlas(calm.model), TextureOptions()
    scene = face.scene(seen, face.mesh(TextureSpace(uv, 256), seen))
    cells = observe(face, scene, uv, 256, seen, trust(calm.model, face.vertices))
    there = cells.there
    normals, axes = cells.normals[:, there].astype(float), cells.axes[:, :, there].astype(float)
    grams = np.einsum("akm,bkm->abm", axes, axes)
    np.testing.assert_allclose(grams, np.broadcast_to(np.eye(2)[..., None], grams.shape), atol=1e-4)
    assert np.abs(np.einsum("akm,km->am", axes, normals)).max() < 1e-4
    w11, w12, w22 = cells.frames[:, there].astype(float)
    np.testing.assert_allclose(1.0 / (w11 * w22 - w12**2), cells.area[there], rtol=1e-3)
    skin = ~np.isin(face.mesh(TextureSpace(uv, 256), seen).kinds, (2, 3))
    a, b, c = (face.vertices[calm.model.triangles[skin][:, k]] for k in range(3))
    total = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    assert cells.area.sum() == pytest.approx(total, rel=0.03)
    assert cells.texels.sum() == pytest.approx(cells.area.sum(), rel=1e-4)


def test_levels_double():
    assert level_sizes(256) == [64, 128, 256]
    assert level_sizes(1024) == [64, 128, 256, 512, 1024]
    assert level_sizes(64) == [64] and level_sizes(100) == [50, 100]


# --- Results and their bad input ---------------------------------------------------------------------------------


def test_the_map_goes_with_the_result_into_its_file(calm, tmp_path):
    options = FitOptions(stages=("landmark", "photometric", "detail"), detail=DetailOptions(size=100))
    result = facefit.fit(calm.image, calm.model, landmarks=calm.landmarks, options=options)
    detail = result.detail
    assert detail is not None and detail.size == 100 and detail.guessed
    assert detail.displacement.dtype == np.float32 and np.abs(detail.displacement).max() <= 10.0
    np.testing.assert_allclose(detail.person + detail.dynamic, detail.displacement, atol=1e-6)
    facefit.save(result, tmp_path / "fit.npz")
    again = facefit.load_result(tmp_path / "fit.npz").detail
    assert again is not None and again.guessed is True
    for name in ("displacement", "coverage", "confidence", "dynamic", "compression"):
        np.testing.assert_array_equal(getattr(again, name), getattr(detail, name))
    np.testing.assert_array_equal(again.uv.coordinates, detail.uv.coordinates)
    report = result.stages[-1]
    assert report.name == "detail" and report.seconds > 0.0 and set(report.energy_after) == {"shading", "prior"}


def test_without_the_stage_there_is_no_map(calm):
    result = facefit.fit(calm.image, calm.model, landmarks=calm.landmarks)
    assert result.detail is None and [stage.name for stage in result.stages] == ["landmark", "photometric"]
    points = facefit.fit_landmarks(
        calm.landmarks, calm.model, options=FitOptions(stages=("landmark", "photometric", "detail"))
    )
    assert points.detail is None and [stage.name for stage in points.stages] == ["landmark"]


def black(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.zeros_like(image)


def white(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.full_like(image, 255)


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)


def noise(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)


@pytest.mark.parametrize("spoil", [black, white, grey, noise])
def test_photos_that_tell_little_give_finite_heights(calm, spoil):
    fit = fit_detail_stage(spoil(calm.image), calm.result, calm.model)
    assert fit.detail is not None and fit.status is not FitStatus.DIVERGED
    assert np.isfinite(fit.detail.displacement).all()
    assert rms(fit.detail.displacement) < 0.3
    if spoil in (black, white):
        assert rms(fit.detail.displacement) < 0.01


def test_a_face_outside_its_photo_or_too_small_is_said_to_stall(calm):
    far = replace(calm.result, camera=replace(calm.result.camera, translation=np.array([-5000.0, 0.0])))
    tiny = replace(calm.result, camera=calm.result.camera.zoomed(0.01, np.zeros(2)))
    for result in (far, tiny):
        fit = fit_detail_stage(calm.image, result, calm.model)
        assert fit.status is FitStatus.STALLED and fit.detail is None


def test_a_deadline_ends_it_with_what_was_reached(calm):
    fit = fit_detail_stage(calm.image, calm.result, calm.model, deadline=time.perf_counter())
    assert fit.status is FitStatus.TIMEOUT and fit.iterations == 0
    assert fit.detail is not None and not fit.detail.displacement.any() and fit.detail.size == 256


def test_it_needs_a_face_of_this_model(calm, ict):
    with pytest.raises(FacefitError, match="expected a camera and vertices, got none"):
        fit_detail_stage(calm.image, FitResult(FitStatus.NO_FACE, "none"), calm.model)
    with pytest.raises(FacefitError, match=r"result.vertices: expected shape"):
        fit_detail_stage(calm.image, calm.result, ict)
    with pytest.raises(FacefitError, match="photo"):
        fit_detail_stage(calm.image[..., 0], calm.result, calm.model)


@pytest.mark.parametrize(
    ("name", "value"),
    [("size", 63), ("size", 1025), ("size", 256.0), ("size", True), ("deviation", 0.0), ("length", np.inf),
     ("noise", -0.1), ("albedo_length", np.nan), ("rounds", 0), ("steps", 1.5), ("tolerance", 2.0),
     ("max_angle", 90.0), ("outline_mm", -1.0), ("mirror_deviation", 0.0), ("outlier", "much"), ("contrast", None)],
)  # fmt: skip
def test_options_refuse_what_cannot_be(name, value):
    with pytest.raises(FacefitError, match=f"^{name}: expected .*, got "):
        DetailOptions(**{name: value})
    with pytest.raises(FacefitError, match=r"^detail: expected DetailOptions"):
        FitOptions(detail={name: value})
