"""How many kept features are evaluated at once: by their size, and never fewer than images."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from zoo.engine.features.feed import FeatureFeed
from zoo.engine.features.rows import HeldRows, Layout
from zoo.engine.feeds import IMAGES_AT_ONCE


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
