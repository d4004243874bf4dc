"""PNG files with nothing but an image: the same pixels and the same complaints as by Pillow."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from zoo.data.pixels import decode
from zoo.data.pixels.plain_png import plain_png
from zoo.errors import DataError

ANY_SIZE = 10**9


def encoded(image, **options):
    content = BytesIO()
    image.save(content, "PNG", **options)
    return content.getvalue()


def noise(mode, width, height, seed=0):
    shape = (height, width) if mode == "L" else (height, width, 3)
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(values)


def chunk(name, body):
    crc = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)


def written(width, height, data, *, kind=b"\x08\x02", rules=b"\0\0\0", between=b""):
    """A PNG file whose checksums are right, whatever its data are."""
    header = struct.pack(">II", width, height) + kind + rules
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + between + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )  # fmt: skip


def outcome(content):
    """What :func:`open_image` makes of a file: pixels, or what is wrong with it."""
    try:
        image = decode.open_image(content, name="x")
    except DataError as error:
        return error.found
    return image.mode, image.size, image.tobytes()


def by_pillow(content):
    """The same by Pillow's own reader alone."""
    with patch.object(decode, "plain_png", lambda content, most_pixels: None):
        return outcome(content)


@given(
    mode=st.sampled_from(["L", "RGB"]), width=st.integers(1, 40), height=st.integers(1, 40),
    level=st.integers(0, 9), seed=st.integers(0, 99),
)  # fmt: skip
def test_every_small_image_is_read_without_pillow_and_is_the_same(mode, width, height, level, seed):
    image = noise(mode, width, height, seed)
    content = encoded(image, compress_level=level)
    found = plain_png(content, most_pixels=ANY_SIZE)
    assert (found.mode, found.size, found.tobytes()) == (mode, image.size, image.tobytes())
    assert outcome(content) == by_pillow(content)


@pytest.mark.parametrize("row_filter", range(5))
def test_every_filter_of_rows(row_filter):
    values = np.random.default_rng(row_filter).integers(0, 256, (9, 1 + 3 * 7), dtype=np.uint8)
    values[:, 0] = row_filter
    content = written(7, 9, zlib.compress(values.tobytes()))
    assert plain_png(content, most_pixels=ANY_SIZE) is not None
    assert outcome(content) == by_pillow(content)


def with_text():
    note = PngInfo()
    note.add_text("Title", "x")
    return encoded(noise("RGB", 8, 8), pnginfo=note)


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(noise("RGB", 8, 4), exif=exif)


def with_a_tail():
    return encoded(noise("L", 8, 8)) + b"more"


PIXELS = zlib.compress(bytes(9 * (1 + 3 * 7)))
OTHERS = {
    "text": with_text(),
    "orientation": turned(),
    "transparent": encoded(noise("RGB", 8, 8), transparency=(0, 0, 0)),
    "alpha": encoded(noise("RGB", 8, 8).convert("RGBA")),
    "palette": encoded(noise("RGB", 8, 8).convert("P")),
    "one bit": encoded(noise("L", 8, 8).convert("1")),
    "16 bits": encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8))),
    "two chunks": written(7, 9, PIXELS[4:], between=chunk(b"IDAT", PIXELS[:4])),
    "animation": encoded(
        noise("L", 8, 8), save_all=True, append_images=[noise("L", 8, 8, seed=1)]
    ),
    "interlaced": written(7, 9, PIXELS, rules=b"\0\0\1"),
    "another filter": written(7, 9, PIXELS, rules=b"\0\1\0"),
    "bytes after its end": with_a_tail(),
    "no pixels": written(0, 9, PIXELS),
    "too little data": written(7, 9, zlib.compress(bytes(100))),
    "no data": written(7, 9, b""),
    "a filter that is none": written(7, 9, zlib.compress(b"\5" + bytes(9 * 22 - 1))),
    "no image": b"\x89PNG\r\n\x1a\n",
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_else_there_is_is_left_to_pillow(name):
    assert plain_png(OTHERS[name], most_pixels=ANY_SIZE) is None
    assert outcome(OTHERS[name]) == by_pillow(OTHERS[name])


def test_a_file_that_was_damaged_or_cut_anywhere():
    content = encoded(noise("RGB", 5, 4))
    assert plain_png(content, most_pixels=ANY_SIZE) is not None
    for place in range(len(content)):
        assert outcome(content[:place]) == by_pillow(content[:place]), place
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        assert plain_png(bytes(damaged), most_pixels=ANY_SIZE) is None, place
        assert outcome(bytes(damaged)) == by_pillow(bytes(damaged)), place


@given(data=st.data())
def test_data_that_are_wrong_under_a_right_checksum(data):
    good = zlib.compress(noise("RGB", 7, 9).tobytes() + bytes(9))
    start, stop = sorted((data.draw(st.integers(0, len(good))), data.draw(st.integers(0, 9))))
    content = written(7, 9, good[:start] + data.draw(st.binary(max_size=9)) + good[stop:])
    assert outcome(content) == by_pillow(content)


def test_an_image_of_more_pixels_than_the_limit_is_not_decoded():
    content = encoded(noise("L", 10, 10))
    assert plain_png(content, most_pixels=100) is not None
    assert plain_png(content, most_pixels=99) is None
    huge = written(8_001, 8_000, zlib.compress(bytes(100)))
    assert "more than the limit" in outcome(huge)
