"""The network cut where it begins to train: its parts give what the whole gives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from zoo.network.blocks import blocks
from zoo.network.freeze import set_modes, set_trainable, trainable_modules
from zoo.network.frontier import NoFrontier, find_frontier
from zoo.network.head import find_head, proves_out
from zoo.registry import build, parse_choice

MODELS = ("lenet", "mlp-cifar", "timm/mobilenetv3_small_050", "torchvision/resnet18",
          "timm/vit_tiny_patch16_224", "torchvision/squeezenet1_1")  # fmt: skip


def cut(model, *, num_classes, trainable):
    head = find_head(model, num_classes=num_classes)
    trained = trainable_modules(model, head=head, trainable=trainable)
    set_trainable(model, trained)
    set_modes(model, trained, hold_statistics=False)
    last = len(head) == 1 and proves_out(model, head[0], torch.rand(2, 3, 32, 32))
    return find_frontier(model, head=head, trained=trained, head_is_last=last), trained


@pytest.fixture(scope="module")
def networks(registry):
    torch.manual_seed(0)
    return {
        name: build(parse_choice(registry, "model", name), num_classes=5, channels=3, image_size=32)
        for name in MODELS
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_parts_give_what_the_whole_gives_at_every_block(networks, name):
    model = networks[name]
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    head = find_head(model, num_classes=5)
    names = blocks(model, head=head)
    some = sorted({1, 2, len(names) // 2, len(names) - 1} - {0})
    for trainable in ("head", *some):
        frontier, trained = cut(model, num_classes=5, trainable=trainable)
        # After SqueezeNet's head come a ReLU and a pooling: they go with it.
        assert frontier.at_head == (trainable == "head" and "squeezenet" not in name)
        assert frontier.proves_out(model, images), trainable
        if not frontier.at_head:
            before = {id(parameter) for parameter in frontier.prefix.parameters()}
            assert not any(id(p) in before for p in model.parameters() if p.requires_grad)
        model.eval()
        with torch.no_grad():  # an independent look: the cut by hand, with a hook
            seen = []
            target = frontier.rest if frontier.at_head else model.get_submodule(frontier.name)
            hook = target.register_forward_pre_hook(
                lambda _, args, seen=seen: seen.append(args[0].clone())
            )
            expected = model(images)
            hook.remove()
            if trained[0] == frontier.name and seen:
                assert torch.equal(frontier.features(model, images), seen[0])
            assert torch.allclose(frontier.rest(frontier.prefix(images)), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp-cifar", "timm/mobilenetv3_small_050"])
def test_gradients_and_statistics_are_those_of_the_whole(networks, name):
    """In training mode, dropout and batch-norm statistics included."""
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    results = []
    for whole in (True, False):
        model = copy.deepcopy(networks[name])
        frontier, trained = cut(model, num_classes=5, trainable=2)
        activation = frontier.features(model, images).detach()
        torch.manual_seed(3)
        logits = model(images) if whole else frontier.rest(activation)
        logits.square().mean().backward()
        results.append((
            {n: p.grad for n, p in model.named_parameters() if p.grad is not None},
            {n: b.clone() for n, b in model.named_buffers()},
        ))  # fmt: skip
        assert results[-1][0], trained
    (first, buffers), (second, again) = results
    assert first.keys() == second.keys()
    for key in first:
        assert torch.allclose(first[key], second[key], rtol=1e-4, atol=1e-7), key
    assert all(torch.allclose(buffers[key].float(), again[key].float()) for key in buffers)


class Net(nn.Module):
    """Three blocks whose outer code is given."""

    def __init__(self, code):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.head, self.code = nn.Linear(6, 2), code

    def forward(self, x, extra=None):
        return self.head(self.code(self, x.flatten(1)[:, :6], extra))


def test_a_residual_across_blocks_moves_the_cut_to_where_one_tensor_crosses():
    def skipping(net, x, extra):
        y = net.a(x)
        return net.c(net.b(y)) + y

    model = Net(skipping)
    frontier, _ = cut(model, num_classes=2, trainable=1)
    assert frontier.name == "b", "what c is given and what is added to it both come from there"
    assert frontier.proves_out(model, torch.rand(3, 3, 2, 2))


def test_an_argument_that_is_not_given_is_taken_as_its_default():
    def optional(net, x, extra):
        x = net.b(net.a(x))
        return net.c(x if extra is None else x + extra)

    model = Net(optional)
    frontier, _ = cut(model, num_classes=2, trainable=2)
    assert frontier.name == "b"
    assert frontier.proves_out(model, torch.rand(3, 3, 2, 2))


def test_what_cannot_be_cut_says_why():
    def deciding(net, x, extra):
        return net.c(net.a(x)) if x.sum() > 0 else net.b(x)

    def doubled(net, x, extra):
        return net.c(x) + net.a(x)

    with pytest.raises(NoFrontier, match="cannot be traced"):
        cut(Net(deciding), num_classes=2, trainable=1)
    with pytest.raises(NoFrontier, match="nothing comes before"):
        cut(Net(doubled), num_classes=2, trainable=3)


def test_a_cut_that_is_not_right_does_not_prove_out():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.layer = 0, nn.Linear(6, 6)

        def forward(self, x):
            self.calls += 1
            return self.layer(x) * self.calls

    def straight(net, x, extra):
        return net.c(net.b(net.a(x)))

    def mixing(net, x, extra):  # the images of a batch know of each other
        return net.c(net.b(net.a(x) - net.a(x).mean(0)))

    counting = Net(straight)
    counting.b = Counting()
    for model in (counting, Net(mixing)):
        frontier, _ = cut(model, num_classes=2, trainable=1)
        assert not frontier.proves_out(model, torch.rand(3, 3, 2, 2))
    assert model.c.training, "modes are left as they were"


def test_a_cut_behind_a_function_is_called_the_same_in_every_process():
    def between(net, x, extra):
        y = torch.relu(net.b(net.a(x)))
        return net.c(torch.tanh(y)) + y

    frontier, _ = cut(Net(between), num_classes=2, trainable=1)
    assert frontier.name == "relu"
