"""Shader programs, from the files in render/shaders.

A file may `#include "other.glsl"`, which stands for that file's text, once; a program may define names that `#ifdef`
in the files asks for.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .context import VERSION, OpenGLError

FOLDER = Path(__file__).resolve().parent.parent / "shaders"
INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)


@cache
def shader_source(name: str) -> str:
    """Return the text of the shader file `name`, its includes in place."""
    included: set[str] = set()

    def expanded(name: str) -> str:
        if name in included:
            return ""
        included.add(name)
        return INCLUDE.sub(lambda match: expanded(match[1]), (FOLDER / name).read_text(encoding="utf-8"))

    return expanded(name)


class Program:
    """A linked program; its uniforms are set by name when it is used."""

    def __init__(self, gl: ModuleType, vertex: str, fragment: str, defines: Mapping[str, int]) -> None:
        """Compile and link the files `vertex` and `fragment`; OpenGLError with the compiler's words where they fail."""
        self._gl = gl
        self._program = gl.glCreateProgram()
        for kind, name in ((gl.GL_VERTEX_SHADER, vertex), (gl.GL_FRAGMENT_SHADER, fragment)):
            shader = _compile(gl, kind, name, defines)
            gl.glAttachShader(self._program, shader)
            gl.glDeleteShader(shader)  # it goes with the program
        gl.glLinkProgram(self._program)
        if not gl.glGetProgramiv(self._program, gl.GL_LINK_STATUS):
            raise OpenGLError(f"linking {vertex} and {fragment}: {_text(gl.glGetProgramInfoLog(self._program))}")
        self._uniforms = dict(_active_uniforms(gl, self._program))

    def use(self, **values: Any) -> None:
        """Make the program current and set its uniforms: numbers, arrays and textures (which take units in order).

        Names that the program does not read are left out: passes share what they offer.
        """
        gl = self._gl
        gl.glUseProgram(self._program)
        unit = 0
        for name, (location, kind) in self._uniforms.items():
            value = values[name]
            if hasattr(value, "bind"):
                value.bind(unit)
                gl.glUniform1i(location, unit)
                unit += 1
            elif kind == gl.GL_FLOAT:
                numbers = np.atleast_1d(np.asarray(value, np.float32))
                gl.glUniform1fv(location, len(numbers), numbers)
            elif kind in (gl.GL_FLOAT_VEC2, gl.GL_FLOAT_VEC3):
                length = 2 if kind == gl.GL_FLOAT_VEC2 else 3
                vectors = np.ascontiguousarray(value, np.float32).reshape(-1, length)
                (gl.glUniform2fv if length == 2 else gl.glUniform3fv)(location, len(vectors), vectors)
            else:
                gl.glUniform1i(location, int(value))


def _compile(gl: ModuleType, kind: int, name: str, defines: Mapping[str, int]) -> int:
    head = [f"#version {VERSION[0]}{VERSION[1]}0 core", *(f"#define {key} {value}" for key, value in defines.items())]
    shader = gl.glCreateShader(kind)
    gl.glShaderSource(shader, "\n".join([*head, shader_source(name)]))
    gl.glCompileShader(shader)
    if not gl.glGetShaderiv(shader, gl.GL_COMPILE_STATUS):
        raise OpenGLError(f"compiling {name}: {_text(gl.glGetShaderInfoLog(shader))}")
    return int(shader)


def _active_uniforms(gl: ModuleType, program: int) -> Any:
    """Yield name and (location, type) of what the program reads; an array has the name without brackets."""
    for index in range(gl.glGetProgramiv(program, gl.GL_ACTIVE_UNIFORMS)):
        raw, _, kind = gl.glGetActiveUniform(program, index)
        name = _text(raw)
        yield name.partition("[")[0], (gl.glGetUniformLocation(program, name), int(kind))


def _text(raw: bytes | str) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
