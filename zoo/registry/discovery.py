"""From entry points to plugin records. A broken plugin costs itself and nothing else."""

from __future__ import annotations

import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from itertools import islice
from typing import Literal

import pluggy

from zoo.plugin import API_GROUP, KINDS, Component, HookSpec, fold
from zoo.registry.settings import Settings

__all__ = ["HOST", "PluginRecord", "discover"]

HOST = "classifier-zoo"
"""The distribution whose plugins are built in."""

_ANY_API = re.compile(r"zoo\.v(\d+)")
_MOST_COMPONENTS = 20_000  # timm, the largest catalogue, has 1,371; a hook may never end


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRecord:
    """One plugin as it was found.

    Args:
        namespace: The entry point's name, first part of its components' ids.
        module: The entry point's value.
        distribution: The package that declares it.
        version: The package's version.
        status: ``incompatible`` speaks another API version; ``disabled`` was not imported.
        cause: Why it is not ``ok``, in one line.
        origin: ``file:line`` where it broke.
        notes: What was skipped and why.
        components: What it provides; empty unless ``ok``.
        load_milliseconds: Time that importing and asking it took.
    """

    namespace: str
    module: str
    distribution: str
    version: str
    status: Literal["ok", "disabled", "broken", "incompatible"] = "ok"
    cause: str = ""
    origin: str = ""
    notes: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    load_milliseconds: float = 0.0

    @property
    def builtin(self) -> bool:
        """Whether zoo itself ships it."""
        return self.distribution == HOST


def discover(
    settings: Settings, *, points: Iterable[EntryPoint] | None = None
) -> tuple[PluginRecord, ...]:
    """Returns a record for every installed plugin, built-ins first, the same in any install order.

    Args:
        settings: Which plugins may be imported. Others are listed and not imported.
        points: Entry points to use instead of the installed ones.
    """
    if points is None:
        installed = entry_points()
        points = [p for group in installed.groups if _ANY_API.fullmatch(group)
                  for p in installed.select(group=group)]  # fmt: skip
    found = sorted(
        {(point.group, point.name, point.value, *_owner(point)): point for point in points}.items(),
        key=lambda item: (item[0][3] != HOST, item[0]),
    )
    speaking = [key for key, _ in found if key[0] == API_GROUP]
    claims = Counter(fold(key[1]) for key in speaking)
    ours = {fold(key[1]) for key in speaking if key[3] == HOST}

    records = []
    for (group, namespace, value, distribution, version), point in found:
        record = PluginRecord(
            namespace=namespace, module=value, distribution=distribution, version=version
        )
        others = sorted(
            {key[3] for key in speaking if fold(key[1]) == fold(namespace)} - {distribution}
        )
        if group != API_GROUP:
            cause = f"speaks {group.removeprefix('zoo.')}, this zoo speaks {API_GROUP[4:]}"
            records.append(replace(record, status="incompatible", cause=cause))
        elif not _allowed(record, settings):
            records.append(replace(record, status="disabled", cause=_why_not(record, settings)))
        elif claims[fold(namespace)] > 1 and not (record.builtin and fold(namespace) in ours):
            rivals = ", ".join(others) or distribution
            cause = f"the namespace {namespace!r} is also claimed by {rivals}"
            records.append(replace(record, status="broken", cause=cause))
        else:
            records.append(_load(point, record))
    return tuple(records)


def _owner(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("unknown", "?")


def _allowed(record: PluginRecord, settings: Settings) -> bool:
    names = {record.namespace, record.distribution}
    if names & settings.disabled:
        return False
    return record.builtin or settings.only is None or bool(names & settings.only)


def _why_not(record: PluginRecord, settings: Settings) -> str:
    if {record.namespace, record.distribution} & settings.disabled:
        return f"disabled; zoo plugins enable {record.namespace}"
    return "not named in ZOO_PLUGINS"


def _load(point: EntryPoint, record: PluginRecord) -> PluginRecord:
    """Imports one plugin and asks for its components, whatever it throws at us."""
    start = time.perf_counter()
    try:
        # What a plugin prints must not end up in the output of `zoo list --json`.
        with redirect_stdout(sys.stderr):
            declared = _ask(point.load(), record.namespace)
    except (Exception, SystemExit) as error:
        return replace(
            record,
            status="broken",
            cause=_one_line(error),
            origin=_origin(error),
            load_milliseconds=1000 * (time.perf_counter() - start),
        )
    known = tuple(component for component in declared if component.kind in KINDS)
    unknown = sorted({str(c.kind) for c in declared} - set(KINDS))
    return replace(
        record,
        components=known,
        notes=tuple(f"components of the unknown kind {kind!r} were skipped" for kind in unknown),
        load_milliseconds=1000 * (time.perf_counter() - start),
    )


def _ask(module: object, namespace: str) -> list[Component]:
    """Returns what the hook of one plugin yields, checked record by record."""
    manager = pluggy.PluginManager("zoo")
    manager.add_hookspecs(HookSpec)
    manager.register(module, name=namespace)
    manager.check_pending()
    answers = manager.hook.zoo_components()
    if not answers:
        raise TypeError("has no zoo_components hook; decorate it with zoo.plugin.hookimpl")
    components = list(islice(answers[0], _MOST_COMPONENTS + 1))
    if len(components) > _MOST_COMPONENTS:
        raise ValueError(f"declares more than {_MOST_COMPONENTS:,} components")
    names: set[tuple[str, str]] = set()
    for component in components:
        if not isinstance(component, Component):
            raise TypeError(
                f"yielded {type(component).__name__} {component!r:.80}, not a Component"
            )
        key = (component.kind, fold(component.name))
        if key in names:
            raise ValueError(f"declares the {component.kind} {component.name!r} twice")
        names.add(key)
    return components


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _origin(error: BaseException) -> str:
    """Returns ``file:line`` of the innermost frame outside zoo, pluggy and importlib."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, pluggy.__file__)
        and "importlib" not in frame.filename
        and "pluggy" not in frame.filename
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
