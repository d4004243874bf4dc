"""A model's size, input and weights, without training it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from zoo.engine.assembly.choices import offered_weights, preprocessing_of
from zoo.network.weights import locate
from zoo.protocols import Preprocessing, Weights
from zoo.registry import Choice, build

__all__ = ["ModelDescription", "describe_model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """What ``zoo show model`` tells.

    Args:
        num_parameters: With a head for the classes of its first weights, else for ten.
        preprocessing: Of its first weights, else of the architecture.
        weights: Each with whether its file is on this machine.
    """

    num_parameters: int
    preprocessing: Preprocessing
    weights: tuple[tuple[Weights, bool], ...]


def describe_model(choice: Choice) -> ModelDescription:
    """Returns size, input and weights of a model."""
    offered = offered_weights(choice)
    preprocessing = preprocessing_of(choice, offered[0] if offered else None)
    facts = {
        "num_classes": (offered[0].num_classes if offered else 0) or 10,  # a backbone has none
        "channels": 3,
        "image_size": preprocessing.image_size,
    }
    try:
        with torch.device("meta"):  # no memory for the weights of a billion parameters
            model = build(choice, **facts)
    except Exception:  # a constructor that computes with its tensors
        model = build(choice, **facts)
    return ModelDescription(
        num_parameters=sum(p.numel() for p in model.parameters()),
        preprocessing=preprocessing,
        weights=tuple((w, locate(w) is not None) for w in offered),
    )
