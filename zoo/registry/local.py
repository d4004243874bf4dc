"""``--plugin PATH``: a plugin that no package manager knows, for one invocation.

A path is a module file, a package folder, a project (pyproject.toml with an entry point of
``zoo.v1``) or an unpacked wheel. It is read each time and never kept in the index; in a process
that lives on it is imported again when its files have changed. Its folder is put at the end of
``sys.path``, so spawned processes find it and it hides nobody's module.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

from zoo.errors import PluginError, UsageError, printable
from zoo.plugin import API_GROUP, Component, fold
from zoo.registry.reading import read_plugin
from zoo.registry.records import PluginRecord
from zoo.registry.stamps import tree_files

__all__ = ["LocalPlugin", "local_plugin", "local_plugins"]

_MARK = "__zoo_plugin__"
"""What a module imported here has: its path, its digest, the folder put on sys.path for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPlugin:
    """A plugin that a path names, not imported.

    Args:
        path: What was named.
        namespace: The first part of its components' ids.
        module: What holds its hook, as the value of an entry point.
        root: The folder that has to be on ``sys.path``.
        digest: SHA-256 of its code: of the file, or of a list of all files with theirs.
    """

    path: Path
    namespace: str
    module: str
    root: Path
    digest: str

    @property
    def record(self) -> PluginRecord:
        """What is known of it before it is imported. Its version is the start of its digest."""
        return PluginRecord(
            namespace=self.namespace, module=self.module, distribution=self.path.name,
            version=f"sha256:{self.digest[:16]}", digest=self.digest,
        )  # fmt: skip


def local_plugins(
    paths: Iterable[Path], installed: Sequence[PluginRecord]
) -> tuple[PluginRecord, ...]:
    """Returns the plugins that paths name, imported.

    Args:
        paths: As ``--plugin`` takes them.
        installed: The plugins that are there already.

    Raises:
        UsageError: A path holds no plugin, or its name is taken.
        PluginError: It cannot be imported, or what it declares is wrong; with file and line.
    """
    taken = {fold(record.namespace): record for record in installed}
    found: list[PluginRecord] = []
    for path in paths:
        plugin = local_plugin(path)
        if (other := taken.get(fold(plugin.namespace))) is not None:
            raise UsageError(
                f"--plugin {printable(path)} would be {plugin.namespace!r}, which is taken",
                found=f"{other.namespace} of {printable(other.distribution)} {other.version}",
                hint="name the file otherwise"
                + ("" if other.builtin or other.digest else ", or uninstall the package"),
            )
        record = read_plugin(lambda plugin=plugin: _imported(plugin), plugin.record)  # type: ignore[misc]  # a default binds it now
        if record.status == "broken":
            raise PluginError(
                f"--plugin {printable(path)} cannot be used",
                found=printable(" at ".join(filter(None, (record.cause, record.origin)))),
                hint="mend it, or leave --plugin out",
            )
        taken[fold(plugin.namespace)] = record
        found.append(record)
    return tuple(found)


def local_plugin(path: Path) -> LocalPlugin:
    """Returns what a path names. Imports nothing.

    Raises:
        UsageError: There is nothing there, or nothing that can be a plugin.
    """
    path = path.expanduser().absolute()
    if not path.exists():
        raise UsageError(
            f"--plugin {printable(path)} does not exist",
            hint="name a module file or a package folder; an installed plugin needs no --plugin",
        )
    if path.is_file() and path.suffix == ".py":
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return _named(path, path.stem, path.stem, path.parent, digest)
    if path.is_dir() and (path / "__init__.py").is_file():
        return _named(path, path.name, path.name, path.parent, _tree_digest(path))
    if path.is_dir() and (point := _entry_point(path)) is not None:
        top = point.value.partition(":")[0].partition(".")[0]
        root = next((r for r in (path, path / "src") if _has_module(r, top)), None)
        if root is not None:
            return _named(path, point.name, point.value, root, _tree_digest(root / top))
        raise UsageError(
            f"--plugin {printable(path)}: its module {printable(top)} is not there",
            found=f"the entry point {printable(point.name)} = {printable(point.value)}",
            hint=f"it is looked for in {printable(path)} and its src folder",
        )
    raise UsageError(
        f"--plugin {printable(path)} holds no plugin",
        found="a wheel" if path.suffix == ".whl" else "a file" if path.is_file() else "a folder",
        hint="zoo plugins check WHEEL, or pip install it" if path.suffix == ".whl" else
        f"name a .py file, a folder with __init__.py, or a project with a {API_GROUP} entry point",
    )  # fmt: skip


def _named(path: Path, namespace: str, module: str, root: Path, digest: str) -> LocalPlugin:
    """Checks that names are such as an entry point could have."""
    top = module.partition(":")[0].partition(".")[0]
    try:
        Component(kind="command", name=namespace, target="a:b")  # the grammar of names
        if not top.isidentifier():
            raise ValueError(f"{top!r} cannot be imported: letters, digits and _")
    except ValueError as error:
        raise UsageError(
            f"--plugin {printable(path)} cannot be a plugin's name", found=printable(error),
            hint="its file or folder is named as a Python module: acme.py",
        ) from None  # fmt: skip
    return LocalPlugin(path=path, namespace=namespace, module=module, root=root, digest=digest)


def _imported(plugin: LocalPlugin) -> ModuleType:
    """Imports a plugin from its own folder, again if it has changed since it was.

    Raises:
        ImportError: A module of that name is importable from elsewhere.
    """
    top = plugin.module.partition(":")[0].partition(".")[0]
    _forget_changed(top, plugin)
    root = str(plugin.root)
    put = root not in sys.path
    if put:
        sys.path.append(root)
    importlib.invalidate_caches()
    spec = importlib.util.find_spec(top)
    places = [*(spec.submodule_search_locations or ()), spec.origin or ""] if spec else []
    if not any(Path(place).resolve().is_relative_to(plugin.root.resolve()) for place in places):
        if put:
            sys.path.remove(root)
        raise ImportError(f"there is another module {top!r} ({places[-1] if places else '?'})")
    written = sys.dont_write_bytecode
    # Two edits within a second that leave the size as it is would be taken for one file.
    sys.dont_write_bytecode = True
    try:
        found: ModuleType = EntryPoint(plugin.namespace, plugin.module, API_GROUP).load()
    finally:
        sys.dont_write_bytecode = written
    mark = getattr(sys.modules[top], _MARK, None)
    if mark is None:
        setattr(sys.modules[top], _MARK, (str(plugin.path), plugin.digest, root if put else None))
    return found


def _forget_changed(top: str, plugin: LocalPlugin) -> None:
    """Removes an imported module that came from another path, or has changed since."""
    mark = getattr(sys.modules.get(top), _MARK, None)
    if mark is None or mark[:2] == (str(plugin.path), plugin.digest):
        return
    for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
        del sys.modules[name]
    if mark[2] is not None:
        with suppress(ValueError):
            sys.path.remove(mark[2])


def _entry_point(folder: Path) -> EntryPoint | None:
    """Returns the entry point that a project or an unpacked wheel declares, the first by name."""
    points: dict[str, str] = {}
    with suppress(OSError, ValueError, KeyError, AttributeError, TypeError):
        import tomllib

        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        points |= project["project"]["entry-points"][API_GROUP]
    for file in sorted(folder.glob("*.dist-info/entry_points.txt")):
        import configparser

        table = configparser.ConfigParser(delimiters=("=",), interpolation=None)
        table.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
        with suppress(OSError, ValueError, configparser.Error):
            table.read_string(file.read_text(encoding="utf-8"))
            points |= dict(table[API_GROUP]) if API_GROUP in table else {}
    for name in sorted(points):
        if isinstance(points[name], str):
            return EntryPoint(name, points[name], API_GROUP)
    return None


def _has_module(root: Path, top: str) -> bool:
    return (root / top).is_dir() or (root / f"{top}.py").is_file()


def _tree_digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for file in sorted(tree_files(folder)) or [f"{folder}.py"]:
        with suppress(OSError):
            digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
            whole.update(f"{Path(file).relative_to(folder.parent).as_posix()}\0{digest}\n".encode())
    return whole.hexdigest()
