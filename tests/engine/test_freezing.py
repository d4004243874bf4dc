"""Frozen means frozen, whatever the network is made of; and the cache changes no result."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zoo.network.blocks import blocks
from zoo.network.freeze import (
    digest,
    frozen_tensors,
    set_modes,
    set_trainable,
    trainable_modules,
)
from zoo.network.head import find_head
from zoo.registry import build, parse_choice

FAMILIES = [
    "mobilenetv3_small_050",
    "tf_efficientnet_lite0",  # timm's fused norm and activation
    "resnet18",
    "vit_tiny_patch16_224",  # class token and position embedding at the root
    "convnext_atto",  # layer norm, drop path
    "resnetv2_50",  # group norm and weight-standardised convolutions
    "torchvision/shufflenet_v2_x0_5",
    "torchvision/squeezenet1_1",  # a convolution as head
    "deit_tiny_distilled_patch16_224",  # two heads
    "mlp-mnist",  # BatchNorm1d
    "mlp-cifar",  # dropout
]


def network(registry, name):
    size = {"vit": 224, "dei": 224, "mlp": 28}.get(name[:3], 64)
    torch.manual_seed(0)
    choice = parse_choice(registry, "model", name)
    model = build(choice, num_classes=5, channels=3, image_size=size)
    return model, find_head(model, num_classes=5), torch.rand(2, 3, size, size)


def one_step(model, images):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    nn.functional.cross_entropy(model(images), torch.tensor([0, 1])).backward()
    optimizer.step()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_on_the_head_changes_the_head_alone(registry, name):
    model, head, images = network(registry, name)
    types = {key: type(module) for key, module in model.named_modules()}
    model.train()
    set_trainable(model, head)
    set_modes(model, head, hold_statistics=True)
    before, head_before = digest(frozen_tensors(model, head)), digest(frozen_tensors(model, ()))
    one_step(model, images)
    assert digest(frozen_tensors(model, head)) == before
    assert digest(frozen_tensors(model, ())) != head_before
    assert types == {key: type(module) for key, module in model.named_modules()}
    with torch.no_grad():  # frozen dropout and drop path are still
        frozen_part = [m for n, m in model.named_modules() if m.training and n not in head]
    assert [type(m).__name__ for m in frozen_part if list(m.parameters())] == []

    set_trainable(model, ("",))
    set_modes(model, ("",), hold_statistics=True)
    assert all(p.requires_grad for p in model.parameters())
    statistics = {k: v for k, v in model.state_dict().items() if "running_" in k}
    held = digest(statistics)
    one_step(model, images)
    assert digest({k: model.state_dict()[k] for k in statistics}) == held
    assert digest(frozen_tensors(model, head)) != before


def test_without_holding_the_statistics_move(registry):
    model, _, images = network(registry, "resnet18")
    set_trainable(model, ("",))
    set_modes(model, ("",), hold_statistics=False)
    before = model.bn1.running_mean.clone()
    one_step(model, images)
    assert not torch.equal(before, model.bn1.running_mean)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d(4), nn.BatchNorm2d(4), nn.BatchNorm3d(4), nn.SyncBatchNorm(4)]
)
def test_every_batch_norm_is_held(norm):
    model = nn.Sequential(norm)
    set_modes(model, ("",), hold_statistics=True)
    assert not norm.training


def test_blocks_are_in_order_and_last_n_trains_them(registry):
    model, head, _ = network(registry, "resnet18")
    names = blocks(model, head=head)
    assert names[:3] == ("conv1", "bn1", "layer1.0")
    assert names[-2:] == ("layer4.0", "layer4.1")
    assert trainable_modules(model, head=head, trainable=2) == ("layer4.0", "layer4.1", "fc")
    assert trainable_modules(model, head=head, trainable="all") == ("",)


@pytest.mark.parametrize("model", ["lenet", "mobilenetv3_small_050", "mlp-cifar"])
def test_the_cache_changes_no_result(train, model):
    size = {"mobilenetv3_small_050": 32}.get(model, 16)
    options = {"model": model, "freeze_epochs": 4, "epochs": 0, "img_size": size, "lr": 0.05,
               "optim": "sgd"}  # fmt: skip  # Adam would make a step of a rounding error
    cached, plain = train(cache=True, **options), train(cache=False, **options)
    for a, b in zip(cached.rows, plain.rows, strict=True):
        assert a.train_loss == pytest.approx(b.train_loss, abs=1e-5)
        assert a.val_accuracy == b.val_accuracy
    import zoo

    first, second = (zoo.load(result.path).model.state_dict() for result in (cached, plain))
    for name in first:
        assert torch.allclose(first[name], second[name], atol=1e-4), name


def test_the_digest_sees_every_bit():
    tensor = torch.zeros(3)
    before = digest({"a": tensor})
    tensor[1] = torch.finfo(torch.float32).tiny
    assert digest({"a": tensor}) != before
    assert digest({"b": torch.zeros(3)}) != digest({"a": torch.zeros(3)})
    digest({"half": torch.zeros(2, dtype=torch.bfloat16), "count": torch.tensor(3)})


def test_a_phase_of_the_head_trains_no_block(registry):
    model, head, _ = network(registry, "resnet18")
    assert trainable_modules(model, head=head, trainable="head") == tuple(head)
    last = blocks(model, head=head)[-1]
    assert trainable_modules(model, head=head, trainable=1) == (last, *head)
    assert trainable_modules(model, head=head, trainable="all") == ("",)


def test_what_becomes_frozen_loses_its_gradient_and_the_rest_keeps_its_own(registry):
    model, head, images = network(registry, "resnet18")
    model(images).sum().backward()
    set_trainable(model, head)
    for name, parameter in model.named_parameters():
        trains = name.split(".")[0] in head
        assert parameter.requires_grad is trains
        assert (parameter.grad is not None) is trains


def test_only_buffers_of_batch_norms_may_move_in_what_is_frozen():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))
    model[0].register_buffer("mean", torch.zeros(3))
    frozen = {"0.weight", "0.bias", "0.mean", "1.weight", "1.bias"}
    moving = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert set(frozen_tensors(model, ("2",))) == frozen | moving
    assert set(frozen_tensors(model, ("2",), statistics_move=True)) == frozen
