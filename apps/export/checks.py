"""What every exporter asks of its input, and what several of them make of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...fitting.results import FitResult
from ...models.arrays import checked_array
from ...models.errors import InvalidInputError
from ...render.cameras import Camera
from ...render.mesh import checked_mesh

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Indices = NDArray[np.int32]

JPEG_QUALITY = 95  # of 100, without chroma subsampling: lips and irises keep their edges
PNG_LEVEL = 1  # zlib's: several times as fast as 6, and a few per cent larger


@dataclass(frozen=True, eq=False)
class FittedFace:
    """The parts of a result that a mesh in a photo consists of, none of them None."""

    camera: Camera
    vertices: Array  # (N, 3) mm, model frame
    triangles: Indices  # (T, 3) counter-clockwise from outside


def fitted_face(result: FitResult) -> FittedFace:
    """Return the camera and the mesh of `result`; InvalidInputError where it has none, as without a face."""
    if not isinstance(result, FitResult):
        raise InvalidInputError(f"result: expected a FitResult, got {type(result).__name__}")
    if result.camera is None or result.vertices is None or result.triangles is None:
        raise InvalidInputError(f"result: expected a camera and a mesh, got {result.status.name}: {result.message}")
    return FittedFace(result.camera, *checked_mesh(result.vertices, result.triangles))


def checked_image_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) in px, or raise InvalidInputError where they are not two positive integers."""
    height, width = checked_array("image_size", image_size, (2,), np.int64).tolist()
    if min(height, width) < 1:
        raise InvalidInputError(f"image_size: expected (height, width) of at least 1 px, got {(height, width)}")
    return height, width


def checked_texture(name: str, texture: ArrayLike) -> Image:
    """Return a picture (S, S', 3) of uint8; InvalidInputError for another shape, type, or one without pixels."""
    picture = np.asarray(texture)
    if picture.dtype != np.uint8:
        raise InvalidInputError(f"{name}: expected uint8 sRGB, got {picture.dtype}")
    picture = checked_array(name, picture, (None, None, 3), np.uint8)
    if not picture.size:
        raise InvalidInputError(f"{name}: expected at least one pixel, got shape {picture.shape}")
    return picture


def encoded_png(picture: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Return a PNG of RGB (H, W, 3) uint8 or grey (H, W) uint8 or uint16."""
    import cv2

    return _encoded(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])


def encoded_jpeg(picture: Image) -> bytes:
    """Return a JPEG of RGB (H, W, 3) at JPEG_QUALITY, colours at full resolution."""
    import cv2

    full = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    return _encoded(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, full])


def _encoded(kind: str, picture: NDArray[np.uint8] | NDArray[np.uint16], options: list[int]) -> bytes:
    import cv2

    stored = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    done, content = cv2.imencode(kind, stored, options)
    if not done:
        raise InvalidInputError(f"picture: expected one that can be stored as {kind}, got shape {picture.shape}")
    return bytes(content)
