"""The command line run inside the test's process, and what `facefit fit` left behind."""

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

ASTRONAUT = Path(__file__).resolve().parent.parent / "examples" / "astronaut.jpg"
ALL_FILES = {
    "fit.npz", "mesh.obj", "mesh.mtl", "texture.png", "mesh.glb", "viewer.html", "camera.json", "overlay.png",
    "summary.json",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    status: int
    out: str
    err: str


def call(*arguments: object) -> Run:
    """Run `facefit` in this process, errors becoming exit statuses as in the console program."""
    from facefit.apps.main import main

    out, err = io.StringIO(), io.StringIO()
    argv = ["facefit", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            status = 0
        except SystemExit as stopped:
            status = int(stopped.code or 0)
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return Run(status, out.getvalue(), err.getvalue())


def run(*arguments: object, compiled: bool = True) -> Run:
    """Run `facefit fit` in this process.

    `compiled`: as on a machine where it ran before, so that no line tells of the first run's compilation.
    """
    from facefit.apps.fit import command

    told = mock.patch.object(command, "_compile", return_value={}) if compiled else contextlib.nullcontext()
    with told:
        return call("fit", *arguments)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def strict(text: str) -> Any:
    """Parse JSON in which NaN and Infinity are errors."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def summary(folder: Path) -> dict[str, Any]:
    return strict((folder / "summary.json").read_text())
