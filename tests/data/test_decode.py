"""Decoding: every mode becomes RGB by the documented rule, everything broken is a DataError."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image

from zoo.data.pixels.decode import MAX_PIXELS, image_size, open_image
from zoo.errors import DataError


def encoded(image, kind="PNG", **options):
    content = BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def picture(width=24, height=16):
    """A smooth picture that is different at every corner."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def pixels(content, name="x"):
    image = open_image(content, name=name)
    assert image.mode == "RGB"
    return np.asarray(image)


def png_header(width, height, depth=8, colour=2):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(kind):
    np.testing.assert_array_equal(pixels(encoded(picture(), kind)), np.asarray(picture()))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_are_read_by_content_and_not_by_name(tmp_path, kind):
    path = tmp_path / "wrong.png"
    path.write_bytes(encoded(picture(), kind))
    difference = np.asarray(open_image(path, name="x"), dtype=int) - np.asarray(
        picture(), dtype=int
    )
    assert np.abs(difference).mean() < 15


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB"])
def test_opaque_modes(mode):
    source = picture().convert("L") if mode in "1L" else picture()
    if mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(source, srgb, lab, outputMode="LAB")
    else:
        image = source.convert(mode)
    kind = "JPEG" if mode == "YCbCr" else "TIFF" if mode in ("CMYK", "LAB") else "PNG"
    found = pixels(encoded(image, kind)).astype(int)
    expected = np.asarray(source.convert("RGB")).astype(int)
    tolerance = {"1": 130, "P": 30, "LAB": 12}.get(mode, 3)
    assert np.abs(found - expected).mean() <= tolerance
    if mode == "1":
        assert set(np.unique(found)) == {0, 255}


def test_cmyk_jpeg_is_not_inverted():
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(pixels(encoded(red, "JPEG")).astype(int) - [255, 0, 0]).max() < 10


@pytest.mark.parametrize("alpha", [0, 64, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_pasted_on_white(mode, alpha):
    colour = (40, 90, 160) if mode == "RGBA" else (90,)
    found = pixels(encoded(Image.new(mode, (3, 3), (*colour, alpha))))
    share = alpha / 255
    expected = np.array(colour if mode == "RGBA" else colour * 3) * share + 255 * (1 - share)
    assert np.abs(found[1, 1] - expected).max() <= 1


def test_transparent_palette_entry_and_colour_become_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    assert pixels(encoded(palette, transparency=1))[0].tolist() == [[10, 20, 30], [255, 255, 255]]
    assert pixels(encoded(palette, "GIF", transparency=0))[0].tolist()[0] == [255, 255, 255]
    colours = Image.new("RGB", (2, 1), (1, 2, 3))
    colours.putpixel((1, 0), (9, 9, 9))
    assert pixels(encoded(colours, transparency=(9, 9, 9)))[0].tolist() == [[1, 2, 3], [255] * 3]


def test_sixteen_bits_are_divided_by_257():
    values = np.linspace(0, 65535, 300, dtype=np.uint16).reshape(10, 30)
    for kind in ("PNG", "TIFF"):
        found = pixels(encoded(Image.fromarray(values), kind))
        np.testing.assert_array_equal(found[..., 0], np.rint(values / 257).astype(np.uint8))
    pgm = b"P5 2 1 65535 \x80\x00\xff\xff"
    assert pixels(pgm)[0, :, 0].tolist() == [128, 255]


def test_floats_and_integers_have_one_scale_or_are_refused():
    unit = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    assert pixels(encoded(Image.fromarray(unit), "TIFF"))[0, :, 1].tolist() == [0, 128, 255]
    for values in (unit * 255, unit - 1, np.array([[0, np.nan]], dtype=np.float32)):
        with pytest.raises(DataError, match=r"values from .*; read is 0 to 1"):
            open_image(encoded(Image.fromarray(values), "TIFF"), name="x")
    deep = np.array([[0, 65535]], dtype=np.int32)
    assert pixels(encoded(Image.fromarray(deep), "TIFF"))[0, :, 1].tolist() == [0, 255]
    with pytest.raises(DataError, match="65536"):
        open_image(encoded(Image.fromarray(deep + 1), "TIFF"), name="x")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_eight_orientations_give_one_picture(kind, orientation):
    # What a camera stores that was held so; the inverse of the rule in the EXIF standard.
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }[orientation](np.asarray(picture(32, 16)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    image = Image.fromarray(np.ascontiguousarray(stored))
    found = pixels(encoded(image, kind, exif=exif, **options))
    assert found.shape == (16, 32, 3)
    assert np.abs(found.astype(int) - np.asarray(picture(32, 16)).astype(int)).mean() < 4


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_cost_the_picture():
    content = encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert pixels(content).shape == (16, 24, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_first_frame_of_several(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert pixels(content)[4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes(size):
    assert open_image(encoded(Image.new("RGB", size)), name="x").size == size


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
BROKEN = {
    "zero bytes": (b"", "empty file"),
    "text": (b"this is no image" * 9, "no image"),
    "web page": (b"<!doctype html><title>404</title>", "no image"),
    "EPS": (EPS, "no image"),
    "truncated PNG": (encoded(picture(200, 200))[:-60], "truncated|broken"),
    "truncated JPEG": (encoded(picture(200, 200), "JPEG")[:-400], "truncated"),
    "truncated WebP": (
        encoded(picture(200, 200), "WEBP")[:-60],
        "decoder|decode|truncated|no image",
    ),
    "truncated GIF": (encoded(picture(200, 200), "GIF")[:-900], "truncated"),
    "truncated BMP": (encoded(picture(200, 200), "BMP")[:-900], "truncated"),
    "only a signature": (b"\x89PNG\r\n\x1a\n", "no image|truncated|broken"),
    "bomb by header": (png_header(30_000, 30_000), "million pixels"),
    "bomb below Pillow's limit": (png_header(8_001, 8_000), "million pixels"),
    "four thousand million squared": (png_header(2**31 - 1, 2**31 - 1), "million pixels"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_content_names_the_image_and_the_reason(case):
    content, reason = BROKEN[case]
    with pytest.raises(DataError, match=reason) as caught:
        open_image(content, name="some\x1b[31m/name.png")
    assert r"some\x1b[31m/name.png" in str(caught.value)
    assert caught.value.exit_code == 3


def test_the_limit_itself_is_allowed_by_the_header():
    assert image_size(png_header(8_000, 8_000), name="x") == (8_000, 8_000)
    assert MAX_PIXELS == 8_000 * 8_000


def test_only_regular_files_are_opened(tmp_path):
    fifo = tmp_path / "pipe.png"
    os.mkfifo(fifo)
    folder = tmp_path / "folder.png"
    folder.mkdir()
    for path in (fifo, folder, tmp_path / "missing.png", tmp_path / "dangling.png", "/dev/zero"):
        if path == tmp_path / "dangling.png":
            path.symlink_to(tmp_path / "nowhere")
        with pytest.raises(DataError, match="cannot read the image"):
            open_image(tmp_path / path, name="x")


def test_pillow_is_left_as_it_was():
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(DataError):
        open_image(png_header(30_000, 30_000), name="x")
    assert before == Image.MAX_IMAGE_PIXELS


def test_many_threads_read_the_same_as_one():
    contents = [
        encoded(picture(20 + n % 7, 16), kind) for n in range(20) for kind in ("PNG", "WEBP")
    ]
    alone = [pixels(content) for content in contents]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(pixels, contents * 4))
    for index, found in enumerate(together):
        np.testing.assert_array_equal(found, alone[index % len(alone)])


SEEDS = [encoded(picture(), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM")]


@settings(max_examples=300)
@given(
    seed=st.sampled_from(SEEDS),
    place=st.integers(0, 400),
    junk=st.binary(max_size=12),
    end=st.integers(0, 600),
)
def test_damaged_images_are_read_or_refused_and_nothing_else(seed, place, junk, end):
    content = seed[:place] + junk + seed[place + len(junk) : end]
    try:
        image = open_image(content, name="fuzz")
    except DataError:
        return
    assert image.mode == "RGB"


def photograph():
    """A real photograph, 640 x 427."""
    return Image.fromarray(load_sample_image("china.jpg"))


@pytest.mark.parametrize(
    ("at_least", "size"),
    [
        (None, (640, 427)),
        ((107, 107), (640, 427)),  # a half would be less than twice as large
        ((106, 106), (320, 214)),
        ((53, 53), (160, 107)),
        ((26, 26), (80, 54)),
        ((1, 1), (80, 54)),
        ((0, 160), (320, 214)),
        ((0, 161), (640, 427)),
    ],
)
def test_a_jpeg_is_reduced_as_far_as_is_asked(at_least, size):
    content = encoded(photograph(), "JPEG", quality=90)
    image = open_image(content, name="x", at_least=at_least)
    assert image.size == size
    assert image.tobytes() == open_image(content, name="x", at_least=at_least).tobytes()


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_reduced_jpeg_is_the_same_picture(mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = photograph().crop((0, 0, 640, 424)).convert(mode)  # whole blocks, either way round
    content = encoded(image, "JPEG", quality=95, exif=exif)
    whole = open_image(content, name="x").reduce(4)
    reduced = open_image(content, name="x", at_least=(53, 53))
    assert reduced.size == whole.size
    off = np.abs(np.asarray(reduced).astype(int) - np.asarray(whole).astype(int))
    assert off.mean() < 2


@pytest.mark.parametrize("size", [(4000, 7), (3, 2000), (1, 1000)])
def test_a_thin_jpeg_of_which_only_the_longer_side_counts_is_read(size):
    grey = Image.new("RGB", size, (128, 128, 128))
    image = open_image(encoded(grey, "JPEG"), name="x", at_least=(0, 224))
    assert max(image.size) >= 2 * 224
    assert image.getpixel((0, 0)) == (128, 128, 128)


def test_only_jpegs_are_reduced():
    for kind in ("PNG", "WEBP", "BMP"):
        content = encoded(photograph(), kind)
        assert open_image(content, name="x", at_least=(8, 8)).size == (640, 427)


def test_pillows_remarks_do_not_reach_the_terminal(tmp_path):
    (tmp_path / "exif.jpg").write_bytes(
        encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    )
    palette = Image.new("P", (4, 4))
    palette.putpalette([10, 20, 30])
    palette.save(tmp_path / "palette.png", transparency=b"\x00\x80")
    script = (
        "import sys, warnings\nfrom pathlib import Path\n"
        "from zoo.data.pixels.decode import open_image\n"
        "for name in sys.argv[1:]: open_image(Path(name), name=name)\n"
        "warnings.warn('ours')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert run.stdout == ""
    assert "UserWarning: ours" in run.stderr
    assert "exif" not in run.stderr.lower()
    assert len(run.stderr.splitlines()) <= 2


def test_a_file_too_large_to_be_read_at_once_is_read_all_the_same(tmp_path):
    path = tmp_path / "large.bmp"
    Image.new("RGB", (2400, 2400), (1, 2, 3)).save(path)
    assert path.stat().st_size > 2**24
    assert open_image(path, name="x").getpixel((2399, 2399)) == (1, 2, 3)
