"""An atlas made by xatlas is one: every triangle has its own place in the unit square; without xatlas one is told."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from scenes import egg
from small_model import small_model

from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.fitting.texture import make_texture
from facefit.fitting.texturing.options import TextureOptions
from facefit.models.errors import InvalidInputError, MissingDependencyError
from facefit.models.morphable_model import UVMap
from facefit.models.uv_atlas import make_atlas, model_atlas
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles

RADII = np.array([75.0, 100.0, 80.0])


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray, UVMap]:
    pytest.importorskip("xatlas")
    vertices, triangles = egg(400, RADII)
    return vertices, triangles, make_atlas(vertices, triangles)


def signed_areas(uv: UVMap) -> np.ndarray:
    corners = uv.coordinates[uv.triangles].astype(float)
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    return 0.5 * (ax * by - ay * bx)


def test_every_triangle_has_its_place(made: tuple[np.ndarray, np.ndarray, UVMap]) -> None:
    _, triangles, uv = made
    assert uv.triangles.shape == triangles.shape
    assert uv.coordinates.min() >= 0.0 and uv.coordinates.max() <= 1.0
    areas = np.abs(signed_areas(uv))
    assert areas.min() > 0.0
    # Without overlap the texels that are covered make up the triangles' areas.
    from facefit.fitting.texturing.atlas import TextureSpace

    covered = np.mean(np.concatenate([seen.covered for _, seen in TextureSpace(uv, 512).bands()]))
    assert covered == pytest.approx(areas.sum(), rel=0.01) and covered > 0.4


def test_shared_corners_are_of_one_vertex(made: tuple[np.ndarray, np.ndarray, UVMap]) -> None:
    _, triangles, uv = made
    vertex = np.full(len(uv.coordinates), -1)
    vertex[uv.triangles] = triangles
    np.testing.assert_array_equal(vertex[uv.triangles], triangles)


def test_same_surface_same_atlas(made: tuple[np.ndarray, np.ndarray, UVMap]) -> None:
    vertices, triangles, uv = made
    again = make_atlas(vertices, triangles)
    np.testing.assert_array_equal(again.coordinates, uv.coordinates)
    np.testing.assert_array_equal(again.triangles, uv.triangles)


def test_model_without_coordinates_gets_a_texture(rng: np.random.Generator) -> None:
    pytest.importorskip("xatlas")
    model = small_model(uv=None)
    camera = ScaledOrthographic(rotation_from_angles(10.0, 0.0, 0.0), np.array([100.0, 100.0]), 1.0)
    result = FitResult(FitStatus.CONVERGED, "true", camera=camera, vertices=model.vertices())
    photo = rng.integers(100, 200, (200, 200, 3)).astype(np.uint8)
    found = make_texture(photo, result, model, TextureOptions(size=256))
    assert found.uv.triangles.shape == model.triangles.shape
    assert (found.confidence > 200).mean() > 0.3
    assert found.photographed.max(axis=2).min() > 0


def test_coordinates_beyond_the_square_are_not_used() -> None:
    pytest.importorskip("xatlas")
    model = small_model()
    assert model.uv is not None and model_atlas(model) is model.uv
    beyond = replace(model, uv=UVMap(2.0 * model.uv.coordinates, model.uv.triangles))
    assert model_atlas(beyond).coordinates.max() <= 1.0


def test_missing_xatlas_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xatlas", None)
    vertices, triangles = egg(40, RADII)
    with pytest.raises(MissingDependencyError, match=r"pip install facefit\[texture\]"):
        make_atlas(vertices, triangles)


def test_surfaces_are_checked() -> None:
    with pytest.raises(InvalidInputError, match="vertices: expected shape"):
        make_atlas(np.zeros((4, 2)), np.zeros((1, 3), int))
    with pytest.raises(InvalidInputError, match="triangles: expected indices from 0 to 3"):
        make_atlas(np.zeros((4, 3)), np.array([[0, 1, 4]]))


def test_surface_without_area_is_refused() -> None:
    pytest.importorskip("xatlas")
    with pytest.raises(InvalidInputError, match="expected a surface"):
        make_atlas(np.zeros((4, 3)), np.array([[0, 1, 2]]))
