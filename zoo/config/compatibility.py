"""Combinations that cannot work, found before the first batch: all of them, each with its fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.errors import DataError, UsageError, ZooError

if TYPE_CHECKING:
    from zoo.config.run_config import RunConfig
    from zoo.protocols import DataSet

__all__ = ["check_data", "check_options"]


def check_options(config: RunConfig) -> list[ZooError]:
    """Returns what contradicts itself in the options alone."""
    problems: list[ZooError] = []
    if config.epochs == 0 and not config.freeze_epochs:
        problems.append(UsageError(
            "there is nothing to train: --epochs and --freeze-epochs are both 0",
            hint="--epochs 3, or --freeze-epochs 5 for the head alone",
        ))  # fmt: skip
    if config.backbone_lr == 0 and config.epochs:
        problems.append(UsageError(
            "--backbone-lr 0 would fine-tune nothing but the head",
            hint=f"--freeze-epochs {config.epochs} --epochs 0 does that at a fraction of the cost",
        ))  # fmt: skip
    if config.accumulate > config.batch_size:
        problems.append(UsageError(
            f"a batch of {config.batch_size} cannot be computed in {config.accumulate} parts",
            hint=f"--accumulate {config.batch_size} at most",
        ))  # fmt: skip
    return problems


def check_data(data: DataSet) -> list[ZooError]:
    """Returns what the data does not allow."""
    problems: list[ZooError] = []
    if len(data.classes) < 2:
        problems.append(DataError(
            f"{data.name} has {len(data.classes)} class, a classifier needs two or more",
            hint="one folder for each class",
        ))  # fmt: skip
    for split in ("train", "val"):
        if split not in data.splits or not len(data.splits[split].images):
            problems.append(DataError(f"{data.name} has no images to {split} on"))
    if not problems and len(data.splits["train"].images) < 2:
        problems.append(
            DataError(f"{data.name} has one training image, training needs two or more")
        )
    return problems
