"""300W-LP's parameters: the fields of a real sample, and poses that mean there what they mean here."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from export_scenes import HEIGHT, ORTHOGRAPHIC, PERSPECTIVE, WIDTH, fitted
from hypothesis import given
from hypothesis import strategies as st

import facefit
from facefit.apps.export.w300lp import (
    parameters_300wlp,
    pose_from_300wlp,
    pose_to_300wlp,
    read_deviations,
    rotation_of_300wlp,
    write_300wlp,
)
from facefit.models.errors import InvalidInputError, ModelError, OutputError
from facefit.models.formats.bfm_matlab import read_model
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import FRONTAL, rotation_from_angles

N = 90
SAMPLE = "w300lp/IBUG_image_008_1_0.mat"
BASEL = np.array([[1e-3, 0, 0, 0.2], [0, 1e-3, 0, -26.0], [0, 0, 1e-3, -84.0], [0, 0, 0, 1.0]])


def variables(path: Path) -> dict[str, np.ndarray]:
    return {name: value for name, value in scipy.io.loadmat(path).items() if not name.startswith("__")}


def source() -> dict[str, Any]:
    """A made-up model in the layout of face3d's BFM.mat; its expression components are not of length 1."""
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {"tri": rng.permuted(np.tile(np.arange(N), (120, 1)), axis=1)[:, :3].T + 1.0}
    values["tri"][:, : N // 3] = np.arange(N).reshape(-1, 3).T + 1.0
    for kind, count, size in (("shape", 199, 1e5), ("exp", 29, 3.0), ("tex", 199, 20.0)):
        level = {"shape": 1e5, "exp": 1e3, "tex": 120.0}[kind]
        values[f"{kind}MU"] = rng.uniform(0.5, 1.5, (3 * N, 1)) * level
        values[f"{kind}PC"] = np.linalg.qr(rng.normal(size=(3 * N, count)))[0] * (4e4 if kind == "exp" else 1.0)
        values[f"{kind}EV"] = np.linspace(1.0, 0.1, count)[:, None] * size
    values["kpt_ind"] = rng.permutation(N)[None, :68] + 1
    return values


@pytest.fixture(scope="module")
def bfm_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bfm") / "BFM.mat"
    scipy.io.savemat(path, {"model": source()})
    return path


@pytest.fixture(scope="module")
def bfm(bfm_file: Path) -> MorphableModel:
    return read_model(bfm_file)


# --- The file ------------------------------------------------------------------------------------------------------


def test_fields_are_those_of_the_sample(test_data: Path, tmp_path: Path, bfm: MorphableModel) -> None:
    write_300wlp(tmp_path / "a.mat", fitted(bfm, albedo=np.ones(199)), bfm, (HEIGHT, WIDTH))
    ours, theirs = variables(tmp_path / "a.mat"), variables(test_data / SAMPLE)
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        assert (ours[name].shape, ours[name].dtype) == (expected.shape, expected.dtype), name


def test_the_parameters_give_the_fitted_face(tmp_path: Path, bfm_file: Path, bfm: MorphableModel) -> None:
    """Read as face3d and 3DDFA read it, with the model's own file: the mesh falls onto the same pixels."""
    result = fitted(bfm, albedo=np.random.default_rng(1).standard_normal(199))
    write_300wlp(tmp_path / "a.mat", result, bfm, (HEIGHT, WIDTH), read_deviations(bfm_file))
    given, model = variables(tmp_path / "a.mat"), source()
    flat = model["shapeMU"] + model["expMU"] + model["shapePC"] @ given["Shape_Para"]
    points = (flat + model["expPC"] @ given["Exp_Para"]).reshape(-1, 3)
    pitch, yaw, roll, *place, scale = given["Pose_Para"].ravel().astype(np.float64).tolist()
    moved = scale * points @ rotation_of_300wlp(pitch, yaw, roll).T + place
    pixels = np.stack([moved[:, 0], HEIGHT + 1.0 - moved[:, 1]], axis=1) - 1.0  # MATLAB's first pixel is (1, 1)
    assert result.vertices_image is not None and result.landmarks_fitted is not None
    np.testing.assert_allclose(pixels, result.vertices_image[:, :2], atol=1e-3)
    np.testing.assert_allclose(given["pt2d"].T - 1.0, result.landmarks_fitted, atol=1e-9)
    np.testing.assert_array_equal(given["roi"], [[1, 1, WIDTH, HEIGHT]])
    np.testing.assert_allclose(given["Tex_Para"][:, 0], result.albedo * model["texEV"][:, 0])


def test_without_the_file_components_count_as_orthonormal(bfm: MorphableModel) -> None:
    """True of shape and texture here; the expressions' are 4e4 long, and come out so many times as large."""
    result, model = fitted(bfm, albedo=np.ones(199)), source()
    given = parameters_300wlp(result, bfm, (HEIGHT, WIDTH))
    assert result.identity is not None and result.expression is not None
    np.testing.assert_allclose(given["Shape_Para"][:, 0], result.identity * model["shapeEV"][:, 0], rtol=1e-5)
    np.testing.assert_allclose(given["Tex_Para"], model["texEV"], rtol=1e-4)
    np.testing.assert_allclose(given["Exp_Para"][:, 0], 4e4 * result.expression * model["expEV"][:, 0], rtol=1e-5)
    dark = parameters_300wlp(replace(result, albedo=None), bfm, (HEIGHT, WIDTH))
    assert not dark["Tex_Para"].any()


# --- Poses ---------------------------------------------------------------------------------------------------------

degrees = st.floats(-89.0, 89.0)


@given(yaw=degrees, pitch=degrees, roll=st.floats(-179.0, 179.0), depth=st.floats(-200.0, 200.0))
def test_our_pose_comes_back(yaw: float, pitch: float, roll: float, depth: float) -> None:
    camera = replace(ORTHOGRAPHIC, rotation=rotation_from_angles(yaw, pitch, roll))
    back, again = pose_from_300wlp(pose_to_300wlp(camera, BASEL, HEIGHT, depth), BASEL, HEIGHT)
    np.testing.assert_allclose(back.rotation, camera.rotation, atol=1e-9)
    np.testing.assert_allclose(back.translation, camera.translation, atol=1e-9)
    assert abs(back.scale - camera.scale) < 1e-12 and abs(again - depth) < 1e-9


@given(pitch=st.floats(-3.1, 3.1), yaw=st.floats(-1.57, 1.57), roll=st.floats(-3.1, 3.1))
def test_their_pose_comes_back(pitch: float, yaw: float, roll: float) -> None:
    pose = np.array([pitch, yaw, roll, 183.6, 189.5, -81.7, 1.3e-3])
    np.testing.assert_allclose(pose_to_300wlp(*_with(pose)), pose, atol=1e-6)


def _with(pose: np.ndarray) -> tuple[Any, np.ndarray, int, float]:
    camera, depth = pose_from_300wlp(pose, BASEL, 450)
    return camera, BASEL, 450, depth


@pytest.mark.parametrize("yaw", [-90.0, 90.0])
def test_a_profile_has_one_rotation_for_pitch_and_roll(yaw: float) -> None:
    camera = replace(ORTHOGRAPHIC, rotation=FRONTAL @ rotation_of_300wlp(0.3, np.radians(yaw), 0.2))
    back, _ = pose_from_300wlp(pose_to_300wlp(camera, BASEL, HEIGHT), BASEL, HEIGHT)
    np.testing.assert_allclose(back.rotation, camera.rotation, atol=1e-8)


def test_signs() -> None:
    """One angle alone is ours with another sign: yaw > 0 there turns the nose to image left."""
    for ours, theirs in (((20, 0, 0), (0, -20, 0)), ((0, 20, 0), (20, 0, 0)), ((0, 0, 20), (0, 0, 20))):
        yaw, pitch, roll = ours
        expected = FRONTAL @ rotation_of_300wlp(*np.radians(theirs))
        np.testing.assert_allclose(rotation_from_angles(yaw, pitch, roll), expected, atol=1e-12)


def test_the_samples_pose_comes_back(test_data: Path) -> None:
    poses = [variables(file)["Pose_Para"] for file in [test_data / SAMPLE, *(test_data / "aflw2000").glob("*.mat")]]
    assert len(poses) > 5
    for pose in poses:
        np.testing.assert_allclose(pose_to_300wlp(*_with(pose)), pose.ravel(), rtol=0.0, atol=1e-6)


def _rotation_between(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the rotation that best takes points (M, 3) to seen (M, 3), up to scale and shift (Kabsch)."""
    u, _, vt = np.linalg.svd((seen - seen.mean(axis=0)).T @ (points - points.mean(axis=0)))
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt


def test_poses_of_aflw2000_are_those_of_its_points(test_data: Path) -> None:
    """Without Basel's face: another mean face's landmarks, turned and shifted by Pose_Para, fit the stored 3D points.

    Wrong signs of the angles are off by 15 to 140 degrees. What is left over as Basel's origin is one point of the
    head, the same for every picture, however it is turned, shifted and scaled.
    """
    model = facefit.load_model("default")
    inner = model.landmark_positions(model.mean)[17:]
    origins = []
    for file in sorted((test_data / "aflw2000").glob("*.mat")):
        given = variables(file)
        camera, depth = pose_from_300wlp(given["Pose_Para"], np.diag([1e-3, 1e-3, 1e-3, 1.0]), 450)
        points = given["pt3d_68"].T[17:].astype(np.float64) - [1.0, 1.0, 0.0]
        seen = points * [1.0, 1.0, -1.0]  # the camera frame's: right, down, away
        off = _rotation_between(inner, seen).T @ camera.rotation
        assert np.degrees(np.arccos((np.trace(off) - 1.0) / 2.0)) < 6.0, file.name
        origin = np.array([*camera.translation, -depth])
        origins.append((seen - origin).mean(axis=0) @ camera.rotation / camera.scale - inner.mean(axis=0))
    assert len(origins) > 5
    assert np.std(origins, axis=0).max() < 2.0, "mm"


# --- Errors --------------------------------------------------------------------------------------------------------


def test_other_layouts_are_refused(bfm: MorphableModel) -> None:
    default = facefit.load_model("default")
    with pytest.raises(InvalidInputError, match="199 identity and 29 expression coefficients, got 'default' with 80"):
        parameters_300wlp(fitted(default), default, (HEIGHT, WIDTH))
    for changes in ({"licence": "MIT"}, {"source_transform": np.eye(4)}):
        other = replace(bfm, **changes)
        with pytest.raises(InvalidInputError, match="expected a Basel Face Model 2009"):
            parameters_300wlp(fitted(other), other, (HEIGHT, WIDTH))


def test_wrong_arguments(tmp_path: Path, bfm: MorphableModel) -> None:
    with pytest.raises(InvalidInputError, match="expected a scaled orthographic camera, got perspective"):
        parameters_300wlp(fitted(bfm, PERSPECTIVE), bfm, (HEIGHT, WIDTH))
    with pytest.raises(InvalidInputError, match="int16"):
        parameters_300wlp(fitted(bfm), bfm, (40000, 10))
    with pytest.raises(InvalidInputError, match="landmarks_fitted: expected"):
        parameters_300wlp(fitted(bfm, landmarks_fitted=None), bfm, (HEIGHT, WIDTH))
    with pytest.raises(InvalidInputError, match="identity: expected finite"):
        parameters_300wlp(fitted(bfm, identity=np.full(199, np.nan)), bfm, (HEIGHT, WIDTH))
    with pytest.raises(InvalidInputError, match="a positive scale and a shift"):
        pose_to_300wlp(ORTHOGRAPHIC, np.diag([1.0, 2.0, 1.0, 1.0]), HEIGHT)
    with pytest.raises(InvalidInputError, match="pose: expected shape"):
        pose_from_300wlp(np.zeros(6), BASEL, HEIGHT)
    with pytest.raises(OutputError, match="cannot be written"):
        write_300wlp(tmp_path / "none" / "a.mat", fitted(bfm), bfm, (HEIGHT, WIDTH))
    for content in (b"", b"no such thing"):
        (tmp_path / "b.mat").write_bytes(content)
        with pytest.raises(ModelError, match=r"b\.mat"):
            read_deviations(tmp_path / "b.mat")
    with pytest.raises(ModelError, match=r"none\.mat"):
        read_deviations(tmp_path / "none.mat")
