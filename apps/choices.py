"""What several commands have in common on the command line; no heavy imports, so that `--help` answers at once."""

from enum import StrEnum

NO_USABLE_FIT = 3
"""Exit status where some image gave no usable fit."""


class Convention(StrEnum):
    """What jaw points mean; the same names as `fitting.landmarks.LandmarkConvention`."""

    CONTOUR = "contour"
    SEMANTIC = "semantic"
