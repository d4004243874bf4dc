"""Contact sheets: every picture where it belongs, every name drawn without an error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zoo.data.sheet import Cell, contact_sheet

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def plain(colour, size=(10, 10), mode="RGB"):
    return Image.new("RGB", size, colour).convert(mode)


def boxes_of(sheet, colour):
    """Rows and columns that a colour spans."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(-1))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_pictures_stand_in_rows_in_order():
    cells = [Cell(image=plain(colour)) for colour in (RED, GREEN, BLUE)]
    sheet = contact_sheet(cells, columns=2, side=50)
    red, green, blue = (boxes_of(sheet, colour) for colour in (RED, GREEN, BLUE))
    assert red[:2] == green[:2]
    assert red[3] < green[2]
    assert blue[0] > red[1]
    assert blue[2:] == red[2:]


def test_small_pictures_grow_by_whole_numbers_and_large_ones_fit():
    checks = np.kron(np.indices((4, 4)).sum(0) % 2, np.ones((1, 1))).astype(np.uint8)
    small = Image.fromarray(checks[..., None] * np.array(RED, dtype=np.uint8))
    sheet = np.asarray(contact_sheet([Cell(image=small)], columns=1, side=50))
    red = (sheet == RED).all(-1)
    assert red.sum() == 8 * 12 * 12  # 8 of 16 pixels, each 12 x 12: 50 // 4
    wide = contact_sheet([Cell(image=plain(RED, (400, 100)))], columns=1, side=60)
    top, bottom, left, right = boxes_of(wide, RED)
    assert (right - left + 1 + 2, bottom - top + 1) == (60, 15)  # a frame of a pixel at each side


def test_a_group_starts_a_row_with_a_heading():
    cells = [Cell(image=plain(RED), group="a"), Cell(image=plain(BLUE), group="b")]
    apart = contact_sheet(cells, columns=4, side=40)
    together = contact_sheet([Cell(image=c.image) for c in cells], columns=4, side=40)
    assert boxes_of(apart, BLUE)[0] > boxes_of(apart, RED)[1]
    assert boxes_of(together, BLUE)[0] == boxes_of(together, RED)[0]
    assert apart.height > together.height


def test_captions_are_drawn_and_stay_inside_their_square():
    sheet = np.asarray(
        contact_sheet([Cell(image=plain(RED), caption="W" * 500)], columns=1, side=64)
    )
    below = sheet[sheet.shape[0] - 40 :]
    dark_columns = np.nonzero((below < 200).all(-1))[1]
    assert len(dark_columns) > 20
    assert dark_columns.max() < 24 + 64  # the margin and the side


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_any_mode_is_drawn(mode):
    image = Image.new("I;16", (3, 3)) if mode == "I;16" else plain(RED, (3, 3), mode)
    assert contact_sheet([Cell(image=image)], columns=1, side=20).mode == "RGB"


@settings(max_examples=60)
@given(st.text(st.characters(), max_size=40), st.text(max_size=10))
def test_no_name_raises(caption, title):
    cell = Cell(image=plain(RED, (2, 2)), caption=caption, group=caption)
    assert contact_sheet([cell], columns=1, side=20, title=title).width == 320


def test_different_names_look_different_whatever_their_script():
    names = ["cat", "кот", "猫", "犬", "Katze", "Kätzchen", "\udcff", "\u202e", "x" * 10_000]
    drawn = {
        contact_sheet([Cell(image=plain(RED), caption=n)], columns=1, side=80).tobytes()
        for n in names
    }
    assert len(drawn) == len(names)


def test_an_empty_sheet_and_extreme_shapes():
    assert contact_sheet([], columns=3, side=10).width > 0
    line = contact_sheet([Cell(image=plain(RED, (5000, 1)))], columns=1, side=30)
    assert (np.asarray(line) == RED).all(-1).any()
