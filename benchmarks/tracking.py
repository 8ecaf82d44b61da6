"""Frames per second of tracking, the share of each step, and how well it follows a clip's truth.

    python benchmarks/tracking.py [CLIP] [--frames 300] [--threads 1]

CLIP is a video with its truth beside it (NAME.npz, see apps/evaluate/clip.py), that of FACEFIT_TEST_DATA if left out.
Each mode goes through the clip twice, and the faster run counts. `error` is the mean distance of the semantic points
from the truth, each point's mean offset removed, relative to the face's size; `jitter` the RMS second difference of the
points less the truth, relative to the landmark stage's fit of each frame by itself; `turn` the median error of yaw,
pitch and roll without its median, degrees; `jaw` and `smile` the correlation of jawOpen and of both mouthSmile with the
truth; `lids` how many closures of single eyes were found (a unit above 0.3 where the truth's is above 0.5) and how many
invented; `fast` the error where every sixth frame is shown as if they were neighbours, relative to the same frames at
their own times. With --threads 1 all runs on one core, where the platform can hold it there.
"""

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import facefit
from facefit.apps.evaluate.clip import read_clip, read_frames
from facefit.apps.evaluate.lids import true_closure
from facefit.fitting.dlib_detector import LANDMARK_SIGMA, OPENING_CORRELATION, DlibDetector
from facefit.fitting.options import STAGES
from facefit.fitting.process_noise import FRAME
from facefit.fitting.tracking import TrackedFace, Tracker, TrackerOptions
from facefit.render.cameras import angles_from_rotation

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Found = Sequence[TrackedFace | None]  # of each frame, its first face

MODES = {
    "points": TrackerOptions(photometric=False),
    "points, no thread beside": TrackerOptions(photometric=False, background=False),
    "photometric": TrackerOptions(),
    "photometric, no thread beside": TrackerOptions(background=False),
}

WINDOWS, SECONDS = 10, 5.0
"""How many stretches of the clip an identity is found in, and how long each is."""

EVERY = 6
"""Of the frames, one in so many is fitted by itself to compare its identity, and shown in the fast clip."""


class Truth:
    """What is known of a clip, at some of its frames."""

    def __init__(self, clip: Path, count: int | None, step: int = 1) -> None:
        """Read every step-th of the first `count` frames."""
        self.samples = read_clip(clip, limit=count)[::step]
        data = np.load(clip.with_suffix(".npz"))
        rows = [int(sample.name) for sample in self.samples]
        self.landmarks = np.asarray(data["landmarks"], np.float64)[rows]
        self.size = np.sqrt(np.prod(np.ptp(self.landmarks, axis=1), axis=1))[:, None]
        self.angles = np.stack([data[name] if name in data else np.full(len(data["yaw"]), np.nan)
                                for name in ("yaw", "pitch", "roll")], axis=1)[rows]  # fmt: skip
        self.names = [str(name) for name in data["expression_names"]]
        self.expression = np.asarray(data["expression"], np.float64)[rows]

    def error(self, points: Array) -> float:
        """Return the mean distance of points (F, 68, 2), NaN where there was no face."""
        apart = points - self.landmarks
        return float(np.nanmean(np.linalg.norm(apart - np.nanmean(apart, axis=0), axis=2) / self.size))

    def jitter(self, points: Array) -> float:
        """Return the RMS second difference."""
        return float(np.sqrt(np.nanmean(np.diff((points - self.landmarks) / self.size[..., None], 2, axis=0) ** 2)))

    def score(self, found: Found, model: facefit.MorphableModel, usual: float) -> str:
        """Return a mode's figures as text; usual: the jitter that theirs is compared with."""
        points, seen = semantic(found), [k for k, face in enumerate(found) if face is not None]
        results = [face.result for face in found if face is not None]
        turn = np.array([angles_from_rotation(result.camera.rotation) for result in results]) - self.angles[seen]
        turn = np.median(np.abs(turn - np.median(turn, axis=0)), axis=0)
        weights = np.array([result.expression for result in results])
        text = f"error {self.error(points):.2%}, jitter x {self.jitter(points) / usual:.2f}"
        text += ", turn " + " ".join(f"{angle:.1f}" for angle in turn)
        for name, units in (("jaw", ("jawOpen",)), ("smile", ("mouthSmileLeft", "mouthSmileRight"))):
            own = sum(weights[:, model.expression_names.index(unit)] for unit in units)
            true = sum(self.expression[seen, self.names.index(ict(unit))] for unit in units)
            text += f", {name} {np.corrcoef(own, true)[0, 1]:.2f}"
        missing = "" if len(seen) == len(found) else f", no face in {len(found) - len(seen)}"
        return text + f", lids {self._lids(weights, seen, model)}{missing}"

    def _lids(self, weights: Array, seen: list[int], model: facefit.MorphableModel) -> str:
        truth = true_closure(self.names, self.expression)
        total = found = invented = 0
        for side, name in (("L", "eyeBlinkLeft"), ("R", "eyeBlinkRight")):
            own = stretches(weights[:, model.expression_names.index(name)] > 0.3)
            true = stretches(truth[side][seen] > 0.5)
            total, found = total + len(true), found + sum(any(meet(a, b) for b in own) for a in true)
            invented += sum(not any(meet(a, b) for a in true) for b in own)
        return f"{found}/{total} +{invented}"


def ict(unit: str) -> str:
    """Return ICT-FaceKit's name of one of ARKit's units."""
    return unit.replace("Left", "_L").replace("Right", "_R")


def stretches(on: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return first and last frame of each stretch."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True))


def meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two stretches overlap, give or take two frames."""
    return one[0] <= other[1] + 2 and other[0] <= one[1] + 2


def semantic(found: Found) -> Array:
    """Return the semantic points (F, 68, 2), NaN where there was no face."""
    missing = np.full((68, 2), np.nan)
    return np.array([missing if face is None else face.result.landmarks_semantic for face in found])


def run(frames: Sequence[Pixels], options: TrackerOptions, interval: float = FRAME) -> tuple[Found, float]:
    """Return the first face of each frame and the seconds of it all."""
    with Tracker(options=options) as tracker:
        started = time.perf_counter()
        found = [tracker.track(frame, k * interval) for k, frame in enumerate(frames)]
        seconds = time.perf_counter() - started
    return [faces[0] if faces else None for faces in found], seconds


def shares(found: Found) -> str:
    """Return the mean milliseconds of each step."""
    steps: dict[str, float] = {}
    for face in found[1:]:
        for step, value in (face.timings if face else {}).items():
            steps[step] = steps.get(step, 0.0) + 1e3 * value / len(found)
    return ", ".join(f"{step} {value:.1f}" for step, value in steps.items())


def deviation(identities: list[Array]) -> float:
    """Return the standard deviation of identities (n, K), all coefficients together."""
    return float(np.sqrt(np.var(np.array(identities), axis=0).sum()))


def tracked_identities(frames: list[Pixels], options: TrackerOptions) -> list[Array]:
    """Return the identity at the end of each of WINDOWS stretches of the clip."""
    length = min(round(SECONDS / FRAME), len(frames))
    starts = np.linspace(0, len(frames) - length, WINDOWS).astype(int)
    last = [[face for face in run(frames[start : start + length], options)[0] if face][-1:] for start in starts]
    return [face.result.identity for faces in last for face in faces if face.result.identity is not None]


def single_identities(frames: list[Pixels], points: Array, options: facefit.FitOptions) -> list[Array]:
    """Return the identities of some frames fitted by themselves."""
    chosen = [k for k in range(0, len(frames), EVERY) if np.isfinite(points[k]).all()]
    fits = (facefit.fit(frames[k], landmarks=points[k], options=options) for k in chosen)
    return [fit.identity for fit in fits if fit.identity is not None]


def compare_identities(frames: list[Pixels], points: Array, options: facefit.FitOptions) -> None:
    """Print how much identities of stretches of the clip differ, against those of single frames."""
    for name, stages, photometric in (("points", STAGES[:1], False), ("photometric", STAGES[:2], True)):
        mode = TrackerOptions(photometric=photometric, background=False)
        tracked = deviation(tracked_identities(frames, mode))
        single = deviation(single_identities(frames, points, replace(options, stages=stages)))
        print(
            f"identity over {WINDOWS} stretches of {SECONDS:g} s, {name}: deviation {tracked:.2f}, "
            f"over single frames {single:.2f} ({tracked / single:.2f})"
        )


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
    truth, fast = Truth(chosen.clip, chosen.frames), Truth(chosen.clip, chosen.frames, EVERY)
    frames = [image.pixels for _, image in read_frames(chosen.clip, truth.samples)]
    model = facefit.load_model("default")

    detector = DlibDetector(allow_cnn=False)
    detected = [detector.detect(frame) for frame in frames]
    points = np.array([one[0].landmarks if one else np.full((68, 2), np.nan) for one in detected])
    options = facefit.FitOptions(
        landmark_convention="contour", landmark_sigma=LANDMARK_SIGMA, opening_correlation=OPENING_CORRELATION
    )
    fits = [facefit.fit_landmarks(one, options=options) if np.isfinite(one).all() else None for one in points]
    alone = [None if fit is None else TrackedFace(0, fit, 0.0, {}) for fit in fits]
    usual = truth.jitter(semantic(alone))
    print(f"{len(frames)} frames of {frames[0].shape[1]} x {frames[0].shape[0]} px, default model, detector dlib-hog")
    print(f"{'detector':30s}            error {truth.error(points):.2%}, jitter x {truth.jitter(points) / usual:.2f}")
    print(f"{'each frame fitted by itself':30s}            {truth.score(alone, model, usual)}")
    for name, mode in MODES.items():
        found, seconds = min((run(frames, mode) for _ in range(2)), key=lambda one: one[1])
        print(f"{name:30s} {len(frames) / seconds:6.1f} fps {truth.score(found, model, usual)}   ms: {shares(found)}")
        paces = [fast.error(semantic(run(frames[::EVERY], mode, k * FRAME)[0])) for k in (1, EVERY)]
        print(f"{'':30s}            fast x {paces[0] / paces[1]:.2f}")

    def timed() -> Iterator[tuple[Pixels, float]]:
        yield from ((frame, k * FRAME) for k, frame in enumerate(frames))

    started = time.perf_counter()
    whole = [faces[0] if faces else None for faces in facefit.track_clip(timed)]
    rate = len(frames) / (time.perf_counter() - started)
    print(f"{'whole clip':30s} {rate:6.1f} fps {truth.score(whole, model, usual)}")
    compare_identities(frames, points, options)


if __name__ == "__main__":
    main()
