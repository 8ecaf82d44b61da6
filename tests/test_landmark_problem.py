"""The energy of the landmark stage: derivatives, normal equations, whitening, and the kernels beneath."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jacobians import assert_jacobian
from scenes import random_scene, random_scenes, toy_model
from scipy.spatial.transform import Rotation

from facefit.fitting._kernels import rotated, whitened_jacobian, whitened_residual
from facefit.fitting.gauss_newton import GaussNewtonOptions, minimise
from facefit.fitting.initializers import InitializerInput, MeanFace
from facefit.fitting.landmark_noise import OPENING_PAIRS, LandmarkNoise, expand_sigma
from facefit.fitting.landmark_problem import POSE, LandmarkProblem
from facefit.fitting.landmarks import JAW, LandmarkConvention
from facefit.fitting.state_prior import PoseAndShape, StatePrior
from facefit.fitting.status import FitStatus
from facefit.models.errors import InvalidInputError

seeds = st.integers(0, 2**32 - 1)
POSE_NAMES = ["omega_x", "omega_y", "omega_z", "t_u", "t_v", "log s"]


def fixed_whitening(weights):
    return weights[:, None, None] * np.eye(2)


def sliding_whitening(rng, weights, slack=1.0 / 3.0):
    """Whitening of points that slide: a row across the outline and a weaker one along it."""
    angle = rng.uniform(0.0, 2.0 * np.pi, len(weights))
    across = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    along = slack * np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    return weights[:, None, None] * np.stack([across, along], axis=1)


def problem_of(scene, *, sliding=False, correlation=0.0, sigma=0.02, seed=0):
    """The energy of a scene, all 68 points fixed, or the jaw's sliding in random directions."""
    model, noise = scene.model, LandmarkNoise(expand_sigma(sigma), correlation)
    weights = noise.weights(scene.face_px)
    whitening = fixed_whitening(weights)
    if sliding:
        whitening[JAW] = sliding_whitening(np.random.default_rng(seed), weights[JAW])
    return LandmarkProblem(
        mean=model.semantic_basis.mean,
        basis=model.semantic_basis.basis,
        observed=scene.landmarks,
        whitening=whitening,
        pairs=noise.pairs,
        correlation=correlation,
        precision=np.concatenate([np.ones(model.n_identity), 1.0 / model.expression_sigma**2]),
        lower=np.concatenate([np.full(model.n_identity, -np.inf), model.expression_lower]),
        upper=np.concatenate([np.full(model.n_identity, np.inf), model.expression_upper]),
    )


def state_near(scene, rng):
    """Another state, away from the truth, inside the bounds by more than a difference's step."""
    model = scene.model
    inside = np.clip(0.3 + 0.1 * rng.random(model.n_expression), model.expression_lower, model.expression_upper)
    return PoseAndShape(
        rotated(scene.camera.rotation, 0.3 * rng.standard_normal(3)),
        scene.camera.translation + 5.0 * rng.standard_normal(2),
        scene.camera.scale * 1.1,
        np.concatenate([rng.standard_normal(model.n_identity), inside]),
    )


# --- Derivatives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sliding", [False, True], ids=["fixed", "sliding"])
@pytest.mark.parametrize("correlation", [0.0, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_jacobian_is_the_derivative_through_the_retraction(sliding, correlation, seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(toy_model(seed), rng, sigma=0.03, yaw=(-80.0, 80.0))
    problem = problem_of(scene, sliding=sliding, correlation=correlation, seed=seed)
    names = POSE_NAMES + [f"c{k}" for k in range(len(problem.basis))]
    assert_jacobian(problem, state_near(scene, rng), names=names)


def test_a_wrong_column_of_the_jacobian_is_named():
    """The shared check itself: it must see one wrong sign in one column, and nothing else."""
    rng = np.random.default_rng(0)
    scene = random_scene(toy_model(), rng)

    class Wrong(LandmarkProblem):
        def jacobian(self, state):
            jacobian = super().jacobian(state).copy()
            jacobian[5, 2] *= -1.0
            return jacobian

    problem = Wrong(**vars(problem_of(scene)))
    names = POSE_NAMES + [f"c{k}" for k in range(len(problem.basis))]
    with pytest.raises(AssertionError, match=r"1 of 15 columns of the Jacobian are wrong:\nomega_z: row 5: claimed"):
        assert_jacobian(problem, state_near(scene, rng), names=names)


@pytest.mark.parametrize("sliding", [False, True], ids=["fixed", "sliding"])
@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_normal_equations_are_those_of_residual_and_prior(rng, sliding, correlation):
    scene = random_scene(toy_model(), rng, sigma=0.03)
    problem, state = problem_of(scene, sliding=sliding, correlation=correlation), state_near(scene, rng)
    equations, r, j = problem.normal_equations(state), problem.residual(state), problem.jacobian(state)
    prior = np.concatenate([np.zeros(POSE), problem.precision])
    step = np.concatenate([np.zeros(POSE), state.coefficients])
    assert equations.energy == pytest.approx(0.5 * r @ r + 0.5 * prior @ step**2, rel=1e-13)
    assert equations.energy == pytest.approx(problem.energy(state), rel=1e-13)
    np.testing.assert_allclose(equations.gradient, j.T @ r + prior * step, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(equations.matrix, j.T @ j + np.diag(prior), rtol=1e-12, atol=1e-9)
    np.testing.assert_array_equal(equations.matrix, equations.matrix.T)


def test_gradient_is_the_derivative_of_the_energy(rng):
    scene = random_scene(toy_model(), rng, sigma=0.03)
    problem, state = problem_of(scene, sliding=True, correlation=0.5), state_near(scene, rng)
    gradient = problem.normal_equations(state).gradient
    for _ in range(20):
        step = 1e-4 * rng.standard_normal(len(gradient))
        rise = problem.energy(problem.retract(state, step)) - problem.energy(problem.retract(state, -step))
        assert rise / 2.0 == pytest.approx(gradient @ step, rel=1e-4, abs=1e-5)


def test_a_prior_of_the_state_adds_its_energy_and_its_equations(rng):
    scene = random_scene(toy_model(), rng, sigma=0.03)
    plain, mean, state = problem_of(scene), state_near(scene, rng), state_near(scene, rng)
    root = rng.standard_normal((POSE + len(mean.coefficients),) * 2)
    prior = StatePrior(mean, root @ root.T)
    tied = replace(plain, prior=prior)
    energy, gradient, matrix = prior.equations(state)
    assert tied.energy(state) == pytest.approx(plain.energy(state) + energy)
    alone, both = plain.normal_equations(state), tied.normal_equations(state)
    assert both.energy == pytest.approx(alone.energy + energy)
    np.testing.assert_allclose(both.gradient, alone.gradient + gradient)
    np.testing.assert_allclose(both.matrix, alone.matrix + matrix)
    assert tied.robust(state, 4.0).prior is prior


# --- Robust ------------------------------------------------------------------------------------------------------


def displaced(problem, state, distance):
    """The problem with every point off by `distance` (68,) standard deviations, in a direction of its own."""
    angle = np.arange(68.0)
    away = distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return replace(
        problem, observed=problem.projected(state) - np.linalg.solve(problem.whitening, away[..., None])[..., 0]
    )


@pytest.mark.parametrize("sliding", [False, True], ids=["fixed", "sliding"])
@pytest.mark.parametrize("degrees", [1.0, 4.0, 50.0])
def test_a_point_counts_by_how_well_it_agrees(rng, sliding, degrees):
    """(nu + 2) / (nu + |r|^2) as much: more than in full below sqrt 2 standard deviations, and less beyond."""
    scene = random_scene(toy_model(), rng)
    distance = np.linspace(0.0, 12.0, 68)
    distance[7] = np.sqrt(2.0)
    problem = displaced(problem_of(scene, sliding=sliding), scene.state, distance)
    np.testing.assert_allclose(problem.squares(scene.state), distance**2, atol=1e-9)
    robust = problem.robust(scene.state, degrees)
    weight = robust.squares(scene.state) / np.maximum(problem.squares(scene.state), 1e-300)
    expected = (degrees + 2.0) / (degrees + distance**2)
    np.testing.assert_allclose(weight[1:], expected[1:], rtol=1e-6)
    assert (np.diff(np.delete(weight, 7)[1:]) < 0.0).all()
    np.testing.assert_allclose(robust.whitening, np.sqrt(expected)[:, None, None] * problem.whitening, rtol=1e-6)
    np.testing.assert_array_equal(robust.observed, problem.observed)


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_robust_problem_is_the_plain_one_where_all_agree_as_expected(rng, correlation):
    """At sqrt 2 standard deviations in two dimensions, and for any errors where the tails are a Gaussian's."""
    scene = random_scene(toy_model(), rng, sigma=0.03)
    problem = problem_of(scene, correlation=correlation)
    usual = displaced(problem, scene.state, np.full(68, np.sqrt(2.0)))
    for one, other in ((usual.robust(scene.state, 4.0), usual), (problem.robust(scene.state, 1e12), problem)):
        np.testing.assert_allclose(one.whitening, other.whitening, rtol=1e-9)
        assert one.energy(scene.state) == pytest.approx(other.energy(scene.state), rel=1e-9)
    assert problem.robust_cost(scene.state, 1e7) == pytest.approx(0.5 * problem.squares(scene.state).sum(), rel=1e-5)


@pytest.mark.parametrize("sliding", [False, True], ids=["fixed", "sliding"])
@pytest.mark.parametrize("degrees", [1.0, 4.0, 50.0])
def test_robust_gradient_is_that_of_the_robust_cost(sliding, degrees):
    """What iteratively reweighted least squares lowers: the cost of points whose errors are not correlated."""
    rng = np.random.default_rng(3)
    scene = random_scene(toy_model(3), rng, sigma=0.03)

    class Cost:
        problem = problem_of(scene, sliding=sliding)

        def residual(self, state):
            return np.array([self.problem.robust_cost(state, degrees)])

        def jacobian(self, state):
            robust = self.problem.robust(state, degrees)
            return (robust.jacobian(state).T @ robust.residual(state))[None]

        def retract(self, state, step):
            return self.problem.retract(state, step)

    assert_jacobian(Cost(), state_near(scene, rng), steps=1e-4, tolerance=1e-6)


def test_one_wrong_point_costs_little_more_than_a_doubtful_one(rng):
    """The cost grows with the logarithm of the error."""
    scene = random_scene(toy_model(), rng)
    problem, distance = problem_of(scene), np.zeros(68)
    costs = []
    for distance[20] in (0.0, 1.0, 10.0, 100.0, 1000.0):
        costs.append(displaced(problem, scene.state, distance).robust_cost(scene.state, 4.0))
    assert costs[0] == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(costs) > 0.0).all()
    np.testing.assert_allclose(np.diff(costs)[2:], 6.0 * np.log(10.0), rtol=0.02)


# --- The truth ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sliding", [False, True], ids=["fixed", "sliding"])
def test_residual_vanishes_at_the_truth(sliding):
    for scene in random_scenes(toy_model(), 10, seed=1, yaw=(-60.0, 60.0)):
        problem = problem_of(scene, sliding=sliding, correlation=0.5)
        assert np.abs(problem.residual(scene.state)).max() < 1e-10
        prior = np.concatenate([np.zeros(POSE), problem.precision * scene.coefficients])
        np.testing.assert_allclose(problem.normal_equations(scene.state).gradient, prior, atol=1e-8)


def test_without_a_prior_the_truth_is_found_again():
    """Ten exact fits of a toy model, whose 136 numbers determine its 15 unknowns."""
    options = GaussNewtonOptions(max_iterations=100, tolerance=1e-16)
    for scene in random_scenes(toy_model(), 10, seed=2):
        problem = problem_of(scene, correlation=0.5)
        problem = replace(problem, precision=np.full(len(problem.basis), 1e-12))
        given = InitializerInput(
            scene.model, None, np.zeros(4), scene.landmarks, expand_sigma(0.02), LandmarkConvention.SEMANTIC
        )
        start = MeanFace()(given)
        assert not start.identity.any()
        assert not start.expression.any()
        camera = start.camera
        state = PoseAndShape(camera.rotation, camera.translation, camera.scale, np.zeros(len(problem.basis)))
        found = minimise(problem, state, options)
        assert found.status is FitStatus.CONVERGED
        np.testing.assert_allclose(found.state.rotation, scene.camera.rotation, atol=1e-6)
        np.testing.assert_allclose(found.state.coefficients, scene.coefficients, atol=1e-5)
        assert found.state.scale == pytest.approx(scene.camera.scale, rel=1e-6)


@given(seeds)
def test_retraction_keeps_rotation_scale_and_bounds(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(toy_model(), rng)
    problem, state = problem_of(scene), scene.state
    lower, upper = problem.step_bounds(state)
    assert (lower <= 0.0).all()
    assert (upper >= 0.0).all()
    assert np.isinf(lower[:POSE]).all()
    assert np.isinf(upper[:POSE]).all()
    step = np.clip(3.0 * rng.standard_normal(len(lower)), lower, upper)
    moved = problem.retract(state, step)
    np.testing.assert_allclose(moved.rotation @ moved.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(moved.rotation) == pytest.approx(1.0)
    assert moved.scale > 0.0
    np.testing.assert_allclose(moved.translation - state.translation, step[3:5], atol=1e-10)
    assert ((problem.lower <= moved.coefficients) & (moved.coefficients <= problem.upper)).all()
    reached = step[POSE:] == upper[POSE:]
    np.testing.assert_array_almost_equal_nulp(moved.coefficients[reached], problem.upper[reached], nulp=1)


def test_face_size_makes_the_energy_independent_of_the_resolution(rng):
    scene = random_scene(toy_model(), rng, sigma=0.03)
    state = state_near(scene, rng)
    large = replace(
        scene, landmarks=7.0 * scene.landmarks, camera=replace(scene.camera, scale=7.0 * scene.camera.scale)
    )
    large_state = state._replace(scale=7.0 * state.scale, translation=7.0 * state.translation)
    assert problem_of(large).energy(large_state) == pytest.approx(problem_of(scene).energy(state), rel=1e-12)


# --- Noise -------------------------------------------------------------------------------------------------------


def implied_covariance(correlation, sigma):
    """Covariance (136, 136) of the points' noise under which the residual r = -L x is white: L^-1 L^-T."""
    noise = LandmarkNoise(expand_sigma(sigma), correlation)
    whitening, origin = fixed_whitening(noise.weights(1.0)), np.zeros((68, 3))

    def residual(observed):
        return whitened_residual(
            np.eye(3), np.zeros(2), 1.0, origin, observed.reshape(68, 2), whitening, noise.pairs, correlation
        )

    inverse = np.linalg.inv(-np.stack([residual(unit) for unit in np.eye(136)], axis=1))
    return inverse @ inverse.T


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
def test_whitening_implies_the_covariance_that_the_noise_states(correlation):
    sigma = np.linspace(0.01, 0.05, 68)
    sigma[OPENING_PAIRS[:, 1]] = sigma[OPENING_PAIRS[:, 0]]
    expected = np.diag(np.repeat(sigma**2, 2))
    for i, j in OPENING_PAIRS:
        for axis in range(2):
            entry = correlation * sigma[i] * sigma[j]
            expected[2 * i + axis, 2 * j + axis] = expected[2 * j + axis, 2 * i + axis] = entry
    np.testing.assert_allclose(implied_covariance(correlation, sigma), expected, atol=1e-15)


def test_no_correlation_leaves_the_energy_as_it_is(rng):
    scene = random_scene(toy_model(), rng, sigma=0.03)
    state = state_near(scene, rng)
    plain = replace(problem_of(scene), pairs=np.zeros((0, 2), dtype=np.intp))
    assert problem_of(scene, correlation=0.0).energy(state) == pytest.approx(plain.energy(state), rel=1e-13)


def test_correlation_prefers_shifted_pairs_to_opened_ones():
    sigma, rho = 0.02, 0.8
    covariance = implied_covariance(rho, sigma)
    i, j = OPENING_PAIRS[0]
    both = covariance[np.ix_([2 * i, 2 * j], [2 * i, 2 * j])]
    together, apart = np.array([1.0, 1.0]), np.array([1.0, -1.0])
    assert together @ both @ together == pytest.approx(2.0 * sigma**2 * (1.0 + rho))
    assert apart @ both @ apart == pytest.approx(2.0 * sigma**2 * (1.0 - rho))


def test_a_pair_with_a_point_left_out_is_no_pair():
    sigma = np.full(68, 0.02)
    sigma[OPENING_PAIRS[2, 0]] = np.inf
    noise = LandmarkNoise(sigma, 0.5)
    np.testing.assert_array_equal(noise.pairs, np.delete(OPENING_PAIRS, 2, axis=0))
    weights = noise.weights(50.0)
    assert weights[OPENING_PAIRS[2, 0]] == 0.0
    np.testing.assert_allclose(np.delete(weights, OPENING_PAIRS[2, 0]), 1.0)


@pytest.mark.parametrize(
    ("sigma", "correlation", "message"),
    [
        (np.zeros(68), 0.0, "landmark_sigma: expected positive"),
        (np.full(68, -1.0), 0.0, "landmark_sigma: expected positive"),
        (np.full(68, np.nan), 0.0, "landmark_sigma: expected positive"),
        (np.ones(67), 0.0, r"landmark_sigma: expected shape \(68,\), got \(67,\)"),
        (np.ones(68), 1.0, "opening_correlation: expected 0 <= rho < 1, got 1.0"),
        (np.ones(68), -0.1, "opening_correlation: expected 0 <= rho < 1, got -0.1"),
        (np.ones(68), np.nan, "opening_correlation: expected 0 <= rho < 1, got nan"),
    ],
)
def test_impossible_noise_is_refused(sigma, correlation, message):
    with pytest.raises(InvalidInputError, match=message):
        LandmarkNoise(sigma, correlation)


def test_one_sigma_stands_for_all():
    np.testing.assert_array_equal(expand_sigma(0.03), np.full(68, 0.03))
    np.testing.assert_array_equal(expand_sigma(np.arange(1.0, 69.0)), np.arange(1.0, 69.0))
    with pytest.raises(InvalidInputError, match=r"landmark_sigma: expected shape \(68,\), got \(5,\)"):
        expand_sigma([1.0] * 5)


# --- The initialiser ---------------------------------------------------------------------------------------------


def initial(scene, points, sigma, convention):
    given = InitializerInput(scene.model, None, np.zeros(4), points, sigma, convention)
    return MeanFace()(given).camera


def test_mean_face_does_not_look_at_points_that_mean_something_else(rng):
    scene = random_scene(toy_model(), rng)
    moved = scene.landmarks.copy()
    moved[JAW] += 1e3
    sigma = expand_sigma(0.02)
    before, after = (initial(scene, p, sigma, LandmarkConvention.CONTOUR) for p in (scene.landmarks, moved))
    np.testing.assert_array_equal(before.rotation, after.rotation)
    assert before.scale == after.scale
    semantic = initial(scene, moved, sigma, LandmarkConvention.SEMANTIC)
    assert semantic.scale != pytest.approx(before.scale, rel=1e-3)


def test_mean_face_leaves_out_points_of_infinite_sigma(rng):
    scene = random_scene(toy_model(), rng)
    sigma, holes = expand_sigma(0.02), scene.landmarks.copy()
    sigma[20:25], holes[20:25] = np.inf, np.nan
    kept = sigma.copy()
    before = initial(scene, scene.landmarks, sigma, LandmarkConvention.SEMANTIC)
    after = initial(scene, holes, sigma, LandmarkConvention.SEMANTIC)
    np.testing.assert_array_equal(before.rotation, after.rotation)
    np.testing.assert_array_equal(sigma, kept)


# --- Kernels -----------------------------------------------------------------------------------------------------


def reference_residual(rotation, translation, scale, points, observed, whitening, pairs, correlation):
    seen = scale * points @ rotation[:2].T + translation
    return decorrelated(np.einsum("mij,mj->mi", whitening, seen - observed), pairs, correlation).ravel()


def decorrelated(rows, pairs, correlation):
    out = rows.copy()
    for i, j in pairs:
        out[i] = (rows[i] + rows[j]) / np.sqrt(2.0 * (1.0 + correlation))
        out[j] = (rows[i] - rows[j]) / np.sqrt(2.0 * (1.0 - correlation))
    return out


def reference_jacobian(rotation, scale, points, basis, whitening, pairs, correlation):
    q = scale * points @ rotation.T
    zero, one = np.zeros(len(q)), np.ones(len(q))
    columns = [(zero, -q[:, 2]), (q[:, 2], zero), (-q[:, 1], q[:, 0]), (one, zero), (zero, one), (q[:, 0], q[:, 1])]
    tangent = [np.stack(column, axis=1) for column in columns] + list(scale * basis @ rotation[:2].T)
    return np.stack([decorrelated(np.einsum("mij,mj->mi", whitening, t), pairs, correlation).ravel() for t in tangent])


@pytest.mark.kernels
@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_kernels_agree_with_plain_numpy(rng, correlation):
    rotation = Rotation.from_rotvec([0.3, -0.5, 2.0]).as_matrix()
    translation, scale, points = rng.standard_normal(2), 1.7, rng.standard_normal((9, 3))
    basis, observed = rng.standard_normal((4, 9, 3)), rng.standard_normal((9, 2))
    whitening, pairs = rng.standard_normal((9, 2, 2)), np.array([(1, 4), (7, 2)])
    np.testing.assert_allclose(
        whitened_residual(rotation, translation, scale, points, observed, whitening, pairs, correlation),
        reference_residual(rotation, translation, scale, points, observed, whitening, pairs, correlation),
        atol=1e-13,
    )
    np.testing.assert_allclose(
        whitened_jacobian(rotation, scale, points, basis, whitening, pairs, correlation),
        reference_jacobian(rotation, scale, points, basis, whitening, pairs, correlation),
        atol=1e-13,
    )


@pytest.mark.kernels
@pytest.mark.parametrize("angle", [0.0, 1e-300, 1e-12, 1e-6, 0.99e-5, 1.01e-5, 1e-3, 1.0, np.pi - 1e-9, np.pi, 6.0])
def test_rotated_is_the_exponential_map(rng, angle):
    start = Rotation.from_rotvec([1.0, 2.0, -0.5]).as_matrix()
    for axis in (*np.eye(3), *rng.standard_normal((5, 3))):
        omega = angle * axis / np.linalg.norm(axis)
        expected = Rotation.from_rotvec(omega).as_matrix() @ start
        np.testing.assert_allclose(rotated(start, omega), expected, atol=1e-12)
        np.testing.assert_allclose(rotated(rotated(start, omega), -omega), start, atol=1e-12)


@pytest.mark.kernels
def test_many_small_turns_stay_a_rotation(rng):
    rotation = np.eye(3)
    for _ in range(300):
        rotation = rotated(rotation, 0.1 * rng.standard_normal(3))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
