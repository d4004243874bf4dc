"""torch's compiler is not imported by what only mentions it.

To import it takes nearly as long as torch, 150 MiB and 900 modules (torch 2.14.1: 2.7 s of the
processor beside torch's 3.0, AMD EPYC), and a run that compiles nothing asks it for nothing. Some
mention it all the same: torchvision, for a function that it calls where it has no kernel of its
own; timm, torch's optimizers and its dispatch modes, for functions that are not to be compiled.
Whoever uses it has it as ever: when it is imported, all is put back (ADR 32).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["compiler_spared", "spare_methods"]

_COMPILER, _UTILITIES = "torch._dynamo", "torch._dynamo.utils"
_MENTIONING = "torchvision.ops.roi_align"
_CACHED = "__dynamo_disable"
"""Where :mod:`torch._compile` keeps a function as the compiler has made it, and looks first."""


@contextmanager
def compiler_spared() -> Iterator[None]:
    """Lets torchvision and timm be imported without torch's compiler inside the block.

    Optimizers of torch ask for it no more afterwards. Where torch is not imported before the block
    that holds for torchvision alone; where the compiler is, nothing is changed.
    """
    if _COMPILER in sys.modules:
        yield
        return
    _watch.begin()
    if (optim := sys.modules.get("torch.optim")) is not None:
        spare_methods(optim.Optimizer)
    with _disabling_later():
        yield


class _Watch(MetaPathFinder):
    """Sees the compiler imported, and the module that mentions it, which has a stand-in for it."""

    def __init__(self) -> None:
        self._to_put_back: list[Callable[[], None]] = []

    def begin(self, *, put_back: Callable[[], None] | None = None) -> None:
        """Watches what is imported from here on, and is told what to do then."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        if put_back is not None:
            self._to_put_back.append(put_back)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns how one of the two is loaded; None leaves it to others."""
        around = {_COMPILER: self._put_back, _MENTIONING: _with_stand_in}.get(fullname)
        if around is None or _COMPILER in sys.modules:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module
            # The loader stays Python's own: the module's source is found through it.
            spec.loader.exec_module = (  # type: ignore[method-assign]
                lambda module: around(execute, module)
            )
        return spec

    def _put_back(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        execute(module)
        for put_back in self._to_put_back:
            put_back()
        self._to_put_back.clear()


_watch = _Watch()


def _with_stand_in(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Executes a module with a stand-in for a function, which imports the compiler when called."""

    def is_compile_supported(device_type: str) -> bool:
        leave()
        from torch._dynamo.utils import is_compile_supported

        return bool(is_compile_supported(device_type))

    def leave() -> None:
        if sys.modules.get(_UTILITIES) is stand_in:
            del sys.modules[_UTILITIES]

    stand_in = ModuleType(_UTILITIES)
    vars(stand_in)["is_compile_supported"] = is_compile_supported
    sys.modules[_UTILITIES] = stand_in
    try:
        execute(module)
    except ImportError:  # it asks for more
        leave()
        execute(module)
    finally:
        leave()


@contextmanager
def _disabling_later() -> Iterator[None]:
    """Has ``torch.compiler.disable`` wait for the compiler inside the block, if torch is loaded."""
    torch = sys.modules.get("torch")
    # Where it is replaced already, another thread is in such a block.
    if torch is None or isinstance(torch.compiler.disable, functools.partial):
        yield
        return
    disable = torch.compiler.disable
    torch.compiler.disable = functools.partial(_disabled_later, disable)
    try:
        yield
    finally:
        torch.compiler.disable = disable


def _disabled_later(
    disable: Callable[..., Any], fn: Any = None, recursive: bool = True, *, reason: Any = None
) -> Any:
    """Does what torch's ``disable`` does, to a function once the compiler is there.

    Args:
        disable: torch's own.
        fn: What is not to be compiled; None returns a decorator.
        recursive: Whether what it calls is not to be, either.
        reason: Why.
    """
    if fn is None:
        return functools.partial(_disabled_later, disable, recursive=recursive, reason=reason)
    if _COMPILER in sys.modules or not isinstance(fn, FunctionType):
        return disable(fn, recursive, reason=reason)
    called: Callable[..., Any] = fn

    @functools.wraps(fn)
    def spared(*args: Any, **kwargs: Any) -> Any:
        return called(*args, **kwargs)

    def put_back() -> None:
        nonlocal called
        called = disable(fn, recursive, reason=reason)

    _watch.begin(put_back=put_back)
    return spared


def spare_methods(owner: type) -> None:
    """Has methods of a class that are not to be compiled called as they are.

    torch wraps them in a function that imports the compiler, to have them left out. Without it
    there is nothing to leave them out of.

    Args:
        owner: A class whose methods torch has wrapped: an optimizer, or what sees operators.
    """
    if _COMPILER in sys.modules:
        return
    for method in vars(owner).values():
        if isinstance(method, FunctionType) and (
            method.__globals__.get("__name__") == "torch._compile"
        ):
            plain = getattr(method, "__wrapped__", None)
            if plain is not None and not hasattr(plain, _CACHED):
                setattr(plain, _CACHED, plain)
                _watch.begin(put_back=functools.partial(delattr, plain, _CACHED))
