"""The Gold Standard cameras: exact recovery, optimality, equivariance, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefit.fitting.gold_standard import (
    DegenerateConfigurationError,
    fit_affine,
    fit_scale_and_translation,
    fit_scaled_orthographic,
    nearest_rotation,
)
from facefit.models.errors import InvalidInputError
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles

turn, nod = st.floats(-180.0, 180.0), st.floats(-89.0, 89.0)
seeds = st.integers(0, 2**32 - 1)


def cloud(rng, count=30):
    """Points of about a head's size, mm, well away from every plane."""
    return rng.standard_normal((count, 3)) * (60.0, 80.0, 40.0)


def some_camera(rng, scale=2.5):
    angles = rng.uniform(-60.0, 60.0, 3)
    return ScaledOrthographic(rotation_from_angles(*angles), rng.uniform(-500.0, 500.0, 2), scale)


def noisy(rng, points, camera, sigma=8.0):
    return camera.project(points)[:, :2] + sigma * rng.standard_normal((len(points), 2))


def cost(camera, points, image_points, weights=1.0):
    difference = camera.project(points)[:, :2] - image_points
    return float((np.square(weights) * (difference**2).sum(axis=1)).sum())


# --- The affine camera -------------------------------------------------------------------------------------------


@given(seeds)
def test_affine_camera_is_recovered_from_exact_points(seed):
    rng = np.random.default_rng(seed)
    points = cloud(rng)
    u, _, vt = np.linalg.svd(rng.standard_normal((2, 3)), full_matrices=False)
    matrix = u @ np.diag(rng.uniform(0.3, 3.0, 2)) @ vt
    translation = rng.uniform(-1e3, 1e3, 2)
    affine = fit_affine(points, points @ matrix.T + translation, rng.uniform(0.1, 10.0, len(points)))
    np.testing.assert_allclose(affine.matrix, matrix, atol=1e-9)
    np.testing.assert_allclose(affine.translation, translation, atol=1e-9)


@given(seeds)
def test_affine_residual_is_orthogonal_to_the_weighted_design(seed):
    rng = np.random.default_rng(seed)
    points, weights = cloud(rng), rng.uniform(0.1, 10.0, 30)
    image_points = noisy(rng, points, some_camera(rng))
    affine = fit_affine(points, image_points, weights)
    residual = weights[:, None] * (points @ affine.matrix.T + affine.translation - image_points)
    design = weights[:, None] * np.column_stack([points, np.ones(len(points))])
    across = design.T @ residual
    scale = np.linalg.norm(design, axis=0)[:, None] * np.linalg.norm(residual, axis=0)
    assert np.abs(across / scale).max() < 1e-10


def test_four_points_determine_an_affine_camera_and_three_do_not(rng):
    points, camera = cloud(rng, 4), some_camera(rng)
    image_points = camera.project(points)[:, :2]
    np.testing.assert_allclose(fit_affine(points, image_points).matrix, camera.scale * camera.rotation[:2], atol=1e-9)
    with pytest.raises(DegenerateConfigurationError, match="needs four points, got 3"):
        fit_affine(points[:3], image_points[:3])


# --- The scaled orthographic camera ------------------------------------------------------------------------------


@given(turn, nod, turn, st.floats(-3.0, 3.0), seeds)
def test_scaled_orthographic_camera_is_recovered_from_exact_points(yaw, pitch, roll, log_scale, seed):
    rng = np.random.default_rng(seed)
    points = cloud(rng)
    truth = ScaledOrthographic(rotation_from_angles(yaw, pitch, roll), rng.uniform(-1e3, 1e3, 2), 10.0**log_scale)
    found = fit_scaled_orthographic(points, truth.project(points)[:, :2])
    np.testing.assert_allclose(found.rotation, truth.rotation, atol=1e-9)
    np.testing.assert_allclose(found.translation, truth.translation, rtol=1e-9, atol=1e-9 * truth.scale)
    assert found.scale == pytest.approx(truth.scale, rel=1e-9)


@given(seeds)
def test_a_point_of_weight_zero_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    points, weights = cloud(rng), rng.uniform(0.1, 10.0, 30)
    image_points = noisy(rng, points, some_camera(rng))
    left_out = rng.choice(30, 5, replace=False)
    weights[left_out] = 0.0
    kept = weights > 0.0
    without = fit_scaled_orthographic(points[kept], image_points[kept], weights[kept])
    image_points[left_out] += 1e4
    found = fit_scaled_orthographic(points, image_points, weights)
    np.testing.assert_allclose(found.rotation, without.rotation, atol=1e-12)
    np.testing.assert_allclose(found.translation, without.translation, rtol=1e-10)
    assert found.scale == pytest.approx(without.scale, rel=1e-12)


@given(seeds, st.floats(1e-280, 1e280))
def test_only_the_ratios_of_weights_count(seed, factor):
    rng = np.random.default_rng(seed)
    points, weights = cloud(rng), rng.uniform(0.1, 10.0, 30)
    image_points = noisy(rng, points, some_camera(rng))
    one = fit_scaled_orthographic(points, image_points, weights)
    other = fit_scaled_orthographic(points, image_points, factor * weights)
    np.testing.assert_allclose(other.rotation, one.rotation, atol=1e-12)
    np.testing.assert_allclose(other.translation, one.translation, rtol=1e-10)


@given(seeds, st.floats(-6.0, 6.0), turn)
def test_moving_the_image_points_moves_the_camera(seed, log_factor, degrees):
    """u' = f Q u + d, a turn by Q in the image plane: R' = Q R, s' = f s, t' = f Q t + d."""
    rng = np.random.default_rng(seed)
    points = cloud(rng)
    image_points = noisy(rng, points, some_camera(rng))
    factor, shift = 10.0**log_factor, rng.uniform(-1e4, 1e4, 2) * 10.0**log_factor
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    before = fit_scaled_orthographic(points, image_points)
    after = fit_scaled_orthographic(points, factor * image_points @ turned[:2, :2].T + shift)
    np.testing.assert_allclose(after.rotation, turned @ before.rotation, atol=1e-10)
    assert after.scale == pytest.approx(factor * before.scale, rel=1e-10)
    expected = factor * turned[:2, :2] @ before.translation + shift
    np.testing.assert_allclose(after.translation / factor, expected / factor, atol=1e-10 * 1e4)


@given(seeds)
def test_moving_the_model_moves_the_camera(seed):
    """X' = Q X + d: R' = R Q^T, t' = t - s R' d."""
    rng = np.random.default_rng(seed)
    points = cloud(rng)
    image_points = noisy(rng, points, some_camera(rng))
    turned, shift = rotation_from_angles(*rng.uniform(-80.0, 80.0, 3)), rng.uniform(-100.0, 100.0, 3)
    before = fit_scaled_orthographic(points, image_points)
    after = fit_scaled_orthographic(points @ turned.T + shift, image_points)
    np.testing.assert_allclose(after.rotation, before.rotation @ turned.T, atol=1e-10)
    expected = before.translation - before.scale * (after.rotation @ shift)[:2]
    np.testing.assert_allclose(after.translation, expected, atol=1e-8)


@pytest.mark.parametrize("offset", [0.0, 1e5], ids=["at the face", "100 m away"])
def test_scale_and_translation_are_optimal_wherever_the_origin_lies(rng, offset):
    """With the affine camera's own translation, the face would be off by |A - s R_2| |X|: far, for a far origin."""
    points = cloud(rng) + offset * np.array([0.6, -0.48, 0.64])
    image_points = noisy(rng, points, ScaledOrthographic(rotation_from_angles(25.0, -10.0, 5.0), [300.0, 200.0], 2.0))
    weights = rng.uniform(0.2, 2.0, len(points))
    found = fit_scaled_orthographic(points, image_points, weights)
    least = cost(found, points, image_points, weights)
    assert np.sqrt(least / (weights**2).sum()) < 30.0  # px: the noise, not the origin's distance
    for _ in range(50):
        moved = ScaledOrthographic(found.rotation, found.translation + rng.normal(0.0, 0.1, 2), found.scale)
        assert cost(moved, points, image_points, weights) >= least
        # A change of scale about the points' own centroid, since that about the origin moves them all.
        scale = found.scale * np.exp(rng.normal(0.0, 1e-3))
        shift = (found.scale - scale) * (found.rotation @ np.average(points, axis=0, weights=weights**2))[:2]
        scaled = ScaledOrthographic(found.rotation, found.translation + shift, scale)
        assert cost(scaled, points, image_points, weights) >= least


def test_known_rotation_gives_the_exact_scale_and_translation(rng):
    points, camera = cloud(rng, 5), some_camera(rng)
    found = fit_scale_and_translation(camera.rotation, points, camera.project(points)[:, :2])
    assert found.scale == pytest.approx(camera.scale, rel=1e-12)
    np.testing.assert_allclose(found.translation, camera.translation, atol=1e-9)


def test_huge_and_far_coordinates_are_fitted_like_any_other(rng):
    points, camera = cloud(rng), some_camera(rng)
    image_points = noisy(rng, points, camera)
    plain = fit_scaled_orthographic(points, image_points)
    huge = fit_scaled_orthographic(points, 1e6 * image_points)
    far = fit_scaled_orthographic(points, image_points + 1e4)
    np.testing.assert_allclose(huge.rotation, plain.rotation, atol=1e-12)
    assert huge.scale == pytest.approx(1e6 * plain.scale, rel=1e-12)
    np.testing.assert_allclose(far.rotation, plain.rotation, atol=1e-10)
    np.testing.assert_allclose(far.translation, plain.translation + 1e4, rtol=1e-10)


# --- The nearest rotation ----------------------------------------------------------------------------------------


@given(seeds)
def test_nearest_rotation_is_a_rotation_and_none_is_nearer(seed):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((2, 3)) * 10.0 ** rng.uniform(-3.0, 3.0)
    nearest = nearest_rotation(matrix)
    np.testing.assert_allclose(nearest @ nearest.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(nearest) == pytest.approx(1.0, abs=1e-12)
    # Which scale the distance is measured at does not matter: |A - s R|^2 = |A|^2 + 2 s^2 - 2 s <A, R>.
    agreement = (matrix * nearest[:2]).sum()
    for size in (1e-3, 0.1, 3.0):
        x, y, z = size * rng.standard_normal(3)
        skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        other = np.linalg.solve(np.eye(3) - skew / 2.0, np.eye(3) + skew / 2.0) @ nearest  # Cayley: a rotation
        assert (matrix * other[:2]).sum() <= agreement * (1.0 + 1e-12)


@given(turn, nod, turn, st.floats(1e-3, 1e3))
def test_nearest_rotation_of_a_scaled_rotation_is_itself(yaw, pitch, roll, scale):
    rotation = rotation_from_angles(yaw, pitch, roll)
    np.testing.assert_allclose(nearest_rotation(scale * rotation[:2]), rotation, atol=1e-12)


# --- What determines no camera -----------------------------------------------------------------------------------


def flat(points):
    return points * (1.0, 1.0, 0.0) @ rotation_from_angles(20.0, 30.0, 40.0).T + 50.0


CONFIGURATIONS = {
    "equal image points": (lambda p: p, lambda u: 0.0 * u + 300.0, None, "coincide"),
    "equal model points": (lambda p: 0.0 * p + 7.0, lambda u: u, None, "coincide"),
    "image points on a line": (lambda p: p, lambda u: u * (1.0, 0.0) + u[:, :1] * (0.0, 0.7) + 90.0, None, "line"),
    "model points in a plane": (flat, lambda u: u, None, "plane"),
    "model points on a line": (lambda p: p[:, :1] * (1.0, 2.0, 3.0), lambda u: u, None, "plane"),
    "three points that count": (lambda p: p, lambda u: u, np.arange(30) < 3, "four points, got 3"),
    "no point that counts": (lambda p: p, lambda u: u, np.zeros(30), "four points, got 0"),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("scale", [1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_degenerate_configurations_are_refused(rng, name, scale, offset):
    change_points, change_image, weights, message = CONFIGURATIONS[name]
    points = cloud(rng)
    image_points = scale * change_image(noisy(rng, points, some_camera(rng))) + offset
    for fit in (fit_affine, fit_scaled_orthographic):
        with pytest.raises(DegenerateConfigurationError, match=message):
            fit(change_points(points), image_points, weights)


def test_known_rotation_refuses_points_that_give_no_scale(rng):
    points, camera = cloud(rng), some_camera(rng)
    image_points = camera.project(points)[:, :2]
    with pytest.raises(DegenerateConfigurationError, match="scale"):
        fit_scale_and_translation(camera.rotation, np.ones((30, 3)), image_points)
    with pytest.raises(DegenerateConfigurationError, match="scale"):
        fit_scale_and_translation(camera.rotation, points, -image_points)


@pytest.mark.parametrize(
    ("points", "image_points", "weights", "message"),
    [
        (np.ones((5, 2)), np.ones((5, 2)), None, r"points: expected shape \(any, 3\), got \(5, 2\)"),
        (np.ones((5, 3)), np.ones((4, 2)), None, r"image_points: expected shape \(5, 2\), got \(4, 2\)"),
        (np.ones((5, 3)), np.full((5, 2), np.nan), None, "image_points: expected finite"),
        (np.ones((5, 3)), np.ones((5, 2)), np.ones(4), r"weights: expected shape \(5,\), got \(4,\)"),
        (np.ones((5, 3)), np.ones((5, 2)), -np.ones(5), "weights: expected non-negative"),
    ],
)
def test_wrong_calls_name_expected_and_got(points, image_points, weights, message):
    with pytest.raises(InvalidInputError, match=message):
        fit_scaled_orthographic(points, image_points, weights)
