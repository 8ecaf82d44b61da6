"""A fit's relief as images, for programs that put heights or normals on a mesh: mesh.obj's and mesh.glb's, by its map.

displacement    (S, S) 16 bit grey: 32768 + 3276.7 D for heights D in mm along the smooth normal, held to +-10 mm. In
                terms of a program that reads black as 0 and white as 1, a height is 20 mm (grey - 1/2). `zero` and
                `millimetres` (per step) stand in the file's text chunks.
normals         (S, S, 3) tangent space, +X along rising u, +Y along rising v (`fitting/detailing/relief.py`)
confidence      (S, S) 0-255: how well the photo itself shows a texel

Row 0 is the top, v = 1, as in the textures.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...fitting.detailing.relief import normal_map
from ...fitting.results import FitResult
from ...models.errors import InvalidInputError
from ...models.files import atomic_write
from .checks import encoded_png, fitted_face

ZERO = 32768
"""Grey value of no height."""

STEPS_PER_MM = 3276.7
"""Grey values of a millimetre: the range is 20 mm."""


def write_relief_maps(folder: str | Path, result: FitResult) -> tuple[Path, ...]:
    """Write displacement.png, normals.png and confidence.png into `folder`; return the files.

    Raises InvalidInputError for a result without detail, OutputError where a file cannot be written.
    """
    face = fitted_face(result)
    if result.detail is None:
        raise InvalidInputError("result: expected one with detail, got none: run the detail stage")
    contents = {
        "displacement.png": encoded_heights(result.detail.displacement),
        "normals.png": encoded_png(normal_map(result.detail, face.vertices, face.triangles)),
        "confidence.png": encoded_png(result.detail.confidence),
    }
    files = tuple(Path(folder) / name for name in contents)
    for file, content in zip(files, contents.values(), strict=True):
        with atomic_write(file) as stream:
            stream.write(content)
    return files


def encoded_heights(heights: NDArray[np.float32]) -> bytes:
    """Return heights (H, W), mm, as a 16-bit PNG (see the module's text)."""
    from PIL import Image, PngImagePlugin

    grey = np.clip(np.rint(ZERO + STEPS_PER_MM * heights.astype(np.float64)), 0, np.iinfo(np.uint16).max)
    texts = PngImagePlugin.PngInfo()
    texts.add_text("zero", repr(ZERO))
    texts.add_text("millimetres", repr(1.0 / STEPS_PER_MM))
    stream = io.BytesIO()
    Image.fromarray(grey.astype(np.uint16)).save(stream, "PNG", pnginfo=texts, compress_level=1)
    return stream.getvalue()
