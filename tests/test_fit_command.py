"""`facefit fit` from the command line to its files: what it writes, prints and returns, and how it takes bad input."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import trimesh
from command_line import ALL_FILES, ASTRONAUT, Run, files, run, strict, summary
from PIL import ExifTags, Image
from rich.console import Console
from scipy.spatial import KDTree

import facefit
from facefit.apps.fit import command
from facefit.apps.fit.job import Outcome
from facefit.apps.fit.report import print_photo
from facefit.apps.fit.summary import describe
from facefit.apps.fit.writers import output_folders
from facefit.fitting.results import StageReport


@dataclass(frozen=True)
class Fitted:
    run: Run
    folder: Path
    result: facefit.FitResult
    summary: dict[str, Any]


@pytest.fixture(scope="session")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    out = tmp_path_factory.mktemp("out")
    done = run(ASTRONAUT, "-o", out)
    folder = out / "astronaut"
    return Fitted(done, folder, facefit.load_result(folder / "fit.npz"), summary(folder))


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    return facefit.read_image(ASTRONAUT)


@pytest.fixture
def points(astronaut: Fitted) -> np.ndarray:
    return np.array(astronaut.result.landmarks)


# --- One good photo ----------------------------------------------------------------------------------------------


def test_a_photo_becomes_four_files(astronaut: Fitted) -> None:
    assert astronaut.run.status == 0
    assert "facefit:" not in astronaut.run.err
    assert files(astronaut.folder.parent) == {f"astronaut/{name}" for name in ALL_FILES}


def test_the_terminal_tells_what_a_person_asks(astronaut: Fitted) -> None:
    lines = {line.split()[0]: line for line in astronaut.run.out.splitlines()}
    assert list(lines) == ["photo", "found", "fit", "error", "quality", "energy", "detail", "pose", "written", "time"]
    assert "dlib-hog, score" in lines["found"]
    assert astronaut.result.status.value.split(";")[0] in lines["fit"]
    assert f"{astronaut.result.landmark_error:.1f} px" in lines["error"]
    assert "% of the face" in lines["error"]
    assert str(astronaut.folder) in lines["written"]
    for step in ("start", "read", "detect", "landmark", "photometric", "detail", "draw", "write"):
        assert f"{step} " in lines["time"]


def test_the_terminal_tells_each_term_s_share_of_the_energy(astronaut: Fitted) -> None:
    (line,) = (line for line in astronaut.run.out.splitlines() if line.startswith("energy"))
    report = astronaut.result.stages[1]
    sums = [sum(terms.values()) for terms in (report.energy_before, report.energy_after)]
    totals, shares = line.removeprefix("energy").split(":")
    assert totals.split() == [f"{sums[0]:.0f}→{sums[1]:.0f}", "nats"]
    told = {}
    for part in shares.split(","):
        name, share, unit = part.split()
        assert unit == "%"
        told[name] = [float(number) for number in share.split("→")]
    assert set(told) == set(report.energy_before) >= {"photometric", "landmarks", "identity", "expression"}
    for name, (before, after) in told.items():
        assert before == pytest.approx(100.0 * report.energy_before[name] / sums[0], abs=0.51)
        assert after == pytest.approx(100.0 * report.energy_after[name] / sums[1], abs=0.51)


def test_the_summary_says_it_all(astronaut: Fitted) -> None:
    told, result = astronaut.summary, astronaut.result
    assert told["status"] == result.status.name
    assert told["usable"] is True
    assert told["detector"] == "dlib-hog"
    assert "300-W" in told["detector_licence"]
    assert set(told["files"]) == ALL_FILES
    assert told["facefit"] == facefit.__version__
    assert told["model"]["hash"] == facefit.load_model("default").hash
    assert told["landmark_error_px"] == pytest.approx(result.landmark_error)
    assert told["quality"] == pytest.approx(result.quality)
    width, height = np.ptp(result.landmarks, axis=0)
    assert told["landmark_error_percent"] == pytest.approx(100.0 * result.landmark_error / np.sqrt(width * height))
    assert told["landmark_error_percent"] < 6.0
    assert all(abs(angle) < 10.0 for angle in told["pose_degrees"].values())
    np.testing.assert_array_equal(told["camera"]["rotation"], result.camera.rotation)
    assert list(told["expression"]) == list(facefit.load_model("default").expression_names)
    assert [stage["name"] for stage in told["stages"]] == ["landmark", "photometric", "detail"]
    for stage in told["stages"]:
        assert sum(stage["energy_after"].values()) < sum(stage["energy_before"].values())
    np.testing.assert_array_equal(told["lighting"], result.lighting)
    np.testing.assert_array_equal(told["albedo"], result.albedo)
    steps = {"read", "detect", "landmark", "photometric", "detail", "draw", "texture", "write"}
    assert set(told["seconds"]) == steps
    assert all(seconds >= 0.0 for seconds in told["seconds"].values())


def test_the_mesh_is_the_fit(astronaut: Fitted) -> None:
    """Corner by corner: vertices stand twice along the seams of the texture."""
    mesh = trimesh.load(astronaut.folder / "mesh.obj", process=False)
    result = astronaut.result
    assert result.vertices is not None and result.triangles is not None
    np.testing.assert_allclose(mesh.vertices[mesh.faces], result.vertices[result.triangles], rtol=0.0, atol=1e-4)
    assert mesh.visual.uv.shape == (len(mesh.vertices), 2)
    assert mesh.visual.material.image.size == (1024, 1024)


def test_the_glb_is_the_fit(astronaut: Fitted) -> None:
    """At rest, in metres; its weights make the expression of it."""
    scene = trimesh.load(astronaut.folder / "mesh.glb")
    (mesh,) = scene.geometry.values()
    rest = facefit.load_model("default").vertices(astronaut.result.identity)
    assert KDTree(1000.0 * mesh.vertices).query(rest)[0].max() < 1e-4


def test_no_texture_leaves_meshes_plain(tmp_path: Path) -> None:
    done = run(ASTRONAUT, "-o", tmp_path, "--texture", "none", "--formats", "obj,glb", "--stages", "landmark")
    assert done.status == 0
    assert files(tmp_path / "astronaut") == {"mesh.obj", "mesh.glb", "summary.json"}


def test_a_model_without_an_atlas_and_nothing_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said in one line, and everything else is written."""
    monkeypatch.setattr("facefit.models.uv_atlas.has_own_atlas", lambda model: False)
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    done = run(ASTRONAUT, "-o", tmp_path, "--formats", "obj", "--stages", "landmark")
    assert done.status == 0
    assert done.err == "facefit: model 'default' has no texture coordinates; pip install xatlas for textures\n"
    assert files(tmp_path / "astronaut") == {"mesh.obj", "summary.json"}


def test_pictures_that_the_call_asks_for(tmp_path: Path) -> None:
    wanted = ("--view", "40,-10", "--relight", "left", "--expression", "jawOpen=0.6", "--formats", "texture,maps,ply")
    done = run(ASTRONAUT, "-o", tmp_path, "--texture-size", "256", *wanted)
    assert done.status == 0
    folder = tmp_path / "astronaut"
    assert files(folder) == {
        "relit-left.png", "expression.png", "view.png", "mesh.ply", "summary.json",
        *(f"texture/{name}.png" for name in ("photographed", "albedo", "confidence")),
        "maps/depth.png", "maps/normals.png", "maps/pncc.png", "maps/position_map.npy",
    }  # fmt: skip
    assert run(ASTRONAUT, "-o", tmp_path, "--formats", "npz", "--stages", "landmark").status == 0
    assert files(folder) == {"fit.npz", "summary.json"}
    assert not (folder / "maps").exists(), "nor an empty folder"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--relight", "moon"), "--relight: expected one or more of left,right,top,below,front,soft, got 'moon'"),
        (("--expression", "jawOpn=1"), "such as jawOpen"),
        (("--expression", "jawOpen=2"), "jawOpen: expected a number from 0 to 1"),
        (("--formats", "npz,mat"), "default"),
        (("--view", "40,10,5"), "--view: expected YAW or YAW,PITCH"),
        (("--view", "nan"), "--view: expected YAW or YAW,PITCH"),
        (("--texture-size", "5000"), "--texture-size"),
        (("--texture", "blue"), "--texture"),
    ],
)
def test_wrong_looks_are_refused(tmp_path: Path, arguments: tuple[str, str], sentence: str) -> None:
    done = run(ASTRONAUT, "-o", tmp_path, *arguments)
    assert done.status == 2
    assert sentence in done.err.replace("\n", " ")
    assert files(tmp_path) == set()


def test_the_result_is_the_library_s(astronaut: Fitted, pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(facefit.fit(pixels).vertices_image, astronaut.result.vertices_image)


def test_the_picture_opens(astronaut: Fitted) -> None:
    with Image.open(astronaut.folder / "overlay.png") as picture:
        picture.load()
        assert picture.mode == "RGB"
        assert min(picture.size) > 900


def test_json_is_the_summary_and_nothing_else(tmp_path: Path, astronaut: Fitted) -> None:
    done = run(ASTRONAUT, "-o", tmp_path, "--json", "--formats", "npz")
    assert done.status == 0
    assert done.err == ""
    (line,) = done.out.splitlines()
    told = strict(line)
    written = summary(tmp_path / "astronaut")
    assert told == written
    for name in ("status", "box", "landmark_error_px", "identity", "expression", "model", "options", "image"):
        assert told[name] == astronaut.summary[name]


def test_quiet_says_nothing_of_success(tmp_path: Path) -> None:
    assert run(ASTRONAUT, "-o", tmp_path, "--quiet", "--formats", "npz") == Run(0, "", "")


def test_all_eight_orientations_are_one_photo(tmp_path: Path, pixels: np.ndarray, astronaut: Fitted) -> None:
    """The file stores the photo turned and says so; upright, it is the same photo, so the fit is the same."""
    turn: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),  # stored a quarter turn counter-clockwise: show it turned clockwise
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    photos = []
    for orientation, stored in turn.items():
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        photos.append(tmp_path / f"turned{orientation}.{'png' if orientation % 2 else 'tif'}")
        Image.fromarray(np.ascontiguousarray(stored(pixels))).save(photos[-1], exif=exif)
    assert run(*photos, "-o", tmp_path / "out", "--formats", "npz").status == 0
    for orientation in turn:
        result = facefit.load_result(tmp_path / "out" / f"turned{orientation}" / "fit.npz")
        np.testing.assert_allclose(result.vertices_image, astronaut.result.vertices_image, rtol=0.0, atol=1e-3)
        assert summary(tmp_path / "out" / f"turned{orientation}")["image"]["orientation"] == orientation


# --- Several photos and faces ------------------------------------------------------------------------------------


def test_one_bad_photo_among_good_ones_stops_nobody(tmp_path: Path, pixels: np.ndarray) -> None:
    names = ["a", "b", "c"]
    for name in names:
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.jpg").write_text("no picture")
    photos = [tmp_path / name for name in ("a.png", "bad.jpg", "b.png", "missing.png", "c.png")]
    done = run(*photos, "-o", tmp_path / "out", "--formats", "npz,obj")
    assert done.status == 3
    for name in names:
        assert files(tmp_path / "out" / name) == {"fit.npz", "mesh.obj", "mesh.mtl", "texture.png", "summary.json"}
    for name in ("bad", "missing"):
        assert files(tmp_path / "out" / name) == {"summary.json"}
        assert summary(tmp_path / "out" / name)["status"] == "BAD_INPUT"
    assert [line.split(": ")[1] for line in done.err.splitlines()] == [str(photos[1]), str(photos[3])]
    assert [line.split()[0] for line in done.out.splitlines()] == ["photo", *(p.name for p in photos), "3"]


def two_faces(pixels: np.ndarray) -> Image.Image:
    """The same head twice, the second one smaller."""
    head = Image.fromarray(pixels[:260, 90:350])
    sheet = Image.new("RGB", (560, 320), (128, 128, 128))
    sheet.paste(head, (10, 30))
    sheet.paste(head.resize((208, 208)), (320, 60))
    return sheet


def test_two_faces(tmp_path: Path, pixels: np.ndarray) -> None:
    two_faces(pixels).save(tmp_path / "pair.png")
    done = run(tmp_path / "pair.png", "-o", tmp_path / "out", "--faces", "all", "--json", "--formats", "npz,obj")
    assert done.status == 0
    first, second = (strict(line) for line in done.out.splitlines())
    assert (first["face_index"], second["face_index"]) == (0, 1)
    assert first["box"][0] < 280 < second["box"][0]
    assert first["camera"]["scale"] > second["camera"]["scale"]
    ours = {"fit.npz", "mesh.obj", "mesh.mtl", "texture.png", "summary.json"}
    assert files(tmp_path / "out" / "pair") == ours | {f"face-2/{name}" for name in ours}

    (tmp_path / "out/pair/face-2/note.txt").write_text("mine")
    (tmp_path / "out/pair/mesh.txt").write_text("mine")
    assert run(tmp_path / "pair.png", "-o", tmp_path / "out", "--formats", "npz").status == 0
    left = {"fit.npz", "summary.json", "face-2/note.txt", "mesh.txt"}
    assert files(tmp_path / "out" / "pair") == left, "a later run leaves no file of ours behind that is not its own"


def test_a_folder_stands_for_its_pictures(tmp_path: Path, pixels: np.ndarray) -> None:
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    for name in ("b.PNG", "a.png", "deeper/c.png", ".hidden.png"):
        Image.fromarray(pixels).save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    done = run(tmp_path / "in", tmp_path / "in" / "a.png", "-o", tmp_path / "out", "--formats", "npz", "--json")
    assert done.status == 0
    assert [Path(strict(line)["photo"]).name for line in done.out.splitlines()] == ["a.png", "b.PNG"]


@pytest.mark.parametrize(
    ("photos", "expected"),
    [
        (["a/photo.jpg", "b/photo.png", "c/PHOTO.jpg"], ["photo", "photo-2", "PHOTO-3"]),
        (["photo.jpg", "x/photo.jpg", "photo-2.jpg"], ["photo", "photo-2", "photo-2-2"]),
        (["...jpg", "..jpg", ".hidden.jpg", " .png"], ["image", "image-2", "hidden", "image-3"]),
    ],
)
def test_folders_of_photos(photos: list[str], expected: list[str]) -> None:
    assert output_folders([Path(name) for name in photos], Path("out")) == [Path("out") / name for name in expected]


# --- Given landmarks ---------------------------------------------------------------------------------------------


def fit_points(tmp_path: Path, points: np.ndarray, *options: object, suffix: str = ".npy") -> Run:
    path = tmp_path / f"points{suffix}"
    np.save(path, points)
    return run(ASTRONAUT, "--landmarks", path, "-o", tmp_path / "out", "--json", *options)


def test_landmarks_spare_the_detector(tmp_path: Path, points: np.ndarray) -> None:
    with mock.patch("facefit.fitting.dlib_detector.DlibDetector.detect", side_effect=AssertionError):
        done = fit_points(tmp_path, points, "--landmark-convention", "contour", "--landmark-sigma", "0.02")
    assert done.status == 0
    told = strict(done.out)
    assert told["detector"] is None
    assert told["detector_licence"] is None
    assert told["options"]["landmark_convention"] == "contour"
    assert told["options"]["landmark_sigma"] == 0.02
    assert "detect" not in told["seconds"]
    options = facefit.FitOptions(landmark_convention="contour", landmark_sigma=0.02)
    expected = facefit.fit(facefit.read_image(ASTRONAUT), landmarks=points, options=options)
    np.testing.assert_allclose(facefit.load_result(Path(told["folder"]) / "fit.npz").identity, expected.identity)


def test_the_origin_of_a_file_is_honoured(tmp_path: Path, points: np.ndarray) -> None:
    choices = ("--formats", "npz", "--stages", "landmark")
    zero = strict(fit_points(tmp_path, points, *choices).out)
    one = strict(fit_points(tmp_path, points + 1.0, "--landmark-origin", "1", *choices).out)
    np.testing.assert_allclose(one["camera"]["translation"], zero["camera"]["translation"], atol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda p: np.where(np.arange(68)[:, None] == 30, np.nan, p), "BAD_INPUT"),
        (lambda p: np.full_like(p, 17.0), "DEGENERATE"),
        (lambda p: np.outer(np.linspace(0.0, 1.0, 68), [100.0, 40.0]), "DEGENERATE"),
    ],
    ids=["NaN", "all equal", "collinear"],
)
def test_landmarks_that_are_no_face(
    tmp_path: Path, points: np.ndarray, spoil: Callable[[np.ndarray], np.ndarray], status: str
) -> None:
    assert fit_points(tmp_path, points).status == 0
    done = fit_points(tmp_path, spoil(points))
    assert done.status == 3
    assert strict(done.out)["status"] == status
    assert len(done.err.splitlines()) == 1
    assert files(tmp_path / "out") == {"astronaut/summary.json"}, "the good run's mesh must not pass for this one's"


@pytest.mark.parametrize(
    "move", [lambda p: 1e6 * p, lambda p: p + np.array([1e4, -1e4])], ids=["a huge face", "far outside the photo"]
)
def test_landmarks_of_odd_size_or_place_are_a_good_fit(
    tmp_path: Path, points: np.ndarray, move: Callable[[np.ndarray], np.ndarray]
) -> None:
    plain = strict(fit_points(tmp_path, points, "--formats", "npz", "--stages", "landmark").out)
    done = fit_points(tmp_path, move(points))
    assert done.status == 0
    moved = strict(done.out)
    assert moved["lighting"] is None, "there is no photo where this face lies"
    np.testing.assert_allclose(moved["identity"], plain["identity"], atol=1e-4)
    assert files(tmp_path / "out" / "astronaut") == ALL_FILES


def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path: Path, points: np.ndarray) -> None:
    assert fit_points(tmp_path, points).status == 0
    with mock.patch("facefit.fitting.result_files.np.savez_compressed", side_effect=OSError(28, "No space left")):
        done = fit_points(tmp_path, points)
    assert done.status == 2
    assert "No space left" in done.err
    assert not (tmp_path / "out/astronaut/summary.json").exists(), "no summary vouches for the old files"
    assert files(tmp_path / "out" / "astronaut") <= ALL_FILES, "no temporary file is left"


# --- Details -----------------------------------------------------------------------------------------------------


def test_a_summary_holds_no_nan() -> None:
    result = facefit.FitResult(
        facefit.FitStatus.DIVERGED,
        "message",
        detector_score=float("nan"),
        identity=np.array([1.0, np.inf]),
        provenance={"options": {"max_seconds": float("inf")}},
    )
    told = strict(json.dumps(describe(result, facefit.load_model("default"))))
    assert told["detector_score"] is None
    assert told["identity"] == [1.0, None]
    assert told["options"] == {"max_seconds": None}


@pytest.mark.parametrize(
    ("before", "after", "lighting", "expected"),
    [
        ({"photometric": 30.0, "landmarks": 10.0}, {"photometric": 15.0, "landmarks": 5.0}, True,
         "energy   40→20 nats: photometric 75→75 %, landmarks 25→25 %"),
        ({"photometric": 30.0, "landmarks": 10.0}, {"photometric": 9.0, "landmarks": 1.0}, False,
         "energy   40→10 nats: photometric 75→90 %, landmarks 25→10 % (photometric stage rejected)"),
        ({}, {}, False, "energy   photometric stage rejected"),
    ],
    ids=["accepted", "rejected", "too little to see"],
)  # fmt: skip
def test_a_rejected_stage_is_told(
    before: dict[str, float], after: dict[str, float], lighting: bool, expected: str
) -> None:
    status = facefit.FitStatus.CONVERGED
    stages = (
        StageReport("landmark", status, 5, {"landmarks": 9.0}, {"landmarks": 4.0}, 0.1),
        StageReport("photometric", status if lighting else facefit.FitStatus.STALLED, 7, before, after, 0.1),
    )
    result = facefit.FitResult(status, status.value, stages=stages, lighting=np.zeros((9, 3)) if lighting else None)
    told = describe(result, facefit.load_model("default")) | {"folder": "out", "files": ["debug/a.png", "debug/b.png"]}
    console = Console(file=io.StringIO(), width=200)
    print_photo(Outcome(Path("a.png"), (9, 9), (told,), {}), {}, console)
    lines = console.file.getvalue().splitlines()
    assert [line for line in lines if line.startswith("energy")] == [expected]
    assert "written  out: debug/" in lines, "a folder is named once"


def test_compilation_is_shown_once(tmp_path: Path, points: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "points.npy", points)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))  # Numba itself has read the variable long ago
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
    arguments = (ASTRONAUT, "--landmarks", tmp_path / "points.npy", "-o", tmp_path / "out", "--formats", "npz")
    first, second = run(*arguments, compiled=False), run(*arguments, compiled=False)
    assert "compiling" in first.err
    assert "compile " in first.out.splitlines()[-1]
    assert second.err == ""
    assert "compile " not in second.out.splitlines()[-1]


def test_layers_agree_on_names() -> None:
    from facefit.apps.export.lights import LAMPS
    from facefit.apps.fit.exports import FILES, TEXTURED, WRITERS
    from facefit.fitting.landmarks import LandmarkConvention
    from facefit.fitting.options import STAGES

    assert tuple(FILES) == tuple(WRITERS) == (*command.FORMATS, "relight", "expression", "view")
    assert set(FILES) >= TEXTURED
    assert set(command.USUAL.split(",")) <= set(command.FORMATS)
    assert FILES["relight"] == tuple(f"relit-{name}.png" for name in LAMPS)
    assert tuple(command.STAGES.split(",")) == STAGES
    assert [c.value for c in command.Convention] == [c.value for c in LandmarkConvention]


def test_from_a_shell(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("no picture")
    program = [sys.executable, "-P", "-m", "facefit.apps.main", "fit"]
    done = subprocess.run(
        [*program, ASTRONAUT, "bad.jpg", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 3
    good, bad = (strict(line) for line in done.stdout.splitlines())
    assert (good["usable"], bad["status"]) == (True, "BAD_INPUT")
    assert files(tmp_path / "out") == {f"astronaut/{name}" for name in ALL_FILES} | {"bad/summary.json"}
    assert done.stderr.startswith("facefit: bad.jpg: expected")
