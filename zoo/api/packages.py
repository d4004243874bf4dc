"""Install and remove packages of plugins, with the installer of the running interpreter."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from zoo.api.plugins import list_plugins, named, normalised
from zoo.errors import PluginError, RefusedError, printable
from zoo.registry import PluginRecord, discover
from zoo.registry.settings import load_settings, save_disabled

__all__ = ["install_plugins", "remove_plugin"]


def install_plugins(
    specs: Sequence[str], *, told: Callable[[str], None] = lambda command: None
) -> tuple[PluginRecord, ...]:
    """Installs packages and returns the plugins that they brought. ``zoo plugins install``.

    Args:
        specs: As pip takes them, its options among them.
        told: Called with the exact command before it runs.

    Raises:
        PluginError: There is no installer, it failed, or the packages declare no plugin of zoo.
    """
    before = {_identity(record) for record in list_plugins()}
    asked = {normalised(spec) for spec in specs}
    _run_installer("install", specs, told=told, failing=f"installing {' '.join(specs)}")
    _see_what_is_there()
    third = [record for record in discover(load_settings()) if not record.builtin]
    found = [record for record in third if _identity(record) not in before]
    found = found or [record for record in third if normalised(record.distribution) in asked]
    if not found:  # a folder that was installed before, in the same version
        folders = [Path(spec.partition("[")[0]) for spec in specs]
        places = {folder.resolve().as_uri() for folder in folders if folder.is_dir()}
        found = [record for record in third if _origin(record.distribution) in places]
    if not found:
        raise PluginError(
            f"{printable(' '.join(specs))} declares no plugin of zoo",
            found="no entry point of the group zoo.v1, as a plugin's package has",
            kept="it is installed all the same", hint="zoo plugins list",
        )  # fmt: skip
    return tuple(found)


def remove_plugin(name: str, *, told: Callable[[str], None] = lambda command: None) -> str:
    """Uninstalls the package of a plugin and returns its name. ``zoo plugins remove``.

    Imports no plugin, so a broken one can be removed.

    Args:
        name: A namespace or a package.
        told: Called with the exact command before it runs.

    Raises:
        RefusedError: It is one of zoo's own.
        UnknownName: There is no such plugin.
        PluginError: There is no installer, or it failed.
    """
    records = list_plugins()
    record = named(name, records)[0]
    if record.builtin:
        raise RefusedError(
            f"{printable(name)} is a part of zoo and cannot be removed by itself",
            hint="leave it be: a built-in does nothing until it is chosen by name",
        )
    package = record.distribution
    _run_installer("uninstall", [package], told=told, failing=f"removing {package}")
    _see_what_is_there()
    if any(left.distribution == package for left in list_plugins()):
        raise PluginError(
            f"{printable(package)} is still there",
            found="the installer ended well and did not remove it: see its message",
            hint="remove it with what installed it",
        )
    gone = [record for record in records if record.distribution == package]
    disabled = load_settings().disabled
    kept = frozenset(one for one in disabled if not any(r.is_called(one) for r in gone))
    if kept != disabled:
        save_disabled(kept)
    return package


def _installer(verb: str) -> list[str]:
    """Returns the command of pip, or of uv where there is no pip, up to the packages."""
    from importlib.util import find_spec
    from shutil import which

    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", verb, *(["--yes"] if verb == "uninstall" else [])]
    if (uv := which("uv")) is not None:
        return [uv, "pip", verb, "--python", sys.executable]
    raise PluginError(
        "there is neither pip nor uv to install packages with",
        found=sys.executable, hint=f"{sys.executable} -m ensurepip",
    )  # fmt: skip


def _run_installer(
    verb: str, packages: Sequence[str], *, told: Callable[[str], None], failing: str
) -> None:
    import shlex

    command = [*_installer(verb), *packages]
    told(shlex.join(command))
    code = subprocess.run(command, check=False).returncode
    if code:
        raise PluginError(
            f"{printable(failing)} failed", found=f"the installer ended with exit code {code}",
            kept="nothing was changed by zoo",
            hint="its own message stands above; without a network, give it a wheel",
        )  # fmt: skip


def _see_what_is_there() -> None:
    """Takes notice of folders that an installer has put on the path of new interpreters."""
    code = "import sys; print('\\n'.join(sys.path))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False
    )
    sys.path += [path for path in done.stdout.splitlines() if path and path not in sys.path]
    importlib.invalidate_caches()


def _origin(package: str) -> str:
    """Returns the URL that a package was installed from, as PEP 610 records it; empty without."""
    import json

    try:
        told = json.loads(distribution(package).read_text("direct_url.json") or "{}")
        return str(told.get("url", "")).rstrip("/")
    except (PackageNotFoundError, ValueError, AttributeError):
        return ""


def _identity(record: PluginRecord) -> tuple[str, str, str]:
    return (record.namespace, record.distribution, record.version)
