"""The cache of parsed models: the same model again, read anew when its source changed, never an error of its own."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from small_model import small_model

from facefit.models import cache
from facefit.models.cache import cached_model
from facefit.models.errors import ModelError
from facefit.models.morphable_model import MorphableModel


class Reader:
    """Reads the same model each time, and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.model = small_model()

    def __call__(self) -> MorphableModel:
        self.calls += 1
        return self.model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache" / "models"
    monkeypatch.setattr(cache, "cache_folder", lambda: place)
    return place


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(b"content")
    return path


def test_second_time_comes_from_the_cache(folder: Path, source: Path) -> None:
    read = Reader()
    first, second = (cached_model(source, read, "test 1", size=2) for _ in range(2))
    assert read.calls == 1
    assert first is read.model and second is not read.model and second.hash == first.hash
    assert len(list(folder.iterdir())) == 1
    assert folder.stat().st_mode & 0o077 == 0, "the cache is the user's own"


def grown(source: Path) -> None:
    source.write_bytes(b"more content")


def touched(source: Path) -> None:
    os.utime(source, ns=(0, source.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("change", [grown, touched])
def test_a_changed_source_replaces_what_was_cached(folder: Path, source: Path, change: Callable[[Path], None]) -> None:
    read = Reader()
    cached_model(source, read, "test 1")
    change(source)
    cached_model(source, read, "test 1")
    cached_model(source, read, "test 1")
    assert read.calls == 2
    assert len(list(folder.iterdir())) == 1


def test_a_folder_changes_with_its_files(folder: Path, tmp_path: Path) -> None:
    read = Reader()
    (tmp_path / "source" / "inner").mkdir(parents=True)
    for name in ("a", "inner/b"):
        (tmp_path / "source" / name).write_bytes(b"1")
        cached_model(tmp_path / "source", read, "test 1")
    cached_model(tmp_path / "source", read, "test 1")
    assert read.calls == 2


def test_options_are_kept_apart_and_a_new_reader_reads_anew(folder: Path, source: Path) -> None:
    read = Reader()
    for reader, size, calls, files in (
        ("test 1", 1, 1, 1),
        ("test 1", 2, 2, 2),
        ("test 2", 1, 3, 2),
        ("test 2", 1, 3, 2),
    ):
        cached_model(source, read, reader, size=size)
        assert (read.calls, len(list(folder.iterdir()))) == (calls, files)


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_file_is_read_anew_and_replaced(folder: Path, source: Path, damage: bytes | None) -> None:
    read = Reader()
    cached_model(source, read, "test 1")
    (place,) = folder.iterdir()
    good = place.read_bytes()
    place.write_bytes(good[: len(good) // 2] if damage is None else damage)
    assert cached_model(source, read, "test 1").hash == read.model.hash
    assert read.calls == 2
    assert cached_model(source, read, "test 1").hash == read.model.hash
    assert read.calls == 2


def test_a_folder_that_cannot_be_is_no_error(folder: Path, source: Path) -> None:
    folder.parent.write_bytes(b"a file where the folder should be")
    read = Reader()
    for _ in range(2):
        assert cached_model(source, read, "test 1") is read.model
    assert read.calls == 2


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_no_error(folder: Path, source: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    assert cached_model(source, Reader(), "test 1").name == "small"
    assert not list(folder.iterdir())


def test_errors_of_the_reader_pass_and_leave_nothing(folder: Path, source: Path) -> None:
    def broken() -> MorphableModel:
        raise ModelError("no model")

    for path in (source, source / "missing", Path("bad\0name")):
        with pytest.raises(ModelError, match="no model"):
            cached_model(path, broken, "test 1")
    assert not folder.exists()
