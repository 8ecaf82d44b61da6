"""Marks fall where they are told to, to a fraction of a pixel, and panels keep their pictures."""

import numpy as np
import pytest

from facefit.models.errors import InvalidInputError
from facefit.render.drawing import BACKGROUND, Panel, draw_label, draw_points, draw_polylines, montage

BLACK = np.zeros((40, 60, 3), np.uint8)
RED = (255, 0, 0)


def centroid(picture):
    weight = picture[..., 0].astype(float)
    y, x = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("point", [(20.0, 10.0), (20.5, 10.25), (33.3, 21.8)])
def test_marks_fall_on_their_point(point):
    picture = draw_points(BLACK, [point], RED)
    np.testing.assert_allclose(centroid(picture), point, atol=0.15)
    assert not picture[..., 1:].any()
    assert not BLACK.any()  # the input is not drawn on


def test_a_disc_has_its_area():
    picture = draw_points(BLACK, [[30.0, 20.0]], RED, radius=10.0)
    assert np.pi * 10.0**2 <= picture[..., 0].sum() / 255.0 <= np.pi * 11.0**2  # OpenCV softens it outwards


def test_polylines_join_their_points():
    square = np.array([[10.0, 10.0], [30.0, 10.0], [30.0, 30.0], [10.0, 30.0]])
    open_line, closed_line = (draw_polylines(BLACK, [square], RED, closed=closed) for closed in (False, True))
    for line, left in ((open_line, False), (closed_line, True)):
        assert min(line[10, 20, 0], line[20, 30, 0], line[30, 20, 0]) > 200
        assert (line[20, 10, 0] > 200) == left
        assert line[20, 20, 0] == 0


def test_marks_that_cannot_be_drawn_are_left_out():
    hostile = np.array([[np.nan, 5.0], [np.inf, 5.0], [1e300, 0.0], [-1e9, 1e9]])
    np.testing.assert_array_equal(draw_points(BLACK, hostile, RED), BLACK)
    some = draw_points(BLACK, np.vstack([hostile, [[20.0, 20.0]]]), RED)
    np.testing.assert_array_equal(some, draw_points(BLACK, [[20.0, 20.0]], RED))
    assert not draw_polylines(BLACK, [hostile], RED, closed=True).any()
    assert not draw_points(BLACK, np.zeros((0, 2)), RED).any()
    assert not draw_polylines(BLACK, [np.zeros((0, 2)), [[3.0, 3.0]]], RED).any()


def test_a_line_may_leave_the_image():
    picture = draw_polylines(BLACK, [[[-5e5, 20.0], [5e5, 20.0]]], RED)
    assert (picture[20, 2:, 0] > 200).all()
    assert not np.delete(picture, [19, 20, 21], axis=0).any()


def test_labels_are_written_below_and_right_of_their_corner():
    picture = draw_label(BLACK, "face", (10, 12), RED, size=14)
    y, x = np.nonzero(picture[..., 0])
    assert len(y) > 20
    assert x.min() >= 9
    assert y.min() >= 12
    assert y.max() <= 12 + 20


def test_montage_holds_every_picture_and_a_dark_ground():
    panels = [Panel(np.full((20 + i, 30, 3), 50 * (i + 1), np.uint8), f"panel {i}") for i in range(3)]
    sheet = montage(panels, 2, gap=10, caption_size=12)
    assert sheet.shape == (10 + 2 * (24 + 22 + 10), 10 + 2 * (30 + 10), 3)
    for i in range(3):
        assert (sheet == 50 * (i + 1)).all(axis=2).sum() >= (20 + i) * 30
    assert tuple(sheet[0, 0]) == BACKGROUND
    assert montage(panels[:1], 4, gap=10, caption_size=12).shape == (10 + 24 + 20 + 10, 50, 3)
    plain = montage([Panel(panels[0].image)], 1, gap=3)
    np.testing.assert_array_equal(plain[3:-3, 3:-3], panels[0].image)


def test_wrong_calls_are_named():
    with pytest.raises(InvalidInputError, match=r"image: expected \(H, W, 3\) uint8, got \(4, 4\) float64"):
        draw_points(np.zeros((4, 4)), [[0, 0]], RED)
    with pytest.raises(InvalidInputError, match=r"points: expected shape \(any, 2\)"):
        draw_points(BLACK, [[0, 0, 0]], RED)
    with pytest.raises(InvalidInputError, match="montage: expected a panel and a column"):
        montage([], 3)
    with pytest.raises(InvalidInputError, match="montage"):
        montage([Panel(BLACK)], 0)
