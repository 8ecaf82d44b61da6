"""The animated GLBs that a webcam's run writes: read by the specification, judged by Khronos, played by three.js."""

import base64
import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from glb_reader import Glb, assert_valid
from scipy.spatial.transform import Rotation, Slerp
from small_model import small_model
from webcam_scenes import HEIGHT, WIDTH, Said, face, frame

import facefit
from facefit.apps.export.glb import Motion
from facefit.apps.webcam import animated_glb
from facefit.apps.webcam.animated_glb import FOCAL, AnimatedGlbSink, place_in_metres
from facefit.apps.webcam.head import head_of
from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.fitting.tracking import TrackedFace
from facefit.models.errors import InvalidInputError, OutputError
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import rotation_from_angles

ANGLES = ((0.0, 0.0, 0.0), (30.0, 0.0, 0.0), (0.0, 20.0, 0.0), (0.0, 0.0, 40.0), (-50.0, 15.0, -20.0))
TIMES = (5.0, 5.04, 5.2, 5.5, 7.0)  # s: from no zero, and uneven


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return small_model()


def moves(model: MorphableModel, **changes: Any) -> list[TrackedFace]:
    """One person who turns, grows nearer, and changes their expression."""
    units = np.linspace(0.0, 0.8, len(TIMES))[:, None] * np.linspace(0.5, 1.0, model.n_expression)
    return [
        face(model, seconds, 0, angles, (31.5 + 4 * k, 23.5 - 2 * k), 0.2 * 1.1**k, units[k], **changes)
        for k, (seconds, angles) in enumerate(zip(TIMES, ANGLES, strict=True))
    ]


def write(path: Path, model: MorphableModel, faces: list[list[TrackedFace]], **options: Any) -> None:
    sink = AnimatedGlbSink(path, model, **options)
    for k, (seconds, there) in enumerate(zip(TIMES, faces, strict=True)):
        sink.write(frame(k, seconds), there, None)
    sink.close()


def channels(glb: Glb) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The moments (F,), s, and the values of each channel (F, ...) of the one animation."""
    (animation,) = glb.document["animations"]
    values, moments = {}, []
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        assert sampler.get("interpolation", "LINEAR") == "LINEAR"
        assert channel["target"]["node"] == 0
        moments.append(glb.accessor(sampler["input"])[:, 0].astype(np.float64))
        table = glb.accessor(sampler["output"]).astype(np.float64)
        values[channel["target"]["path"]] = table.reshape(len(moments[-1]), -1)
    assert all(np.array_equal(one, moments[0]) for one in moments)
    return moments[0], values


def turned(quaternion: np.ndarray, vector: tuple[float, float, float]) -> np.ndarray:
    """A vector turned by a quaternion x, y, z, w, by the formula of the textbook."""
    axis, w = quaternion[:3], quaternion[3]
    return np.array(vector) + 2.0 * np.cross(axis, np.cross(axis, vector) + w * np.array(vector))


def test_the_head_turns_as_in_the_picture(model: MorphableModel, tmp_path: Path) -> None:
    """Before a viewer who looks along -Z, y up: right is +X. Ahead of the face is +Z, above it +Y."""
    write(tmp_path / "run.glb", model, [[one] for one in moves(model)])
    _, values = channels(Glb.read(tmp_path / "run.glb"))
    frontal, right, up, clockwise, _ = values["rotation"]
    sine, cosine = np.sin(np.radians([30.0, 20.0, 40.0])), np.cos(np.radians([30.0, 20.0, 40.0]))
    np.testing.assert_allclose(frontal, [0.0, 0.0, 0.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(turned(right, (0, 0, 1)), [sine[0], 0.0, cosine[0]], atol=1e-6, err_msg="nose")
    np.testing.assert_allclose(turned(up, (0, 0, 1)), [0.0, sine[1], cosine[1]], atol=1e-6, err_msg="nose")
    np.testing.assert_allclose(turned(clockwise, (0, 1, 0)), [sine[2], cosine[2], 0.0], atol=1e-6, err_msg="crown")
    np.testing.assert_allclose(np.linalg.norm(values["rotation"], axis=1), 1.0, atol=1e-6)


def test_moments_weights_and_places(model: MorphableModel, tmp_path: Path) -> None:
    faces = moves(model)
    write(tmp_path / "run.glb", model, [[one] for one in faces])
    glb = Glb.read(tmp_path / "run.glb")
    moments, values = channels(glb)
    np.testing.assert_allclose(moments, np.array(TIMES) - TIMES[0], atol=1e-6)
    expected = np.array([one.result.expression for one in faces])
    np.testing.assert_allclose(values["weights"], expected, atol=1e-6)
    x, y, z = values["translation"].T
    np.testing.assert_allclose(values["translation"][0], 0.0, atol=1e-9)
    scales = 0.2 * 1.1 ** np.arange(5)
    np.testing.assert_allclose(x, 4 * np.arange(5) / scales / 1000.0, atol=1e-6, err_msg="m: px / (px/mm) / 1000")
    np.testing.assert_allclose(y, 2 * np.arange(5) / scales / 1000.0, atol=1e-6, err_msg="up in the picture is up")
    distance = FOCAL * WIDTH / scales / 1000.0
    np.testing.assert_allclose(z, distance[0] - distance, atol=1e-6, err_msg="nearer is towards the viewer")
    node = glb.document["nodes"][0]
    np.testing.assert_allclose(node["rotation"], values["rotation"][0], atol=1e-6)
    np.testing.assert_allclose(node["translation"], values["translation"][0], atol=1e-9)
    np.testing.assert_allclose(glb.mesh["weights"], values["weights"][0], atol=1e-6)


def test_the_place_is_where_the_picture_shows_the_head(model: MorphableModel) -> None:
    """A camera of the stated focal length at the origin, looking along -Z, sees the head's origin where it was."""
    head = head_of(face(model, place=(50.0, 7.0), scale=0.31))
    assert head is not None
    x, y, z = place_in_metres(head, HEIGHT, WIDTH)
    focal = FOCAL * WIDTH
    assert (focal * x / -z + 31.5, focal * y / z + 23.5) == pytest.approx((50.0, 7.0))


def test_the_face_is_the_persons_own_at_rest(model: MorphableModel, tmp_path: Path) -> None:
    identities = [np.full(3, 0.1 * k) for k in range(5)]
    reflectance = np.full((model.n_vertices, 3), 0.25)
    faces = [
        face(model, seconds, identity=one, reflectance=reflectance if k == 0 else None, expression=(0.5, 0.5))
        for k, (seconds, one) in enumerate(zip(TIMES, identities, strict=True))
    ]
    write(tmp_path / "run.glb", model, [[one] for one in faces])
    glb = Glb.read(tmp_path / "run.glb")
    corners = 1000.0 * glb.attribute("POSITION")[glb.accessor(glb.primitive["indices"]).reshape(-1, 3)]
    np.testing.assert_allclose(corners, model.vertices(identities[-1])[model.triangles], atol=1e-4)
    np.testing.assert_allclose(glb.attribute("COLOR_0"), 0.25, err_msg="known since the first frame")
    smile = 1000.0 * glb.target("smile")
    assert np.abs(smile).max() == pytest.approx(np.abs(model.expression[1]).max(), rel=1e-4)


def test_quaternions_go_the_short_way(model: MorphableModel, tmp_path: Path) -> None:
    """Around the circle in steps of 60 degrees of roll: neighbours lie within a right angle of each other."""
    sink = AnimatedGlbSink(tmp_path / "run.glb", model)
    for k in range(13):
        sink.write(frame(k, k / 10.0), [face(model, k / 10.0, angles=(0.0, 0.0, 60.0 * k))], None)
    sink.close()
    moments, values = channels(Glb.read(tmp_path / "run.glb"))
    assert len(moments) == 13
    neighbours = (values["rotation"][1:] * values["rotation"][:-1]).sum(axis=1)
    np.testing.assert_allclose(neighbours, np.cos(np.radians(30.0)), atol=1e-6)


def test_one_file_per_track_the_longest_first(model: MorphableModel, tmp_path: Path) -> None:
    faces = [
        [face(model, track=7, scale=0.5)],
        [face(model, track=9), face(model, track=7)],
        [],
        [face(model, track=9, angles=(10.0, 0.0, 0.0)), face(model, track=12)],
        [face(model, track=9)],
    ]
    write(tmp_path / "run.glb", model, faces)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run-2.glb", "run-3.glb", "run.glb"]
    moments = [channels(Glb.read(tmp_path / name))[0] for name in ("run.glb", "run-2.glb", "run-3.glb")]
    expected = ([0.04, 0.5, 2.0], [0.0, 0.04], [0.5])
    for there, wanted in zip(moments, expected, strict=True):
        np.testing.assert_allclose(there, wanted, atol=1e-6, err_msg="all count from the run's first frame")
    assert_valid(*tmp_path.iterdir())


def test_frames_of_one_moment_count_once(model: MorphableModel, tmp_path: Path) -> None:
    """Times that single precision cannot tell apart would be a broken file."""
    sink = AnimatedGlbSink(tmp_path / "run.glb", model)
    for seconds in (0.0, 1e5, 1e5 + 1e-3, 1e5 + 2e-3, 1e5 + 0.04):
        sink.write(frame(0, seconds), [face(model, seconds)], None)
    sink.close()
    moments, _ = channels(Glb.read(tmp_path / "run.glb"))
    assert (np.diff(moments) > 0.0).all()
    assert len(moments) == 3


def test_khronos_validator(model: MorphableModel, tmp_path: Path) -> None:
    default = facefit.load_model("default")
    write(tmp_path / "default.glb", default, [[one] for one in moves(default)])
    write(tmp_path / "small.glb", model, [[one] for one in moves(model)])
    bounds = {f"expression_{name}": np.zeros(0) for name in ("sigma", "lower", "upper")}
    still = small_model(expression=np.zeros((0, model.n_vertices, 3)), expression_names=(), **bounds)
    write(tmp_path / "still.glb", still, [[one] for one in moves(still)])
    assert set(channels(Glb.read(tmp_path / "still.glb"))[1]) == {"rotation", "translation"}
    assert_valid(*tmp_path.glob("*.glb"))


# --- What can go wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [0, 3])
def test_no_face_makes_no_file(
    model: MorphableModel, tmp_path: Path, frames: int, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = AnimatedGlbSink(tmp_path / "run.glb", model)
    for k in range(frames):
        nothing = TrackedFace(0, FitResult(FitStatus.DIVERGED, "made for a test"), 0.0, {})
        sink.write(frame(k, k / 30.0), [nothing] if k == 1 else [], None)
    sink.close()
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "run.glb: not written, there was no face\n")


def test_a_full_disk_costs_only_what_it_must(
    model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = AnimatedGlbSink(tmp_path / "run.glb", model)
    sink.write(frame(0, 0.0), [face(model), face(model, track=1)], None)
    real, calls = animated_glb.glb_bytes, []

    def filling_up(*arguments: Any, **options: Any) -> bytes:
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return real(*arguments, **options)

    monkeypatch.setattr(animated_glb, "glb_bytes", filling_up)
    with pytest.raises(OutputError, match=r"run\.glb: cannot be written \(No space left on device\)"):
        sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["run-2.glb"]


def test_wrong_calls(model: MorphableModel, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"ends in \.glb, got 'run\.gltf'"):
        AnimatedGlbSink(tmp_path / "run.gltf", model)
    with pytest.raises(OutputError, match="cannot be written"):
        AnimatedGlbSink(tmp_path / "nowhere" / "run.glb", model)
    with pytest.raises(InvalidInputError, match="seconds: expected at least one moment, each later"):
        Motion(np.array([1.0, 1.0]), np.zeros((2, 2)), np.tile([0.0, 0.0, 0.0, 1.0], (2, 1)), np.zeros((2, 3)))
    with pytest.raises(InvalidInputError, match=r"rotations: expected shape \(2, 4\), got \(2, 3\)"):
        Motion(np.array([0.0, 1.0]), np.zeros((2, 2)), np.zeros((2, 3)), np.zeros((2, 3)))


def test_a_licence_that_keeps_the_basis_is_told(tmp_path: Path) -> None:
    said = Said()
    guarded = small_model(licence="for research only")
    write(tmp_path / "run.glb", guarded, [[one] for one in moves(guarded)], say=said)
    assert len(said) == 1 and "whose licence does not allow passing it on (for research only)" in said[0]


# --- In a browser --------------------------------------------------------------------------------------------------

PAGE = """<!doctype html>
<script type="importmap">{"imports": {"three": "%(three)s/build/three.module.js"}}</script>
<script type="module">
import {AnimationMixer, HemisphereLight, PerspectiveCamera, Scene, Vector3, WebGLRenderer} from "three";
import {GLTFLoader} from "%(three)s/examples/jsm/loaders/GLTFLoader.js";
const root = document.documentElement;
try {
  const bytes = Uint8Array.from(atob("%(glb)s"), (letter) => letter.charCodeAt(0)).buffer;
  const gltf = await new GLTFLoader().parseAsync(bytes, "");
  const scene = new Scene(), mixer = new AnimationMixer(gltf.scene);
  scene.add(gltf.scene, new HemisphereLight(0xffffff, 0x888888, 3));
  mixer.clipAction(gltf.animations[0]).play();
  let mesh;
  gltf.scene.traverse((node) => { if (node.isMesh) mesh = node; });
  const renderer = new WebGLRenderer({preserveDrawingBuffer: true}), camera = new PerspectiveCamera(40, 1, 0.01, 10);
  renderer.setSize(64, 64);
  camera.position.z = 0.9;
  const told = {duration: gltf.animations[0].duration, names: Object.keys(mesh.morphTargetDictionary), at: []};
  for (const seconds of %(times)s) {
    mixer.setTime(seconds);
    scene.updateMatrixWorld(true);
    camera.updateMatrixWorld();
    const nose = mesh.localToWorld(new Vector3(0, 0, 0.1)).project(camera);
    const middle = mesh.localToWorld(new Vector3()).project(camera);
    renderer.render(scene, camera);
    const gl = renderer.getContext(), pixels = new Uint8Array(4 * 64 * 64);
    gl.readPixels(0, 0, 64, 64, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    told.at.push({
      weights: [...mesh.morphTargetInfluences], rotation: mesh.quaternion.toArray(), place: mesh.position.toArray(),
      nose: [nose.x - middle.x, nose.y - middle.y],
      drawn: pixels.filter((value, k) => k %% 4 == 0 && value > 20).length,
    });
  }
  root.dataset.told = JSON.stringify(told);
} catch (problem) { root.dataset.told = JSON.stringify({error: String(problem)}); }
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_three_plays_it(tmp_path: Path) -> None:
    three = Path(os.environ.get("FACEFIT_NODE_MODULES", "")) / "three"
    if not three.is_dir():
        pytest.skip("FACEFIT_NODE_MODULES names no folder with the npm package three")
    model = facefit.load_model("default")
    faces = moves(model)
    write(tmp_path / "run.glb", model, [[one] for one in faces])
    asked = [0.04, 0.2, 0.35, 1.0]  # s: two moments of frames, two between
    parts = {"three": three.resolve().as_uri(), "times": json.dumps(asked)}
    parts["glb"] = base64.b64encode((tmp_path / "run.glb").read_bytes()).decode("ascii")
    (tmp_path / "page.html").write_text(PAGE % parts)
    told = played(tmp_path)
    assert told["duration"] == pytest.approx(TIMES[-1] - TIMES[0])
    assert told["names"] == list(model.expression_names)
    moments = np.array(TIMES) - TIMES[0]
    units = np.array([one.result.expression for one in faces])
    rotations = Slerp(moments, Rotation.from_matrix([rotation_from_angles(*one) for one in ANGLES]))
    for seconds, shown in zip(asked, told["at"], strict=True):
        weights = [np.interp(seconds, moments, unit) for unit in units.T]
        np.testing.assert_allclose(shown["weights"], weights, atol=1e-5)
        upright = np.diag([1.0, -1.0, -1.0]) @ rotations(seconds).as_matrix()
        np.testing.assert_allclose(Rotation.from_quat(shown["rotation"]).as_matrix(), upright, atol=1e-5)
        assert shown["drawn"] > 300, "of 4096 pixels"
    right, up = told["at"][0]["nose"], told["at"][1]["nose"]
    assert right[0] > 0.05 and abs(right[1]) < 0.02, "yaw 30: the nose is to the right on the screen"
    assert up[1] > 0.05, "pitch 20: above"


def played(folder: Path) -> dict[str, Any]:
    """What the page of a folder tells in Chromium."""
    command = ["chromium", "--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking"]
    command += ["--disable-component-update", "--proxy-server=127.0.0.1:9", f"--user-data-dir={folder / 'user'}"]
    command += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    command += ["--allow-file-access-from-files", "--dump-dom"]
    for budget in (10_000, 60_000):  # ms of the page's time; decoding pictures takes time of another clock
        arguments = [*command, f"--virtual-time-budget={budget}", (folder / "page.html").as_uri()]
        page = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False).stdout
        if found := re.search(r'data-told="([^"]*)"', page):
            told: dict[str, Any] = json.loads(html.unescape(found[1]))
            assert "error" not in told, told["error"]
            return told
    pytest.fail("the page told nothing: " + page[:500])
