"""Life and rules of OpenGL contexts, windows, shader programs, and what happens where there is no OpenGL."""

import gc
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from facefit.render.cameras import ScaledOrthographic
from facefit.render.opengl import shaders
from facefit.render.opengl.context import OpenGLError, open_context
from facefit.render.opengl.renderer import GLRenderer
from facefit.render.renderer import NumbaRenderer, Renderer, make_renderer

PIXELS = ScaledOrthographic(np.eye(3), np.zeros(2), 1.0)
TRIANGLE = np.array([[2.0, 2.0, 5.0], [2.0, 60.0, 5.0], [60.0, 60.0, 5.0]])
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="EGL, /proc and Xvfb are Linux's")


def draw_both_ways(renderer):
    renderer.rasterize(PIXELS, TRIANGLE, [[0, 1, 2]], 64, 64)
    return renderer.draw(PIXELS, TRIANGLE, [[0, 1, 2]], 64, 64)


def run(code, **environment):
    """Run `code` in a fresh interpreter and return its output lines and what it said on stderr."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in {"DISPLAY", "WAYLAND_DISPLAY", "PYOPENGL_PLATFORM", "LIBGL_ALWAYS_SOFTWARE"}
    }
    command = [sys.executable, "-P", "-W", "error", "-c", code]
    done = subprocess.run(
        command, env=inherited | environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def test_the_description_names_device_and_version(gl):
    assert gl.name == "gl"
    assert gl.description.startswith("gl (")
    assert "OpenGL" in gl.description
    assert isinstance(gl, Renderer)
    assert NumbaRenderer().description.startswith("numba")
    chosen = make_renderer("auto")
    assert chosen.description == gl.description
    chosen.close()


@linux
def test_two_hundred_contexts_leave_nothing_behind(gl):
    """Closed or only forgotten: neither memory, nor files, nor threads grow."""

    def held():
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return (
            pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            len(os.listdir("/proc/self/fd")),
            len(os.listdir("/proc/self/task")),
        )

    def make(count):
        for k in range(count):
            renderer = GLRenderer()
            draw_both_ways(renderer)
            if k % 2:
                renderer.close()
            del renderer

    make(10)
    megabytes, files, threads = held()
    make(200)
    after = held()
    assert after[0] < megabytes + 10.0
    assert after[1:] == (files, threads)


def test_renderers_share_a_thread(gl):
    with GLRenderer() as one, GLRenderer(samples=1) as other:
        pictures = [draw_both_ways(renderer) for renderer in (one, other, one, gl)]
    np.testing.assert_array_equal(pictures[0], pictures[2])
    np.testing.assert_array_equal(pictures[0], pictures[3])


@linux
def test_the_callers_own_context_stays_current(gl):
    from OpenGL import EGL

    assert not EGL.eglGetCurrentContext()
    mine = open_context()
    with mine.work("mine"):
        before = EGL.eglGetCurrentContext().address
        draw_both_ways(gl)
        assert EGL.eglGetCurrentContext().address == before
    assert not EGL.eglGetCurrentContext()
    mine.close()


def test_another_thread_is_refused_and_may_make_its_own(gl):
    caught, drawn = [], []

    def work():
        for action in (lambda: draw_both_ways(gl), gl.close):
            try:
                action()
            except OpenGLError as problem:
                caught.append(str(problem))
        with GLRenderer() as own:
            drawn.append(draw_both_ways(own))

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join()
    assert len(caught) == 2
    assert all("expected the thread that made this OpenGL context, got 'worker'" in text for text in caught)
    np.testing.assert_array_equal(drawn[0], draw_both_ways(gl))


@linux
def test_a_forked_process_is_refused_and_does_no_harm(gl):
    code = """
import os, gc
from facefit.render.opengl.context import OpenGLError, open_context
context = open_context()
child = os.fork()
if child == 0:
    try:
        with context.work("drawing"):
            pass
    except OpenGLError as problem:
        print(problem, flush=True)
    context.close()
    del context
    gc.collect()
    os._exit(0)
os.waitpid(child, 0)
with context.work("drawing") as gl:
    print(gl.glGetError())
"""
    lines, _ = run(code)
    assert lines == ["drawing: expected the process that made this OpenGL context, got a fork of it", "0"]


@linux
@pytest.mark.parametrize("first", ["parent", "child"])
def test_a_fork_draws_by_opengl_only_where_its_parent_has_not(gl, first):
    """The driver's threads are not forked: a context of the child's would wait for them for ever."""
    code = f"""
import os, signal
from facefit.render.renderer import make_renderer
{"make_renderer('gl').close()" if first == "parent" else ""}
child = os.fork()
if child == 0:
    signal.alarm(60)
    import numpy as np
    from facefit.render.cameras import ScaledOrthographic
    renderer = make_renderer("auto")
    picture = renderer.draw(ScaledOrthographic(np.eye(3), np.zeros(2), 1.0), 9.0 * np.eye(3), [[0, 1, 2]], 9, 9)
    print(renderer.name, picture.shape, flush=True)
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""
    lines, errors = run(code)
    assert lines == [f"{'numba' if first == 'parent' else 'gl'} (9, 9, 4)", "0"]
    assert ("OpenGL was loaded before this process was forked" in errors) == (first == "parent")


def test_a_closed_renderer_says_so(gl):
    renderer = GLRenderer()
    renderer.close()
    renderer.close()
    with pytest.raises(OpenGLError, match="geometry pass: expected an open OpenGL context, got a closed one"):
        renderer.rasterize(PIXELS, TRIANGLE, [[0, 1, 2]], 64, 64)


def test_errors_name_the_pass_and_leave_the_context_usable(gl):
    context = open_context()
    with (
        pytest.raises(OpenGLError, match="some pass: invalid enum in glEnable"),
        context.work("some pass") as functions,
    ):
        functions.glEnable(12345)
    with context.work("the next"):
        pass
    context.close()


def test_shaders_that_do_not_compile_name_their_file(gl, tmp_path, monkeypatch):
    (tmp_path / "screen.vert").write_text((shaders.FOLDER / "screen.vert").read_text())
    (tmp_path / "wrong.frag").write_text("void main() { nothing(); }")
    (tmp_path / "unlinked.frag").write_text("float elsewhere(); out vec4 c; void main() { c = vec4(elsewhere()); }")
    monkeypatch.setattr(shaders, "FOLDER", tmp_path)
    monkeypatch.setattr(shaders, "shader_source", shaders.shader_source.__wrapped__)
    context = open_context()
    with context.work("test") as functions:
        with pytest.raises(OpenGLError, match=r"compiling wrong\.frag: .*nothing"):
            shaders.Program(functions, "screen.vert", "wrong.frag", {})
        with pytest.raises(OpenGLError, match=r"linking screen\.vert and unlinked\.frag: .*elsewhere"):
            shaders.Program(functions, "screen.vert", "unlinked.frag", {})
    context.close()


def test_includes_stand_once():
    source = shaders.shader_source("phong.frag")
    assert "#include" not in source
    assert source.count("struct Surface") == source.count("vec3 linear_to_srgb(") == 1
    assert shaders.shader_source("phong.frag") is source


def test_every_shader_is_used_and_says_what_it_does():
    files = sorted(path.name for path in shaders.FOLDER.iterdir())
    package = (shaders.FOLDER.parent / "opengl").glob("*.py")
    text = "".join(path.read_text() for path in package) + "".join(shaders.shader_source(name) for name in files)
    for name in files:
        source = (shaders.FOLDER / name).read_text()
        assert source.startswith("// "), name
        included = any(f'"{name}"' in (shaders.FOLDER / other).read_text() for other in files)
        assert included or f'"{name}"' in text, name


# --- Machines with less ------------------------------------------------------------------------------------------

WHO_DRAWS = """
import os
from facefit.render.renderer import make_renderer
renderer = make_renderer("auto")
print(renderer.description)
print("PYOPENGL_PLATFORM" in os.environ)
import numpy as np
from facefit.render.cameras import ScaledOrthographic
camera = ScaledOrthographic(np.eye(3), np.zeros(2), 1.0)
seen = renderer.rasterize(camera, 9 * np.eye(3), [[0, 2, 1]], 9, 9, cull="none")
print(seen.covered.sum() > 10)
"""


@linux
@pytest.mark.parametrize("environment", [{}, {"LIBGL_ALWAYS_SOFTWARE": "1"}])
def test_no_screen_is_needed_and_the_environment_is_left_alone(gl, environment):
    lines, errors = run(WHO_DRAWS, **environment)
    assert lines[0].startswith("gl (")
    assert lines[1:] == ["False", "True"]
    assert errors == ""


@linux
@pytest.mark.parametrize("missing", ["libEGL", "drivers"])
def test_without_opengl_the_numba_renderer_draws_and_one_line_says_so(gl, tmp_path, missing):
    (tmp_path / "libEGL.so.1").touch()  # what the loader finds first, and cannot load
    (tmp_path / "libOSMesa.so.8").touch()
    environment = (
        {"LD_LIBRARY_PATH": str(tmp_path)}
        if missing == "libEGL"
        else {"__EGL_VENDOR_LIBRARY_FILENAMES": str(tmp_path / "none.json")}
    )
    lines, errors = run(WHO_DRAWS, **environment)
    assert lines == ["numba (software rasteriser)", "False", "True"]
    assert errors.count("\n") == 1
    assert errors.startswith("renderer 'gl': ")
    assert "apt-get install" in errors
    assert errors.endswith("; the Numba renderer draws instead\n")


@linux
def test_a_screen_that_is_not_there_is_named(gl):
    code = """
from facefit.render.opengl.window import open_window
from facefit.render.renderer import RendererUnavailableError
try:
    open_window(20, 30)
except RendererUnavailableError as problem:
    print(problem)
"""
    lines, _ = run(code)
    assert len(lines) == 1
    assert "glfw opens no window" in lines[0]


WINDOW = """
import time
import numpy as np
from PIL import Image, ImageGrab
from facefit.render.cameras import ScaledOrthographic
from facefit.render.opengl.renderer import GLRenderer
from facefit.render.opengl.window import open_window

window = open_window(96, 128)
with GLRenderer(window) as renderer:
    print(renderer.description)
    vertices = np.array([[10.0, 10.0, 5.0], [10.0, 80.0, 5.0], [120.0, 80.0, 5.0]])
    picture = renderer.draw(
        ScaledOrthographic(np.eye(3), np.zeros(2), 1.0), vertices, [[0, 1, 2]], 96, 128,
        colours=np.eye(3), lighting=np.eye(9, 1) * np.full(3, 3.5449077),
    )
    for _ in range(3):
        renderer.show(picture[..., :3] * (picture[..., 3:] > 127))
        assert not window.wants_to_close
        time.sleep(0.1)
    ImageGrab.grab().save("@SHOT@")
    Image.fromarray(picture).save("@PICTURE@")
"""


@linux
@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="needs xvfb-run")
def test_a_window_shows_the_picture(gl, tmp_path):
    """Under Xvfb, without a window manager, the window lies at the screen's upper left corner."""
    from PIL import Image

    shot, picture = tmp_path / "screenshot.png", tmp_path / "picture.png"
    code = WINDOW.replace("@SHOT@", str(shot)).replace("@PICTURE@", str(picture))
    command = ["xvfb-run", "-a", "-s", "-screen 0 320x240x24", sys.executable, "-P", "-W", "error", "-c", code]
    environment = {name: value for name, value in os.environ.items() if name != "PYOPENGL_PLATFORM"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "glfw window" in done.stdout
    with Image.open(shot) as seen, Image.open(picture) as drawn:
        screen, expected = np.asarray(seen.convert("RGB")).astype(int), np.asarray(drawn)
    shown = expected[..., :3] * (expected[..., 3:] > 127)
    assert shown.any()
    np.testing.assert_allclose(screen[:96, :128], shown, atol=1)
    assert not screen[96:].any()
