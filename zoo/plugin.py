"""All that a plugin author imports to declare components. Standard library and pluggy only.

A plugin is a light module behind an entry point of the group ``zoo.v1``; the entry point's name
is the plugin's namespace. The module has one hook that yields records, and imports nothing heavy:

    from zoo.plugin import Component, Param, hookimpl

    @hookimpl
    def zoo_components():
        yield Component(
            kind="scheduler",
            name="triangle",
            target="acme_zoo.schedules:triangle",
            summary="Triangular cyclical learning rate (Smith 2017)",
            params=(Param(name="period", type="int", default=10, minimum=1),),
            shorthand=("period",),
        )

What a target must be, kind by kind, stands in :mod:`zoo.protocols`.

The group's number is the major version of all of this. Within it things are added, and nothing is
taken away without two minor versions of warning: an argument of a component through
``Param(deprecated="0.3: use period")``, a component through ``replaced_by``, an argument of a hook
through the ``warn_on_impl_args`` of its specification, a fact through a note in the change log and
a warning where it is asked for. What cannot be done that way waits for ``zoo.v2``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

import pluggy

__all__ = [
    "API_GROUP",
    "KINDS",
    "Component",
    "Kind",
    "Param",
    "Value",
    "fold",
    "hookimpl",
    "plural",
]

API_GROUP = "zoo.v1"
"""Entry-point group. The number is the major version of everything in this module."""

Kind: TypeAlias = Literal[
    "model",
    "head",
    "loss",
    "optimizer",
    "scheduler",
    "transform",
    "dataset",
    "metric",
    "explainer",
    "projector",
    "reviewer",
    "callback",
    "exporter",
    "recipe",
    "command",
]
KINDS: tuple[str, ...] = get_args(Kind)

Value: TypeAlias = "bool | int | float | str | tuple[bool | int | float | str | None, ...] | None"
"""What an argument can be: what a spec string or a TOML file can say."""

ParamType: TypeAlias = Literal["bool", "int", "float", "str", "int list", "float list"]

hookimpl = pluggy.HookimplMarker("zoo")
_hookspec = pluggy.HookspecMarker("zoo")

_NAME = re.compile(r"[a-z0-9]+(?:[_.-]+[a-z0-9]+)*", re.IGNORECASE)
_TARGET = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def plural(kind: str) -> str:
    """Returns ``models`` for ``model``.

    >>> plural("loss")
    'losses'
    """
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


def fold(name: str) -> str:
    """Returns the form under which names are compared: lower case, ``-`` and ``_`` as one.

    >>> fold("ViT_B-16")
    'vit-b-16'
    """
    return name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One argument of a component, as a user may set it.

    Args:
        name: The target's keyword argument.
        type: What it accepts. An ``int`` is accepted where a ``float`` is asked.
        default: Its value when it is not given.
        summary: One line of help.
        minimum: Smallest allowed value (of each item of a list), itself allowed.
        maximum: Largest allowed value, itself allowed.
        above: Largest value that is *not* allowed: values must be greater.
        below: Smallest value that is *not* allowed: values must be smaller.
        choices: The only allowed values, if any.
        optional: Whether ``none`` is allowed.
        deprecated: Since when and what to set instead, as ``"0.3: use period"``. Setting it works
            and says so. It goes two minor versions later at the earliest.
    """

    name: str
    type: ParamType = "float"
    default: Value = None
    summary: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[Value, ...] = ()
    optional: bool = False
    deprecated: str = ""

    @property
    def range(self) -> str:
        """The allowed values in words, empty when every value of the type is allowed."""
        if self.choices:
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        bounds = (
            ("at least", self.minimum),
            ("above", self.above),
            ("at most", self.maximum),
            ("below", self.below),
        )
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One named part that a plugin provides. Data only: nothing is imported to declare it.

    Args:
        kind: One of :data:`KINDS`.
        name: ``[a-z0-9]+([_.-][a-z0-9]+)*``, compared without case, ``-`` and ``_`` as one.
        target: ``package.module:attribute``, imported when the component is chosen.
        summary: One line that says what it is, with the paper or origin.
        aliases: Other names. A canonical name always beats an alias.
        tags: Words to filter a list by.
        params: The arguments that a user may set.
        shorthand: Names of the params that ``NAME-VALUE-VALUE`` sets, in order.
        preset: Arguments of the target that this name stands for and no user sets, for example
            the architecture when one target builds a whole family.
        requires: Top-level packages that must be importable, for components of an extra.
        replaced_by: The name to use instead. Such a component works and is hidden from lists.

    Raises:
        ValueError: A name, target or shorthand that is not legal. The message names the field.
    """

    kind: str
    name: str
    target: str
    summary: str = ""
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    params: tuple[Param, ...] = ()
    shorthand: tuple[str, ...] = ()
    preset: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    requires: tuple[str, ...] = ()
    replaced_by: str | None = None

    def __post_init__(self) -> None:
        for name in (self.name, *self.aliases):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ValueError(
                    f"{self.kind} name {name!r} is not letters and digits joined by - _ ."
                )
        if not isinstance(self.target, str) or not _TARGET.fullmatch(self.target):
            raise ValueError(
                f"{self.name}: target {self.target!r} is not 'package.module:attribute'"
            )
        declared = {param.name for param in self.params}
        if missing := [name for name in self.shorthand if name not in declared]:
            raise ValueError(f"{self.name}: shorthand names {missing}, which params do not declare")
        if clash := declared & set(self.preset):
            raise ValueError(f"{self.name}: {sorted(clash)} are both params and preset")


class HookSpec:
    """The hooks that a plugin may implement. There is one.

    A hook's argument that is to go is named in ``_hookspec(warn_on_impl_args={"name": warning})``
    for two minor versions: pluggy then warns with the plugin that still asks for it.
    """

    @_hookspec
    def zoo_components(self) -> Iterable[Component]:  # type: ignore[empty-body]  # a specification
        """Yields the components of this plugin, in the order in which lists show them."""
