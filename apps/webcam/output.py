"""What the run's files and streams share: a file that appears whole at the end, and whom to tell a sentence."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from ...models.errors import InvalidInputError
from ...models.files import atomic_write

Say = Callable[[str], None]
"""Takes one sentence for the person who runs the command."""


def to_stderr(sentence: str) -> None:
    """Tell a sentence on a line of its own."""
    print(sentence, file=sys.stderr)


class PendingFile:
    """A file that is written during a run and gets its name at the end, or never.

    It is opened at once, under a hidden name beside its own, so that a folder that cannot be written to is found before
    the run and not after it.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the file; OutputError where it cannot be made."""
        self._stack = ExitStack()
        self.file: IO[bytes] = self._stack.enter_context(atomic_write(path))

    @property
    def hidden(self) -> Path:
        """Where the content lies until it gets its name."""
        return Path(self.file.name)

    def __enter__(self) -> IO[bytes]:
        return self.file

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: Any) -> None:
        """Give the file its name, or after an error leave none; an OSError becomes an OutputError."""
        self._stack.__exit__(kind, problem, trace)

    def keep(self) -> None:
        """Give the file its name; OutputError where that fails."""
        self._stack.close()

    def discard(self) -> None:
        """Remove the file; what stood under its name before stays."""
        self._stack.__exit__(_UnwantedError, _UnwantedError(), None)


class _UnwantedError(Exception):
    """Makes `atomic_write` leave nothing behind."""


def checked_ending(path: str | Path, *endings: str) -> Path:
    """Return the path, or raise InvalidInputError where its name has none of the endings."""
    file = Path(path)
    if file.suffix.lower() not in endings:
        raise InvalidInputError(f"{file}: expected a name that ends in {' or '.join(endings)}, got {file.name!r}")
    return file
