"""A worker process: builds its fitter, then labels one image after the other, until it is told to stop or is killed.

Three threads: the main one works; one listens, and ends the process where the parent's end of the pipe closes; one
sends a sign of life every BEAT seconds. What goes to the parent, as tuples:

    ("ready",)                          the fitter is built
    ("refused", text)                   it cannot be built, and nowhere can: the run is over
    ("broken", text)                    it could not be built here; the process ends
    ("beat",)                           a sign of life
    ("read", sha256)                    the image's file is read; its labelling begins
    ("done", sha256 | None, Labelled)   the image is labelled
    ("failed", text)                    it is not: the fitter raised
    ("memory",)                         it is not: memory was refused; the process ends
"""

import os
import pickle
import queue
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ...models.errors import FacefitError
from .engine import label_item
from .labelled import Fitter
from .limits import die_with, ignore_interrupts, limit_memory

BEAT = 1.0  # s between signs of life


def main(connection: Connection, pickled_spec: bytes, memory: float, parent: int) -> None:
    """Work for the parent at the other end of `connection`; `memory` in bytes, `parent` its process id."""
    die_with(parent)
    ignore_interrupts()
    _silence()
    outbox, inbox = _Outbox(connection), queue.SimpleQueue[Any]()
    for target, arguments in ((_listen, (connection, inbox)), (_beat, (outbox,))):
        threading.Thread(target=target, args=arguments, daemon=True).start()
    try:
        fitter = pickle.loads(pickled_spec).build()
        limit_memory(memory)
    except FacefitError as problem:
        return outbox.send("refused", str(problem))
    except Exception as problem:
        return outbox.send("broken", describe(problem))
    outbox.send("ready")
    while (item := inbox.get()) is not None and _label(fitter, item, outbox):
        pass


def describe(problem: BaseException) -> str:
    """Return what was raised, and where in one line."""
    text = " ".join(f"{type(problem).__name__}: {problem}".split())
    frames = traceback.extract_tb(problem.__traceback__)
    return f"{text} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else text


class _Outbox:
    """The way to the parent, for several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def send(self, *message: Any) -> None:
        data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        try:
            with self._lock:
                self._connection.send_bytes(data)
        except OSError:  # the parent is gone
            os._exit(1)


def _label(fitter: Fitter, item: Any, outbox: _Outbox) -> bool:
    """Label one image; return whether this process is fit for another."""
    try:
        sha256, labelled = label_item(fitter, item, lambda sha256: outbox.send("read", sha256))
    except MemoryError:
        outbox.send("memory")
        return False
    except Exception as problem:
        outbox.send("failed", describe(problem))
        return True
    outbox.send("done", sha256, labelled)
    return True


def _listen(connection: Connection, inbox: "queue.SimpleQueue[Any]") -> None:
    try:
        while True:
            inbox.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)


def _beat(outbox: _Outbox) -> None:
    pause = threading.Event()
    while not pause.wait(BEAT):
        outbox.send("beat")


def _silence() -> None:
    """Send to nowhere what libraries print of each of a million damaged pictures."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
