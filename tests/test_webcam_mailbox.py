"""The one-frame mailbox: late letters are dropped or waited for, never queued; closing wakes everybody."""

import threading
import time
from collections.abc import Callable

import pytest

from facefit.apps.webcam.mailbox import Mailbox

SOON = 20.0  # s, after which a thread that should have ended is taken to hang


def _in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(work()), daemon=True)
    thread.start()
    return thread, done


def _ended(*threads: threading.Thread) -> bool:
    for thread in threads:
        thread.join(SOON)
    return not any(thread.is_alive() for thread in threads)


def test_a_late_letter_makes_room_for_a_newer_one() -> None:
    box: Mailbox[int] = Mailbox(waits=False)
    for letter in range(5):
        assert box.put(letter)
    assert (box.take(0.0), box.take(0.0)) == (4, None)
    assert box.dropped == 4


def test_a_mailbox_that_waits_loses_nothing_and_keeps_the_order() -> None:
    box: Mailbox[int] = Mailbox(waits=True)
    writer, _ = _in_thread(lambda: [box.put(letter) for letter in range(200)] and box.close())
    read = []
    while not box.ended:
        if (letter := box.take(0.05)) is not None:
            read.append(letter)
    assert read == list(range(200))
    assert box.dropped == 0
    assert _ended(writer)


def test_a_writer_waits_while_the_slot_is_taken() -> None:
    box: Mailbox[str] = Mailbox(waits=True)
    box.put("first")
    writer, _ = _in_thread(lambda: box.put("second"))
    room, _ = _in_thread(box.wait_for_room)
    time.sleep(0.05)
    assert writer.is_alive() and room.is_alive()
    assert box.take(0.0) == "first"
    assert box.take(SOON) == "second"
    assert _ended(writer, room)


def test_who_waits_for_a_reader_writes_only_when_there_is_one() -> None:
    box: Mailbox[str] = Mailbox(waits=True)
    writer, done = _in_thread(lambda: box.wait_for_reader() and box.put("just in time"))
    assert box.take(0.0) is None, "who does not wait is no reader"
    time.sleep(0.05)
    assert writer.is_alive()
    assert box.take(SOON) == "just in time"
    assert _ended(writer) and done == [True]
    closing, done = _in_thread(box.wait_for_reader)
    box.close()
    assert _ended(closing) and done == [False]


def test_the_other_kind_always_has_room() -> None:
    box: Mailbox[str] = Mailbox(waits=False)
    box.put("first")
    assert box.wait_for_room()


@pytest.mark.parametrize("waits", [True, False])
def test_closing_wakes_everybody(waits: bool) -> None:
    box: Mailbox[str] = Mailbox(waits=waits)
    readers = [_in_thread(box.take) for _ in range(3)]
    full: Mailbox[str] = Mailbox(waits=True)
    full.put("in the way")
    writers = [_in_thread(lambda: full.put("late")), _in_thread(full.wait_for_room)]
    time.sleep(0.05)
    box.close()
    full.close()
    assert _ended(*(thread for thread, _ in readers + writers))
    assert [done for _, done in readers] == [[None]] * 3
    assert [done for _, done in writers] == [[False], [False]]


def test_the_last_letter_outlives_the_closing_unless_it_is_discarded() -> None:
    kept: Mailbox[str] = Mailbox(waits=True)
    kept.put("last")
    kept.close()
    assert not kept.ended
    assert (kept.take(), kept.take(), kept.ended) == ("last", None, True)
    assert not kept.put("too late")
    thrown: Mailbox[str] = Mailbox(waits=True)
    thrown.put("last")
    thrown.close(discard=True)
    assert (thrown.ended, thrown.take()) == (True, None)
