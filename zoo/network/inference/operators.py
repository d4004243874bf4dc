"""torch's operators as OpenVINO's, for :mod:`zoo.network.inference.recording`.

Each function makes the node of one operator. It is given the output that torch computed, whose
shape it may need, then the operator's own arguments, with nodes in the place of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.network.inference.openvino_package import opset

__all__ = ["OPERATORS", "NotRecorded", "constant"]


class NotRecorded(Exception):
    """A network does something that cannot be recorded. The message says what."""


def constant(tensor: Tensor) -> Any:
    """Returns a node with a tensor's values, which OpenVINO copies: they may change later.

    It can share them, too; then the last thread to let go of them, one of its own, would count
    Python's references without Python's lock.
    """
    if tensor.dtype not in (torch.float32, torch.int64, torch.int32, torch.bool):
        raise NotRecorded(f"constants of {tensor.dtype}")
    return opset().constant(tensor.detach().contiguous().numpy())


def _whole(values: Sequence[int]) -> Any:
    return opset().constant(np.asarray(values, dtype=np.int64))


def _number(value: Any) -> Any:
    """Returns a node, or a number as a node."""
    return opset().constant(np.float32(value)) if isinstance(value, int | float) else value


def _pair(values: Sequence[int]) -> list[int]:
    return [values[0], values[0]] if len(values) == 1 else list(values)


def _convolution(
    output: Tensor, data: Any, filters: Any, bias: Any, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool, _: Sequence[int],
    groups: int,
) -> Any:  # fmt: skip
    if transposed:
        raise NotRecorded("a transposed convolution")
    make, shape = opset().convolution, list(filters.shape)
    if groups > 1:
        make = opset().group_convolution
        filters = _reshaped(filters, [groups, shape[0] // groups, *shape[1:]])
    pads = list(padding)
    node = make(data, filters, list(stride), pads, pads, list(dilation))
    if bias is None:
        return node
    return opset().add(node, _reshaped(bias, [1, -1] + [1] * len(pads)))


def _reshaped(node: Any, shape: Sequence[int]) -> Any:
    return opset().reshape(node, _whole(shape), special_zero=False)


def _as_output(output: Tensor, data: Any, *_: Any, **__: Any) -> Any:
    """The same numbers in the same order, in another shape."""
    return _reshaped(data, list(output.shape))


def _same(output: Tensor, data: Any, *_: Any, **__: Any) -> Any:
    return data


def _laid_out(output: Tensor, data: Any, shape: Sequence[int], *_: Any) -> Any:
    """The same tensor with other strides in sides of one, as pooling to a point leaves it."""
    if list(shape) != list(data.shape) or not output.is_contiguous():
        raise NotRecorded("a tensor that is read in another order")
    return data


def _rolled(output: Tensor, data: Any, shifts: Sequence[int], axes: Sequence[int] = ()) -> Any:
    return opset().roll(data, _whole(shifts), _whole(axes))


def _sum_of(name: str) -> Callable[..., Any]:
    """Returns what makes ``one + alpha * two``, or with another operator between."""

    def make(output: Tensor, one: Any, two: Any, *, alpha: float = 1) -> Any:
        two = _number(two)
        if alpha != 1:
            two = opset().multiply(two, _number(alpha))
        return getattr(opset(), name)(_number(one), two)

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
    return opset().subtract(_number(number), data)


def _gelu(output: Tensor, data: Any, *, approximate: str = "none") -> Any:
    return opset().gelu(data, "erf" if approximate == "none" else approximate)


def _leaky(output: Tensor, data: Any, slope: float = 0.01) -> Any:
    return opset().prelu(data, _number(slope))


def _mean(
    output: Tensor, data: Any, axes: Sequence[int] | None = None, keep: bool = False, **_: Any
) -> Any:
    every = list(range(len(data.shape))) if axes is None else list(axes)
    return opset().reduce_mean(data, _whole(every), keep)


def _average_pool(
    output: Tensor, data: Any, kernel: Sequence[int], stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0), ceil: bool = False, count_padding: bool = True,
    divisor: int | None = None,
) -> Any:  # fmt: skip
    if divisor is not None or (ceil and any(padding)):
        raise NotRecorded("an average that is divided otherwise")
    return opset().avg_pool(
        data, _pair(stride or kernel), _pair(padding), _pair(padding), _pair(kernel),
        not count_padding, "ceil_torch" if ceil else "floor",
    )  # fmt: skip


def _max_pool(
    output: tuple[Tensor, Tensor], data: Any, kernel: Sequence[int], stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0), dilation: Sequence[int] = (1, 1), ceil: bool = False,
) -> Any:  # fmt: skip
    node = opset().max_pool(
        data, _pair(stride or kernel), _pair(dilation), _pair(padding), _pair(padding),
        _pair(kernel), "ceil_torch" if ceil else "floor",
    )  # fmt: skip
    return (node.output(0),)


def _padded(output: Tensor, data: Any, pads: Sequence[int], value: float = 0.0) -> Any:
    rank = output.ndim
    before, after = [0] * rank, [0] * rank
    for axis, (first, last) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        before[rank - 1 - axis], after[rank - 1 - axis] = first, last
    if min(before + after) < 0:
        raise NotRecorded("padding below zero")
    return opset().pad(data, _whole(before), _whole(after), "constant", _number(value))


def _transposed(output: Tensor, data: Any, one: int = 0, two: int = 1) -> Any:
    order = list(range(output.ndim))
    order[one], order[two] = order[two], order[one]
    return opset().transpose(data, _whole(order))


def _permuted(output: Tensor, data: Any, order: Sequence[int]) -> Any:
    return opset().transpose(data, _whole([axis % output.ndim for axis in order]))


def _expanded(output: Tensor, data: Any, *_: Any, **__: Any) -> Any:
    return opset().broadcast(data, _whole(output.shape))


def _product(output: Tensor, one: Any, two: Any) -> Any:
    return opset().matmul(one, two, False, False)


def _dense(
    output: Tensor, bias: Any, data: Any, weights: Any, *, beta: float = 1, alpha: float = 1
) -> Any:
    if beta != 1 or alpha != 1:
        raise NotRecorded("a scaled product")
    return opset().add(_product(output, data, weights), bias)


def _joined(output: Tensor, parts: Sequence[Any], axis: int = 0) -> Any:
    return opset().concat(list(parts), axis)


def _stacked(output: Tensor, parts: Sequence[Any], axis: int = 0) -> Any:
    axis = axis % output.ndim
    shape = [*output.shape[:axis], 1, *output.shape[axis + 1 :]]
    return opset().concat([_reshaped(part, shape) for part in parts], axis)


def _cut(data: Any, axis: int, first: int, last: int, step: int = 1) -> Any:
    return opset().slice(data, _whole([first]), _whole([last]), _whole([step]), _whole([axis]))


def _sliced(
    output: Tensor, data: Any, axis: int = 0, first: int | None = None, last: int | None = None,
    step: int = 1,
) -> Any:  # fmt: skip
    most = np.iinfo(np.int64).max
    return _cut(data, axis, first or 0, most if last is None else last, step)


def _selected(output: Tensor, data: Any, axis: int, index: int) -> Any:
    axis = axis % len(data.shape)
    index = index % data.shape[axis]
    return _reshaped(_cut(data, axis, index, index + 1), list(output.shape))


def _parts(output: Sequence[Tensor], data: Any, _: Any, axis: int = 0) -> list[Any]:
    lengths = _whole([part.shape[axis] for part in output])
    node = opset().variadic_split(data, _whole([axis]), lengths)
    return [node.output(number) for number in range(len(output))]


def _unbound(output: Sequence[Tensor], data: Any, axis: int = 0) -> list[Any]:
    return [_selected(part, data, axis, number) for number, part in enumerate(output)]


def _normalised_groups(
    output: Sequence[Tensor], data: Any, weights: Any, bias: Any, _: int, channels: int, area: int,
    groups: int, eps: float,
) -> Any:  # fmt: skip
    shape = list(output[0].shape)
    inner = _reshaped(data, [shape[0], groups, channels // groups * area])
    node = _reshaped(opset().mvn(inner, _whole([2]), True, eps, "INSIDE_SQRT"), shape)
    return (_scaled(node, weights, bias, [1, channels] + [1] * (len(shape) - 2)),)


def _normalised_layer(
    output: Sequence[Tensor], data: Any, over: Sequence[int], weights: Any, bias: Any, eps: float
) -> Any:
    rank = output[0].ndim
    axes = _whole(list(range(rank - len(over), rank)))
    node = opset().mvn(data, axes, True, eps, "INSIDE_SQRT")
    return (_scaled(node, weights, bias, list(over)),)


def _normalised_batch(
    output: Sequence[Tensor], data: Any, weights: Any, bias: Any, mean: Any, variance: Any,
    by_batch: bool, _: float, eps: float,
) -> Any:  # fmt: skip
    if by_batch:
        raise NotRecorded("images that are normalised by their batch")
    shape = [1, -1] + [1] * (output[0].ndim - 2)
    centred = opset().subtract(data, _reshaped(mean, shape))
    deviation = opset().sqrt(opset().add(variance, _number(eps)))
    node = opset().divide(centred, _reshaped(deviation, shape))
    return (_scaled(node, weights, bias, shape),)


def _scaled(node: Any, weights: Any, bias: Any, shape: Sequence[int]) -> Any:
    if weights is not None:
        node = opset().multiply(node, _reshaped(weights, shape))
    return node if bias is None else opset().add(node, _reshaped(bias, shape))


def _attention(
    output: Sequence[Tensor], query: Any, key: Any, value: Any, dropout: float = 0.0,
    causal: bool = False, *, attn_mask: Any = None, scale: float | None = None,
) -> Any:  # fmt: skip
    if causal:
        raise NotRecorded("attention to what comes before alone")
    factor = float(query.shape[-1]) ** -0.5 if scale is None else scale
    scores = opset().matmul(opset().multiply(query, _number(factor)), key, False, True)
    if attn_mask is not None:
        scores = opset().add(scores, attn_mask)
    return (_product(output[0], opset().softmax(scores, -1), value),)


def _softmax(output: Tensor, data: Any, axis: int, _: object = None) -> Any:
    return opset().softmax(data, axis)


def _power(output: Tensor, data: Any, exponent: float) -> Any:
    return opset().power(data, _number(exponent))


def _adaptive(output: Tensor, data: Any, _: Sequence[int]) -> Any:
    return opset().adaptive_avg_pool(data, _whole(output.shape[2:]))


def _summed(
    output: Tensor, data: Any, axes: Sequence[int] | None = None, keep: bool = False, **_: Any
) -> Any:
    every = list(range(len(data.shape))) if not axes else list(axes)
    return opset().reduce_sum(data, _whole(every), keep)


def _length(
    output: Tensor, data: Any, order: float = 2, axes: Sequence[int] | None = None,
    keep: bool = False, **_: Any,
) -> Any:  # fmt: skip
    if order != 2 or axes is None:
        raise NotRecorded("another norm than the length of vectors")
    return opset().reduce_l2(data, _whole(axes), keep)


def _largest(output: Tensor, data: Any, axes: Sequence[int] = (), keep: bool = False) -> Any:
    return opset().reduce_max(data, _whole(list(axes) or list(range(len(data.shape)))), keep)


OPERATORS: dict[str, Callable[..., Any]] = {
    "aten.convolution.default": _convolution,
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
    "aten._adaptive_avg_pool2d.default": _adaptive,
    "aten.avg_pool2d.default": _average_pool,
    "aten.max_pool2d_with_indices.default": _max_pool,
    "aten.constant_pad_nd.default": _padded,
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
    "aten.addmm.default": _dense,
    "aten.mm.default": _product,
    "aten.bmm.default": _product,
    "aten.cat.default": _joined,
    "aten.stack.default": _stacked,
    "aten.slice.Tensor": _sliced,
    "aten.select.int": _selected,
    "aten.split.Tensor": _parts,
    "aten.split_with_sizes.default": _parts,
    "aten.unbind.int": _unbound,
    "aten.native_layer_norm.default": _normalised_layer,
    "aten.native_group_norm.default": _normalised_groups,
    "aten.native_batch_norm.default": _normalised_batch,
    "aten._softmax.default": _softmax,
    "aten._safe_softmax.default": _softmax,
    "aten.pow.Tensor_Scalar": _power,
    "aten._scaled_dot_product_flash_attention_for_cpu.default": _attention,
}
"""By the name of the overload. By names: a version of torch may lack some of them."""
