"""`facefit label`: a folder of photos in, a dataset of pseudo-labels out.

Exit statuses: 0 every image has a usable fit; 3 at least one has not, or a source could not be looked at in full; 2 the
call was wrong, or a file could not be written: what is finished stays, and the same call goes on from there; 130
interrupted.

At the end, report.html shows a person what the dataset holds; `--report-only` makes it of a finished one.
"""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...models.errors import InvalidInputError
from ..choices import NO_USABLE_FIT
from ..fit.command import Faces

if TYPE_CHECKING:
    from .fitter import Exporter

INTERRUPTED = 130

STAGES = "landmark,photometric"
"""Stages that run unless the call names others: all whose outcome is a row's."""


class Export(StrEnum):
    """Which faces get a row."""

    USABLE = "usable"
    ALL = "all"


def label(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DATASET", help="The dataset's folder.")],
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGES...", help="Folders, pictures, .txt lists, 'patterns', .tar or .parquet files."),
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="A model in the store, or its file.")] = "default",
    stages: Annotated[str, typer.Option(metavar="NAMES", help="Stages to run, separated by commas.")] = STAGES,
    faces: Annotated[Faces, typer.Option(help="Which faces of an image to fit.")] = Faces.LARGEST,
    min_quality: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="0-1", help="Export only faces of at least this quality.")
    ] = 0.0,
    export: Annotated[Export, typer.Option(help="Which faces to export.")] = Export.USABLE,
    maps: Annotated[bool, typer.Option("--maps", help="Also write crops, depth, normals, masks, textures.")] = False,
    map_size: Annotated[
        int | None, typer.Option(metavar="PX", help="With --maps: sides of the crop and its maps. Default: 256.")
    ] = None,
    mat: Annotated[bool, typer.Option("--mat", help="Also write 300W-LP's .mat (Basel Face Model 2009).")] = False,
    image_column: Annotated[str, typer.Option(metavar="NAME", help="Parquet: the column of images.")] = "image",
    key_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Parquet: the column of keys. Default: rows are numbered.")
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, metavar="N", help="Images per shard.")] = 500,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop at this many images; a later run goes on.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Worker processes. Default: one per core.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Time that one image may take.")] = 60.0,
    memory: Annotated[float, typer.Option(min=0.1, metavar="GB", help="Memory that one worker may take.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random; the same one gives the same records.")] = 0,
    report: Annotated[bool, typer.Option(help="Write report.html at the end.")] = True,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Write report.html of a dataset that is there, and nothing else.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the final counts as JSON and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Fit the faces of many photos into a dataset: Parquet tables of landmarks, cameras and coefficients.

    The same call goes on where an earlier one stopped, however it stopped.

    Exit status: 0 every image has a usable fit, 3 at least one has not, 2 the call was wrong or a file could not be
    written, 130 interrupted.
    """
    from .arrow import pyarrow
    from .sources import Columns, Sources

    pyarrow("parquet")
    if report_only:
        return _report_only(out, images or [])
    sources = Sources(images or [], Columns(image_column, key_column), skip=out)

    from rich.console import Console

    from ...fitting.options import FitOptions
    from .fitter import make_spec
    from .local_engine import LocalEngine
    from .progress import ConsoleReporter, Silent, shown
    from .run import RunOptions
    from .run import label as run

    spec = make_spec(
        model, FitOptions(stages=tuple(name.strip() for name in stages.split(","))), seed=seed,
        all_faces=faces is Faces.ALL, export_all=export is Export.ALL, min_quality=min_quality,
        exporters=_exporters(model, maps, map_size, mat),
    )  # fmt: skip
    engine = LocalEngine(workers=workers or _cores(), timeout=timeout, memory=1e9 * memory)
    if quiet:
        summary = run(sources, out, spec, engine, RunOptions(shard_size, limit), Silent())
    else:
        with ConsoleReporter(Console(stderr=True), progress=not as_json) as reporter:
            summary = run(sources, out, spec, engine, RunOptions(shard_size, limit), reporter)
    if report and not (summary.interrupted and not summary.complete):
        from .report import write_report

        write_report(out)
    if as_json:
        typer.echo(json.dumps(summary.as_json()))
    elif not quiet:
        typer.echo(f"{summary.counts.images:,} of {summary.planned:,} images in {out}: {shown(summary.counts)}")
    if summary.interrupted and not summary.complete:
        raise typer.Exit(INTERRUPTED)
    if summary.counts.ok < summary.planned or summary.unread:
        raise typer.Exit(NO_USABLE_FIT)


def _report_only(out: Path, images: list[str]) -> None:
    """Write the report of a dataset, and say where it is."""
    from .report import write_report

    if images:
        raise InvalidInputError(f"--report-only: expected a dataset alone (-o), got images as well: {images[0]}")
    typer.echo(str(write_report(out)))


def _exporters(model: str, maps: bool, map_size: int | None, mat: bool) -> "list[Exporter]":
    """Return what the call wants besides the records."""
    from .maps import DEFAULT_SIZE, MapsExporter
    from .mats import mat_exporter

    if map_size is not None and not maps:
        raise InvalidInputError("--map-size: expected --maps with it, got none")
    found: list[Exporter] = [MapsExporter(DEFAULT_SIZE if map_size is None else map_size)] if maps else []
    return [*found, mat_exporter(model)] if mat else found


def _cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
