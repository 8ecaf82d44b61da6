"""`facefit label` as a person runs it, on real photos."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import ASTRONAUT, Run, call, strict
from label_stub import FaultySpec, leftovers, records, write_images
from PIL import Image
from test_label_engine import children

import facefit
from facefit.apps.label.fitter import make_spec
from facefit.apps.label.ledger import Ledger
from facefit.apps.label.local_engine import LocalEngine
from facefit.apps.label.run import RunOptions, label
from facefit.apps.label.shards import tar_member
from facefit.apps.label.sources import Sources
from facefit.models.formats.npz import write_model

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="finds workers by /proc")


def run(*arguments: object) -> Run:
    """Run `facefit label` with this process for the parent."""
    return call("label", *arguments)


def photos(folder: Path) -> Path:
    """Write one good photo, a blank one, a broken one, and a tar and a Parquet file of the first."""
    (folder / "in").mkdir(parents=True)
    data = ASTRONAUT.read_bytes()
    (folder / "in" / "a.jpg").write_bytes(data)
    (folder / "in" / "broken.png").write_bytes(b"broken")
    Image.fromarray(np.full((200, 300, 3), 100, np.uint8)).save(folder / "in" / "z blank.png")
    (folder / "x.tar").write_bytes(tar_member("sub/0.jpg", data) + tar_member("1.jpg", data)[:-2000])
    rows = {"image": [{"bytes": data, "path": "a.jpg"}], "name": ["from a table"]}
    pq.write_table(pa.table(rows), folder / "t.parquet")
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    folder = photos(tmp_path_factory.mktemp("label"))
    done = run(folder / "in", folder / "x.tar", folder / "t.parquet", "-o", folder / "out", "--key-column", "name",
               "--workers", 2, "--shard-size", 4)  # fmt: skip
    return folder, done


def test_a_folder_a_tar_and_a_table_become_one_dataset(labelled: tuple[Path, Run]) -> None:
    folder, done = labelled
    assert done.status == 3, "not every image has a usable fit"
    assert (
        done.out == f"6 of 6 images in {folder / 'out'}: 3 ok, 1 without a face, 2 rejected, 0 quarantined; 3 faces\n"
    )
    assert "x.tar: the archive is cut or damaged after '1.jpg'" in done.err
    images = pq.read_table([str(path) for path in sorted((folder / "out").glob("images-*"))]).to_pylist()
    assert [(row["key"], row["outcome"]) for row in images] == [
        ("a.jpg", "ok"), ("broken.png", "rejected"), ("z blank.png", "no_face"), ("sub/0.jpg", "ok"),
        ("1.jpg", "rejected"), ("from a table", "ok"),
    ]  # fmt: skip
    faces = pq.read_table([str(path) for path in sorted((folder / "out").glob("faces-*"))]).to_pylist()
    assert [row["key"] for row in faces] == ["a.jpg", "sub/0.jpg", "from a table"]
    assert [row["identity"] == faces[0]["identity"] for row in faces] == [True] * 3, "the same bytes, the same face"
    assert leftovers(folder / "out") == []


def test_the_dataset_tells_where_it_comes_from(labelled: tuple[Path, Run]) -> None:
    folder, _ = labelled
    manifest = strict((folder / "out" / "manifest.json").read_text())
    assert manifest["model"]["name"] == "default"
    assert manifest["options"]["stages"][:2] == ["landmark", "photometric"]
    assert "300-W" in manifest["detector"]["licence"]
    table = pq.read_table(folder / "out" / "faces-00000.parquet")
    assert set(table["provenance"].to_pylist()) == {manifest["provenance_hash"]}
    assert strict(table.schema.metadata[b"facefit.provenance"].decode())["model"] == manifest["model"]
    assert strict((folder / "out" / "summary.json").read_text())["complete"] is True
    steps = set(pq.read_table(folder / "out" / "timings-00000.parquet")["step"].to_pylist())
    assert steps >= {"decode", "detection", "landmark", "photometric", "write"}


def test_the_five_lines_of_the_documentation_read_it(labelled: tuple[Path, Run]) -> None:
    text = (Path(__file__).resolve().parent.parent / "docs" / "labels.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    assert len(code.strip().splitlines()) <= 8
    names: dict[str, object] = {}
    exec(code.replace('"DATASET', f'"{labelled[0] / "out"}'), names)
    points = names["points"]
    assert isinstance(points, np.ndarray)
    assert points.shape == (3, 68, 2)


def test_a_finished_dataset_is_a_quick_answer_and_the_same_status(labelled: tuple[Path, Run]) -> None:
    folder, _ = labelled
    before = records(folder / "out")
    sources = (folder / "in", folder / "x.tar", folder / "t.parquet", "--key-column", "name", "--shard-size", 4)
    with mock.patch("facefit.apps.label.local_engine._Worker", side_effect=AssertionError("there is nothing to do")):
        again = run(*sources, "-o", folder / "out", "--json")
    assert again.status == 3
    assert strict(again.out) == json.loads(before["summary.json"])
    assert records(folder / "out") == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--stages", "landmark"], 'options.stages: ["landmark", "photometric"'),
        (["--faces", "all"], 'faces: "largest" there, "all" now'),
        (["--seed", 3, "--min-quality", 0.5], "min_quality: 0.0 there, 0.5 now; seed: 0 there, 3 now"),
        (["--export", "all"], 'export: "usable" there, "all" now'),
    ],
)
def test_other_options_are_refused(labelled: tuple[Path, Run], options: list[object], sentence: str) -> None:
    folder, _ = labelled
    before = records(folder / "out")
    done = run(folder / "in", "-o", folder / "out", "--shard-size", 4, *options)
    assert (done.status, done.out) == (2, "")
    assert sentence in done.err
    assert done.err.count("\n") == 1
    assert records(folder / "out") == before


def test_another_model_is_refused(labelled: tuple[Path, Run], tmp_path: Path) -> None:
    folder, _ = labelled
    write_model(tmp_path / "small.npz", facefit.load_model("default").truncated(identity=40))
    done = run(folder / "in", "-o", folder / "out", "--shard-size", 4, "--model", tmp_path / "small.npz")
    assert done.status == 2
    assert f'model.hash: "{facefit.load_model("default").hash}" there' in done.err


def test_two_runs_into_one_dataset(labelled: tuple[Path, Run]) -> None:
    folder, _ = labelled
    with Ledger(folder / "out" / "ledger.sqlite"):
        done = run(folder / "in", "-o", folder / "out", "--shard-size", 4)
    assert done.status == 2
    assert "another run is writing" in done.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["gone", "-o", "out"], "gone: expected a folder"),
        (["in", "-o", "out", "--model", "nobody"], "model 'nobody': expected"),
        (["in", "-o", "out", "--stages", "photometric"], "stages: expected"),
        (["in", "-o", "/proc/none/out"], "/proc/none/out: cannot be written to"),
        (
            ["t.parquet", "-o", "out", "--image-column", "picture"],
            "expected a column 'picture', got the columns image, name",
        ),
        (["empty", "-o", "out"], "empty: expected pictures, got none"),
        (["in", "-o", "in"], "in: expected a new folder or a dataset"),
    ],
)
def test_wrong_calls_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    photos(tmp_path)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("facefit: ")
    assert sentence in done.err
    assert done.err.count("\n") == 1


def test_too_little_memory_is_a_sentence(tmp_path: Path) -> None:
    done = run(photos(tmp_path) / "in", "-o", tmp_path / "out", "--memory", 0.2, "--workers", 1, "--quiet")
    assert (done.status, done.out) == (2, "")
    assert "--memory: expected at least" in done.err


def test_help_answers_at_once() -> None:
    done = run("--help")
    assert done.status == 0
    assert "--min-quality" in done.out


# --- Kills -------------------------------------------------------------------------------------------------------


def sixty_photos(folder: Path, test_data: Path, count: int = 60) -> Path:
    """Write real photos, mirrored and cropped where there are fewer than `count`."""
    folder.mkdir()
    found = [path for place in ("aflw2000", "synthetic", "landmarks68", "w300lp")
             for path in sorted((test_data / place).glob("*.jpg"))]  # fmt: skip
    for k in range(count):
        with Image.open(found[k % len(found)]) as file:
            image = file.convert("RGB")
        turn = k // len(found)
        if turn % 2:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image = image.crop((turn // 2, turn // 2, image.width, image.height))
        image.save(folder / f"{k:05}.jpg", quality=90)
    return folder


def kill_again_and_again(command: list[str], out: Path, times: int, shards: int, rng: random.Random) -> None:
    """Run the command to its end, killing it or a worker each time about shards / times more are visible."""
    done, driver, errors = 0, None, out.with_name("errors")
    while driver is None or driver.poll() is None:
        if driver is None:
            with errors.open("wb") as told:
                driver = subprocess.Popen(command, stderr=told, start_new_session=True)
        visible = len(list(out.glob("faces-*.parquet")))
        if done < times and visible >= shards * done // (times + 1) and (workers := children(driver.pid)):
            time.sleep(rng.uniform(0.0, 0.5))
            if rng.random() < 0.4:
                driver.kill()
                driver.wait()
                driver = None
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(workers), signal.SIGKILL)
            done += 1
        time.sleep(0.02)
    assert driver.returncode in (0, 3), errors.read_text()
    assert done == times, "the run ended before the kills did"


def check_kills(tmp_path: Path, test_data: Path, count: int, times: int, shard_size: int) -> None:
    folder = sixty_photos(tmp_path / "in", test_data, count)
    command = [sys.executable, "-P", "-m", "facefit.apps.main", "label", str(folder), "--shard-size", str(shard_size),
               "--workers", "2", "--quiet"]  # fmt: skip
    whole = subprocess.run([*command, "-o", str(tmp_path / "whole")], check=False)
    assert whole.returncode in (0, 3)
    kill_again_and_again(
        [*command, "-o", str(tmp_path / "out")], tmp_path / "out", times, count // shard_size, random.Random(1)
    )
    assert records(tmp_path / "out") == records(tmp_path / "whole")
    assert leftovers(tmp_path / "out") == []
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["images"] == count
    assert summary["quarantined"] == 0
    assert summary["ok"] > 0.8 * count


@only_linux
def test_sixty_photos_and_eight_kills(tmp_path: Path, test_data: Path) -> None:
    check_kills(tmp_path, test_data, 60, 8, 4)


@pytest.mark.soak
@only_linux
def test_two_thousand_photos_and_a_hundred_kills(tmp_path: Path, test_data: Path) -> None:
    check_kills(tmp_path, test_data, 2000, 100, 10)


@pytest.mark.soak
@only_linux
def test_faulty_photos_cost_only_themselves(tmp_path: Path, test_data: Path) -> None:
    """A segmentation fault, an endless loop, an allocation of 8 GB, and workers that die at their start."""
    folder, bombs = sixty_photos(tmp_path / "in", test_data), write_images(tmp_path / "bombs", 2)
    spec = make_spec()
    label(Sources([str(folder)]), tmp_path / "whole", spec, LocalEngine(workers=2), RunOptions(100))
    for k, fault in {7: b"crash", 19: b"loop", 40: b"allocate"}.items():
        (folder / f"{k:05}.jpg").write_bytes(fault)
    engine = LocalEngine(workers=2, timeout=20.0)
    label(Sources([str(folder)]), tmp_path / "out", FaultySpec(spec, str(bombs)), engine, RunOptions(100))
    whole, ours = (pq.read_table(tmp_path / name / "images-00000.parquet").to_pylist() for name in ("whole", "out"))
    lost = {k: row["message"] for k, row in enumerate(ours) if row["outcome"] == "quarantined"}
    assert lost == {7: "crashed (SIGSEGV) twice", 19: "ran past 20 s twice", 40: "needed more than 3 GB twice"}
    assert [row for k, row in enumerate(whole) if k not in lost] == [row for k, row in enumerate(ours) if k not in lost]
