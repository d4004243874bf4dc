"""A small network that is right, for the tests of the kit to spoil, and how it becomes a model."""

from __future__ import annotations

from making import subject
from torch import nn
from torch.nn import functional as F

from zoo.protocols import Preprocessing


class Small(nn.Module):
    """A right network: convolution, batch norm, dropout, linear head. What is wrong overrides."""

    def __init__(self, num_classes, channels):
        super().__init__()
        self.convolution = nn.Conv2d(channels, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(4, num_classes)

    def features(self, images):
        return self.dropout(F.relu(self.norm(self.convolution(images))).mean((2, 3)))

    def forward(self, images):
        return self.head(self.features(images))


def factory(network, **methods):
    """A model factory whose signature is the protocol's, with its optional methods."""

    class Factory:
        def __call__(self, *, num_classes, channels, image_size):
            return network(num_classes, channels)

    for name, returned in methods.items():
        setattr(Factory, name, lambda self, returned=returned: returned)
    return Factory()


def model(network=Small, *, size=24, weights=None, **changed):
    preprocessing = Preprocessing(image_size=size, **changed)
    methods = {} if weights is None else {"weights": weights}
    return subject("model", factory(network, preprocessing=preprocessing, **methods))
