"""From the JSON of an image processor to what zoo does with an image.

A processor may scale, shift, normalise (some twice), crop and reorder channels; all of the numbers
come down to one mean and one standard deviation of pixel values in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from zoo.errors import CheckpointError, in_words
from zoo.protocols import Preprocessing
from zoo.protocols.training import Fit, Interpolation

__all__ = ["flips_channels", "read_preprocessing"]

_INTERPOLATIONS: Mapping[object, Interpolation] = {0: "nearest", 2: "bilinear"}
"""Pillow's numbers; what is not here (bicubic, Lanczos) is bicubic."""

_LEVIT_ENLARGES = 256 / 224
_CONVNEXT_SQUASHES_FROM = 384


def flips_channels(table: Mapping[str, Any]) -> bool:
    """Whether the network expects blue before red."""
    return table.get("do_flip_channel_order") is True


def read_preprocessing(table: Mapping[str, Any], *, image_size: int) -> Preprocessing:
    """Returns what an image processor does.

    Args:
        table: Its JSON.
        image_size: Of the network, where the processor does not say, in pixels.

    Raises:
        CheckpointError: A number is missing, of the wrong type or out of range.
    """
    try:
        side, crop_fraction, fit = _geometry(table, image_size)
        mean, std = _normalisation(table)
        numbers = (*mean, *std, crop_fraction)
        if not 1 <= side <= 16_384 or not all(map(math.isfinite, numbers)) or min(std) <= 0:
            raise ValueError(f"size {side}, mean {mean}, std {std}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            "the image processor of the source cannot be understood",
            found=in_words(error),
            hint="correct its preprocessor_config.json",
        ) from error
    return Preprocessing(
        image_size=side,
        mean=mean,
        std=std,
        interpolation=_INTERPOLATIONS.get(table.get("resample", 2), "bicubic"),
        crop_fraction=crop_fraction,
        fit=fit,
    )


def _geometry(table: Mapping[str, Any], image_size: int) -> tuple[int, float, Fit]:
    """Returns (side, crop fraction, how an image that is not square becomes one)."""
    crops = table.get("do_center_crop") is True
    shorter, side = _sides(table.get("size"), crops=crops)
    if table.get("do_resize") is False or (shorter is None and side is None):
        shorter, side = None, image_size
    if (share := table.get("crop_pct")) is not None and shorter is not None:
        # ConvNeXt's size and PoolFormer's crop are what remains after the crop.
        remains = _side(table["crop_size"]) if crops and "crop_size" in table else shorter
        if not crops and remains >= _CONVNEXT_SQUASHES_FROM:
            return remains, 1.0, "squash"
        return remains, float(share), "crop"
    resized = shorter if shorter is not None else side
    assert resized is not None
    if not crops:
        return resized, 1.0, "crop" if shorter is not None else "squash"
    if _type(table).startswith("Levit"):
        resized = int(resized * _LEVIT_ENLARGES)
    remains = _side(table["crop_size"]) if table.get("crop_size") is not None else resized
    return remains, min(1.0, remains / resized), "crop"


def _sides(size: Any, *, crops: bool) -> tuple[int | None, int | None]:
    """Returns (shorter side, side of a square), one of which is None; both without a size."""
    if size is None:
        return None, None
    if isinstance(size, int):  # as files of before 2022 have it
        return (size, None) if crops else (None, size)
    if (shorter := size.get("shortest_edge")) is not None:
        return int(shorter), None
    return None, _side(size)


def _side(size: Any) -> int:
    if isinstance(size, Mapping):
        size = size.get("height") or size.get("shortest_edge") or size["max_height"]
    if isinstance(size, (list, tuple)):
        size = size[0]
    return int(size)


def _normalisation(table: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation of pixel values in 0..1."""
    scales = table.get("do_rescale") is not False
    # pixel * 255 * factor - offset, of a pixel in 0..1
    factor = 255 * float(table.get("rescale_factor") or 1 / 255) if scales else 255.0
    offset = 1.0 if scales and table.get("rescale_offset") is True else 0.0
    given = "image_mean" in table and not flips_channels(table)
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if table.get("do_normalize", given) and table.get("image_mean") is not None:
        mean, std = _three(table["image_mean"]), _three(table["image_std"])
        if flips_channels(table):  # they are in the order of the network
            mean, std = mean[::-1], std[::-1]
    result_std = tuple(one / factor for one in std)
    if _type(table).startswith("EfficientNet") and table.get("include_top") is True:
        result_std = tuple(one * again for one, again in zip(result_std, std, strict=True))
    return tuple((one + offset) / factor for one in mean), result_std


def _three(values: Any) -> tuple[float, float, float]:
    if isinstance(values, (int, float)):
        values = [values] * 3
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _type(table: Mapping[str, Any]) -> str:
    return str(table.get("image_processor_type") or table.get("feature_extractor_type") or "")
