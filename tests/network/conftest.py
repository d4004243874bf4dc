"""What tests of networks share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.network.block_networks import Taken
from tests.network.native_kernels import shared_kernels, shared_linear_kernels
from zoo.network.fast import blocks
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


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """The depthwise blocks that are computed in C."""
    seen = Taken()
    real = blocks.depthwise_block

    def spy(*tensors: Tensor, **block: Any) -> Tensor:
        seen.append((block["before"], block["after"]))
        seen.norms.append(tuple(block[side] is not None for side in ("norm_before", "norm_after")))
        return real(*tensors, **block)

    monkeypatch.setattr(blocks, "depthwise_block", spy)
    return seen
