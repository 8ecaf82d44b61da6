"""Other expressions: the strain that they put on the skin, the split of its detail, and faces there and back."""

from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from detail_scenes import MAP_SIZE, correlation, lamp, relief_head, rms
from numpy.typing import NDArray
from small_model import small_model

import facefit
from facefit import FitResult, FitStatus
from facefit.fitting.animation import (
    A_GUESS,
    RIDGE,
    WRINKLED,
    animate,
    expression_vector,
    guessed_split,
    separate_detail,
    wrinkled,
)
from facefit.fitting.detail import fit_detail_stage
from facefit.fitting.detail_map import DetailMap
from facefit.fitting.detailing.compression import (
    MOST,
    compression_of_texels,
    compression_of_triangles,
    compression_of_vertices,
)
from facefit.fitting.texturing.atlas import TextureSpace
from facefit.models.errors import InvalidInputError, ModelError
from facefit.models.morphable_model import MorphableModel
from facefit.models.uv_atlas import model_atlas
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles
from facefit.render.normals import normalised, vertex_normals
from facefit.render.rasterizer import interpolate, rasterize
from facefit.render.spherical_harmonics import basis
from facefit.render.tessellation import displaced, looked_up, tessellated

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "astronaut.jpg"
FOREHEAD = np.array([0.0, 22.0, -5.0])
"""mm, from between the brows."""

SMILE = {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6}


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


def surface_points(model: MorphableModel, size: int) -> Array:
    """Return the mean surface's points (S, S, 3) mm, zero between the charts."""
    points = np.zeros((size, size, 3))
    for rows, seen in TextureSpace(model_atlas(model), size).bands():
        points[rows] = interpolate(seen, model.triangles, np.asarray(model.mean, np.float64))
    return points


def smile_line(model: MorphableModel, side: int) -> Array:
    """Return a line (M, 3) mm from beside a wing of the nose to beside a corner of the mouth; side 1: the left."""
    points = model.landmark_positions(model.mean)
    wing, corner = (points[35], points[54]) if side > 0 else (points[31], points[48])
    out = np.array([float(side), 0.0, 0.0])
    ends = wing + 4.0 * out, 0.6 * corner + 0.4 * wing + 9.0 * out, corner + 8.0 * out - [0.0, 6.0, 0.0]
    t = np.linspace(0.0, 1.0, 40)[:, None]
    return (1.0 - t) ** 2 * ends[0] + 2.0 * t * (1.0 - t) * ends[1] + t**2 * ends[2]


def cheeks(model: MorphableModel, size: int) -> NDArray[np.bool_]:
    """Return the mask (S, S) of what lies within 18 mm of the middle of either smile line."""
    points = surface_points(model, size)
    middles = [smile_line(model, side)[20] for side in (-1, 1)]
    return np.min([np.linalg.norm(points - middle, axis=2) for middle in middles], axis=0) < 18.0


def flat_map(heights: Floats, model: MorphableModel) -> DetailMap:
    """Return a map that a photo shows in full."""
    shown = np.full(heights.shape, 255, np.uint8)
    return DetailMap.unsplit(heights.astype(np.float32), shown > 0, shown, model_atlas(model))


def posed(model: MorphableModel, expression: dict[str, float], detail: DetailMap | None = None) -> FitResult:
    """Return a random person with an expression, as a fit would."""
    identity = 0.5 * np.random.default_rng(5).standard_normal(model.n_identity)
    weights = expression_vector(expression, model, np.zeros(model.n_expression))
    camera = ScaledOrthographic(rotation_from_angles(10.0, 0.0, 0.0), np.array([100.0, 100.0]), 1.0)
    vertices = model.vertices(identity, weights)
    vertices[:50] += 0.3  # what the model does not know
    provenance = {"model": {"name": model.name, "hash": model.hash}}
    return FitResult(
        FitStatus.CONVERGED, "made for a test", camera, identity, weights, vertices=vertices,
        vertices_image=camera.project(vertices), triangles=model.triangles, detail=detail, provenance=provenance,
    )  # fmt: skip


@pytest.fixture(scope="module")
def smiling(model: MorphableModel) -> FitResult:
    """A smiling face whose heights are noise of 0.4 mm, split by a guess."""
    heights = 0.4 * np.random.default_rng(1).standard_normal((128, 128)).astype(np.float32)
    result = posed(model, SMILE)
    return replace(result, detail=guessed_split(flat_map(heights, model), result, model))


# --- Compression -------------------------------------------------------------------------------------------------


def plane(rng: np.random.Generator) -> tuple[Array, NDArray[np.int32], Array]:
    """Return points (N, 3) of a plane in space, their triangles, and the plane's axes (2, 3)."""
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0][:2]
    places = np.stack(np.meshgrid(np.arange(6.0), np.arange(5.0)), axis=2).reshape(-1, 2)
    corner = (np.arange(4)[:, None] * 6 + np.arange(5)).ravel()
    triangles = np.concatenate(
        [np.stack([corner, corner + 1, corner + 7], axis=1), np.stack([corner, corner + 7, corner + 6], axis=1)]
    )
    return (places + 0.2 * rng.standard_normal(places.shape)) @ axes, triangles.astype(np.int32), axes


@pytest.mark.parametrize("seed", range(5))
def test_an_affine_deformation_compresses_by_its_least_singular_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, triangles, axes = plane(rng)
    matrix = np.eye(3) + 0.15 * rng.standard_normal((3, 3))
    least = np.linalg.svd(matrix @ axes.T, compute_uv=False)[-1]
    found, area = compression_of_triangles(points, points @ matrix.T + rng.standard_normal(3), triangles)
    np.testing.assert_allclose(found, max(1.0 - least, 0.0), atol=1e-12)
    edges = points[triangles[:, 1:]] - points[triangles[:, :1]]
    np.testing.assert_allclose(area, 0.5 * np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1))
    np.testing.assert_allclose(
        compression_of_vertices(points, points @ matrix.T, triangles), max(1.0 - least, 0.0), atol=1e-12
    )


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (np.diag([0.8, 1.0, 1.0]), 0.2),
        (np.diag([0.8, 1.7, 1.0]), 0.2),  # a stretch across it changes nothing
        (np.diag([1.3, 1.1, 1.0]), 0.0),  # stretched skin is smooth
        (np.diag([1.0, 1.0, 0.1]), 0.0),  # the plane's own direction alone does not count
        (np.array([[1.0, 0.4, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), 1.0 - (np.sqrt(1.04) - 0.2)),  # simple shear
        (np.diag([0.1, 1.0, 1.0]), MOST),
        (np.diag([0.0, 1.0, 1.0]), MOST),
        (rotation_from_angles(40.0, -20.0, 70.0), 0.0),
    ],
)
def test_known_deformations_of_a_plane(matrix: Array, expected: float) -> None:
    _, triangles, _ = plane(np.random.default_rng(0))
    points = np.stack(np.meshgrid(np.arange(6.0), np.arange(5.0), [0.0]), axis=3).reshape(-1, 3)
    found, _ = compression_of_triangles(points, points @ matrix.T, triangles)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_bending_compresses_nothing() -> None:
    """A sheet rolled up keeps its lengths, but for the chords of its facets."""
    _, triangles, _ = plane(np.random.default_rng(0))
    points = np.stack(np.meshgrid(np.arange(6.0), np.arange(5.0), [0.0]), axis=3).reshape(-1, 3)
    radius = 10.0
    angle = points[:, 0] / radius
    rolled = np.stack([radius * np.sin(angle), points[:, 1], radius * np.cos(angle)], axis=1)
    found, _ = compression_of_triangles(points, rolled, triangles)
    assert found.max() < (1.0 / radius) ** 2 / 24.0 * 1.01


def test_triangles_without_an_area_tell_nothing() -> None:
    points = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]])
    triangles = np.array([[0, 1, 2], [0, 0, 1], [0, 1, 3]], np.int32)
    found, area = compression_of_triangles(points, 0.9 * points, triangles)
    np.testing.assert_allclose(found, [0.0, 0.0, 0.1])
    np.testing.assert_allclose(area, [0.0, 0.0, 0.5])
    np.testing.assert_allclose(compression_of_vertices(points, 0.9 * points, triangles), [0.1, 0.1, 0.0, 0.1])


def test_compression_does_not_depend_on_the_textures_size(model: MorphableModel) -> None:
    vertices = model.vertices(None, expression_vector(SMILE, model, np.zeros(model.n_expression)))
    maps = {s: compression_of_texels(model, model_atlas(model), s, model.vertices(), vertices) for s in (128, 256, 512)}
    cheek = cheeks(model, 128)
    assert 0.1 < np.median(maps[128][cheek]) < 0.3
    for size in (256, 512):
        small = cv2.resize(maps[size], (128, 128), interpolation=cv2.INTER_AREA)
        assert np.quantile(np.abs(small - maps[128])[cheek], 0.98) < 0.02
    # No edges of triangles: those jump by 0.8 where each has its own value, by 0.3 where vertices are interpolated.
    assert np.abs(np.diff(maps[256], 2, axis=1))[cheeks(model, 256)[:, 1:-1]].max() < 0.04


def test_a_smile_compresses_the_cheeks_and_raised_brows_the_forehead(model: MorphableModel) -> None:
    size, atlas, neutral = 128, model_atlas(model), model.vertices()
    points = surface_points(model, size)
    brows = model.landmark_positions(model.mean)[[19, 24]].mean(axis=0)
    forehead = np.linalg.norm(points - (brows + FOREHEAD), axis=2) < 20.0
    raised = {"browInnerUp": 0.5, "browOuterUpLeft": 0.5, "browOuterUpRight": 0.5}
    smile, brow = (
        compression_of_texels(
            model, atlas, size, neutral, model.vertices(None, expression_vector(weights, model, np.zeros(51)))
        )
        for weights in (SMILE, raised)
    )
    cheek = cheeks(model, size)
    assert wrinkled(smile)[cheek].mean() > 0.7
    assert wrinkled(smile)[forehead].max() < 0.01
    assert wrinkled(brow)[forehead].mean() > 0.6
    assert wrinkled(brow)[cheek].max() < 0.01
    assert wrinkled(np.linspace(0.0, 1.0, 50, dtype=np.float32)).max() == 1.0
    assert (np.diff(wrinkled(np.linspace(0.0, WRINKLED, 50, dtype=np.float32))) > 0.0).all()


# --- Faces there and back ----------------------------------------------------------------------------------------


def test_the_fitted_expression_gives_the_fitted_face(smiling: FitResult, model: MorphableModel) -> None:
    assert smiling.expression is not None and smiling.detail is not None
    for expression in ({}, smiling.expression, SMILE):
        again = animate(smiling, expression, model)
        assert again.detail is not None
        np.testing.assert_array_equal(again.vertices, smiling.vertices)
        np.testing.assert_array_equal(again.vertices_image, smiling.vertices_image)
        np.testing.assert_array_equal(again.detail.displacement, smiling.detail.displacement)
        np.testing.assert_array_equal(again.expression, smiling.expression)


def test_there_and_back_again(smiling: FitResult, model: MorphableModel) -> None:
    assert smiling.detail is not None and smiling.expression is not None
    there = animate(smiling, {"mouthPucker": 0.8, "browInnerUp": 1.0, "mouthSmileLeft": 0.0}, model)
    assert there.detail is not None
    assert np.abs(there.detail.displacement - smiling.detail.displacement).max() > 0.3
    back = animate(there, smiling.expression, model)
    assert back.detail is not None
    np.testing.assert_allclose(back.vertices, smiling.vertices, atol=1e-12)
    for part in fields(DetailMap):
        np.testing.assert_array_equal(getattr(back.detail, part.name), getattr(smiling.detail, part.name))
    assert back.message == there.message, "the guess is told once"


def test_a_neutral_face_has_the_persons_own_detail(smiling: FitResult, model: MorphableModel) -> None:
    assert smiling.detail is not None and smiling.vertices is not None
    neutral = animate(smiling, "neutral", model)
    assert neutral.detail is not None
    np.testing.assert_allclose(neutral.detail.displacement, neutral.detail.person, atol=1e-5)
    expected = (
        smiling.vertices - model.vertices(smiling.identity, smiling.expression) + model.vertices(smiling.identity)
    )
    np.testing.assert_allclose(neutral.vertices, expected, atol=1e-10)
    np.testing.assert_array_equal(neutral.expression, 0.0)
    assert neutral.message == f"made for a test; {A_GUESS}"
    away = smiling.detail.compression == 0.0
    np.testing.assert_array_equal(neutral.detail.displacement[away], smiling.detail.displacement[away])


def test_a_mapping_changes_its_units_and_a_vector_all(smiling: FitResult, model: MorphableModel) -> None:
    assert smiling.expression is not None
    opened = animate(smiling, {"jawOpen": 0.5}, model).expression
    expected = smiling.expression.copy()
    expected[model.expression_names.index("jawOpen")] = 0.5
    np.testing.assert_array_equal(opened, expected)
    alone = np.zeros(model.n_expression)
    alone[model.expression_names.index("jawOpen")] = 0.5
    np.testing.assert_array_equal(animate(smiling, alone, model).expression, alone)
    assert smiling.expression.max() == 0.6, "the fit's own is not written to"


def test_half_a_smile_has_part_of_its_lines_and_a_broader_one_no_more(
    smiling: FitResult, model: MorphableModel
) -> None:
    assert smiling.detail is not None
    cheek = cheeks(model, 128)
    strength = []
    for weight in (0.0, 0.2, 0.4, 0.6, 1.0):
        detail = animate(smiling, dict.fromkeys(SMILE, weight), model).detail
        assert detail is not None
        strength.append(rms(detail.displacement[cheek]))
    assert strength[0] < strength[1] < strength[2] < strength[3]
    assert strength[4] == pytest.approx(strength[3], rel=1e-3)


def test_without_detail_the_surface_alone_moves(model: MorphableModel) -> None:
    result = posed(model, SMILE)
    moved = animate(result, "neutral", model)
    assert moved.detail is None
    assert moved.message == result.message
    assert moved.camera is not None and moved.vertices is not None and result.vertices is not None
    np.testing.assert_array_equal(moved.vertices_image, moved.camera.project(moved.vertices))
    assert np.abs(moved.vertices - result.vertices).max() > 3.0


def test_the_model_is_found_by_the_results_hash(smiling: FitResult, model: MorphableModel) -> None:
    one, other = facefit.animate(smiling, {"jawOpen": 1.0}), animate(smiling, {"jawOpen": 1.0}, model)
    np.testing.assert_array_equal(one.vertices, other.vertices)
    lost = replace(smiling, provenance={"model": {"name": "grandma", "hash": "0" * 64}})
    with pytest.raises(ModelError, match=r"'grandma'.*expected that of a model in the store"):
        animate(lost, {"jawOpen": 1.0})
    for provenance in ({}, {"model": None}, {"model": {"name": "x"}}):
        with pytest.raises(InvalidInputError, match="model: expected one"):
            animate(replace(smiling, provenance=provenance), {"jawOpen": 1.0})


def test_a_saved_result_moves_as_the_one_in_memory(smiling: FitResult, model: MorphableModel, tmp_path: Path) -> None:
    facefit.save(animate(smiling, "neutral", model), tmp_path / "fit.npz")
    again = animate(facefit.load_result(tmp_path / "fit.npz"), SMILE, model)
    assert again.detail is not None and smiling.detail is not None
    np.testing.assert_array_equal(again.detail.displacement, smiling.detail.displacement)
    assert again.detail.guessed is True


# --- Wrong calls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ({"smile": 1.0}, "such as .*mouthSmileLeft.*, got 'smile'"),
        ({3: 1.0}, "a unit of the model .*, got 3"),
        ({"jawOpen": 1.5}, "jawOpen: expected a number from 0 to 1, got 1.5"),
        ({"jawOpen": np.nan}, "jawOpen: expected a number from 0 to 1, got nan"),
        ({"jawOpen": "wide"}, "jawOpen: expected a number from 0 to 1, got 'wide'"),
        ({"jawOpen": None}, "jawOpen: expected a number from 0 to 1, got None"),
        ("happy", "weights by name, or the word neutral, got 'happy'"),
        (np.zeros(5), r"expression: expected shape \(51,\), got \(5,\)"),
        (np.full(51, np.nan), "expression: expected finite numbers"),
        (np.full(51, 2.0), "eyeBlinkLeft: expected a number from 0 to 1, got 2.0"),
        (None, "expression: expected"),
    ],
)
def test_a_wrong_expression(smiling: FitResult, model: MorphableModel, expression: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        animate(smiling, expression, model)  # type: ignore[arg-type]


def test_a_wrong_result_or_model(smiling: FitResult, model: MorphableModel) -> None:
    with pytest.raises(InvalidInputError, match="result: expected a FitResult, got dict"):
        animate({}, "neutral")  # type: ignore[arg-type]
    nobody = FitResult(FitStatus.NO_FACE, "no face")
    with pytest.raises(InvalidInputError, match="result: expected a camera and a mesh, got NO_FACE: no face"):
        animate(nobody, "neutral", model)
    small = small_model()
    with pytest.raises(InvalidInputError, match=r"result.vertices: expected shape \(169, 3\), got \(4910, 3\)"):
        animate(smiling, "neutral", small)
    with pytest.raises(InvalidInputError, match="model: expected a MorphableModel, got str"):
        animate(smiling, "neutral", "default")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"result\.expression: expected shape"):
        animate(replace(smiling, expression=np.zeros(3)), "neutral", model)
    assert smiling.detail is not None
    other = replace(smiling, detail=replace(smiling.detail, uv=small.uv))
    with pytest.raises(InvalidInputError, match=r"result\.detail: expected an atlas of 9688 triangles, got 288"):
        animate(other, "neutral", model)


# --- Several photos ----------------------------------------------------------------------------------------------


def true_parts(model: MorphableModel, size: int = 128) -> tuple[Floats, Floats]:
    """Return a person's own heights and those of a smile's full compression, (S, S) mm: smooth noise."""
    rng = np.random.default_rng(8)
    own, lines = (cv2.GaussianBlur(rng.standard_normal((size, size)), (0, 0), 2.0).astype(np.float32) for _ in range(2))
    return own * np.float32(0.3 / own.std()), lines * np.float32(0.5 / lines.std())


def photographed(
    model: MorphableModel, expression: dict[str, float], parts: tuple[Floats, Floats], full: Floats, noise: float = 0.0
) -> FitResult:
    """Return a result whose heights follow the law: the person's own, and a smile's by its share of `full`."""
    result = posed(model, expression)
    blank = guessed_split(flat_map(np.zeros_like(parts[0]), model), result, model)
    share = np.minimum(blank.compression / np.maximum(full, 1e-6), 1.0)
    heights = parts[0] + parts[1] * share * (full > 0.02)
    heights = heights + noise * np.random.default_rng(len(expression)).standard_normal(heights.shape)
    return replace(result, detail=guessed_split(flat_map(heights, model), result, model))


@pytest.fixture(scope="module")
def parts(model: MorphableModel) -> tuple[Floats, Floats]:
    return true_parts(model)


@pytest.fixture(scope="module")
def full(model: MorphableModel) -> Floats:
    result = posed(model, SMILE)
    return guessed_split(flat_map(np.zeros((128, 128), np.float32), model), result, model).compression


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_two_photos_tell_the_person_from_the_smile(model, parts, full, noise):
    neutral, smile = (photographed(model, weights, parts, full, noise) for weights in ({}, SMILE))
    split = separate_detail([smile, neutral], model)
    wrinkles = full > WRINKLED
    assert not split.guessed
    pull = RIDGE / (0.5 + RIDGE)  # the guess's share in the answer
    # The guess takes all that a smile shows for dynamic: off by the person's own.
    bound = pull * rms(parts[0][wrinkles]) + 2.0 * noise + 1e-4
    assert rms((split.dynamic - parts[1])[wrinkles]) < bound
    assert rms((split.person - parts[0])[wrinkles]) < bound
    np.testing.assert_array_equal(split.compression, full)
    guess = smile.detail
    assert rms((guess.person - parts[0])[wrinkles]) > 5.0 * rms((split.person - parts[0])[wrinkles]), "one cannot"
    np.testing.assert_allclose(split.displacement, split.person + split.dynamic * (full > 0.0), atol=1e-6)
    # Animated, the smile's photo gives the neutral one's heights.
    rested = animate(replace(smile, detail=split), "neutral", model)
    assert rms((rested.detail.displacement - parts[0])[wrinkles]) < bound
    assert A_GUESS not in rested.message
    assert rms((split.dynamic)[full < 1e-6]) < 0.02, "what no photo compresses stays the person's"


def test_the_order_of_the_photos_does_not_matter_but_for_whose_displacement(model, parts, full):
    photos = [photographed(model, weights, parts, full, 0.05) for weights in ({}, SMILE, dict.fromkeys(SMILE, 0.3))]
    one, other = separate_detail(photos, model), separate_detail(photos[::-1])
    for name in ("person", "dynamic", "compression"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-5)
    np.testing.assert_allclose(one.displacement, one.person, atol=1e-5)
    assert rms((other.displacement - one.displacement)[full > WRINKLED]) > 0.05


@pytest.mark.parametrize("count", [1, 3])
def test_photos_that_are_alike_are_as_good_as_one(model, parts, full, count):
    smile = photographed(model, SMILE, parts, full)
    split = separate_detail([smile] * count, model)
    assert split.guessed
    for name in ("person", "dynamic", "displacement", "compression"):
        np.testing.assert_allclose(getattr(split, name), getattr(smile.detail, name), atol=2e-3)


def test_what_one_photo_alone_shows_is_split_by_the_guess(model, parts, full):
    smile, neutral = (photographed(model, weights, parts, full) for weights in (SMILE, {}))
    hidden = np.zeros((128, 128), bool)
    hidden[:, 64:] = True
    junk = np.where(hidden, np.float32(5.0), neutral.detail.displacement)
    dark = np.where(hidden, 0, 255).astype(np.uint8)
    half = replace(neutral, detail=replace(neutral.detail, displacement=junk, confidence=dark, coverage=~hidden))
    split = separate_detail([smile, half], model)
    wrinkles = full > WRINKLED
    np.testing.assert_allclose(split.dynamic[wrinkles & hidden], smile.detail.dynamic[wrinkles & hidden], atol=0.05)
    assert rms((split.dynamic - parts[1])[wrinkles & ~hidden]) < 0.03
    np.testing.assert_array_equal(split.coverage, True)
    # The other way round, a smile that is not seen adds nothing: the person's own is what the neutral photo shows.
    blind = replace(smile, detail=replace(smile.detail, displacement=junk, confidence=dark, coverage=~hidden))
    split = separate_detail([neutral, blind], model)
    np.testing.assert_allclose(split.person[hidden], neutral.detail.displacement[hidden], atol=2e-3)
    np.testing.assert_allclose(split.dynamic[hidden], 0.0, atol=1e-9)


def test_results_that_do_not_belong_together(model, parts, full):
    smile = photographed(model, SMILE, parts, full)
    with pytest.raises(InvalidInputError, match="results: expected at least one, got none"):
        separate_detail([], model)
    with pytest.raises(InvalidInputError, match=r"results\[1\]: expected one with detail, got none"):
        separate_detail([smile, replace(smile, detail=None)], model)
    with pytest.raises(InvalidInputError, match=r"results\[1\]: expected a FitResult, got NoneType"):
        separate_detail([smile, None], model)
    coarse = replace(smile, detail=flat_map(np.zeros((64, 64), np.float32), model))
    with pytest.raises(InvalidInputError, match=r"results\[1\]: expected detail of 128 x 128 .*, got 64 x 64"):
        separate_detail([smile, coarse], model)
    with pytest.raises(InvalidInputError, match=r"result\.vertices: expected shape"):
        separate_detail([smile], small_model())


# --- Smile lines -------------------------------------------------------------------------------------------------


def shading_strength(model: MorphableModel, result: FitResult) -> float:
    """Return how strongly the heights show in the cheeks, lit from the left: RMS of the shading that they change."""
    assert result.vertices is not None and result.detail is not None
    mesh = tessellated(result.vertices, model.triangles, 2, uv=result.detail.uv)
    assert mesh.uv is not None
    places = np.zeros((len(mesh.vertices), 2))
    places[mesh.triangles] = mesh.uv.coordinates[mesh.uv.triangles]
    inside = looked_up(cheeks(model, 256).astype(float), places)
    scale, centre = 3.0, model.landmark_positions(model.mean)[33]  # px per mm; below the nose
    camera = ScaledOrthographic(np.diag([1.0, -1.0, -1.0]), 140.0 - scale * np.array([1.0, -1.0]) * centre[:2], scale)
    shades = []
    for points in (mesh.vertices, displaced(mesh, result.detail.displacement)):
        seen = rasterize(camera, points, mesh.triangles, 280, 280)
        normals = vertex_normals(points, mesh.triangles) @ camera.rotation.T
        drawn = interpolate(seen, mesh.triangles, np.column_stack([normals, inside]))
        shown = seen.covered & (drawn[..., 3] > 0.5)
        shade = np.zeros(shown.shape)
        shade[shown] = np.maximum(basis(normalised(drawn[shown, :3])) @ lamp(-60.0, 20.0)[:, 0], 0.0)
        shades.append(np.where(shown, shade, np.nan))
    difference = shades[1] - shades[0]
    return rms(difference[np.isfinite(difference)])


def test_a_neutral_face_loses_its_smile_lines_and_gains_them_back(model: MorphableModel) -> None:
    """The photo of a smiling head with valleys beside the mouth, and a scar on the forehead that is no wrinkle."""
    points = surface_points(model, MAP_SIZE)
    heights = np.zeros((MAP_SIZE, MAP_SIZE))
    near = cheeks(model, MAP_SIZE)
    for side in (-1, 1):
        distance = np.min([np.linalg.norm(points[near] - place, axis=1) for place in smile_line(model, side)], axis=0)
        heights[near] -= 1.5 * np.exp(-0.5 * (distance / 3.0) ** 2)
    brows = model.landmark_positions(model.mean)[[19, 24]].mean(axis=0)
    far = np.linalg.norm(points - (brows + FOREHEAD), axis=2)
    heights -= 0.8 * np.exp(-0.5 * (far / 2.5) ** 2)
    weights = expression_vector(dict.fromkeys(SMILE, 0.5), model, np.zeros(model.n_expression))
    head = relief_head(model, 3, heights, expression=weights, light=(50.0, 25.0), yaw=0.0)
    found = fit_detail_stage(head.image, head.result, model).detail
    assert found is not None
    smile = replace(head.result, detail=found)
    cheek, scar = cheeks(model, 256), cv2.resize(far.astype(np.float32), (256, 256)) < 5.0
    assert correlation(found.displacement, head.heights_at(256), cheek) > 0.6, "the photo shows the lines"
    neutral = animate(smile, "neutral", model)
    back = animate(neutral, weights, model)
    assert neutral.detail is not None and back.detail is not None
    assert rms(neutral.detail.displacement[cheek]) < 0.5 * rms(found.displacement[cheek])
    assert shading_strength(model, neutral) < 0.5 * shading_strength(model, smile)
    np.testing.assert_allclose(neutral.detail.displacement[scar], found.displacement[scar], atol=1e-3)
    np.testing.assert_array_equal(back.detail.displacement, found.displacement)
    assert shading_strength(model, back) == pytest.approx(shading_strength(model, smile))
    assert found.guessed and A_GUESS in neutral.message


def test_a_real_smile_loses_its_lines_and_gains_them_back(model: MorphableModel) -> None:
    stages = ("landmark", "photometric", "detail")
    result = facefit.fit(facefit.read_image(EXAMPLE), model, options=facefit.FitOptions(stages=stages))
    assert result.detail is not None and result.expression is not None
    neutral = facefit.animate(result, "neutral", model)
    back = facefit.animate(neutral, result.expression, model)
    assert neutral.detail is not None and back.detail is not None
    cheek = cheeks(model, result.detail.size) & (result.detail.confidence > 127)
    assert cheek.sum() > 300
    assert rms(neutral.detail.displacement[cheek]) < 0.5 * rms(result.detail.displacement[cheek])
    np.testing.assert_array_equal(back.detail.displacement, result.detail.displacement)
    np.testing.assert_allclose(back.vertices, result.vertices, atol=1e-9)
    assert result.message in neutral.message and neutral.message.endswith(A_GUESS)
