"""Garbage is looked for seldom while modules are loaded, and as before afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from zoo.garbage import collected_rarely


@pytest.fixture(autouse=True)
def _thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def collections_of(count: int) -> int:
    """Returns how often young objects are looked at while some are made."""
    before = gc.get_stats()[0]["collections"]
    made = [[number] for number in range(count)]
    after = gc.get_stats()[0]["collections"]
    assert len(made) == count
    return int(after - before)


def test_it_is_rare_inside_and_usual_after_an_error():
    gc.set_threshold(700, 10, 10)

    def fail_inside() -> None:
        with collected_rarely():
            assert collections_of(50_000) <= 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert gc.get_threshold() == (700, 10, 10)
    assert collections_of(50_000) > 50


def test_garbage_is_found_inside():
    class Ring:
        def __init__(self) -> None:
            self.own = self

    found = gc.get_stats()[0]["collected"]
    with collected_rarely():
        for _ in range(150_000):
            Ring()
    assert gc.get_stats()[0]["collected"] - found > 50_000


@pytest.mark.parametrize("thresholds", [(0, 10, 10), (1_000_000, 10, 10)])
def test_what_is_rarer_already_is_left_alone(thresholds):
    gc.set_threshold(*thresholds)
    with collected_rarely():
        assert gc.get_threshold() == thresholds
    assert gc.get_threshold() == thresholds
