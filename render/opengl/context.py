"""An OpenGL context: where shaders, textures and framebuffers live, and whose thread may use them.

Rules, each enforced with an error that says so:
- A context belongs to the thread that made it. OpenGL keeps the current context per thread; a second thread needs its
  own renderer.
- It does not survive a fork: the driver's threads and sockets stay with the parent. A process that is started afresh
  ("spawn") makes its own; a fork of one that has used OpenGL cannot (see bindings.py).
- It is current only while work is done (`Context.work`), so that several renderers, and the caller's own OpenGL, can
  share a thread.
- Everything made in it goes with it: `close` frees all, and a context that is garbage-collected closes itself (but a
  window, which only its thread may close).
"""

import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from ...models.errors import FacefitError
from ..renderer import RendererUnavailableError
from .bindings import import_opengl

VERSION = (4, 1)
"""The core profile that shaders are written for: double precision (4.0) and the newest that macOS has."""

ERRORS = {
    0x0500: "invalid enum",
    0x0501: "invalid value",
    0x0502: "invalid operation",
    0x0505: "out of memory",
    0x0506: "invalid framebuffer operation",
}


class OpenGLError(FacefitError):
    """OpenGL refused something, or a context was used against its rules; the text names the pass."""


@dataclass(frozen=True)
class ContextInfo:
    """Who draws, for provenance."""

    platform: str  # how the context was made, e.g. "EGL surfaceless"
    vendor: str
    renderer: str  # e.g. "llvmpipe (LLVM 15.0.6, 256 bits)"
    version: str  # of OpenGL, and of the driver

    def __str__(self) -> str:
        return f"{self.renderer}, OpenGL {self.version}, {self.platform}"


class Context(ABC):
    """A context of one kind; a subclass makes it, makes it current, and destroys it."""

    def __init__(self, gl: ModuleType, platform: str) -> None:
        """Note who made the context, and ask it what it is."""
        self._gl = gl
        self._thread, self._process = threading.get_ident(), os.getpid()
        self._depth = 0  # of nested `work`
        self._closed = False
        with self.work("reading the context's description") as current:
            vendor, renderer, version = (
                (current.glGetString(name) or b"?").decode("utf-8", "replace")
                for name in (current.GL_VENDOR, current.GL_RENDERER, current.GL_VERSION)
            )
        self.info = ContextInfo(platform, vendor, renderer, version)

    @contextmanager
    def work(self, label: str) -> Iterator[ModuleType]:
        """Make the context current for the block, which is given OpenGL's functions; errors in it name `label`.

        Blocks nest. Raises OpenGLError in a wrong thread or process, after `close`, or where OpenGL reports an error.
        """
        self._check_owner(label)
        from OpenGL.error import Error

        if self._depth == 0:
            self._make_current()
        self._depth += 1
        try:
            yield self._gl  # PyOpenGL asks for errors after each call, unless a program turned that off
            if code := self._gl.glGetError():
                raise OpenGLError(f"{label}: {ERRORS.get(code, code)}")
        except Error as problem:
            raise OpenGLError(f"{label}: {_one_line(problem)}") from problem
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._release()

    def close(self) -> None:
        """Free the context and all that was made in it; closing twice is closing once.

        Raises OpenGLError in a wrong thread; in a forked process it does nothing, for nothing there is the process's.
        """
        if not self._closed and os.getpid() == self._process:
            self._check_owner("close")
            self._closed = True
            self._destroy()

    def _check_owner(self, label: str) -> None:
        if os.getpid() != self._process:
            raise OpenGLError(f"{label}: expected the process that made this OpenGL context, got a fork of it")
        if threading.get_ident() != self._thread:
            raise OpenGLError(
                f"{label}: expected the thread that made this OpenGL context, got {threading.current_thread().name!r}; "
                "each thread makes its own renderer"
            )
        if self._closed:
            raise OpenGLError(f"{label}: expected an open OpenGL context, got a closed one")

    @abstractmethod
    def _make_current(self) -> None:
        """Make the context the thread's current one."""

    @abstractmethod
    def _release(self) -> None:
        """Leave the thread with the context that was current before."""

    @abstractmethod
    def _destroy(self) -> None:
        """Free the context."""


def open_context() -> Context:
    """Return a context without a screen: by EGL, by OSMesa, or (on Windows and macOS) of a hidden window.

    Raises RendererUnavailableError where none can be made, MissingDependencyError where a library is missing.
    """
    gl, platform = import_opengl()
    if platform == "egl":
        from .egl import EGLContext

        return EGLContext(gl)
    if platform == "osmesa":
        from .osmesa import OSMesaContext

        return OSMesaContext(gl)
    from .window import WindowContext

    try:
        return WindowContext(gl, 1, 1, visible=False)
    except RendererUnavailableError as problem:
        if not sys.platform.startswith("linux"):
            raise
        raise RendererUnavailableError(
            f"{problem}; PyOpenGL was loaded for {platform!r}: without a screen it wants PYOPENGL_PLATFORM=egl"
        ) from problem


def _one_line(problem: Exception) -> str:
    """Return what happened, and in which function, of PyOpenGL's many lines."""
    code, operation = getattr(problem, "err", None), getattr(problem, "baseOperation", None)
    text = ERRORS.get(code or 0, " ".join(str(problem).split()))
    return text if operation is None else f"{text} in {operation.__name__}"
