"""One owner of BLAS threads: facefit's matrices are small, and a second BLAS thread costs more than it brings."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    """Return the handle of the BLAS libraries; looking for them takes milliseconds, so it is done once."""
    import scipy.linalg  # noqa: F401  its BLAS must be loaded before it can be found

    return ThreadpoolController()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold every BLAS library at one thread inside the block."""
    with _controller().limit(limits=1, user_api="blas"):
        yield
