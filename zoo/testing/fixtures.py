"""Fixtures for the tests of plugins. In conftest.py: ``from zoo.testing import tiny_data``.

>>> from zoo.testing import isolated_registry, tiny_data
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from zoo.errors import PluginError, UsageError, printable
from zoo.plugin import fold
from zoo.registry import PluginRecord, Registry, discover
from zoo.registry.reading import read_plugin
from zoo.registry.settings import Settings

__all__ = ["IsolatedRegistry", "isolated_registry", "tiny_data", "write_tiny_data"]


class IsolatedRegistry:
    """The built-in components, and those of plugins that a test adds: nothing that is installed.

    Args:
        monkeypatch: Of the test. What is added goes when it ends.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._settings = Settings(only=frozenset())
        self._plugins = [p for p in discover(self._settings) if p.builtin]

    @property
    def registry(self) -> Registry:
        """What ``zoo.run(..., registry=...)`` takes. :meth:`add` makes a new one."""
        return Registry(self._plugins, settings=self._settings)

    def add(self, namespace: str, module: ModuleType) -> PluginRecord:
        """Adds a plugin, as if it were installed.

        Args:
            namespace: What its entry point would be named.
            module: A module with a ``zoo_components`` hook. It may be made by the test; then the
                targets of its components are found in it by its ``__name__``.

        Returns:
            Its record: ``cases`` takes it, too.

        Raises:
            UsageError: The namespace is taken.
            PluginError: The module has no hook, or declares what cannot be.
        """
        taken = {fold(plugin.namespace): plugin.distribution for plugin in self._plugins}
        if fold(namespace) in taken:
            raise UsageError(
                f"the namespace {printable(namespace)!r} is taken",
                found=taken[fold(namespace)],
            )
        if sys.modules.get(module.__name__) is not module:
            self._monkeypatch.setitem(sys.modules, module.__name__, module)
        record = read_plugin(
            lambda: module,
            PluginRecord(
                namespace=namespace, module=module.__name__, version="0",
                distribution=f"{namespace} (of a test)",
            ),
        )  # fmt: skip
        if record.status != "ok":
            raise PluginError(
                f"the module {module.__name__} is no plugin",
                found=" at ".join(filter(None, (record.cause, record.origin))),
            )
        self._plugins.append(record)
        return record


@pytest.fixture
def isolated_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IsolatedRegistry:
    """A registry without the plugins and settings of whoever runs the test.

    The command line and the Python API see it as well, within the process of the test; a process
    that the test starts sees the built-in plugins alone.
    """
    monkeypatch.setenv("ZOO_PLUGINS", "")
    monkeypatch.setenv("ZOO_SETTINGS", str(tmp_path / "no-settings.toml"))
    isolated = IsolatedRegistry(monkeypatch)

    def installed(*, read: bool = True, builtins: bool = True) -> Registry:
        whole = isolated.registry
        if builtins:
            return whole
        return Registry(plugin for plugin in whole.plugins if not plugin.builtin)

    monkeypatch.setattr(Registry, "installed", staticmethod(installed))
    return isolated


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three easy classes: 36 images to train, 12 to validate, 12 to test, 24 pixels.

    All tests of a session share it: read it only.
    """
    return write_tiny_data(tmp_path_factory.mktemp("tiny-data"))


def write_tiny_data(folder: Path) -> Path:
    """Writes ``train``, ``val`` and ``test`` with bars, dots and rings on dark noise; returns it.

    The same images each time.
    """
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:24, :24]
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        for label in ("bar", "dot", "ring"):
            (folder / split / label).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 60, (24, 24, 3), dtype=np.uint8)
                x, y = generator.integers(8, 16, 2)
                away = np.hypot(columns - x, rows - y)
                shape = {"bar": abs(columns - x) < 2, "dot": away < 4, "ring": abs(away - 6) < 1.2}
                pixels[shape[label]] = 230
                Image.fromarray(pixels).save(folder / split / label / f"{label}-{index}.png")
    return folder
