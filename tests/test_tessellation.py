"""Finer meshes: what stays, what is added, and that a surface with relief is the smooth one and its heights."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from opengl_scenes import sphere
from small_model import small_model

import facefit
from facefit.models.errors import InvalidInputError
from facefit.models.morphable_model import UVMap
from facefit.render import tessellation
from facefit.render.normals import vertex_normals
from facefit.render.tangents import same_layout
from facefit.render.tessellation import LONGEST, displaced, looked_up, relief_mesh, tessellated

Array = NDArray[np.float64]

OCTAHEDRON = np.vstack([np.eye(3), -np.eye(3)])
EIGHT = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]])
SQUARE = np.array([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [10.0, 10.0, 0.0], [0.0, 10.0, 0.0]])
HALVES = np.array([[0, 1, 2], [0, 2, 3]])
SQUARE_MAP = UVMap(SQUARE[:, :2] / 10.0, HALVES.astype(np.int32))


@dataclass(frozen=True)
class Heights:
    displacement: NDArray[np.float32]
    uv: UVMap


def edges(triangles: NDArray[Any]) -> Counter[tuple[int, int]]:
    """How often each directed edge occurs."""
    return Counter(map(tuple, np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=2).reshape(-1, 2).tolist()))


def is_closed(triangles: NDArray[Any]) -> bool:
    """Whether every edge has one triangle on either side, of the same orientation."""
    found = edges(triangles)
    return all(count == 1 and found[b, a] == 1 for (a, b), count in found.items())


def area(vertices: Array, triangles: NDArray[Any]) -> Array:
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)


# --- Cut into four -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [0, 1, 3])
def test_every_triangle_becomes_four_and_nothing_is_lost(times: int) -> None:
    model = small_model()
    fine = tessellated(model.mean, model.triangles, times, uv=model.uv)
    assert len(fine.triangles) == 4**times * len(model.triangles)
    np.testing.assert_array_equal(fine.vertices[: model.n_vertices], model.mean)
    np.testing.assert_allclose(np.linalg.norm(fine.normals, axis=1), 1.0, atol=1e-12)
    assert set(fine.triangles.ravel()) == set(range(len(fine.vertices))), "no vertex without a triangle"


def test_a_closed_mesh_stays_closed() -> None:
    assert is_closed(EIGHT)
    for times in range(4):
        fine = tessellated(OCTAHEDRON, EIGHT, times)
        assert is_closed(fine.triangles)
        assert len(fine.vertices) - 3 * len(fine.triangles) // 2 + len(fine.triangles) == 2, "Euler"
        facing = np.einsum("tx,tx->t", vertex_normals(fine.vertices, fine.triangles), fine.vertices)
        assert (facing > 0.0).all(), "outside stays outside"


def test_a_sphere_gets_rounder() -> None:
    """As far as its vertices' normals, which are those of its triangles, point outwards."""
    vertices, triangles, _ = sphere(24)
    triangles = triangles[area(vertices, triangles) > 1e-9]
    off = []
    for times in range(3):
        fine = tessellated(vertices, triangles, times)
        off.append(1.0 - np.linalg.norm(fine.vertices[fine.triangles].mean(axis=1), axis=1).min())
        assert np.abs(np.linalg.norm(fine.vertices, axis=1) - 1.0).max() < 2e-3
    assert off[0] > 0.004 and off[1] < 0.5 * off[0] and off[2] < off[1]


def test_a_plane_stays_a_plane_and_its_area_stays() -> None:
    fine = tessellated(SQUARE, HALVES, 3)
    np.testing.assert_array_equal(fine.vertices[:, 2], 0.0)
    np.testing.assert_allclose(area(fine.vertices, fine.triangles), 100.0 / 128.0)
    np.testing.assert_allclose(fine.normals, np.tile([0.0, 0.0, 1.0], (len(fine.normals), 1)))


def test_values_and_texture_coordinates_are_linear_within_a_triangle(rng: np.random.Generator) -> None:
    """On a flat mesh both must be the linear functions of the place that they are at the corners."""
    slope, offset = rng.standard_normal((2, 3)), rng.standard_normal(3)
    uv = UVMap(SQUARE[:, :2] @ [[0.05, 0.02], [-0.01, 0.06]] + 0.2, HALVES.astype(np.int32))
    fine = tessellated(SQUARE, HALVES, 2, SQUARE[:, :2] @ slope + offset, uv)
    np.testing.assert_allclose(fine.values, fine.vertices[:, :2] @ slope + offset, atol=1e-12)
    assert fine.uv is not None
    places = fine.uv.coordinates[fine.uv.triangles]
    np.testing.assert_allclose(
        places, fine.vertices[fine.triangles][..., :2] @ [[0.05, 0.02], [-0.01, 0.06]] + 0.2, atol=1e-12
    )


def test_pieces_follow_one_another() -> None:
    """Four by four, those of a coarse triangle lie in it: masks of triangles can be repeated."""
    fine = tessellated(SQUARE, HALVES, 2)
    inside = fine.vertices[fine.triangles].mean(axis=1)
    assert (inside[:16, 1] < inside[:16, 0]).all() and (inside[16:, 1] > inside[16:, 0]).all()


def test_a_vertex_on_a_seam_takes_the_mean_height() -> None:
    """The two halves of the square lie apart in the map; heights are 1 on the left half of it, 3 on the right."""
    coordinates = np.array([[0.0, 0.0], [0.4, 0.0], [0.4, 1.0], [0.6, 0.0], [1.0, 1.0], [0.6, 1.0]])
    uv = UVMap(coordinates, np.array([[0, 1, 2], [3, 4, 5]], np.int32))
    heights = np.repeat(np.where(np.arange(20) < 10, 1.0, 3.0)[None], 20, axis=0)
    moved = displaced(tessellated(SQUARE, HALVES, 1, uv=uv), heights)[:, 2]
    on_seam = np.isclose(SQUARE[:, 0], SQUARE[:, 1])
    np.testing.assert_allclose(moved[:4][~on_seam], [1.0, 3.0])
    np.testing.assert_allclose(moved[:4][on_seam], (1.0 + 3.0) / 2.0)
    with pytest.raises(InvalidInputError, match="mesh: expected texture coordinates, got none"):
        displaced(tessellated(SQUARE, HALVES, 1), heights)


def test_heights_are_linear_between_the_centres_of_texels() -> None:
    image = np.array([[1.0, 2.0], [3.0, 7.0]])
    places = np.array([[0.25, 0.75], [0.75, 0.75], [0.25, 0.25], [0.75, 0.25], [0.5, 0.5], [0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(looked_up(image, places), [1.0, 2.0, 3.0, 7.0, 3.25, 1.0, 7.0])


# --- Relief ------------------------------------------------------------------------------------------------------


def bump(size: int, height: float = 0.5) -> NDArray[np.float32]:
    """Heights of a bump in the middle of a map, zero beyond 0.35 of its side."""
    x = (np.arange(size) + 0.5) / size - 0.5
    radius = np.hypot(*np.meshgrid(x, x))
    return (height * np.where(radius < 0.35, np.cos(np.pi * radius / 0.7) ** 2, 0.0)).astype(np.float32)


def test_a_plane_with_relief_is_its_heights(rng: np.random.Generator) -> None:
    x = (np.arange(64) + 0.5) / 64
    heights = (0.4 * np.sin(2.0 * np.pi * 2.0 * x)[None] * np.cos(2.0 * np.pi * x)[:, None]).astype(np.float32)
    values = rng.random((4, 2))
    fine = relief_mesh(SQUARE, HALVES, Heights(heights, SQUARE_MAP), values)
    u, v = fine.vertices[:, :2].T / 10.0
    np.testing.assert_allclose(fine.vertices[:, 2], looked_up(heights, np.stack([u, v], axis=1)), atol=1e-9)
    inner = (np.abs(u - 0.5) < 0.45) & (np.abs(v - 0.5) < 0.45)
    slope_x = 0.04 * 4.0 * np.pi * np.cos(4.0 * np.pi * u) * np.cos(2.0 * np.pi * (1.0 - v))
    slope_y = 0.04 * np.sin(4.0 * np.pi * u) * 2.0 * np.pi * np.sin(2.0 * np.pi * (1.0 - v))
    expected = np.column_stack([-slope_x, -slope_y, np.ones_like(u)])
    expected /= np.linalg.norm(expected, axis=1)[:, None]
    for normals in (fine.normals, vertex_normals(fine.vertices, fine.triangles)):
        cosine = np.einsum("nx,nx->n", expected, normals)[inner]
        assert np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))).max() < 2.5
    np.testing.assert_array_equal(fine.values[:4], values)


def test_only_what_has_heights_is_cut_and_nothing_comes_apart() -> None:
    """A sphere with a bump on one side of it, and a hole where its map begins and ends."""
    vertices, triangles, uv = sphere(24)
    size = 512
    heights = bump(size, 0.05)
    heights[np.abs(heights) < 0.02] = 0.0
    kept = area(60.0 * vertices, triangles) > 1e-6
    vertices, triangles, uv = 60.0 * vertices, triangles[kept], UVMap(uv.coordinates, uv.triangles[kept])
    before = edges(triangles)
    border = {edge for edge in before if before[edge[::-1]] == 0}
    fine = relief_mesh(vertices, triangles, Heights(heights, uv))
    assert fine.uv is not None
    after = edges(fine.triangles)
    assert max(after.values()) == 1
    assert {edge for edge in after if after[edge[::-1]] == 0} == border, "no crack beside what is not cut"
    places = fine.uv.coordinates[fine.uv.triangles] * size
    sides = np.linalg.norm(np.roll(places, -1, axis=1) - places, axis=2)
    middle = looked_up(heights, places.mean(axis=1) / size) > 0.03
    assert sides[middle].max() <= LONGEST
    assert sides.max() > 10.0 * LONGEST, "the other side is as it was"
    assert len(triangles) < len(fine.triangles) < 0.3 * size**2
    out = np.linalg.norm(fine.vertices[: len(vertices)], axis=1)
    used = np.unique(triangles)
    corner = np.zeros(len(vertices))
    corner[triangles.ravel()] = looked_up(heights, uv.coordinates[uv.triangles.ravel()])
    np.testing.assert_allclose(out[used], (60.0 + corner)[used], atol=1e-6)


@pytest.mark.parametrize("height", [0.0, 0.5])
def test_triangles_stay_below_the_limit(height: float, monkeypatch: pytest.MonkeyPatch) -> None:
    relief = Heights(bump(256, height), SQUARE_MAP)
    whole = relief_mesh(SQUARE, HALVES, relief)
    monkeypatch.setattr(tessellation, "LARGEST", 5000)
    fine = relief_mesh(SQUARE, HALVES, relief)
    np.testing.assert_allclose(area(fine.vertices * [1.0, 1.0, 0.0], fine.triangles).sum(), 100.0)
    if height == 0.0:
        assert len(fine.triangles) == 2
    else:
        assert 2500 < len(fine.triangles) <= 5000 < len(whole.triangles)


def test_the_map_can_be_another_layout_s() -> None:
    model = small_model()
    assert model.uv is not None
    other = UVMap(1.0 - model.uv.coordinates[::-1], (model.n_vertices - 1 - model.uv.triangles).astype(np.int32))
    relief = Heights(bump(128), model.uv)
    own, elsewhere = relief_mesh(model.mean, model.triangles, relief), relief_mesh(
        model.mean, model.triangles, relief, uv=other
    )  # fmt: skip
    np.testing.assert_array_equal(own.vertices, elsewhere.vertices)
    assert own.uv is not None and elsewhere.uv is not None
    np.testing.assert_allclose(
        elsewhere.uv.coordinates[elsewhere.uv.triangles], 1.0 - own.uv.coordinates[own.uv.triangles], atol=1e-12
    )
    again = relief_mesh(model.mean, model.triangles, relief, uv=UVMap(model.uv.coordinates, model.uv.triangles.copy()))
    assert again.uv is not None and same_layout(own.uv, again.uv)
    assert not same_layout(own.uv, elsewhere.uv)


def test_without_heights_the_normals_stay_smooth() -> None:
    """Heights that are nothing beside the sphere: it is cut, and its normals are the interpolated ones."""
    vertices, triangles, uv = sphere(24)
    heights = np.where(bump(256) > 0.0, 0.021, 0.0).astype(np.float32)
    kept = area(vertices, triangles) > 1e-9
    triangles, uv = triangles[kept], UVMap(uv.coordinates, uv.triangles[kept])
    fine = relief_mesh(1e6 * vertices, triangles, Heights(heights, uv))
    assert len(fine.triangles) > 3 * len(triangles)
    used = np.unique(fine.triangles)
    out = fine.vertices / np.linalg.norm(fine.vertices, axis=1)[:, None]
    cosine = np.einsum("nx,nx->n", fine.normals, out)[used]
    own = np.einsum("nx,nx->n", vertex_normals(vertices, triangles), vertices)[np.unique(triangles)]
    assert cosine.min() >= own.min() - 1e-9, "no edge of the coarse mesh shows"


def test_the_coarse_mesh_is_in_the_fine_one() -> None:
    model = facefit.load_model("default")
    assert model.uv is not None
    fine = relief_mesh(model.mean, model.triangles, Heights(bump(128, 0.8), model.uv))
    moved = np.linalg.norm(fine.vertices[: model.n_vertices] - model.mean, axis=1)
    assert moved.max() <= 0.8 + 1e-6 and moved[model.regions["scalp"]].max() < 0.8
    assert (moved == 0.0).any()


# --- Bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": -1}, "times: expected a whole number from 0 to 6, got -1"),
        ({"times": 7}, "times: expected a whole number from 0 to 6, got 7"),
        ({"times": 1.0}, "times: expected a whole number from 0 to 6, got 1.0"),
        ({"times": True}, "times: expected a whole number from 0 to 6, got True"),
        ({"vertices": SQUARE[:, :2]}, "vertices: expected shape"),
        ({"vertices": SQUARE * np.nan}, "vertices: expected finite"),
        ({"triangles": HALVES + 2}, "triangles: expected indices"),
        ({"values": np.zeros((3, 2))}, r"values: expected shape \(4, any\), got \(3, 2\)"),
        ({"uv": UVMap(SQUARE[:, :2], HALVES[:1].astype(np.int32))}, r"uv.triangles: expected shape \(2, 3\)"),
        ({"uv": "a map"}, "uv: expected a UVMap, got str"),
    ],
)
def test_wrong_meshes_are_named(change: dict[str, Any], message: str) -> None:
    given = {"vertices": SQUARE, "triangles": HALVES, "times": 1} | change
    with pytest.raises(InvalidInputError, match=message):
        tessellated(**given)


@pytest.mark.parametrize(
    ("heights", "uv", "message"),
    [
        (np.zeros(4, np.float32), SQUARE_MAP, r"displacement: expected shape \(any, any\), got \(4,\)"),
        (np.zeros((0, 4), np.float32), SQUARE_MAP, r"displacement: expected at least one texel, got \(0, 4\)"),
        (np.full((4, 4), np.nan, np.float32), SQUARE_MAP, "displacement: expected finite"),
        (np.zeros((4, 4), np.float32), UVMap(SQUARE[:, :2], HALVES[:1].astype(np.int32)), "uv.triangles: expected"),
    ],
)
def test_wrong_heights_are_named(heights: NDArray[np.float32], uv: UVMap, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        relief_mesh(SQUARE, HALVES, Heights(heights, uv))


def test_a_mesh_without_triangles_and_one_without_area() -> None:
    nothing = np.zeros((0, 3), np.int32)
    assert len(tessellated(SQUARE, nothing, 2).triangles) == 0
    assert len(relief_mesh(SQUARE, nothing, Heights(bump(8), UVMap(SQUARE[:, :2], nothing))).triangles) == 0
    flat = tessellated(0.0 * SQUARE, HALVES, 1)
    assert np.isfinite(flat.vertices).all()
