"""Pictures and motion of a fitted face: other views, other light, other expressions, a turntable, a contact sheet.

Everything is drawn in software from a result and its texture: as photographed in the fitted light, albedo under any
other; without a texture, from the reflectance of its vertices. A result with detail is drawn with it: the mesh is cut
until it holds the heights. Views are either of the head alone, a square from a fixed distance, or the photo's own: then
the model's face region is laid over the photo, fading out at its border, since hair and neck are not what was fitted.

The turntable has two parts: the head turns under the fitted light, which stays with the camera, and then, facing it,
is lit by a lamp that goes round the line of sight, faded in and out (t from 0 to 1 in each part):

    yaw(t) = TURN sin(2 pi t),        light(t) = (1 - w) fitted + w lamp(2 pi t),    w = min(1, 4 sin(pi t))
"""

import io
import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from ...fitting.detailing.relief import detailed_mesh
from ...fitting.results import FitResult
from ...fitting.texture import Texture
from ...models.colour import srgb_to_linear, to_uint8
from ...models.errors import InvalidInputError, OutputError
from ...models.files import atomic_write
from ...models.morphable_model import MorphableModel
from ...render.cameras import Camera, ScaledOrthographic, rotation_from_angles
from ...render.compositing import checked_photo, over
from ...render.drawing import BACKGROUND, Panel, montage
from ...render.renderer import NumbaRenderer
from ...render.result_picture import draw_window
from ...render.textured import TexturedRenderer
from ..fit.window import HEAD_CENTRE, HEAD_RADIUS, Window
from .checks import fitted_face
from .expressions import with_expression
from .h264 import H264Film
from .lights import AMBIENT, Lamp, brightness, named_light

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

SIDE = 416  # px of a view of the head
TURN = 40.0  # degrees of yaw to which the head turns
ASIDE = 60.0  # degrees between the lamp that goes round and the line of sight
FACE = ("face", "eyes", "sockets", "mouth", "teeth")  # regions laid over a photo: the face, and what its openings show
ROUNDS = 3  # of averaging over neighbours: the face's border fades over about so many triangles


def novel_view(
    result: FitResult,
    model: MorphableModel,
    yaw: float = 0.0,
    pitch: float = 0.0,
    *,
    lighting: ArrayLike | None = None,
    texture: Texture | None = None,
    side: int = SIDE,
) -> Pixels:
    """Return the head alone, RGBA (side, side, 4), turned to yaw and pitch (degrees), seen from afar.

    lighting (9, 3) stays with the camera. None shows a texture as photographed, its light turning with the head, and a
    face without one in the fitted light, or a soft one. Raises InvalidInputError for a result without a face.
    """
    return _turned(_subject(result, model, texture), yaw, pitch, lighting, side)


def rerendered(
    result: FitResult,
    model: MorphableModel,
    photo: ArrayLike,
    *,
    lighting: ArrayLike | None = None,
    texture: Texture | None = None,
) -> Pixels:
    """Return the photo (H, W, 3) with the face drawn anew over it, as `result` now has it: see `with_expression`.

    lighting (9, 3): None as in `novel_view`; skin that the photo hides, such as that of folded lids, is known only as
    albedo, so another expression wants a light. Raises InvalidInputError for a result without a face.
    """
    return _laid_over(_subject(result, model, texture), checked_photo(photo), lighting)


def relit(
    result: FitResult,
    model: MorphableModel,
    photo: ArrayLike,
    lighting: str | ArrayLike,
    *,
    texture: Texture | None = None,
) -> Pixels:
    """Return the photo (H, W, 3) with the face under another light: a name of LAMPS, or harmonics (9, 3).

    A named light is as bright as the fitted one. Raises InvalidInputError for another name, and for a result without a
    face.
    """
    return rerendered(result, model, photo, lighting=_light(lighting, result), texture=texture)


def contact_sheet(
    result: FitResult, model: MorphableModel, photo: ArrayLike, *, texture: Texture | None = None
) -> Pixels:
    """Return one picture (H, W, 3) of what can be done with a fit: turned, relit, and with other expressions.

    Expressions whose units the model has not are left out. Raises InvalidInputError for a result without a face.
    """
    camera = fitted_face(result).camera
    window, own = Window.around(camera), own_light(result)
    cut = window.resample(checked_photo(photo))
    subject = _subject(replace(result, camera=window.camera(camera)), model, texture)
    fitted = _turned(subject, 0.0, 0.0, None, window.side)
    panels = [Panel(cut, "photo"), Panel(_on_ground(fitted), "fitted")]
    for yaw in (TURN, -TURN):
        panels.append(Panel(_on_ground(_turned(subject, yaw, 0.0, own, window.side)), f"yaw {yaw:+.0f}°"))
    for name in ("left", "right"):
        panels.append(Panel(_laid_over(subject, cut, _light(name, result)), f"light from the {name}"))
    for caption, stem, weight in (("a smile", "mouthSmile", 0.8), ("a blink", "eyeBlink", 1.0)):
        weights = dict.fromkeys((f"{stem}Left", f"{stem}Right"), weight)
        if set(weights) <= set(model.expression_names):
            face = with_expression(replace(result, camera=window.camera(camera)), model, weights)
            panels.append(Panel(_laid_over(_subject(face, model, texture), cut, own), caption))
    return montage(panels, 4)


@dataclass(frozen=True, eq=False)
class _Subject:
    """A face that is ready to be drawn, again and again."""

    result: FitResult  # its mesh is the one to draw: where there is detail, a finer one that holds it
    texture: Texture | None  # of that mesh
    colours: Array | None  # (N, 3) linear reflectance of the vertices
    weights: Array  # (N,) how much each vertex belongs to the face, 0-1
    normals: Array | None = None  # (N, 3) by which to shade it; None: the mesh's own


def _subject(result: FitResult, model: MorphableModel, texture: Texture | None) -> _Subject:
    """Return a result's face with its detail; InvalidInputError for a result without a face."""
    fitted_face(result)
    weights = _face_weights(model)
    given = model.albedo_mean if result.reflectance is None else result.reflectance
    colours = None if given is None else np.asarray(given, np.float64)
    if result.detail is None:
        return _Subject(result, texture, colours, weights)
    values = weights[:, None] if colours is None else np.column_stack([weights, colours])
    fine = detailed_mesh(result, values, None if texture is None else texture.uv)
    texture = None if texture is None or fine.uv is None else replace(texture, uv=fine.uv)
    drawn = replace(result, vertices=fine.vertices, triangles=fine.triangles, detail=None)
    colours = None if colours is None else fine.values[:, 1:]
    return _Subject(drawn, texture, colours, fine.values[:, 0], fine.normals)


def _turned(subject: _Subject, yaw: float, pitch: float, lighting: ArrayLike | None, side: int) -> Pixels:
    """Return the head alone, RGBA (side, side, 4): see `novel_view`."""
    rotation, scale = rotation_from_angles(yaw, pitch, 0.0), side / (2.0 * HEAD_RADIUS)
    centre = np.full(2, (side - 1) / 2.0)
    camera = ScaledOrthographic(rotation, centre - scale * (rotation @ HEAD_CENTRE)[:2], scale)
    return _drawn(subject, camera, (side, side), lighting)


def _laid_over(subject: _Subject, photo: Pixels, lighting: ArrayLike | None) -> Pixels:
    """Return a photo (H, W, 3) with the face over it: see `rerendered`."""
    face, size = fitted_face(subject.result), (photo.shape[0], photo.shape[1])
    drawn = _drawn(subject, face.camera, size, lighting)
    weights = np.repeat(subject.weights[:, None], 3, axis=1)
    mesh = face.vertices, face.triangles
    mask = draw_window(NumbaRenderer(), face.camera, mesh, size, colours=weights, lighting=AMBIENT)
    drawn[..., 3] = to_uint8(srgb_to_linear(mask[..., 0]) * (mask[..., 3] / 255.0))
    return over(photo, drawn)


def _drawn(subject: _Subject, camera: Camera, size: tuple[int, int], lighting: ArrayLike | None) -> Pixels:
    """Return the head, RGBA (H, W, 4), before a camera, under light (9, 3) or else its own."""
    face, texture = fitted_face(subject.result), subject.texture
    seen = camera, (face.vertices, face.triangles), size
    if texture is not None and lighting is None:
        return draw_window(TexturedRenderer(texture.uv, texture.photographed), *seen)
    look: dict[str, Any] = {"normals": subject.normals}
    look["lighting"] = own_light(subject.result) if lighting is None else lighting
    if texture is not None:
        return draw_window(TexturedRenderer(texture.uv, texture.albedo), *seen, **look)
    return draw_window(NumbaRenderer(), *seen, colours=subject.colours, **look)


def own_light(result: FitResult) -> Array:
    """Return the fitted light (9, 3), a soft one where there is none."""
    return named_light("soft") if result.lighting is None else result.lighting


def _light(lighting: str | ArrayLike, result: FitResult) -> ArrayLike:
    """Return a light (9, 3); one of a name is as bright as the fitted."""
    return named_light(lighting, result.lighting) if isinstance(lighting, str) else lighting


def _face_weights(model: MorphableModel) -> Array:
    """Return how much each vertex belongs to the face (N,), 0-1, fading out inside its border; 1 without regions."""
    chosen = [model.regions[name] for name in FACE if name in model.regions]
    if not chosen:
        return np.ones(model.n_vertices)
    inside = np.any(chosen, axis=0)
    weight = inside.astype(np.float64)
    ends = np.concatenate([model.triangles, model.triangles[:, ::-1]])
    start, end = ends.ravel(), np.roll(ends, 1, axis=1).ravel()
    count = np.maximum(np.bincount(start, minlength=len(weight)), 1)
    for _ in range(ROUNDS):
        weight = np.bincount(start, weight[end], minlength=len(weight)) / count
    return np.where(inside, np.clip(2.0 * weight - 1.0, 0.0, 1.0), 0.0)


def _on_ground(drawn: Pixels) -> Pixels:
    """Return a drawn picture (H, W, 4) on a plain dark ground (H, W, 3)."""
    return over(np.full((*drawn.shape[:2], 3), BACKGROUND, np.uint8), drawn)


# --- Motion ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turntable:
    """What a turntable shows, and for how long."""

    side: int = 384  # px, even: MP4's pixels share their colour two by two
    fps: float = 20.0  # frames per second
    turning: float = 3.6  # s in which the head turns to both sides and back
    lighting: float = 2.4  # s in which the lamp goes round; 0 leaves this part out

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (self.side >= 2 and self.side % 2 == 0):
            raise InvalidInputError(f"side: expected an even number of px, got {self.side!r}")
        if not (0.0 < self.fps <= 100.0 and 0.0 < self.turning <= 60.0 and 0.0 <= self.lighting <= 60.0):
            raise InvalidInputError(
                "fps, turning, lighting: expected up to 100 frames per second and 60 s, got "
                f"{self.fps!r}, {self.turning!r} and {self.lighting!r}"
            )


def turntable(
    result: FitResult, model: MorphableModel, *, texture: Texture | None = None, options: Turntable | None = None
) -> Iterator[Pixels]:
    """Yield the frames (side, side, 3) of a turntable that can be repeated without a jump (see the module's text).

    Raises InvalidInputError for a result without a face.
    """
    chosen = Turntable() if options is None else options
    subject, own = _subject(result, model, texture), own_light(result)
    for t in _phases(chosen.turning * chosen.fps):
        yaw = TURN * math.sin(2.0 * math.pi * t)
        yield _on_ground(_turned(subject, yaw, 0.0, own, chosen.side))
    for t in _phases(chosen.lighting * chosen.fps):
        lamp = _lamp_around(2.0 * math.pi * t).harmonics()
        lamp *= brightness(own) / brightness(lamp)
        share = min(1.0, 4.0 * math.sin(math.pi * t))
        light = (1.0 - share) * own + share * lamp
        yield _on_ground(_turned(subject, 0.0, 0.0, light, chosen.side))


def write_turntable(path: str | Path, frames: Iterable[Pixels], fps: float = Turntable.fps) -> None:
    """Write frames (H, W, 3) uint8 RGB of one size as a film that repeats: .gif, or .mp4 (H and W even).

    MP4 is H.264 where PyAV is installed (`pip install av`), which browsers play; else MPEG-4 Part 2, by OpenCV.
    Raises InvalidInputError for another ending or no frames, OutputError where the film cannot be written.
    """
    pictures = [checked_photo(frame) for frame in frames]
    writers = {".gif": _gif, ".mp4": _mp4}
    writer = writers.get(Path(path).suffix.lower())
    if writer is None:
        raise InvalidInputError(f"turntable: expected a name that ends in .gif or .mp4, got {Path(path).name!r}")
    if len({picture.shape for picture in pictures}) != 1:
        raise InvalidInputError(f"frames: expected frames of one size, got {len(pictures)} of several or none")
    film = writer(pictures, fps)
    with atomic_write(path) as file:
        file.write(film)


def _phases(count: float) -> Iterator[float]:
    """Yield so many phases from 0 up to but not including 1."""
    frames = round(count)
    return (k / frames for k in range(frames))


def _lamp_around(angle: float) -> Lamp:
    """Return a lamp ASIDE degrees off the line of sight: angle 0 is above, and it goes round clockwise."""
    aside = math.radians(ASIDE)
    up, right = math.cos(angle) * math.sin(aside), math.sin(angle) * math.sin(aside)
    return Lamp((right, -up, -math.cos(aside)), 0.2)


def _gif(frames: list[Pixels], fps: float) -> bytes:
    """Return a GIF that repeats for ever; every frame has its own 128 colours."""
    pictures = [Image.fromarray(frame).quantize(128, Image.Quantize.MEDIANCUT) for frame in frames]
    times = np.diff(np.rint(np.arange(len(frames) + 1) * 100.0 / fps)) * 10  # ms: GIF counts in 10 ms
    film = io.BytesIO()
    pictures[0].save(
        film, "GIF", save_all=True, append_images=pictures[1:], duration=times.astype(int).tolist(), loop=0, disposal=1
    )
    return film.getvalue()


def _mp4(frames: list[Pixels], fps: float) -> bytes:
    """Return an MP4, by PyAV where it is installed, else by OpenCV."""
    height, width = frames[0].shape[:2]
    if height % 2 or width % 2:
        raise InvalidInputError(f"frames: expected an even height and width for MP4, got {height} x {width}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        try:
            import_module("av")
        except ImportError:
            _write_mpeg4(path, frames, fps)
        else:
            _write_h264(path, frames, fps)
        return path.read_bytes()


def _write_h264(path: Path, frames: list[Pixels], fps: float) -> None:
    """Write frames as H.264 with PyAV."""
    height, width = frames[0].shape[:2]
    with H264Film(path, height, width, fps) as film:
        for k, frame in enumerate(frames):
            film.write(frame, k / fps)


def _write_mpeg4(path: Path, frames: list[Pixels], fps: float) -> None:
    """Write frames as MPEG-4 Part 2 with OpenCV."""
    height, width = frames[0].shape[:2]
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    if not film.isOpened():
        raise OutputError("MP4: this OpenCV cannot write it; install PyAV (pip install av), or write a .gif")
    for frame in frames:
        film.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    film.release()
