"""A mailbox for one letter: what lies between two threads that work at their own pace.

Nothing queues. Where the reader is late, a mailbox that `waits` makes the writer wait, so that nothing is lost (files);
the other kind throws the old letter away for the new one, so that nothing is late (cameras).
"""

import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """One slot, any number of threads; closing it wakes everybody who waits."""

    def __init__(self, *, waits: bool) -> None:
        """Make an empty one; see the module's text for `waits`."""
        self._waits = waits
        self._changed = threading.Condition()
        self._letters: list[T] = []  # one at most
        self._readers = 0  # who wait for one
        self._closed = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many letters were thrown away for newer ones."""
        return self._dropped

    @property
    def ended(self) -> bool:
        """Whether nothing will ever come out again."""
        with self._changed:
            return self._closed and not self._letters

    def wait_for_room(self) -> bool:
        """Wait until `put` would not; True where a letter would be taken, False once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._waits or not self._letters)
            return not self._closed

    def wait_for_reader(self) -> bool:
        """Wait until somebody waits for a letter, so that it will not grow old; False once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._readers and not self._letters))
            return not self._closed

    def put(self, letter: T) -> bool:
        """Leave a letter; True where it was taken, False where the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._waits or not self._letters)
            if self._closed:
                return False
            self._dropped += len(self._letters)
            self._letters[:] = [letter]
            self._changed.notify_all()
            return True

    def take(self, timeout: float | None = None) -> T | None:
        """Wait for a letter and take it; None after `timeout` seconds, or once it is closed and empty."""
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._letters:
                left = None if until is None else until - time.monotonic()
                if self._closed or (left is not None and left <= 0.0):
                    return None
                self._readers += 1
                self._changed.notify_all()
                self._changed.wait(left)
                self._readers -= 1
            letter = self._letters.pop()
            self._changed.notify_all()
            return letter

    def close(self, *, discard: bool = False) -> None:
        """Take no more letters; the one that lies there can still be had, unless it is discarded."""
        with self._changed:
            self._closed = True
            if discard:
                self._letters.clear()
            self._changed.notify_all()
