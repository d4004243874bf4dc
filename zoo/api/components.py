"""What there is to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.api.settings import several
from zoo.errors import UsageError
from zoo.plugin import fold
from zoo.registry import Entry, Registry

__all__ = ["NewPlugin", "list_components", "new_plugin"]


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

    wanted = {tag.lower() for tag in several(tags)}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPlugin:
    """A plugin that was just written.

    Args:
        path: Its folder.
        distribution: Its name to pip.
        namespace: Its name to zoo.
        files: What is in the folder, paths below it.
        commands: What to type next, from the folder above.
        notes: What its author should know about the name.
    """

    path: Path
    distribution: str
    namespace: str
    files: tuple[str, ...]
    commands: tuple[str, ...]
    notes: tuple[str, ...] = ()


def new_plugin(
    name: str, kinds: Sequence[str], *, path: str | Path | None = None, author: str = ""
) -> NewPlugin:
    """Writes the package of a new plugin, with a working component of each kind and its tests.

    ``zoo plugins new``. Imports no torch, and no code of an installed plugin.

    Args:
        name: Of the distribution: ``zoo-acme`` or ``acme``.
        kinds: Of :data:`zoo.plugin.KINDS`, at least one.
        path: The folder to write, which does not exist or is empty; by default ``name``.
        author: ``Name`` or ``Name <address>``.

    Raises:
        UsageError: A name or kind that will not do; the message lists every problem.
        RefusedError: There is something in the folder already.
        MachineError: The folder cannot be written.
    """
    from zoo.plugin import KINDS
    from zoo.scaffold import (
        check_target,
        derive,
        new_commands,
        notes_on,
        problems_with,
        render,
        write_folder,
    )

    kinds = several(kinds)
    chosen = [kind for kind in KINDS if kind in kinds]
    if unknown := sorted(set(kinds) - set(KINDS)) or not chosen:
        raise UsageError(
            f"there is no kind {unknown[0]!r}" if unknown is not True else "no kind was given",
            found=", ".join(KINDS),
        )
    names = derive(name)
    if problems := problems_with(names):
        raise UsageError.together(problems)
    target = Path(path) if path is not None else Path(names.distribution)
    check_target(target)
    files = render(names, chosen, author=author)
    write_folder(target, files)
    return NewPlugin(
        path=target, distribution=names.distribution, namespace=names.namespace,
        files=tuple(files), commands=new_commands(target, chosen), notes=tuple(notes_on(names)),
    )  # fmt: skip
