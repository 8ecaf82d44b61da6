"""A context on the screen, by glfw: a window to show pictures in.

glfw wants its windows made, used and destroyed in the process's main thread. On Linux the window's context is made by
EGL too, since PyOpenGL knows one way per process.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ...models.errors import MissingDependencyError
from ..renderer import RendererUnavailableError
from .bindings import import_opengl
from .context import VERSION, Context


class WindowContext(Context):
    """A context of a window; what is drawn to framebuffer 0 shows after `swap`."""

    def __init__(
        self, gl: ModuleType, height: int, width: int, title: str = "facefit", *, visible: bool = True
    ) -> None:
        """Open the window; RendererUnavailableError where there is no screen."""
        try:
            import glfw
        except ImportError as problem:
            raise MissingDependencyError("windows need glfw: pip install glfw") from problem
        self._glfw: Any = glfw
        self._before: Any = None
        with _strict(glfw):
            glfw.init()
            glfw.default_window_hints()
            for hint, value in _hints(glfw, visible).items():
                glfw.window_hint(hint, value)
            self.window = glfw.create_window(width, height, title, None, None)
        super().__init__(gl, "glfw window" if visible else "glfw hidden window")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the window shows, px."""
        width, height = self._glfw.get_framebuffer_size(self.window)
        return height, width

    @property
    def wants_to_close(self) -> bool:
        """Whether the person asked for the window to go; looks after the window's events."""
        self._glfw.poll_events()
        return bool(self._glfw.window_should_close(self.window))

    def swap(self) -> None:
        """Show what was drawn to framebuffer 0."""
        self._glfw.swap_buffers(self.window)

    def _make_current(self) -> None:
        self._before = self._glfw.get_current_context()
        self._glfw.make_context_current(self.window)

    def _release(self) -> None:
        self._glfw.make_context_current(self._before)

    def _destroy(self) -> None:
        self._glfw.destroy_window(self.window)


def open_window(height: int, width: int, title: str = "facefit") -> WindowContext:
    """Return a window of height x width px with a context; main thread only.

    Raises RendererUnavailableError where there is no screen, MissingDependencyError where a library is missing.
    """
    gl, _ = import_opengl()
    return WindowContext(gl, height, width, title)


def _hints(glfw: Any, visible: bool) -> dict[int, int]:
    _, platform = import_opengl()
    return {
        glfw.VISIBLE: visible,
        glfw.CONTEXT_VERSION_MAJOR: VERSION[0],
        glfw.CONTEXT_VERSION_MINOR: VERSION[1],
        glfw.OPENGL_PROFILE: glfw.OPENGL_CORE_PROFILE,
        glfw.OPENGL_FORWARD_COMPAT: True,  # macOS makes no other
        glfw.CONTEXT_CREATION_API: glfw.EGL_CONTEXT_API if platform == "egl" else glfw.NATIVE_CONTEXT_API,
    }


@contextmanager
def _strict(glfw: Any) -> Iterator[None]:
    """Turn glfw's warnings, which is how it reports errors, into RendererUnavailableError."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", glfw.GLFWError)
        try:
            yield
        except glfw.GLFWError as problem:
            raise RendererUnavailableError(f"renderer 'gl': glfw opens no window ({problem})") from problem
