"""Depthwise convolutions that compute what stands around them, in whole networks."""

from __future__ import annotations

import copy
import pickle
import shutil
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional

from tests.network.block_networks import LAST, Twice, block, fused, holding, images, same_step
from zoo.network.fast import blocks, restore
from zoo.network.fast.native import Kernels

NETWORKS = {
    "mobilenetv3_small_050": (11, 11, 11),
    "tf_efficientnet_lite0": (16, 16, 16),  # SAME padding
    "mobilenetv2_050": (17, 17, 17),
    "convnext_atto": (
        12,
        0,
        0,
    ),  # no activation and no batch norm beside its depthwise convolutions
}


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_a_network_of_timm(name, held, kernels, taken):
    torch.manual_seed(0)
    # SiLU for ReLU: smooth, so that rounding does not decide whether a unit has a gradient.
    options = {} if name == "convnext_atto" else {"act_layer": nn.SiLU}
    model = holding(timm.create_model(name, num_classes=5, **options), held=held)
    plain = copy.deepcopy(model).double()
    keys, types = list(model.state_dict()), [type(module) for module in model.modules()]
    x = images(16)
    fused(model, x, kernels, held=held)
    assert list(model.state_dict()) == keys
    assert [type(module) for module in model.modules()] == types
    taken.clear()
    same_step(model, plain, x, 1e-3)
    num, before, after = NETWORKS[name]
    assert len(taken) == num
    assert sum(kind is not None for kind, _ in taken) == before
    assert sum(kind is not None for _, kind in taken) == after
    assert taken.norms == num * [(not held and before > 0, not held and after > 0)]
    for ours, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs.to(ours.dtype))  # norms that train have counted
    restore(model)
    taken.clear()
    model(x)
    assert not taken
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize(
    ("name", "num", "kinds"),
    [
        ("mobilenet_v2", 17, {nn.ReLU6}),
        ("mobilenet_v3_small", 11, {nn.ReLU, nn.Hardswish}),
        ("efficientnet_b0", 16, {nn.SiLU}),
    ],
)
@pytest.mark.parametrize("held", [True, False])
def test_a_step_of_a_network_of_torchvision(name, num, kinds, held, kernels, taken):
    torch.manual_seed(0)
    model = holding(torchvision.models.get_model(name, num_classes=5), held=held)
    for module in model.modules():
        if isinstance(module, nn.Dropout | torchvision.ops.StochasticDepth):
            module.eval()
    plain = copy.deepcopy(model).double()
    x = images(16)
    fused(model, x, kernels, held=held)
    taken.clear()
    # Rounding decides which units have a gradient, which norms of few values that train make large.
    same_step(model, plain, x, 1e-3 if held else 0.2)
    assert len(taken) == num
    assert {kind for pair in taken for kind in pair} >= kinds
    assert taken.norms.count((True, True)) == (0 if held else sum(None not in one for one in taken))


KNOWN = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU)


@pytest.mark.parametrize(
    ("before", "inplace"),
    [*((kind, inplace) for kind in KNOWN for inplace in (False, True)), (nn.GELU, False),
     (nn.Identity, False)],
)  # fmt: skip
@pytest.mark.parametrize("held", [True, False])
def test_which_activations(before, inplace, held, kernels, taken):
    made = before(inplace=True) if inplace else before()
    model = holding(block(before=lambda: made), held=held)
    plain = copy.deepcopy(model).double()
    fused(model, images(), kernels, held=held)
    taken.clear()
    same_step(model, plain, images(), 1e-3 if held else 1e-2)
    assert taken == [(None if before in (nn.GELU, nn.Identity) else before, nn.Hardswish)]


def test_passes_without_gradients_and_in_other_formats_are_torchs_own(kernels, taken):
    model = holding(block())
    x = images()
    fused(model, x, kernels)
    plain = copy.deepcopy(model)
    restore(plain)
    taken.clear()
    with torch.no_grad():
        assert torch.equal(model(x), plain(x))
    with torch.inference_mode():
        assert torch.equal(model(x), plain(x))
    model.requires_grad_(False)
    assert torch.equal(model(x), plain(x))
    model.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(x)
    model.to(memory_format=torch.contiguous_format)(x.contiguous())
    model.double()(x.double())
    assert not taken
    model.float().to(memory_format=LAST)(x)
    assert taken == [(nn.ReLU6, nn.Hardswish)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (1, (nn.ReLU6, nn.Hardswish)),
        (2, (None, nn.Hardswish)),  # the first activation's output
        (4, (nn.ReLU6, None)),  # the second norm's
        (5, (nn.ReLU6, nn.Hardswish)),
    ],
)
def test_activations_with_a_second_user_are_left_alone(where, expected, kernels, taken):
    model = holding(Twice(where))
    plain = copy.deepcopy(model)
    fused(model, images(), kernels)
    taken.clear()
    same_step(model, plain, images(), 1e-3)
    assert taken == [expected]


def test_an_activation_in_two_places_is_left_alone(kernels, taken):
    shared = nn.ReLU()
    model = holding(block(before=lambda: shared, after=lambda: shared))
    plain = copy.deepcopy(model)
    fused(model, images(), kernels)
    taken.clear()
    same_step(model, plain, images(), 1e-3)
    assert taken == [(None, None)]


class Watched(nn.Module):
    """Uses an activation's output in a way that no gradient shows."""

    def __init__(self):
        super().__init__()
        self.layers = block()

    def forward(self, x):
        x = self.layers[:3](x)
        return self.layers[3:](x) + x.detach().mean()


def test_a_network_that_would_compute_another_thing_is_left_alone(kernels, taken):
    model = holding(Watched())
    plain = copy.deepcopy(model)
    fused(model, images(), kernels)
    taken.clear()
    same_step(model, plain, images(), 1e-3)
    assert not taken


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("place", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("before", [True, False])
def test_whoever_looks_at_a_layer_sees_what_torch_computes(place, before, held, kernels):
    model = holding(block(), held=held)
    plain = copy.deepcopy(model)
    x = images()
    seen, expected = [], []

    def watch(network, notes):
        network[place].register_forward_hook(
            lambda module, given, made: notes.append(made.detach())
        )

    if before:
        watch(model, seen)
    fused(model, x, kernels, held=held)
    if not before:
        watch(model, seen)
    watch(plain, expected)
    seen.clear()
    same_step(model, plain, x, 1e-3 if held else 1e-2)
    if place != 3 or not held:  # the convolution does its norm's work: see held_norms
        near = {} if held else {"rtol": 1e-3, "atol": 1e-3}  # torch's own rounding makes 1e-4
        torch.testing.assert_close(seen, expected, **near)


def test_whoever_looks_at_a_norm_of_timm_sees_its_activations_output(kernels, taken):
    torch.manual_seed(0)
    model = holding(timm.create_model("mobilenetv2_050", num_classes=5))
    plain = copy.deepcopy(model)
    x = images(2)
    fused(model, x, kernels)
    seen = []
    for network in (model, plain):
        network.blocks[1][0].bn1.register_forward_hook(
            lambda module, given, made: seen.append(made.detach())
        )
    taken.clear()
    model(x), plain(x)
    torch.testing.assert_close(*seen)
    assert len(taken) == 16  # of 17


@pytest.mark.parametrize("held", [True, False])
def test_copies_and_pickles_are_independent(held, kernels, taken):
    model = holding(block(), held=held)
    x = images()
    fused(model, x, kernels, held=held)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            twin[3].weight.zero_()
        taken.clear()
        assert not torch.equal(twin(x), model(x))
        assert taken == 2 * [(nn.ReLU6, nn.Hardswish)]
        restore(twin)
    taken.clear()
    model(x)
    assert taken


def test_a_network_that_is_loaded_where_the_library_is_not(kernels, taken, tmp_path):
    x = images()
    model = holding(block())
    plain = copy.deepcopy(model)
    (tmp_path / "here").mkdir()
    here = Kernels(Path(shutil.copy(kernels.path, tmp_path / "here")))
    fused(model, x, here)
    twin = pickle.loads(pickle.dumps(model).replace(b"here", b"gone"))
    assert not blocks.block_of(twin[3]).kernels.usable
    taken.clear()
    same_step(twin, plain, x, 1e-3)
    assert not taken


def test_without_a_library_nothing_changes(taken):
    model = holding(block())
    fused(model, images(), Kernels(Path("/nowhere/kernels.so")))
    fused(model, images(), None)
    model(images())
    assert not taken


def test_an_error_in_the_pass_is_the_networks_own(kernels):
    model = holding(block())
    fused(model, images(), kernels)
    with pytest.raises(RuntimeError, match="channels"):
        model(images(channels=4))
    model(images())


class Between(nn.Module):
    """Something that does nothing in evaluation, between two layers of a block."""

    def __init__(self, place, dropped):
        super().__init__()
        self.layers, self.place, self.dropped = block(), place, dropped

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i == self.place:
                x = self.dropped(x)
        return x


class DropPath(nn.Module):
    def forward(self, x):
        return x * 2 if self.training else x


class Functional(nn.Module):
    def forward(self, x):
        return functional.dropout(x, 0.5, self.training)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("place", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(
    "made", [lambda: nn.Dropout(0.5), lambda: nn.Dropout2d(0.5), DropPath, Functional]
)
def test_what_does_nothing_in_evaluation_is_seen_between_layers(place, made, held, kernels):
    model = holding(Between(place, made()), held=held)
    plain = copy.deepcopy(model)
    fused(model, images(), kernels, held=held)
    for _ in range(2):
        torch.manual_seed(3)
        found = model(images())
        torch.manual_seed(3)
        expected = plain(images())
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
