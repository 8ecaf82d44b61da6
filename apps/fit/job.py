"""One photo from its file to its folder: read, find and fit its faces, draw them, write them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...fitting.detection import FaceDetector
from ...fitting.images import LoadedImage, load_image
from ...fitting.options import STAGES, FitOptions
from ...fitting.pipeline import fit, fit_faces
from ...fitting.results import FitResult
from ...fitting.status import FitStatus
from ...fitting.texture import make_texture
from ...fitting.threads import single_threaded_blas
from ...models.errors import ImageError, MissingDependencyError
from ...models.morphable_model import MorphableModel
from ...models.uv_atlas import has_own_atlas
from ...render.cameras import ScaledOrthographic
from ...render.compositing import over
from ...render.renderer import Renderer, Shading
from .exports import TEXTURED, Face, Look
from .overlay import draw_overlay
from .panels import draw_panels
from .summary import describe, relative_error
from .window import Window
from .writers import clear, face_folder, write_face, write_summary


@dataclass(frozen=True, eq=False)
class Tools:
    """What all photos of one call share."""

    model: MorphableModel
    detector: FaceDetector
    renderer: Renderer
    shading: Shading  # of the geometry in the picture
    options: FitOptions
    landmarks: NDArray[np.float64] | None  # (68, 2) px, given for the only photo
    all_faces: bool
    formats: Sequence[str]
    debug: bool = False  # whether to write the picture's panels one by one
    look: Look = field(default_factory=Look)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one photo."""

    photo: Path
    size: tuple[int, int] | None  # px, width and height; None where it could not be read
    summaries: tuple[dict[str, Any], ...]  # one per face, as written; a photo without a face has one that says so
    seconds: dict[str, float]  # by step

    @property
    def usable(self) -> bool:
        """Whether every face of the photo has a usable fit."""
        return all(summary["usable"] for summary in self.summaries)


class Stopwatch:
    """Seconds by the name of what took them."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the time of the block to `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def fit_photo(photo: Path, folder: Path, tools: Tools) -> Outcome:
    """Fit the faces of a photo and write them to its folder; what is wrong with the photo ends in a status.

    Raises OutputError where a file cannot be written, and what the library raises for a wrong call.
    """
    watch = Stopwatch()
    image: LoadedImage | None = None
    try:
        with watch.time("read"):
            image = load_image(photo)
    except (ImageError, MissingDependencyError) as problem:
        results = [FitResult(FitStatus.BAD_INPUT, str(problem))]
    else:
        results = _fit(image, tools, watch)
    clear(folder, len(results))
    summaries = tuple(_write(photo, image, result, folder, tools, watch) for result in results)
    size = image.pixels.shape[1::-1] if image else None
    return Outcome(photo, size, summaries, watch.seconds)


def warm_up(tools: Tools) -> None:
    """Have Numba compile every kernel that a fit with these tools may need: a picture of the mean face is fitted, and
    drawn.
    """
    model, size = tools.model, (200, 200)
    camera = ScaledOrthographic(np.diag([1.0, -1.0, -1.0]), np.full(2, 100.0), 1.0)
    drawn = tools.renderer.draw(camera, model.mean, model.triangles, *size)
    picture = over(np.full((*size, 3), 128, np.uint8), drawn)
    points = camera.project(model.landmark_positions(model.mean))[:, :2]
    stages = STAGES if find_spec("xatlas") is not None or has_own_atlas(model) else STAGES[:2]
    for convention in ("contour", "semantic"):
        options = FitOptions(stages=stages, landmark_convention=convention)
        result = fit(picture, model, landmarks=points, options=options)
    if tools.look.texture is not None:
        make_texture(picture, result, model, tools.look.texture)
    draw_overlay(picture, result, model, tools.renderer, shading=tools.shading)


def _fit(image: LoadedImage, tools: Tools, watch: Stopwatch) -> list[FitResult]:
    """Return a result for each face, or the one that says that there is none."""
    started = time.perf_counter()
    if tools.landmarks is not None:
        results = [fit(image, tools.model, landmarks=tools.landmarks, options=tools.options)]
    elif tools.all_faces:
        results = fit_faces(image, tools.model, options=tools.options, detector=tools.detector)
    else:
        results = [fit(image, tools.model, options=tools.options, detector=tools.detector)]
    if not results:
        results = [FitResult(FitStatus.NO_FACE, FitStatus.NO_FACE.value)]
    whole = time.perf_counter() - started
    stages: dict[str, float] = {}
    for report in (report for result in results for report in result.stages):
        stages[report.name] = stages.get(report.name, 0.0) + report.seconds
    # What is no stage's is the detector's, or where the landmarks are given a check of them: nothing to speak of.
    watch.seconds |= {"detect": whole - sum(stages.values())} if tools.landmarks is None else {}
    watch.seconds |= stages
    return results


def _write(
    photo: Path, image: LoadedImage | None, result: FitResult, folder: Path, tools: Tools, watch: Stopwatch
) -> dict[str, Any]:
    """Write the files of one face and return its summary."""
    own = face_folder(folder, result.face_index)
    face, panels = None, None
    if image is not None and result.camera is not None and result.status.usable:
        look = image.pixels, result, tools.model, tools.renderer
        overlay = None
        if "png" in tools.formats:
            with watch.time("draw"), single_threaded_blas():
                overlay = draw_overlay(*look, _title(photo, result, tools), tools.shading)
        if tools.debug:
            with watch.time("draw"), single_threaded_blas():
                panels = draw_panels(*look, Window.of_pixels(result.camera), tools.shading)
        texture = None
        if tools.look.texture is not None and TEXTURED.intersection(tools.formats):
            with watch.time("texture"):
                texture = make_texture(image.pixels, result, tools.model, tools.look.texture)
        face = Face(image.pixels, result, tools.model, shown(photo.name), overlay, texture, tools.look)
    with watch.time("write"):
        files = write_face(own, face, tools.formats, panels)
    summary = {"photo": str(photo), "folder": str(own)} | describe(result, tools.model)
    drawn = panels is not None or (face is not None and face.overlay is not None)
    summary |= {"drawn_by": tools.renderer.description if drawn else None}
    summary |= {"files": [*files, "summary.json"], "seconds": dict(watch.seconds)}
    write_summary(own, summary)
    return summary


def _title(photo: Path, result: FitResult, tools: Tools) -> str:
    error, percent = result.landmark_error, relative_error(result)
    facts = [
        shown(photo.name) + (f", face {result.face_index + 1}" if result.face_index else ""),
        result.status.value.split(";")[0].split(",")[0],
        f"error {error:.1f} px" + (f", {percent:.1f} % of the face" if percent is not None else ""),
        f"model {tools.model.name}",
        f"renderer {tools.renderer.name}",
    ]
    return "   ·   ".join(facts)


def shown(text: str | Path) -> str:
    """Return a file name as text that every terminal and picture can show: no control characters, no lone bytes."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
