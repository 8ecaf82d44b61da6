"""What a worker process is held to, as far as the platform knows such limits.

Its parent's death: on Linux by PR_SET_PDEATHSIG, beside the pipe that ends with the parent everywhere. Memory: on Linux
by RLIMIT_AS, so that an allocation beyond the limit is refused at once, and by the resident set as /proc tells it,
which the parent watches; elsewhere not at all.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...models.errors import InvalidInputError

PINNED = {
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "PYTHONHASHSEED": "0",  # no order of a set may differ from worker to worker
}
"""Environment of a worker: one thread."""

HEADROOM = 200_000_000  # bytes that a worker needs at the very least for an image
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@contextmanager
def workers_environment() -> Iterator[None]:
    """Give processes started inside the block a worker's environment; keep Ctrl-C from them until they ignore it."""
    blocked: set[int] | None = None
    if hasattr(signal, "pthread_sigmask"):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    before = {name: os.environ.get(name) for name in PINNED}
    os.environ.update(PINNED)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def ignore_interrupts() -> None:
    """Leave Ctrl-C, which a terminal sends to every process of a group, to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def die_with(parent: int) -> None:
    """Have the system kill this process when its parent ends, even where it holds the interpreter for ever."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was too late for that
        os._exit(1)


def limit_memory(limit: float) -> None:
    """Refuse this process memory beyond `limit` bytes. InvalidInputError where it is next to that already."""
    used = resident_memory(os.getpid())
    if used is None:
        return
    if used + HEADROOM > limit:
        least = (used + HEADROOM) / 1e9
        raise InvalidInputError(f"--memory: expected at least {least:.1f} GB, which a worker needs for any image, "
                                f"got {limit / 1e9:g}")  # fmt: skip
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = _pages(os.getpid())[0] * os.sysconf("SC_PAGE_SIZE") + int(limit - used)
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def resident_memory(process: int) -> int | None:
    """Return the bytes of memory that a process occupies; None where the platform does not tell, or it is gone."""
    try:
        return _pages(process)[1] * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def _pages(process: int) -> list[int]:
    """Return Linux's count of a process' pages: its address space, its resident set, ..."""
    return [int(count) for count in Path(f"/proc/{process}/statm").read_text().split()]
