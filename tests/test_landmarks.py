from itertools import pairwise

import numpy as np
import pytest

from facefit.fitting.landmarks import (
    COUNT,
    GROUPS,
    INNER,
    JAW,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_EYELID_PAIRS,
    LIP_PAIRS,
    MIRROR,
    MOUTH,
    NOSE,
    OUTER_EYE_CORNERS,
    POLYLINES,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_EYELID_PAIRS,
    LandmarkConvention,
    box_size,
    face_box,
)
from facefit.models.errors import InvalidInputError


def test_groups_partition_the_points():
    assert np.concatenate(list(GROUPS.values())).tolist() == list(range(COUNT))
    assert np.concatenate([JAW, INNER]).tolist() == list(range(COUNT))


def test_lines_visit_every_point_once():
    assert sorted(i for line in POLYLINES for i in line.indices) == list(range(COUNT))


def test_mirror_is_an_involution_that_swaps_the_sides():
    assert (MIRROR[MIRROR] == np.arange(COUNT)).all()
    for one, other in [(RIGHT_BROW, LEFT_BROW), (RIGHT_EYE, LEFT_EYE), (JAW, JAW), (NOSE, NOSE), (MOUTH, MOUTH)]:
        assert sorted(MIRROR[one]) == other.tolist()
    assert MIRROR[OUTER_EYE_CORNERS].tolist() == OUTER_EYE_CORNERS[::-1].tolist()
    assert np.flatnonzero(np.arange(COUNT) == MIRROR).tolist() == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


def test_mirror_carries_pairs_and_lines_over():
    assert sorted(MIRROR[RIGHT_EYELID_PAIRS].tolist()) == sorted(LEFT_EYELID_PAIRS.tolist())
    assert sorted(MIRROR[LIP_PAIRS].tolist()) == sorted(LIP_PAIRS.tolist())

    def edges(line, indices):
        ring = (*indices, indices[0]) if line.closed else indices
        return {frozenset(pair) for pair in pairwise(ring)}

    drawn = set().union(*(edges(line, line.indices) for line in POLYLINES))
    mirrored = set().union(*(edges(line, MIRROR[list(line.indices)].tolist()) for line in POLYLINES))
    assert drawn == mirrored


def test_mirror_and_pairs_on_rendered_faces(test_data):
    """On exact points of near-frontal heads: reflection plus MIRROR moves no point far, and lids and lips open."""
    pairs = np.concatenate([RIGHT_EYELID_PAIRS, LEFT_EYELID_PAIRS, LIP_PAIRS])
    openings = []
    for file in sorted((test_data / "synthetic").glob("*.npz")):
        with np.load(file) as truth:
            points, turned = truth["landmarks"], max(abs(float(truth["yaw"])), abs(float(truth["roll"])))
        if turned > 10.0:
            continue
        centred = points - points.mean(axis=0)
        difference = centred[MIRROR] * [-1.0, 1.0] - centred
        assert np.linalg.norm(difference, axis=1).max() < 0.35 * box_size(points)
        assert points[OUTER_EYE_CORNERS[0], 0] < points[OUTER_EYE_CORNERS[1], 0]
        openings.append((points[pairs[:, 1], 1] - points[pairs[:, 0], 1]) / box_size(points))
    assert len(openings) >= 3
    assert np.min(openings) > -0.02  # pressed lips overlap a little
    assert (np.mean(openings, axis=0) > 0.005).all()


def test_constants_cannot_be_changed():
    for array in (MIRROR, INNER, LIP_PAIRS, *GROUPS.values()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_convention_is_its_name():
    assert LandmarkConvention("semantic") is LandmarkConvention.SEMANTIC
    assert LandmarkConvention.CONTOUR == "contour"


def test_box_of_finite_points():
    points = [[1.0, 2.0], [5.0, 11.0], [np.nan, 100.0], [3.0, np.inf], [2.0, 4.0]]
    assert face_box(points) == (1.0, 2.0, 5.0, 11.0)
    assert box_size(points) == pytest.approx(6.0)
    assert box_size(np.array([[0.0, 0.0], [1e200, 1e200]])) == pytest.approx(1e200)


@pytest.mark.parametrize("points", [np.full((68, 2), np.nan), np.empty((0, 2))])
def test_box_of_nothing_is_refused(points):
    with pytest.raises(InvalidInputError, match="at least one finite point"):
        face_box(points)


def test_box_names_the_shape():
    with pytest.raises(InvalidInputError, match=r"\(any, 2\), got \(68, 3\)"):
        face_box(np.zeros((68, 3)))
