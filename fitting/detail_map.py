"""What the detail stage finds: heights over the fitted surface, and how they go with the expression."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..models.morphable_model import UVMap

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DetailMap:
    """Heights of S x S texels along the fitted surface's smooth normal, row 0 at the top (v = 1).

    They are the sum of the person's own and of what the expression adds, which grows with the compression c that the
    expression puts on the surface (`detailing/compression.py`) until that reaches `compression`:

        displacement = person + dynamic min(c / compression, 1)
    """

    displacement: Floats  # (S, S) mm, at the expression of the result that holds them
    coverage: NDArray[np.bool_]  # (S, S) whether a photo, or its mirror image, tells of a texel
    confidence: NDArray[np.uint8]  # (S, S) 0-255: how well a photo itself shows a texel
    person: Floats  # (S, S) mm, the part that no expression changes
    dynamic: Floats  # (S, S) mm, the part that comes with compression, in full
    compression: Floats  # (S, S) share of its length by which the surface is compressed where that part is in full
    guessed: bool  # whether the split is a guess: one photo cannot tell it
    uv: UVMap  # the model's, or the atlas made for it

    @classmethod
    def unsplit(
        cls, heights: Floats, coverage: NDArray[np.bool_], confidence: NDArray[np.uint8], uv: UVMap
    ) -> "DetailMap":
        """Return heights (S, S) mm that are taken for the person's own."""
        nothing = np.zeros_like(heights)
        return cls(heights, coverage, confidence, heights, nothing, nothing, True, uv)

    @property
    def size(self) -> int:
        """S, texels per side."""
        return self.displacement.shape[0]

    def split(self, dynamic: Floats, compression: Floats) -> "DetailMap":
        """Return the map with some of its heights, `dynamic` (S, S) mm, taken to come with its compression (S, S)."""
        person = self.displacement - dynamic
        parts = replace(self, person=person, dynamic=dynamic, compression=compression)
        return parts.compressed_by(compression)

    def compressed_by(self, compression: Floats) -> "DetailMap":
        """Return the map with the heights of a surface that is compressed by (S, S)."""
        return replace(self, displacement=self.person + self.dynamic * share_of(compression, self.compression))


def share_of(compression: Floats, full: Floats) -> Floats:
    """Return min(compression / full, 1), (S, S), and 0 where `full` is."""
    compressed = full > 0.0
    share = np.zeros_like(full)
    np.divide(compression, full, out=share, where=compressed)
    return np.minimum(share, np.float32(1.0))
