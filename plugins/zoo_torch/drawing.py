"""What the transforms share: choices drawn from uniform numbers, and their shapes.

What happens to a sample is the same, bit for bit, in whatever batch it is. So transforms copy
pixels and use arithmetic that IEEE 754 rounds correctly (sums, products, quotients, square roots),
and take their means as sums of integers. No fused operation (``add(alpha=)``, ``lerp``), no float
reduction, no sine or logarithm: the last bit of those may depend on where in a vector register a
sample lies.

B batch, S side.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["inside", "interval", "per_image", "power", "spread", "within"]


def per_image(values_B: Tensor) -> Tensor:
    """Returns the values with shape (B, 1, 1, 1)."""
    return values_B[:, None, None, None]


def spread(random_B: Tensor, most: float) -> Tensor:
    """Returns uniform numbers in [-most, most) from uniform numbers in [0, 1)."""
    return (2 * random_B - 1) * most


def within(random_B: Tensor, smallest: float, largest: float) -> Tensor:
    """Returns uniform numbers in [smallest, largest) from uniform numbers in [0, 1)."""
    return smallest + (largest - smallest) * random_B


def power(random_B: Tensor, smallest: float, largest: float) -> Tensor:
    """Returns numbers in [smallest, largest) whose logarithm is uniform.

    ``exp(x)`` is ``((1 + x/128) / (1 - x/128))^64``, which needs arithmetic alone. Its relative
    error is ``|x|^3 / 49152``: 4e-6 from 3/4 to 4/3.
    """
    step_B = random_B * (math.log(largest / smallest) / 128)
    result_B = (1 + step_B) / (1 - step_B)
    for _ in range(6):
        result_B = result_B * result_B
    return smallest * result_B


def inside(side: int, start_B: Tensor, length_B: Tensor) -> Tensor:
    """Returns inside_BS: whether each pixel's centre lies in [start, start + length)."""
    centre_S = torch.arange(side).to(start_B) + 0.5
    return (centre_S >= start_B[:, None]) & (centre_S < (start_B + length_B)[:, None])


def interval(values: Sequence[float], *, name: str, of: str) -> tuple[float, float]:
    """Returns the two ends that a component was given, smaller first.

    Raises:
        UsageError: Not two numbers, or the first is the greater one.
    """
    if len(values) != 2 or values[0] > values[1]:
        shown = ",".join(f"{value:g}" for value in values)
        raise UsageError(
            f"{of}: {name} must be two numbers, the smaller first",
            found=f"{name}=[{shown}]",
            hint=f"zoo show transform {of}",
        )
    return float(values[0]), float(values[1])
