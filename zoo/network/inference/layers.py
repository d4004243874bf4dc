"""torch's layers as OpenVINO's: convolutions, pools, norms, products, attention, enlarging.

The functions are as in :mod:`zoo.network.inference.operators`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from zoo.network.inference.nodes import NotRecorded, node_of, reshaped, whole
from zoo.network.inference.openvino_package import opset

__all__ = ["LAYERS"]


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
        filters = reshaped(filters, [groups, shape[0] // groups, *shape[1:]])
    pads = list(padding)
    node = make(data, filters, list(stride), pads, pads, list(dilation))
    if bias is None:
        return node
    return opset().add(node, reshaped(bias, [1, -1] + [1] * len(pads)))


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
    return opset().pad(data, whole(before), whole(after), "constant", node_of(value))


def _product(output: Tensor, one: Any, two: Any) -> Any:
    return opset().matmul(one, two, False, False)


def _dense(
    output: Tensor, bias: Any, data: Any, weights: Any, *, beta: float = 1, alpha: float = 1
) -> Any:
    if beta != 1 or alpha != 1:
        raise NotRecorded("a scaled product")
    return opset().add(_product(output, data, weights), bias)


def _normalised_groups(
    output: Sequence[Tensor], data: Any, weights: Any, bias: Any, _: int, channels: int, area: int,
    groups: int, eps: float,
) -> Any:  # fmt: skip
    shape = list(output[0].shape)
    inner = reshaped(data, [shape[0], groups, channels // groups * area])
    node = reshaped(opset().mvn(inner, whole([2]), True, eps, "INSIDE_SQRT"), shape)
    return (_scaled(node, weights, bias, [1, channels] + [1] * (len(shape) - 2)),)


def _normalised_layer(
    output: Sequence[Tensor], data: Any, over: Sequence[int], weights: Any, bias: Any, eps: float
) -> Any:
    rank = output[0].ndim
    axes = whole(list(range(rank - len(over), rank)))
    node = opset().mvn(data, axes, True, eps, "INSIDE_SQRT")
    return (_scaled(node, weights, bias, list(over)),)


def _normalised_batch(
    output: Sequence[Tensor], data: Any, weights: Any, bias: Any, mean: Any, variance: Any,
    by_batch: bool, _: float, eps: float,
) -> Any:  # fmt: skip
    if by_batch:
        raise NotRecorded("images that are normalised by their batch")
    shape = [1, -1] + [1] * (output[0].ndim - 2)
    centred = opset().subtract(data, reshaped(mean, shape))
    deviation = opset().sqrt(opset().add(variance, node_of(eps)))
    node = opset().divide(centred, reshaped(deviation, shape))
    return (_scaled(node, weights, bias, shape),)


def _scaled(node: Any, weights: Any, bias: Any, shape: Sequence[int]) -> Any:
    if weights is not None:
        node = opset().multiply(node, reshaped(weights, shape))
    return node if bias is None else opset().add(node, reshaped(bias, shape))


def _attention(
    output: Sequence[Tensor], query: Any, key: Any, value: Any, dropout: float = 0.0,
    causal: bool = False, *, attn_mask: Any = None, scale: float | None = None,
) -> Any:  # fmt: skip
    if causal:
        raise NotRecorded("attention to what comes before alone")
    factor = float(query.shape[-1]) ** -0.5 if scale is None else scale
    scores = opset().matmul(opset().multiply(query, node_of(factor)), key, False, True)
    if attn_mask is not None:
        scores = opset().add(scores, attn_mask)
    return (_product(output[0], opset().softmax(scores, -1), value),)


def _softmax(output: Tensor, data: Any, axis: int, _: object = None) -> Any:
    return opset().softmax(data, axis)


def _adaptive(output: Tensor, data: Any, _: Sequence[int]) -> Any:
    return opset().adaptive_avg_pool(data, whole(output.shape[2:]))


def _nearest(output: Tensor, data: Any, size: Sequence[int], *scales: float | None) -> Any:
    return _enlarged(output, data, scales, mode="nearest", coordinates="asymmetric")


def _bilinear(
    output: Tensor, data: Any, size: Sequence[int], corners: bool, *scales: float | None
) -> Any:
    coordinates = "align_corners" if corners else "half_pixel"
    return _enlarged(output, data, scales, mode="linear_onnx", coordinates=coordinates)


def _enlarged(
    output: Tensor, data: Any, scales: Sequence[float | None], *, mode: str, coordinates: str
) -> Any:
    sides = [*zip(output.shape[2:], data.shape[2:], strict=True)]
    for scale, (new, old) in zip(scales, sides, strict=False):
        if scale is not None and scale * old != new:
            raise NotRecorded("a size that is no multiple by the scale")
    return opset().interpolate(
        data, whole(output.shape[2:]), mode, "sizes",
        coordinate_transformation_mode=coordinates, nearest_mode="floor", axes=whole([2, 3]),
    )  # fmt: skip


LAYERS: dict[str, Callable[..., Any]] = {
    "aten.convolution.default": _convolution,
    "aten._adaptive_avg_pool2d.default": _adaptive,
    "aten.avg_pool2d.default": _average_pool,
    "aten.max_pool2d_with_indices.default": _max_pool,
    "aten.constant_pad_nd.default": _padded,
    "aten.addmm.default": _dense,
    "aten.mm.default": _product,
    "aten.bmm.default": _product,
    "aten.native_layer_norm.default": _normalised_layer,
    "aten.native_group_norm.default": _normalised_groups,
    "aten.native_batch_norm.default": _normalised_batch,
    "aten._softmax.default": _softmax,
    "aten._safe_softmax.default": _softmax,
    "aten._scaled_dot_product_flash_attention_for_cpu.default": _attention,
    "aten.upsample_nearest2d.default": _nearest,
    "aten.upsample_bilinear2d.default": _bilinear,
}
"""By the name of the overload."""
