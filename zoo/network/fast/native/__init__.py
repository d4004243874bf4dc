"""zoo's own C: a depthwise convolution between two activations, for training steps on the CPU.

The machine's compiler makes it when it is first needed. Without one, on a processor that it was not
measured on, or with threads other than GNU OpenMP's, torch computes the layers as it does anyway.

    depthwise.h, forward.c, backward.c    the code, and what it does
    compiler.py                           makes the library, or finds it
    kernels.py                            calls it
"""

from __future__ import annotations

from zoo.network.fast.native.compiler import Compilation, compiled
from zoo.network.fast.native.kernels import Kernels, Layer

__all__ = ["Compilation", "Kernels", "Layer", "compiled"]
