"""viewer.html: what stands in it, and, in headless Chromium with no network, what it shows."""

import base64
import json
import re
import shutil
import subprocess
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from export_scenes import detailed
from numpy.typing import NDArray
from PIL import Image

import facefit
from facefit.apps.export.glb import write_glb
from facefit.apps.export.viewer import viewer_page, write_viewer
from facefit.fitting.detailing.relief import normal_map
from facefit.models.errors import InvalidInputError, OutputError

PAGE = Path(__file__).resolve().parent.parent / "apps" / "export" / "page"
ANY_GLB = b"glTF" + bytes(range(256))
HOSTILE = "a </script><script>document.title = 'b'</script> & <b>"
WIDTH, HEIGHT = 900, 600  # px of the screenshot
CANVAS = (slice(60, 540), slice(20, 540))  # rows, columns of it that only the canvas covers

only_with_chromium = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="no chromium on PATH, in which to open the page"
)


class Parts(HTMLParser):
    """The attributes and the texts of a page's elements, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.elements:
            tag, attributes, text = self.elements[-1]
            self.elements[-1] = (tag, attributes, text + data)

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(("", {}, ""))  # what follows is not the element's own text

    def named(self, wanted: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, text) for tag, attributes, text in self.elements if tag == wanted]


def test_the_page_carries_title_model_and_script() -> None:
    parts = Parts(viewer_page(ANY_GLB, HOSTILE))
    assert [text for _, text in parts.named("title")] == [HOSTILE]
    assert [text for _, text in parts.named("h1")] == [HOSTILE]
    (data, model), (code, script) = parts.named("script")
    assert data["id"] == "model" and base64.b64decode(model) == ANY_GLB
    assert code == {} and script == (PAGE / "viewer.bundle.js").read_text(encoding="utf-8")


def test_the_page_may_not_connect() -> None:
    policies = [meta["content"] for meta, _ in Parts(viewer_page(ANY_GLB)).named("meta") if "http-equiv" in meta]
    assert len(policies) == 1 and policies[0] is not None
    rules = dict(rule.split(maxsplit=1) for rule in policies[0].split(";"))
    assert rules.pop("default-src") == "'none'"
    assert set(" ".join(rules.values()).split()) == {"'unsafe-inline'", "data:", "blob:"}
    assert not re.findall(r"(?:src|href)=", (PAGE / "template.html").read_text(encoding="utf-8"))


def test_the_bundle_is_one_classic_script_with_its_licence() -> None:
    bundle = (PAGE / "viewer.bundle.js").read_text(encoding="ascii")
    assert "</script" not in bundle and "<!--" not in bundle
    assert not re.search(r"(^|[;}])\s*(import|export)\b", bundle)
    assert "Permission is hereby granted, free of charge" in bundle and "three.js authors" in bundle
    revision = re.escape(json.loads((PAGE / "package.json").read_text(encoding="utf-8"))["dependencies"]["three"])
    assert re.fullmatch(r"0\\.\d+\\.\d+", revision), "an exact version"
    assert f'"{revision.split(".")[1].rstrip(chr(92))}"' in bundle, "the version of package.json was bundled"


def test_no_text_takes_a_place() -> None:
    assert Parts(viewer_page(ANY_GLB, "{{model}} {{other}}")).named("title")[0][1] == "{{model}} {{other}}"


def test_wrong_calls(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"glb: expected a binary glTF, .* got b'PK"):
        write_viewer(tmp_path / "viewer.html", b"PK\x03\x04")
    with pytest.raises(OutputError, match="cannot be written"):
        write_viewer(tmp_path / "nowhere" / "viewer.html", ANY_GLB)
    assert list(tmp_path.iterdir()) == []


# --- In a browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the default model's mean, slightly smiling."""
    model = facefit.load_model("default")
    expression = np.zeros(model.n_expression)
    expression[model.expression_names.index("mouthSmileLeft")] = 0.4
    camera = facefit.ScaledOrthographic(np.diag([1.0, -1.0, -1.0]), np.zeros(2), 1.0)
    result = facefit.FitResult(
        facefit.FitStatus.CONVERGED,
        "made for a test",
        camera,
        np.zeros(model.n_identity),
        expression,
        vertices=model.vertices(None, expression),
        triangles=model.triangles,
    )
    folder = tmp_path_factory.mktemp("viewer")
    write_glb(folder / "mesh.glb", result, model, model.albedo_texture)
    write_viewer(folder / "viewer.html", (folder / "mesh.glb").read_bytes(), HOSTILE)
    return folder / "viewer.html"


def opened(page: Path, folder: Path, address: str = "") -> tuple[str, NDArray[np.uint8]]:
    """Return a page's document once its model is shown, and a screenshot (HEIGHT, WIDTH, 3) of it."""
    shot = folder / "shot.png"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={folder / 'user'}"]
    command += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    command += ["--proxy-server=127.0.0.1:9", "--dump-dom", f"--screenshot={shot}", f"--window-size={WIDTH},{HEIGHT}"]
    for budget in (10_000, 30_000, 90_000):  # ms of the page's time; decoding pictures takes time of another clock
        arguments = [*command, f"--virtual-time-budget={budget}", page.as_uri() + address]
        document = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False).stdout
        if "data-ready" in document or "data-error" in document:
            break
        time.sleep(0.5)
    with Image.open(shot) as file:
        return document, np.asarray(file.convert("RGB"))


@only_with_chromium
def test_it_shows_the_head_from_disk(page: Path, tmp_path: Path) -> None:
    document, picture = opened(page, tmp_path)
    parts = Parts(document)
    root = parts.named("html")[0][0]
    assert root.get("data-ready") == "true", root.get("data-error")
    assert parts.named("title")[0][1] == HOSTILE
    names = [text for tag, _, text in parts.elements if tag == "span" and text]
    assert names[0] == "mouthSmileLeft", "the strongest first"
    assert sorted(names) == sorted(facefit.load_model("default").expression_names)
    licence = next(text for tag, attributes, text in parts.elements if attributes.get("id") == "licence")
    assert facefit.load_model("default").licence in licence
    canvas = picture[CANVAS].astype(int)
    background = canvas[0, 0]
    drawn = np.abs(canvas - background).max(axis=2) > 8
    assert 0.15 < drawn.mean() < 0.7
    assert len(np.unique(canvas[drawn], axis=0)) > 1000, "a head with shades, not a silhouette"


@only_with_chromium
def test_it_shows_the_normal_map(tmp_path: Path) -> None:
    """Waves that run to the right over the face are shaded in stripes; those turned over are, the other way round."""
    model = facefit.load_model("default")
    pictures = []
    for name, height in (("flat", 0.0), ("waves", 0.5), ("turned", -0.5)):
        result = detailed(model, np.tile(height * np.sin(np.arange(256.0) / 2.0), (256, 1)).astype(np.float32))
        assert result.detail is not None
        result = replace(result, identity=None, expression=None, vertices=model.mean)
        folder = tmp_path / name
        folder.mkdir()
        normals = normal_map(result.detail, model.mean, model.triangles)
        grey = np.full((8, 8, 3), 200, np.uint8)
        write_glb(folder / "mesh.glb", result, model, grey, result.detail.uv, normals)
        write_viewer(folder / "viewer.html", (folder / "mesh.glb").read_bytes())
        document, picture = opened(folder / "viewer.html", folder)
        assert "data-ready" in document and "data-error" not in document
        pictures.append(picture[CANVAS].astype(float).mean(axis=2))
    flat, waves, turned = pictures
    face = np.abs(flat - flat[0, 0]) > 60
    one, other = (waves - flat)[face], (turned - flat)[face]
    assert face.sum() > 20_000 and one.std() > 6.0
    assert np.corrcoef(one, other)[0, 1] < -0.6, "bright where the other is dark"


@only_with_chromium
def test_its_address_sets_the_expression(page: Path, tmp_path: Path) -> None:
    _, still = opened(page, tmp_path)
    document, moved = opened(page, tmp_path, "#jawOpen=1")
    assert "data-ready" in document
    rows = np.nonzero(np.abs(moved[CANVAS].astype(int) - still[CANVAS]).max(axis=2) > 24)[0]
    middle = (CANVAS[0].stop - CANVAS[0].start) / 2.0
    assert len(rows) > 500
    assert np.median(rows) > middle, "an opening jaw moves the lower half"
