"""What a run needed is freed with the run: a search for garbage is rare, and memory is not."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from zoo.engine.events import Observer
from zoo.network.fast import accelerate
from zoo.runs import checkpoint
from zoo.runs.tensor_file import TensorFile


class Watch(Observer):
    """Knows the tensors of a run, and keeps none."""

    def run_started(self, job, path, *, resumed_epoch):
        tensors = (*job.model.parameters(), *job.model.buffers())
        self.known = [weakref.ref(job.model), *map(weakref.ref, tensors)]


@pytest.fixture
def no_search():
    """Python searches for no garbage meanwhile."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "options",
    [
        {"freeze_epochs": 2, "epochs": 0},
        {"freeze_epochs": 0, "epochs": 1},
        {"phases": "head:epochs=1+last-2:epochs=1+all:epochs=1", "epochs": None},
        {"freeze_epochs": 1, "epochs": 1, "ema": 0.9, "swa": 1},
    ],
    ids=str,
)
def test_a_run_leaves_no_weights(train, no_search, options):
    watch = Watch()
    # Depthwise and 1x1 convolutions, norms and activations that zoo computes together.
    options = {"model": "mobilenetv2_035", "img_size": 64, **options}
    # Some package keeps an error of its import, and with it the frames around: not of the run.
    train(**{**options, "freeze_epochs": 1, "epochs": 0, "phases": None})
    gc.collect()
    train(observer=watch, **options)
    assert len(watch.known) > 100
    assert [ref() for ref in watch.known if ref() is not None] == []


def test_a_checkpoint_leaves_no_state(tmp_path, no_search):
    def alive():
        return sum(type(one) is torch.Tensor for one in gc.get_objects())

    state = {"optimizer": {0: {"moment": torch.ones(1000)}}, "meter": (torch.zeros(3),)}
    before = alive()
    checkpoint.save(tmp_path, step=1, model=TensorFile.of({}), state=state)
    assert alive() == before


def test_layers_do_not_hold_themselves(no_search):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.Conv2d(8, 4, 1), torch.nn.Conv2d(4, 4, 3)
    )
    accelerate(model)
    known = [weakref.ref(module) for module in model.modules()]
    del model
    assert [ref() for ref in known] == [None] * 4
