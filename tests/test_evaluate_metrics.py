"""The measures of `evaluate`, on cases whose answer is known by hand."""

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from facefit.apps.evaluate import _kernels, nme
from facefit.apps.evaluate.scan import (
    ALIGNMENT_LANDMARKS,
    Similarity,
    align_icp,
    scan_to_surface,
    score_scan,
    umeyama,
)
from facefit.apps.evaluate.surface import Surface
from facefit.models.errors import InvalidInputError
from facefit.render.cameras import rotation_from_angles

EXACT = 1e-9


# ---- landmarks


def square(side: float = 100.0) -> np.ndarray:
    """68 points whose box is `side` by `side`."""
    points = np.random.default_rng(1).uniform(0.0, side, (68, 2))
    points[0], points[1] = (0.0, 0.0), (side, side)
    return points


def test_nme_of_shifted_points_is_the_shift_over_the_face_size():
    truth = np.stack([square(), square() * [4.0, 1.0]])  # sizes 100 and 200
    assert nme.face_sizes(truth) == pytest.approx([100.0, 200.0], abs=EXACT)
    assert nme.nme(truth + np.array([3.0, 4.0]), truth) == pytest.approx([0.05, 0.025], abs=EXACT)


def test_nme_of_a_point_set_sees_only_its_points():
    truth = square()[None]
    moved = truth.copy()
    moved[0, 17:, 0] += 10.0  # the 51 inner points: 26 odd ones, 25 even ones
    expected = {"all": 51 / 680, "inner": 0.1, "odd": 26 / 340, "even": 25 / 340}
    for name, value in expected.items():
        assert nme.nme(moved, truth, name) == pytest.approx([value], abs=EXACT)


def test_even_and_odd_points_are_a_partition_and_inner_ones_51():
    both = np.sort(np.concatenate([nme.POINT_SETS["even"], nme.POINT_SETS["odd"]]))
    assert np.array_equal(both, nme.POINT_SETS["all"])
    assert len(nme.POINT_SETS["inner"]) == 51


@given(st.floats(0.1, 10.0), st.floats(-500.0, 500.0))
def test_nme_does_not_depend_on_resolution_or_place(scale, shift):
    truth = square()[None]
    found = truth + np.random.default_rng(2).normal(size=truth.shape)
    assert nme.nme(found * scale + shift, truth * scale + shift) == pytest.approx(nme.nme(found, truth), rel=1e-9)


@pytest.mark.parametrize(
    ("yaw", "expected"),
    [(0, "0-30"), (-30, "0-30"), (30.0001, "30-60"), (-60, "30-60"), (60.0001, "60-90"), (90, "60-90"), (-95, "60-90")],
)
def test_yaw_bins_take_their_upper_edge(yaw, expected):
    assert nme.yaw_bin(yaw) == expected


def test_yaw_that_is_no_number_is_refused():
    with pytest.raises(InvalidInputError, match="finite number of degrees"):
        nme.yaw_bin(float("nan"))


def test_constant_offset_of_each_point_is_removed_relative_to_the_face_size():
    truth = np.stack([square(100.0), square(50.0), square(300.0)])
    sizes = np.array([100.0, 50.0, 300.0])[:, None, None]
    offset = np.random.default_rng(3).normal(size=(68, 2))
    assert nme.without_constant_offset(truth + sizes * offset, truth) == pytest.approx(truth, abs=EXACT)


def test_removing_the_offset_keeps_what_differs_between_images():
    truth = np.stack([square(), square()])
    wiggle = np.array([[[2.0, 0.0]], [[-2.0, 0.0]]])
    centred = nme.without_constant_offset(truth + wiggle + [5.0, 1.0], truth)
    assert centred == pytest.approx(truth + wiggle, abs=EXACT)
    assert nme.nme(centred, truth) == pytest.approx([0.02, 0.02], abs=EXACT)


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (np.zeros((1, 68, 2)), np.zeros((1, 68, 2)), "points lie on a line"),
        (np.zeros((1, 67, 2)), square()[None], r"predicted: expected shape \(1, 68, 2\), got \(1, 67, 2\)"),
        (np.full((1, 68, 2), np.nan), square()[None], "predicted: expected finite numbers"),
        (np.zeros((0, 68, 2)), np.zeros((0, 68, 2)), "at least one image"),
    ],
)
def test_malformed_points_are_refused(predicted, truth, message):
    with pytest.raises(InvalidInputError, match=message):
        nme.nme(predicted, truth)


# ---- closest points of a triangle


def closest_on_triangle_reference(p, a, b, c):
    """The least distance over the face, the edges and the corners, each by its own closed form."""
    candidates = [a, b, c]
    for u, v in ((a, b), (b, c), (c, a)):
        length2 = (v - u) @ (v - u)
        if length2 > 0.0 and 0.0 <= (p - u) @ (v - u) <= length2:
            candidates.append(u + (p - u) @ (v - u) / length2 * (v - u))
    weights, _, rank, _ = np.linalg.lstsq(np.stack([b - a, c - a], axis=1), p - a, rcond=None)
    if rank == 2 and weights.min() >= 0.0 and weights.sum() <= 1.0:
        candidates.append(a + weights @ np.stack([b - a, c - a]))
    return min(candidates, key=lambda q: (q - p) @ (q - p))


RIGHT = ((0.0, 0.0, 0.0), (2.0, 0.0, 0.0), (0.0, 2.0, 0.0))  # in the plane z = 0


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0.5, 0.5, 3.0), (0.5, 0.5, 0.0)),  # inside
        ((-1.0, -1.0, 1.0), (0.0, 0.0, 0.0)),  # corner a
        ((4.0, -1.0, 1.0), (2.0, 0.0, 0.0)),  # corner b
        ((-1.0, 5.0, 1.0), (0.0, 2.0, 0.0)),  # corner c
        ((1.0, -2.0, 1.0), (1.0, 0.0, 0.0)),  # edge ab
        ((-3.0, 1.0, 1.0), (0.0, 1.0, 0.0)),  # edge ac
        ((2.0, 2.0, 1.0), (1.0, 1.0, 0.0)),  # edge bc
        ((0.5, 0.25, 0.0), (0.5, 0.25, 0.0)),  # on the triangle
    ],
)
def test_closest_point_in_every_region_of_a_triangle(point, expected):
    for turn in ((0, 1, 2), (1, 2, 0), (2, 1, 0)):
        found = _kernels.closest_on_triangle(point, *(RIGHT[i] for i in turn))
        assert found == pytest.approx(expected, abs=EXACT)


def degenerate_and_random_triangles(rng):
    triangles = rng.normal(size=(300, 3, 3))
    triangles[:60, 1] = triangles[:60, 0]  # two corners alike, in every position
    triangles[60:120, 2] = triangles[60:120, 1]
    triangles[120:160, 2] = triangles[120:160, 0]
    triangles[160:200, 2] = 0.3 * triangles[160:200, 0] + 0.7 * triangles[160:200, 1]  # on a line
    triangles[200:210] = triangles[200:210, :1]  # a single spot
    return triangles


def test_closest_point_agrees_with_the_reference_also_without_area(rng):
    triangles = degenerate_and_random_triangles(rng)
    for p, corners in zip(rng.normal(scale=2.0, size=(300, 3)), triangles, strict=True):
        found = np.array(_kernels.closest_on_triangle(tuple(p), *(tuple(x) for x in corners)))
        expected = closest_on_triangle_reference(p, *corners)
        assert np.linalg.norm(found - p) == pytest.approx(np.linalg.norm(expected - p), abs=EXACT)
        assert found == pytest.approx(expected, abs=1e-7)


def test_closest_point_agrees_with_trimesh(rng):
    triangles, points = rng.normal(size=(500, 3, 3)), rng.normal(scale=2.0, size=(500, 3))
    expected = trimesh.triangles.closest_point(triangles, points)
    found = [_kernels.closest_on_triangle(tuple(p), *map(tuple, t)) for p, t in zip(points, triangles, strict=True)]
    assert np.array(found) == pytest.approx(expected, abs=EXACT)


# ---- closest points of a surface


def bumpy_grid(n: int = 24, size: float = 100.0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth surface without any symmetry, size x size, mm."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, n), np.linspace(-0.5, 0.5, n))
    z = 0.5 * np.exp(-8.0 * (x**2 + 1.5 * y**2)) + 0.1 * np.sin(7.0 * x + 1.0) * np.cos(5.0 * y) - x * x * y
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).reshape(-1, 1)
    quads = corner + np.array([0, 1, n + 1, n])
    return size * np.stack([x, y, z], axis=-1).reshape(-1, 3), np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 500])
def test_the_tree_finds_what_a_search_through_all_triangles_finds(count, rng):
    vertices = rng.normal(size=(3 * count, 3))
    triangles = np.arange(3 * count).reshape(-1, 3)
    surface = Surface(vertices, triangles)
    points = rng.normal(scale=2.0, size=(20, 3))
    found = surface.closest(points)
    for i, p in enumerate(points):
        every = [closest_on_triangle_reference(p, *vertices[t]) for t in triangles]
        nearest = min(every, key=lambda q: np.linalg.norm(q - p))
        assert found.distances[i] == pytest.approx(np.linalg.norm(nearest - p), abs=EXACT)
        assert found.points[i] == pytest.approx(nearest, abs=1e-7)
        on_it = closest_on_triangle_reference(found.points[i], *vertices[triangles[found.triangles[i]]])
        assert on_it == pytest.approx(found.points[i], abs=EXACT)


def test_every_triangle_lies_in_one_leaf_and_every_node_in_its_parent():
    surface = Surface(*bumpy_grid())
    assert np.array_equal(np.sort(surface._order), np.arange(len(surface.triangles)))
    assert (np.diff(surface._starts) > 0).all()
    children = np.arange(1, len(surface._lower))
    parents = (children - 1) // 2
    assert (surface._lower[parents] <= surface._lower[children]).all()
    assert (surface._upper[parents] >= surface._upper[children]).all()


def test_a_plane_at_distance_d_is_d_away():
    x, y = np.meshgrid(np.arange(11.0), np.arange(11.0))
    flat, (_, triangles) = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3), bumpy_grid(11)
    points = np.random.default_rng(0).uniform(0.0, 10.0, (50, 3))
    points[:, 2] = -2.5
    assert scan_to_surface(points, Surface(flat, triangles)) == pytest.approx(np.full(50, 2.5), abs=EXACT)


def test_points_of_the_surface_are_at_distance_zero(rng):
    vertices, triangles = bumpy_grid()
    weights = rng.dirichlet(np.ones(3), len(triangles))
    points = np.einsum("tc,tcx->tx", weights, vertices[triangles])
    assert Surface(vertices, triangles).closest(points).distances.max() < 1e-12


@pytest.mark.parametrize(
    ("triangles", "message"),
    [
        (np.zeros((0, 3)), "at least one, got none"),
        ([[0, 1, 9]], "triangles: expected indices from 0 to 2, got 0 to 9"),
        ([[0, 1, -1]], "got -1 to 1"),
    ],
)
def test_a_surface_without_sound_triangles_is_refused(triangles, message):
    with pytest.raises(InvalidInputError, match=message):
        Surface(np.eye(3), triangles)


# ---- similarities and ICP


def some_similarity(scale=1.3, shift=(5.0, -20.0, 300.0)) -> Similarity:
    return Similarity(scale, rotation_from_angles(20.0, -10.0, 5.0), np.array(shift))


@given(st.floats(0.05, 20.0), st.floats(-180.0, 180.0), st.floats(-80.0, 80.0), st.integers(3, 20))
def test_umeyama_recovers_a_similarity(scale, yaw, pitch, count):
    rng = np.random.default_rng(count)
    true = Similarity(scale, rotation_from_angles(yaw, pitch, 30.0), rng.normal(size=3))
    source = rng.normal(size=(count, 3))
    found = umeyama(source, true.apply(source))
    assert found.scale == pytest.approx(scale, rel=1e-9)
    assert found.rotation == pytest.approx(true.rotation, abs=1e-7 if count == 3 else EXACT)
    assert found.apply(source) == pytest.approx(true.apply(source), abs=1e-9 * max(1.0, scale))
    assert np.linalg.det(found.rotation) == pytest.approx(1.0, abs=EXACT)


def test_umeyama_of_mirrored_points_is_still_a_rotation(rng):
    source = rng.normal(size=(10, 3))
    assert np.linalg.det(umeyama(source, source * [-1.0, 1.0, 1.0]).rotation) == pytest.approx(1.0, abs=EXACT)


def test_umeyama_is_a_minimum(rng):
    source, target = rng.normal(size=(12, 3)), rng.normal(size=(12, 3))
    best = umeyama(source, target)

    def cost(s: Similarity) -> float:
        return float(np.sum((s.apply(source) - target) ** 2))

    for nudge in (1e-3, -1e-3):
        assert cost(Similarity(best.scale + nudge, best.rotation, best.translation)) > cost(best)
        assert cost(Similarity(best.scale, best.rotation, best.translation + nudge)) > cost(best)
        turned = best.rotation @ rotation_from_angles(nudge, 0.0, 0.0) @ np.diag([1.0, -1.0, -1.0])
        assert cost(Similarity(best.scale, turned, best.translation)) > cost(best)


@pytest.mark.parametrize("points", [np.zeros((2, 3)), np.ones((5, 3)), np.outer(np.arange(5.0), [1.0, 2.0, 3.0])])
def test_umeyama_refuses_what_determines_no_similarity(points):
    with pytest.raises(InvalidInputError, match="expected"):
        umeyama(points, points)


def test_inverse_undoes_a_similarity(rng):
    points = rng.normal(size=(5, 3))
    there = some_similarity()
    assert there.inverse().apply(there.apply(points)) == pytest.approx(points, abs=EXACT)


def test_icp_recovers_a_similarity():
    vertices, triangles = bumpy_grid(14)
    near = some_similarity(1.05, (2.0, -1.0, 3.0))
    true = Similarity(near.scale, rotation_from_angles(4.0, -3.0, 5.0) @ np.diag([1.0, -1.0, -1.0]), near.translation)
    scan = true.apply(vertices[3:-3:2])
    found = align_icp(scan, Surface(vertices, triangles), tolerance=1e-11, max_iterations=5000)
    assert found.converged
    assert found.similarity.scale == pytest.approx(true.scale, abs=EXACT)
    assert found.similarity.rotation == pytest.approx(true.rotation, abs=EXACT)
    assert found.similarity.translation == pytest.approx(true.translation, abs=1e-7)
    assert scan_to_surface(scan, Surface(vertices, triangles), found.similarity).max() < 1e-7


def test_icp_that_runs_out_of_iterations_says_so():
    vertices, triangles = bumpy_grid(14)
    scan = umeyama(vertices, vertices * 1.02 + 3.0).apply(vertices)
    found = align_icp(scan, Surface(vertices, triangles), max_iterations=2, tolerance=0.0)
    assert (found.iterations, found.converged) == (2, False)


def test_icp_is_not_led_by_a_tenth_of_outliers():
    vertices, triangles = bumpy_grid(14)
    scan = vertices.copy()
    scan[::12] += [0.0, 0.0, 40.0]
    found = align_icp(scan, Surface(vertices, triangles))
    assert np.abs(found.similarity.apply(vertices) - vertices).max() < 0.05


def test_scan_score_does_not_depend_on_the_frame_or_size_of_the_prediction(rng):
    vertices, triangles = bumpy_grid(14)
    landmarks = vertices[rng.choice(len(vertices), 68, replace=False)]
    scan = vertices + 0.7 * np.sin(vertices / 15.0)
    here = score_scan(scan, landmarks, Surface(vertices, triangles), landmarks)
    away = some_similarity()
    there = score_scan(scan, landmarks, Surface(away.apply(vertices), triangles), away.apply(landmarks))
    assert there.distances == pytest.approx(here.distances, abs=1e-7)
    assert here.median == pytest.approx(np.median(here.distances), abs=0.0)
    assert here.mean == pytest.approx(here.distances.mean(), abs=0.0)
    assert 0.0 < here.median < 1.2


def test_scan_score_is_in_the_units_of_the_scan(rng):
    vertices, triangles = bumpy_grid(14)
    landmarks = vertices[rng.choice(len(vertices), 68, replace=False)]
    scan = vertices + 0.7 * np.sin(vertices / 15.0)
    once = score_scan(scan, landmarks, Surface(vertices, triangles), landmarks)
    twice = score_scan(2.0 * scan, 2.0 * landmarks, Surface(vertices, triangles), landmarks)
    assert twice.mean == pytest.approx(2.0 * once.mean, abs=0.02)


def test_alignment_uses_eight_inner_landmarks():
    assert len(set(ALIGNMENT_LANDMARKS)) == 8
    assert ALIGNMENT_LANDMARKS.min() >= 17
