"""Time of the detail stage by the map's size, its shares, and how near its solver comes to the memory's bandwidth.

    python benchmarks/detail.py [--repeats 5] [--sizes 128 256 512 1024]

The photo shows a head of the default model with bumps and wrinkles (tests/detail_scenes.py). `ns/texel` should not grow
with the size; the map's correlation with the true heights is printed beside it. For the conjugate gradients, a step's
bytes are those of each array that it must read or write once, and are held against what a copy of as much memory moves
per second, counted as read and written: one that fits the caches as the solver's does, and one in main memory. All are
the fastest of several, one thread each.
"""

import argparse
import cProfile
import importlib.util
import pstats
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

import facefit
from facefit.fitting.detail import fit_detail_stage
from facefit.fitting.detailing import _kernels
from facefit.fitting.detailing.options import DetailOptions

PARTS = {
    "observe": "observe",
    "mirror": "mirrored_places",
    "skin": "skin_weight",
    "albedo": "smooth_excess",
    "linearise": "linearise",
    "conjugate gradients": "conjugate_gradients",
}
"""What is timed -> the function's name."""

ARRAYS = {"product": 9 + 1 + 1 + 1, "solution and residual": 5 + 2, "direction": 3 + 1}
"""Arrays (S, S) that one step reads and writes: the table of cells, prior, direction and image; and so on."""


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Return the least seconds of `repeats` runs after a first."""
    work()
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def shares(work: Callable[[], object]) -> dict[str, float]:
    """Return the milliseconds of each part of one run."""
    profile = cProfile.Profile()
    profile.runcall(work)
    seconds = dict.fromkeys(PARTS, 0.0)
    for (_, _, function), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        for name, wanted in PARTS.items():
            if function == wanted:
                seconds[name] += cumulative
    return {name: 1e3 * value for name, value in seconds.items()}


def solver(size: int, repeats: int) -> tuple[float, float, float]:
    """Return the seconds of one step, the bytes per second that it moves, and those that a copy moves."""
    rng, steps = np.random.default_rng(0), 30
    cells = np.abs(rng.standard_normal((size, 9, size))).astype(np.float32)
    cells[-1], cells[:, :, -1], cells[:, _kernels.A12], cells[:, _kernels.W12] = 0.0, 0.0, 0.0, 0.0
    prior, right = np.ones((size, size), np.float32), rng.standard_normal((size, size)).astype(np.float32)
    diagonal, solution = np.zeros_like(prior), np.empty_like(prior)
    _kernels.add_diagonal(cells, prior, diagonal)
    inverse = 1.0 / diagonal
    seconds = fastest(lambda: _kernels.conjugate_gradients(cells, prior, inverse, right, steps, 0.0, solution), repeats)
    moved = 4.0 * size * size * sum(ARRAYS.values())
    # As much memory as the solver works on, half read and half written.
    source = np.ones(size * size * (9 + 7) // 2, np.float32)
    target = np.zeros_like(source)
    copied = 2.0 * source.nbytes / fastest(lambda: np.copyto(target, source), 20 * repeats)
    return seconds / steps, moved * steps / seconds, copied


def main_memory(repeats: int) -> float:
    """Return the bytes per second that a copy of 256 MB moves."""
    source = np.ones(2**26, np.float32)
    target = np.zeros_like(source)
    return 2.0 * source.nbytes / fastest(lambda: np.copyto(target, source), repeats)


def scenes() -> ModuleType:
    """Return the module that makes heads with relief, from the tests' folder, and what it needs from there."""
    for name in ("painted_heads", "detail_scenes"):
        path = Path(__file__).resolve().parents[1] / "tests" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules["detail_scenes"]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024])
    chosen = parser.parse_args()
    module = scenes()
    model = facefit.load_model("default")
    head = module.relief_head(model, 0, module.relief(0, shortest=32.0, deviation=0.25, wrinkle=0.6), side=900)
    print(f"model {model.name}, photo {head.image.shape[1]} x {head.image.shape[0]} px, true geometry and light\n")
    print("  size      ms  ns/texel  correlation  " + "  ".join(PARTS))
    for size in chosen.sizes:
        options = DetailOptions(size=size)

        def work(options: DetailOptions = options) -> object:
            return fit_detail_stage(head.image, head.result, model, options).detail

        seconds, detail = fastest(work, chosen.repeats), work()
        score = module.correlation(detail.displacement, head.heights_at(size), detail.confidence > 127)
        parts = "  ".join(f"{value:{len(name)}.1f}" for name, value in shares(work).items())
        print(f"{size:6d}  {1e3 * seconds:6.0f}  {1e9 * seconds / size**2:8.0f}  {score:11.3f}  {parts}")
    memory = main_memory(chosen.repeats)
    print(f"\ncopy in main memory {memory / 1e9:.1f} GB/s\n")
    print("  size  us/step  ns/texel  moves GB/s  of main memory's  of a copy as large, GB/s")
    for size in chosen.sizes:
        seconds, moved, copied = solver(size, chosen.repeats)
        print(
            f"{size:6d}  {1e6 * seconds:7.0f}  {1e9 * seconds / size**2:8.2f}  {moved / 1e9:10.1f}"
            f"  {moved / memory:16.0%}  {moved / copied:13.0%}, {copied / 1e9:.1f}"
        )


if __name__ == "__main__":
    main()
