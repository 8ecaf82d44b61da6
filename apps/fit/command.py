"""`facefit fit`: photos in, fitted faces out.

Exit statuses: 0 every photo gave a usable fit; 3 at least one did not, the others are written; 2 the call itself was
wrong, and nothing was fitted: an unknown option or format, a model or landmark file that cannot be read, a folder that
cannot be written to, no photo there at all; or a file could not be written on the way, which ends the run with what is
written so far. One missing file among several is that photo's failure alone.
"""

import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...models.errors import ImageError, InvalidInputError
from ..choices import NO_USABLE_FIT, Convention

if TYPE_CHECKING:
    from rich.console import Console

    from ...fitting.options import FitOptions
    from ...models.morphable_model import MorphableModel
    from .job import Outcome, Tools

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".avif"})
"""Suffixes of the files that a folder stands for."""


class Faces(StrEnum):
    """Which faces of a photo to fit."""

    LARGEST = "largest"
    ALL = "all"


class RendererName(StrEnum):
    """What draws the picture."""

    AUTO = "auto"
    GL = "gl"
    NUMBA = "numba"


class ShadingName(StrEnum):
    """How the picture shows the geometry."""

    SH = "sh"
    PHONG = "phong"
    WIRE = "wire"


class TextureName(StrEnum):
    """Which colours meshes carry."""

    PHOTOGRAPHED = "photographed"
    ALBEDO = "albedo"
    NONE = "none"


FORMATS = (
    "npz", "obj", "glb", "glb-detail", "html", "camera", "png", "ply", "texture", "detail", "maps", "mat", "sheet",
    "turntable",
)  # fmt: skip
"""What `--formats` may name; exports.py tells the files of each."""

USUAL = "npz,obj,glb,html,camera,png"
"""Formats that are written unless the call names others."""

DETAILED = ("glb-detail", "detail")
"""Those of them that show what the detail stage finds, and are nothing without it."""

STAGES = "landmark,photometric,detail"
"""All stages, as `fitting.options.STAGES` names them."""


def fit(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Photos; a folder stands for the pictures in it.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Each photo gets a folder in it.")] = Path(
        "out"
    ),
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="A model in the store, or its file.")] = "default",
    landmarks: Annotated[
        Path | None, typer.Option(metavar="FILE", help="68 points (.pts, .json, .npy) of the one photo: no detector.")
    ] = None,
    landmark_convention: Annotated[
        Convention | None, typer.Option(help="What jaw points mean. Default: the detector's, semantic for a file.")
    ] = None,
    landmark_origin: Annotated[
        int | None, typer.Option(min=0, max=1, help="The file's coordinate of the first pixel's centre. Default: 0.")
    ] = None,
    landmark_sigma: Annotated[
        float | None, typer.Option(metavar="FLOAT", help="Noise of the points relative to the face's size, e.g. 0.02.")
    ] = None,
    stages: Annotated[str, typer.Option(metavar="NAMES", help="Stages to run: the first, two or all.")] = STAGES,
    faces: Annotated[Faces, typer.Option(help="Which faces of a photo to fit.")] = Faces.LARGEST,
    formats: Annotated[
        str, typer.Option(metavar="NAMES", help=f"Files to write, separated by commas: {', '.join(FORMATS)}.")
    ] = USUAL,
    texture: Annotated[
        TextureName, typer.Option(help="Colours of meshes: as photographed, or with the light taken out.")
    ] = TextureName.PHOTOGRAPHED,
    texture_size: Annotated[int, typer.Option(min=256, max=4096, metavar="TEXELS", help="Side of the texture.")] = 1024,
    detail_size: Annotated[
        int | None,
        typer.Option(min=64, max=1024, metavar="TEXELS", help="Side of the map of wrinkles' heights. Default: 256."),
    ] = None,
    turntable: Annotated[
        bool, typer.Option("--turntable", help="Write turntable.mp4 too: the head turns, then the light.")
    ] = False,
    relight: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Show the face under other lights: left,right,top,below,...")
    ] = None,
    expression: Annotated[
        str | None, typer.Option(metavar="WEIGHTS", help="Show another expression: jawOpen=0.6,eyeBlinkLeft=1")
    ] = None,
    view: Annotated[
        str | None, typer.Option(metavar="YAW[,PITCH]", help="Show the head turned, in degrees: view.png.")
    ] = None,
    renderer: Annotated[RendererName, typer.Option(help="What draws the picture.")] = RendererName.AUTO,
    shading: Annotated[
        ShadingName, typer.Option(help="The picture's geometry: diffuse, glossy, or its triangles' edges.")
    ] = ShadingName.SH,
    debug: Annotated[
        bool, typer.Option("--debug", help="Write the picture's panels too, each in the photo's resolution.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per face and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Fit a 3D face to each photo; write the mesh, a picture to judge it by, and the numbers.

    Exit status: 0 every photo gave a usable fit, 3 at least one did not, 2 the call was wrong.
    """
    started = time.perf_counter()
    photos = _photos(images)
    _check_landmark_options(photos, landmarks, landmark_origin, faces)
    asked = {"turntable": turntable, "relight": relight, "expression": expression, "view": view}
    wanted = (*_names("formats", formats, FORMATS), *(name for name, value in asked.items() if value))
    run = tuple(name.strip() for name in stages.split(","))
    _check_detail_options(run, wanted, detail_size)
    if landmark_sigma is not None and not 0.0 < landmark_sigma < math.inf:
        raise InvalidInputError(f"--landmark-sigma: expected a positive number, got {landmark_sigma}")

    from rich.console import Console

    from ...fitting.dlib_detector import DlibDetector
    from ...fitting.landmark_files import read_landmarks
    from ...fitting.texturing.options import TextureOptions
    from ...models.store import load_model
    from ...render.renderer import make_renderer
    from ..export.expressions import parse_expression
    from ..export.lights import LAMPS
    from .exports import Look
    from .job import Tools
    from .writers import output_folders, prepare_folder

    drawer = make_renderer(renderer)
    if shading not in drawer.shadings:
        raise InvalidInputError(f"--shading {shading}: expected the OpenGL renderer, got {drawer.name}")
    face_model, errors = load_model(model), Console(stderr=True)
    atlas = _has_atlas(face_model, () if texture is TextureName.NONE else wanted, run, errors)
    tools = Tools(
        model=face_model,
        detector=DlibDetector(),
        renderer=drawer,
        shading=shading.value,
        options=_options(run, atlas, landmark_convention, landmark_sigma, detail_size),
        landmarks=None if landmarks is None else read_landmarks(landmarks, landmark_origin),
        all_faces=faces is Faces.ALL,
        formats=wanted,
        debug=debug,
        look=Look(
            texture=TextureOptions(size=texture_size) if atlas and texture is not TextureName.NONE else None,
            delit=texture is TextureName.ALBEDO,
            lights=() if relight is None else _names("relight", relight, tuple(LAMPS)),
            expression={} if expression is None else parse_expression(expression, face_model),
            view=(0.0, 0.0) if view is None else _angles(view),
        ),
    )
    _check_model(face_model, wanted, errors)
    folders = output_folders(photos, out)
    for folder in folders:
        prepare_folder(folder)

    shared = {"start": time.perf_counter() - started}
    shared |= _compile(tools, errors, quiet or as_json)
    outcomes = list(_fit_all(photos, folders, tools, errors, progress=not (quiet or as_json), as_json=as_json))
    if not (quiet or as_json):
        _report(outcomes, shared)
    if not all(outcome.usable for outcome in outcomes):
        raise typer.Exit(NO_USABLE_FIT)


def _photos(images: Sequence[Path]) -> list[Path]:
    """Return the files that the arguments stand for, each once; ImageError where not one is there."""
    photos: list[Path] = []
    # os.path's questions, unlike Path's, answer False to a name that is too long or in a folder that is closed to us.
    for path in images:
        inside = sorted(_pictures(path)) if os.path.isdir(path) else []
        photos += inside or [path]
    photos = list(dict.fromkeys(photos))
    if not any(os.path.isfile(photo) for photo in photos):
        got = "a folder without pictures" if os.path.isdir(photos[0]) else "no such file"
        raise ImageError(f"{photos[0]}: expected a photo, got {got}")
    return photos


def _pictures(folder: Path) -> Iterable[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and path.name[0] != "."]
    except OSError as problem:
        raise ImageError(f"{folder}: expected a folder that can be read, got {problem.strerror or problem}") from None


def _names(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the names in a comma-separated list; InvalidInputError for an unknown one, or none at all."""
    names = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in known]:
        raise InvalidInputError(f"--{option}: expected one or more of {','.join(known)}, got {unknown[0]!r}")
    return names


def _angles(text: str) -> tuple[float, float]:
    """Return yaw and pitch, degrees, of a text like "40" or "40,-10"; InvalidInputError for another."""
    try:
        yaw, pitch = (float(number) for number in (text if "," in text else f"{text},0").split(","))
    except ValueError:
        yaw = pitch = math.nan
    if not (abs(yaw) <= 180.0 and abs(pitch) <= 90.0):
        raise InvalidInputError(f"--view: expected YAW or YAW,PITCH within 180 and 90 degrees, got {text!r}")
    return yaw, pitch


def _check_landmark_options(photos: Sequence[Path], landmarks: Path | None, origin: int | None, faces: Faces) -> None:
    """Refuse combinations in which an option would have no meaning."""
    if landmarks is None and origin is not None:
        raise InvalidInputError("--landmark-origin: expected --landmarks FILE beside it, got none")
    if landmarks is not None and len(photos) != 1:
        raise InvalidInputError(f"--landmarks: expected exactly one photo, got {len(photos)}")
    if landmarks is not None and faces is Faces.ALL:
        raise InvalidInputError("--faces all: expected a detector to find them, got --landmarks, which are one face's")


def _check_detail_options(stages: Sequence[str], formats: Sequence[str], size: int | None) -> None:
    """Refuse what only the detail stage can give, where it is not to run."""
    if "detail" in stages:
        return
    given = "" if size is None else "--detail-size"
    if missed := [name for name in DETAILED if name in formats]:
        given = f"--formats {missed[0]}"
    if given:
        raise InvalidInputError(f"{given}: expected --stages {STAGES}, got {','.join(stages)}")


def _options(
    stages: Sequence[str], atlas: bool, convention: Convention | None, sigma: float | None, size: int | None
) -> "FitOptions":
    """Return how faces are fitted; detail is left out where nothing could lay it out."""
    from ...fitting.detailing.options import DetailOptions
    from ...fitting.options import FitOptions

    detail = DetailOptions() if size is None else DetailOptions(size=size)
    options = FitOptions(tuple(stages), convention, sigma, detail=detail)
    return options if atlas else replace(options, stages=tuple(name for name in stages if name != "detail"))


def _check_model(model: "MorphableModel", formats: Sequence[str], errors: "Console") -> None:
    """Refuse a format that a model has not the layout for, and say where its licence keeps a file from being shared."""
    from ..export.glb import redistribution_warning
    from ..export.w300lp import require_300wlp_layout

    if "mat" in formats:
        require_300wlp_layout(model)
    if {"glb", "html"} & set(formats) and (warning := redistribution_warning(model)):
        errors.print(f"facefit: {warning}", markup=False, highlight=False, soft_wrap=True)


def _has_atlas(model: "MorphableModel", textured: Sequence[str], stages: Sequence[str], errors: "Console") -> bool:
    """Return whether a model has, or can be given, the texture coordinates that textures and detail are laid out by.

    Where it has not, and they are wanted, a line says what is left out.
    """
    from ...models.uv_atlas import has_own_atlas
    from .exports import TEXTURED

    if has_own_atlas(model) or find_spec("xatlas") is not None:
        return True
    wanted = {"textures": TEXTURED.intersection(textured), "detail": "detail" in stages}
    if left_out := [name for name, asked in wanted.items() if asked]:
        sentence = f"facefit: model {model.name!r} has no texture coordinates; pip install xatlas for "
        errors.print(sentence + " and ".join(left_out), markup=False, highlight=False, soft_wrap=True)
    return False


def _compile(tools: "Tools", errors: "Console", silent: bool) -> dict[str, float]:
    """Have the kernels compiled on the first run of all, and return the seconds under a name of their own.

    An empty file in Numba's cache folder tells later runs that nothing is left to compile.
    """
    cache = os.environ.get("NUMBA_CACHE_DIR", "")
    done = Path(cache) / "facefit-compiled"
    if not cache or os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0") or done.exists():
        return {}
    from .job import warm_up

    if not silent:
        errors.print("compiling kernels (first run on this machine; 20 to 30 s) ...", highlight=False)
    started = time.perf_counter()
    warm_up(tools)
    with suppress(OSError):  # a cache that cannot be written to only costs the next run this time again
        done.touch()
    return {"compile": time.perf_counter() - started}


def _fit_all(
    photos: Sequence[Path], folders: Sequence[Path], tools: "Tools", errors: "Console", *, progress: bool, as_json: bool
) -> "Iterator[Outcome]":
    """Fit photo after photo, telling of failures, and printing JSON where asked for, as they come."""
    from rich.progress import Progress

    from .job import fit_photo
    from .report import failures

    with Progress(
        console=errors, transient=True, disable=not (progress and errors.is_terminal and len(photos) > 1)
    ) as bar:
        task = bar.add_task("fitting", total=len(photos))
        for photo, folder in zip(photos, folders, strict=True):
            outcome = fit_photo(photo, folder, tools)
            for sentence in failures(outcome):
                errors.print(f"facefit: {sentence}", markup=False, highlight=False, soft_wrap=True)
            for summary in outcome.summaries if as_json else ():
                typer.echo(json.dumps(summary, allow_nan=False))
            yield outcome
            bar.advance(task)


def _report(outcomes: "Sequence[Outcome]", shared: dict[str, float]) -> None:
    from rich.console import Console

    from .report import print_photo, print_table

    console = Console() if Console().is_terminal else Console(width=120)
    if len(outcomes) == 1:
        print_photo(outcomes[0], shared, console)
    else:
        print_table(outcomes, console)
