"""Pictures inside a page: decoded and encoded again by zoo, small, as data."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image, features

__all__ = ["SIDE", "Picture", "png_of", "thumbnail"]

SIDE = 160
"""Longer side of a picture on a page, pixels."""
_SMALL = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture as a page has it.

    Args:
        uri: Its content, ``data:``.
        width: Pixels.
        height: Pixels.
        pixels: Whether it is so small that its pixels are shown as squares.
    """

    uri: str
    width: int
    height: int
    pixels: bool


def thumbnail(image: Image.Image, *, side: int = SIDE) -> Picture:
    """Returns a picture with its longer side at most ``side`` pixels.

    Those up to 64 pixels stay as they are to the bit; larger ones are WebP at quality 80, 3 to 6 KB
    for a photo. Nothing of the file goes along: no metadata, no profile.
    """
    image = image.convert("RGB")
    small = max(image.size) <= _SMALL
    if not small:
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    webp = features.check("webp")
    if small:
        return _encoded(image, "PNG", pixels=True, optimize=True)
    if webp:
        return _encoded(image, "WEBP", pixels=False, quality=80, method=4)
    return _encoded(image, "JPEG", pixels=False, quality=82, optimize=True)


def png_of(image: Image.Image) -> Picture:
    """Returns a drawing, to the bit."""
    return _encoded(image, "PNG", pixels=True, optimize=True)


def _encoded(image: Image.Image, kind: str, *, pixels: bool, **options: int | bool) -> Picture:
    bare = Image.frombytes(image.mode, image.size, image.tobytes())  # without info: no metadata
    if image.mode == "P":
        bare.putpalette(image.getpalette() or [])
    buffer = io.BytesIO()
    bare.save(buffer, kind, **options)
    content = base64.b64encode(buffer.getvalue()).decode()
    return Picture(
        uri=f"data:image/{kind.lower()};base64,{content}", width=image.width, height=image.height,
        pixels=pixels,
    )  # fmt: skip
