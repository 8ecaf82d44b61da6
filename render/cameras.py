"""Cameras: how a point of the model frame (mm, y up) falls onto the image (px, y down).

The camera frame is OpenCV's: x right, y down, z forward (away from the viewer). With R the rotation from the model
frame, a frontal face has R = diag(1, -1, -1).

    ScaledOrthographic   u = s (R X)_xy + t                        depth (R X)_z   in mm, up to a constant
    Perspective          u = f (R X + t)_xy / (R X + t)_z + c      depth (R X + t)_z in mm

Yaw, pitch and roll in degrees, for a person:  yaw > 0 turns the nose towards image right, pitch > 0 looks up,
roll > 0 tilts the head clockwise in the image:

    R = diag(1, -1, -1) Rz(-roll) Rx(-pitch) Ry(yaw)

with Rx, Ry, Rz the right-handed rotations about the model's axes. The decomposition is unique for |pitch| < 90.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array, read_only
from ..models.errors import InvalidInputError

Array = NDArray[np.float64]

FRONTAL = read_only(np.diag([1.0, -1.0, -1.0]))
"""Rotation (3, 3) of a face that looks straight into the camera."""


def rotation_from_angles(yaw: float, pitch: float, roll: float) -> Array:
    """Return R (3, 3), model to camera, from yaw, pitch and roll in degrees (see the module's text)."""
    y, p, r = np.radians([yaw, -pitch, -roll])
    ry = np.array([[np.cos(y), 0.0, np.sin(y)], [0.0, 1.0, 0.0], [-np.sin(y), 0.0, np.cos(y)]])
    rx = np.array([[1.0, 0.0, 0.0], [0.0, np.cos(p), -np.sin(p)], [0.0, np.sin(p), np.cos(p)]])
    rz = np.array([[np.cos(r), -np.sin(r), 0.0], [np.sin(r), np.cos(r), 0.0], [0.0, 0.0, 1.0]])
    return FRONTAL @ rz @ rx @ ry


def angles_from_rotation(rotation: ArrayLike) -> tuple[float, float, float]:
    """Return (yaw, pitch, roll) in degrees of R (3, 3); the inverse of `rotation_from_angles` for |pitch| < 90."""
    matrix = checked_array("rotation", rotation, (3, 3))
    m = FRONTAL @ matrix
    # m = Rz(a) Rx(b) Ry(c): its last row is (-cos b sin c, sin b, cos b cos c), its middle column (-sin a cos b, ...).
    pitch = -np.degrees(np.arcsin(np.clip(m[2, 1], -1.0, 1.0)))
    roll = -np.degrees(np.arctan2(-m[0, 1], m[1, 1]))
    return yaw_degrees(matrix), float(pitch), float(roll)


def yaw_degrees(rotation: Array) -> float:
    """Return the yaw in degrees of R (3, 3), unchecked: for inner loops."""
    return math.degrees(math.atan2(rotation[2, 0], -rotation[2, 2]))


def _checked_rotation(rotation: ArrayLike) -> Array:
    matrix = checked_array("rotation", rotation, (3, 3))
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if np.abs(matrix @ matrix.T - np.eye(3)).max() > 1e-6 or determinant < 0.0:
        raise InvalidInputError("rotation: expected an orthonormal matrix with determinant +1, got one that is not")
    return read_only(matrix)


@dataclass(frozen=True, eq=False)
class ScaledOrthographic:
    """Weak-perspective camera: u = scale (R X)_xy + translation."""

    rotation: Array  # (3, 3) model to camera, det +1
    translation: Array  # (2,) px
    scale: float  # px/mm

    kind = "scaled_orthographic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotation", _checked_rotation(self.rotation))
        object.__setattr__(self, "translation", read_only(checked_array("translation", self.translation, (2,))))
        object.__setattr__(self, "scale", _positive("scale", self.scale))

    def to_camera(self, points: ArrayLike) -> Array:
        """Rotate points (..., 3) of the model frame into the camera frame, mm; the origin stays the model's."""
        return np.asarray(points, dtype=np.float64) @ self.rotation.T

    def project(self, points: ArrayLike) -> Array:
        """Project points (..., 3), mm, model frame, to (..., 3): px, px, and the depth in mm (larger is farther)."""
        seen = self.to_camera(points)
        seen[..., :2] *= self.scale
        seen[..., :2] += self.translation
        return seen

    def zoomed(self, factor: float, offset: Array | float = 0.0) -> "ScaledOrthographic":
        """Return the same view in other pixels: u becomes factor u + offset, `offset` (2,) or one number, px."""
        return replace(self, scale=factor * self.scale, translation=factor * self.translation + offset)


@dataclass(frozen=True, eq=False)
class Perspective:
    """Pinhole camera without skew: u = focal (R X + t)_xy / (R X + t)_z + principal_point."""

    rotation: Array  # (3, 3) model to camera, det +1
    translation: Array  # (3,) mm
    focal: float  # px
    principal_point: Array  # (2,) px

    kind = "perspective"

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotation", _checked_rotation(self.rotation))
        object.__setattr__(self, "translation", read_only(checked_array("translation", self.translation, (3,))))
        object.__setattr__(self, "focal", _positive("focal", self.focal))
        point = read_only(checked_array("principal_point", self.principal_point, (2,)))
        object.__setattr__(self, "principal_point", point)

    def to_camera(self, points: ArrayLike) -> Array:
        """Map points (..., 3) of the model frame into the camera frame, mm; the origin is the camera's centre."""
        return np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation

    def project(self, points: ArrayLike) -> Array:
        """Project points (..., 3), mm, model frame, to (..., 3): px, px, and the depth in mm (larger is farther).

        Points at or behind the camera's centre (depth <= 0) have no image: their px are NaN.
        """
        seen = self.to_camera(points)
        depth = np.where(seen[..., 2:] > 0.0, seen[..., 2:], np.nan)
        seen[..., :2] *= self.focal / depth
        seen[..., :2] += self.principal_point
        return seen

    def zoomed(self, factor: float, offset: Array | float = 0.0) -> "Perspective":
        """Return the same view in other pixels: u becomes factor u + offset, `offset` (2,) or one number, px."""
        return replace(self, focal=factor * self.focal, principal_point=factor * self.principal_point + offset)


Camera = ScaledOrthographic | Perspective


def checked_camera(camera: Camera) -> Camera:
    """Return the camera, or raise InvalidInputError where it is of neither kind."""
    if not isinstance(camera, Camera):
        raise InvalidInputError(f"camera: expected ScaledOrthographic or Perspective, got {type(camera).__name__}")
    return camera


def _positive(name: str, value: float) -> float:
    number = float(value)
    if not (np.isfinite(number) and number > 0.0):
        raise InvalidInputError(f"{name}: expected a positive finite number, got {value!r}")
    return number
