"""The engines as functions from images to outputs.

B batch, C channels, S rows or columns (images are square).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor, nn

from zoo.cores import num_cores
from zoo.network.head import head_input
from zoo.network.inference.workers import Begun, Workers
from zoo.network.modes import evaluation_mode

if TYPE_CHECKING:
    import onnxruntime

T = TypeVar("T")

__all__ = [
    "FoldedForward", "Forward", "InParts", "OnnxForward", "TorchForward", "device_of", "filled",
    "images_at_once", "opened", "ordinary", "part_size",
]  # fmt: skip

# Activations that leave the processor's cache cost more than the larger batch saves. Images/s of
# mobilenetv3_large, folded, one thread, 128, 64, 32 and 8 at once of 64 pixels: 981, 1210, 1140 and
# 701; 32, 16, 8, 4 and 1 at once of 224 pixels: 87, 109, 118, 114 and 88. ONNX Runtime gains up to
# a tenth (AMD EPYC, torch 2.14.1, medians of 5; benchmarks/inference.py slices).
PIXELS_AT_ONCE = 64 * 64 * 64
"""How many pixels of a batch each thread of a CPU works on at a time."""

_MOST_AT_ONCE = 128
# Images at once at most, whatever computes them. So small images come in smaller parts on a machine
# of many cores, and little is computed to fill up a small data set's last batch.


class Forward(Protocol):
    """A network as a function for inference.

    Returns ordinary tensors (they may take part in training), on the network's device; that is the
    CPU for ``onnx`` and ``openvino``. All but ``torch``, which is the network itself, hold the
    weights of the moment they were made. Do not use one in two threads at once: each uses all of
    them.
    """

    @property
    def name(self) -> str:
        """``torch``, ``folded``, ``onnx`` or ``openvino``."""

    @property
    def version(self) -> str:
        """What the outputs' last bits hang on besides the weights, like ``onnxruntime 1.23.2``."""

    def __call__(self, images_BCSS: Tensor) -> Tensor:
        """Returns the outputs, in the order of the images, for any number of them.

        Args:
            images_BCSS: float32, normalised, of the size of the example; on any device.
        """

    def close(self) -> None:
        """Frees what the engine holds. It cannot be called any more."""


class TorchForward:
    """The network itself, the whole batch at once, as it trains but in evaluation mode.

    Args:
        model: The network.
        head: Name of its head. What that is given is the output then.
    """

    name = "torch"

    def __init__(self, model: nn.Module, *, head: str | None = None) -> None:
        self._model: nn.Module | None = model
        self._head = head
        self.version = f"torch {torch.__version__}"

    def __call__(self, images_BCSS: Tensor) -> Tensor:
        """Returns the outputs; the network's training modes are as before."""
        model = opened(self._model)
        images = images_BCSS.to(device_of(model))
        with evaluation_mode(model), torch.inference_mode():
            outputs: Tensor = (
                model(images) if self._head is None else head_input(model, self._head, images)
            )
        return ordinary([outputs])

    def close(self) -> None:
        """Lets go of the network."""
        self._model = None


class InParts(ABC):
    """An engine whose threads each compute a part of a batch.

    Where one of them is done with a batch, it need not wait for the others: what was begun next is
    there.
    """

    @abstractmethod
    def begin(self, images_BCSS: Tensor) -> Begun[Tensor]:
        """Begins to compute images; returns the outputs' parts, for :func:`ordinary`."""

    def __call__(self, images_BCSS: Tensor) -> Tensor:
        """Returns the outputs."""
        return ordinary(self.begin(images_BCSS).made())


class FoldedForward(InParts):
    """A folded copy (:mod:`zoo.network.inference.folding`), in slices that fit the cache."""

    name = "folded"

    def __init__(self, twin: nn.Module) -> None:
        self._twin: nn.Module | None = twin
        self._workers = Workers()
        self.version = f"torch {torch.__version__}"

    def begin(self, images_BCSS: Tensor) -> Begun[Tensor]:
        """Begins to compute images."""
        twin = opened(self._twin)
        device = device_of(twin)

        def compute(part: Tensor) -> Tensor:
            with torch.inference_mode():
                outputs: Tensor = twin(
                    part.to(device).contiguous(memory_format=torch.channels_last)
                )
            return outputs

        return self._workers.begin(compute, _parts(images_BCSS, device))

    def close(self) -> None:
        """Lets go of the copy."""
        self._workers.close()
        self._twin = None


class OnnxForward(InParts):
    """A session of ONNX Runtime on the CPU, in which each thread computes a part of a batch."""

    name = "onnx"

    def __init__(self, content: bytes) -> None:
        """Makes a session of a serialised model with one input and one output.

        Raises:
            Exception: ONNX Runtime does not take it; its errors are no exported classes.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what fails is raised, too
        self._session: onnxruntime.InferenceSession | None = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        (given,), (returned,) = self._session.get_inputs(), self._session.get_outputs()
        self._input, self._output = given.name, returned.name
        self._workers = Workers()
        self.version = f"onnxruntime {version('onnxruntime')}, torch {torch.__version__}"

    def begin(self, images_BCSS: Tensor) -> Begun[Tensor]:
        """Begins to compute images; the outputs are on the CPU."""
        session = opened(self._session)
        images = images_BCSS.detach().to("cpu", torch.float32)

        def compute(part: Tensor) -> Tensor:
            (output,) = session.run([self._output], {self._input: part.contiguous().numpy()})
            return torch.from_numpy(output)

        return self._workers.begin(compute, _parts(images, images.device))

    def close(self) -> None:
        """Ends the session."""
        self._workers.close()
        self._session = None


def images_at_once(images_BCSS: Tensor, device: torch.device) -> int:
    """Returns how many images like these keep an engine busy: a part for each thread of a CPU.

    It depends on their size and not on their number.

    >>> images_at_once(torch.empty(1, 3, 224, 224, device="meta"), torch.device("cuda"))
    128
    """
    if device.type != "cpu":
        return _MOST_AT_ONCE
    return part_size(images_BCSS) * torch.get_num_threads()


def part_size(images_BCSS: Tensor) -> int:
    """Returns how many images like these one thread should work on at a time.

    It depends on the machine and not on how many threads there are: the bits of an image's outputs
    may hang on the size of the part that it is computed in.
    """
    pixels = max(images_BCSS.shape[-1] * images_BCSS.shape[-2], 1)
    return max(min(PIXELS_AT_ONCE // pixels, _MOST_AT_ONCE // num_cores()), 1)


def _parts(images_BCSS: Tensor, device: torch.device) -> Sequence[Tensor]:
    """Returns a batch in parts of about the same size, as many as keep all threads busy.

    On a GPU, and of no images, there is one.
    """
    total = len(images_BCSS)
    if device.type != "cpu" or total < 2:
        return [images_BCSS]
    threads = torch.get_num_threads()
    num_parts = -(-total // part_size(images_BCSS))
    return images_BCSS.tensor_split(min(-(-num_parts // threads) * threads, total))


def filled(images_BCSS: Tensor, size: int) -> Tensor:
    """Returns images filled up to a number with copies of the first."""
    missing = size - len(images_BCSS)
    if not missing:
        return images_BCSS
    more = torch.cat([images_BCSS, images_BCSS[:1].expand(missing, *images_BCSS.shape[1:])])
    last = images_BCSS.is_contiguous(memory_format=torch.channels_last)
    return more.contiguous(memory_format=torch.channels_last) if last else more


def ordinary(outputs: list[Tensor]) -> Tensor:
    """Returns the parts as one tensor that autograd may keep, whatever mode the caller is in."""
    with torch.inference_mode(mode=False):
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0].clone()


def opened(held: T | None) -> T:
    """Returns what an engine holds.

    Raises:
        RuntimeError: The engine was closed.
    """
    if held is None:
        raise RuntimeError("the inference engine was closed")
    return held


def device_of(model: nn.Module) -> torch.device:
    """Returns the device of a network's weights, the CPU if it has none."""
    for tensors in (model.parameters, model.buffers):
        tensor = next(tensors(), None)
        if tensor is not None:
            return tensor.device
    return torch.device("cpu")
