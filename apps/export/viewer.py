"""viewer.html: the head in a page that turns it, moves its expression and its light, from disk and without a network.

The page is page/template.html with four things put in: the title, the script page/viewer.bundle.js (three.js and
page/viewer.js in one classic script, since pages from disk cannot load modules; `make viewer` builds it), and the
model, a binary glTF, as base64 text. A content security policy in the page forbids it any connection.

What the page shows it takes from the GLB alone: `mesh.extras.targetNames` name the sliders, the mesh's weights are the
fitted expression, `asset.copyright` is the text at the bottom.
"""

import base64
import html
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from ...models.errors import InvalidInputError
from ...models.files import atomic_write

MAGIC = b"glTF"
"""What a binary glTF begins with."""


def write_viewer(path: str | Path, glb: bytes, title: str = "facefit") -> None:
    """Write the page that shows a binary glTF under a title, one file that needs no other (about 0.65 MB more than 4/3
    of the GLB).

    The GLB must carry its own textures. Raises InvalidInputError for bytes that are no GLB, OutputError where the file
    cannot be written.
    """
    page = viewer_page(glb, title).encode("utf-8")
    with atomic_write(path) as file:
        file.write(page)


def viewer_page(glb: bytes, title: str = "facefit") -> str:
    """Return the text of the page (see `write_viewer`)."""
    if bytes(glb[:4]) != MAGIC:
        raise InvalidInputError(f"glb: expected a binary glTF, which begins with {MAGIC!r}, got {bytes(glb[:4])!r}")
    parts = {
        "title": html.escape(" ".join(title.split())),
        "model": base64.b64encode(glb).decode("ascii"),
        "script": _part("viewer.bundle.js"),
    }
    # One pass: what is put in is not searched for further places.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _part("template.html"))


@cache
def _part(name: str) -> str:
    """Return the text of a file of the folder page/."""
    return files(__package__).joinpath("page", name).read_text(encoding="utf-8")
