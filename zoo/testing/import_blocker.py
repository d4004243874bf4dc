"""Declares a plugin in a process of its own in which heavy packages cannot be imported.

    python -m zoo.testing.import_blocker acme_zoo

The last line it prints is JSON: which heavy packages were asked for, by which line. A plugin that
catches the ImportError is told of, too: where the package is installed it would be imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint
from itertools import islice
from types import FrameType, ModuleType

from zoo.errors import in_words
from zoo.registry.reading import HEAVY

__all__ = ["main"]

_MOST_COMPONENTS = 20_000


class _Refusing(Loader):
    """Notes who imports a package, and refuses."""

    def __init__(self, plugin: str, noted: list[dict[str, str]]) -> None:
        self.plugin, self.noted = plugin, noted

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Notes the line that asks for the module.

        Raises:
            ImportError: Always.
        """
        by, own = _importers(sys._getframe(), self.plugin)
        self.noted.append({"package": spec.name, "by": by, "through": own})
        raise ImportError(f"{spec.name} is not to be imported by a declaration")

    def exec_module(self, module: ModuleType) -> None:
        """Is never reached; without it the import system would not ask for a module."""


class _Blocker(MetaPathFinder):
    """Finds heavy packages, as ``importlib.util.find_spec`` may ask, but lets nobody load them."""

    def __init__(self, plugin: str, noted: list[dict[str, str]]) -> None:
        self.plugin, self.noted = plugin, noted

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns where a heavy package is; None for any other module."""
        if name not in HEAVY or (spec := PathFinder.find_spec(name, path)) is None:
            return None
        spec.loader = _Refusing(self.plugin, self.noted)
        return spec


def _importers(frame: FrameType | None, plugin: str) -> tuple[str, str]:
    """Returns ``file:line`` of the statement that imports, and of the plugin's one that led to it.

    The second is empty where it is the first.
    """
    lines: list[tuple[str, bool]] = []
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if "importlib" not in frame.f_code.co_filename and frame.f_code.co_filename != __file__:
            line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            lines.append((line, name.partition(".")[0] == plugin))
        frame = frame.f_back
    by = lines[0][0] if lines else "an unknown line"
    own = next((line for line, is_own in lines if is_own), "")
    return by, own if own != by else ""


def main(module: str) -> None:
    """Imports a plugin's module, asks it for its components, and prints what it asked for."""
    noted: list[dict[str, str]] = []
    sys.meta_path.insert(0, _Blocker(module.partition(".")[0].partition(":")[0], noted))
    error = ""
    try:
        plugin = EntryPoint(name="checked", value=module, group="").load()
        for _ in islice(plugin.zoo_components(), _MOST_COMPONENTS):
            pass
    except (Exception, SystemExit) as raised:
        error = in_words(raised)
    print()
    print(json.dumps({"imports": noted, "error": error}))


if __name__ == "__main__":
    main(sys.argv[1])
