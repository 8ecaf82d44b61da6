"""Pictures as files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...models.files import atomic_write

PNG_LEVEL = 2  # zlib's: the picture is written several times as fast as at 6, and is a few per cent larger


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey, uint8, whole or not at all."""
    with atomic_write(path) as file:
        Image.fromarray(picture).save(file, format="PNG", compress_level=PNG_LEVEL)
