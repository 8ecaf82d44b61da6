"""Finding landmarks by rendering and detecting: a detector that points at known places gives these places back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from facefit.apps.model import landmark_finder
from facefit.apps.model.landmark_finder import YAWS, View, find_landmarks, random_views
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
    """A detector that knows the views it will be shown, in their order, and points at the contour landmarks."""

    name = "oracle"
    landmark_convention = LandmarkConvention.CONTOUR
    landmark_sigma = np.full(COUNT, 0.01)
    opening_correlation = 0.0

    def __init__(self, model: MorphableModel, views: list[View]) -> None:
        self._model, self._views = model, iter(views)

    def detect(self, image: np.ndarray) -> list[Detection]:
        view = next(self._views)
        np.testing.assert_array_equal(image, view.picture)
        seen = view.camera.project(positions(self._model, self._model.required_contour_landmarks, view.vertices))[:, :2]
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
def views(model: MorphableModel) -> list[View]:
    return list(random_views(model, PEOPLE, np.random.default_rng(SEED)))


Find = Callable[..., LandmarkEmbedding]


@pytest.fixture(scope="module")
def find(model: MorphableModel, views: list[View]) -> Find:
    """Finding on pictures that are already drawn, where the detector points at the contour landmarks."""

    def found_on(other: MorphableModel, people: int = PEOPLE, **options: Any) -> LandmarkEmbedding:
        shown = views[: people * len(YAWS)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(landmark_finder, "random_views", lambda *_: shown)
            return find_landmarks(other, Oracle(model, shown), people=people, **options)

    return found_on


@pytest.fixture(scope="module")
def found(model: MorphableModel, find: Find) -> LandmarkEmbedding:
    return find(model)


def test_known_places_are_found_again(model: MorphableModel, found: LandmarkEmbedding) -> None:
    assert_found_again(model, found)


def assert_found_again(model: MorphableModel, found: LandmarkEmbedding) -> None:
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


def test_same_seed_gives_the_same_embedding(model: MorphableModel, views: list[View], found: LandmarkEmbedding) -> None:
    """And the same pictures, which the detector compares."""
    again = find_landmarks(model, Oracle(model, views), people=PEOPLE, seed=SEED)
    np.testing.assert_array_equal(again.triangles, found.triangles)
    np.testing.assert_array_equal(again.weights, found.weights)


def test_without_a_mirror_map_the_same_places_are_found_but_not_made_symmetric(
    model: MorphableModel, find: Find
) -> None:
    """Each is one of the samples themselves, on whichever side of the midline it fell; nor are landmarks needed."""
    found = find(replace(model, mirror=None, landmarks=None, landmarks_contour=None))
    test_embedding_is_valid(found)
    assert_found_again(model, found)
    places = positions(model, found, model.mean)
    apart = np.linalg.norm(places[MIRROR] * FLIP - places, axis=1)
    assert (apart > 1e-3).all()
    assert np.median(apart) < 1.0


def test_kept_landmarks_stay_as_they_are(model: MorphableModel, find: Find) -> None:
    kept = np.unique(LIP_PAIRS)
    found = find(model, kept=kept)
    own = model.required_landmarks
    np.testing.assert_array_equal(found.triangles[kept], own.triangles[kept])
    np.testing.assert_array_equal(found.weights[kept], own.weights[kept])


def test_detector_that_finds_nothing_is_an_error(model: MorphableModel) -> None:
    with pytest.raises(ModelError, match=r"to see landmark 0 on 8 pictures, got 0; is the model upright, \+Y up"):
        find_landmarks(model, Blind(model, []), people=1, seed=SEED)


@pytest.mark.parametrize(("mirrored", "seen"), [(True, 2), (False, 1)])
def test_too_few_faces_are_an_error(model: MorphableModel, find: Find, mirrored: bool, seen: int) -> None:
    """The jaw is read from the one frontal view of a person; with a mirror map its twin counts too."""
    one = model if mirrored else replace(model, mirror=None)
    with pytest.raises(ModelError, match=rf"landmark 0 on 8 pictures, got {seen}; is the model upright"):
        find(one, people=1)


def test_kept_landmarks_of_a_model_without_any_are_an_error(model: MorphableModel, find: Find) -> None:
    bare = replace(model, landmarks=None, landmarks_contour=None)
    with pytest.raises(ModelError, match="has no 68 landmarks"):
        find(bare, people=1, kept=np.arange(3))


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
