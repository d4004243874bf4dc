"""Copies from the processor's memory to the device that no step waits for."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["to_device"]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns the tensor on the device: itself where it is there already.

    CUDA copies beside the computation only out of page-locked memory; from any other the host
    waits. torch keeps such memory for the next copy, and knows when this one is over.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
