"""What a morphable model is made of, as plain values for JSON and as text."""

import re
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np

from ...models.catalogue import CatalogueEntry
from ...models.morphable_model import MorphableModel
from ...models.store import how_to_get

Row = dict[str, Any]

_FREE = re.compile(r"(cc0|cc-by-[34]\.0|mit|apache-2\.0|bsd|public domain)\b", re.IGNORECASE)
_BOUND = re.compile(r"-nc\b|(non?|not for)[- ]?commercial|research|academic|educational", re.IGNORECASE)

_WITHOUT = {
    "landmarks": "cannot be fitted",
    "landmarks_contour": "the semantic places stand in",
    "contour": "the outline is looked for in a band about the jaw line",
    "expression": "faces stay at rest",
    "albedo_mean": "drawn as clay, no photometric fit",
    "albedo": "every face has the mean's skin",
    "mirror": "left and right are not related",
    "uv": "no texture can be laid on",
    "regions": "no part of the face has a name",
}
"""Optional parts of a model and what it means to do without."""


def commercial_use(licence: str) -> bool | None:
    """Tell whether a licence line allows commercial use: True, False, or None where it does not clearly say."""
    if _BOUND.search(licence):
        return False
    return True if _FREE.match(licence) else None


def summary(model: MorphableModel, place: str) -> Row:
    """Return one row of the list of models; `place` says where the model is."""
    return {
        "name": model.name,
        "licence": model.licence,
        "commercial_use": commercial_use(model.licence),
        "vertices": model.n_vertices,
        "identity": model.n_identity,
        "expression": model.n_expression,
        "albedo": model.n_albedo,
        "place": place,
    }


def catalogue_row(entry: CatalogueEntry, place: Path | None) -> Row:
    """Return one row of the list for a model known by name, which lies at `place` or, where None, can be got."""
    return {
        "name": entry.name,
        "licence": entry.licence,
        "commercial_use": commercial_use(entry.licence),
        "vertices": entry.vertices,
        "identity": entry.identity,
        "expression": entry.expression,
        "albedo": entry.albedo,
    } | ({"place": None, "obtain": how_to_get(entry)} if place is None else {"place": str(place)})


def stored_row(name: str, place: Path) -> Row:
    """Return one row of the list for another model of the user's; it is not read for that."""
    unread = dict.fromkeys(("licence", "commercial_use", "vertices", "identity", "expression", "albedo"))
    return {"name": name} | unread | {"place": str(place)}


def details(model: MorphableModel, place: str) -> Row:
    """Return all that `info` tells, as plain values; infinite bounds and unknown sizes are None."""
    units = zip(
        model.expression_names,
        *(values.tolist() for values in (model.expression_sigma, model.expression_lower, model.expression_upper)),
        strict=True,
    )
    return summary(model, place) | {
        "citation": model.citation,
        "hash": model.hash,
        "triangles": len(model.triangles),
        "face_size_mm": None if model.landmarks is None else model.face_size,
        "parts": parts(model),
        "regions": {name: int(mask.sum()) for name, mask in model.regions.items()},
        "units": [
            {"name": name, "sigma": sigma, "lower": _finite(lower), "upper": _finite(upper)}
            for name, sigma, lower, upper in units
        ],
    }


def parts(model: MorphableModel) -> dict[str, bool]:
    """Return which of the optional parts the model has."""
    values = {name: getattr(model, name) for name in _WITHOUT}
    return {name: len(value) > 0 if isinstance(value, Sized) else value is not None for name, value in values.items()}


def list_text(rows: Sequence[Row]) -> str:
    """Return the list of models as a table, and how to get those that are not here."""
    table = [
        {name.replace("_", " "): "-" if value is None else _cell(value) for name, value in row.items()} for row in rows
    ]
    columns = [name for name in table[0] if name != "obtain"]
    widths = {name: max(len(name), *(len(row[name]) for row in table)) for name in columns}
    lines = [{name: name for name in widths}, *table]
    text = ["  ".join(line[name].ljust(width) for name, width in widths.items()).rstrip() for line in lines]
    absent = [f"  {row['name']:<{widths['name']}}  {row['obtain']}" for row in rows if "obtain" in row]
    return "\n".join([*text, *(["", "How to get those that are not here:", *absent] if absent else [])])


def details_text(row: Row) -> str:
    """Return what `details` says, line by line, with the expression units as a table."""
    plain = {name: value for name, value in row.items() if name not in ("parts", "regions", "units")}
    lines = [f"{name.replace('_', ' '):<15} {_cell(value)}" for name, value in plain.items()]
    regions = ", ".join(f"{_cell(name)} ({count})" for name, count in row["regions"].items())
    missing = ", ".join(name for name, here in row["parts"].items() if not here)
    lines += [f"{'regions':<15} {regions or '-'}", f"{'missing':<15} {missing or '-'}"]
    if row["units"]:
        lines += ["", "expression units: prior standard deviation, bounds"]
    width = max((len(unit["name"]) for unit in row["units"]), default=0)
    for unit in row["units"]:
        lower = "-inf" if unit["lower"] is None else f"{unit['lower']:g}"
        upper = "inf" if unit["upper"] is None else f"{unit['upper']:g}"
        lines.append(f"  {_cell(unit['name']):<{width}}  {unit['sigma']:<6.3g} {lower} to {upper}")
    return "\n".join(lines)


def parts_text(model: MorphableModel) -> str:
    """Return which optional parts are present and, for those missing, what that means."""
    return "\n".join(
        f"  {name:<18} {'present' if here else f'missing: {_WITHOUT[name]}'}" for name, here in parts(model).items()
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _cell(value: Any) -> str:
    """Return a value as one line of text, whatever a model file put into it."""
    if value is None or isinstance(value, bool):
        return {None: "unknown", True: "yes", False: "no"}[value]
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else " " for c in text)
