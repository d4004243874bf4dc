"""Builds image classifiers of Hugging Face transformers and describes their weights.

One target for all of them: the family is the component's preset, the source an argument. The
network is the library's own, whose ``forward`` is made to take images and return logits.

B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor, nn

from zoo.errors import CheckpointError, UsageError, in_words, printable
from zoo.network.probe import build_for_size
from zoo.protocols import Preprocessing, Weights
from zoo_transformers._catalogue import FAMILIES, Family
from zoo_transformers._small import SMALL
from zoo_transformers.preprocessing import flips_channels, read_preprocessing
from zoo_transformers.sources import Source, plain_config

if TYPE_CHECKING:
    from typing import TypeAlias

    Config: TypeAlias = dict[str, Any]

__all__ = ["TransformersModels", "build", "convert"]

_FAMILIES: Mapping[str, Family] = {family.model_type: family for family in FAMILIES}

_SEVERAL_HEADS: Mapping[str, tuple[str, ...]] = {"swiftformer": ("head", "dist_head")}
"""Whose logits are the mean of several heads."""

_HEADS = ("classifier", "fc", "head")
"""What the library calls a head. The first that has parameters is it."""


class TransformersModels:
    """A model factory for every family of the catalogue. Without state."""

    def __call__(
        self,
        architecture: str,
        *,
        num_classes: int,
        channels: int,
        image_size: int,
        source: str | None = None,
        config: str = "default",
    ) -> nn.Module:
        """Returns the network with random weights, proved to take images of this size.

        Args:
            architecture: The library's ``model_type``, or ``auto``: what the source says.
            num_classes: Outputs.
            channels: Of the images.
            image_size: Side of the square images, pixels.
            source: Folder or id on the hub whose configuration is taken.
            config: Without a source: ``default`` is the library's own, ``small`` one of zoo.

        Raises:
            UsageError: The family refuses the size, or arguments do not go together.
            CheckpointError: The source's configuration cannot be used.
            MachineError: The source cannot be fetched.
        """
        table, processor = _described(architecture, source, config)
        family = _FAMILIES[table["model_type"]]
        flips = flips_channels(processor or {})
        if flips and channels != 3:
            flips = False  # there is no order to reverse

        def create(size: int) -> nn.Module:
            shaped = _shaped(table, num_classes=num_classes, channels=channels, image_size=size)
            network = _network(family, shaped)
            _fit_first_convolution(network, channels)
            network.zoo_origin = table  # what its weights were saved with, for :func:`convert`
            network.forward = partial(_logits, network, flips)
            built: nn.Module = network
            return built

        return build_for_size(
            create,
            name=f"transformers' {family.model_type}",
            num_classes=num_classes,
            channels=channels,
            image_size=image_size,
            own_size=_image_size(table),
        )

    def weights(
        self, architecture: str, *, source: str | None = None, config: str = "default"
    ) -> Sequence[Weights]:
        """Returns the weights of the source; none without one.

        Raises:
            CheckpointError: They are pickles, or in several files.
        """
        if source is None:
            return ()
        num_classes = _num_classes(Source.parse(source).config())
        preprocessing = self.preprocessing(architecture, source=source, config=config)
        return Source.parse(source).weights(num_classes=num_classes, preprocessing=preprocessing)

    def preprocessing(
        self, architecture: str, *, source: str | None = None, config: str = "default"
    ) -> Preprocessing:
        """Returns what the source's image processor does, else what fits the configuration."""
        table, processor = _described(architecture, source, config)
        size = _image_size(table)
        if processor is None:
            return Preprocessing(image_size=size)
        return read_preprocessing(processor, image_size=size)


build = TransformersModels()
"""The target of every component of this plugin."""


def convert(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Returns a saved state under the network's names, with positions for its image size.

    The library itself loads it into a network of the configuration that it was saved with: files
    keep the names of the version that wrote them. What it does not find there is left out.

    Raises:
        UsageError: The network is none of this plugin.
    """
    origin = getattr(model, "zoo_origin", None)
    if not isinstance(origin, Mapping):
        raise UsageError("the model is no network of Hugging Face transformers")
    with _quiet():
        loaded, told = type(model).from_pretrained(  # type: ignore[attr-defined]  # the library's
            None,
            config=_config(_FAMILIES[origin["model_type"]], origin),
            state_dict=dict(state),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    lacking = {str(name) for name in told["missing_keys"]}
    lacking |= {str(row[0]) for row in told["mismatched_keys"]}
    own = model.state_dict()
    return {
        name: _resampled(tensor, own[name]) if name in own else tensor
        for name, tensor in loaded.state_dict().items()
        if name not in lacking
    }


# ---- configurations -----------------------------------------------------------------------------


def _described(
    architecture: str, source: str | None, config: str
) -> tuple[Config, dict[str, Any] | None]:
    """Returns the plain configuration, and the image processor's JSON where there is one."""
    if source is None:
        if architecture == "auto":
            raise UsageError(
                "hf/auto is what its source holds, and has none",
                hint="hf/auto:source=google/vit-base-patch16-224 or hf/auto:source=./FOLDER",
            )
        own = _config(_FAMILIES[architecture], SMALL[architecture] if config == "small" else {})
        return plain_config({**own.to_dict(), "model_type": architecture}), None
    if config != "default":
        raise UsageError(
            "a source has its own configuration", found=f"config={config}", hint="leave it out"
        )
    opened = Source.parse(source)
    table = opened.config()
    found = table.get("model_type")
    if not isinstance(found, str) or found not in _FAMILIES:
        raise CheckpointError(
            f"the source {printable(source)!r} is no image classifier that zoo knows",
            found=f"model_type {printable(found)!r}",
            hint="zoo list models 'hf/*'",
        )
    if architecture not in ("auto", found):
        raise UsageError(
            f"the source {printable(source)!r} is of another family than {architecture}",
            found=f"model_type {found}",
            hint=f"hf/auto:source={printable(source)}",
        )
    return {**plain_config(table), "num_labels": _num_classes(table)}, opened.processor()


def _config(family: Family, table: Mapping[str, Any]) -> Any:
    """Returns the library's configuration object.

    Raises:
        CheckpointError: The library refuses it.
    """
    given = {key: value for key, value in table.items() if key != "model_type"}
    try:
        with _quiet():
            return transformers.CONFIG_MAPPING[family.model_type](**given)
    except Exception as error:  # validators of the library raise what they like
        raise CheckpointError(
            f"transformers {transformers.__version__} refuses this configuration of "
            f"{family.model_type}",
            found=in_words(error),
        ) from error


def _shaped(table: Config, *, num_classes: int, channels: int, image_size: int) -> Config:
    """Returns the configuration for these classes and images."""
    changed = {**table, "num_labels": num_classes}
    vision = dict(_vision(changed))
    if "image_size" in vision:
        several = isinstance(vision["image_size"], (list, tuple))
        vision["image_size"] = [image_size, image_size] if several else image_size
    for key in ("num_channels", "stem_num_channels"):
        if key in vision:
            vision[key] = channels
    if isinstance(stem := vision.get("stem_channels"), (list, tuple)):  # it begins with the images
        vision["stem_channels"] = [channels, *stem[1:]]
    return {**changed, "vision_config": vision} if "vision_config" in changed else vision


def _vision(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the part about images: of CLIP and its like, a table in the table."""
    inner = table.get("vision_config")
    return inner if isinstance(inner, Mapping) else table


def _image_size(table: Mapping[str, Any]) -> int:
    size = _vision(table).get("image_size", 224)
    size = size[0] if isinstance(size, (list, tuple)) and size else size
    return size if isinstance(size, int) and 0 < size <= 16_384 else 224


def _num_classes(table: Mapping[str, Any]) -> int:
    labels, number = table.get("id2label"), table.get("num_labels")
    if isinstance(labels, Mapping) and labels:
        return len(labels)
    return number if isinstance(number, int) and number > 0 else 2  # the library's own default


# ---- networks -----------------------------------------------------------------------------------


def _network(family: Family, table: Config) -> Any:
    """Returns the library's network with random weights, its head named.

    Raises:
        CheckpointError: The configuration names what the library does not have.
    """
    config = _config(family, table)
    with _quiet():
        try:
            network: Any = getattr(transformers, family.class_name)(config)
        except (AttributeError, ImportError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"transformers cannot build this configuration of {family.model_type}",
                found=in_words(error),
            ) from error
    for module in network.modules():
        if hasattr(module, "attention_bias_cache"):
            module.register_forward_pre_hook(_forget)
    if names := _SEVERAL_HEADS.get(family.model_type):
        network.pretrained_cfg = {"classifier": names}
    else:
        network.zoo_head = next(
            name for name in _HEADS
            if next(getattr(network, name, nn.Identity()).parameters(), None) is not None
        )  # fmt: skip
    return network


def _logits(network: Any, flips: bool, images_BCHW: Tensor) -> Tensor:
    """Runs the library's own forward pass and returns logits_BK.

    A module-level function, and bound by ``partial``, so that a network can be pickled and copied.
    """
    if flips:
        images_BCHW = images_BCHW.flip(1)
    output = type(network).forward(network, pixel_values=images_BCHW, return_dict=True)
    found = output.get("logits")
    logits_BK: Tensor = output["last_hidden_state"] if found is None else found  # PP-LCNet's
    return logits_BK


def _forget(module: Any, _: object) -> None:
    """Empties what LeViT's attention keeps from its first evaluation until ``train()`` is called.

    zoo sets modes module by module, so the biases of back then would outlive loading and training.
    """
    module.attention_bias_cache = {}


def _fit_first_convolution(network: nn.Module, channels: int) -> None:
    """Replaces the first convolution where the configuration has no say in its channels."""
    found = next(((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d)), None)
    if found is None or found[1].in_channels == channels or found[1].groups != 1:
        return
    name, old = found
    parent, _, child = name.rpartition(".")
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
    setattr(network.get_submodule(parent), child, new)


def _resampled(tensor: Tensor, own: Tensor) -> Tensor:
    """Returns position embeddings for another grid of patches; anything else as it is.

    They are rows for a few tokens that are no patches (class, register), then for a square grid.
    """
    if tensor.shape == own.shape or tensor.ndim not in (2, 3) or tensor.ndim != own.ndim:
        return tensor
    if tensor.shape[-1] != own.shape[-1] or (tensor.ndim == 3 and len(tensor) != 1):
        return tensor
    old, new = tensor.shape[-2], own.shape[-2]
    for others in (0, 1, 2):
        before, after = math.isqrt(max(old - others, 0)), math.isqrt(max(new - others, 0))
        if before and after and before**2 == old - others and after**2 == new - others:
            rows = tensor.reshape(old, -1)
            grid_1DHW = rows[others:].T.reshape(1, -1, before, before).float()
            grid_1DHW = nn.functional.interpolate(  # as the library does it
                grid_1DHW, size=(after, after), mode="bicubic", align_corners=False
            )
            patches = grid_1DHW.reshape(len(grid_1DHW[0]), -1).T.to(tensor.dtype)
            return torch.cat([rows[:others], patches]).reshape(own.shape)
    return tensor


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the library from talking of defaults and from drawing bars, as long as it lasts."""
    log = logging.getLogger("transformers")
    level, bars = log.level, transformers.logging.is_progress_bar_enabled()
    log.setLevel(logging.ERROR)
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        log.setLevel(level)
        if bars:
            transformers.logging.enable_progress_bar()  # type: ignore[no-untyped-call]
