"""The inference engine of a frozen phase is made once, kept for the test images, and closed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from tests.engine.feature_runs import FROZEN as HEAD_ALONE
from tests.engine.feature_runs import Watch, assert_close
from zoo.engine.events import Observer
from zoo.engine.features import engines
from zoo.engine.features.spare import Spare
from zoo.network.frontier import Frontier
from zoo.network.inference import choosing
from zoo.network.inference.forwards import TorchForward
from zoo.registry import Registry


@pytest.fixture
def made(monkeypatch):
    """Engines that were made: (name, how often each was closed)."""
    found = []
    real = engines.fast_forward

    def fast_forward(*args, **options):
        forward = real(*args, **options)
        entry = [forward.name, 0]
        close = forward.close

        def closed():
            entry[1] += 1
            close()

        forward.close = closed
        found.append(entry)
        return forward

    monkeypatch.setattr(engines, "fast_forward", fast_forward)
    return found


FROZEN = {
    "model": "timm/mobilenetv3_small_050", "img_size": 32, "engine": "folded", "lr": 0.01,
    "aug": "none", "warmup": 0.0,
}  # fmt: skip


def test_a_frozen_run_makes_its_engine_once(train, made):
    result = train(**FROZEN, freeze_epochs=2, epochs=0)
    assert made == [["folded", 1]]
    plain = train(**{**FROZEN, "engine": "torch"}, freeze_epochs=2, epochs=0, keep_features=False)
    assert result.test_loss == pytest.approx(plain.test_loss, abs=1e-4)
    assert result.test_accuracy == plain.test_accuracy


def test_the_engine_is_closed_before_another_phase_begins(train, made):
    left = []

    class Looking(Observer):
        def weights_shown(self, view, *, epoch):
            left.append([closed for _, closed in made])

    phases = "head:epochs=1+last-2:epochs=1+all:epochs=1"
    train(**FROZEN, phases=phases, epochs=None, observer=Looking())
    assert left == [[1], [1, 1], [1, 1]]
    assert {closed for _, closed in made} == {1}


class Closing(TorchForward):
    closed = 0

    def close(self):
        self.closed += 1


def test_a_spare_engine_is_of_one_name_and_one_frozen_part():
    spare, first, second = Spare(), Closing(nn.ReLU()), Closing(nn.ReLU())
    assert spare.take_engine("torch", made_of=1) is None
    spare.keep_engine(first, made_of=1)
    assert spare.take_engine("torch", made_of=2) is None
    assert spare.take_engine("folded", made_of=1) is None
    assert spare.take_engine("torch", made_of=1) is first
    assert spare.take_engine("torch", made_of=1) is None, "it is the caller's now"
    spare.keep_engine(first, made_of=1)
    spare.keep_engine(second, made_of=1)
    assert (first.closed, second.closed) == (1, 0)
    spare.close()
    spare.close()
    assert (first.closed, second.closed) == (1, 1)
    assert torch.equal(first(torch.tensor([-1.0, 2.0])), torch.tensor([0.0, 2.0]))


PLUGIN = """
import threading
from torch import nn
from zoo.plugin import Component, hookimpl

@hookimpl
def zoo_components():
    yield Component(kind='model', name='needing', target=f'{__name__}:build')

class Needing(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, num_classes)
        self.kept = KEPT

    def forward(self, x):
        x = self.body(x).relu().mean((2, 3))
        return HEAD

def build(num_classes):
    return Needing(num_classes)
"""

NEEDING = {
    "looks into its head": (
        "auto", "None", "self.head(x.to(self.head.weight.dtype))",
        "folded without the head: 'Identity' object has no attribute 'weight'",
    ),
    "cannot be copied": (
        "folded", "threading.Lock()", "self.head(x)",
        "folded without the head: cannot pickle '_thread.lock' object",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", NEEDING)
def test_a_network_that_is_nothing_without_its_head_is_computed_whole(
    make_plugin, shapes_folder, tmp_path, monkeypatch, way
):
    engine, kept, head, why = NEEDING[way]
    monkeypatch.setattr(engines, "_FEW_IMAGES", 0)
    monkeypatch.setattr(choosing, "_LITTLE_SECONDS", 0)
    make_plugin("needing", PLUGIN.replace("KEPT", kept).replace("HEAD", head))
    base = {"model": "needing", "data": str(shapes_folder), "img_size": 16, "threads": 1,
            "runs": str(tmp_path / "runs"), **HEAD_ALONE}  # fmt: skip
    watch = Watch()
    cached = zoo.run(base, engine=engine, registry=Registry.installed(), observer=watch)
    assert watch.cached == [True]
    (note,) = [note for note in watch.notes if note.startswith("inference engine")]
    assert note.startswith("inference engine torch")
    assert why in note
    assert_close(cached, zoo.run(base, cache=False, registry=Registry.installed()), to=1e-4)


@pytest.mark.parametrize(("engine", "closed"), [("torch", []), ("folded", [["folded", 1]])])
def test_features_that_hang_on_their_company_are_not_kept(
    make_plugin, shapes_folder, tmp_path, monkeypatch, made, engine, closed
):
    """One thread computes a small batch whole, so the engine gives what the network gives."""
    monkeypatch.setattr(engines, "_FEW_IMAGES", 0)
    make_plugin("needing", PLUGIN.replace("KEPT", "None").replace(
        "HEAD", "self.head(x - x.mean(0))"
    ))  # fmt: skip
    watch = Watch()
    zoo.run(
        {"model": "needing", "data": str(shapes_folder), "img_size": 16, "threads": 1,
         "runs": str(tmp_path / "runs"), **HEAD_ALONE},
        engine=engine, registry=Registry.installed(), observer=watch,
    )  # fmt: skip
    assert watch.cached == [False]
    assert any("the parts do not give what the whole network gives" in n for n in watch.notes)
    assert made == closed


def test_the_cut_is_proved_once_for_an_engine_that_is_kept(train, monkeypatch):
    proofs = []
    proves_out = Frontier.proves_out

    def proving(self, model, images):
        proofs.append(len(images))
        return proves_out(self, model, images)

    monkeypatch.setattr(Frontier, "proves_out", proving)
    train(**FROZEN, freeze_epochs=1, epochs=0)
    assert len(proofs) == 1


OTHER_TYPES = {
    "float64": ("self.head.double()", "self.head(x.double())"),
    "bfloat16": ("self.bfloat16()", "self.head(x)"),
    "float32 at the end": ("self.head.double()", "self.head(x.double()).float()"),
}


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_a_network_whose_features_are_no_float32_trains_whole(
    make_plugin, shapes_folder, tmp_path, kind
):
    made, head = OTHER_TYPES[kind]
    code = PLUGIN.replace("KEPT", f"({made}, None)[1]").replace("HEAD", head)
    make_plugin("needing", code.replace("self.body(x)", "self.body(x.to(self.body.weight.dtype))"))
    watch = Watch()
    base = {"model": "needing", "data": str(shapes_folder), "img_size": 16, "threads": 1,
            "runs": str(tmp_path / "runs"), **HEAD_ALONE}  # fmt: skip
    result = zoo.run(base, registry=Registry.installed(), observer=watch)
    assert watch.cached == [False]
    assert any("what it makes is torch." in note for note in watch.notes)
    assert result.test_loss > 0
