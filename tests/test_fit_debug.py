"""`facefit fit --debug`: the picture's panels as files of their own, and what becomes of them in a later run."""

from pathlib import Path

import numpy as np
import pytest
from command_line import ASTRONAUT, files, run, summary
from PIL import Image

import facefit
from facefit.apps.fit.panels import PANELS
from facefit.apps.fit.window import Window
from facefit.apps.fit.writers import clear, write_face

ALL = {f"debug/{name}.png" for name in PANELS}
WITHOUT_LIGHT = {f"debug/{name}.png" for name in PANELS[:4]}


@pytest.fixture(scope="module")
def landmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("points") / "points.npy"
    np.save(path, facefit.fit(facefit.read_image(ASTRONAUT)).landmarks)
    return path


def fit(out: Path, landmarks: Path, *options: str) -> int:
    arguments = ("--landmarks", landmarks, "--landmark-convention", "contour", "--formats", "npz", "--quiet")
    return run(ASTRONAUT, "-o", out, *arguments, *options).status


def test_panels_are_written_and_listed(tmp_path: Path, landmarks: Path) -> None:
    assert fit(tmp_path, landmarks, "--debug") == 0
    folder = tmp_path / "astronaut"
    told = summary(folder)
    assert files(folder) == {"fit.npz", "summary.json"} | ALL
    assert set(told["files"]) == files(folder)
    assert len(told["files"]) == len(set(told["files"]))
    assert told["drawn_by"]
    assert "draw" in told["seconds"]
    result = facefit.load_result(folder / "fit.npz")
    assert result.lighting is not None
    window = Window.of_pixels(result.camera)
    for name in ALL:
        with Image.open(folder / name) as picture:
            picture.load()
            assert (picture.mode, picture.format) == ("RGB", "PNG")
            assert picture.size == ((window.side, window.side) if "light" not in name else (416, 416))
    with Image.open(folder / "debug/photo.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), window.resample(facefit.read_image(ASTRONAUT)))


def test_a_later_run_leaves_no_panel_that_is_not_its_own(tmp_path: Path, landmarks: Path) -> None:
    folder = tmp_path / "astronaut"
    assert fit(tmp_path, landmarks, "--debug") == 0
    assert fit(tmp_path, landmarks, "--debug", "--stages", "landmark") == 0
    assert files(folder) == {"fit.npz", "summary.json"} | WITHOUT_LIGHT
    (folder / "debug/note.txt").write_text("mine")
    assert fit(tmp_path, landmarks) == 0
    assert files(folder) == {"fit.npz", "summary.json", "debug/note.txt"}
    assert set(summary(folder)["files"]) == {"fit.npz", "summary.json"}
    (folder / "debug/note.txt").unlink()
    assert fit(tmp_path, landmarks, "--debug", "--stages", "landmark") == 0
    assert fit(tmp_path, landmarks) == 0
    assert not (folder / "debug").exists(), "an empty folder of ours goes too"


def test_a_photo_without_a_fit_takes_the_panels_away(tmp_path: Path, landmarks: Path) -> None:
    assert fit(tmp_path, landmarks, "--debug", "--stages", "landmark") == 0
    np.save(tmp_path / "nan.npy", np.full((68, 2), np.nan))
    assert fit(tmp_path, tmp_path / "nan.npy", "--debug") == 3
    assert files(tmp_path / "astronaut") == {"summary.json"}
    assert summary(tmp_path / "astronaut")["drawn_by"] is None


def test_a_file_in_the_folder_s_place_is_an_error(tmp_path: Path, landmarks: Path) -> None:
    (tmp_path / "astronaut").mkdir()
    (tmp_path / "astronaut/debug").write_text("mine")
    assert fit(tmp_path, landmarks, "--stages", "landmark") == 0
    assert fit(tmp_path, landmarks, "--stages", "landmark", "--debug") == 2
    assert (tmp_path / "astronaut/debug").read_text() == "mine"
    assert not (tmp_path / "astronaut/summary.json").exists(), "no summary vouches for half a run"


def test_panels_of_faces_that_are_gone_go_too(tmp_path: Path) -> None:
    (tmp_path / "face-2/debug").mkdir(parents=True)
    (tmp_path / "face-3/debug").mkdir(parents=True)
    for folder in ("face-2", "face-3"):
        (tmp_path / folder / "debug/photo.png").write_text("old")
    (tmp_path / "face-3/debug/note.txt").write_text("mine")
    clear(tmp_path, 1)
    assert files(tmp_path) == {"face-3/debug/note.txt"}


def test_a_linked_folder_is_not_emptied(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "photo.png").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/debug").symlink_to(elsewhere)
    write_face(tmp_path / "out", None, ("npz",))
    assert (elsewhere / "photo.png").read_text() == "mine"
