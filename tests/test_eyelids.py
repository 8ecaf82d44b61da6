"""The eyelid openings: eyes drawn by the test, whose opening is known; equivariances; photos that say nothing."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facefit
from facefit.fitting.eyelids import EYELID_PAIRS, EyelidOpenings, measure_eyelid_openings
from facefit.fitting.landmarks import MIRROR
from facefit.models.errors import InvalidInputError

SCALE = 1.5  # px/mm
SIZE = 200  # px, the drawn picture's side
HALF = 15.0  # mm, half an eye's width
SKINS = {"light": (224, 180, 158), "medium": (170, 120, 95), "dark": (96, 64, 50)}


def landmarks_of(upper: float = 5.0, lower: float = -3.0) -> np.ndarray:
    """Landmarks (68, 2) px of a frontal face: right eye left in the picture, lids at these heights (mm)."""
    points = np.zeros((68, 2))
    for first, centre in ((36, 55.0), (42, 145.0)):
        x = SCALE * HALF * np.array([-1.0, -1.0 / 3.0, 1.0 / 3.0, 1.0, 1.0 / 3.0, -1.0 / 3.0])
        y = SCALE * np.array([0.0, upper, upper, 0.0, lower, lower])
        points[first : first + 6] = np.stack([centre + x, 100.0 - y], axis=1)
    return points


def lid(x: np.ndarray, height: float) -> np.ndarray:
    """The margin's y (mm) at x in half widths: a parabola, whereas the measurement's curves are flatter."""
    return height * (1.0 - np.minimum(x**2, 1.0))


def drawn_eyes(openings: tuple[float, float], skin: str = "medium", lash: float = 0.8, seed: int = 0) -> np.ndarray:
    """Draw both eyes (right, left), open by so many mm in the middle, on shaded skin; anti-aliased, with noise."""
    fine = 3
    grid = (np.arange(SIZE * fine) + 0.5) / fine - 0.5
    column, row = np.meshgrid(grid, grid)
    shade = 1.0 + (0.15 * (column - SIZE / 2.0) - 0.1 * row) / SIZE
    colour = np.array(SKINS[skin]) * shade[..., None]
    for centre, opening in zip((55.0, 145.0), openings, strict=True):
        x, y = (column - centre) / (SCALE * HALF), (100.0 - row) / SCALE
        # The upper lid comes down to a lower one that hardly moves.
        low, high = lid(x, -3.0), lid(x, -3.0 + opening)
        between = (np.abs(x) < 1.0) & (y > low) & (y < high)
        lashes = (np.abs(x) < 1.0) & (y >= high) & (y < high + lash)
        disc = np.hypot(x * HALF, y - 1.0)
        colour[between] = (205.0, 200.0, 195.0)
        colour[between & (disc < 5.85)] = (80.0, 60.0, 45.0)
        colour[between & (disc < 2.0)] = (15.0, 12.0, 12.0)
        colour[lashes] *= 0.25
    small = cv2.resize(colour, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(seed).normal(0.0, 2.0, small.shape)
    return np.clip(np.rint(small + noise), 0, 255).astype(np.uint8)


def millimetres(measured: EyelidOpenings) -> np.ndarray:
    """The mean opening of each eye (2,) in mm: right, left."""
    assert np.isfinite(measured.sigma).all()
    return measured.opening.reshape(2, 2).mean(axis=1) / SCALE


@pytest.mark.parametrize("skin", SKINS)
def test_drawn_openings_are_measured(skin: str) -> None:
    truth = np.array([0.0, 2.0, 4.0, 6.0, 8.0, 10.0])
    measured = [millimetres(measure_eyelid_openings(drawn_eyes((a, a), skin), landmarks_of(), SCALE)) for a in truth]
    at_pairs = lid(np.array(1.0 / 3.0), 1.0) * truth
    assert np.abs(np.array(measured) - at_pairs[:, None]).max() < 1.5
    assert np.diff(measured, axis=0).min() > 0.5


def test_each_eye_is_measured_by_itself() -> None:
    right, left = millimetres(measure_eyelid_openings(drawn_eyes((9.0, 0.0)), landmarks_of(), SCALE))
    assert right > 6.5 and left < 1.5


@pytest.mark.parametrize("opening", [0.0, 8.0])
def test_the_lids_of_the_landmarks_do_not_matter(opening: float) -> None:
    """A detector that sees an open eye closed, or a closed one open, changes nothing."""
    image = drawn_eyes((opening, opening))
    first, *others = (measure_eyelid_openings(image, landmarks_of(u, -2.0), SCALE).opening for u in (5.0, 0.0, -2.0))
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-6)


@pytest.mark.parametrize("shift", [(0.0, 2.0), (0.0, -2.0), (2.0, 0.0), (-2.0, 0.0)])
@pytest.mark.parametrize("opening", [0.0, 4.0, 8.0])
def test_shifted_landmarks_change_little(opening: float, shift: tuple[float, float]) -> None:
    image = drawn_eyes((opening, opening))
    exact = millimetres(measure_eyelid_openings(image, landmarks_of(), SCALE))
    moved = millimetres(measure_eyelid_openings(image, landmarks_of() + shift, SCALE))
    assert np.abs(moved - exact).max() < 1.5


def test_lashes_open_no_eye() -> None:
    """A closed eye with 3 mm of make-up stays closed, and its doubt grows."""
    thin, thick = (measure_eyelid_openings(drawn_eyes((0.0, 0.0), lash=t), landmarks_of(), SCALE) for t in (0.8, 3.0))
    assert millimetres(thick).max() < 2.0
    assert (thick.sigma >= 0.9 * thin.sigma).all()


def test_the_mirrored_photo_swaps_the_eyes() -> None:
    image, points = drawn_eyes((9.0, 3.0)), landmarks_of()
    mirrored = (points * (-1.0, 1.0) + (SIZE - 1.0, 0.0))[MIRROR]
    there = measure_eyelid_openings(image, points, SCALE)
    here = measure_eyelid_openings(np.ascontiguousarray(image[:, ::-1]), mirrored, SCALE)
    swapped = [int(np.flatnonzero(EYELID_PAIRS[:, 0] == MIRROR[upper])[0]) for upper in EYELID_PAIRS[:, 0]]
    np.testing.assert_allclose(here.opening, there.opening[swapped], atol=0.02)
    np.testing.assert_allclose(here.sigma, there.sigma[swapped], rtol=0.01)


@settings(max_examples=10)
@given(angle=st.floats(-180.0, 180.0), factor=st.floats(0.7, 2.5))
def test_rotation_and_scale_carry_the_openings(angle: float, factor: float) -> None:
    image, points = drawn_eyes((8.0, 2.0)), landmarks_of()
    middle = (SIZE - 1) / 2.0
    motion = cv2.getRotationMatrix2D((middle, middle), angle, factor)
    size = round(1.5 * factor * SIZE)
    motion[:, 2] += (size - 1) / 2.0 - middle
    smoothed = cv2.GaussianBlur(image, (0, 0), 0.5 / factor) if factor < 1.0 else image
    turned = cv2.warpAffine(smoothed, motion, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    there = measure_eyelid_openings(image, points, SCALE)
    here = measure_eyelid_openings(turned, points @ motion[:, :2].T + motion[:, 2], factor * SCALE)
    np.testing.assert_allclose(here.opening / factor, there.opening, atol=0.6 * SCALE)
    carried = there.upper @ motion[:, :2].T + motion[:, 2]
    np.testing.assert_allclose(here.upper, carried, atol=0.8 * SCALE * factor)


@settings(max_examples=10)
@given(gain=st.floats(0.5, 1.1), gamma=st.floats(0.75, 1.3), opening=st.sampled_from([0.0, 4.0, 8.0]))
def test_brightness_changes_little(gain: float, gamma: float, opening: float) -> None:
    image = drawn_eyes((opening, opening), lash=1.5)  # what a thin line of lashes shows may get lost in the dark
    other = np.rint(np.clip(255.0 * gain * (image / 255.0) ** gamma, 0.0, 255.0)).astype(np.uint8)
    there = millimetres(measure_eyelid_openings(image, landmarks_of(), SCALE))
    here = millimetres(measure_eyelid_openings(other, landmarks_of(), SCALE))
    assert np.abs(here - there).max() < 1.3


def test_a_grey_photo_is_measured() -> None:
    for opening in (0.0, 8.0):
        grey = drawn_eyes((opening, opening)).mean(axis=2).astype(np.uint8)
        measured = millimetres(measure_eyelid_openings(grey, landmarks_of(), SCALE))
        assert np.abs(measured - opening * 8.0 / 9.0).max() < 2.0


def assert_nothing(measured: EyelidOpenings, pairs: slice = slice(None)) -> None:
    assert np.isinf(measured.sigma[pairs]).all() and (measured.opening[pairs] == 0.0).all()
    assert np.isfinite(measured.upper).all() and np.isfinite(measured.lower).all()


@pytest.mark.parametrize("value", [0, 127, 255])
def test_a_flat_photo_says_nothing(value: int) -> None:
    assert_nothing(measure_eyelid_openings(np.full((SIZE, SIZE, 3), value, np.uint8), landmarks_of(), SCALE))


def test_bare_skin_says_nothing_not_closed() -> None:
    """Where no lash and no white is to be seen the eye is covered, which is not closed."""
    noise = np.random.default_rng(3).normal(0.0, 12.0, (SIZE, SIZE, 3))
    image = np.clip(np.array(SKINS["medium"]) + cv2.GaussianBlur(noise, (0, 0), 1.0), 0, 255).astype(np.uint8)
    assert_nothing(measure_eyelid_openings(image, landmarks_of(), SCALE))


def test_noise_over_the_eyes_gives_finite_numbers() -> None:
    image = np.random.default_rng(4).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    measured = measure_eyelid_openings(image, landmarks_of(), SCALE)
    assert np.isfinite(measured.opening).all() and (measured.sigma > 0.0).all()


def test_an_eye_outside_the_photo_says_nothing() -> None:
    image, points = drawn_eyes((8.0, 8.0)), landmarks_of()
    measured = measure_eyelid_openings(image, points + np.array([100.0, 0.0]), SCALE)
    assert_nothing(measured, slice(2, 4))
    for far in (1e7, 1e300):
        assert_nothing(measure_eyelid_openings(image, points + np.array([0.0, far]), SCALE))
        assert_nothing(measure_eyelid_openings(image, points * far, SCALE))


def test_small_and_averted_eyes_say_nothing() -> None:
    image, points = drawn_eyes((8.0, 8.0)), landmarks_of()
    assert_nothing(measure_eyelid_openings(image[:1, :1], np.zeros((68, 2)), SCALE))
    assert_nothing(measure_eyelid_openings(image, points * 0.1, 0.1 * SCALE))
    averted = points.copy()
    averted[36:42, 0] = 55.0 + 0.3 * (points[36:42, 0] - 55.0)
    measured = measure_eyelid_openings(image, averted, SCALE)
    assert_nothing(measured, slice(0, 2))
    assert np.isfinite(measured.sigma[2:]).all()


def test_wrong_calls() -> None:
    image, points = drawn_eyes((8.0, 8.0)), landmarks_of()
    with pytest.raises(InvalidInputError, match=r"landmarks: expected shape \(68, 2\), got \(51, 2\)"):
        measure_eyelid_openings(image, points[17:], SCALE)
    with pytest.raises(InvalidInputError, match="landmarks: expected finite numbers"):
        measure_eyelid_openings(image, np.full((68, 2), np.nan), SCALE)
    for scale in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InvalidInputError, match="scale: expected a positive number"):
            measure_eyelid_openings(image, points, scale)


def test_rendered_faces(test_data: Path) -> None:
    """On the synthetic set, from its exact landmarks moved by 1 mm, most errors stay within their deviations."""
    rng = np.random.default_rng(0)
    errors = []
    for path in sorted((test_data / "synthetic").glob("*.jpg")):
        truth = np.load(path.with_suffix(".npz"))
        points, scale = truth["landmarks"].astype(float), float(truth["focal"] / truth["distance"])
        measured = measure_eyelid_openings(facefit.read_image(path), points + rng.normal(0.0, scale, 2), scale)
        seen = np.isfinite(measured.sigma)
        for side, (nasal, temporal) in enumerate(((36, 39), (42, 45))):
            axis = (points[temporal] - points[nasal]) / np.linalg.norm(points[temporal] - points[nasal])
            across = np.array([-axis[1], axis[0]])
            for pair in np.flatnonzero(seen[2 * side : 2 * side + 2]) + 2 * side:
                upper, lower = points[EYELID_PAIRS[pair]]
                errors.append((measured.opening[pair] - (lower - upper) @ across) / measured.sigma[pair])
    assert len(errors) > 60
    assert np.mean(np.abs(errors) < 2.0) > 0.85 and abs(np.median(errors)) < 0.7
