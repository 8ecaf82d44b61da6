"""`report.html`: one page on a dataset, which a person opens from the disk: counts, charts, and faces to look at.

It is made from the tables, the manifest and the images themselves, of which it shows small copies as far as they are
still where they came from; it holds all it shows, runs no script and may load nothing. The same dataset and images
give the same page. Names and texts may come from anybody: they are escaped, and each stands in an element of its own,
so that right-to-left marks in it do not turn what follows.

An image that no worker survived is not opened again: here it would take the report with it.
"""

import base64
import html
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...models.errors import ImageError, MissingDependencyError, OutputError
from ...models.files import atomic_write
from . import charts
from .dataset import KIND, LEDGER, MANIFEST
from .labelled import Outcome
from .ledger import Ledger
from .survey import Face, Failure, Survey, survey
from .thumbnails import thumbnail

REPORT = "report.html"
MOST_REASONS = 12  # rows of the table
MOST_TEXT = 240  # characters of a message that are shown

_LABELS = {"ok": "ok", "no_face": "without a face", "rejected": "rejected", "quarantined": "quarantined"}


def write_report(folder: Path) -> Path:
    """Write a dataset's report into its folder and return its path.

    Raises OutputError for a folder that is no dataset, one that a run is writing, and where the page cannot be written.
    """
    manifest = _manifest(folder)
    with Ledger(folder / LEDGER) as ledger:
        numbers = [shard.number for shard, _ in ledger.visible()]
        page = report_page(folder.resolve().name, manifest, survey(folder, numbers), ledger)
    path = folder / REPORT
    with atomic_write(path) as file:
        file.write(page.encode("utf-8", "replace"))
    return path


def report_page(title: str, manifest: Mapping[str, Any], found: Survey, ledger: Ledger) -> str:
    """Return the page's text; `ledger` tells where the images are."""
    parts = {
        "title": html.escape(title),
        "about": html.escape(_about(found, ledger.planned())),
        "tiles": _tiles(found.outcomes),
        "statuses": _statuses(found),
        "reasons": _reasons(found.reasons),
        "charts": "".join(charts.histogram(each) for each in found.histograms.values()),
        "best": _sheet(_face(face, ledger) for face in found.best),
        "worst": _sheet(_face(face, ledger) for face in found.worst),
        "failures": _sheet(_failure(failure, ledger) for failure in found.failures),
        "footer": _footer(manifest),
    }
    # One pass: what is put in is not searched for further places.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _template())


def _manifest(folder: Path) -> Mapping[str, Any]:
    if not (folder / MANIFEST).is_file() or not (folder / LEDGER).is_file():
        raise OutputError(f"{folder}: expected a dataset with a {MANIFEST} and a {LEDGER}, got another folder or none")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise OutputError(f"{folder / MANIFEST}: cannot be read ({problem})") from None
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise OutputError(f"{folder / MANIFEST}: expected the manifest of a dataset, got one of something else")
    return manifest


def _about(found: Survey, planned: int) -> str:
    faces = f"{found.faces_found:,} faces found, {found.faces:,} exported"
    text = f"{found.images:,} of {planned:,} images labelled; {faces}"
    return f"{text}." if found.images == planned else f"{text}. The rest is still to be done."


def _tiles(outcomes: Counter[str]) -> str:
    return "".join(
        f'<div class="tile {outcome.value}"><b>{outcomes[outcome.value]:,}</b>{_LABELS[outcome.value]}</div>'
        for outcome in Outcome
    )


def _statuses(found: Survey) -> str:
    """Return bars of the statuses, in the colours of what they count as."""
    kinds = {"CONVERGED": "ok", "MAX_ITERATIONS": "ok", "NO_FACE": "no_face", "-": "quarantined"}
    rows = sorted(found.statuses.items(), key=lambda row: (-row[1], row[0]))
    return charts.bars(
        (name if name != "-" else "none: quarantined", count, kinds.get(name, "rejected")) for name, count in rows
    )


def _reasons(reasons: Counter[str]) -> str:
    rows = sorted(reasons.items(), key=lambda row: (-row[1], row[0]))
    if not rows:
        return "<p>All have one.</p>"
    shown, rest = rows[:MOST_REASONS], sum(count for _, count in rows[MOST_REASONS:])
    listed = [(_cut(text), count, "") for text, count in shown]
    return charts.bars([*listed, (f"{len(rows) - len(shown):,} further texts", rest, "")] if rest else listed)


def _sheet(figures: Iterable[str]) -> str:
    return f'<section class="sheet">{content}</section>' if (content := "".join(figures)) else "<p>None.</p>"


def _face(face: Face, ledger: Ledger) -> str:
    facts = [f"quality {face.quality:.3f}"]
    if face.error is not None:
        facts.append(f"error {100.0 * face.error:.1f} %")
    facts.append(face.status)
    name = f"{face.key}, face {face.index}" if face.index else face.key
    return _figure(name, facts, _picture(face.key, ledger, face.landmarks))


def _failure(failure: Failure, ledger: Ledger) -> str:
    quarantined = failure.outcome == Outcome.QUARANTINED
    picture = _blank("not opened again") if quarantined else _picture(failure.key, ledger, None)
    return _figure(failure.key, [_LABELS.get(failure.outcome, failure.outcome), failure.message], picture)


def _figure(name: str, facts: Sequence[str], picture: str) -> str:
    text = "<br>".join(f"<bdi>{html.escape(_cut(fact))}</bdi>" for fact in facts)
    return f"<figure>{picture}<figcaption><b><bdi>{html.escape(_cut(name))}</bdi></b>{text}</figcaption></figure>"


def _picture(key: str, ledger: Ledger, landmarks: Sequence[float] | None) -> str:
    """Return the element that shows an image, or says why it cannot be shown."""
    item = ledger.find(key)
    try:
        if item is None:
            raise ImageError("not in the ledger")
        data = thumbnail(item, landmarks)
    except (ImageError, MissingDependencyError) as problem:
        return _blank(f"cannot be shown: {problem}")
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data).decode("ascii")}">'


def _blank(text: str) -> str:
    return f'<div class="blank"><bdi>{html.escape(_cut(text))}</bdi></div>'


def _footer(manifest: Mapping[str, Any]) -> str:
    """Return what the records depend on, as far as a person wants to know."""
    model, code, options, detector = (manifest.get(name, {}) for name in ("model", "facefit", "options", "detector"))
    stages = ", ".join(str(stage) for stage in options.get("stages", ()))
    facts = [
        f"facefit {code.get('version', '?')}",
        f"model {model.get('name', '?')} ({model.get('licence', '?')})",
        f"detector {detector.get('name', '?')}: {detector.get('licence', '?')}",
        f"stages {stages or '?'}",
        f"exported: {manifest.get('export', '?')}, quality from {manifest.get('min_quality', '?')}",
        f"provenance {manifest.get('provenance_hash', '?')}",
    ]
    return "".join(f"<p>{html.escape(fact)}</p>" for fact in facts)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 3]}..."


@cache
def _template() -> str:
    return files(__package__).joinpath("page", REPORT).read_text(encoding="utf-8")
