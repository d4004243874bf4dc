"""The course networks: their published sizes, and any image size that leaves something."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import UsageError
from zoo.network.head import find_head, proves_out
from zoo_classics import networks

ALL = [networks.lenet, networks.cifar_quick, networks.mlp_mnist, networks.mlp_cifar]
by_name = pytest.mark.parametrize("build", ALL, ids=lambda build: build.name)


def num_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameter_counts_are_those_of_caffes_definitions():
    # Counted by hand from lenet_train_test.prototxt and cifar10_quick_train_test.prototxt.
    lenet = 20 * (25 + 1) + 50 * (20 * 25 + 1) + 500 * (50 * 16 + 1) + 10 * 501
    quick = 32 * (75 + 1) + 32 * (800 + 1) + 64 * (800 + 1) + 64 * (1024 + 1) + 10 * 65
    assert num_parameters(networks.lenet(num_classes=10, channels=1, image_size=28)) == lenet
    assert num_parameters(networks.cifar_quick(num_classes=10, channels=3, image_size=32)) == quick


def test_perceptrons_have_the_declared_widths():
    def widths(model):
        linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
        return [linear[0].in_features, *(m.out_features for m in linear)]

    mnist = networks.mlp_mnist(num_classes=10, channels=1, image_size=28)
    cifar = networks.mlp_cifar(num_classes=10, channels=3, image_size=32)
    assert widths(mnist) == [784, 256, 128, 10]
    assert widths(cifar) == [3072, 1024, 512, 256, 10]
    assert [m.p for m in cifar.modules() if isinstance(m, torch.nn.Dropout)] == [0.3] * 3
    assert sum(isinstance(m, torch.nn.BatchNorm1d) for m in mnist.modules()) == 2


@settings(max_examples=25)
@given(
    build=st.sampled_from(ALL),
    channels=st.integers(1, 4),
    image_size=st.integers(16, 70),
    num_classes=st.integers(1, 12),
)
def test_any_size_channels_and_classes(build, channels, image_size, num_classes):
    model = build(num_classes=num_classes, channels=channels, image_size=image_size)
    images_BCHW = torch.rand(2, channels, image_size, image_size)
    assert model(images_BCHW).shape == (2, num_classes)
    assert find_head(model, num_classes=num_classes) == ("head",)
    assert proves_out(model, "head", images_BCHW)


@pytest.mark.parametrize(("build", "least"), [(networks.lenet, 16), (networks.cifar_quick, 8)])
def test_images_that_are_too_small_are_refused_with_a_size_that_works(build, least):
    assert build(num_classes=2, channels=1, image_size=least) is not None
    with pytest.raises(
        UsageError, match=rf"{build.name} does not take images of {least - 1} x"
    ) as e:
        build(num_classes=2, channels=1, image_size=least - 1)
    works = int(e.value.hint.removeprefix("--img-size "))
    assert build(num_classes=2, channels=1, image_size=works) is not None


@by_name
def test_preprocessing_has_the_size_of_the_original(build):
    assert build.preprocessing().image_size == (28 if build.name in ("lenet", "mlp-mnist") else 32)
