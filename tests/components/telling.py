"""What the tests of callbacks share: a recorded run, told again, and what a tracker should hold."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ["lr", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "images_per_second"]


def needs(package):
    absent = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(absent, reason=f"{package} is not installed")


@dataclass(frozen=True)
class Told:
    """A recorded run."""

    job: object
    path: Path
    rows: list
    result: object


def tell(callback, told, rows, *, before=(), ended=False, error=None, closed=True):
    """Tells a run, or a part of one: ``before`` are the epochs of earlier processes."""

    def event(name, *args, **facts):
        getattr(callback, name, lambda *a, **f: None)(*args, **facts)

    event("run_started", told.job, told.path, resumed_epoch=len(before))
    if before:
        event("resumed", tuple(before))
    for row in rows:
        event("epoch_ended", row)
    if ended:
        event("run_ended", told.result)
    if closed:
        event("closed", error)


def expected(rows):
    """What trackers should hold, from metrics.jsonl's own names."""
    fields = [name.replace("/", "_") for name in NAMES]
    return {
        name: [(row.epoch, getattr(row, field)) for row in rows]
        for name, field in zip(NAMES, fields, strict=True)
    }


def assert_points(found, rows, rel=1e-6):
    assert set(NAMES) <= set(found)
    for name, points in expected(rows).items():
        assert [epoch for epoch, _ in found[name]] == [epoch for epoch, _ in points], name
        assert [v for _, v in found[name]] == pytest.approx([v for _, v in points], rel=rel), name
