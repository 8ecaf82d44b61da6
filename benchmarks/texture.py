"""Time of a texture from a photo of 12 megapixels, its shares, and how well it gives the photo back.

    python benchmarks/texture.py [--repeats 5] [--sizes 1024 2048] [--threads 2]

The photo shows a head of the default model with fine paint on it, so that the truth is known (tests/painted_heads.py).
`seen` is the PSNR of the textured mesh in the photo's camera on skin that the texture has seen, `held out` that in a
view turned by 30 degrees. Shares are those on one thread. Every time is the fastest of several after a first.
"""

import argparse
import cProfile
import importlib.util
import pstats
import sys
import time
from concurrent.futures import Executor
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import facefit
from facefit.fitting.texture import Texture, make_texture
from facefit.fitting.texturing.options import TextureOptions

PARTS = {
    "depth map": "make_depth_view",
    "pyramid": "make_pyramid",
    "drawing the atlas": "rasterize",
    "differences": "add_differences",
    "membrane": "continued",
    "blend": "blend",
    "gutters": "fill_gutters",
}
"""What is timed -> the function's name; the depth map's share holds its own drawing."""


class SerialExecutor(Executor):
    """Does the work at once, in the calling thread."""

    def __init__(self, max_workers: int) -> None:
        """Take the number of threads, and use none."""

    def map(self, function: Any, *iterables: Any, **_: Any) -> Any:
        return map(function, *iterables)


def fastest(photo: Any, result: Any, model: Any, options: TextureOptions, repeats: int) -> tuple[Texture, float]:
    """Return the texture, and the least seconds of `repeats` runs after a first."""
    texture = make_texture(photo, result, model, options)
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        make_texture(photo, result, model, options)
        best = min(best, time.perf_counter() - started)
    return texture, best


def shares(photo: Any, result: Any, model: Any, options: TextureOptions, repeats: int) -> dict[str, float]:
    """Return the milliseconds of each part on one thread, the fastest of several runs."""
    runs = [profiled(photo, result, model, options) for _ in range(repeats)]
    return {part: min(run[part] for run in runs) for part in PARTS}


def profiled(photo: Any, result: Any, model: Any, options: TextureOptions) -> dict[str, float]:
    """Return the milliseconds of each part in one run on one thread, the profiler's own cost included."""
    profile = cProfile.Profile()
    # What the one worker does must run where the profiler looks.
    with patch("facefit.fitting.texture.ThreadPoolExecutor", SerialExecutor):
        profile.enable()
        make_texture(photo, result, model, options)
        profile.disable()
    spent: dict[str, float] = {}
    for (_, _, name), row in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        spent[name] = max(spent.get(name, 0.0), 1e3 * row[3])  # a kernel's time is in its caller's, too
    return {part: spent.get(name, 0.0) for part, name in PARTS.items()}


def painted_heads() -> ModuleType:
    """Return the module tests/painted_heads.py."""
    path = Path(__file__).resolve().parent.parent / "tests" / "painted_heads.py"
    spec = importlib.util.spec_from_file_location("painted_heads", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    heads = painted_heads()
    model = facefit.load_model("default")
    head = heads.painted_head(model, 1, height=4000)
    photo, turned = head.photo(), heads.turned_camera(head, -30.0)
    held_out = head.photo(turned)
    print(f"photo of {photo.shape[1]} x {photo.shape[0]} px, {arguments.threads} threads")
    print(f"{'size':>6} {'ms':>8} {'seen dB':>9} {'of skin':>8} {'held out dB':>12}")
    for size in arguments.sizes:
        options = TextureOptions(size=size, threads=arguments.threads)
        texture, seconds = fastest(photo, head.result, model, options, arguments.repeats)
        parts = (texture.photographed, texture.confidence, texture.uv)
        seen, share = heads.rendering_error(head, photo, *parts, head.camera)
        other, _ = heads.rendering_error(head, held_out, *parts, turned)
        print(f"{size:6d} {1e3 * seconds:8.0f} {seen:9.1f} {share:8.0%} {other:12.1f}")
    alone = TextureOptions(size=arguments.sizes[0], threads=1)
    print(f"\nshares at {arguments.sizes[0]} on one thread, ms")
    for part, milliseconds in shares(photo, head.result, model, alone, arguments.repeats).items():
        print(f"{part:>20} {milliseconds:8.1f}")


if __name__ == "__main__":
    main()
