"""Nodes of OpenVINO's graphs that many operators are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.network.inference.openvino_package import opset

__all__ = ["NotRecorded", "constant", "node_of", "reshaped", "whole"]


class NotRecorded(Exception):
    """A network does something that cannot be recorded. The message says what."""


def constant(tensor: Tensor) -> Any:
    """Returns a node with a tensor's values, which OpenVINO copies: they may change later.

    It can share them, too; then the last thread to let go of them, one of its own, would count
    Python's references without Python's lock.
    """
    if tensor.dtype not in (torch.float32, torch.int64, torch.int32, torch.bool):
        raise NotRecorded(f"constants of {tensor.dtype}")
    return opset().constant(tensor.detach().contiguous().numpy())


def whole(values: Sequence[int]) -> Any:
    """Returns a node of whole numbers."""
    return opset().constant(np.asarray(values, dtype=np.int64))


def node_of(value: Any) -> Any:
    """Returns a node, or a number as a node."""
    return opset().constant(np.float32(value)) if isinstance(value, int | float) else value


def reshaped(node: Any, shape: Sequence[int]) -> Any:
    """Returns a node's numbers in another shape, one side of which may be -1."""
    return opset().reshape(node, whole(shape), special_zero=False)
