"""Where frozen features have no room: a small budget, a full disk, a limit; half of it in bf16."""

from __future__ import annotations

import os
import shutil

import pytest

import zoo
from tests.engine.feature_runs import FROZEN, Watch, assert_close, assert_same
from zoo.data.cache import cache_entries, remove_entry


def test_a_budget_of_nothing_maps_them_from_the_disk(train, cache, passes):
    options = {"phases": "head:epochs=1+last-2:epochs=2", "aug": "none", "epochs": None}
    held = train(**options)
    mapped = train(ram=0, **options)
    assert_same(held, mapped)
    shutil.rmtree(cache)
    passes.clear()
    scratch = train(ram=0, keep_features=False, **options)
    assert sum(passes) == 2 * 32 + 8
    assert_same(held, scratch)
    assert not list(cache.glob("*/*")), "nothing stays"


def test_nothing_is_kept_when_that_is_asked_for(train, cache, passes):
    first = train(keep_features=False, **FROZEN)
    assert not cache.exists()
    assert_same(first, train(keep_features=False, **FROZEN))
    assert sum(passes) == 2 * 40


def test_a_full_disk_costs_the_features_but_not_the_run(train, cache, monkeypatch):
    watch = Watch()
    kept = train(**FROZEN)
    shutil.rmtree(cache)
    usage = shutil.disk_usage(cache.parent)
    monkeypatch.setattr(
        "zoo.engine.features.shelf.shutil.disk_usage", lambda path: usage._replace(free=2**20)
    )
    assert_same(kept, train(observer=watch, **FROZEN))
    (note, *_) = [note for note in watch.notes if "not enough space" in note]
    assert "257 MiB needed, 1 MiB free" in note
    assert "\n" not in note
    mapped = train(observer=watch, ram=0, **FROZEN)
    assert watch.cached == [True, False]
    assert any("runs in every epoch" in note for note in watch.notes)
    assert_close(kept, mapped, to=1e-4)


def test_a_disk_that_fills_up_while_they_are_written(train, cache, monkeypatch):
    kept = train(**FROZEN)
    shutil.rmtree(cache)

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoo.engine.features.shelf.Writing._put", full)
    watch = Watch()
    assert_same(kept, train(observer=watch, **FROZEN))
    assert any("No space left on device" in note for note in watch.notes)
    assert not list(cache.glob("*/*"))


def test_bf16_takes_half_the_room(train, cache):
    full = train(**FROZEN)
    sizes = sum(f.stat().st_size for f in cache.glob("*/*.safetensors"))
    shutil.rmtree(cache)
    half = train(feature_dtype="bf16", **FROZEN)
    assert sum(f.stat().st_size for f in cache.glob("*/*.safetensors")) < 0.6 * sizes
    assert half.rows[-1].val_loss == pytest.approx(full.rows[-1].val_loss, abs=0.02)


def test_the_least_recently_used_go_when_the_limit_is_reached(train, cache, monkeypatch):
    # Features of a run take 83 kB. One phase may add an eighth of the limit: 100 kB.
    monkeypatch.setenv("ZOO_CACHE_GB", "0.0008")
    keys = []
    for number, size in enumerate(range(16, 28)):
        train(img_size=size, freeze_epochs=1, epochs=0)
        (new,) = {path.name for path in cache.iterdir()} - set(keys)
        keys.append(new)
        for path in cache.glob(f"{new}/*"):
            os.utime(path, (number, number))  # every one used a second later
        if number == 5:
            train(img_size=16, freeze_epochs=1, epochs=0)  # uses the first again
    left = {path.name for path in cache.iterdir()}
    assert keys[0] in left
    assert keys[1] not in left
    assert keys[-1] in left
    assert sum(f.stat().st_size for f in cache.glob("*/*")) < 800_000
    monkeypatch.setenv("ZOO_CACHE_GB", "0.0001")
    train(img_size=28, freeze_epochs=1, epochs=0)
    assert {path.name for path in cache.iterdir()} == left, "what is too large is not kept"


def test_clearing_the_cache_while_features_are_computed_costs_no_run_its_own(train, cache):
    class Clearing(Watch):
        def preparing(self, what, done, total):
            if what.startswith("frozen features"):
                for entry in cache_entries(cache.parent):
                    remove_entry(entry)

    kept, watch = train(**FROZEN), Clearing()
    shutil.rmtree(cache)
    mapped = train(observer=watch, ram=0, **FROZEN)
    assert watch.cached == [True], watch.notes
    assert_same(kept, mapped)


def test_features_that_may_only_be_read_are_found(train, passes, monkeypatch):
    kept = train(**FROZEN)
    passes.clear()

    def refused(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("zoo.engine.features.shelf.os.utime", refused)
    assert_same(kept, train(**FROZEN))
    assert not passes


@pytest.mark.parametrize(("ram", "held"), [(2, [True, True]), (1, [True, False])])
def test_images_of_both_splits_take_half_of_the_memory_together(shapes_folder, registry, ram, held):
    """At 80 pixels 450 and 150 KiB; half of a MiB has room for each of them, not for both."""
    job = zoo.prepare(data=str(shapes_folder), model="lenet", img_size=80, ram=ram,
                      registry=registry)  # fmt: skip
    assert [job.store(split).held is not None for split in ("train", "val")] == held
