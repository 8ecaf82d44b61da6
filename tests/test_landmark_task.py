"""One face's landmarks as the stages see them: points that the photo told of, and how the jaw's matching settles."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scenes import with_one_landmark_map

import facefit
from facefit.fitting.contour import FREE_MATCHINGS, JUMP, ContourMatch, jumping, match_contour
from facefit.fitting.eyelids import EYELID_PAIRS
from facefit.fitting.landmark_noise import OPENING_PAIRS, LandmarkNoise, expand_sigma
from facefit.fitting.landmark_task import JawMatching, LandmarkTask, landmark_task
from facefit.fitting.landmarks import JAW, LandmarkConvention
from facefit.fitting.state_prior import PoseAndShape
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import rotation_from_angles

Array = NDArray[np.float64]

SCALE = 2.0  # px/mm


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return with_one_landmark_map(facefit.load_model("default"))


def posed(model: MorphableModel, yaw: float) -> PoseAndShape:
    """Return the mean face at a pose."""
    coefficients = np.zeros(model.n_identity + model.n_expression)
    return PoseAndShape(rotation_from_angles(yaw, 0.0, 0.0), np.array([300.0, 250.0]), SCALE, coefficients)


def task_of(
    model: MorphableModel, yaw: float = 0.0, convention: LandmarkConvention = LandmarkConvention.CONTOUR
) -> LandmarkTask:
    """Return the task of the mean face's own semantic points at a pose; those of eyelids and lips err alike."""
    state = posed(model, yaw)
    observed = SCALE * model.semantic_basis.mean @ state.rotation[:2].T + state.translation
    return landmark_task(model, observed, LandmarkNoise(expand_sigma(0.03), 0.5), convention)


# --- Measured points ----------------------------------------------------------------------------------------------


def measured(task: LandmarkTask) -> tuple[LandmarkTask, NDArray[np.intp], Array, Array]:
    """Return a task with two eyelid pairs observed elsewhere, across the eye only; points, places, whitening."""
    points = EYELID_PAIRS[:2].ravel()
    places = task.observed[points] + [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
    whitening = np.zeros((4, 2, 2))
    whitening[:, 0] = [0.0, 0.7]
    return task.with_measured(points, places, whitening), points, places, whitening


@pytest.mark.parametrize("convention", list(LandmarkConvention))
def test_measured_points_are_seen_where_they_were_measured(
    model: MorphableModel, convention: LandmarkConvention
) -> None:
    """The others stay as they were, and so does the task that it was made of."""
    task = task_of(model, convention=convention)
    found, points, places, whitening = measured(task)
    match = JawMatching().again(task, posed(model, 0.0)).match
    before, after = task.problem(SCALE, match), found.problem(SCALE, match)
    others = np.setdiff1d(np.arange(68), points)
    np.testing.assert_array_equal(after.observed[points], places)
    np.testing.assert_array_equal(after.whitening[points], whitening)
    np.testing.assert_array_equal(after.observed[others], before.observed[others])
    np.testing.assert_array_equal(after.whitening[others], before.whitening[others])
    np.testing.assert_array_equal(after.mean, before.mean)
    assert len(task.measured) == 0
    assert (task.observed[points] != places).all()


def test_pairs_with_a_measured_point_are_no_longer_correlated(model: MorphableModel) -> None:
    task = task_of(model)
    found, points, _, _ = measured(task)
    np.testing.assert_array_equal(task.pairs, OPENING_PAIRS)
    kept = {tuple(pair) for pair in found.pairs.tolist()}
    assert kept == {tuple(pair) for pair in OPENING_PAIRS.tolist() if not set(pair) & set(points.tolist())}
    assert len(kept) == len(OPENING_PAIRS) - 2


def test_a_measured_point_counts_by_its_own_whitening(model: MorphableModel) -> None:
    """Its energy is that of the text: along the eye it is free."""
    task, state = task_of(model, convention=LandmarkConvention.SEMANTIC), posed(model, 0.0)
    found, points, places, _ = measured(task)
    problem = found.problem(SCALE)
    away = problem.projected(state)[points] - places
    assert problem.energy(state) == pytest.approx(0.5 * 0.49 * float((away[:, 1] ** 2).sum()))
    np.testing.assert_allclose(problem.squares(state)[points], 0.49 * away[:, 1] ** 2)


# --- Matching the jaw ---------------------------------------------------------------------------------------------


def sliding(matching: JawMatching) -> set[int]:
    assert matching.match is not None
    return set(matching.match.landmarks.tolist())


def assert_same(one: ContourMatch | None, other: ContourMatch | None) -> None:
    assert one is not None and other is not None
    for name in ("landmarks", "mean", "basis", "normals"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_jaw_that_does_not_slide_is_not_matched(model: MorphableModel) -> None:
    matching = JawMatching()
    assert matching.again(task_of(model, convention=LandmarkConvention.SEMANTIC), posed(model, 30.0)) is matching


@pytest.mark.parametrize("yaw", [0.0, 25.0, -40.0])
def test_first_round_matches_as_if_there_were_no_other(model: MorphableModel, yaw: float) -> None:
    task, state, fresh = task_of(model, yaw), posed(model, yaw), JawMatching()
    matching = fresh.again(task, state)
    assert_same(matching.match, match_contour(model, state, task.observed))
    assert matching.rounds == 1
    assert matching.allowed is not None and matching.allowed.all()
    assert fresh.match is None and fresh.allowed is None and fresh.rounds == 0, "what it was made of stays as it was"


def test_matching_the_same_state_again_settles(model: MorphableModel) -> None:
    task, state = task_of(model, 20.0), posed(model, 20.0)
    before = JawMatching().again(task, state).again(task, state)
    for _ in range(2 * FREE_MATCHINGS):
        after = before.again(task, state)
        assert_same(before.match, after.match)
        before = after


def test_a_point_that_slid_off_its_outline_stays_fixed(model: MorphableModel) -> None:
    """Also where the outline comes near it again."""
    task, state = task_of(model), posed(model, 0.0)
    first = JawMatching().again(task, state)
    lost = sorted(sliding(first))[2]
    observed = task.observed.copy()
    observed[lost] += 5.0 * SCALE * model.face_size
    second = first.again(replace(task, observed=observed), state)
    assert sliding(second) == sliding(first) - {lost}
    for _ in range(3):
        second = second.again(task, state)
        assert sliding(second) == sliding(first) - {lost}
    assert sliding(JawMatching().again(task, state)) == sliding(first)
    assert set(np.flatnonzero(~np.asarray(second.allowed)).tolist()) == {lost}


def test_points_that_go_on_jumping_are_left_fixed(model: MorphableModel) -> None:
    """Between two poses whose outlines run along different parts of the jaw; at first they may, then no more."""
    task, states = task_of(model, 20.0), [posed(model, 15.0), posed(model, 25.0)]
    matchings = [JawMatching()]
    for k in range(3 * FREE_MATCHINGS):
        matchings.append(matchings[-1].again(task, states[k % 2]))
    jumpers = []
    for k, (before, after) in enumerate(pairwise(matchings[1:])):
        assert before.match is not None and after.match is not None
        jumpers.append(jumping(before.match, after.match, states[(k + 1) % 2], model.face_size))
    assert all(len(found) for found in jumpers[: FREE_MATCHINGS - 1]), f"none moves by {JUMP} of the face"
    assert all(len(found) == 0 for found in jumpers[FREE_MATCHINGS + 2 :])
    settled = matchings[-1].allowed
    assert settled is not None
    assert not settled[jumpers[0]].any()
    assert settled[np.setdiff1d(np.arange(68), JAW)].all()
