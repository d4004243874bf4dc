"""Builds clipart10 from the picture folder of Debian's package openclipart-png.

    python scripts/build_datasets/clipart10.py usr/share/openclipart/png DEST

Each picture is pasted on white, cut to what is drawn (many hold a small drawing on a large empty
page), padded to a square with a margin and scaled to 96 pixels. Near twins stay in one split: the
same name group, or nearly the same thumbnail.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pack import lines, write_packed
from PIL import Image, ImageChops

from zoo.data.pixels.decode import open_image
from zoo.data.splits import stratified_split
from zoo.errors import DataError

SEED = 10
SIDE = 96
MOST = 300
"""Pictures of a class at most, whole groups taken in an order that the seed gives."""
LEAST = 40
"""Longer side of the smallest drawing in pixels: enlarged further it is only a blur."""
FRACTIONS = (0.7, 0.15, 0.15)
QUALITY = 85
TWINS = 0.22
"""Thumbnails that differ by less than this share of their ink are near twins. Chosen by eye: most
pairs below it are one drawing in two files, most pairs above are two drawings."""

_DECK = re.compile(r"(?:bordered|ornamental|simple|white)_([cdhs]_(?:10|[2-9ajkq])|jk_[br])")
# Words that begin names of unlike drawings, so that the word after them says what is drawn.
_FILLERS = frozenset(
    {"a", "an", "the", "another", "la", "le", "il", "my"}
    | {"simple", "stylized", "cartoon", "crazy", "happy", "angry", "big", "small", "new", "old"}
    | {"color", "colour", "contour", "b", "w", "red", "blue", "green", "yellow", "purple", "pink"}
    | {"brown", "black", "white", "orange"}
)


def name_group(name: str) -> str:
    """Returns what the file's name says is drawn: its first telling word, without digits.

    The library's names end in author, variant and number, often cut short, so that what comes
    first is the only part to trust. A card belongs with the same card of the other three decks.

    >>> name_group("food/desserts/cone_alt2_bw.png"), name_group("animals/a_simple_pig_01.png")
    ('cone', 'pig')
    >>> name_group("recreation/games/cards/white/white_s_q.png")
    'card s_q'
    """
    stem = name.rpartition("/")[2].removesuffix(".png").lower()
    if card := _DECK.fullmatch(stem):
        return f"card {card[1]}"
    words = [word for word in re.split(r"[^a-z]+", stem) if word]
    telling = [word for word in words if word not in _FILLERS and len(word) > 1]
    return (telling or words or [stem])[0]


def select(source: Path, table: Path) -> dict[str, list[Path]]:
    """Returns the files of each class of the table, sorted. Leaves symbolic links out."""
    rules = tomllib.loads(table.read_text(encoding="utf-8"))
    return {
        name: sorted(_matching(source, rule["take"]) - _matching(source, rule["leave"]))
        for name, rule in sorted(rules.items())
    }


def _matching(source: Path, patterns: Sequence[str]) -> set[Path]:
    found: set[Path] = set()
    for pattern in patterns:
        below = [
            path
            for match in source.glob(pattern)
            for path in (match.rglob("*.png") if match.is_dir() else [match])
            if path.is_file() and not path.is_symlink()
        ]
        if not below:
            raise FileNotFoundError(f"{pattern} matches no file in {source}")
        found.update(below)
    return found


def prepare(path: Path, name: str) -> Image.Image | None:
    """Returns the drawing as a square of ``SIDE`` pixels, None when too little is drawn."""
    picture = open_image(path, name=name)
    paper = Image.new("RGB", picture.size, "white")
    ink = ImageChops.difference(picture, paper).convert("L").point([0] * 12 + [255] * 244)
    box = ink.getbbox()
    if box is None or max(box[2] - box[0], box[3] - box[1]) < LEAST:
        return None
    drawing = picture.crop(box)
    side = max(drawing.size) + max(2, max(drawing.size) // 16)
    square = Image.new("RGB", (side, side), "white")
    square.paste(drawing, ((side - drawing.width) // 2, (side - drawing.height) // 2))
    return square.resize((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)


def ink(image: Image.Image) -> NDArray[np.float32]:
    """Returns how far each of 16 x 16 RGB cells is from white, 0..255, as one row."""
    cells = image.resize((16, 16), Image.Resampling.BOX)
    return (255.0 - np.asarray(cells, dtype=np.float32)).ravel()


def ink_distances(one: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the distance of one row from each other row, as a share of the larger norm."""
    norms = np.maximum(np.linalg.norm(one), np.linalg.norm(others, axis=1))
    distances: NDArray[np.float32] = np.linalg.norm(others - one, axis=1) / np.maximum(norms, 1.0)
    return distances


def twin_groups(names: Sequence[str], images: Sequence[Image.Image]) -> list[int]:
    """Returns a number for each image, the same for name groups joined by near twins.

    Playing cards are joined by name only: all are alike as thumbnails.
    """
    leader = list(range(len(names)))

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    def join(one: int, other: int) -> None:
        low, high = sorted((find(one), find(other)))
        leader[high] = low

    first: dict[str, int] = {}
    for index, name in enumerate(names):
        join(index, first.setdefault(name_group(name), index))
    rows = np.stack([ink(image) for image in images])
    cards = np.array([_DECK.fullmatch(Path(name).stem) is not None for name in names])
    for index in range(len(names) - 1):
        near = ink_distances(rows[index], rows[index + 1 :]) < TWINS
        near &= ~(cards[index] & cards[index + 1 :])
        for other in np.flatnonzero(near):
            join(index, index + 1 + int(other))
    return [find(index) for index in range(len(names))]


def _at_most(names: Sequence[str], groups: Sequence[int]) -> set[str]:
    """Returns the names of ``MOST`` pictures or the nearest below it, in whole groups."""
    members: defaultdict[int, list[str]] = defaultdict(list)
    for name, group in zip(names, groups, strict=True):
        members[group].append(name)
    taken: set[str] = set()
    drawn = sorted(members.values(), key=lambda twins: _draw(twins[0]))
    for twins in drawn:
        if len(taken) + len(twins) <= MOST:
            taken.update(twins)
    return taken


def _draw(name: str) -> bytes:
    return hashlib.sha256(f"{SEED} {name}".encode()).digest()


def build(
    source: Path, destination: Path, *, classes: dict[str, list[Path]]
) -> tuple[str, dict[str, int]]:
    """Writes ``clipart10.npz`` into the folder. Returns its digest and what was left out."""
    left_out = {"unreadable or too large": 0, "too small": 0, "duplicate": 0}
    pictures: dict[str, tuple[str, Image.Image]] = {}
    seen: set[bytes] = set()
    for label, paths in classes.items():
        for path in paths:
            name = path.relative_to(source).as_posix()
            try:
                image = prepare(path, name)
            except DataError:
                left_out["unreadable or too large"] += 1
                continue
            if image is None:
                left_out["too small"] += 1
            elif image.tobytes() in seen:
                left_out["duplicate"] += 1
            else:
                seen.add(image.tobytes())
                pictures[name] = label, image
    names = list(pictures)
    groups = twin_groups(names, [image for _, image in pictures.values()])
    kept: list[int] = []
    for label in classes:
        rows = [index for index, name in enumerate(names) if pictures[name][0] == label]
        taken = _at_most([names[index] for index in rows], [groups[index] for index in rows])
        kept += [index for index in rows if names[index] in taken]
    left_out["more than the most"] = len(names) - len(kept)

    order = list(classes)
    labels = np.array([order.index(pictures[names[index]][0]) for index in kept], dtype=np.int64)
    splits = stratified_split(
        labels, fractions=FRACTIONS, seed=SEED, groups_N=[groups[index] for index in kept]
    )
    members: dict[str, NDArray[np.generic]] = {}
    for part, rows_N in zip(("train", "val", "test"), splits, strict=True):
        chosen = [names[kept[int(row)]] for row in rows_N]
        encoded = [_webp(pictures[name][1]) for name in chosen]
        members[f"{part}.labels"] = labels[rows_N].astype(np.uint8)
        members[f"{part}.names"] = lines(chosen)
        members[f"{part}.bytes"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        members[f"{part}.offsets"] = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    digest = write_packed(
        destination / "clipart10.npz", name="clipart10", classes=order, members=members
    )
    return digest, left_out


def _webp(image: Image.Image) -> bytes:
    content = BytesIO()
    image.save(content, "WEBP", quality=QUALITY, method=6)
    return content.getvalue()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the folder usr/share/openclipart/png")
    parser.add_argument("destination", type=Path, help="folder to write into")
    arguments = parser.parse_args()
    chosen = select(arguments.source, Path(__file__).with_suffix(".toml"))
    print(*build(arguments.source, arguments.destination, classes=chosen))
