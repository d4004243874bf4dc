"""Runs whose linear head zoo's own C trains on kept features, against the same with torch alone."""

from __future__ import annotations

import contextlib
import dataclasses
import functools

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

import zoo
from tests.network.native_kernels import shared_linear_kernels
from zoo.engine import own_kernels
from zoo.engine.assembly import job
from zoo.engine.events import Observer
from zoo.errors import NonFiniteError
from zoo.evaluation.sameness import compare_runs
from zoo.network.fast.native import Compilation, LinearKernels

HEAD = {"model": "mlp-cifar", "freeze_epochs": 3, "epochs": 0, "lr": 0.01}


class Calls:
    """Counts the calls of the library: for gradients or scores alone, and the steps of the rest."""

    def __init__(self):
        self.gradients, self.scores, self.steps = 0, 0, []


@pytest.fixture
def calls(monkeypatch, tmp_path_factory):
    """Any phase repays the compiler, which has done its work."""
    kernels = shared_linear_kernels(tmp_path_factory)
    monkeypatch.setattr(own_kernels, "REPAID_STEPS", 0)
    monkeypatch.setattr(own_kernels, "cache_folder", lambda: kernels.path.parents[2])
    found = Calls()
    gradient, make, scores = LinearKernels.gradient, LinearKernels.make, LinearKernels.scores

    def counted_gradient(self, *given):
        found.gradients += 1
        return gradient(self, *given)

    def counted_make(self, cost, steps, *given):
        found.steps.append(len(steps.counts))
        return make(self, cost, steps, *given)

    def counted_scores(self, *given):
        found.scores += 1
        return scores(self, *given)

    monkeypatch.setattr(LinearKernels, "scores", counted_scores)
    monkeypatch.setattr(LinearKernels, "gradient", counted_gradient)
    monkeypatch.setattr(LinearKernels, "make", counted_make)
    # Of whether the library computes right, and whether a loss is what it says: no step of a run.
    monkeypatch.setattr(own_kernels, "is_of_cost", uncounted(found, own_kernels.is_of_cost))
    return found


def uncounted(found, function):
    @functools.wraps(function)
    def call(*given, **named):
        before = found.gradients
        try:
            return function(*given, **named)
        finally:
            found.gradients = before

    return call


class Told(Observer):
    """What is told of the steps, and the gradients that the weights have after each epoch."""

    def __init__(self):
        self.steps, self.gradients = [], []

    def step_measured(self, *, steps_done, loss, lr):
        self.steps.append((steps_done, loss, lr))

    def weights_shown(self, weights, *, epoch):
        self.gradients.append({n: p.grad for n, p in self.model.named_parameters()})

    def run_started(self, job, path, *, resumed_epoch):
        self.model = job.model


class Stop(Exception):
    pass


class Stopping(Observer):
    def step_measured(self, *, steps_done, loss, lr):
        if steps_done == 4:
            raise Stop


def both(train, **options):
    """Returns a run and what it tells, and the same with torch alone."""
    found = []
    for own in (True, False):
        told = Told()
        run = train(name=f"own-{own}", fast_convolutions=own, observer=told, **HEAD | options)
        found.append((run, told))
    return found


def assert_alike(one, other, *, to=1e-4):
    (ours, told), (theirs, also_told) = one, other
    for mine, its in zip(ours.rows, theirs.rows, strict=True):
        assert (mine.lr, mine.best) == (its.lr, its.best)
        assert mine.train_loss == pytest.approx(its.train_loss, rel=to)
        assert mine.val_loss == pytest.approx(its.val_loss, rel=to)
        assert mine.train_accuracy == its.train_accuracy
    weights = [load_file(run.path / "best" / "model.safetensors") for run in (ours, theirs)]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], rtol=to, atol=to), name
    assert [step[::2] for step in told.steps] == [step[::2] for step in also_told.steps]
    assert [step[1] for step in told.steps] == pytest.approx(
        [step[1] for step in also_told.steps], rel=to
    )
    for mine, its in zip(told.gradients, also_told.gradients, strict=True):
        assert {n for n, g in mine.items() if g is not None} == {
            n for n, g in its.items() if g is not None
        }
        for name, gradient in its.items():
            if gradient is not None:
                scale = float(gradient.abs().max())
                assert torch.allclose(mine[name], gradient, rtol=10 * to, atol=10 * to * scale)


@pytest.mark.parametrize("loss", ["ce", "label-smoothing", "focal", "focal-0.5", "poly"])
@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_adam_makes_many_steps_in_a_call(train, calls, loss, optimizer):
    ours, theirs = both(train, loss=loss, optim=optimizer)
    assert_alike(ours, theirs)
    assert sum(calls.steps) == len(ours[1].steps)
    assert len(calls.steps) == 3  # one an epoch
    assert calls.gradients == 0
    assert calls.scores == 3  # one a validation


@pytest.mark.parametrize(
    "options",
    [
        {"optim": "sgd"}, {"optim": "rmsprop", "lr": 0.001}, {"ema": 0.9}, {"clip_norm": 0.1},
        {"clip_value": 0.01}, {"l1": 0.01}, {"l2": 0.01}, {"optim": "adamw:amsgrad=true"},
    ],
    ids=str,
)  # fmt: skip
def test_what_stands_between_gradient_and_step_is_torchs(train, calls, options):
    ours, theirs = both(train, **options)
    assert_alike(ours, theirs, to=1e-3)
    assert calls.steps == []
    assert calls.gradients == len(ours[1].steps)


def test_sam_takes_two_gradients_a_step(train, calls):
    ours, theirs = both(train, sam=0.05)
    assert_alike(ours, theirs, to=1e-3)
    assert calls.gradients == 2 * len(ours[1].steps)


@pytest.mark.parametrize(
    "options",
    [
        {"balance": "loss"}, {"loss": "bce"}, {"accumulate": 2}, {"feature_dtype": "bf16"},
        {"head": "mlp"}, {"cache": False}, {"precision": "bf16"}, {"ram": 0},
        {"fast_convolutions": False}, {"loss": "poly:epsilon=1,smoothing=0.1"},
    ],
    ids=str,
)  # fmt: skip
def test_other_steps_are_torchs(train, calls, options):
    train(**HEAD | options)
    assert (calls.steps, calls.gradients) == ([], 0)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda labels_N: labels_N.astype(np.uint8), None),
        (lambda labels_N: labels_N.astype(np.int32), RuntimeError),
        (lambda labels_N: np.where(np.arange(len(labels_N)) == 3, 9, labels_N), IndexError),
        (lambda labels_N: np.where(np.arange(len(labels_N)) == 3, -1, labels_N), IndexError),
        (lambda labels_N: np.where(np.arange(len(labels_N)) == 3, -100, labels_N), None),
    ],
    ids=["uint8", "int32", "no such class", "negative", "left out by torch"],
)
def test_labels_that_are_no_classes_are_torchs(train, calls, monkeypatch, change, fault):
    """A data set's word is not taken for it: a wrong one would have memory overwritten."""
    read = job.read_data

    def changed(*given, **named):
        data = read(*given, **named)
        split = data.splits["train"]
        train_split = dataclasses.replace(split, labels_N=change(split.labels_N))
        return dataclasses.replace(data, splits={**data.splits, "train": train_split})

    monkeypatch.setattr(job, "read_data", changed)
    with pytest.raises(fault) if fault else contextlib.nullcontext():
        train(**HEAD)
    assert (calls.steps, calls.gradients) == ([], 0)


def test_how_many_steps_are_made_at_once_changes_no_bit(train, calls):
    many = train(name="many", **HEAD)
    in_an_epoch, *others = calls.steps
    assert in_an_epoch > 1
    assert others == 2 * [in_an_epoch]
    few = train(name="few", save_steps=2, **HEAD)
    assert calls.steps[3:] == 3 * in_an_epoch * [1]
    ours, theirs = (load_file(run.path / "best" / "model.safetensors") for run in (many, few))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert [row.train_loss for row in many.rows] == [row.train_loss for row in few.rows]


@pytest.mark.parametrize("options", [{}, {"optim": "sgd"}], ids=["adamw", "sgd"])
def test_a_stopped_run_goes_on_to_the_same_bits(train, registry, tmp_path, calls, options):
    straight = train(save_steps=1, **HEAD | options)
    with pytest.raises(Stop):
        train(
            save_steps=1, name="one", runs=str(tmp_path / "stopped"), observer=Stopping(),
            **HEAD | options,
        )  # fmt: skip
    zoo.resume(tmp_path / "stopped" / "one", registry=registry)
    assert compare_runs(straight.path, tmp_path / "stopped" / "one").identical
    assert calls.steps or calls.gradients


def test_a_run_that_began_with_torch_goes_on_in_c(train, registry, tmp_path, calls, monkeypatch):
    """A machine with a compiler takes over: the state is the optimizer's own."""
    straight = train(**HEAD)
    with monkeypatch.context() as without:
        without.setattr(own_kernels, "compiled", lambda code, cache: Compilation(None))
        with pytest.raises(Stop):
            train(save_steps=1, name="one", runs=str(tmp_path / "s"), observer=Stopping(), **HEAD)
    before = sum(calls.steps)
    zoo.resume(tmp_path / "s" / "one", registry=registry)
    assert sum(calls.steps) > before
    ours, theirs = (
        load_file(path / "best" / "model.safetensors")
        for path in (straight.path, tmp_path / "s/one")
    )
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], rtol=1e-4, atol=1e-4), name


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_loss_that_is_not_finite_is_told_as_ever(train, calls, optimizer):
    said = []
    for own in (True, False):
        with pytest.raises(NonFiniteError) as raised:
            train(**HEAD | {"optim": optimizer, "lr": 1e38}, fast_convolutions=own)
        said.append(raised.value.what)
    assert said[0] == said[1]
    assert calls.steps or calls.gradients


def test_whoever_looks_at_the_head_sees_torchs_steps(train, calls):
    seen = []

    class Looking(Observer):
        def phase_started(self, phase, **_):
            head = next(m for m in self.model.modules() if isinstance(m, nn.Linear)
                        and m.weight.requires_grad)  # fmt: skip
            head.register_forward_hook(lambda module, given, output: seen.append(module.training))

        def run_started(self, job, path, *, resumed_epoch):
            self.model = job.model

    train(observer=Looking(), **HEAD)
    assert (calls.steps, calls.gradients, calls.scores) == ([], 0, 0)
    assert {*seen} == {False, True}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_whoever_looks_at_all_layers_sees_torchs_steps(train, calls, optimizer):
    seen = []
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, given, output: seen.append(module.training)
    )
    try:
        train(**HEAD | {"optim": optimizer})
    finally:
        hook.remove()
    assert (calls.steps, calls.gradients, calls.scores) == ([], 0, 0)
    assert {*seen} == {False, True}


def test_whoever_listens_to_optimizers_from_within_an_epoch_hears_them(train, calls):
    heard, hooks = [], []

    class Listening(Observer):
        def step_measured(self, *, steps_done, loss, lr):
            if steps_done == 2:
                hooks.append(
                    register_optimizer_step_post_hook(lambda *given: heard.append(steps_done))
                )

    try:
        result = train(save_steps=1, observer=Listening(), **HEAD | {"freeze_epochs": 1})
    finally:
        for hook in hooks:
            hook.remove()
    assert calls.steps == [1, 1]
    assert calls.gradients == len(heard) > 0
    assert len(result.rows) == 1


def test_a_head_whose_pass_is_replaced_within_an_epoch_is_called(train, calls):
    passed = []

    class Replacing(Observer):
        def run_started(self, job, path, *, resumed_epoch):
            self.model = job.model

        def step_measured(self, *, steps_done, loss, lr):
            if steps_done == 2:
                head = next(m for m in self.model.modules() if isinstance(m, nn.Linear)
                            and m.weight.requires_grad)  # fmt: skip
                head.forward = lambda x: passed.append(x) or nn.Linear.forward(head, x)

    train(save_steps=1, observer=Replacing(), **HEAD | {"freeze_epochs": 1})
    assert (calls.steps, calls.gradients) == ([1, 1], 0)
    assert passed


def test_a_short_phase_does_not_wait_for_a_compiler(train, monkeypatch):
    monkeypatch.setattr(own_kernels, "compiled", None)  # a call would fail
    train(**HEAD)


def test_what_is_said_of_the_compiler(train, monkeypatch):
    monkeypatch.setattr(own_kernels, "REPAID_STEPS", 0)

    class Notes(Observer):
        def noted(self, text):
            said.append(text)

    for seconds, reason, line in (
        (0.54, "", "compiled zoo's own code for steps of a linear head in 0.5 s; it is kept"),
        (0.0, "no C compiler (gcc)", "steps of a linear head are torch's own: no C compiler (gcc)"),
        (0.0, "", None),
    ):
        said = []
        made = Compilation(None, seconds, reason)
        monkeypatch.setattr(own_kernels, "compiled", lambda code, cache, made=made: made)
        train(name=f"run-{seconds}-{len(reason)}", observer=Notes(), **HEAD)
        assert [one for one in said if "linear head" in one] == ([line] if line else [])
