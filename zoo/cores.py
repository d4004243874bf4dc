"""What this process may compute with."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

__all__ = ["may_have_gpu", "num_cores"]

_DRIVERS = ("/dev/nvidiactl", "/dev/kfd")
# Of NVIDIA's and AMD's, on Linux.


def num_cores() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def may_have_gpu() -> bool:
    """Returns whether there may be a GPU to compute on. Torch would know, but takes seconds."""
    if sys.platform == "darwin":
        return True
    return shutil.which("nvidia-smi") is not None or any(Path(name).exists() for name in _DRIVERS)
