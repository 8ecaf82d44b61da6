"""The heads of a run as animated GLBs: one file per track, each person's neutral face with their own motion.

    rotation       diag(1, -1, -1) R as a quaternion: glTF has y up and a face looks along +Z, so that what turned to
                   image right in the picture does so before a viewer that looks along -Z
    translation    of the model's origin, m. With the picture's middle c, the head at u, and f an assumed focal length,

                       X = ((u - c)_x, -(u - c)_y, -f) / scale / 1000,      minus the X of the first face of the run

    weights        the expression, target by target
    times          s, from the first frame of the run, so that all files of a run, and its film, go together

A scaled orthographic camera knows no distance. f is FOCAL times the picture's longer side, a field of view of 64
degrees, an ordinary webcam's: with another camera, motion to and fro is too large or too small by a constant factor;
what happens across the picture does not depend on it.

The face is the one known at the end of the track, since a person becomes better known while they are followed; its
colours are those of a fit with pixels, or else the model's. Between two frames, also where a face was not seen for a
while, values are interpolated.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...fitting.results import FitResult
from ...fitting.status import FitStatus
from ...models.errors import OutputError
from ...models.files import atomic_write
from ...models.morphable_model import MorphableModel, require_model
from ...render.cameras import FRONTAL, ScaledOrthographic
from ..export.glb import METRES_PER_MM, Motion, forbids_redistribution, glb_bytes
from .head import Head, head_of, quaternion
from .output import PendingFile, Say, checked_ending, to_stderr

if TYPE_CHECKING:
    from ...fitting.tracking import TrackedFace
    from .frames import Frame

Array = NDArray[np.float64]

FOCAL = 0.8  # of the picture's longer side


class AnimatedGlbSink:
    """Keeps how every head moves, and writes it at the end."""

    wants_picture = False

    def __init__(self, path: str | Path, model: MorphableModel, *, say: Say = to_stderr) -> None:
        """Write to `path` (.glb), further tracks to names that end in -2, -3, ...: the longest track comes first.

        Raises InvalidInputError for another ending, OutputError where the file cannot be made.
        """
        self._path, self._model, self._say = checked_ending(path, ".glb"), require_model(model), say
        self._pending = PendingFile(self._path)
        self._tracks: dict[int, _Track] = {}
        self._start: float | None = None  # s, of the first frame
        self._origin: Array | None = None  # (3,) m, where the first face began

    def write(self, frame: "Frame", faces: Sequence["TrackedFace"], picture: NDArray[np.uint8] | None) -> None:
        """Keep where the heads are in a frame."""
        if self._start is None:
            self._start = frame.seconds
        for face in faces:
            if (head := head_of(face)) is None:
                continue
            position = place_in_metres(head, frame.pixels.shape[0], frame.pixels.shape[1])
            if self._origin is None:
                self._origin = position
            track = self._tracks.setdefault(face.track, _Track())
            track.add(frame.seconds - self._start, head, position - self._origin, face.result)

    def close(self) -> None:
        """Write the files; without a face there is none. OutputError where one cannot be written, after the others."""
        if not self._tracks:
            self._pending.discard()
            self._say(f"{self._path.name}: not written, there was no face")
            return
        problems: list[OutputError] = []
        # Of two tracks that are as long, the one that began first.
        for place, track in enumerate(sorted(self._tracks.values(), key=len, reverse=True)):
            name = self._path if place == 0 else self._path.with_stem(f"{self._path.stem}-{place + 1}")
            try:
                with self._pending if place == 0 else atomic_write(name) as file:
                    file.write(track.glb(self._model))
            except OutputError as problem:
                problems.append(problem)
        if forbids_redistribution(self._model.licence):
            self._say(
                f"{self._path.name} holds the expression basis of model {self._model.name!r}, whose licence does not "
                f"allow passing it on ({self._model.licence}): keep the file to yourself"
            )
        if problems:
            raise problems[0]


@dataclass(eq=False)
class _Track:
    """What is kept of a track: numbers, not objects, since a run may be long."""

    seconds: "array[float]" = field(default_factory=lambda: array("f"))
    poses: "array[float]" = field(default_factory=lambda: array("f"))  # quaternion and translation
    weights: "array[float]" = field(default_factory=lambda: array("f"))
    identity: Array | None = None  # (K,) of the last frame
    reflectance: Array | None = None  # (N, 3) of the last frame that had one

    def __len__(self) -> int:
        return len(self.seconds)

    def add(self, seconds: float, head: Head, position: Array, result: FitResult) -> None:
        """Keep a frame, unless its time is, in single precision, that of the one before."""
        self.identity = result.identity
        if result.reflectance is not None:
            self.reflectance = result.reflectance
        if self.seconds and np.float32(seconds) <= self.seconds[-1]:
            return
        self.seconds.append(seconds)
        self.poses.extend((*quaternion(head.upright).tolist(), *position.tolist()))
        self.weights.extend(head.expression.tolist())

    def motion(self) -> Motion:
        """Return how the head moved."""
        poses = np.array(self.poses, np.float64).reshape(-1, 7)
        weights = np.array(self.weights, np.float64).reshape(len(self), -1)
        return Motion(np.array(self.seconds, np.float64), weights, _continuous(poses[:, :4]), poses[:, 4:])

    def glb(self, model: MorphableModel) -> bytes:
        """Return the file."""
        motion = self.motion()
        texture = model.albedo_texture if self.reflectance is None else None
        person = FitResult(
            FitStatus.CONVERGED,
            "a head that moves",
            ScaledOrthographic(FRONTAL, np.zeros(2), 1.0),
            self.identity,
            motion.weights[0],
            reflectance=self.reflectance if texture is None else None,
            vertices=model.vertices(self.identity),
            triangles=model.triangles,
        )
        return glb_bytes(person, model, texture, motion=motion)


def place_in_metres(head: Head, height: int, width: int) -> Array:
    """Return where a head is (3,), m, before a camera at the origin that looks along -Z, y up (see the module's text).

    height, width: of the picture, px.
    """
    x, y = head.place[0] - 0.5 * (width - 1), head.place[1] - 0.5 * (height - 1)
    focal = FOCAL * max(height, width)
    return METRES_PER_MM * np.array([x, -y, -focal]) / head.scale


def _continuous(quaternions: Array) -> Array:
    """Return unit quaternions (F, 4), each of the sign that is nearer to the one before: players take the short way.

    As unit vectors in double precision, since single precision leaves them a little too long or short.
    """
    unit = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
    towards = np.where(np.einsum("fk,fk->f", unit[1:], unit[:-1]) < 0.0, -1.0, 1.0)
    return unit * np.concatenate([[1.0], np.cumprod(towards)])[:, None]
