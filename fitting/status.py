"""The closed set of ways a fit can end."""

from enum import Enum


class FitStatus(Enum):
    """How a fit or one of its stages ended; the value is a sentence for people."""

    CONVERGED = "the fit converged"
    MAX_ITERATIONS = "the fit stopped at its limit of iterations, close to but not at the optimum"
    STALLED = "no step lowered the energy although the model still promised one; the last accepted state is kept"
    DIVERGED = "the energy is not finite; the last accepted state is kept"
    DEGENERATE = "the landmarks do not determine a face"
    NO_FACE = "no face was found in the image"
    BAD_INPUT = "the landmarks hold NaN, infinity or numbers too large to compute with"
    TIMEOUT = "the time limit was reached; the last accepted state is kept"

    @property
    def usable(self) -> bool:
        """Whether the fit may be used: it converged, or stopped close to it."""
        return self in (FitStatus.CONVERGED, FitStatus.MAX_ITERATIONS)
