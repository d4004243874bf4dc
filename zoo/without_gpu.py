"""Torch is loaded without Triton where there is no GPU for it to compile for.

Torch looks whether Triton is there by importing it, when its compiler is imported, and that comes
with torchvision and with the first step of an optimizer: 75 MiB and 0.2 s for nothing (torch
2.14.1, triton 3.8, AMD EPYC). Torch compiles for a CPU without it.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from zoo.hiding import hidden

__all__ = ["spare_triton"]


def spare_triton() -> None:
    """Has torch take Triton for missing, if torch is loaded and there is no GPU.

    Others can import it as ever. Where it is imported already, or torch looks in another way,
    nothing happens.
    """
    torch = sys.modules.get("torch")
    if torch is None or torch.cuda.is_available() or torch.xpu.is_available():
        return
    with suppress(ImportError, AttributeError), hidden("triton"):
        from torch.utils._triton import has_triton_package

        has_triton_package()  # which remembers what it found
