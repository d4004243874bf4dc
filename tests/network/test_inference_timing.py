"""Timing in turns: how often an engine gets another chance. The clock is told what to say."""

from __future__ import annotations

import pytest
import torch

from zoo.network.inference import timing

IMAGES = torch.zeros(10, 3, 2, 2)


def timed(monkeypatch, told: dict[str, list[float]], *, seconds: float = 60.0):
    """Returns what was found, and how often each ran, when runs take what ``told`` says."""
    runs = dict.fromkeys(told, 0)

    def seconds_of(name: str, images: torch.Tensor) -> float:
        assert images is IMAGES
        runs[name] += 1
        return told[name][min(runs[name], len(told[name])) - 1]

    monkeypatch.setattr(timing, "seconds_of", seconds_of)
    found = timing.timed({name: name for name in told}, IMAGES, seconds=seconds)
    assert {name: one.runs for name, one in found.items()} == runs
    return found, runs


@pytest.mark.parametrize(
    ("told", "runs"),
    [
        # Twice as long as the other one's best after one run each: left out.
        ({"a": [1.0], "b": [0.8, 0.4]}, {"a": 1, "b": 2}),
        # Less than that: another run; and 1.5 times as long after it.
        ({"a": [0.79, 0.7], "b": [0.8, 0.4]}, {"a": 2, "b": 2}),
        # 1.4 times as long in the best of two, and of three.
        ({"a": [0.56], "b": [0.4]}, {"a": 3, "b": 3}),
        # Close to the end.
        ({"a": [0.41], "b": [0.4]}, {"a": 1 + timing.ROUNDS, "b": 1 + timing.ROUNDS}),
        # Slow in its first run alone, which chooses kernels.
        ({"a": [0.6, 0.6], "b": [1.1, 0.3]}, {"a": 2, "b": 2}),
        # The one that is left needs no more runs.
        ({"a": [9.0], "b": [9.0], "c": [0.4]}, {"a": 1, "b": 1, "c": 2}),
    ],
)  # fmt: skip
def test_who_is_far_behind_is_not_timed_again(monkeypatch, told, runs):
    found, counted = timed(monkeypatch, told)
    assert counted == runs
    best = {name: min(times[: runs[name]]) for name, times in told.items()}
    rates = {name: one.rate for name, one in found.items()}
    assert rates == pytest.approx({name: 10 / least for name, least in best.items()})


def test_the_figure_of_a_first_run_is_told_as_that():
    assert timing.Timed(0.5, 1000).told("folded") == "folded 2,000 in its first run"
    assert timing.Timed(0.5, 1000, runs=2).told("folded") == "folded 2,000"


def test_when_the_time_is_over_two_rounds_were_run_and_no_other_begins(monkeypatch):
    _, runs = timed(monkeypatch, {"a": [0.41], "b": [0.4]}, seconds=0.0)
    assert runs == {"a": 3, "b": 3}
