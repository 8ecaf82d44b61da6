"""Bars and numbers: the strongest expressions by ARKit's names, the head's angles, frames per second, time by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...render.cameras import angles_from_rotation
from ...render.drawing import Colour
from .lettering import Lettering, Picture

if TYPE_CHECKING:
    from ...fitting.tracking import TrackedFace

ACCENT: Colour = (92, 200, 255)
TRACK: Colour = (70, 72, 78)  # of a bar: its whole length
FORGETTING = 0.93  # per frame, of how strong a unit was: bars do not change places at every frame


@dataclass(frozen=True)
class Figures:
    """What a run can say about its own speed."""

    rate: float = 0.0  # frames per second that are shown
    latency: float = 0.0  # s from capture to the end of drawing and writing
    steps: Mapping[str, float] = field(default_factory=dict)  # s by step
    dropped: int = 0  # frames that were late

    def lines(self) -> list[str]:
        """Return them as lines of text."""
        first = f"{self.rate:.0f} fps, latency {1e3 * self.latency:.0f} ms"
        if self.dropped:
            first += f", {self.dropped} dropped"
        steps = [f"{name} {1e3 * seconds:.1f}" for name, seconds in self.steps.items()]
        pairs = [", ".join(steps[k : k + 3]) for k in range(0, len(steps), 3)]
        return [first, *(f"{pair} ms" for pair in pairs)]


def angles_line(face: "TrackedFace") -> str:
    """Return the head's yaw, pitch and roll as a line of text; none where no camera was fitted."""
    if face.result.camera is None:
        return ""
    yaw, pitch, roll = (round(angle) for angle in angles_from_rotation(face.result.camera.rotation))
    return f"yaw {yaw:+d}°  pitch {pitch:+d}°  roll {roll:+d}°"


class Strongest:
    """Orders the units by how strong they were lately, so that bars do not flicker."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names` of the units."""
        self._names = tuple(names)
        self._strength = np.zeros(len(self._names))

    def of(self, weights: ArrayLike) -> list[tuple[str, float]]:
        """Return names and weights, the strongest first."""
        now = np.asarray(weights, np.float64)
        self._strength = np.maximum(FORGETTING * self._strength, np.abs(now))
        order = np.argsort(-np.round(self._strength, 1), kind="stable")
        return [(self._names[k], float(now[k])) for k in order]


def draw_bars(
    canvas: Picture,
    lettering: Lettering,
    weights: Sequence[tuple[str, float]],
    left: int,
    top: int,
    width: int,
) -> None:
    """Draw, per unit, its name, its weight at the right, and a bar below them."""
    bar = max(3, lettering.line // 5)
    for k, (name, weight) in enumerate(weights):
        y = top + k * (lettering.line + bar + 2)
        number = f"{weight:.2f}"
        room = width - lettering.width(number) - lettering.line // 2
        lettering.write(canvas, lettering.shortened(name, room), left, y)
        lettering.write(canvas, number, left + width - lettering.width(number), y)
        y += lettering.line
        _fill(canvas, left, y, width, bar, TRACK)
        _fill(canvas, left, y, round(width * min(abs(weight), 1.0)), bar, ACCENT)


def bars_height(lettering: Lettering, count: int) -> int:
    """Return the px that so many bars take."""
    return count * (lettering.line + max(3, lettering.line // 5) + 2)


def _fill(canvas: NDArray[np.uint8], left: int, top: int, width: int, height: int, colour: Colour) -> None:
    canvas[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)] = colour
