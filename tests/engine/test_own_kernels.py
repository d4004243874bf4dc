"""Runs whose depthwise convolutions zoo's own C computes."""

from __future__ import annotations

import shutil

import pytest
from safetensors.torch import load_file

import zoo
from tests.network.native_kernels import shared_kernels
from zoo.engine import own_kernels
from zoo.engine.events import Observer
from zoo.evaluation.sameness import compare_runs
from zoo.network.fast.blocks import block_of
from zoo.network.fast.native import Compilation

MOBILE = {
    "model": "timm/test_efficientnet", "img_size": 32, "norm": "hold", "freeze_epochs": 1,
    "epochs": 2, "aug": "none",
}  # fmt: skip


class Seen(Observer):
    """What a run says, and which blocks its network has in each phase."""

    def __init__(self):
        self.said, self.blocks = [], []

    def run_started(self, job, path, *, resumed_epoch):
        self.model, self.path = job.model, path

    def noted(self, text):
        self.said.append(text)

    def phase_started(self, phase, **_):
        found = [block_of(module) for module in self.model.modules()]
        self.blocks.append(sum(block is not None for block in found))


@pytest.fixture
def worth_it(monkeypatch, tmp_path_factory, tmp_path):
    """Any phase repays the compiler, which has done its work."""
    kernels = shared_kernels(tmp_path_factory)
    monkeypatch.setattr(own_kernels, "REPAID_PIXELS", 0)
    monkeypatch.setattr(own_kernels, "cache_folder", lambda: kernels.path.parents[2])


@pytest.mark.usefixtures("worth_it")
def test_a_run_is_the_same_to_the_bit_and_resumes_so(train, registry, tmp_path):
    seen = Seen()

    class Copy(Seen):
        def step_ended(self, phase, *, epoch, step, num_steps, loss):
            if phase.name != "freeze" and step == 2 and not (tmp_path / "copy").exists():
                shutil.copytree(self.path, tmp_path / "copy")

    first = train(name="first", save_steps=1, observer=Copy(), **MOBILE)
    again = train(name="again", save_steps=1, observer=seen, **MOBILE)
    assert seen.blocks[0] == 0
    assert seen.blocks[1] == 2
    assert compare_runs(first.path, again.path).identical
    zoo.resume(tmp_path / "copy", registry=registry)
    assert compare_runs(first.path, tmp_path / "copy").identical


@pytest.mark.usefixtures("worth_it")
@pytest.mark.parametrize("norm", ["hold", "train"])
def test_it_trains_as_torch_does(train, norm):
    runs = [
        train(
            name=f"run-{own}", fast_convolutions=own, optim="sgd", lr=0.01,
            observer=(seen := Seen()), **MOBILE | {"norm": norm},
        )
        for own in (True, False)
    ]  # fmt: skip
    assert seen.blocks == [0, 0]
    ours, theirs = (load_file(run.path / "best" / "model.safetensors") for run in runs)
    for name, tensor in ours.items():
        assert (tensor - theirs[name]).abs().max() <= 1e-3 * theirs[name].abs().max(), name


def test_a_short_run_does_not_wait_for_a_compiler(train, monkeypatch):
    monkeypatch.setattr(own_kernels, "compiled", None)  # a call would fail
    seen = Seen()
    train(observer=seen, **MOBILE)
    assert seen.blocks == [0, 0]


@pytest.mark.parametrize(
    "changes", [{"fast_convolutions": False}, {"channels_last": False}, {"precision": "bf16"},
                {"model": "timm/test_resnet"}]
)  # fmt: skip
def test_runs_that_have_no_use_for_it_do_not_ask(train, changes, monkeypatch):
    monkeypatch.setattr(own_kernels, "REPAID_PIXELS", 0)
    monkeypatch.setattr(own_kernels, "compiled", None)
    train(**MOBILE | changes)


def test_what_is_said_of_the_compiler(train, monkeypatch, tmp_path):
    monkeypatch.setattr(own_kernels, "REPAID_PIXELS", 0)
    for seconds, reason, said in (
        (1.94, "", "compiled zoo's own code for depthwise convolutions in 1.9 s; it is kept"),
        (0.0, "no C compiler (gcc)", "depthwise convolutions are torch's own: no C compiler (gcc)"),
        (0.0, "", None),
    ):
        made = Compilation(None, seconds, reason)
        monkeypatch.setattr(own_kernels, "compiled", lambda code, cache, made=made: made)
        seen = Seen()
        train(name=f"run-{seconds}-{len(reason)}", observer=seen, **MOBILE)
        about = [line for line in seen.said if "depthwise" in line]
        assert about == ([said] if said else [])
