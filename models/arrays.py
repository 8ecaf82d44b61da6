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

    `shape` holds one entry per axis; None accepts any length. With `finite`, NaN and infinity are refused.
    """
    wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
    try:
        array = np.asarray(value, dtype=dtype)
    except (TypeError, ValueError) as problem:
        raise error(f"{name}: expected an array of shape {wanted} and type {np.dtype(dtype)}, got {problem}") from None
    fits = array.ndim == len(shape) and all(n is None or n == m for n, m in zip(shape, array.shape, strict=True))
    if not fits:
        raise error(f"{name}: expected shape {wanted}, got {array.shape}")
    if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise error(f"{name}: expected finite numbers, got NaN or infinity")
    return array


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a C-contiguous array that cannot be written to: a copy only where `array` itself could be changed."""
    if array.flags.writeable or not array.flags.c_contiguous:
        array = np.array(array, order="C")
        array.flags.writeable = False
    return array
