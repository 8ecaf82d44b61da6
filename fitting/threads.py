"""One owner of BLAS threads: facefit's matrices are small, and a second BLAS thread costs more than it brings."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold every BLAS library that is loaded at one thread inside the block."""
    import scipy.linalg  # noqa: F401  its BLAS must be loaded before it can be limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
