"""Every loss trains with every optimizer under every schedule: two steps each on real digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from zoo.config import RunConfig
from zoo.data.pixels.store import Store
from zoo.data.randomness import order
from zoo.engine.assembly.groups import parameter_groups
from zoo.engine.device import Device
from zoo.engine.feeds import ImageFeed, Labels
from zoo.engine.loop import evaluate, train_epoch
from zoo.engine.meters import Meter
from zoo.engine.step.update import Update
from zoo.engine.training import Accumulation, Training
from zoo.network.freeze import set_modes
from zoo.plugin import fold
from zoo.protocols import Preprocessing, ReactiveSchedule, Split
from zoo.registry import Registry, build, discover, parse_choice
from zoo.registry.settings import Settings

REGISTRY = Registry(discover(Settings(only=frozenset())))
LOSSES = [entry.id for entry in REGISTRY.entries("loss")]
SCHEDULERS = [entry.id for entry in REGISTRY.entries("scheduler")]
NOT_HERE = {
    "needs-compiler": "compiles its step for half a minute; the components' own tests run it",
    "needs-cuda": "runs on CUDA only",
}


def _runs_here(entry):
    import importlib.util

    missing = [name for name in entry.component.requires if importlib.util.find_spec(name) is None]
    return not missing and not set(entry.component.tags) & set(NOT_HERE)


SLOW = ("pytorch-optimizer/", "timm/adamuon", "timm/nadamuon", "timm/nmuon")
# Of four that make matrices orthogonal, 7 s each, timm/muon stands for the others.

OPTIMIZERS = [entry.id for entry in REGISTRY.entries("optimizer") if _runs_here(entry)]


class Digits:
    """Sixteen real 8x8 digits, two of each of eight classes."""

    def __init__(self):
        digits = load_digits()
        chosen = np.concatenate([np.flatnonzero(digits.target == k)[:2] for k in range(8)])
        self.pixels = (digits.images[chosen] * 15).astype(np.uint8)
        self.labels_N = digits.target[chosen].astype(np.int64)

    def __len__(self):
        return len(self.pixels)


@pytest.fixture(scope="module")
def parts():
    torch.set_num_threads(1)
    digits = Digits()
    preprocessing = Preprocessing(image_size=8)
    store = Store.open(
        digits, preprocessing=preprocessing, channels=1, budget_bytes=0, num_threads=1
    )
    split = Split(images=digits, labels_N=digits.labels_N)
    labels = Labels(split, num_classes=8, device=torch.device("cpu"))
    feed = ImageFeed(store, labels=labels, preprocessing=preprocessing)
    config = RunConfig(model="mlp-mnist", batch_size=8, lr=0.01, device="cpu")
    return feed, config, Device.open(config)


def fresh_model():
    torch.manual_seed(0)
    choice = parse_choice(REGISTRY, "model", "mlp-mnist")
    return build(choice, num_classes=8, channels=1, image_size=8)


def test_the_matrix_is_the_whole_registry():
    left_out = {e.id for e in REGISTRY.entries("optimizer")} - set(OPTIMIZERS)
    for name in left_out:
        component = REGISTRY.find("optimizer", name).component
        assert component.requires or set(component.tags) & set(NOT_HERE), name
    assert len(OPTIMIZERS) >= 90
    assert len(LOSSES) >= 6
    assert len(SCHEDULERS) >= 10


@pytest.mark.parametrize(
    "optimizer_id",
    [
        pytest.param(name, marks=pytest.mark.slow if name.startswith(SLOW) else ())
        for name in OPTIMIZERS
    ],
)
@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True:UserWarning")
def test_every_loss_and_schedule_trains_with(parts, optimizer_id):
    feed, config, device = parts
    start = fresh_model()
    first = {name: value.clone() for name, value in start.state_dict().items()}
    optimizer_choice = parse_choice(REGISTRY, "optimizer", optimizer_id)
    for loss_id in LOSSES:
        loss = build(parse_choice(REGISTRY, "loss", loss_id), num_classes=8, class_weight_K=None)
        for scheduler_id in SCHEDULERS:
            where = f"{loss_id} x {optimizer_id} x {scheduler_id}"
            choice = parse_choice(REGISTRY, "scheduler", scheduler_id)
            schedule = build(choice, epochs=2.0, lr=config.lr)
            start.load_state_dict(first)
            for parameter in start.parameters():
                parameter.grad = None
            groups = parameter_groups(start, head=("fc3",), lr=config.lr, backbone_lr=0.5,
                                      layer_decay=1.0, weight_decay=0.01)  # fmt: skip
            optimizer = build(optimizer_choice, params=groups, lr=config.lr, weight_decay=0.01)
            update = Update(
                optimizer=optimizer, model=start, head=("fc3",), device=device, config=config
            )
            training = Training(
                module=start, feed=feed, loss=loss, mass=loss.mass, update=update, augment=False,
                accumulation=Accumulation(1), device=device, config=config,
                draws=lambda epoch: order(config.seed, epoch, len(feed)),
            )  # fmt: skip
            set_modes(start, ("",), hold_statistics=False)
            rates = []

            def factor(step, steps, schedule=schedule, rates=rates):
                rates.append(schedule(0.5 + step / steps))
                return rates[-1]

            meter = Meter(device.torch_device)
            train_epoch(training, epoch=0, first_step=0, meter=meter, lr_factor=factor,
                        step_ended=lambda *_: None)  # fmt: skip
            value, accuracy = meter.read(lambda sums: sums)
            assert math.isfinite(value), where
            assert 0 <= accuracy <= 1, where
            assert len(rates) == 2, where
            assert all(g["lr"] == pytest.approx(g["base_lr"] * rates[-1])
                       for g in optimizer.param_groups), where  # fmt: skip
            moved = [n for n, p in start.named_parameters() if not torch.equal(p, first[n])]
            assert moved or max(rates) == 0, where
            if isinstance(schedule, ReactiveSchedule):
                schedule.observe(evaluate(start, feed, loss=loss, mass=loss.mass, device=device)[1])


def test_names_fold_to_one():
    assert len({fold(name) for name in OPTIMIZERS}) == len(OPTIMIZERS)


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True:UserWarning")
def test_attention_trains_by_second_derivatives(train):
    """torch's fused attention has none."""
    row = train(model="timm/test_vit", img_size=32, optim="adahessian").rows[-1]
    assert math.isfinite(row.val_loss)
