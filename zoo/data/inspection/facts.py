"""What can be known about one image: whether it can be read, what it is, what it looks like.

Whether it can be read is decided by :func:`zoo.data.pixels.decode.open_image`, as in training. The
rest is read from the header and from the decoded pixels. Nothing here raises for a bad image.

Shapes: H rows and W columns of the thumbnail, C colour channels.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path

from PIL import Image

from zoo.data.inspection.likeness import thumbnail
from zoo.data.pixels.decode import FORMATS, MAX_PIXELS, open_image
from zoo.errors import DataError

__all__ = ["LARGE_PIXELS", "Facts", "facts_of_file", "facts_of_image"]

LARGE_PIXELS = 16_000_000
"""Images of more pixels are read, and are slow to decode in every epoch."""

_IN_MEMORY = 256 * 2**20  # larger files are read piece by piece
_ORIENTATION_TAG, _BITS_TAG = 0x0112, 258
_SUFFIXES_OF = {
    "BMP": {".bmp", ".dib"},
    "GIF": {".gif"},
    "JPEG": {".jfif", ".jpe", ".jpeg", ".jpg"},
    "PNG": {".png"},
    "PPM": {".pbm", ".pgm", ".pnm", ".ppm"},
    "TIFF": {".tif", ".tiff"},
    "WEBP": {".webp"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One image.

    Args:
        problem: Kind of finding when it cannot be read, else empty.
        reason: Why it cannot be read, in words.
        num_bytes: Size of the file; 0 when it has none.
        format: Pillow's name of the file format; empty when it is not a file.
        mode: Pillow's mode of the content before it became RGB; empty when it is not a file.
        width: Pixels, upright.
        height: Pixels, upright.
        traits: Kinds of findings that are true of it although it can be read.
        file_digest: SHA-256 of the file; empty without one.
        pixel_digest: SHA-256 of size and RGB pixels; empty when it cannot be read.
        thumbnail: uint8 (16, 18, 3) as bytes; empty when it cannot be read.
    """

    problem: str = ""
    reason: str = ""
    num_bytes: int = 0
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    traits: tuple[str, ...] = ()
    file_digest: bytes = b""
    pixel_digest: bytes = b""
    thumbnail: bytes = b""


def facts_of_file(path: Path, *, name: str) -> Facts:
    """Returns the facts of the image in a file, decoded fully.

    Args:
        path: The file.
        name: What a person calls it.
    """
    # O_NONBLOCK and fstat: a pipe or a device with the suffix of an image is not waited for.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return Facts(problem="no-access", reason="not a regular file")
            if status.st_size == 0:
                return Facts(problem="empty-file", reason="an empty file (0 bytes)")
            return _facts_of_content(file, path, name, status.st_size)
    except OSError as error:
        return Facts(problem="no-access", reason=error.strerror or str(error))


def facts_of_image(image: Image.Image) -> Facts:
    """Returns the facts of an image that is decoded already, as RGB."""
    image = image.convert("RGB")
    digest = hashlib.sha256(f"{image.width} {image.height} ".encode())
    digest.update(image.tobytes())
    large = image.width * image.height > LARGE_PIXELS
    return Facts(
        width=image.width, height=image.height, traits=("large",) if large else (),
        pixel_digest=digest.digest(), thumbnail=thumbnail(image),
    )  # fmt: skip


def _facts_of_content(file: BufferedReader, path: Path, name: str, num_bytes: int) -> Facts:
    source: Path | bytes = path
    if num_bytes <= _IN_MEMORY:
        source = file.read()
        digest = hashlib.sha256(source).digest()
    else:
        digest = hashlib.file_digest(file, "sha256").digest()
    header = _header(source, Path(name).suffix.lower())
    try:
        seen = facts_of_image(open_image(source, name=name))
    except DataError as error:
        problem = header.problem or _problem(source, error.found, known=bool(header.format))
        return Facts(
            problem=problem, reason=error.found, num_bytes=num_bytes, file_digest=digest,
            format=header.format, mode=header.mode,
        )  # fmt: skip
    return Facts(
        num_bytes=num_bytes, format=header.format, mode=header.mode, file_digest=digest,
        width=seen.width, height=seen.height, traits=(*header.traits, *seen.traits),
        pixel_digest=seen.pixel_digest, thumbnail=seen.thumbnail,
    )  # fmt: skip


def _header(source: Path | bytes, suffix: str) -> Facts:
    """Returns what the header says: format, mode, traits, and whether it is too large."""
    try:
        file = BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return Facts(problem="too-large", format=image.format or "", mode=image.mode)
            return Facts(
                format=image.format or "", mode=image.mode, traits=tuple(_traits(image, suffix))
            )
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Facts(problem="too-large")
    except Exception:
        # Decoders raise nearly anything; open_image puts it into words.
        return Facts()


def _traits(image: Image.Image, suffix: str) -> list[str]:
    """Returns the kinds of findings that the header shows."""
    format_name = "JPEG" if image.format == "MPO" else image.format or ""  # MPO: JPEG with previews
    traits = []
    if format_name != "JPEG" and _holds(lambda: getattr(image, "is_animated", False)):
        traits.append("animated")
    if _holds(lambda: _is_deep(image)):
        traits.append("deep")
    if image.mode == "CMYK":
        traits.append("cmyk")
    if image.mode in ("P", "PA"):
        traits.append("palette")
    if _holds(lambda: image.has_transparency_data):
        traits.append("transparent")
    if suffix not in _SUFFIXES_OF.get(format_name, {suffix}):
        traits.append("wrong-suffix")
    if _holds(lambda: image.getexif().get(_ORIENTATION_TAG) in range(2, 9)):
        traits.append("rotated")
    return traits


def _holds(question: Callable[[], object]) -> bool:
    """Returns the answer; no, where broken metadata makes Pillow raise."""
    try:
        return bool(question())
    except Exception:
        return False


def _is_deep(image: Image.Image) -> bool:
    """Whether the file holds more than 8 bits a channel."""
    if image.mode.startswith("I") or image.mode == "F":
        return True
    # Pillow reads 16-bit RGB as 8-bit; only the raw mode of the decoder and TIFF's tag tell.
    bits = getattr(image, "tag_v2", {}).get(_BITS_TAG, ())
    raw_modes = [str(tile[3]) for tile in getattr(image, "tile", ())]
    return any(value > 8 for value in bits) or any(";16" in text for text in raw_modes)


def _problem(source: Path | bytes, reason: str, *, known: bool) -> str:
    """Returns the kind of finding for content that cannot be decoded.

    Args:
        source: The content.
        reason: Why, in Pillow's words.
        known: Whether the header was that of a format that is read.
    """
    if isinstance(source, bytes):
        if source.startswith(b"\xff\xd8\xff"):
            return "corrupt" if b"\xff\xd9" in source[-4096:] else "truncated"
        if source.startswith(b"\x89PNG\r\n\x1a\n"):
            return "corrupt" if b"IEND" in source[-4096:] else "truncated"
    words = reason.lower()
    if "truncated" in words or "end of file" in words or "not enough image data" in words:
        return "truncated"
    return "corrupt" if known else "not-an-image"
