"""Which part of a WebDataset sample is the image and which the label, and what the label says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from zoo.data.reading.scan import SUFFIXES, listed
from zoo.data.reading.shards import Sample, Shard, read_span
from zoo.errors import printable

__all__ = ["Unfit", "image_part", "is_sample", "label_of"]

LABELS = ("cls", "json", "txt")
"""Parts that are taken for the label, the first that a sample has."""

KEYS = ("label", "cls", "class", "category", "target", "label_name", "class_name")
"""Keys of a JSON label, the first that is there."""

_LONGEST_LABEL = 1 << 20
"""Bytes. A label that is longer is not read."""


class Unfit(Exception):
    """Why a sample cannot be used, in words."""


def is_sample(sample: Sample) -> bool:
    """Whether there is anything that looks like an image or a label: a licence has neither."""
    return any(_is_image(part) or part in LABELS for part in sample.parts)


def _is_image(part: str) -> bool:
    return f".{part.rpartition('.')[2]}" in SUFFIXES


def image_part(sample: Sample, wanted: str | None) -> str:
    """Returns which part of a sample is the image.

    Args:
        sample: The sample.
        wanted: The part that the user named.

    Raises:
        Unfit: It has none, or several.
    """
    if wanted is not None:
        if wanted not in sample.parts:
            raise Unfit(f"no part {printable(wanted)!r}; it has {listed(sorted(sample.parts))}")
        return wanted
    found = [part for part in sample.parts if _is_image(part)]
    if not found:
        raise Unfit(f"no image; it has {listed(sorted(sample.parts))}")
    if len(found) > 1:
        raise Unfit(f"several images, {listed(sorted(found))}; choose with image={found[0]}")
    return found[0]


def label_of(
    shard: Shard, sample: Sample, wanted: str | None, key: str | None, names: Sequence[str] | None
) -> str:
    """Returns the class name of a sample.

    Args:
        shard: Where it is.
        sample: The sample.
        wanted: The part that the user named.
        key: The key of a JSON label that the user named.
        names: Class names that number labels count.

    Raises:
        Unfit: It has no label, or one that is none.
    """
    options: Sequence[str] = LABELS if wanted is None else (wanted,)
    part = next((option for option in options if option in sample.parts), None)
    if part is None:
        what = f"no part {printable(wanted)!r}" if wanted else f"no label ({', '.join(LABELS)})"
        raise Unfit(f"{what}; it has {listed(sorted(sample.parts))}")
    if sample.parts[part][1] > _LONGEST_LABEL:
        raise Unfit(f"a label of {sample.parts[part][1]:,} bytes")
    try:
        text = read_span(shard.source, sample.parts[part]).decode("utf-8-sig").strip()
        if part.rpartition(".")[2] == "json":
            text = _json_label(json.loads(text), key)
    except (ValueError, RecursionError, OSError) as error:  # UnicodeDecodeError is a ValueError
        raise Unfit(f"a label that cannot be read: {printable(error)[:100]}") from error
    if not text:
        raise Unfit("an empty label")
    if len(text) > 200 or "\n" in text:
        raise Unfit(f"a label of {len(text)} characters: a caption and no class")
    if names is None:
        return text
    if not text.isascii() or not text.isdecimal() or int(text) >= len(names):
        raise Unfit(f"the label {printable(text)} is not a number below {len(names)}")
    return names[int(text)]


def _json_label(content: object, key: str | None) -> str:
    """Returns the label that a JSON part holds: the value itself, or one of its keys."""
    if isinstance(content, Mapping):
        found = key if key else next((option for option in KEYS if option in content), None)
        if found is None or found not in content:
            wanted = f"no key {printable(key)!r}" if key else f"none of the keys {', '.join(KEYS)}"
            raise Unfit(f"{wanted} in its JSON; it has {listed([str(name) for name in content])}")
        content = content[found]
    if isinstance(content, bool) or not isinstance(content, str | int):
        raise Unfit(f"a JSON label that is a {type(content).__name__}, not a text or number")
    return str(content).strip()
