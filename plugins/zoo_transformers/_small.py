"""Small configurations of each family, for machines without a GPU and for tests. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["SMALL"]

_VIT = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 128,
    "patch_size": 8, "image_size": 32,
}  # fmt: skip
_TOWER = {"vision_config": {**_VIT, "projection_dim": 32}, "projection_dim": 32}
_DINO = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "mlp_ratio": 2,
    "patch_size": 14, "image_size": 28,
}  # fmt: skip
_BEIT = {**_VIT, "out_indices": [0, 1, 2, 3], "vocab_size": 16}
_SWIN = {
    "embed_dim": 24, "depths": [1, 1, 2], "num_heads": [1, 2, 4], "window_size": 4,
    "patch_size": 2, "image_size": 32,
}  # fmt: skip
_STAGES = {"hidden_sizes": [16, 24, 32, 64], "depths": [1, 1, 2, 1]}
_PVT = {**_STAGES, "num_attention_heads": [1, 2, 2, 4], "mlp_ratios": [2, 2, 2, 2]}

SMALL: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "beit": _BEIT,
    "bit": {"embedding_size": 16, **_STAGES, "num_groups": 4},
    "clip": _TOWER,
    "convnext": _STAGES,
    "convnextv2": _STAGES,
    "cvt": {"embed_dim": [16, 32, 48], "num_heads": [1, 2, 3], "depth": [1, 2, 3]},
    "data2vec-vision": _BEIT,
    "deit": _VIT,
    "dinov2": _DINO,
    "dinov2_with_registers": _DINO,
    "donut-swin": _SWIN,
    "efficientnet": {
        "width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320, "image_size": 32,
    },
    "focalnet": {
        "embed_dim": 24, "depths": [1, 1, 2], "hidden_sizes": [24, 48, 96],
        "focal_levels": [2, 2, 2], "focal_windows": [3, 3, 3], "patch_size": 2, "image_size": 32,
    },
    "hgnet_v2": {
        "embedding_size": 16, "depths": [1, 1, 1, 1], "hidden_sizes": [32, 48, 64, 96],
        "stem_channels": [3, 8, 12], "stage_in_channels": [12, 32, 48, 64],
        "stage_mid_channels": [8, 12, 16, 24], "stage_out_channels": [32, 48, 64, 96],
        "stage_num_blocks": [1, 1, 1, 1], "stage_numb_of_layers": [2, 2, 2, 2],
    },
    "hiera": {
        "embed_dim": 24, "image_size": [32, 32], "patch_size": [3, 3], "patch_stride": [2, 2],
        "patch_padding": [1, 1], "masked_unit_size": [4, 4], "depths": [1, 1, 2],
        "num_heads": [1, 2, 4], "num_query_pool": 2, "query_stride": [2, 2],
    },
    "ijepa": _VIT,
    "levit": {
        "hidden_sizes": [32, 48, 64], "num_attention_heads": [2, 3, 4], "depths": [1, 1, 1],
        "key_dim": [8, 8, 8], "image_size": 64,
    },
    "metaclip_2": _TOWER,
    "mobilenet_v1": {"depth_multiplier": 0.25, "image_size": 32},
    "mobilenet_v2": {"depth_multiplier": 0.25, "image_size": 32, "finegrained_output": False},
    "mobilevit": {
        "hidden_sizes": [32, 40, 48], "neck_hidden_sizes": [8, 8, 16, 24, 32, 40, 96],
        "image_size": 64,
    },
    "mobilevitv2": {"width_multiplier": 0.25, "image_size": 64},
    "poolformer": _STAGES,
    "pp_lcnet": {"scale": 0.25},
    "pvt": {**_PVT, "image_size": 64},
    "pvt_v2": {**_PVT, "image_size": 64},
    "regnet": {"embedding_size": 16, **_STAGES, "groups_width": 8},
    "resnet": {"embedding_size": 16, **_STAGES},
    "segformer": {**_PVT, "decoder_hidden_size": 32},
    "siglip": {"vision_config": _VIT},
    "swiftformer": {"embed_dims": [16, 24, 32, 64], "depths": [1, 1, 2, 1], "image_size": 64},
    "swin": _SWIN,
    "swinv2": _SWIN,
    "textnet": {
        "conv_layer_kernel_sizes": [[[3, 3]], [[3, 3]], [[3, 3]], [[3, 3]]],
        "conv_layer_strides": [[1], [2], [2], [2]], "hidden_sizes": [8, 16, 24, 32, 64],
        "stem_out_channels": 8, "depths": [1, 1, 1, 1], "image_size": [32, 32],
    },
    "vit": _VIT,
    "vit_msn": _VIT,
})  # fmt: skip
"""What differs from the library's own configuration, by its ``model_type``."""
