"""What a caller may choose. Frozen; unknown names raise; every field is honoured."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from numpy.typing import ArrayLike

from ..models.errors import InvalidInputError
from .detailing.options import DetailOptions
from .landmark_noise import LandmarkNoise, expand_sigma
from .landmark_stage import LandmarkStageOptions
from .landmarks import LandmarkConvention
from .photometric.options import PhotometricOptions

STAGES = ("landmark", "photometric", "detail")
"""The stages that exist, in the order in which they run."""


_PARTS = {"landmark": LandmarkStageOptions, "photometric": PhotometricOptions, "detail": DetailOptions}


@dataclass(frozen=True)
class FitOptions:
    """How to fit one face."""

    stages: tuple[str, ...] = STAGES[:2]  # which of STAGES to run, in their order; without an image the first alone
    landmark_convention: LandmarkConvention | str | None = None
    # What a jaw point means; None: the detector's own, or semantic for landmarks that are given.
    landmark_sigma: float | ArrayLike | None = None
    # Standard deviation of the landmarks relative to the face's size, one number or (68,); inf leaves a point out.
    # None: the detector's own, or for landmarks that are given the model's, or GIVEN_SIGMA where it has none.
    opening_correlation: float | None = None
    # Correlation of the errors of the two points of an eyelid or lip pair, 0 to 1; None: the detector's own, or 0.
    max_seconds: float | None = None  # for all stages of one call; past it the fit ends with status TIMEOUT
    landmark: LandmarkStageOptions = field(default_factory=LandmarkStageOptions)
    photometric: PhotometricOptions = field(default_factory=PhotometricOptions)
    detail: DetailOptions = field(default_factory=DetailOptions)

    def __post_init__(self) -> None:
        """Refuse unknown stages and conventions, and impossible noise and limits."""
        stages = tuple(self.stages) if isinstance(self.stages, Iterable) else (self.stages,)
        if not stages or stages != STAGES[: len(stages)]:
            known = " or ".join(",".join(STAGES[: n + 1]) for n in range(len(STAGES)))
            raise InvalidInputError(f"stages: expected {known}, got {','.join(map(str, stages))}")
        object.__setattr__(self, "stages", stages)
        sigma = 1.0 if self.landmark_sigma is None else self.landmark_sigma
        LandmarkNoise(expand_sigma(sigma), self.opening_correlation or 0.0)
        if self.landmark_convention is not None:
            names = [str(c) for c in LandmarkConvention]
            if self.landmark_convention not in names:
                got = repr(self.landmark_convention)
                raise InvalidInputError(f"landmark_convention: expected {' or '.join(names)}, got {got}")
            object.__setattr__(self, "landmark_convention", LandmarkConvention(self.landmark_convention))
        if self.max_seconds is not None and not self.max_seconds > 0.0:
            raise InvalidInputError(f"max_seconds: expected a positive number, got {self.max_seconds}")
        for name, kind in _PARTS.items():
            if not isinstance(value := getattr(self, name), kind):
                raise InvalidInputError(f"{name}: expected {kind.__name__}, got {type(value).__name__}")
