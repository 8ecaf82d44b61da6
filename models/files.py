"""Files that appear whole or not at all: written beside their target, then renamed over it."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import OutputError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[bytes]]:
    """Yield a binary file that becomes `path` when the block ends well; on any error nothing is left behind.

    OutputError where the folder does not exist, cannot be written to, or the disk is full.
    """
    target = Path(path)
    if not target.name or "\0" in target.name:
        raise OutputError(f"{str(path)!r}: expected the name of a file to write, got none that can be one")
    partial = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.tmp")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(target)
    except OSError as problem:
        raise OutputError(f"{target}: cannot be written ({problem.strerror or problem})") from None
    finally:
        with suppress(OSError):  # it was renamed, or could never be made
            partial.unlink()
