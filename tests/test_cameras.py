"""Cameras: conventions of the angles, the projection's equations and their limits."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefit.models.errors import InvalidInputError
from facefit.render.cameras import (
    FRONTAL,
    Perspective,
    ScaledOrthographic,
    angles_from_rotation,
    rotation_from_angles,
)

NOSE, CROWN, LEFT_EAR = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])

turn = st.floats(-179.9, 179.9)
nod = st.floats(-89.0, 89.0)


def test_no_angles_give_the_frontal_rotation():
    np.testing.assert_array_equal(rotation_from_angles(0.0, 0.0, 0.0), FRONTAL)
    np.testing.assert_array_equal(FRONTAL @ NOSE, [0.0, 0.0, -1.0])  # towards the viewer
    np.testing.assert_array_equal(FRONTAL @ CROWN, [0.0, -1.0, 0.0])  # up in the image
    np.testing.assert_array_equal(FRONTAL @ LEFT_EAR, [1.0, 0.0, 0.0])  # at image right


def test_each_angle_turns_the_head_the_way_it_says():
    s, c = np.sin(np.radians(20.0)), np.cos(np.radians(20.0))
    np.testing.assert_allclose(rotation_from_angles(20.0, 0.0, 0.0) @ NOSE, [s, 0.0, -c], atol=1e-15)  # image right
    np.testing.assert_allclose(rotation_from_angles(0.0, 20.0, 0.0) @ NOSE, [0.0, -s, -c], atol=1e-15)  # looks up
    np.testing.assert_allclose(rotation_from_angles(0.0, 0.0, 20.0) @ CROWN, [s, -c, 0.0], atol=1e-15)  # clockwise


@given(turn, nod, turn)
def test_angles_round_trip(yaw, pitch, roll):
    rotation = rotation_from_angles(yaw, pitch, roll)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    np.testing.assert_allclose(angles_from_rotation(rotation), [yaw, pitch, roll], atol=1e-9)


@given(turn, nod, turn, turn)
def test_roll_is_a_turn_of_the_image(yaw, pitch, roll, more):
    s, c = np.sin(np.radians(more)), np.cos(np.radians(more))
    in_plane = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])  # clockwise, as y points down
    turned = in_plane @ rotation_from_angles(yaw, pitch, roll)
    np.testing.assert_allclose(rotation_from_angles(yaw, pitch, roll + more), turned, atol=1e-12)


@given(turn, nod, turn)
def test_a_mirrored_head_has_the_opposite_yaw_and_roll(yaw, pitch, roll):
    mirror = np.diag([-1.0, 1.0, 1.0])
    mirrored = mirror @ rotation_from_angles(yaw, pitch, roll) @ mirror
    np.testing.assert_allclose(rotation_from_angles(-yaw, pitch, -roll), mirrored, atol=1e-12)


def test_scaled_orthographic_by_hand():
    camera = ScaledOrthographic(FRONTAL, np.array([100.0, 50.0]), 2.0)
    np.testing.assert_allclose(camera.project([3.0, 4.0, 5.0]), [106.0, 42.0, -5.0])
    np.testing.assert_allclose(camera.to_camera([3.0, 4.0, 5.0]), [3.0, -4.0, -5.0])


def test_perspective_by_hand():
    camera = Perspective(FRONTAL, np.array([1.0, 2.0, 105.0]), 500.0, np.array([320.0, 240.0]))
    np.testing.assert_allclose(camera.to_camera([3.0, 4.0, 5.0]), [4.0, -2.0, 100.0])
    np.testing.assert_allclose(camera.project([3.0, 4.0, 5.0]), [340.0, 230.0, 100.0])


def test_points_at_or_behind_a_perspective_camera_have_no_image():
    camera = Perspective(np.eye(3), np.zeros(3), 100.0, np.zeros(2))
    pixels = camera.project([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, -1.0]])
    np.testing.assert_array_equal(np.isnan(pixels[:, :2]).all(axis=1), [False, True, True])
    np.testing.assert_array_equal(pixels[:, 2], [1.0, 0.0, -1.0])


def test_a_distant_perspective_camera_is_scaled_orthographic(rng):
    points = rng.uniform(-100.0, 100.0, (50, 3))
    rotation, distance = rotation_from_angles(30.0, -10.0, 5.0), 1e7
    near = ScaledOrthographic(rotation, np.array([7.0, 8.0]), 1.5).project(points)
    far = Perspective(rotation, np.array([0.0, 0.0, distance]), 1.5 * distance, np.array([7.0, 8.0])).project(points)
    np.testing.assert_allclose(far[:, :2], near[:, :2], atol=1.5 * 100.0 * 175.0 / distance)
    np.testing.assert_allclose(far[:, 2] - distance, near[:, 2], atol=1e-6)


def test_projection_keeps_leading_axes_and_its_input(rng):
    points = rng.normal(size=(4, 5, 3))
    before = points.copy()
    for camera in (
        ScaledOrthographic(FRONTAL, np.zeros(2), 1.0),
        Perspective(FRONTAL, np.array([0.0, 0.0, 50.0]), 1.0, np.zeros(2)),
    ):
        pixels = camera.project(points)
        assert pixels.shape == (4, 5, 3)
        np.testing.assert_allclose(pixels[2, 3], camera.project(points[2, 3]))
    np.testing.assert_array_equal(points, before)


def test_cameras_do_not_change():
    rotation = np.array(FRONTAL)
    camera = ScaledOrthographic(rotation, np.zeros(2), 1.0)
    rotation[0, 0] = 7.0
    assert camera.rotation[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        camera.rotation[0, 0] = 2.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        camera.scale = 2.0


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rotation", np.eye(2), r"rotation: expected shape \(3, 3\), got \(2, 2\)"),
        ("rotation", np.diag([1.0, 1.0, -1.0]), "determinant"),
        ("rotation", 1.1 * np.eye(3), "orthonormal"),
        ("rotation", np.full((3, 3), np.nan), "finite"),
        ("translation", np.zeros(4), r"translation: expected shape"),
        ("scale", 0.0, "scale: expected a positive finite number, got 0.0"),
        ("scale", np.nan, "scale"),
        ("focal", -1.0, "focal"),
        ("focal", np.inf, "focal"),
        ("principal_point", [1.0, np.inf], "principal_point"),
    ],
)
def test_wrong_parameters_are_named(field, value, message):
    orthographic = {"rotation": FRONTAL, "translation": np.zeros(2), "scale": 1.0}
    perspective = {"rotation": FRONTAL, "translation": np.zeros(3), "focal": 1.0, "principal_point": np.zeros(2)}
    for kind, arguments in ((ScaledOrthographic, orthographic), (Perspective, perspective)):
        if field in arguments:
            with pytest.raises(InvalidInputError, match=message):
                kind(**{**arguments, field: value})
