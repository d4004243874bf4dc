"""Reads the plain values and byte arrays in a pickle without running anything that it names.

``pickle.load`` calls whatever a file asks for, and is not used. :func:`pickletools.genops` only
lists the instructions; the few that build numbers, texts, lists, dicts and uint8 arrays of NumPy
are carried out here, and any other name of a function or class is refused. Python's own
documentation of the instructions is the docstring of each entry of ``pickletools.opcodes``.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError, RefusedError, printable

__all__ = ["Plain", "read_pickle"]

Plain: TypeAlias = (
    "bool | int | float | str | bytes | NDArray[np.uint8]"
    " | list[Plain] | tuple[Plain, ...] | dict[str | bytes | int, Plain] | None"
)
"""What a file can hold. Texts of Python 2 are ``str``, a character a byte."""

_T = TypeVar("_T")


@dataclass(slots=True)
class _Name:
    """A function or class that the file names. Never imported."""

    path: str


@dataclass(slots=True)
class _Array:
    """An array that the file asks to be made, before and after it is filled."""

    values: NDArray[np.uint8] | None = None


@dataclass(slots=True)
class _Type:
    """A dtype, by the text that stands for it."""

    code: object


_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy")
_MAKERS: Mapping[str, str] = {
    **{f"{module} _reconstruct": "array" for module in _NUMPY},
    "numpy ndarray": "class",
    "numpy dtype": "type",
    "_codecs encode": "bytes",
}
"""All that a file may name, and what is done in its place."""


@dataclass(slots=True)
class _Machine:
    """The stack of a pickle that is read."""

    stack: list[object] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, object] = field(default_factory=dict)

    def since_mark(self) -> list[object]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def take(self, count: int) -> list[object]:
        if len(self.stack) < count:
            raise ValueError("an instruction without its arguments")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items


def read_pickle(content: bytes, *, name: str) -> Plain:
    """Returns the value in a pickle of plain values and NumPy arrays of bytes.

    Args:
        content: The whole file.
        name: What a person calls the file. Messages show it.

    Raises:
        RefusedError: It names a function or class other than those of NumPy's own arrays.
        DataError: It is damaged, or holds something else.

    >>> import pickle
    >>> read_pickle(pickle.dumps({"labels": [3, 1]}), name="batch")
    {'labels': [3, 1]}
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                (result,) = machine.take(1)
                return _finished(result, {})
            _step(machine, opcode.name, argument, name)
        reason = "no end"
    except RefusedError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged file makes of list and dict operations
        reason = f"{type(error).__name__}: {error}"
    raise DataError(
        f"{printable(name)} is not a pickle of plain values and byte arrays",
        found=printable(reason)[:200],
        hint="download it again",
    )


_CONSTANTS: Mapping[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_LITERALS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING"}
    | {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
)
_TUPLES: Mapping[str, int] = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _step(machine: _Machine, opcode: str, argument: object, name: str) -> None:
    """Carries out one instruction."""
    stack = machine.stack
    if opcode in _LITERALS:
        stack.append(argument)
    elif opcode in _CONSTANTS:
        stack.append(_CONSTANTS[opcode]())
    elif opcode in ("PROTO", "FRAME"):
        pass
    elif opcode == "MARK":
        machine.marks.append(len(stack))
    elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
        machine.memo[_integer(argument)] = stack[-1]
    elif opcode == "MEMOIZE":
        machine.memo[len(machine.memo)] = stack[-1]
    elif opcode in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(machine.memo[_integer(argument)])
    elif opcode in _TUPLES:
        stack.append(tuple(machine.take(_TUPLES[opcode])))
    elif opcode == "TUPLE":
        stack.append(tuple(machine.since_mark()))
    elif opcode == "LIST":
        stack.append(machine.since_mark())
    elif opcode == "DICT":
        stack.append(_pairs(machine.since_mark()))
    elif opcode in ("APPEND", "APPENDS"):
        items = machine.take(1) if opcode == "APPEND" else machine.since_mark()
        _expect(stack[-1], list).extend(items)
    elif opcode in ("SETITEM", "SETITEMS"):
        items = machine.take(2) if opcode == "SETITEM" else machine.since_mark()
        _expect(stack[-1], dict).update(_pairs(items))
    elif opcode == "GLOBAL":
        stack.append(_named(str(argument), name))
    elif opcode == "STACK_GLOBAL":
        module, attribute = machine.take(2)
        stack.append(_named(f"{module} {attribute}", name))
    elif opcode == "REDUCE":
        function, arguments = machine.take(2)
        stack.append(_made(_expect(function, _Name), _expect(arguments, tuple)))
    elif opcode == "BUILD":
        (state,) = machine.take(1)
        _fill(stack[-1], _expect(state, tuple))
    else:
        raise ValueError(f"the instruction {opcode}")


def _named(path: str, name: str) -> _Name:
    """Returns the name, if it is one that may be there."""
    if path not in _MAKERS:
        raise RefusedError(
            f"{printable(name)} asks for {printable(path.replace(' ', '.', 1))} to be run",
            found="a pickle that holds more than numbers, texts and arrays",
            hint="do not trust this file; a clean one is at the data set's own site",
        )
    return _Name(path)


def _made(function: _Name, arguments: tuple[object, ...]) -> object:
    """Returns what stands for the result of a call. Nothing is called."""
    kind = _MAKERS[function.path]
    if kind == "array":
        return _Array()
    if kind == "type":
        return _Type(arguments[0])
    if kind == "bytes" and arguments[1:] in (("latin1",), ("latin-1",)):
        return str(arguments[0]).encode("latin-1")
    raise ValueError(f"a call of {function.path}")


def _fill(target: object, state: tuple[object, ...]) -> None:
    """Gives an array its shape and bytes. The state of a dtype, its byte order, says nothing."""
    if isinstance(target, _Type):
        return
    if not isinstance(target, _Array):
        raise ValueError("a state for something that is no array")
    _, shape, kind, fortran, raw = state
    if not isinstance(kind, _Type) or kind.code not in ("u1", b"u1"):
        raise ValueError("an array of something other than unsigned bytes")
    content = raw.encode("latin-1") if isinstance(raw, str) else _expect(raw, bytes)
    sizes = tuple(_integer(size) for size in _expect(shape, tuple))
    values = np.frombuffer(content, dtype=np.uint8)
    target.values = values.reshape(sizes, order="F") if fortran else values.reshape(sizes)


def _finished(value: object, done: dict[int, Plain]) -> Plain:
    """Returns the value with its arrays in place, so that nothing of this file's own is left.

    Args:
        value: What the stack holds.
        done: Results by identity. What is held twice is finished once: a small file can hold a
            list of lists of lists that would never end otherwise.
    """
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if id(value) in done:
        return done[id(value)]
    result: Plain
    if isinstance(value, _Array) and value.values is not None:
        result = value.values
    elif isinstance(value, dict):
        result = {key: _finished(item, done) for key, item in value.items()}
    elif isinstance(value, list):
        result = [_finished(item, done) for item in value]
    elif isinstance(value, tuple):
        result = tuple(_finished(item, done) for item in value)
    else:
        raise ValueError("an unfinished array or a bare name")
    done[id(value)] = result
    return result


def _pairs(items: list[object]) -> dict[object, object]:
    """Returns a dict of texts. No other keys: the hash of a nested tuple can take for ever."""
    if not all(isinstance(key, str | bytes | int) for key in items[::2]):
        raise ValueError("a key that is no text")
    return dict(zip(items[::2], items[1::2], strict=True))


def _integer(value: object) -> int:
    if not isinstance(value, int | str):
        raise ValueError("a number was expected")
    return int(value)


def _expect(value: object, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise ValueError(f"{type(value).__name__} instead of {kind.__name__}")
    return value
