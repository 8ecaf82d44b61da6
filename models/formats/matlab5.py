"""Numbers of a MATLAB 5 `.mat` file (what `save` writes up to -v7), read without trust.

After a header of 128 bytes stand elements, each a tag (u32 type, u32 bytes) and so many bytes; a variable is a MATRIX
element, or a COMPRESSED one that inflates to it. Within: flags (class), dimensions, name, then for numbers one element
in any type that holds them, for a structure its field names and a MATRIX for each. An element of at most four bytes
may stand in its own tag. Only real numbers, and structures of them, are read; objects, functions and all else are
passed over, and nothing is executed.

Memory is bounded by the file's size, MAX_BYTES and MAX_NUMBERS: a variable is inflated only if it is wanted, and no
further than the size that it states; numbers are counted too, since one byte of a file can hold what takes eight here.

Source: The MathWorks, "MAT-File Format", chapter 1, "MAT-File Level 5 File Format".
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

MAX_BYTES = 2**31
MAX_NUMBERS = 2**27  # of a matrix; the largest of these models' has a quarter of it
MAX_AXES = 32
MAX_FIELDS = 1000
HEADER = 128
PEEK = 512  # bytes inflated to learn a variable's name

_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_STRUCTURE, _NUMERIC = 2, range(6, 16)  # classes
_COMPLEX = 0x0800

Value = NDArray[Any] | dict[str, NDArray[Any]]


def is_mat5(path: Path) -> bool:
    """Tell by the header whether `path` is a little-endian MATLAB 5 file."""
    try:
        with path.open("rb") as file:
            return file.read(HEADER)[124:] == b"\x00\x01IM"
    except (OSError, ValueError):
        return False


def variable_names(path: Path) -> list[str]:
    """Return the names of the variables; ModelError where the file is damaged. Inflates next to nothing."""
    return [_Matrix.opened(_inflated(element, PEEK)).name for element in _variables(_content(path))]


def read_variables(path: Path, wanted: Collection[str]) -> dict[str, Value]:
    """Return those of the `wanted` variables that are numbers or a structure of numbers, by name.

    Arrays keep the type in which the file stores them. ModelError names what is wrong, but not the file.
    """
    values: dict[str, Value] = {}
    left = MAX_BYTES
    for element in _variables(_content(path)):
        if _Matrix.opened(_inflated(element, PEEK)).name not in wanted:
            continue
        body = _inflated(element, left)
        left -= len(body)
        matrix = _Matrix.opened(body)
        value = matrix.fields() if matrix.kind == _STRUCTURE else matrix.numbers()
        if value is not None:
            values[matrix.name] = value
    return values


class _Element(NamedTuple):
    kind: int
    content: memoryview


class _Matrix(NamedTuple):
    """A variable or a field: what stands before its values, and the bytes of those."""

    name: str
    kind: int  # class
    is_complex: bool
    shape: tuple[int, ...]
    rest: memoryview

    @classmethod
    def opened(cls, body: memoryview) -> "_Matrix":
        """Return the matrix whose element's content is `body`, or begins so."""
        flags, body = _split(body)
        dimensions, body = _split(body)
        name, body = _split(body)
        if len(flags.content) < 4 or len(dimensions.content) % 4:
            raise ModelError("expected flags and dimensions of a variable, got damage")
        word = struct.unpack_from("<I", flags.content)[0]
        shape = tuple(int(n) for n in np.frombuffer(dimensions.content, "<i4"))
        if min(shape, default=-1) < 0 or len(shape) > MAX_AXES:
            raise ModelError(f"expected dimensions of a variable, got {shape[:4]}")
        return cls(bytes(name.content).decode("latin-1"), word & 0xFF, bool(word & _COMPLEX), shape, body)

    def numbers(self) -> NDArray[Any] | None:
        """Return the values as an array; None for what is no real, full matrix of numbers."""
        if self.kind not in _NUMERIC or self.is_complex:
            return None
        element, _ = _split(self.rest)
        kind = _NUMBERS.get(element.kind)
        count = math.prod(self.shape)
        if count > MAX_NUMBERS:
            raise ModelError(f"{self.name}: expected at most {MAX_NUMBERS} numbers, got more")
        if kind is None or len(element.content) != count * np.dtype(kind).itemsize:
            raise ModelError(f"{self.name}: expected the numbers of a matrix {self.shape}, got other content")
        return np.frombuffer(element.content, kind).reshape(self.shape, order="F")

    def fields(self) -> dict[str, NDArray[Any]] | None:
        """Return the numeric fields of a single structure by name; None for an array of structures."""
        width, rest = _split(self.rest)
        names, rest = _split(rest)
        length = struct.unpack_from("<i", width.content)[0] if len(width.content) == 4 else 0
        if any(n != 1 for n in self.shape):
            return None
        if length <= 0 or len(names.content) % length or len(names.content) // length > MAX_FIELDS:
            raise ModelError(f"{self.name}: expected the names of a structure's fields, got damage")
        values: dict[str, NDArray[Any]] = {}
        for at in range(0, len(names.content), length):
            element, rest = _split(rest)
            if element.kind != _MATRIX:
                raise ModelError(f"{self.name}: expected a matrix for each field, got type {element.kind}")
            field = bytes(names.content[at : at + length]).split(b"\0")[0].decode("latin-1")
            if not element.content:  # an empty field
                continue
            value = _Matrix.opened(element.content)._replace(name=f"{self.name}.{field}").numbers()
            if value is not None:
                values[field] = value
        return values


def _content(path: Path) -> memoryview:
    if not is_mat5(path):
        raise ModelError("expected a little-endian MATLAB 5 file (save -v7), got another kind")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ModelError(f"expected at most {MAX_BYTES} bytes, got more")
    return memoryview(content)[HEADER:]


def _variables(rest: memoryview) -> Iterator[_Element]:
    """Return the elements of the file that are variables, as they stand there."""
    while rest:
        if len(rest) < 8:
            raise ModelError(f"expected the tag of a variable, got {len(rest)} bytes")
        kind, size = struct.unpack_from("<II", rest)
        if size > len(rest) - 8:
            raise ModelError(f"expected a variable of {size} bytes, got {len(rest) - 8}")
        if kind in (_MATRIX, _COMPRESSED):
            yield _Element(kind, rest[8 : 8 + size])
        rest = rest[8 + size :]


def _inflated(element: _Element, most: int) -> memoryview:
    """Return a variable's content, inflated where it is compressed; of that at most PEEK bytes where `most` is PEEK."""
    if element.kind == _MATRIX:
        return element.content
    try:
        inflater = zlib.decompressobj()
        tag = inflater.decompress(element.content, 8)
        if len(tag) < 8:
            raise ModelError("expected a compressed variable, got less than its tag")
        kind, size = struct.unpack("<II", tag)
        if kind != _MATRIX:
            raise ModelError(f"expected a compressed variable, got type {kind}")
        if most != PEEK and size > most:
            raise ModelError(f"expected at most {most} bytes unpacked, got {size}")
        body = inflater.decompress(inflater.unconsumed_tail, max(1, min(size, most)))
    except zlib.error as problem:
        raise ModelError(f"a compressed variable is damaged ({problem})") from None
    if len(body) < min(size, most):
        raise ModelError(f"expected {size} bytes of a compressed variable, got {len(body)}")
    return memoryview(body)


def _split(body: memoryview) -> tuple[_Element, memoryview]:
    """Return the first element of `body` and what comes after it, past the padding to eight bytes."""
    if len(body) < 8:
        raise ModelError(f"expected an element of a variable, got {len(body)} bytes")
    kind, size = struct.unpack_from("<II", body)
    if kind >> 16:  # a small element: type and size in one word, content in the other
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise ModelError(f"expected a small element of at most 4 bytes, got {size}")
        return _Element(kind, body[4 : 4 + size]), body[8:]
    if size > len(body) - 8:
        raise ModelError(f"expected an element of {size} bytes, got {len(body) - 8}")
    return _Element(kind, body[8 : 8 + size]), body[8 + size + -size % 8 :]
