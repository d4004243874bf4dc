"""torch's operators as OpenVINO's, for :mod:`zoo.network.inference.recording`.

Each function makes the node of one operator. It is given the output that torch computed, whose
shape it may need, then the operator's own arguments, with nodes in the place of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from zoo.network.inference.layers import LAYERS
from zoo.network.inference.nodes import NotRecorded, node_of, reshaped, whole
from zoo.network.inference.openvino_package import opset

__all__ = ["OPERATORS"]


def _as_output(output: Tensor, data: Any, *_: Any, **__: Any) -> Any:
    """The same numbers in the same order, in another shape."""
    return reshaped(data, list(output.shape))


def _same(output: Tensor, data: Any, *_: Any, **__: Any) -> Any:
    return data


def _laid_out(output: Tensor, data: Any, shape: Sequence[int], *_: Any) -> Any:
    """The same tensor with other strides in sides of one, as pooling to a point leaves it."""
    if list(shape) != list(data.shape) or not output.is_contiguous():
        raise NotRecorded("a tensor that is read in another order")
    return data


def _rolled(output: Tensor, data: Any, shifts: Sequence[int], axes: Sequence[int] = ()) -> Any:
    return opset().roll(data, whole(shifts), whole(axes))


def _sum_of(name: str) -> Callable[..., Any]:
    """Returns what makes ``one + alpha * two``, or with another operator between."""

    def make(output: Tensor, one: Any, two: Any, *, alpha: float = 1) -> Any:
        two = node_of(two)
        if alpha != 1:
            two = opset().multiply(two, node_of(alpha))
        return getattr(opset(), name)(node_of(one), two)

    return make


def _simple(name: str, **options: Any) -> Callable[..., Any]:
    """Returns what makes an operator of one tensor."""
    return lambda output, data: getattr(opset(), name)(data, **options)


def _clamped(output: Tensor, data: Any, low: float | None = None, high: float | None = None) -> Any:
    least = -np.inf if low is None else float(low)
    return opset().clamp(data, least, np.inf if high is None else float(high))


def _hard_tanh(output: Tensor, data: Any, low: float = -1.0, high: float = 1.0) -> Any:
    return _clamped(output, data, low, high)


def _subtracted_from(output: Tensor, data: Any, number: float) -> Any:
    return opset().subtract(node_of(number), data)


def _gelu(output: Tensor, data: Any, *, approximate: str = "none") -> Any:
    return opset().gelu(data, "erf" if approximate == "none" else approximate)


def _leaky(output: Tensor, data: Any, slope: float = 0.01) -> Any:
    return opset().prelu(data, node_of(slope))


def _mean(
    output: Tensor, data: Any, axes: Sequence[int] | None = None, keep: bool = False, **_: Any
) -> Any:
    every = list(range(len(data.shape))) if axes is None else list(axes)
    return opset().reduce_mean(data, whole(every), keep)


def _transposed(output: Tensor, data: Any, one: int = 0, two: int = 1) -> Any:
    order = list(range(output.ndim))
    order[one], order[two] = order[two], order[one]
    return opset().transpose(data, whole(order))


def _permuted(output: Tensor, data: Any, order: Sequence[int]) -> Any:
    return opset().transpose(data, whole([axis % output.ndim for axis in order]))


def _expanded(output: Tensor, data: Any, *_: Any, **__: Any) -> Any:
    return opset().broadcast(data, whole(output.shape))


def _joined(output: Tensor, parts: Sequence[Any], axis: int = 0) -> Any:
    return opset().concat(list(parts), axis)


def _stacked(output: Tensor, parts: Sequence[Any], axis: int = 0) -> Any:
    axis = axis % output.ndim
    shape = [*output.shape[:axis], 1, *output.shape[axis + 1 :]]
    return opset().concat([reshaped(part, shape) for part in parts], axis)


def _cut(data: Any, axis: int, first: int, last: int, step: int = 1) -> Any:
    return opset().slice(data, whole([first]), whole([last]), whole([step]), whole([axis]))


def _sliced(
    output: Tensor, data: Any, axis: int = 0, first: int | None = None, last: int | None = None,
    step: int = 1,
) -> Any:  # fmt: skip
    most = np.iinfo(np.int64).max
    return _cut(data, axis, first or 0, most if last is None else last, step)


def _selected(output: Tensor, data: Any, axis: int, index: int) -> Any:
    axis = axis % len(data.shape)
    index = index % data.shape[axis]
    return reshaped(_cut(data, axis, index, index + 1), list(output.shape))


def _parts(output: Sequence[Tensor], data: Any, _: Any, axis: int = 0) -> list[Any]:
    lengths = whole([part.shape[axis] for part in output])
    node = opset().variadic_split(data, whole([axis]), lengths)
    return [node.output(number) for number in range(len(output))]


def _unbound(output: Sequence[Tensor], data: Any, axis: int = 0) -> list[Any]:
    return [_selected(part, data, axis, number) for number, part in enumerate(output)]


def _power(output: Tensor, data: Any, exponent: float) -> Any:
    return opset().power(data, node_of(exponent))


def _summed(
    output: Tensor, data: Any, axes: Sequence[int] | None = None, keep: bool = False, **_: Any
) -> Any:
    every = list(range(len(data.shape))) if not axes else list(axes)
    return opset().reduce_sum(data, whole(every), keep)


def _length(
    output: Tensor, data: Any, order: float = 2, axes: Sequence[int] | None = None,
    keep: bool = False, **_: Any,
) -> Any:  # fmt: skip
    if order != 2 or axes is None:
        raise NotRecorded("another norm than the length of vectors")
    return opset().reduce_l2(data, whole(axes), keep)


def _largest(output: Tensor, data: Any, axes: Sequence[int] = (), keep: bool = False) -> Any:
    return opset().reduce_max(data, whole(list(axes) or list(range(len(data.shape)))), keep)


OPERATORS: dict[str, Callable[..., Any]] = {
    "aten.add.Tensor": _sum_of("add"),
    "aten.add_.Tensor": _sum_of("add"),
    "aten.sub.Tensor": _sum_of("subtract"),
    "aten.sub_.Tensor": _sum_of("subtract"),
    "aten.mul.Tensor": _sum_of("multiply"),
    "aten.mul_.Tensor": _sum_of("multiply"),
    "aten.div.Tensor": _sum_of("divide"),
    "aten.div_.Tensor": _sum_of("divide"),
    "aten.mul.Scalar": _sum_of("multiply"),
    "aten.div.Scalar": _sum_of("divide"),
    "aten.rsub.Scalar": _subtracted_from,
    "aten.neg.default": _simple("negative"),
    "aten.relu.default": _simple("relu"),
    "aten.relu_.default": _simple("relu"),
    "aten.hardtanh.default": _hard_tanh,
    "aten.hardtanh_.default": _hard_tanh,
    "aten.clamp.default": _clamped,
    "aten.clamp_.default": _clamped,
    "aten.clamp_min.default": lambda output, data, low: _clamped(output, data, low, None),
    "aten.hardswish.default": _simple("hswish"),
    "aten.hardswish_.default": _simple("hswish"),
    "aten.hardsigmoid.default": _simple("hsigmoid"),
    "aten.hardsigmoid_.default": _simple("hsigmoid"),
    "aten.silu.default": _simple("swish"),
    "aten.silu_.default": _simple("swish"),
    "aten.sigmoid.default": _simple("sigmoid"),
    "aten.sigmoid_.default": _simple("sigmoid"),
    "aten.tanh.default": _simple("tanh"),
    "aten.tanh_.default": _simple("tanh"),
    "aten.exp.default": _simple("exp"),
    "aten.sqrt.default": _simple("sqrt"),
    "aten.mish.default": _simple("mish"),
    "aten.gelu.default": _gelu,
    "aten.elu.default": lambda output, data, alpha=1.0: opset().elu(data, float(alpha)),
    "aten.leaky_relu.default": _leaky,
    "aten.leaky_relu_.default": _leaky,
    "aten.mean.dim": _mean,
    "aten.sum.dim_IntList": _summed,
    "aten.linalg_vector_norm.default": _length,
    "aten.amax.default": _largest,
    "aten.as_strided_.default": _laid_out,
    "aten.roll.default": _rolled,
    "aten.view.default": _as_output,
    "aten._unsafe_view.default": _as_output,
    "aten.unsqueeze.default": _as_output,
    "aten.squeeze.dim": _as_output,
    "aten.squeeze.dims": _as_output,
    "aten.clone.default": _same,
    "aten.alias.default": _same,
    "aten.detach.default": _same,
    "aten.t.default": _transposed,
    "aten.transpose.int": _transposed,
    "aten.permute.default": _permuted,
    "aten.expand.default": _expanded,
    "aten.cat.default": _joined,
    "aten.stack.default": _stacked,
    "aten.slice.Tensor": _sliced,
    "aten.select.int": _selected,
    "aten.split.Tensor": _parts,
    "aten.split_with_sizes.default": _parts,
    "aten.unbind.int": _unbound,
    "aten.pow.Tensor_Scalar": _power,
    **LAYERS,
}
"""By the name of the overload. By names: a version of torch may lack some of them."""
