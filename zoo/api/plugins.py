"""Plugins: which are installed, what they declare, whether they keep their contracts."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import UnknownName, UsageError, printable
from zoo.plugin import fold
from zoo.registry import PluginRecord, Registry, discover
from zoo.registry.records import fold_package
from zoo.registry.settings import PATH_VARIABLE, load_settings, save_disabled

if TYPE_CHECKING:
    from zoo.testing import Example, Result

__all__ = [
    "check_plugin",
    "disable_plugin",
    "enable_plugin",
    "find_plugins",
    "list_plugins",
    "named",
    "normalised",
]


def list_plugins() -> tuple[PluginRecord, ...]:
    """Returns a record for each installed plugin, zoo's own first. ``zoo plugins list``.

    Imports no code of others: a plugin that the index does not know is ``unread``.
    """
    return discover(load_settings(), read=False)


def find_plugins(name: str, *, registry: Registry | None = None) -> tuple[PluginRecord, ...]:
    """Returns the plugins of a namespace or a package, read. ``zoo plugins show``.

    Raises:
        UnknownName: There is none. The message has the close names.
    """
    return named(name, (registry or Registry.installed()).plugins)


def enable_plugin(name: str) -> Path:
    """Takes a plugin off the list of disabled ones and returns the settings file.

    ``zoo plugins enable``. Imports no plugin.

    Raises:
        UnknownName: No third-party plugin has that name, and none is disabled under it.
    """
    disabled = load_settings().disabled
    try:
        record = _of_a_third_party(name)
    except UnknownName:  # it is gone, and its name is still listed
        if name not in disabled:
            raise
        return save_disabled(disabled - {name})
    return save_disabled(frozenset(one for one in disabled if not record.is_called(one)))


def disable_plugin(name: str) -> Path:
    """Puts a plugin on the list of disabled ones and returns the settings file.

    ``zoo plugins disable``. Imports no plugin.

    Raises:
        UnknownName: No third-party plugin has that name.
    """
    _of_a_third_party(name)
    return save_disabled(load_settings().disabled | {name})


def check_plugin(
    name: str,
    *,
    examples: Mapping[str, Example] | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> Iterator[Result]:
    """Yields the result of each check of a plugin, as it ends. ``zoo plugins check``.

    Args:
        name: A namespace, a package, or the path of a plugin that is not installed: a module file,
            a package folder, a project or a wheel.
        examples: As :func:`zoo.testing.run_checks`.
        expected_failures: Likewise.

    Raises:
        UnknownName, UsageError: There is no such plugin.
        PluginError: It is broken, so nothing can be checked.
    """
    from zoo.testing import run_checks

    if not _is_path(name):
        yield from run_checks(name, examples=examples, expected_failures=expected_failures)
        return
    with _as_local(Path(name)) as namespace:
        yield from run_checks(namespace, examples=examples, expected_failures=expected_failures)


def named(name: str, records: Sequence[PluginRecord]) -> tuple[PluginRecord, ...]:
    """Returns the plugins of a namespace, else those of the package of that name.

    Raises:
        UnknownName: There are none. The message has the close names.
    """
    found = [record for record in records if fold(record.namespace) == fold(name)]
    found = found or [record for record in records if record.is_called(name)]
    if found:
        return tuple(found)
    names = sorted({known for r in records for known in (r.namespace, r.distribution)})
    close = difflib.get_close_matches(name, names, n=3)
    raise UnknownName(
        f"no plugin or package with plugins is named {printable(name)!r}",
        found=printable("close: " + ", ".join(close)) if close else f"{len(records)} plugins",
        hint="zoo plugins list",
    )


def _of_a_third_party(name: str) -> PluginRecord:
    """Returns a third-party plugin that is installed. Imports none."""
    records = [record for record in list_plugins() if not record.builtin]
    for record in records:
        if record.is_called(name):
            return record
    names = {known for r in records for known in (r.namespace, r.distribution)}
    raise UnknownName(
        f"no third-party plugin is named {printable(name)!r}",
        found=printable(", ".join(sorted(names))) or "none is installed", hint="zoo plugins list",
    )  # fmt: skip


def normalised(spec: str) -> str:
    """Returns the name of a package as PEP 503 compares it, of a requirement or a wheel's path."""
    name = re.match(r"[A-Za-z0-9._-]+", Path(spec).name if spec.endswith(".whl") else spec)
    text = name[0] if name else ""
    if spec.endswith(".whl"):
        text = text.partition("-")[0]
    return fold_package(text)


def _is_path(name: str) -> bool:
    return name.endswith((".py", ".whl")) or any(mark in name for mark in ("/", "\\")) or (
        name in (".", "..")
    )  # fmt: skip


@contextmanager
def _as_local(path: Path) -> Iterator[str]:
    """Yields the namespace of a plugin that is not installed, which is a plugin for the while."""
    import tempfile

    from zoo.registry.local import local_plugin

    with tempfile.TemporaryDirectory(prefix="zoo-check-") as folder:
        if path.suffix == ".whl" and path.is_file():
            _unpack(path, Path(folder))
            path = Path(folder)
        plugin = local_plugin(path)
        before = os.environ.get(PATH_VARIABLE)
        os.environ[PATH_VARIABLE] = os.pathsep.join(filter(None, [before, str(plugin.path)]))
        try:
            yield plugin.namespace
        finally:
            if before is None:
                os.environ.pop(PATH_VARIABLE, None)
            else:
                os.environ[PATH_VARIABLE] = before


def _unpack(wheel: Path, folder: Path) -> None:
    """Unpacks a wheel into a folder. zipfile lets no name lead out of it.

    Raises:
        UsageError: It is not a wheel.
    """
    import zipfile

    try:
        with zipfile.ZipFile(wheel) as file:
            file.extractall(folder)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise UsageError(
            f"{printable(wheel)} is not a wheel that can be read", found=printable(error)
        ) from None
