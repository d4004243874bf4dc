"""A run stopped in a frozen phase goes on to the same bits, whatever became of the cache."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import zoo
from tests.network.inference_networks import needs_openvino
from zoo.data.randomness import Stream, key
from zoo.engine.events import Observer
from zoo.evaluation.sameness import compare_runs
from zoo.runs import checkpoint

OPTIONS = {
    "phases": "head:epochs=2+last-2:epochs=2+all:epochs=1", "epochs": None, "aug": "none",
    "model": "timm/mobilenetv3_small_050", "img_size": 32, "save_steps": 1, "lr": 0.01,
}  # fmt: skip


class Stop(Exception):
    pass


class Stopping(Observer):
    def __init__(self, after):
        self.left, self.notes = after, []

    def step_ended(self, phase, *, epoch, step, num_steps, loss):
        self.left -= 1
        if not self.left:
            raise Stop

    def noted(self, text):
        self.notes.append(text)


def stopped(train, runs, after, **options):
    with pytest.raises(Stop):
        train(**{**OPTIONS, **options}, runs=str(runs), name="one", observer=Stopping(after))
    return runs / "one"


@pytest.mark.parametrize(
    "options",
    [{}, {"model": "mlp-cifar", "keep_features": False}, {"model": "mlp-cifar", "ram": 0}],
    ids=["kept", "not kept", "mapped"],
)
def test_the_cache_may_be_there_or_gone(train, registry, tmp_path, options):
    straight = train(**{**OPTIONS, **options})
    for after, gone in ((2, True), (14, True)) if options else ((2, True), (8, False), (14, True)):
        path = stopped(train, tmp_path / f"stopped-{after}", after, **options)
        if gone:
            shutil.rmtree(f"{tmp_path}-cache", ignore_errors=True)
        zoo.resume(path, registry=registry)
        assert compare_runs(straight.path, path).verdict.startswith("bit-identical")


def test_the_engine_is_that_of_the_beginning(train, registry, tmp_path, monkeypatch):
    """``auto`` chose by measurement once; on the resume it is not asked again."""
    monkeypatch.setattr("zoo.engine.features.engines._FEW_IMAGES", 0)
    from zoo.engine.features import engines

    real, asked = engines.fast_forward, []

    def choosing(model, *, engine, **rest):
        asked.append(engine)
        return real(model, engine="folded" if engine == "auto" else engine, **rest)

    monkeypatch.setattr(engines, "fast_forward", choosing)
    straight = train(**OPTIONS)
    path = stopped(train, tmp_path / "stopped", 8)
    record = checkpoint.load(checkpoint.latest(path / "checkpoints")[0]).state["frozen"]
    assert {phase: saved["engine"] for phase, saved in record.items()} == {
        "0": "folded", "1": "folded",
    }  # fmt: skip
    shutil.rmtree(f"{tmp_path}-cache")
    asked.clear()
    zoo.resume(path, registry=registry)
    assert set(asked) == {"folded"}
    assert compare_runs(straight.path, path).identical


@needs_openvino
def test_a_run_goes_on_without_the_engine_that_auto_had_taken(
    train, registry, tmp_path, monkeypatch
):
    monkeypatch.setattr("zoo.engine.features.engines._FEW_IMAGES", 0)
    from zoo.engine.features import engines

    real = engines.fast_forward

    def choosing(model, *, engine, **rest):
        return real(model, engine="openvino" if engine == "auto" else engine, **rest)

    with monkeypatch.context() as patches:
        patches.setattr(engines, "fast_forward", choosing)
        path = stopped(train, tmp_path / "stopped", 2)
    shutil.rmtree(f"{tmp_path}-cache")
    monkeypatch.setitem(sys.modules, "openvino", None)
    watch = Stopping(10**9)
    zoo.resume(path, registry=registry, observer=watch)
    told = "the run began with features of the engine openvino, which cannot be had now"
    assert any(told in note for note in watch.notes)
    assert load_file(path / "best/model.safetensors")


def test_features_with_other_bits_are_told(train, registry, tmp_path, monkeypatch):
    """As if another version of the engine had computed them anew."""
    path = stopped(train, tmp_path / "stopped", 2)
    shutil.rmtree(f"{tmp_path}-cache")
    from zoo.engine.features import collect

    real = collect.computed

    def computed(*args, **rest):
        return (activation * 1.0000002 for activation in real(*args, **rest))

    monkeypatch.setattr(collect, "computed", computed)
    watch = Stopping(10**9)
    zoo.resume(path, registry=registry, observer=watch)
    assert any("not to the bit those that the run began with" in note for note in watch.notes)
    assert load_file(path / "best/model.safetensors")


def test_short_epochs_are_saved_together_and_made_again_after_a_kill(
    train, registry, tmp_path, monkeypatch
):
    options = {"freeze_epochs": 8, "epochs": 1, "model": "mlp-cifar", "img_size": 32, "lr": 0.01}
    saves = []
    real = checkpoint.save

    def save(folder, *, step, **rest):
        saves.append(step)
        return real(folder, step=step, **rest)

    monkeypatch.setattr(checkpoint, "save", save)
    straight = train(**options)
    assert saves[-2:] == [24, 27], "the end of the frozen phase, and the epoch after it"
    assert len(saves) < 6

    class Killed(Observer):
        def epoch_ended(self, row):
            if row.epoch == 5:
                raise Stop

    with pytest.raises(Stop):
        train(**options, runs=str(tmp_path / "killed"), name="one", observer=Killed())
    zoo.resume(tmp_path / "killed" / "one", registry=registry)
    assert compare_runs(straight.path, tmp_path / "killed" / "one").identical


@given(st.lists(st.integers(-(2**70), 2**70), max_size=6))
def test_the_seed_of_a_step_is_that_of_the_published_mixer(counters):
    """SplitMix64's finaliser, in the arrays of fixed width that it was written for."""
    state = np.zeros(1, dtype=np.uint64)
    for counter in (int(Stream.STEP), *counters):
        state = state + np.uint64(0x9E3779B97F4A7C15) + np.array([counter % 2**64], np.uint64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    assert key(Stream.STEP, *counters) == int(state[0] >> np.uint64(1))
