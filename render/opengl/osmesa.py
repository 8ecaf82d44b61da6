"""Contexts without a screen and without EGL, by OSMesa: for old Mesa (it is gone from 25.1)."""

import os
import weakref
from types import ModuleType
from typing import Any

from ..renderer import RendererUnavailableError
from .context import VERSION, Context


class OSMesaContext(Context):
    """A software context over a buffer of one pixel, which nothing is drawn to."""

    def __init__(self, gl: ModuleType) -> None:
        """Make the context; RendererUnavailableError where OSMesa offers none."""
        from OpenGL import osmesa

        self._osmesa = osmesa
        attributes = [
            osmesa.OSMESA_PROFILE, osmesa.OSMESA_CORE_PROFILE,
            osmesa.OSMESA_CONTEXT_MAJOR_VERSION, VERSION[0],
            osmesa.OSMESA_CONTEXT_MINOR_VERSION, VERSION[1],
            0,
        ]  # fmt: skip
        self._handle = osmesa.OSMesaCreateContextAttribs(attributes, None)
        if not self._handle:
            raise RendererUnavailableError(f"renderer 'gl': OSMesa offers no OpenGL {VERSION[0]}.{VERSION[1]} context")
        self._pixel = (gl.GLubyte * 4)()
        self._finalizer = weakref.finalize(self, _destroy, osmesa, self._handle, os.getpid())
        self._finalizer.atexit = False
        super().__init__(gl, "OSMesa")

    def _make_current(self) -> None:
        if not self._osmesa.OSMesaMakeCurrent(self._handle, self._pixel, self._gl.GL_UNSIGNED_BYTE, 1, 1):
            raise RendererUnavailableError("renderer 'gl': OSMesa cannot make its context current")

    def _release(self) -> None:
        self._osmesa.OSMesaMakeCurrent(None, None, self._gl.GL_UNSIGNED_BYTE, 0, 0)

    def _destroy(self) -> None:
        self._finalizer()


def _destroy(osmesa: Any, handle: Any, process: int) -> None:
    if os.getpid() == process:
        osmesa.OSMesaDestroyContext(handle)
