"""Makes engines for one network, and lets through only those that give the network's outputs.

B batch, C channels, S rows or columns (images are square).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from zoo.errors import PluginError, in_words, printable
from zoo.network.inference.exporting import EXPORTERS, Exporter, export_missing, onnx_bytes
from zoo.network.inference.folding import folded_copy
from zoo.network.inference.forwards import (
    FoldedForward,
    Forward,
    OnnxForward,
    TorchForward,
    device_of,
)
from zoo.network.inference.leavings import leavings, left_anew
from zoo.network.inference.openvino_forward import OpenvinoForward
from zoo.network.inference.prefix import prefix_of
from zoo.network.inference.proof import TOLERANCE, apart, proof_batches
from zoo.network.inference.timing import seconds_of

__all__ = ["HAS_GRAPH", "RUNTIMES", "WAYS", "Candidates", "Way"]

Way: TypeAlias = "Literal['graph'] | Exporter"
"""How a runtime comes by a network: recorded in its own form, or exported to ONNX."""

WAYS: tuple[Way, ...] = ("graph", *EXPORTERS)
"""The quicker ones first."""

RUNTIMES: Mapping[str, Callable[[Any, Tensor], Forward]] = {
    "openvino": OpenvinoForward,
    "onnx": lambda content, example_BCSS: OnnxForward(content),
}
"""The engines that run on the CPU what comes in one of these ways, the likely faster one first."""

HAS_GRAPH = ("openvino",)
"""Those whose own form of a network can be recorded."""

_DEVICE_TOLERANCE = 1e-2
"""For a network on a GPU: both ways round as the GPU does, TF32's 10 bits at the worst."""


class Candidates:
    """The engines that one network can have.

    Args:
        model: The network, which is left as it is.
        example_BCSS: At least one image, on any device. A network may write into a copy only.
        head: Name of the network's head, if what that is given is wanted.
    """

    def __init__(self, model: nn.Module, example_BCSS: Tensor, *, head: str | None = None) -> None:
        self._model, self._head = model, head
        with torch.inference_mode(mode=False):
            self._batches = [*proof_batches(example_BCSS)]
        self.device = device_of(model)
        self.plain = TorchForward(model, head=head)
        self.refused: list[str] = []
        """Why engines were refused, in words."""
        self.unrecorded = ""
        """Why a runtime could not have a recorded graph, where an export may still do."""
        self._contents: dict[Exporter, bytes | None] = {}

    @property
    def num_layers(self) -> int:
        """How many modules without parts the network has: an export takes time for each."""
        return sum(next(module.children(), None) is None for module in self._model.modules())

    @cached_property
    def folded(self) -> FoldedForward | None:
        """The folded copy on the network's device, None if it is refused."""
        if self._twin is None:
            return None
        if self.device.type == "cpu":
            return FoldedForward(self._twin)
        forward = FoldedForward(copy.deepcopy(self._twin).to(self.device))
        distance = apart(forward, self._batches, self._expected)
        return forward if self._same("folded", distance, _DEVICE_TOLERANCE) else None

    def runtime(self, name: str, way: Way) -> Forward | None:
        """Returns one of :data:`RUNTIMES` with the network, None if it is refused."""
        if self.device.type != "cpu":
            self._refuse(f"{name} runs on the CPU, the network is on {self.device.type}")
            return None
        if way != "graph":
            source: object = self._exported(way)
        else:
            source = self._source if name in HAS_GRAPH else None
        if source is None:
            return None
        try:
            forward = RUNTIMES[name](source, self._batches[0])
            distance = apart(self._proving(forward), self._batches, self._expected)
        # A runtime's own errors, say for an operator that it has not.
        except Exception as error:
            reason = f"{name}: {in_words(error, kind=False)}"
        else:
            if distance <= TOLERANCE:
                return forward
            forward.close()
            reason = _differs(name, distance)
        if way != "graph" or export_missing():
            self._refuse(reason)
        else:
            self.unrecorded = reason
        return None

    def _proving(self, forward: Forward) -> Callable[[Tensor], Tensor]:
        """Returns a function that is given the batches of the proof, in order."""
        if not isinstance(forward, OpenvinoForward):
            return forward
        # It computes parts of one size, whatever the number, and one of them can hold both batches.
        together = forward(torch.cat(self._batches))
        outputs = iter(torch.split(together, [len(batch) for batch in self._batches]))
        return lambda images: next(outputs)

    def _exported(self, exporter: Exporter) -> bytes | None:
        """Returns the network as an ONNX model, made once; None if this exporter does not."""
        if exporter not in self._contents:
            self._contents[exporter] = None
            if export_missing() or self._source is None:
                return None
            try:
                self._contents[exporter] = onnx_bytes(
                    self._source, self._batches[0], exporter=exporter
                )
            except PluginError as error:
                # The word of the exporter that proves is the one that counts.
                if exporter == "proved":
                    self._refuse(f"{error.what}: {error.found}")
        return self._contents[exporter]

    @cached_property
    def image_seconds(self) -> float:
        """What the network itself takes for an image, a few of them at once."""
        _ = self._expected_of_images  # the first call chooses kernels
        images = self._batches[0].clone()
        return seconds_of(self.plain, images) / len(images)

    @cached_property
    def _expected_of_images(self) -> Tensor:
        return self.plain(self._batches[0].clone())

    @cached_property
    def _expected(self) -> list[Tensor]:
        """What the network gives for the batches of the proof."""
        return [self._expected_of_images, self.plain(self._batches[1].clone())]

    @cached_property
    def _twin(self) -> nn.Module | None:
        """The folded copy on the CPU, proved there: its float32 has all 24 bits."""
        try:
            twin, _ = folded_copy(self._model, self._batches[0], head=self._head)
            before = leavings(twin)
            batches, expected = list(self._batches), self._expected
            if self.device.type != "cpu":
                plain = TorchForward(copy.deepcopy(self._model).cpu(), head=self._head)
                batches = [batch.cpu() for batch in batches]
                expected = [plain(batch.clone()) for batch in batches]
            distance = apart(FoldedForward(twin), batches, expected)
            shared = left_anew(before, leavings(twin))
        # A network that cannot be copied, or that looks for its norms: whatever it raises.
        except Exception as error:
            part = "folded" if self._head is None else "folded without the head"
            self._refuse(f"{part}: {in_words(error, kind=False)}")
            return None
        if shared:
            self._refuse(f"folded: threads would share {printable(shared)}, which a pass writes to")
            return None
        return twin if self._same("folded", distance, TOLERANCE) else None

    @cached_property
    def _source(self) -> nn.Module | None:
        """What runtimes compute: the folded copy, else the network; None without either."""
        if self._twin is not None:
            return self._twin
        if self._head is None:
            return self._model
        expected = self._expected
        try:
            prefix = prefix_of(self._model, self._head).eval()
            distance = apart(TorchForward(prefix), self._batches, expected)
        # Its code may look into the head (for the type of its weights), know it by a second name or
        # refuse to be copied: whatever it raises.
        except Exception as error:
            reason = in_words(error, kind=False)
        else:
            if distance <= TOLERANCE:
                return prefix
            reason = _differs("it", distance)
        self._refuse(f"without the head: {reason}")
        return None

    def _same(self, name: str, distance: float, tolerance: float) -> bool:
        if distance > tolerance:
            self._refuse(_differs(name, distance))
        return distance <= tolerance

    def _refuse(self, reason: str) -> None:
        if reason not in self.refused:
            self.refused.append(reason)


def _differs(name: str, distance: float) -> str:
    return f"{name} gives other outputs than the network ({distance:.1g} apart)"
