"""PSNR of a face rendered again, on pictures that the renderer made itself."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_model import small_model

from facefit.apps.evaluate.rerendering import (
    FEATURE_MARGINS,
    Appearance,
    appearance,
    features,
    plain_skin,
    psnr,
    reflectance,
    within,
)
from facefit.fitting.landmarks import GROUPS, box_size
from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.models.colour import linear_to_srgb, to_uint8
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles
from facefit.render.normals import normalised, vertex_normals
from facefit.render.rasterizer import interpolate, rasterize
from facefit.render.spherical_harmonics import shade

SIDE = 240  # px
ROUNDING_ONLY = 10.0 * np.log10(255.0**2 * 12.0)  # dB, of a picture whose only error is that of its 8 bits
LIGHT = np.zeros((9, 3))
LIGHT[:4] = [[2.4, 2.2, 2.0], [-0.4, -0.5, -0.3], [-0.9, -0.8, -0.7], [0.3, 0.4, 0.2]]


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return small_model()


@pytest.fixture(scope="module")
def face(model: MorphableModel) -> Appearance:
    camera = ScaledOrthographic(rotation_from_angles(8.0, -5.0, 3.0), np.array([118.0, 121.0]), 1.4)
    return Appearance(camera, model.vertices(), model.reflectance([0.5, -0.5]), LIGHT)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Points (68, 2) whose features cover a part of the face region, and whose hull leaves a part outside."""
    points = np.empty((68, 2))
    angle = np.linspace(0.0, np.pi, 17)
    points[:17] = np.stack([120.0 - 70.0 * np.cos(angle), 110.0 + 75.0 * np.sin(angle)], axis=1)
    points[17:] = np.random.default_rng(4).uniform([90.0, 95.0], [150.0, 150.0], (51, 2))
    for group, centre in {"right_eye": (100.0, 105.0), "left_eye": (140.0, 105.0), "mouth": (120.0, 145.0)}.items():
        turn = np.linspace(0.0, 2.0 * np.pi, len(GROUPS[group]), endpoint=False)
        points[GROUPS[group]] = centre + np.stack([9.0 * np.cos(turn), 4.0 * np.sin(turn)], axis=1)
    for group, left in {"right_brow": 90.0, "left_brow": 130.0}.items():
        points[GROUPS[group]] = np.stack([np.linspace(left, left + 20.0, 5), np.full(5, 94.0)], axis=1)
    return points


def rendered(model: MorphableModel, face: Appearance) -> np.ndarray:
    """The photo (H, W, 3) uint8 that `face` makes, black around it."""
    view = rasterize(face.camera, face.vertices, model.triangles, SIDE, SIDE)
    normals = vertex_normals(face.vertices, model.triangles) @ face.camera.rotation.T
    surface = interpolate(view, model.triangles, np.hstack([normals, face.reflectance]))
    photo = np.zeros((SIDE, SIDE, 3), np.uint8)
    seen = view.covered
    photo[seen] = to_uint8(linear_to_srgb(shade(normalised(surface[seen, :3]), surface[seen, 3:], face.lighting)))
    return photo


def test_the_face_itself_differs_by_the_rounding_alone(model, face, truth):
    assert psnr(model, rendered(model, face), truth, {"fit": face})["fit"] == pytest.approx(ROUNDING_ONLY, abs=0.3)


def test_a_face_without_light_takes_the_one_that_suits_it(model, face, truth):
    found = psnr(model, rendered(model, face), truth, {"lit": face, "unlit": replace(face, lighting=None)})
    assert 50.0 < found["unlit"] < found["lit"]  # the ridge of the light's solve keeps it from being exact


def test_a_fit_looks_as_its_albedo_and_light_say(model, face):
    result = FitResult(FitStatus.CONVERGED, "", camera=face.camera, vertices=face.vertices)
    lit = replace(result, albedo=np.array([0.5, -0.5]), reflectance=face.reflectance, lighting=LIGHT)
    look = appearance(model, lit)
    assert look.reflectance is face.reflectance
    assert look.lighting is LIGHT
    assert np.array_equal(appearance(model, result).reflectance, reflectance(model)), "the mean's"
    assert not np.array_equal(reflectance(model), face.reflectance)
    assert appearance(model, result).lighting is None


def test_a_constant_error_has_its_closed_form(model, face, truth):
    photo = rendered(model, face)
    assert photo[within(truth, SIDE, SIDE)].max() <= 245
    ratio = psnr(model, photo + np.uint8(10), truth, {"fit": face}, hair=True)["fit"]
    assert ratio == pytest.approx(20.0 * np.log10(25.5), abs=0.05)


def test_no_rendering_is_closer_than_the_rounding_of_the_photo(model, face, truth):
    black = replace(face, lighting=np.zeros((9, 3)))
    photo = np.zeros((SIDE, SIDE, 3), np.uint8)
    assert psnr(model, photo, truth, {"black": black})["black"] == pytest.approx(ROUNDING_ONLY, abs=1e-12)


def test_only_plain_skin_counts(model, face, truth):
    photo = rendered(model, face)
    view = rasterize(face.camera, face.vertices, model.triangles, SIDE, SIDE)
    skin = view.covered & plain_skin(model)[view.triangle] & ~features(truth, SIDE, SIDE)
    assert 0.1 < skin.mean() < 0.9
    scribbled = photo.copy()
    scribbled[~skin] = 255
    for options in ({}, {"hair": True}):
        clean = psnr(model, photo, truth, {"fit": face}, **options)
        assert psnr(model, scribbled, truth, {"fit": face}, **options) == clean
    forehead = skin & ~within(truth, SIDE, SIDE)
    assert forehead.sum() > 100
    scribbled[forehead] = 255
    assert psnr(model, scribbled, truth, {"fit": face}, hair=True) == clean
    assert psnr(model, scribbled, truth, {"fit": face})["fit"] < 20.0


def test_all_faces_are_compared_on_the_pixels_that_all_show(model, face, truth):
    photo = rendered(model, face)
    aside = replace(face, camera=moved(face, (25.0, 0.0)))
    both = psnr(model, photo, truth, {"fit": face, "aside": aside})
    assert both["fit"] > 50.0 > both["aside"]
    view = rasterize(aside.camera, aside.vertices, model.triangles, SIDE, SIDE)
    spoilt = photo.copy()
    spoilt[~(view.covered & plain_skin(model)[view.triangle])] = 255
    assert psnr(model, spoilt, truth, {"fit": face, "aside": aside}) == both
    assert psnr(model, spoilt, truth, {"fit": face})["fit"] < both["fit"] - 20.0


def moved(face: Appearance, shift: tuple[float, float]) -> ScaledOrthographic:
    return ScaledOrthographic(face.camera.rotation, face.camera.translation + np.array(shift), face.camera.scale)


def test_too_few_pixels_say_nothing(model, face, truth):
    outside = replace(face, camera=moved(face, (5000.0, 0.0)))
    assert psnr(model, rendered(model, face), truth, {"fit": face, "outside": outside}) == {}


def test_colours_of_a_model_without_albedo_are_left_to_the_light(truth, face):
    """The light takes over any constant colour, so which grey stands in does not matter."""
    bare = small_model(albedo_mean=None, albedo=None)
    grey = reflectance(bare)
    assert grey.shape == (bare.n_vertices, 3)
    assert np.ptp(grey) == 0.0
    tinted = replace(face, reflectance=np.full_like(grey, 1.0) * [0.5, 0.3, 0.2])
    photo = rendered(bare, tinted)
    unlit = [replace(face, reflectance=colour, lighting=None) for colour in (grey, 0.3 * grey, tinted.reflectance)]
    ratios = [psnr(bare, photo, truth, {"fit": one})["fit"] for one in unlit]
    assert ratios == pytest.approx([ratios[0]] * 3, abs=1e-6)
    assert ratios[0] > 50.0


def test_plain_skin_touches_no_feature(model):
    n = model.n_vertices
    lips, brows = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    lips[60:64], brows[90:95] = True, True
    marked = small_model(regions=dict(model.regions) | {"lips": lips, "brows": brows})
    corners = marked.triangles[plain_skin(marked)]
    assert not (lips | brows)[corners].any()
    assert marked.regions["face"][corners].all()
    assert 0 < len(corners) < plain_skin(model).sum()
    assert plain_skin(small_model(regions={})).all()


@settings(max_examples=8)
@given(st.floats(20.0, 200.0), st.integers(0, 2**32 - 1))
def test_features_are_what_lies_within_the_margin(extent, seed):
    """Against distances to the outlines, up to the rounding of their corners and of the line's thickness."""
    points = np.random.default_rng(seed).uniform(10.0, 10.0 + extent, (68, 2))
    mask = features(points, 220, 220)
    pixels = np.stack(np.meshgrid(np.arange(220.0), np.arange(220.0)), axis=-1).reshape(-1, 1, 2)
    nearest = np.full(220 * 220, np.inf)
    for group, margin in FEATURE_MARGINS.items():
        outline = points[GROUPS[group]]
        ends = outline[1:] if group.endswith("brow") else np.roll(outline, -1, axis=0)
        starts = outline[: len(ends)]
        edges = ends - starts
        along = np.clip(((pixels - starts) * edges).sum(axis=2) / (edges**2).sum(axis=1), 0.0, 1.0)
        away = np.linalg.norm(starts + along[..., None] * edges - pixels, axis=2).min(axis=1)
        nearest = np.minimum(nearest, away - margin * box_size(points))
    assert mask.ravel()[nearest < -2.0].all()
    if not mask.all():
        outside = ~mask.ravel()
        assert nearest[outside].min() > -2.0
