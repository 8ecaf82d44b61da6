"""What a worker makes of real images: rows that are the fit's, outcomes for all that is wrong."""

import dataclasses
import io
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ASTRONAUT
from label_stub import InlineEngine
from PIL import Image

import facefit
from facefit.apps.label.decoding import decode
from facefit.apps.label.fitter import LabelFitter, LabelSpec, for_one_thread, make_spec
from facefit.apps.label.labelled import Labelled, Outcome
from facefit.apps.label.run import RunOptions, label
from facefit.apps.label.sources import Item, Sources
from facefit.fitting.images import LoadedImage
from facefit.fitting.options import FitOptions
from facefit.fitting.results import FitResult
from facefit.models.errors import ImageError, InvalidInputError, ModelError
from facefit.models.morphable_model import MorphableModel

ITEM = Item("astronaut.jpg", str(ASTRONAUT))


def jpeg(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=95)
    return content.getvalue()


@pytest.fixture(scope="module")
def spec() -> LabelSpec:
    return make_spec()


@pytest.fixture(scope="module")
def fitter(spec: LabelSpec) -> LabelFitter:
    built: LabelFitter = pickle.loads(pickle.dumps(spec)).build()  # as it travels to a worker
    return built


@pytest.fixture(scope="module")
def astronaut(fitter: LabelFitter) -> Labelled:
    return fitter(ITEM, ASTRONAUT.read_bytes())


def changed(fitter: LabelFitter, **options: Any) -> LabelFitter:
    """Return a fitter of other options that shares what is loaded."""
    other = object.__new__(LabelFitter)
    other.__dict__ |= fitter.__dict__ | {"_spec": dataclasses.replace(fitter._spec, **options)}
    return other


def test_the_row_is_the_fits(astronaut: Labelled, fitter: LabelFitter) -> None:
    expected = facefit.fit(facefit.read_image(ASTRONAUT), options=fitter._spec.options)
    assert (astronaut.outcome, astronaut.status) == (Outcome.OK, expected.status.name)
    (row,) = astronaut.faces
    assert np.array_equal(row["identity"], np.asarray(expected.identity, "float32"))
    assert np.array_equal(row["landmarks"], np.asarray(expected.landmarks, "float32").ravel())
    assert row["landmark_convention"] == "contour", "dlib's"
    assert row["detector"].startswith("dlib")
    height, width = facefit.read_image(ASTRONAUT).shape[:2]
    assert astronaut.image == {"width": width, "height": height, "orientation": 1, "faces_found": 1}
    assert [stage["name"] for stage in row["stages"]] == list(fitter._spec.options.stages)


def test_the_same_bytes_are_the_same_labels(astronaut: Labelled, fitter: LabelFitter, spec: LabelSpec) -> None:
    """In a fitter that has seen other images, and in a new one."""
    fitter(ITEM, jpeg(np.full((300, 300, 3), 90, np.uint8)))
    for other in (fitter, spec.build()):
        again = other(ITEM, ASTRONAUT.read_bytes())
        assert pickle.dumps((again.outcome, again.message, again.image)) == pickle.dumps(
            (astronaut.outcome, astronaut.message, astronaut.image)
        )
        for mine, theirs in zip(again.faces, astronaut.faces, strict=True):
            assert all(np.array_equal(mine[name], theirs[name]) for name in theirs if name != "stages")
            assert mine["stages"] == theirs["stages"]


def test_steps_are_timed(astronaut: Labelled) -> None:
    assert set(astronaut.seconds) >= {"decode", "detection", "landmark", "photometric", "other"}
    assert all(seconds >= 0.0 for seconds in astronaut.seconds.values())


def test_an_image_without_a_face(fitter: LabelFitter) -> None:
    labelled = fitter(ITEM, jpeg(np.full((300, 400, 3), 128, np.uint8)))
    assert (labelled.outcome, labelled.status, labelled.faces) == (Outcome.NO_FACE, "NO_FACE", ())
    assert labelled.image["faces_found"] == 0


@pytest.mark.parametrize("data", [b"", b"not a picture", ASTRONAUT.read_bytes()[:5000]], ids=["empty", "text", "cut"])
def test_what_is_no_picture_is_rejected_and_says_so_without_a_path(fitter: LabelFitter, data: bytes) -> None:
    labelled = fitter(ITEM, data)
    assert (labelled.outcome, labelled.status) == (Outcome.REJECTED, "BAD_INPUT")
    assert labelled.message.startswith("expected a")
    assert "/" not in labelled.message
    assert fitter(ITEM, data).message == labelled.message


def test_ten_thousand_broken_images_in_a_row(tmp_path: Path, fitter: LabelFitter) -> None:
    """Half of them no pictures, half of them cut off."""
    (tmp_path / "in").mkdir()
    whole = jpeg(np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8))
    for k in range(10_000):
        (tmp_path / "in" / f"{k:05}.jpg").write_bytes(whole[: len(whole) // 2] if k % 2 else b"broken %d" % k)

    class Spec:
        description: Mapping[str, Any] = {}

        def build(self) -> LabelFitter:
            return fitter

    summary = label(Sources([str(tmp_path / "in")]), tmp_path / "out", Spec(), InlineEngine(), RunOptions(5000))
    assert summary.counts.rejected == summary.planned == 10_000


def test_every_face_or_the_largest(fitter: LabelFitter) -> None:
    picture = facefit.read_image(ASTRONAUT)
    small = np.asarray(Image.fromarray(picture).resize((picture.shape[1] * 4 // 5, picture.shape[0] * 4 // 5)))
    canvas = np.full((picture.shape[0], picture.shape[1] + small.shape[1], 3), 128, np.uint8)
    canvas[:, : picture.shape[1]] = picture
    canvas[: small.shape[0], picture.shape[1] :] = small
    both = changed(fitter, all_faces=True)(ITEM, jpeg(canvas))
    assert [row["face_index"] for row in both.faces] == [0, 1]
    assert both.image["faces_found"] == 2
    one = fitter(ITEM, jpeg(canvas))
    assert (len(one.faces), one.image["faces_found"]) == (1, 2)


def test_quality_decides_what_is_exported_and_not_what_an_image_counts_as(
    astronaut: Labelled, fitter: LabelFitter
) -> None:
    quality = astronaut.faces[0]["quality"]
    assert 0.0 < quality < 1.0
    below = changed(fitter, min_quality=quality + 1e-6)(ITEM, ASTRONAUT.read_bytes())
    assert (below.outcome, below.faces) == (Outcome.OK, ())
    assert len(changed(fitter, min_quality=quality)(ITEM, ASTRONAUT.read_bytes()).faces) == 1
    everything = changed(fitter, min_quality=quality + 1e-6, export_all=True)(ITEM, ASTRONAUT.read_bytes())
    assert len(everything.faces) == 1


def test_a_fit_that_cannot_be_used_is_rejected_and_exported_only_on_request(fitter: LabelFitter) -> None:
    options = dataclasses.replace(fitter._spec.options, max_seconds=1e-9)
    late = changed(fitter, options=options)(ITEM, ASTRONAUT.read_bytes())
    assert (late.outcome, late.status, late.faces) == (Outcome.REJECTED, "TIMEOUT", ())
    told = changed(fitter, options=options, export_all=True)(ITEM, ASTRONAUT.read_bytes())
    assert [row["status"] for row in told.faces] == ["TIMEOUT"]
    blank = changed(fitter, export_all=True)(ITEM, jpeg(np.full((300, 400, 3), 128, np.uint8)))
    assert blank.faces == (), "no face is no row"


class Sizes:
    """An exporter: a text per face."""

    name, tar = "sizes", "files"

    def check(self, model: MorphableModel) -> None:
        if model.name != "default":
            raise InvalidInputError("model: expected the default one")

    def __call__(
        self, item: Item, image: LoadedImage, results: Sequence[FitResult], model: MorphableModel
    ) -> dict[str, bytes]:
        assert image.path == item.key
        return {f"{item.key}.{face.face_index}.txt": f"{model.name} {image.pixels.shape}".encode() for face in results}


def test_exporters_files_end_in_the_shards_tar(tmp_path: Path, fitter: LabelFitter) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(ASTRONAUT.read_bytes())
    (tmp_path / "in" / "b.jpg").write_bytes(b"broken")
    exporting = changed(fitter, exporters=(Sizes(),))

    class Spec:
        description: Mapping[str, Any] = {}

        def build(self) -> LabelFitter:
            return exporting

    label(Sources([str(tmp_path / "in")]), tmp_path / "out", Spec(), InlineEngine())
    with tarfile.open(tmp_path / "out" / "files-00000.tar") as archive:
        content = archive.extractfile("a.jpg.0.txt")
        assert content is not None
        assert content.read() == f"default {facefit.read_image(ASTRONAUT).shape}".encode()
        assert archive.getnames() == ["a.jpg.0.txt"]


# --- The spec ----------------------------------------------------------------------------------------------------


def test_the_description_tells_all_that_records_depend_on(spec: LabelSpec) -> None:
    described = spec.description
    assert described["model"]["hash"] == facefit.load_model("default").hash
    assert described["options"]["photometric"]["threads"] == 1
    assert described["facefit"]["libraries"]["numpy"] == np.__version__
    assert len(described["facefit"]["sources"]) == 64
    assert make_spec().description == described
    others = ({"seed": 1}, {"all_faces": True}, {"export_all": True}, {"min_quality": 0.5}, {"exporters": (Sizes(),)},
              {"options": FitOptions(stages=("landmark",))})  # fmt: skip
    for options in others:
        assert make_spec(**options).description != described, options  # type: ignore[arg-type]


@pytest.mark.parametrize("quality", [-0.1, 1.1, float("nan")])
def test_wrong_quality_is_named(quality: float) -> None:
    with pytest.raises(InvalidInputError, match="min_quality: expected a number from 0 to 1"):
        make_spec(min_quality=quality)


def test_every_part_of_the_options_is_for_one_thread_and_has_the_seed() -> None:
    """Whatever stages there are: each whose options know of threads, or of a seed."""
    for part in dataclasses.fields(FitOptions):
        value = getattr(for_one_thread(FitOptions(), 7), part.name)
        assert getattr(value, "threads", 1) == 1
        assert getattr(value, "seed", 7) == 7


def test_another_model_than_the_parents_is_refused(spec: LabelSpec) -> None:
    with pytest.raises(ModelError, match="expected hash other, got"):
        dataclasses.replace(spec, model_hash="other").build()


# --- Decoding ----------------------------------------------------------------------------------------------------


def test_bytes_decode_as_their_file_does() -> None:
    image = decode(ASTRONAUT.read_bytes(), "the key")
    assert np.array_equal(image.pixels, facefit.read_image(ASTRONAUT))
    assert image.path == "the key"


def test_where_no_file_in_memory_can_be_had_a_temporary_one_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert np.array_equal(decode(ASTRONAUT.read_bytes(), "k").pixels, facefit.read_image(ASTRONAUT))
    with pytest.raises(ImageError, match=r"^expected a JPEG"):
        decode(b"broken", "k")
    assert list(tmp_path.iterdir()) == []
