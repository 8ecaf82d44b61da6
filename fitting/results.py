"""What a fit returns."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..render.cameras import Camera
from .detail_map import DetailMap
from .status import FitStatus

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StageReport:
    """What one stage did. Energies are in nats, by term."""

    name: str
    status: FitStatus
    iterations: int
    energy_before: dict[str, float]
    energy_after: dict[str, float]
    seconds: float


@dataclass(frozen=True, eq=False)
class FitResult:
    """One fitted face. Arrays are None where there is nothing to tell (no face, bad input), else finite."""

    status: FitStatus  # of the last accepted stage
    message: str  # one sentence
    camera: Camera | None = None
    identity: Array | None = None  # (K,) standard deviations
    expression: Array | None = None  # (E,) units of each coefficient
    albedo: Array | None = None  # (A,) standard deviations of the model's modes; None until a photometric stage ran
    reflectance: Array | None = None  # (N, 3) linear, 0-1, of each vertex: albedo and what is this face's alone
    lighting: Array | None = None  # (9, 3) spherical harmonics; None until a photometric stage ran
    identity_std: Array | None = None  # (K,) posterior standard deviations
    expression_std: Array | None = None  # (E,) posterior standard deviations, as if no bound were met
    landmarks: Array | None = None  # (68, 2) px, observed; one left out that was no number: the fitted one
    landmark_sigma: Array | None = None  # (68,) assumed noise relative to the face's size; inf: left out
    landmarks_fitted: Array | None = None  # (68, 2) px, the model's points as matched
    landmarks_semantic: Array | None = None  # (68, 2) px, the model's fixed points
    vertices: Array | None = None  # (N, 3) mm, model frame
    vertices_image: Array | None = None  # (N, 3) px, px and depth in mm
    triangles: NDArray[np.int32] | None = None  # (T, 3)
    box: Array | None = None  # (4,) px: x0, y0, x1, y1, the detector's, or the landmarks' own
    face_index: int = 0  # 0 is the largest face of the image
    detector: str | None = None  # what found the landmarks; None where they were given
    detector_score: float | None = None  # in the detector's own unit
    quality: float | None = None  # 0-1, the probability that the fit is within 3 % of the face's size; see quality.py
    detail: DetailMap | None = None  # None until a detail stage ran
    texture: Any = None  # None until a texture was made
    stages: tuple[StageReport, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)  # version, model, options, image; JSON types only

    @property
    def landmark_error(self) -> float | None:
        """RMS distance, px, of the observed points that took part from the model's points as matched."""
        if self.landmarks is None or self.landmarks_fitted is None or self.landmark_sigma is None:
            return None
        used = np.isfinite(self.landmark_sigma)
        return float(np.sqrt(((self.landmarks - self.landmarks_fitted)[used] ** 2).sum(axis=1).mean()))
