"""Names that look like a built-in's and are not: a slip of the author, or a trap for the user.

What counts: other joiners (``resnet-18``), look-alikes (``t0rch``, ``mobi1enet``), and in a word of
five letters or more two letters swapped, a letter doubled or halved, or a letter inside the word
missing, added or replaced. What does not: the same name, which has rules of its own; names that
differ in their digits (``resnet19``); another first or last letter (``adamw``, ``nadam``); a
sibling of a family that is there (``resnest34`` beside ``resnest50``); names of three letters or
fewer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from zoo.plugin import fold

if TYPE_CHECKING:
    from zoo.registry.names import Registry
    from zoo.registry.records import PluginRecord

__all__ = ["imitated", "imitations_of"]

_SHORTEST_NAME = 4
_SHORTEST_WORD = 5
_LOOKS = str.maketrans("01i", "oll")
_JOINERS = re.compile(r"[-.]+")
_NO_LETTER = re.compile(r"[^a-z]+")
_PARTS = re.compile(r"[a-z]+|[0-9]+")


def imitated(name: str, among: Iterable[str]) -> str | None:
    """Returns the one of some names that a name can be taken for, None if there is none.

    >>> imitated("t0rch", ["timm", "torch"]), imitated("mobilnetv3", ["mobilenetv3"])
    ('torch', 'mobilenetv3')
    >>> imitated("resnet19", ["resnet18"]), imitated("adamw", ["adam", "nadam"])
    (None, None)
    """
    others = _prepared(tuple(among))
    own = fold(name)
    squeezed = _JOINERS.sub("", own)
    if own in others.names or len(squeezed) < _SHORTEST_NAME:
        return None
    if (looks := others.looks.get(squeezed.translate(_LOOKS))) is not None:
        return looks
    if _NO_LETTER.sub("", own) in others.letters:
        return None  # of a family that is there
    words = _PARTS.findall(own)
    length = sum(map(len, words))
    for close in (length - 1, length, length + 1):
        for theirs, written in others.words.get((len(words), close), ()):
            odd = [(a, b) for a, b in zip(words, theirs, strict=True) if a != b]
            if len(odd) == 1 and _slipped(*odd[0]):
                return written
    return None


class _Others(NamedTuple):
    """Names in the forms in which others are compared with them.

    Fields:
        names: Folded.
        looks: Without joiners and with look-alikes as one, to the name as it is written.
        letters: Without anything else.
        words: Words with the name as written, by their number and length together.
    """

    names: frozenset[str]
    looks: dict[str, str]
    letters: frozenset[str]
    words: dict[tuple[int, int], list[tuple[list[str], str]]]


@lru_cache(maxsize=32)  # a list of plugins asks about the same 1,500 names for each of theirs
def _prepared(names: tuple[str, ...]) -> _Others:
    folded = {fold(name): name for name in names}
    words: dict[tuple[int, int], list[tuple[list[str], str]]] = {}
    for name, written in folded.items():
        parts = _PARTS.findall(name)
        words.setdefault((len(parts), sum(map(len, parts))), []).append((parts, written))
    looks = {_JOINERS.sub("", name).translate(_LOOKS): text for name, text in folded.items()}
    letters = frozenset(_NO_LETTER.sub("", name) for name in folded)
    return _Others(frozenset(folded), looks, letters, words)


def imitations_of(plugin: PluginRecord, registry: Registry) -> list[str]:
    """Returns a line for each name of a third-party plugin that looks like one of zoo's own.

    Args:
        plugin: Whose package, namespace and components are looked at.
        registry: Has zoo's own plugins and components.
    """
    if plugin.builtin:
        return []
    ours = [own for own in registry.plugins if own.builtin]
    lines = []
    if (like := imitated(plugin.distribution, {own.distribution for own in ours})) is not None:
        lines.append(f"the package {plugin.distribution} is named much like {like}")
    if (like := imitated(plugin.namespace, [own.namespace for own in ours])) is not None:
        lines.append(f"the plugin {plugin.namespace} is named much like zoo's own {like}")
    for component in plugin.components:
        like = imitated(component.name, registry.builtin_names(component.kind))
        if like is not None:
            lines.append(
                f"the {component.kind} {plugin.namespace}/{component.name} is named much like "
                f"zoo's own {like}"
            )
    return lines


def _slipped(a: str, b: str) -> bool:
    """Whether two words differ as a slip of a finger makes them."""
    if abs(len(a) - len(b)) > 1 or max(len(a), len(b)) < _SHORTEST_WORD or not (a + b).isalpha():
        return False
    start = _same(a, b)
    end = _same(a[start:][::-1], b[start:][::-1])
    rest_a, rest_b = a[start : len(a) - end], b[start : len(b) - end]
    if len(rest_a) == 2:
        return rest_a == rest_b[::-1]
    if len(rest_a) > 1 or len(rest_b) > 1:
        return False
    longer = max(a, b, key=len)
    doubled = len(a) != len(b) and start > 0 and longer[start - 1] == longer[start]
    return doubled or (start > 0 and end > 0)


def _same(a: str, b: str) -> int:
    """Returns how many letters two words begin with alike."""
    shorter = min(len(a), len(b))
    return next((i for i in range(shorter) if a[i] != b[i]), shorter)
