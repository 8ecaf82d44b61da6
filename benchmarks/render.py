"""Time of each rendering pass, with read-back, of OpenGL and of the software rasteriser, at 512 x 512 and 1080p.

    python benchmarks/render.py [--repeats 30]

Draws the default model's mean face, as high as 70 % of the image, and prints the median and the fastest milliseconds.
Nothing else should run: llvmpipe, OpenGL's software rasteriser, uses every core.
"""

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

import facefit
from facefit.models.morphable_model import MorphableModel, UVMap
from facefit.render.cameras import FRONTAL, ScaledOrthographic
from facefit.render.opengl.context import open_context
from facefit.render.opengl.look import Maps
from facefit.render.opengl.passes import Passes
from facefit.render.opengl.renderer import GLRenderer
from facefit.render.opengl.screen_mesh import project_mesh
from facefit.render.renderer import NumbaRenderer, RendererUnavailableError

SIZES = {"512 x 512": (512, 512), "1080p": (1080, 1920)}
TARGET = 6.0  # ms: OpenGL's geometry pass with read-back at 512 x 512 on llvmpipe, two cores

Job = Callable[[], object]


def frontal(model: MorphableModel, height: int, width: int) -> ScaledOrthographic:
    """Return the camera that shows the whole head in the middle of the image."""
    middle = (model.mean.max(axis=0) + model.mean.min(axis=0)) / 2.0
    scale = 0.7 * height / np.ptp(model.mean[:, 1])
    centre = np.array([width - 1.0, height - 1.0]) / 2.0
    return ScaledOrthographic(FRONTAL, centre - scale * (FRONTAL @ middle)[:2], scale)


def cylinder(model: MorphableModel) -> UVMap:
    """Return texture coordinates around the head's axis."""
    x, y, z = model.mean.T
    u, v = 0.5 + np.arctan2(x, z) / (2.0 * np.pi), (y - y.min()) / np.ptp(y)
    return UVMap(np.column_stack([u, v]).astype(np.float32), model.triangles)


def numba_jobs(model: MorphableModel, height: int, width: int) -> Iterator[tuple[str, Job]]:
    renderer, mesh = NumbaRenderer(), (model.mean, model.triangles, height, width)
    camera = frontal(model, height, width)
    yield "numba  geometry", lambda: renderer.rasterize(camera, *mesh)
    yield "numba  studio light, smooth", lambda: renderer.draw(camera, *mesh)


def gl_jobs(model: MorphableModel, height: int, width: int, renderer: GLRenderer) -> Iterator[tuple[str, Job]]:
    mesh, uv = (model.mean, model.triangles, height, width), cylinder(model)
    camera, lighting = frontal(model, height, width), 2.0 * np.eye(9, 3)
    colours = np.full_like(model.mean, 0.5) if model.albedo_mean is None else model.albedo_mean
    photo = np.full((height, width, 3), 128, np.uint8)
    maps = Maps(uv, texture=np.full((1024, 1024, 3), 150, np.uint8))
    yield "gl     geometry, as Fragments", lambda: renderer.rasterize(camera, *mesh)
    yield "gl     geometry and normals", lambda: renderer.rasterize_with_normals(camera, *mesh)
    yield "gl     atlas", lambda: renderer.rasterize_atlas(uv, height, width)
    yield "gl     studio light, smooth", lambda: renderer.draw(camera, *mesh)
    yield "gl     harmonics, smooth", lambda: renderer.draw(camera, *mesh, colours=colours, lighting=lighting)
    yield "gl     phong, smooth", lambda: renderer.draw(camera, *mesh, shading="phong")
    yield "gl     texture, smooth", lambda: renderer.draw(camera, *mesh, maps=maps)
    yield "gl     wire, smooth", lambda: renderer.draw(camera, *mesh, shading="wire")
    yield "gl     points, smooth", lambda: renderer.draw(camera, *mesh, shading="points")
    yield "gl     studio light over a photo", lambda: renderer.draw_over(photo, camera, *mesh[:2])


def milliseconds(job: Job, repeats: int) -> tuple[float, float]:
    """Return the median and the fastest time of a warm job."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        job()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times[2:])), min(times[2:])


def report(label: str, job: Job, repeats: int) -> float:
    median, fastest = milliseconds(job, repeats)
    print(f"  {label:36s} {median:8.2f} {fastest:8.2f}")
    return median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    model = facefit.load_model("default")
    start = time.perf_counter()
    try:
        renderer = GLRenderer()
    except RendererUnavailableError as problem:
        print(problem)
        renderer = None
    else:
        print(f"{renderer.description}: first context in {1e3 * (time.perf_counter() - start):.0f} ms, import included")
    for name, (height, width) in SIZES.items():
        covered = (
            NumbaRenderer().rasterize(frontal(model, height, width), model.mean, model.triangles, height, width).covered
        )
        print(f"\n{name}, {covered.sum()} pixels covered{'':14s} median  fastest, ms")
        for label, job in numba_jobs(model, height, width):
            report(label, job, repeats)
        if renderer is None:
            continue
        camera, context = frontal(model, height, width), open_context()
        mesh = project_mesh(camera, model.mean, model.triangles)
        report("gl     projection (CPU)", lambda c=camera: project_mesh(c, model.mean, model.triangles), repeats)
        with context.work("benchmark") as gl:
            passes = Passes(gl)
            job = lambda p=passes, m=mesh, h=height, w=width: p.geometry(m, h, w, "front")  # noqa: E731
            median = report("gl     geometry pass and read-back", job, repeats)
        context.close()
        if (height, width) == (512, 512):
            print(f"  {'':6s} target {TARGET} ms for the median: {'met' if median <= TARGET else 'missed'}")
        for label, job in gl_jobs(model, height, width, renderer):
            report(label, job, repeats)
    if renderer is not None:
        renderer.close()


if __name__ == "__main__":
    main()
