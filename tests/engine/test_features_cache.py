"""Frozen features: computed once, kept, never stale, and a run with them ends as one without."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import zoo
from tests.engine.feature_runs import FROZEN, Watch, assert_close, assert_same
from zoo.data.pixels.store import Store
from zoo.registry import Registry

PLANS = {
    "the head": {"phases": "head:epochs=3"},
    "unfreezing block by block": {
        "phases": "head:epochs=1+last-1:epochs=2+last-3:epochs=2", "model": "mlp-cifar",
        "img_size": 32,
    },
    "convolutions, momentum, moving statistics": {
        "phases": "head:epochs=1+last-3:epochs=2,norm=train", "model": "timm/mobilenetv3_small_050",
        "img_size": 32, "optim": "sgd",
    },
    "something after the head": {
        "phases": "head:epochs=2", "model": "torchvision/squeezenet1_1", "img_size": 32,
    },
    "a soup of frozen epochs": {"phases": "head:epochs=4", "soup": 2, "ema": 0.5, "swa": 2},
    "several parts of a batch": {"phases": "last-2:epochs=2", "accumulate": 3},
}  # fmt: skip


@pytest.fixture
def data(shapes_folder, tmp_path):
    """A copy of the images that a test may change."""
    return Path(shutil.copytree(shapes_folder, tmp_path / "data"))


@pytest.mark.parametrize("plan", PLANS)
def test_a_run_ends_as_one_without_the_cache(train, plan):
    options = {"aug": "none", "lr": 0.01, "warmup": 0.0, "epochs": None, **PLANS[plan]}
    watch = Watch()
    with_cache, without = train(observer=watch, **options), train(cache=False, **options)
    assert all(watch.cached), watch.notes
    assert_close(with_cache, without, to=1e-4)
    for one, other in zip(with_cache.rows, without.rows, strict=True):
        assert one.val_loss == pytest.approx(other.val_loss, abs=1e-4)
        assert one.val_accuracy == other.val_accuracy
    assert with_cache.test_loss == pytest.approx(without.test_loss, abs=1e-4)
    assert with_cache.test_accuracy == without.test_accuracy


def test_every_image_is_computed_once_and_later_runs_compute_none(
    train, passes, monkeypatch, kept, cache
):
    base, first, _ = kept
    shutil.rmtree(cache)
    assert_same(first, train(**base))
    assert passes == [24, 8, 8], "train, val and test"
    opened = []
    real = Store.open.__func__
    monkeypatch.setattr(
        Store, "open", classmethod(lambda cls, *a, **k: opened.append(1) or real(cls, *a, **k))
    )
    again = train(**base)
    others = [
        {"lr": 0.001}, {"seed": 4}, {"loss": "focal"}, {"optim": "sgd"}, {"limit": 6},
        {"batch_size": 5}, {"monitor": "val_loss", "swa": 2},
    ]  # fmt: skip
    for other in others:
        train(**{**base, **other})
    assert passes == [24, 8, 8]
    assert not opened, "not an image was decoded"
    assert_same(first, again)


def test_other_splits_and_folds_of_the_same_images_share_them(
    train, passes, shapes_folder, tmp_path, kept, cache
):
    """A folder that is not split: each seed splits it otherwise."""
    whole = tmp_path / "whole"
    for split in ("train", "val", "test"):
        for label in ("bar", "dot"):
            shutil.copytree(
                shapes_folder / split / label, whole / label, dirs_exist_ok=True,
                copy_function=lambda a, b, split=split: shutil.copy(
                    a, Path(b).with_name(f"{split}-{Path(b).name}")
                ),
            )  # fmt: skip
    base, _, _ = kept
    shutil.rmtree(cache)
    train(data=str(whole), **base)
    assert sum(passes) == 40
    for seed in (1, 2):
        train(data=str(whole), seed=seed, **base)
    moved = whole.rename(tmp_path / "moved")
    train(data=str(moved), **base)
    train(data=str(moved), fold="2/3", **base)
    assert sum(passes) == 40


def test_only_new_images_are_computed_and_twins_once(train, passes, data):
    train(data=str(data), **FROZEN)
    passes.clear()
    for index in range(3):
        pixels = np.full((24, 24, 3), 40 * index, dtype=np.uint8)
        pixels[:, 4 + index] = 200
        Image.fromarray(pixels).save(data / "train" / "bar" / f"new-{index}.png")
        shutil.copy(data / "train/bar/new-0.png", data / f"train/bar/twin-{index}.png")
    train(data=str(data), **FROZEN)
    assert passes == [3]


def test_bits_do_not_hang_on_what_was_kept_before(train, passes, cache):
    options = {"model": "timm/mobilenetv3_small_050", "img_size": 32, **FROZEN}
    clean = train(**options)
    shutil.rmtree(cache)
    train(**options, limit=7)
    passes.clear()
    partly = train(**options)
    assert sum(passes) == 40 - 3 * 7
    assert_same(clean, partly)


CHANGES = {
    "network": {"model": "mlp-cifar"},
    "weights": {"weights": "OTHER"},
    "size": {"img_size": 20},
    "channels": {"channels": 1},
    "crop": {"crop_fraction": 0.7},
    "fit": {"fit": "squash", "crop_fraction": 0.9},
    "interpolation": {"interpolation": "nearest"},
    "mean": {"mean": (0.4,)},
    "deviation": {"std": (0.3,)},
    "engine": {"engine": "folded"},
    "storage": {"feature_dtype": "bf16"},
    "threads": {"threads": 2},
    "memory format": {"channels_last": False},
    "frontier": {"phases": "last-1:epochs=1", "freeze_epochs": None, "epochs": None, "aug": "none"},
}


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory, shapes_folder, registry):
    """A run, two files of weights for its network, and what it left in the cache."""
    root = tmp_path_factory.mktemp("kept")
    base = {"data": str(shapes_folder), "model": "lenet", "img_size": 24, "batch_size": 8,
            "threads": 1, "runs": str(root / "runs")}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(root / "other"))
        for seed in (0, 1):
            run = zoo.run(
                {**base, "weights": "none", "epochs": 1, "limit": 2, "seed": seed},
                registry=registry,
            )
            shutil.copy(run.path / "best/model.safetensors", root / f"{seed}.safetensors")
        patch.setenv("ZOO_CACHE", str(root / "cache"))
        options = {**FROZEN, "img_size": 24, "weights": str(root / "0.safetensors")}
        return options, zoo.run({**base, **options}, registry=registry), root


@pytest.fixture
def kept(kept_run, cache):
    """The same, with the cache copied to where this test's is."""
    options, result, root = kept_run
    shutil.copytree(root / "cache" / "features", cache)
    return options, result, root


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_taken_that_was_computed_otherwise(train, passes, change, kept):
    options, _, root = kept
    other = dict(CHANGES[change])
    if "weights" in other:
        other["weights"] = str(root / "1.safetensors")
    if "model" in other:
        other["weights"] = "none"
    train(**{**options, "freeze_epochs": 1, **other})
    assert sum(passes) >= 32, "train and val anew"


def test_what_an_engine_computed_is_found_for_any_number_of_threads(train, passes):
    """Each part of a batch has one; the network as it trains is another matter, see above."""
    first = train(**FROZEN, engine="folded", threads=1)
    assert sum(passes) >= 32
    passes.clear()
    second = train(**FROZEN, engine="folded", threads=2)
    assert sum(passes) == 0
    assert_same(first, second)


def test_an_image_with_another_content_is_computed_anew(train, passes, data):
    """Of the same name, size and times."""
    train(data=str(data), **FROZEN)
    passes.clear()
    file = sorted((data / "train" / "bar").iterdir())[0]
    times, content = file.stat(), file.read_bytes()
    with Image.open(file) as image:
        changed = 255 - np.asarray(image)
    Image.fromarray(changed).save(file, compress_level=1)
    padded = file.read_bytes()
    assert len(padded) >= len(content) or file.write_bytes(padded + b"\0" * 9)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    train(data=str(data), **FROZEN)
    assert passes == [1]


PLUGIN = """
import torch
from torch import nn
from zoo.plugin import Component, hookimpl

@hookimpl
def zoo_components():
    yield Component(kind='model', name='net', target=f'{__name__}:build')

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(CODE(self.body(x)).mean((2, 3)))

def build(num_classes):
    return Net(num_classes)
"""


def test_other_code_of_the_same_version_computes_anew(train, passes, make_plugin):
    for namespace, code in (("one", "torch.relu"), ("two", "torch.tanh")):
        make_plugin(namespace, PLUGIN.replace("CODE", code).replace("'net'", f"'{namespace}'"))
    base = train(**FROZEN)
    data = tomllib.loads((base.path / "config.toml").read_text())["data"]
    passes.clear()
    for namespace in ("one", "two"):
        zoo.run(model=namespace, data=data, img_size=16, threads=1, runs=str(base.path.parent),
                registry=Registry.installed(), **FROZEN)  # fmt: skip
    assert passes == [24, 8, 8] * 2


DAMAGE = {
    "a flipped bit in a row": lambda f: _patched(f, -50),
    "a flipped bit in an id": lambda f: _patched(f, 400),
    "a flipped bit in the header": lambda f: _patched(f, 20),
    "cut short": lambda f: f.write_bytes(f.read_bytes()[:-100]),
    "empty": lambda f: f.write_bytes(b""),
    "another file": lambda f: f.write_bytes(b"\x80\x04." * 900),
    "gone": lambda f: f.unlink(),
    "a folder of that name": lambda f: (f.unlink(), f.mkdir()),
}


def _patched(file, at):
    content = bytearray(file.read_bytes())
    content[at] ^= 16
    file.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_mended(train, passes, cache, damage, kept):
    options, first, _ = kept
    files = sorted(cache.glob("*/*.safetensors"), key=lambda f: f.stat().st_size)
    assert len(files) == 3
    DAMAGE[damage](files[-1])
    assert_same(first, train(**options))
    assert passes == [24]
    assert_same(first, train(**options))
    assert passes == [24], "it was mended"


def test_files_are_plain_safetensors(kept, cache):
    for file in cache.glob("*/*.safetensors"):
        tensors = load_file(file)
        assert set(tensors) == {"ids", "rows"}
        assert tensors["rows"].dtype == torch.float32
    (about,) = cache.glob("*/about.json")
    assert json.loads(about.read_text())["what"].startswith("lenet at 24 px, 500 before head")


def test_views_are_those_of_the_first_epochs_in_turn(train, passes):
    options = {"phases": "head:epochs=4+last-2:epochs=3", "aug": "flip+shift", "freeze_views": 2,
               "lr": 0.01, "epochs": None}  # fmt: skip
    watch = Watch()
    first = train(observer=watch, **options)
    assert watch.cached == [True, True]
    assert passes[:3] == [24, 24, 8]
    assert_close(first, train(cache=False, **options), to=1e-4)
    computed = len(passes)
    assert_same(first, train(**options))
    assert len(passes) == computed
    train(**{**options, "seed": 1})
    assert passes[computed:][:2] == [24, 24], "another seed augments otherwise"
    plain = train(**{**options, "freeze_views": 1, "aug": "none"})
    assert abs(first.rows[0].train_loss - plain.rows[0].train_loss) > 1e-6


def test_a_teacher_answers_for_kept_features(train, passes):
    teacher = train(epochs=2)
    options = {"distill": str(teacher.path), **FROZEN}
    first, second = train(**options), train(**options)
    assert_same(first, second)
    assert_close(first, train(cache=False, **options), to=1e-4)


def test_averages_of_frozen_epochs_are_scored_on_features(train, passes):
    options = {**FROZEN, "freeze_epochs": 4, "soup": 3, "swa": 2, "monitor": "val_loss"}
    train(**options)
    assert passes == [24, 8, 8]


DECIDING = """
        x = self.body(x).relu().mean((2, 3))
        return self.head(x) if x.sum() > -1e9 else self.head(-x)
"""


def test_a_network_that_cannot_be_cut_trains_whole_and_says_so(
    make_plugin, shapes_folder, tmp_path
):
    code = PLUGIN.replace("return self.head(CODE(self.body(x)).mean((2, 3)))", DECIDING.strip())
    make_plugin("deciding", code.replace("'net'", "'deciding'"))
    watch = Watch()
    base = {"model": "deciding", "data": str(shapes_folder), "img_size": 16, "threads": 1,
            "runs": str(tmp_path / "runs"), "aug": "none", "epochs": None}  # fmt: skip
    zoo.run(
        base, phases="last-1:epochs=1+head:epochs=1", registry=Registry.installed(), observer=watch
    )
    assert watch.cached == [False, True], "the head needs no graph"
    assert any("runs in every epoch: its code cannot be traced" in note for note in watch.notes)


def test_contradictions_are_told(registry, shapes_folder):
    with pytest.raises(zoo.errors.UsageError, match="repeats views"):
        zoo.prepare(data=str(shapes_folder), freeze_aug=True, freeze_views=3, registry=registry)


REMARK = """
        self.remark = lambda: None
        LAMBDAS.append(self.remark)  # the next network's lies elsewhere

    def extra_repr(self):
        return f"{self.remark}"

    def forward"""


def test_where_a_function_lies_in_memory_is_no_other_network(
    make_plugin, shapes_folder, tmp_path, passes
):
    code = PLUGIN.replace("CODE", "torch.relu").replace("'net'", "'remarks'")
    make_plugin("remarks", f"LAMBDAS = []\n{code}".replace("\n    def forward", REMARK))
    for _ in range(2):
        zoo.run(model="remarks", data=str(shapes_folder), img_size=16, threads=1,
                runs=str(tmp_path / "runs"), registry=Registry.installed(), **FROZEN)  # fmt: skip
    assert passes == [24, 8, 8]
