"""--phases: any plan as data, each part of it seen in what trains and how fast."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_resume import StopAt

import zoo
from zoo.config import RunConfig
from zoo.engine.assembly.phases import parse_phases, plan_of
from zoo.engine.events import Observer
from zoo.engine.interrupts import Interrupted
from zoo.errors import UsageError

SETTLED = RunConfig(norm="hold", warmup=0.5, sched_scope="run", patience=3, layer_decay=0.9)


def test_a_phase_takes_from_the_run_what_it_does_not_say():
    head, last, every = parse_phases(
        "head:epochs=2+last-2:epochs=3,lr=0.3,sched=phase,patience=1,norm=train,aug=false"
        "+ALL:epochs=1e+1,warmup=2,layer_decay=0.75",
        SETTLED,
    )
    assert (head.trainable, head.epochs, head.warmup, head.augment) == ("head", 2, 0.0, False)
    assert (head.patience, head.restarts, head.hold_statistics) == (3, False, True)
    assert (last.name, last.trainable, last.lr, last.warmup) == ("last-2", 2, 0.3, 0.5)
    assert (last.restarts, last.patience, last.hold_statistics) == (True, 1, False)
    assert (last.augment, last.layer_decay) == (False, 0.9)
    assert (every.trainable, every.epochs, every.warmup) == ("all", 10, 2.0)
    assert (every.layer_decay, every.hold_statistics, every.augment) == (0.75, True, True)


def test_the_default_plan_is_freeze_then_finetune():
    plan = plan_of(RunConfig(freeze_epochs=1, epochs=3, norm="hold", warmup=0.5))
    said = plan_of(RunConfig(phases="head:epochs=1+all:epochs=3", norm="hold", warmup=0.5))
    assert [(p.trainable, p.epochs, p.warmup, p.hold_statistics) for p in plan] == [
        (p.trainable, p.epochs, p.warmup, p.hold_statistics) for p in said
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["there is no phase ''", "last-N"]),
        ("tail:epochs=1", ["there is no phase 'tail'"]),
        ("last-0", ["there is no phase 'last-0'"]),
        ("head:epochs=-1", ["epochs is -1, and must be at least 1"]),
        ("head:epoch=1", ["no argument 'epoch'", "epochs, lr"]),
        ("head:epochs", ["is not key=value"]),
        ("all:lr=0,sched=week", ["lr is 0", "sched is week"]),
        ("heed+all:norm=eval", ["there is no phase 'heed'", "norm is eval"]),
    ],
)
def test_a_plan_that_does_not_parse_says_all_that_is_wrong(text, words):
    with pytest.raises(UsageError) as caught:
        parse_phases(text, SETTLED)
    for word in words:
        assert word in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_plan_or_a_usage_error(text):
    with suppress(UsageError):
        assert parse_phases(text, SETTLED)


class Trained(Observer):
    """Notes what trains in each phase, and the rates of each step."""

    def __init__(self):
        self.phases, self.rows, self.notes = [], [], []

    def phase_started(self, phase, *, trainable, total, cached):
        self.phases.append((phase.name, trainable, cached))

    def epoch_ended(self, row):
        self.rows.append(row)

    def noted(self, text):
        self.notes.append(text)


def test_gradual_unfreezing_trains_more_and_more(train, monkeypatch):
    seen = Trained()
    rates = []
    real = torch.optim.SGD.step

    def step(self, closure=None):
        rates.append(max(group["lr"] for group in self.param_groups))
        return real(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    train(
        model="cifar-quick", img_size=32, optim="sgd", lr=0.1, sched="constant", warmup=0.0,
        phases="head:epochs=1+last-1:epochs=1,lr=0.5+all:epochs=2,lr=0.25", epochs=None,
        observer=seen,
    )  # fmt: skip
    names, counts, cached = zip(*seen.phases, strict=True)
    assert names == ("head", "last-1", "all")
    assert counts[0] < counts[1] < counts[2]
    assert cached == (True, False, False)
    assert [row.phase for row in seen.rows] == ["head", "last-1", "all", "all"]
    steps = len(rates) // 4
    assert rates == pytest.approx([0.1] * steps + [0.05] * steps + [0.025] * 2 * steps)
    assert [row.lr for row in seen.rows] == pytest.approx([0.1, 0.05, 0.025, 0.025])


def test_a_warm_up_that_outlasts_its_phase_is_pointed_out(shapes_folder, registry):
    options = {"data": str(shapes_folder), "model": "lenet", "img_size": 16, "registry": registry}
    told = "the phase all ends before its rate has risen: it has 2 epochs, and a warm-up of 4"
    job = zoo.prepare(phases="head:epochs=1+all:epochs=2,warmup=4", **options)
    assert told in job.notes
    job = zoo.prepare(epochs=2, warmup=2.0, **options)
    assert not any("warm-up" in note for note in job.notes)


def test_a_phase_that_stops_improving_gives_way_to_the_next(train):
    seen = Trained()
    train(
        phases="head:epochs=50,patience=1+all:epochs=2,patience=0", epochs=None, lr=1e-9,
        observer=seen,
    )  # fmt: skip
    assert [row.phase for row in seen.rows] == ["head", "head", "all", "all"]


def test_the_last_epochs_are_averaged_also_after_a_phase_that_stopped_early(train):
    seen = Trained()
    train(
        phases="head:epochs=50,patience=1+all:epochs=3,patience=0", epochs=None, lr=1e-9, swa=2,
        observer=seen,
    )  # fmt: skip
    assert [row.phase for row in seen.rows] == ["head", "head", "all", "all", "all"]
    assert any(note.startswith("average of the last 2 epochs") for note in seen.notes)


def test_an_average_of_epochs_that_never_came_is_pointed_out(train):
    seen = Trained()
    train(epochs=50, patience=1, lr=1e-9, swa=2, observer=seen)
    assert seen.notes[-1] == (
        "--swa 2 has no effect: training ended before the last 2 of the epochs that were planned"
    )


def test_the_schedule_spans_the_run_or_starts_again(train):
    spans, restarts = Trained(), Trained()
    for scope, seen in (("run", spans), ("phase", restarts)):
        train(
            phases=f"head:epochs=2,sched={scope}+all:epochs=2,sched={scope}", epochs=None,
            sched="step-1-0.5", lr=0.08, warmup=0.0, observer=seen,
        )  # fmt: skip
    assert [row.lr for row in spans.rows] == pytest.approx([0.08, 0.04, 0.02, 0.01])
    assert [row.lr for row in restarts.rows] == pytest.approx([0.08, 0.04, 0.08, 0.04])


def test_a_schedule_that_pauses_for_a_phase_goes_on_after_a_resume_in_it(train, registry):
    options = {
        "phases": "head:epochs=4,sched=run+all:epochs=1,sched=phase+all:epochs=2,sched=run",
        "epochs": None, "lr": 1e-7, "sched": "plateau:factor=0.5,patience=0,min_lr=0",
    }  # fmt: skip
    straight = train(**options)
    assert straight.rows[-1].lr < 1e-7
    with pytest.raises(Interrupted):
        train(name="cut", observer=StopAt(13), **options)  # three steps an epoch
    resumed = zoo.resume(straight.path.parent / "cut", registry=registry)
    assert [row.lr for row in resumed.rows] == [row.lr for row in straight.rows]


def test_lengths_are_said_once(registry, shapes_folder):
    with pytest.raises(UsageError, match="so do --epochs and --freeze-epochs"):
        zoo.prepare(data=str(shapes_folder), phases="all:epochs=2", epochs=3, registry=registry)


def test_a_schedule_that_never_acts_is_pointed_out(registry, shapes_folder):
    options = {"data": str(shapes_folder), "model": "lenet", "epochs": 3, "registry": registry}
    job = zoo.prepare(sched="multi-30,80-0.1", **options)
    assert any("never changes the learning rate in 3 epochs" in note for note in job.notes)
    for sched in ("constant", "step-1-0.5", "plateau", "cosine"):
        assert not any("never changes" in n for n in zoo.prepare(sched=sched, **options).notes)


def test_batch_norms_of_the_frozen_part_hold_still_unless_asked(train, registry):
    def statistics(**options):
        result = train(
            model="mlp-cifar", img_size=32, freeze_epochs=2, epochs=0, aug="none", **options
        )
        state = zoo.load(result.path, registry=registry).model.state_dict()
        return {name: t for name, t in state.items() if "running_mean" in name}

    held, moved = statistics(), statistics(frozen_norm="train")
    assert all(torch.equal(t, torch.zeros_like(t)) for t in held.values())
    assert all(not torch.equal(t, torch.zeros_like(t)) for t in moved.values())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"freeze_views": 2, "aug": "none"},
         "--freeze-views 2 has no effect: --aug none changes no single image"),
        ({"freeze_views": 2, "aug": "mixup"},
         "--freeze-views 2 has no effect: --aug mixup changes no single image"),
        ({"freeze_aug": True, "aug": "none"},
         "--freeze-aug has no effect: --aug none changes no single image"),
        ({"freeze_views": 2, "aug": "light", "freeze_epochs": 0},
         "--freeze-views 2 has no effect: no phase is frozen"),
        ({"freeze_views": 2, "aug": "light"}, None),
        ({"freeze_aug": True, "aug": "mixup"}, None),
        ({"aug": "none"}, None),
    ],
)  # fmt: skip
def test_frozen_views_that_nothing_changes_are_pointed_out(asked, said, registry, shapes_folder):
    job = zoo.prepare(
        **{"data": str(shapes_folder), "model": "lenet", "epochs": 3, "freeze_epochs": 1,
           "registry": registry, **asked}
    )  # fmt: skip
    assert [note for note in job.notes if "no effect" in note] == ([said] if said else [])
