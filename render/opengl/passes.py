"""The passes: each runs one program of shaders into one target.

    geometry   the mesh               -> triangle, barycentrics, depth (and normals), no multisampling
    lit        the mesh               -> colours times alpha: studio, spherical_harmonics, phong, wire
    points     the mesh's vertices    -> the same, over what is there
    resolve    samples                -> one colour a pixel, straight alpha
    composite  a picture and a photo  -> one picture
    show       a picture              -> a window

Programs are compiled, and targets allocated, when they are first needed, and kept.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .screen_mesh import ScreenMesh
from .shaders import Program
from .targets import Target
from .textures import ImageTexture, TableTexture

REACH = 16384  # px: side of the viewport, which is centred on the image (see mesh.vert)
EMPTY = np.array([-1, 0, 0, np.float32(np.inf).view(np.int32)], np.int32)  # what geometry.frag writes nowhere
LIFT = 2e-3  # how much larger, relatively, a point's depth key is than the surface's: it lies upon it

Faces = Literal["front", "back", "all"]


class Passes:
    """The passes of one context, which must be current whenever a method runs."""

    def __init__(self, gl: ModuleType) -> None:
        """Set what no pass changes."""
        self._gl = gl
        self._programs: dict[tuple[Any, ...], Program] = {}
        self._targets: dict[str, Target] = {}
        self._tables: dict[str, TableTexture] = {}
        self._images: dict[str, ImageTexture] = {}
        gl.glBindVertexArray(gl.glGenVertexArrays(1))  # core profiles want one, even without attributes
        gl.glFrontFace(gl.GL_CW)  # counter-clockwise seen from outside, but y points down
        gl.glEnable(gl.GL_PROGRAM_POINT_SIZE)
        gl.glBlendFunc(gl.GL_ONE, gl.GL_ONE_MINUS_SRC_ALPHA)

    def table(self, name: str, rows: NDArray[Any]) -> TableTexture:
        """Upload rows under a name, in the place of those before."""
        if name not in self._tables:
            self._tables[name] = TableTexture(self._gl)
        return self._tables[name].write(rows)

    def image(self, name: str, pixels: NDArray[Any], **kind: bool) -> ImageTexture:
        """Upload an image under a name, in the place of the one before."""
        if name not in self._images:
            self._images[name] = ImageTexture(self._gl)
        return self._images[name].write(pixels, **kind)

    def geometry(
        self, mesh: ScreenMesh, height: int, width: int, faces: Faces, normals: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
        """Return the words (h, w, 4) of geometry.frag, and with vertex normals (N, 3) the unit normals (h, w, 4).

        Both are of the part of the image that the mesh's box is; only that part is cleared and transferred.
        """
        gl = self._gl
        layers: tuple[str, ...] = ("words",)
        defines, tables = {}, {}
        if normals is not None:
            layers, defines, tables = ("words", "floats"), {"NORMALS": 1}, {"normals": self.table("normals", normals)}
        target, box = self._target("geometry", height, width, layers), mesh.box(height, width)
        self._start(target)
        gl.glEnable(gl.GL_SCISSOR_TEST)
        gl.glScissor(*box)
        gl.glClearBufferfv(gl.GL_DEPTH, 0, np.zeros(1, np.float32))
        gl.glClearBufferiv(gl.GL_COLOR, 0, EMPTY)
        if normals is not None:
            gl.glClearBufferfv(gl.GL_COLOR, 1, np.zeros(4, np.float32))
        self._cull(faces)
        self._draw_mesh(self._program("mesh.vert", "geometry.frag", defines), mesh, target, tables)
        gl.glDisable(gl.GL_SCISSOR_TEST)
        return target.read(0, box), target.read(1, box) if normals is not None else None

    def start_picture(self, height: int, width: int, samples: int) -> None:
        """Clear what the lit passes draw into: nothing, and transparent."""
        self._start(self._target("picture", height, width, ("rgba8",), samples=samples))
        self._gl.glClearBufferfv(self._gl.GL_DEPTH, 0, np.zeros(1, np.float32))
        self._gl.glClearBufferfv(self._gl.GL_COLOR, 0, np.zeros(4, np.float32))

    def lit(
        self,
        fragment: str,
        mesh: ScreenMesh,
        values: Mapping[str, Any],
        maps: tuple[str, ...],
        back_opacity: float = 0.0,
    ) -> None:
        """Draw the mesh with a fragment shader that includes lit.glsl; `maps` are its defines.

        Faces seen from inside, where they are not quite transparent, lie over the others: only the nearest, whatever
        the order of triangles, since their depth is drawn before their colour.
        """
        gl, target = self._gl, self._targets["picture"]
        program = self._program("mesh.vert", fragment, dict.fromkeys(maps, 1))
        values = {**values, "back_opacity": back_opacity}
        self._cull("front")
        self._draw_mesh(program, mesh, target, values)
        if back_opacity > 0.0:
            self._cull("back")
            gl.glColorMask(False, False, False, False)
            self._draw_mesh(program, mesh, target, values)
            gl.glColorMask(True, True, True, True)
            gl.glEnable(gl.GL_BLEND)
            gl.glDepthFunc(gl.GL_EQUAL)
            self._draw_mesh(program, mesh, target, values)
            gl.glDepthFunc(gl.GL_GREATER)
            gl.glDisable(gl.GL_BLEND)

    def occlude(self, mesh: ScreenMesh) -> None:
        """Draw the mesh's depth alone."""
        gl = self._gl
        self._cull("front")
        gl.glColorMask(False, False, False, False)
        self._draw_mesh(self._program("mesh.vert", "geometry.frag", {}), mesh, self._targets["picture"], {})
        gl.glColorMask(True, True, True, True)

    def points(self, mesh: ScreenMesh, values: Mapping[str, Any], diameter: float) -> None:
        """Draw the vertices that no triangle hides as discs of `diameter` px."""
        gl, target = self._gl, self._targets["picture"]
        self.occlude(mesh)
        gl.glEnable(gl.GL_BLEND)
        gl.glDepthMask(False)
        values = {**values, "diameter": diameter, "lift": LIFT}
        program = self._program("points.vert", "points.frag", {})
        self._draw_points(program, mesh, target, values)
        gl.glDepthMask(True)
        gl.glDisable(gl.GL_BLEND)

    def resolve(self) -> Target:
        """Return the picture without samples, its alpha straight."""
        drawn = self._targets["picture"]
        target = self._target("resolved", drawn.height, drawn.width, ("rgba8",), depth=False)
        program = self._program("screen.vert", "resolve.frag", {"SAMPLES": drawn.samples})
        self._fill(program, target, {"drawn": drawn})
        return target

    def composite(self, photo: NDArray[np.uint8], drawn: Target, opacity: float) -> Target:
        """Return a photo (H, W, 3) with a resolved picture over it."""
        target = self._target("composite", drawn.height, drawn.width, ("rgba8",), depth=False)
        program = self._program("screen.vert", "composite.frag", {})
        self._fill(program, target, {"photo": self.image("photo", photo), "drawn": drawn, "opacity": opacity})
        return target

    def show(self, picture: NDArray[np.uint8], height: int, width: int) -> None:
        """Fill framebuffer 0, which has height x width px, with a picture (H, W, 3 or 4)."""
        gl = self._gl
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, 0)
        values = {"picture": self.image("picture", picture), "size": (width, height)}
        self._fill(self._program("screen.vert", "show.frag", {}), None, values, (height, width))

    def _start(self, target: Target) -> None:
        """Draw into a target from now on, in the state that passes start from, whatever one that failed has left."""
        gl = self._gl
        target.draw_into()
        for test in (gl.GL_SCISSOR_TEST, gl.GL_BLEND):
            gl.glDisable(test)
        gl.glColorMask(True, True, True, True)
        gl.glDepthMask(True)
        gl.glDepthFunc(gl.GL_GREATER)  # the first of equals stays

    def _program(self, vertex: str, fragment: str, defines: Mapping[str, int]) -> Program:
        key = (vertex, fragment, *sorted(defines.items()))
        if key not in self._programs:
            self._programs[key] = Program(self._gl, vertex, fragment, defines)
        return self._programs[key]

    def _target(self, name: str, height: int, width: int, layers: tuple[str, ...], **kind: Any) -> Target:
        """Return the target of that name, made anew where it does not fit."""
        old = self._targets.get(name)
        fits = (height, width, layers, kind.get("samples", 1))
        if old is None or (old.height, old.width, old.layers, old.samples) != fits:
            if old is not None:
                del self._targets[name]
                old.free()
            self._targets[name] = Target(self._gl, height, width, layers, **kind)
        return self._targets[name]

    def _cull(self, faces: Faces) -> None:
        """Draw only faces that are seen from outside ("front"), from inside ("back"), or all."""
        gl = self._gl
        if faces == "all":
            gl.glDisable(gl.GL_CULL_FACE)
        else:
            gl.glEnable(gl.GL_CULL_FACE)
            gl.glCullFace(gl.GL_BACK if faces == "front" else gl.GL_FRONT)

    def _draw_mesh(self, program: Program, mesh: ScreenMesh, target: Target, values: Mapping[str, Any]) -> None:
        triangles = self._use(program, mesh, target, values)
        triangles.bind_as_indices()
        if mesh.triangles.size:
            self._gl.glDrawElements(self._gl.GL_TRIANGLES, mesh.triangles.size, self._gl.GL_UNSIGNED_INT, None)

    def _draw_points(self, program: Program, mesh: ScreenMesh, target: Target, values: Mapping[str, Any]) -> None:
        self._use(program, mesh, target, values)
        self._gl.glDrawArrays(self._gl.GL_POINTS, 0, len(mesh.positions))

    def _use(self, program: Program, mesh: ScreenMesh, target: Target, values: Mapping[str, Any]) -> TableTexture:
        """Get all ready to draw a mesh; return its triangles."""
        gl = self._gl
        middle = target.width // 2, target.height // 2
        target.draw_into()
        gl.glEnable(gl.GL_DEPTH_TEST)
        gl.glViewport(middle[0] - REACH // 2, middle[1] - REACH // 2, REACH, REACH)
        triangles = self.table("triangles", mesh.triangles)
        program.use(
            positions=self.table("positions", mesh.positions),
            triangles=triangles,
            perspective=mesh.perspective,
            middle=middle,
            reach=REACH,
            **values,
        )
        return triangles

    def _fill(
        self, program: Program, target: Target | None, values: Mapping[str, Any], size: tuple[int, int] | None = None
    ) -> None:
        """Run a program once for each pixel of a target, or of framebuffer 0 with its size."""
        gl = self._gl
        if target is not None:
            self._start(target)
            size = target.height, target.width
        assert size is not None
        gl.glDisable(gl.GL_DEPTH_TEST)
        gl.glDisable(gl.GL_CULL_FACE)
        gl.glViewport(0, 0, size[1], size[0])
        program.use(**values)
        gl.glDrawArrays(gl.GL_TRIANGLES, 0, 3)
