"""Random people of the default model measure what surveys of adults found, and the points are where their names say.

References and their sources stand in apps/model/builder/anthropometry.py. Lengths are mm.
"""

import numpy as np
import pytest

from facefit.apps.model.builder.anthropometry import MEASURES, POINTS, Measure, measured
from facefit.models.morphable_model import MorphableModel
from facefit.models.store import load_model

DRAWS, BATCH = 2000, 100
FLIP = np.array([-1.0, 1.0, 1.0])

FRONTAL = (
    "bizygomatic breadth", "menton-sellion length", "nose breadth", "mouth breadth", "interpupillary breadth",
    "outer canthi", "inner canthi",
)  # fmt: skip
"""What a face seen from the front shows best, and what surveys agree on best."""
MIDLINE = (
    "glabella", "sellion", "pronasale", "subnasale", "labiale superius", "stomion", "labiale inferius", "pogonion",
    "menton",
)  # fmt: skip
"""Points of the face's midline, from above."""


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_model("default")


@pytest.fixture(scope="module")
def place(model: MorphableModel) -> dict[str, np.ndarray]:
    """Point -> its place (3,) on the mean."""
    return {name: model.mean[vertex] for name, vertex in POINTS.items()}


@pytest.fixture(scope="module")
def people(model: MorphableModel) -> dict[str, np.ndarray]:
    """Measure -> its values (DRAWS,). Only the rows of pinned vertices are computed; the others stay unknown."""
    assert model.mirror is not None
    left = np.array(list(POINTS.values()))
    pinned = np.unique([left, model.mirror[left]])
    mean, modes = model.mean[pinned], model.identity[:, pinned].astype(np.float64)
    heads = np.full((BATCH, model.n_vertices, 3), np.nan)
    rng, values = np.random.default_rng(0), []
    for _ in range(DRAWS // BATCH):
        heads[:, pinned] = mean + np.tensordot(rng.standard_normal((BATCH, model.n_identity)), modes, axes=1)
        values.append(measured(heads, model.mirror))
    table = np.concatenate(values)
    assert table.shape == (DRAWS, len(MEASURES))
    assert np.isfinite(table).all()
    return {measure.name: column for measure, column in zip(MEASURES, table.T, strict=True)}


# ------------------------------------------------------------------------------------------------------------- measures


def test_measures_have_names_of_their_own() -> None:
    names = [measure.name for measure in MEASURES]
    assert len(set(names)) == len(names)
    assert set(FRONTAL) | {"nose protrusion"} <= set(names)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_mean_is_that_of_surveys(people: dict[str, np.ndarray], measure: Measure) -> None:
    """4 % for what is seen best, 10 % or 1.5 mm for other distances, 3 mm for depths, differences of means."""
    if measure.name in FRONTAL:
        tolerance = 0.04 * measure.mean
    elif measure.kind == "depth":
        tolerance = 3.0
    else:
        tolerance = max(0.10 * measure.mean, 1.5)
    assert people[measure.name].mean() == pytest.approx(measure.mean, abs=tolerance)


@pytest.mark.parametrize(
    "measure", [measure for measure in MEASURES if measure.deviation is not None], ids=lambda measure: measure.name
)
def test_people_differ_as_much_as_in_surveys(people: dict[str, np.ndarray], measure: Measure) -> None:
    """Other measures than the frontal ones may vary up to twice as much: the nose's root does, 1.8 times."""
    low, high = (0.75, 1.35) if measure.name in FRONTAL else (0.65, 2.0)
    assert low < people[measure.name].std() / measure.deviation < high


def test_breadths_go_together_without_being_one(people: dict[str, np.ndarray]) -> None:
    """A broad face tends to be a broad head with eyes further apart; size is not all that people differ in."""
    for name in ("interpupillary breadth", "outer canthi", "head breadth"):
        assert 0.2 < np.corrcoef(people["bizygomatic breadth"], people[name])[0, 1] < 0.95


# --------------------------------------------------------------------------------------------------------------- points


def test_points_are_on_the_midline_or_on_the_left(model: MorphableModel, place: dict[str, np.ndarray]) -> None:
    assert model.mirror is not None
    for name, vertex in POINTS.items():
        counterpart = model.mirror[vertex]
        np.testing.assert_allclose(model.mean[counterpart], place[name] * FLIP, atol=1e-6, err_msg=name)
        if name in {*MIDLINE, "opisthocranion"}:
            assert counterpart == vertex
            assert abs(place[name][0]) < 1e-6
        else:
            assert place[name][0] > 10.0, name


@pytest.mark.parametrize(
    ("axis", "names"),
    [
        pytest.param(1, MIDLINE[::-1], id="midline, upwards"),
        pytest.param(1, ("lower lid", "pupil", "upper lid"), id="eye, upwards"),
        pytest.param(1, ("cheilion", "alare", "orbitale", "endocanthion", "euryon"), id="side, upwards"),
        pytest.param(0, ("endocanthion", "pupil", "exocanthion", "zygion", "tragion"), id="eyes to ear"),
        pytest.param(0, ("subnasale", "alare", "cheilion", "gonion", "zygion", "euryon"), id="nose to side"),
        pytest.param(
            2, ("opisthocranion", "euryon", "tragion", "zygion", "exocanthion", "endocanthion", "pupil", "pronasale"),
            id="back to front",
        ),
    ],
)  # fmt: skip
def test_points_follow_each_other(place: dict[str, np.ndarray], axis: int, names: tuple[str, ...]) -> None:
    assert (np.diff([place[name][axis] for name in names]) > 0.0).all()


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("alare", "nose"), ("pronasale", "nose"), ("subnasale", "nose"), ("sellion", "nose"), ("cheilion", "lips"),
        ("stomion", "lips"), ("labiale inferius", "lips"), ("endocanthion", "lids"), ("exocanthion", "lids"),
        ("upper lid", "lids"), ("lower lid", "lids"), ("pupil", "eyes"), ("tragion", "ears"), ("euryon", "scalp"),
        ("opisthocranion", "scalp"), ("glabella", "face"), ("orbitale", "face"), ("pogonion", "face"),
        ("gonion", "face"), ("zygion", "face"),
    ],
)  # fmt: skip
def test_a_point_is_in_its_region(model: MorphableModel, name: str, region: str) -> None:
    assert model.regions[region][POINTS[name]]


@pytest.mark.parametrize(
    ("name", "landmark"),
    [
        ("endocanthion", 42),
        ("exocanthion", 45),
        ("cheilion", 54),
        ("pronasale", 30),
        ("subnasale", 33),
        ("sellion", 27),
    ],
)  # fmt: skip
def test_a_point_is_where_its_landmark_is(
    model: MorphableModel, place: dict[str, np.ndarray], name: str, landmark: int
) -> None:
    assert np.linalg.norm(place[name] - model.landmark_positions(model.mean)[landmark]) < 3.0


def test_points_named_after_extremes_are_extremes(model: MorphableModel, place: dict[str, np.ndarray]) -> None:
    """To within a millimetre of the mean's own: the most forward, rearmost, deepest and widest vertices."""
    assert model.mirror is not None
    mean = model.mean
    midline = mean[(model.mirror == np.arange(model.n_vertices)) & model.regions["face"]]
    left_eye = mean[model.regions["eyes"] & (mean[:, 0] > 0.0)]
    bridge = midline[(midline[:, 1] < place["glabella"][1]) & (midline[:, 1] > place["pronasale"][1])]
    chin = midline[midline[:, 1] < place["labiale inferius"][1] - 10.0]
    assert place["pronasale"][2] == mean[:, 2].max()
    assert place["opisthocranion"][2] == mean[:, 2].min()
    assert place["pupil"][2] == left_eye[:, 2].max()
    assert place["sellion"][2] < bridge[:, 2].min() + 1.0
    assert place["pogonion"][2] > chin[:, 2].max() - 1.0
    assert place["euryon"][0] > mean[model.regions["scalp"], 0].max() - 2.0
    assert place["alare"][0] > mean[model.regions["nose"], 0].max() - 2.5


def test_head_stands_in_the_frankfort_plane(place: dict[str, np.ndarray]) -> None:
    """Depths and heights are measured along the frame's axes: tragion and orbitale are level, to 3 degrees."""
    across = place["orbitale"] - place["tragion"]
    assert abs(np.degrees(np.arctan2(across[1], across[2]))) < 3.0
