"""bf16 autocast on the CPU: near float32 in its answers, and resumed to the bit like it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

import zoo
from zoo.engine.device import Device
from zoo.engine.events import Observer
from zoo.errors import UsageError


class _Stop(Exception):
    pass


class _Stopping(Observer):
    def step_ended(self, phase, *, epoch, step, num_steps, loss):
        if epoch == 2 and step == 2:
            raise _Stop


OPTIONS = {"epochs": 3, "precision": "bf16", "optim": "sgd", "lr": 0.05, "aug": "none"}


def test_bf16_rounds_activations_and_keeps_weights_and_losses_in_float32(train):
    half = train(**OPTIONS)
    single = train(**{**OPTIONS, "precision": "no"})
    weights = load_file(half.path / "best/model.safetensors")
    assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.float32}
    for a, b in zip(half.rows, single.rows, strict=True):
        assert a.train_loss != b.train_loss, "it was not rounded at all"
        assert a.train_loss == pytest.approx(b.train_loss, rel=0.03)


def test_autocast_is_torchs_own(registry, shapes_folder):
    job = zoo.prepare(data=str(shapes_folder), model="lenet", img_size=16, registry=registry,
                      **OPTIONS)  # fmt: skip
    images = torch.rand(4, 3, 16, 16)
    with torch.no_grad(), Device.open(job.config).autocast():
        found = job.model(images)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = job.model(images)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected)


def test_bf16_resumes_to_the_bit(train, registry):
    straight = train(**OPTIONS)
    with pytest.raises(_Stop):
        train(**OPTIONS, save_steps=1, name="stopped", observer=_Stopping())
    again = zoo.resume(straight.path.parent / "stopped", registry=registry)
    first, second = (load_file(r.path / "best/model.safetensors") for r in (straight, again))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [r.train_loss for r in again.rows] == [r.train_loss for r in straight.rows]


def test_fp16_needs_cuda(registry, shapes_folder):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(UsageError, match="fp16 needs CUDA"):
        zoo.run(data=str(shapes_folder), model="lenet", precision="fp16", registry=registry)
