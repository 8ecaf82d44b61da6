"""The numbers of a run, by frame and face: as CSV, written line by line, or as .npz, written at the end.

CSV. A line of names, then one line per frame and face, in the order of the frames:

    frame, seconds                   the frame's number (those of dropped frames are missing), its time of presentation
    track                            the number of the person's track
    status                           the fit's; NO_FACE on the one line of a frame without a face, whose other cells are
                                     empty: so a frame that is missing was dropped, not faceless
    yaw, pitch, roll                 degrees: towards image right, up, clockwise
    translation_x, translation_y     px: where the point midway between the outer eye corners falls; x right, y down,
                                     0 at the centre of the first pixel
    scale                            px per mm
    error                            px: RMS distance of the landmarks from the model's points; empty where unknown
    browDownLeft, ...                each expression unit, by its ARKit name where it has one

The lines of a frame are handed to the system as they are written, in one piece, so that a run which is killed leaves
them all. Numbers have a point, whatever the language.

.npz (without pickles: `numpy.load` as it is). R rows as in the CSV, those of faces only:

    schema                           () "facefit webcam 1"
    frame, seconds, track, status    (R,) as above
    yaw, pitch, roll, scale, error   (R,) as above; NaN where a fit gave no pose, or no error
    rotation                         (R, 3, 3) model to camera (x right, y down, z away)
    translation                      (R, 2) px
    expression                       (R, E) single precision
    expression_names                 (E,) by ARKit's names;  expression_units (E,) by the model's own
    frames, frames_seconds           (F,) number and time of every frame that was tracked, with a face or without
    tracks                           (T,) the numbers of the tracks, rising
    identity                         (T, K) each person's, as known at the end of the track; standard deviations
    model, model_hash                () the model's name and hash
"""

import csv
import io
import os
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...fitting.status import FitStatus
from ...models.errors import OutputError
from ...models.morphable_model import MorphableModel
from .head import Head, head_of, unit_names
from .output import PendingFile, Say, checked_ending, to_stderr

if TYPE_CHECKING:
    from ...fitting.tracking import TrackedFace
    from .frames import Frame

SCHEMA = "facefit webcam 1"
COLUMNS = (
    *("frame", "seconds", "track", "status", "yaw", "pitch", "roll"),
    *("translation_x", "translation_y", "scale", "error"),
)
"""Of a CSV, before those of the expression units."""


class ParametersSink:
    """Writes the parameters of every face in every frame."""

    wants_picture = False

    def __init__(self, path: str | Path, model: MorphableModel, *, say: Say = to_stderr) -> None:
        """Open a file, .csv or .npz, for faces of a model.

        Raises InvalidInputError for another ending, OutputError where the file cannot be made.
        """
        self._path, self._say = checked_ending(path, ".csv", ".npz"), say
        kind = _Lines if self._path.suffix.lower() == ".csv" else _Arrays
        self._table: _Table = kind(self._path, model)
        self._empty = True

    def write(self, frame: "Frame", faces: Sequence["TrackedFace"], picture: NDArray[np.uint8] | None) -> None:
        """Add a frame; OutputError where it cannot be written."""
        self._table.add(frame, faces)
        self._empty = False

    def close(self) -> None:
        """Finish the file; without a frame there is none. OutputError where it cannot be written."""
        if self._empty:
            self._say(f"{self._path.name}: not written, there was no frame")
        self._table.finish(keep=not self._empty)


class _Table(Protocol):
    """A file of rows."""

    def add(self, frame: "Frame", faces: Sequence["TrackedFace"]) -> None:
        """Take a frame."""

    def finish(self, keep: bool) -> None:
        """Complete the file, or remove what there is of it."""


class _Lines:
    """A CSV that is whole after every frame."""

    def __init__(self, path: Path, model: MorphableModel) -> None:
        self._path, self._header = path, [*COLUMNS, *unit_names(model)]
        self._pending = PendingFile(path)  # takes the header and the first frame, so that no file lacks the header
        self._file: int | None = None  # descriptor, from the second frame on
        self._size = 0  # bytes of whole lines

    def add(self, frame: "Frame", faces: Sequence["TrackedFace"]) -> None:
        lines = [_line(frame, face, len(self._header)) for face in faces or (None,)]
        if self._file is None:
            content = _encoded([self._header, *lines])
            with self._pending as file:
                file.write(content)
            self._size = len(content)
            try:
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
            except OSError as problem:
                raise self._failure(problem) from None
        else:
            self._append(self._file, _encoded(lines))

    def finish(self, keep: bool) -> None:
        if self._file is not None:
            os.close(self._file)
        elif not keep:
            self._pending.discard()

    def _append(self, file: int, content: bytes) -> None:
        """Write lines; where that fails, what there is of them is taken back."""
        left = memoryview(content)
        try:
            while left:
                left = left[os.write(file, left) :]
        except OSError as problem:
            with suppress(OSError):
                os.ftruncate(file, self._size)
            raise self._failure(problem) from None
        self._size += len(content)

    def _failure(self, problem: OSError) -> OutputError:
        return OutputError(f"{self._path}: cannot be written ({problem.strerror or problem})")


def _line(frame: "Frame", face: "TrackedFace | None", width: int) -> list[str]:
    """Return the cells of a face, or of a frame without one."""
    start = [str(frame.number), f"{frame.seconds:.6f}"]
    if face is None:
        return [*start, "", FitStatus.NO_FACE.name, *[""] * (width - 4)]
    start += [str(face.track), face.result.status.name]
    head, error = head_of(face), face.result.landmark_error
    if head is None:
        return [*start, *[""] * (width - 4)]
    place = [f"{value:.3f}" for value in (*head.angles, *head.place)]
    told = "" if error is None else f"{error:.3f}"
    return [*start, *place, f"{head.scale:.6f}", told, *(f"{weight:.4f}" for weight in head.expression.tolist())]


def _encoded(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8")


class _Arrays:
    """An .npz that is put together in memory, in rows of numbers, not of objects: a run may be long."""

    def __init__(self, path: Path, model: MorphableModel) -> None:
        self._model, self._pending = model, PendingFile(path)
        self._names = unit_names(model)
        self._frames, self._times = array("q"), array("d")
        self._numbers = array("q")  # frame, track, status of each row
        self._poses = array("d")  # seconds, yaw, pitch, roll, scale, error, translation, rotation of each row
        self._weights = array("f")
        self._statuses = [status.name for status in FitStatus]
        self._identities: dict[int, NDArray[np.float64]] = {}

    def add(self, frame: "Frame", faces: Sequence["TrackedFace"]) -> None:
        self._frames.append(frame.number)
        self._times.append(frame.seconds)
        for face in faces:
            head, error = head_of(face), face.result.landmark_error
            self._numbers.extend((frame.number, face.track, self._statuses.index(face.result.status.name)))
            self._poses.extend((frame.seconds, *_pose(head, np.nan if error is None else error)))
            missing = np.full(len(self._names), np.nan)
            self._weights.extend((missing if head is None else head.expression).tolist())
            if face.result.identity is not None:
                self._identities[face.track] = face.result.identity

    def finish(self, keep: bool) -> None:
        if not keep:
            self._pending.discard()
            return
        with self._pending as file:
            np.savez_compressed(file, **self._content())

    def _content(self) -> dict[str, Any]:
        """Return the arrays of the file by name."""
        numbers = np.array(self._numbers, np.int64).reshape(-1, 3)
        poses = np.array(self._poses, np.float64).reshape(-1, 17)
        tracks = sorted(self._identities)
        identity = [self._identities[track] for track in tracks]
        return {
            "schema": np.array(SCHEMA),
            "frame": numbers[:, 0],
            "seconds": poses[:, 0],
            "track": numbers[:, 1],
            "status": np.array(self._statuses)[numbers[:, 2]],
            **{name: poses[:, k] for k, name in enumerate(("yaw", "pitch", "roll", "scale", "error"), 1)},
            "translation": poses[:, 6:8],
            "rotation": poses[:, 8:].reshape(-1, 3, 3),
            "expression": np.array(self._weights, np.float32).reshape(len(numbers), len(self._names)),
            "expression_names": np.array(self._names, np.str_),
            "expression_units": np.array(self._model.expression_names, np.str_),
            "frames": np.array(self._frames, np.int64),
            "frames_seconds": np.array(self._times, np.float64),
            "tracks": np.array(tracks, np.int64),
            "identity": np.array(identity, np.float64).reshape(len(tracks), self._model.n_identity),
            "model": np.array(self._model.name),
            "model_hash": np.array(self._model.hash),
        }


def _pose(head: Head | None, error: float) -> list[float]:
    """Return a row's yaw, pitch, roll, scale, error, translation and rotation."""
    if head is None:
        return [np.nan] * 4 + [error] + [np.nan] * 11
    return [*head.angles, head.scale, error, *head.place, *head.rotation.ravel().tolist()]
