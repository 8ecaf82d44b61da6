"""Checks of array arguments at public entry points: one place, one wording."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .errors import InvalidInputError


def checked_array(
    name: str,
    value: Any,
    shape: Sequence[int | None],
    dtype: DTypeLike = np.float64,
    *,
    finite: bool = True,
    error: type[Exception] = InvalidInputError,
) -> NDArray[Any]:
    """Return `value` as an array of `dtype`, or raise `error` naming the expected and the actual shape.

    `shape` holds one entry per axis; None accepts any length. With `finite`, NaN and infinity are refused. Numbers
    that whole or boolean types cannot hold are refused, not rounded or wrapped.
    """
    try:
        given = np.asarray(value)
        array = given if given.dtype == dtype else _converted(given, np.dtype(dtype))
    except (TypeError, ValueError, OverflowError) as problem:
        wanted = f"{_shape_text(shape)} and type {np.dtype(dtype)}"
        raise error(f"{name}: expected an array of shape {wanted}, got {problem}") from None
    if len(shape) != array.ndim or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        raise error(f"{name}: expected shape {_shape_text(shape)}, got {array.shape}")
    if array is not given and array.dtype.kind in "biu" and not np.array_equal(array, given):
        raise error(f"{name}: expected numbers that {array.dtype} holds exactly, got others")
    if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise error(f"{name}: expected finite numbers, got NaN or infinity")
    return array


def checked_indices(
    name: str, value: Any, shape: Sequence[int | None], size: int, *, error: type[Exception] = InvalidInputError
) -> NDArray[np.int32]:
    """Return `value` as an int32 array of indices from 0 to `size` - 1 (see `checked_array`)."""
    indices = checked_array(name, value, shape, np.int32, error=error)
    if indices.size and (indices.min() < 0 or indices.max() >= size):
        raise error(f"{name}: expected indices from 0 to {size - 1}, got {int(indices.min())} to {int(indices.max())}")
    return indices


def _converted(given: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `given` as `dtype`; TypeError for what is no number. What overflows gives infinity or another number."""
    if given.dtype.kind not in "biufO":
        raise TypeError(f"type {given.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        return given.astype(dtype)


def _shape_text(shape: Sequence[int | None]) -> str:
    """Return the shape as Python would print it, with `any` for an axis of any length."""
    lengths = ["any" if n is None else str(n) for n in shape]
    return f"({lengths[0]},)" if len(lengths) == 1 else f"({', '.join(lengths)})"


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a C-contiguous array that cannot be written to: a copy only where `array` itself could be changed."""
    through_base = isinstance(array.base, np.ndarray) and array.base.flags.writeable
    if array.flags.writeable or through_base or not array.flags.c_contiguous:
        array = np.array(array, order="C")
        array.flags.writeable = False
    return array


def is_whole_number(value: Any) -> bool:
    """Whether a value is an integer; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_real_number(value: Any) -> bool:
    """Whether a value is a number; True and False are none."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
