"""What tests of networks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.network.native_kernels import shared_kernels, shared_linear_kernels
from zoo.network.fast.native import Kernels, LinearKernels


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """zoo's own C, compiled."""
    return shared_kernels(tmp_path_factory)


@pytest.fixture(scope="session")
def linear_kernels(tmp_path_factory: pytest.TempPathFactory) -> LinearKernels:
    """zoo's own C for linear heads, compiled."""
    return shared_linear_kernels(tmp_path_factory)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Computes with one thread and the same random numbers each time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)
