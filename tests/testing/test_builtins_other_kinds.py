"""The built-in components run the kit that third parties run, with no special case.

Models and losses are in test_builtins.py. What is left out of the default run, and run by
``pytest -m slow``, by these rules: of timm's optimizers all but the first of each class of timm;
of torchvision's data sets all but the first of each way to read them; and what takes seconds to
start or to write, by name.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import sklearn.metrics as sk
from PIL import Image

from zoo.registry import Registry, discover
from zoo.registry.settings import Settings
from zoo.testing import Example, cases
from zoo_torchvision._datasets import KNOWN

KINDS = {
    "head", "optimizer", "scheduler", "transform", "dataset", "metric", "callback", "exporter",
    "recipe", "explainer", "projector", "reviewer", "command",
}  # fmt: skip
ELSEWHERE = {"pytorch-optimizer"}
"""Checked by the tests of that plugin, which say what is expected to fail there."""

SLOW = {"callback/mlflow", "callback/wandb", "exporter/onnx"}

# ---- what no check can find out by itself -----------------------------------------------------


def averaged(function, average):
    return lambda p, t: function(t, p.argmax(1), average=average, zero_division=0)


def curves(function, average):
    """The mean over the classes that have images and are not all images."""

    def value(p, t):
        truth = np.eye(p.shape[1])[t]
        if average == "micro":
            return function(truth.ravel(), p.numpy().ravel())
        there = truth.any(0)
        values = [function(truth[:, k], p[:, k]) for k in np.flatnonzero(there)]
        return np.average(values, weights=truth.sum(0)[there] if average == "weighted" else None)

    return value


def kappa(weights):
    return lambda p, t: sk.cohen_kappa_score(
        t, p.argmax(1), labels=range(p.shape[1]), weights=weights
    )


def top(k):
    """Of classes that are equally probable the first counts as more probable."""

    def value(p, t):
        order = np.argsort(-p.numpy(), axis=1, kind="stable")
        return float((order[:, :k] == t.numpy()[:, None]).any(1).mean())

    return value


def specificity(average):
    def value(p, t):
        present = sorted(set(t.tolist()) | set(p.argmax(1).tolist()))
        if average == "micro":  # a class that is nowhere is rightly not said of any image
            present = range(p.shape[1])
        table = sk.multilabel_confusion_matrix(t, p.argmax(1), labels=present)
        tn, fp = table[:, 0, 0], table[:, 0, 1]
        if average == "micro":
            return tn.sum() / (tn + fp).sum()
        weights = table[:, 1].sum(1) if average == "weighted" else None
        return np.average(tn / (tn + fp), weights=weights)

    return value


def calibration_error(p, t):
    confidence, right = p.numpy().max(1), (p.argmax(1) == t).numpy()
    place = np.minimum((confidence * 15).astype(int), 14)
    gaps = [
        abs((right[place == b] - confidence[place == b].astype(float)).sum()) for b in range(15)
    ]
    return sum(gaps) / len(t)


METRICS = {
    "accuracy": lambda p, t: sk.accuracy_score(t, p.argmax(1)),
    "top5": top(5),
    "top-k": top(5),
    "balanced-accuracy": lambda p, t: sk.recall_score(
        t, p.argmax(1), labels=sorted(set(t.tolist())), average="macro"
    ),
    "mcc": lambda p, t: sk.matthews_corrcoef(t, p.argmax(1)),
    "kappa": kappa(None),
    "kappa-quadratic": kappa("quadratic"),
    "nll": lambda p, t: sk.log_loss(t, p.numpy(), labels=range(p.shape[1])),
    "brier": lambda p, t: float((np.eye(p.shape[1])[t] - p.numpy()).__pow__(2).sum(1).mean()),
    "ece": calibration_error,
    **{
        name + ("" if average == "macro" else f"-{average}"): make(function, average)
        for name, make, function in (
            ("precision", averaged, sk.precision_score),
            ("recall", averaged, sk.recall_score),
            ("f1", averaged, sk.f1_score),
            ("specificity", lambda _, average: specificity(average), None),
            ("auroc", curves, sk.roc_auc_score),
            ("average-precision", curves, sk.average_precision_score),
        )
        for average in ("macro", "micro", "weighted")
    },
}

EPOCHS, RATE = 12, 0.1  # what the kit builds schedules for


def restarts(epoch):
    length = 10
    while epoch >= length:
        epoch, length = epoch - length, 2 * length
    return (1 + math.cos(math.pi * epoch / length)) / 2


def one_cycle(epoch):
    peak = 0.3 * EPOCHS
    if epoch <= peak:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * epoch / peak)) / 2
    fall = (1 + math.cos(math.pi * (epoch - peak) / (EPOCHS - peak))) / 2
    return 4e-6 + (1 - 4e-6) * fall


SCHEDULES = {
    "constant": lambda epoch: 1.0,
    "step": lambda epoch: 0.1 ** (epoch // 4),
    "multistep": lambda epoch: 0.1 ** ((epoch >= 6) + (epoch >= 9)),
    "exponential": lambda epoch: math.exp(epoch * math.log(0.9)),
    "linear": lambda epoch: 1 - epoch / EPOCHS,
    "polynomial": lambda epoch: ((EPOCHS - epoch) / EPOCHS) ** 0.9,
    "cosine": lambda epoch: math.cos(math.pi * epoch / EPOCHS / 2) ** 2,
    "sgdr": restarts,
    "one-cycle": one_cycle,
}

FOLDER = TemporaryDirectory()
ROOT = Path(FOLDER.name)
OPTIONS = {"emnist": {"subset": "letters"}}


def example_of(component):
    if component.kind == "metric":
        return Example(reference=METRICS[component.name])
    if component.kind == "scheduler" and component.name in SCHEDULES:
        return Example(reference=SCHEDULES[component.name])
    if component.name in KNOWN:
        root = {"root": str(ROOT / component.name), "download": False}
        return Example(arguments={**root, **OPTIONS.get(component.name, {})})
    if component.name in FILES:
        return Example(arguments=FILES[component.name])
    return None


FILES = {
    "folder": {"path": str(ROOT / "folder")},
    "manifest": {"path": str(ROOT / "folder" / "labels.csv")},
    "idx": {"path": str(ROOT / "mnist" / "MNIST" / "raw")},
    "cifar": {"path": str(ROOT / "cifar10" / "cifar-10-batches-py")},
    "npz": {"path": str(ROOT / "some.npz")},
    "hf": {"name": str(ROOT / "table.parquet")},
    "webdataset": {"train": str(ROOT / "shards" / "train-{000..001}.tar")},
}


def beside(name):
    """Returns a module of the tests of data."""
    path = Path(__file__).parents[1] / "data" / f"{name}.py"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def picture(number):
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 8, 3), np.uint8))


def write_files():
    """Writes what FILES names; of the folder's images one is cut short, one is no image at all."""
    folder = ROOT / "folder"
    rows = ["path,label"]
    for number in range(24):
        name = f"{('bar', 'dot')[number % 2]}/{number}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / name)
        rows.append(f"{name},{name[:3]}")
    (folder / "dot" / "cut.png").write_bytes((folder / name).read_bytes()[:60])
    (folder / "bar" / "text.png").write_text("no image")
    rows += ["dot/cut.png,dot", "bar/text.png,bar"]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    pixels = np.random.default_rng(0).integers(0, 256, (24, 7, 7), np.uint8)
    np.savez(ROOT / "some.npz", x_train=pixels, y_train=np.arange(24) % 3)
    (ROOT / "shards").mkdir()
    shards = beside("shard_files")
    for number in range(2):
        members = shards.samples(number * 20, 20)
        (ROOT / "shards" / f"train-{number:03}.tar").write_bytes(shards.tar_bytes(members))
    if find_spec("datasets"):
        write_parquet()


def write_parquet():
    import datasets

    columns = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["bar", "dot"])}
    )
    table = {"image": [picture(i) for i in range(24)], "label": [i % 2 for i in range(24)]}
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(table, features=columns).to_parquet(ROOT / "table.parquet")


@pytest.fixture(scope="module", autouse=True)
def _files():
    """The files of the data sets, and no service that wants to be reached."""
    change = pytest.MonkeyPatch()
    change.setenv("WANDB_MODE", "offline")
    change.setenv("WANDB_SILENT", "true")
    change.delenv("MLFLOW_TRACKING_URI", raising=False)
    beside("torchvision_reading").trust(change)
    for name, make in beside("torchvision_files").BUILDERS.items():
        if all(find_spec(package) for package in KNOWN[name].requires):
            (ROOT / name).mkdir()
            make(ROOT / name)
    write_files()
    yield
    change.undo()
    FOLDER.cleanup()


# ---- what is known to be otherwise ------------------------------------------------------------

_AVERAGE = "follows a mean of past iterates, as its paper has it"
_MOMENTUM = "keeps the rate in its momentum, as TensorFlow does"
_NONE = {
    "shorthand-reads": "the only value of its shorthand is none: f1-none",
}
EXPECTED = {
    "timm": {
        "optimizer/timm/madgrad*::obeys-each-rate": _AVERAGE,
        "optimizer/timm/madgrad*::groups-keep-their-rate": _AVERAGE,
        "optimizer/timm/*rmsproptf*::obeys-each-rate": _MOMENTUM,
        "optimizer/timm/cadafactor::obeys-each-rate": "its running mean of updates has the rate",
    },
    "torchmetrics": {
        f"metric/torchmetrics/{name}::{check}": reason
        for name in ("precision", "recall", "f1", "specificity", "auroc", "average-precision")
        for check, reason in _NONE.items()
    },
    "interpretation": {
        "projector/interpretation/tsne::three-images": "its perplexity needs four; it says so",
    },
}

# ---- the cases --------------------------------------------------------------------------------


def quick(component, seen):
    """Whether a component is in the default run."""
    if f"{component.kind}/{component.name}" in SLOW:
        return False
    if component.kind == "optimizer" and component.target.startswith("zoo_timm"):
        from timm.optim import get_optimizer_info

        group = str(get_optimizer_info(component.name).opt_class)
    elif component.name in KNOWN and component.kind == "dataset":
        group = KNOWN[component.name].reader
    else:
        return True
    first = group not in seen
    seen.add(group)
    return first


def gathered():
    seen = set()
    for plugin in Registry(discover(Settings(only=frozenset()))).plugins:
        if plugin.namespace in ELSEWHERE:
            continue
        there = [
            component
            for component in plugin.components
            if component.kind in KINDS and all(map(find_spec, component.requires))
        ]
        if not there:
            continue
        examples = {f"{c.kind}/{c.name}": e for c in there if (e := example_of(c)) is not None}
        rapid = {f"{c.kind}/{plugin.namespace}/{c.name}" for c in there if quick(c, seen)}
        made = cases(
            replace(plugin, components=tuple(there)), examples=examples,
            expected_failures=EXPECTED.get(plugin.namespace, {}),
        )  # fmt: skip
        for component, group in groupby(made, key=lambda case: case.values[0].subject.id):
            marks = [] if component in rapid else [pytest.mark.slow]
            yield pytest.param([case.values[0] for case in group], id=component, marks=marks)


COMPONENTS = list(gathered())


@pytest.mark.parametrize("checked", COMPONENTS)
def test_conformance(checked):
    results = [case.result() for case in checked]
    wrong = [f"{one.id} {one.status}: {one.message}" for one in results if not one.ok]
    assert not wrong, "\n".join(wrong)
    assert sum(result.status == "passed" for result in results) >= 12


def test_every_kind_is_among_them():
    names = [param.id for param in COMPONENTS]
    per_kind = {kind: sum(name.startswith(f"{kind}/") for name in names) for kind in KINDS}
    assert per_kind.pop("command") == 0  # built-in commands are no components
    assert min(per_kind.values()) >= 2, per_kind
    assert sum(per_kind.values()) > 200
