"""The ledger and the shards' files: a kill between any two operations loses nothing and shows nothing twice."""

import dataclasses
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from label_stub import InlineEngine, StubSpec, leftovers, records, write_images

from facefit.apps.label import dataset, run, shards
from facefit.apps.label.ledger import Counts, FileState, Ledger
from facefit.apps.label.run import RunOptions, Summary, label
from facefit.apps.label.sources import Item, Sources
from facefit.models.errors import FacefitError, ImageError, InvalidInputError, OutputError

COUNT, SIZE = 10, 4


def work(images: Path, out: Path, spec: StubSpec | None = None, **options: Any) -> Summary:
    spec = spec or StubSpec(files=True)
    return label(Sources([str(images)]), out, spec, InlineEngine(), RunOptions(**{"shard_size": SIZE} | options))


class Killed(BaseException):
    """Stands for SIGKILL."""


class Fuse:
    """Kills before or after the n-th of the operations that reach the disk, counted from 0."""

    POINTS = (
        (shards, "_flush"), (shards, "_rename"), (shards, "sync_folder"), (dataset, "sync_folder"),
        (dataset, "write_json"), (run, "write_json"), (Ledger, "mark_written"), (Ledger, "mark_visible"),
        (Ledger, "mark_planned"), (Ledger, "extend"), (Ledger, "_begin"),
    )  # fmt: skip

    def __init__(self, monkeypatch: pytest.MonkeyPatch, blow_at: int) -> None:
        self.count, self.blow_at = 0, blow_at
        for owner, name in self.POINTS:
            monkeypatch.setattr(owner, name, self._guarded(getattr(owner, name)))
        # Somebody who is killed tidies nothing up.
        monkeypatch.setattr(run, "discard_temporaries", lambda folder: None)

    def _guarded(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any) -> Any:
            self._pass()
            result = operation(*arguments)
            self._pass()
            return result

        return guarded

    def _pass(self) -> None:
        self.count += 1
        if self.count - 1 == self.blow_at:
            raise Killed


def killed_at(step: int, images: Path, out: Path) -> bool:
    """Work until the step; return whether it was reached."""
    with pytest.MonkeyPatch.context() as patch:
        Fuse(patch, step)
        try:
            work(images, out)
        except Killed:
            return True
    return False


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "in", COUNT, {3: b"no_face", 5: b"rejected"})


@pytest.fixture
def undisturbed(images: Path, tmp_path: Path) -> dict[str, bytes]:
    work(images, tmp_path / "whole")
    assert leftovers(tmp_path / "whole") == []
    return records(tmp_path / "whole")


def test_a_kill_between_any_two_steps(images: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    step = 0
    while killed_at(step, images, out := tmp_path / f"{step}"):
        # What is visible is whole: a shard's faces come last.
        for path in out.glob("faces-*.parquet"):
            for name in (path.name, path.name.replace("faces", "images"), path.stem.replace("faces", "files") + ".tar"):
                assert (out / name).read_bytes() == undisturbed[name]
        assert work(images, out).complete
        assert records(out) == undisturbed
        assert leftovers(out) == []
        step += 1
    assert step > 60, "every operation was a place to be killed at"


def test_a_kill_while_putting_right_what_a_kill_left(
    images: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    for first in range(10, 60, 7):
        for second in range(12):
            out = tmp_path / f"{first}-{second}"
            assert killed_at(first, images, out)
            killed_at(second, images, out)
            work(images, out)
            assert records(out) == undisturbed
            assert leftovers(out) == []


def test_finished_shards_are_not_done_again(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    work(images, out)
    engine = InlineEngine()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    summary = label(Sources([str(images)]), out, StubSpec(files=True), engine, RunOptions(SIZE))
    assert (engine.done, summary.counts.images) == (0, COUNT)
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"short")])
@pytest.mark.parametrize("name", ["faces-00001.parquet", "timings-00000.parquet", "files-00001.tar"])
def test_spoilt_files_are_made_again(
    images: Path, undisturbed: dict[str, bytes], tmp_path: Path, spoil: Callable[[Path], Any], name: str
) -> None:
    work(images, tmp_path / "out")
    spoil(tmp_path / "out" / name)
    work(images, tmp_path / "out")
    assert records(tmp_path / "out") == undisturbed


def test_a_written_file_that_is_not_the_one_it_was_is_not_brought_out(images: Path, tmp_path: Path) -> None:
    """A torn page: the right name and size, the wrong content."""
    out = tmp_path / "out"
    step = 0
    while not list(out.glob(".faces-00000*.tmp")) or not _written(out):
        assert killed_at(step, images, out)
        step += 1
    (path,) = out.glob(".faces-00000*.tmp")
    path.write_bytes(bytes(path.stat().st_size))
    work(images, out)
    work(images, tmp_path / "whole")
    assert records(out) == records(tmp_path / "whole")


def _written(out: Path) -> bool:
    with Ledger(out / "ledger.sqlite") as ledger:
        return bool(ledger.written())


def test_foreign_files_are_left_alone(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    work(images, out)
    for name in ("notes.txt", ".hidden.tmp", "faces-all.parquet"):
        (out / name).write_text("mine")
    (out / "faces-99999.parquet").write_text("a shard's name that no plan knows")
    work(images, out)
    assert {path.name for path in out.iterdir()} >= {"notes.txt", ".hidden.tmp", "faces-all.parquet"}
    assert not (out / "faces-99999.parquet").exists()


# --- The plan ----------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def planned(ledger: Ledger) -> list[Item]:
    return [item for shard in ledger.waiting() for _, item in ledger.items(shard)]


def test_the_plan_keeps_items_as_they_are(ledger: Ledger) -> None:
    items = [
        Item("a", "/in/a.png"),
        Item("b", "/in/x.tar", "tar", (512, 1 << 40)),
        Item("c é", "/in/\udcff.parquet", "parquet", (2, 7), "image"),
    ]
    assert ledger.extend(items, 2).new == 3
    assert planned(ledger) == items
    assert [(shard.first, shard.count) for shard in ledger.waiting()] == [(0, 2), (2, 1)]


def test_the_same_place_counts_once_and_the_same_key_gets_a_suffix(ledger: Ledger) -> None:
    items = [Item("a", "/1"), Item("a", "/2"), Item("a~2", "/3"), Item("a", "/1"), Item("other", "/2"), Item("a", "/4")]
    extension = ledger.extend(items, 10)
    assert dataclasses.astuple(extension) == (4, 0, 2, 3)
    assert [item.key for item in planned(ledger)] == ["a", "a~2", "a~2~2", "a~3"]


def test_further_images_are_appended_in_shards_of_their_own(ledger: Ledger) -> None:
    ledger.extend([Item(str(k), f"/{k}") for k in range(5)], 3)
    extension = ledger.extend([Item(str(k), f"/{k}") for k in range(-1, 8)], 3)
    assert dataclasses.astuple(extension) == (4, 5, 0, 0)
    assert [item.key for item in planned(ledger)] == ["0", "1", "2", "3", "4", "-1", "5", "6", "7"]
    assert [(shard.number, shard.first, shard.count) for shard in ledger.waiting()] == [
        (0, 0, 3), (1, 3, 2), (2, 5, 3), (3, 8, 1)
    ]  # fmt: skip


def test_a_plan_that_fails_half_way_is_no_plan(ledger: Ledger) -> None:
    def items() -> Iterator[Item]:
        yield Item("a", "/1")
        raise ImageError("the list ends here")

    with pytest.raises(ImageError):
        ledger.extend(items(), 1)
    assert ledger.planned() == 0
    assert ledger.waiting() == []


def test_counts_add_up(ledger: Ledger) -> None:
    ledger.extend([Item(str(k), f"/{k}") for k in range(4)], 2)
    first, second = ledger.waiting()
    ledger.mark_written(first, {"x": FileState("ab", 3)}, Counts(ok=1, rejected=1, faces=2))
    assert ledger.totals() == Counts(), "not visible yet"
    ledger.mark_visible(first)
    ledger.mark_written(second, {}, Counts(no_face=1, quarantined=1))
    ledger.mark_visible(second)
    assert ledger.totals() == Counts(1, 1, 1, 1, 2)
    assert ledger.totals().images == 4
    assert ledger.visible()[0] == (first, {"x": FileState("ab", 3)})


def test_a_ledger_is_for_one_run_at_a_time(tmp_path: Path, ledger: Ledger) -> None:
    """From another process too, and until the very end of the one that holds it."""
    with pytest.raises(OutputError, match="expected a dataset for this run alone, got one that another run is writing"):
        Ledger(tmp_path / "ledger.sqlite")
    code = "import sys; from facefit.apps.label.ledger import Ledger, Path; Ledger(Path(sys.argv[1]))"
    command = [sys.executable, "-P", "-c", code, str(tmp_path / "ledger.sqlite")]
    assert "another run is writing" in subprocess.run(command, capture_output=True, text=True, check=False).stderr
    ledger.close()
    assert subprocess.run(command, check=False).returncode == 0


def test_a_killed_run_lets_go_of_the_ledger(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from facefit.apps.label.ledger import Ledger, Item, Path\n"
        "ledger = Ledger(Path(sys.argv[1])); ledger.extend([Item('a', '/1')], 1)\n"
        "def items():\n    yield Item('b', '/2')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "ledger.extend(items(), 1)"
    )
    path = tmp_path / "ledger.sqlite"
    assert subprocess.run([sys.executable, "-P", "-c", code, str(path)], check=False).returncode == -9
    with Ledger(path) as ledger:
        assert [item.key for item in planned(ledger)] == ["a"]


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be read as one" * 40, b"SQLite format 3"]
)
def test_a_damaged_ledger_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(content)
    with pytest.raises(OutputError, match=r"ledger\.sqlite: cannot be used"):
        Ledger(tmp_path / "ledger.sqlite")


def test_a_ledger_of_another_version_is_refused(tmp_path: Path, ledger: Ledger) -> None:
    ledger._database.execute("pragma user_version=99")
    ledger.close()
    with pytest.raises(OutputError, match="expected a ledger of version 1, got 99"):
        Ledger(tmp_path / "ledger.sqlite")


# --- The tar of what exporters make ------------------------------------------------------------------------------


def test_the_tar_holds_the_files_in_the_order_of_the_images(images: Path, tmp_path: Path) -> None:
    work(images, tmp_path / "out", shard_size=100)
    with tarfile.open(tmp_path / "out" / "files-00000.tar") as archive:
        members = archive.getmembers()
        fine = [k for k in range(COUNT) if k not in (3, 5)]
        assert [member.name for member in members] == [f"{k:05}.png.{x}" for k in fine for x in "ab"]
        assert {(member.mtime, member.uid, member.uname, member.mode) for member in members} == {(0, 0, "", 0o644)}
        content = archive.extractfile(members[0])
        assert content is not None
        assert content.read() == b"image 0"
    assert (tmp_path / "out" / "files-00000.tar").stat().st_size % 512 == 0


@pytest.mark.parametrize("name", ["short", "x" * 300, "größe/ü.png"])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513])
def test_members_are_as_tar_reads_them(tmp_path: Path, name: str, size: int) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(shards.tar_member(name, b"z" * size) + shards.tar_member("next", b"n") + bytes(1024))
    with tarfile.open(path) as archive:
        assert archive.getnames() == [name, "next"]
        content = archive.extractfile(name)
        assert content is not None
        assert content.read() == b"z" * size


def test_no_tar_where_nothing_was_made(images: Path, tmp_path: Path) -> None:
    work(images, tmp_path / "out", StubSpec())
    assert list((tmp_path / "out").glob("*.tar")) == []


# --- The folder --------------------------------------------------------------------------------------------------


def test_another_folder_is_not_taken_for_a_dataset(images: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"expected a new folder or a dataset .* got one with thesis\.tex"):
        work(images, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["thesis.tex"]


def test_other_options_are_refused_with_every_difference(images: Path, tmp_path: Path) -> None:
    first = {"model": {"name": "a", "hash": "1"}, "options": {"stages": ["x"], "sigma": None}, "seed": 0}
    other = {"model": {"name": "a", "hash": "2"}, "options": {"stages": ["x", "y"], "sigma": None}, "faces": "all"}
    out = tmp_path / "out"
    work(images, out, StubSpec(description=first))
    before = records(out)
    with pytest.raises(InvalidInputError) as refused:
        work(images, out, StubSpec(description=other), shard_size=7)
    text = str(refused.value)
    for sentence in (
        'model.hash: "1" there, "2" now', 'options.stages: ["x"] there, ["x", "y"] now', "seed: 0 there, nothing now",
        'faces: nothing there, "all" now', "shard_size: 4 there, 7 now",
    ):  # fmt: skip
        assert sentence in text
    assert text.count(" there, ") == 5
    assert records(out) == before


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"kind": "something else"}', b"\xff"])
def test_a_damaged_manifest_is_a_sentence(images: Path, tmp_path: Path, content: bytes) -> None:
    work(images, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_bytes(content)
    with pytest.raises(OutputError, match=r"manifest\.json: expected the manifest of a dataset"):
        work(images, tmp_path / "out")


def test_a_dataset_without_its_ledger_is_refused(images: Path, tmp_path: Path) -> None:
    work(images, tmp_path / "out")
    (tmp_path / "out" / "ledger.sqlite").unlink()
    with pytest.raises(OutputError, match=r"expected ledger\.sqlite beside manifest\.json"):
        work(images, tmp_path / "out")


@pytest.mark.parametrize("place", ["file/out", "file"])
def test_a_folder_that_cannot_be_made_is_a_sentence(images: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FacefitError, match="cannot be written to"):
        work(images, tmp_path / place)
