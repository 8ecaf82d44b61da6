"""`facefit model`: what it tells about models, what it draws, and how it refuses files that are none."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_model import EXTENT, small_model
from typer.testing import CliRunner

from facefit.apps import main
from facefit.apps.model import getting, landmarks
from facefit.apps.model.checks import largest_cosine, largest_difference, mode_sizes
from facefit.apps.model.command import app
from facefit.apps.model.description import commercial_use
from facefit.apps.model.sheets import (
    HEIGHT,
    MOST,
    TURNED,
    WIDTH,
    Figure,
    Sheet,
    albedo_modes,
    columns,
    draw_sheet,
    expression_units,
    identity_modes,
    random_people,
)
from facefit.fitting.landmarks import GROUPS
from facefit.fitting.pipeline import fit_landmarks
from facefit.fitting.status import FitStatus
from facefit.models.catalogue import CATALOGUE, find_entry
from facefit.models.errors import InvalidInputError, ModelError, OutputError
from facefit.models.formats.npz import read_model, write_model
from facefit.models.morphable_model import LandmarkEmbedding, MorphableModel
from facefit.models.sidecar import with_sidecar
from facefit.models.store import embedded_file, load_model
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles
from facefit.render.drawing import BACKGROUND, Panel, montage
from facefit.render.renderer import make_renderer


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def said(*arguments: Any) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of models, empty."""
    place = tmp_path_factory.mktemp("models")
    monkeypatch.setenv("FACEFIT_MODELS", str(place))
    return place


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.npz"
    write_model(path, small_model())
    return path


# ----------------------------------------------------------------------------------------------------------------- list


def test_list_shows_the_default_model_and_the_detectors_licence() -> None:
    model = load_model("default")
    lines = said("list").splitlines()
    assert lines[0].split() == [
        *("name", "licence", "commercial", "use", "vertices", "identity", "expression", "albedo", "place"),
    ]
    row = lines[1]
    assert row.startswith("default")
    counts = [model.n_vertices, model.n_identity, model.n_expression, model.n_albedo]
    assert row.split()[-6:-1] == ["yes", *map(str, counts)]
    assert row.index("CC0") == lines[0].index("licence")
    assert Path(row.split()[-1]).is_file()
    assert "iBUG 300-W" in lines[-1]
    assert "research use" in lines[-1]


def test_list_as_json() -> None:
    told = json.loads(said("list", "--json"))
    assert [row["name"] for row in told["models"]] == ["default", *(entry.name for entry in CATALOGUE)]
    commercial = {row["name"]: row["commercial_use"] for row in told["models"]}
    assert {name for name, allowed in commercial.items() if allowed} == {"default", "ict", "gnm"}
    assert set(commercial.values()) == {True, False}
    assert "300-W" in told["detector"]
    assert [row["name"] for row in told["models"] if row["place"] is not None] == ["default"]


def test_list_tells_how_to_get_models_that_are_not_here(folder: Path) -> None:
    lines = said("list").splitlines()
    split = lines.index("How to get those that are not here:")
    rows, absent = lines[1 : split - 1], lines[split + 1 : -2]
    assert [row.split()[0] for row in rows] == ["default", *(entry.name for entry in CATALOGUE)]
    assert [row.split()[0] for row in absent] == [entry.name for entry in CATALOGUE]
    assert all(row.endswith(" -") for row in rows[1:])
    write_model(folder / "surrey.npz", small_model())
    write_model(folder / "own.npz", small_model())
    told = said("list")
    assert "surrey   take" not in told
    places = {line.split()[0]: line.split()[-1] for line in told.splitlines() if line.endswith(".npz")}
    assert {name: places[name] for name in ("surrey", "own")} == {
        "surrey": str(folder / "surrey.npz"),
        "own": str(folder / "own.npz"),
    }
    assert f"place {folder / 'own.npz'}" in " ".join(said("info", "own").split())


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("CC0-1.0 (derived from something)", True),
        ("MIT", True),
        ("Apache-2.0", True),
        ("CC-BY-4.0", True),
        ("CC-BY-NC-4.0", False),
        ("CC BY-NC-SA 4.0", False),
        ("non-commercial scientific research", False),
        ("MIT, no commercial use", False),
        ("free, but not for commercial use", False),
        ("academic purposes only", False),
        ("non commercial", False),
        ("educational use only", False),
        ("for research only", False),
        ("ask the authors", None),
        ("mitigated", None),
        ("", None),
    ],
)
def test_commercial_use_is_claimed_only_where_the_licence_says_so(licence: str, allowed: bool | None) -> None:
    assert commercial_use(licence) is allowed


# ----------------------------------------------------------------------------------------------------------------- info


def test_info_tells_everything_about_a_file(file: Path) -> None:
    model = small_model()
    text = said("info", file)
    for words in (
        f"name {model.name}",
        f"licence {model.licence}",
        "commercial use yes",
        f"citation {model.citation}",
        f"hash {model.hash}",
        f"place {file}",
        "vertices 169",
        "triangles 288",
        "identity 3",
        "expression 2",
        "albedo 2",
        f"face size mm {model.face_size:.1f}",
        f"regions face ({model.regions['face'].sum()}), upper.half ({model.regions['upper.half'].sum()})",
        "missing -",
        "blink 0.5 0 to 1",
        "smile 1 -inf to inf",
    ):
        assert words in " ".join(text.split())


def test_info_as_json_is_strict_json(file: Path) -> None:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    model = small_model()
    told = json.loads(said("info", file, "--json"), parse_constant=refuse)
    assert told["hash"] == model.hash
    assert told["face_size_mm"] == pytest.approx(model.face_size)
    assert told["units"] == [
        {"name": "blink", "sigma": 0.5, "lower": 0.0, "upper": 1.0},
        {"name": "smile", "sigma": 1.0, "lower": None, "upper": None},
    ]
    assert all(told["parts"].values())
    assert told["regions"]["face"] == int(model.regions["face"].sum())


def test_info_defaults_to_the_default_model() -> None:
    assert json.loads(said("info", "--json")) == json.loads(said("info", "default", "--json"))
    assert "eyeBlinkLeft" in said("info")


def test_text_from_a_file_stays_on_its_line(tmp_path: Path) -> None:
    write_model(tmp_path / "sly.npz", small_model(name="a\x1b[2Jb\nlicence CC0", citation="x\r\ty"))
    text = said("info", tmp_path / "sly.npz")
    assert "\x1b" not in text
    assert text.splitlines()[0].split(maxsplit=1) == ["name", "a [2Jb licence CC0"]


# ---------------------------------------------------------------------------------------------------------------- check


def present(lines: list[str]) -> dict[str, str]:
    """Whether each optional part is present or missing, of what `check` says."""
    return {line.split()[0]: line.split()[1] for line in lines if line.split()[1] in ("present", "missing:")}


def test_check_tells_what_a_valid_file_has(file: Path) -> None:
    lines = said("check", file).splitlines()
    assert lines[0] == f"{file}: valid model 'small' of 169 vertices"
    assert len(present(lines)) == 9
    assert set(present(lines).values()) == {"present"}


def test_check_measures_a_model(file: Path) -> None:
    told = " ".join(said("check", file).split())
    assert f"hash {small_model().hash}" in told
    assert "numbers all finite" in told
    assert "expression sigma 0.5 to 1" in told
    assert " landmarks 68, sigma 1 to 4 % of the face's size" in told
    assert " contour landmarks 68, sigma 2 to 4 % of the face's size" in told
    assert said("check", "default").startswith("default: valid model 'default'")


def test_check_measures_sizes_and_cosines() -> None:
    """Two modes at 60 degrees, of sizes 3 and 1, and one that is zero."""
    modes = np.zeros((3, 169, 3))
    modes[0, :, 0] = 3.0
    modes[1, :, 0], modes[1, :, 1] = 0.5, np.sqrt(0.75)
    np.testing.assert_allclose(mode_sizes(modes), [3.0, 1.0, 0.0])
    assert largest_cosine(modes) == pytest.approx(0.5)
    np.testing.assert_allclose(mode_sizes(1e30 * modes.astype(np.float32)), [3e30, 1e30, 0.0], rtol=1e-6)
    assert largest_cosine(1e30 * modes.astype(np.float32)) == pytest.approx(0.5, rel=1e-6)
    assert largest_cosine(modes[:1]) == largest_cosine(modes[:0]) == 0.0
    assert largest_cosine(np.linalg.qr(small_model().identity.reshape(3, -1).T)[0].T.reshape(3, 169, 3)) < 1e-6


@pytest.mark.parametrize(("first", "told"), [(2.0, "falling; largest"), (0.5, "not falling; largest")])
def test_check_tells_whether_modes_fall_in_size(tmp_path: Path, first: float, told: str) -> None:
    modes = np.random.default_rng(0).standard_normal((2, 169, 3)) * np.array([first, 1.0])[:, None, None]
    write_model(tmp_path / "a.npz", small_model(identity=modes))
    (line,) = (line for line in said("check", tmp_path / "a.npz").splitlines() if line.startswith("  identity modes"))
    assert f", {told} cosine 0.0" in line


def test_check_tells_what_a_valid_file_lacks(tmp_path: Path) -> None:
    without = dict.fromkeys(("landmarks", "landmarks_contour", "contour", "albedo", "albedo_mean", "mirror", "uv"))
    units = dict.fromkeys(("expression", "expression_names", "expression_sigma", "expression_lower"), ())
    bare = small_model(**without, **units, expression_upper=(), regions={}, identity=np.zeros((0, 169, 3)))
    write_model(tmp_path / "bare.npz", bare)
    lines = said("check", tmp_path / "bare.npz").splitlines()
    assert present(lines) == dict.fromkeys((*without, "expression", "regions"), "missing:")
    assert len(lines) == 3 + 9
    told = json.loads(said("info", tmp_path / "bare.npz", "--json"))
    assert told["face_size_mm"] is None
    assert "missing landmarks, " in " ".join(said("info", tmp_path / "bare.npz").split())


# -------------------------------------------------------------------------------------------------------------- convert


@pytest.mark.parametrize("quantised", [False, True])
def test_convert_keeps_the_model(file: Path, tmp_path: Path, quantised: bool) -> None:
    out = tmp_path / "out.npz"
    told = said("convert", file, out, *(["--quantised"] if quantised else []))
    model, again = small_model(), read_model(out)
    assert told.startswith(f"wrote {out} (0.")
    assert (again.hash == model.hash) is not quantised
    a, e = np.array([1.0, -2.0, 3.0]), np.array([0.5, -1.0])
    away = np.abs(again.vertices(a, e) - model.vertices(a, e)).max()
    assert away < 1e-4 if not quantised else 0.0 < away < 1e-3
    assert (again.licence, again.citation) == (model.licence, model.citation)
    assert f"differ by {largest_difference(model, again):.2g} mm" in told
    assert said("convert", out, out).startswith(f"wrote {out}")  # onto itself


def test_convert_writes_npz_files_only(file: Path, tmp_path: Path) -> None:
    for name, error in (("out.h5", InvalidInputError), ("missing/out.npz", OutputError)):
        assert isinstance(run("convert", file, tmp_path / name).exception, error)
    (tmp_path / "notes").write_text("no model")
    assert isinstance(run("convert", tmp_path / "notes", tmp_path / "out.npz").exception, ModelError)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


# ------------------------------------------------------------------------------------------------------------------ get


CONTENT = b"a model" * 1000


@pytest.fixture
def free_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """GNM as if it were CONTENT, downloaded without a network; where its file will lie."""
    entry = find_entry("gnm")
    assert entry is not None and entry.download is not None
    small = replace(entry.download, size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())

    def fetch(download: Any, target: Path, progress: Any) -> None:
        assert download is small
        progress(len(CONTENT))
        target.write_bytes(CONTENT)

    monkeypatch.setattr(getting, "find_entry", lambda name: replace(entry, download=small) if name == "gnm" else None)
    monkeypatch.setattr(getting, "fetch", fetch)
    return folder / "gnm.npz"


def test_get_shows_the_terms_and_downloads(free_model: Path) -> None:
    told = said("get", "gnm", "--yes")
    for words in ("licence Apache-2.0", "commercial use yes", "size 0.0 MB", "from https://", f"to {free_model}"):
        assert words in " ".join(told.split())
    assert told.endswith(f"wrote {free_model}\n")
    assert free_model.read_bytes() == CONTENT
    assert said("get", "gnm") == f"{free_model} is already there\n"
    free_model.write_bytes(b"another")
    assert "got another file of this name" in str(run("get", "gnm", "--yes").exception)
    assert free_model.read_bytes() == b"another"


def test_get_needs_consent(
    free_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--yes says that you do" in stopped(["get", "gnm"], monkeypatch, capsys)
    assert not free_model.exists()


@pytest.mark.parametrize("agreed", [True, False])
def test_get_asks(free_model: Path, monkeypatch: pytest.MonkeyPatch, agreed: bool) -> None:
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return agreed

    monkeypatch.setattr(getting.typer, "confirm", confirm)
    monkeypatch.setattr(getting.sys, "stdin", Terminal())
    if agreed:
        assert getting.get_model("gnm", agreed=False) == f"wrote {free_model}"
    else:
        with pytest.raises(ModelError, match="was not downloaded, as you wish"):
            getting.get_model("gnm", agreed=False)
    assert len(asked) == 1
    assert free_model.exists() is agreed


class Terminal:
    """What standard input is where somebody can be asked."""

    def isatty(self) -> bool:
        return True


def test_get_of_what_cannot_be_downloaded_tells_what_to_do(folder: Path) -> None:
    assert said("get", "default") == "model 'default' ships with facefit\n"
    for entry in CATALOGUE:
        if entry.download is None:
            told = run("get", entry.name, "--yes").exception
            assert isinstance(told, ModelError)
            assert f"model {entry.name!r} cannot be downloaded by facefit: " in str(told)
            assert "https://" in str(told)
    wrong = run("get", "defualt", "--yes").exception
    assert isinstance(wrong, InvalidInputError)
    assert "expected one of the models default, ict, gnm" in str(wrong)
    assert list(folder.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------ landmarks


def distances(told: str) -> list[dict[str, float]]:
    """Each table's mean distances by group, mm, of what `landmarks` says."""
    tables: list[dict[str, float]] = []
    for line in told.splitlines():
        if line.startswith("found against"):
            tables.append({})
        elif line.startswith("  "):
            group, mean, largest = line.split()
            tables[-1][group] = float(mean)
            assert float(mean) <= float(largest.strip("()"))
    return tables


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Finding gives a model's contour landmarks, without any picture; the numbers of people that were asked for."""
    numbers: list[int] = []

    def find(model: MorphableModel, detector: Any, people: int) -> LandmarkEmbedding:
        numbers.append(people)
        return model.required_contour_landmarks

    monkeypatch.setattr(landmarks, "find_landmarks", find)
    return numbers


def test_landmarks_compares_what_is_found_with_what_the_model_has(
    tmp_path: Path, folder: Path, asked: list[int]
) -> None:
    model, place = load_model(), Path(str(embedded_file("default"))).parent
    beside = set(place.iterdir())
    told = said("landmarks", "--people", 9, "--picture", tmp_path / "found.png")
    assert asked == [9]
    semantic, contour = distances(told)
    assert contour == dict.fromkeys(GROUPS, 0.0)
    away = np.linalg.norm(model.contour_landmark_basis.mean - model.semantic_basis.mean, axis=1)
    assert semantic == {group: pytest.approx(away[own].mean(), abs=0.051) for group, own in GROUPS.items()}

    assert told.endswith(f"\nwrote {tmp_path / 'found.png'}\n")
    with Image.open(tmp_path / "found.png") as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    for colour in (landmarks.FOUND, landmarks.PRESENT):
        assert (np.abs(picture - colour).max(axis=2) < 8).sum() > 500
    assert [path.name for path in tmp_path.iterdir()] == ["found.png"]
    assert list(folder.iterdir()) == []
    assert set(place.iterdir()) == beside


def test_landmarks_of_a_model_that_has_them_are_written_where_one_says(
    file: Path, tmp_path: Path, asked: list[int]
) -> None:
    """Those of the contour convention, which is a detector's; the semantic ones stay."""
    out, own = tmp_path / "a.json", small_model()
    assert said("landmarks", file, "-o", out).endswith(f"\nwrote {out}\n")
    assert asked == [40]
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    model = with_sidecar(replace(own, landmarks_contour=None), out)
    np.testing.assert_array_equal(model.landmarks.sigma, own.landmarks.sigma)
    np.testing.assert_array_equal(model.contour_landmark_basis.mean, own.contour_landmark_basis.mean)


def test_landmarks_of_a_model_without_any_are_written_beside_it(tmp_path: Path) -> None:
    """From then on they are loaded with it, and it can be fitted."""
    default, file = load_model().truncated(identity=10, albedo=4), tmp_path / "bare.npz"
    write_model(file, replace(default, landmarks=None, landmarks_contour=None, contour=None, mirror=None))
    assert present(said("check", file).splitlines())["landmarks"] == "missing:"

    told = said("landmarks", file, "--people", 8)
    assert told == f"the model has no landmarks of its own\nwrote {file}.landmarks.json\n"
    assert {path.name for path in tmp_path.iterdir()} == {"bare.npz", "bare.npz.landmarks.json"}
    parts = json.loads(said("info", file, "--json"))["parts"]
    assert parts["landmarks"]
    assert parts["landmarks_contour"]
    assert not parts["mirror"]

    found = load_model(file)
    assert np.linalg.norm(found.mean - default.mean, axis=1).max() < 2.0  # by the outer eye corners
    truth = default.vertices(0.5 * np.random.default_rng(0).standard_normal(10))
    camera = ScaledOrthographic(rotation_from_angles(15.0, 5.0, 0.0), np.array([300.0, 200.0]), 2.0)
    corners, embedding = default.triangles, default.required_contour_landmarks
    points = np.einsum("lc,lcx->lx", embedding.weights, truth[corners[embedding.triangles]])
    result = fit_landmarks(camera.project(points)[:, :2], model=found)
    assert result.status is FitStatus.CONVERGED
    assert abs(result.camera.scale / camera.scale - 1.0) < 0.05


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--picture", "a.jpg"], "a.jpg: expected the name of a .png file to write, got another"),
        (["-o", "a.npz"], "a.npz: expected the name of a .json file to write, got another"),
    ],
)
def test_landmarks_writes_json_and_png_only(
    options: list[str],
    told: str,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in stopped(["landmarks", str(file), *options], monkeypatch, capsys)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("command", ["check", "info", "landmarks", "render"])
def test_files_that_are_no_models_are_named_and_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no model")
    assert isinstance(run(command, path).exception, ModelError)
    monkeypatch.setattr(sys, "argv", ["facefit", "model", command, str(path)])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(f"facefit: {path}: expected a model file (")
    assert len(told.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["info", "a", "b"],
        ["render", "--random", "-1"],
        ["render", "--random", "121"],
        ["render", "--modes", "--first", "0"],
        ["render", "default", "--modes", "10"],
        ["render", "--seed", "x"],
        ["landmarks", "--people", "7"],
        ["landmarks", "a", "b"],
        ["get"],
        ["get", "gnm", "ict"],
        ["convert", "default"],
    ],
)
def test_wrong_calls_have_status_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_an_unknown_name_is_refused() -> None:
    for command in ("info", "render"):
        assert "expected one of the names default" in str(run(command, "defualt").exception)


# --------------------------------------------------------------------------------------------------------------- render


def drawn(sheet: Sheet, model: MorphableModel) -> list[list[np.ndarray]]:
    """Draw a sheet in software and return its figures' views."""
    return cells(draw_sheet(sheet, model, make_renderer("numba")), sheet)


def cells(picture: np.ndarray, sheet: Sheet) -> list[list[np.ndarray]]:
    """The views of each figure of a sheet, as int arrays; what is beyond the last figure must be empty."""
    count, views = len(sheet.figures), len(sheet.yaws)
    across = min(columns(sheet), count)
    down, width = -(-count // across), views * WIDTH
    gap = (picture.shape[1] - across * width) // (across + 1)
    step = (picture.shape[0] - gap) // down
    assert picture.shape == (gap + down * step, gap + across * (width + gap), 3)
    tops, lefts = np.arange(1, down + 1) * step - HEIGHT, gap + np.arange(across) * (width + gap)
    figures = [picture[y : y + HEIGHT, x : x + width].astype(int) for y in tops for x in lefts]
    for empty in figures[count:]:
        assert (empty == BACKGROUND).all()
    return [np.split(figure, views, axis=1) for figure in figures[:count]]


def covered(view: np.ndarray) -> np.ndarray:
    return np.abs(view - BACKGROUND).max(axis=2) > 8


def changed(view: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(view - other).max(axis=2) > 8


def stopped(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which the program refuses, at status 2."""
    monkeypatch.setattr(sys, "argv", ["facefit", "model", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main.main()
    assert exit_.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("facefit: ")
    assert len(line.splitlines()) == 1
    return line


def test_render_draws_the_mean_and_random_people(tmp_path: Path) -> None:
    told = said("render", "-o", tmp_path / "people.png", "--random", 4, "--seed", 3)
    assert told == f"wrote {tmp_path / 'people.png'}\n"
    with Image.open(tmp_path / "people.png") as image:
        assert image.format == "PNG"
        picture = np.asarray(image.convert("RGB"))
    sheet = random_people(load_model(), 4, 3)
    np.testing.assert_array_equal(picture, draw_sheet(sheet, load_model(), make_renderer()))
    people = cells(picture, sheet)
    for k, person in enumerate(people):
        for view in map(covered, person):
            assert 0.2 < view.mean() < 0.7
            assert not np.concatenate([view[0], view[-1], view[:, 0], view[:, -1]]).any()  # nobody is cut off
        assert all(changed(person[0], other[0]).any() for other in people[:k])


def test_the_same_seed_draws_the_same_people(file: Path, tmp_path: Path) -> None:
    drawings = []
    for k, arguments in enumerate((["--seed", 5], ["--seed", 5], ["--seed", 6], [], ["--seed", 0, "--random", 7])):
        said("render", file, "-o", tmp_path / f"{k}.png", *arguments)
        drawings.append((tmp_path / f"{k}.png").read_bytes())
    assert drawings[0] == drawings[1]
    assert drawings[0] != drawings[2]
    assert drawings[3] == drawings[4]  # the defaults


def test_the_mean_from_the_front_has_a_symmetric_outline() -> None:
    """So it is centred, and the first view is frontal; the second is not."""
    front, turned = map(covered, drawn(random_people(load_model(), 0), load_model())[0])
    assert (front != front[:, ::-1]).mean() < 0.005
    assert (turned != turned[:, ::-1]).mean() > 0.05


def test_the_mean_does_not_depend_on_seed_or_number() -> None:
    model = small_model()
    sheets = [drawn(random_people(model, count, seed), model) for count, seed in ((0, 0), (1, 0), (1, 1), (3, 1))]
    assert [len(people) for people in sheets] == [1, 2, 2, 4]
    for people in sheets[1:]:
        np.testing.assert_array_equal(people[0], sheets[0][0])
    assert changed(sheets[1][1][0], sheets[2][1][0]).any()
    np.testing.assert_array_equal(sheets[3][1], sheets[2][1])


def test_random_people_differ_in_shape_and_in_skin() -> None:
    model = small_model()
    people = random_people(model, 50, 1).figures[1:]
    for parameter, size in (("identity", model.n_identity), ("albedo", model.n_albedo)):
        coefficients = np.array([getattr(figure, parameter) for figure in people])
        assert coefficients.shape == (50, size)
        assert 0.7 < coefficients.std() < 1.3
        assert np.abs(coefficients).max() <= 2.5
    assert all(figure.expression is None for figure in people)


def test_models_of_any_scale_and_place_are_drawn_alike() -> None:
    """A model in metres, or far from its origin, fills its picture as well."""
    model = small_model(identity=np.zeros((0, 169, 3)), albedo=None, albedo_mean=None)
    moved = small_model(
        identity=np.zeros((0, 169, 3)), albedo=None, albedo_mean=None, mean=1024.0 * (model.mean + EXTENT)
    )
    first, second = (np.array(drawn(random_people(each, 0), each)) for each in (model, moved))
    assert np.abs(first - second).mean() < 0.1


def test_a_mode_is_drawn_at_minus_three_zero_and_three_deviations() -> None:
    """A mode that is nothing but size, 5 % per deviation: the flat, square model covers 0.85^2, 1 and 1.15^2."""
    identity = np.stack([0.05 * small_model().mean, np.zeros((169, 3)), np.zeros((169, 3))])
    model = small_model(identity=identity)
    sheet = identity_modes(model)
    assert [figure.caption for figure in sheet.figures[:3]] == ["identity[0], -3 SD", "mean", "identity[0], +3 SD"]
    figures = drawn(sheet, model)
    assert len(figures) == 9
    small, mean, large = (covered(views[0]).sum() for views in figures[:3])
    assert small / mean == pytest.approx(0.85**2, rel=0.02)
    assert large / mean == pytest.approx(1.15**2, rel=0.02)
    for views in figures[3:]:
        np.testing.assert_array_equal(views, figures[1])


def test_ten_modes_of_the_default_model_are_drawn_whole_and_differ_either_way() -> None:
    model = load_model()
    figures = drawn(identity_modes(model), model)
    assert len(figures) == 30
    for low, mean, high in zip(figures[::3], figures[1::3], figures[2::3], strict=True):
        np.testing.assert_array_equal(mean, figures[1])
        for views in zip(low, mean, high, strict=True):
            assert min(changed(a, b).sum() for a, b in ((views[0], views[1]), (views[1], views[2]))) > 100
            for view in map(covered, views):
                assert not np.concatenate([view[0], view[-1], view[:, 0], view[:, -1]]).any()


def test_a_unit_moves_its_own_place_alone() -> None:
    """Subject's left is image right, in a frontal view; the first figure is the mean."""
    x, y, _ = small_model().mean.T
    bump = np.zeros((2, 169, 3))
    bump[0, (x > 30.0) & (y > 30.0), 2] = 20.0
    bump[1, (x < -30.0) & (y < -30.0), 2] = 20.0
    model = small_model(expression=bump)
    (mean, _), (blink, _), (smile, _) = drawn(expression_units(model), model)
    for view, other in ((blink, smile[::-1, ::-1]), (smile, blink[::-1, ::-1])):
        assert changed(view, mean).sum() > 500
        assert np.mean(changed(view, mean) == changed(other, mean[::-1, ::-1])) > 0.9
    assert not changed(blink, mean)[:, : WIDTH // 2].any()
    assert not changed(blink, mean)[HEIGHT // 2 :].any()
    assert not changed(smile, mean)[:, WIDTH // 2 :].any()
    assert not changed(smile, mean)[: HEIGHT // 2].any()


def test_eye_units_of_the_default_model_move_that_eye() -> None:
    model = load_model()
    sheet = expression_units(model)
    assert [figure.caption for figure in sheet.figures] == ["mean", *model.expression_names]
    for side, half in (("left", slice(WIDTH // 2, None)), ("right", slice(None, WIDTH // 2))):
        chosen = [f for f in sheet.figures if f.caption.startswith("eye") and side in f.caption.lower()]
        chosen = [figure for figure in chosen if "brow" not in figure.caption]
        assert len(chosen) >= 2
        mean, *eyes = drawn(Sheet((sheet.figures[0], *chosen), close=True), model)
        for eye in eyes:
            moved = changed(eye[0], mean[0])
            assert moved[:, half].sum() > 20
            assert moved[:, half].sum() > 0.98 * moved.sum()
            assert moved[HEIGHT // 8 : HEIGHT // 2].sum() > 0.98 * moved.sum()  # above the nose's tip


def test_units_stand_at_their_upper_bound_or_at_two_deviations() -> None:
    model = small_model(expression_sigma=(0.5, 0.7), expression_upper=(0.8, np.inf))
    mean, blink, smile = expression_units(model).figures
    assert (mean.caption, mean.expression) == ("mean", None)
    assert blink.caption == "blink"
    assert smile.caption == "smile, +2 SD"
    np.testing.assert_allclose(blink.expression, [0.8, 0.0])
    np.testing.assert_allclose(smile.expression, [0.0, 1.4])


def test_expressions_are_seen_from_closer_where_the_model_has_landmarks() -> None:
    with_, without = (
        covered(drawn(replace(expression_units(model), figures=(Figure("mean"),)), model)[0][0]).mean()
        for model in (load_model(), replace(load_model(), landmarks=None))
    )
    assert with_ > 1.3 * without


def test_albedo_modes_change_the_skin_and_not_the_shape() -> None:
    """One mode that brightens by 0.1 per deviation, and one that leaves 0-1, which is clipped."""
    grey, one = np.full((169, 3), 0.4), np.ones((169, 3))
    model = small_model(albedo_mean=grey, albedo=np.stack([0.1 * one, 2.0 * one]))
    sheet = albedo_modes(model)
    assert [figure.caption for figure in sheet.figures[3:]] == ["albedo[1], -2 SD", "mean", "albedo[1], +2 SD"]
    (dark,), (mean,), (light,), (black,), (again,), (white,) = drawn(sheet, model)
    np.testing.assert_array_equal(mean, again)
    shape = covered(mean)
    for view in (dark, light, white):
        assert (covered(view) == shape).mean() > 0.98
    means = [view[shape].mean() for view in (black, dark, mean, light, white)]
    assert np.diff(means).min() > 10.0
    assert means[0] < 5.0
    np.testing.assert_array_equal(white, drawn(Sheet((Figure(""),), yaws=(0.0,)), small_model(albedo_mean=one))[0][0])


def test_first_tells_how_many() -> None:
    model = small_model()
    assert len(identity_modes(model, 2).figures) == 6
    assert len(albedo_modes(model, 1).figures) == 3
    assert [figure.caption for figure in expression_units(model, 1).figures] == ["mean", "blink"]
    many = small_model(identity=np.zeros((12, 169, 3)))
    assert len(identity_modes(many).figures) == 30
    assert len(identity_modes(many, 12).figures) == 36
    for make in (identity_modes, expression_units, albedo_modes):
        with pytest.raises(InvalidInputError, match=r"expected 1 to \d of them, as model 'small' has, got 4"):
            make(model, 4)
        with pytest.raises(InvalidInputError, match="got 0"):
            make(model, 0)


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("yaws", [(0.0,), (0.0, TURNED)])
def test_no_sheet_is_wider_or_higher_than_6000_px(together: int, yaws: tuple[float, ...]) -> None:
    for count in range(together, MOST + 1, together):
        sheet = Sheet((Figure("mean"),) * count, yaws, together)
        assert columns(sheet) % together == 0
    view = np.zeros((HEIGHT, WIDTH * len(yaws), 3), np.uint8)
    picture = montage([Panel(view, "mean")] * count, columns(sheet), caption_size=20)
    assert max(picture.shape) < 6000
    assert 1.0 < picture.shape[1] / picture.shape[0] < 2.2


def test_more_figures_than_a_sheet_holds_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="sheet: expected 121 figures at most, got 122"):
        draw_sheet(Sheet((Figure("mean"),) * (MOST + 1)), small_model(), make_renderer("numba"))


def test_a_name_of_any_length_stays_above_its_own_figure() -> None:
    names = ("long\nname " * 50, "smile")
    plain, sly = (small_model(expression_names=each) for each in (("blink", "smile"), names))
    first, second = (draw_sheet(expression_units(each), each, make_renderer("numba")) for each in (plain, sly))
    ys, xs = np.nonzero((first != second).any(axis=2))
    sheet = expression_units(plain)
    assert columns(sheet) == 2
    assert xs.min() > first.shape[1] // 2
    assert ys.max() < first.shape[0] // 2 - HEIGHT
    np.testing.assert_array_equal(cells(first, sheet), cells(second, sheet))


@pytest.mark.parametrize("kind", ["modes", "expressions", "albedo"])
def test_a_sheet_is_named_after_what_it_shows(
    kind: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said("render", file, f"--{kind}", "--first", 2) == f"wrote {kind}.png\n"
    make = {"modes": identity_modes, "expressions": expression_units, "albedo": albedo_modes}[kind]
    with Image.open(f"{kind}.png") as image:
        np.testing.assert_array_equal(image, draw_sheet(make(small_model(), 2), small_model(), make_renderer()))
    assert [path.name for path in tmp_path.iterdir()] == [f"{kind}.png"]


@pytest.mark.parametrize(
    ("option", "what"),
    [("--modes", "identity modes"), ("--expressions", "expression units"), ("--albedo", "albedo modes")],
)
def test_a_model_without_what_is_asked_for_is_named(
    option: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    units = dict.fromkeys(("expression", "expression_names", "expression_sigma", "expression_lower"), ())
    bare = small_model(identity=np.zeros((0, 169, 3)), albedo=None, **units, expression_upper=())
    write_model(tmp_path / "bare.npz", bare)
    arguments = ["render", str(tmp_path / "bare.npz"), "-o", str(tmp_path / "sheet.png"), option]
    assert f"model 'small' has no {what} to draw" in stopped(arguments, monkeypatch, capsys)
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--modes", "--albedo"], "expected one sheet per call, got --modes and --albedo"),
        (["--expressions", "--random", "0"], "expected one sheet per call, got --random and --expressions"),
        (["--modes", "--seed", "0"], "--seed: expected random people, got --modes"),
        (["--first", "3"], "--first: expected --modes, --expressions or --albedo"),
        (["--random", "3", "--first", "3"], "--first: expected --modes, --expressions or --albedo"),
        (["--albedo", "--first", "3"], "albedo modes: expected 1 to 2 of them"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str],
    told: str,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in stopped(["render", str(file), *options], monkeypatch, capsys)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    result = run("render", "-o", tmp_path / "people.jpg", "--random", 0)
    assert isinstance(result.exception, InvalidInputError)
    assert "people.jpg: expected the name of a .png file" in str(result.exception)
    result = run("render", "-o", tmp_path / "missing" / "people.png", "--random", 0)
    assert isinstance(result.exception, OutputError)
    assert "people.png: cannot be written" in str(result.exception)
