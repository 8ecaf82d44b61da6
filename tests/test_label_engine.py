"""The local engine: faulty images cost only themselves, and workers end with their parent."""

import hashlib
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import label_stub
import pytest
from label_stub import StubSpec, write_images

from facefit.apps.label.engine import Done, EngineError, Failed, Task
from facefit.apps.label.local_engine import LocalEngine, summed_up
from facefit.apps.label.sources import Item
from facefit.models.errors import InvalidInputError

TESTS = Path(__file__).resolve().parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="limits and signals of Linux")


def tasks_of(folder: Path) -> list[Task]:
    return [Task(k, 0, Item(path.name, str(path))) for k, path in enumerate(sorted(folder.iterdir()))]


def run(engine: LocalEngine, tasks: Sequence[Task], spec: StubSpec | None = None) -> dict[int, Done | Failed]:
    """Return what became of each task, having seen that each came back exactly once."""
    results: dict[int, Done | Failed] = {}
    for result in engine.run(iter(tasks), spec or StubSpec()):
        assert result.task.position not in results
        results[result.task.position] = result
    assert sorted(results) == sorted(task.position for task in tasks)
    return results


def children(process: int) -> list[int]:
    """The workers of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process and b"spawn_main" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


FAULTS = {
    b"crash": "crashed (SIGSEGV) twice",
    b"allocate": "needed more than 0.6 GB twice",
    b"swell": "needed more than 0.6 GB twice",
    b"exit": "ended with exit status 7 twice",
    b"raise": "raised ZeroDivisionError: no such luck (label_stub.py:{line}) twice",
}
HANGS = {b"loop": "ran past 2 s twice", b"hold": "ran past 2 s twice"}


@only_linux
@pytest.mark.parametrize(("faults", "timeout"), [(FAULTS, 60.0), (HANGS, 2.0)], ids=["faults", "hangs"])
def test_faulty_images_cost_only_themselves(tmp_path: Path, faults: dict[bytes, str], timeout: float) -> None:
    places = {7 * k + 3: fault for k, fault in enumerate(faults)}
    folder = write_images(tmp_path / "in", 40, places)
    results = run(LocalEngine(workers=2, timeout=timeout, memory=0.6e9), tasks_of(folder), StubSpec(0.001))
    failed = {k: result.reason for k, result in results.items() if isinstance(result, Failed)}
    line = inspect.getsourcelines(label_stub._raise)[1] + 1
    assert failed == {k: faults[fault].format(line=line) for k, fault in places.items()}
    assert all(len(result.sha256 or "") == 64 for result in results.values()), "each was read before it failed"


def test_what_was_read_keeps_its_hash_and_unread_is_rejected(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", 1)
    results = run(LocalEngine(workers=1), [*tasks_of(folder), Task(1, 0, Item("gone", str(tmp_path / "gone.png")))])
    assert isinstance(results[0], Done)
    assert results[0].sha256 == hashlib.sha256(b"image 0").hexdigest()
    gone = results[1]
    assert isinstance(gone, Done)
    assert (gone.sha256, gone.labelled.outcome, gone.labelled.status) == (None, "rejected", "BAD_INPUT")
    assert gone.labelled.message == "cannot be read (No such file or directory)"


@pytest.mark.parametrize("start", ["exit", "raise"])
def test_workers_that_die_at_their_start_cost_no_image(tmp_path: Path, start: str) -> None:
    folder = write_images(tmp_path / "in", 10)
    bombs = write_images(tmp_path / "bombs", 3)
    spec = StubSpec(failing_starts=str(bombs), start=start)
    results = run(LocalEngine(workers=2), tasks_of(folder), spec)
    assert all(isinstance(result, Done) for result in results.values())
    assert list(bombs.iterdir()) == []


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        ("exit", "expected one that starts, got 6 in a row that did not; the last: it ended with exit status 5"),
        ("raise", r"the last: RuntimeError: no such device \(label_stub.py:\d+\)"),
        ("refuse", "^model: expected one thing, got another$"),
    ],
)
def test_no_worker_at_all_ends_the_run_with_a_sentence(tmp_path: Path, start: str, sentence: str) -> None:
    folder, bombs = write_images(tmp_path / "in", 10), write_images(tmp_path / "bombs", 30)
    with pytest.raises(EngineError, match=sentence):
        run(LocalEngine(workers=1), tasks_of(folder), StubSpec(failing_starts=str(bombs), start=start))
    assert len(list(bombs.iterdir())) >= 24, "it did not go on and on"


def test_one_worker_goes_on_where_no_other_one_starts(tmp_path: Path) -> None:
    spec = StubSpec(0.1, failing_starts=str(tmp_path / "first"), start="all but one")
    results = run(LocalEngine(workers=2), tasks_of(write_images(tmp_path / "in", 30)), spec)
    assert all(isinstance(result, Done) for result in results.values())


@only_linux
def test_too_little_memory_for_any_image_is_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"--memory: expected at least 0\.2 GB, .* got 0\.1"):
        run(LocalEngine(workers=1, memory=0.1e9), tasks_of(write_images(tmp_path / "in", 1)))


@only_linux
@pytest.mark.parametrize("times", [3, 5])
def test_kills_from_outside_are_not_the_images_fault(tmp_path: Path, times: int) -> None:
    """Up to four kills cost an image nothing; the fifth is taken for a hint."""
    folder, tally = write_images(tmp_path / "in", 1, {0: b"loop"} if times == 5 else None), tmp_path / "tally"
    killed = 0

    def kill() -> None:
        nonlocal killed
        while killed < times:
            time.sleep(0.01)
            if tally.is_file() and tally.stat().st_size == killed + 1:
                os.kill(children(os.getpid())[0], signal.SIGKILL)
                killed += 1

    killer = threading.Thread(target=kill)
    killer.start()
    results = run(LocalEngine(workers=1, timeout=30.0), tasks_of(folder), StubSpec(0.5, str(tally)))
    killer.join()
    if times == 3:
        assert isinstance(results[0], Done)
        assert tally.stat().st_size == 4
    else:
        assert isinstance(results[0], Failed)
        assert results[0].reason == "was killed from outside (SIGKILL) 5 times"


@only_linux
def test_a_stopped_worker_counts_as_dead(tmp_path: Path) -> None:
    """No sign of life for the time given: killed, and its image tried again."""
    folder, tally = write_images(tmp_path / "in", 1), tmp_path / "tally"

    def stop() -> None:
        while not (tally.is_file() and tally.stat().st_size == 1):
            time.sleep(0.01)
        os.kill(children(os.getpid())[0], signal.SIGSTOP)

    stopper = threading.Thread(target=stop)
    stopper.start()
    results = run(LocalEngine(workers=1, silence=4.0), tasks_of(folder), StubSpec(0.3, str(tally)))
    stopper.join()
    assert isinstance(results[0], Done)
    assert tally.stat().st_size == 2


@only_linux
def test_a_hanging_image_is_seen_while_others_are_busy(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", 300, {0: b"loop"})
    order = [r.task.position for r in LocalEngine(workers=2, timeout=0.3).run(iter(tasks_of(folder)), StubSpec(0.01))]
    assert sorted(order) == list(range(300))
    assert order[-1] != 0, "given up in the midst of the others, not at their end"


@only_linux
def test_closing_ends_every_worker(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", 20, {5: b"loop"})
    results = LocalEngine(workers=3).run(iter(tasks_of(folder)), StubSpec())
    next(results)
    assert children(os.getpid())
    results.close()
    assert children(os.getpid()) == []


@only_linux
@pytest.mark.parametrize("content", [b"loop", b"hold", b"image"])
def test_no_worker_survives_its_parent(tmp_path: Path, content: bytes) -> None:
    """SIGKILL of the parent ends workers that idle, that are busy, and that never let go of the interpreter."""
    folder = write_images(tmp_path / "in", 4, dict.fromkeys(range(4), content))
    tally = tmp_path / "tally"
    arguments = [str(folder), str(tmp_path / "out"), "--seconds", "20", "--tally", str(tally), "--workers", "2"]
    driver = subprocess.Popen([sys.executable, "-P", str(TESTS / "label_driver.py"), *arguments], env=ENVIRONMENT)
    while not (tally.is_file() and tally.stat().st_size == 2):
        time.sleep(0.01)
        assert driver.poll() is None
    workers = children(driver.pid)
    assert len(workers) == 2
    driver.kill()
    driver.wait()
    until = time.monotonic() + 10.0
    while any(map(_alive, workers)) and time.monotonic() < until:
        time.sleep(0.02)
    survivors = [worker for worker in workers if _alive(worker)]
    for survivor in survivors:
        os.kill(survivor, signal.SIGKILL)
    assert survivors == []


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@only_linux
def test_the_environment_of_this_process_stays_its_own(tmp_path: Path) -> None:
    before = dict(os.environ)
    run(LocalEngine(workers=1), tasks_of(write_images(tmp_path / "in", 2)))
    assert dict(os.environ) == before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_ends_are_summed_up() -> None:
    assert summed_up(["ran past 60 s"]) == "ran past 60 s"
    assert summed_up(["crashed (SIGSEGV)", "crashed (SIGSEGV)"]) == "crashed (SIGSEGV) twice"
    assert summed_up(["a", "b", "b", "b"]) == "a, then b 3 times"


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"timeout": 0.0}, {"memory": -1.0}, {"tries": 0}])
def test_wrong_options_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        LocalEngine(**wrong)  # type: ignore[arg-type]
