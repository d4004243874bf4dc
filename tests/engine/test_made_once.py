"""What the runs of an experiment share: each ends as if it had been alone."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec

import pytest
import torch
from safetensors.torch import load_file

import zoo
from zoo.config import RunConfig
from zoo.engine.assembly import network as making
from zoo.engine.assembly.choices import choose
from zoo.engine.assembly.network import MadeOnce, make_network
from zoo.engine.features import collect, frozen
from zoo.network.weights import Chosen
from zoo.registry import PluginRecord, Registry

RANDOM = Chosen(kind="random", reason="")

PLUGIN = '''
import torch
from torch import nn
from zoo.plugin import Component, hookimpl

class Base(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(4, num_classes)
        self.seen = []

    def forward(self, images):
        return self.fc(self.drop(self.conv(images).mean((2, 3))))

class Closure(Base):
    """Its hook writes into the network that it was made in."""
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.conv.register_forward_hook(lambda module, given, out: self.seen.append(out))

class Method(Base):
    """Its hook is a method, which a copy has as its own."""
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.conv.register_forward_hook(self._look)

    def _look(self, module, given, out):
        self.seen[:] = [len(out)]

class Listed(Base):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.scale = {"by": [lambda x: x * (2.0 if self.training else 1.0)]}

class Tied(Base):
    """Two names of one weight."""
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.again = self.conv

made = {}

def again(number):
    return made[number]

class Shared(Base):
    """Its copies are itself."""
    def __reduce__(self):
        made[id(self)] = self
        return again, (id(self),)

class OneInAll(Base):
    """Its copies share a tensor with each other."""
    def __setstate__(self, state):
        super().__setstate__(state)
        self.conv.weight = made.setdefault("weight", self.conv.weight)

class Uncopied(Base):
    def __reduce__(self):
        raise RuntimeError("no copies")

class Other(Base):
    """A copy that computes something else."""
    def __reduce__(self):
        return Base, (self.fc.out_features,)

def build(kind, *, num_classes, channels, image_size):
    return globals()[kind](num_classes)

KINDS = (
    "Base", "Closure", "Method", "Listed", "Tied", "Shared", "OneInAll", "Uncopied", "Other",
)

@hookimpl
def zoo_components():
    return [
        Component(
            kind="model", name=kind.lower(), target="acme_networks:build", summary="a network",
            preset={"kind": kind},
        )
        for kind in KINDS
    ]
'''


@pytest.fixture(scope="module")
def acme(registry):
    """The built-in components, and networks that are hard to copy."""
    module = sys.modules["acme_networks"] = module_from_spec(ModuleSpec("acme_networks", None))
    exec(compile(PLUGIN, "acme_networks.py", "exec"), module.__dict__)
    plugin = PluginRecord(
        namespace="acme", module="acme_networks", distribution="zoo-acme", version="1.0",
        components=tuple(module.zoo_components()),
    )  # fmt: skip
    yield Registry([*registry.plugins, plugin])
    del sys.modules["acme_networks"]


@pytest.fixture
def made(monkeypatch):
    """How often a network was made from nothing."""
    calls = []

    def counted(*args):
        calls.append(args)
        return make_network(*args)

    monkeypatch.setattr(making, "make_network", counted)
    return calls


def asked(registry, *, model="lenet", num_classes=2, taken=RANDOM, **options):
    config = RunConfig.from_mapping({"model": model, "img_size": 16, "channels": 3, **options})
    return config, choose(config, registry), taken, num_classes


def assert_same(one, two):
    assert (one.head, one.proved, one.notes) == (two.head, two.proved, two.notes)
    first, second = one.model.state_dict(), two.model.state_dict()
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert [type(m) for m in one.model.modules()] == [type(m) for m in two.model.modules()]
    assert [m.training for m in one.model.modules()] == [m.training for m in two.model.modules()]


def test_a_network_that_is_asked_for_again_is_the_callers_own(registry, made):
    once = MadeOnce()
    alone = make_network(*asked(registry))
    state = torch.get_rng_state()
    for _ in range(3):
        torch.manual_seed(99)
        found = once(*asked(registry))
        assert torch.equal(torch.get_rng_state(), state), "what is drawn next is the same, too"
        assert_same(found, alone)
        with torch.no_grad():  # what a run does to its network
            for tensor in found.model.state_dict().values():
                tensor.zero_()
        found.model.requires_grad_(False)
        found.model.train()
    assert len(made) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1}, {"img_size": 20}, {"dropout": 0.3}, {"model": "mlp-mnist"},
        {"num_classes": 3}, {"head": "mlp"}, {"model": "acme/method"},
    ],
    ids=str,
)  # fmt: skip
def test_another_network_is_made(acme, made, other):
    once = MadeOnce()
    base = {"model": "acme/base"}
    once(*asked(acme, **base))
    found, alone = once(*asked(acme, **base | other)), make_network(*asked(acme, **base | other))
    assert_same(found, alone)
    assert [repr(module) for module in found.model.modules()] == [
        repr(module) for module in alone.model.modules()
    ]
    assert len(made) == 2
    once(*asked(acme, **base))
    once(*asked(acme, **base | other))
    assert len(made) == 2, "both are kept"


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        ("base", 1), ("method", 1), ("tied", 1), ("closure", 2), ("listed", 2), ("shared", 2),
        ("oneinall", 2), ("uncopied", 2), ("other", 2),
    ],
)  # fmt: skip
def test_only_what_a_copy_stands_for_is_copied(acme, made, kind, times):
    once = MadeOnce()
    first, second = (once(*asked(acme, model=f"acme/{kind}")).model for _ in range(2))
    assert len(made) == times
    images = torch.rand(3, 3, 16, 16)
    assert torch.equal(first.eval()(images), second.eval()(images))
    with torch.no_grad():
        first.conv.weight.zero_()
    assert second.conv.weight.any()
    if kind == "tied":
        assert second.again is second.conv
    if kind in ("method", "closure"):
        assert first.seen is not second.seen
        assert second.seen


def test_the_networks_that_are_kept_take_little_memory(registry, made, monkeypatch):
    size = making._num_bytes(make_network(*asked(registry)).model)
    once = MadeOnce()
    monkeypatch.setattr(making, "_KEPT_BYTES", 2 * size)
    for seed in (0, 1, 2, 2, 1):
        once(*asked(registry, seed=seed))
    assert len(made) == 3
    once(*asked(registry, seed=0))
    assert len(made) == 4, "the one that was not asked for longest went"
    monkeypatch.setattr(making, "_KEPT_BYTES", size - 1)
    once = MadeOnce()
    for _ in range(2):
        once(*asked(registry))
    assert len(made) == 6


@pytest.fixture
def computed(monkeypatch):
    """How often features were computed, and looked for on the disk."""
    calls = {"passes": 0, "looks": 0}
    real_pass, real_look = collect.computed, frozen.choose_engine

    def counted_pass(*args, **options):
        calls["passes"] += 1
        return real_pass(*args, **options)

    def counted_look(*args, **options):
        calls["looks"] += 1
        return real_look(*args, **options)

    monkeypatch.setattr(collect, "computed", counted_pass)
    monkeypatch.setattr(frozen, "choose_engine", counted_look)
    return calls


HEADS = {
    "model": "lenet", "weights": "none", "img_size": 16, "batch_size": 8, "epochs": 0,
    "freeze_epochs": 3, "threads": 1, "workers": 0,
}  # fmt: skip


def weights(result):
    return load_file(result.path / "best" / "model.safetensors")


def test_the_runs_of_a_sweep_end_as_runs_alone(shapes_folder, tmp_path, registry, computed, made):
    options = {**HEADS, "data": str(shapes_folder), "runs": str(tmp_path)}
    grid = {"lr": [0.5, 0.05, 1e-6], "loss": ["ce", "focal"]}
    together = zoo.sweep(options, grid=grid, name="s", registry=registry)
    assert len(made) == 1
    assert computed == {"passes": 3, "looks": 2}, "train and val, then test: by the first run"
    best = set()
    for one in together.outcomes:
        alone = zoo.run(options, **one.trial.setting, registry=registry)
        ours, theirs = weights(one.result), weights(alone)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        assert [row.val_loss for row in one.result.rows] == [row.val_loss for row in alone.rows]
        assert one.result.test_loss == alone.test_loss
        best.add(one.result.best_epoch)
    assert len(best) > 1, "some runs end with their best weights and some do not"


@pytest.mark.parametrize(
    ("grid", "more", "looks"),
    [
        ({"lr": [0.1, 0.2]}, {}, 2),
        ({"img_size": [16, 20]}, {}, 4),
        ({"engine": ["torch", "folded"]}, {}, 4),
        ({"feature_dtype": ["fp32", "bf16"]}, {}, 4),
        ({"lr": [0.1, 0.2]}, {"keep_features": False}, 4),
        ({"lr": [0.1, 0.2]}, {"ram": 0}, 4),
    ],
    ids=str,
)
def test_features_are_taken_by_the_next_run_if_they_are_its_own(
    shapes_folder, tmp_path, registry, computed, grid, more, looks
):
    options = {**HEADS, **more, "data": str(shapes_folder), "runs": str(tmp_path)}
    together = zoo.sweep(options, grid=grid, name="s", registry=registry)
    assert computed["looks"] == looks
    for one in together.outcomes:
        alone = zoo.run(options, **one.trial.setting, registry=registry)
        assert [row.val_loss for row in one.result.rows] == [row.val_loss for row in alone.rows]
        assert one.result.test_loss == alone.test_loss


def test_the_folds_of_an_experiment_have_features_of_their_own(
    shapes_folder, tmp_path, registry, computed
):
    options = {**HEADS, "data": str(shapes_folder), "runs": str(tmp_path)}
    together = zoo.kfold(options, folds=3, name="k", registry=registry)
    for one in together.outcomes:
        alone = zoo.run(options, **one.trial.setting, registry=registry)
        assert [row.val_loss for row in one.result.rows] == [row.val_loss for row in alone.rows]
        assert one.result.test_loss == alone.test_loss


def test_a_phase_that_follows_does_not_keep_the_features_in_memory(train, monkeypatch):
    held = []
    real = frozen.Spare.rows

    def rows(self, view, *, made_of):
        held.append((view, real(self, view, made_of=made_of) is not None))
        return real(self, view, made_of=made_of)

    monkeypatch.setattr(frozen.Spare, "rows", rows)
    train(freeze_epochs=1, epochs=1, lr=0.05)
    assert held
    assert not any(found for _, found in held)
