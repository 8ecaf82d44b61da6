"""The photometric energy's derivatives: against plain NumPy, written from the text of `problem.py` and `view.py`.

The reference is explicit: one row per sample and channel, the Jacobian whole. It passes the shared check of Jacobians,
and what the kernels assemble through the mesh is held against it.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from jacobians import assert_jacobian
from numpy.typing import NDArray
from scenes import toy_model

from facefit.fitting._kernels import rotated
from facefit.fitting.landmark_noise import LandmarkNoise, expand_sigma
from facefit.fitting.landmark_problem import PoseAndShape
from facefit.fitting.landmark_task import landmark_task
from facefit.fitting.landmarks import LandmarkConvention
from facefit.fitting.photometric import _kernels
from facefit.fitting.photometric.appearance import displayed
from facefit.fitting.photometric.levels import Level
from facefit.fitting.photometric.problem import PhotometricProblem
from facefit.fitting.photometric.surface import make_surface
from facefit.fitting.photometric.view import make_view
from facefit.models.colour import linear_to_srgb
from facefit.render.cameras import rotation_from_angles
from facefit.render.normals import triangle_normals
from facefit.render.spherical_harmonics import basis

Array = NDArray[np.float64]


class FullState(NamedTuple):
    """Everything that the residual depends on."""

    shape: PoseAndShape
    light: Array  # (9, 3)
    coefficients: Array  # (A,) of the albedo's modes, from the problem's own albedo


@dataclass(frozen=True, eq=False)
class ReferenceProblem:
    """`jacobians.Differentiable` over FullState; steps are (6 + P pose and shape, 27 light by channel, A albedo)."""

    problem: PhotometricProblem
    modes: Array  # (V, 3, A)

    def state(self, shape: PoseAndShape) -> FullState:
        return FullState(shape, self.problem.light, np.zeros(self.modes.shape[2]))

    def retract(self, state: FullState, step: Array) -> FullState:
        """Bounds do not matter to the residual: coefficients just move."""
        shape, size = state.shape, 6 + len(state.shape.coefficients)
        return FullState(
            PoseAndShape(
                rotated(shape.rotation, step[:3]),
                shape.translation + step[3:5],
                shape.scale * float(np.exp(step[5])),
                shape.coefficients + step[6:size],
            ),
            state.light + step[size : size + 27].reshape(3, 9).T,
            state.coefficients + step[size + 27 :],
        )

    def residual(self, state: FullState) -> Array:
        return self._parts(state)["residual"].ravel()

    def jacobian(self, state: FullState) -> Array:
        parts = self._parts(state)
        corners = self.problem.view.corners
        # By the nine numbers of the sample's triangle: through the place in the image, and through the normal.
        by_place = np.zeros((len(corners), 3, 3, 3))  # sample, channel, corner, axis
        by_place[..., :2] = np.einsum("mc,mkx->mkcx", parts["barycentric"], parts["gradient"])
        by_normal = np.einsum("mkn,mncx->mkcx", parts["by_normal"], parts["normal_by_corners"])
        by_corners = (by_place + by_normal).reshape(len(corners), 3, 9)
        tangent = self._tangent(state.shape)[corners].reshape(len(corners), 9, -1)
        blocks = [np.einsum("mkc,mcp->mkp", by_corners, tangent), self._by_appearance(parts)]
        return np.concatenate(blocks, axis=2).reshape(3 * len(corners), -1)

    def _by_appearance(self, parts: dict[str, Any]) -> Array:
        count = len(parts["residual"])
        by_light = np.zeros((count, 3, 27))
        for k in range(3):
            by_light[:, k, 9 * k : 9 * k + 9] = -(parts["slope"] * parts["rho"])[:, [k]] * parts["functions"]
        modes = self.problem.view.of_samples(self.modes)
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

    def _parts(self, state: FullState) -> dict[str, Any]:
        view = self.problem.view
        corners = self._points(state.shape)[view.corners]  # (M, 3, 3)
        place = np.einsum("mc,mcx->mx", view.barycentric, corners[:, :, :2])
        photo, gradient = _interpolated(view.level, place)
        smooth, by_flat = self._normals(corners)
        flat_by_corners = _flat_normal_derivative(corners)
        functions = basis(smooth)
        shading = functions @ state.light
        albedo = self.problem.albedo + self.modes @ state.coefficients
        rho = view.of_samples(albedo)
        value, slope = displayed(rho * shading)
        by_direction = np.einsum("mpn,pk->mkn", _basis_derivative(smooth), state.light)
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


def explicit_equations(
    problem: PhotometricProblem, shape: PoseAndShape, modes: Array
) -> tuple[float, Array, Array, Array]:
    """Return energy, gradient, matrix and coupling of the photo's part: J^T W J from the explicit Jacobian."""
    reference = ReferenceProblem(problem, modes)
    state = reference.state(shape)
    jacobian, residual = reference.jacobian(state), reference.residual(state)
    square = (residual.reshape(-1, 3) ** 2).sum(axis=1) / problem.sigma**2
    nu = problem.degrees
    energy = float(np.sum(problem.weight * (nu + 3.0) / 2.0 * np.log(1.0 + square / nu)))
    weight = np.repeat(problem.weight * (nu + 3.0) / (nu + square) / problem.sigma**2, 3)
    size = 6 + len(shape.coefficients)
    own, other = jacobian[:, :size], jacobian[:, size:]
    return energy, own.T @ (weight * residual), own.T @ (weight[:, None] * own), own.T @ (weight[:, None] * other)


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


def photo_of(kind: str) -> Array:
    """A small photo (H, W, 3): linear in both directions, so that interpolation has no kinks; or smooth."""
    row, column = np.indices((32, 28)) / 30.0
    planes = [0.2 + 0.3 * column + 0.2 * row, 0.6 - 0.2 * column + 0.1 * row, 0.3 + 0.05 * column + 0.4 * row]
    waves = [0.1 * np.sin(5.0 * column + 3.0 * row + k) for k in range(3)]
    return np.stack([p + w if kind == "smooth" else p for p, w in zip(planes, waves, strict=True)], axis=2)


def small_problem(
    seed: int = 0, kind: str = "linear", brightness: float = 1.0
) -> tuple[PhotometricProblem, Any, Array]:
    """Return a problem in double precision, the state in which its view was made, and modes (V, 3, A) of its albedo."""
    rng = np.random.default_rng(seed)
    model = toy_model(seed, vertices=60)
    colours = rng.uniform(0.2, 0.8, (model.n_vertices, 3))
    model = replace(model, albedo_mean=colours, albedo=0.05 * rng.standard_normal((3, model.n_vertices, 3)))
    surface = make_surface(model, 0.15, 60.0, dtype=np.float64)
    level = Level(photo_of(kind), 0.6, np.array([0.3, -0.2]))
    rotation = rotation_from_angles(12.0, -7.0, 5.0)
    coefficients = np.concatenate([0.3 * rng.standard_normal(model.n_identity), np.full(model.n_expression, 0.2)])
    state = PoseAndShape(rotation, np.array([22.1, 26.3]), 0.2, coefficients)
    view = make_view(surface, level, state, 0.25)
    light = brightness * np.concatenate([np.full((1, 3), 2.0), 0.4 * rng.standard_normal((8, 3))])
    modes = surface.albedo.modes[view.albedo_rows].astype(np.float64)
    noise = LandmarkNoise(expand_sigma(0.03))
    points = surface.model.semantic_basis.positions(coefficients)
    observed = 0.2 * points @ rotation[:2].T + state.translation + rng.standard_normal((68, 2))
    landmarks = landmark_task(model, observed, noise, LandmarkConvention.SEMANTIC).problem(0.2)
    problem = PhotometricProblem(
        view=view,
        landmarks=landmarks,
        albedo=surface.albedo.reflectance(0.3 * rng.standard_normal(surface.albedo.size), view.albedo_rows),
        light=light,
        weight=rng.uniform(0.0, 0.05, len(view)),
        sigma=0.08,
        degrees=4.0,
    )
    return problem, state, modes


def away_from_pixel_borders(state: PoseAndShape) -> PoseAndShape:
    """Return the state moved by half a pixel of the level: samples were made at the pixels' very centres."""
    return state._replace(
        translation=state.translation + 0.5 / 0.6, coefficients=state.coefficients + 0.01
    )  # fmt: skip


def far_from_the_view(state: PoseAndShape) -> PoseAndShape:
    """Return a state in which normals have turned well away from where the view was made."""
    moved = np.linspace(-0.3, 0.3, len(state.coefficients))
    return state._replace(rotation=rotated(state.rotation, np.array([0.1, -0.15, 0.05])), coefficients=moved)


def names_of(problem: PhotometricProblem, modes: Array) -> list[str]:
    pose = ["omega x", "omega y", "omega z", "t u", "t v", "log s"]
    shape = [f"coefficient {k}" for k in range(problem.view.basis.shape[2])]
    light = [f"light {k} of channel {c}" for c in range(3) for k in range(9)]
    return [*pose, *shape, *light, *(f"albedo {k}" for k in range(modes.shape[2]))]


def assert_close(got: Array, expected: Array, tolerance: float = 1e-9) -> None:
    """Agreement relative to the largest entry."""
    np.testing.assert_allclose(got, expected, rtol=0.0, atol=tolerance * np.abs(expected).max())


# --- Derivatives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [lambda state: state, far_from_the_view], ids=["where the view was made", "far away"])
def test_every_block_of_the_jacobian_is_the_derivative(where: Any) -> None:
    """Pose, identity, expression, light and albedo, on a photo without kinks."""
    problem, state, modes = small_problem()
    reference = ReferenceProblem(problem, modes)
    start = reference.state(where(state))
    assert_jacobian(reference, start, steps=1e-3, tolerance=1e-7, names=names_of(problem, modes))


def test_jacobian_on_a_photo_with_kinks_between_pixels() -> None:
    problem, state, modes = small_problem(1, "smooth")
    reference = ReferenceProblem(problem, modes)
    start = reference.state(away_from_pixel_borders(state))
    assert_jacobian(reference, start, steps=1e-4, tolerance=1e-6, names=names_of(problem, modes))


def test_jacobian_in_the_dark() -> None:
    """Below the kink of the sRGB curve its straight part goes on, also for light that is less than none."""
    problem, state, modes = small_problem(2, brightness=-0.5)
    reference = ReferenceProblem(problem, modes)
    assert_jacobian(reference, reference.state(state), steps=1e-3, tolerance=1e-7, names=names_of(problem, modes))


@dataclass(frozen=True)
class Energy:
    """The energy as a residual of one entry, so that the shared check tells whether the gradient is its derivative."""

    problem: PhotometricProblem

    def residual(self, state: PoseAndShape) -> Array:
        return np.array([self.problem.energy(state)])

    def jacobian(self, state: PoseAndShape) -> Array:
        return self.problem.normal_equations(state).gradient[None]

    def retract(self, state: PoseAndShape, step: Array) -> PoseAndShape:
        return self.problem.retract(state, step)


@pytest.mark.parametrize("where", [lambda state: state, far_from_the_view], ids=["where the view was made", "far away"])
def test_gradient_is_that_of_the_energy(where: Any) -> None:
    """Robust weights included: iteratively reweighted least squares has the energy's own gradient."""
    problem, state, _ = small_problem()
    moved = where(state)
    # Clear of the bounds, at which the retraction clips.
    moved = moved._replace(coefficients=np.clip(moved.coefficients, problem.landmarks.lower + 0.05, np.inf))
    assert_jacobian(Energy(problem), moved, steps=1e-4, tolerance=1e-6)


# --- What the kernels assemble ------------------------------------------------------------------------------------


@pytest.mark.kernels
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("where", [away_from_pixel_borders, far_from_the_view])
def test_normal_equations_are_those_of_the_explicit_jacobian(seed: int, where: Any) -> None:
    problem, state, modes = small_problem(seed, "smooth")
    state = where(state)
    energy, gradient, matrix, coupling = explicit_equations(problem, state, modes)
    landmarks, got = problem.landmarks.normal_equations(state), problem.normal_equations(state)
    assert got.energy == pytest.approx(energy + landmarks.energy, rel=1e-12)
    assert problem.energy(state) == pytest.approx(got.energy, rel=1e-12)
    unit = 1.0 / np.sqrt(matrix.diagonal())  # so that no unit hides another's errors
    assert_close((got.gradient - landmarks.gradient) * unit, gradient * unit)
    assert_close((got.matrix - landmarks.matrix) * unit * unit[:, None], matrix * unit * unit[:, None])
    both, cross = problem.coupled_matrices(state, modes)
    np.testing.assert_array_equal(both, got.matrix)
    assert_close(cross * unit[:, None], coupling * unit[:, None])


@pytest.mark.kernels
@pytest.mark.parametrize("where", [lambda state: state, away_from_pixel_borders, far_from_the_view])
def test_residual_is_that_of_the_reference(where: Any) -> None:
    problem, state, modes = small_problem(3, "smooth")
    reference = ReferenceProblem(problem, modes)
    expected = reference.residual(reference.state(where(state))).reshape(-1, 3)
    np.testing.assert_allclose(problem.residual(where(state)), expected, rtol=0.0, atol=1e-12)


@pytest.mark.kernels
def test_samples_of_no_weight_have_no_part() -> None:
    problem, state, modes = small_problem(4)
    kept = np.arange(len(problem.view)) % 3 > 0
    problem = replace(problem, weight=problem.weight * kept)
    energy, _, matrix, coupling = explicit_equations(problem, state, modes)
    both, cross = problem.coupled_matrices(state, modes)
    assert problem.photometric_energy(problem.residual(state)) == pytest.approx(energy, rel=1e-12)
    assert_close(both - problem.landmarks.normal_equations(state).matrix, matrix)
    assert_close(cross, coupling)
    nothing = replace(problem, weight=np.zeros(len(problem.view)))
    got, landmarks = nothing.normal_equations(state), problem.landmarks.normal_equations(state)
    np.testing.assert_array_equal(got.matrix, landmarks.matrix)
    np.testing.assert_array_equal(got.gradient, landmarks.gradient)


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
