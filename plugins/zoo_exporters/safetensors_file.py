"""The weights of a network as a safetensors file, with the classes in its header.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

    from zoo.protocols import Preprocessing

__all__ = ["SafetensorsExporter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsExporter:
    """One file of named tensors. There is no network in it: whoever opens it builds that.

    Args:
        classes: Their names, position is index.
        preprocessing: How images become what the network takes.
        rebuild: Builds the network with random weights.
    """

    classes: tuple[str, ...]
    preprocessing: Preprocessing
    rebuild: Callable[[], nn.Module]

    @property
    def suffix(self) -> str:
        """The ending of the file."""
        return ".safetensors"

    def __call__(self, network: nn.Module, example_BCHW: Tensor, target: Path) -> None:
        """Writes the state dict; classes and preprocessing go into the header as JSON."""
        # Copies: tensors that share memory, as tied weights do, are refused.
        state = {
            name: tensor.detach().clone(memory_format=torch.contiguous_format)
            for name, tensor in network.state_dict().items()
        }
        header = {
            "format": "pt",
            "classes": json.dumps(self.classes),
            "preprocessing": json.dumps(asdict(self.preprocessing)),
        }
        # Not save_file: its writer hides that a disk is full.
        target.write_bytes(save(state, metadata=header))

    def load(self, target: Path) -> Callable[[Tensor], Tensor]:
        """Returns the network, built anew with these weights, as a function."""
        network = self.rebuild()
        network.load_state_dict(load_file(target))
        network.eval()

        def forward(images_BCHW: Tensor) -> Tensor:
            with torch.inference_mode():
                logits_BK: Tensor = network(images_BCHW)
            return logits_BK

        return forward
