"""People drawn from the default model are sound: no folds, lips shut over the teeth, eyes behind the lids, one opening.

Lengths are mm. What is seen is measured with the rasteriser at 4 px/mm, from all sides of a triangle, so that nothing
shows through a surface that happens to be seen from behind.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from facefit.fitting.landmarks import LEFT_EYE, RIGHT_EYE
from facefit.models.morphable_model import MorphableModel
from facefit.models.store import load_model
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles
from facefit.render.rasterizer import rasterize

PX_PER_MM, WINDOW_MM = 4.0, 170.0
LIDS_MM = 2.0
"""How far eyelids' landmarks may lie from their edge: what is within them and this much around them is the opening."""


@dataclass(frozen=True, eq=False)
class View:
    """What is seen of a surface: a triangle per pixel, and the landmarks."""

    triangle: np.ndarray  # (H, W) index, -1 where there is none
    landmarks: np.ndarray  # (68, 2) px

    def pixels(self, chosen: np.ndarray) -> np.ndarray:
        """Pixels (P, 2), x and y, that see one of the triangles `chosen` (T,)."""
        return np.argwhere((self.triangle >= 0) & chosen[self.triangle])[:, ::-1]

    def area(self, chosen: np.ndarray) -> float:
        """How much is seen of the triangles `chosen` (T,), mm^2."""
        return len(self.pixels(chosen)) / PX_PER_MM**2


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_model("default")


@pytest.fixture(scope="module")
def people(model: MorphableModel) -> np.ndarray:
    """One hundred draws (100, N, 3) of the identity, all other coefficients zero."""
    weights = np.random.default_rng(0).standard_normal((100, model.n_identity))
    return np.stack([model.vertices(own) for own in weights]).astype(np.float64)


def inside(model: MorphableModel, region: str) -> np.ndarray:
    """Mask (T,) of the triangles all of whose corners are in a region."""
    return model.regions[region][model.triangles].all(axis=1)


def seen(model: MorphableModel, surface: np.ndarray, yaw: float = 0.0, pitch: float = 0.0) -> View:
    rotation, size = rotation_from_angles(yaw, pitch, 0.0), int(WINDOW_MM * PX_PER_MM)
    points = model.landmark_positions(surface)
    middle = PX_PER_MM * (rotation @ points[30])[:2]
    camera = ScaledOrthographic(rotation, np.full(2, (size - 1) / 2.0) - middle, PX_PER_MM)
    fragments = rasterize(camera, surface, model.triangles, size, size, cull="none")
    return View(fragments.triangle, camera.project(points)[:, :2])


def normals(surface: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Normals (T, 3), their length twice a triangle's area."""
    a, b, c = np.moveaxis(surface[triangles], 1, 0)
    return np.cross(b - a, c - a)


def open_edges(triangles: np.ndarray) -> np.ndarray:
    """Directed edges (E, 2) that have a triangle on their left only."""
    edges = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    known = set(map(tuple, edges.tolist()))
    return np.array([edge for edge in known if edge[::-1] not in known], dtype=np.int64).reshape(-1, 2)


def winding_number(point: np.ndarray, surface: np.ndarray, triangles: np.ndarray) -> float:
    """How often a closed surface goes round a point: the sum of solid angles over 4 pi.

    Van Oosterom & Strackee, IEEE Trans. Biomed. Eng. 30:125-126, 1983.
    """
    a, b, c = np.moveaxis(surface[triangles] - point, 1, 0)
    la, lb, lc = (np.linalg.norm(corner, axis=1) for corner in (a, b, c))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c))
    cosine = la * lb * lc + (a * b).sum(axis=1) * lc + (b * c).sum(axis=1) * la + (c * a).sum(axis=1) * lb
    return float(2.0 * np.arctan2(volume, cosine).sum() / (4.0 * np.pi))


# ---------------------------------------------------------------------------------------------------------------- folds


def test_hardly_a_triangle_of_a_face_turns_over(model: MorphableModel, people: np.ndarray) -> None:
    """By more than a right angle against the mean's: at most 1 % in every face, a tenth of that by area on average."""
    triangles = model.triangles[inside(model, "face")]
    rest = normals(model.mean, triangles)
    area = np.linalg.norm(rest, axis=1)
    turned = np.stack([np.einsum("ij,ij->i", normals(person, triangles), rest) < 0.0 for person in people])
    assert turned.mean(axis=1).max() <= 0.01
    assert (turned @ area).mean() <= 0.001 * area.sum()


def test_great_modes_do_not_fold_the_face(model: MorphableModel) -> None:
    """Modes 0-9 at 3 standard deviations either way turn 0.1 % of the triangles on average.

    A single one may turn 0.3 %: at the corners of the mouth and on the upper lids, less than 0.1 % of the face by area.
    """
    triangles = model.triangles[inside(model, "face")]
    rest = normals(model.mean, triangles)
    area = np.linalg.norm(rest, axis=1)
    shares = []
    for mode in model.identity[:10].astype(np.float64):
        for side in (-3.0, 3.0):
            turned = np.einsum("ij,ij->i", normals(model.mean + side * mode, triangles), rest) < 0.0
            assert area[turned].sum() <= 0.001 * area.sum()
            shares.append(turned.mean())
    assert np.mean(shares) <= 0.001
    assert max(shares) <= 0.003


# ---------------------------------------------------------------------------------------------------------------- mouth


@pytest.mark.parametrize(
    ("yaw", "pitch"),
    [
        pytest.param(0.0, 0.0, id="front"),
        pytest.param(50.0, 0.0, id="turned left"),
        pytest.param(-50.0, 0.0, id="turned right"),
        pytest.param(0.0, -20.0, id="from above"),
        pytest.param(35.0, -15.0, id="turned left, from above"),
        pytest.param(0.0, 20.0, id="from below"),
    ],
)
def test_teeth_are_hidden(model: MorphableModel, people: np.ndarray, yaw: float, pitch: float) -> None:
    teeth = inside(model, "teeth")
    for person in (model.mean, *people[:40]):
        assert seen(model, person, yaw, pitch).area(teeth) <= 5.0


def test_lips_are_closed(model: MorphableModel, people: np.ndarray) -> None:
    """From the front no tooth is seen between them, and of the mouth's inside no more than a thin line."""
    mouth, teeth = inside(model, "mouth"), inside(model, "teeth")
    areas = []
    for person in (model.mean, *people):
        view = seen(model, person)
        assert view.area(teeth) == 0.0
        areas.append(view.area(mouth))
    assert areas[0] <= 1.0
    assert np.mean(np.array(areas) <= 5.0) >= 0.97
    assert max(areas) <= 100.0  # two millimetres along the whole line


# ----------------------------------------------------------------------------------------------------------------- eyes


def test_eyeballs_are_seen_between_the_lids_only(model: MorphableModel, people: np.ndarray) -> None:
    """In 95 % of people none of an eyeball shows outside its opening.

    In the others it touches the fold above the upper lid from behind, and at most 10 mm^2 come through.
    """
    eyes = inside(model, "eyes")
    outside = []
    for person in (model.mean, *people):
        view = seen(model, person)
        pixels = view.pixels(eyes).astype(np.float32)
        openings = [view.landmarks[eye].astype(np.float32) for eye in (RIGHT_EYE, LEFT_EYE)]
        depth = [max(cv2.pointPolygonTest(one, pixel.tolist(), True) for one in openings) for pixel in pixels]
        assert 100.0 < len(pixels) / PX_PER_MM**2 < 800.0
        outside.append((np.array(depth) < -LIDS_MM * PX_PER_MM).sum() / PX_PER_MM**2)
    assert outside[0] == 0.0
    assert np.mean(np.array(outside) == 0.0) >= 0.95
    assert max(outside) <= 10.0


def test_eyeballs_are_closed_spheres(model: MorphableModel, people: np.ndarray) -> None:
    eyes = model.triangles[inside(model, "eyes")]
    assert len(open_edges(eyes)) == 0
    left = np.unique(eyes[(model.mean[eyes][:, :, 0] > 0.0).all(axis=1)])
    assert model.mirror is not None
    edges = len(eyes) * 3 // 2
    assert 2 * len(left) - edges + len(eyes) == 4  # Euler's formula for two spheres
    for person in (model.mean, *people):
        for eye in (left, model.mirror[left]):
            centre = 0.5 * (person[eye].max(axis=0) + person[eye].min(axis=0))
            radius = np.linalg.norm(person[eye] - centre, axis=1)
            assert 10.0 < radius.min() <= radius.max() < 20.0
            np.testing.assert_allclose(radius, radius.mean(), rtol=0.02)


# -------------------------------------------------------------------------------------------------------------- closure


def test_skin_has_one_opening_at_the_neck(model: MorphableModel, people: np.ndarray) -> None:
    """A single loop; sealed by a fan the skin is one closed surface without handles, that goes round the brain once.

    Its sockets and its mouth are pockets: eyeballs' centres are outside it.
    """
    skin = model.triangles[~(model.regions["eyes"] | model.regions["teeth"])[model.triangles].any(axis=1)]
    rim = open_edges(skin)
    onward = dict(rim.tolist())
    assert len(onward) == len(rim) > 2
    loop = [int(rim[0, 0])]
    while (following := onward[loop[-1]]) != loop[0]:
        loop.append(following)
    assert len(loop) == len(rim)
    assert model.regions["neck"][loop].all()
    tip = model.n_vertices
    sealed = np.concatenate([skin, np.column_stack([rim[:, ::-1], np.full(len(rim), tip)])])
    assert len(open_edges(sealed)) == 0
    assert len(np.unique(sealed)) - 3 * len(sealed) // 2 + len(sealed) == 2

    eyes = model.regions["eyes"]
    for person in (model.mean, *people[:20]):
        surface = np.vstack([person, person[loop].mean(axis=0)])
        middle = 0.5 * (person.max(axis=0) + person.min(axis=0))
        brain = np.array([0.0, 30.0, middle[2]])
        assert winding_number(brain, surface, sealed) == pytest.approx(1.0, abs=1e-6)
        assert winding_number(np.array([0.0, 0.0, 500.0]), surface, sealed) == pytest.approx(0.0, abs=1e-6)
        for side in (-1.0, 1.0):
            centre = person[eyes & (side * model.mean[:, 0] > 0.0)].mean(axis=0)
            assert winding_number(centre, surface, sealed) == pytest.approx(0.0, abs=1e-6)


def test_outline_of_the_jaw_is_looked_for_on_the_skin(model: MorphableModel) -> None:
    """Not on eyeballs, in the mouth or on teeth, which are close to the jaw line too; the sides are mirror images."""
    assert model.contour is not None
    assert model.mirror is not None
    for side in (model.contour.right, model.contour.left):
        assert model.regions["skin"][side].all()
    np.testing.assert_array_equal(np.sort(model.mirror[model.contour.left]), np.sort(model.contour.right))
