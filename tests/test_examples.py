"""The examples run, and show what they say."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import ASTRONAUT
from test_label_command import run

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

needs_scikit_learn = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not here: pip install 'facefit[examples]'"
)


def example(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-W", "error", str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def frames(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty frames of the rendered clip, in twenty runs of four, half a second apart."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "in").mkdir()
    film, number, written = cv2.VideoCapture(str(test_data / "video" / "dev_clip.mp4")), 0, 0
    while (frame := film.read()[1]) is not None:
        if number % 15 < 4:
            assert cv2.imwrite(str(folder / "in" / f"{number:04}.jpg"), frame)
            written += 1
        number += 1
    assert written == 80
    return folder


@needs_scikit_learn
def test_a_regressor_learns_from_labels(frames: Path) -> None:
    done = run(frames / "in", "-o", frames / "out", "--maps", "--map-size", 32, "--stages", "landmark", "--quiet")
    assert done.status == 0, done.err
    trained = example("train_regressor.py", frames / "out")
    assert (trained.returncode, trained.stderr) == (0, "")
    first, header, *rows = trained.stdout.splitlines()
    assert first.startswith("64 faces to train on, 16 held out")
    assert header.split() == ["target", "mean", "trained", "explained"]
    assert [row.split()[0] for row in rows] == ["yaw", "pitch", "roll", "jawOpen"]
    mean, error = np.array([[float(value) for value in row.split()[1:3]] for row in rows]).T
    assert (error < mean).all(), trained.stdout
    assert (error[[0, 1]] < 0.35 * mean[[0, 1]]).all(), trained.stdout
    assert error[3] < 0.8 * mean[3], trained.stdout


@needs_scikit_learn
def test_too_little_to_learn_from_is_a_sentence(tmp_path: Path) -> None:
    for folder, sentence in ((tmp_path / "nowhere", "expected a dataset"), (tmp_path / "out", "got 0: label with")):
        if folder.name == "out":
            (tmp_path / "in").mkdir()
            (tmp_path / "in" / "a.jpg").write_bytes(ASTRONAUT.read_bytes())
            assert run(tmp_path / "in", "-o", folder, "--stages", "landmark", "--workers", 1).status == 0
        done = example("train_regressor.py", folder)
        assert (done.returncode, done.stdout) == (1, "")
        assert sentence in done.stderr and done.stderr.count("\n") == 1
