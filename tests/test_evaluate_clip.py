"""Lid closure, and the evaluation of clips on a small one made here."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_model import small_model
from typer.testing import CliRunner

from facefit.apps.evaluate import report
from facefit.apps.evaluate.clip import read_clip, read_frames
from facefit.apps.evaluate.command import app
from facefit.apps.evaluate.evaluation import DETECTOR, FIT, LANDMARK_STAGE, MEAN_FACE
from facefit.apps.evaluate.evaluators import evaluate_clip
from facefit.apps.evaluate.lids import closure_by_blink, closure_by_opening, correlation, true_closure
from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.models.errors import InvalidInputError
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles

FRAMES = 12
CLOSURE = {
    "L": np.clip(np.sin(np.arange(FRAMES)), 0.0, 1.0),
    "R": np.clip(np.cos(1.3 * np.arange(FRAMES)), 0.0, 1.0),
}


def face(left: float, right: float) -> np.ndarray:
    """68 points whose eyes, 20 px wide, are closed to the given degree, from 8 px open."""
    points = np.random.default_rng(1).uniform(20.0, 100.0, (68, 2))
    for first, x, closure in ((36, 40.0, right), (42, 70.0, left)):
        half = 4.0 * (1.0 - closure)
        offsets = [(0.0, 0.0), (7.0, -half), (13.0, -half), (20.0, 0.0), (13.0, half), (7.0, half)]
        points[first : first + 6] = np.array([x, 50.0]) + offsets
    return points


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A clip whose k-th frame has a blue channel of about 20 k, a green of 0 and a red of 255 - 20 k."""
    video = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 30.0, (128, 128))
    for k in range(FRAMES):
        writer.write(np.full((128, 128, 3), (20 * k, 0, 255 - 20 * k), np.uint8))
    writer.release()
    np.savez(
        video.with_suffix(".npz"),
        landmarks=np.stack([face(CLOSURE["L"][k], CLOSURE["R"][k]) for k in range(FRAMES)]),
        yaw=np.linspace(-20.0, 20.0, FRAMES),
        expression=np.stack([np.zeros(FRAMES), CLOSURE["R"], CLOSURE["L"]], axis=1),
        expression_names=["smile", "eyeBlink_R", "eyeBlink_L"],
    )
    return video


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return small_model(expression_names=("eyeBlinkLeft", "eyeBlink_R"))


# ---- lids


def test_opening_tells_closure_whatever_size_place_and_roll():
    shut = closure_by_opening(face(1.0, 0.25))
    assert shut == pytest.approx({"L opening": 1.0, "R opening": 1.0 - 6.0 / 20.0}, abs=1e-12)
    turn = rotation_from_angles(0.0, 0.0, 40.0)[:2, :2]
    assert closure_by_opening(3.0 * face(0.3, 0.6) @ turn.T + 7.0) == pytest.approx(closure_by_opening(face(0.3, 0.6)))


def test_an_eye_without_width_is_no_error():
    assert closure_by_opening(np.zeros((68, 2))) == {"L opening": 0.0, "R opening": 0.0}


def test_blink_is_read_under_each_models_own_names(model):
    expression = np.array([0.25, 0.75])
    assert closure_by_blink(model, expression) == {"L eyeBlinkLeft": 0.25, "R eyeBlink_R": 0.75}
    assert closure_by_blink(small_model(), expression) == {}


def test_true_closure_wants_both_eyes():
    columns = np.arange(6.0).reshape(2, 3)
    found = true_closure(["eyeBlink_R", "smile", "eyeBlink_L"], columns)
    assert {side: values.tolist() for side, values in found.items()} == {"L": [2.0, 5.0], "R": [0.0, 3.0]}
    assert true_closure(["eyeBlink_R", "smile", "frown"], columns) is None


def test_correlation_is_pearsons_or_none():
    assert correlation([1.0, 2.0, 4.0], [10.0, 8.0, 4.0]) == pytest.approx(-1.0, abs=1e-12)
    assert correlation([1.0, 2.0, 1.0, 2.0], [0.0, 0.0, 1.0, 1.0]) == pytest.approx(0.0, abs=1e-12)
    assert correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert correlation([1.0, 2.0], [1.0, 2.0]) is None


# ---- reading


def test_frames_are_those_of_their_numbers_in_rgb(clip):
    samples = read_clip(clip, step=5)
    assert [sample.name for sample in samples] == ["0", "5", "10"]
    assert samples[1].closure == {"L": CLOSURE["L"][5], "R": CLOSURE["R"][5]}
    assert samples[2].yaw == pytest.approx(np.linspace(-20.0, 20.0, FRAMES)[10])
    for sample, image in read_frames(clip, samples):
        k = int(sample.name)
        assert image.pixels.shape == (128, 128, 3)
        assert image.pixels[64, 64].astype(int) == pytest.approx([255 - 20 * k, 0, 20 * k], abs=12)
        assert image.path == f"{clip}#{k}"


def test_limit_counts_the_frames_that_are_taken(clip):
    assert [sample.name for sample in read_clip(clip, step=4, limit=2)] == ["0", "4"]


def test_clips_that_are_missing_or_malformed_are_named(clip):
    stored = dict(np.load(clip.with_suffix(".npz")))
    breakages = {
        "an entry 'yaw'": {key: value for key, value in stored.items() if key != "yaw"},
        r"yaw: expected shape \(12,\)": stored | {"yaw": stored["yaw"][:5]},
        "closure of both eyes": stored | {"expression_names": ["smile", "frown", "eyeBlink_L"]},
        r"expression: expected shape \(12, 3\)": stored | {"expression": stored["expression"][:, :2]},
    }
    for message, content in breakages.items():
        np.savez(clip.with_suffix(".npz"), **content)
        with pytest.raises(InvalidInputError, match=rf"clip\.npz: .*{message}"):
            read_clip(clip)
    clip.with_suffix(".npz").unlink()
    with pytest.raises(InvalidInputError, match=r"clip\.npz: expected a video and its truth"):
        read_clip(clip)


def test_a_video_that_ends_early_or_is_none_is_named(clip, capfd):
    stored = dict(np.load(clip.with_suffix(".npz")))
    longer = {key: np.concatenate([stored[key]] * 2) for key in ("landmarks", "yaw", "expression")}
    np.savez(clip.with_suffix(".npz"), **stored | longer)
    with pytest.raises(InvalidInputError, match=r"clip\.avi: expected a frame 12, got 12 frames"):
        list(read_frames(clip, read_clip(clip, step=4)))
    clip.write_bytes(b"no video" * 50)
    with pytest.raises(InvalidInputError, match=r"clip\.avi: expected a video that OpenCV reads"):
        list(read_frames(clip, read_clip(clip)))


# ---- evaluation


def stand_in(image, landmarks, choices):
    """Fits that know the left eye's closure, and the right one's turned round; the first stage knows neither."""
    k = int(image.path.split("#")[1])
    left, right = CLOSURE["L"][k], CLOSURE["R"][k]
    results = {}
    for method, options in choices.items():
        first = options.get("stages") == ("landmark",)
        results[method] = [
            FitResult(
                FitStatus.CONVERGED,
                "",
                landmarks=face(0.5 * left, 0.25 * right + 0.1),
                landmarks_semantic=face(0.5, 0.5) if first else face(left, 0.2),
                landmarks_fitted=face(left, right),
                identity=np.zeros(3),
                expression=np.array([0.0, 0.0] if first else [left, 1.0 - right]),
                camera=ScaledOrthographic(rotation_from_angles(0.0, 0.0, 0.0), np.array([64.0, 64.0]), 0.5),
                vertices=small_model().vertices(),
                detector="eye",
            )
        ]
    return results


def test_clip_correlates_each_measure_of_each_eye_with_the_truth(clip, model):
    evaluation = evaluate_clip(clip, model, compare=True, fit=stand_in)
    rows = {row["method"]: row for row in report.summary(evaluation)}
    assert len(evaluation.scored) == FRAMES
    assert rows[FIT]["L eyeBlinkLeft r"] == pytest.approx(1.0, abs=1e-12)
    assert rows[FIT]["R eyeBlink_R r"] == pytest.approx(-1.0, abs=1e-12)
    assert rows[FIT]["L opening r"] == pytest.approx(1.0, abs=1e-12)
    assert rows[FIT]["R opening r"] is None
    assert rows[LANDMARK_STAGE]["L opening r"] is None
    assert rows[DETECTOR]["L opening r"] == pytest.approx(1.0, abs=1e-12)
    assert rows[DETECTOR]["R opening r"] == pytest.approx(1.0, abs=1e-12)
    assert "L eyeBlinkLeft r" not in rows[MEAN_FACE]
    assert report.header(evaluation)["landmarks"] == "detected by eye"
    assert report.header(evaluation)["data"] == f"clip {clip}"
    frames = [row for row in report.images(evaluation) if row["method"] == FIT]
    assert [row["L truth"] for row in frames] == CLOSURE["L"].tolist()
    assert [row["L eyeBlinkLeft"] for row in frames] == CLOSURE["L"].tolist()


def test_clip_takes_every_step_th_frame_and_passes_options_on(clip, model):
    seen = []

    def fit(image, landmarks, choices):
        seen.append((int(image.path.split("#")[1]), landmarks, dict(choices)))
        return stand_in(image, landmarks, choices)

    evaluate_clip(clip, model, step=3, options={"stages": ("landmark",)}, fit=fit)
    assert seen == [(k, None, {FIT: {"stages": ("landmark",)}}) for k in (0, 3, 6, 9)]


def test_clip_report_can_be_written(clip, model, tmp_path):
    evaluation = evaluate_clip(clip, model, fit=stand_in)
    report.write_csv(tmp_path / "out.csv", evaluation)
    assert "L eyeBlinkLeft" in (tmp_path / "out.csv").read_text().splitlines()[0]
    assert json.loads(report.as_json(evaluation))["summary"] == report.summary(evaluation)
    assert "L opening r" in report.as_text(evaluation)


def test_the_command_measures_a_clip(test_data):
    video = test_data / "video" / "dev_clip.mp4"
    ran = CliRunner().invoke(app, ["clip", str(video), "--step", "30", "--stages", "landmark", "--json"])
    assert ran.exit_code == 0, ran.output
    content = json.loads(ran.stdout)
    rows = {row["method"]: row for row in content["summary"]}
    assert content["header"]["scored"] == 10
    assert list(content["header"]["stages"]) == ["landmark"]
    for side in "LR":
        assert rows[FIT][f"{side} opening r"] > 0.5
        assert rows[DETECTOR][f"{side} opening r"] > 0.5
    assert rows[FIT]["NME all %"] < rows[MEAN_FACE]["NME all %"]
