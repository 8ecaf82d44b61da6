"""PyOpenGL, imported when the first context is made.

PyOpenGL decides once per process, while it is imported, through which library it finds functions and contexts, and the
only way to tell it is the environment variable PYOPENGL_PLATFORM. Without a screen its own guess (GLX) is wrong. So the
variable is set during that import alone and put back at once: nothing that the process starts later inherits it.

The choice, in this order: what the user put into PYOPENGL_PLATFORM; what a program that imported PyOpenGL before got;
on Linux EGL where libEGL loads, then OSMesa where libOSMesa loads; elsewhere the system's own.

The process that loaded OpenGL keeps it: in a fork of it the driver's threads are missing, and a context made there
would wait for them for ever. So a fork is refused, unless OpenGL is first asked for in it.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

from ...models.errors import MissingDependencyError
from ..renderer import RendererUnavailableError

VARIABLE = "PYOPENGL_PLATFORM"
LIBRARIES = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}  # of Linux, in order of preference


def import_opengl() -> tuple[ModuleType, str]:
    """Return PyOpenGL's module `OpenGL.GL` and the platform it works on: "egl", "osmesa" or another's name.

    Raises MissingDependencyError without PyOpenGL, RendererUnavailableError without a library of OpenGL, or in a fork
    of a process that has called this.
    """
    if os.getpid() != _loading_process():
        raise RendererUnavailableError(
            "renderer 'gl': OpenGL was loaded before this process was forked; start it by 'spawn' instead"
        )
    wanted = _wanted_platform() if "OpenGL.platform" not in sys.modules else None
    try:
        with _environment(VARIABLE, wanted):
            from OpenGL import GL, platform
    except ModuleNotFoundError as problem:
        raise MissingDependencyError("renderer 'gl' needs PyOpenGL: pip install PyOpenGL") from problem
    except (ImportError, OSError, AttributeError) as problem:  # what PyOpenGL's loaders raise without their library
        raise RendererUnavailableError(f"renderer 'gl': PyOpenGL finds no OpenGL library ({problem})") from problem
    return GL, type(platform.PLATFORM).__module__.rpartition(".")[2]


@cache
def _loading_process() -> int:
    """Return the process that asked first; a fork inherits the answer."""
    return os.getpid()


def _wanted_platform() -> str | None:
    """Return what PYOPENGL_PLATFORM should say, None to leave it as it is."""
    if os.environ.get(VARIABLE) or not sys.platform.startswith("linux"):
        return None
    for name, library in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return name
    raise RendererUnavailableError(
        f"renderer 'gl': none of {', '.join(LIBRARIES.values())} can be loaded; "
        "on Debian: apt-get install libegl1 libgl1-mesa-dri"
    )


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """Set an environment variable for the length of the block; None changes nothing."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if value is not None and before is None:
            del os.environ[name]
        elif value is not None and before is not None:
            os.environ[name] = before
