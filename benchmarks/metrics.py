"""Times the metrics of a split, their intervals and the temperature, on one core.

    python benchmarks/metrics.py [--runs N]

Printed are medians and the least and greatest of the runs, in seconds of the process's CPU time, so
that other work on the machine matters little. The area under the ROC is beside torchmetrics' own.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import torch
import torchmetrics
import torchmetrics.functional.classification as functional
from common import machine, spread

from zoo.evaluation.calibration import fit_temperature
from zoo.evaluation.intervals import intervals, num_resamples
from zoo.evaluation.metrics import headline, measures_for, per_class
from zoo.evaluation.predictions import Predictions
from zoo.registry import Registry


def made(num_images: int, num_classes: int) -> Predictions:
    """Returns made-up predictions, most of them right."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(num_classes, (num_images,), generator=generator)
    logits = torch.randn((num_images, num_classes), generator=generator)
    logits += 3 * torch.nn.functional.one_hot(labels, num_classes)
    return Predictions(
        names=("",) * num_images, classes=tuple(str(k) for k in range(num_classes)),
        logits_NK=logits, labels_N=labels,
    )  # fmt: skip


def time_size(num_images: int, num_classes: int, *, registry: Registry, runs: int) -> None:
    """Times everything for a split of this size."""
    said = made(num_images, num_classes)
    probabilities, target = said.probabilities_NK, said.target
    measures = measures_for(said, registry)
    area = next(measure for measure in measures if measure.label == "auroc")
    print(f"\n{num_images:,} images, {num_classes:,} classes, {len(measures)} metrics, "
          f"{num_resamples(num_images, num_classes):,} resamples")  # fmt: skip
    ways: dict[str, Callable[[], object]] = {
        "headline": lambda: headline(said, registry),
        "per class": lambda: per_class(said, registry),
        "intervals": lambda: intervals(measures, probabilities, target),
        "temperature": lambda: fit_temperature(said.logits_NK, target),
        "auroc": lambda: area(probabilities, target),
        "auroc, torchmetrics": lambda: functional.multiclass_auroc(
            probabilities, target, num_classes, validate_args=False
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            began = time.process_time()
            way()
            times[name].append(time.process_time() - began)
    for name, seconds in times.items():
        print(f"  {name:<20} {spread(seconds, ' s')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs: int = parser.parse_args().runs
    torch.set_num_threads(1)
    registry = Registry.installed()
    print(f"{machine()}; torchmetrics {torchmetrics.__version__}, one thread")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics tells of classes without images
        headline(made(100, 10), registry)  # imports
        for num_classes in (10, 100, 1_000):
            time_size(10_000, num_classes, registry=registry, runs=runs)


if __name__ == "__main__":
    main()
