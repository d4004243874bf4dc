"""1x1 convolutions on few pixels as matrix products, against torch's convolution."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from zoo.network.fast import pointwise
from zoo.network.fast.pointwise import accelerate_pointwise, pointwise_conv2d, restore_pointwise


@pytest.fixture
def calls(monkeypatch):
    seen = []

    def spy(x, weight, bias=None):
        seen.append(tuple(x.shape))
        return pointwise_conv2d(x, weight, bias)

    monkeypatch.setattr(pointwise, "pointwise_conv2d", spy)
    return seen


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("channels", "out", "rows", "columns"),
    [(960, 240, 1, 1), (16, 8, 1, 1), (1, 7, 1, 1), (96, 40, 2, 2), (40, 96, 3, 2), (5, 1, 1, 4)],
)
def test_output_and_gradients_are_those_of_the_convolution(
    channels, out, rows, columns, bias, layout
):
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, out, 1, bias=bias).to(memory_format=layout)
    x = torch.randn(6, channels, rows, columns).to(memory_format=layout).requires_grad_()
    grad = torch.randn(6, out, rows, columns)
    leaves = [x, *conv.parameters()]
    found = pointwise_conv2d(x, conv.weight, conv.bias)
    expected = functional.conv2d(
        x.double(), conv.weight.double(), None if conv.bias is None else conv.bias.double()
    )
    mine = (found, *torch.autograd.grad(found, leaves, grad))
    its = (expected, *torch.autograd.grad(expected, leaves, grad.double()))
    for a, b in zip(mine, its, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


def test_gradients_of_the_second_order():
    x = torch.randn(2, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(pointwise_conv2d, (x, weight))
    torch.autograd.gradgradcheck(pointwise_conv2d, (x, weight))


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning")  # deprecated, still used
def test_only_eager_float32_is_rewritten(calls):
    conv = nn.Conv2d(4, 4, 1)
    assert accelerate_pointwise(conv, enabled=False) == 0
    assert accelerate_pointwise(conv) == 1
    assert accelerate_pointwise(conv) == 0  # already done
    conv(torch.rand(2, 4, 1, 1))
    assert calls == [(2, 4, 1, 1)]
    conv(torch.rand(4, 1, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        conv(torch.rand(2, 4, 1, 1))
    torch.func.vmap(conv)(torch.rand(2, 2, 4, 1, 1))
    torch.jit.trace(conv, torch.rand(2, 4, 1, 1), check_trace=False)
    conv.double()(torch.rand(2, 4, 1, 1, dtype=torch.float64))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("capability", "shape", "layout", "stride", "rewritten"),
    [
        ("AVX512", (64, 4, 3, 3), torch.channels_last, 1, True),
        ("AVX512", (144, 4, 2, 2), torch.channels_last, 1, True),
        ("AVX512", (145, 4, 2, 2), torch.channels_last, 1, False),  # too many pixels
        ("AVX512", (64, 4, 3, 3), torch.contiguous_format, 1, False),
        ("AVX512", (64, 4, 3, 3), torch.channels_last, 2, False),  # pixels are left out
        ("AVX2", (64, 4, 3, 3), torch.channels_last, 1, False),  # not measured there
        ("AVX2", (2000, 4, 1, 1), torch.contiguous_format, 2, True),
        ("AVX512", (0, 4, 2, 2), torch.channels_last, 1, False),
    ],
)
def test_maps_are_rewritten_where_it_was_measured_to_gain(
    calls, monkeypatch, capability, shape, layout, stride, rewritten
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    conv = nn.Conv2d(4, 8, 1, stride=stride)
    accelerate_pointwise(conv)
    x = torch.rand(shape).to(memory_format=layout)
    found = conv(x)
    count = len(calls)
    assert bool(calls) == rewritten
    with torch.no_grad():  # the same bits in any company
        conv(x)
    assert len(calls) == count + (shape[2] == 1)
    restore_pointwise(conv)
    torch.testing.assert_close(found, conv(x))


def test_what_was_in_channels_last_stays_so():
    x = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    found = pointwise_conv2d(x, torch.rand(5, 3, 1, 1))
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("options", [
    {"kernel_size": 3}, {"kernel_size": 1, "groups": 2}, {"kernel_size": 1, "padding": 1},
])  # fmt: skip
def test_other_convolutions_are_left_alone(options):
    assert accelerate_pointwise(nn.Conv2d(4, 4, **options)) == 0


def test_a_convolution_with_a_forward_of_its_own_is_left_alone():
    class Scaled(nn.Conv2d):
        def _conv_forward(self, x, weight, bias):
            return 2 * super()._conv_forward(x, weight, bias)

    assert accelerate_pointwise(Scaled(4, 4, 1)) == 0


def test_the_network_can_be_copied_pickled_and_restored(calls):
    torch.manual_seed(0)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 3, 1, stride=2))
    names = list(network.state_dict())
    x = torch.rand(2, 4, 5, 5)
    plain = network(x)
    accelerate_pointwise(network)
    assert list(network.state_dict()) == names
    twin, thawed = copy.deepcopy(network), pickle.loads(pickle.dumps(network))
    with torch.no_grad():
        network[1].weight.zero_()
    for other in (twin, thawed):
        torch.testing.assert_close(other(x), plain)  # its own weights, not the original's
        assert restore_pointwise(other) == 1
        assert torch.equal(other(x), plain)
    assert len(calls) == 2
