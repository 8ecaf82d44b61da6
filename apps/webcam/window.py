"""The window: the picture with the mesh over it, the avatar beside it, bars and numbers.

    +----------------------------+---------+
    | figures                    | avatar  |
    |    frame, mesh, landmarks  +---------+
    |                            | angles  |
    | news                       | bars    |
    +----------------------------+---------+

Meshes are drawn by OpenGL in the window's own context; marks and text go onto the picture that comes back, and all of
it is one picture that fills the window, with a margin where the window's sides have another ratio.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...models.colour import srgb_to_linear
from ...render.compositing import over
from ...render.drawing import BACKGROUND
from ...render.normals import vertex_normals
from ...render.opengl.renderer import GLRenderer
from ...render.opengl.window import open_window
from .avatar import Avatar, head_camera
from .controls import Controls
from .drawing import OPACITY, Painter
from .hud import ACCENT, Figures, angles_line, bars_height, draw_bars
from .keys import KEYS, Action
from .lettering import Lettering, Picture, darken, write_lines
from .pipeline import Tracked
from .views import View

PANEL = 264  # px: width of the panel at the right, and side of the avatar
LEAST, MOST = 480, 720  # px: height of the picture as shown
MARGIN = 10  # px
TITLE = "facefit: h shows the keys"
SOFTWARE = "llvmpipe"  # Mesa's renderer where there is no graphics card


class Window:
    """Shows a run; main thread only."""

    def __init__(self, painter: Painter, controls: Controls, avatar: Avatar) -> None:
        """Open it; RendererUnavailableError where there is no screen."""
        self._context = open_window(LEAST, round(LEAST * 4 / 3) + PANEL, TITLE)
        # Smooth outlines cost software more than all the rest.
        samples = 1 if SOFTWARE in self._context.info.renderer else 4
        # One renderer a size: each keeps targets of the last size it drew.
        self._faces, self._head = (GLRenderer(self._context, samples=samples) for _ in range(2))
        self._painter, self._controls, self._avatar = painter, controls, avatar
        self._letters = Lettering()
        self._actions: list[Action] = []
        self._shown: tuple[Tracked, Figures, tuple[str, ...]] | None = None
        self._drawn: tuple[tuple[str, ...], tuple[int, int]] = (), (0, 0)  # messages and size at the last drawing
        self._listen()

    def show(self, tracked: Tracked, figures: Figures, notes: tuple[str, ...]) -> None:
        """Show a frame."""
        first = self._shown is None
        self._shown = tracked, figures, notes
        if first:
            self._fit_to(tracked.frame.pixels)
        self._draw()

    def attend(self) -> bool:
        """Look after events; False once the person wants no more."""
        if self._context.wants_to_close:
            return False
        actions, self._actions = self._actions, []
        for action in actions:
            self._controls.perform(action, None if self._shown is None else self._shown[0])
        if actions or self._drawn != self._state():
            self._draw()
        return not self._controls.quitting

    def close(self) -> None:
        """Close it, and wait for what its keys have begun."""
        self._context.close()
        self._controls.finish()

    def _listen(self) -> None:
        """Note keys as they are pressed."""
        import glfw

        actions = {getattr(glfw, f"KEY_{key.glfw}"): key.action for key in KEYS}

        def pressed(window: Any, key: int, scancode: int, action: int, modifiers: int) -> None:
            if action == glfw.PRESS and key in actions:
                self._actions.append(actions[key])

        glfw.set_key_callback(self._context.window, pressed)

    def _fit_to(self, pixels: Picture) -> None:
        """Give the window the size of what it is to show."""
        import glfw

        height, width = _shown_size(pixels)
        glfw.set_window_size(self._context.window, width + PANEL, height)

    def _state(self) -> tuple[tuple[str, ...], tuple[int, int]]:
        return self._controls.messages, self._context.size

    def _draw(self) -> None:
        self._drawn = messages, size = self._state()
        if self._shown is None:
            self._faces.show(np.full((2, 2, 3), BACKGROUND, np.uint8))
            return
        tracked, figures, notes = self._shown
        picture = self._picture(tracked)
        height, width = _shown_size(picture)
        canvas = np.full((height, width + PANEL, 3), BACKGROUND, np.uint8)
        if picture.shape[:2] == (height, width):
            canvas[:, :width] = picture
        else:
            canvas[:, :width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        self._write(canvas[:, :width], figures, (*notes, *messages))
        self._draw_panel(canvas[:, width:], tracked)
        self._faces.show(_framed(canvas, size))

    def _picture(self, tracked: Tracked) -> Picture:
        """Return the frame with meshes, boxes and landmarks."""
        picture, surface, view = tracked.frame.pixels, self._painter.surface, self._painter.view
        surface.remember(tracked.faces)
        for face in tracked.faces:
            camera, vertices = face.result.camera, face.result.vertices
            if camera is None or vertices is None:
                continue
            look: dict[str, Any] = {"shading": "sh"}
            if view is View.WIRE:
                look = {"shading": "wire", "colours": np.tile(_EDGES, (len(vertices), 1))}
            elif view is View.TEXTURED:
                look |= {"colours": surface.albedo(face), "lighting": face.result.lighting}
            picture = self._faces.draw_over(
                picture, camera, vertices, surface.triangles[surface.chosen],
                occluder=surface.triangles[~surface.chosen], normals=vertex_normals(vertices, surface.triangles),
                opacity=OPACITY[view], **look,
            )  # fmt: skip
        canvas = picture.copy() if picture is tracked.frame.pixels else picture
        for face in tracked.faces:
            self._painter.mark(canvas, face)
        return canvas

    def _draw_panel(self, panel: NDArray[np.uint8], tracked: Tracked) -> None:
        """Draw the avatar, the head's angles and the bars."""
        result = tracked.faces[0].result if tracked.faces else None
        rotation = None if result is None or result.camera is None else result.camera.rotation
        expression = None if result is None else result.expression
        drawn = self._head.draw(
            head_camera(rotation, PANEL), self._avatar.vertices(expression), self._avatar.triangles, PANEL, PANEL,
            colours=self._avatar.colours,
        )  # fmt: skip
        panel[:PANEL] = over(panel[:PANEL], drawn)
        if not tracked.faces:
            self._letters.write(panel, "no face", MARGIN, PANEL)
            return
        self._letters.write(panel, angles_line(tracked.faces[0]), MARGIN, PANEL)
        if expression is not None:
            top, line = PANEL + self._letters.line, bars_height(self._letters, 1)
            weights = self._painter.strongest.of(expression)[: (panel.shape[0] - top) // line]
            draw_bars(panel, self._letters, weights, MARGIN, top, PANEL - 2 * MARGIN)

    def _write(self, picture: NDArray[np.uint8], figures: Figures, news: tuple[str, ...]) -> None:
        """Write the figures above, news below, and the list of keys where it is wanted."""
        self._block(picture, figures.lines(), 0, 0)
        self._block(picture, news, 0, picture.shape[0] - len(news) * self._letters.line - MARGIN)
        if self._controls.help:
            self._write_keys(picture)

    def _write_keys(self, picture: NDArray[np.uint8]) -> None:
        """Write the list of keys into the middle, in two columns."""
        letters = self._letters
        first = max(letters.width(key.label) for key in KEYS) + 2 * MARGIN
        width = first + max(letters.width(key.what) for key in KEYS)
        left = (picture.shape[1] - width) // 2
        top = (picture.shape[0] - len(KEYS) * letters.line) // 2
        darken(picture, left - MARGIN, top - MARGIN, width + 2 * MARGIN, len(KEYS) * letters.line + 2 * MARGIN, 0.8)
        write_lines(picture, letters, [key.label for key in KEYS], left, top, ACCENT)
        write_lines(picture, letters, [key.what for key in KEYS], left + first, top)

    def _block(self, picture: NDArray[np.uint8], lines: Sequence[str], left: int, top: int) -> None:
        if lines:
            width = max(self._letters.width(line) for line in lines) + 2 * MARGIN
            darken(picture, left, top, width, len(lines) * self._letters.line + MARGIN)
            write_lines(picture, self._letters, lines, left + MARGIN, top + MARGIN // 2)


_EDGES = srgb_to_linear(np.array(ACCENT, np.uint8)) * 1.6  # linear, of wires: studio light darkens them


def _shown_size(picture: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the height and width at which a picture is shown."""
    height, width = picture.shape[:2]
    shown = min(max(height, LEAST), MOST)
    return shown, max(1, round(width * shown / height))


def _framed(canvas: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a canvas with a margin that gives it the ratio of a window's height and width."""
    height, width = canvas.shape[:2]
    if min(size) < 1 or height * size[1] == width * size[0]:
        return canvas
    if height * size[1] > width * size[0]:
        wide = round(height * size[1] / size[0])
        framed, left, top = np.full((height, wide, 3), BACKGROUND, np.uint8), (wide - width) // 2, 0
    else:
        high = round(width * size[0] / size[1])
        framed, left, top = np.full((high, width, 3), BACKGROUND, np.uint8), 0, (high - height) // 2
    framed[top : top + height, left : left + width] = canvas
    return framed
