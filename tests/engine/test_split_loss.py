"""A loss with weights: of a split it is one number, however batched, and parts add up to it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

import zoo
from zoo.engine.events import Observer
from zoo.engine.feeds import ImageFeed
from zoo.engine.step.distillation import distillation_loss
from zoo_torch.losses import label_smoothing


class Steps(Observer):
    """Keeps the loss of each step."""

    def __init__(self):
        self.losses = []

    def step_measured(self, *, steps_done, lr, loss):
        self.losses.append(loss)


@pytest.fixture
def uneven(tmp_path, shapes_folder):
    """The shapes with few dots to train on."""
    data = tmp_path / "uneven"
    shutil.copytree(shapes_folder, data)
    for image in sorted((data / "train" / "dot").iterdir())[:8]:
        image.unlink()
    return str(data)


@pytest.mark.parametrize("at_once", [1, 3, 128])
@pytest.mark.parametrize("freeze_epochs", [0, 1])
def test_the_loss_of_a_split_is_that_of_one_batch(
    train, uneven, registry, monkeypatch, at_once, freeze_epochs
):
    monkeypatch.setattr(ImageFeed, "at_once", at_once)
    result = train(data=uneven, balance="loss", freeze_epochs=freeze_epochs,
                   epochs=1 - freeze_epochs, lr=0.05)  # fmt: skip
    data = zoo.prepare(data=uneven, model="lenet", registry=registry).data
    labels = data.splits["train"].labels_N
    weights = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    assert weights[0] != weights[1]
    trained = zoo.load(result.path, registry=registry)
    for split, found in (("val", result.rows[-1].val_loss), ("test", result.test_loss)):
        images, truth = data.splits[split].images, data.splits[split].labels_N
        shares = trained.probabilities([images.read(i) for i in range(len(images))]).numpy()
        losses = -np.log(shares[np.arange(len(truth)), truth])
        assert found == pytest.approx(np.average(losses, weights=weights[truth]), abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"aug": "mixup-0.4", "loss": "focal"}, {"aug": "none", "distill_weight": 0.7}],
    ids=["mixed", "taught"],
)
def test_parts_of_a_weighted_batch_add_up_to_the_whole(train, uneven, registry, options):
    if "distill_weight" in options:
        options = {**options, "distill": str(train(data=uneven, name="teacher", lr=0.05).path)}
    common = {"data": uneven, "balance": "loss", "optim": "sgd", "lr": 0.05, "epochs": 2, **options}
    heard = Steps(), Steps()
    whole, parts = (
        train(accumulate=number, observer=steps, **common)
        for number, steps in zip((1, 3), heard, strict=True)
    )
    first, second = (zoo.load(r.path, registry=registry).model.state_dict() for r in (whole, parts))
    for name in first:
        assert torch.allclose(first[name], second[name], atol=1e-6), name
    for one, other in zip(whole.rows, parts.rows, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, abs=1e-5)
    assert heard[1].losses == pytest.approx(heard[0].losses, abs=1e-5)  # what callbacks are told


@pytest.fixture
def mostly_nothing(tmp_path, shapes_folder):
    """The shapes in a table where all but two training images weigh nothing."""
    rows = ["path,label,split,weight"]
    for split in ("train", "val"):
        for number, path in enumerate(sorted((shapes_folder / split).glob("*/*.png"))):
            weight = int(split == "val" or number in {0, 20})
            rows.append(f"{path},{path.parent.name},{split},{weight}")
    table = tmp_path / "weights.csv"
    table.write_text("\n".join(rows) + "\n")
    return str(table)


@pytest.mark.parametrize("taught", [False, True])
def test_batches_in_which_nothing_counts_change_no_weight_to_nan(
    train, mostly_nothing, registry, taught
):
    options = {"distill": str(train(name="teacher").path)} if taught else {}
    results = [
        train(data=mostly_nothing, accumulate=parts, batch_size=4, optim="sgd:momentum=0", lr=0.05,
              aug="none", weight_decay=0.0, **options)
        for parts in (1, 2)
    ]  # fmt: skip
    assert results[0].rows[0].train_loss == pytest.approx(results[1].rows[0].train_loss, abs=1e-5)
    first, second = (zoo.load(r.path, registry=registry).model.state_dict() for r in results)
    for name in first:
        assert first[name].isfinite().all(), name
        assert torch.allclose(first[name], second[name], atol=1e-6), name


def test_a_teacher_of_samples_that_do_not_count_says_nothing():
    logits = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    nothing = distillation_loss(logits, -logits, temperature=2.0, sample_weight_B=torch.zeros(2))
    assert float(nothing) == 0.0


def test_a_scaled_gradient_of_what_does_not_count_is_zero():
    """fp16 multiplies the loss by 65,536 before it goes back."""
    logits = torch.tensor([[1.0, 2.0], [3.0, 0.0]], requires_grad=True)
    nothing = torch.zeros(2)
    taught = distillation_loss(logits, -logits, temperature=4.0, sample_weight_B=nothing)
    told = label_smoothing()(logits, torch.tensor([0, 1]), nothing)
    (65_536 * (taught + told)).backward()
    assert logits.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]
