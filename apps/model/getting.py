"""Getting a model of the catalogue: what it is, whether the user agrees, and the download into the user's folder."""

import sys
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from ...models.catalogue import CATALOGUE, CatalogueEntry, Download, find_entry
from ...models.downloads import fetch, sha256
from ...models.errors import InvalidInputError, ModelError
from ...models.store import EMBEDDED, how_to_get, models_folder
from .description import commercial_use


def get_model(name: str, *, agreed: bool) -> str:
    """Download the model `name` unless it is there already, asking first unless `agreed`; return what was done.

    InvalidInputError for a name that the catalogue lacks, and where nobody can be asked; ModelError where the model
    cannot be downloaded or the user declines.
    """
    if name in EMBEDDED:
        return f"model {name!r} ships with facefit"
    entry = find_entry(name)
    if entry is None:
        names = ", ".join((*EMBEDDED, *(each.name for each in CATALOGUE)))
        raise InvalidInputError(f"expected one of the models {names}, got {name!r}")
    if entry.download is None:
        raise ModelError(f"model {name!r} cannot be downloaded by facefit: {how_to_get(entry)}")
    target = models_folder() / f"{name}{entry.download.suffix}"
    if target.exists():
        return _already_there(entry.download, target)
    typer.echo(_terms(entry, entry.download, target))
    if not agreed:
        _ask(name)
    _fetch_showing_progress(entry.download, target)
    return f"wrote {target}"


def _terms(entry: CatalogueEntry, download: Download, target: Path) -> str:
    """Return what the user agrees to."""
    allowed = {True: "yes", False: "no", None: "unknown"}[commercial_use(entry.licence)]
    lines = [
        f"{entry.title}",
        f"  licence         {entry.licence}",
        f"  commercial use  {allowed}",
        f"  size            {download.size / 1e6:.1f} MB",
        f"  from            {download.url}",
        f"  to              {target}",
    ]
    return "\n".join(lines if entry.readable else [*lines, "  note            facefit cannot read it yet"])


def _ask(name: str) -> None:
    if not sys.stdin.isatty():
        raise InvalidInputError(f"model {name!r}: nobody is here to agree to its licence; --yes says that you do")
    if not typer.confirm("Download it under this licence?"):
        raise ModelError(f"model {name!r} was not downloaded, as you wish")


def _already_there(download: Download, target: Path) -> str:
    if sha256(target) != download.sha256:
        raise ModelError(f"{target}: expected SHA-256 {download.sha256}, got another file of this name; move it away")
    return f"{target} is already there"


def _fetch_showing_progress(download: Download, target: Path) -> None:
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=download.size)
        fetch(download, target, lambda received: bar.update(task, completed=received))
