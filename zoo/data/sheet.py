"""Contact sheets: many small pictures with a caption each, on one page."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from zoo.errors import printable

__all__ = ["Cell", "contact_sheet"]

_PAPER, _INK, _FAINT, _FRAME = (255, 255, 255), (28, 30, 34), (110, 116, 124), (226, 229, 233)
_MAT = (246, 247, 249)
_MARGIN, _GAP = 24, 12
_TITLE_SIZE, _HEADING_SIZE, _CAPTION_SIZE = 22, 16, 13
_ELLIPSIS = "..."
_SYSTEM_FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "segoeui.ttf",
    "msyh.ttc", "Arial Unicode.ttf", "arial.ttf",
)  # fmt: skip
_NOT_A_CHARACTER = "\uffff"

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One picture of a sheet.

    Args:
        image: The picture, of any size and mode.
        caption: Stands below it; empty for none.
        group: Pictures of a group stand together under this heading; empty for none.
    """

    image: Image.Image
    caption: str = ""
    group: str = ""


def contact_sheet(
    cells: Sequence[Cell], *, columns: int, side: int, title: str = ""
) -> Image.Image:
    """Returns the pictures in rows, dark text on white, as RGB.

    A picture is scaled to fit a square and never cropped; small ones grow by whole numbers, so
    that their pixels stay squares. A text that is too long is shortened in its middle. A character
    that no font of the machine has is shown without its accent or as an escape.

    Args:
        cells: The pictures, those of a group one after the other.
        columns: Pictures a row, at least one.
        side: Side of the square for each picture, pixels.
        title: Headline; empty for none.
    """
    columns = max(1, columns)
    rows = _rows(cells, columns)
    widest = max((len(row) for _, row in rows), default=1)
    width = max(2 * _MARGIN + widest * side + (widest - 1) * _GAP, 320)
    top = _MARGIN + (2 * _TITLE_SIZE if title else 0)
    heights = [_row_height(heading, row, side) for heading, row in rows]
    page = Image.new("RGB", (width, top + sum(heights) - _GAP * bool(rows) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(page)
    if title:
        _write(draw, (_MARGIN, _MARGIN), title, _TITLE_SIZE, _INK, width - 2 * _MARGIN)
    for (heading, row), height in zip(rows, heights, strict=True):
        _draw_row(page, draw, top, heading, row, side)
        top += height
    return page


def _rows(cells: Sequence[Cell], columns: int) -> list[tuple[str, list[Cell]]]:
    """Returns rows with the heading above each, empty but for the first row of a group."""
    rows: list[tuple[str, list[Cell]]] = []
    group = ""
    for cell in cells:
        if not rows or cell.group != group:
            rows.append((cell.group, []))
        elif len(rows[-1][1]) == columns:
            rows.append(("", []))
        rows[-1][1].append(cell)
        group = cell.group
    return rows


def _row_height(heading: str, row: Sequence[Cell], side: int) -> int:
    """Returns how much a row takes with the space below it, pixels."""
    above = _HEADING_SIZE + 14 if heading else 0
    below = _CAPTION_SIZE + 8 if any(cell.caption for cell in row) else 0
    return above + side + below + _GAP


def _draw_row(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    top: int,
    heading: str,
    row: Sequence[Cell],
    side: int,
) -> None:
    """Draws a row of pictures, its heading above and their captions below."""
    if heading:
        _write(draw, (_MARGIN, top + 2), heading, _HEADING_SIZE, _INK, page.width - 2 * _MARGIN)
        top += _HEADING_SIZE + 14
    for column, cell in enumerate(row):
        left = _MARGIN + column * (side + _GAP)
        draw.rectangle((left, top, left + side - 1, top + side - 1), fill=_MAT)
        picture = _fitted(cell.image, side)
        at = left + (side - picture.width) // 2, top + (side - picture.height) // 2
        page.paste(picture, at)
        draw.rectangle((left, top, left + side - 1, top + side - 1), outline=_FRAME)
        if cell.caption:
            _write(draw, (left, top + side + 4), cell.caption, _CAPTION_SIZE, _FAINT, side)


def _fitted(image: Image.Image, side: int) -> Image.Image:
    """Returns the picture as RGB with its longer side at most ``side``."""
    image = image.convert("RGB")
    longer = max(image.size)
    if longer <= side:
        times = side // longer
        size = image.width * times, image.height * times
        return image.resize(size, Image.Resampling.NEAREST)
    size = (
        max(1, round(image.width * side / longer)),
        max(1, round(image.height * side / longer)),
    )
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    size: int,
    colour: tuple[int, int, int],
    room: int,
) -> None:
    """Writes one line, no wider than ``room`` pixels."""
    showable, font = _set(text, size)
    draw.text(at, _shortened(showable, font, room), fill=colour, font=font)


@lru_cache(maxsize=8)
def _font(size: int) -> _Font:
    """Returns Pillow's own font (Aileron), which is there on every machine and has ASCII only."""
    return ImageFont.load_default(size)


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[str, ...]:
    """Returns the files of usual fonts with more characters, those that this machine has."""
    found = []
    for name in _SYSTEM_FONTS:
        try:
            found.append(str(ImageFont.truetype(name, _CAPTION_SIZE).path))
        except OSError:
            continue
    return tuple(found)


def _set(text: str, size: int) -> tuple[str, _Font]:
    """Returns the text as it can be shown, in one line, and a font that has its characters."""
    text = unicodedata.normalize("NFC", printable(text.replace("\n", " ")[:1000]))
    own = _font(size)
    if text.isascii() or all(_has_glyph(own, char) for char in text if not char.isascii()):
        return text, own
    for path in _system_fonts():
        font = ImageFont.truetype(path, size)
        if all(_has_glyph(font, char) for char in text if not char.isascii()):
            return text, font
    return "".join(char if char.isascii() else _in_ascii(char) for char in text), own


def _has_glyph(font: _Font, char: str) -> bool:
    """Whether the font draws the character as something else than the sign for a lacking one."""
    if not isinstance(font, ImageFont.FreeTypeFont):
        return False
    return bytes(font.getmask(char)) != bytes(font.getmask(_NOT_A_CHARACTER))


def _in_ascii(char: str) -> str:
    """Returns a letter without its accent, any other character as an escape."""
    base = "".join(c for c in unicodedata.normalize("NFKD", char) if c.isascii())
    return base or char.encode("unicode_escape").decode()


def _shortened(text: str, font: _Font, room: int) -> str:
    """Returns the text, or its beginning and end, whichever fits ``room`` pixels."""
    if font.getlength(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:  # the most characters that fit
        middle = (low + high + 1) // 2
        if font.getlength(_ends(text, middle)) <= room:
            low = middle
        else:
            high = middle - 1
    return _ends(text, low)


def _ends(text: str, kept: int) -> str:
    """Returns the first and the last characters, ``kept`` in all, around an ellipsis."""
    tail = kept // 3
    return text[: kept - tail] + _ELLIPSIS + (text[-tail:] if tail else "")
