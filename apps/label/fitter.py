"""What a worker does with an image: decode, find faces, fit, and make their rows.

Each worker works on one thread; the engine runs one per core. Wrong data end in an outcome: a file that is no picture
and a face whose fit cannot be used are `rejected`. A fit whose quality is below the wanted one counts as usable, and is
not exported.
"""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...fitting.detection import Detection, FaceDetector
from ...fitting.dlib_detector import LICENCE_NOTE, DlibDetector
from ...fitting.images import LoadedImage, Pixels
from ...fitting.landmarks import LandmarkConvention
from ...fitting.options import FitOptions
from ...fitting.pipeline import fit, fit_faces
from ...fitting.results import FitResult
from ...fitting.status import FitStatus
from ...models.errors import ImageError, InvalidInputError, ModelError
from ...models.morphable_model import MorphableModel
from ...models.store import load_model
from ...render.cameras import FRONTAL, ScaledOrthographic
from ...render.compositing import over
from ...render.renderer import make_renderer
from .decoding import decode
from .labelled import Labelled, unreadable
from .provenance import code_description, plain
from .records import face_record, outcome_of
from .sources import Item


class Exporter(Protocol):
    """Makes files of an image whose faces are fitted; they go into a tar of the shard. Picklable."""

    @property
    def name(self) -> str:
        """What stands in the provenance; with the options that its files depend on, where it has any."""

    @property
    def tar(self) -> str:
        """Which of `labelled.TARS` its files go into, alone."""

    def check(self, model: MorphableModel) -> None:
        """Raise InvalidInputError or MissingDependencyError where it can make nothing of fits of this model."""

    def __call__(
        self, item: Item, image: LoadedImage, results: Sequence[FitResult], model: MorphableModel
    ) -> Mapping[str, bytes]:
        """Return the content of files by their name in the tar, the same for the same arguments.

        In the tar they stand in the order of their names. `results` are the faces that are exported, the largest first;
        at least one.
        """


@dataclass(frozen=True)
class LabelSpec:
    """What to make of each image; picklable. `make_spec` fills in what has to be looked up."""

    model: str  # a name in the store, or a path
    model_hash: str  # of the model that the parent has loaded
    options: FitOptions  # for one thread
    all_faces: bool = False  # whether to fit every face, or the largest
    export_all: bool = False  # whether faces without a usable fit are exported too
    min_quality: float = 0.0  # 0-1; faces below it are not exported, unless all are
    exporters: tuple[Exporter, ...] = ()
    description: Mapping[str, Any] = field(default_factory=dict)  # all that the records depend on; JSON types

    def build(self) -> "LabelFitter":
        """Load and compile everything."""
        return LabelFitter(self)


def make_spec(
    model: str = "default",
    options: FitOptions | None = None,
    *,
    seed: int = 0,
    all_faces: bool = False,
    export_all: bool = False,
    min_quality: float = 0.0,
    exporters: Sequence[Exporter] = (),
) -> LabelSpec:
    """Return the spec of a run.

    Raises ModelError for a model that is missing, InvalidInputError for wrong options and for a model that an exporter
    can do nothing with.
    """
    if not 0.0 <= min_quality <= 1.0:
        raise InvalidInputError(f"min_quality: expected a number from 0 to 1, got {min_quality}")
    loaded = load_model(model)
    for exporter in exporters:
        exporter.check(loaded)
    options = for_one_thread(options or FitOptions(stages=("landmark", "photometric")), seed)
    description = {
        "facefit": code_description(),
        "model": {"name": loaded.name, "hash": loaded.hash, "licence": loaded.licence,
                  "expression_names": list(loaded.expression_names)},
        "detector": {"name": DlibDetector.name, "licence": LICENCE_NOTE},
        "faces": "all" if all_faces else "largest",
        "export": "all" if export_all else "usable",
        "min_quality": min_quality,
        "seed": seed,
        "exporters": [exporter.name for exporter in exporters],
        "options": plain(options),
    }  # fmt: skip
    return LabelSpec(model, loaded.hash, options, all_faces, export_all, min_quality, tuple(exporters), description)


def for_one_thread(options: FitOptions, seed: int) -> FitOptions:
    """Return options whose stages each use one thread, and the seed where they take one."""
    changes: dict[str, Any] = {}
    for part in dataclasses.fields(options):
        value = getattr(options, part.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            known = {inner.name for inner in dataclasses.fields(value)}
            wanted: dict[str, Any] = {name: new for name, new in (("threads", 1), ("seed", seed)) if name in known}
            changes[part.name] = dataclasses.replace(value, **wanted)
    return dataclasses.replace(options, **changes)


class LabelFitter:
    """Labels images by fitting a morphable model."""

    def __init__(self, spec: LabelSpec) -> None:
        """Load the model and the detector, and compile the kernels. ModelError for another model than the parent's."""
        self._spec, self._model = spec, load_model(spec.model)
        if self._model.hash != spec.model_hash:
            raise ModelError(f"model {spec.model!r}: expected hash {spec.model_hash}, got {self._model.hash}: "
                             "it was changed while the run went on")  # fmt: skip
        self._detector = _TimedDetector(DlibDetector())
        self._warm_up()

    def __call__(self, item: Item, data: bytes) -> Labelled:
        """Label the image whose file holds `data`."""
        seconds: dict[str, float] = {}
        try:
            with _timed(seconds, "decode"):
                image = decode(data, item.key)
        except ImageError as problem:
            return dataclasses.replace(unreadable(str(problem)), seconds=seconds)
        results = self._fit(image, seconds)
        exported = [result for result in results if self._is_exported(result)]
        files: dict[str, Mapping[str, bytes]] = {}
        if exported and self._spec.exporters:
            with _timed(seconds, "export"):
                for exporter in self._spec.exporters:
                    files[exporter.tar] = exporter(item, image, exported, self._model)
        best = next((result for result in results if result.status.usable), results[0])
        height, width = image.pixels.shape[:2]
        return Labelled(
            outcome=outcome_of(best.status),
            status=best.status.name,
            message=best.message,
            image={"width": width, "height": height, "orientation": image.orientation,
                   "faces_found": self._detector.found},
            faces=tuple(face_record(result, self._convention) for result in exported),
            seconds=seconds,
            files=files,
        )  # fmt: skip

    @property
    def _convention(self) -> str:
        return str(self._spec.options.landmark_convention or self._detector.landmark_convention)

    def _fit(self, image: LoadedImage, seconds: dict[str, float]) -> list[FitResult]:
        """Return a result for each face that is wanted, or the one that says that there is none."""
        options, detector = self._spec.options, self._detector
        started = time.perf_counter()
        if self._spec.all_faces:
            results = fit_faces(image, self._model, options=options, detector=detector)
        else:
            results = [fit(image, self._model, options=options, detector=detector)]
        whole = time.perf_counter() - started
        seconds["detection"] = detector.seconds
        for report in (report for result in results for report in result.stages):
            seconds[report.name] = seconds.get(report.name, 0.0) + report.seconds
        seconds["other"] = whole - sum(seconds[name] for name in seconds if name != "decode")
        return results or [FitResult(FitStatus.NO_FACE, FitStatus.NO_FACE.value)]

    def _is_exported(self, result: FitResult) -> bool:
        if self._spec.export_all:
            return result.box is not None
        return result.status.usable and (result.quality or 0.0) >= self._spec.min_quality

    def _warm_up(self) -> None:
        """Have every kernel compiled, or loaded, before the first image: a picture of the mean face is fitted."""
        model, side = self._model, 200
        camera = ScaledOrthographic(FRONTAL, np.full(2, side / 2.0), 1.0)
        drawn = make_renderer("numba").draw(camera, model.mean, model.triangles, side, side)
        picture = over(np.full((side, side, 3), 128, np.uint8), drawn)
        points = camera.project(model.landmark_positions(model.mean))[:, :2]
        self._detector.detect(picture)
        for convention in LandmarkConvention:
            options = dataclasses.replace(self._spec.options, landmark_convention=convention)
            result = fit(picture, model, landmarks=points, options=options)
            for exporter in self._spec.exporters:
                exporter(Item("", ""), LoadedImage(picture, "", "PNG", "RGB", 1, "none"), [result], model)


class _TimedDetector:
    """A detector that remembers how long it took last, and how many faces it found."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self.seconds, self.found = 0.0, 0

    @property
    def name(self) -> str:
        return self._detector.name

    @property
    def landmark_convention(self) -> LandmarkConvention:
        return self._detector.landmark_convention

    @property
    def landmark_sigma(self) -> NDArray[np.float64]:
        return self._detector.landmark_sigma

    @property
    def opening_correlation(self) -> float:
        return self._detector.opening_correlation

    def detect(self, image: Pixels) -> list[Detection]:
        started = time.perf_counter()
        faces = self._detector.detect(image)
        self.seconds, self.found = time.perf_counter() - started, len(faces)
        return faces


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[step] = time.perf_counter() - started
