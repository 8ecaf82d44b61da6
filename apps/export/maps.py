"""A fitted face as images: over the texture (position map), and over the photo (depth, normals, PNCC).

position map    (256, 256, 3) float32: for each texel, where its point of the surface lies in the photo. x and y in px,
                z in px towards the viewer from the farthest vertex, so that the three are to one scale (perspective:
                that of the mesh's mean depth). Texel (row, column) is the map's point u = column / 255,
                v = 1 - row / 255: PRNet counts from texel centre to texel centre. 0 where the map has no triangle.
depth           (H, W) float32, mm along the camera's axis, larger is farther; NaN where no surface is seen. A scaled
                orthographic camera's zero is the model's origin. As PNG: 16 bit grey, 0 for no surface, else
                depth = offset + step (value - 1), with `offset` and `step` in mm in the file's text chunks.
normals         (H, W, 3) uint8, round(255 (n + 1) / 2) of the smooth unit normal in the camera's directions:
                red to the image's right, green up, blue towards the viewer. 0 where no surface is seen.
PNCC            (H, W, 3) uint8, 3DDFA's projected normalised coordinate code: a point's place on the *mean* face, each
                axis from its least to its largest vertex coordinate as 0 to 255: x red, y green, z blue. So a colour
                names the same point of every face. 0 where no surface is seen.

Images over the photo are those of its own size, drawn by the software rasteriser with hidden parts hidden.

Sources: Y. Feng et al., "Joint 3D Face Reconstruction and Dense Alignment with Position Map Regression Network", ECCV
2018; X. Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016, 3.2.
"""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...fitting.results import FitResult
from ...models.errors import InvalidInputError
from ...models.files import atomic_write
from ...models.morphable_model import MorphableModel, UVMap, require_model
from ...render.cameras import FRONTAL, Perspective, ScaledOrthographic
from ...render.normals import vertex_normals
from ...render.rasterizer import interpolate, rasterize
from ...render.tangents import split_at_seams
from .checks import Array, FittedFace, checked_image_size, encoded_png, fitted_face

POSITION_MAP_SIDE = 256
"""PRNet's, texels."""

DEPTH_STEP = 0.01
"""Unit of a 16-bit depth image, mm; a larger one where the depth's range of 655 mm would not do."""

_BAND = 64  # rows drawn at a time: a band of a 12-megapixel photo stays in the processor's cache
_GRID = 1.0 / 256.0  # px, of the rasteriser's coordinates

_Floats32 = NDArray[np.float32]
_Picture = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ImageMaps:
    """What each pixel of the photo sees of a fitted face (see the module's text)."""

    depth: _Floats32  # (H, W) mm, NaN where no surface is seen
    normals: _Picture  # (H, W, 3)
    pncc: _Picture  # (H, W, 3)


def position_map(result: FitResult, uv: UVMap, side: int = POSITION_MAP_SIDE) -> _Floats32:
    """Return the position map (side, side, 3) of the fitted face in a layout of its T triangles.

    Raises InvalidInputError for a result without a face, a map of other triangles and a side below 2 texels.
    """
    face = fitted_face(result)
    if not isinstance(side, int | np.integer) or side < 2:
        raise InvalidInputError(f"side: expected an integer of at least 2 texels, got {side!r}")
    mesh = split_at_seams(face.triangles, uv)
    position = face.camera.project(face.vertices)
    depth = position[:, 2]
    perspective = isinstance(face.camera, Perspective)
    px_per_mm = face.camera.focal / depth.mean() if isinstance(face.camera, Perspective) else face.camera.scale
    if perspective and depth.min() <= 0.0:
        raise InvalidInputError(f"result: expected every vertex before the camera, got depth {depth.min():g} mm")
    position[:, 2] = px_per_mm * (depth.max() - depth)
    texels = np.zeros((len(mesh.vertex), 3))
    texels[:, 0] = (side - 1) * mesh.coordinates[:, 0]
    texels[:, 1] = (side - 1) * (1.0 - mesh.coordinates[:, 1])
    # The rasteriser gives a texel on an edge to one of two triangles; beyond the map's own edges there is no second.
    texels[:, :2] += _GRID * ((texels[:, :2] >= side - 1.0).astype(np.float64) - (texels[:, :2] <= 0.0))
    flat = ScaledOrthographic(np.eye(3), np.zeros(2), 1.0)
    seen = rasterize(flat, texels, mesh.triangles, int(side), int(side), cull="none")
    return interpolate(seen, mesh.triangles, position[mesh.vertex]).astype(np.float32)


def image_maps(result: FitResult, model: MorphableModel, image_size: tuple[int, int]) -> ImageMaps:
    """Return depth, normals and PNCC over the photo, `image_size` being its (height, width) in px.

    `model` is the one of the fit: its mean gives the code. Raises InvalidInputError for a result without a face, one
    of another model, and a size that is none.
    """
    face = fitted_face(result)
    height, width = checked_image_size(image_size)
    if require_model(model).n_vertices != len(face.vertices):
        raise InvalidInputError(f"model: expected {len(face.vertices)} vertices, got {model.n_vertices}")
    lowest, highest = model.mean.min(axis=0), model.mean.max(axis=0)
    code = (model.mean - lowest) / np.where(highest > lowest, highest - lowest, 1.0)
    turned = vertex_normals(face.vertices, face.triangles) @ (FRONTAL @ face.camera.rotation).T
    values = np.column_stack([turned, code])
    maps = ImageMaps(
        np.full((height, width), np.nan, np.float32), *(np.zeros((height, width, 3), np.uint8) for _ in range(2))
    )
    left, top, right, bottom = _window(face, height, width)
    for first in range(top, bottom if right > left else top, _BAND):
        part = (slice(first, min(first + _BAND, bottom)), slice(left, right))
        _draw(face, values, part, maps)
    return maps


def write_maps(
    folder: str | Path, result: FitResult, model: MorphableModel, image_size: tuple[int, int], uv: UVMap | None = None
) -> tuple[Path, ...]:
    """Write depth.png, normals.png, pncc.png and, where there is a layout, position_map.npy into `folder`.

    `uv` is by default the model's. Returns the files. Raises as the functions that make the images, and OutputError
    where a file cannot be written.
    """
    maps = image_maps(result, model, image_size)
    layout = model.uv if uv is None else uv
    with ThreadPoolExecutor() as pool:  # compressing holds no lock
        depth = pool.submit(encoded_depth, maps.depth)
        normals, pncc = pool.map(encoded_png, (maps.normals, maps.pncc))
        contents = {"depth.png": depth.result(), "normals.png": normals, "pncc.png": pncc}
    if layout is not None:
        contents["position_map.npy"] = _npy(position_map(result, layout))
    files = tuple(Path(folder) / name for name in contents)
    for file, content in zip(files, contents.values(), strict=True):
        with atomic_write(file) as stream:
            stream.write(content)
    return files


def encoded_depth(depth: _Floats32) -> bytes:
    """Return a depth image (H, W), mm, NaN where there is no surface, as a 16-bit PNG with its offset and step."""
    from PIL import Image, PngImagePlugin

    seen = np.isfinite(depth)
    values = depth[seen].astype(np.float64)
    offset = float(values.min()) if values.size else 0.0
    most = np.iinfo(np.uint16).max - 1
    step = max(DEPTH_STEP, (float(values.max()) - offset) / most if values.size else 0.0)
    grey = np.zeros(depth.shape, np.uint16)
    grey[seen] = 1 + np.rint((values - offset) / step)
    texts = PngImagePlugin.PngInfo()
    texts.add_text("offset", repr(offset))
    texts.add_text("step", repr(step))
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "PNG", pnginfo=texts, compress_level=1)
    return stream.getvalue()


def _draw(face: FittedFace, values: Array, part: tuple[slice, slice], maps: ImageMaps) -> None:
    """Draw one part of the photo, rows and columns, from each vertex's normal and code, `values` (N, 6)."""
    rows, columns = part
    camera = face.camera.zoomed(1.0, -np.array([columns.start, rows.start], dtype=np.float64))
    seen = rasterize(camera, face.vertices, face.triangles, rows.stop - rows.start, columns.stop - columns.start)
    covered = seen.covered
    both = interpolate(seen, face.triangles, values)[covered]
    length = np.sqrt(np.einsum("px,px->p", both[:, :3], both[:, :3]))
    both[:, :3] *= (127.5 / np.where(length > 0.0, length, 1.0))[:, None]
    both[:, :3] += 127.5
    both[:, 3:] *= 255.0
    colours = np.rint(np.clip(both, 0.0, 255.0, out=both), out=both).astype(np.uint8)
    maps.depth[part][covered] = seen.depth[covered]
    maps.normals[part][covered] = colours[:, :3]
    maps.pncc[part][covered] = colours[:, 3:]


def _window(face: FittedFace, height: int, width: int) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) px of the part of the photo that the mesh can cover; right, bottom excluded."""
    places = face.camera.project(face.vertices)[:, :2]
    places = places[np.isfinite(places).all(axis=1)]
    if not len(places):
        return 0, 0, 0, 0
    size = np.array([width, height])
    low = np.clip(np.floor(places.min(axis=0)), 0, size).astype(int).tolist()
    high = np.clip(np.ceil(places.max(axis=0)) + 1, 0, size).astype(int).tolist()
    return low[0], low[1], high[0], high[1]


def _npy(table: Array | _Floats32) -> bytes:
    stream = io.BytesIO()
    np.save(stream, table, allow_pickle=False)
    return stream.getvalue()
