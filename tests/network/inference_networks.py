"""Networks to run on inference engines, and what they should give."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torchvision
from torch import nn

from zoo.network.inference import engine_missing
from zoo_classics import networks as classics


def needs(engine: str) -> pytest.MarkDecorator:
    missing = ", ".join(engine_missing(engine))
    return pytest.mark.skipif(bool(missing), reason=f"{engine} needs {missing}")


needs_onnx, needs_openvino = needs("onnx"), needs("openvino")
RUNTIMES = [pytest.param(engine, marks=needs(engine)) for engine in ("onnx", "openvino")]
REAL = ["folded", *RUNTIMES]


def images(number: int, size: int = 32) -> torch.Tensor:
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(3))


NETWORKS = {
    "mobilenetv3": lambda: timm.create_model("mobilenetv3_small_050", num_classes=5),
    "lite0": lambda: timm.create_model("tf_efficientnet_lite0", num_classes=5),
    "resnet18": lambda: timm.create_model("resnet18", num_classes=5),
    "convnext": lambda: timm.create_model("convnext_atto", num_classes=5),
    "torchvision": lambda: torchvision.models.mobilenet_v3_small(num_classes=5),
    "cifar-quick": lambda: classics.cifar_quick(num_classes=5, channels=3, image_size=32),
    "mlp": lambda: classics.mlp_cifar(num_classes=5, channels=3, image_size=32),
}
VIT = {
    "vit": lambda: timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32, depth=1)
}


def trained(create) -> nn.Module:
    """Returns a network that stands in the middle of training, with the statistics of images."""
    torch.manual_seed(0)
    model = create().train()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
                module.momentum = 1.0
        model(images(16))
    return model


def plain(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Returns the outputs in double precision."""
    with torch.no_grad():
        return copy.deepcopy(model).double().eval()(x.double()).float()


def same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())
