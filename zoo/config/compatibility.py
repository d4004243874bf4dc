"""Combinations that cannot work, found before the first batch: all of them, each with its fix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from zoo.errors import DataError, UsageError, ZooError, printable

if TYPE_CHECKING:
    from zoo.config.run_config import RunConfig
    from zoo.protocols import DataSet, Schedule

__all__ = ["MOST_LOOKS", "check_combination", "check_data", "check_options", "check_processes"]

MOST_LOOKS = 10_000
"""Epochs at which a schedule is looked at before a run, which may plan millions of them."""


class _Phase(Protocol):
    """What is looked at of a phase of the engine."""

    @property
    def name(self) -> str: ...
    @property
    def epochs(self) -> int: ...
    @property
    def trainable(self) -> str | int: ...
    @property
    def augment(self) -> bool: ...
    @property
    def warmup(self) -> float: ...


def check_options(config: RunConfig) -> list[ZooError]:
    """Returns what contradicts itself in the options alone."""
    problems: list[ZooError] = _unwritable(config)
    if config.phases is None and config.epochs == 0 and not config.freeze_epochs:
        problems.append(UsageError(
            "there is nothing to train: --epochs and --freeze-epochs are both 0",
            hint="--epochs 3, or --freeze-epochs 5 for the head alone",
        ))  # fmt: skip
    if config.backbone_lr == 0 and config.epochs:
        problems.append(UsageError(
            "--backbone-lr 0 would fine-tune nothing but the head",
            hint=f"--freeze-epochs {config.epochs} --epochs 0 does that at a fraction of the cost",
        ))  # fmt: skip
    if config.phases is not None and (
        config.epochs is not None or config.freeze_epochs is not None
    ):
        problems.append(UsageError(
            "--phases says how long each phase is, and so do --epochs and --freeze-epochs",
            hint="--phases head:epochs=1+all:epochs=5 alone",
        ))  # fmt: skip
    if config.sam and config.precision == "fp16":
        problems.append(UsageError(
            "--sam takes two gradients a step, which fp16's loss scaling does not allow for",
            hint="--precision bf16",
        ))  # fmt: skip
    if config.repeats > config.batch_size:
        problems.append(UsageError(
            f"an image cannot stand {config.repeats} times in a batch of {config.batch_size}",
            hint=f"--repeats {config.batch_size} at most",
        ))  # fmt: skip
    if config.repeats > 1 and config.balance == "sampler":
        problems.append(UsageError(
            "--repeats and --balance sampler both decide how often an image is drawn",
            hint="--balance loss",
        ))  # fmt: skip
    if config.freeze_aug and config.freeze_views > 1:
        problems.append(UsageError(
            "--freeze-aug augments anew in each frozen epoch, and --freeze-views repeats views",
            hint=f"--freeze-views {config.freeze_views} alone",
        ))  # fmt: skip
    if config.engine in ("onnx", "openvino"):
        from zoo.network.inference import engine_missing

        if missing := engine_missing(config.engine):
            problems.append(UsageError(
                f"--engine {config.engine} needs what is not installed: {', '.join(missing)}",
                hint=f"pip install 'classifier-zoo[{config.engine}]', or --engine folded",
            ))  # fmt: skip
    if config.accumulate > config.batch_size:
        problems.append(UsageError(
            f"a batch of {config.batch_size} cannot be computed in {config.accumulate} parts",
            hint=f"--accumulate {config.batch_size} at most",
        ))  # fmt: skip
    return problems


def _unwritable(config: RunConfig) -> list[ZooError]:
    """Returns what config.toml, which is UTF-8, cannot hold: a path of other bytes."""
    return [
        UsageError(
            f"--{key.replace('_', '-')} {printable(value)} cannot be kept in the run's config.toml",
            found="its name is of bytes that are no UTF-8",
            hint="rename it, or give a link to it: ln -s PATH LINK",
        )
        for key, value in config.as_mapping().items()
        if isinstance(value, str) and value.encode("utf-8", "replace").decode() != value
    ]


def check_data(config: RunConfig, data: DataSet, *, sigmoid: bool) -> list[ZooError]:
    """Returns what the data does not allow.

    Args:
        config: The options.
        data: The data set.
        sigmoid: Whether the loss treats each class as a question of its own.
    """
    problems: list[ZooError] = []
    name = printable(data.name)
    if len(data.classes) < 2:
        problems.append(DataError(
            f"{name} has {len(data.classes)} class, a classifier needs two or more",
            hint="one folder for each class",
        ))  # fmt: skip
    for split in ("train", "val"):
        if split not in data.splits or not len(data.splits[split].images):
            problems.append(DataError(f"{name} has no images to {split} on"))
    if data.multi_label and not sigmoid:
        problems.append(UsageError(
            f"images of {name} have several labels, and --loss {config.loss} expects one",
            hint="--loss bce or asymmetric, or another one with the tag sigmoid",
        ))  # fmt: skip
    if data.multi_label and config.balance != "none":
        problems.append(UsageError(
            f"--balance {config.balance} needs one label an image, and {name} has several",
            hint="--balance none",
        ))  # fmt: skip
    if not problems and len(data.splits["train"].images) < 2:
        problems.append(DataError(f"{name} has one training image, training needs two or more"))
    return problems


def check_combination(
    config: RunConfig,
    *,
    phases: Sequence[_Phase],
    schedules: Sequence[Schedule],
    changes: bool,
    mixes: bool,
    hard_labels: bool,
    multi_label: bool,
    num_train: int,
    takes_one_image: Callable[[], bool],
    second_order: bool,
) -> tuple[list[ZooError], list[str]]:
    """Returns (what cannot work, what has no effect) once everything is built.

    Args:
        config: The settled options.
        phases: The plan.
        schedules: The schedule of each phase.
        changes: Whether the augmentation changes single images.
        mixes: Whether it mixes images.
        hard_labels: Whether the loss takes class indices only.
        multi_label: Whether images have several labels.
        num_train: Training images.
        takes_one_image: Tells whether each phase can make a step on one image.
        second_order: Whether the optimizer differentiates the gradient once more.
    """
    problems: list[ZooError] = []
    notes: list[str] = []
    if mixes and hard_labels:
        problems.append(UsageError(
            f"--aug {config.aug} mixes labels, and --loss {config.loss} takes one class an image",
            hint="--loss ce, or --aug without mixup and cutmix",
        ))  # fmt: skip
    if second_order and config.sam:
        problems.append(UsageError(
            f"--optim {config.optim} differentiates the gradient at the weights, and --sam takes "
            "it elsewhere",
            hint="one of the two",
        ))  # fmt: skip
    if second_order and config.compile:
        problems.append(UsageError(
            f"--optim {config.optim} differentiates the gradient, and --compile cannot",
            hint="--no-compile, or another --optim",
        ))  # fmt: skip
    if _smallest_part(config, num_train) < 2 and not takes_one_image():
        problems.append(_no_statistics(config, num_train))
    if mixes and not any(phase.augment for phase in phases):
        notes.append("images are not mixed: no phase augments (--freeze-aug)")
    if config.balance == "loss" and mixes:
        notes.append("classes are weighed in the shares in which images are mixed")
    if multi_label and config.monitor.replace("-", "_").lower() in ("val_accuracy", "accuracy"):
        notes.append("accuracy is the share of images whose labels are all right")
    notes += _idle_views(config, phases, changes=changes, mixes=mixes)
    notes += _idle_schedule(config, phases, schedules)
    notes += [
        f"the phase {phase.name} ends before its rate has risen: it has {phase.epochs} epochs, "
        f"and a warm-up of {phase.warmup:g}"
        for phase in phases
        if phase.warmup > phase.epochs
    ]
    return problems, notes


def check_processes(
    config: RunConfig, *, num_train: int, world: int, takes_one_image: Callable[[], bool]
) -> None:
    """Refuses a batch that is too small for each of several processes to have its share of it.

    Args:
        config: The settled options.
        num_train: Training images.
        world: How many processes there are.
        takes_one_image: Tells whether each phase can make a step on one image.

    Raises:
        UsageError: It is.
    """
    smallest = _smallest_batch(config, num_train)
    if smallest < world:
        raise UsageError(
            f"{world} processes cannot share a batch of {smallest}",
            found=f"{num_train} training images in batches of {config.batch_size}",
            hint="a larger --batch-size, or fewer processes",
        )
    if world > 1 and _smallest_part(config, num_train, world) < 2 and not takes_one_image():
        raise _no_statistics(config, num_train, world)


def _no_statistics(config: RunConfig, num_train: int, world: int = 1) -> UsageError:
    """Returns what is said of a batch norm that would see one image."""
    head = "" if config.head is None else f" with --head {config.head}"
    cut = f", in {config.accumulate} parts" if config.accumulate > 1 else ""
    shared = f", shared by {world} processes" if world > 1 else ""
    each = "each part" if world == 1 else "each process and part"
    return UsageError(
        f"--model {config.model}{head} normalises by the statistics of a batch, and one image "
        "has none",
        found=f"{num_train} training images in batches of {config.batch_size}{cut}{shared}: some "
        "are computed one at a time",
        hint=f"--batch-size 2 or more for {each}, or a network without batch norm",
    )


def _idle_views(
    config: RunConfig, phases: Sequence[_Phase], *, changes: bool, mixes: bool
) -> list[str]:
    """Says so when frozen phases are asked to augment, and there is nothing that could."""
    if config.freeze_aug:
        asked, idle = "--freeze-aug", not (changes or mixes)
    elif config.freeze_views > 1:
        asked, idle = f"--freeze-views {config.freeze_views}", not changes
    else:
        return []
    if all(phase.trainable == "all" for phase in phases):
        return [f"{asked} has no effect: no phase is frozen"]
    if idle:
        return [f"{asked} has no effect: --aug {config.aug} changes no single image"]
    return []


def _smallest_part(config: RunConfig, num_train: int, world: int = 1) -> int:
    """Returns how many images the smallest part of a step has in each of several processes."""
    batch = _smallest_batch(config, num_train)
    return batch // max(1, min(config.accumulate, batch // world)) // world


def _smallest_batch(config: RunConfig, num_train: int) -> int:
    """Returns how many images the smallest step has."""
    from zoo.data.batches import num_batches

    return num_train // num_batches(num_train, config.batch_size)


def _idle_schedule(
    config: RunConfig, phases: Sequence[_Phase], schedules: Sequence[Schedule]
) -> list[str]:
    """Says so when the schedule is longer than the run, so that it never does anything."""
    if config.sched.partition(":")[0].lower() in ("constant", "torch/constant"):
        return []
    if any(hasattr(schedule, "observe") for schedule in schedules):
        return []
    total = sum(phase.epochs for phase in phases)
    first = round(schedules[0](0.0), 9)
    quarters = range(0, 4 * total, 1 + total // MOST_LOOKS)
    if total and all(round(schedules[0](number / 4), 9) == first for number in quarters):
        return [
            f"--sched {config.sched} never changes the learning rate in {total} epochs; "
            f"zoo explain {config.sched} --epochs {total} draws it"
        ]
    return []
