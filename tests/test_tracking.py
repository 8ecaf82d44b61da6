"""Tracking against a clip's truth, and through what cameras and people do."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import facefit
from facefit import FitOptions, Tracker, TrackerOptions
from facefit.apps.evaluate.lids import true_closure
from facefit.apps.webcam.drawing import Surface
from facefit.apps.webcam.views import View
from facefit.fitting.clip import smoothness_weights, track_clip
from facefit.fitting.dlib_detector import LANDMARK_SIGMA, OPENING_CORRELATION, DlibDetector
from facefit.fitting.keyframes import MOST, SPREAD, Keyframe, is_new, shared_identity
from facefit.fitting.process_noise import FRAME, Motion, ProcessNoise
from facefit.fitting.state_prior import PoseAndShape
from facefit.fitting.status import FitStatus
from facefit.fitting.track import face_box, personal_model
from facefit.fitting.tracking import TrackedFace
from facefit.models.errors import FacefitError
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import angles_from_rotation, rotation_from_angles

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

FRAMES = 300


class Clip:
    """The clip, its truth, and what a detector sees in each frame."""

    def __init__(self, folder: Path) -> None:
        capture, self.frames = cv2.VideoCapture(str(folder / "video" / "dev_clip.mp4")), []
        while len(self.frames) < FRAMES:
            self.frames.append(np.ascontiguousarray(capture.read()[1][..., ::-1]))
        capture.release()
        self.truth = dict(np.load(folder / "video" / "dev_clip.npz"))
        self.names = [str(name) for name in self.truth["expression_names"]]
        self.size = np.sqrt(np.prod(np.ptp(self.truth["landmarks"], axis=1), axis=1))

    def landmark_error(self, points: Array) -> float:
        """Mean distance of points (F, 68, 2) from the truth without each point's mean offset, relative to the face."""
        apart = points - self.truth["landmarks"]
        return float((np.linalg.norm(apart - apart.mean(axis=0), axis=2) / self.size[:, None]).mean())

    def landmark_jitter(self, points: Array) -> float:
        apart = (points - self.truth["landmarks"]) / self.size[:, None, None]
        return float(np.sqrt((np.diff(apart, 2, axis=0) ** 2).mean()))

    def angles(self) -> Array:
        return np.stack([self.truth[name] for name in ("yaw", "pitch", "roll")], axis=1)

    def unit(self, *names: str) -> Array:
        return np.asarray(sum(self.truth["expression"][:, self.names.index(name)] for name in names))


@pytest.fixture(scope="module")
def clip(test_data: Path) -> Clip:
    return Clip(test_data)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


@pytest.fixture(scope="module")
def detector() -> DlibDetector:
    return DlibDetector(allow_cnn=False)


@pytest.fixture(scope="module")
def tracked(clip: Clip, model: MorphableModel, detector: DlibDetector) -> list[TrackedFace]:
    """The clip's faces with photometric refinement."""
    with Tracker(model, TrackerOptions(background=False), detector) as tracker:
        found = [tracker.track(frame) for frame in clip.frames]
    assert all(len(faces) == 1 for faces in found)
    return [faces[0] for faces in found]


@pytest.fixture(scope="module")
def whole(clip: Clip, model: MorphableModel, detector: DlibDetector) -> list[TrackedFace]:
    """The clip's faces with photometric refinement, all frames at once."""
    found = list(track_clip(lambda: timed(clip.frames), model, detector=detector))
    assert len(found) == FRAMES and all(len(faces) == 1 for faces in found)
    return [faces[0] for faces in found]


@pytest.fixture(scope="module")
def per_frame(clip: Clip, model: MorphableModel, detector: DlibDetector) -> tuple[Array, list[facefit.FitResult]]:
    """The detector's points (F, 68, 2), and the landmark stage's fit of each frame by itself."""
    options = FitOptions(
        stages=("landmark",), landmark_convention="contour", landmark_sigma=LANDMARK_SIGMA,
        opening_correlation=OPENING_CORRELATION,
    )  # fmt: skip
    points = [detector.detect(frame)[0].landmarks for frame in clip.frames]
    return np.array(points), [facefit.fit_landmarks(point, model, options=options) for point in points]


def semantic(faces: Sequence[TrackedFace]) -> Array:
    return np.array([face.result.landmarks_semantic for face in faces])


def head_angles(results: Sequence[facefit.FitResult]) -> Array:
    return np.array([angles_from_rotation(result.camera.rotation) for result in results])


def weights(faces: Sequence[TrackedFace], model: MorphableModel, *names: str) -> Array:
    columns = [model.expression_names.index(name) for name in names]
    return np.array([face.result.expression[columns].sum() for face in faces])


# --- Against the truth -------------------------------------------------------------------------------------------


def test_landmarks_and_pose_follow_the_truth(clip, tracked, per_frame):
    points, _ = per_frame
    assert clip.landmark_error(semantic(tracked)) <= 0.75 * clip.landmark_error(points)
    apart = head_angles([face.result for face in tracked]) - clip.angles()
    assert (np.median(np.abs(apart - np.median(apart, axis=0)), axis=0) <= 2.0).all()


def test_it_does_not_tremble_and_does_not_lag(clip, tracked, per_frame):
    _, fits = per_frame
    alone = np.array([fit.landmarks_semantic for fit in fits])
    assert clip.landmark_jitter(semantic(tracked)) <= clip.landmark_jitter(alone) / 3.0
    angles = head_angles([face.result for face in tracked])

    def tremor(values: Array) -> float:
        return float(np.sqrt((np.diff(values - clip.angles(), 2, axis=0) ** 2).mean()))

    assert tremor(angles) <= tremor(head_angles(fits)) / 3.0
    frames, inner = np.arange(FRAMES), slice(10, FRAMES - 10)
    errors = {
        lag: np.std((angles[:, 0] - np.interp(frames - lag, frames, clip.angles()[:, 0]))[inner])
        for lag in (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
    }
    assert abs(min(errors, key=errors.__getitem__)) <= 1.0


def closures(values: Array, least: float) -> list[tuple[int, int]]:
    """Return first and last frame of each stretch above `least`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], values > least, [0]]).astype(int)))
    return list(zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True))


def found_and_invented(clip: Clip, model: MorphableModel, faces: Sequence[TrackedFace]) -> tuple[int, int]:
    """How many of the truth's closures of an eye are found in the same eye, and how many are found besides."""
    truth = true_closure(clip.names, clip.truth["expression"])
    assert truth is not None
    found = invented = total = 0
    for side, name in (("L", "eyeBlinkLeft"), ("R", "eyeBlinkRight")):
        seen, true = closures(weights(faces, model, name), 0.3), closures(truth[side], 0.5)
        near = [[a <= d + 2 and c <= b + 2 for c, d in seen] for a, b in true]
        found, total = found + sum(any(row) for row in near), total + len(true)
        invented += sum(not any(column) for column in zip(*near, strict=True))
    assert total == 17  # eleven closures, six of them of both eyes
    return found, invented


def test_lids_close_when_they_do_each_on_its_own(clip, model, tracked):
    found, invented = found_and_invented(clip, model, tracked)
    assert found >= 15 and invented <= 1


def jaw_and_smile(clip: Clip, model: MorphableModel, faces: Sequence[TrackedFace]) -> tuple[float, float]:
    """Correlations with the truth."""
    smile = weights(faces, model, "mouthSmileLeft", "mouthSmileRight")
    return (
        float(np.corrcoef(weights(faces, model, "jawOpen"), clip.unit("jawOpen"))[0, 1]),
        float(np.corrcoef(smile, clip.unit("mouthSmile_L", "mouthSmile_R"))[0, 1]),
    )


def test_jaw_and_smile_follow(clip, model, tracked):
    assert min(jaw_and_smile(clip, model, tracked)) >= 0.88


def test_a_head_that_moves_six_times_as_fast_is_followed(clip, model, detector):
    shown = slice(0, FRAMES, 6)
    frames, truth, size = clip.frames[shown], clip.truth["landmarks"][shown], clip.size[shown]

    def error(faces: Sequence[Sequence[TrackedFace]]) -> float:
        apart = semantic([found[0] for found in faces]) - truth
        return float((np.linalg.norm(apart - apart.mean(axis=0), axis=2) / size[:, None]).mean())

    errors = []
    for seconds in (FRAME, 6.0 * FRAME):  # as if it were so fast, and at the pace that it has
        with quick(model, detector) as tracker:
            errors.append(error([tracker.track(frame, k * seconds) for k, frame in enumerate(frames)]))
    assert errors[0] < 1.2 * errors[1]
    timed = [(frame, k * FRAME) for k, frame in enumerate(frames)]
    assert error(list(track_clip(lambda: timed, model, TrackerOptions(photometric=False), detector))) < 1.2 * errors[1]


def test_albedo_and_light_of_a_frame_repeat_it(clip, model, tracked, whole):
    surface = Surface(model)
    for faces in (tracked, whole):
        for number in (30, 150, 270):
            frame, drawn = clip.frames[number], clip.frames[number].copy()
            surface.remember([faces[number]])
            surface.draw(drawn, faces[number], View.TEXTURED)
            apart = np.abs(drawn.astype(float) - frame).max(axis=2)
            assert (drawn != frame).any(axis=2).sum() > 5000
            assert np.median(apart[(drawn != frame).any(axis=2)]) < 10.0  # of 255


def test_points_alone_follow_too(clip, model, detector, per_frame):
    with Tracker(model, TrackerOptions(photometric=False, background=False), detector) as tracker:
        faces = [tracker.track(frame)[0] for frame in clip.frames]
    assert clip.landmark_error(semantic(faces)) <= 0.8 * clip.landmark_error(per_frame[0])
    assert set(faces[5].timings) == {"landmarks", "solve"}


def test_a_whole_clip_at_once_is_better_still(clip, model, tracked, whole):
    identity = whole[0].result.identity
    assert all(np.array_equal(face.result.identity, identity) for face in whole)
    assert clip.landmark_error(semantic(whole)) <= clip.landmark_error(semantic(tracked))
    assert clip.landmark_jitter(semantic(whole)) <= 0.6 * clip.landmark_jitter(semantic(tracked))

    def turned(faces: Sequence[TrackedFace]) -> Array:
        apart = head_angles([face.result for face in faces]) - clip.angles()
        return np.asarray(np.median(np.abs(apart - np.median(apart, axis=0)), axis=0))

    assert (turned(whole) <= turned(tracked) + 0.1).all()
    assert found_and_invented(clip, model, whole) == found_and_invented(clip, model, tracked)
    assert min(jaw_and_smile(clip, model, whole)) >= 0.9


def test_an_identity_does_not_depend_on_the_part_of_the_clip(clip, model, detector, per_frame):
    def deviation(identities: list[Array]) -> float:
        return float(np.sqrt(np.var(np.array(identities), axis=0).sum()))

    found, starts = [], np.linspace(0, FRAMES // 2, 5).astype(int)
    for start in starts:
        with quick(model, detector) as tracker:
            for frame in clip.frames[start : start + FRAMES // 2]:
                identity = tracker.track(frame)[0].result.identity
        found.append(identity)
    alone = [per_frame[1][start].identity for start in range(0, FRAMES, 10)]
    assert deviation(found) <= 0.25 * deviation(alone)


def test_a_clip_of_few_frames_and_one_with_a_pause(clip, model, detector):
    options = TrackerOptions(photometric=False)
    assert [len(faces) for faces in track_clip(lambda: iter(()), model, options, detector)] == []
    one = list(track_clip(lambda: [(clip.frames[0], 0.0)], model, options, detector))
    assert len(one) == 1 and np.isfinite(one[0][0].result.expression).all()

    def paused() -> Iterator[tuple[Pixels, float]]:
        for number, frame in enumerate(clip.frames[:24]):
            yield frame, number * FRAME + (3.0 if number >= 12 else 0.0)

    found = list(track_clip(paused, model, options, detector))
    assert len(found) == 24
    for faces in found:
        assert all(np.isfinite(face.result.vertices).all() for face in faces)


def test_black_frames_of_a_clip_show_nobody_and_two_people_have_identities_of_their_own(clip, model, detector):
    black = np.zeros((480, 1280, 3), np.uint8)
    pair = [np.hstack([frame, frame[:, ::-1]]) for frame in clip.frames[:16]]
    shown = [*pair[:8], *[black] * 4, *pair[8:]]
    options = TrackerOptions(faces=2, photometric=False)
    found = list(track_clip(lambda: ((frame, k * FRAME) for k, frame in enumerate(shown)), model, options, detector))
    assert [len(faces) for faces in found[:8]] == [2] * 8
    assert [len(faces) for faces in found[10:12]] == [0, 0]  # a single frame may be a flicker
    one, other = found[4]
    assert not np.array_equal(one.result.identity, other.result.identity)


def test_a_flicker_in_a_clip_is_bridged(clip, model, detector, rng):
    options, shown = TrackerOptions(photometric=False), list(clip.frames[:24])
    clean = semantic([faces[0] for faces in track_clip(lambda: timed(shown), model, options, detector)])
    for flicker in (np.zeros_like(shown[0]), rng.integers(0, 256, shown[0].shape).astype(np.uint8)):
        broken = [*shown[:12], flicker, *shown[13:]]
        found = semantic(
            [faces[0] for faces in track_clip(lambda frames=broken: timed(frames), model, options, detector)]
        )
        assert np.linalg.norm(found - clean, axis=2).mean(axis=1)[10:15].max() < 0.4  # px


def test_what_a_clip_s_faces_tell_belongs_together(clip, model, detector):
    options = TrackerOptions(photometric=False)
    for faces in track_clip(lambda: timed(clip.frames[:8]), model, options, detector):
        result = faces[0].result
        vertices = model.vertices(result.identity, result.expression)
        np.testing.assert_allclose(result.vertices, vertices, atol=1e-4)
        np.testing.assert_allclose(result.vertices_image, result.camera.project(vertices), atol=1e-3)
        assert result.status is FitStatus.CONVERGED and result.expression_std is None
        assert result.landmark_error < 0.04 * model.face_size * result.camera.scale
        inside = (result.landmarks_fitted[17:] > result.box[:2]) & (result.landmarks_fitted[17:] < result.box[2:])
        assert inside.mean() > 0.9


@pytest.mark.parametrize(
    "again",
    [lambda shown: shown[:5], lambda shown: [*shown, shown[0]], lambda shown: [frame[::2, ::2] for frame in shown]],
    ids=["fewer", "more", "smaller"],
)
def test_frames_that_are_others_the_second_time_are_refused(clip, model, detector, again):
    calls = iter([clip.frames[:8], again(clip.frames[:8]), clip.frames[:8], clip.frames[:8]])
    with pytest.raises(FacefitError, match=r"^frames: expected the same 8 frames at every call"):
        track_clip(lambda: timed(next(calls)), model, TrackerOptions(photometric=False), detector)


def test_a_clip_may_be_grey_and_its_frames_may_not_come_from_a_generator(clip, model, detector):
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip.frames[:4]]
    found = list(track_clip(lambda: timed(grey), model, detector=detector))
    assert [len(faces) for faces in found] == [1] * 4
    with pytest.raises(FacefitError, match=r"^frames: expected a function"):
        track_clip(timed(grey), model)
    with pytest.raises(FacefitError, match=r"^options: expected TrackerOptions"):
        track_clip(lambda: timed(grey), model, 3)


def test_smoothness_counts_even_at_few_frames_a_second_and_not_beside_a_pause(model):
    states = [state_at(float(k), model.n_expression) for k in range(8)]
    slow = smoothness_weights(states, 0.2 * np.arange(8.0), model)
    assert (slow[1:-1] > 0.0).all() and (slow[[0, -1]] == 0.0).all()
    paused = smoothness_weights(states, np.array([0.0, 0.2, 0.4, 0.6, 5.0, 5.2, 5.4, 5.6]), model)
    assert (paused[[3, 4]] == 0.0).all() and (paused[[1, 2, 5, 6]] > 0.0).all()
    jump = [*states[:4], state_at(60.0, model.n_expression), *states[5:]]
    robust = smoothness_weights(jump, 0.2 * np.arange(8.0), model)
    assert (robust[4, :3] < 0.1 * slow[4, :3]).all()
    np.testing.assert_allclose(robust[4, 6:], slow[4, 6:])


# --- What cameras and people do ----------------------------------------------------------------------------------


def timed(frames: Sequence[Pixels]) -> Iterator[tuple[Pixels, float]]:
    for number, frame in enumerate(frames):
        yield frame, number * FRAME


def quick(model: MorphableModel, detector: DlibDetector, **options: object) -> Tracker:
    return Tracker(model, TrackerOptions(**{"photometric": False, "background": False} | options), detector)


def test_a_face_that_leaves_is_lost_and_found_again(clip, model, detector):
    black = np.zeros_like(clip.frames[0])
    with quick(model, detector) as tracker:
        shown = [*clip.frames[:6], *[black] * 8, *clip.frames[6:18]]
        found = [tracker.track(frame) for frame in shown]
    assert all(len(faces) == 1 for faces in found[:6])
    assert not any(found[8:14]), "a black frame shows nobody"
    assert all(faces for faces in found[-6:]), "it came back"
    assert {face.track for face in found[0]} == {0} and {face.track for face in found[-1]} == {1}


def test_noise_and_a_wall_show_nobody(model, detector):
    rng = np.random.default_rng(0)
    with quick(model, detector) as tracker:
        for _ in range(3):
            assert tracker.track(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)) == []
        assert tracker.track(np.full((240, 320, 3), 127, np.uint8)) == []


def test_who_is_lost_beside_others_is_looked_for_soon(clip, model, detector):
    def pair(left: Pixels, right: Pixels) -> Pixels:
        return np.hstack([left, right[:, ::-1]])

    black, frames = np.zeros_like(clip.frames[0]), clip.frames
    shown = [pair(frame, black if 10 <= k < 14 else frame) for k, frame in enumerate(frames[:26])]
    with quick(model, detector, faces=2) as tracker:
        counts = [len(tracker.track(frame)) for frame in shown]
    assert counts[9] == 2 and counts[12] == 1
    assert counts[20] == 2


def test_a_known_person_begins_without_motion(clip, model, detector):
    identity = np.zeros(model.n_identity)
    identity[:2] = 3.0, -3.0
    with Tracker(model, TrackerOptions(photometric=False, background=False), detector, identity) as tracker:
        found = [tracker.track(clip.frames[0])[0] for _ in range(4)]
    turned = head_angles([face.result for face in found])
    assert np.abs(np.diff(turned, axis=0)).max() < 1.0  # degrees


def test_a_detector_that_cannot_follow_and_a_closed_tracker_are_refused(clip, model, detector):
    class Finder:
        name = "finder"
        landmark_convention, landmark_sigma = detector.landmark_convention, detector.landmark_sigma
        opening_correlation, detect = detector.opening_correlation, detector.detect

    with pytest.raises(FacefitError, match=r"^detector: expected one that can follow a face, got Finder"):
        Tracker(model, detector=Finder())
    tracker = quick(model, detector)
    tracker.close()
    with pytest.raises(FacefitError, match=r"^track: expected a tracker that is open"):
        tracker.track(clip.frames[0])


@pytest.mark.parametrize("empty", [("identity",), ("expression",), ("identity", "expression")])
def test_a_model_without_modes_is_tracked_by_its_pose(clip, model, detector, empty):
    bare = model
    if "identity" in empty:
        bare = personal_model(bare, np.zeros(bare.n_identity))
    if "expression" in empty:
        none = np.zeros(0)
        bare = replace(
            bare, expression=bare.expression[:0], expression_names=(), expression_sigma=none, expression_lower=none,
            expression_upper=none,
        )  # fmt: skip
    with Tracker(bare, TrackerOptions(background=False), detector) as tracker:
        results = [tracker.track(frame)[0].result for frame in clip.frames[:3]]
    assert all(np.isfinite(result.vertices_image).all() for result in results)


def test_a_change_of_size_is_survived(clip, model, detector):
    small = [cv2.resize(frame, (320, 240), interpolation=cv2.INTER_AREA) for frame in clip.frames[6:24]]
    with quick(model, detector) as tracker:
        for frame in clip.frames[:6]:
            tracker.track(frame)
        found = [tracker.track(frame) for frame in small]
    assert found[-1] and found[-1][0].result.camera is not None
    x, y = found[-1][0].result.landmarks_semantic.mean(axis=0)
    assert 0 < x < 320 and 0 < y < 240


def test_two_people_have_tracks_of_their_own_and_crossing_leaves_at_most_one_each(clip, model, detector):
    pair = [np.hstack([frame, frame[:, ::-1]]) for frame in clip.frames[:40]]
    with quick(model, detector, faces=2) as tracker:
        found = [tracker.track(frame) for frame in pair]
        assert [face.track for face in found[-1]] == [0, 1] or {face.track for face in found[-1]} == {0, 1}
        first, second = (face.result.landmarks_semantic.mean(axis=0) for face in found[-1])
        assert abs(first[0] - second[0]) > 300
        # The one walks in front of the other.
        for step in range(1, 21):
            frame = pair[-1].copy()
            moved = clip.frames[40 - step]
            frame[:, max(640 - 32 * step, 0) : max(640 - 32 * step, 0) + 640] = moved
            faces = tracker.track(frame)
            boxes = [face.result.box for face in faces]
            assert len(boxes) <= 2
            assert len({face.track for face in faces}) == len(faces)


def test_reset_and_calibration(clip, model, detector):
    with quick(model, detector) as tracker:
        for frame in clip.frames[:10]:
            faces = tracker.track(frame)
        before = faces[0].result
        tracker.calibrate_neutral()
        after = tracker.track(clip.frames[10])[0].result
        assert np.abs(after.expression).max() < 0.5 * max(np.abs(before.expression).max(), 0.2)
        assert np.linalg.norm(after.vertices - before.vertices, axis=1).mean() < 1.0
        tracker.reset()
        assert tracker.track(clip.frames[11], 0.0)[0].track == 1


def test_times_between_frames_may_vary(clip, model, detector):
    with quick(model, detector) as tracker:
        times = np.cumsum(np.random.default_rng(1).uniform(0.005, 0.12, 40))
        found = [tracker.track(clip.frames[int(t / FRAME)], float(t)) for t in times]
        assert all(found)
        assert [face.seconds for face in found[-1]] == [times[-1]]
        with pytest.raises(FacefitError, match=r"seconds: expected a time after"):
            tracker.track(clip.frames[0], float(times[-1]))
        with pytest.raises(FacefitError, match=r"seconds: expected a time after"):
            tracker.track(clip.frames[0], float("nan"))


def test_the_same_frames_give_the_same_faces(clip, model, detector):
    runs = []
    for _ in range(2):
        with Tracker(model, TrackerOptions(background=False), detector) as tracker:
            runs.append([tracker.track(frame)[0].result for frame in clip.frames[:12]])
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one.expression, other.expression)
        np.testing.assert_array_equal(one.vertices, other.vertices)


def test_background_finds_the_same_person(clip, model, detector):
    with Tracker(model, TrackerOptions(photometric=False), detector) as tracker:
        for frame in clip.frames[:60]:
            faces = tracker.track(frame)
    assert np.isfinite(faces[0].result.identity).all() and np.abs(faces[0].result.identity).max() < 6.0


def test_a_known_identity_is_held(clip, model, detector):
    identity = np.zeros(model.n_identity)
    with Tracker(model, TrackerOptions(photometric=False, background=False), detector, identity) as tracker:
        for frame in clip.frames[:30]:
            result = tracker.track(frame)[0].result
    np.testing.assert_array_equal(result.identity, identity)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrackerOptions(faces=0), r"^faces: expected"),
        (lambda: TrackerOptions(faces=True), r"^faces: expected"),
        (lambda: TrackerOptions(photometric=1), r"^photometric: expected"),
        (lambda: TrackerOptions(refinement=None), r"^refinement: expected"),
        (lambda: Tracker(options=3), r"^options: expected TrackerOptions"),
        (lambda: Tracker(model="default"), r"^model: expected a MorphableModel"),
        (lambda: Tracker(identity=np.zeros(3)), r"^identity: expected shape"),
    ],
)
def test_wrong_calls(make, message):
    with pytest.raises(FacefitError, match=message):
        make()


def test_frames_that_are_no_images(model, detector):
    with quick(model, detector) as tracker, pytest.raises(FacefitError, match="image"):
        tracker.track(np.zeros((4, 4)))


# --- The parts ---------------------------------------------------------------------------------------------------


def state_at(yaw: float, size: int = 2, x: float = 0.0) -> PoseAndShape:
    return PoseAndShape(rotation_from_angles(yaw, 0.0, 0.0), np.array([x, 0.0]), 2.0, np.zeros(size))


def test_motion_goes_on_damped():
    motion = Motion.still()
    for k in range(30):
        motion = motion.after(state_at(2.0 * k, x=3.0 * k), state_at(2.0 * (k + 1), x=3.0 * (k + 1)), FRAME)
    ahead = motion.predicted(state_at(10.0, x=5.0), FRAME)
    yaw = angles_from_rotation(ahead.rotation)[0]
    assert 11.5 < yaw < 12.0 and 7.4 < ahead.translation[0] < 8.0
    far = motion.predicted(state_at(10.0), 100.0)
    assert angles_from_rotation(far.rotation)[0] < 17.0


def test_uncertainty_grows_with_time_but_not_for_ever(model):
    noise = ProcessNoise.usual(model)
    one, two = noise.variance(200.0, FRAME), noise.variance(200.0, 2.0 * FRAME)
    np.testing.assert_allclose(two, 2.0 * one)
    np.testing.assert_array_equal(noise.variance(200.0, 100.0), noise.variance(200.0, 0.5))
    np.testing.assert_allclose(noise.variance(400.0, FRAME)[3:5], 4.0 * one[3:5])
    blink, jaw = (6 + model.expression_names.index(name) for name in ("eyeBlinkLeft", "jawOpen"))
    assert one[blink] > one[jaw] > one[6 + model.expression_names.index("browDownLeft")] > 0.0


def test_a_block_that_moves_more_than_expected_becomes_restless_and_calms_down(model):
    noise, expected = ProcessNoise.usual(model), np.full(6 + model.n_expression, 2.0)
    assert noise.after(np.sqrt(expected), expected) is None
    step = np.sqrt(expected)
    step[:3] *= 3.0
    raised = noise.after(step, expected)
    before, after = noise.variance(200.0, FRAME), raised.variance(200.0, FRAME)
    np.testing.assert_allclose(after[:3], 9.0 * before[:3])
    np.testing.assert_array_equal(after[3:], before[3:])
    step[:3] *= 1e6
    assert (noise.after(step, expected).variance(200.0, FRAME)[:3] <= 101.0 * before[:3]).all()
    for _ in range(40):
        raised = raised.calmer()
    np.testing.assert_allclose(raised.variance(200.0, FRAME), before, rtol=1e-3)


def test_frames_are_kept_that_show_the_face_turned():
    kept = [Keyframe(state_at(yaw).rotation, np.zeros(2), np.eye(2)) for yaw in (0.0, 20.0)]
    spread = np.degrees(SPREAD)
    assert is_new(state_at(20.0 + 1.1 * spread).rotation, kept)
    assert not is_new(state_at(20.0 + 0.9 * spread).rotation, kept)
    assert not is_new(state_at(90.0).rotation, kept * MOST)


def test_a_shared_identity_is_that_of_one_frame_and_moves_to_what_frames_agree_on(rng):
    truth, frames = rng.standard_normal(3), []
    for _ in range(12):
        jacobian = rng.standard_normal((40, 6 + 3 + 2))
        data = jacobian.T @ jacobian
        prior = np.diag([0.0] * 6 + [1.0] * 5)
        best = np.concatenate([rng.standard_normal(6), truth, rng.standard_normal(2)])
        # The frame's own optimum, the prior included: off the truth by the noise of the data, and shrunk.
        mean = np.linalg.solve(data + prior, data @ best + jacobian.T @ rng.standard_normal(40))
        state = PoseAndShape(np.eye(3), mean[3:5], 1.0, mean[6:])
        frames.append(Keyframe.of_fit(state, data + prior, 3))
    one, many = shared_identity(frames[:1]), shared_identity(frames)
    np.testing.assert_allclose(one, frames[0].identity, atol=1e-9)
    errors = [np.linalg.norm(frame.identity - truth) for frame in frames]
    assert np.linalg.norm(many - truth) < 0.6 * np.mean(errors)
    np.testing.assert_allclose(shared_identity(frames * 3), many, atol=1e-9)  # they count as one, however many


def test_a_keyframe_s_information_is_marginal_over_the_frame_s_own_unknowns(rng):
    root = rng.standard_normal((11, 11))
    matrix = root @ root.T + np.eye(11)
    keyframe = Keyframe.of_fit(PoseAndShape(np.eye(3), np.zeros(2), 1.0, np.arange(5.0)), matrix, 3)
    covariance = np.linalg.inv(matrix)[6:9, 6:9]
    np.testing.assert_allclose(np.linalg.inv(keyframe.information), covariance, rtol=1e-8)
    np.testing.assert_array_equal(keyframe.identity, [0.0, 1.0, 2.0])


def test_a_person_s_model_is_that_person(model, rng):
    identity, expression = rng.standard_normal(model.n_identity), np.clip(rng.random(model.n_expression), 0.0, 1.0)
    person = personal_model(model, identity)
    assert person.n_identity == 0
    np.testing.assert_allclose(
        person.vertices(None, expression), model.vertices(identity, expression), atol=1e-4
    )  # fmt: skip


def test_the_box_is_the_detector_s(clip, model, detector):
    for frame in clip.frames[::60]:
        detection = detector.detect(frame)[0]
        result = facefit.fit(
            frame, model, landmarks=detection.landmarks, options=FitOptions(landmark_convention="contour")
        )  # fmt: skip
        state = PoseAndShape(result.camera.rotation, result.camera.translation, result.camera.scale, np.zeros(0))
        box = face_box(state, model.face_size)
        side = detection.box[2] - detection.box[0]
        assert np.abs(box - detection.box).max() < 0.2 * side
        points = detector.follow(frame, detection.box)
        assert np.linalg.norm(points - detection.landmarks, axis=1).mean() < 0.03 * side
