"""The film that a webcam's run writes, decoded by PyAV: times, colours, sizes; and played by a browser."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_model import small_model
from webcam_scenes import Said, face, frame

from facefit.apps.export import h264
from facefit.apps.webcam.video_file import VideoSink
from facefit.models.errors import InvalidInputError, MissingDependencyError, OutputError

av = pytest.importorskip("av")
only_posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")

Pixels = NDArray[np.uint8]
COLOURS = ((200, 30, 60), (20, 160, 90), (40, 60, 220), (230, 220, 30), (128, 128, 128))
UNEVEN = (0.5, 0.51, 0.6, 0.95, 1.75)  # s: a variable frame rate, not from 0


def plain(colour: tuple[int, int, int], height: int = 48, width: int = 64) -> Pixels:
    return np.full((height, width, 3), colour, np.uint8)


def write(path: Path, pictures: list[Pixels], times: tuple[float, ...] = UNEVEN, **options: Any) -> None:
    sink = VideoSink(path, 25.0, **options)
    for k, (picture, seconds) in enumerate(zip(pictures, times, strict=True)):
        sink.write(frame(k, seconds), [], picture)
    sink.close()


def decoded(path: Path) -> tuple[list[float], list[Pixels]]:
    """Times, s, and pictures of a film."""
    with av.open(str(path)) as film:
        frames = list(film.decode(video=0))
        return [float(one.pts * one.time_base) for one in frames], [in_rgb(one.to_ndarray()) for one in frames]


def in_rgb(planes: Pixels) -> Pixels:
    """The picture of yuv420p, limited range, by the formulas of BT.709: PyAV's own choice depends on its version."""
    height = 2 * len(planes) // 3
    luma = (planes[:height] - 16.0) / 219.0
    halves = (planes[height:].reshape(2, height // 2, -1) - 128.0) / 224.0
    blue, red = halves.repeat(2, axis=1).repeat(2, axis=2)
    r, b = luma + 1.5748 * red, luma + 1.8556 * blue
    rgb = np.stack([r, (luma - 0.2126 * r - 0.0722 * b) / 0.7152, b], axis=2)
    return np.clip(np.rint(255.0 * rgb), 0.0, 255.0).astype(np.uint8)


def test_pictures_keep_their_times_and_colours(tmp_path: Path) -> None:
    write(tmp_path / "run.mp4", [plain(colour) for colour in COLOURS])
    times, pictures = decoded(tmp_path / "run.mp4")
    assert times == pytest.approx([seconds - UNEVEN[0] for seconds in UNEVEN], abs=1e-4)
    for picture, colour in zip(pictures, COLOURS, strict=True):
        assert np.abs(picture.astype(int) - colour).max() <= 4
    assert [path.name for path in tmp_path.iterdir()] == ["run.mp4"]


def test_every_frame_lasts_until_the_next(tmp_path: Path) -> None:
    write(tmp_path / "run.mp4", [plain(colour) for colour in COLOURS])
    with av.open(str(tmp_path / "run.mp4")) as film:
        stream = film.streams.video[0]
        lasting = [float(packet.duration * packet.time_base) for packet in film.demux(stream) if packet.size]
        assert lasting == pytest.approx([0.01, 0.09, 0.35, 0.8, 0.04], abs=1e-4), "the last one as the rate says"
        assert float(stream.duration * stream.time_base) == pytest.approx(1.29, abs=1e-3)


def test_browsers_can_play_it(tmp_path: Path) -> None:
    """What they ask for: H.264, colours shared two by two, the index before the pictures."""
    write(tmp_path / "run.mp4", [plain(colour) for colour in COLOURS])
    with av.open(str(tmp_path / "run.mp4")) as film:
        codec = film.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert (codec.colorspace, codec.color_primaries, codec.color_trc) == (1, 1, 1)
    content = (tmp_path / "run.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


PAGE = """<!doctype html><video id="film" muted src="run.mp4"></video><script>
const film = document.getElementById("film"), canvas = document.createElement("canvas"), told = {};
const tell = () => { document.documentElement.dataset.told = JSON.stringify(told); };
film.onerror = () => { told.error = film.error.message; tell(); };
film.onloadedmetadata = () => {
  Object.assign(told, {duration: film.duration, width: film.videoWidth, height: film.videoHeight});
  film.currentTime = 0.7;
};
film.onseeked = () => {
  [canvas.width, canvas.height] = [film.videoWidth, film.videoHeight];
  const pen = canvas.getContext("2d", {willReadFrequently: true});
  pen.drawImage(film, 0, 0);
  told.colour = [...pen.getImageData(20, 20, 1, 1).data].slice(0, 3);
  tell();
};
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_plays_it(tmp_path: Path) -> None:
    write(tmp_path / "run.mp4", [plain(colour) for colour in COLOURS])
    (tmp_path / "page.html").write_text(PAGE)
    command = ["chromium", "--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking"]
    command += ["--disable-component-update", "--proxy-server=127.0.0.1:9", f"--user-data-dir={tmp_path / 'user'}"]
    command += ["--allow-file-access-from-files", "--dump-dom"]
    for budget in (5_000, 60_000):  # ms of the page's time; decoding takes time of another clock
        arguments = [*command, f"--virtual-time-budget={budget}", (tmp_path / "page.html").as_uri()]
        page = subprocess.run(arguments, capture_output=True, text=True, timeout=100, check=False).stdout
        found = re.search(r'data-told="([^"]*)"', page)
        if found:
            break
    assert found is not None, page[-2000:]
    told = json.loads(found[1].replace("&quot;", '"'))
    assert "error" not in told, told["error"]
    assert (told["width"], told["height"]) == (64, 48)
    assert told["duration"] == pytest.approx(1.29, abs=0.01)
    assert told["colour"] == pytest.approx(COLOURS[3], abs=12), "at 0.7 s the fourth picture is shown"


def test_an_odd_size_is_rounded_up(tmp_path: Path) -> None:
    picture = plain((10, 10, 10), 47, 63)
    picture[-3:], picture[:, -3:] = (220, 220, 220), (220, 220, 220)
    write(tmp_path / "run.mp4", [picture], (0.0,))
    (shown,) = decoded(tmp_path / "run.mp4")[1]
    assert shown.shape == (48, 64, 3)
    assert shown[-2:].mean() > 200.0 and shown[:, -2:].mean() > 200.0, "the border is repeated"
    assert shown[10:40, 10:50].mean() < 20.0


def test_another_size_is_fitted_into_the_first(tmp_path: Path) -> None:
    said = Said()
    sizes = ((48, 64), (96, 128), (48, 16), (10, 64), (48, 64))
    write(tmp_path / "run.mp4", [plain((200, 200, 200), *size) for size in sizes], say=said)
    assert said == ["run.mp4: the picture is now 128 x 96 px, scaled to fit the first 64 x 48"]
    bright = np.array([picture[:, :, 0] > 100 for picture in decoded(tmp_path / "run.mp4")[1]])
    assert bright[[0, 1, 4]].all()
    columns, rows = np.flatnonzero(bright[2].any(axis=0)), np.flatnonzero(bright[3].any(axis=1))
    assert bright[2].any(axis=1).all() and len(columns) == pytest.approx(16, abs=1)
    assert bright[3].any(axis=0).all() and len(rows) == pytest.approx(10, abs=1)
    assert columns.mean() == pytest.approx(31.5, abs=1.0) and rows.mean() == pytest.approx(23.5, abs=1.0)


def test_times_that_do_not_grow_still_do(tmp_path: Path) -> None:
    write(tmp_path / "run.mp4", [plain(colour) for colour in COLOURS], (0.0, 0.5, 0.5, 0.4, 1.0))
    times, pictures = decoded(tmp_path / "run.mp4")
    assert len(pictures) == 5
    assert (np.diff(times) > 0.0).all()


def test_it_asks_for_the_picture(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "run.mp4", 25.0)
    assert sink.wants_picture
    with pytest.raises(InvalidInputError, match=r"expected the annotated frame \(H, W, 3\), got None"):
        sink.write(frame(0, 0.0), [face(small_model())], None)
    sink.close()


def test_no_picture_makes_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.mp4").write_text("older")
    VideoSink(tmp_path / "run.mp4", 25.0).close()
    assert capsys.readouterr() == ("", "run.mp4: not written, there was no picture\n")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("run.mp4", "older")]


WRITER = """
import itertools, sys
import numpy as np
from webcam_scenes import frame
from facefit.apps.webcam.video_file import VideoSink
sink, noise = VideoSink(sys.argv[1], 25.0), np.random.default_rng(0)
for k in itertools.count():
    sink.write(frame(k, k / 25.0), [], noise.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    if k == 50:
        print("running", flush=True)
"""


@only_posix
def test_a_killed_run_leaves_no_film(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent), "PYTHONSAFEPATH": ""}
    command = [sys.executable, "-c", WRITER, str(tmp_path / "run.mp4")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "run.mp4").exists()


@only_posix
def test_a_full_disk(tmp_path: Path) -> None:
    """A limit of the file's size stands in for the disk's end."""
    code = f"""
import resource, signal
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from facefit.models.errors import OutputError
try:
    exec({WRITER!r})
except OutputError as problem:
    print(problem)
    sink.close()
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent), "PYTHONSAFEPATH": ""}
    command = [sys.executable, "-c", code, str(tmp_path / "run.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "run.mp4: cannot be written (File too large)" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_wrong_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match=r"ends in \.mp4, got 'run\.avi'"):
        VideoSink(tmp_path / "run.avi", 25.0)
    for fps in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInputError, match=r"fps: expected 0\.01 to 1000 frames per second"):
            VideoSink(tmp_path / "run.mp4", fps)
    with pytest.raises(OutputError, match="cannot be written"):
        VideoSink(tmp_path / "nowhere" / "run.mp4", 25.0)

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(h264, "import_module", missing)
    with pytest.raises(MissingDependencyError, match=r"PyAV: pip install 'facefit\[video\]'"):
        VideoSink(tmp_path / "run.mp4", 25.0)
    monkeypatch.setattr(h264, "import_module", import_module)
    assert list(tmp_path.iterdir()) == []
