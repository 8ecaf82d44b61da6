"""dlib's face detectors and its 68-point predictor, behind the seam of `detection`.

Finding a face, each step only where the one before found nothing:
  1. HOG (Dalal and Triggs 2005, in Felzenszwalb's variant) on the photo reduced to 1000 px; it sees faces from 80 px;
  2. HOG on a copy twice, then four times as large, resampled from the original, up to 2000 px;
  3. the CNN of max-margin object detection (King 2015), which also finds turned faces; its time grows with the area
     (about 5 s a megapixel on one core), so the photo is brought to 640 x 480 pixels' worth. The predictor was trained
     on HOG's boxes, so a CNN's box is exchanged for a HOG box too weak to be found by itself, where one agrees.

Of several HOG boxes the surest is a face. A further one must be found again, clearly, where the photo is resampled to
show it at another size: what only looks like a face seldom survives another grid of pixels.

Landmarks: the regression trees of Kazemi and Sullivan 2014. dlib returns whole pixels and compares single pixels, so
the predictor reads a window of the photo in which the face's box is FACE_SIDE wide: that quantises the points
to 1/800 of the box whatever the photo's resolution, and averages the noise of large photos.

dlib measures pixels as facefit does: its (0, 0) is the centre of the first pixel, and a rectangle's sides are the
centres of the outermost pixels in it.

The weights are those of the face-recognition-models package. Its `__init__` needs pkg_resources, which new versions
of setuptools lack, so the files are located without importing it. The predictor was trained on iBUG 300-W, whose
licence is for research use.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array, read_only
from ..models.errors import InvalidInputError, MissingDependencyError
from .detection import Detection, View, distinct, intersection_over_union
from .images import Pixels, checked_image
from .landmarks import GROUPS, LandmarkConvention

Array = NDArray[np.float64]

HOG_SIDE = 1000  # px, the longest side at which HOG looks first
HOG_SIDE_MAX = 2000  # px, the longest side to which HOG's copies grow
HOG_WEAK = -1.0  # the score down to which a HOG box may stand in for a CNN's; HOG's own faces have 0 and more
CNN_PIXELS = 640 * 480
LOOK_SIDE = 125.0  # px of the second look per side of a face's box
LOOK_SCORE = 0.25  # what a further face must score there
SIDE_MIN = 40  # px; below, no face can be seen, and the CNN's filters do not fit into the image
FACE_SIDE = 400.0  # px of the predictor's window per side of the face's box
FOLLOWED_SIDE, FOLLOWED_MARGIN = 300, 0.5  # the same in a video, and what it sees around the box, relative to that

LICENCE_NOTE = "dlib's 68-point predictor was trained on iBUG 300-W, whose licence is for research use"
"""What a user of the landmarks should know; it stands in every summary of a fit to them."""

_GROUP_SIGMA = {
    "jaw": 0.040,
    "right_brow": 0.035,
    "left_brow": 0.035,
    "nose": 0.013,
    "right_eye": 0.010,
    "left_eye": 0.010,
    "mouth": 0.018,
}


def _landmark_sigma() -> Array:
    sigma = np.empty(sum(len(group) for group in GROUPS.values()))
    for name, group in GROUPS.items():
        sigma[group] = _GROUP_SIGMA[name]
    return read_only(sigma)


LANDMARK_SIGMA = _landmark_sigma()
"""(68,) standard deviation of a coordinate, relative to sqrt(w h) of the true points' box.

The order of the root mean square distances from rendered heads' exact points (yaw below 30 degrees: jaw 0.042, brows
0.036, nose 0.019, eyes 0.014, mouth 0.027), less what is not noise: the predictor's own idea of where a point lies.
"""


OPENING_CORRELATION = 0.5
"""Correlation of the errors of the two points of a lid or lip pair; on rendered heads 0.3 in y and 0.8 in x."""


@dataclass(frozen=True)
class DlibDetector:
    """dlib's detectors; each loads when it is first needed, once per DlibDetector (not for several threads at once)."""

    allow_cnn: bool = True  # whether to spend seconds on a photo in which HOG finds nothing

    name = "dlib"
    landmark_convention = LandmarkConvention.CONTOUR
    landmark_sigma = LANDMARK_SIGMA
    opening_correlation = OPENING_CORRELATION

    def detect(self, image: Pixels) -> list[Detection]:
        """Return the faces of an image (H, W, 3), uint8 RGB, the largest box first; an empty list where none is.

        Raises InvalidInputError for another kind of array, MissingDependencyError where dlib or its weights are not
        installed.
        """
        image = checked_image(image)
        for method, scale in self._searches(*image.shape[:2]):
            view = View.of_whole(image, scale)
            if min(view.pixels.shape[:2]) < SIDE_MIN:
                continue
            found, scores = self._hog_faces(view.pixels) if method == "hog" else self._cnn_faces(view.pixels)
            if found:
                boxes = [_to_image(view, box) for box in found]
                kept = distinct(boxes, scores)
                if method == "hog":
                    kept = kept[:1] + [i for i in kept[1:] if self._seen_again(image, boxes[i])]
                faces = [
                    Detection(boxes[i], scores[i], self._points(image, boxes[i]), f"{self.name}-{method}") for i in kept
                ]
                return sorted(faces, key=lambda face: -float(np.prod(face.box[2:] - face.box[:2])))
        return []

    def predict(self, image: Pixels, box: ArrayLike) -> Detection:
        """Return the landmarks of the face in a given box x0, y0, x1, y1 (px; a square from brows to chin, as HOG's).

        Raises InvalidInputError for a box that is not finite, lies outside the image, has a side below 1 px or above
        a million, or is more than four times as long as wide.
        """
        corners = checked_array("box", box, (4,))
        short, long = np.sort(corners[2:] - corners[:2])
        if not (1.0 <= short <= long <= min(4.0 * short, 1e6)):
            raise InvalidInputError(f"box: expected x0, y0, x1, y1 of about a square, got {corners.tolist()}")
        return Detection(corners, 0.0, self._points(checked_image(image), corners), self.name)

    def follow(self, image: Pixels, box: ArrayLike) -> Array:
        """Return the points (68, 2) px of the face in a box, as `predict` does, but in a fraction of its time.

        For frames of a video: the predictor reads luma, resampled without averaging.
        """
        corners = np.asarray(box, dtype=np.float64)
        size = float(np.sqrt(np.prod(corners[2:] - corners[:2])))
        zoom, corner = FOLLOWED_SIDE / size, corners[:2] - FOLLOWED_MARGIN * size
        # View pixel x' has its centre at corner + x' / zoom of the image.
        low = np.clip(np.floor(corner), 0, None).astype(int)
        side = round((1.0 + 2.0 * FOLLOWED_MARGIN) * FOLLOWED_SIDE)
        high = np.ceil(corner + side / zoom).astype(int) + 2
        part = image[low[1] : high[1], low[0] : high[0]]
        if not part.size:
            raise InvalidInputError(f"box: expected an overlap with the image, got {corners.tolist()}")
        matrix = np.array([[zoom, 0.0, zoom * (low[0] - corner[0])], [0.0, zoom, zoom * (low[1] - corner[1])]])
        luma = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
        view = cv2.warpAffine(luma, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        first = round(FOLLOWED_MARGIN * FOLLOWED_SIDE)
        found = self._predictor(view, _dlib().rectangle(first, first, first + FOLLOWED_SIDE, first + FOLLOWED_SIDE))
        return np.array([(point.x, point.y) for point in found.parts()], np.float64) / zoom + corner

    def _searches(self, height: int, width: int) -> Iterator[tuple[str, float]]:
        """Yield (method, view pixels per image pixel) in the order of the module's text."""
        longest = max(height, width)
        first = min(1.0, HOG_SIDE / longest)
        for scale in (first, 2.0 * first, 4.0 * first):
            if scale * longest <= HOG_SIDE_MAX:
                yield "hog", scale
        if self.allow_cnn:
            yield "cnn", min(2.0, float(np.sqrt(CNN_PIXELS / (height * width))))

    def _hog_faces(self, pixels: Pixels, threshold: float = 0.0) -> tuple[list[Array], list[float]]:
        """Return boxes (px of the given pixels) and scores above the threshold; 0 is dlib's own."""
        rectangles, scores, _ = self._hog.run(pixels, 0, threshold)
        return [_box(rectangle) for rectangle in rectangles], [float(score) for score in scores]

    def _cnn_faces(self, pixels: Pixels) -> tuple[list[Array], list[float]]:
        """Return boxes (px of the given pixels) and scores of the CNN's faces."""
        found = self._cnn(pixels, 0)
        weak, _ = self._hog_faces(pixels, HOG_WEAK) if len(found) else ([], [])
        boxes = []
        for own in (_box(face.rect) for face in found):
            nearest = max(weak, key=lambda box: intersection_over_union(box, own), default=own)
            boxes.append(nearest if intersection_over_union(nearest, own) > 0.5 else own)
        return boxes, [float(face.confidence) for face in found]

    def _seen_again(self, image: Pixels, box: Array) -> bool:
        """Whether HOG finds a face again where it is LOOK_SIDE px wide."""
        view = _view_around(image, box, LOOK_SIDE)
        boxes, _ = self._hog_faces(view.pixels, LOOK_SCORE)
        return any(intersection_over_union(_to_image(view, found), box) > 0.5 for found in boxes)

    def _points(self, image: Pixels, box: Array) -> Array:
        """Return the 68 points (68, 2), px of the image, of the face in a box."""
        view = _view_around(image, box, FACE_SIDE)
        left, top, right, bottom = (round(x) for x in view.from_image(box.reshape(2, 2)).ravel().tolist())
        found = self._predictor(view.pixels, _dlib().rectangle(left, top, right, bottom))
        return view.to_image([(point.x, point.y) for point in found.parts()])

    @cached_property
    def _hog(self) -> Any:
        return _dlib().get_frontal_face_detector()

    @cached_property
    def _cnn(self) -> Any:
        return _dlib().cnn_face_detection_model_v1(_weights("mmod_human_face_detector.dat"))

    @cached_property
    def _predictor(self) -> Any:
        return _dlib().shape_predictor(_weights("shape_predictor_68_face_landmarks.dat"))


def _box(rectangle: Any) -> Array:
    return np.array([rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom()], dtype=np.float64)


def _to_image(view: View, box: Array) -> Array:
    return view.to_image(box.reshape(2, 2)).ravel()


def _view_around(image: Pixels, box: Array, side: float) -> View:
    """Return a box and its own size again on each side, with the box `side` px wide."""
    size = box[2:] - box[:2]
    window = np.concatenate([box[:2] - size, box[2:] + size])
    return View.of(image, window, side / float(np.sqrt(size[0]) * np.sqrt(size[1])))


def _dlib() -> Any:
    try:
        import dlib
    except ImportError:
        raise MissingDependencyError("finding faces needs dlib: pip install dlib-bin (or give landmarks)") from None
    return dlib


def _weights(name: str) -> str:
    """Return the path of one of dlib's weight files in the face-recognition-models package, without importing it."""
    spec = find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "models" / name
        if path.is_file():
            return str(path)
    raise MissingDependencyError(f"finding faces needs the weights {name}: pip install face-recognition-models")
