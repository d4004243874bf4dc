"""The heads' numbers against references, and what their specs mean.

B batch, F features, K classes.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from zoo.errors import SpecError
from zoo.registry import build, parse_choice
from zoo_torch.heads import cosine_logits

SIZE, CLASSES = 12, 5


@pytest.fixture
def made(registry):
    def make(spec, *, num_features=SIZE, num_classes=CLASSES, seed=0):
        torch.manual_seed(seed)
        choice = parse_choice(registry, "head", spec)
        return build(choice, num_features=num_features, num_classes=num_classes)

    return make


def features(count=8, size=SIZE, *, scale=3.0):
    draw = torch.Generator().manual_seed(7)
    return scale * torch.randn(count, size, generator=draw) + 2


def test_linear_is_the_layer_that_networks_end_with(made):
    head = made("linear")
    torch.manual_seed(0)
    layer = nn.Linear(SIZE, CLASSES)
    assert torch.equal(head(features()), layer(features()))
    assert list(head.state_dict()) == ["weight", "bias"], "pretrained heads have these names"


# ---- norm-linear ------------------------------------------------------------------------------


def test_norm_linear_normalises_each_feature_over_images(made):
    head, given = made("norm-linear"), features()
    x = given.double().numpy()
    mean, variance = x.mean(0), x.var(0)
    weight, bias = (p.detach().double().numpy() for p in head.parameters())
    expected = (x - mean) / np.sqrt(variance + 1e-5) @ weight.T + bias
    np.testing.assert_allclose(head(given).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    assert [tuple(p.shape) for p in head.parameters()] == [(CLASSES, SIZE), (CLASSES,)]
    running_mean, running_variance = 0.1 * mean, 0.9 + 0.1 * x.var(0, ddof=1)
    expected = (x - running_mean) / np.sqrt(running_variance + 1e-5) @ weight.T + bias
    found = head.eval()(given).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_or_each_image_over_features(made):
    head, given = made("norm-linear:norm=layer"), features()
    x = given.double().numpy()
    centred = x - x.mean(1, keepdims=True)
    weight, bias = (p.detach().double().numpy() for p in head.parameters())
    expected = centred / np.sqrt(x.var(1, keepdims=True) + 1e-5) @ weight.T + bias
    np.testing.assert_allclose(head(given).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    assert torch.allclose(head(given[:1]), head(given)[:1], atol=1e-6)


def test_it_answers_alike_whatever_the_size_of_features(made):
    head = made("norm-linear")
    small = head(features())
    assert torch.allclose(head(1000 * features()), small, atol=1e-3)


# ---- mlp --------------------------------------------------------------------------------------


def kinds(head):
    return [type(module).__name__ for module in head.modules() if not list(module.children())]


def test_mlp_is_fastais_head_behind_its_pooling(made):
    head = made("mlp-16")
    assert kinds(head) == [
        "BatchNorm1d", "Dropout", "Linear", "ReLU", "BatchNorm1d", "Dropout", "Linear",
    ]  # fmt: skip
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == [0.25, 0.5]
    first, last = (m for m in head.modules() if isinstance(m, nn.Linear))
    assert (tuple(first.weight.shape), first.bias) == ((16, SIZE), None)
    assert tuple(last.weight.shape) == (CLASSES, 16)
    assert last.bias is not None


@pytest.mark.parametrize("norm", ["batch", "layer", "off"])
def test_mlp_computes_what_its_parts_say(made, norm):
    head, given = made(f"mlp:hidden=[16,8],dropout=0,norm={norm}").train(), features(32)
    norms = iter([m for m in head.modules() if isinstance(m, nn.BatchNorm1d | nn.LayerNorm)])
    linears = [m for m in head.modules() if isinstance(m, nn.Linear)]

    def normed(x):
        if norm == "off":
            return x
        own = copy.deepcopy(next(norms))
        with torch.no_grad():  # an affine map that does something
            own.weight.fill_(1.0)
        return (
            F.batch_norm(x, None, None, own.weight, own.bias, training=True)
            if norm == "batch"
            else F.layer_norm(x, (x.shape[1],), own.weight, own.bias)
        )

    x = normed(given)
    for layer in linears[:-1]:
        x = normed(F.relu(x @ layer.weight.T + (0 if layer.bias is None else layer.bias)))
    expected = x @ linears[-1].weight.T + linears[-1].bias
    torch.testing.assert_close(head(given), expected, rtol=1e-5, atol=1e-5)
    assert all((layer.bias is None) == (norm != "off") for layer in linears[:-1])


@pytest.mark.parametrize(
    ("spec", "widths", "rates"),
    [
        ("mlp", [SIZE, 512, CLASSES], [0.25, 0.5]),
        ("mlp-64-0.2", [SIZE, 64, CLASSES], [0.1, 0.2]),
        ("mlp-64,32-0", [SIZE, 64, 32, CLASSES], []),
        ("mlp:hidden=[64,32],dropout=0.4", [SIZE, 64, 32, CLASSES], [0.2, 0.2, 0.4]),
        ("MLP:hidden=[],norm=off", [SIZE, CLASSES], [0.5]),
    ],
)
def test_what_mlp_specs_mean(made, spec, widths, rates):
    head = made(spec)
    layers = [m for m in head.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == list(pairwise(widths))
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == pytest.approx(rates)


def test_kept_features_are_not_written_into(made):
    for spec in ("mlp:norm=off,dropout=0", "mlp", "norm-linear", "cosine", "linear"):
        given = features()
        made(spec).train()(given)
        assert torch.equal(given, features()), spec


# ---- cosine -----------------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**31 - 1),
    size=st.sampled_from([1e-3, 1.0, 1e4]),
    scale=st.floats(0.01, 1000),
)
def test_cosine_logits_are_cosines(seed, size, scale):
    draw = np.random.default_rng(seed)
    x, w = size * draw.normal(size=(4, 6)), draw.normal(size=(3, 6)) / size
    lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(w, axis=1)
    found = cosine_logits(torch.from_numpy(x).float(), torch.from_numpy(w).float(), scale)
    np.testing.assert_allclose(found.numpy(), scale * (x @ w.T) / lengths, atol=2e-5 * scale)


def test_the_scale_is_learned_or_fixed(made):
    head = made("cosine")
    assert {name for name, _ in head.named_parameters()} == {"weight", "log_scale"}
    unit = F.normalize(features(), dim=1) @ F.normalize(head.weight, dim=1).T
    torch.testing.assert_close(head(features()), 10 * unit)
    F.cross_entropy(head(features()), torch.arange(8) % CLASSES).backward()
    assert head.log_scale.grad.abs() > 0
    fixed = made("cosine:scale=30,learned=false")
    assert [name for name, _ in fixed.named_parameters()] == ["weight"]
    torch.testing.assert_close(fixed(features()), 30 * unit)
    assert "log_scale" in fixed.state_dict(), "so that weights with another scale change it"


def test_features_without_a_direction_and_ones_that_half_precision_can_hardly_hold(made):
    head = made("cosine")
    nothing = torch.zeros(2, SIZE, requires_grad=True)
    logits = head(nothing)
    logits.sum().backward()
    assert not logits.any()
    assert nothing.grad.isfinite().all()
    large = torch.full((2, SIZE), 60000.0, dtype=torch.float16)
    torch.testing.assert_close(head(large), head(large.float()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("mlp-0", "hidden is 0, and must be at least 1"),
        ("mlp-512-1", "dropout is 1, and must be at least 0 and below 1"),
        ("mlp:norm=group", "norm is group, and must be one of batch, layer, off"),
        ("norm-linear:norm=none", "norm is none"),
        ("cosine-0", "scale is 0, and must be above 0"),
        ("linear-3", "takes no values after its name"),
    ],
)
def test_specs_that_mean_nothing(made, spec, said):
    with pytest.raises(SpecError, match=said):
        made(spec)
