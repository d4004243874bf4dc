"""Networks recorded as OpenVINO's graphs: each operator against torch, and what is not recorded."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.network.inference_networks import NETWORKS, VIT, images, plain, same, trained
from zoo.network.inference import candidates, choosing, engine_missing, fast_forward

if missing := engine_missing("openvino"):
    pytest.skip(f"needs {', '.join(missing)}", allow_module_level=True)

from zoo.network.inference.folding import folded_copy
from zoo.network.inference.nodes import NotRecorded
from zoo.network.inference.openvino_package import core
from zoo.network.inference.operators import OPERATORS as OPERATOR_TABLE
from zoo.network.inference.recording import recorded


class Function(nn.Module):
    """A function as a network, with weights that it may use."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        draw = torch.Generator().manual_seed(7)

        def weight(*shape):
            return nn.Parameter(torch.randn(*shape, generator=draw) / 3)

        self.square, self.grouped = weight(6, 8, 3, 3), weight(8, 2, 3, 3)
        self.dense, self.vector, self.line = weight(6, 12), weight(6), weight(8, 8, 3)
        self.channels, self.running = weight(8), nn.Parameter(weight(8).abs() + 0.1)

    def forward(self, images):
        return self.function(images, self)


def outcome(model, given, asked):
    """Returns what the graph that was recorded with some images gives for others."""
    graph = recorded(model, given)
    made = core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return torch.from_numpy(made([asked.numpy()])[0])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("name", [*NETWORKS, *VIT])
def test_a_network_gives_what_it_gives_otherwise(name, layout, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("exported")

    monkeypatch.setattr(candidates, "onnx_bytes", refused)
    model = trained((NETWORKS | VIT)[name]).to(memory_format=layout)
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    example, others = images(4).contiguous(memory_format=layout), images(37)
    forward = fast_forward(model, example=example, num_images=99, engine="openvino")
    assert forward.name == "openvino"
    assert same(forward(others), plain(model, others))
    assert model.training
    assert all(torch.equal(value, kept[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def attention(x, net):
    parts = x.flatten(2).transpose(1, 2).reshape(4, -1, 2, 4).transpose(1, 2)
    return functional.scaled_dot_product_attention(parts, parts * 0.5, parts)


def masked(x, net):
    parts = x.flatten(2).transpose(1, 2).reshape(4, -1, 2, 4).transpose(1, 2)
    mask = torch.randn(81, 81, generator=torch.Generator().manual_seed(0)) > 0
    return functional.scaled_dot_product_attention(parts, parts, parts + 1, mask, scale=0.3)


def in_place(x, net):
    y = x * 2
    y += net.channels[:, None, None]
    y.mul_(3).sub_(0.5).div_(2)
    return functional.relu_(y).clamp_(0.1, 0.9)


def view_and_then_in_place(x, net):
    y = (x * 2).mean((2, 3), keepdim=True)
    return functional.relu_(y.view(4, 8)[:, :, None, None])


def of_constants(x, net):
    whole = net.square.flatten(1)
    standard = (whole - whole.mean(1, keepdim=True)) / whole.std(1, keepdim=True)
    places = torch.arange(9.0).sin().expand(9, 9).clone()
    places.add_(1)
    return functional.conv2d(x + places, standard.view_as(net.square))


OPERATORS = {
    "convolution": lambda x, net: functional.conv2d(x, net.square, net.vector, (2, 1), (1, 0), 2),
    "grouped": lambda x, net: functional.conv2d(x, net.grouped, None, 1, 1, 1, 4),
    "same padding": lambda x, net: functional.conv2d(x, net.square, padding="same"),
    "one dimension": lambda x, net: functional.conv1d(x.flatten(2), net.line, padding=1),
    "pointwise": lambda x, net: functional.conv2d(x, net.line[:, :, :1, None]),
    "linear": lambda x, net: functional.linear(x.flatten(1)[:, :12], net.dense, net.vector),
    "linear of three": lambda x, net: functional.linear(x[:, :, :, :6], net.dense[:, :6]),
    "product": lambda x, net: x.flatten(2) @ x.flatten(2).transpose(1, 2),
    "sums": lambda x, net: (x + 1 - x.mean((2, 3), True)) * 2 / 3,
    "two tensors": lambda x, net: torch.add(x, x.sigmoid(), alpha=0.3) / (x.exp() + 1) - 2 * x,
    "from numbers": lambda x, net: 1 - x,
    "negative": lambda x, net: -x,
    "in place": in_place,
    "view and then in place": view_and_then_in_place,
    "of constants": of_constants,
    "relu": lambda x, net: functional.relu(x),
    "relu6": lambda x, net: functional.relu6(x * 5, inplace=True),
    "hardtanh": lambda x, net: functional.hardtanh(x),
    "clamp": lambda x, net: x.clamp(min=-0.2) + x.clamp(max=0.3) + x.clamp(-0.1, 0.1),
    "hardswish": lambda x, net: functional.hardswish(x * 4) + functional.hardswish(x + 0, True),
    "hardsigmoid": lambda x, net: functional.hardsigmoid(x * 4),
    "silu": lambda x, net: functional.silu(x) + functional.silu(x * 2, inplace=True),
    "sigmoid": lambda x, net: x.sigmoid() + (x * 2).sigmoid_() + x.tanh() + (x * 3).tanh_(),
    "mish": lambda x, net: functional.mish(x),
    "elu": lambda x, net: functional.elu(x) + functional.elu(x, 0.5),
    "leaky": lambda x, net: functional.leaky_relu(x) + functional.leaky_relu(x, 0.2),
    "gelu": lambda x, net: functional.gelu(x) + 2 * functional.gelu(x, approximate="tanh"),
    "roots": lambda x, net: (x**2 + 1).sqrt() + (x.square() + 2) ** 0.5,
    "mean": lambda x, net: x.mean((2, 3)) + x.mean(-1).mean(-1) + x.sum((2, 3)) + x.amax((2, 3)),
    "length": lambda x, net: functional.normalize(x, dim=1),
    "pool to one": lambda x, net: functional.adaptive_avg_pool2d(x, 1).flatten(1),
    "pool to some": lambda x, net: functional.adaptive_avg_pool2d(x, (3, 4)),
    "average pool": lambda x, net: functional.avg_pool2d(x, 3, 2, 1),
    "average pool, ceil": lambda x, net: functional.avg_pool2d(x, 2, ceil_mode=True),
    "average pool, inner": lambda x, net: functional.avg_pool2d(x, 3, 2, 1, False, False),
    "max pool": lambda x, net: functional.max_pool2d(x, 3, 2, 1),
    "max pool, ceil": lambda x, net: functional.max_pool2d(x, 2, ceil_mode=True),
    "max pool, dilated": lambda x, net: functional.max_pool2d(x, 2, 1, 1, 2),
    "pad": lambda x, net: functional.pad(x, (1, 2, 0, 3), value=0.5),
    "shapes": lambda x, net: x.flatten(1).view(4, 2, -1).unsqueeze(1).squeeze(1).reshape(8, -1),
    "orders": lambda x, net: x.permute(0, 2, 3, 1).transpose(1, -1).flatten(2).mT,
    "roll": lambda x, net: x.roll((1, -2), (2, 3)),
    "expand": lambda x, net: x.mean((2, 3), True).expand(-1, -1, 3, 2),
    "cat": lambda x, net: torch.cat([x, x * 2, net.channels[:, None, None].expand(4, 8, 9, 9)], 1),
    "stack": lambda x, net: torch.stack([x, x + 1], -2),
    "slices": lambda x, net: x[:, 1:7:2, -3:, ::2] + x[:, :3, :3, :5],
    "select": lambda x, net: x[:, -1] + x.select(1, 2),
    "chunks": lambda x, net: sum(part * n for n, part in enumerate(x.chunk(3, 1)[:2])),
    "split": lambda x, net: x.split((3, 5), 1)[1],
    "unbind": lambda x, net: x.unbind(2)[-1] - x.unbind(2)[0],
    "softmax": lambda x, net: x.softmax(1) + x.flatten(2).softmax(-1).view_as(x),
    "layer norm": lambda x, net: functional.layer_norm(
        x.permute(0, 2, 3, 1), (8,), net.channels, net.running, 1e-3
    ),
    "layer norm of two": lambda x, net: functional.layer_norm(x, (9, 9)),
    "group norm": lambda x, net: functional.group_norm(x, 2, net.channels, net.running),
    "group norm, bare": lambda x, net: functional.group_norm(x.flatten(2), 4),
    "batch norm": lambda x, net: functional.batch_norm(
        x, net.channels, net.running, net.channels, net.channels, eps=1e-3
    ),
    "attention": attention,
    "attention, masked": masked,
    "twice as large": lambda x, net: functional.interpolate(x, scale_factor=2),
    "nearest, smaller": lambda x, net: functional.interpolate(x, (3, 9)),
    "nearest, to a size": lambda x, net: functional.interpolate(x, (13, 20)),
    "bilinear": lambda x, net: functional.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear, to a size": lambda x, net: functional.interpolate(x, (13, 4), mode="bilinear"),
    "bilinear, to the corners": lambda x, net: functional.interpolate(
        x, (20, 13), mode="bilinear", align_corners=True
    ),
}  # fmt: skip


def eight_channels(seed):
    return torch.randn(4, 8, 9, 9, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_computes_what_torch_computes(name, layout):
    model = Function(OPERATORS[name])
    given = eight_channels(1).contiguous(memory_format=layout)
    asked, kept = eight_channels(2), given.clone()
    with torch.no_grad():
        expected = model(asked.clone())
    found = outcome(model, given, asked)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert torch.equal(given, kept)


def test_the_table_names_operators_of_torch():
    for name in OPERATOR_TABLE:
        space, operator, overload = name.split(".")
        found = getattr(getattr(getattr(torch.ops, space), operator), overload)
        assert str(found) == name


def stale(x, net):
    y = x * 2
    part = y[:, :3]
    y.add_(1)
    return part * 2


def stale_by_a_view(x, net):
    y = x * 2
    y[:, :3].add_(1)
    return y


def into_a_constant(x, net):
    room = torch.zeros(4, 8, 9, 9)
    room.add_(x)
    return room


def stale_by_a_constant(x, net):
    room = torch.zeros(8, 8, 9, 9)
    room[:4].copy_(x)
    return room


REFUSED = {
    "a branch": (lambda x, net: x if x.sum() > 0 else -x, "the operator"),
    "a number": (lambda x, net: x * x.mean((0, 1, 2, 3)).item(), "the operator"),
    "numpy": (lambda x, net: x + torch.from_numpy(x.numpy().copy()), "numpy of what depends"),
    "a list": (lambda x, net: x + x.tolist()[0][0][0][0], "tolist of what depends"),
    "an unknown operator": (lambda x, net: x.cumsum(1), "the operator aten.cumsum.default"),
    "a read of what has changed": (stale, "a tensor that has changed"),
    "a change through a view": (stale_by_a_view, "a tensor that has changed"),
    "a write to a constant": (into_a_constant, "writes to a constant"),
    "a copy into a constant": (stale_by_a_constant, "the operator aten.copy_"),
    "indices": (
        lambda x, net: x + functional.max_pool2d(x, 1, return_indices=True)[1], "no float32"
    ),
    "transposed": (
        lambda x, net: functional.conv_transpose2d(x, net.square.transpose(0, 1)), "a transposed"
    ),
    "not the images": (lambda x, net: net.channels * 2, "do not depend on the images"),
    "not a tensor": (lambda x, net: (x * 2, x), "it returns tuple"),
    "doubles": (lambda x, net: x.double(), "the operator"),
    "cropping by padding": (lambda x, net: functional.pad(x, (-1, 0)), "padding below zero"),
    "a part of a pixel more": (
        lambda x, net: functional.interpolate(x, scale_factor=1.3), "a size that is no multiple"
    ),
    "causal": (
        lambda x, net: functional.scaled_dot_product_attention(x, x, x, is_causal=True),
        "attention to what comes before",
    ),
    "statistics of the batch": (
        lambda x, net: functional.batch_norm(x, None, None, training=True), "by their batch"
    ),
    "an own divisor": (
        lambda x, net: functional.avg_pool2d(x, 2, divisor_override=3), "divided otherwise"
    ),
    "another order": (
        lambda x, net: (x * 2).as_strided_((4, 8, 9, 9), (648, 1, 72, 8)), "in another order"
    ),
    "the largest of absolute values": (
        lambda x, net: torch.linalg.vector_norm(x, float("inf"), 1), "another norm"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_recorded_is_said(name):
    function, reason = REFUSED[name]
    model = Function(function).train()
    with pytest.raises(NotRecorded, match=reason):
        recorded(model, eight_channels(1))
    assert model.training
    functional.relu(torch.zeros(1))  # nothing listens any more


def test_a_graph_keeps_the_weights_that_were_recorded():
    model = Function(lambda x, net: functional.conv2d(x, net.square))
    asked = eight_channels(2)
    graph = recorded(model, eight_channels(1))
    with torch.no_grad():
        expected = model(asked)
        model.square.zero_()
    found = core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([asked.numpy()])
    assert torch.allclose(torch.from_numpy(found[0]), expected, atol=1e-5)


def test_what_is_not_recorded_is_exported(monkeypatch):
    pytest.importorskip("onnxscript")
    exports, real = [], candidates.onnx_bytes

    def counted(*arguments, exporter):
        exports.append(exporter)
        return real(*arguments, exporter=exporter)

    monkeypatch.setattr(candidates, "onnx_bytes", counted)
    model, x = Function(lambda x, net: x.cumsum(1)), eight_channels(3)
    notes = []
    forward = fast_forward(model, example=x, num_images=9, engine="openvino", noted=notes.append)
    assert (forward.name, exports, notes) == (
        "openvino", ["recorded"], ["inference engine openvino"]
    )  # fmt: skip
    assert torch.allclose(forward(x), x.cumsum(1), atol=1e-5)
    monkeypatch.setattr(candidates, "export_missing", lambda: ("onnx",))
    forward = fast_forward(model, example=x, num_images=9, engine="openvino", noted=notes.append)
    assert forward.name == "folded"
    assert "openvino: the operator aten.cumsum.default" in notes[1]


def test_why_a_graph_was_not_recorded_is_said_where_an_export_does_not_repay(monkeypatch):
    monkeypatch.setattr(candidates, "seconds_of", lambda forward, images: 0.01 * len(images))
    monkeypatch.setitem(choosing._WAY_SECONDS, "recorded", (1e9, 0.0))
    monkeypatch.setitem(choosing._WAY_SECONDS, "proved", (1e9, 0.0))
    notes = []
    model, x = Function(lambda x, net: x.cumsum(1)), eight_channels(3)
    forward = fast_forward(model, example=x, num_images=10_000, noted=notes.append)
    assert forward.name == "folded"
    assert "an export would not repay; openvino: the operator aten.cumsum.default" in notes[0]


def test_recording_needs_no_package_but_openvino(monkeypatch):
    monkeypatch.setattr(candidates, "export_missing", lambda: ("onnx", "onnxscript"))
    model = trained(NETWORKS["mobilenetv3"])
    forward = fast_forward(model, example=images(4), num_images=9, engine="openvino")
    assert forward.name == "openvino"


def test_a_folded_copy_is_recorded():
    model = trained(NETWORKS["cifar-quick"]).eval()
    twin, _ = folded_copy(model, images(4))
    assert same(outcome(twin, images(4), images(4) + 1), plain(model, images(4) + 1))
