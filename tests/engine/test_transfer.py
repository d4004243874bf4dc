"""Copies to a device. What CUDA does with them cannot be run here; how they are asked for can."""

from __future__ import annotations

import torch

from zoo.engine.transfer import to_device


def test_a_tensor_that_is_there_is_itself():
    tensor = torch.arange(4)
    assert to_device(tensor, torch.device("cpu")) is tensor


def test_a_copy_to_cuda_leaves_page_locked_memory_without_waiting():
    asked = []

    class Told:
        device = torch.device("cpu")

        def pin_memory(self):
            asked.append("pinned")
            return self

        def to(self, device, non_blocking=False):
            asked.append((device.type, non_blocking))
            return self

    to_device(Told(), torch.device("cuda", 1))
    assert asked == ["pinned", ("cuda", True)]
