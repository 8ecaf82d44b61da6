"""Read a picture as upright 8-bit sRGB, whatever the file holds.

    file -> first frame -> 8 bits per channel -> sRGB by the embedded ICC profile -> alpha over white -> upright

Only the kinds of file listed in FORMATS are opened, by content and not by name, and no pixel is decoded before the
header's size has passed the cap. HEIC needs the optional pillow-heif; AVIF a Pillow with AVIF (11.3 or later).

What has no obvious meaning is fixed here:
  - transparency is composited over white, in sRGB values, as a page would show it;
  - 16-bit grey v becomes round(v / 257); 32-bit integers are taken for 16-bit values (0-65535) and 32-bit floats for
    sRGB values in 0-1; what lies outside is clipped, NaN is 0;
  - an ICC profile that is broken, or of another colour space than the pixels', is ignored (and the record says so).

The numbers of the EXIF orientation tag: EXIF 2.32, section 4.6.4 A.
"""

import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError, features

from ..models.errors import ImageError, InvalidInputError, MissingDependencyError

Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
"""The kinds of file that are always read, in Pillow's names."""

MAX_PIXELS = 64_000_000
"""Larger pictures are refused before they are decoded."""

_KINDS = "a JPEG, PNG, WebP, TIFF, BMP, HEIC or AVIF picture"
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_PROFILE_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """A picture and where it came from."""

    pixels: Pixels  # (H, W, 3) sRGB, upright
    path: str  # as given
    format: str  # Pillow's name of the kind of file: JPEG, PNG, ...
    mode: str  # Pillow's name of the pixels in the file: RGB, L, CMYK, I;16, ...
    orientation: int  # EXIF orientation of the file, 1-8 (HEIC: 1); already applied to `pixels`
    profile: str  # the embedded ICC profile: "none", "converted" or "ignored"


def read_image(path: str | Path) -> Pixels:
    """Return the picture in a file as (H, W, 3) uint8, sRGB, upright.

    Raises ImageError for a file that is missing, not a picture of a known kind, damaged or larger than 64 megapixels,
    MissingDependencyError for a HEIC or AVIF file where its decoder is not installed.
    """
    return load_image(path).pixels


def load_image(path: str | Path) -> LoadedImage:
    """Read a picture like `read_image`, and keep what its file said about itself."""
    path = Path(path)
    try:
        if not path.is_file():
            raise ImageError(f"{path}: expected a picture, got {'a folder' if path.is_dir() else 'no such file'}")
        # Pillow warns of odd metadata and of sizes below our own cap; neither is the caller's business.
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            return _load(path, file)
    except (ImageError, MissingDependencyError):
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: expected at most {MAX_PIXELS:,} pixels, got far more") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path}: expected {_KINDS}, got something else or a damaged header") from None
    except PermissionError:
        raise ImageError(f"{path}: expected a readable file, got no permission") from None
    except Exception as problem:  # on hostile bytes Pillow's decoders raise nearly every type there is
        raise ImageError(f"{path}: expected a sound picture, got a damaged or unsupported one ({problem})") from problem


def checked_image(image: Any) -> Pixels:
    """Return an image array handed in by a caller as (H, W, 3) uint8; the same memory where nothing has to change.

    Takes uint8 RGB (H, W, 3), grey (H, W), which is repeated, and RGBA (H, W, 4), which is composited over white.
    Raises InvalidInputError, naming expected and got, for anything else.
    """
    try:
        array = np.asarray(image)
    except ValueError as problem:
        raise InvalidInputError(f"image: expected an array of shape (H, W, 3), got {problem}") from None
    if array.dtype != np.uint8:
        raise InvalidInputError(f"image: expected RGB values of type uint8 (0-255), got type {array.dtype}")
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] not in (3, 4) or array.size == 0:
        raise InvalidInputError(f"image: expected shape (H, W, 3), got {np.shape(image)}")
    if array.shape[2] == 4:
        array = _over_white(array[:, :, :3], array[:, :, 3])
    return np.ascontiguousarray(array)


def _load(path: Path, file: BinaryIO) -> LoadedImage:
    image = _open(path, file)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{path}: expected at most {MAX_PIXELS:,} pixels, got {width} x {height}")
    kind, mode, orientation = image.format or "", image.mode, _orientation(image)
    image.load()
    # Pillow itself turns TIFF files while it decodes them, and then drops the tag: apply only what is left of it.
    remaining = _orientation(image)
    colour, alpha = _without_alpha(_eight_bit(image))
    colour, profile = _to_srgb(colour, image.info.get("icc_profile"))
    pixels = np.asarray(colour)
    if alpha is not None:
        pixels = _over_white(pixels, np.asarray(alpha))
    upright = np.array(_upright(pixels, remaining), order="C")  # a copy: Pillow's own memory is read-only
    return LoadedImage(upright, str(path), kind, mode, orientation, profile)


def _open(path: Path, file: BinaryIO) -> Image.Image:
    """Open the header with the decoder that the content asks for."""
    start = file.read(12)
    file.seek(0)
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS:
        try:
            from pillow_heif import HeifImageFile
        except ImportError:
            raise MissingDependencyError(f"{path}: a HEIC picture needs: pip install pillow-heif") from None
        return HeifImageFile(file)
    if start[4:8] == b"ftyp" and start[8:12] in _AVIF_BRANDS:
        if not features.check("avif"):
            raise MissingDependencyError(f"{path}: an AVIF picture needs: pip install 'Pillow>=11.3'")
        return Image.open(file, formats=("AVIF",))
    return Image.open(file, formats=FORMATS)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken metadata, again of any exception type, must not cost us sound pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn stored pixels (H, W, 3) upright. The tag names the sides on which row 0 and column 0 of the file belong."""
    if orientation >= 5:  # row 0 is a left or right side: exchange the axes, then mirror as for 1-4
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return the image with 8 bits per channel, in a mode of one colour space: L, RGB, RGBA or CMYK."""
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image), nan=0.0, posinf=1.0, neginf=0.0)
        return Image.fromarray(np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8))
    if image.mode.startswith("I"):
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "CMYK") else image.convert("RGB")


def _without_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    if image.mode != "RGBA":
        return image, None
    return image.convert("RGB"), image.getchannel("A")


def _to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """Return the image (L, RGB or CMYK) as sRGB, and what became of its ICC profile."""
    if not profile:
        return image.convert("RGB"), "none"
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        mode = _PROFILE_MODES.get(source.profile.xcolor_space.strip())
        if mode == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        if mode == image.mode:
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted, "converted"
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):  # a broken profile: the plain values are the best
        pass
    return image.convert("RGB"), "ignored"


def _over_white(colour: Pixels, alpha: Pixels) -> Pixels:
    """Composite sRGB values (H, W, 3) with alpha (H, W) over white, rounded to nearest."""
    a = alpha[:, :, None].astype(np.uint16)
    return ((colour * a + 255 * (255 - a) + 127) // 255).astype(np.uint8)
