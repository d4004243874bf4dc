"""A folder with one file for each thing that can be wrong or odd about an image. No tests here.

    root/cat/...  and  root/dog/...

hold the files of :func:`build_fault_directory`, and eight ordinary images each beside them, so that
the folder can be read once the bad ones are left out.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

Outcome = Literal["good", "header", "pixels", "left out"]

CAT, DOG = (200, 30, 30), (30, 200, 30)
NUM_ORDINARY = 8
"""Ordinary images of each class, named ``ordinary-0.png`` and so on, 12 x 10 pixels."""

ODD_NAMES = (
    "with space.png",
    "new\nline.png",
    "quo'te\"s.png",
    "emoji 🦊.png",
    "-rf.png",
    "--help.png",
    "=cmd|' !A1.png",
    "<b>bold.png",
    "comma, semicolon; tab\t.png",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a reader must make of one entry of the folder.

    Args:
        outcome: ``good``: it is an image like any other. ``header``: opening it as far as its
            header fails. ``pixels``: the header is sound, decoding fails. ``left out``: it is not
            an image file and is only counted.
        reason: Part of the reason that is given; of the note, where it is left out.
        size: Width and height once it is upright, where it is good.
        colour: RGB of its top left pixel as it is to be read.
        tolerance: Grey levels by which ``colour`` may be missed, for lossy formats.
    """

    outcome: Outcome
    reason: str = ""
    size: tuple[int, int] = (12, 10)
    colour: tuple[int, int, int] = CAT
    tolerance: int = 0


def build_fault_directory(root: Path) -> dict[str, Expectation]:
    """Fills the folder and returns what to expect of each odd entry by its path below ``root``."""
    cat, dog = root / "cat", root / "dog"
    for folder, colour in ((cat, CAT), (dog, DOG)):
        folder.mkdir(parents=True)
        for index in range(NUM_ORDINARY):
            _plain(colour, mark=index).save(folder / f"ordinary-{index}.png")
    return {**_broken(cat), **_no_files(cat), **_odd_names(cat), **_odd_modes(dog)}


def _plain(colour: tuple[int, int, int], *, mark: int = 0) -> Image.Image:
    """Returns an image of one colour; ``mark`` makes a pixel differ, so that no two are equal."""
    image = Image.new("RGB", (12, 10), colour)
    image.putpixel((11, 9), (mark, mark, 255))
    return image


def _broken(folder: Path) -> dict[str, Expectation]:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("truncated.png", "truncated.jpg"):
        Image.fromarray(noise).save(folder / name)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("<html>404 not found</html>")
    (folder / "postscript.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (folder / "bomb.png").write_bytes(png_bomb(30_000))
    _plain(CAT).save(folder / "locked.png")
    (folder / "locked.png").chmod(0)
    locked = Expectation(outcome="header", reason="Permission denied")
    if os.access(folder / "locked.png", os.R_OK):  # root and some file systems read everything
        locked = Expectation(outcome="good")
    return {
        "cat/truncated.png": Expectation(outcome="pixels", reason="truncated"),
        "cat/truncated.jpg": Expectation(outcome="pixels", reason="truncated"),
        "cat/zero.jpg": Expectation(outcome="header", reason="an empty file (0 bytes)"),
        "cat/text.jpg": Expectation(outcome="header", reason="no image"),
        "cat/postscript.jpg": Expectation(outcome="header", reason="no image"),
        "cat/bomb.png": Expectation(outcome="header", reason="more than the limit"),
        "cat/locked.png": locked,
    }


def _no_files(folder: Path) -> dict[str, Expectation]:
    (folder / "loop").symlink_to("loop")
    (folder / "self").symlink_to(".")
    (folder / "up").symlink_to("..")
    (folder / "nowhere.png").symlink_to("missing.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"no image")
    (folder / "x.png").mkdir()
    _plain(CAT, mark=77).save(folder / "x.png" / "inside.png")
    no_file = Expectation(outcome="left out", reason="pipes, devices, sockets and links to nothing")
    again = Expectation(outcome="left out", reason="links to a folder that was read already")
    return {
        "cat/loop": no_file,
        "cat/nowhere.png": no_file,
        "cat/pipe.png": no_file,
        "cat/self": again,
        "cat/up": again,
        "cat/notes.txt": Expectation(outcome="left out", reason="files without an image suffix"),
        "cat/.hidden.png": Expectation(outcome="left out", reason="hidden files and litter"),
        "cat/x.png/inside.png": Expectation(outcome="good"),
    }


def _odd_names(folder: Path) -> dict[str, Expectation]:
    for index, name in enumerate(ODD_NAMES):
        _plain(CAT, mark=100 + index).save(folder / name)
    return {f"cat/{name}": Expectation(outcome="good") for name in ODD_NAMES}


def _odd_modes(folder: Path) -> dict[str, Expectation]:
    lying = _plain(DOG).transpose(Image.Transpose.ROTATE_90)  # 10 x 12; orientation 6 turns it back
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(folder / "rotated.jpg", exif=exif, quality=100, subsampling=0)
    frames = [Image.new("RGB", (12, 10), colour) for colour in (DOG, CAT)]
    frames[0].save(folder / "animation.gif", save_all=True, append_images=frames[1:])
    _plain(DOG).save(folder / "picture.webp", lossless=True)
    Image.fromarray(np.full((10, 12), 257 * 90, dtype=np.uint16)).save(folder / "deep.png")
    _plain(DOG).convert("CMYK").save(folder / "print.jpg", quality=100)
    Image.new("LA", (12, 10), (0, 0)).save(folder / "grey-alpha.png")
    Image.new("RGBA", (12, 10), (*DOG, 255)).save(folder / "colour-alpha.png")
    palette = Image.new("P", (12, 10), 1)
    palette.putpalette([*DOG, *CAT])
    palette.save(folder / "palette.png", transparency=1)
    palette.save(folder / "opaque-palette.png")
    _plain(DOG).save(folder / "lies.png", format="JPEG", quality=100)
    white = (255, 255, 255)
    return {
        "dog/rotated.jpg": Expectation(outcome="good", colour=DOG, tolerance=6),
        "dog/animation.gif": Expectation(outcome="good", colour=DOG),
        "dog/picture.webp": Expectation(outcome="good", colour=DOG),
        "dog/deep.png": Expectation(outcome="good", colour=(90, 90, 90)),
        "dog/print.jpg": Expectation(outcome="good", colour=DOG, tolerance=6),
        "dog/grey-alpha.png": Expectation(outcome="good", colour=white),
        "dog/colour-alpha.png": Expectation(outcome="good", colour=DOG),
        "dog/palette.png": Expectation(outcome="good", colour=white),
        "dog/opaque-palette.png": Expectation(outcome="good", colour=CAT),
        "dog/lies.png": Expectation(outcome="good", colour=DOG, tolerance=6),
    }


def png_bomb(side: int) -> bytes:
    """Returns a complete 1-bit PNG of ``side`` x ``side`` black pixels, small as a file."""
    row = bytes(1 + (side + 7) // 8)
    squeeze = zlib.compressobj(1)
    content = b"".join(squeeze.compress(row) for _ in range(side)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", content), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
