"""The names of torchvision's classification models, read from its source without importing it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["model_names"]

_MODULES = re.compile(r"^from \.(\w+) import \*", re.MULTILINE)
_REGISTERED = re.compile(
    r"@register_model\((?:name=)?(?:['\"](\w+)['\"])?\)[ \t]*\n(?:[ \t]*@[^\n]*\n)*def[ \t]+(\w+)"
)


def model_names() -> Iterator[tuple[str, str]]:
    """Yields (model, module) for each model of ``list_models(module=torchvision.models)``.

    Sorted by name; nothing where torchvision is not installed. Detection, segmentation, video and
    quantized models live in packages below ``torchvision.models`` and are not among them.
    """
    spec = importlib.util.find_spec("torchvision")  # a top-level package: found, not imported
    if spec is None or not spec.submodule_search_locations:
        return
    folder = Path(spec.submodule_search_locations[0], "models")
    found: dict[str, str] = {}
    modules = _MODULES.findall((folder / "__init__.py").read_text("utf-8"))
    for module in modules:  # grows: mobilenet only passes on what mobilenetv2 and mobilenetv3 have
        source = (folder / f"{module}.py").read_text("utf-8")
        modules += [inner for inner in _MODULES.findall(source) if inner not in modules]
        for named, function in _REGISTERED.findall(source):
            found[named or function] = module
    yield from sorted(found.items())
