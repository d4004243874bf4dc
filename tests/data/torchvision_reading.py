"""What the tests of torchvision's data sets share."""

from __future__ import annotations

import importlib
import os
import pkgutil

import numpy as np
import pytest
import torchvision.datasets

from zoo_torchvision._datasets import KNOWN
from zoo_torchvision.datasets import build

SPLIT = (0.5, 0.25, 0.25)
OPTIONS = {"emnist": {"subset": "letters"}}


def trust(monkeypatch):
    """Lets torchvision take files for the real ones. Theirs have known checksums, ours have not."""
    for module in pkgutil.iter_modules(torchvision.datasets.__path__):
        loaded = importlib.import_module(f"torchvision.datasets.{module.name}")
        if hasattr(loaded, "check_integrity"):
            monkeypatch.setattr(
                loaded, "check_integrity", lambda path, md5=None: os.path.isfile(path)
            )


def needed(name):
    for package in KNOWN[name].requires:
        pytest.importorskip(package)


def read(name, root, **options):
    return build(dataset=name, root=str(root), split=SPLIT, **OPTIONS.get(name, {}), **options)


def contents(split):
    """The images of a split as bytes, in order."""
    images = split.images
    return [np.asarray(images.read(i)).tobytes() for i in range(len(images))]
