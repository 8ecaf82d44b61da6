"""`facefit evaluate`: fits measured against ground truth, and a surface against a scan."""

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...models.errors import InvalidInputError, OutputError
from ..choices import NO_USABLE_FIT, Convention

if TYPE_CHECKING:
    from .datasets import Sample
    from .evaluation import Evaluation

app = typer.Typer(help="Measure fits against ground truth.", no_args_is_help=True, add_completion=False)


class SyntheticLandmarks(StrEnum):
    """Which points to fit on rendered heads."""

    EXACT = "exact"
    NOISY = "noisy"
    DETECTED = "detected"


class PhotoLandmarks(StrEnum):
    """Which points to fit on photos."""

    GIVEN = "given"
    DETECTED = "detected"


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of images and ground truth.")]
Model = Annotated[str, typer.Option("--model", help="Name of a model in the store, or a path.")]
Sigma = Annotated[
    float | None,
    typer.Option("--sigma", help="Landmark noise relative to the face's size, e.g. 0.01; default: the fit's own."),
]
ConventionOption = Annotated[
    Convention | None,
    typer.Option("--convention", help="What jaw points mean; default: semantic if given, the detector's if detected."),
]
Stages = Annotated[
    str | None,
    typer.Option("--stages", metavar="NAMES", help="Stages to run, separated by commas; default: the fit's own."),
]
Compare = Annotated[
    bool, typer.Option("--compare", help="Also fit each image with the landmark stage alone, from the same points.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Use the first images only.")]


def _in_a_folder(path: Path | None) -> Path | None:
    """Refuse a file that could not be written before minutes are spent on what it is to hold."""
    if path is not None and not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written (no such folder)")
    return path


Csv = Annotated[
    Path | None,
    typer.Option("--csv", callback=_in_a_folder, help="Also write one row per image and method to this file."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


@app.command()
def synthetic(
    folder: Folder,
    model: Model = "default",
    landmarks: Annotated[SyntheticLandmarks, typer.Option(help="Points to fit.")] = SyntheticLandmarks.EXACT,
    sigma: Sigma = None,
    convention: ConventionOption = None,
    stages: Stages = None,
    compare: Compare = False,
    limit: Limit = None,
    csv: Csv = None,
    as_json: Json = False,
) -> None:
    """Rendered heads with exact geometry: landmarks, and scan-to-mesh distance of the face without expression."""
    from ...models.store import load_model
    from .evaluators import evaluate_synthetic

    evaluation = evaluate_synthetic(
        folder,
        load_model(model),
        landmarks=landmarks,
        options=_asked(sigma, convention, stages),
        compare=compare,
        limit=limit,
        track=_track,
    )
    _finish(evaluation, csv, as_json)


@app.command()
def aflw2000(
    folder: Folder,
    model: Model = "default",
    landmarks: Annotated[PhotoLandmarks, typer.Option(help="Points to fit.")] = PhotoLandmarks.GIVEN,
    half: Annotated[bool, typer.Option("--half", help="Fit the even points and score the odd ones.")] = False,
    sigma: Sigma = None,
    convention: ConventionOption = None,
    stages: Stages = None,
    compare: Compare = False,
    limit: Limit = None,
    csv: Csv = None,
    as_json: Json = False,
) -> None:
    """Photos of AFLW2000-3D: landmarks against the semantic truth, by yaw."""
    from ...models.store import load_model
    from .evaluators import evaluate_aflw2000

    evaluation = evaluate_aflw2000(
        folder,
        load_model(model),
        landmarks=landmarks,
        half=half,
        options=_asked(sigma, convention, stages),
        compare=compare,
        limit=limit,
        track=_track,
    )
    _finish(evaluation, csv, as_json)


@app.command()
def clip(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A rendered clip; its truth is the .npz beside it.")],
    model: Model = "default",
    step: Annotated[int, typer.Option("--step", min=1, help="Take every STEP-th frame.")] = 1,
    sigma: Sigma = None,
    convention: ConventionOption = None,
    stages: Stages = None,
    compare: Compare = False,
    limit: Limit = None,
    csv: Csv = None,
    as_json: Json = False,
) -> None:
    """Frames of a clip, one by one, from detected points: landmarks, and the closure of each eye against the truth."""
    from ...models.store import load_model
    from .evaluators import evaluate_clip

    evaluation = evaluate_clip(
        video,
        load_model(model),
        step=step,
        options=_asked(sigma, convention, stages),
        compare=compare,
        limit=limit,
        track=_track,
    )
    _finish(evaluation, csv, as_json)


@app.command()
def scan(
    scan: Annotated[Path, typer.Argument(metavar="A", help="The true surface: vertices in mm (.obj, .npz, .npy).")],
    mesh: Annotated[Path, typer.Argument(metavar="B", help="The predicted surface: a triangle mesh (.obj, .npz).")],
    align: Annotated[
        bool, typer.Option(help="Move and scale B onto A by ICP first; they must lie roughly alike already.")
    ] = True,
    as_json: Json = False,
) -> None:
    """How far the vertices of A lie from the surface B."""
    import numpy as np

    from .meshes import read_mesh
    from .scan import IDENTITY, align_icp, scan_to_surface
    from .surface import Surface

    points, _ = read_mesh(scan)
    vertices, triangles = read_mesh(mesh)
    if not len(triangles):
        raise InvalidInputError(f"{mesh}: expected a surface, got points without triangles")
    surface = Surface(vertices, triangles)
    alignment = align_icp(points, surface) if align else None
    distances = scan_to_surface(points, surface, alignment.similarity if alignment else IDENTITY)
    figures = {
        "points": len(points),
        "median_mm": float(np.median(distances)),
        "mean_mm": float(np.mean(distances)),
        "p95_mm": float(np.quantile(distances, 0.95)),
        "max_mm": float(distances.max()),
        "scale": alignment.similarity.scale if alignment else 1.0,
        "converged": alignment.converged if alignment else True,
    }
    lines = (f"{name:<10} {value if isinstance(value, bool) else f'{value:.6g}'}" for name, value in figures.items())
    typer.echo(json.dumps(figures) if as_json else "\n".join(lines))


def _asked(sigma: float | None, convention: Convention | None, stages: str | None) -> dict[str, Any]:
    """Return the fields of FitOptions that were asked for; the others keep their defaults."""
    names = None if stages is None else tuple(name.strip() for name in stages.split(","))
    asked = {"landmark_sigma": sigma, "landmark_convention": convention, "stages": names}
    return {name: value for name, value in asked.items() if value is not None}


def _track(samples: "Sequence[Sample]") -> "Iterable[Sample]":
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(samples, "evaluating", console=console, transient=True, disable=not console.is_terminal)


def _finish(evaluation: "Evaluation", csv: Path | None, as_json: bool) -> None:
    from . import report

    typer.echo(report.as_json(evaluation) if as_json else report.as_text(evaluation))
    if csv is not None:
        report.write_csv(csv, evaluation)
    if evaluation.unscored:
        raise typer.Exit(NO_USABLE_FIT)
