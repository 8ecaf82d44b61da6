"""Cut-down models: what is left is what it was, vertex by vertex and coefficient by coefficient."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_model import small_model

from facefit.fitting.options import FitOptions
from facefit.fitting.pipeline import fit_landmarks
from facefit.models.errors import InvalidInputError, ModelError
from facefit.models.formats.npz import read_model, write_model
from facefit.models.morphable_model import MorphableModel, flatten
from facefit.models.store import load_model
from facefit.models.subsets import landmark_view

MODEL = small_model()


def same(first: MorphableModel, second: MorphableModel) -> bool:
    a, b = flatten(first), flatten(second)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# ----------------------------------------------------------------------------------------------------------- truncated


def test_the_first_coefficients_keep_their_meaning(rng: np.random.Generator) -> None:
    small = MODEL.truncated(identity=2, expression=1, albedo=1)
    assert (small.n_identity, small.n_expression, small.n_albedo) == (2, 1, 1)
    assert small.expression_names == ("blink",)
    a, e, b = rng.standard_normal(2), np.array([0.3]), np.array([0.2])
    np.testing.assert_allclose(small.vertices(a, e), MODEL.vertices([*a, 0.0], [*e, 0.0]), atol=1e-5)
    np.testing.assert_allclose(small.reflectance(b), MODEL.reflectance([*b, 0.0]), atol=1e-6)
    for name in ("expression_sigma", "expression_lower", "expression_upper"):
        np.testing.assert_array_equal(getattr(small, name), getattr(MODEL, name)[:1])
    assert small.hash != MODEL.hash
    assert same(replace(small, identity=MODEL.identity), MODEL.truncated(expression=1, albedo=1))


def test_nothing_asked_changes_nothing() -> None:
    assert same(MODEL.truncated(), MODEL)
    assert same(MODEL.truncated(3, 2, 2), MODEL)
    assert same(MODEL.truncated(expression=("blink", "smile")), MODEL)


def test_expression_units_are_chosen_by_name_in_the_order_given() -> None:
    swapped = MODEL.truncated(expression=["smile", "blink"])
    assert swapped.expression_names == ("smile", "blink")
    np.testing.assert_allclose(
        swapped.vertices(expression=[0.7, 0.2]), MODEL.vertices(expression=[0.2, 0.7]), atol=1e-5
    )
    np.testing.assert_array_equal(swapped.expression_upper, [np.inf, 1.0])
    assert same(MODEL.truncated(expression="smile"), MODEL.truncated(expression=["smile"]))


def test_all_modes_may_go() -> None:
    bare = MODEL.truncated(0, 0, 0)
    assert (bare.n_identity, bare.n_expression, bare.n_albedo) == (0, 0, 0)
    np.testing.assert_array_equal(bare.vertices(), MODEL.mean)
    assert same(bare, bare.truncated(0, [], 0))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"identity": 4}, "identity: expected a number of modes from 0 to 3, got 4"),
        ({"identity": -1}, "identity: expected a number of modes from 0 to 3, got -1"),
        ({"identity": 1.0}, "identity: expected a number of modes from 0 to 3, got 1.0"),
        ({"identity": True}, "identity: expected a number of modes from 0 to 3, got True"),
        ({"expression": 3}, "expression: expected a number of modes from 0 to 2, got 3"),
        ({"expression": ["blink", "wink"]}, "expression: expected different units of model 'small'"),
        ({"expression": ["blink", "blink"]}, "expression: expected different units of model 'small'"),
        ({"albedo": 3}, "albedo: expected a number of modes from 0 to 2, got 3"),
    ],
)
def test_modes_that_the_model_lacks_are_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        MODEL.truncated(**arguments)
    assert told in str(refused.value)


def test_a_model_without_albedo_has_none_to_keep() -> None:
    plain = small_model(albedo=None)
    assert plain.truncated(1).albedo is None
    assert same(plain.truncated(albedo=0), plain)


# ------------------------------------------------------------------------------------------------------------- cropped


def places_in(model: MorphableModel, part: MorphableModel) -> np.ndarray:
    """The index in `model` of each vertex of `part`; all means are different points."""
    order = {tuple(point): k for k, point in enumerate(model.mean.tolist())}
    return np.array([order[tuple(point)] for point in part.mean.tolist()])


def cut_like(model: MorphableModel, part: MorphableModel, rng: np.random.Generator) -> np.ndarray:
    """Assert that `part` moves, is coloured and textured as the same vertices of `model`; return their indices."""
    kept = places_in(model, part)
    a, e = rng.standard_normal(model.n_identity), rng.uniform(0.0, 0.5, model.n_expression)
    np.testing.assert_allclose(part.vertices(a, e), model.vertices(a, e)[kept], atol=1e-5)
    np.testing.assert_array_equal(
        part.reflectance([1.0] * model.n_albedo), model.reflectance([1.0] * model.n_albedo)[kept]
    )
    for name, mask in model.regions.items():
        np.testing.assert_array_equal(part.regions[name], mask[kept])
    corners = {tuple(triangle): k for k, triangle in enumerate(model.triangles.tolist())}
    triangles = [corners[tuple(triangle)] for triangle in kept[part.triangles].tolist()]
    assert triangles == sorted(triangles)
    assert part.uv is not None and model.uv is not None
    np.testing.assert_array_equal(
        part.uv.coordinates[part.uv.triangles], model.uv.coordinates[model.uv.triangles[triangles]]
    )
    assert len(part.uv.coordinates) == len(np.unique(part.uv.triangles))
    return kept


@given(mask=st.lists(st.booleans(), min_size=169, max_size=169), landmarks=st.booleans())
def test_what_is_cropped_is_as_it_was(mask: list[bool], landmarks: bool) -> None:
    inside = np.array(mask)
    whole = inside[MODEL.triangles].all(axis=1)
    if not whole.any():
        with pytest.raises(ModelError, match="expected a region with whole triangles inside"):
            MODEL.cropped(mask, landmarks=landmarks)
        return
    part = MODEL.cropped(mask, landmarks=landmarks)
    kept = cut_like(MODEL, part, np.random.default_rng(0))
    if landmarks:
        points = part.landmark_positions(part.vertices([1.0] * 3))
        np.testing.assert_allclose(points, MODEL.landmark_positions(MODEL.vertices([1.0] * 3)), atol=1e-5)
        assert set(np.unique(MODEL.triangles[whole])) <= set(kept)
    else:
        np.testing.assert_array_equal(kept, np.unique(MODEL.triangles[whole]))
        assert len(part.triangles) == whole.sum()
    if part.mirror is not None:
        np.testing.assert_array_equal(kept[part.mirror], MODEL.mirror[kept])
    assert MODEL.contour is not None
    for side in ("right", "left"):
        left_over = [k for k in getattr(MODEL.contour, side) if k in set(kept)]
        if part.contour is not None:
            np.testing.assert_array_equal(kept[getattr(part.contour, side)], left_over)


def test_a_region_is_cropped_by_its_name() -> None:
    part = MODEL.cropped("face")
    assert same(part, MODEL.cropped(MODEL.regions["face"]))
    assert part.n_vertices < MODEL.n_vertices
    only = MODEL.cropped("face", landmarks=False)
    assert only.regions["face"].all()
    assert only.landmarks is None


def test_the_mirror_map_stays_where_both_sides_do() -> None:
    assert MODEL.cropped("face", landmarks=False).mirror is not None
    assert MODEL.cropped(MODEL.mean[:, 0] < 1.0, landmarks=False).mirror is None


def test_a_contour_without_a_side_is_dropped() -> None:
    assert MODEL.cropped(MODEL.mean[:, 0] < 1.0, landmarks=False).contour is None
    assert MODEL.cropped(np.ones(169)).contour is not None
    assert same(MODEL.cropped(np.ones(169)), MODEL)


@pytest.mark.parametrize(
    ("region", "told"),
    [
        ("nose", "region: expected one of model 'small' (face, upper.half), got 'nose'"),
        (np.ones(168), "region: expected shape (169,), got (168,)"),
        (np.full(169, 0.5), "region: expected numbers that bool holds exactly"),
    ],
)
def test_regions_that_cannot_be_are_refused(region: Any, told: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        MODEL.cropped(region)
    assert told in str(refused.value)


def test_a_model_of_the_least_parts_is_cropped() -> None:
    lacking = ("landmarks", "landmarks_contour", "contour", "uv", "mirror", "albedo", "albedo_mean")
    bare = small_model(**dict.fromkeys(lacking), regions={})
    part = bare.cropped(MODEL.regions["face"])
    assert part.mirror is part.uv is part.landmarks is part.albedo_mean is None
    np.testing.assert_array_equal(part.mean, MODEL.cropped("face", landmarks=False).mean)


def test_cut_models_are_saved_like_others(tmp_path: Any) -> None:
    part = MODEL.cropped("face").truncated(2, ["smile"])
    write_model(tmp_path / "part.npz", part)
    assert read_model(tmp_path / "part.npz").hash == part.hash


# ------------------------------------------------------------------------------------------------------- landmark view


@pytest.fixture(scope="module")
def default() -> MorphableModel:
    return load_model()


@pytest.mark.parametrize("candidates", [True, False])
def test_the_view_has_the_points_and_bands_of_the_model(default: MorphableModel, candidates: bool) -> None:
    model = default if candidates else replace(default, contour=None)
    view = landmark_view(model)
    assert view.n_vertices < model.n_vertices // 2
    rng = np.random.default_rng(1)
    a, e = rng.standard_normal(model.n_identity), rng.uniform(0.0, 0.5, model.n_expression)
    np.testing.assert_allclose(
        view.landmark_positions(view.vertices(a, e)), model.landmark_positions(model.vertices(a, e)), atol=1e-5
    )
    assert view.face_size == model.face_size
    for name in ("semantic_basis", "contour_landmark_basis"):
        for part in ("mean", "basis"):
            np.testing.assert_array_equal(getattr(getattr(view, name), part), getattr(getattr(model, name), part))
    for mine, whole in zip(view.contour_bands, model.contour_bands, strict=True):
        assert (mine.candidates, mine.searched) == (whole.candidates, whole.searched)
        np.testing.assert_array_equal(mine.triangles, whole.triangles)
        np.testing.assert_array_equal(mine.active, whole.active)
        np.testing.assert_array_equal(mine.basis.mean, whole.basis.mean)
        np.testing.assert_array_equal(mine.basis.basis, whole.basis.basis)


@pytest.mark.parametrize("convention", ["semantic", "contour"])
@pytest.mark.parametrize("yaw", [0.0, 0.5])
def test_fits_to_the_view_are_those_to_the_model(default: MorphableModel, convention: str, yaw: float) -> None:
    rng = np.random.default_rng(2)
    points = default.landmark_positions(default.vertices(rng.standard_normal(default.n_identity)))
    turned = points @ np.array([[np.cos(yaw), 0.0, np.sin(yaw)], [0.0, 1.0, 0.0], [-np.sin(yaw), 0.0, np.cos(yaw)]]).T
    seen = 2.0 * turned[:, :2] * (1.0, -1.0) + 300.0 + rng.standard_normal((68, 2))
    options = FitOptions(landmark_convention=convention)
    whole, view = (fit_landmarks(seen, model, options=options) for model in (default, landmark_view(default)))
    assert whole.status is view.status and whole.status.usable
    np.testing.assert_array_equal(view.identity, whole.identity)
    np.testing.assert_array_equal(view.expression, whole.expression)
    np.testing.assert_array_equal(view.camera.rotation, whole.camera.rotation)
    np.testing.assert_array_equal(view.landmarks_fitted, whole.landmarks_fitted)
    assert len(view.vertices) < len(whole.vertices) // 3


def test_a_view_of_a_view_is_the_view(default: MorphableModel) -> None:
    view = landmark_view(default)
    assert same(landmark_view(view), view)


def test_a_model_without_landmarks_has_no_view() -> None:
    with pytest.raises(ModelError, match="no 68 landmarks"):
        landmark_view(small_model(landmarks=None, landmarks_contour=None))
