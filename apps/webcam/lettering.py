"""Text on pictures that are drawn many times a second: each line is set once, by Pillow, and kept."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ...render.drawing import WHITE, Colour

Picture = NDArray[np.uint8]

KEPT = 1024  # lines of text


class Lettering:
    """One font in one size."""

    def __init__(self, size: float = 13.0) -> None:
        """`size`: px, the height of a line without its spacing."""
        self._font = ImageFont.load_default(size)
        self.line = round(1.35 * size)  # px from one line to the next
        self._coverage = lru_cache(KEPT)(self._set)

    def width(self, text: str) -> int:
        """Return how many px a line takes."""
        return self._coverage(text).shape[1]

    def shortened(self, text: str, room: int) -> str:
        """Return a line, cut in its middle where it would take more than `room` px."""
        kept = len(text)
        short = text
        while kept > 2 and self.width(short) > room:
            kept -= 1
            short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        return short

    def write(self, canvas: Picture, text: str, left: int, top: int, colour: Colour = WHITE) -> None:
        """Write a line onto a picture (H, W, 3), its upper left corner at (left, top) px; what lies outside is cut."""
        coverage = self._coverage(text)
        x0, y0 = max(left, 0), max(top, 0)
        part = canvas[y0 : max(0, top + coverage.shape[0]), x0 : max(0, left + coverage.shape[1])]
        alpha = coverage[y0 - top :, x0 - left :][: part.shape[0], : part.shape[1], None]
        part[:] = (part * (255 - alpha) + np.array(colour, np.uint32) * alpha + 127) // 255

    def _set(self, text: str) -> NDArray[np.uint32]:
        width = max(1, int(np.ceil(self._font.getlength(text))))
        image = Image.new("L", (width, self.line))
        ImageDraw.Draw(image).text((0, 0), text, fill=255, font=self._font)
        return np.asarray(image, np.uint32)


def darken(canvas: Picture, left: int, top: int, width: int, height: int, share: float = 0.55) -> None:
    """Darken a rectangle of a picture, so that text on it can be read whatever lies below."""
    part = canvas[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
    if part.size:
        part[:] = cv2.convertScaleAbs(part, alpha=1.0 - share)


def write_lines(
    canvas: Picture, lettering: Lettering, lines: Sequence[str], left: int, top: int, colour: Colour = WHITE
) -> None:
    """Write lines one below the other."""
    for k, line in enumerate(lines):
        lettering.write(canvas, line, left, top + k * lettering.line, colour)
