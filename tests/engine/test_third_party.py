"""Components of others in a run: what they cannot do is said first, what they break names them."""

from __future__ import annotations

import json
import math

import pytest

import zoo
from zoo.errors import PluginError, UsageError, ZooError

PLUGIN = """
import os

import torch
from torch import nn
from torch.nn import functional as F
from zoo.plugin import Component, hookimpl


@hookimpl
def zoo_components():
    for kind, name, target in (
        ("scheduler", "forgetful", "Forgetful"), ("loss", "plain", "plain"),
        ("loss", "ruin", "ruin"), ("loss", "number", "number"), ("scheduler", "uphill", "uphill"),
        ("scheduler", "tensor", "tensor"), ("optimizer", "tidy", "tidy"),
        ("optimizer", "full", "full"), ("loss", "learned", "Learned"), ("loss", "word", "nothing"),
        ("model", "half", "half"), ("model", "nothing", "nothing"), ("head", "tired", "Tired"),
        ("model", "narrow", "narrow"), ("transform", "nothing", "nothing"),
        ("model", "sulky", "Sulky"), ("optimizer", "nothing", "nothing"),
        ("dataset", "nothing", "nothing"),
        ("loss", "endless", "endless"), ("loss", "nan", "nan"), ("loss", "short", "short"),
        ("loss", "shorter", "Shorter"),
    ):
        yield Component(kind=kind, name=name, target=f"{__name__}:{target}", summary=name)


class Forgetful:
    def __call__(self, epoch):
        return 1.0

    def observe(self, score):
        self.seen = score

    def state_dict(self):
        return {}


def plain():
    return lambda logits, target, weight=None: F.cross_entropy(logits, target)


def ruin():
    def loss(logits, target, weight=None):
        raise ValueError("no such thing")

    return loss


def endless(value=float("inf")):
    def loss(logits, target, weight=None):
        return F.cross_entropy(logits, target) * (1 if torch.is_grad_enabled() else value)

    return loss


def short():
    return lambda logits, target: F.cross_entropy(logits, target)


class Shorter(nn.Module):
    def forward(self, logits, target):
        return F.cross_entropy(logits, target)


def nan():
    return endless(float("nan"))


def number():
    return lambda logits, target, weight=None: 0.5


def uphill():
    return lambda epoch: -1.0 if epoch else 1.0


def tensor():
    return lambda epoch: torch.tensor(1.0)


def tidy(params, *, lr, weight_decay):
    known = ("params", "lr", "weight_decay")
    return torch.optim.SGD([{key: group[key] for key in known} for group in params], lr=lr)


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.margin = nn.Parameter(torch.zeros(()))

    def forward(self, logits, target, weight=None):
        return F.cross_entropy(logits + self.margin, target)


def nothing(params=()):
    return None


def narrow(num_classes, channels):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 28**2, num_classes))


def half(num_classes, channels, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size**2, num_classes)).half()


class Sulky(nn.Sequential):
    def __init__(self, num_classes, channels, image_size):
        super().__init__(nn.Flatten(), nn.Linear(channels * image_size**2, num_classes))

    def forward(self, images):
        if "SULKY" in os.environ:
            raise LookupError("not today")
        return super().forward(images)


class Tired(nn.Module):
    def __init__(self, num_features, num_classes):
        super().__init__()
        self.layer, self.calls = nn.Linear(num_features, num_classes), 0

    def forward(self, features):
        self.calls += 1
        if self.calls > 3:
            raise KeyError("tired")
        return self.layer(features)


class full(torch.optim.SGD):
    def step(self, closure=None):
        raise OSError(28, "No space left on device", "/far")
"""


@pytest.fixture
def go(make_plugin, shapes_folder, tmp_path):
    """Trains a tiny network with the plugin's components there."""
    make_plugin("acme", PLUGIN)

    def call(**options):
        return zoo.run(
            **{"data": str(shapes_folder), "model": "lenet", "weights": "none", **options},
            img_size=16, batch_size=8, epochs=1, threads=1, runs=str(tmp_path / "runs"),
        )  # fmt: skip

    return call


def test_a_schedule_that_hears_the_metric_and_keeps_no_state_is_refused(go, tmp_path):
    with pytest.raises(PluginError, match="acme/forgetful has observe and no state") as caught:
        go(sched="forgetful")
    assert caught.value.found == "no load_state_dict"
    assert not (tmp_path / "runs").exists()


def test_class_weights_are_not_promised_of_a_loss_that_takes_none(go, tmp_path):
    with pytest.raises(UsageError, match="--loss plain takes no weights of classes"):
        go(loss="plain", balance="loss")
    assert not (tmp_path / "runs").exists()
    assert go(loss="plain", balance="sampler").rows
    assert go(loss="ce", balance="loss").rows


def test_what_a_component_raises_while_it_trains_names_it_and_its_line(go):
    with pytest.raises(PluginError, match="the loss acme/ruin failed") as caught:
        go(loss="ruin")
    assert "ValueError: no such thing at " in caught.value.found
    assert "zoo_acme_plugin" in caught.value.found
    assert "zoo-acme 1.0" in caught.value.hint
    assert isinstance(caught.value.__cause__, ValueError)


def test_what_a_component_returns_may_be_to_blame_as_well(go):
    with pytest.raises(ZooError, match="a bug in zoo or in acme/number: Attr") as caught:
        go(loss="number")
    assert caught.value.exit_code == 1
    assert caught.value.hint.startswith("zoo plugins check acme; if that passes, the same command")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "nothing"}, "the model acme/nothing is NoneType, not a torch.nn.Module"),
        ({"loss": "word"}, "the loss acme/word is NoneType, not a function"),
        ({"aug": "acme/nothing"}, "the transform acme/nothing is NoneType, not a transform"),
        ({"data": "acme/nothing"}, "the dataset acme/nothing is NoneType, not a zoo.protocols.Da"),
        ({"model": "half"}, "the model acme/half failed on images of 16x16 pixels in 3 channels"),
        ({"optim": "acme/nothing"}, "the optimizer acme/nothing is NoneType, not a torch"),
        ({"head": "tired"}, "the head acme/tired failed"),
        ({"loss": "learned"}, "the loss acme/learned has parameters"),
        ({"loss": "short"}, "the loss acme/short is not called as a loss"),
        ({"loss": "shorter"}, "the loss acme/shorter is not called as a loss"),
    ],
)
def test_what_cannot_be_assembled_names_its_component(go, tmp_path, options, says):
    with pytest.raises(PluginError, match=says) as caught:
        go(**options)
    assert "zoo-acme 1.0" in caught.value.hint
    assert not (tmp_path / "runs").exists()


def test_a_network_that_fails_later_names_its_plugin(go, zoo_command, monkeypatch):
    path = go(model="sulky").path
    monkeypatch.setenv("SULKY", "1")
    outcome = zoo_command("evaluate", path)
    assert outcome.code == 5
    assert outcome.err.splitlines()[-3] == "zoo: the plugin acme failed"
    assert "LookupError: not today at " in outcome.err
    assert "zoo-acme 1.0; --debug shows all" in outcome.err


def test_what_an_optimizer_refuses_is_said_before_there_is_a_run(go, tmp_path):
    with pytest.raises(UsageError, match="sgd: nesterov needs a momentum"):
        go(optim="sgd:momentum=0,nesterov=true")
    assert not (tmp_path / "runs").exists()


def test_a_network_that_takes_other_sizes_is_told_with_one_of_them(go):
    with pytest.raises(UsageError, match="acme/narrow does not take 16x16 pixels") as caught:
        go(model="narrow")
    assert caught.value.hint == "--img-size 28"


@pytest.mark.parametrize(
    ("sched", "says"), [("uphill", "1 the factor is -1.0"), ("tensor", "0 the")]
)
def test_a_schedule_whose_factors_are_no_shares_is_refused(go, tmp_path, sched, says):
    with pytest.raises(PluginError, match=f"the scheduler acme/{sched} failed") as caught:
        go(sched=sched, freeze_epochs=1)
    assert f"at epoch {says}" in caught.value.found
    assert not (tmp_path / "runs").exists()


def test_a_full_disk_is_nobodys_fault(go):
    with pytest.raises(OSError, match="No space left"):
        go(optim="full")


@pytest.mark.parametrize("loss", ["endless", "nan"])
@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_a_validation_loss_that_is_not_finite_is_null_in_files(go, loss, monitor):
    path = go(loss=loss, monitor=monitor).path
    row, summary = (
        json.loads((path / name).read_text(), parse_constant=pytest.fail)
        for name in ("metrics.jsonl", "summary.json")
    )
    assert row["val_loss"] is None
    assert summary["test_loss"] is None
    ended = zoo.resume(path)
    assert math.isnan(ended.rows[0].val_loss)
    assert math.isnan(ended.test_loss)
    page = zoo.report(path, explainer=None).page.read_text()
    assert f">{row['train_loss']:.4f}</td>" in page  # the epoch is told all the same


def test_an_optimizer_may_make_groups_of_its_own(go):
    own, torchs = go(optim="tidy", sched="step-1-0.5"), go(optim="sgd", sched="step-1-0.5")
    assert [row.lr for row in own.rows] == [row.lr for row in torchs.rows]
