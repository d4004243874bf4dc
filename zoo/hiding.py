"""A package that looks as if it were not installed, for as long as somebody looks for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["hidden"]


@contextmanager
def hidden(name: str) -> Iterator[None]:
    """Lets a package look as if it were missing inside the block, where it is not in use yet."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the documented way to forbid an import
    try:
        yield
    finally:
        del sys.modules[name]
