"""Phases, groups, schedules in the loop, stopping, accumulation, class weights, events."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import zoo
from zoo.config import RunConfig
from zoo.config.defaults import default_image_size
from zoo.data.batches import split_evenly
from zoo.data.randomness import Stream, key, order, uniform
from zoo.engine.assembly.groups import parameter_groups
from zoo.engine.assembly.phases import plan_of
from zoo.engine.events import Observer
from zoo.engine.scores import Monitor, Scores
from zoo.engine.stopping import Best


class Watch(Observer):
    """Notes what a run tells."""

    def __init__(self):
        self.phases, self.rows, self.losses = [], [], []

    def phase_started(self, phase, *, trainable, total, cached):
        self.phases.append((phase.name, trainable, total, cached))

    def step_ended(self, phase, *, epoch, step, num_steps, loss):
        self.losses.append(loss)

    def epoch_ended(self, row):
        self.rows.append(row)


def test_freeze_trains_the_head_then_finetune_everything(train):
    watch = Watch()
    train(freeze_epochs=2, epochs=1, observer=watch)
    (freeze, finetune) = watch.phases
    assert freeze[0] == "freeze"
    assert freeze[1] == 500 * 2 + 2  # the head of lenet with two classes
    assert freeze[3] is True
    assert finetune[0] == "finetune"
    assert finetune[1] == finetune[2]
    assert [row.phase for row in watch.rows] == ["freeze", "freeze", "finetune"]
    assert len(watch.losses) == 9
    assert watch.losses[0] == pytest.approx(math.log(2), abs=1e-6)  # a zero head prefers no class


@pytest.mark.parametrize(("weights_here", "epochs"), [(True, 1), (False, 0)])
def test_freeze_epochs_default_to_one_with_pretrained_weights(
    registry, shapes_folder, weights_here, epochs
):
    options = {} if weights_here else {"weights": "none"}
    job = zoo.prepare(data=str(shapes_folder), registry=registry, **options)
    assert job.config.freeze_epochs == epochs
    assert job.config.norm == ("hold" if weights_here else "train")
    assert (job.loaded is not None) is weights_here
    asked = zoo.prepare(data=str(shapes_folder), registry=registry, freeze_epochs=4, **options)
    assert asked.config.freeze_epochs == 4


def test_a_plan_leaves_out_empty_phases():
    held = {"norm": "hold", "warmup": 0.5}
    names = [
        [p.name for p in plan_of(RunConfig(freeze_epochs=f, epochs=e, **held))]
        for f, e in ((1, 2), (0, 2), (3, 0))
    ]
    assert names == [["freeze", "finetune"], ["finetune"], ["freeze"]]


def test_the_rate_of_each_step_is_base_times_schedule_times_ramp(train, monkeypatch):
    rates = []
    real = torch.optim.SGD.step

    def step(self, closure=None):
        rates.append([group["lr"] for group in self.param_groups])
        return real(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    watch = Watch()
    train(optim="sgd", lr=0.1, backbone_lr=0.5, sched="step-1-0.5", warmup=1.0, epochs=3,
          weight_decay=0.0, observer=watch)  # fmt: skip
    expected = [1 / 3, 2 / 3, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert [r[0] for r in rates] == pytest.approx([0.1 * e for e in expected])
    assert [r[-1] for r in rates] == pytest.approx([0.05 * e for e in expected])
    told = [sum(expected[first : first + 3]) / 30 for first in (0, 3, 6)]
    assert [row.lr for row in watch.rows] == pytest.approx(told)


def test_a_row_tells_the_rate_of_its_epoch_and_not_what_the_schedule_made_of_it(train, monkeypatch):
    rates = []
    real = torch.optim.SGD.step

    def step(self, closure=None):
        rates.append(self.param_groups[0]["lr"])
        return real(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    watch = Watch()
    train(optim="sgd", lr=1e-4, sched="default-0.5-0", warmup=0.0, epochs=4, observer=watch)
    assert len(set(rates)) > 1
    assert [row.lr for row in watch.rows] == pytest.approx(rates[::3])


@pytest.mark.parametrize(("scope", "second"), [("run", 0.5), ("phase", 1.0)])
def test_a_schedule_spans_the_run_or_starts_again(train, scope, second):
    watch = Watch()
    train(freeze_epochs=1, epochs=1, sched="step-1-0.5", sched_scope=scope, lr=0.1, warmup=0.0,
          observer=watch)  # fmt: skip
    assert [row.lr for row in watch.rows] == pytest.approx([0.1, 0.1 * second])


def test_groups_spare_biases_and_norms_and_scale_by_depth(registry):
    from zoo.registry import build, parse_choice

    model = build(parse_choice(registry, "model", "vit_tiny_patch16_224"), num_classes=3,
                  channels=3, image_size=224)  # fmt: skip
    groups = parameter_groups(model, head=("head",), lr=1.0, backbone_lr=0.5, layer_decay=0.5,
                              weight_decay=0.1)  # fmt: skip
    where = {id(p): group for group in groups for p in group["params"]}
    assert len(where) == sum(1 for _ in model.parameters())
    named = {name: where[id(p)] for name, p in model.named_parameters()}
    assert named["head.weight"]["lr"] == 1.0
    assert named["head.weight"]["weight_decay"] == 0.1
    assert named["head.bias"]["weight_decay"] == 0.0
    assert named["norm.weight"] == named["norm.bias"]
    assert named["norm.weight"]["lr"] == 0.25
    assert named["blocks.11.mlp.fc1.weight"]["lr"] == 0.5 * 0.5**2
    assert named["blocks.0.mlp.fc1.weight"]["lr"] == 0.5 * 0.5**13
    assert named["pos_embed"]["weight_decay"] == 0.0
    assert named["patch_embed.proj.weight"]["weight_decay"] == 0.1
    assert named["cls_token"]["lr"] < named["blocks.0.mlp.fc1.weight"]["lr"]
    assert groups[0]["lr"] == 1.0, "the head comes first"


def test_accumulation_equals_the_whole_batch(train, registry):
    results = [
        train(accumulate=parts, optim="sgd", lr=0.05, epochs=2, balance="loss", aug="none")
        for parts in (1, 3)
    ]
    first, second = (zoo.load(r.path, registry=registry).model.state_dict() for r in results)
    for name in first:
        assert torch.allclose(first[name], second[name], atol=1e-6), name
    for a, b in zip(results[0].rows, results[1].rows, strict=True):
        assert a.val_loss == pytest.approx(b.val_loss, abs=1e-6)


def test_the_loss_of_a_step_is_that_of_all_its_parts(train):
    class Losses(Observer):
        def __init__(self):
            self.told = []

        def step_measured(self, *, steps_done, lr, loss):
            self.told.append(loss)

    whole, parts = Losses(), Losses()
    for number, heard in ((1, whole), (3, parts)):
        train(accumulate=number, optim="sgd", lr=0.05, epochs=2, aug="none", observer=heard)
    assert parts.told == pytest.approx(whole.told, abs=1e-5)


def test_clipping_bounds_the_gradient(train, monkeypatch):
    norms = []
    real = torch.optim.SGD.step

    def step(self, closure=None):
        grads = [p.grad for g in self.param_groups for p in g["params"] if p.grad is not None]
        norms.append(float(torch.stack([g.norm() for g in grads]).norm()))
        return real(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    train(optim="sgd", clip_norm=0.01, epochs=1)
    assert max(norms) <= 0.01 * (1 + 1e-4)


def test_balanced_class_weights_are_those_of_scikit_learn(registry, shapes_folder, tmp_path):
    import shutil

    from sklearn.utils.class_weight import compute_class_weight

    data = tmp_path / "uneven"
    shutil.copytree(shapes_folder, data)
    for image in sorted((data / "train" / "dot").iterdir())[:9]:
        image.unlink()
    job = zoo.prepare(data=str(data), model="lenet", balance="loss", registry=registry)
    labels = job.data.splits["train"].labels_N
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    found = [float(job.mass(torch.tensor([index]), None)) for index in range(2)]
    assert found == pytest.approx(expected.tolist())


def test_early_stopping_stops_the_phase_and_the_best_weights_are_kept(train, registry):
    watch = Watch()
    result = train(epochs=30, lr=1e-9, patience=2, observer=watch)  # never gets better
    assert len(watch.rows) == result.best_epoch + 2 < 10
    stopped = json.loads((result.path / "best/model.json").read_text())
    assert stopped["epoch"] == result.best_epoch
    assert [row.best for row in watch.rows][-3:] == [True, False, False]
    again = zoo.resume(result.path, registry=registry)
    assert len(again.rows) == len(watch.rows), (
        "a resume does not go on where the run had stopped for good"
    )


def test_early_stop_of_the_freeze_phase_goes_on_to_finetune(train):
    watch = Watch()
    train(freeze_epochs=9, epochs=2, lr=1e-9, patience=1, observer=watch)
    assert [row.phase for row in watch.rows] == ["freeze", "freeze", "finetune"]


@pytest.mark.parametrize("monitor", ["val_accuracy", "val_loss"])
def test_the_best_epoch_is_the_best_of_the_monitored_metric(train, monitor):
    result = train(epochs=6, lr=5e-3, monitor=monitor)
    values = [getattr(row, monitor) for row in result.rows]
    best = max(values) if monitor == "val_accuracy" else min(values)
    assert result.best_score == pytest.approx(best)
    assert values.index(best) + 1 == result.best_epoch


def test_nan_ranks_below_every_number():
    best = Best(min_delta=0.0)
    lower, upper = Monitor(label="loss", greater_is_better=False), Monitor(label="accuracy")
    assert best.observe(lower.score(Scores(float("nan"), 0.5, {})), epoch=1)
    assert best.observe(lower.score(Scores(1e30, 0.5, {})), epoch=2)
    assert not best.observe(upper.score(Scores(0.5, float("nan"), {})), epoch=3)
    assert best.epoch == 2


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0, 0.2), st.integers(1, 5))
def test_patience_counts_epochs_without_gain(scores, min_delta, patience):
    best = Best(min_delta=min_delta)
    top, waited = -math.inf, 0
    for epoch, score in enumerate(scores, 1):
        better = epoch == 1 or score > top + min_delta
        top, waited = (score, 0) if better else (top, waited + 1)
        assert best.observe(score, epoch=epoch) is better
        assert best.exhausted(patience) is (waited >= patience)


@given(st.integers(1, 400), st.integers(1, 64))
def test_batches_differ_by_one_and_leave_nothing_out(num, size):
    batches = split_evenly(np.arange(num), size)
    sizes = {len(batch) for batch in batches}
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max(size, 3)
    assert np.concatenate(batches).tolist() == list(range(num))
    assert min(sizes) > 1 or num == 1 or size == 1


@given(st.integers(0, 2**31 - 1), st.integers(0, 10**6), st.integers(1, 300))
def test_the_order_is_a_permutation_that_depends_on_seed_and_epoch(seed, epoch, num):
    first = order(seed, epoch, num)
    assert sorted(first.tolist()) == list(range(num))
    assert first.tolist() == order(seed, epoch, num).tolist()
    if num > 20:
        assert first.tolist() != order(seed, epoch + 1, num).tolist()
        assert first.tolist() != order(seed + 1, epoch, num).tolist()


def test_random_numbers_are_uniform_and_belong_to_their_sample():
    values = uniform(Stream.AUGMENT, 3, 5, np.arange(20_000), count=4)
    assert values.min() >= 0
    assert values.max() < 1
    counts, _ = np.histogram(values, bins=50, range=(0, 1))
    chi_square = ((counts - 1600) ** 2 / 1600).sum()
    assert chi_square < 86  # 99.9 % of chi-square with 49 degrees of freedom
    assert np.abs(np.corrcoef(values.T) - np.eye(4)).max() < 0.03
    alone = uniform(Stream.AUGMENT, 3, 5, [17_031], count=4)
    assert alone.tolist() == values[17_031:17_032].tolist()
    assert key(Stream.STEP, 1) != key(Stream.ORDER, 1)


@pytest.mark.parametrize(
    ("preferred", "side", "expected"),
    [
        (224, None, 224),
        (224, 28, 64),
        (224, 96, 96),
        (224, 500, 224),
        (28, 28, 28),
        (224, 100, 128),
    ],
)
def test_the_input_size_follows_the_images(preferred, side, expected):
    assert default_image_size(preferred=preferred, typical_side=side) == expected


def test_a_plugin_that_breaks_its_contract_is_named(make_plugin, shapes_folder, tmp_path):
    package = make_plugin(
        "acme",
        "from zoo.plugin import Component, hookimpl\n@hookimpl\ndef zoo_components():\n"
        "    for name in ('flat', 'headless', 'dying'):\n"
        "        yield Component(kind='model', name=name, target=f'{__name__}.nets:{name}')\n",
    )
    (tmp_path / "site" / package / "nets.py").write_text(
        "from torch import nn\n"
        "class Flat(nn.Module):\n"
        "    def __init__(self, k):\n        super().__init__(); self.head = nn.Linear(3, k)\n"
        "    def forward(self, x): return self.head(x.mean((2, 3))).sum(1)\n"
        "def flat(num_classes): return Flat(num_classes)\n"
        "def headless(num_classes): return nn.Conv2d(3, 1, 3)\n"
        "def dying(num_classes): raise RuntimeError('out of luck')\n"
    )
    from zoo.errors import PluginError

    for name, words in (("flat", "not to (2, 2)"), ("headless", "head"), ("dying", "out of luck")):
        with pytest.raises(PluginError) as caught:
            zoo.prepare(model=name, data=str(shapes_folder), img_size=16)
        assert words in str(caught.value)
        assert caught.value.exit_code == 5


def test_a_network_whose_head_is_not_last_is_cut_before_it_all_the_same(train):
    watch = Watch()
    train(model="torchvision/squeezenet1_1", img_size=32, freeze_epochs=1, epochs=0, observer=watch)
    assert watch.phases[0][3] is True
    assert watch.losses[-1] is not None


def test_frozen_weights_that_change_are_caught(make_plugin, shapes_folder, tmp_path):
    from zoo.errors import ZooError

    package = make_plugin(
        "acme",
        "from zoo.plugin import Component, hookimpl\n@hookimpl\ndef zoo_components():\n"
        "    yield Component(kind='model', name='restless', target=f'{__name__}.nets:restless')\n",
    )
    (tmp_path / "site" / package / "nets.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Restless(nn.Module):\n"
        "    def __init__(self, k):\n        super().__init__()\n"
        "        self.register_buffer('calls', torch.zeros(1)); self.head = nn.Linear(3, k)\n"
        "    def forward(self, x):\n        self.calls += 1\n"
        "        return self.head(x.mean((2, 3)))\n"
        "def restless(num_classes): return Restless(num_classes)\n"
    )
    with pytest.raises(ZooError, match="frozen weights changed"):
        zoo.run(model="restless", data=str(shapes_folder), img_size=16, freeze_epochs=1, epochs=0,
                cache=False, threads=1, runs=str(tmp_path / "r"))  # fmt: skip


def test_channels_and_grey(train):
    result = train(channels=1, epochs=1)
    weight = zoo.load(result.path).model.state_dict()
    first = next(v for v in weight.values() if v.ndim == 4)
    assert first.shape[1] == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_held_images_whose_centre_is_cut_out_train_like_files(train, tmp_path, channels):
    draw = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 16), ("val", 8), ("test", 8)):
        pixels = draw.integers(0, 256, (count, 20, 20, 3), dtype=np.uint8)
        arrays |= {f"x_{split}": pixels, f"y_{split}": np.arange(count) % 2}
        for number, image in enumerate(pixels):
            path = tmp_path / "files" / split / str(number % 2) / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    np.savez(tmp_path / "held.npz", **arrays)
    held, files = (
        train(data=str(tmp_path / name), crop_fraction=0.7, channels=channels, aug="none", seed=3)
        for name in ("held.npz", "files")
    )
    assert held.test_loss == pytest.approx(files.test_loss, abs=0.05)


def test_the_lazy_names_of_zoo():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = zoo.nothing
    assert zoo.__version__
    assert isinstance(nn.Module, type)


def test_a_run_leaves_the_generator_of_its_caller_alone(train, shapes_folder, tmp_path):
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        expected = torch.rand(3)
        torch.manual_seed(seed)
        result = train()
        assert zoo.resume(result.path).rows
        zoo.prepare(data=str(shapes_folder), model="lenet", weights="none", img_size=16)
        drawn.append(torch.rand(3))
        assert torch.equal(drawn[-1], expected)
