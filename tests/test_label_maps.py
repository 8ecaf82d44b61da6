"""Maps and .mat files of labelled faces: pixels that map back, WebDataset's names, the same bytes each time."""

import io
import json
import pickle
import re
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import scipy.io
from command_line import ASTRONAUT
from export_scenes import HEIGHT, ORTHOGRAPHIC, PERSPECTIVE, WIDTH, fitted
from hypothesis import given
from hypothesis import strategies as st
from label_stub import InlineEngine, leftovers, records
from PIL import Image
from test_export_w300lp import source
from test_label_command import run

import facefit
from facefit.apps.export.maps import image_maps
from facefit.apps.export.w300lp import parameters_300wlp, read_deviations
from facefit.apps.label.fitter import make_spec
from facefit.apps.label.maps import MapsExporter, Window, face_window
from facefit.apps.label.mats import MatExporter, mat_bytes, mat_exporter
from facefit.apps.label.run import label
from facefit.apps.label.sample_keys import MAX_LENGTH, encoded, sample_key
from facefit.apps.label.sources import Item, Sources
from facefit.fitting.images import LoadedImage
from facefit.fitting.options import FitOptions
from facefit.fitting.status import FitStatus
from facefit.models.errors import InvalidInputError
from facefit.models.formats.bfm_matlab import read_model
from facefit.models.formats.npz import write_model
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import Camera

FIELDS = {"crop.jpg", "depth.npy", "normals.png", "mask.png", "texture.png", "confidence.png", "json"}
SAMPLE = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
"""How WebDataset cuts a member's name into a sample's key and a field."""


def photo(seed: int = 0) -> LoadedImage:
    pixels = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    return LoadedImage(pixels, "a.jpg", "PNG", "RGB", 1, "none")


def fields(files: Any, key: str) -> dict[str, bytes]:
    return {name.removeprefix(f"{key}."): data for name, data in files.items() if name.startswith(f"{key}.")}


def picture(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as file:
        return np.asarray(file)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


# --- Keys ----------------------------------------------------------------------------------------------------------


@given(key=st.text(st.characters(exclude_categories=["Cs"]), max_size=40), index=st.integers(0, 30))
def test_a_key_is_one_for_webdataset_and_gives_the_images_back(key: str, index: int) -> None:
    name = sample_key(key, index)
    match = SAMPLE.match(f"{name}.crop.jpg")
    assert match is not None
    assert match.groups() == (name, "crop.jpg")
    assert name.partition(".") == (name, "", ""), "for readers that cut at the first dot of all"
    image, _, face = name.rpartition("-")
    assert (unquote(image), int(face)) == (key, index)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("holiday/p.1.jpg", "holiday/p%2E1%2Ejpg"),
        ("../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd"),
        ("/etc/passwd", "%2Fetc/passwd"),
        ("a//b/", "a%2F%2Fb%2F"),
        ("table.parquet#7", "table%2Eparquet%237"),
        ("größe.png~2", "gr%C3%B6%C3%9Fe%2Epng~2"),
        ("a\\b\n\0", "a%5Cb%0A%00"),
        ("\ud800", "%3F"),
    ],
)
def test_no_key_leaves_the_folder_it_is_unpacked_into(key: str, expected: str) -> None:
    assert encoded(key) == expected
    parts = encoded(key).split("/")
    assert all(re.fullmatch(r"[A-Za-z0-9_~%-]+", part) for part in parts)


def test_long_keys_are_cut_and_stay_apart() -> None:
    one, other = encoded("ü" * 400 + "/" + "x" * 5000), encoded("ü" * 400 + "/" + "x" * 5001)
    assert one != other
    assert [len(part) for part in one.split("/")] == [MAX_LENGTH, MAX_LENGTH]
    assert encoded("x" * MAX_LENGTH) == "x" * MAX_LENGTH


# --- The crop ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "size"), [(64, 64), (50, 128), (120, 48), (97, 64)])
def test_pixels_of_the_crop_map_back(side: int, size: int) -> None:
    """A photo that shows its own coordinates shows, in the crop, those of the formula in the module's text."""
    window, gain = Window(30, 40, side), 250 // side  # grey values per px
    y, x = np.mgrid[0:200, 0:240]
    ramp = np.clip(gain * np.stack([x - 30, y - 40, 0 * x], axis=2), 0, 255).astype(np.uint8)
    crop = window.crop(ramp, size).astype(float)
    place = (np.arange(size) + 0.5) * side / size - 0.5
    inner = slice(4, -4)  # interpolation ends at the window's border
    expected = gain * np.tile(place, (size, 1))
    np.testing.assert_allclose(crop[inner, inner, 0], expected[inner, inner], atol=0.8)
    np.testing.assert_allclose(crop[inner, inner, 1], expected.T[inner, inner], atol=0.8)
    back = window.points(np.stack([30 + place, 40 + place], axis=1), size)
    np.testing.assert_allclose(back, np.stack([np.arange(size)] * 2, axis=1), atol=1e-9)


@pytest.mark.parametrize("corner", [(-20, -10), (220, 190), (-300, 0), (500, 500), (-10, 30)])
def test_beyond_the_photo_the_crop_is_black(corner: tuple[int, int]) -> None:
    white = np.full((200, 240, 3), 255, np.uint8)
    window = Window(*corner, 60)
    crop, inside = window.crop(white, 60), window.inside(200, 240, 60)
    rows, columns = np.mgrid[0:60, 0:60] + np.array([corner[1], corner[0]])[:, None, None]
    np.testing.assert_array_equal(inside, (rows >= 0) & (rows < 200) & (columns >= 0) & (columns < 240))
    np.testing.assert_array_equal(crop, np.repeat(np.where(inside, 255, 0)[..., None], 3, axis=2))


def test_the_window_holds_the_face_and_hardly_grows_with_nonsense(model: MorphableModel) -> None:
    result = fitted(model)
    assert result.landmarks_fitted is not None and result.vertices_image is not None
    window = face_window(result.landmarks_fitted, HEIGHT, WIDTH)
    face = window.points(result.vertices_image[model.regions["face"]][:, :2], 100)
    assert face.min() > 0.0 and face.max() < 99.0
    assert np.ptp(face, axis=0).max() > 55.0, "most of it"
    for points in (np.zeros((68, 2)), np.full((68, 2), 1e12), np.linspace([-1e9, 5.0], [1e9, 6.0], 68)):
        window = face_window(points, HEIGHT, WIDTH)
        assert 1 <= window.side <= 2 * WIDTH
        assert window.crop(photo().pixels, 32).shape == (32, 32, 3)


# --- A sample ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("camera", [ORTHOGRAPHIC, PERSPECTIVE], ids=["orthographic", "perspective"])
def test_maps_are_those_of_the_photos_pixels(model: MorphableModel, camera: Camera) -> None:
    """In a crop that is neither reduced nor enlarged they are the part of the whole photo's maps, bit by bit."""
    result, image = fitted(model, camera), photo()
    assert result.landmarks_fitted is not None
    window = face_window(result.landmarks_fitted, HEIGHT, WIDTH)
    sample = fields(MapsExporter(window.side)(Item("k", ""), image, [result], model), "k-0")
    assert set(sample) == FIELDS
    about = json.loads(sample["json"])
    assert about["key"] == "k" and about["face_index"] == 0
    assert about["window"] == {"left": window.left, "top": window.top, "side": window.side}
    assert about["photo"] == {"width": WIDTH, "height": HEIGHT}
    part = (slice(window.top, window.top + window.side), slice(window.left, window.left + window.side))
    whole = image_maps(result, model, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(picture(sample["normals.png"]), whole.normals[part])
    depth = np.load(io.BytesIO(sample["depth.npy"]))
    assert depth.dtype == (np.float16 if camera is ORTHOGRAPHIC else np.float32), "600 mm away, 16 bits are coarse"
    np.testing.assert_allclose(depth, whole.depth[part], atol=1.0 / 16.0 + 1e-6, rtol=0.0)
    np.testing.assert_array_equal(picture(sample["mask.png"]) > 0, np.isfinite(whole.depth[part]))
    off = picture(sample["crop.jpg"]).astype(int) - image.pixels[part]
    assert np.abs(off).mean() < 8.0, "JPEG of noise"
    assert picture(sample["texture.png"]).shape == (about["texture_size"], about["texture_size"], 3)
    assert picture(sample["confidence.png"]).shape == (about["texture_size"], about["texture_size"])


def test_the_mask_tells_skin_of_the_face_from_the_rest(model: MorphableModel) -> None:
    result = fitted(model, seed=3)
    assert result.landmarks_fitted is not None and result.vertices is not None
    size = 256
    sample = fields(MapsExporter(size)(Item("k", ""), photo(), [result], model), "k-0")
    mask = picture(sample["mask.png"])
    assert set(np.unique(mask)) == {0, 128, 255}
    window = face_window(result.landmarks_fitted, HEIGHT, WIDTH)

    def seen(region: str) -> np.ndarray:
        vertices = result.vertices[model.regions[region]]  # type: ignore[index]
        x, y = np.rint(window.points(ORTHOGRAPHIC.project(vertices)[:, :2], size)).astype(int).T
        return mask[np.clip(y, 0, size - 1), np.clip(x, 0, size - 1)]

    assert np.median(seen("nose")) == 255 and np.median(seen("neck")) == 128
    assert np.mean(seen("nose") == 255) > 0.9


def test_of_a_face_beyond_the_edge_the_mask_holds_what_the_photo_shows(model: MorphableModel) -> None:
    camera = replace(ORTHOGRAPHIC, translation=np.array([10.0, HEIGHT - 5.0]))
    sample = fields(MapsExporter(128)(Item("k", ""), photo(), [fitted(model, camera)], model), "k-0")
    mask, crop = picture(sample["mask.png"]), picture(sample["crop.jpg"]).max(axis=2)
    assert np.isfinite(np.load(io.BytesIO(sample["depth.npy"]))).sum() > 2 * (mask > 0).sum() > 1000
    assert crop[mask > 0].mean() > 60 and (crop < 20).mean() > 0.5


def test_every_face_whose_fit_can_be_used_has_a_sample(model: MorphableModel) -> None:
    faces = [replace(fitted(model, seed=k), face_index=k) for k in range(3)]
    faces[1] = replace(faces[1], status=FitStatus.STALLED)
    files = MapsExporter(64)(Item("a/b.jpg", ""), photo(), faces, model)
    keys = {name.partition(".")[0] for name in files}
    assert keys == {"a/b%2Ejpg-0", "a/b%2Ejpg-2"}
    assert len(files) == 2 * len(FIELDS)
    nothing = [replace(faces[1], camera=None, landmarks_fitted=None, vertices=None)]
    assert MapsExporter(64)(Item("a", ""), photo(), nothing, model) == {}


# --- A dataset with maps -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    (folder / "in" / "a.b").mkdir(parents=True)
    for name in ("a.b/1.x.jpg", "z.jpg"):
        (folder / "in" / name).write_bytes(ASTRONAUT.read_bytes())
    (folder / "in" / "broken.jpg").write_bytes(b"broken")
    done = run(folder / "in", "-o", folder / "out", "--maps", "--map-size", 96, "--workers", 1, "--stages", "landmark")
    assert done.status == 3, done.err
    return folder


def test_the_tar_reads_as_webdataset(dataset: Path) -> None:
    samples: dict[str, set[str]] = {}
    last = ""
    with tarfile.open(dataset / "out" / "maps-00000.tar") as archive:
        for member in archive:
            match = SAMPLE.match(member.name)
            assert match is not None
            key, field = match.groups()
            assert key == last or key not in samples, "a sample's files stand together"
            samples.setdefault(key, set()).add(field)
            last = key
            assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
    assert samples == {"z%2Ejpg-0": FIELDS, "a%2Eb/1%2Ex%2Ejpg-0": FIELDS}
    assert leftovers(dataset / "out") == []


def test_the_same_images_are_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    """Through another engine, and another fitter."""
    spec = make_spec(options=FitOptions(stages=("landmark",)), exporters=[MapsExporter(96)])
    label(Sources([str(dataset / "in")]), tmp_path / "out", spec, InlineEngine())
    again = records(tmp_path / "out")
    assert "maps-00000.tar" in again
    assert again == records(dataset / "out")


def test_another_size_is_another_dataset(dataset: Path) -> None:
    done = run(dataset / "in", "-o", dataset / "out", "--maps", "--stages", "landmark")
    assert done.status == 2
    assert 'exporters: ["maps of 96 px"] there, ["maps of 256 px"] now' in done.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--map-size", 64], "--map-size: expected --maps with it, got none"),
        (["--maps", "--map-size", 5000], "map_size: expected 32 to 1024 px, got 5000"),
        (["--maps", "--map-size", 0], "map_size: expected 32 to 1024 px, got 0"),
        (["--mat"], "expected a Basel Face Model 2009 in micrometres with 199 identity and 29 expression"),
        (["--mat", "--model", "nowhere.mat"], "model 'nowhere.mat': expected"),
    ],
)
def test_wrong_calls_are_refused_before_anything_runs(tmp_path: Path, options: list[object], sentence: str) -> None:
    (tmp_path / "a.jpg").write_bytes(ASTRONAUT.read_bytes())
    done = run(tmp_path, "-o", tmp_path / "out", *options)
    assert (done.status, done.out) == (2, "")
    assert sentence in done.err
    assert not (tmp_path / "out").exists()


# --- .mat ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bfm_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bfm") / "BFM.mat"
    scipy.io.savemat(path, {"model": source()})
    return path


def test_a_mat_file_holds_the_parameters_and_no_time(bfm_file: Path) -> None:
    bfm = read_model(bfm_file)
    result, image = fitted(bfm, albedo=np.ones(199)), photo()
    exporter: MatExporter = pickle.loads(pickle.dumps(mat_exporter(str(bfm_file))))
    exporter.check(bfm)
    unusable = replace(result, status=FitStatus.STALLED, face_index=1)
    files = exporter(Item("a.jpg", ""), image, [result, unusable], bfm)
    assert set(files) == {"a%2Ejpg-0.mat"}
    data = files["a%2Ejpg-0.mat"]
    assert data.startswith(b"MATLAB 5.0 MAT-file") and b"Created" not in data[:128]
    content = scipy.io.loadmat(io.BytesIO(data))
    expected = parameters_300wlp(result, bfm, (HEIGHT, WIDTH), read_deviations(bfm_file))
    assert {name for name in content if not name.startswith("__")} == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(content[name], value)


def test_the_header_alone_differs_from_scipys() -> None:
    plain = io.BytesIO()
    scipy.io.savemat(plain, {"a": np.arange(3.0)})
    ours = mat_bytes({"a": np.arange(3.0)})
    assert len(ours) == len(plain.getvalue()) and ours[116:] == plain.getvalue()[116:]


def test_a_model_stored_in_another_format_has_orthonormal_components(bfm_file: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "bfm.npz", read_model(bfm_file))
    exporter = mat_exporter(str(tmp_path / "bfm.npz"))
    assert exporter.deviations is None and exporter.name != mat_exporter(str(bfm_file)).name
    with pytest.raises(InvalidInputError, match="expected a Basel Face Model 2009"):
        exporter.check(facefit.load_model("default"))


def basel_layout_of(model: MorphableModel, path: Path) -> None:
    """Write a model that fits faces as a file in Basel's layout: some modes are the model's, the others vanish."""
    n = 3 * model.n_vertices
    parts: dict[str, Any] = {"tri": model.triangles.T + 1.0}
    landmarks = model.landmark_positions(model.mean)
    distance = np.linalg.norm(model.mean[None] - landmarks[:, None], axis=2)
    parts["kpt_ind"] = distance.argmin(axis=1)[None] + 1
    rng = np.random.default_rng(0)
    for kind, count, basis in (("shape", 199, model.identity[:40]), ("exp", 29, model.expression[:29])):
        modes = 1e-3 * rng.standard_normal((n, count))
        modes[:, : len(basis)] = 1e3 * basis.reshape(len(basis), -1).T
        length = np.linalg.norm(modes, axis=0)
        parts |= {f"{kind}PC": modes / length, f"{kind}EV": length[:, None]}
    parts |= {"shapeMU": 1e3 * model.mean.reshape(-1, 1), "expMU": np.zeros((n, 1))}
    parts |= {
        "texMU": np.full((n, 1), 150.0),
        "texPC": 1e-4 * rng.standard_normal((n, 199)),
        "texEV": np.ones((199, 1)),
    }
    scipy.io.savemat(path, {"model": parts})


def test_a_photo_becomes_a_mat_file(tmp_path: Path, model: MorphableModel) -> None:
    basel_layout_of(model, tmp_path / "like-basel.mat")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(ASTRONAUT.read_bytes())
    done = run(tmp_path / "in", "-o", tmp_path / "out", "--model", tmp_path / "like-basel.mat", "--mat", "--stages",
               "landmark", "--workers", 1)  # fmt: skip
    assert done.status == 0, done.err
    assert leftovers(tmp_path / "out") == []
    with tarfile.open(tmp_path / "out" / "mat-00000.tar") as archive:
        assert archive.getnames() == ["a%2Ejpg-0.mat"]
        member = archive.extractfile("a%2Ejpg-0.mat")
        assert member is not None
        content = scipy.io.loadmat(io.BytesIO(member.read()))
    points = content["pt2d"].T - 1.0
    eyes = points[36:48].mean(axis=0)
    assert np.abs(eyes - [225.0, 115.0]).max() < 15.0, "the astronaut's"
