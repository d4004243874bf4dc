"""Backbones that people know by the name of their weights, not of their architecture.

CLIP's image encoders and DINOv2 are architectures of timm with one file among several. Their names
here stand for both, so that ``--weights auto`` takes the weights that the name promises. OpenAI's
encoders compute a cheaper GELU: the same weights in timm's ``vit_base_patch16_clip_224`` give other
features. What all of them lack is a classifier; the head is always new.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["NAMED", "Named"]


class Named(NamedTuple):
    """A name, the architecture and the tag of the weights in timm, and what it is."""

    name: str
    architecture: str
    tag: str
    summary: str


def _dinov2(size: str, letter: str) -> tuple[Named, Named]:
    what = f"DINOv2 ViT-{letter}/14 (Oquab 2023), self-supervised; sides divisible by 14"
    with_registers = what.replace(" (Oquab 2023)", " with 4 registers (Darcet 2023)")
    plain, registers = f"vit_{size}_patch14_dinov2", f"vit_{size}_patch14_reg4_dinov2"
    return (
        Named(f"dinov2-{size}", plain, "lvd142m", what),
        Named(f"dinov2-{size}-reg", registers, "lvd142m", with_registers),
    )


def _clip(shape: str, size: str, patch: int) -> tuple[Named, Named]:
    what = f"image encoder ViT-{shape.upper().replace('-', '/')}"
    stem = f"vit_{size}_patch{patch}_clip"
    return (
        Named(f"clip-vit-{shape}", f"{stem}_quickgelu_224", "openai",
              f"CLIP's {what} with OpenAI's weights (Radford 2021)"),
        Named(f"openclip-vit-{shape}", f"{stem}_224", "laion2b",
              f"OpenCLIP's {what} with weights from LAION-2B (Cherti 2022)"),
    )  # fmt: skip


NAMED = (
    *_dinov2("small", "S"),
    *_dinov2("base", "B"),
    *_dinov2("large", "L"),
    *_dinov2("giant", "g"),
    *_clip("b-32", "base", 32),
    *_clip("b-16", "base", 16),
    *_clip("l-14", "large", 14),
    Named("clip-rn50", "resnet50_clip", "openai",
          "CLIP's image encoder ResNet-50 with OpenAI's weights (Radford 2021)"),
)  # fmt: skip
