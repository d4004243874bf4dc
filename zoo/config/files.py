"""Configurations from text: a config.toml, and one ``key=value`` of the command line."""

from __future__ import annotations

import tomllib
from pathlib import Path

from zoo.config.run_config import option_of
from zoo.errors import UsageError, printable
from zoo.plugin import Value
from zoo.registry.specs import parse_value

__all__ = ["load_config", "parse_setting"]


def load_config(path: Path) -> dict[str, object]:
    """Reads a configuration file as a table, unchecked.

    Raises:
        UsageError: It cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"the configuration {printable(path)} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:  # of no UTF-8, of no TOML
        raise UsageError(
            f"the configuration {printable(path)} cannot be read", found=printable(error)
        ) from None


def parse_setting(text: str) -> tuple[str, Value]:
    """Reads ``key=value`` as ``--set`` takes it.

    Raises:
        UsageError: There is no ``=`` or no such option.
    """
    key, equals, value = text.partition("=")
    key = key.strip().replace("-", "_")
    if not equals:
        raise UsageError(f"--set {printable(text)} is not key=value", hint="--set lr=0.01")
    kind = option_of(key).type
    if kind.endswith("list") and "," in value and not value.strip().startswith("["):
        value = f"[{value}]"  # as the flag of the option takes it
    return key, value if kind == "str" else parse_value(value)
