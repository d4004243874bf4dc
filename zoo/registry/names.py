"""Which component a name means."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from zoo.errors import AmbiguousName, UnknownName, UsageError, printable
from zoo.plugin import KINDS, Component, fold, plural
from zoo.registry.discovery import PluginRecord, discover
from zoo.registry.settings import Settings, load_settings, named_paths, settings_file

__all__ = ["Entry", "Registry"]

_PREFERENCE = ("torch", "classics", "timm", "datasets", "torchvision")
"""Among built-ins, whose component a bare name means when several have it (resnet18, vgg16...)."""

_CATALOGUES = ("hf", "pytorch-optimizer")
"""Built-ins that bring a library's own names: any other built-in of a name or alias is first."""

_FIRST, _CATALOGUE, _THIRD_PARTY = range(3)


@dataclass(frozen=True, slots=True)
class Entry:
    """A component together with the plugin that provides it."""

    component: Component
    plugin: PluginRecord

    @property
    def id(self) -> str:
        """The full id, ``namespace/name``."""
        return f"{self.plugin.namespace}/{self.component.name}"

    @property
    def origin(self) -> str:
        """The package and version that provide it."""
        return f"{self.plugin.distribution} {self.plugin.version}"


class Registry:
    """The components of a set of plugins, and the rules that resolve a name among them.

    A bare name means, in this order: what the user pinned; a built-in's canonical name, then a
    built-in's alias; the only third-party component of that name, then of that alias. So installing
    a package never changes what a name means. A full id ``namespace/name`` is always exact.

    Args:
        plugins: Records as :func:`zoo.registry.discover` returns them.
        settings: The user's pins.
    """

    def __init__(
        self, plugins: Iterable[PluginRecord], *, settings: Settings | None = None
    ) -> None:
        self.plugins: tuple[PluginRecord, ...] = tuple(plugins)
        self._pins = {fold(key): value for key, value in (settings or Settings()).pins.items()}
        self._canonical: dict[tuple[str, str], list[Entry]] = {}
        self._aliases: dict[tuple[str, str], list[Entry]] = {}
        self._ordered: dict[str, list[Entry]] = {}
        for plugin in sorted(self.plugins, key=_rank):
            for component in plugin.components:
                entry = Entry(component, plugin)
                kind = component.kind
                self._ordered.setdefault(kind, []).append(entry)
                self._canonical.setdefault((kind, fold(component.name)), []).append(entry)
                for alias in component.aliases:
                    self._aliases.setdefault((kind, fold(alias)), []).append(entry)

    @classmethod
    def installed(cls, *, read: bool = True, builtins: bool = True) -> Registry:
        """Returns the registry of the plugins that are installed and not disabled.

        And of those that ``--plugin PATH`` or ``ZOO_PLUGIN_PATH`` names.

        Args:
            read: Whether plugins that the index does not know are read, in a child process.
            builtins: Whether zoo's own are among them.

        Raises:
            UsageError, PluginError: Such a path holds no plugin, or one that is broken.
        """
        settings = load_settings()
        # Two thousand records, all of which stay: the collector would go through them again and
        # again and find nothing, which is a twentieth of the time of zoo list.
        collecting = gc.isenabled()
        gc.disable()
        try:
            records = discover(settings, read=read, builtins=builtins)
        finally:
            if collecting:
                gc.enable()
        if paths := named_paths():
            from zoo.registry.local import local_plugins

            records += local_plugins(paths, records)
        return cls(records, settings=settings)

    def entries(self, kind: str, *, hidden: bool = False) -> Iterator[Entry]:
        """Yields the components of a kind, built-ins first; replaced ones only if ``hidden``."""
        for entry in self._ordered.get(_checked(kind), ()):
            if hidden or entry.component.replaced_by is None:
                yield entry

    def find(self, kind: str, name: str) -> Entry:
        """Returns the component that a name means.

        Raises:
            UnknownName: No component has that name or alias. The message lists close matches.
            AmbiguousName: Several plugins offer it and none of the rules prefers one.
        """
        if (entry := self.get(kind, name)) is not None:
            return entry
        raise self._unknown(kind, name)

    def get(self, kind: str, name: str) -> Entry | None:
        """Returns the component that a name means, or None.

        Raises:
            AmbiguousName: As :meth:`find`.
            UnknownName: The user has pinned it to a component that is not there.
        """
        namespace, _, bare = name.rpartition("/")
        pinned = None
        if not namespace:
            pinned = self._pins.get(fold(f"{_checked(kind)}/{bare}"))
            if pinned is not None:
                namespace, _, bare = pinned.rpartition("/")
        key = (_checked(kind), fold(bare))
        canonical, aliased = self._canonical.get(key, []), self._aliases.get(key, [])
        if namespace:
            both = (*canonical, *aliased)
            own = (entry for entry in both if fold(entry.plugin.namespace) == fold(namespace))
            if (entry := next(own, None)) is None and pinned is not None:
                raise _pinned_to_nothing(kind, name, pinned)
            return entry
        for rank in (_FIRST, _CATALOGUE, _THIRD_PARTY):
            for named in (canonical, aliased):
                candidates = [entry for entry in named if _rank(entry.plugin)[0] == rank]
                ordered = named is canonical and rank != _THIRD_PARTY
                if len(candidates) > 1 and not ordered:
                    raise _ambiguous(kind, name, candidates)
                if candidates:
                    return candidates[0]
        return None

    def builtin_names(self, kind: str) -> Iterator[str]:
        """Yields the names and aliases that zoo's own components of a kind have."""
        for entry in self._ordered.get(kind, ()):
            if entry.plugin.builtin:
                yield entry.component.name
                yield from entry.component.aliases

    def clashes(self) -> list[str]:
        """Returns a line for each bare name that resolves for nobody."""
        lines = []
        for kind, name in sorted({*self._canonical, *self._aliases}):
            try:
                self.get(kind, name)
            except (AmbiguousName, UnknownName) as error:
                lines.append(f"{error.what}: {error.found}")
        return lines

    def _unknown(self, kind: str, name: str) -> UnknownName:
        """Says what was asked, what is close, how many there are and who might have had it."""
        import difflib

        namespace, _, bare = name.rpartition("/")
        own = {fold(e.component.name): e for e in self.entries(kind)}
        words = {alias: entries[0] for (k, alias), entries in self._aliases.items() if k == kind}
        names = {word: entry.component.name for word, entry in {**words, **own}.items()}
        close = difflib.get_close_matches(fold(bare), names, n=4, cutoff=0.6)
        close += [w for w in names if fold(bare) and fold(bare) in w and w not in close][
            : 4 - len(close)
        ]
        found = f"{len(own):,} {plural(kind)}" if own else f"no {kind} at all"
        if close:
            found += "; close: " + ", ".join(dict.fromkeys(names[word] for word in close))
        if bare and namespace and (elsewhere := self._canonical.get((kind, fold(bare)))):
            found += "; " + ", ".join(entry.id for entry in elsewhere)
        absent = [p for p in self.plugins if p.status != "ok"]
        if absent:
            named = ", ".join(f"{p.namespace} ({p.status})" for p in absent[:4])
            found += f"; plugins that did not load and may have it: {named}"
        hint = f"zoo list {plural(kind)}" + (
            f" '*{printable(bare)[:12]}*'" if not close and bare else ""
        )
        return UnknownName(
            f"no {kind} is named {printable(name)!r}",
            found=found,
            hint=hint + ("; zoo doctor" if absent else ""),
        )


def _checked(kind: str) -> str:
    if kind not in KINDS:
        raise UsageError(f"there is no kind of component named {kind!r}", found=", ".join(KINDS))
    return kind


def _rank(plugin: PluginRecord) -> tuple[int, int, str, str]:
    order = (
        _PREFERENCE.index(plugin.namespace) if plugin.namespace in _PREFERENCE else len(_PREFERENCE)
    )
    group = _CATALOGUE if plugin.namespace in _CATALOGUES else _FIRST
    return (
        group if plugin.builtin else _THIRD_PARTY, order, fold(plugin.namespace),
        plugin.distribution,
    )  # fmt: skip


def _pinned_to_nothing(kind: str, name: str, pinned: str) -> UnknownName:
    return UnknownName(
        f"the {kind} {printable(name)!r} is pinned to {printable(pinned)}, which is not there",
        found=f"[pins] in {printable(settings_file())}",
        hint="take the pin out, or see what became of the plugin: zoo plugins list",
    )


def _ambiguous(kind: str, name: str, candidates: Sequence[Entry]) -> AmbiguousName:
    return AmbiguousName(
        f"the {kind} {printable(name)!r} is offered by {len(candidates)} plugins",
        found=", ".join(f"{entry.id} ({entry.origin})" for entry in candidates),
        hint=f"name one in full: {candidates[0].id}",
    )
