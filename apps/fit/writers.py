"""The files of one photo, in a folder of its own.

    out/photo/          fit.npz  mesh.obj  overlay.png  ...  summary.json     the largest face: see exports.py
    out/photo/debug/    photo.png  rerendering.png  residual.png  ...   its panels one by one, where asked for
    out/photo/face-2/   the same                                         the next one, where all faces are fitted

A fit that cannot be used leaves its summary alone, which says why. Each file appears by rename; the summary goes first
and comes last, so where it stands, the files it names belong to it. What an earlier run wrote and this one does not
is removed: an old mesh must not pass for the new photo's. Nothing else in these folders is touched.
"""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.errors import OutputError
from ...models.files import atomic_write
from .exports import FILES, Face, write_exports
from .panels import PANELS
from .pngs import write_png

SUMMARY = "summary.json"
DEBUG = "debug"


def output_folders(photos: Sequence[Path], out: Path) -> list[Path]:
    """Return the folder of each photo: `out` and its name without suffix, and -2, -3, ... where that is taken.

    Names that differ in case alone count as the same, as they are on some file systems.
    """
    taken: set[str] = set()
    folders = []
    for photo in photos:
        stem = photo.stem.strip(". ") or "image"  # no name may lead out of the folder or hide in it
        names = [stem, *(f"{stem}-{k}" for k in range(2, len(photos) + 2))]
        name = next(name for name in names if name.casefold() not in taken)
        taken.add(name.casefold())
        folders.append(out / name)
    return folders


def prepare_folder(folder: Path) -> None:
    """Make a folder and try that files can be made in it; OutputError where they cannot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise OutputError(f"{folder}: cannot be written to ({problem.strerror or problem})") from None


def face_folder(folder: Path, face_index: int) -> Path:
    """Return the folder of a photo's face: its own for the largest, a sub-folder for each further one."""
    return folder if face_index == 0 else folder / f"face-{face_index + 1}"


def clear(folder: Path, faces: int) -> None:
    """Remove what an earlier run wrote of the faces beyond the first `faces`."""
    for inner in folder.glob("face-*"):
        number = re.fullmatch(r"face-([1-9]\d*)", inner.name)
        if number and int(number[1]) > max(faces, 1) and inner.is_dir() and not inner.is_symlink():
            _remove(inner, [SUMMARY])
            _remove_exports(inner, kept=())
            _remove_panels(inner, kept=())
            with suppress(OSError):  # it holds files that are not ours
                inner.rmdir()


def write_face(
    folder: Path, face: Face | None, formats: Sequence[str], panels: Mapping[str, NDArray[np.uint8]] | None = None
) -> list[str]:
    """Write the files of one face, except its summary, and return their names relative to `folder`.

    `face` is None where there is no usable fit; `panels` (S, S, 3) by name go to DEBUG. Raises OutputError where a file
    cannot be written.
    """
    prepare_folder(folder)
    _remove(folder, [SUMMARY])
    written = [] if face is None else write_exports(folder, face, formats)
    _remove_exports(folder, kept=written)
    panels = panels or {}
    _remove_panels(folder, kept=tuple(panels))
    if panels:
        prepare_folder(folder / DEBUG)
    for name, panel in panels.items():
        write_png(folder / DEBUG / f"{name}.png", panel)
    return [*written, *(f"{DEBUG}/{name}.png" for name in panels)]


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write the summary, of JSON types, whole or not at all."""
    with atomic_write(folder / SUMMARY) as file:
        file.write((json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())


def _remove_exports(folder: Path, kept: Sequence[str]) -> None:
    """Remove the exports of an earlier run but those of the given names, and folders of theirs that leaves empty."""
    names = [name for names in FILES.values() for name in names]
    inner = {parent for name in names if (parent := Path(name).parent) != Path()}
    linked = {parent for parent in inner if (folder / parent).is_symlink() or not (folder / parent).is_dir()}
    _remove(folder, [name for name in names if name not in kept and Path(name).parent not in linked])
    for parent in inner - linked:
        with suppress(OSError):  # it is not empty
            (folder / parent).rmdir()


def _remove_panels(folder: Path, kept: Sequence[str]) -> None:
    """Remove the panels of an earlier run but those of the given names, and their folder where that leaves it empty."""
    inner = folder / DEBUG
    if inner.is_dir() and not inner.is_symlink():
        _remove(inner, [f"{name}.png" for name in PANELS if name not in kept])
        with suppress(OSError):  # it is not empty
            inner.rmdir()


def _remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as problem:
            raise OutputError(f"{folder / name}: cannot be removed ({problem.strerror or problem})") from None
