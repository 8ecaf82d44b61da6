"""What every test shares: hostile floating point, a fixed seed, the folder of test data, OpenGL, golden pictures."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image

from facefit.models.errors import MissingDependencyError
from facefit.render.opengl.renderer import GLRenderer
from facefit.render.renderer import RendererUnavailableError

hypothesis.settings.register_profile("facefit", deadline=None, derandomize=True)
hypothesis.settings.load_profile("facefit")

GOLDEN = Path(__file__).resolve().parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="write the golden pictures instead of comparing")


@pytest.fixture(autouse=True)
def raising_floating_point() -> Iterator[None]:
    """Division by zero, overflow and invalid operations of NumPy are errors in every test."""
    with np.errstate(all="raise", under="ignore"):
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder that FACEFIT_TEST_DATA names. Without it the test is skipped, or fails where CI requires the data."""
    named = os.environ.get("FACEFIT_TEST_DATA", "")
    if named and Path(named).is_dir():
        return Path(named)
    reason = f"FACEFIT_TEST_DATA names no folder ({named!r}): the test data is not here"
    if os.environ.get("FACEFIT_REQUIRE_TEST_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def gl_session() -> Iterator[GLRenderer]:
    try:
        renderer = GLRenderer()
    except (RendererUnavailableError, MissingDependencyError) as problem:
        if os.environ.get("FACEFIT_REQUIRE_GL") == "1":
            pytest.fail(str(problem))
        pytest.skip(str(problem))
    with renderer:
        if os.environ.get("CI") == "true":
            assert "llvmpipe" in renderer.description, "CI is to draw with the known software rasteriser"
        yield renderer


@pytest.fixture
def gl(gl_session: GLRenderer) -> Iterator[GLRenderer]:
    """An OpenGL renderer. Without a context the test is skipped, or fails where FACEFIT_REQUIRE_GL is 1."""
    yield gl_session
    with gl_session._context.work("after the test") as current:  # raises where an error was left behind
        assert current.glGetIntegerv(current.GL_SCISSOR_TEST) == 0


@pytest.fixture
def golden(gl: GLRenderer, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, np.ndarray], None]:
    """A check of a picture (H, W, 3 or 4) uint8 against tests/golden/NAME.png; only llvmpipe's are known.

    Other versions of it round differently, so one pixel in 200 may be off by more than 3. `--regenerate` writes the
    file; a failure leaves the picture and the difference, amplified, in the test's temporary folder.
    """
    if "llvmpipe" not in gl.description:
        pytest.skip(f"golden pictures are llvmpipe's, this is {gl.description}")

    def check(name: str, picture: np.ndarray) -> None:
        path = GOLDEN / f"{name}.png"
        if request.config.getoption("--regenerate"):
            GOLDEN.mkdir(exist_ok=True)
            Image.fromarray(picture).save(path, optimize=True)
            return
        with Image.open(path) as file:
            expected = np.asarray(file)
        assert picture.shape == expected.shape
        difference = np.abs(picture.astype(int) - expected)
        wrong = (difference > 3).any(axis=2).mean()
        if wrong > 1.0 / 200.0:
            Image.fromarray(picture).save(tmp_path / f"{name}.png")
            amplified = np.minimum(8 * difference.max(axis=2), 255).astype(np.uint8)
            Image.fromarray(amplified).save(tmp_path / f"{name}-difference.png")
            pytest.fail(f"{name}: {wrong:.1%} of the pixels differ by more than 3; see {tmp_path}")

    return check
