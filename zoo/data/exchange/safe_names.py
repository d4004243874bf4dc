"""Names that come from data as parts of paths: safe on every file system, never leading out."""

from __future__ import annotations

import hashlib
import unicodedata

__all__ = ["SafeNames"]

MAX_CHARACTERS = 80
MAX_BYTES = 160
"""Of UTF-8. File systems take 255; a hash, a suffix and a temporary name must fit too."""

_HASH_DIGITS = 8
# What Windows keeps for itself, with any suffix, and what a folder reader leaves out as litter.
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", "thumbs.db", "desktop.ini", "__macosx", "classes.json"}
    | {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
)
_FORBIDDEN = frozenset('<>:"/\\|?*')


class SafeNames:
    """Gives each name of one folder a part of a path that no other name of it has.

    A plain name stays as it is. Another one becomes readable characters and a short hash, which
    is the same in every run.

    >>> names = SafeNames()
    >>> names.part("tabby cat"), names.part("Tabby Cat"), names.part("../etc")
    ('tabby cat', 'Tabby Cat-fc36a311', '_etc-f7f9121f')
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def part(self, name: str, *, key: str | None = None) -> str:
        """Returns the part of a path for a name.

        Args:
            name: Any text.
            key: What tells it from others of the same name. The name itself unless it is given.
        """
        slug = _slug(name)
        number, result = 0, slug
        while not slug or result != name or _folded(result) in self._taken:
            told = f"{name if key is None else key}" + (f"\0{number}" if number else "")
            marked = f"{slug}-{_short_hash(told)}" if slug else f"name-{_short_hash(told)}"
            if _folded(marked) not in self._taken:
                result = marked
                break
            number += 1
        self._taken.add(_folded(result))
        return result


def _slug(name: str) -> str:
    """Returns what of a name can be a part of a path: the name itself where it is plain."""
    text = unicodedata.normalize("NFC", name)
    kept = "".join(c if c.isprintable() and c not in _FORBIDDEN else "_" for c in text)
    # A leading dot hides a file, a leading dash is an option, a last dot or space is cut off.
    kept = kept.lstrip(" .-~").rstrip(" .")[:MAX_CHARACTERS]
    while len(kept.encode("utf-8")) > MAX_BYTES:
        kept = kept[:-1]
    kept = kept.rstrip(" .")
    reserved = {kept.lower(), kept.lower().partition(".")[0]} & _RESERVED
    return f"{kept}_" if reserved else kept


def _folded(text: str) -> str:
    """Returns the form in which names are one on systems that take case for nothing."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
