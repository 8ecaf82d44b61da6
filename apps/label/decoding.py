"""Decode a picture whose file's bytes are at hand, wherever they came from.

`load_image` reads files by their path. On Linux the bytes get one that exists in memory alone, and ends with the
process however that ends; elsewhere a temporary file.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ...fitting.images import LoadedImage, load_image
from ...models.errors import ImageError, MissingDependencyError

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def decode(data: bytes, key: str) -> LoadedImage:
    """Return the picture in a file's bytes, with `key` for its path.

    Raises ImageError for what is no picture or a damaged one; its text is the same for the same bytes.
    """
    with _as_file(data) as path:
        try:
            return replace(load_image(path), path=key)
        except (ImageError, MissingDependencyError) as problem:
            text = str(problem).removeprefix(f"{path}: ").replace(path, key)
            raise ImageError(_ADDRESS.sub("", text)) from None


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Yield a path under which the bytes can be read."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("facefit")
        try:
            with open(number, "wb", closefd=False) as file:
                file.write(data)
            yield f"/proc/self/fd/{number}"
        finally:
            os.close(number)
        return
    number, path = tempfile.mkstemp(prefix="facefit-")
    try:
        with open(number, "wb") as file:
            file.write(data)
        yield path
    finally:
        os.unlink(path)
