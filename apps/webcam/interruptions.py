"""Ctrl-C and SIGTERM end a run between two frames: no sink is left with half of one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruptions:
    """Turns the signals into KeyboardInterrupt, and holds the first back where that is asked for."""

    def __init__(self) -> None:
        """Begin with none."""
        self._waiting = self._held = False

    @contextmanager
    def installed(self) -> Iterator[Self]:
        """Listen to the signals; in the main thread alone, where Python lets one."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._come) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Raise KeyboardInterrupt for a signal that comes meanwhile at the end only; for a second one at once."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._waiting:
            raise KeyboardInterrupt

    def _come(self, number: int, frame: FrameType | None) -> None:
        if self._held and not self._waiting:
            self._waiting = True
            return
        raise KeyboardInterrupt
