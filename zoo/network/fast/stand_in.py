"""What is put in the place of a module's method."""

from __future__ import annotations

import weakref
from typing import Any, Generic, TypeVar

from torch import nn

__all__ = ["StandIn"]

_Module = TypeVar("_Module", bound=nn.Module)


class StandIn(Generic[_Module]):
    """Stands in for a method of one module, which holds it.

    It does not hold the module in turn. Python frees such a ring only when it searches for garbage,
    which is rare while runs last: the weights of every run of a sweep stayed in memory until then.
    An object and no closure: copied or pickled with its module it is the copy's.

    Args:
        module: The module.
        method: The method's name.
    """

    __slots__ = ("_module", "method")

    def __init__(self, module: _Module, method: str) -> None:
        self._module, self.method = weakref.ref(module), method

    @property
    def module(self) -> _Module:
        """The module."""
        module = self._module()
        assert module is not None  # it is what calls
        return module

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.module, self.method)
