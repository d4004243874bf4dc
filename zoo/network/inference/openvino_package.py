"""The package openvino, imported without what counts its users.

The package counts them: importing it loads ``openvino.tools.ovc``, which writes a client's number
into the home folder and reports the import to a server, unless the package ``openvino-telemetry``
is missing (openvino 2026.4). So here it is missing while that is imported. The runtime itself sends
nothing and writes nothing.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from zoo.hiding import hidden

if TYPE_CHECKING:
    import openvino

__all__ = ["core", "opset", "package"]

_TELEMETRY = "openvino_telemetry"


def package() -> ModuleType:
    """Returns the package."""
    with hidden(_TELEMETRY):
        return import_module("openvino")


@cache
def opset() -> ModuleType:
    """Returns the operators that graphs are made of, one set of them whatever version is there."""
    package()
    return import_module("openvino.opset14")


@cache
def core() -> openvino.Core:
    """Returns OpenVINO's core, the same for as long as the process lives.

    Its CPU plugin gives the thread that loads it another stack for signals. When the last core goes
    in another thread that stack is freed while it is in use, and the next signal, an interrupt for
    instance, ends the process (openvino 2026.4).
    """
    made: openvino.Core = package().Core()
    return made
