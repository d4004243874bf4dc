"""Ways to use what is already learnt. They name no data: it is the user's, or what zoo brings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.plugin import Value

__all__ = ["DISTILLATION", "LINEAR_PROBE", "STRONG_FINETUNE"]

LINEAR_PROBE: Mapping[str, Value] = MappingProxyType({
    "freeze_epochs": 20, "epochs": 0, "optim": "adamw", "lr": 3e-3, "weight_decay": 0.0,
    "sched": "cosine", "loss": "ce", "aug": "none", "batch_size": 64,
})  # fmt: skip

# No augmentation: a teacher is only as good as its answers on what the student sees, and one that
# never saw shifted images named 81 % of those right, but 95 % of the images as they are.
DISTILLATION: Mapping[str, Value] = MappingProxyType({
    "model": "cifar-quick", "weights": "none", "freeze_epochs": 0, "epochs": 60,
    "optim": "adamw", "lr": 2e-3, "backbone_lr": 1.0, "weight_decay": 0.05, "sched": "cosine",
    "warmup": 1.0, "aug": "none", "distill_weight": 0.9, "distill_temperature": 4.0,
    "needs": ("distill",),
})  # fmt: skip

# Full rates for the last blocks and much smaller ones for the first: of what was tried, this
# validated best on clipart10 (docs/recipes.md).
STRONG_FINETUNE: Mapping[str, Value] = MappingProxyType({
    "freeze_epochs": 2, "epochs": 20, "optim": "adamw", "lr": 3e-3, "backbone_lr": 1.0,
    "layer_decay": 0.7, "weight_decay": 0.05, "sched": "cosine", "warmup": 1.0,
    "loss": "label-smoothing-0.1", "aug": "standard+mixup-0.2", "ema": 0.99,
})  # fmt: skip
