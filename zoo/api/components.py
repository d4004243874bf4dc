"""What there is to choose from."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.plugin import fold
from zoo.registry import Entry, Registry

__all__ = ["list_components"]


def list_components(
    kind: str,
    pattern: str | None = None,
    *,
    plugin: str | None = None,
    tags: Iterable[str] = (),
    registry: Registry | None = None,
) -> list[Entry]:
    """Returns the components of a kind. ``zoo list``. Imports no torch.

    Args:
        kind: One of :data:`zoo.plugin.KINDS`.
        pattern: A glob such as ``*resnet*``, or a part of the name or of an alias.
        plugin: Only those of this namespace or distribution.
        tags: Only those that have all of these tags.
        registry: The components to choose from; by default all that are installed.
    """
    from fnmatch import fnmatchcase

    wanted = {tag.lower() for tag in tags}
    glob = fold(pattern or "")
    if glob and not set(glob) & set("*?["):
        glob = f"*{glob}*"
    found = []
    for entry in (registry or Registry.installed()).entries(kind):
        component = entry.component
        names = (component.name, entry.id, *component.aliases)
        owners = (fold(entry.plugin.namespace), fold(entry.plugin.distribution))
        if (
            (not glob or any(fnmatchcase(fold(name), glob) for name in names))
            and (plugin is None or fold(plugin) in owners)
            and wanted <= {tag.lower() for tag in component.tags}
        ):
            found.append(entry)
    return found
