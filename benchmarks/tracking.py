"""Frames per second of tracking, the share of each step, and how well it follows a clip's truth.

    python benchmarks/tracking.py [CLIP] [--frames 300] [--threads 1]

CLIP is a video with its truth beside it (NAME.npz, see apps/evaluate/clip.py), that of FACEFIT_TEST_DATA if left out.
Each mode goes through the clip twice,
and the faster run counts. `error` is the mean distance of the semantic points from the truth, each point's mean offset
removed, relative to the face's size; `detector` is what the detector finds in each frame by itself; `jitter` the RMS
second difference of the points less the truth, relative to the landmark stage's fit of each frame by itself. With
--threads 1 all runs on one core, where the platform can hold it there.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import facefit
from facefit.apps.evaluate.clip import read_clip, read_frames
from facefit.fitting.clip import track_clip
from facefit.fitting.dlib_detector import LANDMARK_SIGMA, OPENING_CORRELATION, DlibDetector
from facefit.fitting.options import STAGES
from facefit.fitting.process_noise import FRAME
from facefit.fitting.tracking import TrackedFace, Tracker, TrackerOptions

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

MODES = {
    "points": TrackerOptions(photometric=False),
    "points, no thread beside": TrackerOptions(photometric=False, background=False),
    "photometric": TrackerOptions(),
    "photometric, no thread beside": TrackerOptions(background=False),
}

WINDOWS, SECONDS = 10, 5.0
"""How many stretches of the clip an identity is found in, and how long each is."""

EVERY = 6
"""Of the frames, one in so many is fitted by itself, to compare its identity."""


def run(frames: list[Pixels], options: TrackerOptions) -> tuple[list[TrackedFace], float]:
    """Return the first face of each frame and the seconds of it all."""
    with Tracker(options=options) as tracker:
        started = time.perf_counter()
        found = [tracker.track(frame) for frame in frames]
        seconds = time.perf_counter() - started
    return [faces[0] for faces in found if faces], seconds


def report(
    name: str, frames: list[Pixels], faces: list[TrackedFace], seconds: float, score: Callable[..., str]
) -> None:
    """Print one mode's line."""
    shares: dict[str, float] = {}
    for face in faces[1:]:
        for step, value in face.timings.items():
            shares[step] = shares.get(step, 0.0) + 1e3 * value / len(faces)
    steps = ", ".join(f"{step} {value:.1f}" for step, value in shares.items())
    points = np.array([face.result.landmarks_semantic for face in faces])
    scored = score(points) if len(faces) == len(frames) else f"found in {len(faces)} of {len(frames)}"
    print(f"{name:32s} {len(frames) / seconds:6.1f} fps   {scored}   ms: {steps}")


def deviation(identities: list[Array]) -> float:
    """Return the standard deviation of identities (n, K), all coefficients together."""
    return float(np.sqrt(np.var(np.array(identities), axis=0).sum()))


def tracked_identities(frames: list[Pixels], options: TrackerOptions) -> list[Array]:
    """Return the identity at the end of each of WINDOWS stretches of the clip."""
    length = min(round(SECONDS / FRAME), len(frames))
    starts = np.linspace(0, len(frames) - length, WINDOWS).astype(int)
    found = [run(frames[start : start + length], options)[0][-1].result.identity for start in starts]
    return [identity for identity in found if identity is not None]


def single_identities(frames: list[Pixels], points: Array, options: facefit.FitOptions) -> list[Array]:
    """Return the identities of some frames fitted by themselves."""
    fits = (facefit.fit(frames[k], landmarks=points[k], options=options) for k in range(0, len(frames), EVERY))
    return [fit.identity for fit in fits if fit.identity is not None]


def main() -> None:
    """Print all modes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    own = Path(os.environ.get("FACEFIT_TEST_DATA", ".")) / "video" / "dev_clip.mp4"
    parser.add_argument("clip", type=Path, nargs="?", default=own)
    parser.add_argument("--frames", type=int, default=None)
    parser.add_argument("--threads", type=int, default=None)
    chosen = parser.parse_args()
    if not chosen.clip.is_file():
        print(f"left out: FACEFIT_TEST_DATA names no {own.name}, and no clip was given")
        return
    if chosen.threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    samples = read_clip(chosen.clip, limit=chosen.frames)
    frames = [image.pixels for _, image in read_frames(chosen.clip, samples)]
    truth = np.array([sample.landmarks for sample in samples])
    size = np.sqrt(np.prod(np.ptp(truth, axis=1), axis=1))[:, None]

    detector = DlibDetector(allow_cnn=False)
    detected = [detector.detect(frame) for frame in frames]
    points = np.array([found[0].landmarks for found in detected])
    options = facefit.FitOptions(
        landmark_convention="contour", landmark_sigma=LANDMARK_SIGMA, opening_correlation=OPENING_CORRELATION
    )
    fits = [facefit.fit_landmarks(one, options=options) for one in points]
    alone = np.array([fit.landmarks_semantic for fit in fits])

    def error(found: Array) -> float:
        apart = found - truth
        return float((np.linalg.norm(apart - apart.mean(axis=0), axis=2) / size).mean())

    def jitter(found: Array) -> float:
        return float(np.sqrt((np.diff((found - truth) / size[..., None], 2, axis=0) ** 2).mean()))

    def score(found: Array) -> str:
        return (
            f"error {error(found):.2%} ({error(found) / error(points):.2f} x detector), "
            f"jitter x {jitter(found) / jitter(alone):.2f}"
        )

    print(f"{len(frames)} frames of {frames[0].shape[1]} x {frames[0].shape[0]} px, default model, detector dlib-hog")
    print(f"{'detector':32s}              {score(points)}")
    print(f"{'each frame fitted by itself':32s}              {score(alone)}")
    for name, mode in MODES.items():
        report(name, frames, *min((run(frames, mode) for _ in range(2)), key=lambda one: one[1]), score)
    started = time.perf_counter()
    whole = track_clip(lambda: ((frame, k * FRAME) for k, frame in enumerate(frames)))
    report("whole clip", frames, [faces[0] for faces in whole], time.perf_counter() - started, score)
    for name, stages, photometric in (("points", STAGES[:1], False), ("photometric", STAGES[:2], True)):
        mode = TrackerOptions(photometric=photometric, background=False)
        tracked = deviation(tracked_identities(frames, mode))
        single = deviation(single_identities(frames, points, replace(options, stages=stages)))
        print(
            f"identity over {WINDOWS} stretches of {SECONDS:g} s, {name}: deviation {tracked:.2f}, "
            f"over single frames {single:.2f} ({tracked / single:.2f})"
        )


if __name__ == "__main__":
    main()
