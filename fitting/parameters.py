"""What a stage hands to the next: camera and coefficients."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..render.cameras import ScaledOrthographic

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FaceParameters:
    """Pose, identity and expression of one face."""

    camera: ScaledOrthographic
    identity: Array  # (K,) standard deviations
    expression: Array  # (E,) units
