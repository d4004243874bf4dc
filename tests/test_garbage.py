"""Garbage is looked for seldom while modules load or a run lasts, and as before afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

import zoo
from zoo.cli.main import command
from zoo.engine.events import Observer
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


def test_a_run_and_its_resume_look_seldom(shapes_folder, tmp_path, registry):
    gc.set_threshold(700, 10, 10)
    seen: list[tuple[int, int, int]] = []

    class Watch(Observer):
        def run_started(self, *told: object, **more: object) -> None:
            seen.append(gc.get_threshold())

        def step_ended(self, *told: object, **more: object) -> None:
            seen.append(gc.get_threshold())
            raise ZeroDivisionError

    def cut_short() -> None:
        zoo.run(
            model="lenet", img_size=16, batch_size=8, threads=1, freeze_epochs=0, epochs=1,
            workers=1, name="run", data=str(shapes_folder), runs=str(tmp_path), registry=registry,
            observer=Watch(),
        )  # fmt: skip

    with pytest.raises(ZeroDivisionError):
        cut_short()
    assert gc.get_threshold() == (700, 10, 10)
    with pytest.raises(ZeroDivisionError):
        zoo.resume(tmp_path / "run", registry=registry, observer=Watch())
    assert gc.get_threshold() == (700, 10, 10)
    assert len(seen) == 4
    assert min(seen) > (700, 10, 10)


def test_a_command_looks_seldom_up_to_its_end(monkeypatch, capsys):
    """What it has loaded is about to go: a search would take as long as all else at the end."""
    gc.set_threshold(700, 10, 10)
    seen = []

    def leave(code: int) -> int:
        seen.append((code, gc.get_threshold()))
        return code

    monkeypatch.setattr("zoo.cli.main.leave", leave)
    monkeypatch.setattr("sys.argv", ["zoo", "list", "heads"])
    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 0
    assert "linear" in capsys.readouterr().out
    assert seen == [(0, (100_000, 50, 100))]
    assert gc.get_threshold() == (700, 10, 10)
