"""The fast gradient of depthwise convolutions, against torch's own."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tests.network.depthwise_geometries import geometries
from zoo.network.fast import depthwise, depthwise_gradient
from zoo.network.fast.depthwise import accelerate_depthwise, restore_depthwise
from zoo.network.fast.depthwise_gradient import depthwise_conv2d, weight_gradient

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def calls(monkeypatch):
    """The shapes for which the fast convolution was used, on a machine where it is allowed."""
    seen = []

    def spy(x, weight, bias=None, **geometry):
        seen.append(tuple(x.shape))
        return depthwise_conv2d(x, weight, bias, **geometry)

    monkeypatch.setattr(depthwise, "depthwise_conv2d", spy)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    return seen


def close(found, expected):
    scale = expected.abs().max().item() or 1.0
    error = (found.double() - expected.double()).abs().max().item()
    assert error <= 1e-5 * scale, f"{error / scale:.2e} relative to the largest gradient"


def torch_gradients(x, weight, grad, *, stride, padding, bias=None):
    """Output and gradients in double precision, with the padding made real."""
    leaves = [t.detach().double().requires_grad_() for t in (x, weight)]
    output = functional.conv2d(
        functional.pad(leaves[0], padding),
        leaves[1],
        None if bias is None else bias.double(),
        stride,
        groups=x.shape[1],
    )
    return output, *torch.autograd.grad(output, leaves, grad.double())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 14])
def test_the_shapes_of_mobile_networks(size, kernel, stride, layout):
    x = torch.randn(6, 16, size, size).to(memory_format=LAYOUTS[layout]).requires_grad_()
    weight = torch.randn(16, 1, kernel, kernel, requires_grad=True)
    output = depthwise_conv2d(x, weight, stride=(stride, stride), padding=(kernel // 2,) * 4)
    grad = torch.randn_like(output)
    found = torch.autograd.grad(output, (x, weight), grad)
    expected = torch_gradients(x, weight, grad, stride=stride, padding=(kernel // 2,) * 4)
    close(output, expected[0])
    close(found[0], expected[1])
    close(found[1], expected[2])


@settings(max_examples=150)
@given(
    geometries(),
    st.integers(1, 5),
    st.sampled_from([2, 8, 11]),
    st.sampled_from(["dense", "last", "view"]),
    st.booleans(),
)
def test_any_geometry(geometry, batch, channels, layout, with_bias):
    size, kernel, stride, padding = geometry
    x = torch.randn(batch, channels, *size)
    if layout == "last":
        x = x.to(memory_format=torch.channels_last)
    if layout == "view":
        x = torch.randn(batch, 2 * channels, size[1], 2 * size[0])[:, ::2, :, ::2].transpose(2, 3)
    x.requires_grad_()
    weight = torch.randn(channels, 1, *kernel, requires_grad=True)
    bias = torch.randn(channels, requires_grad=True) if with_bias else None
    output = depthwise_conv2d(x, weight, bias, stride=stride, padding=padding)
    # A gradient whose strides are not the output's, as a following transpose would give.
    grad = torch.randn(output.shape[::-1]).permute(3, 2, 1, 0)
    found = torch.autograd.grad(output, [x, weight] + ([bias] if with_bias else []), grad)
    expected = torch_gradients(x, weight, grad, stride=stride, padding=padding, bias=bias)
    close(output, expected[0])
    close(found[0], expected[1])
    close(found[1], expected[2])
    if with_bias:
        close(found[2], grad.sum((0, 2, 3)))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((1, 1), 5, 1, (2, 2, 2, 2)),
        ((2, 3), 5, 2, (2, 2, 2, 2)),
        ((4, 5), 3, 2, (0, 1, 0, 1)),
        ((3, 3), 7, 1, (3, 3, 3, 3)),
        ((5, 4), 5, 2, (1, 2, 1, 2)),
        ((4, 9), 4, 4, (0, 0, 0, 0)),  # as many taps as columns to the next
    ],
)
def test_first_and_second_derivatives_in_double_precision(size, kernel, stride, padding):
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, kernel, kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def convolution(x, weight, bias):
        return depthwise_conv2d(x, weight, bias, stride=(stride, stride), padding=padding)

    assert torch.autograd.gradcheck(convolution, (x, weight, bias))
    assert torch.autograd.gradgradcheck(convolution, (x, weight, bias))


def test_derivatives_in_double_precision_where_the_input_is_not_copied(monkeypatch):
    monkeypatch.setattr(depthwise_gradient, "_buffered", None)  # a call would fail
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64).to(memory_format=torch.channels_last)
    weight = torch.randn(2, 1, 3, 5, dtype=torch.float64, requires_grad=True)

    def convolution(x, weight):
        return depthwise_conv2d(x, weight, stride=(2, 2), padding=(1, 2, 1, 1))

    assert torch.autograd.gradcheck(convolution, (x.requires_grad_(), weight))


SAME = (1, 2, 1, 2)  # TensorFlow's padding for 5x5 with stride 2 on an even map


@pytest.mark.parametrize("padding", [SAME, (2, 2, 2, 2)], ids=["SAME", "both sides"])
def test_even_maps_with_stride_2_are_not_copied(padding, monkeypatch):
    x = torch.randn(4, 16, 10, 12).to(memory_format=torch.channels_last)
    grad = torch.randn(4, 16, 5, 6)
    geometry = {"kernel": (5, 5), "stride": (2, 2), "padding": padding}
    copied = weight_gradient(x.contiguous(), grad, **geometry)
    weight = torch.zeros(16, 1, 5, 5)
    close(copied, torch_gradients(x, weight, grad, stride=2, padding=padding)[2])
    monkeypatch.setattr(depthwise_gradient, "_buffered", None)
    close(weight_gradient(x, grad, **geometry), copied)


def test_many_slices_give_what_one_gives(monkeypatch):
    x = torch.randn(37, 8, 9, 9)
    grad = torch.randn(37, 8, 9, 9)
    geometry = {"kernel": (5, 5), "stride": (1, 1), "padding": (2, 2, 2, 2)}
    whole = weight_gradient(x, grad, **geometry)
    monkeypatch.setattr("zoo.network.fast.depthwise_gradient.BUFFER_BYTES", 40_000)
    slices = weight_gradient(x, grad, **geometry)
    close(slices, whole)
    assert not torch.equal(slices, whole)  # else the slices were not used


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_two_runs_are_equal_bit_by_bit(threads, stride):
    torch.set_num_threads(threads)
    x = torch.randn(64, 96, 6, 6).to(memory_format=torch.channels_last)
    grad = torch.randn(64, 96, 6 // stride, 6 // stride).to(memory_format=torch.channels_last)
    geometry = {"kernel": (5, 5), "stride": (stride, stride), "padding": (2, 2, 2, 2)}
    first = weight_gradient(x, grad, **geometry)
    assert all(torch.equal(first, weight_gradient(x, grad, **geometry)) for _ in range(5))


@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(8, 1, (2, 2, 2, 2)), (8, 2, SAME), (4, 2, SAME)],
    ids=["buffered", "in place", "with a border"],
)
def test_two_threads_at_once_give_the_bits_of_one_after_the_other(size, stride, padding):
    def gradients(seed):
        torch.set_num_threads(1)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(32, 96, size, size, generator=generator)
        x = x.to(memory_format=torch.channels_last).requires_grad_()
        weight = torch.randn(96, 1, 5, 5, generator=generator).requires_grad_()
        results = []
        for _ in range(10):
            output = depthwise_conv2d(x, weight, stride=(stride, stride), padding=padding)
            results += torch.autograd.grad(output.square().sum(), (x, weight))
        return results

    alone = [gradients(seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(gradients, (1, 2)))
    for ours, theirs in zip(together, alone, strict=True):
        assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize(
    ("name", "capability", "used"),
    [
        ("mobilenetv3_small_100", "AVX2", 7),
        ("tf_efficientnet_lite0", "AVX2", 8),
        ("tf_efficientnet_lite0", "AVX512", 11),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_whole_networks(name, layout, capability, used, calls, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    # Smooth activations, and no batch statistics: at the kink of a ReLU6 one rounding error decides
    # whether a unit has a gradient, in torch's float32 as in ours.
    model = timm.create_model(name, num_classes=5, act_layer="silu").eval()
    model = model.to(memory_format=LAYOUTS[layout])
    x = torch.randn(16, 3, 64, 64).to(memory_format=LAYOUTS[layout])
    labels = torch.arange(16) % 5
    reference = copy.deepcopy(model)
    functional.cross_entropy(reference(x), labels).backward()

    keys, types = list(model.state_dict()), [type(module) for module in model.modules()]
    num_depthwise = sum(getattr(m, "groups", 1) > 1 for m in model.modules())
    assert accelerate_depthwise(model) == num_depthwise
    assert accelerate_depthwise(model) == 0  # already done
    assert list(model.state_dict()) == keys
    assert [type(module) for module in model.modules()] == types

    functional.cross_entropy(model(x), labels).backward()
    assert len(calls) == used
    for found, expected in zip(model.parameters(), reference.parameters(), strict=True):
        close(found.grad, expected.grad)

    assert restore_depthwise(model) == num_depthwise
    calls.clear()
    functional.cross_entropy(model(x), labels).backward()
    assert not calls


def layer(**changes):
    settings = {"kernel_size": 5, "padding": 2, "groups": 16, "bias": False}
    return nn.Conv2d(16, 16, **(settings | changes))


def test_off_switch():
    module = layer()
    before = dict(vars(module))
    assert accelerate_depthwise(module, enabled=False) == 0
    assert vars(module) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": 1},
        {"groups": 8},
        {"dilation": 2},
        {"padding_mode": "reflect"},
        {"kernel_size": 1, "padding": 0},
    ],
    ids=str,
)
def test_other_convolutions_are_left_alone(changes):
    assert accelerate_depthwise(layer(**changes)) == 0


def test_a_subclass_with_its_own_forward_is_left_alone():
    class Scaled(nn.Conv2d):
        def forward(self, x):
            return super().forward(2 * x)

    assert accelerate_depthwise(Scaled(16, 16, 5, padding=2, groups=16)) == 0


@pytest.mark.parametrize("padding", ["same", "valid", 2, (2, 1)], ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_every_way_to_say_padding(padding, bias, calls):
    module = layer(padding=padding, bias=bias)
    plain = copy.deepcopy(module).double()
    accelerate_depthwise(module)
    x = torch.randn(16, 16, 6, 6)
    found, expected = module(x), plain(x.double())
    close(found, expected)
    assert len(calls) == 1
    found.square().sum().backward()
    expected.square().sum().backward()
    for ours, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        close(ours.grad, theirs.grad)


def test_only_training_steps_of_plain_float32_on_the_cpu(calls):
    module = layer()
    accelerate_depthwise(module)
    x = torch.randn(16, 16, 2, 2)
    module(x)
    assert len(calls) == 1
    with torch.no_grad():
        module(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module(x)
    module(torch.randn(15, 16, 2, 2))
    torch.func.vmap(module)(torch.randn(3, 16, 16, 2, 2))
    module.double()(x.double())
    module.to("meta")(x.to("meta"))
    module = layer().requires_grad_(False)
    accelerate_depthwise(module)
    module(x.requires_grad_())
    assert len(calls) == 1


def test_copies_and_pickles_are_independent(calls):
    module = nn.Sequential(layer())
    accelerate_depthwise(module)
    x = torch.randn(16, 16, 2, 2)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        calls.clear()
        with torch.no_grad():
            twin[0].weight.zero_()
        assert not twin(x).any()
        assert module(x).any()
        assert len(calls) == 2
        assert restore_depthwise(twin) == 1
    assert restore_depthwise(module) == 1


def test_compiled_code_is_torchs_own(calls):
    module = layer()
    plain = copy.deepcopy(module)
    accelerate_depthwise(module)
    x = torch.randn(16, 16, 2, 2)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    close(compiled(x), plain(x))
    assert not calls


def test_modes_and_state_dict(calls):
    module = nn.Sequential(layer(), nn.BatchNorm2d(16))
    state = copy.deepcopy(module.state_dict())
    accelerate_depthwise(module)
    module.eval().train()
    module.load_state_dict(state)
    assert list(module.state_dict()) == list(state)
    module(torch.randn(16, 16, 2, 2)).sum().backward()
    assert len(calls) == 1
