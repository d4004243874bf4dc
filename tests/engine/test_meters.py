"""Running sums: whenever they are read, they are those of every batch until then."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import accuracy_score

from zoo.engine.meters import Meter, right_answers
from zoo.evaluation.predictions import Predictions

CPU = torch.device("cpu")


def batches(count, *, multi_label=False):
    generator = torch.Generator().manual_seed(count)
    for number in range(count):
        size = 3 + number % 4
        logits_BK = torch.randn(size, 3, generator=generator)
        if multi_label:
            target = (torch.randn(size, 3, generator=generator) > 0).float()
        else:
            target = torch.randint(0, 3, (size,), generator=generator)
        yield torch.rand((), generator=generator), logits_BK, target


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("count", [1, 31, 32, 33, 64, 70])
def test_sums_are_those_of_all_batches(count, multi_label):
    meter, seen = Meter(CPU, multi_label=multi_label), []
    for number, batch in enumerate(batches(count, multi_label=multi_label)):
        meter.add(*batch)
        seen.append(batch)
        if number % 20 == 7:  # in the middle, as a save does
            again = Meter(CPU, multi_label=multi_label)
            again.add(*batch)
            again.load_state_dict(meter.state_dict())
            meter = again
    loss, accuracy = meter.read(lambda sums: sums)
    sizes = [len(target) for _, _, target in seen]
    logits, targets = torch.cat([b[1] for b in seen]), torch.cat([b[2] for b in seen])
    answers = (logits > 0).int() if multi_label else logits.argmax(1)
    assert accuracy == pytest.approx(accuracy_score(targets, answers), abs=1e-12)
    expected = sum(float(b[0]) * n for b, n in zip(seen, sizes, strict=True)) / sum(sizes)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert meter.read(lambda sums: sums) == (loss, accuracy)


@pytest.mark.parametrize("multi_label", [False, True])
def test_steps_at_once_are_the_same_to_the_bit(multi_label):
    alone, together = (Meter(CPU, multi_label=multi_label) for _ in range(2))
    every = [*batches(40, multi_label=multi_label)]
    for batch in every:
        alone.add(*batch)
    for batch in every[:7]:
        together.add(*batch)
    for some in (every[7:30], every[30:39]):
        losses, logits, targets = zip(*some, strict=True)
        together.add_steps(
            torch.stack(losses), [*map(len, targets)], torch.cat(logits), torch.cat(targets)
        )
    together.add(*every[39])
    assert together.read(lambda sums: sums) == alone.read(lambda sums: sums)
    assert torch.equal(together.state_dict()["sums"], alone.state_dict()["sums"])


def test_without_batches_there_is_no_number():
    loss, accuracy = Meter(CPU).read(lambda sums: sums)
    assert loss != loss
    assert accuracy != accuracy


def test_what_has_no_probability_is_not_right():
    nan, inf = float("nan"), float("inf")
    logits_BK = torch.tensor([[nan, nan], [1.0, nan], [inf, 0.0], [-inf, -inf], [1.0, -inf]])
    target = torch.zeros(5, dtype=torch.int64)
    right = right_answers(logits_BK, target, multi_label=False)
    assert right.tolist() == (~logits_BK.softmax(1).isnan().any(1)).tolist() == [False] * 4 + [True]
    nothing = torch.zeros(5, 2)
    right = right_answers(-logits_BK, nothing, multi_label=True)
    assert right.tolist() == [False, False, True, False, False]


def test_a_label_is_given_as_metrics_and_predictions_give_it():
    logits_BK = torch.tensor([[1e-9, 3.0], [1e-3, 3.0], [0.0, 3.0]])
    target = torch.tensor([[0.0, 1.0]]).repeat(3, 1)
    right = right_answers(logits_BK, target, multi_label=True)
    said = Predictions(
        names=("a", "b", "c"), classes=("x", "y"), logits_NK=logits_BK,
        labels_N=torch.full((3,), -1), targets_NK=target,
    )  # fmt: skip
    expected = ((said.probabilities_NK > 0.5) == (target > 0.5)).all(1)
    assert right.tolist() == said.right_N.tolist() == expected.tolist() == [True, False, True]


def test_answers_at_the_border_are_no():
    """A logit of 0 and a target of a half say that the class is not there."""
    logits_BK = torch.tensor([[0.0, 1.0], [0.0, 1.0], [-1.0, -1.0]])
    target_BK = torch.tensor([[0.0, 0.8], [1.0, 1.0], [0.5, 0.0]])
    right_B = right_answers(logits_BK, target_BK, multi_label=True)
    assert right_B.tolist() == [True, False, True]


def test_the_answer_to_soft_labels_is_the_greatest_share():
    logits_BK = torch.tensor([[0.1, 0.2, 0.0], [3.0, 1.0, 2.0]])
    target_BK = torch.tensor([[0.2, 0.7, 0.1], [0.3, 0.3, 0.4]])
    assert right_answers(logits_BK, target_BK, multi_label=False).tolist() == [True, False]
