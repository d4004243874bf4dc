"""What stands beside an export: model.json, all that a program needs to use the file."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch

from zoo.data.pixels.normalise import by_channel
from zoo.engine.assembly.choices import offered_weights
from zoo.errors import ZooError
from zoo.registry import parse_choice
from zoo.runs.folder import RunFolder
from zoo.runs.plain_files import number_of, table_of

if TYPE_CHECKING:
    from zoo.evaluation.export_proof import Comparison
    from zoo.evaluation.trained import Trained
    from zoo.protocols import Preprocessing
    from zoo.registry import Choice, Entry, Registry

__all__ = ["WRITTEN_BY", "best_of", "description", "own_preprocessing"]

WRITTEN_BY = "zoo export"
"""What the file says of itself: by that an export is known from any other folder."""

_FORMAT = 1
_OWN_SPLITS = ("test", "val", "all", "train")
"""Evaluations of a run's own data. Those of other data are named otherwise."""


def description(
    trained: Trained,
    choice: Choice,
    contents: Mapping[str, Mapping[str, Any]],
    comparison: Comparison,
    compared_on: str,
    registry: Registry,
) -> dict[str, Any]:
    """Returns model.json: what a program needs besides the file, and where it comes from.

    Args:
        trained: The run's network.
        choice: The exporter.
        contents: Size and digest of each file, by its name in the folder.
        comparison: How the export differs from the network.
        compared_on: What was compared.
        registry: The components to choose from.
    """
    best, settings = best_of(trained), own_preprocessing(trained)
    side, channels, num_classes = settings.image_size, trained.channels, len(trained.classes)
    temperature = _temperature(trained)
    return {
        "written_by": WRITTEN_BY,
        "format": _FORMAT,
        "files": contents,
        "classes": list(trained.classes),
        "input": {
            "name": "images", "dtype": "float32", "shape": ["batch", channels, side, side],
            "what": "pixels in 0..1, minus mean, divided by std, channel by channel"
            + ("; red, green, blue" if channels == 3 else ""),
        },
        "output": {
            "name": "outputs", "dtype": "float32", "shape": ["batch", num_classes],
            "what": "logits; divided by the temperature, "
            + ("the sigmoid" if trained.multi_label else "the softmax") + " is the probability",
        },
        "multi_label": trained.multi_label,
        "preprocessing": {**asdict(settings), "channels": channels},
        "temperature": temperature,
        "exporter": {"spec": choice.spec, "package": choice.entry.origin},
        # The network's parts: its model, and the head that took the place of the model's own.
        **{key: best["components"][key] for key in ("model", "head") if key in best["components"]},
        "weights": {
            "from": str(best.get("weights", "")),
            "license": _license(best, registry),
            "sha256": trained.digest,
        },
        "run": trained.path.resolve().name,
        "versions": _versions(choice.entry),
        "compared": {**asdict(comparison), "on": compared_on},
    }  # fmt: skip


def own_preprocessing(trained: Trained) -> Preprocessing:
    """Returns a network's preprocessing with a mean and a deviation for each of its channels."""
    settings, channels = trained.preprocessing, trained.channels
    return replace(
        settings, mean=by_channel(settings.mean, channels), std=by_channel(settings.std, channels)
    )


def best_of(trained: Trained) -> dict[str, Any]:
    """Returns what best/model.json says; that it is whole was checked when it was loaded."""
    description: dict[str, Any] = RunFolder.open(trained.path).read_json("best/model.json")
    return description


def _temperature(trained: Trained) -> float | None:
    """Returns the temperature that an evaluation of these weights has fitted, if there is one.

    One at the end of what is tried is none: where every validation image is right, it would make
    every answer certain.
    """
    for split in _OWN_SPLITS:
        table = table_of(trained.path / "evaluation" / f"{split}.json")
        if not isinstance(table, dict):
            continue
        facts, fitted = table.get("facts"), table.get("calibration")
        if not isinstance(facts, dict) or facts.get("weights") != trained.digest:
            continue
        if not isinstance(fitted, dict) or fitted.get("at_limit"):
            continue
        if found := number_of(fitted.get("temperature")):
            return found
    return None


def _license(best: Mapping[str, Any], registry: Registry) -> str | None:
    """Returns the licence of the pretrained weights that the run began with, where it is known."""
    named = str(best.get("weights", "")).partition(" ")[0]
    try:
        offered = offered_weights(
            parse_choice(registry, "model", best["components"]["model"]["spec"])
        )
    except ZooError:
        return None
    return next((one.license for one in offered if one.name == named and one.license), None)


def _versions(entry: Entry) -> dict[str, str]:
    """Returns the versions of what made the file."""
    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        entry.plugin.distribution: entry.plugin.version,
    }
    for name in ("classifier-zoo", *entry.component.requires):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a package that is imported under another name
            continue
    return found
