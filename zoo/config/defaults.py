"""The defaults that depend on the model, its weights and the data.

The figures come from the study in docs/benchmarks.md (benchmarks/defaults.py makes it again).
"""

from __future__ import annotations

import math

from zoo.config.run_config import RunConfig

__all__ = ["default_epochs", "default_image_size", "settle"]

_LEAST_SIDE = 64

_PRETRAINED: dict[str, object] = {
    "freeze_epochs": 1, "lr": 3e-3, "backbone_lr": 0.1, "warmup": 0.5,
    "weight_decay": 0.01, "aug": "none",
}  # fmt: skip
_RANDOM: dict[str, object] = {
    "freeze_epochs": 0, "lr": 2e-3, "backbone_lr": 1.0, "warmup": 0.5,
    "weight_decay": 0.05, "aug": "light",
}  # fmt: skip


def settle(
    config: RunConfig, *, pretrained: bool, num_train: int, image_size: int, sched_ends: bool
) -> RunConfig:
    """Returns the configuration with every open option decided.

    Args:
        config: What the user asked for; what is not None stays.
        pretrained: Whether the network starts from pretrained weights.
        num_train: Training images.
        image_size: The input size that was decided.
        sched_ends: Whether the schedule runs down to the end of its scope (cosine), so that the
            next phase needs a new one; one that counts epochs (SGDR-10-2) spans the run.
    """
    table = _PRETRAINED if pretrained else _RANDOM
    open_ones = {key: value for key, value in table.items() if getattr(config, key) is None}
    if config.phases is not None:  # they say it, and a second word would contradict them
        open_ones.pop("freeze_epochs", None)
    elif config.epochs is None:
        open_ones["epochs"] = default_epochs(num_train, pretrained=pretrained)
    if config.img_size is None:
        open_ones["img_size"] = image_size
    if config.sched_scope == "auto":
        open_ones["sched_scope"] = "phase" if sched_ends else "run"
    if config.norm == "auto":
        open_ones["norm"] = "hold" if pretrained else "train"
    return config.changed(**open_ones)


def default_epochs(num_train: int, *, pretrained: bool) -> int:
    """Returns how many epochs train the whole network: more where an epoch has few steps.

    >>> default_epochs(6_000, pretrained=True), default_epochs(1_000, pretrained=True)
    (3, 10)
    """
    least, most = (3, 20) if pretrained else (10, 30)
    images_wanted = 10_000 if pretrained else 60_000
    return max(least, min(most, math.ceil(images_wanted / num_train)))


def default_image_size(*, preferred: int, typical_side: int | None) -> int:
    """Returns the input size for a network and a data set, pixels.

    Small images gain little from being blown up to the 224 pixels of ImageNet, and a forward pass
    costs with the square of the side. Below 64 pixels most networks, which halve the side five
    times, have nothing left to look at.

    Args:
        preferred: What the weights or the architecture were made for.
        typical_side: Median shorter side of the images; None when it is not known.
    """
    if typical_side is None:
        return preferred
    return min(preferred, max(_LEAST_SIDE, 32 * math.ceil(typical_side / 32)))
