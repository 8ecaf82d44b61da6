"""What sources stand for: which images, under which keys, and what their bytes are."""

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facefit.apps.label.sources import Columns, Item, Sources, read_item
from facefit.models.errors import FacefitError, ImageError, InvalidInputError


def keys(*names: object, columns: Columns | None = None, skip: Path | None = None) -> list[str]:
    return [item.key for item in Sources([str(n) for n in names], columns or Columns(), skip)]


def write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"bytes of " + name.encode())
    return folder


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_parquet(path: Path, column: pa.Array, key: Sequence[object] | None = None, group: int = 3) -> Path:
    columns = {"image": column} | ({} if key is None else {"id": pa.array(key)})
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


# --- Folders, lists, patterns ------------------------------------------------------------------------------------


def test_a_folder_stands_for_the_pictures_below_it(tmp_path: Path) -> None:
    write(tmp_path, "b.JPG", "a.png", "notes.txt", ".hidden.png", "z/2.webp", "z/1.tiff", "m/deep/x.heic", ".git/p.png")
    assert keys(tmp_path) == ["a.png", "b.JPG", "m/deep/x.heic", "z/1.tiff", "z/2.webp"]
    assert [read_item(item) for item in Sources([str(tmp_path)])][2] == b"bytes of m/deep/x.heic"


def test_the_dataset_itself_is_not_looked_into(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "out/overlay.png")
    assert keys(tmp_path, skip=tmp_path / "out") == ["a.png"]


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    write(tmp_path, "in/a.png", "elsewhere/b.png")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    items = list(Sources([str(tmp_path / "in")]))
    assert [item.key for item in items] == ["a.png", "gone.png", "linked/b.png"]
    with pytest.raises(ImageError, match="cannot be read"):
        read_item(items[1])


def test_one_file_has_one_place_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By folder, by file, by list, by pattern, by a linked folder and relative to the working directory."""
    write(tmp_path, "in/a.png")
    (tmp_path / "linked").symlink_to(tmp_path / "in")
    (tmp_path / "list.txt").write_text("in/a.png\nin/../in/a.png\n")
    monkeypatch.chdir(tmp_path)
    items = list(Sources(["in", "in/a.png", "linked/a.png", "list.txt", "i*/*.png", "linked"]))
    assert len(items) == 7
    assert {item.path for item in items} == {str((tmp_path / "in" / "a.png").resolve())}


def test_a_list_names_files_relative_to_itself(tmp_path: Path) -> None:
    write(tmp_path, "in/a.png", "in/no suffix", "c d.jpg")
    absolute = tmp_path / "in" / "a.png"
    lines = f"a.png\n\n../c d.jpg\r\nno suffix\n{absolute}\ngone.jpg"
    (tmp_path / "in" / "list.txt").write_text(lines)
    items = list(Sources([str(tmp_path / "in" / "list.txt")]))
    assert [item.key for item in items] == ["a.png", "../c d.jpg", "no suffix", str(absolute), "gone.jpg"]
    assert read_item(items[1]) == b"bytes of c d.jpg"


def test_a_pattern_is_relative_to_its_fixed_part(tmp_path: Path) -> None:
    write(tmp_path, "in/x/1.png", "in/y/2.png", "in/y/3.txt", "in/4.png")
    assert keys(tmp_path / "in" / "*" / "*.png") == ["x/1.png", "y/2.png"]
    assert keys(tmp_path / "in" / "**" / "*.png") == ["4.png", "x/1.png", "y/2.png"]
    assert keys(tmp_path / "in" / "[xy]") == ["1.png", "2.png"], "a folder that matches stands for its pictures"
    write(tmp_path, "in/[odd].png")
    assert keys(tmp_path / "in" / "[odd].png") == ["[odd].png"], "a file of that name goes before"


def test_sources_are_joined_in_the_order_given(tmp_path: Path) -> None:
    write(tmp_path, "b/1.png", "a/2.png")
    assert keys(tmp_path / "b", tmp_path / "a", tmp_path / "b" / "1.png") == ["1.png", "2.png", "1.png"]


def test_names_that_are_no_text_become_text(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    try:
        Path(os.fsdecode(path)).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes Unicode only")
    (item,) = Sources([str(tmp_path)])
    assert item.key == "caf\N{REPLACEMENT CHARACTER}.png"
    assert read_item(item) == b"x"


def test_a_folder_in_a_folder_that_is_closed_is_told_and_the_rest_is_there(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "closed/b.png", "open/c.png")
    sources, scandir = Sources([str(tmp_path)]), os.scandir

    def closed(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with mock.patch("os.scandir", closed):
        assert [item.key for item in sources] == ["a.png", "open/c.png"]
        assert sources.unread == [f"{tmp_path.resolve() / 'closed'}: cannot be looked into (Permission denied)"]
        with pytest.raises(ImageError, match="expected a folder that can be read, got Permission denied"):
            Sources([str(tmp_path / "closed")])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gone", "gone: expected a folder, .*, got none"),
        ("gone/*.png", "expected a pattern that something matches"),
        ("photos.tar.gz", "expected an uncompressed .tar.*unpack it"),
        ("PHOTOS.TGZ", "expected an uncompressed .tar"),
        ("other.tar", "expected an uncompressed tar, got another file"),
        ("other.parquet", "expected a Parquet file, got"),
    ],
)
def test_wrong_sources_are_refused_before_anything_is_done(tmp_path: Path, name: str, sentence: str) -> None:
    write(tmp_path, "photos.tar.gz", "PHOTOS.TGZ", "other.tar", "other.parquet")
    with pytest.raises(ImageError, match=sentence):
        Sources([str(tmp_path / name)])


def test_no_sources_at_all() -> None:
    with pytest.raises(InvalidInputError, match="images: expected"):
        Sources([])


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """Opening a pipe would wait for somebody who writes into it."""
    (tmp_path / "folder.png").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
    for path in tmp_path.iterdir():
        with pytest.raises(ImageError, match="expected a file, got something else"):
            read_item(Item("x", str(path)))


# --- Tar ---------------------------------------------------------------------------------------------------------

LONG = "a" * 150 + "/" + "b" * 90 + ".jpg"
MEMBERS = {"0.jpg": b"zero" * 300, "0.json": b"{}", "sub/1.png": b"", "._1.png": b"junk", LONG: b"long" * 500}


def test_a_tar_stands_for_its_pictures(tmp_path: Path) -> None:
    items = list(Sources([str(write_tar(tmp_path / "a.tar", MEMBERS))]))
    assert [item.key for item in items] == ["0.jpg", "sub/1.png", LONG]
    assert [read_item(item) for item in items] == [MEMBERS[item.key] for item in items]


@pytest.mark.parametrize("cut", range(0, 9217, 512))
@pytest.mark.parametrize("more", [0, 100])
def test_a_cut_tar_gives_its_whole_members(tmp_path: Path, cut: int, more: int) -> None:
    """At any place: whole members are read, the one that is cut is told, and nothing is said where nothing is lost."""
    path = write_tar(tmp_path / "a.tar", {f"{k}.jpg": bytes([k]) * 700 for k in range(6)})
    whole = list(Sources([str(path)]))
    end = max(item.place[0] + item.place[1] for item in whole)
    data = path.read_bytes()[: cut + more]
    path.write_bytes(data)
    if len(data) < 512:
        with pytest.raises(ImageError, match="expected an uncompressed tar"):
            Sources([str(path)])
        return
    sources = Sources([str(path)])
    items = list(sources)
    there = [item for item in whole if item.place[0] <= len(data)]
    assert items == there
    for item in items:
        if sum(item.place) <= len(data):
            assert read_item(item) == bytes([int(item.key[0])]) * 700
        else:
            with pytest.raises(ImageError, match=r"expected 700 bytes, got \d+: the archive is cut"):
                read_item(item)
    if len(data) < end:
        assert sources.unread or len(data) % 1536 == 0, "a cut between two members cannot be seen"
    else:
        assert sources.unread == [] or len(data) < end + 324, "padding alone is missing"


def test_rubbish_within_a_tar_is_told(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{k}.jpg": b"x" * 700 for k in range(4)})
    data = bytearray(path.read_bytes())
    data[3072:3584] = b"\xff" * 512
    path.write_bytes(data)
    sources = Sources([str(path)])
    assert [item.key for item in sources] == ["0.jpg", "1.jpg"]
    assert sources.unread[0].endswith("cut or damaged after '1.jpg': what may follow is not known")


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_under_the_name_of_a_plain_one(tmp_path: Path, mode: str) -> None:
    with pytest.raises(ImageError, match="expected an uncompressed tar"):
        Sources([str(write_tar(tmp_path / "a.tar", MEMBERS, mode))])


# --- Parquet -----------------------------------------------------------------------------------------------------

IMAGES = [b"zero", b"one", None, b"three", b"four", b"five", b"six"]


def read(item: Item) -> bytes | str:
    try:
        return read_item(item)
    except ImageError as problem:
        return str(problem)


@pytest.mark.parametrize("kind", ["binary", "large_binary", "struct"])
def test_a_parquet_file_stands_for_its_rows(tmp_path: Path, kind: str) -> None:
    if kind == "struct":
        rows = [None if data is None else {"bytes": data, "path": "x.png"} for data in IMAGES]
        column = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    else:
        column = pa.array(IMAGES, getattr(pa, kind)())
    path = write_parquet(tmp_path / "t.parquet", column, [10, 11, None, 13, 14, 15, 16])
    items = list(Sources([str(path)]))
    assert [item.key for item in items] == [f"t.parquet#{k}" for k in range(7)]
    assert [item.place for item in items] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    expected = [data or "expected an image in this row, got none" for data in IMAGES]
    assert [read(item) for item in items] == expected
    assert [read(item) for item in reversed(items)] == expected[::-1]
    assert keys(path, columns=Columns(key="id")) == ["10", "11", "t.parquet#2", "13", "14", "15", "16"]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (Columns(image="picture"), "expected a column 'picture', got the columns image, id"),
        (Columns(key="name"), "expected a column 'name', got the columns image, id"),
        (Columns(image="id"), "column 'id': expected binary, or a structure with binary `bytes`, got int64"),
    ],
)
def test_missing_and_wrong_columns_are_named(tmp_path: Path, columns: Columns, sentence: str) -> None:
    path = write_parquet(tmp_path / "t.parquet", pa.array([b"x"]), [1])
    with pytest.raises(ImageError, match=sentence):
        Sources([str(path)], columns)


def test_a_parquet_file_that_vanishes_or_shrinks_is_an_images_failure(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", pa.array([b"x"] * 10))
    last = list(Sources([str(path)]))[-1]
    for spoil in (lambda: write_parquet(path, pa.array([b"x"])), lambda: path.write_bytes(b"PAR1"), path.unlink):
        spoil()
        with pytest.raises(ImageError, match="cannot be read"):
            read_item(last)


def test_without_pyarrow_a_sentence_says_what_to_install(tmp_path: Path) -> None:
    with mock.patch.dict("sys.modules", {"pyarrow": None}), pytest.raises(FacefitError, match=r"facefit\[label\]"):
        Sources([str(write(tmp_path, "a.parquet") / "a.parquet")])
