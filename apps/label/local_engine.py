"""Workers on this machine: one single-threaded process per core, and a parent that outlives whatever kills them.

A worker gets one image at a time, over a pipe of its own, after it has said that it is ready. The parent kills a worker
whose image takes longer than the time limit, whose resident set grows past the memory limit, or which gives no sign of
life, and starts another one in its place. What ended the worker is held against the image that it was at:

    crashed, ended by itself, ran too long, needed too much, raised     a try; after `tries` of them: quarantine
    SIGKILL or SIGTERM while its memory was well within the limit       somebody else's doing: `outside_tries` of them
    no sign of life                                                     a try

A worker that dies before it is ready costs no image; when many in a row do and no other one is at work, the run ends
with the reason of the last.
Workers end with the parent, however it ends (see limits.py).
"""

import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any

from ...models.errors import InvalidInputError
from . import worker
from .engine import Done, EngineError, Failed, Task
from .labelled import FitterSpec
from .limits import resident_memory, workers_environment

TICK = 0.2  # s between two looks at the workers
LATE = 1.0  # s between two looks after which the parent has been away
SILENCE = 60.0  # s without a sign of life after which a worker counts as dead
START_SECONDS = 600.0  # s that a worker may take until it is ready: the first on a machine compiles its kernels
FAILED_STARTS = 5  # in a row, beside one per worker, that end the run
FAREWELL = 5.0  # s that idle workers have to end by themselves
NEAR_LIMIT = 0.9  # share of the memory limit above which a SIGKILL is taken for the system's own out-of-memory killer

_FROM_OUTSIDE = {"SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT"}
_OUTSIDE = "was killed from outside"
_COUNTS = {1: "", 2: " twice"}


@dataclass(frozen=True)
class LocalEngine:
    """Options of the engine."""

    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    timeout: float = 60.0  # s that one image may take
    memory: float = 3e9  # bytes that one worker may occupy
    tries: int = 2  # after which an image that ends its workers is given up
    outside_tries: int = 5  # the same where they were killed from outside
    silence: float = SILENCE  # s

    def __post_init__(self) -> None:
        """Refuse what no worker can work with."""
        for name in ("workers", "tries", "outside_tries"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name}: expected a number from 1, got {getattr(self, name)}")
        for name in ("timeout", "memory", "silence"):
            if not getattr(self, name) > 0.0:
                raise InvalidInputError(f"{name}: expected a positive number, got {getattr(self, name)}")

    def run(self, tasks: Iterator[Task], spec: FitterSpec) -> Generator[Done | Failed, None, None]:
        """Yield what became of each task; see `Engine`."""
        crew = _Crew(self, tasks, pickle.dumps(spec))
        try:
            while crew.has_work():
                yield from crew.step()
        finally:
            crew.dismiss()


class _Worker:
    """The parent's end of a worker process."""

    def __init__(self, spec: bytes, memory: float, events: "queue.SimpleQueue[tuple[_Worker, Any]]") -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, spec, memory, os.getpid())
        self.process = context.Process(target=worker.main, args=arguments, name="facefit-label", daemon=True)
        try:
            with workers_environment():
                self.process.start()
        finally:
            theirs.close()
        self.ready = False
        self.task: Task | None = None
        self.sha256: str | None = None  # of the task's image, once it is read
        self.since = self.heard = time.monotonic()  # when the task, or the start, began; when the last message came
        self.resident = 0  # bytes, the most that was seen since the task began
        self.verdict: str | None = None  # why the parent killed it
        self._listener = threading.Thread(target=_listen, args=(self, self.connection, events), daemon=True)
        self._listener.start()

    def give(self, task: Task) -> bool:
        """Hand out a task; False where the worker turns out to be gone."""
        self.task, self.sha256, self.since, self.resident = task, None, time.monotonic(), 0
        try:
            self.connection.send(task.item)
        except OSError:
            self.task = None
            return False
        return True

    def condemn(self, verdict: str) -> None:
        """Give it no further task: it is to end, by itself or by force."""
        self.verdict, self.since = verdict, time.monotonic()

    def kill(self, verdict: str) -> None:
        self.condemn(verdict)
        self.process.kill()

    def bury(self) -> str:
        """Wait for the end of a process whose pipe is closed, and return what ended it."""
        self.process.join(FAREWELL)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        code = self.process.exitcode or 0
        self.process.close()
        self._listener.join(FAREWELL)  # it must not read from a number that stands for another file by then
        self.connection.close()
        if code >= 0:
            return f"ended with exit status {code}"
        return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"


def _listen(owner: _Worker, connection: Connection, events: "queue.SimpleQueue[tuple[_Worker, Any]]") -> None:
    """Pass on what a worker says, and None when it is gone. In a thread: half a message must not hold up the others."""
    try:
        while True:
            events.put((owner, pickle.loads(connection.recv_bytes())))
    except Exception:  # the end of the pipe, or rubbish from a process whose memory is damaged
        events.put((owner, None))


@dataclass
class _History:
    """What an image did to its workers so far."""

    ends: list[str] = field(default_factory=list)  # held against it
    outside: list[str] = field(default_factory=list)  # somebody else's doing
    sha256: str | None = None


class _Crew:
    """The workers of one run, and the tasks that they are at."""

    def __init__(self, engine: LocalEngine, tasks: Iterator[Task], spec: bytes) -> None:
        self._engine, self._tasks, self._spec = engine, tasks, spec
        self._events: queue.SimpleQueue[tuple[_Worker, Any]] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        # To be handed out: what is to be tried again, and at first a task per worker, so that none starts for nothing.
        self._ready = deque(islice(tasks, engine.workers))
        self._histories: dict[int, _History] = {}  # of tasks that ended a worker, by position
        self._no_more = len(self._ready) < engine.workers
        self._failed_starts, self._next_start = 0, 0.0
        self._looked = time.monotonic()  # when the workers were last looked at
        self._handlers: dict[str, Callable[..., Done | Failed | None]] = {
            "ready": self._on_ready, "refused": self._on_refused, "broken": self._on_broken, "read": self._on_read,
            "done": self._on_done, "failed": self._on_failed, "memory": self._on_memory, "beat": lambda owner: None,
        }  # fmt: skip

    def has_work(self) -> bool:
        """Hand out what can be handed out; whether anything is left to wait for."""
        self._hire()
        for idle in [w for w in self._workers if w.ready and w.task is None and w.verdict is None]:
            task = self._take()
            if task is None:
                break
            if not idle.give(task):
                self._ready.appendleft(task)
        return not self._no_more or bool(self._ready) or any(w.task for w in self._workers)

    def step(self) -> Iterator[Done | Failed]:
        """Wait for news, and yield the results among them."""
        self._police()
        try:
            owner, message = self._events.get(timeout=TICK)
        except queue.Empty:
            return
        if owner not in self._workers:
            return
        if message is None:
            result: Done | Failed | None = self._on_gone(owner)
        else:
            owner.heard = time.monotonic()
            result = self._handlers[message[0]](owner, *message[1:])
        if result is not None:
            yield result

    def dismiss(self) -> None:
        """End every worker: idle ones by a word, the others by force."""
        for member in self._workers:
            try:
                if not member.ready or member.task is not None:
                    raise OSError
                member.connection.send(None)
            except OSError:
                member.process.kill()
        until = time.monotonic() + FAREWELL
        for member in self._workers:
            member.process.join(max(0.0, until - time.monotonic()))
            if member.process.exitcode is None:
                member.process.kill()
            member.bury()
        self._workers.clear()

    def _take(self) -> Task | None:
        if self._ready:
            return self._ready.popleft()
        if self._no_more:
            return None
        try:
            return next(self._tasks)
        except StopIteration:
            self._no_more = True
            return None

    def _hire(self) -> None:
        """Start the workers that are missing, as far as there is work for them."""
        now = time.monotonic()
        busy = sum(w.task is not None for w in self._workers)
        wanted = min(self._engine.workers, busy + len(self._ready)) if self._no_more else self._engine.workers
        while len(self._workers) < wanted and now >= self._next_start:
            try:
                self._workers.append(_Worker(self._spec, self._engine.memory, self._events))
            except OSError as problem:
                self._start_failed(f"no process can be started ({problem.strerror or problem})")

    def _start_failed(self, reason: str) -> None:
        self._failed_starts += 1
        at_work = any(member.ready for member in self._workers)
        if self._failed_starts >= FAILED_STARTS + self._engine.workers and not at_work:
            raise EngineError(f"workers: expected one that starts, got {self._failed_starts} in a row that did not; "
                              f"the last: {reason}")  # fmt: skip
        rounds = min(self._failed_starts / self._engine.workers, 10.0)
        self._next_start = time.monotonic() + 0.02 * 2.0**rounds

    def _police(self) -> None:
        """Kill workers that take too long, too much, or give no sign of life."""
        now, engine = time.monotonic(), self._engine
        pause = now - self._looked
        if pause < TICK:
            return
        self._looked = now
        for member in self._workers:
            if pause > LATE:  # it was us who were away, with a shard to write or asleep: that time does not count
                member.since, member.heard = member.since + pause, member.heard + pause
            if member.verdict is not None:
                if now - member.since > FAREWELL:
                    member.process.kill()
                continue
            member.resident = max(member.resident, resident_memory(member.process.pid or 0) or 0)
            limit = engine.timeout if member.ready else START_SECONDS
            if (member.task or not member.ready) and now - member.since > limit:
                member.kill(f"ran past {limit:g} s")
            elif member.ready and member.resident > engine.memory:
                member.kill(self._too_much())
            elif now - member.heard > engine.silence:
                member.kill(f"gave no sign of life for {engine.silence:g} s")

    def _too_much(self) -> str:
        return f"needed more than {self._engine.memory / 1e9:g} GB"

    def _on_ready(self, owner: _Worker) -> None:
        owner.ready, self._failed_starts, self._next_start = True, 0, 0.0

    def _on_refused(self, owner: _Worker, text: str) -> None:
        raise EngineError(text)

    def _on_broken(self, owner: _Worker, text: str) -> None:
        owner.condemn(text)

    def _on_read(self, owner: _Worker, sha256: str) -> None:
        owner.sha256 = sha256

    def _on_done(self, owner: _Worker, sha256: str | None, labelled: Any) -> Done | None:
        task, owner.task = owner.task, None
        if task is None:
            return None
        self._histories.pop(task.position, None)
        return Done(task, sha256, labelled)

    def _on_failed(self, owner: _Worker, text: str) -> Failed | None:
        return self._charge(owner, f"raised {text}")

    def _on_memory(self, owner: _Worker) -> Failed | None:
        owner.condemn(self._too_much())
        return self._charge(owner, self._too_much())

    def _on_gone(self, owner: _Worker) -> Failed | None:
        self._workers.remove(owner)
        end = owner.bury()
        if owner.task is not None:
            return self._charge(owner, owner.verdict or self._cause(owner, end))
        if not owner.ready:
            self._start_failed(owner.verdict or f"it {end if ' ' in end else f'was ended by {end}'}")
        return None

    def _cause(self, owner: _Worker, end: str) -> str:
        """Return what is held against an image whose worker ended by itself, or was ended by others."""
        if end in _FROM_OUTSIDE:
            near = owner.resident > NEAR_LIMIT * self._engine.memory
            return self._too_much() if near else f"{_OUTSIDE} ({end})"
        return end if " " in end and not end.startswith("signal") else f"crashed ({end})"

    def _charge(self, owner: _Worker, end: str) -> Failed | None:
        """Hold the end of a worker against its image: another try, or quarantine."""
        task, owner.task = owner.task, None
        if task is None:
            return None
        history = self._histories.setdefault(task.position, _History())
        history.sha256 = owner.sha256 or history.sha256
        (history.outside if end.startswith(_OUTSIDE) else history.ends).append(end)
        if len(history.ends) < self._engine.tries and len(history.outside) < self._engine.outside_tries:
            self._ready.append(task)
            return None
        del self._histories[task.position]
        # What others did to its workers is no property of the image, so it does not stand in its record.
        own = len(history.ends) >= self._engine.tries
        return Failed(task, history.sha256, summed_up(history.ends if own else history.outside))


def summed_up(ends: list[str]) -> str:
    """Return what ended an image's workers: "crashed (SIGSEGV) twice", or "crashed (SIGSEGV), then ran past 60 s"."""
    parts: list[tuple[str, int]] = []
    for end in ends:
        if parts and parts[-1][0] == end:
            parts[-1] = (end, parts[-1][1] + 1)
        else:
            parts.append((end, 1))
    return ", then ".join(end + _COUNTS.get(count, f" {count} times") for end, count in parts)
