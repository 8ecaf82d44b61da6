"""The default model's regions and appearance: plausible people from light to dark, painted by two pigments.

Skin colours are judged in CIELAB by the individual typology angle, ITA = atan2(L* - 50, b*), whose classes are very
light > 55 > light > 41 > intermediate > 28 > tan > 10 > brown > -30 > dark, degrees (Chardon et al., International
Journal of Cosmetic Science 13, 1991; Del Bino & Bernerd, British Journal of Dermatology 169, 2013).
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefit.apps.model.builder import albedo, regions
from facefit.models.morphable_model import MorphableModel
from facefit.models.store import load_model

PARTITION = ("skin", "sockets", "mouth", "eyes", "teeth")
SKIN_PARTITION = ("face", "ears", "neck", "scalp")
TO_XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])  # linear sRGB, D65


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_model("default")


@pytest.fixture(scope="module")
def plain(model: MorphableModel) -> np.ndarray:
    """Skin (N,) of the face without brows, lids and lips."""
    chosen = model.regions["face"].copy()
    for name in ("brows", "lids", "lips"):
        chosen &= ~model.regions[name]
    return chosen


def lab(colour: np.ndarray) -> np.ndarray:
    """CIELAB (..., 3) under D65 of linear reflectance (..., 3)."""
    t = colour @ TO_XYZ.T / TO_XYZ.sum(axis=1)
    x, y, z = np.moveaxis(np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def typology_angle(colour: np.ndarray) -> np.ndarray:
    """ITA in degrees (...) of linear reflectance (..., 3)."""
    lightness, _, yellowness = np.moveaxis(lab(colour), -1, 0)
    return np.degrees(np.arctan2(lightness - 50.0, yellowness))


def luminance(colour: np.ndarray) -> np.ndarray:
    return colour @ TO_XYZ[1]


def redness(colour: np.ndarray) -> np.ndarray:
    return lab(colour)[..., 1]


def appearance(model: MorphableModel, coefficients: np.ndarray) -> np.ndarray:
    """Reflectance (N, 3) before it is clamped to 0-1."""
    assert model.albedo is not None
    return model.albedo_mean + np.tensordot(coefficients, model.albedo.astype(np.float64), 1)


def along_first(model: MorphableModel, deviations: float) -> np.ndarray:
    return appearance(model, deviations * np.eye(model.n_albedo)[0])


# -------------------------------------------------------------------------------------------------------------- regions


def test_regions_are_symmetric_and_none_is_empty(model: MorphableModel) -> None:
    assert {*PARTITION, *SKIN_PARTITION, "lids", "brows", "lips", "nose"} <= set(model.regions)
    for name, mask in model.regions.items():
        assert mask.sum() >= 10, name
        np.testing.assert_array_equal(mask[model.mirror], mask, err_msg=name)


def test_parts_share_out_the_vertices_and_the_skin(model: MorphableModel) -> None:
    np.testing.assert_array_equal(sum(model.regions[name].astype(int) for name in PARTITION), 1)
    shared = sum(model.regions[name].astype(int) for name in SKIN_PARTITION)
    np.testing.assert_array_equal(shared, model.regions["skin"].astype(int))


def test_features_lie_in_the_face_apart_from_each_other(model: MorphableModel) -> None:
    features = [model.regions[name] for name in ("lids", "brows", "lips", "nose")]
    assert np.sum(features, axis=0).max() == 1
    assert not (np.any(features, axis=0) & ~model.regions["face"]).any()


def test_no_triangle_joins_skin_to_eyes_or_teeth(model: MorphableModel) -> None:
    for name in ("eyes", "teeth"):
        count = model.regions[name][model.triangles].sum(axis=1)
        assert set(np.unique(count)) == {0, 3}


def test_landmarks_lie_in_their_regions(model: MorphableModel) -> None:
    assert model.landmarks is not None
    corners = model.triangles[model.landmarks.triangles]
    near = {name: mask[corners].any(axis=1) for name, mask in model.regions.items()}
    assert near["face"].all()
    assert near["brows"][17:27].sum() >= 8  # the mesh is coarse there
    assert near["nose"][27:36].all()
    assert near["lids"][36:48].all()
    assert near["lips"][48:68].all()


def test_regions_lie_where_a_head_has_them(model: MorphableModel) -> None:
    x, y, z = np.stack([np.abs(model.mean[:, 0]), model.mean[:, 1], model.mean[:, 2]])
    place = {name: (x[mask], y[mask], z[mask]) for name, mask in model.regions.items()}
    assert place["scalp"][1].max() == y.max()
    assert place["scalp"][2].min() == z.min()
    assert place["nose"][2].max() == z.max()
    assert place["ears"][0].max() == x.max()
    assert place["ears"][2].max() < np.median(place["face"][2])
    assert place["neck"][1].min() == y.min()
    assert place["lips"][1].max() < place["nose"][1].mean() < place["lids"][1].min()
    assert place["lids"][1].mean() < place["brows"][1].min()


@pytest.mark.parametrize("turns", [1, 2, 3, 5])
def test_signed_distance_to_a_square(turns: int) -> None:
    """Of side 2 about the origin: 1 - max(|x|, |y|) inside, Euclidean outside; wherever the outline begins."""
    square = np.roll(np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]), turns, axis=0)
    points = np.random.default_rng(turns).uniform(-2.0, 2.0, (200, 2))
    beyond = np.maximum(np.abs(points) - 1.0, 0.0)
    inside = 1.0 - np.abs(points).max(axis=1)
    expected = np.where(inside > 0.0, inside, -np.linalg.norm(beyond, axis=1))
    np.testing.assert_allclose(regions.signed_distance(points, square), expected, atol=1e-12)


# --------------------------------------------------------------------------------------------------------------- paint


@given(st.floats(0.05, 30.0), st.floats(0.05, 5.0), st.floats(1.01, 3.0))
def test_pigments_darken_skin(melanin: float, blood: float, factor: float) -> None:
    """In every channel; blood takes green and blue but hardly red, which skin reflects most of."""
    skin, browner, redder = albedo.skin_reflectance(
        np.array([melanin, melanin * factor, melanin]), np.array([blood, blood, blood * factor])
    )
    assert ((skin > 0.0) & (skin < 1.0)).all()
    assert (browner < skin).all()
    assert (redder < skin).all()
    assert skin[0] > max(skin[1], skin[2])
    assert redder[0] / skin[0] > max(redder[1] / skin[1], redder[2] / skin[2])


def test_reflectance_solves_the_equation_of_a_deep_layer() -> None:
    """Kubelka & Munk: k = (1 - R)^2 / (2 R)."""
    melanin, blood = np.array([0.4, 1.0, 8.0]), np.array([0.2, 0.5, 2.0])
    reflectance = albedo.skin_reflectance(melanin, blood)
    k = albedo.REMAINDER + np.outer(melanin, albedo.MELANIN) + np.outer(blood, albedo.BLOOD)
    np.testing.assert_allclose((1.0 - reflectance) ** 2 / (2.0 * reflectance), k, rtol=1e-9)


def test_skin_of_usual_blood_comes_close_to_measured_colours() -> None:
    melanin = np.geomspace(0.3, 20.0, 400)
    curve = lab(albedo.skin_reflectance(melanin, albedo.USUAL_BLOOD * melanin**albedo.BLOOD_POWER))
    away = np.linalg.norm(curve[:, None] - albedo.SKIN_LAB, axis=2).min(axis=0)
    assert away.max() < 4.0
    assert np.sqrt((away**2).mean()) < 2.5


def test_hair_goes_from_blond_to_black_and_red() -> None:
    blond, brown, black, red = (albedo.hair_reflectance(*p) for p in ((0.2, 0.1), (0.8, 0.1), (6.0, 0.1), (0.15, 0.8)))
    assert luminance(blond) > 2.0 * luminance(brown) > 2.0 * luminance(black)
    assert luminance(black) < 0.02
    assert red[0] / red[1] > 1.1 * blond[0] / blond[1]


def test_people_range_from_light_to_dark() -> None:
    """Every class of typology angle but the extreme light one holds some in a hundred; half are light or very light."""
    drawn = albedo.people(1000, np.random.default_rng(5))
    pigments = np.array([(person.melanin, person.blood) for person in drawn])
    angle = typology_angle(albedo.skin_reflectance(*pigments.T))
    share = np.histogram(angle, [-90.0, -30.0, 10.0, 28.0, 41.0, 90.0])[0] / len(drawn)
    assert (share > 0.02).all()
    assert 0.3 < share[-1] < 0.6


def test_people_are_the_same_for_the_same_seed() -> None:
    first, second, other = (albedo.people(20, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == second
    assert first != other


# ----------------------------------------------------------------------------------------------------------------- mean


def test_mean_is_symmetric_and_within_range(model: MorphableModel) -> None:
    assert model.albedo_mean is not None
    np.testing.assert_allclose(model.albedo_mean[model.mirror], model.albedo_mean, atol=1e-4)
    assert model.albedo_mean.min() >= albedo.LEAST
    assert model.albedo_mean.max() <= albedo.MOST


def test_mean_has_the_colours_of_a_face(model: MorphableModel, plain: np.ndarray) -> None:
    colour = {name: model.albedo_mean[mask].mean(axis=0) for name, mask in model.regions.items()}
    skin = model.albedo_mean[plain].mean(axis=0)
    assert 10.0 < typology_angle(skin) < 50.0
    assert luminance(colour["brows"]) < 0.75 * luminance(skin)
    assert redness(colour["lips"]) > redness(skin) + 5.0
    assert luminance(colour["lips"]) < luminance(skin)
    assert redness(colour["ears"]) > redness(skin)
    assert luminance(colour["scalp"]) < luminance(skin)
    assert luminance(colour["mouth"]) < 0.5 * luminance(skin)
    assert redness(colour["mouth"]) > redness(skin)
    front = model.regions["teeth"] & (model.mean[:, 2] > model.mean[model.regions["teeth"], 2].max() - 10.0)
    assert luminance(model.albedo_mean[front].mean(axis=0)) > luminance(skin)  # those behind lie in the mouth's shade


def test_eyes_have_pupil_iris_and_sclera(model: MorphableModel) -> None:
    """Rings about the line of sight: each darker than the next one out."""
    eye = np.flatnonzero(model.regions["eyes"] & (model.mean[:, 0] > 0.0))
    points, colour = model.mean[eye], model.albedo_mean[eye]
    front, back = points[points[:, 2].argmax()], points[points[:, 2].argmin()]
    centre, forward = 0.5 * (front + back), (front - back) / np.linalg.norm(front - back)
    away = (points - centre) / np.linalg.norm(points - centre, axis=1, keepdims=True)
    polar = np.degrees(np.arccos(np.clip(away @ forward, -1.0, 1.0)))
    pupil, iris, white = (
        luminance(colour[(polar > a) & (polar < b)]) for a, b in ((-1.0, 5.5), (7.0, 22.5), (24.5, 40.0))
    )
    assert pupil.max() < 0.3 * iris.mean()
    assert iris.max() < 0.5 * white.min()
    assert white.min() > 0.4


# ---------------------------------------------------------------------------------------------------------------- modes


def test_modes_are_symmetric_and_in_order_of_their_variance(model: MorphableModel) -> None:
    assert model.n_albedo == albedo.MODES
    basis = model.albedo.astype(np.float64)
    for mode in basis:
        np.testing.assert_allclose(mode[model.mirror], mode, atol=2e-4 * np.abs(mode).max())
        assert mode.ravel()[np.abs(mode).argmax()] > 0.0
    energy = (basis**2).sum(axis=(1, 2))
    assert (np.diff(energy) <= 1e-4 * energy[0]).all()


def test_first_mode_goes_from_dark_to_light_skin(model: MorphableModel, plain: np.ndarray) -> None:
    steps = np.linspace(-2.0, 2.0, 9)
    angles = typology_angle(np.stack([along_first(model, step)[plain].mean(axis=0) for step in steps]))
    assert (np.diff(angles) > 0.0).all()
    assert angles[0] < -30.0  # dark
    assert angles[-1] > 41.0  # light
    brightness = np.stack([luminance(along_first(model, step))[plain] for step in steps])
    assert (np.diff(brightness, axis=0) > 0.0).all()


def test_first_mode_stays_within_reflectance(model: MorphableModel) -> None:
    """Over 2.5 standard deviations nothing on the skin needs to be clamped."""
    for step in (-2.5, 2.5):
        skin = along_first(model, step)[model.regions["skin"]]
        assert 0.0 < skin.min() < skin.max() < 1.0


def test_first_mode_keeps_the_hue_of_skin(model: MorphableModel, plain: np.ndarray) -> None:
    """a* and b* stay within the range that spectrophotometers find: neither grey, nor orange."""
    for step in (-2.0, -1.0, 0.0, 1.0, 2.0):
        _, a, b = lab(along_first(model, step)[plain].mean(axis=0))
        assert 6.0 < a < 16.0
        assert 10.0 < b < 22.0


def test_random_people_are_plausible(model: MorphableModel, plain: np.ndarray, rng: np.random.Generator) -> None:
    """Hardly anything is clamped; brows are darker and lips redder than skin, irises darker than the sclera."""
    clamped, brows, lips = [], [], []
    for _ in range(200):
        colour = appearance(model, np.clip(rng.standard_normal(model.n_albedo), -2.5, 2.5))
        clamped.append(((colour < 0.0) | (colour > 1.0)).any(axis=1)[model.regions["face"]].mean())
        colour = np.clip(colour, albedo.LEAST, albedo.MOST)
        skin = colour[plain].mean(axis=0)
        assert skin[0] > skin[1] > skin[2]
        brows.append(luminance(colour[model.regions["brows"]].mean(axis=0)) < luminance(skin))
        lips.append(redness(colour[model.regions["lips"]].mean(axis=0)) > redness(skin))
    assert np.mean(clamped) < 0.005
    assert np.mean(brows) > 0.95
    assert np.mean(lips) > 0.98
