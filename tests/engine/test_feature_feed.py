"""Kept features in batches: what each comes with, and how many are evaluated at once."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from zoo.data.batches import Part
from zoo.engine.features.feed import FeatureFeed
from zoo.engine.features.rows import HeldRows, Layout
from zoo.engine.feeds import IMAGES_AT_ONCE, Labels


@pytest.mark.parametrize(
    ("shape", "dtype", "at_once"),
    [
        ((16,), torch.float32, 1024),
        ((1280,), torch.float32, 2**22 // 5120),
        ((1280,), torch.bfloat16, 1024),
        ((2048,), torch.float32, 512),
        ((112, 14, 14), torch.float32, IMAGES_AT_ONCE),
    ],
    ids=str,
)
def test_small_rows_are_evaluated_many_at_once(shape, dtype, at_once):
    layout = Layout(shape=shape, channels_last=False, dtype=dtype)
    rows = HeldRows(torch.zeros(1, *shape, dtype=dtype), layout)
    assert FeatureFeed([rows], SimpleNamespace()).at_once == at_once


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "targets"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weights"])
def test_each_batch_has_what_is_said_of_its_samples(soft, weighted):
    numbers = np.random.default_rng(0)
    labels_N = numbers.integers(0, 3, 50)
    split = SimpleNamespace(
        labels_N=labels_N, targets_NK=np.eye(3, dtype=np.float32)[labels_N] if soft else None,
        weights_N=numbers.random(50, dtype=np.float32) if weighted else None,
    )  # fmt: skip
    rows = HeldRows(torch.rand(50, 4), Layout(shape=(4,), channels_last=False, dtype=torch.float32))
    labels = Labels(split, num_classes=3, device=torch.device("cpu"))
    feed = FeatureFeed([rows], labels, taught=[torch.rand(50, 3)])
    draws = [numbers.integers(0, 120, 1 + number % 5) for number in range(70)]  # some repeated
    batches = list(feed.batches([Part(one, one) for one in draws], epoch=3))
    assert len(batches) == len(draws)
    for one, batch in zip(draws, batches, strict=True):
        samples_B = one % 50
        assert torch.equal(batch.inputs, rows.rows_N[samples_B])
        expected = split.targets_NK if soft else split.labels_N
        assert np.array_equal(batch.target, expected[samples_B])
        if weighted:
            assert np.array_equal(batch.weights_B, split.weights_N[samples_B])
        else:
            assert batch.weights_B is None
        assert batch.teacher_BK.shape == (len(one), 3)
