"""Light to put a fitted face under: distant lamps over ambient light, as spherical harmonics, by name.

A lamp from direction d over ambient light of share a, both white (see render/spherical_harmonics.py):

    light = e (a sqrt(4 pi) e_0 + (1 - a) pi (Y_0(d), ..., Y_8(d)))

so that a white surface that faces the lamp sends out about e. The exposure e of a named light can be taken from another
light: then a white ball is, in its picture's mean, as bright under the one as under the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...models.arrays import checked_array
from ...models.errors import InvalidInputError
from ...render.normals import normalised
from ...render.spherical_harmonics import FACTORS, LAMBERT, basis

Array = NDArray[np.float64]

LUMA = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709
AMBIENT = np.sqrt(4.0 * np.pi) * np.eye(9, 1) @ np.ones((1, 3))
"""White light (9, 3) from everywhere: radiance = reflectance."""


@dataclass(frozen=True)
class Lamp:
    """White light: a distant lamp over ambient light."""

    direction: tuple[float, float, float]  # towards the lamp, camera frame (x right, y down, z away); any length
    ambient: float  # 0-1, its share of the light on a surface that faces the lamp

    def harmonics(self, exposure: float = 1.0) -> Array:
        """Return the light (9, 3); a white surface that faces the lamp sends out about `exposure`."""
        direction = normalised(checked_array("direction", self.direction, (3,)))
        lamp = np.pi * (1.0 - self.ambient) * basis(direction) / LAMBERT
        return exposure * (self.ambient * AMBIENT + lamp[:, None])


LAMPS: Mapping[str, Lamp] = {
    "left": Lamp((-0.85, -0.25, -0.50), 0.25),
    "right": Lamp((0.85, -0.25, -0.50), 0.25),
    "top": Lamp((0.0, -0.90, -0.50), 0.25),
    "below": Lamp((0.0, 0.80, -0.60), 0.25),
    "front": Lamp((0.0, -0.10, -1.0), 0.20),
    "soft": Lamp((-0.30, -0.60, -0.75), 0.70),
}
"""Lights by name; left and right are the picture's."""


def named_light(name: str, like: ArrayLike | None = None) -> Array:
    """Return the light (9, 3) of a name of LAMPS, as bright as the light `like` (9, 3), or else of exposure 1.

    Raises InvalidInputError for another name, listing those there are.
    """
    if name not in LAMPS:
        raise InvalidInputError(f"light: expected one of {', '.join(LAMPS)}, got {name!r}")
    lamp = LAMPS[name].harmonics()
    return lamp if like is None else lamp * (brightness(like) / brightness(lamp))


def brightness(lighting: ArrayLike) -> float:
    """Return the mean luminance of the picture of a white ball under light (9, 3), at least 0.

    Over the picture's disc the basis' polynomials have means 1, 0, -2/3, 0, 0, 0, 1/2, 0, 0.
    """
    means = np.array([1.0, 0.0, -2.0 / 3.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0]) * FACTORS
    return max(float(means @ checked_array("lighting", lighting, (9, 3)) @ LUMA), 0.0)
