"""What a step and a run can do besides: each flag against an independent computation."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import zoo
from zoo.cli.progress import RunDisplay
from zoo.data.batches import cut
from zoo.engine.device import Device
from zoo.engine.events import Observer
from zoo.engine.records.earlier import result_of
from zoo.engine.stage import epoch_draws, image_feed
from zoo.errors import NonFiniteError, UsageError, ZooError
from zoo.registry import Registry
from zoo.runs import checkpoint
from zoo.runs.folder import RunFolder


class Notes(Observer):
    def __init__(self):
        self.notes, self.steps = [], 0

    def noted(self, text):
        self.notes.append(text)

    def step_ended(self, phase, *, epoch, step, num_steps, loss):
        self.steps += 1


@pytest.fixture
def weights_after_each_step(monkeypatch):
    """The weights of a run's network after each optimizer step."""
    history = []
    real = torch.optim.SGD.step

    def step(self, closure=None):
        result = real(self, closure)
        history.append([p.detach().clone() for g in self.param_groups for p in g["params"]])
        return result

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    return history


PLAIN = {"optim": "sgd:momentum=0", "lr": 0.05, "sched": "constant", "warmup": 0.0, "aug": "none",
         "weight_decay": 0.0}  # fmt: skip


def test_the_moving_average_is_what_is_validated_and_kept(train, registry, weights_after_each_step):
    result = train(ema=0.9, epochs=2, **PLAIN)
    named = dict(zoo.load(result.path, registry=registry).model.named_parameters())
    average = [weights.double() for weights in weights_after_each_step[0]]
    # The average starts at the initial weights, which the first step has already left.
    first = train(ema=0.0, epochs=1, **{**PLAIN, "lr": 1e-12})
    start = dict(zoo.load(first.path, registry=registry).model.named_parameters())
    by_shape = {tuple(p.shape): name for name, p in named.items()}
    assert len(by_shape) == len(named), "shapes tell lenet's parameters apart"
    average = [start[by_shape[tuple(w.shape)]].detach().double() for w in average]
    steps = weights_after_each_step[: 3 * result.best_epoch]
    for number, weights in enumerate(steps):
        decay = min(0.9, (1 + number) / (10 + number))
        average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]
    for expected in average:
        found = named[by_shape[tuple(expected.shape)]]
        assert torch.allclose(found.double(), expected, atol=1e-6)
    assert json.loads((result.path / "best/model.json").read_text())["average"] == "ema"


def test_a_moving_average_is_validated_alike_on_kept_features(train):
    """What a phase holds still is not averaged further: what trains sees it as it is."""
    options = {"phases": "all:epochs=2+head:epochs=2", "epochs": None, "ema": 0.99, **PLAIN}
    kept, whole = (train(cache=cache, **options) for cache in (True, False))
    for one, other in zip(kept.rows, whole.rows, strict=True):
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-5)
    first, second = (load_file(r.path / "best/model.safetensors") for r in (kept, whole))
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


def test_the_average_of_the_last_epochs_is_tried(train, registry):
    watch = Notes()
    result = train(swa=3, epochs=5, observer=watch, monitor="val_loss", **{**PLAIN, "lr": 0.2})
    (note,) = [n for n in watch.notes if n.startswith("average of the last 3 epochs")]
    score = float(note.split("val_loss ")[1].split()[0])
    best_row = min(row.val_loss for row in result.rows)
    assert result.best_score == pytest.approx(min(score, best_row), abs=1e-4)


def test_an_average_that_is_kept_is_named(train, capsys):
    result = train(epochs=5, swa=3, seed=1, monitor="loss", **{**PLAIN, "lr": 0.15})
    assert result.best_score < min(row.val_loss for row in result.rows)
    summary = json.loads((result.path / "summary.json").read_text())
    assert summary["average"] == result.average == "average of the last 3 epochs"
    assert result_of(RunFolder(result.path)).average == result.average
    RunDisplay().run_ended(result)
    said = capsys.readouterr().out
    assert f"best       {result.average}, val_loss {result.best_score:.4f}" in said
    assert train(epochs=2).average == ""


def test_an_average_of_one_epoch_is_told_in_good_english(train):
    watch = Notes()
    train(swa=1, epochs=2, soup=1, observer=watch, **PLAIN)
    assert any(note.startswith("average of the last epoch: ") for note in watch.notes)
    assert any(re.match("soup of epoch [12]: ", note) for note in watch.notes)


def test_a_soup_is_never_worse_than_its_best_epoch(train, registry):
    watch = Notes()
    result = train(soup=3, epochs=6, observer=watch, monitor="val_loss", **{**PLAIN, "lr": 0.1})
    assert any(note.startswith("soup of epoch") for note in watch.notes)
    assert result.best_score <= min(row.val_loss for row in result.rows) + 1e-9
    files = sorted((result.path / "candidates").iterdir())
    assert 3 <= len(files) <= 4
    for file in files:
        assert load_file(file)


def test_penalties_add_their_gradient(train, registry, weights_after_each_step):
    train(epochs=1, batch_size=64, **PLAIN)
    plain = weights_after_each_step[0]
    weights_after_each_step.clear()
    train(epochs=1, batch_size=64, l1=0.01, l2=0.1, **PLAIN)
    penalised = weights_after_each_step[0]
    first = train(epochs=1, **{**PLAIN, "lr": 1e-12})
    start = {tuple(p.shape): p.detach() for p in
             zoo.load(first.path, registry=registry).model.parameters()}  # fmt: skip
    for one, other in zip(plain, penalised, strict=True):
        before = start[tuple(one.shape)]
        before = torch.where(before.abs() < 1e-9, 0.0, before)  # the head's zeros, one step later
        gradient = 0.01 * before.sign() + 0.1 * before if before.ndim > 1 else 0
        assert torch.allclose(other, one - 0.05 * gradient, atol=1e-6)


def test_sam_takes_the_gradient_where_the_loss_is_worst(
    train, weights_after_each_step, shapes_folder, registry
):
    """The first step, against one that is computed here from the same full batch."""
    train(epochs=1, batch_size=64, sam=0.1, **PLAIN)
    job = zoo.prepare(
        data=str(shapes_folder), model="lenet", weights="none", img_size=16, aug="none",
        registry=registry,
    )  # fmt: skip
    feed = image_feed(job, "train", device=Device.open(job.config), progress=lambda *_: None)
    (batch,) = feed.batches(cut(epoch_draws(job)(0), num_parts=1), epoch=None)
    model = job.model.train().to(memory_format=torch.channels_last)
    start = [p.detach().clone() for p in model.parameters()]

    def gradient():
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(batch.inputs), batch.target).backward()
        return [p.grad.clone() for p in model.parameters()]

    first = gradient()
    length = torch.cat([g.flatten() for g in first]).norm()
    with torch.no_grad():
        for parameter, g in zip(model.parameters(), first, strict=True):
            parameter += 0.1 * g / length
    expected = {tuple(w.shape): w - 0.05 * g for w, g in zip(start, gradient(), strict=True)}
    for found in weights_after_each_step[0]:
        assert torch.allclose(found, expected[tuple(found.shape)], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "largest"), [({"clip_value": 1e-4}, 1e-4), ({"clip_agc": 0.001}, None)]
)
def test_clipping_by_value_and_by_unit(train, monkeypatch, options, largest):
    seen = []
    real = torch.optim.SGD.step

    def step(self, closure=None):
        seen.append([
            (p.detach().clone(), p.grad.clone())
            for g in self.param_groups for p in g["params"]
        ])  # fmt: skip
        return real(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    train(epochs=1, **PLAIN, **options)
    for pairs in seen:
        for weight, gradient in pairs:
            if largest is not None:
                assert gradient.abs().max() <= largest
            elif weight.ndim == 4:
                unit = weight.flatten(1).norm(dim=1).clamp(min=1e-3)
                assert (gradient.flatten(1).norm(dim=1) <= 0.001 * unit * 1.001).all()


def test_dropout_and_drop_path_are_set(train, registry, shapes_folder):
    options = {"data": str(shapes_folder), "weights": "none", "registry": registry}
    job = zoo.prepare(model="mlp-cifar", img_size=32, dropout=0.45, **options)
    rates = {m.p for m in job.model.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {0.45}
    assert any("dropout" in note for note in job.notes)
    with pytest.raises(UsageError, match="drop"):
        zoo.prepare(model="lenet", drop_path=0.1, **options)


MODEL = """
import torch
from torch import nn
from zoo.plugin import Component, hookimpl

@hookimpl
def zoo_components():
    yield Component(kind='model', name='{name}', target=f'{{__name__}}:build')

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, num_classes)
        self.calls = 0

    def forward(self, x):
        {forward}

def build(num_classes):
    return Net(num_classes)
"""


def test_memory_that_runs_out_cuts_the_batch_finer_with_the_same_result(
    train, make_plugin, registry, shapes_folder
):
    features = "return self.head(self.body(x).mean((2, 3)))"
    make_plugin("small", MODEL.format(name="small", forward=(
        "if self.training and len(x) > 3:\n"
        "            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')\n"
        f"        {features}")))  # fmt: skip
    make_plugin("large", MODEL.format(name="large", forward=features))
    found = Registry.installed()
    watch = Notes()

    def run(model, **options):
        base = {"img_size": 16, "batch_size": 12, "threads": 1, "epochs": 2, "optim": "sgd",
                "lr": 0.05, "data": train_data, "runs": runs, "aug": "none"}  # fmt: skip
        return zoo.run({**base, "model": model, **options}, registry=found, observer=watch)

    job = train(epochs=1)
    train_data, runs = str(shapes_folder), str(job.path.parent)
    cut_finer, whole = run("small"), run("large")
    assert any("memory ran out" in note and "4 parts" in note for note in watch.notes)
    first, second = (load_file(r.path / "best/model.safetensors") for r in (cut_finer, whole))
    for name in first:
        assert torch.allclose(first[name], second[name], atol=1e-6), name
    again = zoo.run(
        model="small", img_size=16, batch_size=12, threads=1, epochs=2, optim="sgd", lr=0.05,
        data=train_data, runs=runs, aug="none", accumulate=4, registry=found,
    )  # fmt: skip
    third = load_file(again.path / "best/model.safetensors")
    assert all(torch.equal(first[name], third[name]) for name in first)
    with pytest.raises((ZooError, RuntimeError), match="memory"):
        run("small", auto_batch=False)


def test_a_loss_that_is_not_finite_names_the_layer(train, make_plugin, shapes_folder):
    make_plugin("bad", MODEL.format(name="bad", forward=(
        "self.calls += self.training\n"
        "        x = self.body(x) * (float('nan') if self.calls > 2 else 1.0)\n"
        "        return self.head(torch.relu(x).mean((2, 3)))")))  # fmt: skip
    job = train(epochs=1)
    with pytest.raises(NonFiniteError) as caught:
        zoo.run(model="bad", data=str(shapes_folder), img_size=16, batch_size=8, threads=1,
                runs=str(job.path.parent), epochs=2, lr=0.1,
                registry=Registry.installed())  # fmt: skip
    text = str(caught.value)
    assert "at step 3 of the epoch" in text
    assert "learning rate" in text
    assert "head (Linear)" in text
    assert caught.value.exit_code == 7


def test_time_that_is_over_ends_the_run_with_its_best(train):
    watch = Notes()
    result = train(epochs=10_000, max_minutes=0.02, observer=watch)
    assert any("minutes are over" in note for note in watch.notes)
    assert 1 <= len(result.rows) < 10_000
    assert result.test_accuracy is not None
    assert (result.path / "summary.json").exists()


def test_checkpoints_every_so_many_steps(train, monkeypatch):
    steps = []
    real = checkpoint.save

    def save(folder, *, step, model, state):
        steps.append(step)
        return real(folder, step=step, model=model, state=state)

    monkeypatch.setattr(checkpoint, "save", save)
    train(epochs=2, save_steps=2, save_every=0.0)
    assert steps == [2, 3, 4, 6]


def test_the_run_resumes_with_its_averages_to_the_bit(train, registry):
    """EMA, SWA, a soup, SAM and mixing, stopped in the middle of an epoch and gone on with."""

    class Stop(Exception):
        pass

    class Stopping(Observer):
        def __init__(self, after):
            self.left = after

        def step_ended(self, phase, *, epoch, step, num_steps, loss):
            self.left -= 1
            if not self.left:
                raise Stop

    options = {
        "ema": 0.9, "swa": 2, "soup": 2, "sam": 0.05, "aug": "flip+mixup-0.4", "epochs": 4,
        "freeze_epochs": 1, "save_steps": 1, "clip_agc": 0.05, "l1": 1e-4, "patience": 3,
        "model": "timm/test_resnet", "img_size": 32, "norm": "train",
    }  # fmt: skip
    straight = train(**options)
    expected = load_file(straight.path / "best/model.safetensors")
    for after in (2, 5, 8, 11):
        runs = straight.path.parent.parent / f"stopped-{after}"
        with pytest.raises(Stop):
            train(**options, runs=str(runs), name="one", observer=Stopping(after))
        again = zoo.resume(runs / "one", registry=registry)
        found = load_file(again.path / "best/model.safetensors")
        assert [r.val_loss for r in again.rows] == [r.val_loss for r in straight.rows]
        assert all(torch.equal(expected[name], found[name]) for name in expected)
        assert again.best_score == straight.best_score


def test_resume_auto_goes_on_with_what_was_cut_short_and_leaves_what_ended(train, registry):
    class Stop(Exception):
        pass

    class Stopping(Observer):
        def epoch_ended(self, row):
            if row.epoch == 2:
                raise Stop

    with pytest.raises(Stop):
        train(epochs=4, observer=Stopping())
    watch = Notes()
    other = train(epochs=5, resume="auto", observer=watch)
    assert not any("going on with" in note for note in watch.notes), "other options"
    result = train(epochs=4, resume="auto", observer=watch)
    assert any("going on with" in note for note in watch.notes)
    assert result.path != other.path
    assert [row.epoch for row in result.rows] == [1, 2, 3, 4]
    files = {p: p.read_bytes() for p in result.path.rglob("*") if p.is_file() and p.name != ".lock"}
    again = zoo.resume(result.path, registry=registry, observer=watch)
    assert any("has ended already" in note for note in watch.notes)
    assert again.rows == result.rows
    assert again.test_accuracy == result.test_accuracy
    assert files == {p: p.read_bytes() for p in files}
    named = train(epochs=4, resume="auto", name=result.path.name, max_minutes=7.0, observer=watch)
    assert named.rows == result.rows
    assert watch.notes[-2].startswith("--max-minutes 7.0 is not taken")
    fresh = train(epochs=4, resume="auto")
    assert fresh.path != result.path


def test_deterministic_and_contiguous_runs_train(train):
    result = train(deterministic=True, channels_last=False)
    assert not torch.are_deterministic_algorithms_enabled()
    assert np.isfinite(result.rows[-1].val_loss)


@pytest.mark.slow
def test_a_compiled_network_trains_and_is_saved_under_plain_names(train, registry):
    compiled, plain = train(compile=True, epochs=2), train(epochs=2)
    first, second = (load_file(r.path / "best/model.safetensors") for r in (compiled, plain))
    assert first.keys() == second.keys()
    for name in first:
        assert torch.allclose(first[name], second[name], atol=1e-4), name


def test_sam_refuses_fp16_and_other_contradictions(registry, shapes_folder):
    with pytest.raises(UsageError) as caught:
        zoo.prepare(
            data=str(shapes_folder), sam=0.1, precision="fp16", repeats=2, balance="sampler",
            registry=registry,
        )  # fmt: skip
    assert "--sam takes two gradients" in str(caught.value)
    assert "--repeats and --balance sampler" in str(caught.value)
