"""The UV atlas of the default model is a bijection, symmetric, dense on the face; the tools that made it keep theirs.

The face, for the density: skin seen from the front or from 60 degrees to either side that lies, in the frontal view,
within the line of the jaw's landmarks and half an ellipse from ear to hairline, 65 mm above the outer eye corners
(trichion to nasion: 58-67 mm, Farkas 1994), and in front of the landmarks beside the ears.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, distance_transform_edt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from facefit.apps.model.builder.atlas import OUTLINES, Outline
from facefit.apps.model.builder.baking import texel_fragments, with_gutters
from facefit.apps.model.builder.parametrization import boundary_loops, flatten, singular_values
from facefit.models.morphable_model import MorphableModel, UVMap
from facefit.models.store import load_model
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles
from facefit.render.rasterizer import interpolate, rasterize

SIZE = 512
HAIRLINE_MM = 65.0
SIDE_VIEW_DEG = 60.0
GUTTER = 4  # texels


def bake(uv: UVMap, triangles: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """The texture (size, size, C) of values (N, C) at the vertices of `triangles`."""
    fragments = texel_fragments(uv, size)
    return with_gutters(interpolate(fragments, triangles, values), fragments.covered)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_model("default")


@pytest.fixture(scope="module")
def uv(model: MorphableModel) -> UVMap:
    assert model.uv is not None
    return model.uv


@pytest.fixture(scope="module")
def charts(uv: UVMap) -> np.ndarray:
    """(U,) the chart of each pair of coordinates, the largest, the skin, being 0."""
    edges = np.concatenate([uv.triangles[:, [0, 1]], uv.triangles[:, [1, 2]]])
    count = len(uv.coordinates)
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    ranks = np.argsort(np.argsort(-np.bincount(labels), kind="stable"))
    return ranks[labels]


def texels(uv: UVMap) -> np.ndarray:
    """The corners of all triangles (T, 3, 2) in texels, counted from the bottom left."""
    return uv.coordinates.astype(float)[uv.triangles] * SIZE


def areas(corners: np.ndarray) -> np.ndarray:
    """Signed areas of triangles (T, 3, 2), counter-clockwise positive."""
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    return 0.5 * (ax * by - ay * bx)


# ---------------------------------------------------------------------------------------------------------- the atlas
def test_no_triangle_is_flipped_or_lost(uv: UVMap) -> None:
    assert areas(texels(uv)).min() > 0.01
    assert uv.coordinates.min() * SIZE > 2.0 and uv.coordinates.max() * SIZE < SIZE - 2.0


def test_no_two_triangles_overlap(uv: UVMap) -> None:
    """Where triangles overlap, the lower index is drawn: the picture would depend on their order."""
    size = 2048
    count = len(uv.triangles)
    reversed_order = UVMap(uv.coordinates, uv.triangles[::-1])
    first, second = (texel_fragments(atlas, size).triangle for atlas in (uv, reversed_order))
    drawn = first >= 0
    np.testing.assert_array_equal(drawn, second >= 0)
    np.testing.assert_array_equal(first[drawn], count - 1 - second[drawn])
    # ... and the charts' area is what their triangles add up to
    assert drawn.sum() == pytest.approx(areas(texels(uv)).sum() * (size / SIZE) ** 2, rel=2e-3)


def test_the_mirror_image_of_a_triangle_lies_at_one_minus_u(model: MorphableModel, uv: UVMap) -> None:
    assert model.mirror is not None
    order = {frozenset(corners): k for k, corners in enumerate(model.triangles.tolist())}
    mirrored = model.mirror[model.triangles]
    twin = np.array([order[frozenset(corners)] for corners in mirrored.tolist()])
    place = (model.triangles[twin][:, None, :] == mirrored[:, :, None]).argmax(axis=2)
    np.testing.assert_array_equal(np.take_along_axis(model.triangles[twin], place, axis=1), mirrored)
    opposite = uv.coordinates[np.take_along_axis(uv.triangles[twin], place, axis=1)]
    np.testing.assert_allclose(opposite, uv.coordinates[uv.triangles] * (-1.0, 1.0) + (1.0, 0.0), atol=1e-6)


def test_the_skin_is_one_chart_with_one_seam_down_the_back(
    model: MorphableModel, uv: UVMap, charts: np.ndarray
) -> None:
    skin = charts[uv.triangles[:, 0]] == 0
    pairs = np.unique(np.stack([uv.triangles[skin], model.triangles[skin]], axis=-1).reshape(-1, 2), axis=0)
    vertices, copies = np.unique(pairs[:, 1], return_counts=True)
    assert copies.max() == 2
    seam = model.mean[vertices[copies == 2]]
    assert np.abs(seam[:, 0]).max() < 1e-2 and seam[:, 2].max() < -60.0
    assert np.ptp(seam[:, 1]) > 150.0
    (outer, *holes) = boundary_loops(uv.triangles[skin])
    assert len(holes) == 3  # the mouth and the eyes
    assert len(outer) >= 2 * len(seam)


def test_the_face_stands_upright_in_the_middle(model: MorphableModel, uv: UVMap, charts: np.ndarray) -> None:
    face = model.required_landmarks
    u, v = np.einsum("lc,lcx->xl", face.weights, uv.coordinates.astype(float)[uv.triangles[face.triangles]])
    assert (charts[uv.triangles[face.triangles, 0]] == 0).mean() > 0.9  # inner lips may lie on the bag's first row
    np.testing.assert_allclose(u[[8, 27, 30, 33, 51, 57]], 0.5, atol=1e-6)
    assert (np.diff(v[27:31]) < 0.0).all() and v[27] > v[33] > v[51] > v[57] > v[8]
    assert (np.diff(u[:17]) > 0.0).all()  # the subject's right is on the left, as in a frontal view


def test_the_face_has_at_most_six_tenths_of_a_millimetre_per_texel(
    model: MorphableModel, uv: UVMap, charts: np.ndarray
) -> None:
    corners = model.mean[model.triangles]
    stretch = singular_values(corners, texels(uv))[:, 0]
    face = face_triangles(model) & (charts[uv.triangles[:, 0]] == 0)
    assert face.sum() > 2000
    median, most, nearly_all = np.percentile(stretch[face], [50.0, 95.0, 99.0])
    assert median < 0.55 and most < 0.60 and nearly_all < 0.75


def face_triangles(model: MorphableModel) -> np.ndarray:
    """(T,) which triangles are the face's, as this module's text defines it."""
    jaw = model.landmark_positions(model.mean)[:17]
    centre = model.mean[model.triangles].mean(axis=1)
    side, height = np.abs(jaw[[0, 16], 0]).mean(), jaw[[0, 16], 1].mean()
    across = centre[:, 0] / side
    upper = height + (HAIRLINE_MM - height) * np.sqrt(np.clip(1.0 - across**2, 0.0, None))
    lower = np.interp(centre[:, 0], jaw[:, 0], jaw[:, 1])
    within = (np.abs(across) < 1.0) & (centre[:, 1] > lower) & (centre[:, 1] < upper)
    return within & (centre[:, 2] > jaw[[0, 16], 2].mean()) & seen(model)


def seen(model: MorphableModel) -> np.ndarray:
    """(T,) which triangles are seen from the front or from either side."""
    visible = np.zeros(len(model.triangles), dtype=bool)
    for yaw in (-SIDE_VIEW_DEG, 0.0, SIDE_VIEW_DEG):
        camera = ScaledOrthographic(rotation_from_angles(yaw, 0.0, 0.0), np.array([600.0, 600.0]), 4.0)
        triangle = rasterize(camera, model.mean, model.triangles, 1200, 1200).triangle
        visible[triangle[triangle >= 0]] = True
    return visible


def test_the_irises_are_crisp(model: MorphableModel, uv: UVMap, charts: np.ndarray) -> None:
    """Within 7 mm of an eyeball's foremost point: at most half a millimetre per texel."""
    stretch = singular_values(model.mean[model.triangles], texels(uv))[:, 0]
    eyes = np.flatnonzero(model.regions["eyes"])
    for sign in (-1.0, 1.0):
        ball = eyes[sign * model.mean[eyes, 0] > 0.0]
        front = model.mean[ball[model.mean[ball, 2].argmax()]]
        iris = ball[np.linalg.norm(model.mean[ball] - front, axis=1) < 7.0]
        chosen = np.isin(model.triangles, iris).all(axis=1)
        assert chosen.sum() > 50 and stretch[chosen].max() <= 0.5
        assert len(np.unique(charts[uv.triangles[chosen]])) == 1


def test_charts_keep_a_gutter(uv: UVMap, charts: np.ndarray) -> None:
    shown = charts_shown(uv, charts)
    for chart in range(charts.max() + 1):
        away = distance_transform_edt(shown != chart)
        assert away[(shown >= 0) & (shown != chart)].min() > GUTTER


def charts_shown(uv: UVMap, charts: np.ndarray) -> np.ndarray:
    """(SIZE, SIZE) the chart that each texel's centre lies in, or -1."""
    fragments = texel_fragments(uv, SIZE)
    return np.where(fragments.covered, charts[uv.triangles[fragments.triangle, 0]], -1)


# ------------------------------------------------------------------------------------------------------------- baking
def test_baked_coordinates_are_those_of_the_texels(uv: UVMap) -> None:
    texture = bake(uv, uv.triangles, uv.coordinates.astype(float), SIZE)
    covered = texel_fragments(uv, SIZE).covered
    centre = (np.arange(SIZE) + 0.5) / SIZE
    expected = np.stack(np.broadcast_arrays(centre, centre[::-1, None]), axis=-1)
    np.testing.assert_allclose(texture[covered], expected[covered], atol=1.01 / 512 / SIZE)  # the rasteriser's grid


def test_baking_is_linear_and_blends_nothing_into_the_gutters(
    model: MorphableModel, uv: UVMap, charts: np.ndarray
) -> None:
    places = bake(uv, model.triangles, model.mean, SIZE)
    matrix = np.random.default_rng(4).normal(size=(3, 4))
    np.testing.assert_allclose(bake(uv, model.triangles, model.mean @ matrix, SIZE), places @ matrix, atol=1e-9)
    labels = bake(uv, uv.triangles, charts[:, None].astype(float), SIZE)[..., 0]
    shown = charts_shown(uv, charts)
    np.testing.assert_allclose(labels, np.round(labels), atol=1e-9)
    for chart in range(charts.max() + 1):
        grown = binary_dilation(shown == chart, iterations=GUTTER // 2)
        np.testing.assert_allclose(labels[grown], chart, atol=1e-9)


def test_a_symmetric_colouring_bakes_to_a_symmetric_texture(model: MorphableModel, uv: UVMap) -> None:
    assert model.mirror is not None
    values = np.abs(model.mean) * (1.0, 0.0, 0.0) + model.mean * (0.0, 1.0, 1.0)
    texture, covered = bake(uv, model.triangles, values, SIZE), texel_fragments(uv, SIZE).covered
    both = covered & covered[:, ::-1]
    assert (covered != covered[:, ::-1]).mean() < 1e-3  # centres on an edge belong to one side only
    off = np.abs(texture - texture[:, ::-1])[both].max(axis=1)
    assert np.percentile(off, 99.9) < 0.1  # mm


# ---------------------------------------------------------------------------------------------------- parametrization
def disc(rings: int, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """A triangulated unit disc: points (n, 2), the last ring on the circle, and triangles, counter-clockwise."""
    angle = 2.0 * np.pi * np.arange(segments) / segments
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.concatenate([[[0.0, 0.0]], *((k + 1) / rings * circle for k in range(rings))])
    here, there = np.arange(segments), np.roll(np.arange(segments), -1)
    triangles = [np.stack([np.zeros_like(here), 1 + here, 1 + there], axis=1)]
    for first in range(1, 1 + (rings - 1) * segments, segments):
        a, b = first + here, first + there
        triangles += [np.stack([a, a + segments, b + segments], axis=1), np.stack([a, b + segments, b], axis=1)]
    return points, np.concatenate(triangles).astype(np.int32)


def flattened(surface: np.ndarray, plane: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Flatten a surface (n, 3) with its boundary where `plane` (n, 2) has it."""
    (loop,) = boundary_loops(triangles)
    one = np.ones(len(triangles))
    return flatten(surface[triangles], triangles, loop, plane[loop], one, one)


@given(yaw=st.floats(-3.0, 3.0), pitch=st.floats(-1.5, 1.5))
@settings(max_examples=10, deadline=None)
def test_a_flat_disc_flattens_to_itself(yaw: float, pitch: float) -> None:
    plane, triangles = disc(4, 12)
    surface = np.column_stack([plane, np.zeros(len(plane))]) @ rotation_from_angles(yaw, pitch, 0.0).T
    np.testing.assert_allclose(flattened(surface, plane, triangles), plane, atol=1e-6)


@given(seed=st.integers(0, 1000), height=st.floats(0.0, 4.0))
@settings(max_examples=15, deadline=None)
def test_no_surface_flips_a_triangle(seed: int, height: float) -> None:
    plane, triangles = disc(5, 12)
    bumps = height * np.random.default_rng(seed).normal(size=len(plane))
    surface = np.column_stack([plane, bumps])
    result = flattened(surface, plane, triangles)
    assert areas(result[triangles]).min() > 0.0
    assert areas(result[triangles]).sum() == pytest.approx(areas(plane[triangles]).sum(), rel=1e-9)


def test_density_moves_area_to_where_it_is_wanted() -> None:
    plane, triangles = disc(8, 24)
    surface = np.column_stack([plane, np.zeros(len(plane))])
    (loop,) = boundary_loops(triangles)
    inner = (np.linalg.norm(surface[triangles], axis=2) < 0.51).all(axis=1)
    density = np.where(inner, 1.5, 0.7)
    result = flatten(surface[triangles], triangles, loop, plane[loop], density, density**2)
    before, after = (areas(points[triangles])[inner].sum() for points in (plane, result))
    assert after > 1.5 * before


def test_singular_values_of_known_maps() -> None:
    plane = np.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    stretched = np.array([[[0.0, 0.0, 5.0], [2.0, 0.0, 5.0], [0.0, 0.5, 5.0]]])
    np.testing.assert_allclose(singular_values(stretched, plane), [[2.0, 0.5]])
    turned = stretched @ rotation_from_angles(0.3, 0.7, -1.1).T
    np.testing.assert_allclose(singular_values(turned, 4.0 * plane), [[0.5, 0.125]])


def test_boundary_loops_keep_the_surface_on_their_left() -> None:
    points, triangles = disc(4, 8)
    ring = triangles[(np.linalg.norm(points[triangles], axis=2) > 0.2).all(axis=1)]
    loops = boundary_loops(ring)
    turns = [areas(points[loop][None, [0, 2, 4]])[0] for loop in loops]
    assert len(loops) == 2 and sorted(np.sign(turns)) == [-1.0, 1.0]
    for loop, turn in zip(loops, turns, strict=True):
        assert np.allclose(np.linalg.norm(points[loop], axis=1), 1.0 if turn > 0.0 else 0.25)


@pytest.mark.parametrize("kind", sorted(OUTLINES))
def test_outlines_are_convex_and_hold_their_part_in_its_place(kind: int) -> None:
    outline: Outline = OUTLINES[kind]
    share = np.arange(80) / 80.0  # no boundary has more vertices
    points = outline.points(share)
    x, y = ((points - outline.centre) / outline.half).T
    np.testing.assert_allclose(np.abs(x) ** outline.exponent + np.abs(y) ** outline.exponent, 1.0, atol=0.02)
    following = np.stack([points, np.roll(points, -1, axis=0), np.roll(points, -2, axis=0)], axis=1)
    assert (areas(following) > 0.0).all()
    towards = np.radians(outline.towards)
    middle = outline.points(np.array([0.5 * outline.part]))[0] - outline.centre
    assert middle @ (np.cos(towards), np.sin(towards)) == pytest.approx(np.linalg.norm(middle), rel=1e-3)
    ends = outline.points(np.array([0.0, outline.part])) - outline.centre
    along = np.array([-np.sin(towards), np.cos(towards)])
    assert ends[0] @ along == pytest.approx(-ends[1] @ along, rel=1e-2)
