"""Arrays on their way to the shaders: tables of vertices and triangles, and images."""

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray


class TableTexture:
    """Rows that shaders fetch by index: an array (R, C) of float32 or int32 in a buffer texture."""

    def __init__(self, gl: ModuleType) -> None:
        """Make an empty one."""
        self._gl = gl
        self._buffer, self._texture = int(gl.glGenBuffers(1)), int(gl.glGenTextures(1))
        self._format = {
            ("f", 2): gl.GL_RG32F,
            ("f", 3): gl.GL_RGB32F,
            ("f", 4): gl.GL_RGBA32F,
            ("i", 3): gl.GL_RGB32I,
        }

    def write(self, rows: NDArray[Any]) -> "TableTexture":
        """Replace the rows; (R, 2..4) of floats or (R, 3) of integers. Return itself."""
        gl = self._gl
        kind = "i" if rows.dtype.kind == "i" else "f"
        table = np.ascontiguousarray(rows, np.int32 if kind == "i" else np.float32)
        gl.glBindBuffer(gl.GL_TEXTURE_BUFFER, self._buffer)
        size = max(table.nbytes, 16)  # never empty: a texture of an empty buffer is an error, and one row fits into 16
        gl.glBufferData(gl.GL_TEXTURE_BUFFER, size, None, gl.GL_STREAM_DRAW)
        if table.size:
            gl.glBufferSubData(gl.GL_TEXTURE_BUFFER, 0, table.nbytes, table)
        gl.glBindTexture(gl.GL_TEXTURE_BUFFER, self._texture)
        gl.glTexBuffer(gl.GL_TEXTURE_BUFFER, self._format[kind, table.shape[1]], self._buffer)
        return self

    def bind(self, unit: int) -> None:
        """Bind it to a texture unit."""
        self._gl.glActiveTexture(self._gl.GL_TEXTURE0 + unit)
        self._gl.glBindTexture(self._gl.GL_TEXTURE_BUFFER, self._texture)

    def bind_as_indices(self) -> None:
        """Let indexed draws take their indices from the rows."""
        self._gl.glBindBuffer(self._gl.GL_ELEMENT_ARRAY_BUFFER, self._buffer)


class ImageTexture:
    """An image that shaders sample, its first row at v = 0; uint8 (H, W, 3) or (H, W, 4), or float32 (H, W)."""

    def __init__(self, gl: ModuleType) -> None:
        """Make an empty one."""
        self._gl = gl
        self._texture = int(gl.glGenTextures(1))

    def write(self, image: NDArray[Any], *, srgb: bool = False, mipmaps: bool = False) -> "ImageTexture":
        """Replace the image, and return itself.

        `srgb`: values are decoded to linear light when they are read, before they are interpolated.
        """
        gl = self._gl
        pixels = np.ascontiguousarray(image)
        if pixels.dtype == np.uint8:
            internal = gl.GL_SRGB8_ALPHA8 if srgb else gl.GL_RGBA8
            external = gl.GL_RGB if pixels.shape[2] == 3 else gl.GL_RGBA
            kind = gl.GL_UNSIGNED_BYTE
        else:
            internal, external, kind = gl.GL_R32F, gl.GL_RED, gl.GL_FLOAT
        gl.glBindTexture(gl.GL_TEXTURE_2D, self._texture)
        gl.glPixelStorei(gl.GL_UNPACK_ALIGNMENT, 1)
        gl.glTexImage2D(gl.GL_TEXTURE_2D, 0, internal, pixels.shape[1], pixels.shape[0], 0, external, kind, pixels)
        shrinking = gl.GL_LINEAR_MIPMAP_LINEAR if mipmaps else gl.GL_LINEAR
        for name, value in (
            (gl.GL_TEXTURE_MIN_FILTER, shrinking),
            (gl.GL_TEXTURE_MAG_FILTER, gl.GL_LINEAR),
            (gl.GL_TEXTURE_WRAP_S, gl.GL_CLAMP_TO_EDGE),
            (gl.GL_TEXTURE_WRAP_T, gl.GL_CLAMP_TO_EDGE),
        ):
            gl.glTexParameteri(gl.GL_TEXTURE_2D, name, value)
        if mipmaps:
            gl.glGenerateMipmap(gl.GL_TEXTURE_2D)
        return self

    def bind(self, unit: int) -> None:
        """Bind it to a texture unit."""
        self._gl.glActiveTexture(self._gl.GL_TEXTURE0 + unit)
        self._gl.glBindTexture(self._gl.GL_TEXTURE_2D, self._texture)
