"""Where frames come from: numbers, times, damaged frames, sources that go away, names that mean nothing."""

import itertools
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from webcam_stubs import HEIGHT, WIDTH, StubCapture, picture

from facefit.apps.webcam import sources
from facefit.apps.webcam.frames import Frame
from facefit.apps.webcam.sources import (
    FileSource,
    LiveSource,
    PictureSource,
    SourceError,
    SourceLostError,
    open_source,
)


def _all(source: Any) -> list[Frame]:
    return list(source.frames(threading.Event()))


def _until_lost(source: Any) -> tuple[list[Frame], str]:
    """Return the frames that come before a source breaks off, and the sentence with which it does."""
    frames = []
    try:
        for frame in source.frames(threading.Event()):
            frames.append(frame)
    except SourceLostError as problem:
        return frames, str(problem)
    raise AssertionError("the source was to break off")


def _numbers(frames: list[Frame]) -> list[int]:
    return [frame.number for frame in frames]


# --- Files -------------------------------------------------------------------------------------------------------


def test_a_video_gives_every_frame_at_its_own_time(test_data: Path) -> None:
    source = open_source(str(test_data / "video/dev_clip.mp4"))
    frames = _all(source)
    assert (source.live, source.expected, source.damaged) == (False, 300, 0)
    assert source.rate == pytest.approx(30.0)
    assert _numbers(frames) == list(range(300))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(300) / 30.0, atol=1e-4)
    assert {frame.pixels.shape for frame in frames} == {(480, 640, 3)}
    assert all(frame.captured <= later.captured for frame, later in itertools.pairwise(frames))


def test_colours_are_red_green_blue() -> None:
    red = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    red[..., 2] = 200  # OpenCV's order
    (only,) = _all(FileSource("clip", lambda: StubCapture([red])))
    assert only.pixels[0, 0].tolist() == [200, 0, 0]


def test_frames_of_variable_rate_keep_their_times() -> None:
    times = [0.0, 10.0, 250.0, 260.0, 1000.0]
    source = FileSource("clip", lambda: StubCapture([picture(k) for k in range(5)], times, count=5.0))
    assert [frame.seconds for frame in _all(source)] == pytest.approx([t / 1000.0 for t in times])


@pytest.mark.parametrize("times", [[], [0.0, 40.0, 40.0, 20.0, 90.0], [np.nan] * 5, [1e30] * 5])
def test_times_always_grow(times: list[float]) -> None:
    """Whatever the container says: the tracker wants them to."""
    frames = _all(FileSource("clip", lambda: StubCapture([picture(k) for k in range(5)], times)))
    seconds = [frame.seconds for frame in frames]
    assert len(frames) == 5
    assert (np.diff(seconds) > 0.0).all() and max(seconds) < 10.0


def test_a_damaged_place_is_skipped_and_the_frames_it_cost_are_counted() -> None:
    """Three frames are gone, of which OpenCV tells once: the gap in time tells how many."""
    times = [0.0, 33.3, 166.7, 200.0]
    source = FileSource("clip", lambda: StubCapture([picture(0), picture(1), None, picture(5), picture(6)], times, 7.0))
    frames = _all(source)
    assert _numbers(frames) == [0, 1, 2, 3]
    assert [frame.pixels[0, 0, 0] for frame in frames] == [0, 1, 5, 6]
    assert source.damaged == 3


@pytest.mark.parametrize("spoiled", [np.zeros((4, 4), np.uint8), np.zeros((0, 0, 3), np.uint8)])
def test_what_is_no_picture_is_a_damaged_frame(spoiled: np.ndarray) -> None:
    source = FileSource("clip", lambda: StubCapture([picture(0), spoiled, picture(2)]))
    assert len(_all(source)) == 2
    assert source.damaged == 1


def _video(path: Path, count: int = 40) -> bytes:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (WIDTH, HEIGHT))
    noise = np.random.default_rng(0)
    for _ in range(count):
        writer.write(noise.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    writer.release()
    return path.read_bytes()


def test_a_file_that_is_cut_off_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    whole = _video(path)
    path.write_bytes(whole[: len(whole) // 2])
    frames, sentence = _until_lost(open_source(str(path)))
    assert re.fullmatch(r".*clip.avi: broke off after \d+ frames; the last \d+ cannot be read", sentence)
    assert _numbers(frames) == list(range(len(frames)))
    assert 10 < len(frames) < 30


def test_damaged_bytes_in_a_real_file_end_neither_the_run_nor_the_counting(test_data: Path, tmp_path: Path) -> None:
    whole = bytearray((test_data / "video/dev_clip.mp4").read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 20_000] = bytes(20_000)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(whole)
    source = open_source(str(path))
    frames = _all(source)
    assert 0 < source.damaged < 20
    assert len(frames) + source.damaged == 300
    assert frames[-1].seconds == pytest.approx(299 / 30.0)


def test_stopping_ends_a_file_at_once() -> None:
    stopping, capture = threading.Event(), StubCapture([picture(k) for k in range(100)], count=100.0)
    frames = FileSource("clip", lambda: capture).frames(stopping)
    next(frames)
    stopping.set()
    assert list(frames) == []
    assert capture.released == 1


# --- Sizes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [(None, (48, 64)), ((64, 48), (48, 64)), ((32, 32), (24, 32)), ((640, 480), (48, 64)), ((1000, 12), (12, 16))],
)
def test_larger_frames_are_reduced_to_fit(size: tuple[int, int] | None, expected: tuple[int, int]) -> None:
    (only,) = _all(FileSource("clip", lambda: StubCapture([picture(7)]), size))
    assert only.pixels.shape == (*expected, 3)
    assert (only.pixels == 7).all()


def test_a_change_of_size_passes_through() -> None:
    pictures = [picture(0), picture(1, 24, 40), picture(2, 480, 640)]
    frames = _all(FileSource("clip", lambda: StubCapture(pictures)))
    assert [frame.pixels.shape[:2] for frame in frames] == [(48, 64), (24, 40), (480, 640)]


# --- Folders -----------------------------------------------------------------------------------------------------


def test_a_folder_gives_its_pictures_in_order_and_skips_damaged_ones(tmp_path: Path) -> None:
    for number, name in enumerate(["c.png", "a.png", "b.jpg"]):
        Image.fromarray(picture(10 * number)).save(tmp_path / name, quality=100)
    (tmp_path / "bb.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("not one")
    (tmp_path / ".hidden.png").write_bytes(b"")
    said: list[str] = []
    source = open_source(str(tmp_path), say=said.append)
    frames = _all(source)
    assert [round(float(frame.pixels.mean())) for frame in frames] == [10, 20, 0]
    assert [frame.seconds for frame in frames] == pytest.approx([0.0, 1 / 30, 3 / 30]), "a skipped one leaves a gap"
    assert (source.expected, source.damaged) == (4, 1)
    assert len(said) == 1 and "bb.png" in said[0]


def test_one_picture_is_a_source_of_one_frame(tmp_path: Path) -> None:
    Image.fromarray(picture(3)).save(tmp_path / "a.png")
    assert len(_all(open_source(str(tmp_path / "a.png")))) == 1


# --- Cameras and streams -----------------------------------------------------------------------------------------


def _camera(captures: list[StubCapture], said: list[str], patience: float = 0.0) -> LiveSource:
    left = iter(captures)
    return LiveSource("camera 0", lambda: next(left, StubCapture([], opened=False)), say=said.append, patience=patience)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "RETRY", 0.01)


def test_an_unplugged_camera_says_so_and_ends_after_some_patience(quick: None) -> None:
    said: list[str] = []
    capture = StubCapture([picture(k) for k in range(3)])
    frames, sentence = _until_lost(_camera([capture], said))
    assert sentence == "camera 0: broke off after 3 frames and did not come back"
    assert _numbers(frames) == [0, 1, 2]
    assert said == ["camera 0 gives no frames any more; trying again for 0 s"]
    assert capture.released >= 1


def test_a_camera_that_comes_back_goes_on_counting(quick: None) -> None:
    said: list[str] = []
    captures = [
        StubCapture([picture(k) for k in range(3)]),
        StubCapture([], opened=False),
        StubCapture([picture(k) for k in range(9, 12)]),  # the first is grabbed to see whether it works
    ]
    frames, _ = _until_lost(_camera(captures, said, patience=0.3))
    assert _numbers(frames) == [0, 1, 2, 3, 4]
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [0, 1, 2, 10, 11]
    assert (np.diff([frame.seconds for frame in frames]) > 0.0).all() and frames[0].seconds == 0.0
    assert "camera 0 is back" in said


def test_single_damaged_frames_of_a_camera_are_counted(quick: None) -> None:
    capture = StubCapture([picture(0), None, picture(2), None, None, picture(5)])
    source = _camera([capture], [])
    frames, _ = _until_lost(source)
    assert (len(frames), source.damaged) == (3, 3)


def test_stopping_ends_the_wait_for_a_lost_camera() -> None:
    stopping = threading.Event()
    source = _camera([StubCapture([picture(0)])], [], patience=1e6)
    thread = threading.Thread(target=lambda: list(source.frames(stopping)), daemon=True)
    thread.start()
    time.sleep(0.3)
    stopping.set()
    thread.join(20.0)
    assert not thread.is_alive()


class _MotionJpeg(BaseHTTPRequestHandler):
    """A network camera of 40 pictures, 100 a second, that then hangs up and is gone."""

    calls = 0

    def do_GET(self) -> None:
        type(self).calls += 1
        if type(self).calls > 1:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for k in range(40):
            data = cv2.imencode(".jpg", picture(5 * k))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            self.wfile.write(head.encode("ascii") + data + b"\r\n")
            time.sleep(0.01)

    def log_message(self, *_: object) -> None:
        pass


def test_a_stream_by_its_url(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PATIENCE", 0.1)
    said: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _MotionJpeg) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = open_source(f"http://127.0.0.1:{server.server_port}/live.mjpg", say=said.append)
        frames, sentence = _until_lost(source)
        server.shutdown()
    assert source.live
    assert 20 < len(frames) <= 40
    assert frames[0].pixels.shape == (HEIGHT, WIDTH, 3)
    assert "did not come back" in sentence and "gives no frames any more" in said[0]


# --- What is not there -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("17", "camera 17: expected one that OpenCV can open, got none; give another camera's number, a video"),
        ("rtsp://127.0.0.1:9/none", "rtsp://127.0.0.1:9/none: expected one that OpenCV can open"),
        ("no-such-file.mp4", "no-such-file.mp4: expected a camera's number, a video, .* got no such file"),
        ("no-such-file.png", "no-such-file.png: expected a picture, got no such file"),
        ("{tmp}/empty", "empty: expected a folder of pictures, got one without any"),
        ("{tmp}/text.mp4", "text.mp4: expected a video that OpenCV can decode"),
        ("{tmp}/nothing.mp4", "nothing.mp4: expected a video that OpenCV can decode"),
        ("", "expected a camera's number"),
        ("-1", "-1: expected a camera's number"),
        ("²", "²: expected a camera's number"),
    ],
)
def test_a_source_that_is_not_there_says_what_to_do(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video\n" * 50)
    (tmp_path / "nothing.mp4").write_bytes(b"")
    with pytest.raises(SourceError, match=message):
        open_source(name.format(tmp=tmp_path))


def test_only_pictures_make_a_picture_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected a picture"):
        PictureSource(str(tmp_path / "a.png"))
