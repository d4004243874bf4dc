"""The compiled libraries that tests of them share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zoo.network.fast.native import DEPTHWISE, LINEAR, Kernels, LinearKernels, compiled
from zoo.network.fast.native.compiler import Code


def shared_kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """Returns the library for depthwise convolutions; skips where there is none."""
    return _shared(DEPTHWISE, tmp_path_factory)


def shared_linear_kernels(tmp_path_factory: pytest.TempPathFactory) -> LinearKernels:
    """Returns the library for linear heads; skips where there is none."""
    return _shared(LINEAR, tmp_path_factory)


def _shared(code: Code[Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Returns a library, made once for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    parallel = base.parent if base.name.startswith("popen-") else base
    compilation = compiled(code, Path(parallel, "own-code"))
    if compilation.kernels is None:
        pytest.skip(compilation.reason)
    return compilation.kernels
