"""What third-party plugins declared, kept so that a light command need not ask them again.

    CACHE/plugins/ENVIRONMENT.json    {"format", "entries": {plugin: {"stamp", "record"}}}

One file for each environment, so two of them do not undo each other's. It is data: nothing in it is
executed, a record from it is checked as if it had just been declared, and a file that is damaged,
of another form, or that somebody else could have written is as good as none: a target is the name
of a function that a run will call. Written atomically; of two processes the last one wins, and
what the other had read is read again. Where it cannot be written, zoo works without.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import zoo.plugin
from zoo.registry.records import PluginRecord, component_from, plain
from zoo.registry.stamps import environment_stamp, module_stamp

__all__ = ["Index", "decoded", "encoded", "index_file"]

FORMAT: Final = 1

_LARGEST_BYTES = 64 * 2**20
_MOST_FILES = 20
_WORDS = ("cause", "origin", "missing")


def index_file() -> Path:
    """Returns where the index of this environment is, below ``ZOO_CACHE`` or the user's cache."""
    if named := os.environ.get("ZOO_CACHE"):
        cache = Path(named)
    else:
        from platformdirs import user_cache_path

        cache = user_cache_path("zoo")
    name = zlib.crc32(f"{sys.prefix}\0{sys.version}".encode(errors="replace"))
    return cache / "plugins" / f"{name:08x}.json"


class Index:
    """The kept records of one environment.

    Args:
        path: Its file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._environment = environment_stamp() + _form()
        self._entries = _entries(path)
        self._stamps: dict[str, str] = {}

    def get(self, record: PluginRecord) -> PluginRecord | None:
        """Returns what was kept of a plugin, None if that is nothing or it has changed since.

        Args:
            record: The plugin as its entry point names it.
        """
        entry, stamp = self._entries.get(_key(record)), self._stamp(record)
        if not isinstance(entry, dict) or entry.get("stamp") != stamp:
            return None
        try:
            kept = decoded(entry.get("record"), record)
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
            return None
        missing = entry["record"].get("missing")
        if missing and _is_there(missing):
            return None  # what it broke for want of
        return kept

    def put(
        self,
        tables: Iterable[tuple[PluginRecord, Mapping[str, object]]],
        *,
        keep: Iterable[PluginRecord] | None = None,
    ) -> None:
        """Keeps what was read.

        Args:
            tables: Plugins, and what :func:`encoded` made of each.
            keep: The plugins that are installed; all others are forgotten. None forgets none.
        """
        for record, table in tables:
            self._entries[_key(record)] = {"stamp": self._stamp(record), "record": dict(table)}
        if keep is not None:
            present = {_key(record) for record in keep}
            self._entries = {key: one for key, one in self._entries.items() if key in present}
        with suppress(OSError):
            _write(self._path, {"format": FORMAT, "entries": self._entries})

    def _stamp(self, record: PluginRecord) -> str:
        """Returns the stamp of a plugin's files as they were when it was first asked about.

        What is written while a plugin is being read belongs to the next stamp.
        """
        key = _key(record)
        if key not in self._stamps:
            self._stamps[key] = f"{self._environment} {module_stamp(record.module)}"
        return self._stamps[key]


def encoded(record: PluginRecord, *, missing: str = "") -> dict[str, object]:
    """Returns what reading a plugin found, as plain data.

    Args:
        record: The plugin, read.
        missing: The top-level module that it could not import, where that is why it is broken.
    """
    return {
        "status": record.status, "cause": record.cause, "origin": record.origin,
        "notes": list(record.notes), "components": [plain(one) for one in record.components],
        "load_milliseconds": record.load_milliseconds, "missing": missing,
        "heavy_imports": list(record.heavy_imports),
    }  # fmt: skip


def decoded(table: Any, record: PluginRecord) -> PluginRecord:
    """Returns a plugin's record with what :func:`encoded` kept of it.

    Raises:
        TypeError, ValueError, KeyError: It is not of that form, or says what is not legal.
    """
    if table["status"] not in ("ok", "broken"):
        raise ValueError("its status is neither ok nor broken")
    for name in _WORDS:
        _text(table[name])
    milliseconds = table["load_milliseconds"]
    if not isinstance(milliseconds, int | float):
        raise TypeError("its time is no number")
    return replace(
        record, status=table["status"], cause=table["cause"], origin=table["origin"],
        notes=_texts(table["notes"]), load_milliseconds=float(milliseconds),
        components=tuple(map(component_from, table["components"])),
        heavy_imports=_texts(table["heavy_imports"]),
    )  # fmt: skip


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is not a string")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.80} is not a list")
    return tuple(map(_text, value))


def _key(record: PluginRecord) -> str:
    return json.dumps([record.distribution, record.version, record.namespace, record.module])


def _form() -> str:
    """Returns what stands for the form of records: another zoo may have other fields."""
    status = os.stat(zoo.plugin.__file__)
    return f" {status.st_mtime_ns} {status.st_size}"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _entries(path: Path) -> dict[str, Any]:
    """Returns what a file keeps; nothing where it is not ours, not whole or not of this form."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not _is_ours(status) or status.st_size > _LARGEST_BYTES:
                return {}
            table = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        return {}
    entries = table.get("entries")
    return entries if isinstance(entries, dict) else {}


def _is_ours(status: os.stat_result) -> bool:
    """Whether only this user can have written a file. Windows keeps its own lists of rights."""
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _write(path: Path, table: Mapping[str, object]) -> None:
    """Puts a file in place of the old one, readable by this user alone, and removes the oldest.

    It can be made again at any time, so it is not synced: a torn file is thrown away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".tmp-{os.getpid()}-{os.urandom(4).hex()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(table, file, separators=(",", ":"))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    others = sorted(path.parent.glob("*.json"), key=lambda one: one.stat().st_mtime, reverse=True)
    for old in others[_MOST_FILES:]:
        old.unlink(missing_ok=True)
