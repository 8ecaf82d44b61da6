"""Draws a fitted face in the view of its photo, or in another: the function behind `facefit.render`."""

from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array
from ..models.errors import InvalidInputError
from .cameras import Camera, checked_camera
from .compositing import checked_photo
from .compositing import over as composite
from .rasterizer import checked_size
from .renderer import Renderer, Shading, make_renderer
from .tessellation import Relief, relief_mesh
from .textured import TexturedRenderer

MARGIN = 2  # px around the mesh, for its smooth outline
DETAILED: tuple[Shading, ...] = ("sh", "phong")
"""Shadings that show a surface, not its triangles: these have the wrinkles."""


class FittedFace(Protocol):
    """What is needed of a result, such as `facefit.FitResult`."""

    @property
    def camera(self) -> Camera | None:
        """The camera of the photo."""

    @property
    def vertices(self) -> NDArray[np.float64] | None:
        """(N, 3) mm, model frame."""

    @property
    def triangles(self) -> NDArray[np.int32] | None:
        """(T, 3) counter-clockwise from outside."""

    @property
    def lighting(self) -> NDArray[np.float64] | None:
        """(9, 3) spherical harmonics, camera frame."""

    @property
    def detail(self) -> Relief | None:
        """Heights over the surface."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Holds the photo's size under image.size: width, height."""


def draw_result(
    result: FittedFace,
    *,
    height: int | None = None,
    width: int | None = None,
    camera: Camera | None = None,
    colours: ArrayLike | None = None,
    lighting: ArrayLike | None = None,
    shading: Shading = "sh",
    over: NDArray[np.uint8] | None = None,
    renderer: str | Renderer = "auto",
    detail: bool = True,
) -> NDArray[np.uint8]:
    """Draw a fitted face and return RGBA (H, W, 4) uint8 with straight alpha.

    The size is that of the photo `over` (H, W, 3), over which the face is then laid, else `height` and `width`, else
    that of the fitted photo. `camera`: another view than the photo's. `colours` (N, 3): linear reflectance per vertex,
    None for clay. `lighting` (9, 3): for shading "sh", the fit's own if None, studio light if it has none. `renderer`:
    a name as for `make_renderer`, or a renderer, which stays open. `detail`: whether the wrinkles of a result that has
    them are drawn; "wire" and "points", which show the mesh itself, never have them. Raises InvalidInputError for a
    result without a face, for arguments of a wrong kind or shape, or where no size is known.
    """
    if result.vertices is None or result.triangles is None or result.camera is None:
        raise InvalidInputError("result: expected a fitted face, got a result without vertices; see its status")
    size = _size(result, height, width, over)
    light = result.lighting if lighting is None and shading == "sh" else lighting
    view = result.camera if camera is None else checked_camera(camera)
    if not isinstance(renderer, str | Renderer):
        raise InvalidInputError(f"renderer: expected a name or a renderer, got {type(renderer).__name__}")
    mesh, normals = (result.vertices, result.triangles), None
    if detail and result.detail is not None and shading in DETAILED:
        given = None if colours is None else checked_array("colours", colours, (len(result.vertices), 3))
        fine = relief_mesh(*mesh, result.detail, given, renderer.uv if isinstance(renderer, TexturedRenderer) else None)
        if isinstance(renderer, TexturedRenderer) and fine.uv is not None:
            renderer = replace(renderer, uv=fine.uv)
        mesh, colours = (fine.vertices, fine.triangles), None if colours is None else fine.values
        normals = fine.normals
    with closing(make_renderer(renderer)) if isinstance(renderer, str) else nullcontext(renderer) as drawer:
        look = {"colours": colours, "lighting": light, "shading": shading, "normals": normals}
        picture = draw_window(drawer, view, mesh, size, **look)
    if over is None:
        return picture
    return np.dstack([composite(over, picture), np.full(size, 255, np.uint8)])


def _size(result: FittedFace, height: int | None, width: int | None, over: NDArray[np.uint8] | None) -> tuple[int, int]:
    if over is not None:
        if height is not None or width is not None:
            raise InvalidInputError("height, width: expected none beside a photo, whose size the picture has")
        return checked_size(*checked_photo(over).shape[:2])
    known = result.provenance.get("image", {}).get("size", (None, None))
    height, width = known[1] if height is None else height, known[0] if width is None else width
    if height is None or width is None:
        raise InvalidInputError("height, width: expected both, since the result knows no photo; got none")
    return checked_size(height, width)


def draw_window(
    renderer: Renderer,
    camera: Camera,
    mesh: tuple[NDArray[np.float64], NDArray[np.int32]],
    size: tuple[int, int],
    **look: Any,
) -> NDArray[np.uint8]:
    """Return a picture (H, W, 4) of a mesh, vertices and triangles; `look` is what `Renderer.draw` takes.

    Only the part that the mesh covers is drawn: the cost is that of the face, not of the photo.
    """
    picture = np.zeros((*size, 4), np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):  # points near a perspective camera's plane
        seen = camera.project(mesh[0])[:, :2]
    seen = seen[np.isfinite(seen).all(axis=1)]
    if not len(seen):
        return picture
    limits = np.array(size[::-1])
    low = np.clip(np.floor(seen.min(axis=0)) - MARGIN, 0, limits).astype(int)
    high = np.clip(np.ceil(seen.max(axis=0)) + MARGIN + 1, 0, limits).astype(int)
    if (low < high).all():
        window = camera.zoomed(1.0, -low)
        rows, columns = slice(low[1], high[1]), slice(low[0], high[0])
        shape = (int(high[1] - low[1]), int(high[0] - low[0]))
        picture[rows, columns] = renderer.draw(window, *mesh, *shape, **look)
    return picture
