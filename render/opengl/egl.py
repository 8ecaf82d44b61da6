"""Contexts without a screen, by EGL: on Mesa's surfaceless platform, else on a device (NVIDIA).

A context needs no surface: it draws into framebuffer objects. The display of a platform is one per process, whoever
asks for it, so it stays initialised when a context goes; terminating it would take it from the others.

EGL 1.5; EGL_MESA_platform_surfaceless, EGL_EXT_platform_device, EGL_KHR_surfaceless_context, EGL_KHR_no_config_context.
"""

import ctypes
import os
import weakref
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from ..renderer import RendererUnavailableError
from .context import VERSION, Context

PLATFORM_SURFACELESS = 0x31DD  # EGL_PLATFORM_SURFACELESS_MESA
PLATFORM_DEVICE = 0x313F  # EGL_PLATFORM_DEVICE_EXT


class EGLContext(Context):
    """A context without a surface."""

    def __init__(self, gl: ModuleType, platforms: tuple[str, ...] = ("surfaceless", "device")) -> None:
        """Make a context on the first display that allows one; RendererUnavailableError says why none did."""
        from OpenGL import EGL

        self._egl = EGL
        refusals: list[str] = []
        for name, display in _displays(EGL, platforms, refusals):
            try:
                handle = _create(EGL, display)
            except EGL.EGLError as problem:
                refusals.append(f"{name}: {_reason(problem)}")
                continue
            self._display, self._handle = display, handle
            # Of the thread: EGL destroys a context that is not current from any thread, so the collector may do it.
            self._finalizer = weakref.finalize(self, _destroy, EGL, display, handle, os.getpid())
            self._finalizer.atexit = False
            super().__init__(gl, f"EGL {name}")
            return
        raise RendererUnavailableError(
            f"renderer 'gl': EGL offers no OpenGL {VERSION[0]}.{VERSION[1]} context ({'; '.join(refusals)}); "
            "on Debian: apt-get install libgl1-mesa-dri"
        )

    def _make_current(self) -> None:
        egl = self._egl
        self._before = tuple(ask() for ask in (egl.eglGetCurrentDisplay, egl.eglGetCurrentContext)) + tuple(
            egl.eglGetCurrentSurface(kind) for kind in (egl.EGL_DRAW, egl.EGL_READ)
        )
        egl.eglMakeCurrent(self._display, None, None, self._handle)

    def _release(self) -> None:
        display, context, draw, read = self._before
        if display and context:
            self._egl.eglMakeCurrent(display, draw, read, context)
        else:
            self._egl.eglMakeCurrent(self._display, None, None, None)

    def _destroy(self) -> None:
        self._finalizer()


def _displays(egl: Any, platforms: tuple[str, ...], refusals: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield initialised displays of the platforms, with their names."""
    major, minor = ctypes.c_long(), ctypes.c_long()
    for platform in platforms:
        try:
            for name, kind, native in _natives(platform):
                display = egl.eglGetPlatformDisplay(kind, native, None)
                egl.eglInitialize(display, major, minor)
                yield name, display
        except egl.EGLError as problem:
            refusals.append(f"{platform}: {_reason(problem)}")


def _natives(platform: str) -> Iterator[tuple[str, int, Any]]:
    """Yield what eglGetPlatformDisplay takes for each display of a platform."""
    if platform == "surfaceless":
        yield platform, PLATFORM_SURFACELESS, None
        return
    from OpenGL.EGL.EXT.device_base import egl_get_devices

    for index, device in enumerate(egl_get_devices()):
        yield f"device {index}", PLATFORM_DEVICE, device


def _create(egl: Any, display: Any) -> Any:
    """Return a new core-profile context, of no configuration of surfaces."""
    egl.eglBindAPI(egl.EGL_OPENGL_API)
    attributes = {
        egl.EGL_CONTEXT_MAJOR_VERSION: VERSION[0],
        egl.EGL_CONTEXT_MINOR_VERSION: VERSION[1],
        egl.EGL_CONTEXT_OPENGL_PROFILE_MASK: egl.EGL_CONTEXT_OPENGL_CORE_PROFILE_BIT,
    }
    flat = [number for pair in attributes.items() for number in pair] + [egl.EGL_NONE]
    return egl.eglCreateContext(display, None, None, (egl.EGLint * len(flat))(*flat))


def _destroy(egl: Any, display: Any, handle: Any, process: int) -> None:
    if os.getpid() == process:
        egl.eglDestroyContext(display, handle)


def _reason(problem: Exception) -> str:
    """Return the name of the error that EGL reported."""
    code = getattr(problem, "err", problem)
    return str(getattr(code, "name", code))
