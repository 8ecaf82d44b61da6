"""Normal equations through a mesh: against the explicit Jacobian of its pixels, invariances, and the kernel beneath."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from facefit.fitting._kernels import rotated
from facefit.fitting.mesh_assembly import equations
from facefit.fitting.mesh_assembly._kernels import PACKED, right_hand_rows
from facefit.fitting.mesh_assembly.equations import POSE, MeshPattern, TriangleSums, project
from facefit.fitting.threads import single_threaded_blas
from facefit.models.errors import InvalidInputError

seeds = st.integers(0, 2**32 - 1)


class Mesh(NamedTuple):
    """A face seen by a camera, and pixels that see its triangles."""

    triangles: np.ndarray  # (T, 3)
    mean: np.ndarray  # (V, 3) mm
    basis: np.ndarray  # (V, 3, P)
    coefficients: np.ndarray  # (P,)
    rotation: np.ndarray
    scale: float
    seen: np.ndarray  # (N,) triangle of each residual
    g: np.ndarray  # (N, 9) its derivative by the triangle's nine coordinates
    h: np.ndarray  # (N, Q) and by the further unknowns
    weight: np.ndarray  # (N,)
    residual: np.ndarray  # (N,)

    @property
    def points(self):
        return self.mean + self.basis @ self.coefficients

    def camera_points(self, step):
        """q (V, 3) in px at `step` from here, moved by dt as the image is."""
        rotation, scale = rotated(self.rotation, step[:3]), self.scale * np.exp(step[5])
        points = self.mean + self.basis @ (self.coefficients + step[POSE:])
        return scale * points @ rotation.T + np.append(step[3:5], 0.0)

    def tangent(self):
        """dq / dstep (3 V, 6 + P), by its definition in camera coordinates."""
        q = self.scale * self.points @ self.rotation.T
        omega = [np.cross(axis, q) for axis in np.eye(3)]
        shift = [np.broadcast_to(axis, q.shape) for axis in np.eye(3)[:2]]
        shape = self.scale * np.einsum("ij,vjp->pvi", self.rotation, self.basis)
        return np.stack([*omega, *shift, q, *shape], axis=-1).reshape(q.size, -1)

    def jacobian(self):
        """dr / dstep (N, 6 + P), a row per residual."""
        corners = self.tangent().reshape(len(self.mean), 3, -1)[self.triangles[self.seen]]
        return np.einsum("nk,nkp->np", self.g, corners.reshape(len(self.g), 9, -1))

    def explicit(self):
        """The explicit normal equations J^T W (J, r, h)."""
        weighted = self.jacobian().T * self.weight
        return weighted @ self.jacobian(), weighted @ self.residual, weighted @ self.h

    def sums(self, dtype=np.float64):
        i, j = np.triu_indices(9)
        return TriangleSums(
            *(
                self._summed(terms).astype(dtype)
                for terms in (
                    self.g[:, i] * self.g[:, j],
                    self.g * self.residual[:, None],
                    self.g[:, :, None] * self.h[:, None, :],
                )
            )
        )

    def _summed(self, terms):
        total = np.zeros((len(self.triangles), *terms.shape[1:]))
        np.add.at(total, self.seen, (terms.T * self.weight).T)
        return total

    def project(self, dtype=np.float64, executor=None, sums=None):
        pattern = MeshPattern.from_triangles(self.triangles, len(self.mean))
        basis = self.basis.astype(dtype)
        sums = sums or self.sums(dtype)
        return project(pattern, sums, basis, self.points, self.rotation, self.scale, executor)


def random_mesh(seed, vertices=12, triangles=20, coefficients=5, unknowns=4, pixels=80):
    """Triangles of any three vertices: a pair shared by many, a vertex in none, a triangle twice."""
    rng = np.random.default_rng(seed)
    corners = np.array([rng.choice(vertices - 1, 3, replace=False) for _ in range(triangles)], dtype=np.int32)
    return Mesh(
        triangles=corners.reshape(-1, 3),
        mean=50.0 * rng.standard_normal((vertices, 3)),
        basis=rng.standard_normal((vertices, 3, coefficients)),
        coefficients=rng.standard_normal(coefficients),
        rotation=Rotation.random(random_state=seed).as_matrix(),
        scale=rng.uniform(0.5, 4.0),
        seen=rng.integers(0, triangles, pixels if triangles else 0),
        g=rng.standard_normal((pixels if triangles else 0, 9)),
        h=rng.standard_normal((pixels if triangles else 0, unknowns)),
        weight=rng.uniform(0.0, 2.0, pixels if triangles else 0),
        residual=rng.standard_normal(pixels if triangles else 0),
    )


def assert_close(got, expected, tolerance):
    """Agreement relative to the largest entry, and per entry of a matrix relative to its diagonal."""
    assert_allclose(got, expected, rtol=0.0, atol=tolerance * np.abs(expected).max(initial=1e-300))


def assert_equations(got, expected, tolerance):
    matrix, gradient, cross = expected
    unit = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))  # so that no unit hides another's errors
    assert_close(got.matrix * unit * unit[:, None], matrix * unit * unit[:, None], tolerance)
    assert_close(got.gradient * unit, gradient * unit, tolerance)
    assert_close(got.cross * unit[:, None], cross * unit[:, None], tolerance)


# --- Against the explicit Jacobian -------------------------------------------------------------------------------


@pytest.mark.kernels
@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_equations_are_those_of_the_explicit_jacobian(seed):
    mesh = random_mesh(seed)
    assert_equations(mesh.project(), mesh.explicit(), 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_equations_of_several_chunks(seed):
    mesh = random_mesh(seed, vertices=2 * equations.CHUNK + 7, triangles=900, coefficients=30, pixels=3000)
    assert_equations(mesh.project(), mesh.explicit(), 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_float32_is_as_good_as_its_digits(seed):
    mesh = random_mesh(seed, vertices=700, triangles=1300, coefficients=60, pixels=9000)
    got = mesh.project(np.float32)
    assert got.matrix.dtype == got.gradient.dtype == got.cross.dtype == np.float64
    assert_equations(got, mesh.explicit(), 2e-6)


@pytest.mark.parametrize("seed", range(3))
def test_tangent_is_the_derivative_through_the_retraction(seed):
    mesh = random_mesh(seed)
    for column, direction in zip(mesh.tangent().T, np.eye(POSE + len(mesh.coefficients)), strict=True):
        difference = (mesh.camera_points(1e-6 * direction) - mesh.camera_points(-1e-6 * direction)) / 2e-6
        assert_close(column, difference.ravel(), 1e-7)


def test_degenerate_triangles_count_once_per_corner():
    mesh = random_mesh(5)
    mesh.triangles[:8] = [[3, 3, 4], [3, 4, 3], [4, 3, 3], [6, 6, 6], [0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 1, 2]]
    assert_equations(mesh.project(), mesh.explicit(), 1e-9)


# --- Invariances -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_order_of_triangles_does_not_matter(seed):
    mesh = random_mesh(seed, vertices=600, triangles=1100, pixels=5000)
    place = np.random.default_rng(seed).permutation(len(mesh.triangles))
    shuffled = mesh._replace(triangles=mesh.triangles[place], seen=np.argsort(place)[mesh.seen])
    expected = mesh.project()
    assert_equations(shuffled.project(), (expected.matrix, expected.gradient, expected.cross), 1e-12)


def test_result_does_not_depend_on_the_threads():
    mesh = random_mesh(0, vertices=1500, triangles=2800, coefficients=40, pixels=9000)
    sums = mesh.sums(np.float32)
    with single_threaded_blas():
        results = [mesh.project(np.float32, sums=sums)]
        for workers in (1, 2, 3):
            with ThreadPoolExecutor(workers) as executor:
                results.append(mesh.project(np.float32, executor, sums))
        before = numba.get_num_threads()
        numba.set_num_threads(1)
        try:
            results.append(mesh.project(np.float32, sums=sums))
        finally:
            numba.set_num_threads(before)
    for other in results[1:]:
        assert_array_equal(other.matrix, results[0].matrix)
        assert_array_equal(other.gradient, results[0].gradient)
        assert_array_equal(other.cross, results[0].cross)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_matrix_is_symmetric_and_positive(dtype):
    matrix = random_mesh(1, vertices=300, triangles=550, coefficients=20, pixels=2000).project(dtype).matrix
    assert_array_equal(matrix, matrix.T)
    unit = 1.0 / np.sqrt(np.diag(matrix))
    assert np.linalg.eigvalsh(matrix * unit * unit[:, None])[0] > -1e-6


def test_rigid_motion_of_the_model_frame_changes_nothing():
    """Turning the model and its basis, and the camera the other way, is no motion at all."""
    mesh = random_mesh(2)
    turn = Rotation.random(random_state=9).as_matrix()
    turned = mesh._replace(
        mean=mesh.mean @ turn.T, basis=np.einsum("ij,vjp->vip", turn, mesh.basis), rotation=mesh.rotation @ turn.T
    )
    assert_equations(turned.project(), mesh.explicit(), 1e-9)


# --- Edges of the domain -----------------------------------------------------------------------------------------


def test_vertices_of_no_triangle_have_no_part():
    mesh = random_mesh(3)
    alone = sorted(set(range(len(mesh.mean))) - set(mesh.triangles.ravel()))
    assert alone
    before = mesh.project()
    mesh.basis[alone] = 1e6
    mesh.mean[alone] = -1e6
    after = mesh.project()
    assert_allclose(after.matrix, before.matrix, rtol=1e-12, atol=1e-12 * before.matrix.max())
    assert_allclose(after.gradient, before.gradient, rtol=1e-12, atol=1e-12 * np.abs(before.gradient).max())


@pytest.mark.kernels
def test_no_triangles_give_zeros():
    got = random_mesh(4, triangles=0).project()
    assert got.matrix.shape == (11, 11) and got.gradient.shape == (11,) and got.cross.shape == (11, 4)
    assert not got.matrix.any() and not got.gradient.any() and not got.cross.any()


def test_no_vertices_give_zeros():
    pattern = MeshPattern.from_triangles(np.zeros((0, 3), np.int32), 0)
    sums = TriangleSums(np.zeros((0, 45)), np.zeros((0, 9)))
    got = project(pattern, sums, np.zeros((0, 3, 2)), np.zeros((0, 3)), np.eye(3), 1.0)
    assert got.matrix.shape == (8, 8) and not got.matrix.any()


@pytest.mark.kernels
def test_without_further_unknowns():
    mesh = random_mesh(6)
    expected, got = mesh.project(), mesh.project(sums=mesh.sums()._replace(cross=None))
    assert got.cross is None
    assert_close(got.matrix, expected.matrix, 1e-12)
    assert_close(got.gradient, expected.gradient, 1e-12)


@pytest.mark.parametrize(
    ("triangles", "message"),
    [
        ([[0, 1]], r"integer triangles \(T, 3\)"),
        ([[0.0, 1.0, 2.0]], "float64"),
        ([[0, 1, 5]], "expected vertices 0 to 4, got 0 to 5"),
        ([[0, -1, 2]], "got -1 to 2"),
    ],
)
def test_wrong_triangles_are_refused(triangles, message):
    with pytest.raises(InvalidInputError, match=message):
        MeshPattern.from_triangles(triangles, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": np.zeros((20, 81))}, r"blocks \(20, 45\), got \(20, 81\)"),
        ({"vectors": np.zeros((19, 9))}, r"vectors \(20, 9\), got \(19, 9\)"),
        ({"cross": np.zeros((20, 3, 4))}, r"cross \(20, 9, 4\), got \(20, 3, 4\)"),
        ({"vectors": np.zeros((20, 9), np.float32)}, "vectors of float64, the basis' type, got float32"),
    ],
)
def test_wrong_sums_are_refused(change, message):
    mesh = random_mesh(7)
    with pytest.raises(InvalidInputError, match=message):
        mesh.project(sums=mesh.sums()._replace(**change))


def test_wrong_basis_is_refused():
    mesh = random_mesh(8)
    with pytest.raises(InvalidInputError, match=r"expected basis \(12, 3, 5\), got \(11, 3, 5\)"):
        project(
            MeshPattern.from_triangles(mesh.triangles, 12),
            mesh.sums(), mesh.basis[1:], mesh.points, mesh.rotation, mesh.scale,
        )  # fmt: skip


# --- The pattern and the kernel ----------------------------------------------------------------------------------


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_pattern_lists_each_pair_once_and_each_source_once(seed):
    triangles = random_mesh(seed).triangles
    pattern = MeshPattern.from_triangles(triangles, 12)
    rows = np.repeat(np.arange(12), np.diff(pattern.row_start))
    pairs = list(zip(rows, pattern.columns, strict=True))
    assert pairs == sorted({(v, w) for t in triangles for v in t for w in t if v <= w})
    t, i, j = pattern.sources.T
    of_pair = np.repeat(np.arange(len(pairs)), np.diff(pattern.source_start))
    assert_array_equal(triangles[t, i // 3], rows[of_pair])
    assert_array_equal(triangles[t, j // 3], pattern.columns[of_pair])
    assert len(np.unique(pattern.sources, axis=0)) == 6 * len(triangles), "three corners and three edges each"


def test_packed_order_is_that_of_numpy():
    i, j = np.triu_indices(9)
    assert_array_equal(PACKED[i, j], np.arange(45))
    assert_array_equal(PACKED, PACKED.T)


@pytest.mark.kernels
@pytest.mark.parametrize("seed", range(3))
def test_right_hand_rows_against_dense_matrices(seed):
    """[(U + D / 2) B | C | b] from the dense stiffness matrix, in the model's frame."""
    mesh = random_mesh(seed)
    count, size = len(mesh.mean), 3 * len(mesh.mean)
    sums, frame = mesh.sums(), mesh.scale * mesh.rotation
    S, b, C = np.zeros((size, size)), np.zeros((size, 1)), np.zeros((size, sums.cross.shape[2]))
    for t, corners in enumerate(mesh.triangles):
        entries = (3 * corners[:, None] + np.arange(3)).ravel()
        S[np.ix_(entries, entries)] += sums.blocks[t][PACKED]
        b[entries, 0] += sums.vectors[t]
        C[entries] += sums.cross[t]
    M = np.kron(np.eye(count), frame)
    pose = np.random.default_rng(seed).standard_normal((count, 3, 6))
    B = np.concatenate([pose, mesh.basis], axis=2).reshape(size, -1)
    level = np.arange(size) // 3
    half = np.where(level[:, None] < level, 1.0, np.where(level[:, None] == level, 0.5, 0.0)) * (M.T @ S @ M)
    expected = np.concatenate([half @ B, M.T @ C, M.T @ b], axis=1).reshape(count, 3, -1)

    pattern = tuple(MeshPattern.from_triangles(mesh.triangles, count))
    rows = np.full(expected.shape, np.nan)
    for first, last in ((0, 5), (5, count)):
        right_hand_rows(first, rows[first:last], pattern, tuple(sums), pose, mesh.basis, frame)
    assert_close(rows, expected, 1e-12)
