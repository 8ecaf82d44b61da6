"""`facefit fit` run inside the test's process, and what it left behind."""

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

ASTRONAUT = Path(__file__).resolve().parent.parent / "examples" / "astronaut.jpg"
ALL_FILES = {"fit.npz", "mesh.obj", "overlay.png", "summary.json"}


@dataclass(frozen=True)
class Run:
    status: int
    out: str
    err: str


def run(*arguments: object) -> Run:
    """Run `facefit fit` in this process, errors becoming exit statuses as in the console program."""
    from facefit.apps.main import main

    out, err = io.StringIO(), io.StringIO()
    argv = ["facefit", "fit", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            status = 0
        except SystemExit as stopped:
            status = int(stopped.code or 0)
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return Run(status, out.getvalue(), err.getvalue())


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def strict(text: str) -> Any:
    """Parse JSON in which NaN and Infinity are errors."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def summary(folder: Path) -> dict[str, Any]:
    return strict((folder / "summary.json").read_text())
