"""A whole video at once: what later frames say of earlier ones, too.

 1. Forward tracking (`tracking.py`) finds who the person is, from frames that show the face turned differently.
 2. Forward tracking again, with that identity from the first frame on, leaves for each frame t a state x_t and what the
    frame alone says about it, g_t' y_t + 1/2 y_t' H_t y_t for a step y_t from there.
 3. One solve for all steps, with the second differences of the states normally distributed about zero:

        minimise  sum_t g_t' y_t + 1/2 y_t' H_t y_t  +  1/2 sum_t |W (d_t + y_{t+1} - 2 y_t + y_{t-1})|^2

    d_t being the second difference of the x_t (of rotations: of their steps from frame to frame) and W the inverse of
    the deviations that a frame's acceleration has (ACCELERATION times `process_noise.py`'s). Its matrix is symmetric,
    positive definite and block-pentadiagonal: banded Cholesky, linear in the number of frames.

Whittaker-Henderson smoothing with the frames' own information as weights. H. Rauch, F. Tung, C. Striebel, Maximum
likelihood estimates of linear dynamic systems, 1965 (the same estimate by recursion); P. Eilers, A perfect smoother,
Analytical Chemistry 2003.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from ..models.morphable_model import MorphableModel
from ._kernels import rotated
from .detection import FaceDetector
from .process_noise import FRAME, process_variance
from .state_prior import PoseAndShape, StatePrior
from .track import Evidence, camera_of, personal_model
from .tracking import TrackedFace, Tracker, TrackerOptions

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Frames = Callable[[], Iterable[tuple[Pixels, float]]]

ACCELERATION = 0.4
"""Deviation of a second difference, relative to that of a step by process noise."""

WINDOW, OVERLAP = 512, 32
"""Frames that are solved for at once, and those that neighbouring windows share: farther frames say nothing."""


def track_clip(
    frames: Frames,
    model: MorphableModel | None = None,
    options: TrackerOptions | None = None,
    detector: FaceDetector | None = None,
) -> list[list[TrackedFace]]:
    """Return the faces of each frame of a clip, smoothed over time.

    `frames()` yields pixels (H, W, 3) uint8 RGB and the time in seconds of each, anew whenever it is called, since the
    clip is gone through twice. Where several people are followed, nobody's identity is known from the first frame on.
    """
    chosen = replace(TrackerOptions() if options is None else options, background=False)
    identities: dict[int, Array] = {}
    with Tracker(model, chosen, detector) as tracker:
        whole, detector = tracker.model, tracker.detector
        for pixels, seconds in frames():
            for face in tracker.track(pixels, seconds):
                assert face.result.identity is not None
                identities[face.track] = face.result.identity
    identity = _common(list(identities.values())) if chosen.faces == 1 and identities else None
    with Tracker(whole, chosen, detector, identity) as tracker:
        found = [tracker.track(pixels, seconds) for pixels, seconds in frames()]
    return smoothed(found, whole)


def _common(identities: Sequence[Array]) -> Array:
    """Return the one identity of several tracks of the only person."""
    return np.asarray(np.mean(identities, axis=0))


def smoothed(found: Sequence[Sequence[TrackedFace]], model: MorphableModel) -> list[list[TrackedFace]]:
    """Return the faces (frame by frame) with every track's states smoothed over its frames."""
    places: dict[int, list[tuple[int, int]]] = {}
    for t, faces in enumerate(found):
        for k, face in enumerate(faces):
            places.setdefault(face.track, []).append((t, k))
    smooth = [list(faces) for faces in found]
    for where in places.values():
        followed = [(t, k) for t, k in where if found[t][k].evidence is not None]
        for start in range(0, len(followed), WINDOW - OVERLAP):
            part = followed[start : start + WINDOW]
            states = smoothed_states([found[t][k] for t, k in part], model)
            # What neighbouring windows share is taken half from each.
            keep = OVERLAP // 2 if start else 0
            for (t, k), state in list(zip(part, states, strict=True))[keep:]:
                smooth[t][k] = _moved(found[t][k], state, model)
            if start + WINDOW >= len(followed):
                break
    return smooth


def smoothed_states(faces: Sequence[TrackedFace], model: MorphableModel) -> list[PoseAndShape]:
    """Return the states of one track's frames in a row that solve the problem of the module's text."""
    evidence = [face.evidence for face in faces if face.evidence is not None]
    if len(evidence) < 3:
        return [one.state for one in evidence]
    seconds = np.array([face.seconds for face in faces])
    steps = solve_steps(evidence, _weights(evidence, seconds, model))
    return [_stepped(one.state, step, model) for one, step in zip(evidence, steps, strict=True)]


def solve_steps(evidence: Sequence[Evidence], weights: Array) -> Array:
    """Return the steps y (F, n) that minimise the energy; weights (F, n): the squares of W, zero where the second
    difference about a frame does not count, as for the first and the last.
    """
    count, size = len(evidence), len(evidence[0].gradient)
    second = np.zeros((count, size))
    for t in range(1, count - 1):
        second[t] = _difference(evidence[t].state, evidence[t + 1].state)
        second[t] -= _difference(evidence[t - 1].state, evidence[t].state)
    width = 3 * size
    banded, right = np.zeros((width, count * size)), np.zeros((count, size))
    rows, columns = np.tril_indices(size)
    for t, one in enumerate(evidence):
        matrix = 0.5 * (one.information + one.information.T) + 1e-9 * np.diag(
            np.abs(one.information.diagonal()) + 1e-12
        )
        banded[rows - columns, t * size + columns] = matrix[rows, columns]
        right[t] = -one.gradient
    factors = np.array([1.0, -2.0, 1.0])
    for t in range(1, count - 1):
        for i in range(3):
            for j in range(i + 1):
                banded[(i - j) * size, (t - 1 + j) * size : (t + j) * size] += factors[i] * factors[j] * weights[t]
            right[t - 1 + i] -= factors[i] * weights[t] * second[t]
    return np.asarray(solveh_banded(banded, right.ravel(), lower=True)).reshape(count, size)


def _weights(evidence: Sequence[Evidence], seconds: Array, model: MorphableModel) -> Array:
    """Return the squares of W (F, 6 + E); a pause on either side of a frame breaks the chain."""
    weights = np.zeros((len(evidence), len(evidence[0].gradient)))
    passed = np.diff(seconds)
    for t in range(1, len(evidence) - 1):
        if max(passed[t - 1], passed[t]) < 4.0 * FRAME:
            variance = process_variance(model, evidence[t].state.scale, 0.5 * (passed[t - 1] + passed[t]))
            weights[t] = 1.0 / (ACCELERATION**2 * variance)
    return weights


def _difference(before: PoseAndShape, after: PoseAndShape) -> Array:
    return StatePrior(before, np.zeros((0, 0))).difference(after)


def _stepped(state: PoseAndShape, step: Array, model: MorphableModel) -> PoseAndShape:
    return PoseAndShape(
        rotated(state.rotation, step[:3]),
        state.translation + step[3:5],
        state.scale * float(np.exp(step[5])),
        np.clip(state.coefficients + step[6:], model.expression_lower, model.expression_upper),
    )


def _moved(face: TrackedFace, state: PoseAndShape, model: MorphableModel) -> TrackedFace:
    """Return a face at another state."""
    assert face.result.identity is not None
    person, camera = personal_model(model, face.result.identity), camera_of(state)
    vertices = person.vertices(None, state.coefficients)
    result = replace(
        face.result,
        camera=camera,
        expression=state.coefficients,
        vertices=vertices,
        vertices_image=camera.project(vertices),
        landmarks_semantic=camera.project(person.landmark_positions(vertices))[:, :2],
        message="tracked, and smoothed over the clip",
    )
    return replace(face, result=result)
