"""The folders of ground truth that `evaluate` reads.

synthetic   rendered heads with exact geometry: `NAME.jpg` and `NAME.npz` with `landmarks`, `landmarks_noisy` (68, 2)
            px, `neutral` (N, 3) mm, `image_points` (N, 2) px and `yaw`. The truth's 3D landmarks are vertices; which
            ones is read off the file, since a landmark's pixel is its vertex's.
aflw2000    photos of AFLW2000-3D (Zhu et al., CVPR 2016): `NAME.jpg` and either `NAME_gt.npz` with `pts68_3d` (3, 68)
            and `yaw_deg`, or the original `NAME.mat` with `pt3d_68` and `Pose_Para`.

Landmarks of both are semantic. AFLW2000's are taken as published: its own tools count pixels from 1, other people's
evaluations do not subtract that 1, and neither do we, so that figures can be compared. It is worth at most half a per
cent of a 200 px face where points come from a detector, and nothing where the truth itself was fitted.

AFLW2000 turns the head the other way and composes its angles in another order. Its yaw with the sign changed tells the
side a face looks to and its bin, which is all that is asked of it here; it is not our yaw to the degree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...fitting.landmarks import COUNT
from ...models.archives import read_arrays
from ...models.arrays import checked_array
from ...models.errors import FacefitError, InvalidInputError

Array = NDArray[np.float64]

NOSE_TIP = 30  # of the 68 landmarks
SCAN_RADIUS = 95.0  # mm around the nose tip: the part of a face that is scored
SYNTHETIC_FACE_VERTICES = 6706  # the first vertices are the narrow face, without ears and neck


@dataclass(frozen=True, eq=False)
class Scan:
    """The true surface of a face without expression, as points."""

    points: Array  # (n, 3) mm
    landmarks: Array  # (68, 3) mm, in the same frame


@dataclass(frozen=True, eq=False)
class Sample:
    """One image and what is known about the face in it."""

    name: str
    image: Path
    landmarks: Array  # (68, 2) px, semantic
    yaw: float  # degrees, > 0: nose towards image right
    landmarks_noisy: Array | None = None  # (68, 2) px, the same with noise
    scan: Scan | None = None
    hair: bool = False  # whether hair may cover the forehead
    closure: Mapping[str, float] | None = None  # of each eye, "L" and "R" of the subject: 0 open, 1 closed


def read_synthetic(folder: str | Path, limit: int | None = None) -> list[Sample]:
    """Return the samples of a folder of rendered heads, sorted by name; at most `limit` of them.

    Raises InvalidInputError for a folder or file that is missing or malformed, naming it.
    """
    return _read_folder(folder, limit, "*.npz", _synthetic_sample)


def read_aflw2000(folder: str | Path, limit: int | None = None) -> list[Sample]:
    """Return the samples of a folder of AFLW2000-3D photos, sorted by name; at most `limit` of them.

    Raises InvalidInputError for a folder or file that is missing or malformed, naming it.
    """
    return _read_folder(folder, limit, "*.jpg", _aflw2000_sample)


def _read_folder(folder: str | Path, limit: int | None, pattern: str, read: Callable[[Path], Sample]) -> list[Sample]:
    root = Path(folder)
    if not root.is_dir():
        raise InvalidInputError(f"{root}: expected a folder of images with ground truth, found none")
    paths = sorted(root.glob(pattern))[:limit]
    if not paths:
        raise InvalidInputError(f"{root}: expected files {pattern}, found none")
    samples = []
    for path in paths:
        try:
            samples.append(read(path))
        except KeyError as missing:
            raise InvalidInputError(f"{path}: expected an entry {missing}, found none") from None
        except FacefitError as problem:
            sentence = str(problem)
            raise InvalidInputError(sentence if sentence.startswith(str(path)) else f"{path}: {sentence}") from None
    return samples


def _synthetic_sample(path: Path) -> Sample:
    data = read_arrays(path, InvalidInputError)
    landmarks = checked_array("landmarks", data["landmarks"], (COUNT, 2))
    neutral = checked_array("neutral", data["neutral"], (None, 3))
    image_points = checked_array("image_points", data["image_points"], (len(neutral), 2))
    truth = neutral[landmark_vertices(landmarks, image_points)]
    face = neutral[:SYNTHETIC_FACE_VERTICES]
    near = np.linalg.norm(face - truth[NOSE_TIP], axis=1) <= SCAN_RADIUS
    return Sample(
        name=path.stem,
        image=_existing(path.with_suffix(".jpg")),
        landmarks=landmarks,
        yaw=float(checked_array("yaw", data["yaw"], ())),
        landmarks_noisy=checked_array("landmarks_noisy", data["landmarks_noisy"], (COUNT, 2)),
        scan=Scan(face[near], truth),
    )


def landmark_vertices(landmarks: Array, image_points: Array) -> NDArray[np.intp]:
    """Return (68,): the vertex whose image point (N, 2), px, each landmark (68, 2) is.

    Raises InvalidInputError where some landmark is no vertex's image, to a hundredth of a pixel.
    """
    distances = np.linalg.norm(landmarks[:, None] - image_points[None], axis=2)
    nearest = distances.argmin(axis=1)
    worst = float(distances.min(axis=1).max())
    if worst > 0.01:
        raise InvalidInputError(f"landmarks: expected the image points of vertices, got one {worst:.3g} px from any")
    return nearest


def _aflw2000_sample(path: Path) -> Sample:
    exported, original = path.with_name(f"{path.stem}_gt.npz"), path.with_suffix(".mat")
    if exported.is_file():
        data = read_arrays(exported, InvalidInputError)
        points, yaw = data["pts68_3d"], data["yaw_deg"]
    else:
        data = _load_mat(_existing(original))
        points = data["pt3d_68"]
        yaw = np.degrees(checked_array("Pose_Para", data["Pose_Para"], (1, 7))[0, 1])
    projected = checked_array("68 points", points, (3, COUNT))[:2].T
    return Sample(path.stem, path, np.ascontiguousarray(projected), -float(checked_array("yaw", yaw, ())), hair=True)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InvalidInputError(f"expected {path.name} beside it, found none")
    return path


def _load_mat(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(path)
    except (OSError, ValueError, TypeError, NotImplementedError, MatReadError) as problem:
        raise InvalidInputError(f"{path.name}: expected a readable MATLAB file, got {problem}") from None
