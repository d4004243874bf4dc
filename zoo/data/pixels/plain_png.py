"""PNG files that hold an image and nothing else, decoded without a look at what they do not hold.

Pillow reads a PNG file chunk by chunk in Python, which takes as long as decoding a small image:
with its reader and without 65 and 33 us for RGB of 28 pixels, 141 and 106 for 64 (AMD EPYC, Pillow
13.0; benchmarks/pipeline.py --plain). A file of a header, one chunk of data and an end, as most
programs write small images, leaves nothing to look for: its data go to Pillow's decoder as they
are. Everything else, damaged files among them, is for Pillow's own reader.
"""

from __future__ import annotations

import zlib
from struct import Struct

from PIL import Image

__all__ = ["plain_png"]

_BEGIN = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_END = b"\0\0\0\0IEND\xaeB`\x82"
_HEAD = Struct(">16s II 2s 3s I I4s")
# Signature and name of the header; width, height; depth and colour; compression, filter and
# interlacing; CRC; length and name of the next chunk.

_CRC = Struct(">I")
_MODES = {b"\x08\x00": "L", b"\x08\x02": "RGB"}


def plain_png(content: bytes, *, most_pixels: int) -> Image.Image | None:
    r"""Returns the image, grey or RGB, of a file that holds one of 8 bits and nothing else.

    Args:
        content: The whole file.
        most_pixels: Of a larger image nothing is decoded.

    Returns:
        The same pixels as of :func:`PIL.Image.open`, or None where that is to be asked.

    >>> plain_png(b"P5 2 1 255 \x00\xff", most_pixels=100) is None
    True
    """
    if not content.startswith(_BEGIN) or not content.endswith(_END):
        return None
    if len(content) < _HEAD.size + _CRC.size + len(_END):
        return None
    _, width, height, kind, rules, header_crc, length, name = _HEAD.unpack_from(content)
    begin, end = _HEAD.size, _HEAD.size + length
    if (mode := _MODES.get(kind)) is None or rules != b"\0\0\0" or name != b"IDAT":
        return None
    if end + _CRC.size + len(_END) != len(content) or not 0 < width * height <= most_pixels:
        return None
    named = content[begin - 4 : end]  # a CRC is of a chunk's name, too
    if (
        zlib.crc32(content[12:29]) != header_crc
        or zlib.crc32(named) != _CRC.unpack_from(content, end)[0]
    ):
        return None
    try:
        return Image.frombytes(mode, (width, height), named[4:], "zip", mode, False)
    except MemoryError:
        raise
    except Exception:  # whatever broken data make of it: Pillow's own reader says what it is
        return None
