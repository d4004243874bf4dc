"""Folders that tests of several subjects read."""

from __future__ import annotations

import pytest
from class_folders import COLOURS, fill
from manifest_files import COUNT
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """Twelve images whose red value is their number."""
    for number in range(COUNT):
        Image.new("RGB", (7, 5), (number, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


@pytest.fixture
def flat(tmp_path):
    """Three class folders of ten images."""
    for name, colour in COLOURS.items():
        fill(tmp_path / "data" / name, 10, colour=colour)
    return tmp_path / "data"


@pytest.fixture
def parted(tmp_path):
    """The same classes in folders train, val and test."""
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        for name, colour in COLOURS.items():
            fill(tmp_path / "data" / split / name, count, colour=colour)
    return tmp_path / "data"
