"""The renderer that draws with OpenGL: `Renderer`'s interface, and what only shaders offer.

Geometry is that of the software rasteriser: the CPU projects and snaps, so both start from the same corners, both use
the top-left rule, and the shader computes barycentrics and depth exactly (see shaders/surface.glsl). Corners more than
8192 px from the image's middle are the exception: the hardware clips there, and rounds.

Colours are computed in linear light and leave as sRGB (IEC 61966-2-1).
"""

from types import TracebackType
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...models.arrays import checked_array
from ...models.errors import InvalidInputError
from ...models.morphable_model import UVMap
from ..cameras import Camera, Perspective
from ..compositing import checked_opacity, checked_photo
from ..mesh import checked_mesh
from ..normals import given_normals, normalised, vertex_normals
from ..rasterizer import Cull, Fragments, checked_size
from ..renderer import SHADINGS, Shading
from ..shading import AMBIENT, CLAY, LAMPS, RIM, STRENGTHS
from ..spherical_harmonics import FACTORS
from . import _kernels
from .context import Context, OpenGLError, open_context
from .look import Look, Maps, Phong
from .passes import REACH, Passes
from .screen_mesh import ScreenMesh, flatten_mesh, project_mesh
from .window import WindowContext

Array = NDArray[np.float64]

STUDIO = {"to_lamps": LAMPS, "strengths": STRENGTHS, "ambient": AMBIENT, "rim": RIM}


class GLRenderer:
    """Draws by OpenGL. Holds a context, whose rules are its own: one thread, one process, `close` in the end."""

    name = "gl"
    shadings = SHADINGS

    def __init__(self, context: Context | None = None, *, samples: int = 4) -> None:
        """Take over a context, or open one without a screen; `samples` a pixel smooth the outlines of pictures.

        Raises RendererUnavailableError where none can be made; OpenGLError where the driver has fewer samples.
        """
        self._context = open_context() if context is None else context
        with self._context.work("setting up") as gl:
            most = int(gl.glGetIntegerv(gl.GL_MAX_SAMPLES))
            if not 1 <= samples <= most:
                raise OpenGLError(f"samples: expected 1 to {most} with this driver, got {samples}")
            self._samples = samples
            self._max_side = min(int(gl.glGetIntegerv(gl.GL_MAX_TEXTURE_SIZE)), REACH)
            self._passes = Passes(gl)

    @property
    def description(self) -> str:
        """Who draws: the device, its OpenGL, and how the context was made."""
        return f"gl ({self._context.info})"

    def __enter__(self) -> "GLRenderer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the context; the renderer draws no more."""
        self._context.close()

    def rasterize(
        self, camera: Camera, vertices: ArrayLike, triangles: ArrayLike, height: int, width: int, *, cull: Cull = "back"
    ) -> Fragments:
        """Return what each pixel of an image of height x width sees (see `rasterizer.rasterize`).

        Barycentrics and depth come in single precision.
        """
        return self._geometry(project_mesh(camera, vertices, triangles), height, width, cull)[0]

    def rasterize_with_normals(
        self, camera: Camera, vertices: ArrayLike, triangles: ArrayLike, height: int, width: int, *, cull: Cull = "back"
    ) -> tuple[Fragments, NDArray[np.float32]]:
        """Return the fragments, and smooth unit normals (height, width, 3) in the camera frame, zero where none."""
        mesh = project_mesh(camera, vertices, triangles)
        normals = vertex_normals(vertices, triangles) @ camera.rotation.T
        fragments, seen = self._geometry(mesh, height, width, cull, normals)
        assert seen is not None
        return fragments, seen

    def rasterize_atlas(self, uv: UVMap, height: int, width: int) -> Fragments:
        """Return which triangle each texel of an atlas of height x width shows, and where on it; depth is 0.

        Row 0 is the atlas's top, v = 1. Where charts overlap, the first triangle stays.
        """
        mesh = flatten_mesh(uv.coordinates, uv.triangles, *checked_size(height, width))
        return self._geometry(mesh, height, width, "none")[0]

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
        phong: Phong | None = None,
        maps: Maps | None = None,
        line_width: float = 1.0,
        point_diameter: float = 2.5,
        occluder: ArrayLike | None = None,
    ) -> NDArray[np.uint8]:
        """Return a picture (height, width, 4) of the mesh (see `Renderer.draw`).

        Beyond that interface: `phong` is the material of "phong" (None for its defaults), `maps` covers the mesh with
        images, `line_width` (px) is that of "wire" and `point_diameter` (px) that of "points". `occluder` (T', 3) are
        triangles of the same vertices that hide what is behind them and are not drawn themselves.
        """
        size = self._checked_size(height, width)
        look = Look(colours, lighting, shading, normals, phong, maps, line_width, point_diameter, occluder)
        with self._context.work("drawing a picture"):
            self._draw(camera, vertices, triangles, size, look)
            return self._passes.resolve().read().copy()

    def draw_over(
        self,
        photo: ArrayLike,
        camera: Camera,
        vertices: ArrayLike,
        triangles: ArrayLike,
        *,
        opacity: float = 1.0,
        **look: Any,
    ) -> NDArray[np.uint8]:
        """Return a photo (H, W, 3) uint8 with the mesh drawn over it, (H, W, 3).

        `opacity` 0-1 scales the drawn picture's alpha; `look` is the keyword arguments of `draw`.
        """
        below = checked_photo(photo)
        checked_opacity(opacity)
        size = self._checked_size(*below.shape[:2])
        with self._context.work("drawing over a photo"):
            self._draw(camera, vertices, triangles, size, Look(**look))
            drawn = self._passes.resolve()
            return np.ascontiguousarray(self._passes.composite(below, drawn, opacity).read()[..., :3])

    def show(self, picture: NDArray[np.uint8]) -> None:
        """Show a picture (H, W, 3 or 4) uint8 in the window of the renderer's context, stretched to fill it."""
        if not isinstance(self._context, WindowContext):
            raise OpenGLError(f"show: expected the context of a window, got {self._context.info.platform}")
        with self._context.work("showing a picture"):
            self._passes.show(picture, *self._context.size)
            self._context.swap()

    def _checked_size(self, height: int, width: int) -> tuple[int, int]:
        size = checked_size(height, width)
        if max(size) > self._max_side:
            raise InvalidInputError(f"size: expected at most {self._max_side} px a side with this driver, got {size}")
        return size

    def _geometry(
        self, mesh: ScreenMesh, height: int, width: int, cull: Cull, normals: Array | None = None
    ) -> tuple[Fragments, NDArray[np.float32] | None]:
        size = self._checked_size(height, width)
        if cull not in get_args(Cull):
            raise InvalidInputError(f"cull: expected one of {', '.join(get_args(Cull))}, got {cull!r}")
        with self._context.work("geometry pass"):
            words, seen = self._passes.geometry(mesh, *size, "front" if cull == "back" else "all", normals)
        triangle, barycentric, depth = np.empty(size, np.int32), np.empty((*size, 3)), np.empty(size)
        left, top, _, _ = mesh.box(*size)
        _kernels.unpack_geometry(words, words.view(np.float32), left, top, triangle, barycentric, depth)
        if seen is None:
            return Fragments(triangle, barycentric, depth), None
        unit = np.zeros((*size, 3), np.float32)
        unit[top : top + len(seen), left : left + seen.shape[1]] = seen[..., :3]
        return Fragments(triangle, barycentric, depth), unit

    def _draw(
        self, camera: Camera, vertices: ArrayLike, triangles: ArrayLike, size: tuple[int, int], look: Look
    ) -> None:
        """Draw the mesh into the picture's target."""
        points, faces = checked_mesh(vertices, triangles)
        colours = np.tile(CLAY, (len(points), 1)) if look.colours is None else look.colours
        albedo = checked_array("colours", colours, points.shape)
        lighting = None if look.lighting is None else checked_array("lighting", look.lighting, (9, 3))
        normals, maps = given_normals(look.normals, points, faces), look.maps
        if maps is not None and len(maps.uv.triangles) != len(faces):
            raise InvalidInputError(
                f"maps: expected texture coordinates of {len(faces)} triangles, got {len(maps.uv.triangles)}"
            )
        mesh = project_mesh(camera, points if maps is None else maps.displaced(points, normals, faces), faces)
        passes = self._passes
        passes.start_picture(*size, self._samples)
        if look.occluder is not None:
            passes.occlude(project_mesh(camera, points, look.occluder))
        values = {"colours": passes.table("colours", albedo)}
        if look.shading == "points":
            passes.points(mesh, values, look.point_diameter)
            return
        values["normals"] = passes.table("normals", normals @ camera.rotation.T)
        values |= self._map_values(maps, camera, points)
        names = () if maps is None else maps.names
        if look.shading == "phong":
            phong = look.phong or Phong()
            passes.lit("phong.frag", mesh, values | _phong_values(phong, camera), names, phong.back_opacity)
        elif look.shading == "wire":
            passes.lit("wire.frag", mesh, values | STUDIO | {"line_width": look.line_width}, names)
        elif lighting is None:
            passes.lit("studio.frag", mesh, values | STUDIO, names)
        else:
            passes.lit("spherical_harmonics.frag", mesh, values | {"lighting": lighting * FACTORS[:, None]}, names)

    def _map_values(self, maps: Maps | None, camera: Camera, points: Array) -> dict[str, Any]:
        """Upload images and what they need; an image's last row, v = 0, comes first."""
        if maps is None:
            return {}
        passes = self._passes
        values: dict[str, Any] = {
            "coordinates": passes.table("coordinates", maps.uv.coordinates),
            "coordinate_triangles": passes.table("coordinate_triangles", maps.uv.triangles),
            "points": passes.table("points", camera.to_camera(points)),
        }
        if maps.texture is not None:
            values["albedo_map"] = passes.image("albedo_map", maps.texture[::-1], srgb=True, mipmaps=True)
        if maps.normal is not None:
            values["normal_map"] = passes.image("normal_map", maps.normal[::-1], mipmaps=True)
        if maps.displacement is not None:
            values["displacement_map"] = passes.image("displacement_map", maps.displacement[::-1])
        return values


def _phong_values(phong: Phong, camera: Camera) -> dict[str, Any]:
    """Return the uniforms of phong.frag."""
    ray = np.zeros(3)
    if isinstance(camera, Perspective):
        ray[:2], ray[2] = -camera.principal_point / camera.focal, 1.0 / camera.focal
    return {
        "to_lamp": normalised(np.asarray(phong.to_lamp, np.float64)),
        "ambient": phong.ambient,
        "diffuse": phong.diffuse,
        "specular": phong.specular,
        "shininess": phong.shininess,
        "ray": ray,
    }
