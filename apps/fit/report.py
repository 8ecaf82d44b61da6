"""What `facefit fit` prints: a few lines about one photo, a table of several."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .job import Outcome, shown


def print_photo(outcome: Outcome, shared: Mapping[str, float], console: Console) -> None:
    """Print what was found on one photo, how well it fits, how long it took and where it lies.

    `shared` is the time, s, of what was done before the photo: start, compile.
    """
    size = " x ".join(map(str, outcome.size)) + " px" if outcome.size else "not readable"
    _line(console, "photo", f"{shown(outcome.photo)}, {size}")
    for summary in outcome.summaries:
        if len(outcome.summaries) > 1:
            _line(console, "", f"face {summary['face_index'] + 1} of {len(outcome.summaries)}")
        for name, text in _face_lines(summary):
            _line(console, name, text)
    seconds = {**shared, **outcome.seconds}
    steps = ", ".join(f"{name} {value:.2f}" for name, value in seconds.items())
    _line(console, "time", f"{sum(seconds.values()):.2f} s: {steps}")


def print_table(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print one row per face, and how many photos came out well."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("photo")
    table.add_column("face", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for heading in ("error", "yaw", "pitch", "roll", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in outcomes:
        for k, summary in enumerate(outcome.summaries):
            first = k == 0
            table.add_row(
                Text(shown(outcome.photo.name) if first else "", overflow="ellipsis", no_wrap=True),
                f"{summary['face_index'] + 1}" if summary["box"] is not None else "-",
                Text(_words(summary["status"]), style="" if summary["usable"] else "red"),
                " ".join(_error_texts(summary)),
                *(_number((summary["pose_degrees"] or {}).get(angle), "+.0f") for angle in ("yaw", "pitch", "roll")),
                f"{sum(outcome.seconds.values()):.2f}" if first else "",
            )
    console.print(table)
    usable = sum(outcome.usable for outcome in outcomes)
    console.print(f"{usable} of {len(outcomes)} photos have a usable fit", highlight=False)


def failures(outcome: Outcome) -> list[str]:
    """Return a sentence for each face without a usable fit."""
    sentences = []
    for summary in outcome.summaries:
        if not summary["usable"]:
            name, message = shown(outcome.photo), shown(" ".join(summary["message"].split()))
            where = f"{name}, face {summary['face_index'] + 1}" if len(outcome.summaries) > 1 else name
            sentences.append(message if message.startswith(name) else f"{where}: {message}")
    return sentences


def _face_lines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = []
    if summary["detector"] is not None:
        x0, y0, x1, y1 = (round(edge) for edge in summary["box"])
        score = summary["detector_score"]
        lines.append(("found", f"by {summary['detector']}, score {score:.2f}, box {x0},{y0} to {x1},{y1}"))
    lines.append(("fit", _fit_text(summary)))
    if error := _error_texts(summary):
        lines.append(("error", ", ".join(error) + " of the face (root mean square of the landmarks)"))
    if summary["quality"] is not None:
        lines.append(("quality", f"{summary['quality']:.2f} (likelihood of a fit within 3 % of the face)"))
    if energy := _energy_text(summary):
        lines.append(("energy", energy))
    if detail := _detail_text(summary):
        lines.append(("detail", detail))
    if summary["pose_degrees"] is not None:
        lines.append(("pose", ", ".join(f"{name} {angle:+.1f}°" for name, angle in summary["pose_degrees"].items())))
    lines.append(("written", f"{shown(summary['folder'])}: {', '.join(_grouped(summary['files']))}"))
    return lines


def _fit_text(summary: Mapping[str, Any]) -> str:
    iterations = sum(stage["iterations"] for stage in summary["stages"])
    if not summary["usable"]:  # the sentence has gone to the error stream
        return f"none that can be used ({_words(summary['status'])})"
    return summary["message"] + (f" ({iterations} iterations)" if iterations else "")


def _energy_text(summary: Mapping[str, Any]) -> str:
    """Return how the photometric stage changed the energy, and each term's share of it; empty where it did not run."""
    for stage in summary["stages"]:
        if stage["name"] == "photometric":
            rejected = "" if summary["lighting"] is not None else "photometric stage rejected"
            before, after = stage["energy_before"], stage["energy_after"]
            if not before:  # it had too little to see
                return rejected
            sums = sum(before.values()), sum(after.values())
            shares = ", ".join(
                f"{name} {100.0 * before[name] / sums[0]:.0f}→{100.0 * after[name] / sums[1]:.0f} %" for name in before
            )
            return f"{sums[0]:.0f}→{sums[1]:.0f} nats: {shares}" + (f" ({rejected})" if rejected else "")
    return ""


def _detail_text(summary: Mapping[str, Any]) -> str:
    """Return what the detail stage found; empty where it did not run."""
    for stage in summary["stages"]:
        if stage["name"] == "detail":
            found = summary["detail"]
            if found is None:
                return "none: too little of the face is seen" if stage["status"] == "STALLED" else "none"
            return f"heights from {found['lowest_mm']:+.1f} to {found['highest_mm']:+.1f} mm"
    return ""


def _grouped(files: Sequence[str]) -> list[str]:
    """Return names of files, those in a folder as one."""
    return list(dict.fromkeys(f"{PurePosixPath(name).parent}/" if "/" in name else name for name in files))


def _line(console: Console, name: str, text: str) -> None:
    console.print(f"{name:<9}{text}", markup=False, highlight=False, soft_wrap=True)


def _words(status: str) -> str:
    return status.lower().replace("_", " ")


def _error_texts(summary: Mapping[str, Any]) -> list[str]:
    """Return the landmark error in px and in per cent of the face, as far as there is one."""
    units = (("landmark_error_px", "px"), ("landmark_error_percent", "%"))
    return [f"{summary[name]:.1f} {unit}" for name, unit in units if summary[name] is not None]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
