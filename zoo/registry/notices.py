"""What a user is told once about a component that was chosen: it works, and there is something.

Told as Python warnings, so that a program can catch them; the command line prints each as one line.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from zoo.errors import printable
from zoo.plugin import Value
from zoo.registry.imitations import imitated

if TYPE_CHECKING:
    from zoo.registry.names import Entry

__all__ = ["RegistryWarning", "tell_of"]


class RegistryWarning(UserWarning):
    """A chosen component or argument is on its way out, or its name looks like another one's."""


def tell_of(entry: Entry, given: Mapping[str, Value], builtin_names: Iterable[str]) -> None:
    """Warns of a component that was chosen by name: of each thing once, in one line.

    Args:
        entry: The component.
        given: The arguments that were set.
        builtin_names: The names that zoo's own components of the kind have.
    """
    component = entry.component
    if component.replaced_by is not None:
        _tell(f"the {component.kind} {entry.id} is replaced by {component.replaced_by}")
    for param in component.params:
        if param.name in given and param.deprecated:
            since, colon, instead = param.deprecated.partition(":")
            told = f"since {since.strip()}: {instead.strip()}" if colon else f": {since}"
            _tell(f"{param.name} of the {component.kind} {entry.id} is deprecated {told}")
    if not entry.plugin.builtin:
        looks_like = imitated(component.name, builtin_names)
        if looks_like is not None:
            _tell(
                f"the {component.kind} {entry.id} of {entry.origin} is named much like zoo's own "
                f"{looks_like}, and is another one"
            )


def _tell(text: str) -> None:
    # Always from this line: Python tells a text once for each place that it comes from.
    warnings.warn(printable(text), RegistryWarning, stacklevel=1)
