"""What an installed facefit must do, needing nothing but itself: the wheel's test, run away from the checkout too."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import facefit


@pytest.mark.parametrize("name", facefit.__all__)
def test_public_name_is_there(name: str) -> None:
    assert getattr(facefit, name) is not None


def test_console_program_tells_the_version() -> None:
    program = Path(sys.executable).with_name("facefit")
    command = [str(program)] if program.exists() else [sys.executable, "-P", "-m", "facefit.apps.main"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == f"facefit {facefit.__version__}"


def test_default_model_fits_its_own_landmarks(tmp_path: Path) -> None:
    model = facefit.load_model("default")
    points = model.landmark_positions(model.vertices())
    camera = facefit.ScaledOrthographic(np.diag([1.0, -1.0, -1.0]), np.array([256.0, 256.0]), 2.0)
    options = facefit.FitOptions(stages=("landmark",), landmark_convention="semantic")
    result = facefit.fit_landmarks(camera.project(points)[:, :2], model=model, options=options)
    assert result.status is facefit.FitStatus.CONVERGED
    np.testing.assert_allclose(result.camera.rotation, camera.rotation, atol=0.02)
    assert np.abs(result.identity).max() < 0.1
    facefit.save(result, tmp_path / "fit.npz")
    np.testing.assert_array_equal(facefit.load_result(tmp_path / "fit.npz").vertices, result.vertices)
