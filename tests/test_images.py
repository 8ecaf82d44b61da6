import io
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, features

from facefit.fitting.images import MAX_PIXELS, checked_image, load_image, read_image
from facefit.models.errors import ImageError, InvalidInputError, MissingDependencyError

ORIENTATION = 274


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def saved(path, image, **options):
    image.save(path, **options)
    return path


def smooth(height=48, width=64):
    """A picture that survives lossy coding."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([40 + 2 * x, 60 + 2 * y, 200 - x - y], axis=2).astype(np.uint8)


# ------------------------------------------------------------------------------------------------ kinds and modes


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("a.png", "PNG", {}),
        ("a.bmp", "BMP", {}),
        ("a.tif", "TIFF", {}),
        ("a.tiff", "TIFF", {"compression": "tiff_lzw"}),
        ("a.webp", "WEBP", {"lossless": True}),
        ("a.jpg", "PNG", {"format": "PNG"}),  # the content counts, not the name
    ],
)
def test_lossless_kinds_are_exact(tmp_path, pixels, name, kind, options):
    path = saved(tmp_path / name, Image.fromarray(pixels), **options)
    loaded = load_image(path)
    assert (loaded.pixels == pixels).all()
    assert (loaded.format, loaded.mode, loaded.orientation, loaded.profile) == (kind, "RGB", 1, "none")
    assert loaded.path == str(path)
    image = read_image(str(path))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_lossy_kinds_are_near(tmp_path, name):
    path = saved(tmp_path / name, Image.fromarray(smooth()), quality=95)
    assert np.abs(read_image(path).astype(int) - smooth()).mean() < 2.0


def test_grey_palette_and_bilevel(tmp_path, pixels):
    grey = pixels[:, :, 0]
    assert (read_image(saved(tmp_path / "l.png", Image.fromarray(grey))) == grey[:, :, None]).all()
    palette = Image.fromarray(pixels).quantize(35)
    assert (read_image(saved(tmp_path / "p.png", palette)) == np.asarray(palette.convert("RGB"))).all()
    bits = Image.fromarray(grey > 127)
    assert (read_image(saved(tmp_path / "1.png", bits)) == np.where(grey > 127, 255, 0)[:, :, None]).all()


def test_alpha_is_composited_over_white(tmp_path):
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [10, 20, 30, 51]]], dtype=np.uint8)  # 51/255 = 1/5
    expected = [[[10, 20, 30], [255, 255, 255], [206, 208, 210]]]
    assert read_image(saved(tmp_path / "rgba.png", Image.fromarray(rgba))).tolist() == expected
    assert (
        read_image(saved(tmp_path / "rgba.webp", Image.fromarray(rgba), lossless=True, exact=True)).tolist() == expected
    )
    grey = Image.fromarray(rgba[:, :, [0, 3]])
    assert grey.mode == "LA"
    assert read_image(saved(tmp_path / "la.png", grey)).tolist() == [[[10] * 3, [255] * 3, [206] * 3]]


def test_transparent_colours_of_a_file(tmp_path, pixels):
    palette = Image.fromarray(pixels).quantize(8)
    expected = np.array(palette.convert("RGB"))
    expected[np.asarray(palette) == 3] = 255
    assert (read_image(saved(tmp_path / "p.png", palette, transparency=3)) == expected).all()
    colour = tuple(int(v) for v in pixels[2, 3])
    expected = np.where((pixels == colour).all(axis=2, keepdims=True), 255, pixels)
    assert (read_image(saved(tmp_path / "rgb.png", Image.fromarray(pixels), transparency=colour)) == expected).all()


def test_sixteen_bit_grey_is_rounded(tmp_path):
    values = np.array([[0, 128, 129, 257, 40000, 65535]], dtype=np.uint16)
    expected = [0, 0, 1, 1, 156, 255]
    for name in ("a.png", "a.tif"):
        loaded = load_image(saved(tmp_path / name, Image.fromarray(values)))
        assert loaded.mode.startswith("I")
        assert loaded.pixels[0].tolist() == [[v] * 3 for v in expected]


def test_sixteen_bit_colour(tmp_path):
    """Pillow cannot write it: a PNG by hand, one row of two pixels, big-endian."""
    row = struct.pack(">B6H", 0, 0xFFFF, 0x8000, 0, 257 * 10, 257 * 20, 257 * 30)
    (tmp_path / "a.png").write_bytes(png_file(2, 1, zlib.compress(row), depth=16))
    assert read_image(tmp_path / "a.png").tolist() == [[[255, 128, 0], [10, 20, 30]]]


def test_thirty_two_bit_values_are_clipped(tmp_path):
    integers = np.array([[-5, 0, 40000, 65535, 2_000_000_000]], dtype=np.int32)
    read = read_image(saved(tmp_path / "i.tif", Image.fromarray(integers)))
    assert read[0, :, 0].tolist() == [0, 0, 156, 255, 255]
    floats = np.array([[-1.0, 0.0, 0.5, 1.0, 1e30, np.nan, np.inf, -np.inf]], dtype=np.float32)
    read = read_image(saved(tmp_path / "f.tif", Image.fromarray(floats)))
    assert read[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0, 255, 0]


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk(tmp_path, name):
    path = saved(tmp_path / name, Image.new("CMYK", (8, 8), (0, 255, 255, 0)))
    loaded = load_image(path)
    assert loaded.mode == "CMYK"
    assert np.abs(loaded.pixels.astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize(("name", "options"), [("a.webp", {"lossless": True}), ("a.png", {}), ("a.tif", {})])
def test_animated_files_give_their_first_frame(tmp_path, pixels, name, options):
    frames = [Image.fromarray(np.ascontiguousarray(np.roll(pixels, i, axis=0))) for i in range(3)]
    path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], **options)
    with Image.open(path) as image:
        assert image.n_frames == 3
    assert (read_image(path) == pixels).all()


# ------------------------------------------------------------------------------------------- orientation and colour


def stored_as(upright, orientation):
    """The pixels a camera stores, from the tag's definition: which visual sides are row 0 and column 0 of the file."""
    row, column = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[orientation]
    horizontal, vertical = (column, row) if row in ("top", "bottom") else (row, column)
    stored = upright[:: -1 if vertical == "bottom" else 1, :: -1 if horizontal == "right" else 1]
    return np.ascontiguousarray(stored if row in ("top", "bottom") else stored.transpose(1, 0, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.tif", {}),
        ("a.tiff", {"compression": "tiff_lzw"}),
        ("a.webp", {"lossless": True}),
    ],
)
def test_exif_orientation_is_applied_once(tmp_path, pixels, name, options, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = saved(tmp_path / name, Image.fromarray(stored_as(pixels, orientation)), exif=exif, **options)
    loaded = load_image(path)
    assert loaded.orientation == orientation
    assert (loaded.pixels == pixels).all()


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_senseless_orientation_is_ignored(tmp_path, pixels, value):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    loaded = load_image(saved(tmp_path / "a.png", Image.fromarray(pixels), exif=exif))
    assert loaded.orientation == 1
    assert (loaded.pixels == pixels).all()


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01"]
)
def test_broken_exif_costs_nothing(tmp_path, pixels, exif):
    path = saved(tmp_path / "a.jpg", Image.fromarray(smooth()), exif=exif, quality=95)
    assert load_image(path).pixels.shape in ((48, 64, 3), (64, 48, 3))


def matrix_profile(swap):
    """An ICC profile of sRGB whose red and blue primaries are exchanged (if `swap`): its colours are known exactly."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    if swap:
        red, blue = profile.index(b"rXYZ", 128), profile.index(b"bXYZ", 128)
        profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


@pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.tif", {}), ("a.webp", {"lossless": True})])
def test_profiles_are_converted_to_srgb(tmp_path, pixels, name, options):
    image = Image.fromarray(pixels)
    same = load_image(saved(tmp_path / f"s{name}", image, icc_profile=matrix_profile(swap=False), **options))
    assert same.profile == "converted"
    assert np.abs(same.pixels.astype(int) - pixels).max() <= 1
    swapped = load_image(saved(tmp_path / f"x{name}", image, icc_profile=matrix_profile(swap=True), **options))
    assert np.abs(swapped.pixels.astype(int) - pixels[:, :, ::-1]).max() <= 1


def test_profile_alpha_and_orientation_together(tmp_path, pixels):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = np.dstack([stored_as(pixels, 6), np.full((5, 7), 255, np.uint8)])
    stored[0, 0, 3] = 0
    path = saved(tmp_path / "a.png", Image.fromarray(stored), exif=exif, icc_profile=matrix_profile(swap=True))
    expected = pixels[:, :, ::-1].astype(int)
    expected[0, -1] = 255  # row 0 of the file is the right side, column 0 the top
    assert np.abs(read_image(path) - expected).max() <= 1


def test_grey_pixels_with_a_colour_profile(tmp_path, pixels):
    path = saved(tmp_path / "a.png", Image.fromarray(pixels[:, :, 0]), icc_profile=matrix_profile(swap=True))
    assert np.abs(read_image(path).astype(int) - pixels[:, :, :1]).max() <= 1


@pytest.mark.parametrize("profile", [b"not a profile", matrix_profile(swap=False)[:200], bytes(4096)])
def test_a_broken_profile_is_ignored(tmp_path, pixels, profile):
    loaded = load_image(saved(tmp_path / "a.png", Image.fromarray(pixels), icc_profile=profile))
    assert loaded.profile == "ignored"
    assert (loaded.pixels == pixels).all()


def test_a_profile_of_another_colour_space_is_ignored(tmp_path):
    image = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    loaded = load_image(saved(tmp_path / "a.tif", image, icc_profile=matrix_profile(swap=True)))
    assert loaded.profile == "ignored"
    assert (loaded.pixels == [255, 0, 0]).all()


# ---------------------------------------------------------------------------------------------------- hostile files


def png_chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_file(width, height, data, depth=8):
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    parts = [png_chunk(b"IHDR", header), png_chunk(b"IDAT", data), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (65000, 1), (1, 65000)])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
def test_extreme_shapes(tmp_path, name, width, height):
    path = saved(tmp_path / name, Image.new("RGB", (width, height), (200, 200, 200)))
    image = read_image(path)
    assert image.shape == (height, width, 3)
    assert (image == 200).all()


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (8001, 8000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)])
def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch, width, height):
    def never(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    (tmp_path / "huge.png").write_bytes(png_file(width, height, zlib.compress(b"")))
    with pytest.raises(ImageError, match=f"huge.png: expected at most {MAX_PIXELS:,} pixels"):
        read_image(tmp_path / "huge.png")


def test_a_header_without_pixels_is_damaged(tmp_path):
    (tmp_path / "a.png").write_bytes(png_file(100, 100, zlib.compress(b"")))
    with pytest.raises(ImageError, match=r"a\.png: expected a sound picture"):
        read_image(tmp_path / "a.png")


def test_truncated_jpeg_at_ten_cut_points(tmp_path):
    content = encoded(Image.fromarray(smooth(300, 400)), "JPEG", quality=90)
    for tenths in range(10):
        path = tmp_path / f"cut{tenths}.jpg"
        path.write_bytes(content[: len(content) * tenths // 10])
        with pytest.raises(ImageError, match=f"cut{tenths}.jpg: expected"):
            read_image(path)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})],
)
def test_other_truncated_files(tmp_path, capfd, kind, options, rng):
    noise = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    content = encoded(noise, kind, **options)
    for tenths in range(10):
        (tmp_path / "cut").write_bytes(content[: len(content) * tenths // 10])
        with pytest.raises(ImageError, match="cut: expected"):
            read_image(tmp_path / "cut")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.jpg", b"This is not a picture.\n" * 100),
        ("empty.jpg", b""),
        ("one.png", b"\x89"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("animated.gif", encoded(Image.new("P", (4, 4)), "GIF")),
        ("a.eps", encoded(Image.new("RGB", (4, 4)), "EPS")),
        ("a.ico", encoded(Image.new("RGB", (16, 16)), "ICO")),
    ],
)
def test_other_content_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=f"{name}: expected a JPEG, PNG"):
        read_image(tmp_path / name)


def test_missing_file_folder_and_no_permission(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match=r"none\.jpg: expected a picture, got no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="got a folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="no such file"):
        read_image("a\0b.jpg")
    path = saved(tmp_path / "a.png", Image.new("RGB", (2, 2)))

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)  # root may read everything, so the refusal is played
    with pytest.raises(ImageError, match=r"a\.png: expected a readable file"):
        read_image(path)


def small_files():
    image = Image.fromarray(smooth(12, 16))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return [
        encoded(image, "JPEG", exif=exif),
        encoded(image, "PNG", icc_profile=matrix_profile(swap=True)),
        encoded(image.quantize(16), "PNG", transparency=1),
        encoded(image, "BMP"),
        encoded(image, "TIFF", exif=exif),
        encoded(image, "TIFF", compression="tiff_deflate"),
        encoded(image, "WEBP", exif=exif),
        *([encoded(image, "AVIF")] if features.check("avif") else []),
    ]


FILES = small_files()


@settings(max_examples=400)
@given(
    which=st.integers(0, len(FILES) - 1),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=4),
    keep=st.floats(0, 1) | st.just(1.0),
)
def test_damaged_files_give_a_picture_or_an_image_error(tmp_path_factory, which, edits, keep):
    content = bytearray(FILES[which])
    for where, new in edits:
        start = int(where * (len(content) - 1))
        content[start : start + len(new)] = new
    path = tmp_path_factory.getbasetemp() / "fuzz.bin"
    path.write_bytes(content[: int(np.ceil(keep * len(content)))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            image = read_image(path)
        except ImageError:
            return
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.dtype == np.uint8


@given(content=st.binary(max_size=64))
def test_arbitrary_bytes_are_no_picture(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"bytes\.jpg"):
        read_image(path)


# ------------------------------------------------------------------------------------------------- optional decoders


def test_heic_without_its_decoder_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(MissingDependencyError, match="pillow-heif"):
        read_image(tmp_path / "a.jpg")


def test_avif_without_its_decoder_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda _: False)
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x18ftypavif" + bytes(100))
    with pytest.raises(MissingDependencyError, match=r"Pillow>=11\.3"):
        read_image(tmp_path / "a.avif")


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_avif(tmp_path, orientation):
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = saved(tmp_path / "a.avif", Image.fromarray(stored_as(smooth(), orientation)), quality=95, exif=exif)
    loaded = load_image(path)
    assert loaded.format == "AVIF"
    assert loaded.pixels.shape == smooth().shape
    assert np.abs(loaded.pixels.astype(int) - smooth()).mean() < 3.0


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_heic(tmp_path, orientation):
    heif = pytest.importorskip("pillow_heif", reason="the HEIC extra is not installed")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(stored_as(smooth(), orientation))
    heif.from_pillow(stored).save(tmp_path / "a.heic", quality=95, exif=exif.tobytes())
    pixels = read_image(tmp_path / "a.heic")
    assert pixels.shape == smooth().shape
    assert np.abs(pixels.astype(int) - smooth()).mean() < 3.0
    content = (tmp_path / "a.heic").read_bytes()
    (tmp_path / "cut.heic").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"cut\.heic"):
        read_image(tmp_path / "cut.heic")


# --------------------------------------------------------------------------------------------------- arrays as images


def test_a_fit_array_is_passed_through(pixels):
    assert checked_image(pixels) is pixels
    assert (checked_image(pixels[:, ::-1]) == pixels[:, ::-1]).all()
    assert checked_image(pixels[:, ::-1]).flags.c_contiguous


def test_grey_and_rgba_arrays(pixels):
    assert (checked_image(pixels[:, :, 0]) == pixels[:, :, :1]).all()
    opaque = np.dstack([pixels, np.full((7, 5), 255, np.uint8)])
    assert (checked_image(opaque) == pixels).all()
    opaque[:, :, 3] = 0
    assert (checked_image(opaque) == 255).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3)), "type uint8.*got type float64"),
        (np.zeros((4, 4, 3), bool), "got type bool"),
        (np.zeros((4, 4, 2), np.uint8), r"expected shape \(H, W, 3\), got \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), r"got \(0, 4, 3\)"),
        (np.zeros((0, 4), np.uint8), r"got \(0, 4"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"got \(2, 4, 4, 3\)"),
        (np.uint8(3), r"got \(\)"),
        (None, "got type object"),
        ("photo.jpg", "got type"),
        ([[1, 2], [3]], "image: expected"),
    ],
)
def test_other_arrays_are_refused(image, message):
    with pytest.raises(InvalidInputError, match=message):
        checked_image(image)
