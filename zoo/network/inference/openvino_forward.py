"""OpenVINO on the CPU as an engine.

B batch, C channels, S rows or columns (images are square), P images in a part.
"""

from __future__ import annotations

import io
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.network.inference.forwards import InParts, filled, opened, part_size
from zoo.network.inference.openvino_package import core, package
from zoo.network.inference.recording import recorded
from zoo.network.inference.workers import Begun, Workers

if TYPE_CHECKING:
    import openvino

__all__ = ["OpenvinoForward"]

_MOST_IN_A_PART = 32
# Images/s of mobilenetv3_large and efficientnet_lite0 at 64 pixels, two threads, parts of 16, 32
# and 64: 2991, 3384 and 3174; 2583, 2640 and 2373. Of the first at 224 pixels, 2, 3 and 5: 312, 293
# and 344 (AMD EPYC, openvino 2026.4.1, medians of 5; benchmarks/inference.py parts).

_PROPERTIES = {
    "INFERENCE_PRECISION_HINT": "f32",  # not the default on every processor
    # A pinned thread stays on its core, and two programs may have chosen the same.
    "ENABLE_CPU_PINNING": False,
}


class OpenvinoForward(InParts):
    """A model compiled by OpenVINO for parts of one size, each computed by one thread.

    The last part is filled up, so all images meet the same kernels, whatever their number; and a
    fixed size is 1.0 to 1.14 times as fast as an open one (6 networks).
    """

    name = "openvino"

    def __init__(self, source: bytes | nn.Module, example_BCSS: Tensor) -> None:
        """Compiles a network.

        Args:
            source: The network, which is recorded, or a serialised ONNX model of it.
            example_BCSS: Images of the size that it will be given.

        Raises:
            NotRecorded: The network does something that cannot be recorded.
            RuntimeError: OpenVINO does not take it.
        """
        threads = torch.get_num_threads()
        most = part_size(example_BCSS)
        # A half, a third, ... of what other engines take, so that their groups are whole parts.
        self._size = -(-most // -(-most // _MOST_IN_A_PART))
        self.images_at_once = self._size * threads
        """How many images keep all threads busy once."""
        streams = {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
        try:
            if isinstance(source, bytes):
                model = core().read_model(io.BytesIO(source))
                model.reshape([self._size, *example_BCSS.shape[1:]])
            else:
                model = recorded(source, filled(example_BCSS[: self._size], self._size))
            self._compiled: openvino.CompiledModel | None = core().compile_model(
                _channels_last(model), "CPU", _PROPERTIES | streams
            )
        except RuntimeError as error:
            raise RuntimeError(_reason(str(error))) from error
        self._row = tuple(self._compiled.output(0).shape)[1:]
        self._idle: list[openvino.InferRequest] = []
        self._workers = Workers()
        self.version = f"openvino {version('openvino')}, torch {torch.__version__}"

    def begin(self, images_BCSS: Tensor) -> Begun[Tensor]:
        """Begins to compute images; the outputs are on the CPU."""
        compiled = opened(self._compiled)
        images = images_BCSS.detach().to("cpu", torch.float32)

        def compute(part_PCSS: Tensor) -> Tensor:
            if not len(part_PCSS):
                return torch.empty(0, *self._row)
            array = filled(part_PCSS, self._size).permute(0, 2, 3, 1).contiguous().numpy()
            try:
                request = self._idle.pop()
            except IndexError:  # more threads than ever before
                request = compiled.create_infer_request()
            output = request.infer([array], share_inputs=True)[0]  # a copy: the request goes on
            self._idle.append(request)
            return torch.from_numpy(output)[: len(part_PCSS)]

        return self._workers.begin(compute, torch.split(images, self._size))

    def close(self) -> None:
        """Frees the compiled model."""
        self._workers.close()
        self._idle.clear()
        self._compiled = None


def _channels_last(model: openvino.Model) -> openvino.Model:
    """Returns a model that is given images_PSSC, as they lie in memory.

    So they are put in the order of its first layer at once: 1.06 times as fast (mobilenetv3_large
    and efficientnet_lite0 at 64 pixels, two threads, AMD EPYC, medians of 9).
    """
    # Of the package itself, which is imported by now, it is no part.
    steps = import_module("openvino.preprocess").PrePostProcessor(model)
    layout = package().Layout
    steps.input().tensor().set_layout(layout("NHWC"))
    steps.input().model().set_layout(layout("NCHW"))
    prepared: openvino.Model = steps.build()
    return prepared


def _reason(message: str) -> str:
    r"""Returns what a message says besides where in OpenVINO's sources it was written.

    >>> _reason("Exception from a.cpp:1:\nCheck 'false' failed at b.cpp:2:\nno such shape\n")
    'no such shape'
    """
    lines = [line.strip() for line in message.splitlines()]
    summary = [line.removeprefix("-- ") for line in lines if line.startswith("-- ")]
    plain = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return next(iter(summary[-1:] + plain), message)
