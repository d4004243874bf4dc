"""What the user has settled about plugins: which are disabled, and which id a bare name means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import UsageError

__all__ = [
    "PATH_VARIABLE",
    "Settings",
    "load_settings",
    "named_paths",
    "save_disabled",
    "settings_file",
]

PATH_VARIABLE = "ZOO_PLUGIN_PATH"
"""The environment variable through which child processes see what ``--plugin`` named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The user's settings.

    Args:
        disabled: Namespaces or packages of plugins that are not to be imported.
        only: Those of third parties that may be imported; None means all (``ZOO_PLUGINS``).
        pins: ``kind/name`` to the full id that the bare name means.
    """

    disabled: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    pins: Mapping[str, str] = field(default_factory=dict)


def settings_file() -> Path:
    """Returns where the settings are: ``ZOO_SETTINGS``, else in the user's configuration folder."""
    if named := os.environ.get("ZOO_SETTINGS"):
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("zoo") / "settings.toml"


def named_paths() -> tuple[Path, ...]:
    """Returns the paths that ``ZOO_PLUGIN_PATH`` lists."""
    listed = os.environ.get(PATH_VARIABLE, "").split(os.pathsep)
    return tuple(dict.fromkeys(Path(path) for path in listed if path))


def load_settings() -> Settings:
    """Reads the settings file and ``ZOO_PLUGINS``.

    Raises:
        UsageError: The file is not readable TOML of the expected form.
    """
    table = _read(settings_file())
    listed = os.environ.get("ZOO_PLUGINS")
    only = None if listed is None else frozenset(filter(None, map(str.strip, listed.split(","))))
    return Settings(
        disabled=frozenset(table.get("disabled", ())), only=only, pins=table.get("pins", {})
    )


def save_disabled(disabled: frozenset[str]) -> Path:
    """Stores which plugins are disabled, keeps the pins, and returns the file."""
    import tomli_w

    path = settings_file()
    table = {**_read(path), "disabled": sorted(disabled)}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(tomli_w.dumps(table), encoding="utf-8")
    beside.replace(path)
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        import tomllib  # most have no such file, and it takes 3 ms

        table = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # not UTF-8, or not TOML
        raise UsageError(
            f"the settings file {path} cannot be read", found=str(error), hint="mend or remove it"
        ) from None
    pins = table.get("pins", {})
    disabled = table.get("disabled", [])
    if not (
        isinstance(disabled, list)
        and isinstance(pins, dict)
        and all(isinstance(text, str) for text in (*disabled, *pins.values()))
    ):
        raise UsageError(
            f"the settings file {path} is not of the expected form",
            hint='disabled = ["acme"] and [pins] "model/resnet18" = "torchvision/resnet18"',
        )
    return table
