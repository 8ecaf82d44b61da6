"""`facefit model`: what it tells about models, what it draws, and how it refuses files that are none."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_model import EXTENT, small_model
from typer.testing import CliRunner

from facefit.apps import main
from facefit.apps.model.command import app
from facefit.apps.model.description import commercial_use
from facefit.apps.model.people import COLUMNS, HEIGHT, WIDTH, YAWS, draw_people
from facefit.models.errors import InvalidInputError, ModelError, OutputError
from facefit.models.formats.npz import write_model
from facefit.models.store import load_model
from facefit.render.drawing import BACKGROUND
from facefit.render.renderer import make_renderer


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def said(*arguments: Any) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


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
    assert [row["name"] for row in told["models"]] == ["default"]
    assert told["models"][0]["commercial_use"] is True
    assert "300-W" in told["detector"]


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
    assert "eye-left-closure" in said("info")


def test_text_from_a_file_stays_on_its_line(tmp_path: Path) -> None:
    write_model(tmp_path / "sly.npz", small_model(name="a\x1b[2Jb\nlicence CC0", citation="x\r\ty"))
    text = said("info", tmp_path / "sly.npz")
    assert "\x1b" not in text
    assert text.splitlines()[0].split(maxsplit=1) == ["name", "a [2Jb licence CC0"]


# ---------------------------------------------------------------------------------------------------------------- check


def test_check_tells_what_a_valid_file_has(file: Path) -> None:
    lines = said("check", file).splitlines()
    assert lines[0] == f"{file}: valid model 'small' of 169 vertices"
    assert {line.split()[1] for line in lines[1:]} == {"present"}


def test_check_tells_what_a_valid_file_lacks(tmp_path: Path) -> None:
    without = dict.fromkeys(("landmarks", "landmarks_contour", "contour", "albedo", "albedo_mean", "mirror", "uv"))
    units = dict.fromkeys(("expression", "expression_names", "expression_sigma", "expression_lower"), ())
    bare = small_model(**without, **units, expression_upper=(), regions={})
    write_model(tmp_path / "bare.npz", bare)
    lines = said("check", tmp_path / "bare.npz").splitlines()
    assert {line.split()[1] for line in lines[1:]} == {"missing:"}
    assert {line.split()[0] for line in lines[1:]} == {*without, "expression", "regions"}
    told = json.loads(said("info", tmp_path / "bare.npz", "--json"))
    assert told["face_size_mm"] is None
    assert "missing landmarks, " in " ".join(said("info", tmp_path / "bare.npz").split())


@pytest.mark.parametrize("command", ["check", "info", "render"])
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
    assert told.startswith(f"facefit: {path}: not a readable .npz file")
    assert len(told.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "arguments", [["check"], ["info", "a", "b"], ["render", "--random", "-1"], ["render", "--seed", "x"], ["get"]]
)
def test_wrong_calls_have_status_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_an_unknown_name_is_refused() -> None:
    for command in ("info", "render"):
        assert "expected one of the names default" in str(run(command, "defualt").exception)


# --------------------------------------------------------------------------------------------------------------- render


def views(sheet: np.ndarray, count: int) -> list[np.ndarray]:
    """The pictures of each person on a sheet, both views side by side."""
    columns, rows = min(COLUMNS, count), -(-count // COLUMNS)
    width = len(YAWS) * WIDTH
    gap = (sheet.shape[1] - columns * width) // (columns + 1)
    step = (sheet.shape[0] - gap) // rows
    corners = [
        (gap + k // COLUMNS * step + step - gap - HEIGHT, gap + k % COLUMNS * (width + gap)) for k in range(count)
    ]
    return [sheet[y : y + HEIGHT, x : x + width] for y, x in corners]


def test_render_draws_the_mean_and_random_people(tmp_path: Path) -> None:
    told = said("render", "-o", tmp_path / "people.png", "--random", 4, "--seed", 3)
    assert told == f"wrote {tmp_path / 'people.png'}\n"
    with Image.open(tmp_path / "people.png") as image:
        assert image.format == "PNG"
        sheet = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(sheet, draw_people(load_model(), make_renderer(), count=4, seed=3))
    people = views(sheet, 5)
    for k, person in enumerate(people):
        drawn = (np.abs(person.astype(int) - BACKGROUND) > 8).any(axis=2)
        assert 0.2 < drawn.mean() < 0.7
        border = np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]])
        assert not border.any()  # nobody is cut off
        assert all(not np.array_equal(person, other) for other in people[:k])


def test_the_mean_from_the_front_has_a_symmetric_outline() -> None:
    """So it is centred, and the first view is frontal; the second is not."""
    both = views(draw_people(load_model(), make_renderer(), count=0), 1)[0].astype(int)
    front, turned = (np.abs(view - BACKGROUND).max(axis=2) > 8 for view in (both[:, :WIDTH], both[:, WIDTH:]))
    assert (front != front[:, ::-1]).mean() < 0.005
    assert (turned != turned[:, ::-1]).mean() > 0.05


def test_the_mean_does_not_depend_on_seed_or_number() -> None:
    model, renderer = small_model(), make_renderer()
    sheets = [draw_people(model, renderer, count=count, seed=seed) for count, seed in ((0, 0), (1, 0), (1, 1), (3, 1))]
    means = [views(sheet, count)[0] for sheet, count in zip(sheets, (1, 2, 2, 4), strict=True)]
    for mean in means[1:]:
        np.testing.assert_array_equal(mean, means[0])
    assert not np.array_equal(views(sheets[1], 2)[1], views(sheets[2], 2)[1])
    np.testing.assert_array_equal(views(sheets[3], 4)[1], views(sheets[2], 2)[1])


def test_models_of_any_scale_and_place_are_drawn_alike() -> None:
    """A model in metres, or far from its origin, fills its picture as well."""
    model, renderer = small_model(identity=np.zeros((0, 169, 3)), albedo=None, albedo_mean=None), make_renderer()
    moved = small_model(
        identity=np.zeros((0, 169, 3)), albedo=None, albedo_mean=None, mean=1024.0 * (model.mean + EXTENT)
    )
    first, second = (draw_people(each, renderer, count=0).astype(int) for each in (model, moved))
    assert np.abs(first - second).mean() < 0.1


def test_a_picture_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    result = run("render", "-o", tmp_path / "people.jpg", "--random", 0)
    assert isinstance(result.exception, InvalidInputError)
    assert "people.jpg: expected the name of a .png file" in str(result.exception)
    result = run("render", "-o", tmp_path / "missing" / "people.png", "--random", 0)
    assert isinstance(result.exception, OutputError)
    assert "people.png: cannot be written" in str(result.exception)
