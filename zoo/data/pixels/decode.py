"""Files and bytes into RGB images. Everything that a hostile or broken image can do ends here.

Rules, the same wherever an image is read:

- Formats: PNG, JPEG, WebP, GIF, BMP, TIFF and PPM/PGM/PBM, by content and never by suffix. Nothing
  else is tried, so an EPS file named ``.jpg`` never reaches Ghostscript.
- Size: more than ``MAX_PIXELS`` by the header is an error before anything is decoded.
- Orientation: EXIF orientation is applied. Broken EXIF counts as none.
- Frames: the first frame of an animation or multi-page file.
- Transparency: pasted on white, whatever the mode holds it in.
- Reduction: a JPEG that is far larger than needed is decoded at 1/2, 1/4 or 1/8 of its size, where
  the caller says what it needs. Its data are read to the end all the same.
- Depth: 16-bit grey and 32-bit integers are read as 0..65535 and divided by 257, floats as 0..1
  and multiplied by 255. Values outside that range are an error: there is no scale to guess.
- Colour: CMYK, YCbCr and Lab become RGB. Embedded ICC profiles are not applied.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

# Imported so that Pillow knows exactly these decoders and does not load its forty others.
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from zoo.data.pixels.plain_png import plain_png
from zoo.errors import DataError, printable
from zoo.protocols import Images, SourcedImages

__all__ = ["FORMATS", "MAX_PIXELS", "as_rgb", "files_of", "image_size", "open_image", "reader"]

# What Pillow remarks on broken metadata helps nobody who trains. Once for the process, because
# `warnings.catch_warnings` around a single image is not safe among threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

FORMATS: tuple[str, ...] = tuple(
    plugin.format
    for plugin in (
        PngImagePlugin.PngImageFile,
        JpegImagePlugin.JpegImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
        PpmImagePlugin.PpmImageFile,
    )
)
"""Pillow's names of the formats that are read."""

MAX_PIXELS = 64_000_000
"""Largest image that is decoded, width times height: 192 MB as RGB."""

_REDUCING_GAP = 2
# A reduced JPEG stays at least this many times as large as needed, so that most of the way is
# resized as at full size: 0.8 to 1.7 grey levels of mean difference on photographs, against 1.3
# to 3.2 without the gap.

_READ_WHOLE = 2**24
# Bytes up to which a file is read at once: Pillow's many small reads cost more than opening it.

_ORIENTATION_TAG = 0x0112
_METADATA = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
# Where Pillow looks for the orientation; making an empty record takes a tenth of a small image.

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Result = TypeVar("Result")


def open_image(
    source: Path | bytes, *, name: str, at_least: tuple[int, int] | None = None
) -> Image.Image:
    r"""Returns the image as RGB, upright, decoded. Can be called from many threads at once.

    Args:
        source: A regular file, or the content of one.
        name: What a person calls the image. Messages show it.
        at_least: Shorter and longer side that are needed, pixels. A JPEG of more than twice that is
            decoded at a fraction of its size. None: at full size.

    Raises:
        DataError: The source is not a regular file, not one of ``FORMATS``, larger than
            ``MAX_PIXELS``, truncated or corrupt, or holds values without a known scale.

    >>> content = b"P5 2 1 255 \x00\xff"  # a grey PGM file: one black pixel, one white
    >>> image = open_image(content, name="example.pgm")
    >>> image.mode, image.size, image.getpixel((1, 0))
    ('RGB', (2, 1), (255, 255, 255))
    """

    def decoded(image: Image.Image) -> Image.Image:
        if at_least is not None and image.format == "JPEG":
            _reduce(image, at_least)
        image.load()  # the first frame, which is the one that Pillow stands on after opening
        return _to_rgb(_upright(image))

    return _read(source, name, decoded, quick=_plain)


def as_rgb(image: Image.Image, *, name: str) -> Image.Image:
    """Returns an image that somebody else has opened as :func:`open_image` returns it.

    Raises:
        DataError: It cannot be decoded, or holds values without a known scale.
    """
    try:
        image.load()
        return _to_rgb(_upright(image))
    except (_Unreadable, OSError) as error:
        reason = str(error)
    raise DataError(f"cannot read the image {printable(name)}", found=printable(reason))


def reader(
    images: Images, *, at_least: tuple[int, int] | None = None
) -> Callable[[int], Image.Image]:
    """Returns a function that reads an image of a split, reduced as :func:`open_image` does.

    Images that do not say where their content is are read at full size.
    """
    if not isinstance(images, SourcedImages):
        return images.read
    sources = images

    def read(index: int) -> Image.Image:
        source = sources.source(index)
        if source is None:
            return images.read(index)
        return open_image(source, name=images.name(index), at_least=at_least)

    return read


def files_of(images: Images) -> list[Path] | None:
    """Returns the file of every image, or None where one does not come from a file."""
    if not isinstance(images, SourcedImages):
        return None
    files = []
    for index in range(len(images)):
        source = images.source(index)
        if not isinstance(source, Path):
            return None
        files.append(source)
    return files


def image_size(source: Path | bytes, *, name: str) -> tuple[int, int]:
    """Returns (width, height) in pixels as the header says, before orientation. Decodes nothing.

    Raises:
        DataError: As :func:`open_image`, as far as the header shows it.
    """
    return _read(source, name, lambda image: (image.width, image.height))


def _read(
    source: Path | bytes,
    name: str,
    use: Callable[[Image.Image], Result],
    *,
    quick: Callable[[bytes], Result | None] = lambda content: None,
) -> Result:
    """Returns ``use(image)`` for the opened image, with every failure as a DataError.

    ``quick`` is asked before, and may return the same from the content alone.
    """
    # Pillow's decoders raise nearly anything for broken content: OSError, SyntaxError, ValueError,
    # struct.error, IndexError, DecompressionBombError and, where warnings are errors, warnings.
    try:
        with _opened(source) as file:
            if isinstance(file, BytesIO) and (made := quick(file.getvalue())) is not None:
                return made
            with Image.open(file, formats=FORMATS) as image:
                return use(_checked(image))
    except MemoryError:
        raise
    except _Unreadable as error:
        reason = str(error)
    except UnidentifiedImageError:
        reason = "no image, or a format that is not read"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = _limit()
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    raise DataError(
        f"cannot read the image {printable(name)}",
        found=printable(reason),
        hint=f"replace or remove it; read are {', '.join(FORMATS)}",
    )


def _plain(content: bytes) -> Image.Image | None:
    """Returns the image of a file with nothing else in it, if it is one that can be had so."""
    image = plain_png(content, most_pixels=MAX_PIXELS)
    return image if image is None or image.mode == "RGB" else image.convert("RGB")


def _checked(image: Image.Image) -> Image.Image:
    """Returns the image if it has pixels, and not too many."""
    if (pixels := image.width * image.height) > MAX_PIXELS:
        raise _Unreadable(f"{image.width} x {image.height} pixels, {_limit()}")
    if pixels == 0:
        raise _Unreadable("an image without pixels")
    return image


def _limit() -> str:
    return f"more than the limit of {MAX_PIXELS // 1_000_000} million pixels"


class _Unreadable(Exception):
    """A reason that is already in words."""


def _opened(source: Path | bytes) -> IO[bytes]:
    """Opens the content. Never waits for a pipe and never reads a device."""
    if isinstance(source, bytes):
        if not source:
            raise _Unreadable("an empty file (0 bytes)")
        return BytesIO(source)
    # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever. fstat after opening,
    # so that a file which is exchanged in between is not read either.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(source, flags | getattr(os, "O_BINARY", 0))
    file = os.fdopen(descriptor, "rb", buffering=0)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _Unreadable("not a regular file")
        if status.st_size == 0:
            raise _Unreadable("an empty file (0 bytes)")
        if status.st_size > _READ_WHOLE:
            return BufferedReader(file)
        content = file.readall()
    except BaseException:
        file.close()
        raise
    file.close()
    return BytesIO(content)


def _reduce(image: Image.Image, at_least: tuple[int, int]) -> None:
    """Makes a JPEG decode at the smallest of 1/2, 1/4 and 1/8 that leaves the gap, if any does."""
    shorter, longer = sorted(image.size)
    for divisor in (8, 4, 2):
        if shorter >= divisor * _REDUCING_GAP * at_least[0] and (
            longer >= divisor * _REDUCING_GAP * at_least[1]
        ):
            # Pillow divides by these: a strip of seven pixels has no eighth of its height.
            image.draft(None, (max(1, image.width // divisor), max(1, image.height // divisor)))
            return


def _upright(image: Image.Image) -> Image.Image:
    """Applies EXIF orientation. TIFF is already upright and without the tag after loading."""
    if not any(key in image.info for key in _METADATA):
        return image
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:
        # Broken metadata is no reason to lose the picture.
        return image
    operation = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if operation is None else image.transpose(operation)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Brings every mode to RGB by the rules at the top of this file."""
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_to_rgb(image)
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    layer = image.convert("RGBA")
    paper = Image.new("RGB", layer.size, "white")
    paper.paste(layer, mask=layer.getchannel("A"))
    return paper


def _deep_to_rgb(image: Image.Image) -> Image.Image:
    """Scales 16-bit, 32-bit and float grey to 8 bits."""
    values_HW = np.asarray(image)
    full = 1.0 if image.mode == "F" else 65535.0
    low, high = float(values_HW.min()), float(values_HW.max())
    # Written so that a NaN fails it.
    if not (low >= 0.0 and high <= full):
        raise _Unreadable(
            f"mode {image.mode} with values from {low:g} to {high:g}; read is 0 to {full:g}"
        )
    grey_HW = np.rint(values_HW.astype(np.float32) * np.float32(255.0 / full)).astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        grey_HW[values_HW == transparent] = 255
    return Image.fromarray(grey_HW).convert("RGB")


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    """Converts CIE Lab (D50) to sRGB. Pillow's own ``convert`` does not know the mode."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    rgb = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if rgb is None:
        raise _Unreadable("a Lab image that cannot be converted")
    return rgb
