"""Three threads with a mailbox between each two: capture, track, show.

    source --frames--> [mailbox] --tracker--> [mailbox] --take()--> whoever called, the main thread

The first two threads are the pipeline's own, the third is the caller's, who draws and writes. A frame is tracked once
the one before is being shown, so nothing is tracked in vain, and what is tracked next is the newest frame of a live
source, the older ones being dropped. A file's frames are never dropped: each is fetched when the tracker asks. Every
call of the tracker is made by the tracking thread, so that the others only leave orders for it, between two frames.

Whatever happens in a thread, the pipeline ends: `take` hands out what is left, then None, and `ended` says why. What a
thread raised is kept as `problem`.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ...models.errors import FacefitError
from .frames import Frame
from .mailbox import Mailbox
from .sources import Source

if TYPE_CHECKING:
    from ...fitting.tracking import TrackedFace

PATIENCE = 3.0  # s that `close` waits for each thread: one may hang in a driver


class Tracks(Protocol):
    """What is used of `fitting.tracking.Tracker`."""

    def track(self, frame: NDArray[np.uint8], seconds: float | None) -> "Sequence[TrackedFace]":
        """Return the faces of the next frame."""

    def reset(self) -> None:
        """Forget everybody."""

    def calibrate_neutral(self) -> None:
        """Take what is seen now for the neutral expression."""


class PipelineError(FacefitError):
    """A thread failed in a way that nobody foresaw; the sentence names where and how."""


@dataclass(frozen=True, eq=False)
class Tracked:
    """A frame with the faces that were found in it."""

    frame: Frame
    faces: "Sequence[TrackedFace]"
    seconds: float  # that tracking took


class Gate:
    """What pauses the tracking: open, or shut but for single steps."""

    def __init__(self) -> None:
        """Make an open one."""
        self._changed = threading.Condition()
        self._open, self._steps, self._gone = True, 0, False

    @property
    def is_open(self) -> bool:
        """Whether all may pass."""
        return self._open

    def toggle(self) -> None:
        """Shut it, or open it."""
        with self._changed:
            self._open, self._steps = not self._open, 0
            self._changed.notify_all()

    def step(self) -> None:
        """Let one through a shut gate; an open one is shut first."""
        with self._changed:
            self._open, self._steps = False, self._steps + 1
            self._changed.notify_all()

    def remove(self) -> None:
        """Hold nobody up ever again."""
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def pass_through(self) -> None:
        """Wait until there is a way."""
        with self._changed:
            self._changed.wait_for(lambda: self._gone or self._open or self._steps)
            self._steps -= not (self._gone or self._open)


class Pipeline:
    """Runs a source through a tracker."""

    def __init__(self, source: Source, tracker: Tracks, *, limit: int | None = None, paced: bool = False) -> None:
        """`limit`: frames to track at most. `paced`: a file's frames come at their own times, as a person wants it."""
        self._source, self._tracker, self._limit = source, tracker, limit
        self._paced = paced and not source.live
        self._captured: Mailbox[Frame] = Mailbox(waits=not source.live)
        self._tracked: Mailbox[Tracked] = Mailbox(waits=True)
        self._gate, self._stopping = Gate(), threading.Event()
        self._orders: list[Callable[[], None]] = []  # appending and popping are atomic
        self._problems: list[FacefitError] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(work, box), name=f"facefit-{name}", daemon=True)
            for name, work, box in (
                ("capture", self._capture, self._captured),
                ("track", self._track, self._tracked),
            )
        ]

    @property
    def dropped(self) -> int:
        """How many frames were late and thrown away."""
        return self._captured.dropped

    @property
    def ended(self) -> bool:
        """Whether `take` has nothing more to give."""
        return self._tracked.ended

    @property
    def problem(self) -> FacefitError | None:
        """What a thread failed with; None while all is well. SourceLostError: the frames until then are good."""
        return self._problems[0] if self._problems else None

    @property
    def paused(self) -> bool:
        """Whether the gate is shut."""
        return not self._gate.is_open

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def take(self, timeout: float | None = None) -> Tracked | None:
        """Return the next frame and its faces; None after `timeout` seconds without one, or when it has `ended`."""
        return self._tracked.take(timeout)

    def toggle_pause(self) -> None:
        """Pause, or go on. A live source's frames are dropped meanwhile, a file waits."""
        self._gate.toggle()

    def step(self) -> None:
        """Pause, and let one frame through."""
        self._gate.step()

    def reset(self) -> None:
        """Have the tracker forget everybody before its next frame."""
        self._orders.append(self._tracker.reset)

    def calibrate_neutral(self) -> None:
        """Have the tracker take what it saw last for the neutral expression."""
        self._orders.append(self._tracker.calibrate_neutral)

    def close(self) -> None:
        """Stop everything; nothing comes out any more."""
        self._stopping.set()
        self._gate.remove()
        for box in (self._captured, self._tracked):
            box.close(discard=True)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(PATIENCE)

    def _guarded(self, work: Callable[[], None], box: Mailbox[Frame] | Mailbox[Tracked]) -> None:
        """Do a thread's work; whatever ends it, the next one in line finds its mailbox closed."""
        try:
            work()
        except FacefitError as problem:
            self._problems.append(problem)
        except Exception as problem:
            name = threading.current_thread().name.removeprefix("facefit-")
            wrapped = PipelineError(f"{name}: expected no error, got {type(problem).__name__}: {problem}")
            wrapped.__cause__ = problem
            self._problems.append(wrapped)
        finally:
            box.close()
            if box is not self._captured:  # nobody reads any more
                self._captured.close(discard=True)
                self._stopping.set()

    def _capture(self) -> None:
        """Bring frames into the first mailbox."""
        with closing(self._source.frames(self._stopping)) as frames:
            before, due = 0.0, time.perf_counter()
            wanted = self._captured.wait_for_room if self._source.live else self._captured.wait_for_reader
            while wanted() and (frame := next(frames, None)) is not None:
                if self._paced:
                    due = max(due + frame.seconds - before, time.perf_counter())
                    before = frame.seconds
                    self._stopping.wait(due - time.perf_counter())
                    frame = replace(frame, captured=time.perf_counter())
                if not self._captured.put(frame):
                    break

    def _track(self) -> None:
        """Carry out orders and track, frame by frame, into the second mailbox."""
        count = 0
        while self._limit is None or count < self._limit:
            self._gate.pass_through()
            if not self._tracked.wait_for_room() or (frame := self._captured.take()) is None:
                return
            while self._orders:
                self._orders.pop(0)()
            started = time.perf_counter()
            faces = self._tracker.track(frame.pixels, frame.seconds)
            count += 1
            if not self._tracked.put(Tracked(frame, faces, time.perf_counter() - started)):
                return
