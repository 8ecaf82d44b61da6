"""The GLB writer: read back through the specification, by trimesh, and judged by Khronos's own validator."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from export_scenes import fitted
from glb_reader import Glb, assert_valid
from scenes import toy_model
from small_model import small_model

import facefit
from facefit.apps.export.glb import (
    arkit_name,
    forbids_redistribution,
    glb_bytes,
    redistribution_warning,
    write_glb,
)
from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.models.errors import InvalidInputError, OutputError
from facefit.models.formats import bfm_matlab, ict, surrey
from facefit.models.morphable_model import MorphableModel, UVMap
from facefit.render.normals import vertex_normals
from facefit.render.tangents import split_at_seams, vertex_tangents

BOUNDS = ("sigma", "lower", "upper")
FLAT_NORMALS = np.full((8, 8, 3), (128, 128, 255), np.uint8)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


@pytest.fixture(scope="module")
def result(model: MorphableModel) -> FitResult:
    return fitted(model)


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    ramp = np.arange(64, dtype=np.uint8)
    return np.stack(np.broadcast_arrays(2 * ramp[:, None], 3 * ramp[None], 77), axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def files(
    model: MorphableModel, result: FitResult, texture: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """One file of each kind."""
    folder = tmp_path_factory.mktemp("glb")
    write_glb(folder / "textured.glb", result, model, texture)
    write_glb(folder / "coloured.glb", result, model)
    write_glb(folder / "relief.glb", result, model, texture, normal_map=FLAT_NORMALS)
    small = small_model()
    write_glb(folder / "small.glb", fitted(small), small)
    toy = toy_model()  # no texture map, no colours, expressions of all kinds of bounds
    write_glb(folder / "bare.glb", fitted(toy), toy)
    still = replace(
        small, expression=np.zeros(0), expression_names=(), **{f"expression_{k}": np.zeros(0) for k in BOUNDS}
    )
    write_glb(folder / "still.glb", fitted(still), still)
    return {path.stem: path for path in folder.glob("*.glb")}


@pytest.fixture(scope="module")
def glb(files: dict[str, Path]) -> Glb:
    return Glb.read(files["textured"])


# --- Geometry ------------------------------------------------------------------------------------------------------


def test_positions_are_the_neutral_face_in_metres(glb: Glb, model: MorphableModel, result: FitResult) -> None:
    corners = glb.attribute("POSITION")[glb.accessor(glb.primitive["indices"]).reshape(-1, 3)]
    neutral = model.vertices(result.identity)[model.triangles]
    np.testing.assert_allclose(1000.0 * corners, neutral, rtol=0.0, atol=1e-4)


def test_the_weights_give_the_fitted_face(glb: Glb, model: MorphableModel, result: FitResult) -> None:
    names, weights = glb.mesh["extras"]["targetNames"], glb.mesh["weights"]
    posed = glb.attribute("POSITION") + sum(w * glb.target(name) for name, w in zip(names, weights, strict=True))
    assert names == list(model.expression_names), "the default model's names are ARKit's"
    assert result.vertices is not None
    corners = posed[glb.accessor(glb.primitive["indices"]).reshape(-1, 3)]
    np.testing.assert_allclose(1000.0 * corners, result.vertices[model.triangles], rtol=0.0, atol=1e-3)


def test_weights_stay_within_the_models_bounds(tmp_path: Path) -> None:
    model = small_model()  # blink within 0 and 1, smile unbounded
    write_glb(tmp_path / "a.glb", fitted(model, expression=np.array([1.5, -2.5])), model)
    assert Glb.read(tmp_path / "a.glb").mesh["weights"] == [1.0, -2.5]


def test_texture_coordinates_and_picture(glb: Glb, model: MorphableModel, texture: np.ndarray) -> None:
    assert model.uv is not None
    corners = glb.attribute("TEXCOORD_0")[glb.accessor(glb.primitive["indices"]).reshape(-1, 3)]
    expected = model.uv.coordinates[model.uv.triangles] * [1.0, -1.0] + [0.0, 1.0]
    np.testing.assert_allclose(corners, expected, rtol=0.0, atol=1e-6)
    import cv2

    image = glb.document["images"][0]
    view = glb.document["bufferViews"][image["bufferView"]]
    content = np.frombuffer(glb.binary, np.uint8, view["byteLength"], view["byteOffset"])
    shown = cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    assert np.abs(shown - texture).mean() < 2.0, "JPEG"


def test_normals_do_not_show_the_seams(glb: Glb, model: MorphableModel, result: FitResult) -> None:
    corners = glb.attribute("NORMAL")[glb.accessor(glb.primitive["indices"]).reshape(-1, 3)]
    expected = vertex_normals(model.vertices(result.identity), model.triangles)[model.triangles]
    np.testing.assert_allclose(corners, expected, atol=1e-6)


@pytest.mark.parametrize("unit", ["jawOpen", "cheekPuff", "eyeBlinkLeft"])
def test_a_target_turns_the_normals_too(glb: Glb, model: MorphableModel, result: FitResult, unit: str) -> None:
    coefficients = np.eye(model.n_expression)[model.expression_names.index(unit)]
    expected = vertex_normals(model.vertices(result.identity, coefficients), model.triangles)[model.triangles]
    turned = (glb.attribute("NORMAL") + glb.target(unit, "NORMAL"))[glb.accessor(glb.primitive["indices"]).ravel()]
    np.testing.assert_allclose(turned.reshape(-1, 3, 3), expected, atol=1.1e-3)


def test_a_model_that_is_not_linear_is_asked_for_each_unit(tmp_path: Path) -> None:
    """As a skinned one: here every unit bends the other's."""

    class Bent(MorphableModel):
        def vertices(self, identity: Any = None, expression: Any = None) -> np.ndarray:
            points = super().vertices(identity, expression)
            a, b = np.zeros(2) if expression is None else expression
            return points + 5.0 * (a * b + a**2) * np.array([0.0, 1.0, 0.0])

    model = Bent(**{name: getattr(small_model(), name) for name in small_model().__dataclass_fields__})
    result = fitted(model)
    write_glb(tmp_path / "bent.glb", result, model)
    glb = Glb.read(tmp_path / "bent.glb")
    for name, unit in zip(("blink", "smile"), np.eye(2), strict=True):
        expected = model.vertices(result.identity, unit) - model.vertices(result.identity)
        corners = glb.target(name)[glb.accessor(glb.primitive["indices"]).reshape(-1, 3)]
        np.testing.assert_allclose(1000.0 * corners, expected[model.triangles], rtol=0.0, atol=1e-4)


# --- Each target does what its name says ---------------------------------------------------------------------------
# iBUG's landmarks: 8 chin, 21 and 22 the brows' inner ends, 36-41 the right eye, 42-47 the left (43, 44 its upper lid),
# 48 and 54 the right and the left mouth corner, 51 and 57 the lips' middles. +x is the subject's left, +y up, +z out.

LEFT, UP, OUT = np.eye(3)
MOVES = [
    ("eyeBlinkLeft", (43, 44), -UP, 2.0),
    ("eyeBlinkRight", (37, 38), -UP, 2.0),
    ("eyeWideLeft", (43, 44), UP, 0.3),
    ("jawOpen", (8, 57), -UP, 8.0),
    ("jawLeft", (8,), LEFT, 2.0),
    ("jawRight", (8,), -LEFT, 2.0),
    ("jawForward", (8,), OUT, 2.0),
    ("mouthSmileLeft", (54,), UP + LEFT, 2.0),
    ("mouthSmileRight", (48,), UP - LEFT, 2.0),
    ("mouthFrownLeft", (54,), -UP, 1.0),
    ("mouthLeft", (51, 57), LEFT, 1.0),
    ("mouthRight", (51, 57), -LEFT, 1.0),
    ("mouthPucker", (51, 57), OUT, 0.5),
    ("mouthStretchLeft", (54,), LEFT, 0.5),
    ("mouthUpperUpLeft", (52,), UP, 1.0),
    ("mouthLowerDownRight", (58,), -UP, 1.0),
    ("browInnerUp", (21, 22), UP, 1.0),
    ("browDownLeft", (22, 23), -UP, 1.0),
    ("browOuterUpRight", (17, 18), UP, 0.5),
    ("noseSneerLeft", (35,), UP, 0.3),
]  # unit, landmarks, direction, how far at least (mm)


@pytest.mark.parametrize(("unit", "landmarks", "direction", "least"), MOVES, ids=[row[0] for row in MOVES])
def test_a_target_moves_what_its_name_says(
    glb: Glb, model: MorphableModel, unit: str, landmarks: tuple[int, ...], direction: np.ndarray, least: float
) -> None:
    assert model.uv is not None
    vertex = split_at_seams(model.triangles, model.uv).vertex
    moved = np.zeros((model.n_vertices, 3))
    moved[vertex] = 1000.0 * glb.target(unit)
    along = model.landmark_positions(moved) @ (direction / np.linalg.norm(direction))
    assert (along[list(landmarks)] > least).all(), along[list(landmarks)]
    if unit.endswith(("Left", "Right")) and "jaw" not in unit and unit not in ("mouthLeft", "mouthRight"):
        other = (model.landmark_positions(model.mean) @ LEFT > 10.0) == unit.endswith("Right")
        far = np.abs(model.landmark_positions(model.mean) @ LEFT) > 10.0
        still = np.linalg.norm(model.landmark_positions(moved), axis=1)[other & far]
        assert still.max() < 0.35 * along[list(landmarks)].min(), "the other side stays"


# --- Names and licences --------------------------------------------------------------------------------------------


def test_names_of_other_models_become_arkits() -> None:
    assert arkit_name("mouthSmile_L") == "mouthSmileLeft"
    assert arkit_name("eyeBlink_R") == "eyeBlinkRight"
    assert arkit_name("jawOpen") == "jawOpen"
    assert arkit_name("browInnerUp_L") == "browInnerUpLeft", "ARKit has it whole: two names, not one twice"
    assert arkit_name("PupilDilate_L") == "PupilDilate_L"
    assert arkit_name("expression007") == "expression007"
    names = [arkit_name(name) for name in ict.ARKIT]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("licence", "forbidden"),
    [
        ("CC0-1.0 (derived from MakeHuman's CC0 assets)", False),
        ("MIT (ICT-FaceKit light, USC Institute for Creative Technologies)", False),
        ("Apache-2.0", False),
        ("BSD-3-Clause", False),
        ("CC-BY-4.0", False),
        ("CC BY 3.0", False),
        ("public domain", False),
        ("CC-BY-NC-4.0", True),
        ("CC BY-NC-SA 4.0", True),
        ("CC BY-ND 4.0", True),
        ("MIT for the code, model for non-commercial use", True),
        (bfm_matlab.LICENCE, True),
        (surrey.LICENCE, True),
        ("non-commercial scientific research, by registration with the Max Planck Institute", True),
        ("not stated in the file: ask its source", True),
        ("permitted", True),
        ("", True),
    ],
)
def test_which_licences_forbid_passing_on(licence: str, forbidden: bool) -> None:
    assert forbids_redistribution(licence) is forbidden
    warning = redistribution_warning(small_model(licence=licence))
    assert (warning is not None) is forbidden
    if warning is not None:
        assert licence in warning and "\n" not in warning


def test_the_file_is_the_bytes(tmp_path: Path) -> None:
    model = small_model()
    write_glb(tmp_path / "a.glb", fitted(model), model)
    assert (tmp_path / "a.glb").read_bytes() == glb_bytes(fitted(model), model)


def test_the_licence_travels_with_the_file(glb: Glb, model: MorphableModel) -> None:
    asset = glb.document["asset"]
    assert asset["version"] == "2.0"
    assert asset["generator"] == f"facefit {facefit.__version__}"
    for text in (model.name, model.licence, model.citation):
        assert text in asset["copyright"]


# --- Material and tangents -----------------------------------------------------------------------------------------


def test_material(files: dict[str, Path]) -> None:
    document = Glb.read(files["relief"]).document
    material = document["materials"][0]
    surface = material["pbrMetallicRoughness"]
    assert (surface["metallicFactor"], surface["roughnessFactor"]) == (0.0, 0.7)
    assert surface["baseColorTexture"]["index"] == 0
    assert material["normalTexture"]["index"] == 1
    assert [image["mimeType"] for image in document["images"]] == ["image/jpeg", "image/png"]
    attributes = {name: set(Glb.read(path).primitive["attributes"]) for name, path in files.items()}
    assert "TANGENT" in attributes["relief"] and "TANGENT" not in attributes["textured"]
    assert "COLOR_0" in attributes["coloured"] and "COLOR_0" not in attributes["textured"]
    assert attributes["bare"] == {"POSITION", "NORMAL"}


def test_tangents_follow_u(rng: np.random.Generator) -> None:
    """On the plane of `small_model`'s grid u runs along x and v along y; mirrored in u, both turn."""
    model = small_model()
    flat = model.mean * [1.0, 1.0, 0.0]
    normals = np.tile([0.0, 0.0, 1.0], (len(flat), 1))
    for factor, sign in ((1.0, 1.0), (-1.0, -1.0)):
        assert model.uv is not None
        uv = UVMap(model.uv.coordinates * [factor, 1.0], model.uv.triangles)
        mesh = split_at_seams(model.triangles, uv)
        tangents = vertex_tangents(flat[mesh.vertex], normals[mesh.vertex], mesh)
        np.testing.assert_allclose(tangents, np.tile([factor, 0.0, 0.0, sign], (len(flat), 1)), atol=1e-9)


def test_tangents_are_unit_vectors_across_the_normals(files: dict[str, Path]) -> None:
    glb = Glb.read(files["relief"])
    tangents, normals = glb.attribute("TANGENT"), glb.attribute("NORMAL")
    np.testing.assert_allclose(np.linalg.norm(tangents[:, :3], axis=1), 1.0, atol=1e-6)
    assert np.abs((tangents[:, :3] * normals).sum(axis=1)).max() < 1e-6
    assert set(tangents[:, 3]) <= {-1.0, 1.0}


# --- Other programs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["textured", "coloured", "relief", "bare", "small", "still"])
def test_trimesh_opens_it(files: dict[str, Path], name: str) -> None:
    glb = Glb.read(files[name])
    mesh = trimesh.load(files[name], process=False).to_geometry()
    np.testing.assert_allclose(mesh.vertices, glb.attribute("POSITION"), atol=1e-9)
    np.testing.assert_array_equal(mesh.faces, glb.accessor(glb.primitive["indices"]).reshape(-1, 3))
    if name in ("textured", "relief"):
        np.testing.assert_allclose(mesh.visual.uv * [1, -1] + [0, 1], glb.attribute("TEXCOORD_0"), atol=1e-6)
        assert mesh.visual.material.baseColorTexture.size == (64, 64)


def test_khronos_validator_finds_no_error_and_no_warning(files: dict[str, Path]) -> None:
    assert_valid(*files.values())


def test_ict_facekit(test_data: Path, tmp_path: Path, texture: np.ndarray) -> None:
    """A model of 24591 vertices whose units have other names than ARKit's."""
    model = ict.read_model(test_data / "ict/ict_facekit.tar.xz")
    result = fitted(model)
    write_glb(tmp_path / "ict.glb", result, model, texture, normal_map=FLAT_NORMALS)
    glb = Glb.read(tmp_path / "ict.glb")
    names = glb.mesh["extras"]["targetNames"]
    assert len(set(names)) == len(names) == model.n_expression
    assert {"eyeBlinkLeft", "jawOpen", "mouthSmileRight", "browInnerUpLeft"} <= set(names)
    posed = glb.attribute("POSITION") + sum(
        weight * glb.target(name) for name, weight in zip(names, glb.mesh["weights"], strict=True)
    )
    corners = posed[glb.accessor(glb.primitive["indices"]).reshape(-1, 3)]
    assert result.vertices is not None
    np.testing.assert_allclose(1000.0 * corners, result.vertices[model.triangles], rtol=0.0, atol=1e-3)
    assert (tmp_path / "ict.glb").stat().st_size < 12e6, "dense, the targets alone are 33 MB"
    assert_valid(tmp_path / "ict.glb")


# --- Errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"texture": np.zeros((4, 4, 3))}, "texture: expected uint8"),
        ({"normal_map": np.zeros((4, 4), np.uint8)}, "normal_map: expected shape"),
        ({"uv": UVMap(np.zeros((4, 2)), np.zeros((5, 3), np.int32))}, r"uv.triangles: expected shape \(288, 3\)"),
        ({"uv": UVMap(np.full((4, 2), np.nan), np.zeros((288, 3), np.int32))}, "uv.coordinates: expected finite"),
    ],
)
def test_wrong_pictures_leave_no_file(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    model = small_model()
    with pytest.raises(InvalidInputError, match=message):
        write_glb(tmp_path / "a.glb", fitted(model), model, **options)
    assert list(tmp_path.iterdir()) == []


def test_wrong_results_leave_no_file(tmp_path: Path, texture: np.ndarray) -> None:
    model, toy = small_model(), toy_model()
    with pytest.raises(InvalidInputError, match="got NO_FACE"):
        write_glb(tmp_path / "a.glb", FitResult(FitStatus.NO_FACE, "no face"), model)
    with pytest.raises(InvalidInputError, match="other ones"):
        write_glb(tmp_path / "a.glb", fitted(toy), model)
    with pytest.raises(InvalidInputError, match="expression: expected finite"):
        write_glb(tmp_path / "a.glb", fitted(model, expression=np.array([np.nan, 0.0])), model)
    with pytest.raises(InvalidInputError, match="identity: expected shape"):
        write_glb(tmp_path / "a.glb", fitted(model, identity=np.zeros(7)), model)
    with pytest.raises(InvalidInputError, match="uv: expected the map"):
        write_glb(tmp_path / "a.glb", fitted(toy), toy, texture)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="cannot be written"):
        write_glb(tmp_path / "none" / "a.glb", fitted(model), model)
