"""The compiled library that tests of it share."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.network.fast.native import DEPTHWISE, Kernels, compiled


def shared_kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """Returns the library, made once for all processes of a test run; skips where there is none."""
    base = tmp_path_factory.getbasetemp()
    parallel = base.parent if base.name.startswith("popen-") else base
    compilation = compiled(DEPTHWISE, Path(parallel, "own-code"))
    if compilation.kernels is None:
        pytest.skip(compilation.reason)
    return compilation.kernels
