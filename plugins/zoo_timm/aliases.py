"""The short names that people type for timm's models.

Only names that are no canonical name of timm: ``resnet50``, ``densenet121``, ``efficientnet-b0``
and ``convnext-tiny`` are canonical (``-`` and ``_`` are one). Where timm has several of a kind,
the one with pretrained ImageNet weights at the usual size is meant. ``efficientnet-lite0`` and
its like, whose canonical namesakes have no weights, are components of zoo_classics; DINOv2's and
CLIP's, whose names say which weights are meant, stand in :mod:`zoo_timm.named`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["ALIASES"]

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "cait-xxs24": "cait_xxs24_224",
        "coatnet": "coatnet_0_rw_224",
        "convmixer": "convmixer_768_32",
        "convnext": "convnext_tiny",
        "convnextv2": "convnextv2_tiny",
        "deit-tiny": "deit_tiny_patch16_224",
        "deit-small": "deit_small_patch16_224",
        "deit-base": "deit_base_patch16_224",
        "deit3-small": "deit3_small_patch16_224",
        "deit3-base": "deit3_base_patch16_224",
        "edgenext": "edgenext_small",
        "efficientformer": "efficientformer_l1",
        "efficientnetv2": "tf_efficientnetv2_s",
        "efficientnetv2-b0": "tf_efficientnetv2_b0",
        "efficientnetv2-b1": "tf_efficientnetv2_b1",
        "efficientnetv2-b2": "tf_efficientnetv2_b2",
        "efficientnetv2-b3": "tf_efficientnetv2_b3",
        "efficientvit": "efficientvit_b0",
        "ghostnet": "ghostnet_100",
        "ghostnetv2": "ghostnetv2_100",
        "hrnet": "hrnet_w18",
        "levit": "levit_128s",
        "maxvit-tiny": "maxvit_tiny_tf_224",
        "mixer-b16": "mixer_b16_224",
        "mnasnet": "mnasnet_100",
        "mobilenetv1": "mobilenetv1_100",
        "mobilenetv2": "mobilenetv2_100",
        "mobilenetv3": "mobilenetv3_large_100",
        "mobilenetv3-large": "mobilenetv3_large_100",
        "mobilenetv3-small": "mobilenetv3_small_100",
        "mobilenetv4": "mobilenetv4_conv_small",
        "mobileone": "mobileone_s0",
        "mobilevit": "mobilevit_s",
        "mobilevitv2": "mobilevitv2_100",
        "nfnet": "eca_nfnet_l0",
        "poolformer": "poolformer_s12",
        "pvt-v2": "pvt_v2_b0",
        "regnet": "regnety_032",
        "regnetx": "regnetx_032",
        "regnety": "regnety_032",
        "repvgg": "repvgg_a2",
        "res2net50": "res2net50_26w_4s",
        "resmlp": "resmlp_12_224",
        "resnest50": "resnest50d",
        "resnext50": "resnext50_32x4d",
        "resnext101": "resnext101_32x8d",
        "rexnet": "rexnet_100",
        "se-resnet50": "seresnet50",
        "se-resnext26-32x4d": "seresnext26d_32x4d",
        "se-resnext50": "seresnext50_32x4d",
        "se-resnext50-32x4d": "seresnext50_32x4d",
        "se-resnext101-32x4d": "seresnext101_32x4d",
        "seresnext50": "seresnext50_32x4d",
        "swin-tiny": "swin_tiny_patch4_window7_224",
        "swin-small": "swin_small_patch4_window7_224",
        "swin-base": "swin_base_patch4_window7_224",
        "swin-large": "swin_large_patch4_window7_224",
        "swinv2-tiny": "swinv2_tiny_window8_256",
        "swinv2-small": "swinv2_small_window8_256",
        "swinv2-base": "swinv2_base_window8_256",
        "vit-tiny": "vit_tiny_patch16_224",
        "vit-small": "vit_small_patch16_224",
        "vit-base": "vit_base_patch16_224",
        "vit-large": "vit_large_patch16_224",
        "wide-resnet50": "wide_resnet50_2",
        "wide-resnet101": "wide_resnet101_2",
        "xception": "legacy_xception",
        "xcit-nano": "xcit_nano_12_p16_224",
    }
)
