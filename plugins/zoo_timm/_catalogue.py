"""The names of timm's models, read from its source without importing it.

Importing timm takes seconds, because it imports torch; reading its 90 model files takes 15 ms.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["model_names"]

_MODULES = re.compile(r"^[ \t]*from \.(\w+) import \*", re.MULTILINE)

# "@register_model", maybe called, maybe with more decorators below it, then the function. A
# deprecated name is registered by another function, so it is not found, as timm does not list it.
# The literal start matters: with "^" in front the scan takes ten times as long.
_REGISTERED = re.compile(
    r"@register_model(?:\([^)]*\))?[ \t]*\n(?:[ \t]*@[^\n]*\n)*[ \t]*def[ \t]+(\w+)"
)


def model_names() -> Iterator[tuple[str, str]]:
    """Yields (model, module of timm.models) for each model that ``timm.list_models()`` lists.

    In the same natural order; nothing where timm is not installed.
    """
    spec = importlib.util.find_spec("timm")  # a top-level package: found, not imported
    if spec is None or not spec.submodule_search_locations:
        return
    folder = Path(spec.submodule_search_locations[0], "models")
    modules = _MODULES.findall((folder / "__init__.py").read_text("utf-8"))
    owners = {
        name: module
        for module in modules
        for name in _REGISTERED.findall((folder / f"{module}.py").read_text("utf-8"))
    }
    yield from sorted(owners.items(), key=lambda item: _natural(item[0]))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sorts ``resnet18`` before ``resnet101``."""
    return [
        (not part.isdigit(), int(part) if part.isdigit() else 0, part)
        for part in re.split(r"(\d+)", name)
    ]
