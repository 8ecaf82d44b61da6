"""What a network learns from, beside the records: each exported face as a WebDataset sample in `maps-00000.tar`.

    KEY.crop.jpg          (S, S, 3) the photo around the face, black beyond its edge
    KEY.depth.npy         (S, S) float16 or float32, mm along the camera's axis, NaN where the mesh is not
    KEY.normals.png       (S, S, 3) smooth normals in the camera's directions
    KEY.mask.png          (S, S) 255 skin of the face, 128 the rest of the mesh, 0 where it is not, or beyond the photo
    KEY.texture.png       (T, T, 3) sRGB, the photo unwrapped onto the model's layout, filled where it shows nothing
    KEY.confidence.png    (T, T) 0-255: how well the photo shows a texel of the texture; 0 where it is filled
    KEY.json              whose face it is, and how the crop lies in the photo

T is S, or the least size of a texture where that is larger. All that lies over the crop is drawn for its own pixels,
not reduced from the photo's. The mesh is the fitted one: hair, hands and glasses over it are not taken out of the mask.
Depth and normals are as in export/maps.py. Depth is no picture, since WebDataset's decoders make 8 bits of any; float16
holds what lies within FINE mm, as all depths before a scaled orthographic camera do, to 1/16 mm.

Pixels map back by the crop's window, a square of whole pixels of the upright photo, with pixels counted by their
centres from 0:

    photo = (left, top) + (crop + 1/2) side / S - 1/2

The square is SPAN times as wide as the larger side of the box of the 68 points as matched, and RAISED of its width
higher than that box, for the forehead, which has no points.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ...fitting.images import LoadedImage
from ...fitting.results import FitResult
from ...fitting.texture import make_texture
from ...fitting.texturing.options import MIN_SIZE, TextureOptions
from ...models.errors import InvalidInputError
from ...models.morphable_model import MorphableModel
from ...models.uv_atlas import model_atlas
from ...render.cameras import Camera
from ...render.rasterizer import rasterize
from ..export.checks import encoded_jpeg, encoded_png
from ..export.maps import image_maps
from .sample_keys import sample_key
from .sources import Item

DEFAULT_SIZE = 256  # px
LEAST_SIZE, MOST_SIZE = 32, 1024  # px

SPAN = 1.7
"""Width of the crop, in widths of the box of the landmarks: the whole face, and some of what surrounds it."""

RAISED = 0.08
"""By how much of its width the crop lies higher than the box."""

FINE = 256.0
"""mm, up to which numbers of 16 bits have steps of 1/8 or less."""

_FACE, _REST = 255, 128  # values of the mask
_NO_SKIN = ("eyes", "sockets", "mouth", "teeth")  # regions of a model

_Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Window:
    """A square of the photo, which it may reach beyond; whole pixels of the upright photo."""

    left: int
    top: int
    side: int

    def camera(self, camera: Camera, size: int) -> Camera:
        """Return the photo's camera as that of the crop of `size` x `size` px."""
        factor = size / self.side
        return camera.zoomed(factor, factor * (0.5 - np.array([self.left, self.top], dtype=np.float64)) - 0.5)

    def points(self, points: NDArray[np.float64], size: int) -> NDArray[np.float64]:
        """Return points (n, 2) px of the photo as those of the crop of `size` x `size` px."""
        return (points - [self.left, self.top] + 0.5) * (size / self.side) - 0.5

    def crop(self, photo: _Pixels, size: int) -> _Pixels:
        """Return what the photo shows in the window, reduced or enlarged to (size, size, 3); black beyond the photo."""
        return _resized(self._cut(photo), size)

    def inside(self, height: int, width: int, size: int) -> NDArray[np.bool_]:
        """Return which pixels (size, size) of the crop have their centres in a photo of that size."""
        place = (np.arange(size) + 0.5) * self.side / size - 0.5
        rows, columns = place + self.top, place + self.left
        return np.outer((rows >= -0.5) & (rows <= height - 0.5), (columns >= -0.5) & (columns <= width - 0.5))

    def _cut(self, photo: _Pixels) -> _Pixels:
        height, width = photo.shape[:2]
        cut = np.zeros((self.side, self.side, 3), np.uint8)
        rows = slice(max(self.top, 0), max(0, min(self.top + self.side, height)))
        columns = slice(max(self.left, 0), max(0, min(self.left + self.side, width)))
        part = photo[rows, columns]
        if part.size:
            top, left = rows.start - self.top, columns.start - self.left
            cut[top : top + part.shape[0], left : left + part.shape[1]] = part
        return cut


def face_window(landmarks: NDArray[np.float64], height: int, width: int) -> Window:
    """Return the crop's window around landmarks (68, 2), px, of a photo of `height` x `width` px."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    # Whatever a fit says, no more memory is asked for than a few photos take.
    side = int(np.clip(np.rint(SPAN * (high - low).max()), 1.0, 2.0 * max(height, width)))
    x, y = 0.5 * (low + high) - [0.0, RAISED * side]
    corner = np.rint([x + 0.5 - 0.5 * side, y + 0.5 - 0.5 * side])
    # Far outside is as good as just outside, and fits an integer of any file format.
    left, top = np.clip(corner, -side, [width, height]).astype(int).tolist()
    return Window(left, top, side)


@dataclass(frozen=True)
class MapsExporter:
    """Makes the samples of an image's faces (see the module's text)."""

    size: int = DEFAULT_SIZE  # S, px of the crop and all that lies over it

    def __post_init__(self) -> None:
        """Refuse a size that no crop can have."""
        if not LEAST_SIZE <= self.size <= MOST_SIZE:
            raise InvalidInputError(f"map_size: expected {LEAST_SIZE} to {MOST_SIZE} px, got {self.size}")

    @property
    def name(self) -> str:
        """What stands in the provenance."""
        return f"maps of {self.size} px"

    @property
    def tar(self) -> str:
        """The tar of the samples."""
        return "maps"

    def check(self, model: MorphableModel) -> None:
        """Have a texture layout for the model: MissingDependencyError where that takes a library that is not here."""
        model_atlas(model)

    def __call__(
        self, item: Item, image: LoadedImage, results: Sequence[FitResult], model: MorphableModel
    ) -> Mapping[str, bytes]:
        """Return the files of all faces whose fit can be used."""
        files: dict[str, bytes] = {}
        for result in results:
            if result.status.usable:
                key = sample_key(item.key, result.face_index)
                content = self._sample(item, image.pixels, result, model)
                files |= {f"{key}.{field}": data for field, data in content.items()}
        return files

    def _sample(self, item: Item, photo: _Pixels, result: FitResult, model: MorphableModel) -> dict[str, bytes]:
        """Return the fields of one face's sample."""
        assert result.camera is not None and result.landmarks_fitted is not None
        height, width = photo.shape[:2]
        window = face_window(result.landmarks_fitted, height, width)
        over = replace(result, camera=window.camera(result.camera, self.size))
        maps = image_maps(over, model, (self.size, self.size))
        options = TextureOptions(size=max(self.size, MIN_SIZE), threads=1)
        texture = make_texture(photo, result, model, options)
        about = {
            "key": item.key,
            "face_index": result.face_index,
            "photo": {"width": width, "height": height},
            "window": {"left": window.left, "top": window.top, "side": window.side},
            "size": self.size,
            "texture_size": options.size,
        }
        mask = face_mask(over, model, self.size)
        mask[~window.inside(height, width, self.size)] = 0
        return {
            "crop.jpg": encoded_jpeg(window.crop(photo, self.size)),
            "depth.npy": depth_bytes(maps.depth),
            "normals.png": encoded_png(maps.normals),
            "mask.png": encoded_png(mask),
            "texture.png": encoded_png(texture.photographed),
            "confidence.png": encoded_png(texture.confidence),
            "json": json.dumps(about, ensure_ascii=True).encode(),
        }


def depth_bytes(depth: NDArray[np.float32]) -> bytes:
    """Return depths (H, W), mm, as a .npy file of no more bits than they need."""
    small = (np.abs(depth[np.isfinite(depth)]) < FINE).all()
    content = io.BytesIO()
    np.save(content, depth.astype(np.float16) if small else depth, allow_pickle=False)
    return content.getvalue()


def face_mask(result: FitResult, model: MorphableModel, size: int) -> _Pixels:
    """Return what the pixels (size, size) of a picture see of a fitted face: see the module's text.

    All of a model that names no regions is skin of the face.
    """
    assert result.camera is not None and result.vertices is not None
    everywhere = np.ones(model.n_vertices, dtype=bool)
    face = model.regions.get("face", everywhere) & model.regions.get("skin", everywhere)
    for name in _NO_SKIN:
        face &= ~model.regions.get(name, ~everywhere)
    seen = rasterize(result.camera, result.vertices, model.triangles, size, size)
    value = np.where(face[model.triangles].all(axis=1), _FACE, _REST).astype(np.uint8)
    return np.where(seen.covered, value[seen.triangle], 0).astype(np.uint8)


def _resized(picture: _Pixels, size: int) -> _Pixels:
    """Return a square picture with sides of `size` px, each pixel the mean of what it covers, or interpolated."""
    method = cv2.INTER_AREA if len(picture) > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size, size), interpolation=method), np.uint8)
