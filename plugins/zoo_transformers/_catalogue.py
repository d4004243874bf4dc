"""The families of Hugging Face transformers that classify images, as data.

Each row has the name here, the library's ``model_type`` and its class, and what it is. A test
compares them with what ``AutoModelForImageClassification`` of the installed library knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zoo.plugin import Component, Param

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FAMILIES", "Family", "model_components"]


class Family(NamedTuple):
    """One architecture: its name here, the library's ``model_type`` and class, and a summary."""

    name: str
    model_type: str
    class_name: str
    summary: str


_SOURCE = Param(
    name="source",
    type="str",
    optional=True,
    summary="folder of save_pretrained, or ID or ID@REVISION on the Hugging Face hub",
)
_CONFIG = Param(
    name="config",
    type="str",
    default="default",
    choices=("default", "small"),
    summary="without a source: the library's own configuration, or a small one of zoo",
)


def model_components() -> Iterator[Component]:
    """Yields ``auto``, whose source says what it is, then a component for each family."""
    yield Component(
        kind="model",
        name="auto",
        target="zoo_transformers.models:build",
        summary="Whatever classifier of Hugging Face transformers the source holds",
        tags=("hf",),
        params=(_SOURCE,),
        preset={"architecture": "auto"},
        requires=("transformers",),
    )
    for family in FAMILIES:
        yield Component(
            kind="model",
            name=family.name,
            target="zoo_transformers.models:build",
            summary=f"{family.summary}; Hugging Face's, random weights without a source",
            tags=("hf",),
            params=(_SOURCE, _CONFIG),
            preset={"architecture": family.model_type},
            requires=("transformers",),
        )


_ROWS = (
    ("beit", "BeitForImageClassification", "BEiT (Bao 2021)"),
    ("bit", "BitForImageClassification", "Big Transfer (Kolesnikov 2019)"),
    ("clip", "CLIPForImageClassification", "CLIP's image encoder (Radford 2021)"),
    ("convnext", "ConvNextForImageClassification", "ConvNeXt (Liu 2022)"),
    ("convnextv2", "ConvNextV2ForImageClassification", "ConvNeXt V2 (Woo 2023)"),
    ("cvt", "CvtForImageClassification", "CvT (Wu 2021)"),
    ("data2vec-vision", "Data2VecVisionForImageClassification", "data2vec (Baevski 2022)"),
    ("deit", "DeiTForImageClassification", "DeiT (Touvron 2020)"),
    ("dinov2", "Dinov2ForImageClassification", "DINOv2 (Oquab 2023)"),
    ("dinov2_with_registers", "Dinov2WithRegistersForImageClassification",
     "DINOv2 with registers (Darcet 2023)"),
    ("donut-swin", "DonutSwinForImageClassification", "Donut's Swin encoder (Kim 2021)"),
    ("efficientnet", "EfficientNetForImageClassification", "EfficientNet (Tan 2019)"),
    ("focalnet", "FocalNetForImageClassification", "FocalNet (Yang 2022)"),
    ("hgnet_v2", "HGNetV2ForImageClassification", "PP-HGNetV2 of PaddlePaddle"),
    ("hiera", "HieraForImageClassification", "Hiera (Ryali 2023)"),
    ("ijepa", "IJepaForImageClassification", "I-JEPA (Assran 2023)"),
    ("levit", "LevitForImageClassification", "LeViT (Graham 2021)"),
    ("metaclip_2", "MetaClip2ForImageClassification", "MetaCLIP 2's image encoder (Chuang 2025)"),
    ("mobilenet_v1", "MobileNetV1ForImageClassification", "MobileNet (Howard 2017)"),
    ("mobilenet_v2", "MobileNetV2ForImageClassification", "MobileNetV2 (Sandler 2018)"),
    ("mobilevit", "MobileViTForImageClassification", "MobileViT (Mehta 2021)"),
    ("mobilevitv2", "MobileViTV2ForImageClassification", "MobileViTv2 (Mehta 2022)"),
    ("poolformer", "PoolFormerForImageClassification", "PoolFormer (Yu 2021)"),
    ("pp_lcnet", "PPLCNetForImageClassification", "PP-LCNet (Cui 2021)"),
    ("pvt", "PvtForImageClassification", "Pyramid vision transformer (Wang 2021)"),
    ("pvt_v2", "PvtV2ForImageClassification", "Pyramid vision transformer 2 (Wang 2021)"),
    ("regnet", "RegNetForImageClassification", "RegNet (Radosavovic 2020)"),
    ("resnet", "ResNetForImageClassification", "ResNet (He 2015)"),
    ("segformer", "SegformerForImageClassification", "SegFormer's encoder (Xie 2021)"),
    ("siglip", "SiglipForImageClassification", "SigLIP's image encoder (Zhai 2023)"),
    ("swiftformer", "SwiftFormerForImageClassification", "SwiftFormer (Shaker 2023)"),
    ("swin", "SwinForImageClassification", "Swin transformer (Liu 2021)"),
    ("swinv2", "Swinv2ForImageClassification", "Swin transformer V2 (Liu 2021)"),
    ("textnet", "TextNetForImageClassification", "TextNet, the backbone of FAST (Chen 2021)"),
    ("vit", "ViTForImageClassification", "Vision transformer (Dosovitskiy 2020)"),
    ("vit_msn", "ViTMSNForImageClassification", "Masked siamese networks (Assran 2022)"),
)  # fmt: skip

FAMILIES = tuple(
    Family(
        name=model_type,
        model_type=model_type,
        class_name=class_name,
        summary=summary,
    )
    for model_type, class_name, summary in _ROWS
)
"""In alphabetical order."""
