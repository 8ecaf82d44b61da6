"""The sliding jaw: the outline of smooth surfaces against analytic ones, what is seen of it, and who slides when."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import egg, random_scenes, toy_model, with_one_landmark_map
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

import facefit
from facefit.fitting._kernels import nearest_outline_points, occluding_boundary, vertex_normals
from facefit.fitting.contour import GATE, ContourMatch, match_contour
from facefit.fitting.state_prior import PoseAndShape
from facefit.models.morphable_model import JawContour, MorphableModel
from facefit.render.cameras import FRONTAL, rotation_from_angles

RIGHT, LEFT = set(range(8)), set(range(9, 17))
VIEWS = [(0.0, 0.0, 0.0), (20.0, -10.0, 30.0), (-75.0, 40.0, 0.0), (120.0, 15.0, -60.0)]


@pytest.fixture(scope="module")
def model():
    return with_one_landmark_map(facefit.load_model("default"))


def edges_of(triangles):
    pairs = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    return np.unique(pairs, axis=0).astype(np.int32)


def outline(points, triangles):
    """Return the outline's points (O, 3), camera frame, and image normals (O, 2): the ends of all segments."""
    corners, ends, normals = occluding_boundary(points, triangles, len(triangles))
    return np.einsum("sec,scx->sex", ends, points[corners]).reshape(-1, 3), normals.reshape(-1, 2)


def torus(major=2.0, minor=0.6, rings=160, sides=80):
    u, v = np.meshgrid(*(2.0 * np.pi * np.arange(n) / n for n in (rings, sides)), indexing="ij")
    radius = major + minor * np.cos(v)
    points = np.stack([radius * np.cos(u), radius * np.sin(u), minor * np.sin(v)], axis=-1).reshape(-1, 3)
    corner = np.arange(rings * sides).reshape(rings, sides)
    a, b = corner, np.roll(corner, -1, axis=0)
    c, d = np.roll(b, -1, axis=1), np.roll(a, -1, axis=1)
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return points, faces.astype(np.int32)


# --- The outline of a surface ------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS)
def test_outline_of_a_sphere_is_its_circle(view):
    points, triangles = egg(4000, np.ones(3))
    found, normals = outline(points @ rotation_from_angles(*view).T, triangles)
    assert len(found) > 150
    radius = np.linalg.norm(found[:, :2], axis=1)
    longest = np.linalg.norm(np.diff(points[edges_of(triangles)], axis=1), axis=2).max()
    assert radius.max() <= 1.0 + 1e-12  # a chord lies inside
    assert radius.min() >= 1.0 - longest**2 / 4.0
    angles = np.sort(np.arctan2(found[:, 1], found[:, 0]))
    assert np.diff(np.append(angles, angles[0] + 2.0 * np.pi)).max() < 2.0 * longest  # it closes
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-12)
    assert (normals * found[:, :2] / radius[:, None]).sum(axis=1).min() > 1.0 - longest**2  # radial, outwards


@pytest.mark.parametrize("view", VIEWS)
def test_outline_of_an_ellipsoid_is_its_ellipse(view):
    """Half axes D turned by R: the silhouette is u^T C^-1 u = 1 with C = R_2 D^2 R_2^T, its normal along C^-1 u."""
    radii, rotation = np.array([0.7, 1.2, 0.9]), rotation_from_angles(*view)
    points, triangles = egg(6000, radii)
    found, normals = outline(points @ rotation.T, triangles)
    inverse = np.linalg.inv(rotation[:2] @ np.diag(radii**2) @ rotation[:2].T)
    u = found[:, :2]
    assert np.abs(np.sqrt(np.einsum("oi,ij,oj->o", u, inverse, u)) - 1.0).max() < 2e-3
    expected = u @ inverse
    expected /= np.linalg.norm(expected, axis=1)[:, None]
    assert (normals * expected).sum(axis=1).min() > 0.999


@pytest.mark.parametrize("view", VIEWS)
def test_a_bowl_seen_from_inside_has_no_visible_outline(view):
    """A sphere with its inside out: every fold of it is concave, a far rim that nobody sees."""
    points, triangles = egg(2000, np.ones(3))
    found, _ = outline(points @ rotation_from_angles(*view).T, triangles[:, ::-1].copy())
    assert len(found) == 0


@pytest.mark.parametrize("tilt", [10.0, 40.0, 70.0, 85.0])
def test_convex_folds_of_a_torus_are_reported_and_concave_ones_are_not(tilt):
    """A fold can be seen iff the surface's normal curvature along the line of sight is positive (Koenderink).

    On a torus it is (1 / r) cos^2 + (cos v / (R + r cos v)) sin^2 of the line's angle to the meridian.
    """
    major, minor = 2.0, 0.6
    points, triangles = torus(major, minor)
    rotation = rotation_from_angles(15.0, tilt, 20.0)
    seen = points @ rotation.T
    corners, _, _ = occluding_boundary(seen, triangles, len(triangles))
    reported = {tuple(sorted(c)) for c in corners.tolist()}
    facing = vertex_normals(seen, triangles)[triangles][:, :, 2] < 0.0
    folds = triangles[facing.any(axis=1) & ~facing.all(axis=1)]
    middle = points[folds].mean(axis=1)
    u, ring = np.arctan2(middle[:, 1], middle[:, 0]), np.hypot(middle[:, 0], middle[:, 1])
    v = np.arctan2(middle[:, 2], ring - major)
    along_parallel = np.stack([-np.sin(u), np.cos(u), np.zeros_like(u)], axis=1) @ rotation[2]
    curvature = (1.0 - along_parallel**2) / minor + along_parallel**2 * np.cos(v) / (major + minor * np.cos(v))
    clear = np.abs(curvature) > 0.15  # mm^-1: away from where the fold ends in a cusp
    assert clear.mean() > 0.8
    told = np.array([tuple(sorted(fold)) in reported for fold in folds.tolist()])
    np.testing.assert_array_equal(told[clear], (curvature > 0.0)[clear])
    assert ((curvature < 0.0)[clear].mean() > 0.1) == (tilt >= 70.0)  # nearly edge-on, the hole's far side is concave


@pytest.mark.kernels
def test_boundary_kernel_agrees_with_plain_numpy(rng):
    points, triangles = egg(60, np.array([1.0, 1.4, 0.8]))
    points = points @ rotation_from_angles(25.0, 10.0, -5.0).T + 0.03 * rng.standard_normal(points.shape)
    faces = np.cross(
        points[triangles[:, 1]] - points[triangles[:, 0]], points[triangles[:, 2]] - points[triangles[:, 0]]
    )
    normals = np.zeros_like(points)
    for k in range(3):
        np.add.at(normals, triangles[:, k], faces)
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    np.testing.assert_allclose(vertex_normals(points, triangles), normals, atol=1e-12)
    expected = []
    for triangle in triangles:
        z, p = normals[triangle, 2], points[triangle]
        if (z < 0.0).all() or not (z < 0.0).any():
            continue
        plane = np.stack([p[1] - p[0], p[2] - p[0]])  # the gradient of z in the triangle's plane: least norm
        gradient = np.linalg.lstsq(plane, z[1:] - z[0], rcond=None)[0]
        if gradient[2] > 0.0:
            expected.append(triangle)
    corners, ends, outward = occluding_boundary(points, triangles, len(triangles))
    np.testing.assert_array_equal(corners, expected)
    assert len(corners) > 5
    np.testing.assert_allclose(ends.sum(axis=2), 1.0)
    assert (ends >= 0.0).all()
    across = np.einsum("sec,scx->sex", ends, normals[corners])
    np.testing.assert_allclose(across[:, :, 2], 0.0, atol=1e-12)
    expected_normals = across[:, :, :2] / np.linalg.norm(across[:, :, :2], axis=2, keepdims=True)
    np.testing.assert_allclose(outward, expected_normals, atol=1e-12)
    part, _, _ = occluding_boundary(points, triangles, 30)
    np.testing.assert_array_equal(part, [c for c in corners if (triangles[:30] == c).all(axis=1).any()])


@pytest.mark.kernels
def test_boundary_kernel_survives_empty_and_flat_meshes():
    corners, ends, normals = occluding_boundary(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int32), 0)
    assert [len(part) for part in (corners, ends, normals)] == [0, 0, 0]
    corners, _, _ = occluding_boundary(np.zeros((3, 3)), np.array([[0, 1, 2]], dtype=np.int32), 1)
    assert len(corners) == 0


@pytest.mark.kernels
def test_nearest_point_of_the_outline_agrees_with_dense_sampling(rng):
    points, triangles = egg(80, np.array([1.0, 1.4, 0.8]))
    corners, ends, normals = occluding_boundary(points, triangles, len(triangles))
    observed, scale, translation = rng.uniform(-3.0, 3.0, (20, 2)), 1.5, np.array([0.1, -0.2])
    found, weights, directions = nearest_outline_points(
        points, corners, ends, normals, observed, scale, translation, np.ones(20)
    )
    share = np.linspace(0.0, 1.0, 200)[:, None, None, None]
    dense = np.einsum("tsc,scx->tsx", ((1.0 - share) * ends[:, :1] + share * ends[:, 1:])[:, :, 0], points[corners])
    pixels = scale * dense.reshape(-1, 3)[:, :2] + translation
    least = np.linalg.norm(observed[:, None] - pixels, axis=2).min(axis=1)
    assert 0 < (found < 0).sum() < 20
    assert (least[found < 0] >= 0.99).all()
    here = np.einsum("lc,lcx->lx", weights[found >= 0], points[corners[found[found >= 0]]])
    distance = np.linalg.norm(scale * here[:, :2] + translation - observed[found >= 0], axis=1)
    np.testing.assert_allclose(distance, least[found >= 0], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(directions[found >= 0], axis=1), 1.0)


# --- Matching ----------------------------------------------------------------------------------------------------


def posed(model, yaw, pitch=0.0, roll=0.0, scale=2.0):
    """The mean face at a pose, and its 68 semantic points as observed."""
    rotation = rotation_from_angles(yaw, pitch, roll)
    coefficients = np.zeros(model.n_identity + model.n_expression)
    state = PoseAndShape(rotation, np.array([300.0, 250.0]), scale, coefficients)
    return state, scale * model.semantic_basis.mean @ rotation[:2].T + state.translation


def placed(match: ContourMatch, state: PoseAndShape):
    """Where the matched points lie in the image (S, 2) at the state they were matched at."""
    points = match.mean + np.tensordot(state.coefficients, match.basis, axes=1)
    return state.scale * points @ state.rotation[:2].T + state.translation


def without_chin(match):
    return set(match.landmarks.tolist()) - {8}


@pytest.mark.parametrize(
    ("yaw", "sliding"),
    [
        (0.0, RIGHT | LEFT), (5.0, RIGHT | LEFT), (-5.0, RIGHT | LEFT),
        (20.0, LEFT), (45.0, LEFT), (-20.0, RIGHT), (-45.0, RIGHT),
    ],
)  # fmt: skip
def test_the_averted_side_slides_and_both_do_near_frontal(model, yaw, sliding):
    """yaw > 0 turns the nose to image right: the subject's left, landmarks 9-16, turns away there."""
    state, observed = posed(model, yaw)
    match = match_contour(model, state, observed)
    assert len(match.landmarks) == len(set(match.landmarks.tolist()))
    assert without_chin(match) <= sliding  # not all: some find no outline within the gate
    assert without_chin(match) & LEFT or yaw < 0.0
    assert without_chin(match) & RIGHT or yaw > 0.0
    if abs(yaw) >= 20.0:
        assert without_chin(match) >= {k for k in sliding if 4 <= k <= 12}


@pytest.mark.parametrize("yaw", [0.0, 20.0, -35.0, 60.0])
def test_matched_points_are_the_nearest_and_lie_outwards(model, yaw):
    """The outline lies outside the projected jaw line, at the image side to which its normals point."""
    state, observed = posed(model, yaw)
    match = match_contour(model, state, observed)
    moved = placed(match, state) - observed[match.landmarks]
    assert np.linalg.norm(moved, axis=1).max() < GATE * state.scale * model.face_size
    assert np.abs((match.normals**2).sum(axis=1) - 1.0).max() < 1e-12
    for side, direction in ((match.landmarks < 7, -1.0), ((match.landmarks > 9), 1.0)):
        assert (direction * match.normals[side, 0] > 0.0).all()
    again = match_contour(model, state, _with(observed, match.landmarks, placed(match, state)))
    np.testing.assert_allclose(placed(again, state)[np.isin(again.landmarks, match.landmarks)], placed(match, state))


def _with(points, indices, values):
    changed = points.copy()
    changed[indices] = values
    return changed


def test_mirrored_view_has_the_mirrored_match(model):
    state, observed = posed(model, 25.0)
    other_state, other = posed(model, -25.0)
    match, mirrored = match_contour(model, state, observed), match_contour(model, other_state, other)
    assert {16 - k for k in without_chin(match)} == without_chin(mirrored)


@pytest.mark.parametrize("yaw", [0.0, 30.0])
def test_points_far_from_the_outline_stay_fixed(model, yaw):
    state, observed = posed(model, yaw)
    matched = match_contour(model, state, observed).landmarks
    lost = int(matched[len(matched) // 2])
    far = _with(observed, [lost], observed[lost] + [0.0, 5.0 * state.scale * model.face_size])
    np.testing.assert_array_equal(match_contour(model, state, far).landmarks, matched[matched != lost])
    nowhere = match_contour(model, state, observed + 1e5)
    assert len(nowhere.landmarks) == 0
    assert nowhere.basis.shape == (model.n_identity + model.n_expression, 0, 3)


def test_matching_does_not_depend_on_the_photo(model):
    """Scaled, shifted and turned in the plane, the same points of the face are chosen."""
    state, observed = posed(model, 25.0, scale=2.0)
    turn = rotation_from_angles(0.0, 0.0, 30.0) @ FRONTAL
    turned = state._replace(
        rotation=turn @ state.rotation, scale=8.0, translation=4.0 * turn[:2, :2] @ state.translation + 1000.0
    )
    one, other = (
        match_contour(model, state, observed),
        match_contour(model, turned, 4.0 * observed @ turn[:2, :2].T + 1000.0),
    )
    np.testing.assert_array_equal(other.landmarks, one.landmarks)
    np.testing.assert_allclose(other.mean, one.mean, atol=1e-8)
    np.testing.assert_allclose(other.normals, one.normals @ turn[:2, :2].T, atol=1e-8)


def egg_model(contour) -> MorphableModel:
    """A fine egg whose bands are given; the landmarks are the toy's, on the same ellipsoid but for tessellation."""
    toy = toy_model(vertices=1500, identity=2, expression=1)
    return replace(toy, contour=contour(toy))


def test_bands_of_a_model_find_the_ellipse():
    """Two half eggs as bands: through the public matching, the points lie on the analytic outline."""
    model = egg_model(lambda m: JawContour(np.flatnonzero(m.mean[:, 0] < 0.0), np.flatnonzero(m.mean[:, 0] > 0.0)))
    radii = np.array([75.0, 100.0, 80.0])
    for yaw in (0.0, 30.0, -50.0):
        state, _ = posed(model, yaw)
        inverse = np.linalg.inv(state.rotation[:2] @ np.diag(radii**2) @ state.rotation[:2].T)
        observed = around(state)
        match = match_contour(model, state, observed)
        assert len(match.landmarks) >= 8
        u = (placed(match, state) - state.translation) / state.scale
        assert np.abs(np.sqrt(np.einsum("oi,ij,oj->o", u, inverse, u)) - 1.0).max() < 0.01
        expected = u @ inverse
        expected /= np.linalg.norm(expected, axis=1)[:, None]
        assert (match.normals * expected).sum(axis=1).min() > 0.99


def around(state, radius=85.0):
    """Points (68, 2) of which the jaw's run along the lower half of a circle, from image left to image right."""
    angle = np.linspace(0.2, np.pi - 0.2, 17)
    observed = np.zeros((68, 2))
    observed[:17] = state.scale * radius * np.stack([-np.cos(angle), np.sin(angle)], axis=1) + state.translation
    return observed


def rim(model, side):
    """A single row of joined vertices near the egg's outline seen from the front: a shortest path up its side."""
    mean, (i, j) = model.mean, edges_of(model.triangles).T
    near = (np.abs(mean[:, 2]) < 12.0) & (side * mean[:, 0] > 0.0)
    kept = near[i] & near[j]
    lengths = np.linalg.norm(mean[i] - mean[j], axis=1)[kept]
    graph = csr_matrix((lengths, (i[kept], j[kept])), shape=(len(mean), len(mean)))
    heights = np.where(near, mean[:, 1], 0.0)
    start, vertex = int(heights.argmin()), int(heights.argmax())
    _, before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
    row = [vertex]
    while vertex != start:
        vertex = int(before[vertex])
        row.append(vertex)
    return np.array(row)


@pytest.mark.parametrize("connected", [False, True], ids=["apart", "connected"])
def test_a_single_row_of_candidates_is_the_outline_itself(connected):
    step = 1 if connected else 2
    model = egg_model(lambda m: JawContour(rim(m, -1.0)[::step], rim(m, 1.0)[::step]))
    state, _ = posed(model, 0.0)
    row = np.concatenate([model.contour.right, model.contour.left])
    pixels = state.scale * model.mean[row] @ state.rotation[:2].T + state.translation
    observed = around(state)
    match = match_contour(model, state, observed)
    assert without_chin(match) == RIGHT | LEFT
    unsided = match.landmarks != 8
    share = np.linspace(0.0, 1.0, 100)[:, None, None]
    for landmark, place in zip(match.landmarks[unsided], placed(match, state)[unsided], strict=True):
        own = pixels[: len(model.contour.right)] if landmark < 8 else pixels[len(model.contour.right) :]
        dense = ((1.0 - share) * own[:-1] + share * own[1:]).reshape(-1, 2)
        least = np.linalg.norm(dense - observed[landmark], axis=1).min()
        assert abs(np.linalg.norm(place - observed[landmark]) - least) < 1e-3 * state.scale * model.face_size
        assert np.linalg.norm(dense - place, axis=1).min() < 0.02 * state.scale * model.face_size
    np.testing.assert_allclose((match.normals**2).sum(axis=1), 1.0)
    radial = (placed(match, state) - state.translation) / np.array([75.0, 100.0]) ** 2
    radial /= np.linalg.norm(radial, axis=1)[:, None]
    assert np.abs((match.normals * radial).sum(axis=1))[unsided].min() > 0.7  # across the row, either way round


@pytest.mark.parametrize(
    ("beyond", "slides", "goes_on"), [(0.01, True, True), (0.04, False, True), (0.08, False, False)]
)
def test_points_beyond_the_outlines_end_stay_fixed(beyond, slides, goes_on):
    """In shares of the face's size, along the outline: 0.02 to begin to slide, 0.06 to go on sliding."""

    def lower_half(m, side):
        row = rim(m, side)
        return row[m.mean[row, 1] < 0.0]

    model = egg_model(lambda m: JawContour(lower_half(m, -1.0), lower_half(m, 1.0)))
    state, _ = posed(model, 0.0)
    ends = state.scale * model.mean[model.contour.left[:2]] @ state.rotation[:2].T + state.translation
    along = (ends[0] - ends[1]) / np.linalg.norm(ends[0] - ends[1])

    def match(share, before=None):
        point = ends[0] + share * state.scale * model.face_size * along
        return match_contour(model, state, _with(np.full((68, 2), 1e5), [14], point[None]), before)

    assert (14 in match(beyond).landmarks) == slides
    assert (14 in match(beyond, before=match(0.0)).landmarks) == goes_on


# --- Fitting with it ---------------------------------------------------------------------------------------------


def test_outline_points_are_explained_by_the_contour_and_not_by_fixed_points(model):
    """2D annotations of turned faces: the far jaw points are put on the outline of the true face."""
    gains, errors = [], []
    for yaw in (35.0, -35.0):
        for scene in random_scenes(model, 6, seed=3, yaw=(yaw - 10.0, yaw + 10.0), pitch=(-8.0, 8.0)):
            match = match_contour(model, scene.state, scene.exact)
            observed = _with(scene.exact, match.landmarks, placed(match, scene.state))
            residual, geometry = {}, {}
            for convention in ("contour", "semantic"):
                options = facefit.FitOptions(landmark_convention=convention, landmark_sigma=0.01)
                result = facefit.fit_landmarks(observed, model, options=options)
                assert result.status.usable
                jaw = (result.landmarks_fitted - observed)[match.landmarks]
                residual[convention] = np.sqrt((jaw**2).sum(axis=1).mean()) / scene.face_px
                moved = result.vertices_image[:, :2] - scene.camera.project(scene.vertices)[:, :2]
                geometry[convention] = np.sqrt((moved**2).sum(axis=1).mean()) / scene.face_px
            gains.append(residual["semantic"] - residual["contour"])
            errors.append((geometry["contour"], geometry["semantic"]))
    assert np.mean(gains) > 0.0
    assert (np.array(gains) > 0.0).mean() >= 0.8
    contour, semantic = np.mean(errors, axis=0)
    assert contour < semantic
