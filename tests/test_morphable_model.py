"""The morphable model: what it refuses, what it computes, and that nothing can change it."""

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small_model import EXTENT, embedding, landmark_places, small_model, small_parts

from facefit.models.arrays import checked_array, read_only
from facefit.models.contour import BAND_WIDTH, MIN_FORWARD, MIN_SIDEWAYS, unit_normals
from facefit.models.errors import InvalidInputError, ModelError
from facefit.models.morphable_model import (
    JawContour,
    LandmarkEmbedding,
    MorphableModel,
    UVMap,
    flatten,
    require_model,
)
from facefit.models.point_basis import PointBasis

PARTS = small_parts()
N, T = len(PARTS["mean"]), len(PARTS["triangles"])


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return small_model()


def changed(name: str, index: Any, value: float) -> Any:
    """One of the valid arguments with one entry changed."""
    array = np.array(PARTS[name])
    array[index] = value
    return array


def coefficients(count: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float64, count, elements=st.floats(-3.0, 3.0))


# ---------------------------------------------------------------------------------------------------------- violations

LANDMARKS: LandmarkEmbedding = PARTS["landmarks"]
UV: UVMap = PARTS["uv"]
CONTOUR: JawContour = PARTS["contour"]

VIOLATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no text": ({"licence": None}, r"licence: expected text, got NoneType"),
    "NaN in mean": ({"mean": changed("mean", (3, 1), np.nan)}, "mean: expected finite numbers"),
    "infinite mode": ({"identity": changed("identity", (1, 3, 1), np.inf)}, "identity: expected finite numbers"),
    "mode beyond float32": ({"identity": changed("identity", (1, 3, 1), 1e300)}, "identity: expected finite numbers"),
    "NaN in expression": ({"expression": changed("expression", (1, 3, 1), np.nan)}, "expression: expected finite"),
    "NaN in albedo": ({"albedo": changed("albedo", (0, 0, 0), np.nan)}, "albedo: expected finite numbers"),
    "NaN in albedo_mean": ({"albedo_mean": changed("albedo_mean", 0, np.nan)}, "albedo_mean: expected finite numbers"),
    "mean (N, 2)": ({"mean": np.zeros((N, 2))}, r"mean: expected shape \(any, 3\), got \(169, 2\)"),
    "mean of text": ({"mean": [["a", "b", "c"]]}, "mean: expected an array of shape .* got type <U1"),
    "mean of complex numbers": ({"mean": np.zeros((N, 3), complex)}, "mean: expected an array .* got type complex128"),
    "ragged mean": ({"mean": [[1.0, 2.0, 3.0], [1.0]]}, r"mean: expected an array of shape \(any, 3\)"),
    "empty mesh": ({"mean": np.zeros((0, 3))}, "mean: expected at least one vertex, got none"),
    "no triangles": ({"triangles": np.zeros((0, 3), int)}, "triangles: expected at least one triangle, got none"),
    "identity flat": ({"identity": np.zeros((3, 3 * N))}, r"identity: expected shape \(any, 169, 3\), got \(3, 507\)"),
    "identity of another mesh": ({"identity": np.zeros((3, 4, 3))}, r"identity: expected shape .* got \(3, 4, 3\)"),
    "expression of another mesh": ({"expression": np.zeros((2, 4, 3))}, r"expression: expected shape .* \(2, 4, 3\)"),
    "albedo of another mesh": ({"albedo": np.zeros((2, 4, 3))}, r"albedo: expected shape .* got \(2, 4, 3\)"),
    "albedo without mean": ({"albedo_mean": None}, "albedo: expected albedo_mean beside it, got None"),
    "quads": ({"triangles": np.zeros((T, 4), int)}, r"triangles: expected shape \(any, 3\), got \(288, 4\)"),
    "negative corner": ({"triangles": changed("triangles", (5, 1), -1)}, "triangles: .* from 0 to 168, got -1 to"),
    "corner too large": (
        {"triangles": changed("triangles", (5, 1), N)},
        "triangles: .* from 0 to 168, got 0 to 16",
    ),
    "corner that would wrap": (
        {"triangles": changed("triangles", (5, 1), 2**32)},
        "triangles: expected numbers that int32 holds exactly, got others",
    ),
    "half a corner": (
        {"triangles": PARTS["triangles"] + 0.5},
        "triangles: expected numbers that int32 holds exactly, got others",
    ),
    "NaN for a corner": (
        {"triangles": np.full((T, 3), np.nan)},
        "triangles: expected numbers that int32 holds exactly, got others",
    ),
    "one name too few": ({"expression_names": ("blink",)}, "expression_names: expected 2 different texts, got 1"),
    "names alike": ({"expression_names": ("blink", "blink")}, "expected 2 different texts, got 2, 1 of them different"),
    "numbers for names": ({"expression_names": (1, 2)}, "expression_names: expected 2 different texts"),
    "sigma zero": ({"expression_sigma": np.array([0.5, 0.0])}, "expression_sigma: expected positive numbers"),
    "sigma negative": ({"expression_sigma": np.array([-0.5, 1.0])}, "expression_sigma: expected positive numbers"),
    "sigma NaN": ({"expression_sigma": np.array([0.5, np.nan])}, "expression_sigma: expected finite numbers"),
    "sigma infinite": ({"expression_sigma": np.array([0.5, np.inf])}, "expression_sigma: expected finite numbers"),
    "one sigma too few": ({"expression_sigma": np.ones(1)}, r"expression_sigma: expected shape \(2,\), got \(1,\)"),
    "lower above zero": ({"expression_lower": np.array([0.1, 0.0])}, "bounds: expected lower <= 0 <= upper"),
    "upper below zero": ({"expression_upper": np.array([1.0, -0.1])}, "bounds: expected lower <= 0 <= upper"),
    "bound NaN": ({"expression_upper": np.array([1.0, np.nan])}, "bounds: expected lower <= 0 <= upper"),
    "67 landmarks": (
        {"landmarks": LandmarkEmbedding(LANDMARKS.triangles[:67], LANDMARKS.weights[:67])},
        r"landmarks.triangles: expected shape \(68,\), got \(67,\)",
    ),
    "landmark on no triangle": (
        {"landmarks": replace(LANDMARKS, triangles=np.full(68, T))},
        "landmarks.triangles: expected indices from 0 to 287, got 288 to 288",
    ),
    "weights that do not sum to one": (
        {"landmarks_contour": replace(LANDMARKS, weights=1.01 * LANDMARKS.weights)},
        "landmarks_contour.weights: expected rows that sum to 1, got one off by 0.01",
    ),
    "weights NaN": (
        {"landmarks": replace(LANDMARKS, weights=np.nan * LANDMARKS.weights)},
        "landmarks.weights: expected finite numbers",
    ),
    "67 sigmas": (
        {"landmarks": replace(LANDMARKS, sigma=np.full(67, 0.02))},
        r"landmarks.sigma: expected shape \(68,\), got \(67,\)",
    ),
    "landmark's sigma NaN": (
        {"landmarks_contour": replace(LANDMARKS, sigma=np.full(68, np.nan))},
        "landmarks_contour.sigma: expected finite numbers",
    ),
    "landmark's sigma infinite": (
        {"landmarks": replace(LANDMARKS, sigma=np.full(68, np.inf))},
        "landmarks.sigma: expected finite numbers",
    ),
    "landmark's sigma zero": (
        {"landmarks": replace(LANDMARKS, sigma=np.arange(68) / 68.0)},
        "landmarks.sigma: expected shares of the face's size from 1e-06 to 1, got others",
    ),
    "landmark's sigma in per cent": (
        {"landmarks": replace(LANDMARKS, sigma=np.full(68, 2.0))},
        "landmarks.sigma: expected shares of the face's size from 1e-06 to 1, got others",
    ),
    "contour off the mesh": ({"contour": replace(CONTOUR, left=[N])}, "contour.left: .* from 0 to 168, got 169"),
    "contour before the mesh": ({"contour": replace(CONTOUR, right=[0, -7])}, "contour.right: .* got -7 to 0"),
    "uv of another mesh": (
        {"uv": replace(UV, triangles=UV.triangles[:-1])},
        r"uv.triangles: expected shape \(288, 3\), got \(287, 3\)",
    ),
    "uv corner too large": ({"uv": replace(UV, coordinates=UV.coordinates[:9])}, "uv.triangles: .* from 0 to 8"),
    "uv in space": ({"uv": replace(UV, coordinates=np.zeros((N, 3)))}, r"uv.coordinates: expected shape \(any, 2\)"),
    "uv NaN": ({"uv": replace(UV, coordinates=np.full((N, 2), np.nan))}, "uv.coordinates: expected finite numbers"),
    "short mask": ({"regions": {"face": np.ones(5, bool)}}, r"regions\['face'\]: expected shape \(169,\), got \(5,\)"),
    "mask of indices": (
        {"regions": {"face": np.arange(N)}},
        r"regions\['face'\]: expected numbers that bool holds exactly",
    ),
    "mirror too short": ({"mirror": np.arange(5)}, r"mirror: expected shape \(169,\), got \(5,\)"),
    "mirror off the mesh": ({"mirror": np.full(N, N)}, "mirror: expected indices from 0 to 168"),
    "mirror no involution": ({"mirror": np.roll(np.arange(N), 1)}, "mirror: expected its own inverse"),
    "transform (3, 4)": ({"source_transform": np.zeros((3, 4))}, r"source_transform: expected shape \(4, 4\)"),
}


@pytest.mark.parametrize(("change", "message"), VIOLATIONS.values(), ids=list(VIOLATIONS))
def test_each_violation_has_its_own_message(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match="^model 'small': .*" + message):
        small_model(**change)


def test_the_least_model_is_valid() -> None:
    needed = ("name", "licence", "citation", "mean", "triangles")
    least = MorphableModel(**{name: PARTS[name] for name in needed}, identity=np.zeros((0, N, 3)))
    assert (least.n_vertices, least.n_identity, least.n_expression, least.n_albedo) == (N, 0, 0, 0)
    np.testing.assert_array_equal(least.vertices(), PARTS["mean"])
    np.testing.assert_array_equal(least.vertices([], []), PARTS["mean"])
    assert least.vertex_basis([3, 4]).basis.shape == (0, 2, 3)
    with pytest.raises(ModelError, match="model 'small' has no 68 landmarks, which fitting needs"):
        least.landmark_positions(PARTS["mean"])
    with pytest.raises(ModelError, match="no 68 landmarks"):
        _ = least.face_size


def test_require_model_names_what_it_got(model: MorphableModel) -> None:
    assert require_model(model) is model
    with pytest.raises(InvalidInputError, match="expected a MorphableModel, got str"):
        require_model("default")


# --------------------------------------------------------------------------------------------------------------- frozen


def all_arrays(value: Any) -> list[np.ndarray]:
    """Every array inside a model or one of its parts."""
    if isinstance(value, np.ndarray):
        return [value]
    if is_dataclass(value):
        return [array for item in fields(value) for array in all_arrays(getattr(value, item.name))]
    return [array for part in value.values() for array in all_arrays(part)] if hasattr(value, "values") else []


def test_nothing_in_a_model_can_be_written(model: MorphableModel) -> None:
    arrays = all_arrays(model)
    assert len(arrays) == len(flatten(model)) - 4  # the texts are no arrays
    bases = (model.semantic_basis, model.contour_landmark_basis, *model.contour_bands)
    for array in arrays + [array for basis in bases for array in all_arrays(basis)]:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(FrozenInstanceError):
        model.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError, match="does not support item assignment"):
        model.regions["new"] = np.ones(N, bool)  # type: ignore[index]


def test_a_model_does_not_share_what_others_can_write() -> None:
    """Neither through the caller's own arrays nor through read-only views of them."""
    mean = np.array(PARTS["mean"])
    view = mean.view()
    view.flags.writeable = False
    models = small_model(mean=mean), small_model(mean=view)
    mean[:] = 7.0
    for model in models:
        np.testing.assert_array_equal(model.mean, PARTS["mean"])


def test_a_frozen_model_shares_its_arrays_with_its_copies(model: MorphableModel) -> None:
    renamed = replace(model, name="other")
    assert renamed.identity is model.identity
    assert renamed.mean is model.mean
    assert renamed.landmarks is not None
    assert model.landmarks is not None
    assert renamed.landmarks.weights is model.landmarks.weights


def test_stored_types(model: MorphableModel) -> None:
    """Geometry that adds up is float64, bases are float32, indices int32, all C-contiguous."""
    types = {name: array.dtype.name for name, array in flatten(model).items() if array.dtype.kind != "U"}
    expected = dict.fromkeys(("identity", "expression", "albedo", "albedo_mean", "uv.coordinates"), "float32")
    expected |= dict.fromkeys((name for name in types if name.startswith("regions.")), "bool")
    expected |= dict.fromkeys((n for n in types if n.rpartition(".")[2] in ("triangles", "right", "left")), "int32")
    expected["mirror"] = "int32"
    assert types == dict.fromkeys(types, "float64") | expected
    assert all(array.flags.c_contiguous for array in all_arrays(model))


@pytest.mark.parametrize("hostile", [[10**400], [None, "x"], np.array(["2020-01-01"], "M8[D]"), {"a": 1}, object()])
def test_arguments_that_are_no_arrays_of_numbers_are_refused(hostile: Any) -> None:
    with pytest.raises(InvalidInputError, match="points: expected"):
        checked_array("points", hostile, (None,))


def test_read_only_copies_only_where_it_must() -> None:
    own = np.arange(6.0)
    frozen = read_only(own)
    assert not np.shares_memory(frozen, own)
    assert read_only(frozen) is frozen
    assert read_only(frozen[2:]).base is frozen
    assert read_only(frozen.reshape(2, 3).T).flags.c_contiguous


# ------------------------------------------------------------------------------------------------------------- geometry


@given(identity=coefficients(3), expression=coefficients(2))
def test_vertices_are_the_mean_plus_the_modes(identity: np.ndarray, expression: np.ndarray) -> None:
    model = small_model()
    explicit = (
        model.mean
        + np.einsum("k,knx->nx", identity, model.identity.astype(np.float64))
        + np.einsum("e,enx->nx", expression, model.expression.astype(np.float64))
    )
    np.testing.assert_allclose(model.vertices(identity, expression), explicit, rtol=0, atol=1e-4)


@given(a=coefficients(3), b=coefficients(3), e=coefficients(2), s=st.floats(-2.0, 2.0))
def test_vertices_are_affine_in_the_coefficients(a: np.ndarray, b: np.ndarray, e: np.ndarray, s: float) -> None:
    model = small_model()

    def offset(identity: Any = None, expression: Any = None) -> np.ndarray:
        return model.vertices(identity, expression) - model.mean

    np.testing.assert_allclose(offset(a + s * b), offset(a) + s * offset(b), rtol=0, atol=1e-4)
    np.testing.assert_allclose(offset(a, e), offset(a) + offset(expression=e), rtol=0, atol=1e-4)


def test_vertices_without_coefficients_are_a_copy_of_the_mean(model: MorphableModel) -> None:
    points = model.vertices()
    np.testing.assert_array_equal(points, model.mean)
    assert points.dtype == np.float64
    points[:] = 0.0  # the caller's own
    assert np.abs(model.mean).max() == EXTENT
    np.testing.assert_array_equal(model.vertices(np.zeros(3), np.zeros(2)), model.mean)


def test_linearised_is_the_surface_and_its_derivatives(model: MorphableModel, rng: np.random.Generator) -> None:
    identity, expression = rng.standard_normal(3), rng.standard_normal(2)
    points, by_identity, by_expression = model.linearised(identity, expression)
    np.testing.assert_array_equal(points, model.vertices(identity, expression))
    for k in range(3):
        moved = model.vertices(identity + np.eye(3)[k], expression)
        np.testing.assert_allclose(moved - points, by_identity[k], rtol=0, atol=1e-4)
    for k in range(2):
        moved = model.vertices(identity, expression + np.eye(2)[k])
        np.testing.assert_allclose(moved - points, by_expression[k], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("identity", "expression", "message"),
    [
        ([1.0, 2.0], None, r"identity: expected shape \(3,\), got \(2,\)"),
        (np.zeros((3, 1)), None, r"identity: expected shape \(3,\), got \(3, 1\)"),
        (1.0, None, r"identity: expected shape \(3,\), got \(\)"),
        (None, np.zeros(3), r"expression: expected shape \(2,\), got \(3,\)"),
        ([np.nan, 0.0, 0.0], None, "identity: expected finite numbers"),
        (None, "ab", "expression: expected an array of shape"),
    ],
)
def test_wrong_coefficients_are_named(model: MorphableModel, identity: Any, expression: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        model.vertices(identity, expression)


def test_landmarks_lie_where_they_were_embedded(rng: np.random.Generator) -> None:
    places = landmark_places(rng)
    model = small_model(landmarks=embedding(places))
    found = model.landmark_positions(model.mean)
    np.testing.assert_allclose(found[:, :2], places, atol=1e-9)
    assert model.landmarks is not None
    corners = model.mean[model.triangles[model.landmarks.triangles]]
    by_hand = sum(model.landmarks.weights[:, c, None] * corners[:, c] for c in range(3))
    np.testing.assert_allclose(found, by_hand, atol=1e-12)


def test_landmarks_move_with_the_surface(model: MorphableModel, rng: np.random.Generator) -> None:
    """Barycentric combination commutes with affine maps; NaN vertices (behind a camera) are let through."""
    points = model.vertices(rng.standard_normal(3))
    matrix, shift = rng.standard_normal((3, 3)), rng.standard_normal(3)
    moved = model.landmark_positions(points @ matrix.T + shift)
    np.testing.assert_allclose(moved, model.landmark_positions(points) @ matrix.T + shift, atol=1e-10)
    assert np.isnan(model.landmark_positions(np.full((N, 3), np.nan))).all()
    with pytest.raises(InvalidInputError, match=r"vertices: expected shape \(169, 3\), got \(4, 3\)"):
        model.landmark_positions(np.zeros((4, 3)))


@given(identity=coefficients(3), expression=coefficients(2))
def test_point_bases_agree_with_the_surface(identity: np.ndarray, expression: np.ndarray) -> None:
    model = small_model()
    surface = model.vertices(identity, expression)
    both = np.concatenate([identity, expression])
    np.testing.assert_allclose(model.semantic_basis.positions(both), model.landmark_positions(surface), atol=1e-3)
    contour = replace(model, landmarks=model.landmarks_contour).landmark_positions(surface)
    np.testing.assert_allclose(model.contour_landmark_basis.positions(both), contour, atol=1e-3)
    chosen = [5, 0, N - 1, 5]
    np.testing.assert_allclose(model.vertex_basis(chosen).positions(both), surface[chosen], atol=1e-3)
    for band in model.contour_bands:
        assert band.basis.basis.shape[::2] == (5, 3)


def test_contour_landmarks_are_the_semantic_ones_where_there_are_no_others(model: MorphableModel) -> None:
    assert replace(model, landmarks_contour=None).contour_landmark_basis.mean.tolist() == (
        model.semantic_basis.mean.tolist()
    )
    assert np.abs(model.contour_landmark_basis.mean - model.semantic_basis.mean).max() > 1.0


@pytest.mark.parametrize("hostile", [[-1], [N], [0.5], [[0, 1]], 3])
def test_a_vertex_basis_of_no_vertices_is_refused(model: MorphableModel, hostile: Any) -> None:
    with pytest.raises(InvalidInputError, match="indices: expected"):
        model.vertex_basis(hostile)


# -------------------------------------------------------------------------------------------------------------- contour


def test_face_size_is_the_geometric_mean_of_the_landmarks_box(model: MorphableModel) -> None:
    points = model.landmark_positions(model.mean)
    (left, bottom), (right, top) = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    assert model.face_size == pytest.approx(np.sqrt((right - left) * (top - bottom)), rel=1e-12)


@pytest.mark.parametrize("factor", [0.1, 2.5])
def test_face_size_and_contour_scale_with_the_model(model: MorphableModel, factor: float) -> None:
    scaled = replace(model, mean=factor * model.mean, contour=None)
    assert scaled.face_size == pytest.approx(factor * model.face_size, rel=1e-12)
    for band, same in zip(scaled.contour_bands, replace(model, contour=None).contour_bands, strict=True):
        np.testing.assert_array_equal(band.triangles, same.triangles)
        np.testing.assert_allclose(band.basis.mean, factor * same.basis.mean, rtol=1e-12)


def distance_to_line(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Distance of each point from a polyline, computed exactly."""
    start, along = line[:-1], np.diff(line, axis=0)
    share = ((points[:, None] - start) * along).sum(axis=2) / (along**2).sum(axis=1)
    nearest = start + np.clip(share, 0.0, 1.0)[..., None] * along
    return np.linalg.norm(points[:, None] - nearest, axis=2).min(axis=1)


def test_bands_are_the_vertices_about_the_jaw_line_that_face_sideways(model: MorphableModel) -> None:
    free = replace(model, contour=None)
    width = BAND_WIDTH * free.face_size
    away = distance_to_line(free.mean, free.semantic_basis.mean[:17])
    normals = unit_normals(free.mean, free.triangles)
    for side, band in zip((-1.0, 1.0), free.contour_bands, strict=True):
        candidates = band.basis.mean[: band.candidates]
        assert band.candidates > 10
        assert len(np.unique(band.basis.mean, axis=0)) == len(band.basis.mean)
        assert (side * candidates[:, 0] >= -0.01 * width).all()
        assert (distance_to_line(candidates, free.semantic_basis.mean[:17]) < width).all()
        turned = (side * normals[:, 0] > MIN_SIDEWAYS) & (normals[:, 2] > MIN_FORWARD)
        expected = turned & (away < 0.99 * width) & (side * free.mean[:, 0] >= 0.0)
        assert {tuple(point) for point in free.mean[expected]} <= {tuple(point) for point in candidates}
        chosen = np.array([np.flatnonzero((free.mean == point).all(axis=1))[0] for point in candidates])
        assert turned[chosen].all()


@pytest.mark.parametrize("given_contour", [False, True])
def test_a_bands_topology_is_the_meshs(model: MorphableModel, given_contour: bool) -> None:
    if not given_contour:
        model = replace(model, contour=None)
    index = {tuple(point): k for k, point in enumerate(model.mean)}
    mesh = {frozenset(corners) for corners in model.triangles.tolist()}
    for band in model.contour_bands:
        whole = np.array([index[tuple(point)] for point in band.basis.mean])
        candidates = set(whole[: band.candidates].tolist())
        assert band.triangles.min() >= 0
        assert band.triangles.max() < len(whole)
        found = {frozenset(corners) for corners in whole[band.triangles].tolist()}
        assert found == {corners for corners in mesh if corners & candidates}
        inner = {frozenset(corners) for corners in whole[band.triangles[: band.searched]].tolist()}
        assert inner == {corners for corners in mesh if corners <= candidates}
        sides = np.diff(band.basis.mean[band.triangles], axis=1)
        assert (np.cross(sides[:, 0], sides[:, 1])[:, 2] > 0.0).all()  # the winding is kept


@pytest.mark.parametrize(("step", "triangles"), [(2, 18), (1, 14)], ids=["apart", "joined"])
def test_a_single_row_has_no_triangles_to_search(model: MorphableModel, step: int, triangles: int) -> None:
    row = 14 + 13 * step * np.arange(3)  # up a column of the grid; each vertex touches six triangles
    band = replace(model, contour=JawContour(row, row)).contour_bands[0]
    assert band.candidates == 3
    assert band.searched == 0
    assert len(band.triangles) == triangles
    np.testing.assert_array_equal(band.basis.mean[:3], model.mean[row])


def test_vertices_without_triangles_do_no_harm(model: MorphableModel) -> None:
    """A lone vertex beside the jaw, numbered after all that have triangles; and a contour that is empty."""
    parts = small_parts()
    chin = model.semantic_basis.mean[8]
    parts["mean"] = np.concatenate([parts["mean"], [chin]])
    keep = ("name", "licence", "citation", "mean", "triangles", "landmarks")
    lone = MorphableModel(**{name: parts[name] for name in keep}, identity=np.zeros((1, N + 1, 3)))
    assert all(band.triangles.max() < len(band.basis.mean) for band in lone.contour_bands)
    right, left = replace(lone, contour=JawContour(np.zeros(0, int), [N])).contour_bands
    assert (right.candidates, right.triangles.shape, right.searched) == (0, (0, 3), 0)
    assert (left.candidates, left.triangles.shape, left.searched) == (1, (0, 3), 0)


def test_bands_leave_out_only_coefficients_that_move_nothing(model: MorphableModel, rng: np.random.Generator) -> None:
    expression = model.expression.copy()
    expression[1] = 0.0
    still = replace(model, expression=expression)
    coefficients = rng.standard_normal(5)
    surface = still.vertices(coefficients[:3], coefficients[3:])
    for band in still.contour_bands:
        np.testing.assert_array_equal(band.active, [0, 1, 2, 3])
        points = band.basis.positions(coefficients[band.active])
        away = np.linalg.norm(points[:, None] - surface, axis=2).min(axis=1)
        assert away.max() < 1e-3


def test_a_point_basis_without_coefficients_is_its_mean(rng):
    points = rng.standard_normal((5, 3))
    np.testing.assert_array_equal(PointBasis(points, np.zeros((0, 5, 3))).positions(np.zeros(0)), points)
