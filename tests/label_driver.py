"""A program that labels with the stub, for tests that kill it: label_driver.py IMAGES DATASET [options]."""

import argparse
from pathlib import Path

from label_stub import StubSpec

from facefit.apps.label.local_engine import LocalEngine
from facefit.apps.label.run import RunOptions, label
from facefit.apps.label.sources import Sources


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("images")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--seconds", type=float, default=0.001)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard-size", type=int, default=50)
    parser.add_argument("--tally", default="")
    parser.add_argument("--files", action="store_true")
    chosen = parser.parse_args()
    spec = StubSpec(chosen.seconds, chosen.tally, files=chosen.files)
    engine = LocalEngine(workers=chosen.workers)
    label(Sources([chosen.images]), chosen.dataset, spec, engine, RunOptions(chosen.shard_size))


if __name__ == "__main__":
    main()
