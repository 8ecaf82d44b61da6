"""The embedded default model is a human head: sizes, symmetry, what its expression units do, and its file.

Bounds hold for any plausible adult mean face, so that a rebuilt model passes too. Adult means in mm (Farkas,
Anthropometry of the Head and Face, 1994): outer canthi 88-91, inner canthi 32-33, mouth 50-54, nasion to chin 111-121.
"""

from importlib import resources

import numpy as np
import pytest

from facefit.apps.model.build_default import OFF_FACE
from facefit.fitting.landmarks import LEFT_EYELID_PAIRS, LIP_PAIRS, MIRROR, RIGHT_EYELID_PAIRS
from facefit.models.morphable_model import LandmarkEmbedding, MorphableModel, flatten
from facefit.models.store import load_model

FLIP = np.array([-1.0, 1.0, 1.0])
STEP = 1e-4  # relative to a mode's largest motion: more than the 16-bit steps in which modes are stored


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_model("default")


@pytest.fixture(scope="module")
def points(model: MorphableModel) -> np.ndarray:
    return model.landmark_positions(model.mean)


def mirrored(model: MorphableModel, field: np.ndarray) -> np.ndarray:
    """A mode or surface (N, 3) as seen in a mirror, its vertices in their old order."""
    return field[model.mirror] * FLIP


def opening(points: np.ndarray, pairs: np.ndarray) -> float:
    """Mean height of upper over lower points, mm."""
    return float((points[pairs[:, 0], 1] - points[pairs[:, 1], 1]).mean())


# ----------------------------------------------------------------------------------------------------------------- file


def test_file_is_small_and_free() -> None:
    file = resources.files("facefit.models") / "default" / "default.npz"
    with resources.as_file(file) as path:
        assert path.stat().st_size <= 8 * 2**20


def test_model_says_what_it_is(model: MorphableModel) -> None:
    assert model.name == "default"
    assert "CC0" in model.licence
    assert "MakeHuman" in model.citation


def test_model_has_the_parts_that_fitting_and_drawing_need(model: MorphableModel) -> None:
    assert model.n_vertices > 1000
    assert model.n_identity >= 20
    assert model.n_expression >= 10
    assert model.albedo_mean is not None
    assert 0.0 <= model.albedo_mean.min() <= model.albedo_mean.max() <= 1.0
    assert model.mirror is not None
    assert model.landmarks is not None
    for name in ("face", "eyes"):
        assert 0 < model.regions[name].sum() < model.n_vertices
    assert all(np.isfinite(array).all() for array in flatten(model).values() if array.dtype.kind == "f")


def test_every_vertex_belongs_to_a_triangle(model: MorphableModel) -> None:
    assert len(np.unique(model.triangles)) == model.n_vertices


# ----------------------------------------------------------------------------------------------------------------- size


def test_frame(points: np.ndarray) -> None:
    """Origin midway between the outer eye corners; +X to the subject's left, +Y up, +Z out of the face."""
    np.testing.assert_allclose(points[[36, 45]].mean(axis=0), 0.0, atol=1e-3)
    assert points[45, 0] > 0.0 > points[36, 0]
    assert points[27, 1] > points[30, 1] > points[51, 1] > points[8, 1]
    assert points[:, 2].argmax() in (29, 30, 33)  # the nose leads


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        pytest.param(36, 45, 80.0, 100.0, id="outer canthi"),
        pytest.param(39, 42, 27.0, 40.0, id="inner canthi"),
        pytest.param(31, 35, 20.0, 42.0, id="nose's base"),
        pytest.param(48, 54, 42.0, 62.0, id="mouth"),
        pytest.param(27, 8, 95.0, 130.0, id="nasion to chin"),
        pytest.param(27, 33, 42.0, 62.0, id="nasion to subnasale"),
        pytest.param(0, 16, 120.0, 165.0, id="ear to ear"),
    ],
)
def test_distances_are_an_adults(points: np.ndarray, first: int, second: int, low: float, high: float) -> None:
    assert low < np.linalg.norm(points[first] - points[second]) < high


def test_eyes_are_open_and_the_mouth_is_closed(points: np.ndarray) -> None:
    for pairs in (LEFT_EYELID_PAIRS, RIGHT_EYELID_PAIRS):
        assert 6.0 < opening(points, pairs) < 14.0
    assert -0.5 < opening(points, LIP_PAIRS) < 0.0  # pressed together


def test_population_is_human(model: MorphableModel, rng: np.random.Generator) -> None:
    """People at random keep an adult's proportions, differ by millimetres, and do not grow horns."""
    ratios, spread = [], []
    for _ in range(50):
        points = model.landmark_positions(model.vertices(rng.standard_normal(model.n_identity)))
        ratios.append(np.linalg.norm(points[36] - points[45]) / np.linalg.norm(points[27] - points[8]))
        spread.append(points)
    assert 0.6 < min(ratios) < max(ratios) < 1.05
    deviation = np.linalg.norm(np.std(spread, axis=0), axis=1)
    assert ((deviation > 0.5) & (deviation < 15.0)).all()


def test_modes_are_in_order_of_their_variance(model: MorphableModel) -> None:
    weight = np.where(model.regions["face"], 1.0, OFF_FACE)[:, None]  # as in the analysis
    energy = ((weight * model.identity.astype(np.float64)) ** 2).sum(axis=(1, 2))
    assert (np.diff(energy) <= 1e-6 * energy[0]).all()


# -------------------------------------------------------------------------------------------------------------- surface


def test_surface_is_wound_counter_clockwise_from_outside(model: MorphableModel) -> None:
    """The head encloses a positive volume of litres, and the tip of the nose faces forwards."""
    corners = model.mean[model.triangles]
    volume = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6.0
    assert 1.5e6 < volume < 6e6
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert model.landmarks is not None
    tip = normals[model.landmarks.triangles[30]]
    assert tip[2] > 0.7 * np.linalg.norm(tip)


def test_landmarks_lie_on_triangles_that_face_outwards(model: MorphableModel, points: np.ndarray) -> None:
    """The inner 51 face a frontal camera; those of the jaw face away from the head's middle."""
    assert model.landmarks is not None
    corners = model.mean[model.triangles[model.landmarks.triangles]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[17:60, 2] > 0.0).all()  # the inner lips may turn inwards
    outwards = points[:17] - [0.0, points[0, 1], points[0, 2] - 20.0]
    assert (np.einsum("ij,ij->i", normals[:17], outwards) > 0.0).all()


def test_triangles_neither_vanish_nor_repeat(model: MorphableModel) -> None:
    corners = model.mean[model.triangles]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    assert area.min() > 1e-4  # mm^2
    assert len(np.unique(np.sort(model.triangles, axis=1), axis=0)) == len(model.triangles)


def test_edges_are_shared_by_at_most_two_triangles_that_agree_in_winding(model: MorphableModel) -> None:
    directed = model.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    assert len(np.unique(directed, axis=0)) == len(directed)


# ------------------------------------------------------------------------------------------------------------- symmetry


def test_mean_is_symmetric(model: MorphableModel) -> None:
    np.testing.assert_allclose(mirrored(model, model.mean), model.mean, atol=1e-6)
    assert model.albedo_mean is not None
    np.testing.assert_allclose(model.albedo_mean[model.mirror], model.albedo_mean, atol=1e-3)


def test_triangles_mirror_onto_triangles(model: MorphableModel) -> None:
    """As cycles: the mirror turns the winding, so the mirrored triangle is read backwards."""

    def cycles(triangles: np.ndarray) -> set[tuple[int, ...]]:
        start = triangles.argmin(axis=1)[:, None]
        return set(map(tuple, np.take_along_axis(triangles, (start + np.arange(3)) % 3, axis=1).tolist()))

    assert model.mirror is not None
    assert cycles(model.mirror[model.triangles][:, ::-1]) == cycles(model.triangles)


def test_each_identity_mode_is_symmetric_or_antisymmetric(model: MorphableModel) -> None:
    for mode in model.identity.astype(np.float64):
        image = mirrored(model, mode)
        assert min(np.abs(image - mode).max(), np.abs(image + mode).max()) < STEP * np.abs(mode).max()


def test_landmarks_mirror_onto_each_other(model: MorphableModel, rng: np.random.Generator) -> None:
    """On every surface, not only on the mean: the embeddings themselves are mirrored."""
    assert model.landmarks is not None
    assert model.mirror is not None
    surface = model.vertices(rng.standard_normal(model.n_identity))
    for embedding in filter(None, (model.landmarks, model.landmarks_contour)):
        assert isinstance(embedding, LandmarkEmbedding)
        places = np.einsum("lc,lcx->lx", embedding.weights, surface[model.triangles[embedding.triangles]])
        image = np.einsum(
            "lc,lcx->lx", embedding.weights, mirrored(model, surface)[model.triangles[embedding.triangles]]
        )
        np.testing.assert_allclose(image[MIRROR] * FLIP, places, atol=0.02)


def test_regions_are_symmetric(model: MorphableModel) -> None:
    for mask in model.regions.values():
        np.testing.assert_array_equal(mask[model.mirror], mask)


# -------------------------------------------------------------------------------------------------------------- contour


def test_contour_bands_lie_along_the_jaw(model: MorphableModel) -> None:
    """Each of the 17 jaw points is near candidates of its side, and candidates make one connected patch."""
    jaw = model.semantic_basis.mean[:17]
    for band, own in zip(model.contour_bands, (jaw[:9], jaw[8:]), strict=True):
        candidates = band.basis.mean[: band.candidates]
        away = np.linalg.norm(own[:, None] - candidates, axis=2).min(axis=1)
        assert away.max() < 8.0
        searched = band.triangles[: band.searched]
        reached = np.zeros(band.candidates, dtype=bool)
        reached[searched[0]] = True
        for _ in range(band.candidates):
            corners = searched[reached[searched].any(axis=1)].ravel()
            if reached[corners].all():
                break
            reached[corners] = True
        assert reached.mean() > 0.9
