"""`facefit webcam` as a person calls it: videos, files, wrong calls, interruptions."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
from command_line import Run, call
from PIL import Image

from facefit.apps.webcam.command import _address, _size
from facefit.apps.webcam.keys import KEYS, Action
from facefit.apps.webcam.parameters_file import ParametersSink
from facefit.models.errors import InvalidInputError, OutputError


def run(*arguments: object) -> Run:
    """Run `facefit webcam` in this process."""
    return call("webcam", *arguments)


@pytest.fixture
def clip(test_data: Path) -> Path:
    return test_data / "video/dev_clip.mp4"


@pytest.fixture
def empty_clip(tmp_path: Path) -> Path:
    """A second of black frames and of noise, in which there is nobody."""
    path = tmp_path / "empty.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (160, 120))
    noise = np.random.default_rng(0)
    for k in range(20):
        writer.write(np.zeros((120, 160, 3), np.uint8) if k < 10 else noise.integers(0, 256, (120, 160, 3), np.uint8))
    writer.release()
    return path


# --- Runs --------------------------------------------------------------------------------------------------------


def test_a_video_is_followed_without_a_window(clip: Path, tmp_path: Path) -> None:
    """The clip's head turns as its ground truth says, to the centre of what landmarks can tell."""
    table = tmp_path / "face.csv"
    done = run(clip, "--headless", "--no-photometric", "--limit", 60, "--parameters", table)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("60 frames at ") and "60 with a face" in done.out and "latency" in done.out
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(60))
    assert {row["track"] for row in rows} == {"0"}
    truth = np.load(clip.with_suffix(".npz"))
    yaw = np.array([float(row["yaw"]) for row in rows])
    assert np.abs(yaw - truth["yaw"][:60]).mean() < 5.0
    assert np.corrcoef(yaw, truth["yaw"][:60])[0, 1] > 0.9


def test_a_whole_clip_at_once_has_the_same_frames_and_trembles_less(clip: Path, tmp_path: Path) -> None:
    tremor, frames = {}, {}
    for name, options in {"live": [], "whole": ["--whole-clip"]}.items():
        table = tmp_path / f"{name}.csv"
        done = run(clip, "--headless", "--no-photometric", "--limit", 60, "--parameters", table, *options)
        assert done.status == 0
        assert done.err.count("whole clip: going through the file") == (4 if options else 0)
        assert done.err.count("whole clip: fitted in") == len(options)
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        frames[name] = [(row["frame"], row["seconds"]) for row in rows]
        tremor[name] = np.abs(np.diff([float(row["yaw"]) for row in rows], 2)).mean()
    assert frames["live"] == frames["whole"] and len(frames["whole"]) == 60
    assert tremor["whole"] < 0.7 * tremor["live"]


def test_pictures_of_changing_size_and_faces_that_come_and_go(clip: Path, tmp_path: Path) -> None:
    capture = cv2.VideoCapture(str(clip))
    folder = tmp_path / "frames"
    folder.mkdir()
    for k in range(12):
        picture = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
        if 4 <= k < 6:
            picture[:] = 0
        if k >= 6:
            picture = cv2.resize(picture, (480, 360))
        Image.fromarray(picture).save(folder / f"{k:03d}.png")
    (folder / "002b.png").write_bytes(b"damaged")
    done = run(folder, "--headless", "--no-photometric", "--parameters", tmp_path / "face.csv")
    assert done.status == 0
    assert "12 frames" in done.out and "1 damaged" in done.out
    assert "skipped" in done.err and "002b.png" in done.err
    with (tmp_path / "face.csv").open(newline="", encoding="utf-8") as file:
        seen = {int(row["frame"]) for row in csv.DictReader(file) if row["track"]}
    assert {0, 1, 2, 3} <= seen and 5 not in seen and {10, 11} & seen


def test_nobody_in_the_whole_video_is_status_3(empty_clip: Path) -> None:
    done = run(empty_clip, "--headless")
    assert done.status == 3
    assert f"{empty_clip}: no face in any of 20 frames" in done.err
    assert "0 with a face" in done.out


def test_quiet_prints_nothing_but_what_is_wrong(clip: Path, empty_clip: Path) -> None:
    assert run(clip, "--headless", "--no-photometric", "--limit", 2, "--quiet") == Run(0, "", "")
    done = run(empty_clip, "--headless", "--quiet")
    assert (done.status, done.out) == (3, "") and done.err.count("\n") == 1


def test_a_video_that_breaks_off_is_status_3_with_what_came(clip: Path, tmp_path: Path) -> None:
    capture, path = cv2.VideoCapture(str(clip)), tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (640, 480))
    for _ in range(40):
        writer.write(capture.read()[1])
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    table = tmp_path / "face.csv"
    done = run(path, "--headless", "--no-photometric", "--parameters", table)
    assert done.status == 3
    assert "broke off after" in done.err
    assert "Traceback" not in done.err and len(table.read_text().splitlines()) > 3


# --- Interruptions -----------------------------------------------------------------------------------------------


def _endless(tmp_path: Path, clip: Path) -> Path:
    """A folder with more frames than anybody waits for."""
    folder = tmp_path / "frames"
    folder.mkdir()
    ok, picture = cv2.VideoCapture(str(clip)).read()
    assert ok
    cv2.imwrite(str(folder / "0.png"), picture)
    for k in range(1, 3000):
        (folder / f"{k:05d}.png").symlink_to(folder / "0.png")
    return folder


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_completes_the_files(clip: Path, tmp_path: Path, number: signal.Signals) -> None:
    table, head = tmp_path / "face.csv", tmp_path / "head.glb"
    command = [sys.executable, "-P", "-m", "facefit.apps.main", "webcam", str(_endless(tmp_path, clip)), "--headless",
               "--no-photometric", "--parameters", str(table), "--glb", str(head)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline and not (table.exists() and table.stat().st_size > 20_000):
        time.sleep(0.05)
    assert not head.exists(), "it gets its name at the end"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err and "with a face" in out
    assert head.is_file() and table.read_bytes().endswith(b"\n")
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.endswith(".tmp")] == []


# --- Wrong calls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0", "--headless"], "camera 0: expected one that OpenCV can open, got none; give another camera's number"),
        (["no-such.mp4", "--headless"], "no-such.mp4: expected a camera's number, a video"),
        (["0", "--size", "640"], "--size: expected WIDTHxHEIGHT in px, such as 640x480, got '640'"),
        (["0", "--size", "9x9000000"], "--size: expected 32 to 8192 px a side"),
        (["0", "--osc", "99999"], "--osc: expected PORT or HOST:PORT, the port from 1 to 65535, got '99999'"),
        (["0", "--osc-protocol", "vmc"], "--osc-protocol: expected --osc [HOST:]PORT beside it, got none"),
        (["0", "--headless", "--as", "fit.npz"], "--as: expected a window, which it is for, got --headless"),
        (["clip.mp4", "--whole-clip"], "--whole-clip: expected --headless beside it, got a window"),
        (["0", "--headless", "-o", "out"], "--out: expected a window, which it is for, got --headless"),
    ],
)
def test_a_wrong_call_is_one_sentence(arguments: list[str], message: str) -> None:
    if arguments == ["0", "--headless"] and Path("/dev/video0").exists():
        pytest.skip("there is a camera here")
    done = run(*arguments)
    assert (done.status, done.out) == (2, "")
    assert message in done.err and done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--parameters", "face.txt"], "face.txt: expected a name that ends in"),
        (["--parameters", "{tmp}/none/face.csv"], "face.csv"),
        (["--glb", "head.obj"], "head.obj: expected a name that ends in .glb"),
        (["--record", "film.gif"], "film.gif: expected a name that ends in .mp4"),
        (["--record", "{tmp}/none/film.mp4"], "film.mp4: cannot be written"),
        (["--model", "no-such-model"], "no-such-model"),
    ],
)
def test_what_cannot_be_written_is_found_before_the_run(
    clip: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    first = tmp_path / "first.npz"  # opened before the one that fails, where the call asks for it
    files = [] if options[0] == "--parameters" else ["--parameters", str(first)]
    done = run(clip, "--headless", "--limit", 1, *files, *(option.format(tmp=tmp_path) for option in options))
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_a_file_that_cannot_be_gone_on_with_ends_the_run_with_a_sentence(clip: Path, tmp_path: Path) -> None:
    problem = OutputError("face.npz: cannot be written (no space left)")
    with mock.patch.object(ParametersSink, "write", side_effect=problem):
        done = run(clip, "--headless", "--no-photometric", "--limit", 5, "--parameters", tmp_path / "face.npz")
    assert (done.status, done.out) == (2, "")
    assert "facefit: face.npz: cannot be written (no space left)" in done.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("39539", (None, 39539)),
        ("192.168.0.7:1", ("192.168.0.7", 1)),
        ("[::1]:9000", ("::1", 9000)),
        ("a.b:5", ("a.b", 5)),
    ],
)
def test_addresses(text: str, expected: tuple[str | None, int]) -> None:
    assert _address(text) == expected


@pytest.mark.parametrize("text", ["", ":", "host", "host:", ":39539", "0", "65536", "1.5", "host:x", "²", "-1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"--osc: expected PORT or HOST:PORT"):
        _address(text)


def test_sizes() -> None:
    assert (_size(None), _size("1280x720"), _size("32X8192")) == (None, (1280, 720), (32, 8192))
    for text in ("", "x", "640x", "640x480x3", "-640x480", "640 x 480", "31x480", "²x480"):
        with pytest.raises(InvalidInputError, match="--size: expected"):
            _size(text)


def test_help_tells_every_key() -> None:
    done = run("--help")
    assert done.status == 0
    for key in KEYS:
        assert any(line.split()[:1] == [key.label] and key.what in line for line in done.out.splitlines()), key
    assert {key.action for key in KEYS} == set(Action)
    assert len({key.label for key in KEYS}) == len({key.glfw for key in KEYS}) == len(KEYS)


def test_no_thread_outlives_a_run(clip: Path) -> None:
    run(clip, "--headless", "--no-photometric", "--limit", 3)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("facefit-")]
