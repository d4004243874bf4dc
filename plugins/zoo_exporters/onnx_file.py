"""A network as an ONNX file, opened again by ONNX Runtime.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.network.inference import to_onnx
from zoo.network.inference.forwards import OnnxForward

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

__all__ = ["OnnxExporter"]


class OnnxExporter:
    """One file, float32, weights inside; the input is ``images``, the output ``outputs``."""

    suffix = ".onnx"

    def __call__(self, network: nn.Module, example_BCHW: Tensor, target: Path) -> None:
        """Writes the file with torch's exporter that proves what it exports.

        Raises:
            PluginError: The network cannot be expressed in ONNX.
            MachineError: The file cannot be written.
        """
        to_onnx(network, example_BCHW, target)

    def load(self, target: Path) -> Callable[[Tensor], Tensor]:
        """Returns a session of ONNX Runtime as a function, with as many threads as torch has."""
        return OnnxForward(target.read_bytes())
