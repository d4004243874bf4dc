"""What a run tests is what it keeps as its best weights, wherever in the run those were made."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file

import zoo
from zoo.engine import run
from zoo.engine.events import Observer
from zoo.engine.records.best import BestWeights
from zoo.runs import checkpoint
from zoo.runs.folder import RunFolder

LAST_IS_WORSE = {"lr": 3.0, "sched": "constant", "seed": 3}


class Left(Observer):
    """Keeps the network that a run had in the end."""

    def run_started(self, job, path, *, resumed_epoch):
        self.model = job.model


@pytest.fixture
def reads(monkeypatch):
    """How often the best weights were read from the disk."""
    calls = []
    real = RunFolder.read_best

    def counted(self):
        calls.append(self.path)
        return real(self)

    monkeypatch.setattr(RunFolder, "read_best", counted)
    return calls


@pytest.mark.parametrize(
    ("options", "from_disk"),
    [
        ({"freeze_epochs": 4, "epochs": 0}, False),
        ({"freeze_epochs": 4, "epochs": 0, **LAST_IS_WORSE}, False),
        ({"freeze_epochs": 4, "epochs": 0, "ema": 0.6, "lr": 0.3}, False),
        ({"freeze_epochs": 4, "epochs": 0, "cache": False, **LAST_IS_WORSE}, True),
        ({"freeze_epochs": 2, "epochs": 2, **LAST_IS_WORSE}, True),
        ({"freeze_epochs": 4, "epochs": 0, "swa": 2, "lr": 0.3}, True),
        ({"freeze_epochs": 4, "epochs": 0, "soup": 2, "lr": 0.3}, True),
    ],
    ids=str,
)
def test_the_test_is_of_the_best_weights(train, registry, reads, options, from_disk):
    left = Left()
    result = train(observer=left, **options)
    assert bool(reads) is from_disk
    kept = load_file(result.path / "best" / "model.safetensors")
    now = left.model.state_dict()
    assert all(torch.equal(kept[name], now[name]) for name in now)
    measured = zoo.evaluate(result.path, metrics="accuracy,nll", resamples=0, registry=registry)
    accuracy, loss = (metric.value for metric in measured.metrics)
    assert accuracy == pytest.approx(result.test_accuracy)
    assert loss == pytest.approx(result.test_loss, rel=1e-4)


def test_some_of_these_runs_have_their_best_weights_before_their_end(train):
    frozen = train(freeze_epochs=4, epochs=0, **LAST_IS_WORSE)
    assert frozen.best_epoch < 4
    both = train(freeze_epochs=2, epochs=2, **LAST_IS_WORSE)
    assert both.best_epoch <= 2, "in the frozen phase, and all weights have moved since"


def test_weights_that_others_followed_are_read_from_the_disk(registry, shapes_folder, tmp_path):
    job = zoo.prepare(
        data=str(shapes_folder), model="lenet", weights="none", img_size=16, registry=registry
    )
    folder = RunFolder.create(tmp_path, name="one", stem="x")
    best, model = BestWeights(job, folder), job.model
    best.keep(epoch=1, moving=job.head)
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    best.write()
    best.elsewhere()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.zero_()
    best.put_back()
    assert all(torch.equal(kept[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("options", [{"swa": 2}, {"soup": 2}, {"ema": 0.6}], ids=str)
def test_without_restoring_the_test_is_of_what_was_validated_last(train, registry, options):
    common = {"epochs": 4, "restore_best": False, "optim": "sgd", "lr": 0.05}
    left = Left()
    result = train(observer=left, **common, **options)
    saved, _ = checkpoint.latest(result.path / "checkpoints")
    state = checkpoint.load(saved)
    averages = state.state["average"]["averages"] if "ema" in options else {}
    now = left.model.state_dict()
    for name, tensor in {**state.model, **averages}.items():
        assert torch.equal(now[name], tensor), name
    if "ema" not in options:
        assert result.test_loss == train(**common).test_loss


def test_a_module_under_two_names_is_one(make_plugin, shapes_folder, tmp_path):
    package = make_plugin(
        "acme",
        "from zoo.plugin import Component, hookimpl\n@hookimpl\ndef zoo_components():\n"
        "    yield Component(kind='model', name='twice', target=f'{__name__}.nets:Twice')\n",
    )
    (tmp_path / "site" / package / "nets.py").write_text(
        "from torch import nn\n"
        "class Twice(nn.Module):\n"
        "    def __init__(self, num_classes):\n        super().__init__()\n"
        "        self.first, self.second = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3, 2)\n"
        "        self.both = nn.ModuleList([self.first, self.second])\n"
        "        self.fc = nn.Linear(8, num_classes)\n        self.head = self.fc\n"
        "    def forward(self, x):\n        for block in self.both:\n            x = block(x)\n"
        "        return self.head(x.mean((2, 3)))\n"
    )

    def run(phases):
        result = zoo.run(
            model="twice", data=str(shapes_folder), img_size=16, batch_size=8, phases=phases,
            min_delta=1.0, threads=1, runs=str(tmp_path / "r"),
        )  # fmt: skip
        saved, _ = checkpoint.latest(result.path / "checkpoints")
        return load_file(result.path / "best" / "model.safetensors"), checkpoint.load(saved).model

    best, last = run("head:epochs=2")  # on kept features; the first epoch is the best
    assert not torch.equal(best["fc.weight"], last["fc.weight"])
    assert torch.equal(best["fc.weight"], best["head.weight"])
    assert torch.equal(best["second.weight"], last["second.weight"])

    best, last = run("last-1:epochs=2")
    assert torch.equal(best["first.weight"], last["both.0.weight"])
    assert not torch.equal(best["second.weight"], last["both.1.weight"])


class Killed(BaseException):
    """Ends a run as a kill would: nobody catches it."""


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 3, "lr": 0.003, "min_delta": 0.09},
        {"freeze_epochs": 3, "epochs": 0, "lr": 0.01, "min_delta": 0.05},
    ],
    ids=["whole", "frozen"],
)
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_best_weights_that_no_checkpoint_knows_of_are_undone(
    train, registry, monkeypatch, tmp_path, options, links
):
    """Time may end an epoch sooner when it is made again, and then it need not be the best."""
    save, steps_in_time = checkpoint.save, 5

    def killed(folder, *, step, **parts):
        if step > 3:
            raise Killed
        return save(folder, step=step, **parts)

    def late(self):
        return 1e6 if self.state.position.steps_done >= steps_in_time else 0.0

    def refused(*args, **keywords):
        raise PermissionError

    monkeypatch.setattr(run._Run, "seconds", late)
    if not links:
        monkeypatch.setattr(os, "link", refused)
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", killed)
        with pytest.raises(Killed):
            train(name="cut", max_minutes=1.0, save_steps=3, monitor="val_loss", **options)
    cut = RunFolder(tmp_path / "runs" / "cut")
    assert cut.read_best()[1]["epoch"] == 2
    steps_in_time = 4
    result = zoo.resume(cut.path, registry=registry)
    assert [row.best for row in result.rows] == [True, False]
    assert cut.read_best()[1]["epoch"] == result.best_epoch == 1
    measured = zoo.evaluate(cut.path, split="val", metrics="nll", resamples=0, registry=registry)
    assert measured.metrics[0].value == pytest.approx(result.best_score, rel=1e-4)
    files = {path.name for path in (cut.path / "best").iterdir()}
    assert files == {"model.json", "model.safetensors"}
