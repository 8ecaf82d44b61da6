"""Marks, text and panels on uint8 RGB images (H, W, 3), for pictures that let a person judge a fit.

Every function returns a new image. Positions are px with pixel (0, 0)'s centre at (0, 0), drawn anti-aliased to
1/256 px (OpenCV; text by Pillow); marks that are not finite or far outside the image are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from ..models.arrays import checked_array
from ..models.errors import InvalidInputError

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

WHITE: Colour = (245, 245, 245)
BACKGROUND: Colour = (38, 39, 42)

_SHIFT = 8  # OpenCV takes coordinates in 1/2^8 px
_FAR = 2.0**20  # px; beyond, OpenCV's fixed point would overflow


@dataclass(frozen=True, eq=False)
class Panel:
    """One cell of a montage."""

    image: Picture  # (H, W, 3) uint8 RGB
    caption: str = ""  # written above the image


def draw_points(image: ArrayLike, points: ArrayLike, colour: Colour, *, radius: float = 2.0) -> Picture:
    """Draw filled discs of `radius` px at points (K, 2) px."""
    canvas = _canvas(image)
    for centre in _drawable(points):
        cv2.circle(canvas, _fixed(centre), round(radius * 2**_SHIFT), colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    return canvas


def draw_polylines(
    image: ArrayLike, lines: Sequence[ArrayLike], colour: Colour, *, closed: bool = False, thickness: int = 1
) -> Picture:
    """Draw poly-lines, each (K, 2) px; segments with an end that cannot be drawn are left out."""
    canvas = _canvas(image)
    for line in lines:
        corners = checked_array("line", line, (None, 2), finite=False)
        ends = np.roll(corners, -1, axis=0) if closed else corners[1:]
        for start, end in zip(corners, ends, strict=False):
            if len(_drawable([start, end])) == 2:
                cv2.line(canvas, _fixed(start), _fixed(end), colour, thickness, cv2.LINE_AA, _SHIFT)
    return canvas


def draw_label(
    image: ArrayLike, text: str, position: tuple[float, float], colour: Colour = WHITE, *, size: float = 14.0
) -> Picture:
    """Write `text`, `size` px high, its upper left corner at `position` (x, y) px."""
    picture = Image.fromarray(_canvas(image))
    ImageDraw.Draw(picture).text(position, text, fill=colour, font=ImageFont.load_default(size))
    return np.array(picture)


def montage(
    panels: Sequence[Panel], columns: int, *, gap: int = 12, caption_size: int = 15, background: Colour = BACKGROUND
) -> Picture:
    """Lay panels out row by row, `columns` to a row, captions above; each cell has the largest panel's size.

    `gap` and `caption_size` are px. A caption is one line and ends where the next column begins. Raises
    InvalidInputError without panels or columns.
    """
    if not panels or columns < 1:
        raise InvalidInputError(f"montage: expected a panel and a column at least, got {len(panels)} and {columns}")
    images = [_canvas(panel.image) for panel in panels]
    cell_height = max(image.shape[0] for image in images)
    cell_width = max(image.shape[1] for image in images)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    header = 2 * caption_size if any(panel.caption for panel in panels) else 0
    shape = (gap + rows * (header + cell_height + gap), gap + columns * (cell_width + gap), 3)
    sheet = np.full(shape, background, np.uint8)
    for i, image in enumerate(images):
        left = gap + (i % columns) * (cell_width + gap)
        top = gap + (i // columns) * (header + cell_height + gap)
        if caption := " ".join(panels[i].caption.split()):
            strip = sheet[top : top + header, left : left + cell_width + gap]
            strip[:] = draw_label(strip, caption, (0.0, 0.3 * caption_size), size=caption_size)
        y = top + header + (cell_height - image.shape[0]) // 2
        x = left + (cell_width - image.shape[1]) // 2
        sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
    return sheet


def _canvas(image: ArrayLike) -> Picture:
    """Return a copy of an image to draw on."""
    given = np.asarray(image)
    if given.ndim != 3 or given.shape[2] != 3 or 0 in given.shape or given.dtype != np.uint8:
        raise InvalidInputError(f"image: expected (H, W, 3) uint8, got {given.shape} {given.dtype}")
    return np.array(given, order="C")


def _drawable(points: ArrayLike) -> NDArray[np.float64]:
    given = checked_array("points", points, (None, 2), finite=False)
    return given[(np.abs(given) < _FAR).all(axis=1)]


def _fixed(point: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.rint(point * 2**_SHIFT).astype(int)
    return int(x), int(y)
