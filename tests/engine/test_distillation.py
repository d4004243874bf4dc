"""Distillation against torch and numpy; teachers of another order, size and normalisation; runs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from test_resume import StopAt
from torch import nn

import zoo
from zoo.engine.interrupts import Interrupted
from zoo.engine.step.distillation import (
    Teacher,
    class_columns,
    distillation_loss,
    multi_label_distillation_loss,
)
from zoo.errors import CheckpointError, UsageError, ZooError
from zoo.protocols import Preprocessing


def logits(seed, shape=(6, 4)):
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def softmax(values):
    grown = np.exp(values - values.max(-1, keepdims=True))
    return grown / grown.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 10.0])
def test_the_loss_is_torchs_and_numpys(temperature):
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    loss = distillation_loss(student, teacher, temperature=temperature)
    reference = nn.KLDivLoss(reduction="batchmean")(
        (student / temperature).log_softmax(1), (teacher / temperature).softmax(1)
    )
    assert loss.item() == pytest.approx(temperature**2 * reference.item(), rel=1e-5)

    p, q = (softmax(t.detach().double().numpy() / temperature) for t in (teacher, student))
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)

    loss.backward()
    slope = temperature * (q - p) / len(p)  # T**2 * 1/T * (q - p)
    np.testing.assert_allclose(student.grad.numpy(), slope, rtol=1e-4, atol=1e-6)
    assert teacher.grad is None


def test_agreement_is_zero_and_precision_is_float32():
    agreed = logits(0).to(torch.bfloat16)
    loss = distillation_loss(agreed, agreed, temperature=4.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    far = torch.tensor([[1e4, -1e4]])
    assert distillation_loss(far, -far, temperature=1.0).isfinite()


def test_samples_count_by_their_weight():
    weight_B = torch.tensor([0.0, 1.0, 2.0, 0.0, 0.0, 0.0])
    weighted = distillation_loss(logits(0), logits(1), temperature=3.0, sample_weight_B=weight_B)
    alone = [
        distillation_loss(logits(0)[i : i + 1], logits(1)[i : i + 1], temperature=3.0)
        for i in (1, 2)
    ]
    assert weighted.item() == pytest.approx(((alone[0] + 2 * alone[1]) / 3).item(), rel=1e-5)


def test_several_labels_are_that_many_questions():
    temperature = 2.0
    loss = multi_label_distillation_loss(logits(0), logits(1), temperature=temperature)
    q, p = (1 / (1 + np.exp(-logits(s).double().numpy() / temperature)) for s in (0, 1))
    apart = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert loss.item() == pytest.approx(temperature**2 * apart.sum(1).mean(), rel=1e-5)


# ---- teachers -----------------------------------------------------------------------------------


class Channels(nn.Module):
    """Logits that are the mean of each colour, and with them the pixels' size."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(3), nn.Dropout(0.5)
        self.seen = None

    def forward(self, images_BCHW):
        self.seen = images_BCHW
        return self.drop(self.norm(images_BCHW)).mean((2, 3))


def teacher(**changes):
    facts = {
        "classes": ("red", "green", "blue"),
        "preprocessing": Preprocessing(image_size=8),
        "channels": 3,
        "student_classes": ("red", "green", "blue"),
        "student_preprocessing": Preprocessing(image_size=8),
        "student_channels": 3,
        "device": torch.device("cpu"),
    }
    return Teacher.of(Channels(), **{**facts, **changes})


def test_columns_follow_the_students_order():
    order = ("blue", "red", "green")
    assert class_columns(teacher=("red", "green", "blue"), student=order) == (2, 0, 1)
    images = torch.randn(4, 3, 8, 8)
    plain, mapped = teacher(), teacher(student_classes=order)
    assert plain.columns_K is None
    assert torch.equal(mapped.logits(images), plain.logits(images)[:, [2, 0, 1]])


def test_other_classes_and_channels_are_refused_together():
    with pytest.raises(UsageError) as caught:
        teacher(student_classes=("red", "gr\x1been", "cyan"), student_channels=1)
    text = str(caught.value)
    assert "2 problems" in text
    assert "it lacks gr\\x1been, cyan" in text
    assert "it alone has blue, green" in text
    assert "channels" in text


def test_a_teacher_sees_pixels_as_it_learned_them():
    own = Preprocessing(image_size=4, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    given = Preprocessing(image_size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    pixels = np.random.default_rng(0).random((2, 3, 8, 8))

    def normalised(values, preprocessing):
        mean, std = (np.reshape(v, (1, 3, 1, 1)) for v in (preprocessing.mean, preprocessing.std))
        return (values - mean) / std

    student_sees = torch.from_numpy(normalised(pixels, given)).float()
    one = teacher(preprocessing=own, student_preprocessing=given)
    one.logits(student_sees)
    wanted = nn.functional.interpolate(
        torch.from_numpy(pixels), (4, 4), mode="bilinear", antialias=True
    )
    expected = normalised(wanted.numpy(), own)
    np.testing.assert_allclose(one.module.seen.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_teacher_stands_still_and_draws_no_random_number():
    one = teacher()
    before = {name: t.clone() for name, t in one.module.state_dict().items()}
    state = torch.get_rng_state()
    images = torch.randn(4, 3, 8, 8, requires_grad=True)
    torch.set_rng_state(state)
    first, second = one.logits(images), one.logits(images)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert all(torch.equal(t, before[n]) for n, t in one.module.state_dict().items())
    student = logits(0, (4, 3)).requires_grad_()
    distillation_loss(student, first, temperature=2.0).backward()  # it may be used in autograd
    assert student.grad.isfinite().all()


# ---- runs with a teacher ----------------------------------------------------------------------


def test_a_teacher_is_learnt_from(train, registry, shapes_folder):
    teacher = train(epochs=8, lr=5e-3)
    alone = train(epochs=20, lr=5e-3, seed=1)
    taught = train(epochs=20, distill=str(teacher.path), distill_weight=1.0, lr=5e-3, seed=1)
    trained = zoo.load(teacher.path, registry=registry)
    images = [Image.open(p) for p in sorted((shapes_folder / "train").glob("*/*.png"))]

    def distance(run):
        other = zoo.load(run.path, registry=registry)
        mine, theirs = (x.probabilities(images).log() for x in (other, trained))
        return float((theirs.exp() * (theirs - mine)).sum(1).mean())

    assert distance(taught) < distance(alone)


def test_distillation_equals_its_formula_on_the_frozen_features_too(train, registry):
    """With weight 0 the teacher changes nothing, to the bit."""
    teacher = train(epochs=2)
    common = {"freeze_epochs": 1, "epochs": 1}
    plain = train(**common)
    weightless = train(distill=str(teacher.path), distill_weight=0.0, **common)
    first, second = (zoo.load(r.path, registry=registry).model.state_dict()
                     for r in (plain, weightless))  # fmt: skip
    for name in first:
        assert torch.equal(first[name], second[name]), name
    taught = train(distill=str(teacher.path), **common)
    third = zoo.load(taught.path, registry=registry).model.state_dict()
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_a_teacher_can_be_a_model_with_its_weights_file(train):
    teacher = train(epochs=2)
    weights = teacher.path / "best/model.safetensors"
    from_run = train(epochs=2, distill=str(teacher.path))
    from_file = train(epochs=2, distill=f"lenet@{weights}")
    first, second = (load_file(r.path / "best/model.safetensors") for r in (from_run, from_file))
    assert all(torch.equal(first[name], second[name]) for name in first)
    before = sorted(teacher.path.parent.iterdir())
    with pytest.raises(ZooError, match="no head for the 2 classes") as caught:
        train(distill="lenet@none")
    assert caught.value.exit_code == 2
    with pytest.raises(ZooError, match="nowhere"):
        train(distill="lenet@nowhere.safetensors")
    assert sorted(teacher.path.parent.iterdir()) == before, "nothing was begun"


def test_a_teacher_of_other_classes_is_refused(train, tmp_path, shapes_folder):
    teacher = train(epochs=1)
    renamed = tmp_path / "renamed"
    shutil.copytree(shapes_folder, renamed)
    for split in ("train", "val", "test"):
        (renamed / split / "dot").rename(renamed / split / "spot")
    with pytest.raises(UsageError, match=r"spot|dot"):
        train(data=str(renamed), distill=str(teacher.path))
    before = sorted(teacher.path.parent.iterdir())
    with pytest.raises(UsageError, match="is not a run folder"):
        train(distill=str(tmp_path / "nowhere"))
    assert sorted(teacher.path.parent.iterdir()) == before, "nothing was begun"


def test_a_resume_under_another_teacher_is_refused(train, registry):
    teacher = train(name="teacher", epochs=1)
    with pytest.raises(Interrupted):
        train(name="cut", epochs=2, distill=str(teacher.path), observer=StopAt(2))
    shutil.rmtree(teacher.path)
    train(name="teacher", epochs=1, seed=1)
    path = teacher.path.parent / "cut"
    with pytest.raises(CheckpointError, match="the teacher is another one") as caught:
        zoo.resume(path, registry=registry)
    assert str(path) in caught.value.what
    assert caught.value.hint.endswith(f"zoo resume {path} --force")
    assert len(zoo.resume(path, registry=registry, force=True).rows) == 2


def test_statistics_of_an_average_are_taken_without_the_teacher(train, monkeypatch):
    teacher = train(epochs=1)
    seen, real = [], Teacher.logits

    def logits(self, images_BCHW):
        seen.append(len(images_BCHW))
        return real(self, images_BCHW)

    monkeypatch.setattr(Teacher, "logits", logits)
    train(model="mlp-mnist", epochs=3, distill=str(teacher.path), norm="train", swa=2)
    assert sum(seen) == 3 * 24
