"""`facefit fit` and what cannot be fitted: a status or one sentence, never a traceback, and the other photos go on.

Landmarks that are no face stand in `test_fit_command.py`, damaged picture files of every kind in `test_images.py`,
malformed landmark files in `test_landmark_files.py`.
"""

import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from command_line import ASTRONAUT, files, run, strict, summary
from PIL import Image

import facefit


@pytest.fixture
def no_cnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the seconds of the CNN where a photo is meant to hold no face."""
    monkeypatch.setattr("facefit.fitting.dlib_detector.DlibDetector.__init__", lambda self: None)
    monkeypatch.setattr("facefit.fitting.dlib_detector.DlibDetector.allow_cnn", False)


# --- Photos that cannot be fitted --------------------------------------------------------------------------------


def _truncated(path: Path) -> None:
    path.write_bytes(ASTRONAUT.read_bytes()[:20000])


BAD_PHOTOS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no face": ("a.png", lambda p: Image.new("RGB", (200, 200), (90, 120, 150)).save(p), "NO_FACE"),
    "1 x 1": ("a.png", lambda p: Image.new("RGB", (1, 1)).save(p), "NO_FACE"),
    "65,000 x 1": ("a.png", lambda p: Image.new("RGB", (65000, 1)).save(p), "NO_FACE"),
    "100 megapixels": ("a.png", lambda p: Image.new("1", (10000, 10000)).save(p), "BAD_INPUT"),
    "truncated": ("a.jpg", _truncated, "BAD_INPUT"),
    "text": ("a.jpg", lambda p: p.write_text("no picture"), "BAD_INPUT"),
    "empty": ("a.png", lambda p: p.write_bytes(b""), "BAD_INPUT"),
}


@pytest.mark.usefixtures("no_cnn")
@pytest.mark.parametrize("kind", BAD_PHOTOS)
def test_a_photo_that_cannot_be_fitted(tmp_path: Path, kind: str) -> None:
    name, make, status = BAD_PHOTOS[kind]
    make(tmp_path / name)
    done = run(tmp_path / name, "-o", tmp_path / "out")
    assert done.status == 3
    (sentence,) = done.err.splitlines()
    assert sentence.startswith(f"facefit: {tmp_path / name}: ")
    assert files(tmp_path / "out") == {"a/summary.json"}
    told = summary(tmp_path / "out" / "a")
    assert told["status"] == status
    assert told["usable"] is False
    assert sentence.endswith(told["message"])
    assert told["camera"] is None


@pytest.mark.usefixtures("no_cnn")
def test_no_face_among_all_faces(tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), (90, 120, 150)).save(tmp_path / "a.png")
    done = run(tmp_path / "a.png", "-o", tmp_path / "out", "--faces", "all", "--json")
    assert done.status == 3
    assert strict(done.out)["status"] == "NO_FACE"


def test_names_that_no_terminal_can_show(tmp_path: Path) -> None:
    names = [b"\xff\xfe.jpg", b"line\nfeed.jpg", b"\x1b[31mred.jpg", b"[bold]x[nonsense].jpg"]
    photos = [tmp_path / os.fsdecode(name) for name in names]
    for photo in photos:
        photo.write_text("no picture")
    done = run(*photos, "-o", tmp_path / "out")
    assert done.status == 3
    assert len(done.err.splitlines()) == len(photos)
    assert "\x1b" not in done.out + done.err
    (done.out + done.err).encode()
    assert run(photos[0], "-o", tmp_path / "out", "--json").out.isascii()


# --- Photos of odd kinds -----------------------------------------------------------------------------------------


def test_odd_kinds_of_file_give_the_face_of_their_plain_twin(tmp_path: Path) -> None:
    colour = Image.open(ASTRONAUT).convert("RGB")
    grey, palette = colour.convert("L"), colour.quantize(128)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    odd: dict[str, tuple[Image.Image, Image.Image]] = {
        "deep.png": (deep, grey),
        "cmyk.tif": (colour.convert("CMYK"), colour),
        "palette.png": (palette, palette.convert("RGB")),
        "alpha.png": (grey.convert("LA"), grey),
        "animated.png": (colour, colour),
    }
    for name, (image, plain) in odd.items():
        frames = {"save_all": True, "append_images": [Image.new("RGB", image.size)]} if name == "animated.png" else {}
        image.save(tmp_path / name, **frames)
        plain.convert("RGB").save(tmp_path / f"plain-{Path(name).stem}.png")
    photos = sorted(tmp_path.iterdir())
    assert run(*photos, "-o", tmp_path / "out", "--formats", "npz").status == 0
    for name in odd:
        stem = Path(name).stem
        result, plain = (
            facefit.load_result(tmp_path / "out" / folder / "fit.npz") for folder in (stem, f"plain-{stem}")
        )
        np.testing.assert_allclose(result.vertices_image, plain.vertices_image, rtol=0.0, atol=1e-3)


def test_a_jpeg_cut_at_ten_points_stops_no_other_photo(tmp_path: Path) -> None:
    content = ASTRONAUT.read_bytes()
    cuts = [tmp_path / f"cut{tenths}.jpg" for tenths in range(10)]
    for tenths, cut in enumerate(cuts):
        cut.write_bytes(content[: len(content) * tenths // 10])
    done = run(*cuts, ASTRONAUT, "-o", tmp_path / "out", "--formats", "npz")
    assert done.status == 3
    assert len(done.err.splitlines()) == len(cuts)
    for cut in cuts:
        assert files(tmp_path / "out" / cut.stem) == {"summary.json"}
        assert summary(tmp_path / "out" / cut.stem)["status"] == "BAD_INPUT"
    assert summary(tmp_path / "out" / "astronaut")["usable"]


# --- Wrong calls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.jpg"], "missing.jpg: expected a photo, got no such file"),
        (["x" * 5000], "expected a photo, got no such file"),
        (["folder"], "folder: expected a photo, got a folder without pictures"),
        ([ASTRONAUT, "--model", "missing"], "model 'missing'"),
        ([ASTRONAUT, "--model", "text.npz"], "text.npz"),
        ([ASTRONAUT, "--formats", "npz,exe"], "turntable, got 'exe'"),
        ([ASTRONAUT, "--formats", ""], "--formats"),
        ([ASTRONAUT, "--stages", "landmark,magic"], "stages"),
        ([ASTRONAUT, "--renderer", "numba", "--shading", "wire"], "--shading wire: expected the OpenGL renderer"),
        ([ASTRONAUT, "--landmark-sigma", "-1"], "--landmark-sigma: expected a positive number, got -1.0"),
        ([ASTRONAUT, "--landmark-sigma", "nan"], "--landmark-sigma: expected a positive number, got nan"),
        ([ASTRONAUT, "--landmark-origin", "1"], "--landmark-origin: expected --landmarks"),
        ([ASTRONAUT, "--landmarks", "missing.pts"], "missing.pts"),
        ([ASTRONAUT, "--landmarks", "short.npy"], "expected shape (68, 2), got (67, 2)"),
        ([ASTRONAUT, "text.npz", "--landmarks", "good.npy"], "--landmarks: expected exactly one photo, got 2"),
        ([ASTRONAUT, "--landmarks", "good.npy", "--faces", "all"], "--faces all"),
        ([ASTRONAUT, "--landmarks", "good.npy", "--landmark-origin", "2"], "--landmark-origin"),
        ([ASTRONAUT, "--faces", "some"], "some"),
        ([ASTRONAUT, "--renderer", "pencil"], "pencil"),
        ([ASTRONAUT, "--no-such-option"], "--no-such-option"),
        ([ASTRONAUT, "-o", "text.npz/out"], "text.npz/out/astronaut: cannot be written to"),
    ],
)
def test_a_wrong_call_says_so_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[object], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("text.npz").write_text("not a model")
    np.save("short.npy", np.zeros((67, 2)))
    np.save("good.npy", np.zeros((68, 2)))
    before = files(tmp_path)
    with mock.patch("facefit.fitting.dlib_detector.DlibDetector.detect", side_effect=AssertionError):
        done = run(*arguments)
    assert done.status == 2
    assert done.out == ""
    assert sentence in done.err
    assert files(tmp_path) == before


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "astronaut").write_text("a file")
    done = run(ASTRONAUT, "-o", tmp_path)
    assert done.status == 2
    assert (tmp_path / "astronaut").read_text() == "a file"


def test_an_output_folder_that_is_not_ours_to_write(tmp_path: Path) -> None:
    refusal = PermissionError(13, "Permission denied")
    with mock.patch("facefit.apps.fit.writers.tempfile.TemporaryFile", side_effect=refusal):
        done = run(ASTRONAUT, "-o", tmp_path / "out")
    assert done.status == 2
    assert done.err == f"facefit: {tmp_path / 'out/astronaut'}: cannot be written to (Permission denied)\n"
    assert files(tmp_path) == set()


def test_an_interrupt_leaves_nothing_half_written(tmp_path: Path) -> None:
    with mock.patch("facefit.fitting.result_files.np.savez_compressed", side_effect=KeyboardInterrupt):
        done = run(ASTRONAUT, "-o", tmp_path / "out")
    assert done.status == 130
    assert files(tmp_path) == set()
