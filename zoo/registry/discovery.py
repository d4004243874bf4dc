"""From entry points to plugin records. A broken plugin costs itself and nothing else.

zoo's own plugins are imported here. Those of others are not: what they declare comes from the
index, and what is not in it is read in a child process (:mod:`zoo.registry.child`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points

from zoo.plugin import API_GROUP, fold
from zoo.registry.index import Index, index_file
from zoo.registry.records import HOST, PluginRecord
from zoo.registry.settings import Settings

__all__ = ["HOST", "PluginRecord", "discover"]

_ANY_API = re.compile(r"zoo\.v(\d+)")
_OURS = API_GROUP.removeprefix("zoo.")


def discover(
    settings: Settings,
    *,
    points: Iterable[EntryPoint] | None = None,
    read: bool = True,
    builtins: bool = True,
) -> tuple[PluginRecord, ...]:
    """Returns a record for every installed plugin, built-ins first, the same in any install order.

    Args:
        settings: Which plugins may be imported. Others are listed and not imported.
        points: Entry points to use instead of the installed ones.
        read: Whether third-party plugins that the index does not know are read. Otherwise they are
            ``unread`` and none of their code runs.
        builtins: Whether zoo's own plugins are loaded; otherwise they are left out.
    """
    whole = points is None
    if points is None:
        installed = entry_points()
        points = [p for group in installed.groups if _ANY_API.fullmatch(group)
                  for p in installed.select(group=group)]  # fmt: skip
    owners: dict[int, tuple[str, str]] = {}
    found = {_named(point, owners): point for point in points}
    records = _settled(found, settings)
    if not builtins:
        records = [record for record in records if not record.builtin]
    return _loaded(records, found, read=read, whole=whole)


def _named(point: EntryPoint, owners: dict[int, tuple[str, str]]) -> PluginRecord:
    """Returns what an entry point says by itself. Imports nothing.

    Args:
        point: The entry point.
        owners: Name and version of each distribution that was asked before.
    """
    if id(point.dist) not in owners:
        owners[id(point.dist)] = _owner(point.dist)
    distribution, version = owners[id(point.dist)]
    return PluginRecord(
        namespace=point.name, module=point.value, distribution=distribution, version=version,
        api=point.group.removeprefix("zoo."), status="unread",
    )  # fmt: skip


def _owner(distribution: Distribution | None) -> tuple[str, str]:
    """Returns name and version of a distribution.

    Its metadata is a whole mail with the README as its body, and importlib.metadata parses all of
    it for each of the two: for forty packages 60 ms, against 3 for looking at the first lines.
    """
    if distribution is None:
        return ("unknown", "?")
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    said: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not colon or {"name", "version"} <= set(said):
            break
        said.setdefault(key.strip().lower(), value.strip())
    if said.get("name") and said.get("version"):
        return (said["name"], said["version"])
    return (distribution.name or "unknown", distribution.version or "?")


def _settled(found: Iterable[PluginRecord], settings: Settings) -> list[PluginRecord]:
    """Returns the records in their order, with those that are not to be read told why."""
    ordered = sorted(
        found,
        key=lambda r: (not r.builtin, r.api, r.namespace, r.module, r.distribution, r.version),
    )
    # What is disabled claims no namespace: disabling one of two makes way for the other.
    speaking = [
        record
        for record in ordered
        if record.api == _OURS and (record.builtin or _allowed(record, settings))
    ]
    claims = Counter(fold(record.namespace) for record in speaking)
    ours = {fold(record.namespace) for record in speaking if record.builtin}

    records = []
    for record in ordered:
        name = fold(record.namespace)
        if record.api != _OURS:
            cause = f"speaks {record.api}, this zoo speaks {_OURS}"
            record = replace(record, status="incompatible", cause=cause)
        elif not _allowed(record, settings):
            record = replace(record, status="disabled", cause=_why_not(record, settings))
        elif claims[name] > 1 and not (record.builtin and name in ours):
            others = {other.distribution for other in speaking if fold(other.namespace) == name}
            rivals = ", ".join(sorted(others - {record.distribution})) or record.distribution
            cause = f"the namespace {record.namespace!r} is also claimed by {rivals}"
            record = replace(record, status="broken", cause=cause)
        records.append(record)
    return records


def _loaded(
    records: list[PluginRecord],
    points: dict[PluginRecord, EntryPoint],
    *,
    read: bool,
    whole: bool,
) -> tuple[PluginRecord, ...]:
    """Returns the records with what their plugins declare, each in its place."""
    done: dict[int, PluginRecord] = {}
    pending: list[int] = []
    index: Index | None = None
    for place, record in enumerate(records):
        if record.status != "unread":
            continue
        if record.builtin:
            done[place] = _builtin(record, points[record])
            if done[place].status != "ok":
                _builtin.cache_clear()
            continue
        index = index or Index(index_file())
        if (kept := index.get(record)) is not None:
            done[place] = kept
        else:
            pending.append(place)
    if pending and read and index is not None:
        from zoo.registry.child import read_apart

        tables = read_apart([records[place] for place in pending])
        done |= {place: record for place, (record, _) in zip(pending, tables, strict=True)}
        third = [record for record in records if not record.builtin] if whole else None
        index.put([(record, table) for record, table in tables], keep=third)
    return tuple(done.get(place, record) for place, record in enumerate(records))


@lru_cache(maxsize=64)  # zoo's own stay as they are for as long as a process lives: 80 ms a call
def _builtin(record: PluginRecord, point: EntryPoint) -> PluginRecord:
    from zoo.registry.reading import read_plugin  # pluggy: not for `zoo --help`

    return read_plugin(point.load, replace(record, status="ok"))


def _allowed(record: PluginRecord, settings: Settings) -> bool:
    if any(map(record.is_called, settings.disabled)):
        return False
    return record.builtin or settings.only is None or any(map(record.is_called, settings.only))


def _why_not(record: PluginRecord, settings: Settings) -> str:
    if any(map(record.is_called, settings.disabled)):
        return f"disabled; zoo plugins enable {record.namespace}"
    return "not named in ZOO_PLUGINS"
