"""Finding landmarks by rendering and detecting: a detector that points at known places gives these places back."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from facefit.apps.model.landmark_finder import View, find_landmarks, random_views
from facefit.apps.model.surface_mirror import SurfaceMirror
from facefit.fitting.detection import Detection
from facefit.fitting.landmarks import COUNT, INNER, JAW, LIP_PAIRS, MIRROR, LandmarkConvention
from facefit.models.errors import ModelError
from facefit.models.morphable_model import LandmarkEmbedding, MorphableModel
from facefit.models.store import load_model

PEOPLE, SEED = 8, 3
FLIP = np.array([-1.0, 1.0, 1.0])
MIDLINE = np.flatnonzero(np.arange(COUNT) == MIRROR)


class Oracle:
    """A detector that knows the views it will be shown, in their order, and points at `embedding` in each."""

    name = "oracle"
    landmark_convention = LandmarkConvention.CONTOUR
    landmark_sigma = np.full(COUNT, 0.01)
    opening_correlation = 0.0

    def __init__(self, model: MorphableModel, embedding: LandmarkEmbedding, people: int = PEOPLE) -> None:
        self._model, self._embedding = model, embedding
        self._views: Iterator[View] = random_views(model, people, np.random.default_rng(SEED))

    def detect(self, image: np.ndarray) -> list[Detection]:
        view = next(self._views)
        np.testing.assert_array_equal(image, view.picture)
        seen = view.camera.project(positions(self._model, self._embedding, view.vertices))[:, :2]
        box = np.concatenate([seen.min(axis=0), seen.max(axis=0)])
        return [Detection(box, 1.0, seen, self.name)]


class Blind(Oracle):
    """A detector that finds nothing."""

    def detect(self, image: np.ndarray) -> list[Detection]:
        return []


def positions(model: MorphableModel, embedding: LandmarkEmbedding, vertices: np.ndarray) -> np.ndarray:
    corners = vertices[model.triangles[embedding.triangles]]
    return np.einsum("lc,lcx->lx", embedding.weights, corners)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_model("default")


@pytest.fixture(scope="module")
def found(model: MorphableModel) -> LandmarkEmbedding:
    """What is found where the detector points at the model's own contour landmarks."""
    oracle = Oracle(model, model.required_contour_landmarks)
    return find_landmarks(model, oracle, people=PEOPLE, seed=SEED)


def test_known_places_are_found_again(model: MorphableModel, found: LandmarkEmbedding) -> None:
    """To about a pixel, 0.6 mm; where lips touch, or the surface of the outline is seen edge-on, not in depth."""
    away = positions(model, found, model.mean) - model.contour_landmark_basis.mean
    open_to_view = np.setdiff1d(INNER, LIP_PAIRS)
    assert np.linalg.norm(away[open_to_view], axis=1).max() <= 0.7
    assert np.linalg.norm(away[np.unique(LIP_PAIRS), :2], axis=1).max() <= 1.0
    assert np.linalg.norm(away[JAW, :2], axis=1).mean() <= 1.5


def test_embedding_is_valid(found: LandmarkEmbedding) -> None:
    np.testing.assert_allclose(found.weights.sum(axis=1), 1.0, atol=1e-9)
    assert (found.weights >= -1e-9).all()


def test_embedding_is_exactly_symmetric(model: MorphableModel, found: LandmarkEmbedding) -> None:
    """On any surface, not only on the mean: triangles and weights themselves are mirrored."""
    assert model.mirror is not None
    surface = model.vertices(np.random.default_rng(0).standard_normal(model.n_identity))
    image = positions(model, found, surface[model.mirror] * FLIP)
    np.testing.assert_allclose(image[MIRROR] * FLIP, positions(model, found, surface), atol=1e-9)


def test_midline_landmarks_lie_on_the_midline(model: MorphableModel, found: LandmarkEmbedding) -> None:
    assert model.mirror is not None
    corners = model.triangles[found.triangles[MIDLINE]]
    own = model.mirror[corners] == corners
    assert (found.weights[MIDLINE][~own] == 0.0).all()
    np.testing.assert_allclose(positions(model, found, model.mean)[MIDLINE, 0], 0.0, atol=1e-6)


def test_same_seed_gives_the_same_embedding(model: MorphableModel) -> None:
    own = model.required_contour_landmarks
    one, two = (find_landmarks(model, Oracle(model, own, 2), people=2, seed=SEED) for _ in range(2))
    np.testing.assert_array_equal(one.triangles, two.triangles)
    np.testing.assert_array_equal(one.weights, two.weights)


def test_kept_landmarks_stay_as_they_are(model: MorphableModel) -> None:
    kept = np.unique(LIP_PAIRS)
    oracle = Oracle(model, model.required_contour_landmarks, 2)
    found = find_landmarks(model, oracle, people=2, seed=SEED, kept=kept)
    own = model.required_landmarks
    np.testing.assert_array_equal(found.triangles[kept], own.triangles[kept])
    np.testing.assert_array_equal(found.weights[kept], own.weights[kept])


def test_detector_that_finds_nothing_is_an_error(model: MorphableModel) -> None:
    with pytest.raises(ModelError, match="expected the detector to see landmark 0, got too few views"):
        find_landmarks(model, Blind(model, model.required_landmarks), people=1, seed=SEED)


def test_model_without_mirror_is_an_error(model: MorphableModel) -> None:
    lacking = replace(model, mirror=None)
    with pytest.raises(ModelError, match="expected a mirror map, got none"):
        find_landmarks(lacking, Blind(model, model.required_landmarks), people=1, seed=SEED)


def test_views_show_people_from_the_sides_that_were_asked_for(model: MorphableModel) -> None:
    views = list(random_views(model, 2, np.random.default_rng(0), yaws=(-30.0, 20.0)))
    assert [view.yaw for view in views] == [-30.0, 20.0, -30.0, 20.0]
    assert not np.array_equal(views[0].vertices, views[2].vertices)
    np.testing.assert_array_equal(views[0].vertices, views[1].vertices)
    for view in views:
        seen = view.camera.project(view.vertices)[:, :2]
        height, width = view.picture.shape[:2]
        assert (seen > -0.1 * width).all() and (seen < [1.1 * width, 1.1 * height]).all()


# ------------------------------------------------------------------------------------------------------- surface mirror


def random_places(model: MorphableModel, count: int) -> list[tuple[int, np.ndarray]]:
    rng = np.random.default_rng(0)
    carriers = rng.integers(len(model.triangles), size=count)
    return [(int(t), weights) for t, weights in zip(carriers, rng.dirichlet(np.ones(3), count), strict=True)]


def test_mirroring_twice_is_the_identity(model: MorphableModel) -> None:
    assert model.mirror is not None
    surface = SurfaceMirror(model.triangles, model.mirror)
    for triangle, weights in random_places(model, 200):
        back, same = surface.mirrored(*surface.mirrored(triangle, weights))
        assert back == triangle
        np.testing.assert_array_equal(same, weights)


def test_mirrored_places_are_mirrored(model: MorphableModel) -> None:
    assert model.mirror is not None
    surface = SurfaceMirror(model.triangles, model.mirror)
    for triangle, weights in random_places(model, 200):
        twin, mirrored = surface.mirrored(triangle, weights)
        place, image = (w @ model.mean[model.triangles[t]] for t, w in ((triangle, weights), (twin, mirrored)))
        np.testing.assert_allclose(image, place * FLIP, atol=1e-6)
