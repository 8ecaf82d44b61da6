"""The window under Xvfb: what each view shows, what keys do, and that closing it ends the run.

A person is played by a script in a process of its own, which presses keys through the window's own list of actions
and looks at the screen. FACEFIT_KEEP names a folder for the screenshots.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefit.apps.webcam.window import PANEL, _framed, _shown_size
from facefit.render.drawing import BACKGROUND

ROOT = Path(__file__).resolve().parent
WIDTH, HEIGHT = 640 + PANEL, 480

SCRIPT = """
import json, sys, time
import glfw
import numpy as np
from PIL import ImageGrab
from facefit.apps.webcam import window
from facefit.apps.webcam.keys import Action
from facefit.apps.main import main

folder, told = sys.argv[1], {"keys": [], "frames": 0, "messages": []}
plan = json.loads(sys.argv[2])  # frame: [what to do, ...]


class Watched(window.Window):
    def show(self, tracked, figures, notes):
        super().show(tracked, figures, notes)
        told["frames"] += 1
        told["renderer"] = self._faces.description
        self.do(str(told["frames"]))

    def attend(self):
        going_on = super().attend()
        told["messages"] += [m for m in self._controls.messages if m not in told["messages"]]
        if self._controls._session.pipeline.paused:
            told["paused"] = told.get("paused", 0) + 1
            self.do(f"paused {told['paused']}")
        return going_on

    def do(self, when):
        for what in plan.get(when, []):
            kind, _, value = what.partition(" ")
            if kind == "key":
                callback = glfw.set_key_callback(self._context.window, None)
                glfw.set_key_callback(self._context.window, callback)
                callback(self._context.window, getattr(glfw, "KEY_" + value), 0, glfw.PRESS, 0)
            elif kind == "shot":
                time.sleep(0.15)
                ImageGrab.grab().save(f"{folder}/{value}.png")
            elif kind == "close":
                glfw.set_window_should_close(self._context.window, True)
            elif kind == "size":
                width, height = map(int, value.split("x"))
                glfw.set_window_size(self._context.window, width, height)


window.Window = Watched
sys.argv = ["facefit", "webcam", *json.loads(sys.argv[3])]
try:
    main()
except SystemExit as stopped:
    told["status"] = stopped.code or 0
else:
    told["status"] = 0
print(json.dumps(told))
"""

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Xvfb is of Linux"),
    pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="needs xvfb-run"),
]


def _play(folder: Path, plan: dict[str, list[str]], *arguments: object) -> dict[str, Any]:
    """Run the command in a window while the plan is carried out; return what was noted."""
    command = ["xvfb-run", "-a", "-s", f"-screen 0 {WIDTH + 200}x{HEIGHT + 240}x24", sys.executable, "-P", "-W",
               "error::ResourceWarning", "-c", SCRIPT, str(folder), json.dumps(plan),
               json.dumps([str(a) for a in arguments])]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "PYOPENGL_PLATFORM"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    told["err"], told["out"] = done.stderr, done.stdout
    return told


def _seen(path: Path) -> np.ndarray:
    with Image.open(path) as shot:
        return np.asarray(shot.convert("RGB"))[:HEIGHT, :WIDTH].astype(int)


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    kept = os.environ.get("FACEFIT_KEEP")
    return Path(kept) if kept else tmp_path


def test_each_view_is_seen_and_closing_the_window_ends_the_run(gl: Any, test_data: Path, shots: Path) -> None:
    plan = {
        "10": ["shot wire", "key V"],
        "14": ["shot shaded", "key V"],
        "18": ["shot textured", "key H"],
        "22": ["shot keys", "key H", "key SPACE"],
        "paused 60": ["shot still"],  # what was under way when it was paused is shown by now
        "paused 80": ["shot still_later", "key S"],
        "paused 140": ["shot stepped", "size 700x700"],
        "paused 160": ["shot framed", "key SPACE"],
        "34": ["key R", "key N"],
        "40": ["close"],
    }
    table = shots / "face.csv"
    told = _play(shots, plan, test_data / "video/dev_clip.mp4", "--no-photometric", "--parameters", table)
    assert told["status"] == 0 and told["frames"] == 40
    assert "40 frames" in told["out"] and table.is_file()
    seen = {path.stem: _seen(path) for path in shots.glob("*.png")}
    face = (slice(150, 380), slice(230, 470))
    views = [seen[name][face] for name in ("wire", "shaded", "textured")]
    for k, one in enumerate(views):
        assert all(np.abs(one - other).mean() > 4.0 for other in views[k + 1 :])
    accent = np.abs(views[0] - [92, 200, 255]).max(axis=2) < 60
    assert accent.mean() > 0.03, "lines over the face"
    grey = np.ptp(views[1], axis=2) < 30
    assert grey.mean() > 0.2, "clay over the face"
    panel = seen["wire"][:PANEL, -PANEL:]
    assert 0.15 < (np.abs(panel - np.array(BACKGROUND)).max(axis=2) > 12).mean() < 0.9, "a head on plain ground"
    assert seen["keys"][face].mean() < 0.7 * seen["textured"][face].mean(), "the list lies on a dark ground"
    np.testing.assert_array_equal(seen["still"][:400, 320:640], seen["still_later"][:400, 320:640])
    assert np.abs(seen["stepped"] - seen["still_later"])[face].mean() > 0.01
    with Image.open(shots / "framed.png") as shot:
        tall = np.asarray(shot.convert("RGB"))[:700, :700].astype(int)
    assert (np.abs(tall[:100, :690] - np.array(BACKGROUND)) <= 1).all(), "a margin, and nothing stretched"
    assert (np.abs(tall[350, :400] - np.array(BACKGROUND)) > 12).any()
    assert any("paused" in message for message in told["messages"])
    assert {"starting anew", "this is neutral now"} & set(told["messages"])


def test_a_recording_and_a_snapshot_are_made_by_keys(gl: Any, test_data: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    out = tmp_path / "out"
    plan = {"3": ["key P"], "5": ["key M"], "15": ["key M"], "20": ["key Q"]}
    told = _play(tmp_path, plan, test_data / "video/dev_clip.mp4", "--no-photometric", "-o", out)
    assert told["status"] == 0 and told["frames"] == 20
    with av.open(str(out / "film-1.mp4")) as film:
        frames = sum(1 for _ in film.decode(video=0))
    assert 8 <= frames <= 12
    assert (out / "snapshot-1.png").is_file()
    assert (out / "snapshot-1" / "fit.npz").is_file(), "the run waits for a fit that is under way"
    messages = " ".join(told["messages"])
    assert f"recording {out / 'film-1.mp4'}" in messages and "fitting snapshot-1.png" in messages


def test_the_avatar_can_be_another_persons_fit(gl: Any, test_data: Path, tmp_path: Path) -> None:
    import facefit

    model = facefit.load_model("default")
    photo = sorted((test_data / "synthetic").glob("s*.jpg"))[0]
    fit = facefit.fit(facefit.read_image(photo), model=model, options=facefit.FitOptions(stages=("landmark",)))
    facefit.save(fit, tmp_path / "fit.npz")
    clip = test_data / "video/dev_clip.mp4"
    plan = {"6": ["shot {}", "key Q"]}
    heads = []
    for name, options in (("mean", []), ("other", ["--as", tmp_path / "fit.npz"])):
        named = {when: [what.format(name) for what in steps] for when, steps in plan.items()}
        assert _play(tmp_path, named, clip, "--no-photometric", *options)["status"] == 0
        heads.append(_seen(tmp_path / f"{name}.png")[:PANEL, -PANEL:])
    assert np.abs(heads[0] - heads[1]).mean() > 2.0


def test_without_a_screen_a_sentence_says_what_to_do(test_data: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-P", "-m", "facefit.apps.main", "webcam", str(test_data / "video/dev_clip.mp4")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "without a screen, use --headless" in done.stderr and done.stderr.count("\n") == 1


# --- Sizes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(480, 904), (960, 1808), (700, 700), (200, 1500), (1, 1), (0, 0), (37, 911)])
def test_a_canvas_is_framed_to_the_windows_ratio_and_never_stretched(size: tuple[int, int]) -> None:
    canvas = np.full((480, 904, 3), 7, np.uint8)
    framed = _framed(canvas, size)
    assert (framed == 7).all(axis=2).sum() == 480 * 904
    if min(size) > 1:
        height, width = framed.shape[:2]
        assert abs(height * size[1] - width * size[0]) <= max(size), "to a pixel of the frame"


@pytest.mark.parametrize(
    ("given", "shown"),
    [((480, 640), (480, 640)), ((1080, 1920), (720, 1280)), ((120, 160), (480, 640)), ((1, 1), (480, 480))],
)
def test_pictures_are_shown_in_a_readable_size(given: tuple[int, int], shown: tuple[int, int]) -> None:
    assert _shown_size(np.zeros((*given, 3), np.uint8)) == shown
