"""Each check of callbacks catches one that is wrong in just that way; its run is the engine's."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from making import assert_caught, assert_each_can_fail, failing, subject

from zoo.engine.events import EVENTS as HEARD
from zoo.engine.events import EpochRow, Observer, RunResult, WeightsView
from zoo.protocols.training import EVENTS
from zoo.testing import callbacks
from zoo.testing.callbacks import CHECKS


class Lines:
    """Writes a line an epoch."""

    def __init__(self, *, run_path: Path) -> None:
        self.path = run_path / "lines.txt"
        self.file = None

    def run_started(self, job, path, *, resumed_epoch):
        assert job.config.as_mapping()["model"] == "lenet"
        self.file = self.path.open("a", encoding="utf-8")

    def epoch_ended(self, row):
        self.file.write(f"{row.epoch} {row.as_dict()['val_f1']}\n")

    def closed(self, error):
        if self.file is not None:
            self.file.close()


class Everything(Lines):
    """Listens to all events, and uses all that they bring."""

    def resumed(self, rows):
        assert [row.epoch for row in rows] == list(range(1, len(rows) + 1))

    def preparing(self, what, done, total):
        assert 0 <= done <= total

    def phase_started(self, phase, **facts):
        assert facts["cached"] == (phase.name == "freeze")

    def sampled(self, phase, sample, *, epoch):
        assert len(sample().labels) == len(sample().images_BCHW)

    def step_ended(self, phase, *, epoch, step, num_steps, loss):
        assert step < num_steps

    def step_measured(self, *, steps_done, lr, loss):
        assert loss is None or loss > 0

    def weights_shown(self, weights, *, epoch):
        for (_, weight), (_, gradient) in zip(weights.weights(), weights.gradients(), strict=True):
            assert weight.shape == gradient.shape
            weight.zero_()

    def noted(self, text):
        assert text

    def run_ended(self, result):
        assert result.rows[-1].epoch == 3
        assert result.summary()["test_f1"] == result.test_metrics["f1"]

    def helper(self):
        """A method of its own, named like no event."""


class Early(Lines):
    def __init__(self, *, run_path):
        super().__init__(run_path=run_path)
        self.path.touch()


class Deaf:
    def __init__(self, *, run_path):
        pass

    def log(self, row):
        pass


class Mistyped(Lines):
    def on_epoch_end(self, row):
        pass


class Positional(Lines):
    def run_started(self, job, path):
        super().run_started(job, path, resumed_epoch=0)


class Renamed(Lines):
    def step_measured(self, *, step, lr, loss):
        pass


class NeedsMetric(Lines):
    def epoch_ended(self, row):
        assert row.metrics["f1"] + row.metrics["auroc"] > 0, "the AUROC is NaN"


class Once(Lines):
    """Takes for granted that it starts the run, and does not take up what is there."""

    def run_started(self, job, path, *, resumed_epoch):
        self.file = self.path.open("x", encoding="utf-8")


class Hasty(Lines):
    def closed(self, error):
        self.file.close()


class Seeding(Lines):
    def run_started(self, job, path, *, resumed_epoch):
        super().run_started(job, path, resumed_epoch=resumed_epoch)
        torch.manual_seed(0)
        np.random.shuffle([1, 2, 3])


WRONG = [
    (Deaf, {"listens-to-events": "Deaf has no method of the events run_started"}),
    (Mistyped, {"listens-to-events": "Mistyped.on_epoch_end is never told of anything"}),
    (Positional, {"takes-the-arguments": "run_started is called as run_started(job, path, *, "
                  "resumed_epoch)", "survives-a-run": "unexpected keyword",
                  "survives-a-resume": "", "leaves-generators-alone": "",
                  "survives-an-early-end": ""}),
    (Renamed, {"takes-the-arguments": "step_measured(*, steps_done, lr, loss)",
               "survives-a-run": "", "survives-a-resume": "", "leaves-generators-alone": ""}),
    (Early, {"builds-without-a-trace": "building it already made ['lines.txt']"}),
    (NeedsMetric, {"survives-a-run": "the AUROC is NaN", "survives-a-resume": "",
                   "leaves-generators-alone": ""}),
    (Once, {"survives-a-resume": "FileExistsError"}),
    (Hasty, {"survives-an-early-end": "'NoneType' object has no attribute 'close'"}),
    (Seeding, {"leaves-generators-alone": "global generator of torch and NumPy"}),
]  # fmt: skip


@pytest.mark.parametrize("kind", [Lines, Everything])
def test_right_ones_pass_every_check(kind):
    assert failing(CHECKS, subject("callback", kind)) == {}


@pytest.mark.parametrize(("target", "caught"), WRONG, ids=[kind.__name__ for kind, _ in WRONG])
def test_one_that_is_wrong_is_caught(target, caught):
    assert_caught(CHECKS, subject("callback", target), caught)


def test_each_check_can_fail():
    assert_each_can_fail(CHECKS, WRONG)


# ---- what the kit tells is what the engine tells ----------------------------------------------


def test_events_are_the_engines():
    told = {}
    for name in HEARD:
        _, *parameters = inspect.signature(getattr(Observer, name)).parameters.values()
        by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        by_place = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        told[name] = ", ".join([*by_place, *(["*"] if by_name else []), *by_name])
    assert dict(EVENTS) == told


def test_records_have_what_the_engines_have():
    for ours, theirs in ((callbacks._Row, EpochRow), (callbacks._Result, RunResult)):
        assert {f.name for f in fields(ours)} == {f.name for f in fields(theirs)}
    row = callbacks._ROWS[0]
    same = EpochRow(**{f.name: getattr(row, f.name) for f in fields(row)})
    assert list(row.as_dict().items()) == sorted(
        same.as_dict().items(), key=lambda item: list(row.as_dict()).index(item[0])
    )
    result = callbacks._Result(path=Path("runs/x"), rows=callbacks._ROWS)
    same = RunResult(**{f.name: getattr(result, f.name) for f in fields(result)})
    assert result.summary() == same.summary()
    public = {name for name in vars(WeightsView) if not name.startswith("_")}
    assert public == {name for name in vars(callbacks._WeightsView) if not name.startswith("_")}


def test_the_whole_run_is_told_in_the_engines_order():
    class Heard(list):
        def __getattr__(self, name):
            if name not in EVENTS:
                raise AttributeError(name)
            return lambda *args, **facts: self.append(name)

    heard = Heard()
    callbacks._tell(heard, Path("runs/x"), callbacks._network(), done=1)
    assert set(heard) == set(EVENTS)
    epoch = ["step_ended", "step_measured"] * 2 + ["epoch_ended", "weights_shown"]
    assert heard == [
        "run_started", "resumed", "preparing", "phase_started", "sampled", *epoch, *epoch,
        "noted", "run_ended", "closed",
    ]  # fmt: skip
