"""zoo's own C for training steps on the CPU: layers of mobile networks, and a linear head.

The machine's compiler makes it when it is first needed. Without one, on a processor that it was not
measured on, or with threads other than GNU OpenMP's, torch computes the layers as it does anyway.

    lanes.h                                  vectors
    depthwise.h, forward.c, backward.c       a depthwise convolution between two activations,
    norms.h                                  and the batch norms before those
    squeeze.c                                squeeze and excitation
    linear.c                                 a linear layer and a loss of the softmax, in one call
    compiler.py                              makes a library, or finds it
    kernels.py, linear.py                    call them
"""

from __future__ import annotations

from zoo.network.fast.native.compiler import Compilation, compiled
from zoo.network.fast.native.kernels import DEPTHWISE, Kernels, Layer
from zoo.network.fast.native.linear import LINEAR, AdamSteps, LinearKernels, Tuned

__all__ = [
    "DEPTHWISE",
    "LINEAR",
    "AdamSteps",
    "Compilation",
    "Kernels",
    "Layer",
    "LinearKernels",
    "Tuned",
    "compiled",
]
