"""The annotated picture: a frame with the fitted face over it, in software, in a few milliseconds.

The mesh is rasterised where its face region lies in the picture, once per pixel. A pixel that sees that region shows

    wire       a pixel within half a line's width of a triangle's edge takes the line's colour: its distances from the
               three edges are its barycentrics times the triangle's heights, b_i h_i, h_i = 2 area / |edge i| in px
    shaded     colours of the vertices, clay under studio light, interpolated (Gouraud)
    textured   the same with the fitted reflectance in the fitted light; the model's mean albedo where nothing is fitted

Above it lie the detector's box, the landmarks that were observed and, for the first face, bars and numbers.

H. Gouraud, Continuous shading of curved surfaces, IEEE Trans. Computers C-20, 1971.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ...models.colour import linear_to_srgb
from ...models.morphable_model import MorphableModel
from ...render import spherical_harmonics
from ...render.normals import vertex_normals
from ...render.rasterizer import rasterize
from ...render.shading import CLAY, shade_studio
from ..export.glb import arkit_name
from . import _kernels
from .hud import ACCENT, Figures, Strongest, angles_line, bars_height, draw_bars
from .lettering import Lettering, Picture, darken, write_lines
from .views import View

if TYPE_CHECKING:
    from ...fitting.tracking import TrackedFace
    from .pipeline import Tracked

Array = NDArray[np.float64]

INSIDE = ("eyes", "sockets", "mouth", "teeth")  # regions that are drawn with the face, where the model names them
OPACITY = {View.WIRE: 0.75, View.SHADED: 0.85, View.TEXTURED: 1.0}
LINE_WIDTH = 0.7  # px, of the wire
MARGIN = 8  # px around text
BARS = 6  # expression units that are shown


class Painter:
    """Draws the annotated pictures of one run, for faces of one model."""

    def __init__(self, model: MorphableModel, view: View = View.WIRE) -> None:
        """Cut the face out of the model's mesh."""
        self.view = view
        self.surface = Surface(model)
        self.strongest = Strongest([arkit_name(name) for name in model.expression_names])
        self._letters = Lettering()

    def picture(self, tracked: "Tracked", figures: Figures, notes: tuple[str, ...] = ()) -> Picture:
        """Return the annotated frame (H, W, 3); `notes` are lines of text to show with the figures."""
        canvas = tracked.frame.pixels.copy()
        self.surface.remember(tracked.faces)
        for face in tracked.faces:
            self.surface.draw(canvas, face, self.view)
            self.mark(canvas, face)
        self._write(canvas, tracked, figures, notes)
        return canvas

    def mark(self, canvas: Picture, face: "TrackedFace") -> None:
        """Draw the box and the landmarks of a face."""
        result = face.result
        if result.box is not None:
            x0, y0, x1, y1 = np.rint(np.clip(result.box, -1e4, 1e4)).astype(int).tolist()
            cv2.rectangle(canvas, (x0, y0), (x1, y1), ACCENT, 1)
            self._letters.write(canvas, f"face {face.track}", x0 + 3, y0 + 2, ACCENT)
        if result.landmarks is not None:
            for x, y in np.rint(np.clip(result.landmarks, -1e4, 1e4) * 16.0).astype(int).tolist():
                cv2.circle(canvas, (x, y), 20, ACCENT, cv2.FILLED, cv2.LINE_AA, 4)

    def _write(self, canvas: Picture, tracked: "Tracked", figures: Figures, notes: tuple[str, ...]) -> None:
        """Write bars and numbers over the picture's left side, as far as there is room."""
        letters, face = self._letters, tracked.faces[0] if tracked.faces else None
        lines = [*figures.lines(), "no face" if face is None else angles_line(face), *notes]
        width = min(canvas.shape[1], 2 * MARGIN + max(letters.width(line) for line in lines))
        darken(canvas, 0, 0, width, len(lines) * letters.line + MARGIN)
        write_lines(canvas, letters, lines, MARGIN, MARGIN // 2)
        if face is None or face.result.expression is None:
            return
        height = bars_height(letters, BARS) + 2 * MARGIN
        if canvas.shape[0] > height + (len(lines) + 1) * letters.line:
            darken(canvas, 0, canvas.shape[0] - height, 170, height)
            weights = self.strongest.of(face.result.expression)[:BARS]
            draw_bars(canvas, letters, weights, MARGIN, canvas.shape[0] - height + MARGIN, 170 - 2 * MARGIN)


class Surface:
    """The part of a model's mesh that is drawn over a face; the rest of it hides what lies behind it."""

    def __init__(self, model: MorphableModel) -> None:
        """Choose the face region, or all of a model that names none."""
        everywhere = np.ones(model.n_vertices, bool)
        inside = model.regions.get("face", everywhere).copy()
        for name in INSIDE:
            inside |= model.regions.get(name, ~everywhere)
        self.triangles = model.triangles  # (T, 3) all of them
        chosen = np.all(inside[self.triangles], axis=1)
        self.chosen = chosen if chosen.any() else np.ones(len(self.triangles), bool)  # (T,) those that are drawn
        self._corners = np.unique(self.triangles[self.chosen])
        mean = model.albedo_mean
        self._albedo = np.tile(CLAY, (model.n_vertices, 1)) if mean is None else np.asarray(mean, np.float64)
        self._own: dict[int, Array] = {}  # by track

    def remember(self, faces: "Sequence[TrackedFace]") -> None:
        """Keep the reflectance of those here: not every frame tells it."""
        known = {face.track: self._own[face.track] for face in faces if face.track in self._own}
        for face in faces:
            if face.result.reflectance is not None:
                known[face.track] = face.result.reflectance
        self._own = known

    def albedo(self, face: "TrackedFace") -> Array:
        """Return the linear reflectance (N, 3) of the vertices."""
        return self._own.get(face.track, self._albedo)

    def draw(self, canvas: Picture, face: "TrackedFace", view: View) -> None:
        """Draw the surface of a face onto a picture."""
        camera, vertices = face.result.camera, face.result.vertices
        if camera is None or vertices is None:
            return
        points = camera.project(vertices)[:, :2]
        own = points[self._corners]
        if not np.isfinite(own).all():
            return
        height, width = canvas.shape[:2]
        left, top = np.clip(np.floor(own.min(axis=0)), 0, (width, height)).astype(int).tolist()
        right, bottom = np.clip(np.ceil(own.max(axis=0)) + 1, 0, (width, height)).astype(int).tolist()
        if right <= left or bottom <= top:
            return
        part = canvas[top:bottom, left:right]
        moved = camera.zoomed(1.0, np.array([-left, -top], np.float64))
        fragments = rasterize(moved, vertices, self.triangles, bottom - top, right - left)
        seen, opacity = (fragments.triangle, fragments.barycentric), OPACITY[view]
        if view is View.WIRE:
            colour = np.array(ACCENT, np.float64)
            _kernels.blend_wire(part, seen, self.triangles, self.chosen, points, 0.5 * LINE_WIDTH, opacity, colour)
        else:
            colours = self._colours(vertices, camera.rotation, face, view)
            _kernels.blend_colours(part, seen, self.triangles, self.chosen, colours, opacity)

    def _colours(self, vertices: Array, rotation: Array, face: "TrackedFace", view: View) -> Array:
        """Return the display colours of the vertices, (n, 3) 0-255."""
        normals = vertex_normals(vertices, self.triangles) @ rotation.T
        if view is View.SHADED:
            radiance = shade_studio(normals, CLAY)
        elif face.result.lighting is None:
            radiance = shade_studio(normals, self.albedo(face))
        else:
            radiance = spherical_harmonics.shade(normals, self.albedo(face), face.result.lighting)
        return 255.0 * linear_to_srgb(radiance)
