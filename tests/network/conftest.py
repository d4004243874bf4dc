"""What tests of networks share."""

from __future__ import annotations

import pytest

from tests.network.native_kernels import shared_kernels
from zoo.network.fast.native import Kernels


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """zoo's own C, compiled."""
    return shared_kernels(tmp_path_factory)
