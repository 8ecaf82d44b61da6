"""Framebuffers to draw into, and read-back.

Row 0 of a target is row 0 of the image, its top: meshes are drawn with y down, so no row order is ever turned over
(but in a window, see show.frag).
"""

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .context import OpenGLError

FORMATS = {  # of a pixel: internal format, and how it is read back: format, type, channels, dtype
    "rgba8": ("GL_RGBA8", "GL_RGBA", "GL_UNSIGNED_BYTE", 4, np.uint8),
    "words": ("GL_RGBA32I", "GL_RGBA_INTEGER", "GL_INT", 4, np.int32),
    "floats": ("GL_RGBA32F", "GL_RGBA", "GL_FLOAT", 4, np.float32),
}

Box = tuple[int, int, int, int]
"""A part of an image: left, top, width, height in px."""


class Target:
    """A framebuffer of one or more colour layers, and a 32-bit float depth buffer where asked for."""

    def __init__(
        self, gl: ModuleType, height: int, width: int, layers: tuple[str, ...], *, samples: int = 1, depth: bool = True
    ) -> None:
        """Allocate it; `layers` are names of FORMATS. OpenGLError where the driver cannot draw into it."""
        self._gl = gl
        self.height, self.width, self.layers, self.samples = height, width, layers, samples
        self._framebuffer = int(gl.glGenFramebuffers(1))
        self._kind = gl.GL_TEXTURE_2D if samples == 1 else gl.GL_TEXTURE_2D_MULTISAMPLE
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, self._framebuffer)
        self._textures: list[int] = []
        self._pixels: dict[int, NDArray[Any]] = {}
        attachments = [gl.GL_COLOR_ATTACHMENT0 + i for i in range(len(layers))]
        for layer, attachment in zip(layers, attachments, strict=True):
            self._attach(getattr(gl, FORMATS[layer][0]), attachment)
        if depth:
            self._attach(gl.GL_DEPTH_COMPONENT32F, gl.GL_DEPTH_ATTACHMENT)
        gl.glDrawBuffers(len(attachments), attachments)
        if gl.glCheckFramebufferStatus(gl.GL_FRAMEBUFFER) != gl.GL_FRAMEBUFFER_COMPLETE:
            self.free()
            raise OpenGLError(f"target: the driver cannot draw into {'+'.join(layers)} with {samples} samples")

    def _attach(self, internal: int, attachment: int) -> None:
        gl = self._gl
        texture = int(gl.glGenTextures(1))
        gl.glBindTexture(self._kind, texture)
        if self.samples == 1:
            gl.glTexStorage2D(self._kind, 1, internal, self.width, self.height)
            gl.glTexParameteri(self._kind, gl.GL_TEXTURE_MIN_FILTER, gl.GL_NEAREST)
            gl.glTexParameteri(self._kind, gl.GL_TEXTURE_MAG_FILTER, gl.GL_NEAREST)
        else:
            gl.glTexImage2DMultisample(self._kind, self.samples, internal, self.width, self.height, True)
        gl.glFramebufferTexture2D(gl.GL_FRAMEBUFFER, attachment, self._kind, texture, 0)
        self._textures.append(texture)

    def draw_into(self) -> None:
        """Make it what is drawn into."""
        self._gl.glBindFramebuffer(self._gl.GL_FRAMEBUFFER, self._framebuffer)

    def bind(self, unit: int) -> None:
        """Bind the first layer to a texture unit, for a later pass to read."""
        self._gl.glActiveTexture(self._gl.GL_TEXTURE0 + unit)
        self._gl.glBindTexture(self._kind, self._textures[0])

    def read(self, layer: int = 0, box: Box | None = None) -> NDArray[Any]:
        """Return a layer (H, W, 4), or the part of it in a box, row 0 uppermost; of targets without multisampling.

        The array is the target's own: the next read of that layer overwrites it.
        """
        gl = self._gl
        left, top, width, height = (0, 0, self.width, self.height) if box is None else box
        _, external, kind, channels, dtype = FORMATS[self.layers[layer]]
        if layer not in self._pixels:
            self._pixels[layer] = np.empty(self.height * self.width * channels, dtype)
        pixels = self._pixels[layer][: height * width * channels].reshape(height, width, channels)
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, self._framebuffer)
        gl.glReadBuffer(gl.GL_COLOR_ATTACHMENT0 + layer)
        gl.glPixelStorei(gl.GL_PACK_ALIGNMENT, 1)
        if pixels.size:
            gl.glReadPixels(left, top, width, height, getattr(gl, external), getattr(gl, kind), pixels)
        return pixels

    def free(self) -> None:
        """Give its memory back."""
        self._gl.glDeleteFramebuffers(1, [self._framebuffer])
        self._gl.glDeleteTextures(self._textures)
