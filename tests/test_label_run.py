"""Whole runs with the stub: the same records whatever happens, every image counts once, Ctrl-C, disks that fill."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from label_stub import InlineEngine, StubSpec, leftovers, records, write_images
from test_label_engine import ENVIRONMENT, children

from facefit.apps.label.engine import Done, Failed, Task
from facefit.apps.label.ledger import Counts
from facefit.apps.label.local_engine import LocalEngine
from facefit.apps.label.run import RunOptions, Summary, label
from facefit.apps.label.sources import Columns, Sources
from facefit.models.errors import ImageError, InvalidInputError, OutputError

TESTS = Path(__file__).resolve().parent
DRIVER = [sys.executable, "-P", str(TESTS / "label_driver.py")]
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="finds workers by /proc")


class Heard:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.counts: list[Counts] = []
        self.begun = (0, 0)

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def begin(self, total: int, done: int) -> None:
        self.begun = (total, done)

    def advance(self, counts: Counts) -> None:
        self.counts.append(counts)


def work(images: object, out: Path, **options: int) -> Summary:
    return label(Sources([str(images)]), out, StubSpec(), InlineEngine(), RunOptions(**{"shard_size": 4} | options))


def rows(out: Path, table: str) -> list[dict[str, object]]:
    return [row for path in sorted(out.glob(f"{table}-*.parquet")) for row in pq.read_table(path).to_pylist()]


# --- The same records whatever happens ---------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_records_do_not_depend_on_the_workers(tmp_path: Path, workers: int) -> None:
    images = write_images(tmp_path / "in", 60, {7: b"no_face", 30: b"rejected", 31: b"exit", 59: b"raise"})
    engine, options = LocalEngine(workers=workers), RunOptions(7)
    summary = label(Sources([str(images)]), tmp_path / "out", StubSpec(files=True), engine, options)
    assert summary.counts == Counts(ok=56, no_face=1, rejected=1, quarantined=2, faces=56)
    failing = frozenset({"00031.png", "00059.png"})
    label(Sources([str(images)]), tmp_path / "inline", StubSpec(files=True), InlineEngine(failing), options)
    ours, inline = records(tmp_path / "out"), records(tmp_path / "inline")
    assert ours.keys() == inline.keys()
    different = {name for name in ours if ours[name] != inline[name]}
    assert different == {"images-00004.parquet", "images-00008.parquet"}, "the reasons of the two quarantined ones"
    assert leftovers(tmp_path / "out") == []


@only_linux
def test_two_thousand_images_and_a_hundred_kills(tmp_path: Path) -> None:
    images = write_images(tmp_path / "in", 2000, {10: b"no_face", 1500: b"rejected"})
    label(Sources([str(images)]), tmp_path / "whole", StubSpec(), LocalEngine(workers=2), RunOptions(50))
    out, tally = tmp_path / "out", tmp_path / "tally"
    kills = kill_again_and_again([str(images), str(out), "--tally", str(tally)], tally, 100, 18, random.Random(0))
    assert kills["parent"] >= 15
    assert kills["worker"] >= 50
    assert records(out) == records(tmp_path / "whole")
    assert leftovers(out) == []
    assert tally.stat().st_size >= 2000, "work is done at least once"


def kill_again_and_again(
    arguments: list[str], tally: Path, times: int, every: int, rng: random.Random
) -> dict[str, int]:
    """Run the driver to its end, killing it or one of its workers whenever about `every` images were begun."""
    kills = {"parent": 0, "worker": 0}
    driver, mark = None, 0
    while True:
        if driver is None:
            driver = subprocess.Popen([*DRIVER, *arguments], env=ENVIRONMENT, start_new_session=True)
        if driver.poll() is not None:
            assert driver.returncode == 0
            break
        begun = tally.stat().st_size if tally.exists() else 0
        if sum(kills.values()) < times and begun >= mark:
            mark = begun + rng.randint(1, 2 * every)
            workers = children(driver.pid)
            if rng.random() < 0.25 or not workers:
                driver.kill()
                driver.wait()
                driver, who = None, "parent"
            else:
                os.kill(rng.choice(workers), signal.SIGKILL)
                who = "worker"
            kills[who] += 1
        time.sleep(0.002)
    assert sum(kills.values()) == times, "the run ended before the kills did"
    return kills


@pytest.mark.soak
@only_linux
def test_fifty_thousand_records_in_flat_memory(tmp_path: Path) -> None:
    images = write_images(tmp_path / "in", 50_000)

    class Weighing(Heard):
        def advance(self, counts: Counts) -> None:
            if counts.images % 5000 == 0:
                self.sentences.append(Path("/proc/self/statm").read_text().split()[1])

    heard = Weighing()
    engine = LocalEngine(workers=2)
    summary = label(Sources([str(images)]), tmp_path / "out", StubSpec(), engine, RunOptions(500), heard)
    assert summary.counts == Counts(ok=50_000, faces=50_000)
    pages = [int(sentence) for sentence in heard.sentences]
    assert len(pages) == 10
    assert pages[-1] < 1.05 * pages[2]


# --- Every image counts once -------------------------------------------------------------------------------------


def test_images_in_are_images_out(tmp_path: Path) -> None:
    images = write_images(tmp_path / "in", 23, {2: b"no_face", 3: b"rejected", 4: b"rejected"})
    heard = Heard()
    failing = frozenset({"00009.png", "00022.png"})
    label(Sources([str(images)]), tmp_path / "out", StubSpec(), InlineEngine(failing), RunOptions(5), heard)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary == {
        "images": 23, "finished": 23, "ok": 18, "no_face": 1, "rejected": 2, "quarantined": 2, "faces": 18,
        "complete": True, "unread": [],
    }  # fmt: skip
    assert [row["key"] for row in rows(tmp_path / "out", "images")] == [f"{k:05}.png" for k in range(23)]
    assert [counts.images for counts in heard.counts] == list(range(1, 24))
    assert heard.begun == (23, 0)
    assert "00009.png: quarantined: crashed (SIGSEGV) twice" in heard.sentences
    lost = [row for row in rows(tmp_path / "out", "images") if row["outcome"] == "quarantined"]
    assert [(row["status"], row["message"]) for row in lost] == [(None, "crashed (SIGSEGV) twice")] * 2
    faces = rows(tmp_path / "out", "faces")
    assert len({row["provenance"] for row in faces}) == 1
    assert len(faces) == 18


def test_further_images_are_appended_and_vanished_ones_rejected(tmp_path: Path) -> None:
    images = write_images(tmp_path / "in", 6)
    work(images, tmp_path / "out", limit=5)
    before = records(tmp_path / "out")
    assert [len(pq.read_table(p)) for p in sorted((tmp_path / "out").glob("images-*"))] == [4, 1]
    (images / "00000.png").unlink()
    write_images(images, 8, {0: b"a new one in its place"})
    (images / "00007.png").unlink()
    (images / "00007.png").symlink_to(images / "gone")
    summary = work(images, tmp_path / "out")
    after = records(tmp_path / "out")
    assert all(after[name] == before[name] for name in before if name != "summary.json"), "finished shards stay"
    assert summary.counts == Counts(ok=7, rejected=1, faces=7)
    assert rows(tmp_path / "out", "images")[-1]["message"] == "cannot be read (No such file or directory)"


def test_what_is_named_twice_and_keys_that_collide_are_told(tmp_path: Path) -> None:
    a, b = write_images(tmp_path / "a", 3), write_images(tmp_path / "b", 2)
    heard = Heard()
    sources = Sources([str(a), str(b), str(a / "00001.png")])
    label(sources, tmp_path / "out", StubSpec(), InlineEngine(), RunOptions(), heard)
    assert [row["key"] for row in rows(tmp_path / "out", "images")] == [
        "00000.png", "00001.png", "00002.png", "00000.png~2", "00001.png~2"
    ]  # fmt: skip
    assert heard.sentences[0] == "1 images were named twice and count once"
    assert heard.sentences[1].startswith("2 images share their key with another one")


def test_images_come_out_of_tar_and_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"picture": [b"one", None, b"no_face"], "id": [7, 8, 9]}), tmp_path / "t.parquet")
    sources = Sources([str(tmp_path / "t.parquet")], Columns("picture", "id"))
    summary = label(sources, tmp_path / "out", StubSpec(), LocalEngine(workers=1), RunOptions())
    assert summary.counts == Counts(ok=1, no_face=1, rejected=1, faces=1)
    assert [(row["key"], row["outcome"]) for row in rows(tmp_path / "out", "images")] == [
        ("7", "ok"), ("8", "rejected"), ("9", "no_face")
    ]  # fmt: skip


def test_no_image_at_all_is_a_wrong_call(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(ImageError, match=r"in: expected pictures, got none"):
        work(tmp_path / "in", tmp_path / "out")
    write_images(tmp_path / "in", 1)
    assert work(tmp_path / "in", tmp_path / "out").complete, "and nothing stands in the way of the right one"


def test_a_slow_image_does_not_hold_up_those_behind_it(tmp_path: Path) -> None:
    """All other shards are written while the first one waits for its first image."""
    images, out = write_images(tmp_path / "in", 50), tmp_path / "out"

    class Late(InlineEngine):
        def run(self, tasks: Iterator[Task], spec: StubSpec) -> Generator[Done | Failed, None, None]:
            first = next(tasks)
            yield from super().run(tasks, spec)
            assert [path.name for path in sorted(out.glob("faces-*"))] == [f"faces-{k:05}.parquet" for k in range(1, 5)]
            yield from super().run(iter([first]), spec)

    label(Sources([str(images)]), out, StubSpec(), Late(), RunOptions(10))
    assert [row["key"] for row in rows(out, "images")] == [f"{k:05}.png" for k in range(50)]


@pytest.mark.parametrize("wrong", [{"shard_size": 0}, {"limit": 0}])
def test_wrong_options_are_named(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        RunOptions(**wrong)


# --- Interruptions -----------------------------------------------------------------------------------------------


def interrupted_at(position: int, images: Path, out: Path, times: int = 1) -> Summary:
    class Interrupting(InlineEngine):
        def run(self, tasks: Iterator[Task], spec: StubSpec) -> Generator[Done | Failed, None, None]:
            for result in super().run(tasks, spec):
                if result.task.position == position:
                    for _ in range(times):
                        signal.raise_signal(signal.SIGINT)
                yield result

    return label(Sources([str(images)]), out, StubSpec(), Interrupting(), RunOptions(4))


def test_ctrl_c_finishes_the_shards_in_hand(tmp_path: Path) -> None:
    images = write_images(tmp_path / "in", 20)
    summary = interrupted_at(5, images, tmp_path / "out")
    assert (summary.interrupted, summary.complete, summary.counts.images) == (True, False, 8)
    assert leftovers(tmp_path / "out") == []
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["complete"] is False
    assert work(images, tmp_path / "out").complete
    work(images, tmp_path / "whole")
    assert records(tmp_path / "out") == records(tmp_path / "whole")


def test_ctrl_c_twice_stops_at_once(tmp_path: Path) -> None:
    images = write_images(tmp_path / "in", 20)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupted_at(5, images, tmp_path / "out", times=2)
    assert signal.getsignal(signal.SIGINT) is before
    assert leftovers(tmp_path / "out") == []
    assert [path.name for path in (tmp_path / "out").glob("faces-*")] == ["faces-00000.parquet"]
    assert work(images, tmp_path / "out").complete


@only_linux
def test_ctrl_c_at_a_terminal_reaches_parent_and_workers(tmp_path: Path) -> None:
    """The signal goes to the whole group: workers leave it to the parent, which finishes what is in hand."""
    images, out, tally = write_images(tmp_path / "in", 400), tmp_path / "out", tmp_path / "tally"
    command = [*DRIVER, str(images), str(out), "--tally", str(tally), "--seconds", "0.005"]
    driver = subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while not tally.exists() or tally.stat().st_size < 60:
        time.sleep(0.005)
    os.killpg(driver.pid, signal.SIGINT)
    _, errors = driver.communicate(timeout=30)
    assert driver.returncode == 0, errors
    assert errors == ""
    finished = len(rows(out, "images"))
    assert 60 <= finished < 400
    assert finished % 50 == 0
    assert tally.stat().st_size == finished, "no image was begun twice"
    assert leftovers(out) == []


# --- Disks -------------------------------------------------------------------------------------------------------


@only_linux
def test_a_full_disk_ends_the_run_and_a_later_one_goes_on(tmp_path: Path) -> None:
    """On a file system of 300 kB."""
    images, out = write_images(tmp_path / "in", 800), tmp_path / "small" / "out"
    out.parent.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(out.parent)], capture_output=True, check=False
    )
    try:
        if mounted.returncode:
            pytest.skip("no file system can be mounted here")
        with pytest.raises(OutputError, match=r"cannot be (written|used)"):
            work(images, out, shard_size=40)
        assert leftovers(out) == []
        assert 0 < len(list(out.glob("faces-*"))) < 20
        subprocess.run(["mount", "-o", "remount,size=100m", str(out.parent)], check=True)
        assert work(images, out, shard_size=40).complete
        work(images, tmp_path / "whole", shard_size=40)
        assert records(out) == records(tmp_path / "whole")
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", str(out.parent)], check=True)


@only_linux
def test_a_write_that_fails_is_a_sentence(tmp_path: Path) -> None:
    """Files may not grow past 30 kB, and the shard's tables are larger."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from pathlib import Path; from label_stub import InlineEngine, StubSpec\n"
        "from facefit.apps.label.run import RunOptions, label; from facefit.apps.label.sources import Sources\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        "label(Sources([sys.argv[1]]), Path(sys.argv[2]), StubSpec(), InlineEngine(), RunOptions(400))"
    )
    images, out = write_images(tmp_path / "in", 400), tmp_path / "out"
    command = [sys.executable, "-P", "-c", code, str(images), str(out)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "OutputError" in done.stderr.splitlines()[-1]
    assert "cannot be" in done.stderr.splitlines()[-1]
    assert leftovers(out) == []
    assert list(out.glob("*.parquet")) == []
    assert work(images, out, shard_size=400).complete


@only_linux
def test_a_read_only_file_system_is_a_sentence(tmp_path: Path) -> None:
    images, out = write_images(tmp_path / "in", 4), tmp_path / "small"
    out.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(out)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        work(images, out / "begun", limit=2)
        subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
        with pytest.raises(OutputError, match="new: cannot be written to"):
            work(images, out / "new")
        with pytest.raises(OutputError, match="begun"):
            work(images, out / "begun")
    finally:
        subprocess.run(["umount", str(out)], check=True)
