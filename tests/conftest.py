"""What every test shares: hostile floating point, a fixed seed and the folder of test data."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest

hypothesis.settings.register_profile("facefit", deadline=None, derandomize=True)
hypothesis.settings.load_profile("facefit")


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
