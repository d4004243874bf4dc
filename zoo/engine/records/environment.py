"""What a run was made with: versions and machine, without names of people, hosts or paths."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from zoo.runs.provenance import installed_version

__all__ = ["environment"]

_PACKAGES = (
    "classifier-zoo", "torch", "torchvision", "timm", "accelerate", "safetensors", "numpy",
    "pillow", "pytorch-optimizer",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Returns versions, processor, devices and threads as plain data."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor_count": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cuda_devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {name: installed_version(name) for name in _PACKAGES},
    }
