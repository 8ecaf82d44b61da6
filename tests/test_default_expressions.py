"""The default model's expression units do what their ARKit names say: directions, contacts, rigid parts, no folds.

Lengths are mm. What is seen is measured with the rasteriser at 4 px/mm.
"""

from functools import partial

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist

from facefit.apps.model.builder.expressions import ARKIT_NAMES
from facefit.fitting.landmarks import LEFT_EYELID_PAIRS, LIP_PAIRS
from facefit.models.morphable_model import MorphableModel
from facefit.models.store import load_model
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles
from facefit.render.rasterizer import rasterize

FLIP = np.array([-1.0, 1.0, 1.0])
PX_PER_MM, WINDOW_MM = 4.0, 170.0
MOUTH_OPENERS = {
    "jawOpen", "mouthClose", "mouthFunnel", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft",
    "mouthUpperUpRight",
}  # fmt: skip
"""Units that part the lips; mouthClose does so only where the jaw is shut, and is looked at with jawOpen."""


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_model("default")


@pytest.fixture(scope="module")
def units(model: MorphableModel) -> dict[str, np.ndarray]:
    """Name -> displacement (N, 3) at weight 1."""
    return dict(zip(model.expression_names, model.expression.astype(np.float64), strict=True))


@pytest.fixture(scope="module")
def parts(model: MorphableModel) -> dict[str, np.ndarray]:
    """Vertices of the skin, the eyeballs and the rows of teeth: the mesh's connected components."""
    first, second = model.triangles[:, [0, 1, 2]].ravel(), model.triangles[:, [1, 2, 0]].ravel()
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(model.n_vertices, model.n_vertices))
    count, label = connected_components(graph, directed=False)
    assert count == 5
    pieces = sorted((np.flatnonzero(label == k) for k in range(count)), key=len)
    eyes = [piece for piece in pieces if model.regions["eyes"][piece].all()]
    teeth = [piece for piece in pieces[:-1] if not model.regions["eyes"][piece].any()]
    right, left = sorted(eyes, key=lambda piece: model.mean[piece, 0].mean())
    lower, upper = sorted(teeth, key=lambda piece: model.mean[piece, 1].mean())
    return {"skin": pieces[-1], "eyeLeft": left, "eyeRight": right, "lower": lower, "upper": upper}


def of(model: MorphableModel, vertices: np.ndarray) -> np.ndarray:
    """Mask (T,) of the triangles whose corners are all among `vertices`."""
    return np.isin(model.triangles, vertices).all(axis=1)


def seen(model: MorphableModel, surface: np.ndarray, yaw: float = 0.0) -> np.ndarray:
    """Area (T,), mm^2, that is seen of each triangle of the face from `yaw` degrees."""
    rotation, size = rotation_from_angles(yaw, 0.0, 0.0), int(WINDOW_MM * PX_PER_MM)
    middle = PX_PER_MM * (rotation @ model.landmark_positions(model.mean)[30])[:2]
    camera = ScaledOrthographic(rotation, np.full(2, (size - 1) / 2.0) - middle, PX_PER_MM)
    triangle = rasterize(camera, surface, model.triangles, size, size).triangle
    return np.bincount(triangle[triangle >= 0], minlength=len(model.triangles)) / PX_PER_MM**2


def opening(points: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Height (pairs,) of upper over lower points."""
    return points[pairs[:, 0], 1] - points[pairs[:, 1], 1]


def normals(model: MorphableModel, surface: np.ndarray) -> np.ndarray:
    """Normals (T, 3), their length twice a triangle's area."""
    a, b, c = np.moveaxis(surface[model.triangles], 1, 0)
    return np.cross(b - a, c - a)


# ---------------------------------------------------------------------------------------------------------------- names


def test_names_are_arkits_in_its_order(model: MorphableModel) -> None:
    assert len(ARKIT_NAMES) == len(set(ARKIT_NAMES)) == 52
    assert model.expression_names == tuple(name for name in ARKIT_NAMES if name != "tongueOut")


def test_weights_are_a_blendshapes(model: MorphableModel) -> None:
    np.testing.assert_array_equal(model.expression_lower, 0.0)
    np.testing.assert_array_equal(model.expression_upper, 1.0)
    assert ((model.expression_sigma >= 0.1) & (model.expression_sigma <= 0.4)).all()


def test_left_and_right_are_mirror_images(model: MorphableModel, units: dict[str, np.ndarray]) -> None:
    sigma = dict(zip(model.expression_names, model.expression_sigma, strict=True))
    for name, unit in units.items():
        twin = name
        if name.endswith(("Left", "Right")):
            twin = name[:-4] + "Right" if name.endswith("Left") else name[:-5] + "Left"
        step = 2e-4 * np.abs(unit).max()  # of the file's 16 bits
        np.testing.assert_allclose(unit[model.mirror] * FLIP, units[twin], atol=step, err_msg=name)
        assert sigma[name] == sigma[twin]


# ----------------------------------------------------------------------------------------------------------- directions


@pytest.mark.parametrize(
    ("name", "landmark", "axis", "low", "high"),
    [
        pytest.param("browDownLeft", 22, 1, -12.0, -1.5, id="browDown"),
        pytest.param("browInnerUp", 21, 1, 1.5, 12.0, id="browInnerUp"),
        pytest.param("browOuterUpLeft", 25, 1, 2.0, 12.0, id="browOuterUp"),
        pytest.param("jawForward", 8, 2, 3.0, 10.0, id="jawForward"),
        pytest.param("jawLeft", 8, 0, 3.0, 10.0, id="jawLeft"),
        pytest.param("mouthFunnel", 51, 2, 2.0, 15.0, id="mouthFunnel"),
        pytest.param("mouthPucker", 54, 0, -20.0, -5.0, id="mouthPucker"),
        pytest.param("mouthLeft", 62, 0, 3.0, 10.0, id="mouthLeft"),
        pytest.param("mouthSmileLeft", 54, 1, 4.0, 15.0, id="mouthSmile"),
        pytest.param("mouthFrownLeft", 54, 1, -15.0, -4.0, id="mouthFrown"),
        pytest.param("mouthStretchLeft", 54, 0, 2.0, 15.0, id="mouthStretch"),
        pytest.param("mouthDimpleLeft", 54, 0, 1.0, 10.0, id="mouthDimple"),
        pytest.param("mouthRollLower", 57, 1, 0.5, 8.0, id="mouthRollLower"),
        pytest.param("mouthRollUpper", 51, 1, -8.0, -0.5, id="mouthRollUpper"),
        pytest.param("mouthShrugLower", 57, 1, 0.5, 12.0, id="mouthShrugLower"),
        pytest.param("mouthShrugUpper", 51, 2, 1.0, 6.0, id="mouthShrugUpper"),
        pytest.param("mouthLowerDownLeft", 65, 1, -15.0, -3.0, id="mouthLowerDown"),
        pytest.param("mouthUpperUpLeft", 63, 1, 2.0, 12.0, id="mouthUpperUp"),
        pytest.param("noseSneerLeft", 35, 1, 0.5, 6.0, id="noseSneer"),
        pytest.param("eyeWideLeft", 44, 1, 1.0, 6.0, id="eyeWide"),
    ],
)
def test_a_unit_moves_its_landmark(
    model: MorphableModel, units: dict[str, np.ndarray], name: str, landmark: int, axis: int, low: float, high: float
) -> None:
    moved = model.landmark_positions(units[name])[landmark]
    assert low < moved[axis] < high


def test_a_side_is_a_side(model: MorphableModel, units: dict[str, np.ndarray]) -> None:
    """Left units leave the right third of the face alone, but for those of the jaw and of the whole mouth."""
    for name in set(units) - {"jawLeft", "mouthLeft"}:
        if name.endswith("Left"):
            length = np.linalg.norm(units[name], axis=1)
            assert length[model.mean[:, 0] < -15.0].max() < 0.07 * length.max(), name


def test_squinting_narrows_the_eye(model: MorphableModel, units: dict[str, np.ndarray]) -> None:
    eye = partial(opening, pairs=LEFT_EYELID_PAIRS)
    neutral = eye(model.landmark_positions(model.mean))
    squinted = eye(model.landmark_positions(model.mean + units["eyeSquintLeft"]))
    assert (squinted < 0.8 * neutral).all()
    assert (squinted > 0.2 * neutral).all()


# ----------------------------------------------------------------------------------------------------------------- eyes


def test_blinks_close_the_eyes(
    model: MorphableModel, units: dict[str, np.ndarray], parts: dict[str, np.ndarray], rng: np.random.Generator
) -> None:
    """At least 98 % of both eyeballs is hidden, in at least 95 % of people; in the others still 85 %."""
    left = []
    for _ in range(100):
        person = model.vertices(rng.standard_normal(model.n_identity)).astype(np.float64)
        before = seen(model, person)
        after = seen(model, person + units["eyeBlinkLeft"] + units["eyeBlinkRight"])
        eyes = [of(model, parts[side]) for side in ("eyeLeft", "eyeRight")]
        left.append(max(after[eye].sum() / before[eye].sum() for eye in eyes))
    assert np.mean(np.array(left) <= 0.02) >= 0.95
    assert max(left) < 0.15


def test_a_blink_leaves_the_other_eye_open(
    model: MorphableModel, units: dict[str, np.ndarray], parts: dict[str, np.ndarray]
) -> None:
    other = of(model, parts["eyeRight"])
    closed = seen(model, model.mean + units["eyeBlinkLeft"])
    np.testing.assert_array_equal(closed[other], seen(model, model.mean)[other])


@pytest.mark.parametrize(
    ("name", "axis", "sign"),
    [
        pytest.param("eyeLookInLeft", 0, -1.0, id="in"),
        pytest.param("eyeLookOutLeft", 0, 1.0, id="out"),
        pytest.param("eyeLookUpLeft", 1, 1.0, id="up"),
        pytest.param("eyeLookDownLeft", 1, -1.0, id="down"),
    ],
)
def test_looking_turns_one_eyeball_rigidly(
    model: MorphableModel,
    units: dict[str, np.ndarray],
    parts: dict[str, np.ndarray],
    name: str,
    axis: int,
    sign: float,
) -> None:
    """The gaze turns by 20-35 degrees about a centre that rests; of the skin only lids move, and only up and down."""
    eye, unit = parts["eyeLeft"], units[name]
    turned = model.mean[eye] + unit[eye]
    np.testing.assert_allclose(pdist(turned), pdist(model.mean[eye]), atol=0.02)
    centre = 0.5 * (model.mean[eye].max(axis=0) + model.mean[eye].min(axis=0))
    pole = model.mean[eye, 2].argmax()
    gaze = (turned[pole] - centre) / np.linalg.norm(turned[pole] - centre)
    assert 20.0 < np.degrees(np.arcsin(sign * gaze[axis])) < 35.0
    assert abs(gaze[1 - axis]) < 1e-3
    others = np.setdiff1d(np.arange(model.n_vertices), eye)
    moved = others[np.linalg.norm(unit[others], axis=1) > 0.02]
    assert axis == 1 or len(moved) == 0
    assert np.isin(moved, parts["skin"]).all()
    assert (np.linalg.norm(model.mean[moved] - centre, axis=1) < 30.0).all()


def test_only_looking_moves_eyeballs(units: dict[str, np.ndarray], parts: dict[str, np.ndarray]) -> None:
    for name, unit in units.items():
        if not name.startswith("eyeLook"):
            assert np.abs(unit[[*parts["eyeLeft"], *parts["eyeRight"]]]).max() < 1e-6, name


# ---------------------------------------------------------------------------------------------------------------- mouth


def test_the_jaw_opens_by_an_inch(model: MorphableModel, units: dict[str, np.ndarray]) -> None:
    gap = opening(model.landmark_positions(units["jawOpen"]), LIP_PAIRS)
    assert 20.0 < gap[1] < 28.0
    assert (gap > 15.0).all()


def test_lower_teeth_go_with_the_jaw_and_upper_teeth_stay(
    model: MorphableModel, units: dict[str, np.ndarray], parts: dict[str, np.ndarray]
) -> None:
    lower, upper = parts["lower"], parts["upper"]
    for name, unit in units.items():
        assert np.abs(unit[upper]).max() < 1e-6, name
        if not name.startswith("jaw"):
            assert np.abs(unit[lower]).max() < 1e-6, name
    start = pdist(model.mean[lower])
    for name in ("jawOpen", "jawForward", "jawLeft", "jawRight"):
        np.testing.assert_allclose(pdist(model.mean[lower] + units[name][lower]), start, atol=0.02, err_msg=name)
    front = lower[model.mean[lower, 2].argmax()]
    assert -30.0 < units["jawOpen"][front, 1] < -10.0
    assert units["jawForward"][front, 2] > 3.0
    assert units["jawLeft"][front, 0] > 3.0


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_mouth_close_brings_the_lips_of_an_open_jaw_together(
    model: MorphableModel, units: dict[str, np.ndarray], weight: float
) -> None:
    """The lips are where they were, and the chin is not."""
    moved = model.landmark_positions(weight * (units["jawOpen"] + units["mouthClose"]))
    assert np.abs(moved[60:68]).max() < 0.05
    assert moved[8, 1] < -10.0 * weight


def test_closed_lips_hide_the_teeth(
    model: MorphableModel, units: dict[str, np.ndarray], parts: dict[str, np.ndarray]
) -> None:
    """From the front and half from the side, for every unit that does not part the lips."""
    teeth = of(model, parts["lower"]) | of(model, parts["upper"])
    shut = {name: unit for name, unit in units.items() if name not in MOUTH_OPENERS and not name.endswith("Right")}
    shut["jawOpen and mouthClose"] = units["jawOpen"] + units["mouthClose"]
    for name, unit in shut.items():
        for yaw in (0.0, 50.0):
            assert seen(model, model.mean + unit, yaw)[teeth].sum() < 5.0, (name, yaw)


# -------------------------------------------------------------------------------------------------------------- surface


def test_units_do_not_fold_the_face(
    model: MorphableModel, units: dict[str, np.ndarray], parts: dict[str, np.ndarray]
) -> None:
    """No triangle seen from the front turns by more than a right angle, except where skin meets skin.

    Lids and lips roll over their own edges; of what is seen of the face, 1 % may do so there.
    """
    points = model.landmark_positions(model.mean)
    middles = model.mean[model.triangles].mean(axis=1)
    meets = np.linalg.norm(middles[:, None] - points[36:68], axis=2).min(axis=1) < 8.0
    rest, visible = normals(model, model.mean), seen(model, model.mean)
    face = of(model, parts["skin"]) & (visible > 0.0)
    poses = {name: unit for name, unit in units.items() if name != "mouthClose"}
    poses["jawOpen and mouthClose"] = units["jawOpen"] + units["mouthClose"]
    for name, unit in poses.items():
        turned = face & (np.einsum("ij,ij->i", normals(model, model.mean + unit), rest) < 0.0)
        assert not turned[~meets].any(), name
        assert visible[turned].sum() < 0.01 * visible[face].sum(), name
