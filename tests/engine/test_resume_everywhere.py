"""A run of sixty steps, resumed from each of them: all end with the same bits.

The whole proof, 6 networks x 0, 1 and 2 decoding threads x 59 steps, takes about twelve minutes:

    pytest -m slow tests/engine/test_resume_everywhere.py
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import zoo
from zoo.engine.events import Observer
from zoo.evaluation.sameness import compare_runs
from zoo.runs import checkpoint

NUM_STEPS = 60  # 24 images in batches of 8: 3 steps an epoch
FREEZE_EPOCHS = 5

NETWORKS = {
    "lenet": {"optim": "sgd", "sched": "default-0.5-1"},
    "mobilenetv3-small-050": {"norm": "train", "aug": "light", "img_size": 32},
    "timm/test_resnet": {
        "norm": "train", "dropout": 0.2, "drop_path": 0.2, "img_size": 32, "accumulate": 2,
    },
    "timm/test_efficientnet": {"norm": "hold", "img_size": 32},
    "timm/test_efficientnet_gn": {"drop_path": 0.2, "img_size": 32, "sched": "SGDR-4-2"},
    "timm/test_vit": {
        "dropout": 0.1, "drop_path": 0.1, "img_size": 32, "clip_norm": 1.0, "warmup": 2.0,
    },
}  # fmt: skip
QUICK = ("lenet", "mobilenetv3-small-050", "timm/test_vit")
QUICK_STEPS, QUICK_FREEZE_EPOCHS = 21, 2


class Copies(Observer):
    """Copies the run folder at each step: what a kill during the next one would leave behind."""

    def __init__(self, target: Path, steps: set[int]) -> None:
        self.target, self.steps = target, steps
        self.done = 0

    def run_started(self, job, path, *, resumed_epoch):
        self.path = path

    def step_ended(self, phase, *, epoch, step, num_steps, loss):
        if self.done in self.steps:
            shutil.copytree(self.path, self.target / f"after-{self.done}")
        self.done += 1


def resume_everywhere(train, registry, tmp_path, *, steps, workers, num_steps=NUM_STEPS, **options):
    """Trains once, and again from a copy of the run after each of the steps; counts the equal."""
    copies = Copies(tmp_path, set(steps))
    straight = train(name="straight", save_steps=1, observer=copies, **options)
    assert copies.done == num_steps
    same, verdicts = 0, []
    for number, step in enumerate(steps):
        path = tmp_path / f"after-{step}"
        assert checkpoint.latest(path / "checkpoints")[0].name == f"step-{step:08d}"
        config = path / "config.toml"
        threads = workers[number % len(workers)]
        text = config.read_text().replace("save_steps = 1", "save_steps = 0")
        config.write_text(text + f"workers = {threads}\n")
        zoo.resume(path, registry=registry)
        compared = compare_runs(straight.path, path)
        same += compared.identical
        verdicts += [] if compared.identical else [f"after step {step}: {compared.verdict}"]
        shutil.rmtree(path)
    assert verdicts == []
    return same


def plan(network, *, num_steps=NUM_STEPS, freeze_epochs=FREEZE_EPOCHS):
    epochs = num_steps // 3 - freeze_epochs
    return {"model": network, "freeze_epochs": freeze_epochs, "epochs": epochs, **NETWORKS[network]}


@pytest.mark.parametrize(
    "network",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NETWORKS],
)
def test_steps_of_each_kind_resume_to_the_same_bits(train, registry, tmp_path, network):
    # the first step, inside an epoch, an epoch's end, around the unfreezing, and the last one
    steps = [1, 3, 5, 6, 7, 14, 20]
    assert resume_everywhere(
        train, registry, tmp_path, steps=steps, workers=[0, 1, 2], num_steps=QUICK_STEPS,
        **plan(network, num_steps=QUICK_STEPS, freeze_epochs=QUICK_FREEZE_EPOCHS),
    ) == len(steps)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_step_resumes_to_the_same_bits(train, registry, tmp_path, network, workers):
    steps = list(range(1, NUM_STEPS))
    assert resume_everywhere(
        train, registry, tmp_path, steps=steps, workers=[workers], **plan(network)
    ) == len(steps)


def test_an_early_stopped_run_resumes_to_the_same_bits(train, registry, tmp_path):
    """With steps of almost nothing no epoch is better for long, so both phases of 27 stop early."""
    options = {"freeze_epochs": 9, "epochs": 9, "patience": 2, "lr": 1e-12, "warmup": 0.0}
    steps = [1, 3, 6, 9, 11, 12, 13, 17]
    assert resume_everywhere(
        train, registry, tmp_path, steps=steps, workers=[0, 2], num_steps=18, **options
    ) == len(steps)


@pytest.mark.parametrize(
    "options",
    [
        {"ema": 0.9},
        {"swa": 2, "soup": 2},
        {"sam": 0.05},
        {"phases": "head:epochs=1+last-1:epochs=1+all:epochs=2"},
        {"phases": "all:epochs=2,norm=hold+head:epochs=2"},
        {"aug": "light+mixup", "repeats": 2},
        {"aug": "light+cutmix", "balance": "sampler"},
        {"l1": 1e-4, "clip_agc": 0.05, "optim": "adafactor"},
    ],
    ids=lambda options: "+".join(options),
)
def test_each_feature_of_the_loop_resumes_to_the_same_bits(train, registry, tmp_path, options):
    given = {"freeze_epochs": 1, "epochs": 2, "model": "timm/test_resnet", "img_size": 32}
    if "phases" in options:
        given |= {"freeze_epochs": None, "epochs": None}
    num_steps = 3 * (4 if "phases" in options else 3)
    steps = sorted({1, 2, 3, 4, num_steps // 2, num_steps - 1})
    assert resume_everywhere(
        train, registry, tmp_path, steps=steps, workers=[0, 1], num_steps=num_steps,
        **{**given, **options},
    ) == len(steps)  # fmt: skip
