"""The report of a dataset: numbers that are those of its tables, whatever files are called; seen in a browser, too."""

import io
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ASTRONAUT
from hypothesis import given
from hypothesis import strategies as st
from label_stub import InlineEngine, StubSpec, leftovers, write_images
from PIL import Image
from test_export_viewer import Parts, only_with_chromium
from test_label_command import run

import facefit
from facefit.apps.label import report, survey
from facefit.apps.label.charts import bars, histogram
from facefit.apps.label.dataset import LEDGER
from facefit.apps.label.ledger import Ledger
from facefit.apps.label.records import parquet_bytes
from facefit.apps.label.report import write_report
from facefit.apps.label.run import RunOptions, label
from facefit.apps.label.shards import OpenShard
from facefit.apps.label.sources import Item, Sources
from facefit.apps.label.survey import OTHER_REASONS, SHEET, Histogram
from facefit.apps.label.thumbnails import SIDE, thumbnail
from facefit.models.errors import ImageError, OutputError

HOSTILE = "</b><script>document.title = 'run'</script><img src=x onerror=1> {{tiles}} \u202e&amp; \"'.png"


# --- Histograms ----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(-1600, 1600).map(lambda n: n / 8.0) | st.just(float("nan")), max_size=50), st.integers(0, 50)
)
def test_a_histogram_counts_every_value_once_in_whatever_batches(values: list[float], cut: int) -> None:
    given_values, counted = np.array(values), Histogram("a", "", -90.0, 90.0, 36)
    for part in (given_values[:cut], given_values[cut:]):
        counted.add(part)
    finite = given_values[np.isfinite(given_values)]
    expected, _ = np.histogram(np.clip(finite, -90.0, 90.0), 36, (-90.0, 90.0))
    assert counted.counts.tolist() == expected.tolist()
    assert counted.number + counted.missing == len(values)
    assert counted.beyond == (np.abs(finite) > 90.0).sum()
    if len(finite):
        assert counted.mean == pytest.approx(finite.mean(), abs=1e-9)


def test_a_chart_draws_its_counts() -> None:
    counted = Histogram("<b>", "mm", 0.0, 4.0, 4)
    counted.add(np.array([0.5, 1.5, 1.6, 9.0, np.nan]))
    parts = Parts(histogram(counted))
    heights = [float(bar["height"] or "") for bar, _ in parts.named("rect")]
    assert np.array(heights) == pytest.approx(np.array([1, 2, 0, 1]) / 2.0 * max(heights))
    assert [text for _, text in parts.named("figcaption")] == ["<b>, mm"]
    assert "4 faces, mean 3.15; 1 beyond the ends, counted there; 1 without" in histogram(counted)
    assert "no values" in histogram(Histogram("a", "", 0.0, 1.0, 5))
    shares = Parts(bars([("a", 3, "ok"), ("b", 1, "rejected")])).named("rect")
    assert [bar["width"] for bar, _ in shares] == ["75.000", "25.000"]
    assert bars([]) == "<table></table>"


# --- The survey ----------------------------------------------------------------------------------------------------


def write_tables(folder: Path, faces: list[dict[str, Any]], images: list[dict[str, Any]], size: int) -> range:
    """Write shards of `size` rows; return their numbers."""
    count = -(-max(len(faces), len(images)) // size)
    for k in range(count):
        for table, rows in (("faces", faces), ("images", images)):
            path = folder / f"{table}-{k:05}.parquet"
            path.write_bytes(parquet_bytes(table, rows[k * size : (k + 1) * size], {}))
    return range(count)


def made_up(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return rows of faces and images; some faces lack values, some share a quality."""
    rng = np.random.default_rng(0)
    points = np.stack([np.linspace(10.0, 30.0, 68), np.linspace(5.0, 50.0, 68)], axis=1)  # a box of 20 x 45 px: 30
    faces = []
    for k in range(count):
        face: dict[str, Any] = {"key": f"{k}.jpg", "face_index": k % 3, "status": "CONVERGED"}
        face["quality"] = None if k % 7 == 0 else float(rng.integers(0, 20)) / 20.0
        if k % 5:
            face |= {"landmark_error": 0.6, "landmarks_fitted": points.ravel(), "yaw": float(rng.normal(0, 40))}
            face |= {"pitch": 1.0, "roll": -2.0}
        faces.append(face)
    kinds = [("ok", "CONVERGED"), ("no_face", "NO_FACE"), ("rejected", "BAD_INPUT"), ("quarantined", None)]
    images = []
    for k in range(count):
        outcome, status = kinds[k * k % 4 if k % 8 else k // 8 % 4]
        images.append({"key": f"{k}.jpg", "outcome": outcome, "status": status, "message": f"text {k % 5}",
                       "faces_found": k % 2})  # fmt: skip
    return faces, images


@pytest.mark.parametrize(("size", "batch"), [(1000, 4096), (1000, 7), (10, 4096), (13, 5)])
def test_the_survey_is_that_of_all_rows_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, batch: int
) -> None:
    monkeypatch.setattr(survey, "BATCH", batch)
    faces, images = made_up(300)
    found = survey.survey(tmp_path, write_tables(tmp_path, faces, images, size))
    for name, attribute in (("outcome", found.outcomes), ("status", found.statuses)):
        for value in {row[name] for row in images}:
            assert attribute[value or "-"] == sum(row[name] == value for row in images)
    assert (found.images, found.faces, found.faces_found) == (300, 300, 150)
    wrong = [row for row in images if row["outcome"] != "ok"]
    assert found.reasons == {f"text {k}": sum(row["message"] == f"text {k}" for row in wrong) for k in range(5)}
    assert found.reasons.total() == 300 - found.outcomes["ok"]
    for name, kept in found.histograms.items():
        there = [row[name] for row in faces if row.get(name) is not None]
        assert (kept.number, kept.missing) == (len(there), 300 - len(there)), name
    assert found.histograms["landmark_error"].mean == pytest.approx(2.0), "0.6 px of a face of 30 px"

    rated = [row for row in faces if row["quality"] is not None]
    ordered = sorted(rated, key=lambda row: -row["quality"])  # stable: of equal ones, the first is the better
    best, worst = ordered[:SHEET], ordered[::-1][:SHEET]
    assert [face.key for face in found.best] == [row["key"] for row in best]
    assert [face.key for face in found.worst] == [row["key"] for row in worst]
    assert [face.error is None for face in found.best] == ["yaw" not in row for row in best]
    assert len({failure.key for failure in found.failures}) == SHEET
    counted = [failure.outcome for failure in found.failures]
    assert counted == ["quarantined"] * 8 + ["rejected"] * 8 + ["no_face"] * 8


@pytest.mark.parametrize("count", [0, 1, 2, 3, 30, 47, 48, 49])
def test_no_face_is_on_both_sheets(tmp_path: Path, count: int) -> None:
    faces = [{"key": str(k), "face_index": 0, "status": "CONVERGED", "quality": k // 4 / 100.0} for k in range(count)]
    found = survey.survey(tmp_path, write_tables(tmp_path, faces, [], 20))
    best, worst = [face.key for face in found.best], [face.key for face in found.worst]
    order = [str(k) for k in sorted(range(count), key=lambda k: (-(k // 4), k))]
    assert best == order[: min((count + 1) // 2, SHEET)]
    assert worst == order[::-1][: min(count // 2, SHEET)]


def test_what_is_kept_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thousands of failures, each with a text of its own."""
    images = [{"key": str(k), "outcome": "rejected", "status": "BAD_INPUT", "message": f"{k}"} for k in range(3000)]
    numbers = write_tables(tmp_path, [], images, 700)
    found = survey.survey(tmp_path, numbers)
    assert len(found.reasons) == survey.REASONS + 1
    assert found.reasons[OTHER_REASONS] == 3000 - survey.REASONS and found.reasons.total() == 3000
    assert len(found.failures) == SHEET
    keys = [int(failure.key) for failure in found.failures]
    assert np.ptp(keys) > 1500, "from all over"
    monkeypatch.setattr(survey, "BATCH", 11)
    assert survey.survey(tmp_path, numbers).failures == found.failures


def test_few_failures_of_one_outcome_leave_room_for_another(tmp_path: Path) -> None:
    outcomes = ["quarantined"] * 2 + ["no_face"] * 100 + ["ok"] * 10
    images = [{"key": str(k), "outcome": outcome, "message": ""} for k, outcome in enumerate(outcomes)]
    found = survey.survey(tmp_path, write_tables(tmp_path, [], images, 1000))
    assert [failure.outcome for failure in found.failures] == ["quarantined"] * 2 + ["no_face"] * 22


@pytest.mark.parametrize("damage", ["cut", "gone", "text"])
def test_a_damaged_table_is_named(tmp_path: Path, damage: str) -> None:
    faces, images = made_up(20)
    numbers = write_tables(tmp_path, faces, images, 10)
    path = tmp_path / "faces-00001.parquet"
    data = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"text")
    with pytest.raises(OutputError, match=r"faces-00001\.parquet: expected a table of a dataset, got one that cannot"):
        survey.survey(tmp_path, numbers)


# --- The page ------------------------------------------------------------------------------------------------------


@pytest.fixture
def stub_dataset(tmp_path: Path) -> Path:
    """A dataset in which a picture has a hostile name, one is none, and one was not survived."""
    images = write_images(tmp_path / "in", 3, {1: b"no_face", 2: b"rejected"})
    content = io.BytesIO()
    Image.fromarray(np.full((60, 90, 3), [250, 40, 40], np.uint8)).save(content, "PNG")
    # Where no file can have such a name, a table's key could.
    (images / "hostile.png").write_bytes(content.getvalue())
    (images / "killer.png").write_bytes(content.getvalue())
    items = [Item(HOSTILE if item.key == "hostile.png" else item.key, item.path) for item in Sources([str(images)])]
    sources = Sources([str(images)])
    sources.__class__ = type("Renamed", (Sources,), {"__iter__": lambda self: iter(items)})
    label(sources, tmp_path / "out", StubSpec(), InlineEngine(frozenset({"killer.png"})), RunOptions(2))
    return tmp_path / "out"


def test_the_page_holds_all_and_runs_nothing(stub_dataset: Path) -> None:
    text = write_report(stub_dataset).read_text(encoding="utf-8")
    parts = Parts(text)
    policies = [meta["content"] for meta, _ in parts.named("meta") if "http-equiv" in meta]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert not parts.named("script") and not parts.named("link") and not parts.named("iframe")
    sources = [image["src"] or "" for image, _ in parts.named("img")]
    assert sources and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    attributes = {name for _, given_attributes, _ in parts.elements for name in given_attributes}
    assert attributes.isdisjoint({"href", "onerror", "onload", "action", "srcset"})
    assert [text for _, text in parts.named("bdi")].count(HOSTILE) == 1
    assert "{{" not in text.replace(report.html.escape(HOSTILE), ""), "every place is filled"
    tiles = dict(re.findall(r'<div class="tile (\w+)"><b>([\d,]+)</b>', text))
    assert tiles == {"ok": "2", "no_face": "1", "rejected": "1", "quarantined": "1"}
    assert "5 of 5 images labelled" in text and "still to be done" not in text
    assert "crashed (SIGSEGV) twice" in text


def test_what_was_not_survived_is_not_opened(stub_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(report, "thumbnail", lambda item, landmarks: asked.append(item.key) or b"x")
    text = write_report(stub_dataset).read_text(encoding="utf-8")
    assert sorted(asked) == sorted(["00000.png", "00001.png", "00002.png", HOSTILE])
    assert text.count("not opened again") == 2, "the sentence above the sheet and the place of the picture"


def test_images_that_are_gone_leave_a_sentence(stub_dataset: Path) -> None:
    before = write_report(stub_dataset).read_bytes()
    assert write_report(stub_dataset).read_bytes() == before, "the same page"
    shutil.rmtree(stub_dataset.parent / "in")
    text = write_report(stub_dataset).read_text(encoding="utf-8")
    assert text.count("cannot be shown: cannot be read (No such file or directory)") == 4
    assert "<img" not in text
    assert str(stub_dataset.parent) not in text, "folders are nobody's business"


def test_a_run_that_goes_on_is_left_alone(stub_dataset: Path) -> None:
    with (
        Ledger(stub_dataset / LEDGER),
        pytest.raises(OutputError, match="got one that another run is writing"),
    ):
        write_report(stub_dataset)
    assert not (stub_dataset / "report.html").exists()


def test_half_a_dataset_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_images(tmp_path / "in", 4)

    def stop(self: OpenShard) -> Mapping[str, bytes]:
        if self.shard.number:
            raise KeyboardInterrupt
        return tables(self)

    tables = OpenShard.tables
    monkeypatch.setattr(OpenShard, "tables", stop)
    with pytest.raises(KeyboardInterrupt):
        label(Sources([str(images)]), tmp_path / "out", StubSpec(), InlineEngine(), RunOptions(2))
    text = write_report(tmp_path / "out").read_text(encoding="utf-8")
    assert "2 of 4 images labelled" in text and "The rest is still to be done." in text


# --- Small pictures ------------------------------------------------------------------------------------------------


def shown(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as file:
        return np.asarray(file)


@pytest.mark.parametrize(("size", "expected"), [((400, 100), (SIDE, 42)), ((20, 30), (20, 30)), ((9000, 2), (SIDE, 1))])
def test_a_photo_is_reduced_to_fit(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    Image.new("RGB", size, (200, 30, 60)).save(tmp_path / "a.png")
    picture = shown(thumbnail(Item("a.png", str(tmp_path / "a.png"))))
    assert picture.shape == (expected[1], expected[0], 3)
    assert np.abs(picture.astype(int) - [200, 30, 60]).max() < 6


def test_a_face_is_cut_out_with_its_points() -> None:
    item, result = Item("a", str(ASTRONAUT)), facefit.fit(facefit.read_image(ASTRONAUT))
    assert result.landmarks_fitted is not None
    picture = shown(thumbnail(item, tuple(result.landmarks_fitted.ravel())))
    assert picture.shape == (SIDE, SIDE, 3)
    green = (picture[..., 1] > 180) & (picture[..., 0] < 150) & (picture[..., 2] < 170)
    assert 100 < green.sum() < 1500
    rows, columns = np.nonzero(green)
    assert rows.min() > 20 and rows.max() < SIDE - 15 and columns.min() > 20 and columns.max() < SIDE - 20
    with pytest.raises(ImageError, match="expected finite landmarks"):
        thumbnail(item, [float("nan")] * 136)


# --- The command ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "in").mkdir()
    name = "a<script>document.title=1<b>.jpg".replace("/", "")
    (folder / "in" / name).write_bytes(ASTRONAUT.read_bytes())
    (folder / "in" / "broken.png").write_bytes(b"broken")
    done = run(folder / "in", "-o", folder / "out", "--stages", "landmark", "--workers", 1)
    assert done.status == 3, done.err
    return folder


def test_a_run_ends_with_a_report(labelled: Path) -> None:
    parts = Parts((labelled / "out" / "report.html").read_text(encoding="utf-8"))
    assert len(parts.named("img")) == 1
    assert parts.named("title")[0][1] == "out"
    assert leftovers(labelled / "out") == []


def test_a_report_alone(labelled: Path) -> None:
    before = (labelled / "out" / "report.html").read_bytes()
    (labelled / "out" / "report.html").unlink()
    done = run("--report-only", "-o", labelled / "out")
    assert (done.status, done.out) == (0, f"{labelled / 'out' / 'report.html'}\n")
    assert (labelled / "out" / "report.html").read_bytes() == before


def test_no_report_where_none_is_wanted(labelled: Path) -> None:
    (labelled / "out" / "report.html").unlink(missing_ok=True)
    (labelled / "out" / ".report.html.0123456789ab.tmp").write_bytes(b"a kill left this behind")
    done = run(labelled / "in", "-o", labelled / "out", "--stages", "landmark", "--no-report")
    assert done.status == 3
    assert not (labelled / "out" / "report.html").exists()
    assert leftovers(labelled / "out") == []
    assert run("--report-only", "-o", labelled / "out").status == 0


def test_wrong_calls(labelled: Path, tmp_path: Path) -> None:
    done = run("--report-only", "-o", tmp_path)
    assert done.status == 2 and "expected a dataset with a manifest.json and a ledger.sqlite" in done.err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "ledger.sqlite").write_bytes(b"")
    for content, sentence in (("{", "cannot be read"), ('{"kind": "other"}', "got one of something else")):
        (tmp_path / "manifest.json").write_text(content)
        done = run("--report-only", "-o", tmp_path)
        assert done.status == 2 and sentence in done.err
    done = run("--report-only", "-o", labelled / "out", labelled / "in")
    assert done.status == 2 and "--report-only: expected a dataset alone (-o), got images as well" in done.err
    done = run("-o", tmp_path / "out")
    assert done.status == 2 and "images: expected a folder" in done.err


@only_with_chromium
def test_in_a_browser(labelled: Path, tmp_path: Path) -> None:
    run("--report-only", "-o", labelled / "out")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'user'}"]
    command += ["--proxy-server=127.0.0.1:9", "--dump-dom", f"--screenshot={tmp_path / 'shot.png'}"]
    command += ["--window-size=1000,1700", (labelled / "out" / "report.html").as_uri()]
    document = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    parts = Parts(document)
    assert parts.named("title")[0][1] == "out", "no name ran as a script"
    assert "a<script>document.title=1<b>.jpg" in [text for _, text in parts.named("bdi")]
    with Image.open(tmp_path / "shot.png") as file:
        picture = np.asarray(file.convert("RGB")).astype(int)
    for name, colour in {"ok": (77, 143, 91), "rejected": (207, 148, 54), "a chart": (185, 114, 46)}.items():
        assert (np.abs(picture - colour).max(axis=2) < 6).sum() > 100, f"the mark of {name}"
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3000, "the photo"
