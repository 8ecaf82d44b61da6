"""The photometric energy's derivatives: against plain NumPy, written from the text of `problem.py` and `view.py`.

The reference is explicit: one row per sample and channel, the Jacobian whole, by pose, identity, expression, light and
albedo. It passes the shared check of Jacobians, and what the kernels assemble through the mesh is held against it.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from jacobians import assert_jacobian
from numpy.typing import NDArray
from scenes import toy_model

from facefit.fitting._kernels import rotated
from facefit.fitting.gauss_newton import NormalEquations
from facefit.fitting.landmark_noise import LandmarkNoise, expand_sigma
from facefit.fitting.landmark_task import landmark_task
from facefit.fitting.landmarks import LandmarkConvention
from facefit.fitting.photometric import _kernels
from facefit.fitting.photometric.appearance import Appearance, appearance_equations, displayed
from facefit.fitting.photometric.levels import Level
from facefit.fitting.photometric.problem import FaceState, PhotometricProblem
from facefit.fitting.photometric.surface import make_surface
from facefit.fitting.photometric.view import View, make_view
from facefit.fitting.state_prior import PoseAndShape
from facefit.models.colour import linear_to_srgb
from facefit.render.cameras import rotation_from_angles
from facefit.render.normals import triangle_normals
from facefit.render.spherical_harmonics import basis

Array = NDArray[np.float64]

STEP = 2.0**-10
"""Of differences. Albedo coefficients are used in single precision, in which they and such steps are exact."""


@dataclass(frozen=True, eq=False)
class ReferenceProblem:
    """`jacobians.Differentiable` over FaceState; steps are (6 + P pose and shape, 27 light by channel, A albedo)."""

    problem: PhotometricProblem

    @property
    def modes(self) -> Array:
        """(V, 3, A) of the albedo at the view's vertices."""
        view = self.problem.view
        return view.surface.albedo.modes[view.albedo_rows].astype(np.float64)

    def retract(self, state: FaceState, step: Array) -> FaceState:
        """Bounds do not matter to the residual: coefficients just move."""
        (rotation, translation, scale, coefficients), appearance = state
        size = 6 + len(coefficients)
        return FaceState(
            PoseAndShape(
                rotated(rotation, step[:3]),
                translation + step[3:5],
                scale * float(np.exp(step[5])),
                coefficients + step[6:size],
            ),
            replace(
                appearance,
                light=appearance.light + step[size : size + 27].reshape(3, 9).T,
                coefficients=appearance.coefficients + step[size + 27 :],
            ),
        )

    def residual(self, state: FaceState) -> Array:
        return self._parts(state)["residual"].ravel()

    def jacobian(self, state: FaceState, middle: bool = False) -> Array:
        """Return the derivative; with `middle`, shading functions and albedo are those of each triangle's middle."""
        parts = self._parts(state)
        corners = self.problem.view.corners
        # By the nine numbers of the sample's triangle: through the place in the image, and through the normal.
        by_place = np.zeros((len(corners), 3, 3, 3))  # sample, channel, corner, axis
        by_place[..., :2] = np.einsum("mc,mkx->mkcx", parts["barycentric"], parts["gradient"])
        by_normal = np.einsum("mkn,mncx->mkcx", parts["by_normal"], parts["normal_by_corners"])
        by_corners = (by_place + by_normal).reshape(len(corners), 3, 9)
        tangent = self._tangent(state.pose)[corners].reshape(len(corners), 9, -1)
        modes = self.problem.view.of_samples(self.modes)
        if middle:
            parts, modes = self._in_the_middle(parts, state)
        blocks = [np.einsum("mkc,mcp->mkp", by_corners, tangent), self._by_appearance(parts, modes)]
        return np.concatenate(blocks, axis=2).reshape(3 * len(corners), -1)

    def _in_the_middle(self, parts: dict[str, Any], state: FaceState) -> tuple[dict[str, Any], Array]:
        """Return functions, shading, rho and modes of the samples' triangles, seen where the view was made."""
        view = self.problem.view
        owner = np.repeat(np.arange(len(view.triangles)), np.diff(view.first))
        middle = np.stack([view.barycentric[owner == t].mean(axis=0) for t in range(len(view.triangles))])
        normals = np.stack([view.normals[owner == t].sum(axis=0) for t in range(len(view.triangles))])
        functions = basis(normals / np.linalg.norm(normals, axis=1, keepdims=True))
        albedo = view.surface.albedo.mean[view.albedo_rows] + self.modes @ state.appearance.coefficients
        own = {
            "functions": functions,
            "shading": functions @ state.appearance.light,
            "rho": np.einsum("tc,tck->tk", middle, albedo[view.triangles]),
        }
        modes = np.einsum("tc,tcka->tka", middle, self.modes[view.triangles])
        return parts | {name: values[owner] for name, values in own.items()}, modes[owner]

    def _by_appearance(self, parts: dict[str, Any], modes: Array) -> Array:
        count = len(parts["residual"])
        by_light = np.zeros((count, 3, 27))
        for k in range(3):
            by_light[:, k, 9 * k : 9 * k + 9] = -(parts["slope"] * parts["rho"])[:, [k]] * parts["functions"]
        return np.concatenate([by_light, -(parts["slope"] * parts["shading"])[:, :, None] * modes], axis=2)

    def _points(self, shape: PoseAndShape) -> Array:
        """q (V, 3): px, px, and depth scaled alike."""
        view = self.problem.view
        points = view.surface.mean[view.vertices] + view.basis @ shape.coefficients
        return shape.scale * points @ shape.rotation.T + np.append(shape.translation, 0.0)

    def _tangent(self, shape: PoseAndShape) -> Array:
        """dq (V, 3, 6 + P) per step."""
        q = self._points(shape) - np.append(shape.translation, 0.0)
        omega = [np.cross(axis, q) for axis in np.eye(3)]
        shift = [np.broadcast_to(axis, q.shape) for axis in np.eye(3)[:2]]
        basis_moved = shape.scale * np.einsum("ij,vjp->vip", shape.rotation, self.problem.view.basis)
        return np.concatenate([np.stack([*omega, *shift, q], axis=2), basis_moved], axis=2)

    def _parts(self, state: FaceState) -> dict[str, Any]:
        view = self.problem.view
        corners = self._points(state.pose)[view.corners]  # (M, 3, 3)
        place = np.einsum("mc,mcx->mx", view.barycentric, corners[:, :, :2])
        photo, gradient = _interpolated(view.level, place)
        smooth, by_flat = self._normals(corners)
        flat_by_corners = _flat_normal_derivative(corners)
        functions = basis(smooth)
        shading = functions @ state.appearance.light
        albedo = view.surface.albedo.mean[view.albedo_rows] + self.modes @ state.appearance.coefficients
        rho = view.of_samples(albedo)
        value, slope = displayed(rho * shading)
        by_direction = np.einsum("mpn,pk->mkn", _basis_derivative(smooth), state.appearance.light)
        return {
            "residual": photo - value,
            "barycentric": view.barycentric,
            "gradient": gradient,
            "functions": functions,
            "shading": shading,
            "rho": rho,
            "slope": slope,
            "by_normal": -(slope * rho)[:, :, None] * by_direction,
            "normal_by_corners": np.einsum("mnf,mfcx->mncx", by_flat, flat_by_corners),
        }

    def _normals(self, corners: Array) -> tuple[Array, Array]:
        """Return the samples' unit normals (M, 3) and their derivative (M, 3, 3) by their triangles' unit normals."""
        view = self.problem.view
        start = np.repeat(view.triangle_normals, np.diff(view.first), axis=0)
        n = view.normals + _flat_normals(corners) - start
        length = np.linalg.norm(n, axis=1)[:, None]
        unit = n / length
        return unit, (np.eye(3) - unit[:, :, None] * unit[:, None, :]) / length[:, :, None]


def explicit_equations(problem: PhotometricProblem, state: FaceState) -> NormalEquations:
    """Return the photo's part of the normal equations from the explicit Jacobian, without any prior.

    In the matrix, shading functions and albedo are those of the triangles' middles.
    """
    reference = ReferenceProblem(problem)
    jacobian, residual = reference.jacobian(state), reference.residual(state)
    rows = reference.jacobian(state, middle=True)
    square = (residual.reshape(-1, 3) ** 2).sum(axis=1) / problem.sigma**2
    nu = problem.degrees
    energy = float(np.sum(problem.weight * (nu + 3.0) / 2.0 * np.log(1.0 + square / nu)))
    weight = np.repeat(problem.weight * (nu + 3.0) / (nu + square) / problem.sigma**2, 3)
    return NormalEquations(energy, jacobian.T @ (weight * residual), rows.T @ (weight[:, None] * rows))


def other_equations(problem: PhotometricProblem, state: FaceState) -> NormalEquations:
    """Return what landmarks and priors add to it."""
    pose, appearance = state
    landmarks = problem.landmarks.normal_equations(pose)
    split, size = len(landmarks.gradient), len(landmarks.gradient) + 27 + len(appearance.coefficients)
    gradient, matrix = np.zeros(size), np.zeros((size, size))
    gradient[:split], gradient[split:] = landmarks.gradient, appearance.precision @ appearance.stacked
    matrix[:split, :split], matrix[split:, split:] = landmarks.matrix, appearance.precision
    return NormalEquations(landmarks.energy + appearance.energy, gradient, matrix)


def _interpolated(level: Any, place: Array) -> tuple[Array, Array]:
    """Return the photo (M, 3) at places (M, 2) of the original image, and its derivative (M, 3, 2) there."""
    column, row = (level.factor * place + level.offset).T
    i, j = np.floor(row).astype(int), np.floor(column).astype(int)
    down, along = (row - i)[:, None], (column - j)[:, None]
    photo = level.photo.astype(np.float64)
    a, b, c, d = photo[i, j], photo[i, j + 1], photo[i + 1, j], photo[i + 1, j + 1]
    value = (1 - down) * ((1 - along) * a + along * b) + down * ((1 - along) * c + along * d)
    horizontal = (1 - down) * (b - a) + down * (d - c)
    vertical = (1 - along) * (c - a) + along * (d - b)
    return value, level.factor * np.stack([horizontal, vertical], axis=2)


def _flat_normals(corners: Array) -> Array:
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return cross / np.linalg.norm(cross, axis=1)[:, None]


def _flat_normal_derivative(corners: Array) -> Array:
    """d(unit normal) (M, 3, corner, axis)."""
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    cross = np.cross(u, v)
    length = np.linalg.norm(cross, axis=1)[:, None, None]
    n = cross / length[:, :, 0]
    derivative = np.empty((len(corners), 3, 3, 3))
    for x, axis in enumerate(np.eye(3)):
        derivative[:, :, 1, x] = np.cross(axis, v)
        derivative[:, :, 2, x] = np.cross(u, axis)
    derivative[:, :, 0] = -derivative[:, :, 1] - derivative[:, :, 2]
    project = (np.eye(3) - n[:, :, None] * n[:, None, :]) / length
    return np.einsum("mij,mjcx->micx", project, derivative)


def _basis_derivative(n: Array) -> Array:
    """d basis / d n (M, 9, 3): exact, as the functions are quadratic polynomials."""
    return np.stack([(basis(n + axis) - basis(n - axis)) / 2.0 for axis in np.eye(3)], axis=2)


# --- Small problems -----------------------------------------------------------------------------------------------


def photo_of(kind: str, zoom: int) -> Array:
    """A small photo (H, W, 3): bilinear, so that interpolation has no kinks; or with waves on that."""
    row, column = np.indices((32 * zoom, 28 * zoom)) / (30.0 * zoom)
    ramps = [
        0.2 + 0.3 * column + 0.2 * row + 0.2 * row * column,
        0.6 - 0.2 * column + 0.1 * row - 0.1 * row * column,
        0.3 + 0.05 * column + 0.4 * row,
    ]
    waves = [0.1 * np.sin(5.0 * column + 3.0 * row + k) for k in range(3)]
    return np.stack([r + w if kind == "waves" else r for r, w in zip(ramps, waves, strict=True)], axis=2)


def small_problem(
    seed: int = 0, kind: str = "bilinear", brightness: float = 1.0, zoom: int = 1
) -> tuple[PhotometricProblem, FaceState]:
    """Return a problem in double precision, and the state in which its view was made."""
    rng = np.random.default_rng(seed)
    model = toy_model(seed, vertices=60)
    colours = rng.uniform(0.2, 0.8, (model.n_vertices, 3))
    model = replace(model, albedo_mean=colours, albedo=0.05 * rng.standard_normal((3, model.n_vertices, 3)))
    surface = make_surface(model, 0.15, 60.0, dtype=np.float64)
    exact: Any = surface.albedo.modes.astype(np.float64)
    photo: Any = photo_of(kind, zoom)
    surface = replace(surface, albedo=replace(surface.albedo, modes=exact))
    level = Level(photo, 0.6 * zoom, zoom * np.array([0.3, -0.2]))
    rotation = rotation_from_angles(12.0, -7.0, 5.0)
    coefficients = np.concatenate([0.3 * rng.standard_normal(model.n_identity), np.full(model.n_expression, 0.2)])
    pose = PoseAndShape(rotation, np.array([22.1, 26.3]), 0.2, coefficients)
    view = centred(make_view(surface, level, pose, 0.25), pose)
    light = brightness * np.concatenate([np.full((1, 3), 2.0), 0.4 * rng.standard_normal((8, 3))])
    tone = np.rint(0.3 * rng.standard_normal(surface.albedo.size) / STEP) * STEP
    noise = LandmarkNoise(expand_sigma(0.03))
    points = surface.model.semantic_basis.positions(coefficients)
    observed = 0.2 * points @ rotation[:2].T + pose.translation + rng.standard_normal((68, 2))
    landmarks = landmark_task(model, observed, noise, LandmarkConvention.SEMANTIC).problem(0.2)
    problem = PhotometricProblem(view, landmarks, rng.uniform(0.0, 0.05, len(view)), sigma=0.08, degrees=4.0)
    return problem, FaceState(pose, Appearance(light, tone, ambient=1.5))


def centred(view: View, pose: PoseAndShape) -> View:
    """Return the view with its samples at their pixels' very centres, which the rasteriser comes near."""
    points = pose.scale * view.model_points(pose.coefficients) @ pose.rotation[:2].T + pose.translation
    corners = (view.level.factor * points + view.level.offset)[view.corners]
    row, column = np.divmod(view.pixels, view.level.photo.shape[1])
    ones = np.ones(len(view))
    system = np.stack([corners[:, :, 0], corners[:, :, 1], np.repeat(ones[:, None], 3, axis=1)], axis=1)
    barycentric = np.linalg.solve(system, np.stack([column, row, ones], axis=1)[:, :, None])[:, :, 0]
    np.testing.assert_allclose(barycentric, view.barycentric, atol=0.02)
    return replace(view, barycentric=barycentric)


def at_the_view(state: FaceState) -> FaceState:
    return state


def away_from_pixel_borders(state: FaceState) -> FaceState:
    """Return the state moved by half a pixel of the level: samples were made at the pixels' very centres."""
    pose = state.pose
    return state._replace(
        pose=pose._replace(translation=pose.translation + 0.5 / 0.6, coefficients=pose.coefficients + 0.01)
    )  # fmt: skip


def far_from_the_view(state: FaceState) -> FaceState:
    """Return a state in which normals have turned well away from where the view was made."""
    pose = state.pose
    moved = np.linspace(-0.3, 0.3, len(pose.coefficients))
    return state._replace(
        pose=pose._replace(rotation=rotated(pose.rotation, np.array([0.1, -0.15, 0.05])), coefficients=moved)
    )  # fmt: skip


def names_of(problem: PhotometricProblem) -> list[str]:
    model, albedo = problem.view.surface.model, problem.view.surface.albedo
    return [
        *("omega x", "omega y", "omega z", "t u", "t v", "log s"),
        *(f"identity {k}" for k in range(model.n_identity)),
        *(f"expression {k}" for k in range(model.n_expression)),
        *(f"light {k} of channel {c}" for c in range(3) for k in range(9)),
        *(f"albedo {k}" for k in range(albedo.size)),
    ]


def assert_close(got: Array, expected: Array, tolerance: float = 1e-9) -> None:
    """Agreement relative to the largest entry."""
    np.testing.assert_allclose(got, expected, rtol=0.0, atol=tolerance * np.abs(expected).max())


# --- Derivatives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [at_the_view, far_from_the_view])
def test_every_block_of_the_jacobian_is_the_derivative(where: Any) -> None:
    """Pose, identity, expression, light and albedo, on a photo without kinks."""
    problem, state = small_problem()
    assert_jacobian(ReferenceProblem(problem), where(state), steps=STEP, tolerance=1e-7, names=names_of(problem))


def test_jacobian_on_a_photo_with_kinks_between_pixels() -> None:
    problem, state = small_problem(1, "waves")
    reference, start = ReferenceProblem(problem), away_from_pixel_borders(state)
    assert_jacobian(reference, start, steps=1e-4, tolerance=1e-6, names=names_of(problem))


def test_jacobian_in_the_dark() -> None:
    """Below the kink of the sRGB curve its straight part goes on, also for light that is less than none."""
    problem, state = small_problem(2, brightness=-0.5)
    assert_jacobian(ReferenceProblem(problem), state, steps=STEP, tolerance=1e-7, names=names_of(problem))


@dataclass(frozen=True)
class Energy:
    """The energy as a residual of one entry, so that the shared check tells whether the gradient is its derivative."""

    problem: PhotometricProblem

    def residual(self, state: FaceState) -> Array:
        return np.array([self.problem.energy(state)])

    def jacobian(self, state: FaceState) -> Array:
        return self.problem.normal_equations(state).gradient[None]

    def retract(self, state: FaceState, step: Array) -> FaceState:
        return self.problem.retract(state, step)


def test_gradient_is_that_of_the_energy() -> None:
    """Robust weights included: iteratively reweighted least squares has the energy's own gradient."""
    problem, state = small_problem()
    # Clear of the bounds, at which the retraction clips.
    assert (state.pose.coefficients > problem.landmarks.lower + 2.0 * STEP).all()
    assert_jacobian(Energy(problem), state, steps=STEP, tolerance=1e-6, names=names_of(problem))


# --- What the kernels assemble ------------------------------------------------------------------------------------


@pytest.mark.kernels
@pytest.mark.parametrize("seed", range(3))
def test_normal_equations_are_those_of_the_explicit_jacobian(seed: int) -> None:
    """Jointly over pose, shape, light and albedo."""
    problem, state = small_problem(seed)
    assert_explicit(problem, state, slice(None))


@pytest.mark.kernels
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("where", [away_from_pixel_borders, far_from_the_view])
def test_pose_and_shape_have_their_equations_away_from_the_view(seed: int, where: Any) -> None:
    """And their coupling to light and albedo, whose own part is only that of the state that the view was made in."""
    problem, state = small_problem(seed, "waves")
    assert_explicit(problem, where(state), slice(0, 6 + len(state.pose.coefficients)))


def assert_explicit(problem: PhotometricProblem, state: FaceState, rows: slice) -> None:
    """Energy, and these rows of gradient and matrix, are those of the explicit Jacobian."""
    photo, other = explicit_equations(problem, state), other_equations(problem, state)
    got = problem.normal_equations(state)
    assert got.energy == pytest.approx(photo.energy + other.energy, rel=1e-12)
    assert problem.energy(state) == pytest.approx(got.energy, rel=1e-12)
    np.testing.assert_array_equal(got.matrix, got.matrix.T)
    unit = 1.0 / np.sqrt(photo.matrix.diagonal())  # so that no unit hides another's errors
    assert_close(((got.gradient - other.gradient) * unit)[rows], (photo.gradient * unit)[rows])
    scale = unit * unit[:, None]
    assert_close(((got.matrix - other.matrix) * scale)[rows], (photo.matrix * scale)[rows])


@pytest.mark.kernels
@pytest.mark.parametrize("where", [at_the_view, away_from_pixel_borders, far_from_the_view])
def test_residual_is_that_of_the_reference(where: Any) -> None:
    problem, state = small_problem(3, "waves")
    expected = ReferenceProblem(problem).residual(where(state)).reshape(-1, 3)
    np.testing.assert_allclose(problem.residual(where(state)), expected, rtol=0.0, atol=1e-12)


@pytest.mark.kernels
def test_samples_of_no_weight_have_no_part() -> None:
    problem, state = small_problem(4)
    kept = np.arange(len(problem.view)) % 3 > 0
    assert_explicit(replace(problem, weight=problem.weight * kept), state, slice(None))
    nothing, other = replace(problem, weight=np.zeros(len(problem.view))), other_equations(problem, state)
    got = nothing.normal_equations(state)
    assert got.energy == pytest.approx(other.energy, rel=1e-14)
    np.testing.assert_array_equal(got.matrix, other.matrix)
    np.testing.assert_array_equal(got.gradient, other.gradient)


@pytest.mark.parametrize("seed", range(3))
def test_matrix_is_positive_however_much_the_photo_counts(seed: int) -> None:
    problem, state = small_problem(seed, zoom=6)
    problem = replace(problem, weight=np.full(len(problem.view), 1e6))
    matrix = problem.normal_equations(state).matrix
    unit = 1.0 / np.sqrt(matrix.diagonal())
    assert np.linalg.eigvalsh(matrix * unit * unit[:, None])[0] > -1e-13


@pytest.mark.kernels
def test_sums_of_light_and_albedo() -> None:
    """The gradient's parts, and the displayed values' squared slopes, triangle by triangle."""
    problem, state = small_problem(0)
    view, appearance = problem.view, state.appearance
    albedo, weight = view.surface.albedo.reflectance(appearance.coefficients, view.albedo_rows), problem.weight
    count = len(view.triangles)
    sums = np.empty((count, 3, 9)), np.empty((count, 3, 3)), np.empty((count, 3))
    _kernels.appearance_sums((0, count), view.mesh, view.samples, view.colours, albedo, appearance.light, weight, sums)
    functions, rho = basis(view.normals), view.of_samples(albedo)
    shading = functions @ appearance.light
    value, slope = displayed(rho * shading)
    by_linear = weight[:, None] * slope * (value - view.colours)
    expected = (
        np.einsum("mk,mp->mkp", by_linear * rho, functions),
        np.einsum("mc,mk->mck", view.barycentric, by_linear * shading),
        weight[:, None] * slope**2,
    )
    for got, values in zip(sums, expected, strict=True):
        assert_close(got, np.add.reduceat(values, view.first[:-1], axis=0), 1e-12)


@pytest.mark.kernels
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_design_of_light_and_albedo(precision: type[np.floating]) -> None:
    """Each channel's light acts on it alone; albedo is interpolated from the corners."""
    rng = np.random.default_rng(0)
    corners, barycentric = rng.integers(0, 6, (20, 3)).astype(np.int32), rng.dirichlet(np.ones(3), 20)
    functions, by_shading, by_albedo = (rng.standard_normal((20, n)) for n in (9, 3, 3))
    modes = rng.standard_normal((6, 3, 4)).astype(precision)
    design = np.full((20, 3, 31), np.nan, precision)
    _kernels.appearance_design(corners, barycentric, functions, by_shading, by_albedo, modes, design)
    by_light = np.einsum("mk,kj,mp->mkjp", by_shading, np.eye(3), functions).reshape(20, 3, 27)
    by_tone = np.einsum("mk,mi,mika->mka", by_albedo, barycentric, modes[corners].astype(np.float64))
    tolerance = 20.0 * float(np.finfo(precision).eps)
    np.testing.assert_allclose(design, np.concatenate([by_light, by_tone], axis=2), rtol=0.0, atol=tolerance)


@pytest.mark.kernels
def test_albedo_of_chosen_rows() -> None:
    rng = np.random.default_rng(0)
    modes, coefficients, rows = rng.standard_normal((9, 3, 5)), rng.standard_normal(5), np.array([3, 3, 0, 8])
    values = np.ones((4, 3))
    _kernels.add_modes(modes, coefficients, rows, values)
    np.testing.assert_allclose(values, 1.0 + modes[rows] @ coefficients, rtol=1e-13)


def test_appearance_has_equations_of_its_own() -> None:
    """They are the joint ones' block: what is solved for with pose and shape held."""
    problem, state = small_problem(1)
    weights = problem.sample_weights(problem.residual(state))
    matrix, gradient = appearance_equations(problem.view, state.appearance, weights)
    joint, split = problem.normal_equations(state), 6 + len(state.pose.coefficients)
    np.testing.assert_array_equal(matrix, joint.matrix[split:, split:])
    np.testing.assert_array_equal(gradient, joint.gradient[split:])


@pytest.mark.kernels
def test_displayed_value_and_slope() -> None:
    """On 0 to 1 the sRGB curve, whose slope is that of NumPy's; the rest as `appearance.displayed` continues it."""
    linear = np.concatenate([np.linspace(-0.5, 2.0, 101), [0.0, 1e-300, 0.0031308, 0.00313081]])
    kernel = np.array([_kernels.displayed(x) for x in linear])
    value, slope = displayed(linear)
    np.testing.assert_allclose(kernel[:, 0], value, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(kernel[:, 1], slope, rtol=1e-13)
    inside = (linear >= 0.0) & (linear <= 1.0)
    np.testing.assert_allclose(value[inside], linear_to_srgb(linear[inside]), rtol=1e-13, atol=1e-15)


@pytest.mark.kernels
def test_shading_basis_is_that_of_the_renderer() -> None:
    normals = np.random.default_rng(0).standard_normal((20, 3))
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    for normal in normals:
        np.testing.assert_allclose(_kernels.shading_basis(*normal.tolist()), basis(normal), rtol=1e-13, atol=1e-15)


@pytest.mark.kernels
def test_normals_of_triangles_are_those_of_the_renderer() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((12, 3))
    triangles = np.array([rng.choice(12, 3, replace=False) for _ in range(30)], dtype=np.int32)
    got = np.empty((30, 3))
    _kernels.triangle_normals(points, triangles, got)
    np.testing.assert_allclose(got, triangle_normals(points, triangles), atol=1e-13)
