"""What a run writes to or sends to: every frame that is shown goes to every sink, in order, from one thread."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from .frames import Frame

if TYPE_CHECKING:
    from ...fitting.tracking import TrackedFace


class Sink(Protocol):
    """Takes the run's frames one after another; what it wrote is complete once it is closed."""

    @property
    def wants_picture(self) -> bool:
        """Whether `write` needs the annotated picture, which costs milliseconds: it is drawn only when asked for."""

    def write(self, frame: Frame, faces: "Sequence[TrackedFace]", picture: NDArray[np.uint8] | None) -> None:
        """
        Take a frame and the faces in it (none: an empty sequence).

        `picture` is the annotated frame, (H, W, 3) uint8 RGB, or None if nobody wants one. An OutputError ends the run.
        """

    def close(self) -> None:
        """Finish: files appear under their names now. Called once, also after an error or an interruption."""
