"""The default model's two landmark maps: what each means, that a detector agrees on unseen people, that fits mirror.

Errors against the detector are relative to sqrt(w h) of the true points' box.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from scenes import random_expression, random_scenes

import facefit
from facefit.fitting.contour import match_contour
from facefit.fitting.dlib_detector import DlibDetector
from facefit.fitting.landmarks import GROUPS, INNER, JAW, LEFT_BROW, LIP_PAIRS, MIRROR, RIGHT_BROW, box_size
from facefit.fitting.state_prior import PoseAndShape
from facefit.models.colour import to_uint8
from facefit.models.morphable_model import LandmarkEmbedding, MorphableModel
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles
from facefit.render.rasterizer import rasterize
from facefit.render.shading import shade_fragments

Array = np.ndarray

SEED = 4711  # not the builder's
SIDE, SCALE = 400, 1.35  # px, px/mm
NEAR_FRONTAL, MOST = 8.0, 45.0  # degrees of yaw
PICTURES = 40  # of either kind, nearly frontal and from all sides
FLIP = np.array([-1.0, 1.0])


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


# ------------------------------------------------------------------------------------------------- against the detector


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture of a random person: what made it, and the points that the detector found."""

    yaw: float  # degrees
    state: PoseAndShape  # the truth
    embedded: Array  # (68, 2) px, the contour embedding of the true geometry
    detected: Array  # (68, 2) px

    @property
    def errors(self) -> Array:
        """Distances (68,), relative to the face's size."""
        return np.linalg.norm(self.detected - self.embedded, axis=1) / box_size(self.embedded)

    @property
    def frontal(self) -> bool:
        return abs(self.yaw) <= NEAR_FRONTAL


@pytest.fixture(scope="module")
def seen(model: MorphableModel) -> list[Seen]:
    """Half of the people show a mild expression."""
    rng, detector = np.random.default_rng(SEED), DlibDetector(allow_cnn=False)
    yaws = np.concatenate([np.linspace(-limit, limit, PICTURES) for limit in (NEAR_FRONTAL, MOST)])
    pictures = [draw(model, float(yaw), k % 2 == 1, rng, detector) for k, yaw in enumerate(yaws)]
    found = [picture for picture in pictures if picture is not None]
    assert len(found) >= 0.9 * len(yaws)
    return found


def draw(
    model: MorphableModel, yaw: float, expressive: bool, rng: np.random.Generator, detector: DlibDetector
) -> Seen | None:
    """Draw a random person and look for the face; None where none is found."""
    identity, albedo = (np.clip(rng.standard_normal(n), -2.0, 2.0) for n in (model.n_identity, model.n_albedo))
    expression = 0.5 * expressive * random_expression(model, rng)
    rotation = rotation_from_angles(yaw, rng.uniform(-10.0, 10.0), rng.uniform(-5.0, 5.0))
    vertices = model.vertices(identity, expression)
    middle = SCALE * (rotation @ vertices.mean(axis=0))[:2]
    camera = ScaledOrthographic(rotation, (SIDE - 1.0) / 2.0 - middle, SCALE)
    fragments = rasterize(camera, vertices, model.triangles, SIDE, SIDE)
    drawn = shade_fragments(
        fragments, camera, vertices, model.triangles, colours=model.reflectance(albedo), lighting=window_light(rng)
    )
    faces = detector.detect(to_uint8(drawn[..., :3] + 0.5 * (1.0 - drawn[..., 3:])))
    if not faces:
        return None
    coefficients = np.concatenate([identity, expression])
    embedded = camera.project(model.contour_landmark_basis.positions(coefficients))[:, :2]
    return Seen(
        yaw, PoseAndShape(rotation, camera.translation, SCALE, coefficients), embedded, faces[0].landmarks
    )  # fmt: skip


def window_light(rng: np.random.Generator) -> Array:
    """Light (9, 3) as by a window: dim from all around, brighter from above, before and one side."""
    light = np.zeros(9)
    light[0] = rng.uniform(1.6, 2.2)
    light[1:4] = rng.uniform(-2.2, -0.6), rng.uniform(-2.6, -1.0), rng.uniform(-1.8, 1.8)  # y down, z away, x
    return light[:, None] * rng.uniform(0.92, 1.08, 3)


def table(pictures: list[Seen]) -> str:
    """Return each landmark's median error, per cent, for a failed test to show."""
    return ", ".join(f"{k}: {100.0 * e:.1f}" for k, e in enumerate(np.median([s.errors for s in pictures], axis=0)))


def test_inner_landmarks_are_where_the_detector_sees_them(seen: list[Seen]) -> None:
    assert np.mean([picture.errors[INNER] for picture in seen]) <= 0.016, table(seen)


def test_inner_landmarks_of_frontal_faces(seen: list[Seen]) -> None:
    frontal = [picture for picture in seen if picture.frontal]
    assert len(frontal) >= PICTURES
    assert np.mean([picture.errors[INNER] for picture in frontal]) <= 0.013, table(frontal)


def test_jaw_of_frontal_faces_is_where_the_detector_sees_it(seen: list[Seen]) -> None:
    frontal = [picture for picture in seen if picture.frontal]
    assert np.mean([picture.errors[JAW] for picture in frontal]) <= 0.032, table(frontal)


def test_far_side_of_turned_jaws_lies_on_the_outline(model: MorphableModel, seen: list[Seen]) -> None:
    """On the outline at the true pose and shape, to which the points slide."""
    turned = [picture for picture in seen if 12.0 <= abs(picture.yaw) <= 35.0]
    away = []
    for picture in turned:
        match = match_contour(model, picture.state, picture.detected)
        places = match.mean + np.tensordot(picture.state.coefficients, match.basis, axes=1)
        outline = SCALE * (places @ picture.state.rotation[:2].T) + picture.state.translation
        distance = np.linalg.norm(picture.detected[match.landmarks] - outline, axis=1)
        away.append(distance / box_size(picture.embedded))
    assert len(np.concatenate(away)) >= 0.9 * len(turned) * 9  # a side and the chin
    assert np.concatenate(away).mean() <= 0.02


# -------------------------------------------------------------------------------------------------------- mirrored fits


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("convention", ["semantic", "contour"])
def test_mirrored_landmarks_give_the_mirrored_face(model: MorphableModel, convention: str, noise: float) -> None:
    options = facefit.FitOptions(landmark_convention=convention)
    assert model.mirror is not None
    basis = model.semantic_basis if convention == "semantic" else model.contour_landmark_basis
    width = 1000
    for k, scene in enumerate(random_scenes(model, 6, SEED, yaw=(-40.0, 40.0))):
        points = scene.camera.project(basis.positions(scene.coefficients))[:, :2]
        points += noise * scene.face_px * np.random.default_rng(k).standard_normal(points.shape)
        reflected = (points * FLIP + [width - 1.0, 0.0])[MIRROR]
        one = facefit.fit_landmarks(points, model=model, options=options)
        other = facefit.fit_landmarks(reflected, model=model, options=options)
        assert one.status is other.status
        assert one.status.usable
        assert one.vertices is not None and other.vertices is not None
        image = other.vertices[model.mirror] * [-1.0, 1.0, 1.0]
        np.testing.assert_allclose(image, one.vertices, atol=0.1)  # mm


# -------------------------------------------------------------------------------------------------------- the two maps


def test_conventions_differ_where_annotators_do(model: MorphableModel) -> None:
    """Annotators of contours put brows on the hair's upper edge, the jaw on the outline; eyes and nose are shared."""
    offset = model.contour_landmark_basis.mean - model.semantic_basis.mean
    apart = np.linalg.norm(offset, axis=1)
    brows = np.concatenate([RIGHT_BROW, LEFT_BROW])
    assert 3.0 <= apart[brows].mean() <= 6.0
    assert (offset[brows, 1] > 0.0).all()
    assert 5.0 <= apart[JAW].mean() <= 15.0
    for name in ("nose", "right_eye", "left_eye"):
        assert apart[GROUPS[name]].mean() <= 2.0


def test_inner_lips_are_the_same_points_in_both(model: MorphableModel) -> None:
    """A detector cannot see where closed lips meet better than the surface says."""
    semantic, contour = model.required_landmarks, model.required_contour_landmarks
    lips = np.unique(LIP_PAIRS)
    np.testing.assert_array_equal(contour.triangles[lips], semantic.triangles[lips])
    np.testing.assert_array_equal(contour.weights[lips], semantic.weights[lips])


@pytest.mark.parametrize("name", ["landmarks", "landmarks_contour"])
def test_each_map_says_how_well_annotators_agree_with_it(model: MorphableModel, name: str) -> None:
    embedding = getattr(model, name)
    assert isinstance(embedding, LandmarkEmbedding)
    sigma = embedding.sigma
    assert sigma is not None
    assert sigma.shape == (68,)
    np.testing.assert_array_equal(sigma[MIRROR], sigma)
    assert 0.005 <= sigma.min() <= sigma.max() <= 0.06
    eyes = sigma[GROUPS["left_eye"]].max()
    assert eyes < sigma[GROUPS["left_brow"]].min() <= sigma[JAW].min()
