import itertools
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefit.fitting.detection import Detection, FaceDetector, View, distinct, intersection_over_union
from facefit.fitting.dlib_detector import LANDMARK_SIGMA, DlibDetector
from facefit.fitting.images import read_image
from facefit.fitting.landmarks import INNER, JAW, LEFT_EYE, MIRROR, RIGHT_EYE, LandmarkConvention, box_size
from facefit.models.errors import InvalidInputError, MissingDependencyError

PHOTO = Path(__file__).parent.parent / "examples" / "astronaut.jpg"


@pytest.fixture(scope="module")
def detector():
    return DlibDetector(allow_cnn=False)


@pytest.fixture(scope="module")
def photo():
    return read_image(PHOTO)


@pytest.fixture(scope="module")
def face(detector, photo):
    faces = detector.detect(photo)
    assert len(faces) == 1
    return faces[0]


def relative_error(points, truth):
    """Mean distance over the face size."""
    return np.linalg.norm(points - truth, axis=1).mean() / box_size(truth)


# -------------------------------------------------------------------------------------------------------------- views


@pytest.mark.parametrize("scale", [0.13, 0.5, 0.77, 1.0, 1.6, 3.0])
def test_view_of_a_ramp_shows_each_pixels_own_coordinate(scale):
    """Where the image's value is the coordinate, a view's value is the coordinate that its map names."""
    y, x = np.mgrid[0:200, 0:240]
    image = np.stack([x, y, x], axis=2).astype(np.uint8)
    for window in [(-0.5, -0.5, 239.5, 199.5), (20.3, 11.8, 201.1, 180.9), (-50.0, 30.25, 120.5, 400.0)]:
        view = View.of(image, window, scale)
        rows, columns = np.mgrid[0 : view.pixels.shape[0], 0 : view.pixels.shape[1]]
        expected = view.to_image(np.stack([columns, rows], axis=2))
        inner = (slice(2, -2), slice(2, -2))  # a kernel cut off at the border is not symmetric
        assert np.abs(view.pixels[..., :2] - expected)[inner].max() <= 0.51  # rounding to whole values


def test_view_maps_are_inverse_and_carry_edges_to_edges(rng):
    image = np.zeros((70, 90, 3), np.uint8)
    view = View.of(image, (10.25, 20.5, 60.0, 55.75), 1.7)
    points = rng.normal(0.0, 100.0, (5, 4, 2))
    np.testing.assert_allclose(view.from_image(view.to_image(points)), points, atol=1e-11)
    height, width = view.pixels.shape[:2]
    np.testing.assert_allclose(view.to_image([-0.5, -0.5]), [10.25, 20.5], atol=1e-12)
    np.testing.assert_allclose(view.to_image([width - 0.5, height - 0.5]), [60.0, 55.75], atol=1e-12)


def test_view_at_scale_one_is_the_image(rng):
    image = rng.integers(0, 256, (11, 13, 3), dtype=np.uint8)
    view = View.of_whole(image, 1.0)
    assert (view.pixels == image).all()
    assert (view.to_image([[3.0, 4.0]]) == [[3.0, 4.0]]).all()
    assert (View.of(image, (1.5, 2.5, 6.5, 9.5), 1.0).pixels == image[3:10, 2:7]).all()


@pytest.mark.parametrize("window", [(20, 0, 30, 5), (-9, -9, -1, -1), (5, 5, 5, 9), (6, 6, 2, 9)])
def test_view_outside_the_image_is_refused(window):
    with pytest.raises(InvalidInputError, match="overlap with the 13 x 11 image"):
        View.of(np.zeros((11, 13, 3), np.uint8), window, 1.0)


# -------------------------------------------------------------------------------------------------------------- boxes


def test_overlap_of_boxes_by_hand():
    a, b, c = np.array([0.0, 0, 2, 2]), np.array([1.0, 0, 3, 2]), np.array([5.0, 5, 6, 6])
    assert intersection_over_union(a, a) == 1.0
    assert intersection_over_union(a, b) == pytest.approx(2 / 6)
    assert intersection_over_union(a, c) == 0.0


def test_overlapping_boxes_leave_the_best():
    squares = [(0, 0, 10, 10), (2, 2, 5, 5), (6, 0, 16, 10), (50, 0, 60, 9)]
    large, inside, aside, far = (np.array(square, dtype=np.float64) for square in squares)
    assert distinct([large, inside, far], [1.0, 2.0, 0.5]) == [1, 2]
    assert distinct([large, inside], [2.0, 1.0]) == [0]
    assert distinct([large, aside], [1.0, 2.0]) == [1, 0]
    assert distinct([], []) == []


# ----------------------------------------------------------------------------------------------------------- detector


def test_detector_keeps_the_seam(detector):
    seam: FaceDetector = detector
    assert seam.name == "dlib"
    assert seam.landmark_convention is LandmarkConvention.CONTOUR
    assert seam.landmark_sigma.shape == (68,)
    assert (seam.landmark_sigma > 0.0).all()
    assert (seam.landmark_sigma[MIRROR] == seam.landmark_sigma).all()
    assert LANDMARK_SIGMA[JAW].min() > LANDMARK_SIGMA[INNER].max() > LANDMARK_SIGMA[RIGHT_EYE].max()
    with pytest.raises(ValueError, match="read-only"):
        seam.landmark_sigma[0] = 1.0


def test_the_astronaut_is_found(face, photo):
    assert isinstance(face, Detection)
    assert face.detector == "dlib-hog"
    assert face.score > 1.0
    assert face.box.shape == (4,)
    assert face.landmarks.shape == (68, 2)
    assert np.isfinite(face.landmarks).all()
    centre = (face.box[:2] + face.box[2:]) / 2
    assert np.linalg.norm(face.landmarks.mean(axis=0) - centre) < 0.25 * (face.box[2] - face.box[0])
    # Irises are dark and the whites bright: each eye's ring has the darkest pixel of its neighbourhood inside.
    for eye in (RIGHT_EYE, LEFT_EYE):
        x, y = face.landmarks[eye].mean(axis=0)
        patch = photo[int(y) - 4 : int(y) + 5, int(x) - 10 : int(x) + 11].sum(axis=2)
        assert patch.min() < 0.5 * patch.max()


def test_two_faces_side_by_side(detector, photo, face):
    both = detector.detect(np.concatenate([photo, photo], axis=1))  # 1024 px: reduced before HOG looks
    assert len(both) == 2
    left, right = sorted(both, key=lambda found: found.box[0])
    assert relative_error(left.landmarks, face.landmarks) < 0.02
    assert relative_error(right.landmarks - [photo.shape[1], 0], face.landmarks) < 0.02


def test_the_largest_face_comes_first(detector, photo):
    small, large = photo[:300, 100:350], np.asarray(Image.fromarray(photo[:300, 100:350]).resize((500, 600)))
    canvas = np.full((600, 750, 3), 128, np.uint8)
    canvas[:300, :250], canvas[:, 250:] = small, large
    faces = detector.detect(canvas)
    assert len(faces) == 2
    assert faces[0].box[0] > 250.0 > faces[1].box[2]
    wide, narrow = (found.box[2] - found.box[0] for found in faces)
    assert wide == pytest.approx(2.0 * narrow, rel=0.25)


def test_blank_and_noisy_images_have_no_face(detector, rng):
    assert detector.detect(np.full((300, 400, 3), 128, np.uint8)) == []
    assert detector.detect(rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)) == []


@pytest.mark.parametrize("allow_cnn", [False, True])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 65000), (65000, 1), (3, 7), (30, 30), (40, 40), (41, 3000), (12000, 5), (100, 100)]
)
def test_tiny_and_thin_images_have_no_face(shape, allow_cnn):
    assert DlibDetector(allow_cnn=allow_cnn).detect(np.full((*shape, 3), 90, np.uint8)) == []


@pytest.mark.parametrize("factor", [2, 3])
def test_enlarging_the_photo_moves_the_points_along(detector, photo, face, factor):
    large = np.repeat(np.repeat(photo, factor, axis=0), factor, axis=1)
    mapped = (face.landmarks + 0.5) * factor - 0.5
    found = detector.detect(large)
    assert len(found) == 1
    assert relative_error(found[0].landmarks, mapped) < 0.02
    given_box = detector.predict(large, (face.box + 0.5) * factor - 0.5)
    assert relative_error(given_box.landmarks, mapped) < 0.006


def test_shifting_the_photo_shifts_the_points_exactly(detector, photo, face):
    """The predictor's window lies inside both images, so what is added far away changes nothing."""
    one, other = np.pad(photo, ((20, 0), (0, 0), (0, 0))), np.pad(photo, ((33, 0), (29, 5), (0, 0)))
    here = detector.predict(one, face.box + np.array([0, 20, 0, 20]))
    there = detector.predict(other, face.box + np.array([29, 33, 29, 33]))
    np.testing.assert_allclose(there.landmarks - here.landmarks, np.tile([29.0, 13.0], (68, 1)), atol=1e-9)


def test_mirroring_the_photo_mirrors_the_points(detector, photo, face):
    x0, y0, x1, y1 = face.box
    last = photo.shape[1] - 1
    mirrored = detector.predict(photo[:, ::-1], (last - x1, y0, last - x0, y1))
    back = np.stack([last - mirrored.landmarks[MIRROR, 0], mirrored.landmarks[MIRROR, 1]], axis=1)
    assert relative_error(back, face.landmarks) < 0.04


def test_predict_agrees_with_detect(detector, photo, face):
    given_box = detector.predict(photo, face.box.tolist())
    assert (given_box.landmarks == face.landmarks).all()
    assert (given_box.box == face.box).all()
    assert (given_box.score, given_box.detector) == (0.0, "dlib")


def test_predict_near_and_past_the_border(detector, photo, face):
    height, width = photo.shape[:2]
    for box in [(-40, -40, 60, 60), (width - 30, height - 30, width + 70, height + 70), (-1e5, -1e5, 1e5, 1e5)]:
        assert np.isfinite(detector.predict(photo, box).landmarks).all()
    assert np.isfinite(detector.predict(photo[:1, :1], (-0.5, -0.5, 0.5, 0.5)).landmarks).all()


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((5, 5, 5, 9), "about a square"),
        ((9, 5, 5, 9), "about a square"),
        ((0, 0, 10, 41), "about a square"),
        ((0, 0, 0.5, 0.5), "about a square"),
        ((0, 0, 1e300, 1e300), "about a square"),
        ((0, 0, np.nan, 9), "finite"),
        ((0, 0, 9), r"got \(3,\)"),
        ((5000, 0, 5100, 100), "overlap"),
    ],
)
def test_wrong_boxes_are_refused(detector, photo, box, message):
    with pytest.raises(InvalidInputError, match=message):
        detector.predict(photo, box)


def test_wrong_images_are_refused(detector):
    with pytest.raises(InvalidInputError, match="type uint8"):
        detector.detect(np.zeros((50, 50, 3)))


def test_a_turned_face_is_left_to_the_cnn(test_data):
    """HOG alone finds nobody; with the CNN, a weak HOG box of the same face keeps the points near the truth."""
    image = read_image(test_data / "synthetic" / "s0010.jpg")
    assert DlibDetector(allow_cnn=False).detect(image) == []
    faces = DlibDetector().detect(image)
    assert [found.detector for found in faces] == ["dlib-cnn"]
    with np.load(test_data / "synthetic" / "s0010.npz") as truth:
        assert relative_error(faces[0].landmarks, truth["landmarks"]) < 0.10


def test_points_lie_on_rendered_faces(detector, test_data):
    """Below 30 degrees of yaw: nearly every head is found, and the inner points are within 3.3 % of the face."""
    errors, heads = [], 0
    for file in itertools.islice(sorted((test_data / "synthetic").glob("*.npz")), 12):
        with np.load(file) as truth:
            points, yaw = truth["landmarks"], float(truth["yaw"])
        if abs(yaw) > 30.0:
            continue
        heads += 1
        found = detector.detect(read_image(file.with_suffix(".jpg")))
        if found:
            distance = np.linalg.norm(found[0].landmarks - points, axis=1)[INNER]
            errors.append(distance.mean() / box_size(points))
    assert len(errors) >= heads - 1
    assert np.mean(errors) < 0.033


# ------------------------------------------------------------------------------------------------- optional libraries


def test_without_dlib_or_its_weights_the_error_says_what_to_install(monkeypatch, photo):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(MissingDependencyError, match="dlib-bin"):
        DlibDetector().detect(photo)
    monkeypatch.undo()
    monkeypatch.setattr("facefit.fitting.dlib_detector.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="face-recognition-models"):
        DlibDetector().predict(photo, (0, 0, 99, 99))


def test_importing_the_detector_loads_neither_dlib_nor_the_models_package():
    code = (
        "import sys, facefit.fitting.dlib_detector as d; d.DlibDetector();"
        "assert not {'dlib', 'face_recognition_models', 'pkg_resources'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert find_spec("face_recognition_models") is not None
