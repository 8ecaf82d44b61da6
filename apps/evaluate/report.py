"""What an evaluation found, as text, as rows for a spreadsheet and as JSON.

Every report says which model, which points and which images it speaks of, and shows the mean face beside the fit: an
error means little until one knows what no fit at all scores.
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.files import atomic_write
from .evaluators import DETECTOR, FIT, MEAN_FACE, Case, Evaluation
from .nme import POINT_SETS, YAW_BINS, nme, without_constant_offset, yaw_bin

Array = NDArray[np.float64]
Row = dict[str, Any]

METHODS = (FIT, MEAN_FACE, DETECTOR)


def header(evaluation: Evaluation) -> Row:
    """Return what the figures speak of: model, points, data, and how many images there are and were scored."""
    detectors = sorted({case.detector for case in evaluation.scored if case.detector})
    return {
        "model": evaluation.model,
        "landmarks": " by ".join([evaluation.landmarks, *([", ".join(detectors)] if _detected(evaluation) else [])]),
        "data": f"{evaluation.data} {evaluation.folder}",
        "images": len(evaluation.cases),
        "scored": len(evaluation.scored),
        "by yaw": {name: sum(yaw_bin(case.sample.yaw) == name for case in evaluation.scored) for name in YAW_BINS},
    }


def summary(evaluation: Evaluation) -> list[Row]:
    """Return one row per method: mean NME in per cent, over all images and by yaw bin, and scan distances in mm."""
    rows = []
    for method in METHODS:
        cases = [case for case in evaluation.scored if method in case.predictions]
        if not cases:
            continue
        predicted, truth = _stacked(cases, method)
        bins = np.array([yaw_bin(case.sample.yaw) for case in cases])
        primary = evaluation.point_sets[0]
        row: Row = {"method": method}
        row |= {f"NME {name} %": 100.0 * float(nme(predicted, truth, name).mean()) for name in evaluation.point_sets}
        for name in YAW_BINS:
            errors = nme(predicted, truth, primary)[bins == name]
            row[f"yaw {name} %"] = 100.0 * float(errors.mean()) if len(errors) else None
        centred = without_constant_offset(predicted, truth)
        # One image is all offset: what would be left is zero and says nothing.
        row["offset-free %"] = 100.0 * float(nme(centred, truth, primary).mean()) if len(cases) > 1 else None
        scans = [scan for case in cases if (scan := case.predictions[method].scan) is not None]
        if scans:
            row["scan median mm"] = float(np.mean([scan.median for scan in scans]))
            row["scan mean mm"] = float(np.mean([scan.mean for scan in scans]))
        rows.append(row)
    return rows


def images(evaluation: Evaluation) -> list[Row]:
    """Return one row per image and method; an image without a usable fit has one row without figures."""
    rows: list[Row] = []
    for case in evaluation.cases:
        for method in case.predictions or (FIT,):
            row: Row = {"image": case.sample.name, "yaw_deg": case.sample.yaw, "status": case.status, "method": method}
            row |= dict.fromkeys([*(f"nme_{name}" for name in POINT_SETS), "scan_median_mm", "scan_mean_mm"])
            if method in case.predictions:
                predicted, truth = _stacked([case], method)
                row |= {f"nme_{name}": float(nme(predicted, truth, name)[0]) for name in POINT_SETS}
                if (scan := case.predictions[method].scan) is not None:
                    row |= {"scan_median_mm": scan.median, "scan_mean_mm": scan.mean}
            rows.append(row)
    return rows


def as_text(evaluation: Evaluation) -> str:
    """Return the report for a terminal."""
    about = header(evaluation)
    about["by yaw"] = ", ".join(f"{count} of {name}" for name, count in about["by yaw"].items())
    lines = [f"{name:<10} {value}" for name, value in about.items()]
    if rows := summary(evaluation):
        shown = evaluation.point_sets[0]
        lines += ["", *text_table(rows), "", *_against_mean_face(evaluation)]
        lines += [f"NME: per cent of sqrt(w h); by yaw (degrees) and offset-free over {shown} points."]
    if evaluation.unscored:
        failures = (f"{case.sample.name} ({case.status})" for case in evaluation.unscored)
        lines += ["", f"No usable fit: {', '.join(failures)}"]
    return "\n".join(lines)


def as_json(evaluation: Evaluation) -> str:
    """Return the report as one JSON object: `header`, `summary` (per cent, mm) and `images` (fractions, mm)."""
    content = {"header": header(evaluation), "summary": summary(evaluation), "images": images(evaluation)}
    return json.dumps(content, allow_nan=False)


def write_csv(path: str | Path, evaluation: Evaluation) -> None:
    """Write the rows of `images`, each beginning with model, landmarks and data; the file appears whole or not at all.

    Raises OutputError where it cannot be written.
    """
    about = {name: value for name, value in header(evaluation).items() if name in ("model", "landmarks", "data")}
    rows = [about | row for row in images(evaluation)]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def text_table(rows: Sequence[Row]) -> list[str]:
    """Return lines that show rows of one or more sets of keys as one table; numbers have two decimals, None a dash."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in cells]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _against_mean_face(evaluation: Evaluation) -> list[str]:
    """Return a line for each scan distance: on how many faces the fit beats the mean face, and where it loses most."""
    lines = []
    for name in ("median", "mean"):
        losses = {}
        for case in evaluation.scored:
            fit, mean_face = case.predictions[FIT].scan, case.predictions[MEAN_FACE].scan
            if fit is not None and mean_face is not None:
                losses[case.sample.name] = getattr(fit, name) - getattr(mean_face, name)
        if losses:
            worst = max(losses, key=lambda image: losses[image])
            better = sum(loss < 0.0 for loss in losses.values())
            lines.append(
                f"Scan {name}: better than the mean face on {better} of {len(losses)} faces, "
                f"at worst {losses[worst]:+.2f} mm ({worst})."
            )
    return lines


def _detected(evaluation: Evaluation) -> bool:
    return any(DETECTOR in case.predictions for case in evaluation.cases)


def _stacked(cases: Sequence[Case], method: str) -> tuple[Array, Array]:
    """Return (n, 68, 2) predicted and true points, px."""
    predicted = np.stack([case.predictions[method].landmarks for case in cases])
    return predicted, np.stack([case.sample.landmarks for case in cases])
