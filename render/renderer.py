"""What draws a mesh: one interface, whichever machine does the work.

A renderer turns a camera and a mesh into fragments (`rasterize`: what each pixel sees, for fitting) or into a picture
(`draw`: what a person looks at). Both snap vertices to 1/256 px and follow the top-left rule, so that renderers agree.
"""

import logging
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.colour import to_uint8
from ..models.errors import FacefitError, InvalidInputError, MissingDependencyError
from . import rasterizer
from .cameras import Camera, checked_camera
from .compositing import magnified, reduced
from .rasterizer import Cull, Fragments, checked_size
from .shading import shade_fragments

Shading = Literal["sh", "phong", "wire", "points"]
"""Spherical harmonics (without any, studio light), Blinn-Phong, the triangles' edges, or the vertices."""

SHADINGS: tuple[Shading, ...] = get_args(Shading)


class RendererUnavailableError(FacefitError):
    """The renderer that was asked for cannot run here."""


@runtime_checkable
class Renderer(Protocol):
    """Draws meshes: vertices (N, 3) mm in the model frame, triangles (T, 3) counter-clockwise from outside."""

    @property
    def name(self) -> str:
        """What `make_renderer` calls it."""
        ...

    @property
    def description(self) -> str:
        """Who draws, in words, for the provenance of pictures."""
        ...

    @property
    def shadings(self) -> tuple[Shading, ...]:
        """What `draw` can do of SHADINGS."""
        ...

    def rasterize(
        self, camera: Camera, vertices: ArrayLike, triangles: ArrayLike, height: int, width: int, *, cull: Cull = "back"
    ) -> Fragments:
        """Return what each pixel of an image of height x width sees (see `rasterizer.rasterize`)."""
        ...

    def draw(
        self,
        camera: Camera,
        vertices: ArrayLike,
        triangles: ArrayLike,
        height: int,
        width: int,
        *,
        colours: ArrayLike | None = None,
        lighting: ArrayLike | None = None,
        shading: Shading = "sh",
        normals: ArrayLike | None = None,
    ) -> NDArray[np.uint8]:
        """Return a picture (height, width, 4), RGBA with straight alpha and a smooth outline, of the outer surface.

        colours (N, 3): linear reflectance 0-1 per vertex, None for clay. lighting (9, 3): spherical harmonics in the
        camera frame, None for studio light; "sh" only. normals (N, 3): unit, model frame, by which the surface is
        shaded; None for the mesh's own. Raises RendererUnavailableError for a shading that this renderer has not.
        """
        ...

    def close(self) -> None:
        """Release what the renderer holds; it draws no more."""
        ...


class NumbaRenderer:
    """Draws in software, on one core, the same pixels on every machine. Holds nothing between calls."""

    name = "numba"
    shadings: tuple[Shading, ...] = ("sh",)
    description = "numba (software rasteriser)"
    oversampling = 2  # a picture is drawn this many times finer in x and y, then averaged
    band = 2**18  # px of a picture that are drawn at once: a covered one takes about 1 kB on the way

    def rasterize(
        self, camera: Camera, vertices: ArrayLike, triangles: ArrayLike, height: int, width: int, *, cull: Cull = "back"
    ) -> Fragments:
        """Return what each pixel of an image of height x width sees (see `rasterizer.rasterize`)."""
        return rasterizer.rasterize(camera, vertices, triangles, height, width, cull=cull)

    def draw(
        self,
        camera: Camera,
        vertices: ArrayLike,
        triangles: ArrayLike,
        height: int,
        width: int,
        *,
        colours: ArrayLike | None = None,
        lighting: ArrayLike | None = None,
        shading: Shading = "sh",
        normals: ArrayLike | None = None,
    ) -> NDArray[np.uint8]:
        """Return a picture (height, width, 4) of the mesh (see `Renderer.draw`); `shading` is "sh"."""
        if shading not in SHADINGS:
            raise InvalidInputError(f"shading: expected one of {', '.join(SHADINGS)}, got {shading!r}")
        if shading not in self.shadings:
            raise RendererUnavailableError(f"shading {shading!r}: the Numba renderer has only 'sh'; use OpenGL's")
        factor = self.oversampling
        height, width = checked_size(height, width)
        fine = magnified(checked_camera(camera), factor)
        picture = np.empty((height, width, 4), np.uint8)
        rows = max(1, self.band // width)
        for top in range(0, height, rows):
            part = picture[top : top + rows]
            view = fine.zoomed(1.0, np.array([0.0, -factor * top]))
            fragments = self.rasterize(view, vertices, triangles, factor * len(part), factor * width)
            look = {"colours": colours, "lighting": lighting, "normals": normals}
            drawn = shade_fragments(fragments, view, vertices, triangles, **look)
            part[:] = to_uint8(reduced(drawn, factor))
        return picture

    def close(self) -> None:
        """Nothing to release."""


def make_renderer(name: str = "auto") -> Renderer:
    """Return the renderer of that name: "numba", "gl", or "auto" for OpenGL where it runs and else Numba.

    "auto" logs one line where OpenGL does not run. Raises RendererUnavailableError or MissingDependencyError where "gl"
    cannot run, InvalidInputError for another name.
    """
    if name == "numba":
        return NumbaRenderer()
    if name not in ("auto", "gl"):
        raise InvalidInputError(f"renderer: expected auto, gl or numba, got {name!r}")
    try:
        from .opengl.renderer import GLRenderer

        return GLRenderer()
    except (RendererUnavailableError, MissingDependencyError) as problem:
        if name == "gl":
            raise
        logging.getLogger(__name__).warning("%s; the Numba renderer draws instead", problem)
        return NumbaRenderer()
