"""Train on labels: from a small grey picture of a face to its pose and how far its jaw is open.

    bin/label PHOTOS -o DATASET --maps
    pip install -e '.[examples]'
    .venv/bin/python -P examples/train_regressor.py DATASET

The inputs are the crops in `maps-*.tar`, the targets columns of `faces-*.parquet`; image key and face index join the
two. A ridge regression, which takes no time, is trained on four fifths of the images and judged on the others. The
dataset's order is cut into STRETCHES, and every fifth is held out: faces of one image stay together, and so do most of
the neighbours that look alike, such as frames of a clip. Beside the error stands that of always saying the mean of the
training labels: what does not beat it has learned nothing.

It learns to repeat the fits, with whatever is wrong with them; `--min-quality` leaves the doubtful ones out.
"""

import argparse
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SIDE = 32  # px of the inputs
STRETCHES = 20  # parts that the dataset's order is cut into
HELD_OUT = 5  # every how many-th of them is held out
ANGLES = ("yaw", "pitch", "roll")  # degrees
UNITS = ("jawOpen",)  # of the expression, 0-1; those that the model has

Face = tuple[str, int]  # key of its image, and its index there


def samples(dataset: Path) -> Iterator[tuple[Face, np.ndarray]]:
    """Yield each face's crop as SIDE x SIDE grey values 0-1, in the order of the images."""
    for path in sorted(dataset.glob("maps-*.tar")):
        with tarfile.open(path) as archive:
            crops = {}
            for member in archive:  # a sample's files stand together, under its name up to the first dot
                name, _, kind = member.name.partition(".")
                if kind in ("crop.jpg", "json") and (file := archive.extractfile(member)) is not None:
                    if kind == "crop.jpg":
                        picture = Image.open(io.BytesIO(file.read())).convert("L")
                        crops[name] = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX)) / 255.0
                    else:
                        about = json.load(file)
                        yield (about["key"], about["face_index"]), crops.pop(name)


def labels(dataset: Path, least_quality: float) -> tuple[list[str], dict[Face, list[float]]]:
    """Return the targets' names, and each face's targets."""
    names = json.loads((dataset / "manifest.json").read_text(encoding="utf-8"))["model"]["expression_names"]
    units = [name for name in UNITS if name in names]
    places = [names.index(name) for name in units]
    found: dict[Face, list[float]] = {}
    for path in sorted(dataset.glob("faces-*.parquet")):
        columns = ["key", "face_index", "quality", *ANGLES, "expression"]
        for row in pq.read_table(path, columns=columns).to_pylist():
            if (row["quality"] or 0.0) >= least_quality:
                targets = [*(row[name] for name in ANGLES), *(row["expression"][place] for place in places)]
                found[row["key"], row["face_index"]] = targets
    return [*ANGLES, *units], found


def is_held_out(faces: list[Face]) -> np.ndarray:
    """Return which faces are held out, all of an image or none."""
    order = {key: place for place, key in enumerate(dict.fromkeys(key for key, _ in faces))}
    stretch = np.array([order[key] for key, _ in faces]) * STRETCHES // len(order)
    return np.asarray(stretch % HELD_OUT == HELD_OUT // 2)


def main() -> None:
    """Train, and print the errors on what was held out."""
    parser = argparse.ArgumentParser(description="Train a small regressor on a dataset that bin/label --maps wrote.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--min-quality", type=float, default=0.0, metavar="0-1", help="leave out fits below it")
    chosen = parser.parse_args()
    try:
        names, targets = labels(chosen.dataset, chosen.min_quality)
    except OSError as problem:
        sys.exit(f"{chosen.dataset}: expected a dataset that bin/label wrote, got none ({problem.strerror})")
    found = [(face, crop) for face, crop in samples(chosen.dataset) if face in targets]
    held_out = is_held_out([face for face, _ in found]) if found else np.zeros(0, dtype=bool)
    if held_out.sum() < 2 or (~held_out).sum() < 2:
        sys.exit(f"{chosen.dataset}: expected crops of some twenty images, got {len(found)}: label with --maps")
    x, y = np.stack([crop.ravel() for _, crop in found]), np.array([targets[face] for face, _ in found])

    model = make_pipeline(StandardScaler(), RidgeCV(np.geomspace(1e0, 1e6, 13), alpha_per_target=True))
    model.fit(x[~held_out], y[~held_out])
    error = np.sqrt(((model.predict(x[held_out]) - y[held_out]) ** 2).mean(axis=0))
    baseline = np.sqrt(((y[~held_out].mean(axis=0) - y[held_out]) ** 2).mean(axis=0))

    print(f"{(~held_out).sum()} faces to train on, {held_out.sum()} held out; root mean square error on these")
    print(f"{'target':<10}{'mean':>10}{'trained':>10}{'explained':>11}")
    for name, simple, trained in zip(names, baseline, error, strict=True):
        print(f"{name:<10}{simple:>10.3f}{trained:>10.3f}{1.0 - (trained / simple) ** 2:>11.0%}")


if __name__ == "__main__":
    main()
