"""What an evaluation found, as text, as rows for a spreadsheet and as JSON.

Every report says which model, which points and which images it speaks of, and shows the mean face beside the fit: an
error means little until one knows what no fit at all scores.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...models.files import atomic_write
from .comparison import comparisons
from .evaluation import DETECTOR, FIT, METHODS, Case, Evaluation
from .lids import correlation
from .measures import OFFSET_FREE, OFFSET_FREE_FRONTAL, PSNR, SCAN_MEAN, SCAN_MEDIAN, by_image, stacked
from .nme import POINT_SETS, YAW_BINS, nme, yaw_bin

Row = dict[str, Any]


def header(evaluation: Evaluation) -> Row:
    """Return what the figures speak of: model, points, data, stages, and how many images there are and were scored."""
    detectors = sorted({case.detector for case in evaluation.scored if case.detector})
    detected = any(DETECTOR in case.predictions for case in evaluation.cases)
    return {
        "model": evaluation.model,
        "landmarks": " by ".join([evaluation.landmarks, *([", ".join(detectors)] if detected else [])]),
        "data": f"{evaluation.data} {evaluation.folder}",
        "images": len(evaluation.cases),
        "scored": len(evaluation.scored),
        "by yaw": {name: sum(yaw_bin(case.sample.yaw) == name for case in evaluation.scored) for name in YAW_BINS},
        "stages": _stages(evaluation),
    }


def _stages(evaluation: Evaluation) -> dict[str, Row]:
    """Return, by stage of the fit: median seconds, and how many images it ended with which status."""
    reports = [report for case in evaluation.scored for report in case.stages]
    return {
        name: {
            "median s": float(np.median([report.seconds for report in reports if report.name == name])),
            "status": dict(Counter(report.status.name.lower() for report in reports if report.name == name)),
        }
        for name in dict.fromkeys(report.name for report in reports)
    }


def summary(evaluation: Evaluation) -> list[Row]:
    """Return one row per method: mean NME in per cent, over all images and by yaw bin; mean scan distances in mm; the
    median PSNR; and of a clip how well the eyes' closure correlates with the truth.
    """  # fmt: skip
    rows = []
    primary = evaluation.point_sets[0]
    for method in METHODS:
        cases = [case for case in evaluation.scored if method in case.predictions]
        if not cases:
            continue
        predicted, truth = stacked(cases, method)
        bins = np.array([yaw_bin(case.sample.yaw) for case in cases])
        row: Row = {"method": method}
        row |= {f"NME {name} %": 100.0 * float(nme(predicted, truth, name).mean()) for name in evaluation.point_sets}
        for name in YAW_BINS:
            errors = nme(predicted, truth, primary)[bins == name]
            row[f"yaw {name} %"] = 100.0 * float(errors.mean()) if len(errors) else None
        for measure in (OFFSET_FREE, OFFSET_FREE_FRONTAL, SCAN_MEDIAN, SCAN_MEAN, PSNR):
            values = list(by_image(evaluation, method, measure).values())
            average = np.median if measure == PSNR else np.mean
            row[measure] = float(average(values)) if values else None
        rows.append(row | _closure(cases, method))
    return rows


def _closure(cases: Sequence[Case], method: str) -> Row:
    """Return the correlation of each measure of closure that the method has with the truth."""
    row: Row = {}
    for name in cases[0].predictions[method].closure:
        pairs = [
            (case.predictions[method].closure[name], case.sample.closure[name.split()[0]])
            for case in cases
            if case.sample.closure is not None
        ]
        row[f"{name} r"] = correlation(*zip(*pairs, strict=True))
    return row


def images(evaluation: Evaluation) -> list[Row]:
    """Return one row per image and method; an image without a usable fit has one row without figures."""
    rows: list[Row] = []
    for case in evaluation.cases:
        for method in case.predictions or (FIT,):
            row: Row = {"image": case.sample.name, "yaw_deg": case.sample.yaw, "status": case.status, "method": method}
            row |= dict.fromkeys([*(f"nme_{name}" for name in POINT_SETS), "scan_median_mm", "scan_mean_mm", "psnr_db"])
            row |= {f"{side} truth": value for side, value in (case.sample.closure or {}).items()}
            if (prediction := case.predictions.get(method)) is not None:
                predicted, truth = stacked([case], method)
                row |= {f"nme_{name}": float(nme(predicted, truth, name)[0]) for name in POINT_SETS}
                if prediction.scan is not None:
                    row |= {"scan_median_mm": prediction.scan.median, "scan_mean_mm": prediction.scan.mean}
                row |= {"psnr_db": prediction.psnr, **prediction.closure}
            rows.append(row)
    return rows


def as_text(evaluation: Evaluation) -> str:
    """Return the report for a terminal."""
    about = header(evaluation)
    about["by yaw"] = ", ".join(f"{count} of {name}" for name, count in about["by yaw"].items())
    about["stages"] = "; ".join(
        f"{name} {1000.0 * stage['median s']:.0f} ms ({_counted(stage['status'])})"
        for name, stage in about["stages"].items()
    )
    lines = [f"{name:<10} {value}".rstrip() for name, value in about.items()]
    if rows := summary(evaluation):
        shown = evaluation.point_sets[0]
        lines += ["", *text_table(rows), ""]
        if pairs := comparisons(evaluation):
            lines += [*text_table(pairs), ""]
        lines += [f"NME: per cent of sqrt(w h); by yaw (degrees) and offset-free over {shown} points. PSNR: median."]
    if evaluation.unscored:
        failures = (f"{case.sample.name} ({case.status})" for case in evaluation.unscored)
        lines += ["", f"No usable fit: {', '.join(failures)}"]
    return "\n".join(lines)


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in numbers.items())


def as_json(evaluation: Evaluation) -> str:
    """Return the report as one JSON object: `header`, `summary`, `comparisons` and `images` (NME: fractions)."""
    content = {
        "header": header(evaluation),
        "summary": summary(evaluation),
        "comparisons": comparisons(evaluation),
        "images": images(evaluation),
    }
    return json.dumps(content, allow_nan=False)


def write_csv(path: str | Path, evaluation: Evaluation) -> None:
    """Write the rows of `images`, each beginning with model, landmarks and data; the file appears whole or not at all.

    Raises OutputError where it cannot be written.
    """
    about = {name: value for name, value in header(evaluation).items() if name in ("model", "landmarks", "data")}
    rows = [about | row for row in images(evaluation)]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=_columns(rows))
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def text_table(rows: Sequence[Row]) -> list[str]:
    """Return lines that show rows of one or more sets of keys as one table; numbers have two decimals, None a dash.

    A column without any value is left out.
    """
    columns = [name for name in _columns(rows) if any(row.get(name) is not None for row in rows)]
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in cells]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _columns(rows: Sequence[Row]) -> list[str]:
    """Return every key of the rows once, in the order in which they first appear."""
    return list(dict.fromkeys(key for row in rows for key in row))
