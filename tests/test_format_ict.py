"""ICT-FaceKit: the real files against the ground truth made from them, small ones of the same layout, hostile ones."""

import contextlib
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_model import small_model

from facefit.apps.evaluate.scan import umeyama
from facefit.models import cache
from facefit.models.errors import InvalidInputError, ModelError
from facefit.models.formats import _members, ict
from facefit.models.formats._wavefront import read_faces, read_rows
from facefit.models.formats.ict import ALL_VERTICES, ARKIT, VERTICES, mirror_map, read_model, recognises
from facefit.models.formats.npz import read_model as read_npz
from facefit.models.formats.npz import write_model
from facefit.models.morphable_model import MorphableModel

Files = dict[str, bytes]

COLUMNS = 101  # of the grid of quads that the small files hold
LANDMARKS = [*range(36), 36 * COLUMNS + 10, *range(37, 45), 36 * COLUMNS + 90, *range(46, 68)]


class Content(bytes):
    """Bytes whose repr is short: hypothesis prints its arguments."""

    def __repr__(self) -> str:
        return f"Content({len(self)} bytes)"


def grid(count: int = ALL_VERTICES, columns: int = COLUMNS) -> np.ndarray:
    """Return vertices (count, 3), cm: a bent sheet, row by row."""
    row, column = np.divmod(np.arange(count), columns)
    x, y = 0.2 * (column - columns // 2), 0.1 * (130 - row)
    return np.stack([x, y, 8.0 - 0.05 * (x * x + y * y)], axis=1).round(4)


def obj(vertices: np.ndarray, faces: str = "") -> bytes:
    rows = "".join(f"v {x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in vertices.tolist())
    return f"# a comment\nmtllib some.mtl\n{rows}{faces}".encode()


def sheet_faces(count: int = ALL_VERTICES, columns: int = COLUMNS) -> str:
    """Return quads between the rows of the grid, every tenth as a triangle, each with the same texture square."""
    corner = np.arange(count - columns - 1)
    corner = corner[corner % columns != columns - 1] + 1
    lines = ["vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl M_Face\n"]
    for k, a in enumerate(corner.tolist()):
        last = "" if k % 10 == 0 else f" {a + 1}/3"
        lines.append(f"f {a}/4 {a + columns}/1 {a + columns + 1}/2{last}\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def files() -> Files:
    """Three identity modes and two expressions, the second of the part that only `full` has."""
    mean = grid()
    moved = {}
    for k, name in enumerate(("identity000", "identity001", "identity002", "eyeBlink_L")):
        moved[name] = obj(mean + 0.01 * (k + 1) * np.sin(mean[:, [1, 2, 0]] + k))
    inner = mean.copy()
    inner[VERTICES["head"] : VERTICES["full"], 2] += 1.0
    return {
        "generic_neutral_mesh.obj": obj(mean, sheet_faces()),
        "vertex_indices.json": json.dumps({"idx_to_landmark_verts": LANDMARKS, "expressions": []}).encode(),
        **{f"{name}.obj": content for name, content in moved.items()},
        "PupilDilate_L.obj": obj(inner),
    }


def folder(place: Path, files: Files) -> Path:
    place.mkdir(parents=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    return place


def tar(files: Mapping[str, bytes], *, prefix: str = "FaceXModel/", extra: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for member in extra:
            archive.addfile(member)
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def zipped(files: Mapping[str, bytes], prefix: str = "FaceXModel/") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in files.items():
            archive.writestr(prefix + name, content)
    return stream.getvalue()


def read(path: Path, topology: Any = "full") -> MorphableModel:
    return read_model(path, topology=topology, cached=False)


def refusal(path: Path) -> str:
    """The message with which a source is refused; it names the source."""
    with pytest.raises(ModelError) as refused:
        read(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


@pytest.fixture(scope="module")
def small(files: Files, tmp_path_factory: pytest.TempPathFactory) -> MorphableModel:
    return read(folder(tmp_path_factory.mktemp("ict") / "FaceXModel", files))


# ------------------------------------------------------------------------------------------------------ the small files


def test_bases_are_differences_in_millimetres(small: MorphableModel) -> None:
    mean = grid()[: VERTICES["full"]]
    mapped = np.column_stack([mean, np.ones(len(mean))]) @ small.source_transform.T
    np.testing.assert_allclose(mapped[:, :3], small.mean, atol=1e-9)
    np.testing.assert_allclose(small.mean[LANDMARKS[36]] + small.mean[LANDMARKS[45]], 0.0, atol=1e-9)
    assert (small.n_identity, small.expression_names) == (3, ("PupilDilate_L", "eyeBlink_L"))
    for k in range(3):
        difference = 0.1 * (k + 1) * np.sin(mean[:, [1, 2, 0]] + k)
        np.testing.assert_allclose(small.identity[k], difference, atol=2e-3)  # four decimals of a centimetre
    assert small.expression_sigma.tolist() == [0.3, 0.4]
    assert small.expression_lower.tolist() == [0.0, 0.0] and small.expression_upper.tolist() == [1.0, 1.0]
    np.testing.assert_array_equal(small.landmark_positions(small.mean), small.mean[LANDMARKS])


@pytest.mark.parametrize("topology", ["face", "head"])
def test_topologies_are_prefixes(files: Files, small: MorphableModel, tmp_path: Path, topology: Any) -> None:
    part, n = read(folder(tmp_path / "a", files), topology), VERTICES[topology]
    np.testing.assert_array_equal(part.mean, small.mean[:n])
    np.testing.assert_array_equal(part.identity, small.identity[:, :n])
    assert part.expression_names == ("eyeBlink_L",), "a unit that moves nothing of the part is left out"
    assert part.uv is not None and small.uv is not None
    place = {tuple(corners): k for k, corners in enumerate(small.triangles.tolist())}
    same = [place[tuple(corners)] for corners in part.triangles.tolist()]
    corners = small.uv.coordinates[small.uv.triangles]
    np.testing.assert_array_equal(part.uv.coordinates[part.uv.triangles], corners[same])
    assert same == sorted(same) and len(same) >= (small.triangles < n).all(axis=1).sum() - 1, "a quad is not torn apart"
    for name, mask in part.regions.items():
        np.testing.assert_array_equal(mask, small.regions[name][:n])


def test_faces_become_triangles_with_their_own_texture_corners(small: MorphableModel) -> None:
    quads = sum(line.count("/") == 4 for line in sheet_faces().splitlines() if reaches(line) < VERTICES["full"])
    thirds = sum(line.count("/") == 3 for line in sheet_faces().splitlines() if reaches(line) < VERTICES["full"])
    assert len(small.triangles) == 2 * quads + thirds
    a, b, c = np.moveaxis(small.mean[small.triangles], 1, 0)
    assert (np.cross(b - a, c - a)[:, 2] > 0.0).all(), "orientation is kept"
    assert small.uv is not None
    corners = small.uv.coordinates[small.uv.triangles]
    # Within a material's square, columns of the sheet (2 mm apart) run along u and rows (1 mm apart) along v.
    side = np.where((small.triangles < 21451).any(axis=1), 0.75, 0.25)[:, None, None]
    points = small.mean[small.triangles, :2] / (2.0, 1.0)
    expected = side * (points - points.min(axis=1, keepdims=True))
    np.testing.assert_allclose(corners - corners.min(axis=1, keepdims=True), expected, atol=1e-6)
    assert corners.min() >= 0.0 and corners.max() <= 1.0


def reaches(line: str) -> int:
    """Return the greatest vertex index, from 0, of a face; -1 of another line counts as none."""
    return max((int(corner.split("/")[0]) - 1 for corner in line.split()[1:] if "/" in corner), default=ALL_VERTICES)


def test_every_container_gives_the_same_model(files: Files, small: MorphableModel, tmp_path: Path) -> None:
    packed = tar(files)
    folder(tmp_path / "inside" / "FaceXModel", files)
    contents = {
        "plain": packed,
        "xz": lzma.compress(packed, preset=0),
        "gz.misnamed.zip": gzip.compress(packed, 1),
        "deep": gzip.compress(tar(files, prefix="./ICT-FaceKit-master/FaceXModel/"), 1),
        "flat": zipped(files, prefix=""),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in (*contents, "inside"):
        assert recognises(tmp_path / name), name
        assert read(tmp_path / name).hash == small.hash, name


def test_windows_line_ends_and_a_missing_last_one(files: Files, small: MorphableModel, tmp_path: Path) -> None:
    other = {name: content.replace(b"\n", b"\r\n").rstrip() for name, content in files.items()}
    assert read(folder(tmp_path / "a", other)).hash == small.hash


def test_conversion_loses_nothing(small: MorphableModel, tmp_path: Path) -> None:
    write_model(tmp_path / "ict.npz", small)
    again = read_npz(tmp_path / "ict.npz")
    assert again.hash == small.hash
    missing = {item.name for item in fields(again) if getattr(again, item.name) is None}
    assert missing == {"albedo_mean", "albedo", "albedo_texture", "landmarks_contour", "mirror"}, "a skewed sheet"


def test_second_load_comes_from_the_cache(
    files: Files, small: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "cache")
    source = folder(tmp_path / "a", files)
    assert read_model(source).hash == small.hash
    assert read_model(source, topology="face").n_vertices == VERTICES["face"]
    monkeypatch.setattr(ict, "read_members", lambda *_: pytest.fail("the source was read again"))
    assert read_model(source).hash == small.hash
    assert read_model(source, topology="face").n_vertices == VERTICES["face"]


# ------------------------------------------------------------------------------------------------------- wrong content


def without(name: str) -> Callable[[Files], Any]:
    return lambda files: files.pop(name)


def replaced(name: str, old: bytes, new: bytes) -> Callable[[Files], Any]:
    def change(files: Files) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)

    return change


def indices(value: Any) -> Callable[[Files], Any]:
    return lambda files: files.update({"vertex_indices.json": json.dumps(value).encode()})


NEUTRAL = "generic_neutral_mesh.obj"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (without(NEUTRAL), "generic_neutral_mesh: expected this file"),
        (without("vertex_indices.json"), "vertex_indices.json: expected this file"),
        (without("identity001.obj"), "identity001.obj: expected identity000 to"),
        (lambda files: files.update({"mouthOpen.obj": b"\nv 1 2 3\n"}), "mouthOpen.obj: v: expected 26719 rows, got 1"),
        (lambda files: files.update({"mouthOpen.obj": b"\x00" * 1000}), "mouthOpen.obj: v: expected 26719 rows, got 0"),
        (
            replaced("identity002.obj", b"\nv ", b"\nv nan "),
            "expected 24591 rows of finite numbers",
        ),
        (replaced("identity002.obj", b"\nv ", b"\nv 1e999 "), "expected 24591 rows of finite numbers"),
        (replaced("identity002.obj", b"\nv ", b"\nv 1e9 "), "identity002.obj: v: expected centimetres"),
        (replaced("identity002.obj", b"\nv ", b"\nv x "), "identity002.obj: v: expected 3 numbers a row"),
        (replaced("identity002.obj", b"\nv -10.0000", b"\nvn 0 0 1\nv -10.0000"), "in one block"),
        (replaced(NEUTRAL, b"f 1/4", b"f 1"), "f: expected three or four corners"),
        (replaced(NEUTRAL, b"f 1/4", b"f 0/4"), "f: expected indices counted from 1"),
        (replaced(NEUTRAL, b"f 1/4", b"f 1/5"), "f: expected faces with texture coordinates 1 to 4"),
        (replaced(NEUTRAL, b"f 1/4", b"f 1/" + b"9" * 30), "f: expected"),
        (replaced(NEUTRAL, b"vt 1 0", b"vt 9 0"), "vt: expected coordinates of each face within one of 8 squares"),
        (replaced(NEUTRAL, b"vt 1 1", b"vt 1"), "vt: expected 2 numbers a row"),
        (indices([]), "vertex_indices.json: expected JSON with idx_to_landmark_verts"),
        (indices({"idx_to_landmark_verts": LANDMARKS[1:]}), "expected shape (68,)"),
        (indices({"idx_to_landmark_verts": [*LANDMARKS[1:], 24591]}), "expected indices from 0 to 24590"),
        (indices({"idx_to_landmark_verts": [*LANDMARKS[1:], "a"]}), "idx_to_landmark_verts"),
        (lambda files: files.update({"vertex_indices.json": b"[" * 100_000}), "vertex_indices.json: expected JSON"),
    ],
)
def test_wrong_content_is_refused(files: Files, tmp_path: Path, change: Callable[[Files], Any], text: str) -> None:
    changed = dict(files)
    change(changed)
    assert text in refusal(folder(tmp_path / "a", changed))


def test_too_many_meshes_are_refused(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ict, "_MAX_MESHES", 5)
    assert "at most 5" in refusal(folder(tmp_path / "a", files))


def test_the_same_file_twice_is_refused(files: Files, tmp_path: Path) -> None:
    folder(tmp_path / "a", {"identity000.obj": files["identity000.obj"]})
    folder(tmp_path / "a" / "FaceXModel", files)
    assert "expected each file once" in refusal(tmp_path / "a")


def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="topology: expected one of face, head, full, got 'bust'"):
        read_model(tmp_path, topology="bust")  # type: ignore[arg-type]
    assert "expected this file, got none" in refusal(tmp_path)
    assert "not a readable folder or archive" in refusal(tmp_path / "missing")


# ----------------------------------------------------------------------------------------------------- hostile archives


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, size
    return member


@pytest.mark.parametrize(
    ("member", "text"),
    [
        (entry("../evil.obj"), "expected members inside the archive, got '../evil.obj'"),
        (entry("FaceXModel/../../evil.obj"), "expected members inside the archive"),
        (entry("/etc/evil.obj"), "expected members inside the archive"),
        (entry("FaceXModel/a.obj", tarfile.SYMTYPE, "/etc/passwd"), "expected plain files and folders only"),
        (entry("FaceXModel/a.obj", tarfile.LNKTYPE, "FaceXModel/identity000.obj"), "expected plain files and folders"),
        (entry("FaceXModel/a.obj", tarfile.FIFOTYPE), "expected plain files and folders only"),
        (entry("FaceXModel/a.obj", tarfile.CHRTYPE), "expected plain files and folders only"),
    ],
)
def test_a_tar_that_leads_out_is_refused(files: Files, tmp_path: Path, member: tarfile.TarInfo, text: str) -> None:
    (tmp_path / "a.tar").write_bytes(tar({"vertex_indices.json": b"{}"}, extra=(member,)))
    assert text in refusal(tmp_path / "a.tar")


@pytest.mark.parametrize("name", ["../evil.obj", "/evil.obj", "a/../../evil.obj", "..\\evil.obj"])
def test_a_zip_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({name: b""}, prefix=""))
    assert "expected members inside the archive" in refusal(tmp_path / "a.zip")


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("FaceXModel/identity000.obj")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "expected plain files and folders only" in refusal(tmp_path / "a.zip")


def test_what_a_mac_puts_beside_a_file_is_no_part(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"._identity000.obj": b"Mac OS X"}, "__MACOSX/FaceXModel/"))
    assert not recognises(tmp_path / "a.zip")


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a member, of the whole, and of a header: `tarfile` takes time that grows with its square."""
    monkeypatch.setattr(_members, "MAX_MEMBER_BYTES", 2**16)
    monkeypatch.setattr(_members, "MAX_TOTAL_BYTES", 2**20)
    zeros = bytes(2**17)
    header = tarfile.TarInfo("FaceXModel/a.obj")
    header.pax_headers = {"comment": "x" * 2**18}
    bombs = {
        "member.tar": (tar({"a.obj": zeros}), "at most 65536 bytes"),
        "member.zip": (zipped({"a.obj": zeros}), "at most 65536 bytes"),
        "total.tar": (tar({f"{k}.txt": zeros for k in range(10)}), "at most 1048576 bytes unpacked"),
        "total.zip": (zipped({f"{k}.txt": zeros for k in range(10)}), "1048576 bytes, got more"),
        "header.tar": (tar({}, extra=(header,)), "headers of at most 2048 bytes"),
    }
    for name, (content, text) in bombs.items():
        for packed in (content, lzma.compress(content, preset=0)):
            (tmp_path / name).write_bytes(packed)
            if packed is content or name.endswith("tar"):
                assert text in refusal(tmp_path / name), name
    folder(tmp_path / "a", {"identity000.obj": zeros})
    assert "at most 65536 bytes" in refusal(tmp_path / "a")


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_members, "MAX_MEMBERS", 20)
    many = {f"{k}.txt": b"" for k in range(21)}
    for name, content in (("a.tar", tar(many)), ("a.zip", zipped(many))):
        (tmp_path / name).write_bytes(content)
        assert "at most 20 members" in refusal(tmp_path / name)


# ---------------------------------------------------------------------------------------------------------------- fuzz


@pytest.fixture(scope="module")
def archives() -> list[bytes]:
    """Small archives of each kind, which lack most vertices: what is fuzzed is how they are opened."""
    few = {"generic_neutral_mesh.obj": b"\nv 1 2 3\n", "identity000.obj": b"\nv 1 2 3\n", "vertex_indices.json": b"{}"}
    packed = tar(few)
    return [Content(x) for x in (packed, gzip.compress(packed), lzma.compress(packed), zipped(few))]


def mutated(data: st.DataObject, content: bytes) -> bytes:
    """Return `content` with some bytes replaced and a part cut off its end or repeated."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(changed) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=8))
        changed[place : place + len(patch)] = patch
    cut = data.draw(st.integers(0, len(changed)) | st.just(len(changed)))
    return bytes(changed[:cut]) + (bytes(changed[cut // 2 : cut]) if data.draw(st.booleans()) else b"")


@settings(max_examples=600)
@given(data=st.data())
def test_damaged_archives_are_refused(archives: list[bytes], tmp_path_factory: Any, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(mutated(data, data.draw(st.sampled_from(archives))))
    assert recognises(path) in (True, False)
    with pytest.raises(ModelError):
        read(path)


SMALL_OBJ = Content(
    b"# c\nv 1 2 3\nv 4 5 6.5e0\nv 7 8 9\nv 0 1 0\nvt 0 0.5\nvt 1 1\nf 1/1 2/2 3/1 4/2\nf 1/1 2/2 3/1\n"
)


@settings(max_examples=1000)
@given(data=st.data())
def test_damaged_meshes_give_numbers_or_an_error(data: st.DataObject) -> None:
    content = mutated(data, SMALL_OBJ)
    for keyword, columns, first in (("v", 3, None), ("v", 3, 2), ("vt", 2, None)):
        with contextlib.suppress(ModelError):
            rows = read_rows(content, keyword, columns, first=first)
            assert rows.shape[1:] == (columns,) and np.isfinite(rows).all()
    with contextlib.suppress(ModelError):
        corners, texture = read_faces(content)
        assert corners.shape == texture.shape and (corners[:, :3] >= 0).all() and (corners[:, 3] >= -1).all()


@pytest.fixture(scope="module")
def tiny() -> Files:
    """The files of a face of 120 vertices, of which an example of a fuzz takes milliseconds."""
    mean = grid(120, 10)
    return {
        "generic_neutral_mesh.obj": obj(mean, sheet_faces(120, 10)),
        "identity000.obj": obj(mean + 0.1),
        "jawOpen.obj": obj(mean * 1.1),
        "vertex_indices.json": json.dumps({"idx_to_landmark_verts": [*range(20, 88)]}).encode(),
    }


@settings(max_examples=400)
@given(data=st.data())
def test_damaged_files_give_a_model_or_an_error(tiny: Files, tmp_path_factory: Any, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(tiny)))
    path = tmp_path_factory.getbasetemp() / "damaged.tar"
    path.write_bytes(tar({**tiny, name: mutated(data, tiny[name])}))
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(ModelError):
        patch.setattr(ict, "ALL_VERTICES", 120)
        patch.setattr(ict, "VERTICES", {"full": 110})
        assert read(path).n_vertices == 110


def test_meshes_are_read_to_the_letter() -> None:
    np.testing.assert_array_equal(read_rows(SMALL_OBJ, "v", 3), [[1, 2, 3], [4, 5, 6.5], [7, 8, 9], [0, 1, 0]])
    np.testing.assert_array_equal(read_rows(SMALL_OBJ, "v", 3, expected=4, first=1), [[1, 2, 3]])
    np.testing.assert_array_equal(read_rows(SMALL_OBJ, "vt", 2), [[0, 0.5], [1, 1]])
    corners, texture = read_faces(SMALL_OBJ)
    np.testing.assert_array_equal(corners, [[0, 1, 2, 3], [0, 1, 2, -1]])
    np.testing.assert_array_equal(texture, [[0, 1, 0, 1], [0, 1, 0, -1]])
    assert read_faces(b"")[0].shape == (0, 4)


def test_other_files_are_not_recognised(test_data: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "own.npz", small_model())
    (tmp_path / "other.zip").write_bytes(zipped({"identity.obj": b"", "identity0000.obj": b""}))
    (tmp_path / "other.tar").write_bytes(tar({"generic_neutral_mesh.obj": b""}, prefix="Elsewhere/"))
    for path in (tmp_path, *tmp_path.iterdir(), tmp_path / "missing", Path("bad\0name"), test_data):
        assert not recognises(path), path
    for path in sorted(test_data.rglob("*")):
        assert recognises(path) == (path.name in ("ict", "ict_facekit.tar.xz") and path.is_file()), path


# -------------------------------------------------------------------------------------------------------- mirror maps


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_mirror_map_of_symmetric_points(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    half = rng.uniform(-50.0, 50.0, (n, 3))
    half[: n // 3, 0] = 0.0
    points = np.concatenate([half, half[n // 3 :] * (-1.0, 1.0, 1.0)])
    order = rng.permutation(len(points))
    mirror = mirror_map(points[order] + rng.uniform(-1e-6, 1e-6, points.shape), 0.1)
    assert mirror is not None
    np.testing.assert_array_equal(mirror[mirror], np.arange(len(points)))
    np.testing.assert_allclose(points[order][mirror], points[order] * (-1.0, 1.0, 1.0), atol=1e-5)


def test_mirror_map_of_other_points() -> None:
    assert mirror_map(np.array([[1.0, 0.0, 0.0], [-1.0, 0.2, 0.0]]), 0.1) is None
    crossed = np.array([[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [-1.0, 0.06, 0.0], [-1.0, 0.15, 0.0]])
    assert mirror_map(crossed, 0.1) is None, "what is left after the nearest pair is too far apart"
    np.testing.assert_array_equal(mirror_map(crossed, 0.2), [3, 2, 1, 0])
    assert mirror_map(np.zeros((30_000, 3)), 0.1) is None, "and that soon"


# ------------------------------------------------------------------------------------------------------- the real files


@pytest.fixture(scope="module")
def real(test_data: Path) -> MorphableModel:
    return read(test_data / "ict" / "ict_facekit.tar.xz")


def test_real_model_is_complete(real: MorphableModel) -> None:
    assert (real.n_vertices, real.n_identity, real.n_expression) == (VERTICES["full"], 100, 57)
    assert len(real.triangles) == 48_836
    assert "MIT" in real.licence and "CVPR 2020" in real.citation
    points = real.landmark_positions(real.mean)
    assert abs(points[36] + points[45]).max() < 1e-9, "the origin lies between the outer eye corners"
    assert points[36, 0] < -35.0 and points[45, 0] > 35.0 and points[30, 2] > 20.0 and points[8, 1] < -80.0
    names = set(real.expression_names)
    assert names - set(ARKIT) == {"PupilDilate_L", "PupilDilate_R", "cheekRaiser_L", "cheekRaiser_R"}
    assert set(ARKIT) <= names and len(set(ARKIT.values())) == 51
    size = [np.abs(mode - mode.mean(axis=0)).mean() for mode in real.identity]
    assert int(np.argmax(size)) == 0, "the first mode is the head's size"


def test_real_surface_is_symmetric_and_faces_outwards(real: MorphableModel) -> None:
    assert real.mirror is not None
    gap = real.mean[real.mirror] * (-1.0, 1.0, 1.0) - real.mean
    assert np.linalg.norm(gap, axis=1).max() < 0.3
    triangles = {frozenset(corners) for corners in real.triangles.tolist()}
    assert {frozenset(corners) for corners in real.mirror[real.triangles].tolist()} == triangles
    for name in ("right", "left"):
        assert real.regions["skin"][getattr(real.contour, name)].all()
    for name in ("skin", "eyes", "teeth"):
        part = real.triangles[real.regions[name][real.triangles].all(axis=1)]
        a, b, c = np.moveaxis(real.mean[part] - real.mean[part].mean(axis=(0, 1)), 1, 0)
        assert np.einsum("tx,tx->", a, np.cross(b, c)) > 0.0, name


def test_real_texture_squares_do_not_overlap(real: MorphableModel) -> None:
    """Every part fills its own square of the unit one."""
    assert real.uv is not None
    boxes = []
    for start, end in ((0, 9409), (14062, 17039), (17039, 21451), (21451, 22221), (22221, 23021), (23021, 23791)):
        chosen = ((real.triangles >= start) & (real.triangles < end)).all(axis=1)
        points = real.uv.coordinates[real.uv.triangles[chosen]].reshape(-1, 2)
        boxes.append((points.min(axis=0), points.max(axis=0)))
    for k, (low, high) in enumerate(boxes):
        assert (low >= 0.0).all() and (high <= 1.0).all() and (high - low > 0.2).all()
        for other_low, other_high in boxes[:k]:
            assert (np.minimum(high, other_high) < np.maximum(low, other_low)).any()


def test_real_model_makes_the_people_of_the_synthetic_set(real: MorphableModel, test_data: Path) -> None:
    """Their coefficients are published: what remains are the bumps of about half a millimetre added to them."""
    for path in sorted((test_data / "synthetic").glob("s000?.npz")):
        with np.load(path) as truth:
            names = truth["expression_names"].tolist()
            expression = np.array([truth["expression"][names.index(name)] for name in real.expression_names])
            neutral = real.vertices(truth["identity"])[: VERTICES["face"]]
            moved = real.vertices(truth["identity"], expression)[: VERTICES["face"]]
            for made, true in ((neutral, truth["neutral"]), (moved, truth["vertices"])):
                similarity = umeyama(made, true)
                assert abs(similarity.scale - 1.0) < 0.01
                assert np.sqrt(np.mean((similarity.apply(made) - true) ** 2)) < 0.8


def test_names_are_read_in_place(files: Files) -> None:
    assert ict._is_part(PurePosixPath("a/b/FaceXModel/identity000.obj"))
    assert not ict._is_part(PurePosixPath("FaceXModel/deeper/identity000.obj"))
    assert set(map(PurePosixPath, files)) == {name for name in map(PurePosixPath, files) if ict._is_part(name)}
