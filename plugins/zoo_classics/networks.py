"""The small networks of beginners' courses, for any channels, image size and number of classes.

B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from zoo.network.probe import build_for_size
from zoo.protocols import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Classic", "Network", "cifar_quick", "lenet", "mlp_cifar", "mlp_mnist"]


class Network(nn.Module):
    """Features, then a linear head: images_BCHW to logits_BK."""

    zoo_head = "head"

    def __init__(self, features: nn.Sequential, *, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(num_features, num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Returns logits_BK."""
        logits_BK: Tensor = self.head(self.features(images_BCHW))
        return logits_BK


def _lenet(channels: int, image_size: int, num_classes: int) -> Network:
    """LeNet as Caffe trains it on MNIST: LeCun 1998 with 20 and 50 filters and max pooling."""
    side = ((image_size - 4) // 2 - 4) // 2  # two 5x5 convolutions without padding, halved twice
    _positive(side, image_size)
    features = nn.Sequential(
        nn.Conv2d(channels, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * side * side, 500),
        nn.ReLU(),
    )
    return Network(features, num_features=500, num_classes=num_classes)


def _cifar_quick(channels: int, image_size: int, num_classes: int) -> Network:
    """Caffe's cifar10_quick: three 5x5 convolutions, each pooled 3x3 with stride 2."""
    side = image_size
    for _ in range(3):
        side = side // 2  # rounded up after 3x3/2 without padding: (side - 3) / 2 + 1
    _positive(side, image_size)
    features = nn.Sequential(
        nn.Conv2d(channels, 32, 5, padding=2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.ReLU(),
        nn.Conv2d(32, 32, 5, padding=2),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(64 * side * side, 64),
    )
    return Network(features, num_features=64, num_classes=num_classes)


def _perceptron(
    widths: Sequence[int],
    channels: int,
    image_size: int,
    num_classes: int,
    *,
    batch_norm: bool,
    dropout: float,
) -> Network:
    """A perceptron on the pixels: linear, batch norm, ReLU, dropout for each hidden layer."""
    width = channels * image_size * image_size
    layers: list[nn.Module] = [nn.Flatten()]
    for hidden in widths:
        layers.append(nn.Linear(width, hidden))
        if batch_norm:
            layers.append(nn.BatchNorm1d(hidden))
        layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = hidden
    return Network(nn.Sequential(*layers), num_features=width, num_classes=num_classes)


def _positive(side: int, image_size: int) -> None:
    if side < 1:
        raise ValueError(f"nothing is left of {image_size} pixels after the last pooling")


@dataclass(frozen=True, slots=True, kw_only=True)
class Classic:
    """A model factory for one of these networks.

    Args:
        name: As users know it.
        own_size: The image size it was designed for, pixels.
        hidden: Widths of a perceptron's hidden layers; empty for the convolutional ones.
        dropout: Share of hidden units dropped while a perceptron trains.
    """

    name: str
    own_size: int
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0

    def __call__(
        self,
        *,
        num_classes: int,
        channels: int,
        image_size: int,
        hidden: Sequence[int] | None = None,
        batch_norm: bool = True,
        dropout: float | None = None,
    ) -> nn.Module:
        """Returns the network with random weights.

        Args:
            num_classes: A fact of the run.
            channels: A fact of the run.
            image_size: A fact of the run, pixels.
            hidden: Of a perceptron: widths of its hidden layers, none for its own.
            batch_norm: Of a perceptron: whether each hidden layer is normalised.
            dropout: Of a perceptron: share of hidden units dropped, none for its own.

        Raises:
            UsageError: The images are too small for its layers.
        """

        def create(size: int) -> nn.Module:
            if self.hidden:
                return _perceptron(
                    self.hidden if hidden is None else hidden, channels, size, num_classes,
                    batch_norm=batch_norm, dropout=self.dropout if dropout is None else dropout,
                )  # fmt: skip
            network = _lenet if self.name == "lenet" else _cifar_quick
            return network(channels, size, num_classes)

        return build_for_size(
            create,
            name=self.name,
            num_classes=num_classes,
            channels=channels,
            image_size=image_size,
            own_size=self.own_size,
        )

    def preprocessing(self) -> Preprocessing:
        """Returns the size that it was designed for, with pixels in -1..1."""
        return Preprocessing(image_size=self.own_size)


lenet = Classic(name="lenet", own_size=28)
cifar_quick = Classic(name="cifar-quick", own_size=32)
mlp_mnist = Classic(name="mlp-mnist", own_size=28, hidden=(256, 128))
mlp_cifar = Classic(name="mlp-cifar", own_size=32, hidden=(1024, 512, 256), dropout=0.3)
