"""How near the photometric stage comes to the truth: people of the model's own, photographed under known light.

The suite looks at a few of them, `make soak` at many. Faces are 110 to 220 px, landmarks off by 2 % of that.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from photometric_scenes import (
    Picture,
    angle_between,
    covered,
    dominant_direction,
    misplaced,
    random_picture,
    shape_error,
)

import facefit
from facefit.fitting.initializers import InitializerInput
from facefit.fitting.parameters import FaceParameters
from facefit.models.morphable_model import MorphableModel

OPTIONS = facefit.FitOptions(landmark_convention="semantic", landmark_sigma=0.02)
LANDMARKS_ALONE = replace(OPTIONS, stages=("landmark",))


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


def pictures(model: MorphableModel, count: int) -> Iterator[tuple[Picture, np.random.Generator]]:
    """Yield pictures, each with the generator that goes on from it."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield random_picture(model, rng), rng


@dataclass(frozen=True)
class Fixed:
    """An initialiser that knows where to start."""

    start: FaceParameters
    name: str = "fixed"

    def __call__(self, given: InitializerInput) -> FaceParameters:
        return self.start


def fitted(picture: Picture, options: facefit.FitOptions = OPTIONS) -> facefit.FitResult:
    result = facefit.fit(picture.image, picture.scene.model, landmarks=picture.scene.landmarks, options=options)
    assert result.status.usable
    return result


def errors_of(picture: Picture, result: facefit.FitResult) -> tuple[float, float]:
    """Return the errors of shape, mm, and of expression, RMS of the units."""
    assert result.identity is not None and result.expression is not None
    expression = result.expression - picture.scene.expression
    return shape_error(picture.scene, result.identity), float(np.sqrt(np.mean(expression**2)))


def assert_nearer(before: list[tuple[float, float]], after: list[tuple[float, float]]) -> None:
    """In the mean by far, and for most."""
    one, other = np.array(before), np.array(after)
    assert (other.mean(axis=0) < 0.85 * one.mean(axis=0)).all()
    assert ((other < one).mean(axis=0) >= 0.8).all()


@pytest.fixture(scope="module")
def twenty(model: MorphableModel) -> list[tuple[Picture, facefit.FitResult]]:
    return [(picture, fitted(picture)) for picture, _ in pictures(model, 20)]


def test_pixels_bring_shape_and_expression_nearer_to_the_truth(
    twenty: list[tuple[Picture, facefit.FitResult]],
) -> None:
    alone = [errors_of(picture, fitted(picture, LANDMARKS_ALONE)) for picture, _ in twenty]
    assert_nearer(alone, [errors_of(picture, result) for picture, result in twenty])


def test_no_photo_of_the_models_own_people_is_refused(twenty: list[tuple[Picture, facefit.FitResult]]) -> None:
    assert all(result.stages[1].status.usable for _, result in twenty)


def test_light_comes_from_where_it_does(twenty: list[tuple[Picture, facefit.FitResult]]) -> None:
    lit = [(dominant_direction(p.light), dominant_direction(r.lighting)) for p, r in twenty if r.lighting is not None]
    assert len(lit) >= 19
    assert np.median([angle_between(*directions) for directions in lit]) < 15.0


def test_what_covers_the_face_leaves_the_rest_of_use(model: MorphableModel) -> None:
    """A fifth of the face hidden costs less than its pixels gave."""
    hidden, alone = [], []
    for picture, rng in pictures(model, 8):
        hidden.append(errors_of(picture, fitted(covered(picture, rng))))
        alone.append(errors_of(picture, fitted(picture, LANDMARKS_ALONE)))
    assert (np.mean(hidden, axis=0) < np.mean(alone, axis=0)).all()


def test_wrong_landmarks_do_less_harm_with_pixels(model: MorphableModel) -> None:
    """Seven of them, by 10 to 30 % of the face's size."""
    wrong, alone = [], []
    for picture, rng in pictures(model, 8):
        picture = misplaced(picture, rng)
        wrong.append(errors_of(picture, fitted(picture)))
        alone.append(errors_of(picture, fitted(picture, LANDMARKS_ALONE)))
    assert (np.mean(wrong, axis=0) < 0.9 * np.mean(alone, axis=0)).all()


@pytest.mark.soak
def test_two_hundred_starts_ten_degrees_off(model: MorphableModel) -> None:
    """Both stages from the mean face: none is refused, pose and expression end nearer to the truth by far."""
    turns, weights = [], []
    for picture, rng in pictures(model, 200):
        start = picture.start(rng, 10.0)
        result = facefit.fit(
            picture.image, model, landmarks=picture.scene.landmarks, options=OPTIONS, initializer=Fixed(start)
        )
        assert result.stages[1].status.usable
        assert result.camera is not None
        turns.append(angle_between(result.camera.rotation, picture.scene.camera.rotation))
        weights.append(errors_of(picture, result)[1])
    assert np.median(turns) < 0.65
    assert np.quantile(turns, 0.95) < 1.4
    assert np.median(weights) < 0.085


@pytest.mark.soak
def test_pixels_bring_two_hundred_people_nearer_to_the_truth(model: MorphableModel) -> None:
    before, after = [], []
    for picture, _ in pictures(model, 200):
        before.append(errors_of(picture, fitted(picture, LANDMARKS_ALONE)))
        after.append(errors_of(picture, fitted(picture)))
    assert_nearer(before, after)
