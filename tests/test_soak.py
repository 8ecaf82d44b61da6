"""Slow checks that `make soak` runs: many more people, and many more damaged files, than the suite has time for."""

import io
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scenes import random_scenes

import facefit
from facefit.models.errors import FacefitError

pytestmark = pytest.mark.soak


def test_ten_thousand_people_in_any_pose() -> None:
    """Every fit converges, no number is ever other than finite, and memory stays flat."""
    model = facefit.load_model("default")
    peaks = []
    for k, scene in enumerate(random_scenes(model, 10_000, 7, sigma=0.02, yaw=(-75.0, 75.0), pitch=(-35.0, 35.0))):
        convention = "contour" if k % 2 else "semantic"
        options = facefit.FitOptions(landmark_convention=convention, landmark_sigma=0.02)
        result = facefit.fit_landmarks(scene.landmarks, model, options=options)
        assert result.status.usable, (k, result.message)
        assert np.isfinite(result.vertices_image).all()
        if k % 1000 == 999:
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[-1] < 1.05 * peaks[1]


def test_fifty_thousand_damaged_photos(tmp_path: Path) -> None:
    """A damaged file gives a picture or an ImageError, nothing else."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    originals = []
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        originals.append(np.frombuffer(buffer.getvalue(), dtype=np.uint8))
    path = tmp_path / "photo"
    for k in range(50_000):
        damaged = originals[k % len(originals)].copy()
        places = rng.integers(0, len(damaged), rng.integers(1, 12))
        damaged[places] = rng.integers(0, 256, len(places))
        path.write_bytes(damaged[: rng.integers(1, len(damaged) + 1)].tobytes() if k % 3 else damaged.tobytes())
        try:
            image = facefit.read_image(path)
        except FacefitError:
            continue
        assert image.dtype == np.uint8
        assert image.ndim == 3
