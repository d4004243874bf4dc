"""Small networks of Hugging Face's families, made by the plugin and by the library itself."""

from __future__ import annotations

import copy

import torch
import transformers
from torch import nn

from zoo_transformers._catalogue import FAMILIES
from zoo_transformers._small import SMALL
from zoo_transformers.models import build

K = 7
BY_TYPE = {family.model_type: family for family in FAMILIES}


def side(model_type):
    return 56 if "dinov2" in model_type else 64


def images(model_type, channels=3):
    size = side(model_type)
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(1))


def small(model_type, **facts):
    """The plugin's own."""
    facts = {"num_classes": K, "channels": 3, "image_size": side(model_type), **facts}
    model = build(model_type, config="small", **facts)
    return lively(model, images(model_type, facts["channels"]))


def reference(model_type):
    """One that the library makes, without the plugin."""
    table = copy.deepcopy({**SMALL[model_type], "num_labels": K})
    vision = table.get("vision_config", table)
    if "image_size" in vision:
        several = isinstance(vision["image_size"], list)
        vision["image_size"] = [side(model_type)] * 2 if several else side(model_type)
    transformers.logging.set_verbosity_error()
    config = transformers.CONFIG_MAPPING[model_type](**table)
    model = getattr(transformers, BY_TYPE[model_type].class_name)(config)
    return lively(model, images(model_type))


def lively(model, images_BCHW):
    """Gives a network weights and statistics that keep signals alive, and evaluates.

    With the library's own initial ones some networks return the same for every image.
    """
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                share = 1.5 / max(1, parameter[0].numel()) ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * share)
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        if norms:
            model.train()(images_BCHW)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return model.eval()
