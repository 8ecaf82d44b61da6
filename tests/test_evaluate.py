"""`evaluate`: its data folders, what it computes with a stand-in for the fit, its reports and its command."""

import csv
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from facefit.apps.evaluate import report
from facefit.apps.evaluate.command import app
from facefit.apps.evaluate.comparison import comparisons
from facefit.apps.evaluate.datasets import landmark_vertices, read_aflw2000, read_synthetic
from facefit.apps.evaluate.evaluation import DETECTOR, FIT, LANDMARK_STAGE, MATCHED, MEAN_FACE, NOT_FOUND
from facefit.apps.evaluate.evaluators import evaluate_aflw2000, evaluate_synthetic
from facefit.apps.evaluate.fitters import Fitter, fit_with_pipeline
from facefit.apps.evaluate.meshes import read_mesh
from facefit.apps.evaluate.scoring import skin
from facefit.fitting.detection import Detection
from facefit.fitting.images import LoadedImage
from facefit.fitting.landmarks import LandmarkConvention
from facefit.fitting.results import FitResult, StageReport
from facefit.fitting.status import FitStatus
from facefit.models.errors import FacefitError, InvalidInputError, OutputError
from facefit.models.morphable_model import LandmarkEmbedding, MorphableModel
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles

SIDE = 20  # vertices per side of the small face
YAWS = {"a": 0.0, "b": 45.0, "c": -70.0}


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    """A bump, 120 mm wide, with one mode of identity that makes it bulge; landmarks on vertices."""
    x, y = np.meshgrid(np.linspace(-60.0, 60.0, SIDE), np.linspace(-60.0, 60.0, SIDE))
    mean = np.stack([x, y, 50.0 * np.exp(-(x**2 + 1.4 * y**2) / 2500.0) + 0.05 * x], axis=-1).reshape(-1, 3)
    bulge = np.zeros_like(mean)
    bulge[:, 2] = 6.0 * np.sin(mean[:, 0] / 20.0) * np.cos(mean[:, 1] / 25.0)
    corner = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).reshape(-1, 1)
    quads = corner + np.array([0, 1, SIDE + 1, SIDE])
    triangles = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
    chosen = np.random.default_rng(5).choice((SIDE - 1) ** 2, 68, replace=False)
    return MorphableModel(
        name="bump",
        licence="none",
        citation="none",
        mean=mean,
        identity=bulge[None],
        triangles=triangles,
        landmarks=LandmarkEmbedding(chosen, np.tile([1.0, 0.0, 0.0], (68, 1))),
    )


def camera(yaw: float) -> ScaledOrthographic:
    return ScaledOrthographic(rotation_from_angles(yaw, 5.0, 3.0), np.array([200.0, 210.0]), 1.5)


@pytest.fixture
def synthetic(tmp_path: Path, model: MorphableModel) -> Path:
    """Three 'heads' that are the model with a coefficient of 1, each in its own pose, in a frame of its own."""
    neutral = model.vertices([1.0])
    for name, yaw in YAWS.items():
        image_points = camera(yaw).project(neutral)[:, :2]
        landmarks = camera(yaw).project(model.landmark_positions(neutral))[:, :2]
        np.savez(
            tmp_path / f"{name}.npz",
            landmarks=landmarks,
            landmarks_noisy=landmarks + np.array([1.0, 0.0]),
            neutral=neutral @ rotation_from_angles(9.0, 8.0, 7.0).T + [1.0, 2.0, 3.0],
            image_points=image_points,
            yaw=yaw,
        )
        picture(tmp_path / f"{name}.jpg")
    return tmp_path


@pytest.fixture
def aflw2000(tmp_path: Path, model: MorphableModel) -> Path:
    for name, yaw in YAWS.items():
        points = camera(yaw).project(model.landmark_positions(model.vertices([1.0])))
        np.savez(tmp_path / f"{name}_gt.npz", pts68_3d=points.T, yaw_deg=np.float32(-yaw))
        picture(tmp_path / f"{name}.jpg")
    return tmp_path


def picture(path: Path) -> None:
    Image.new("RGB", (16, 16), (150, 120, 100)).save(path)


def result(
    points: np.ndarray,
    shift: float = 0.0,
    status: FitStatus = FitStatus.CONVERGED,
    detector: str | None = None,
    identity: float = 1.0,
) -> FitResult:
    """A fit that is `shift` px to the right of the points; its mesh is too small to be compared with a photo."""
    return FitResult(
        status,
        status.value,
        landmarks=points,
        landmarks_semantic=points + np.array([shift, 0.0]),
        landmarks_fitted=points + np.array([0.5 * shift, 0.0]),
        identity=np.array([identity]),
        camera=camera(0.0),
        vertices=np.zeros((SIDE**2, 3)),
        detector=detector,
        stages=(StageReport("landmark", status, 3, {}, {}, 0.01),),
    )


Simple = Callable[[str, np.ndarray | None, dict[str, Any]], list[FitResult]]


def each(fit: Simple) -> Fitter:
    """The Fitter that calls `fit` with the picture's name, the given points and each choice of options."""

    def run(image: LoadedImage, landmarks: np.ndarray | None, choices: Any) -> dict[str, list[FitResult]]:
        return {method: fit(Path(image.path).name, landmarks, options) for method, options in choices.items()}

    return run


def stub(shift: float = 3.0, calls: list[Any] | None = None) -> Fitter:
    """A fit of given points that misses by `shift` px and gets the identity right."""

    @each
    def fit(image, landmarks, options):
        if calls is not None:
            calls.append((image, landmarks, options))
        assert landmarks is not None
        return [result(landmarks, shift)]

    return fit


def size(sample: Any) -> float:
    return float(np.sqrt(np.prod(np.ptp(sample.landmarks, axis=0))))


# ---- data folders


def test_synthetic_samples_hold_what_the_files_hold(synthetic, model):
    samples = read_synthetic(synthetic)
    assert [(s.name, s.yaw) for s in samples] == list(YAWS.items())
    assert samples[1].image == synthetic / "b.jpg"
    stored = np.load(synthetic / "b.npz")
    assert np.array_equal(samples[1].landmarks, stored["landmarks"])
    assert np.array_equal(samples[1].landmarks_noisy, stored["landmarks_noisy"])
    assert samples[1].scan.landmarks == pytest.approx(model.landmark_positions(stored["neutral"]), abs=1e-12)


def test_the_scan_ends_95_mm_from_the_nose_tip(synthetic):
    scan = read_synthetic(synthetic)[0].scan
    neutral = np.load(synthetic / "a.npz")["neutral"]
    near = np.linalg.norm(neutral - scan.landmarks[30], axis=1) <= 95.0
    assert 0 < near.sum() < len(neutral)
    assert np.array_equal(scan.points, neutral[near])


def test_limit_takes_the_first_samples(synthetic):
    assert [s.name for s in read_synthetic(synthetic, 2)] == ["a", "b"]


def test_aflw2000_points_are_in_the_image_plane_and_yaw_has_our_sign(aflw2000, model):
    samples = read_aflw2000(aflw2000)
    assert {s.name: s.yaw for s in samples} == YAWS
    expected = camera(45.0).project(model.landmark_positions(model.vertices([1.0])))[:, :2]
    assert samples[1].landmarks == pytest.approx(expected, abs=1e-12)


def test_aflw2000_can_be_read_from_the_original_files(aflw2000):
    from scipy.io import savemat

    for exported in list(aflw2000.glob("*_gt.npz")):
        data = dict(np.load(exported))
        pose = np.array([[0.1, np.radians(data["yaw_deg"]), 0.2, 0.0, 0.0, 0.0, 1.0]])
        savemat(
            exported.with_name(exported.name.replace("_gt.npz", ".mat")),
            {"pt3d_68": data["pts68_3d"], "Pose_Para": pose},
        )
        before = read_aflw2000(aflw2000)
        exported.unlink()
        for old, new in zip(before, read_aflw2000(aflw2000), strict=True):
            assert np.array_equal(old.landmarks, new.landmarks)
            assert new.yaw == pytest.approx(old.yaw, abs=1e-4)


def test_landmarks_that_are_no_vertices_are_refused():
    grid = np.stack(np.meshgrid(np.arange(10.0), np.arange(10.0)), axis=-1).reshape(-1, 2)
    assert np.array_equal(landmark_vertices(grid[20:88], grid), np.arange(20, 88))
    with pytest.raises(InvalidInputError, match=r"got one 0\.3 px from any"):
        landmark_vertices(grid[:68] + np.array([0.3, 0.0]), grid)


@pytest.mark.parametrize("read", [read_synthetic, read_aflw2000])
def test_missing_and_empty_folders_are_named(read, tmp_path):
    with pytest.raises(InvalidInputError, match="nowhere: expected a folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(InvalidInputError, match="expected files"):
        read(tmp_path)


def test_malformed_synthetic_files_are_named(synthetic):
    stored = dict(np.load(synthetic / "b.npz"))
    breakages: dict[str, Any] = {
        "entry 'yaw'": {k: v for k, v in stored.items() if k != "yaw"},
        r"landmarks: expected shape \(68, 2\)": stored | {"landmarks": stored["landmarks"][:67]},
        "neutral: expected finite": stored | {"neutral": np.full_like(stored["neutral"], np.nan)},
    }
    for message, content in breakages.items():
        np.savez(synthetic / "b.npz", **content)
        with pytest.raises(InvalidInputError, match=rf"b\.npz: .*{message}"):
            read_synthetic(synthetic)
    for junk in (b"", b"not an archive", (synthetic / "a.npz").read_bytes()[:1000]):
        (synthetic / "b.npz").write_bytes(junk)
        with pytest.raises(InvalidInputError, match=r"b\.npz: not a readable \.npz file"):
            read_synthetic(synthetic)


def test_an_image_or_truth_that_is_missing_is_named(synthetic, tmp_path_factory):
    (synthetic / "c.jpg").unlink()
    with pytest.raises(InvalidInputError, match=r"c\.npz: expected c\.jpg beside it"):
        read_synthetic(synthetic)
    photos = tmp_path_factory.mktemp("photos")
    (photos / "x.jpg").touch()
    with pytest.raises(InvalidInputError, match=r"x\.jpg: expected x\.mat beside it"):
        read_aflw2000(photos)
    (photos / "x.mat").write_bytes(b"junk" * 100)
    with pytest.raises(InvalidInputError, match=r"x\.jpg: x\.mat: expected a readable MATLAB file"):
        read_aflw2000(photos)


def test_landmark_vertices_are_the_same_in_every_rendered_head(test_data):
    found = []
    for path in sorted((test_data / "synthetic").glob("*.npz")):
        with np.load(path) as data:
            found.append(landmark_vertices(data["landmarks"].astype(float), data["image_points"].astype(float)))
    assert len(found) == 24
    assert (np.array(found) == found[0]).all()


def test_the_test_folders_can_be_read(test_data):
    heads = read_synthetic(test_data / "synthetic")
    assert {len(s.scan.points) > 5000 for s in heads} == {True}
    photos = read_aflw2000(test_data / "aflw2000")
    assert len(photos) == 10
    # image00081 looks to image left, image00516 to image right.
    assert [np.sign(s.yaw) for s in photos if s.name in ("image00081", "image00516")] == [-1.0, 1.0]
    for sample in photos:
        nose, jaw = sample.landmarks[30], sample.landmarks[[0, 16]].mean(axis=0)
        if abs(sample.yaw) > 15.0:
            assert np.sign(nose[0] - jaw[0]) == np.sign(sample.yaw)


# ---- evaluators


def test_synthetic_scores_the_fit_and_the_mean_face(synthetic, model):
    evaluation = evaluate_synthetic(synthetic, model, fit=stub(3.0))
    assert [case.status for case in evaluation.cases] == ["converged"] * 3
    rows = {row["method"]: row for row in report.summary(evaluation)}
    expected = 100.0 * np.mean([3.0 / size(case.sample) for case in evaluation.cases])
    assert rows[FIT]["NME all %"] == pytest.approx(expected, abs=1e-9)
    assert rows[FIT]["NME inner %"] == pytest.approx(expected, abs=1e-9)
    assert rows[FIT]["scan mean mm"] == pytest.approx(0.0, abs=1e-9)  # the stub knows the identity
    assert rows[MEAN_FACE]["scan mean mm"] > 0.5
    assert rows[MEAN_FACE]["NME all %"] > 0.5
    assert DETECTOR not in rows


def test_yaw_bins_are_means_of_their_images(synthetic, model):
    evaluation = evaluate_synthetic(synthetic, model, fit=stub(3.0))
    row = report.summary(evaluation)[0]
    assert report.header(evaluation)["by yaw"] == {"0-30": 1, "30-60": 1, "60-90": 1}
    for name, case in zip(("0-30", "30-60", "60-90"), evaluation.cases, strict=True):
        assert row[f"yaw {name} %"] == pytest.approx(300.0 / size(case.sample), abs=1e-9)


def test_mean_face_on_its_own_projection_has_no_error(tmp_path, model):
    points = camera(20.0).project(model.landmark_positions(model.vertices()))
    np.savez(tmp_path / "x_gt.npz", pts68_3d=points.T, yaw_deg=-20.0)
    picture(tmp_path / "x.jpg")
    evaluation = evaluate_aflw2000(tmp_path, model, fit=stub())
    placed = evaluation.cases[0].predictions[MEAN_FACE].landmarks
    assert placed == pytest.approx(points[:, :2], abs=1e-9)


def test_which_points_and_options_reach_the_fit(synthetic, model):
    calls: list[Any] = []
    evaluate_synthetic(
        synthetic, model, landmarks="noisy", options={"landmark_sigma": 0.02}, limit=1, fit=stub(calls=calls)
    )
    evaluate_synthetic(synthetic, model, options={"landmark_convention": "contour"}, limit=1, fit=stub(calls=calls))
    noisy, exact = calls
    stored = np.load(synthetic / "a.npz")
    assert (noisy[0], noisy[2]) == ("a.jpg", {"landmark_sigma": 0.02})
    assert np.array_equal(noisy[1], stored["landmarks_noisy"])
    assert exact[2] == {"landmark_convention": "contour"}
    assert np.array_equal(exact[1], stored["landmarks"])


def test_noisy_points_are_scored_against_the_exact_ones(synthetic, model):
    evaluation = evaluate_synthetic(synthetic, model, landmarks="noisy", limit=1, fit=stub(0.0))
    row = report.summary(evaluation)[0]
    assert row["NME all %"] == pytest.approx(100.0 / size(evaluation.cases[0].sample), abs=1e-9)


def test_half_leaves_out_the_odd_points_and_scores_them(aflw2000, model):
    calls: list[Any] = []
    evaluation = evaluate_aflw2000(aflw2000, model, half=True, options={"landmark_sigma": 0.005}, fit=stub(calls=calls))
    for _, _, options in calls:
        sigma = options["landmark_sigma"]
        assert np.isinf(sigma[1::2]).all()
        assert (sigma[0::2] == 0.005).all()
    assert [key for key in report.summary(evaluation)[0] if key.startswith("NME")] == ["NME odd %", "NME even %"]
    assert "even points only" in report.header(evaluation)["landmarks"]


@pytest.mark.parametrize("convention", [None, "semantic", "contour"])
def test_half_keeps_the_noise_that_the_model_states(aflw2000, model, convention):
    """The contour convention has no landmarks of its own here: it takes those of the semantic one."""
    own = np.linspace(0.01, 0.04, 68)
    stated = replace(model, landmarks=replace(model.landmarks, sigma=own))
    calls: list[Any] = []
    asked = {} if convention is None else {"landmark_convention": convention}
    evaluate_aflw2000(aflw2000, stated, half=True, options=asked, fit=stub(calls=calls))
    for _, _, options in calls:
        np.testing.assert_array_equal(options["landmark_sigma"][0::2], own[0::2])
        assert np.isinf(options["landmark_sigma"][1::2]).all()


def test_half_places_the_mean_face_without_the_odd_points(aflw2000, model):
    @each
    def fit(image, landmarks, options):
        wild = landmarks.copy()
        wild[1::2] += 1000.0
        return [result(wild)]

    fair = evaluate_aflw2000(aflw2000, model, half=True, fit=stub())
    wild = evaluate_aflw2000(aflw2000, model, half=True, fit=fit)
    for a, b in zip(fair.cases, wild.cases, strict=True):
        assert b.predictions[MEAN_FACE].landmarks == pytest.approx(a.predictions[MEAN_FACE].landmarks, abs=1e-9)


def test_detected_faces_are_matched_by_their_box_and_the_detector_is_scored(aflw2000, model):
    truth = {s.image.name: s.landmarks for s in read_aflw2000(aflw2000)}

    @each
    def fit(image, landmarks, options):
        assert landmarks is None
        assert options == {}
        points = truth[image]
        return [
            result(3.0 * points + 2000.0, detector="eye"),
            result(points + np.array([2.0, 0.0]), 3.0, detector="eye"),
        ]

    evaluation = evaluate_aflw2000(aflw2000, model, landmarks="detected", fit=fit)
    rows = {row["method"]: row for row in report.summary(evaluation)}
    one_px = 100.0 * np.mean([1.0 / size(case.sample) for case in evaluation.cases])
    assert rows[DETECTOR]["NME all %"] == pytest.approx(2.0 * one_px, abs=1e-9)
    assert rows[FIT]["NME all %"] == pytest.approx(5.0 * one_px, abs=1e-9)
    assert report.header(evaluation)["landmarks"] == "detected by eye"


def test_detected_mean_face_does_not_listen_to_the_jaw(aflw2000, model):
    truth = {s.image.name: s.landmarks for s in read_aflw2000(aflw2000)}

    def fit(jaw):
        @each
        def run(image, landmarks, options):
            points = truth[image].copy()
            points[:17] += jaw
            return [result(points)]

        return run

    placed = [
        evaluate_aflw2000(aflw2000, model, landmarks="detected", limit=1, fit=fit(jaw)).cases[0].predictions[MEAN_FACE]
        for jaw in (0.0, 15.0)
    ]
    assert placed[0].landmarks == pytest.approx(placed[1].landmarks, abs=1e-9)


def test_failures_are_counted_named_and_kept_out_of_the_means(aflw2000, model):
    truth = {s.image.name: s.landmarks for s in read_aflw2000(aflw2000)}

    @each
    def fit(image, landmarks, options):
        if image == "a.jpg":
            return []
        if image == "b.jpg":
            return [FitResult(FitStatus.NO_FACE, "none"), result(truth["b.jpg"] + 5000.0)]
        return [result(truth["c.jpg"], 1.0)]

    evaluation = evaluate_aflw2000(aflw2000, model, landmarks="detected", fit=fit)
    assert [case.status for case in evaluation.cases] == [NOT_FOUND, NOT_FOUND, "converged"]
    head = report.header(evaluation)
    assert (head["images"], head["scored"]) == (3, 1)
    expected = 100.0 / size(evaluation.cases[2].sample)
    assert report.summary(evaluation)[0]["NME all %"] == pytest.approx(expected, abs=1e-9)
    assert "No usable fit: a (not_found), b (not_found)" in report.as_text(evaluation)


def test_an_unusable_fit_of_given_points_keeps_its_own_status(aflw2000, model):
    @each
    def fit(image, landmarks, options):
        return [result(landmarks, status=FitStatus.DIVERGED)]

    evaluation = evaluate_aflw2000(aflw2000, model, fit=fit)
    assert {case.status for case in evaluation.unscored} == {"diverged"}
    assert report.summary(evaluation) == []
    assert "No usable fit: a (diverged)" in report.as_text(evaluation)


def staged(offset: float = 4.0) -> Fitter:
    """A fit whose first stage misses by twice what all of them miss, `offset` px, and finds half of the identity."""

    @each
    def fit(image, landmarks, options):
        first = options.get("stages") == ("landmark",)
        wave = np.sin(np.arange(68.0) + 7.0 * sum(map(ord, image)))[:, None] * [0.0, offset]
        points = landmarks + (2.0 if first else 1.0) * wave
        return [replace(result(landmarks, identity=0.5 if first else 1.0), landmarks_semantic=points)]

    return fit


def test_compare_fits_the_landmark_stage_alone_from_the_same_points(synthetic, model):
    calls: list[Any] = []
    asked = {"landmark_sigma": 0.02, "stages": ("landmark", "photometric")}
    evaluate_synthetic(synthetic, model, options=asked, compare=True, limit=1, fit=stub(calls=calls))
    (_, points, fit), (_, same, first) = calls
    assert fit == asked
    assert first == {"landmark_sigma": 0.02, "stages": ("landmark",)}
    assert np.array_equal(points, same)


def test_comparison_pairs_images_and_tells_ratio_share_and_worst(synthetic, model):
    evaluation = evaluate_synthetic(synthetic, model, compare=True, fit=staged())
    assert [row["method"] for row in report.summary(evaluation)] == [FIT, LANDMARK_STAGE, MEAN_FACE]
    rows = {row["comparison"]: row for row in comparisons(evaluation)}
    scan = rows["fit / landmark stage: scan mean mm"]
    distances = {m: [case.predictions[m].scan.mean for case in evaluation.cases] for m in (FIT, LANDMARK_STAGE)}
    losses = np.subtract(distances[FIT], distances[LANDMARK_STAGE])
    assert (scan["images"], scan["better %"]) == (3, 100.0)
    assert scan["ratio %"] == pytest.approx(100.0 * np.mean(distances[FIT]) / np.mean(distances[LANDMARK_STAGE]))
    assert scan["worst"] == losses.max() < 0.0
    assert scan["worst image"] == "abc"[int(losses.argmax())]
    assert scan["median gain"] == pytest.approx(-np.median(losses), abs=1e-12)
    content = json.loads(report.as_json(evaluation))
    assert content["comparisons"] == comparisons(evaluation)
    assert "fit / landmark stage: scan mean mm" in report.as_text(evaluation)


def test_a_comparison_with_itself_is_neutral(synthetic, model):
    evaluation = evaluate_synthetic(synthetic, model, compare=True, fit=stub())
    for row in comparisons(evaluation):
        if row["comparison"].startswith("fit / landmark stage"):
            assert (row["ratio %"], row["median gain"], row["better %"], row["worst"]) == (100.0, 0.0, 0.0, 0.0)


def test_frontal_offsets_are_those_of_the_frontal_images(tmp_path, model):
    """On frontal images every point is off by its own constant, on turned ones by three times as much."""
    constant = np.random.default_rng(3).normal(size=(68, 2))
    for name, yaw in {"a": 0.0, "b": 15.0, "c": -20.0, "d": 50.0}.items():
        points = camera(yaw).project(model.landmark_positions(model.vertices()))
        np.savez(tmp_path / f"{name}_gt.npz", pts68_3d=points.T, yaw_deg=-yaw)
        picture(tmp_path / f"{name}.jpg")
    samples = {s.image.name: s for s in read_aflw2000(tmp_path)}

    @each
    def fit(image, landmarks, options):
        sample = samples[image]
        shift = size(sample) * 0.01 * constant * (3.0 if abs(sample.yaw) > 30.0 else 1.0)
        return [
            replace(result(sample.landmarks), landmarks=sample.landmarks + shift, landmarks_semantic=sample.landmarks)
        ]

    rows = {r["method"]: r for r in report.summary(evaluate_aflw2000(tmp_path, model, landmarks="detected", fit=fit))}
    assert rows[DETECTOR]["offset-free yaw 0-30 %"] == pytest.approx(0.0, abs=1e-9)
    assert rows[DETECTOR]["offset-free %"] > 0.3
    assert rows[FIT]["offset-free yaw 0-30 %"] == pytest.approx(0.0, abs=1e-9)
    assert rows[MATCHED]["NME all %"] == pytest.approx(0.0, abs=1e-9)


def test_fits_that_hold_a_detectors_points_in_half_show_it(aflw2000, model):
    truth = {s.image.name: s.landmarks for s in read_aflw2000(aflw2000)}

    @each
    def fit(image, landmarks, options):
        noise = np.random.default_rng(len(image) + ord(image[0])).normal(size=(68, 2))
        return [
            replace(
                result(truth[image] + 4.0 * noise),
                landmarks_semantic=truth[image] + 2.0 * noise,
                landmarks_fitted=truth[image] + 3.0 * noise,
            )
        ]

    for name in ("b", "c"):  # all frontal
        stored = dict(np.load(aflw2000 / f"{name}_gt.npz"))
        np.savez(aflw2000 / f"{name}_gt.npz", **stored | {"yaw_deg": 5.0})
    rows = {
        row["comparison"]: row for row in comparisons(evaluate_aflw2000(aflw2000, model, landmarks="detected", fit=fit))
    }
    assert rows["fit / detector: offset-free yaw 0-30 %"]["ratio %"] == pytest.approx(50.0, abs=1e-6)
    assert rows["fit, matched / detector: offset-free yaw 0-30 %"]["ratio %"] == pytest.approx(75.0, abs=1e-6)


def test_a_landmark_stage_that_fails_leaves_its_image_out(aflw2000, model):
    @each
    def fit(image, landmarks, options):
        failed = options.get("stages") == ("landmark",) and image == "b.jpg"
        return [result(landmarks, status=FitStatus.STALLED if failed else FitStatus.CONVERGED)]

    evaluation = evaluate_aflw2000(aflw2000, model, compare=True, fit=fit)
    assert [case.status for case in evaluation.cases] == ["converged", "stalled", "converged"]
    assert len(evaluation.scored) == 2


def test_header_tells_stages_their_time_and_how_they_ended(aflw2000, model):
    @each
    def fit(image, landmarks, options):
        seconds, status = (0.5, FitStatus.STALLED) if image == "a.jpg" else (0.1, FitStatus.CONVERGED)
        second = StageReport("photometric", status, 9, {}, {}, seconds)
        first = result(landmarks)
        return [replace(first, stages=(*first.stages, second))]

    evaluation = evaluate_aflw2000(aflw2000, model, fit=fit)
    assert report.header(evaluation)["stages"] == {
        "landmark": {"median s": 0.01, "status": {"converged": 3}},
        "photometric": {"median s": 0.1, "status": {"stalled": 1, "converged": 2}},
    }
    assert "landmark 10 ms (3 converged); photometric 100 ms (1 stalled, 2 converged)" in report.as_text(evaluation)


class CountingDetector:
    """Finds the same points in every picture, and counts how often it looks."""

    name, landmark_convention, landmark_sigma, opening_correlation = (
        "one",
        LandmarkConvention.SEMANTIC,
        np.ones(68),
        0.3,
    )

    def __init__(self, points: np.ndarray) -> None:
        self.points, self.looks = points, 0

    def detect(self, image: np.ndarray) -> list[Detection]:
        self.looks += 1
        return [Detection(np.array([0.0, 0.0, 9.0, 9.0]), 1.0, self.points, "one-of-a-kind")]


def test_the_pipeline_searches_an_image_once_for_all_its_fits(model):
    points = camera(10.0).project(model.landmark_positions(model.vertices([1.0])))[:, :2]
    detector = CountingDetector(points)
    image = LoadedImage(np.zeros((16, 16, 3), np.uint8), "x.png", "PNG", "RGB", 1, "none")
    fit = fit_with_pipeline(model, detector)
    tight, loose = ({"landmark_sigma": sigma} for sigma in (0.001, 0.2))
    results = fit(image, None, {"tight": tight, "loose": loose, "own": {}})
    assert detector.looks == 1
    assert all(found.detector == "one-of-a-kind" for (found,) in results.values())
    assert all(np.array_equal(found.landmarks, points) for (found,) in results.values())
    assert results["tight"][0].identity[0] > results["loose"][0].identity[0]
    assert (results["own"][0].landmark_sigma == 1.0).all()  # the detector's


def test_wrong_choices_are_refused(aflw2000, model):
    with pytest.raises(InvalidInputError, match="expected one of exact, noisy, detected, got 'given'"):
        evaluate_synthetic(aflw2000, model, landmarks="given", fit=stub())
    with pytest.raises(InvalidInputError, match="half: expected given landmarks"):
        evaluate_aflw2000(aflw2000, model, landmarks="detected", half=True, fit=stub())


def test_eyeballs_are_not_skin(model):
    eyes = np.zeros(model.n_vertices, dtype=bool)
    eyes[: 3 * SIDE] = True
    with_eyes = replace(model, regions={"eyes": eyes})
    surface = skin(with_eyes, with_eyes.vertices())
    assert len(model.triangles) - len(surface.triangles) == 2 * 2 * (SIDE - 1)  # two rows of quads
    assert not eyes[surface.triangles].all(axis=1).any()


# ---- reports


def test_text_shows_every_figure_and_whom_it_beats(synthetic, model):
    text = report.as_text(evaluate_synthetic(synthetic, model, fit=stub(3.0)))
    assert "model      bump" in text
    assert "landmarks  exact" in text
    assert "mean face" in text
    assert re.search(r"fit / mean face: scan mean mm +3 +0\.00 +\d\.\d\d +100\.00 +-\d\.\d\d +[abc]\n", text)
    assert max(map(len, text.splitlines())) <= 160


def test_table_is_aligned_and_shows_gaps():
    assert report.text_table([{"m": "fit", "a": 1.0}, {"m": "other", "a": None, "b": 12.25}]) == [
        "m         a      b",
        "fit    1.00      -",
        "other     -  12.25",
    ]


def test_csv_has_a_row_per_image_and_method(synthetic, model, tmp_path):
    @each
    def fit(image, landmarks, options):
        return [result(landmarks, 3.0, FitStatus.CONVERGED if image != "b.jpg" else FitStatus.DEGENERATE)]

    evaluation = evaluate_synthetic(synthetic, model, fit=fit)
    report.write_csv(tmp_path / "out.csv", evaluation)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(row["image"], row["method"], row["status"]) for row in rows]
    assert found == [
        ("a", FIT, "converged"),
        ("a", MEAN_FACE, "converged"),
        ("b", FIT, "degenerate"),
        ("c", FIT, "converged"),
        ("c", MEAN_FACE, "converged"),
    ]
    assert {(row["model"], row["landmarks"]) for row in rows} == {("bump", "exact")}
    assert float(rows[0]["nme_odd"]) == pytest.approx(3.0 / size(evaluation.cases[0].sample), abs=1e-12)
    assert rows[2]["nme_all"] == rows[2]["scan_mean_mm"] == ""
    assert not list(tmp_path.glob(".*"))


def test_csv_that_cannot_be_written_is_an_error(synthetic, model, tmp_path):
    evaluation = evaluate_synthetic(synthetic, model, limit=1, fit=stub())
    with pytest.raises(OutputError, match="cannot be written"):
        report.write_csv(tmp_path / "no folder" / "out.csv", evaluation)


def test_json_holds_the_same_figures(aflw2000, model):
    evaluation = evaluate_aflw2000(aflw2000, model, fit=stub(3.0))
    content = json.loads(report.as_json(evaluation))
    assert content["header"] == report.header(evaluation)
    assert content["summary"] == report.summary(evaluation)
    assert content["images"] == report.images(evaluation)


def test_one_image_has_no_offset_free_error(aflw2000, model):
    assert report.summary(evaluate_aflw2000(aflw2000, model, limit=1, fit=stub()))[0]["offset-free %"] is None
    three = evaluate_aflw2000(aflw2000, model, fit=stub(3.0))
    # The stub's shift is constant in px, so relative to three sizes it is constant up to their spread.
    assert report.summary(three)[0]["offset-free %"] < 0.5 * report.summary(three)[0]["NME all %"]


# ---- surfaces and the command


@pytest.fixture
def cube_obj(tmp_path: Path) -> Path:
    corners = [(x, y, z) for x in (0, 10) for y in (0, 10) for z in (0, 10)]
    quads = [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4)]
    lines = ["# a cube", *(f"v {x} {y} {z}" for x, y, z in corners), "vt 0 0", "vn 0 0 1", "usemtl skin"]
    lines += [f"f {a}/1/1 {b}//1 {c}/1 {d - 9}" for a, b, c, d in quads]
    (tmp_path / "cube.obj").write_text("\n".join(lines))
    return tmp_path / "cube.obj"


def test_obj_polygons_and_all_forms_of_indices_are_read(cube_obj):
    vertices, triangles = read_mesh(cube_obj)
    assert vertices.shape == (8, 3)
    assert triangles.shape == (12, 3)
    corners = vertices[triangles]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2.0
    assert areas == pytest.approx(np.full(12, 50.0), abs=1e-12)


def test_arrays_are_read_as_meshes(tmp_path):
    np.savez(tmp_path / "fit.npz", vertices=np.eye(3), triangles=[[0, 1, 2]], more=1.0)
    np.save(tmp_path / "points.npy", np.eye(3))
    assert [len(part) for part in read_mesh(tmp_path / "fit.npz")] == [3, 1]
    assert [len(part) for part in read_mesh(tmp_path / "points.npy")] == [3, 0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.obj", b""),
        ("x.obj", b"v 1 2\nv 1 2 3"),
        ("x.obj", b"v a b c"),
        ("x.obj", b"v 0 0 nan"),
        ("x.obj", b"v 0 0 0\nf 1 / 1"),
        ("x.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9"),
        ("x.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2"),
        ("x.npz", b"PK"),
        ("x.npy", b"junk"),
        ("x.ply", b"ply"),
    ],
)
def test_malformed_meshes_are_errors(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=name):
        read_mesh(tmp_path / name)


def test_a_damaged_archive_gives_a_mesh_or_an_error(tmp_path, rng):
    np.savez_compressed(tmp_path / "good.npz", vertices=rng.normal(size=(300, 3)), triangles=[[0, 1, 2]])
    content = (tmp_path / "good.npz").read_bytes()
    for place in rng.integers(len(content), size=200):
        damaged = bytearray(content)
        damaged[place] ^= 1 + rng.integers(255)
        (tmp_path / "damaged.npz").write_bytes(damaged)
        with suppress(InvalidInputError):
            read_mesh(tmp_path / "damaged.npz")


def test_missing_mesh_is_an_error(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_mesh(tmp_path / "none.obj")


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_scan_command_measures_without_alignment(cube_obj, tmp_path):
    points = np.random.default_rng(0).uniform(0.5, 9.5, (40, 3))
    points[:, 2] = 12.5
    np.save(tmp_path / "points.npy", points)
    figures = json.loads(run("scan", tmp_path / "points.npy", cube_obj, "--no-align", "--json").stdout)
    assert figures["points"] == 40
    assert figures["median_mm"] == figures["mean_mm"] == figures["max_mm"] == pytest.approx(2.5, abs=1e-9)
    assert figures["scale"] == 1.0


def test_scan_command_aligns(tmp_path, model):
    np.savez(tmp_path / "mesh.npz", vertices=model.mean, triangles=model.triangles)
    np.save(tmp_path / "points.npy", 1.02 * model.mean + 0.5)
    aligned = json.loads(run("scan", tmp_path / "points.npy", tmp_path / "mesh.npz", "--json").stdout)
    as_is = json.loads(run("scan", tmp_path / "points.npy", tmp_path / "mesh.npz", "--no-align", "--json").stdout)
    assert aligned["converged"]
    assert aligned["mean_mm"] < 0.2 * as_is["mean_mm"]
    assert "median_mm" in run("scan", tmp_path / "points.npy", tmp_path / "mesh.npz").stdout


def test_scan_command_wants_a_surface(tmp_path):
    np.save(tmp_path / "points.npy", np.eye(3))
    refused = run("scan", tmp_path / "points.npy", tmp_path / "points.npy").exception
    assert isinstance(refused, InvalidInputError)
    assert str(refused) == f"{tmp_path / 'points.npy'}: expected a surface, got points without triangles"


@pytest.mark.parametrize("command", ["synthetic", "aflw2000", "clip"])
def test_commands_refuse_a_missing_folder(command, tmp_path):
    assert isinstance(run(command, tmp_path / "none").exception, FacefitError)  # which `facefit` turns into status 2


def test_unknown_choices_end_with_status_2(tmp_path):
    assert run("synthetic", tmp_path, "--landmarks", "given").exit_code == 2
    assert run("synthetic", tmp_path, "--limit", "0").exit_code == 2
    assert run("clip", tmp_path / "clip.mp4", "--step", "0").exit_code == 2


def test_unknown_stages_are_refused_before_the_first_fit(synthetic):
    refused = run("synthetic", synthetic, "--stages", "landmark, guess").exception
    assert isinstance(refused, InvalidInputError)
    assert str(refused).endswith("got landmark,guess")


def test_command_ends_with_status_3_where_a_fit_is_missing(aflw2000, model, capsys):
    from facefit.apps.evaluate import command

    good = evaluate_aflw2000(aflw2000, model, fit=stub())
    command._finish(good, None, as_json=False)
    bad = evaluate_aflw2000(
        aflw2000, model, fit=each(lambda *_: [result(np.ones((68, 2)), status=FitStatus.DEGENERATE)])
    )
    with pytest.raises(typer.Exit) as stopped:
        command._finish(bad, aflw2000 / "out.csv", as_json=True)
    assert stopped.value.exit_code == 3
    assert (aflw2000 / "out.csv").is_file()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["header"]["scored"] == 0


def test_the_pipeline_itself_can_be_measured(test_data):
    from facefit.models.store import load_model

    default = load_model()
    heads = evaluate_synthetic(test_data / "synthetic", default, limit=2)
    photos = evaluate_aflw2000(test_data / "aflw2000", default, half=True, limit=2)
    for evaluation in (heads, photos):
        assert len(evaluation.scored) == 2
        rows = {row["method"]: row for row in report.summary(evaluation)}
        name = f"NME {evaluation.point_sets[0]} %"
        assert rows[FIT][name] < rows[MEAN_FACE][name]
        assert all(12.0 < rows[method]["PSNR dB"] < 45.0 for method in (FIT, MEAN_FACE))
