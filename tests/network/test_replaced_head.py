"""Another classifier in the place of a network's own: found whole, started well, or refused.

B batch, F features, K classes.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zoo.errors import CheckpointError, PluginError, UsageError
from zoo.network.dropout import override_dropout
from zoo.network.freeze import set_modes, set_trainable
from zoo.network.head import find_head, head_input, proves_out, zero_head
from zoo.network.loading import load_into
from zoo.network.replacing import replace_head
from zoo.registry import build, parse_choice

K = 5


class Deep(nn.Module):
    """A head of two layers with a norm between them and dropout before the last."""

    def __init__(self, num_features, num_classes=K):
        super().__init__()
        self.hidden = nn.Linear(num_features, 6)
        self.norm = nn.BatchNorm1d(6)
        self.dropout = nn.Dropout(0.4)
        self.last = nn.Linear(6, num_classes)

    def forward(self, features):
        return self.last(self.dropout(self.norm(self.hidden(features).relu())))


class Small(nn.Module):
    """A network whose ways are set by a word."""

    def __init__(self, way=""):
        super().__init__()
        self.way = way
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(4, K)
        if way == "tied":
            object.__setattr__(self, "same", self.head)

    def forward(self, images):
        features = self.dropout(self.body(images))
        if self.way == "twice":
            return self.head(features) + self.head(features)
        if self.way == "tokens":
            return self.head(features[:, None].expand(-1, 3, -1)).mean(1)
        if self.way == "weights":
            return features @ self.head.weight.T
        if self.way == "looks":
            return self.head(features) + 0 * self.head.weight.sum()
        if self.way == "tied":
            return self.same(features)
        if self.way == "after":
            return self.head(features) * 2
        return self.head(features)


def images(size=2, channels=3, count=2):
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(3))


def replaced(model, made=Deep, **given):
    head = find_head(model, num_classes=K)
    return replace_head(model, head=head, images_BCHW=given.get("images", images()), build=made)


@pytest.mark.parametrize(
    ("name", "size", "head"),
    [
        ("timm/mobilenetv3_small_050", 32, "classifier"),  # dropout as a number before it
        ("timm/resnet10t", 32, "fc"),
        ("timm/test_vit", 160, "head"),
        ("timm/test_convnext", 64, "head.fc"),
        ("torchvision/mobilenet_v3_small", 32, "classifier.3"),  # hidden layer and dropout before
        ("lenet", 28, "head"),
        ("mlp-mnist", 28, "head"),
    ],
)
def test_the_new_head_gets_what_the_old_one_got_and_is_found_whole(registry, name, size, head):
    model = build(parse_choice(registry, "model", name), num_classes=K, channels=3, image_size=size)
    model.eval()
    given = images(size)
    with torch.no_grad():
        features = head_input(model, head, given)
    before = {key: t.clone() for key, t in model.state_dict().items() if not key.startswith(head)}
    made = []

    def deep(num_features):
        made.append(num_features)
        return Deep(num_features)

    assert replaced(model, deep, images=given) == (head,)
    assert made == [features.shape[1]]
    assert find_head(model, num_classes=K) == (head,)
    assert isinstance(model.get_submodule(head), Deep)
    assert not model.get_submodule(head).training, "in the mode of the one before"
    after = {key: t for key, t in model.state_dict().items() if not key.startswith(head)}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    with torch.no_grad():
        assert torch.equal(head_input(model, head, given), features)
    assert proves_out(model, head, given)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("twice", "calls its head 'head' 2 times"),
        ("tokens", r"\(2, 3, 4\) for 2 images, not a row of features"),
        ("weights", "calls its head 'head' 0 times"),
        ("looks", "cannot do with another module in the place of its head 'head'"),
        ("tied", "cannot do with another module in the place of its head 'head'"),
    ],
)
def test_a_network_without_a_place_for_it_is_refused_and_left_alone(way, said):
    model = Small(way).train()
    own = model.head
    with pytest.raises(UsageError, match=said) as caught:
        replaced(model)
    assert "leave --head out" in caught.value.hint
    assert model.head is own
    assert not hasattr(model, "zoo_head")
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("timm/deit_tiny_distilled_patch16_224", 32, "has 2 heads"),
        ("torchvision/squeezenet1_1", 32, r"\(2, 512, 1, 1\) for 2 images"),
    ],
)
def test_real_networks_that_are_refused(registry, name, size, said):
    model = build(parse_choice(registry, "model", name), num_classes=K, channels=3, image_size=size)
    with pytest.raises(UsageError, match=said):
        replaced(model, images=images(size))


def test_a_network_that_is_one_layer_has_no_place_for_another():
    with pytest.raises(UsageError, match="nothing but a head"):
        replaced(nn.Linear(2, K), images=torch.rand(2, 2))


def test_a_network_that_does_something_after_its_head_takes_another():
    model = Small("after")
    replaced(model)
    assert not proves_out(model, "head", images())  # so the engine trains it without the cache


# ---- how it starts ----------------------------------------------------------------------------


def test_the_last_layer_alone_starts_at_zero_and_everything_gets_a_gradient():
    model = Small()
    replaced(model)
    hidden = model.head.hidden.weight.clone()
    zero_head(model, head=("head",), num_classes=K)
    assert not model.head.last.weight.any()
    assert not model.head.last.bias.any()
    assert torch.equal(model.head.hidden.weight, hidden)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images(count=4)), torch.arange(4)).backward()
        optimizer.step()
    assert all(parameter.grad.any() for parameter in model.parameters())


def test_a_linear_head_starts_at_zero_as_it_always_has():
    model = Small()
    zero_head(model, head=("head",), num_classes=K)
    assert not model.head.weight.any()
    assert not model.head.bias.any()


@pytest.mark.parametrize("way", ["none", "named", "no linear layer", "linear within"])
def test_a_head_that_ends_otherwise_says_so(way):
    model = Small()
    replaced(model)
    head = model.head
    if way == "none":
        head.zoo_last = None
    elif way == "named":
        head.zoo_last = "hidden"
    elif way == "no linear layer":
        head.last = nn.Identity()
    else:
        head.last = nn.Linear(6, K + 1)
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    zero_head(model, head=("head",), num_classes=K)
    changed = {name for name, t in head.state_dict().items() if not torch.equal(t, before[name])}
    assert changed == ({"hidden.weight", "hidden.bias"} if way == "named" else set())


@pytest.mark.parametrize("named", ["nothing", 3])
def test_a_last_layer_that_is_not_there_is_told(named):
    model = Small()
    replaced(model)
    model.head.zoo_last = named
    with pytest.raises(PluginError, match=r"Deep\.zoo_last is"):
        zero_head(model, head=("head",), num_classes=K)


# ---- modes, dropout, weights ------------------------------------------------------------------


def test_statistics_of_a_new_head_move_whatever_is_held():
    model = Small()
    replaced(model)
    for modules in (("head",), ("",)):
        set_trainable(model, modules)
        set_modes(model, modules, hold_statistics=True, never_held=("head",))
        assert model.head.norm.training
        assert not model.body[2].training
    set_modes(model, ("body",), hold_statistics=True, never_held=("head",))
    assert not model.head.norm.training, "it does not train here"
    set_modes(model, ("",), hold_statistics=True)
    assert not model.head.norm.training, "nobody said that it is new"


def test_the_dropout_of_a_new_head_is_its_own():
    model = Small()
    replaced(model)
    assert override_dropout(model, dropout=0.1, but=("head",)).dropouts == 1
    assert (model.dropout.p, model.head.dropout.p) == (0.1, 0.4)
    override_dropout(model, dropout=0.3)
    assert (model.dropout.p, model.head.dropout.p) == (0.3, 0.3)


@pytest.mark.parametrize("head", ["another", "more in the file", "the same"])
def test_weights_fit_but_for_another_head(head):
    torch.manual_seed(1)
    source, target = Small(), Small()
    replaced(target)
    if head != "another":
        replaced(source)
    if head == "more in the file":
        target.head = nn.Sequential()
        target.head.hidden = nn.Linear(4, 6)
        target.head.last = nn.Linear(6, K)
    own = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    report = load_into(target, source.state_dict(), head=("head",))
    assert report.head_replaced == (head != "the same")
    assert report.unexpected == report.missing == report.mismatched == ()
    for name, tensor in target.state_dict().items():
        expected = own if report.head_replaced and name.startswith("head") else source.state_dict()
        assert torch.equal(tensor, expected[name]), name


def test_weights_of_another_network_are_refused_all_the_same():
    model = Small()
    replaced(model)
    with pytest.raises(CheckpointError, match="not this network's weights"):
        load_into(model, {"head.hidden.weight": torch.zeros(6, 4)}, head=("head",))
