"""How a mesh looks: what the shaders can do beyond the colours and light that every renderer has."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...models.arrays import checked_array
from ...models.errors import InvalidInputError
from ...models.morphable_model import UVMap
from ..renderer import SHADINGS, Shading
from ..tessellation import Relief, looked_up

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Phong:
    """Blinn-Phong material and its lamp, in linear light; sRGB comes last (see shaders/phong.frag)."""

    ambient: float = 0.15  # of the albedo, without light
    diffuse: float = 0.85  # of the albedo, under the lamp head on
    specular: float = 0.12  # linear radiance of the highlight's middle
    shininess: float = 24.0  # exponent of the highlight: larger is smaller
    to_lamp: tuple[float, float, float] = (-0.45, -0.60, -0.70)  # direction, camera frame; any length
    back_opacity: float = 0.35  # 0-1, of faces seen from inside

    def __post_init__(self) -> None:
        """Check the ranges."""
        numbers = (self.ambient, self.diffuse, self.specular, self.shininess)
        if not all(0.0 <= number < np.inf for number in numbers):
            raise InvalidInputError(
                f"ambient, diffuse, specular, shininess: expected finite numbers >= 0, got {numbers}"
            )
        if not 0.0 <= self.back_opacity <= 1.0:
            raise InvalidInputError(f"back_opacity: expected a number from 0 to 1, got {self.back_opacity!r}")
        if not np.linalg.norm(checked_array("to_lamp", self.to_lamp, (3,))) > 0.0:
            raise InvalidInputError(f"to_lamp: expected a direction, got {self.to_lamp!r}")


@dataclass(frozen=True, eq=False)
class Maps:
    """Images that cover a mesh through its texture coordinates; row 0 of an image is its top, v = 1."""

    uv: UVMap
    texture: NDArray[np.uint8] | None = None  # (H, W, 3) sRGB albedo; takes the place of colours per vertex
    normal: NDArray[np.uint8] | None = None  # (H, W, 3) (t, s, m) 0-255 along u, along v, outwards; 127.5 is zero
    displacement: NDArray[np.float32] | None = None  # (H, W) mm along the normal

    def __post_init__(self) -> None:
        """Check shapes and types."""
        for name in ("texture", "normal"):
            image = getattr(self, name)
            if image is not None:
                object.__setattr__(self, name, checked_array(name, image, (None, None, 3), np.uint8))
        if self.displacement is not None:
            heights = checked_array("displacement", self.displacement, (None, None), np.float32)
            object.__setattr__(self, "displacement", heights)
        for name in ("texture", "normal", "displacement"):
            image = getattr(self, name)
            if image is not None and not image.size:
                raise InvalidInputError(f"{name}: expected at least one pixel, got {image.shape}")

    @classmethod
    def of_relief(cls, relief: Relief) -> "Maps":
        """Return the maps of a surface with relief, such as the detail of a fit."""
        return cls(relief.uv, displacement=relief.displacement)

    @property
    def names(self) -> tuple[str, ...]:
        """The shaders' defines for the images that there are."""
        there = {"TEXTURE": self.texture, "NORMAL_MAP": self.normal, "DISPLACEMENT_MAP": self.displacement}
        return tuple(name for name, image in there.items() if image is not None)

    def displaced(self, vertices: Array, normals: Array, triangles: NDArray[np.int32]) -> Array:
        """Return vertices (N, 3) moved along normals (N, 3) by the displacement at their texture coordinates.

        A vertex on a seam, which has several, takes the mean.
        """
        if self.displacement is None:
            return vertices
        heights = looked_up(self.displacement, self.uv.coordinates[self.uv.triangles.ravel()])
        corners = triangles.ravel()
        count = np.bincount(corners, minlength=len(vertices))
        total = np.bincount(corners, heights, minlength=len(vertices))
        return vertices + (total / np.maximum(count, 1))[:, None] * normals


@dataclass(frozen=True, eq=False)
class Look:
    """All that a picture of a mesh depends on but its shape and the camera."""

    colours: ArrayLike | None = None  # (N, 3) linear reflectance 0-1 per vertex; None is clay
    lighting: ArrayLike | None = None  # (9, 3) spherical harmonics, camera frame, for "sh"; None is studio light
    shading: Shading = "sh"
    normals: ArrayLike | None = None  # (N, 3) unit, model frame; None is the mesh's own
    phong: Phong | None = None  # the material of "phong"; None is its defaults
    maps: Maps | None = None
    line_width: float = 1.0  # px, of "wire"
    point_diameter: float = 2.5  # px, of "points"
    occluder: ArrayLike | None = None  # (T', 3) triangles of the same vertices that hide and are not drawn themselves

    def __post_init__(self) -> None:
        """Check what does not depend on the mesh."""
        if self.shading not in SHADINGS:
            raise InvalidInputError(f"shading: expected one of {', '.join(SHADINGS)}, got {self.shading!r}")
        for name, needs in (("lighting", "sh"), ("phong", "phong")):
            if getattr(self, name) is not None and self.shading != needs:
                raise InvalidInputError(f"{name}: expected with shading {needs!r} only, got it with {self.shading!r}")
        if self.shading == "points" and self.maps is not None and {"TEXTURE", "NORMAL_MAP"} & set(self.maps.names):
            raise InvalidInputError("maps: expected displacement only with shading 'points', got a texture or normals")
        for name in ("line_width", "point_diameter"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise InvalidInputError(f"{name}: expected a positive number of px, got {getattr(self, name)!r}")
