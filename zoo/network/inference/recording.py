"""A network as OpenVINO's graph, recorded from one pass: each operator that torch computes.

An export to ONNX does the same by way of a second format: an engine then takes 1.6 to 3 times as
long to make (ADR 31).
What a pass shows holds for batches of its size alone, and only as long as nothing in the network
hangs on the images; whoever records proves the outcome with other images. An operator that is not
known here stops the recording: then there is the export.

Computed constants, say of weights that are standardised or of positions, are recorded as what they
came to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from zoo.network.inference.nodes import NotRecorded, constant
from zoo.network.inference.openvino_package import opset, package
from zoo.network.inference.operators import OPERATORS
from zoo.network.modes import evaluation_mode
from zoo.without_compiler import spare_methods

if TYPE_CHECKING:
    import openvino

__all__ = ["NotRecorded", "recorded"]


def recorded(model: nn.Module, images_PCSS: Tensor) -> openvino.Model:
    """Returns a network as a graph for batches of this many images.

    Args:
        model: The network, on the CPU; computed as in evaluation. It is not changed.
        images_PCSS: Images, float32.

    Raises:
        NotRecorded: It does something that is not known here.
    """
    recorder = _Recorder(images_PCSS)
    with (
        evaluation_mode(model), torch.inference_mode(mode=False), torch.no_grad(),
        _Watch(recorder.nodes), recorder,
    ):  # fmt: skip
        outputs = model(images_PCSS)
    if not isinstance(outputs, Tensor):
        raise NotRecorded(f"it returns {type(outputs).__name__}")
    if outputs not in recorder.nodes:
        raise NotRecorded("its outputs do not depend on the images")
    graph: openvino.Model = package().Model([recorder.told(outputs)], [recorder.given])
    return graph


class _Watch(TorchFunctionMode):
    """Stops at what leaves torch: a decision by it would not be seen."""

    def __init__(self, nodes: Any) -> None:
        super().__init__()
        self._nodes = nodes

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """Calls a function of torch."""
        if func in _LEAVES_TORCH and args[0] in self._nodes:
            raise NotRecorded(f"{func.__name__} of what depends on the images")
        return func(*args, **(kwargs or {}))


_LEAVES_TORCH = (Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.data_ptr)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Builds a graph of what is computed from the images, inside the block."""

    def __init__(self, images_PCSS: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.given: Any = opset().parameter(list(images_PCSS.shape))
        self.nodes: Any = WeakTensorKeyDictionary()
        """The node of each tensor that depends on the images, as long as it is in use; None where
        it is not known."""
        self.nodes[images_PCSS] = self.given

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """Computes an operator, and records it if it is given what depends on the images."""
        given = dict(kwargs or {})
        tensors = [value for value in _flat((*args, *given.values())) if isinstance(value, Tensor)]
        changed = _written(func, args)
        if not any(tensor in self.nodes for tensor in tensors):
            if changed is not None:
                self._forget_others(changed)
            return func(*args, **given)
        make = OPERATORS.get(str(func))
        if make is None:
            raise NotRecorded(f"the operator {func}")
        if changed is not None:
            if changed not in self.nodes:
                raise NotRecorded(f"{func} writes to a constant")
            self._forget_others(changed)
        # Before it is computed: an operator that works in place would change what is told.
        arguments = [self.told(value) for value in args]
        output = func(*args, **given)
        made = make(output, *arguments, **{key: self.told(value) for key, value in given.items()})
        outputs, nodes = ([output], [made]) if isinstance(output, Tensor) else (output, made)
        for tensor, node in zip_longest(outputs, nodes):
            self.nodes[tensor] = node if tensor.dtype == torch.float32 else None
        return output

    def _forget_others(self, changed: Tensor) -> None:
        """Forgets what shares memory with a tensor that is written to; mostly nobody asks for it.

        A view keeps what it is a view of, so that is there as long as the view is.
        """
        memory = changed.untyped_storage().data_ptr()
        for tensor in [*self.nodes]:
            if tensor is not changed and tensor.untyped_storage().data_ptr() == memory:
                self.nodes[tensor] = None

    def told(self, value: Any) -> Any:
        """Returns an argument with the nodes of its tensors, constants among them."""
        if isinstance(value, Tensor):
            if value not in self.nodes:
                return constant(value)
            if (node := self.nodes[value]) is None:
                raise NotRecorded("a tensor that has changed, or that is no float32")
            return node
        if isinstance(value, list | tuple):
            return [self.told(part) for part in value]
        return value


spare_methods(_Recorder)


def _flat(values: Sequence[Any]) -> list[Any]:
    """Returns values and what is in their lists."""
    return [
        part
        for value in values
        for part in (value if isinstance(value, list | tuple) else (value,))
    ]


def _written(func: Any, args: Sequence[Any]) -> Tensor | None:
    """Returns the tensor that an operator writes to, if it does."""
    for argument, value in zip(func._schema.arguments, args, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write:
            return value if isinstance(value, Tensor) else None
    return None
