"""What a tracked face tells, in the terms of files and streams: the head's turn and place, and its expression by name.

    angles      yaw, pitch, roll in degrees, as everywhere here (`render/cameras.py`)
    place       where the model's origin, midway between the outer eye corners, falls on the picture, px; and px per mm
    upright     the head's rotation in a frame with x to image right, y up, z towards the camera: diag(1, -1, -1) R, the
                identity for a face that looks into the camera

The angles are seen along the line from the camera to the face, since the camera is a scaled orthographic one.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...models.morphable_model import MorphableModel, require_model
from ...render.cameras import FRONTAL, Camera, Perspective, angles_from_rotation
from ..export.glb import arkit_name

if TYPE_CHECKING:
    from ...fitting.tracking import TrackedFace

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Head:
    """A head at one moment."""

    rotation: Array  # (3, 3) model to camera
    place: tuple[float, float]  # px, of the model's origin
    scale: float  # px/mm
    expression: Array  # (E,) units of each coefficient

    @property
    def angles(self) -> tuple[float, float, float]:
        """Yaw, pitch, roll in degrees."""
        return angles_from_rotation(self.rotation)

    @property
    def upright(self) -> Array:
        """Rotation (3, 3) in the frame with x to image right, y up and z towards the camera."""
        return FRONTAL @ self.rotation


def head_of(face: "TrackedFace") -> Head | None:
    """Return the head of a tracked face; None where its fit gave none."""
    result = face.result
    if result.camera is None or result.expression is None:
        return None
    x, y, _ = result.camera.project(np.zeros(3)).tolist()
    return Head(result.camera.rotation, (x, y), _scale(result.camera), np.asarray(result.expression, np.float64))


def unit_names(model: MorphableModel) -> list[str]:
    """Return the names of a model's expression units: ARKit's, where it has one."""
    return [arkit_name(name) for name in require_model(model).expression_names]


def quaternion(rotation: Array) -> Array:
    """Return the unit quaternion (4,) x, y, z, w of a rotation (3, 3), w >= 0."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(rotation).as_quat(canonical=True)


def _scale(camera: Camera) -> float:
    """Return px per mm at the model's origin."""
    return camera.focal / float(camera.translation[2]) if isinstance(camera, Perspective) else camera.scale
