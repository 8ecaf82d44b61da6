"""Snapshots: a frame as a photo, fitted in full by `facefit fit` in a process of its own.

So that the live picture neither waits for it nor shares its fate.
"""

import subprocess
import sys
from pathlib import Path

from PIL import Image

from ...models.files import atomic_write
from .lettering import Picture

PATIENCE = 60.0  # s that the end of a run waits for a fit


class Snapshots:
    """Takes snapshots into a folder, and tells when they are fitted."""

    def __init__(self, folder: Path, model: str) -> None:
        """`model`: a name or path as `facefit fit` takes it."""
        self._folder, self._model = folder, model
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def take(self, picture: Picture) -> str:
        """Write a frame (H, W, 3) and begin to fit it; return what to tell. OutputError where it cannot be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            return f"no snapshot: {self._folder}: {problem.strerror}"
        photo = unused(self._folder / "snapshot.png")
        with atomic_write(photo) as file:
            Image.fromarray(picture).save(file, "PNG")
        command = [sys.executable, "-P", "-m", f"{__package__.rpartition('.')[0]}.main", "fit", str(photo), "-o",
                   str(self._folder), "--model", self._model, "--quiet"]  # fmt: skip
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._running.append((photo.stem, process))
        return f"fitting {photo.name} ..."

    def news(self) -> list[str]:
        """Return a sentence for each snapshot whose fit has ended since the last call."""
        told = []
        for name, process in tuple(self._running):
            if (status := process.poll()) is not None:
                self._running.remove((name, process))
                told.append(f"{self._folder / name} is fitted" if status == 0 else f"{name}: no usable fit")
        return told

    def finish(self) -> list[str]:
        """Wait until all are fitted, or end those that take too long; return as `news` does."""
        for _, process in self._running:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return self.news()


def unused(path: Path) -> Path:
    """Return a path beside `path` under whose name there is nothing yet: name-1.ending, name-2.ending, ..."""
    for number in range(1, 100_000):
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        if not candidate.exists() and not candidate.with_suffix("").exists():
            return candidate
    return path
