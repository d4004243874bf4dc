"""Headline numbers, the table of the classes, the confusion matrix."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import sklearn.metrics as reference
import torch

from zoo.errors import DataError, UnknownName, UsageError
from zoo.evaluation.metrics import confusion, headline, measures_for, most_confused, per_class
from zoo.evaluation.predictions import Predictions


def made(num_images=300, num_classes=7, *, multi_label=False, seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (num_images,), generator=generator)
    logits = torch.randn((num_images, num_classes), generator=generator)
    logits += 2 * torch.nn.functional.one_hot(labels, num_classes)
    targets = None
    if multi_label:
        targets = (torch.rand(logits.shape, generator=generator) < 0.4).float()
        logits = logits + 2 * targets - 1
    known = {
        "names": tuple(f"{i}.png" for i in range(num_images)),
        "classes": tuple(f"class {k}" for k in range(num_classes)),
        "logits_NK": logits, "labels_N": labels, "targets_NK": targets,
        "facts": {"data": "made \x1b[31m", "split": "test"},
    }  # fmt: skip
    return Predictions(**{**known, **changes})


def test_the_usual_numbers_of_one_label(registry):
    said = made()
    rows = {row.label: row for row in headline(said, registry)}
    assert list(rows)[:2] == ["accuracy", "top5"]
    assert {"f1", "f1-weighted", "auroc", "kappa", "mcc", "nll", "brier", "ece"} <= set(rows)
    true, called = said.labels_N.numpy(), said.predicted_N.numpy()
    assert rows["f1"].value == pytest.approx(reference.f1_score(true, called, average="macro"))
    assert rows["mcc"].value == pytest.approx(reference.matthews_corrcoef(true, called))
    assert rows["nll"].value == pytest.approx(float(said.losses_N.mean()), rel=1e-5)
    assert rows["accuracy"].value == pytest.approx(float(said.right_N.float().mean()))
    assert [r.label for r in rows.values() if not r.greater_is_better] == ["nll", "brier", "ece"]


def test_the_usual_numbers_of_several_labels(registry):
    said = made(multi_label=True)
    rows = {row.label: row.value for row in headline(said, registry)}
    assert "kappa" not in rows
    targets, called = said.targets_NK.numpy(), said.probabilities_NK.numpy() > 0.5
    expected = reference.f1_score(targets, called, average="micro")
    assert rows["f1-micro"] == pytest.approx(expected)
    assert rows["accuracy"] == pytest.approx(float(said.right_N.float().mean()))
    with pytest.raises(UsageError, match="several labels have no confusion matrix"):
        confusion(said)


def test_top_five_of_five_classes_says_nothing_and_is_left_out(registry):
    assert "top5" not in [row.label for row in headline(made(num_classes=5), registry)]


def test_chosen_numbers_in_the_order_in_which_they_are_named(registry):
    rows = headline(made(), registry, "loss,f1:average=micro+accuracy, ECE-5")
    assert [row.label for row in rows] == ["loss", "f1-average-micro", "accuracy", "ece-5"]
    assert rows[0].value == pytest.approx(float(made().losses_N.mean()), rel=1e-5)
    again = measures_for(made(), registry, ["f1", "auroc,f1"])
    assert [measure.label for measure in again] == ["f1", "auroc"]


def test_a_number_a_class_is_no_headline(registry):
    with pytest.raises(UsageError, match="a number for each class"):
        headline(made(), registry, "f1-none")
    with pytest.raises(UnknownName, match="no metric is named 'f11'"):
        headline(made(), registry, "f11")


def test_class_by_class(registry):
    said = made(num_classes=4)
    rows = per_class(said, registry)
    columns = reference.precision_recall_fscore_support(said.labels_N, said.predicted_N)
    for row, precision, recall, f1, support in zip(rows, *columns, strict=True):
        assert (row.precision, row.recall, row.f1) == pytest.approx((precision, recall, f1))
        assert row.support == support
    assert [row.name for row in rows] == list(said.classes)
    assert [row.predicted for row in rows] == np.bincount(said.predicted_N, minlength=4).tolist()
    expected = reference.roc_auc_score(said.labels_N == 2, said.probabilities_NK[:, 2])
    assert rows[2].auroc == pytest.approx(expected)
    area = reference.average_precision_score(said.labels_N == 2, said.probabilities_NK[:, 2])
    assert rows[2].average_precision == pytest.approx(area)


def test_a_class_without_images_is_a_row_of_its_own(registry):
    said = made(num_classes=3, labels_N=torch.zeros(300, dtype=torch.int64))
    first, second, _ = per_class(said, registry)
    assert (second.support, second.recall) == (0, 0)
    assert math.isnan(second.auroc)
    assert math.isnan(second.average_precision)
    assert math.isnan(first.auroc)  # there is nothing but it
    assert first.average_precision == pytest.approx(1)
    assert math.isnan({r.label: r.value for r in headline(said, registry)}["auroc"])


def test_class_by_class_with_several_labels(registry):
    said = made(multi_label=True, num_classes=3)
    called = said.probabilities_NK.numpy() > 0.5
    columns = reference.precision_recall_fscore_support(said.targets_NK.numpy(), called)
    rows = per_class(said, registry)
    assert [row.precision for row in rows] == pytest.approx(columns[0])
    assert [row.support for row in rows] == columns[3].tolist()
    assert [row.predicted for row in rows] == called.sum(0).tolist()


def test_what_is_confused_most():
    said = made(200, 4)
    counts = confusion(said)
    expected = reference.confusion_matrix(said.labels_N, said.predicted_N, labels=range(4))
    assert counts.tolist() == expected.tolist()
    table = torch.tensor([[5, 2, 0], [3, 1, 0], [2, 0, 0]])
    pairs = [(p.true, p.predicted, p.count, p.share) for p in most_confused(table)]
    assert pairs == [(1, 0, 3, 0.75), (2, 0, 2, 1.0), (0, 1, 2, pytest.approx(2 / 7))]
    assert len(most_confused(table, count=2)) == 2
    alike = [(p.true, p.predicted) for p in most_confused(1 - torch.eye(3, dtype=torch.int64))]
    assert alike == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert most_confused(torch.eye(3, dtype=torch.int64)) == ()


def test_nothing_to_compare_with(registry):
    labels = torch.tensor([0] * 290 + [-1] * 10)
    with pytest.raises(DataError) as caught:
        headline(made(labels_N=labels), registry)
    assert "10 of 300 have no label" in str(caught.value)
    assert "zoo predict" in str(caught.value)
    assert "the images of made \\x1b[31m, test," in str(caught.value)
    empty = made(logits_NK=torch.zeros(0, 7), labels_N=torch.zeros(0, dtype=torch.int64), names=())
    with pytest.raises(DataError, match="none at all"):
        per_class(empty, registry)


def test_a_thousand_classes_are_quick(registry):
    said = made(10_000, 1_000)
    headline(made(), registry)  # imports
    began = time.process_time()
    rows = headline(said, registry)
    assert len(per_class(said, registry)) == 1_000
    assert most_confused(confusion(said))
    assert time.process_time() - began < 6  # 1.1 s on an AMD EPYC: benchmarks/metrics.py
    scores = said.probabilities_NK[:, 3]
    expected = reference.roc_auc_score(said.labels_N == 3, scores)
    assert per_class(said, registry)[3].auroc == pytest.approx(expected)
    assert 0.5 < {row.label: row.value for row in rows}["auroc"] < 1
