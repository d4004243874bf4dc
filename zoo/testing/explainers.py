"""What is required of an explainer.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.protocols import Explainer
from zoo.testing.requiring import Snapshot, equal_bits, generators_untouched, require
from zoo.testing.subject import NotApplicable, Subject

__all__ = ["CHECKS"]

_SIZES = ((28, 28), (24, 36))
_CLASSES = 5
_CLASS_BLIND = "class-blind"
"""The tag of explainers that say what the network looks at, whatever the class."""


class _Network(nn.Module):
    """Convolutions with maps of 7 x 7 places, a pool, a head."""

    zoo_head = "head"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(8, _CLASSES)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Returns logits_BK."""
        logits_BK: Tensor = self.head(self.features(images_BCHW).mean((2, 3)))
        return logits_BK


def _network(channels: int = 3) -> _Network:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(11)
        network = _Network(channels).eval()
        nn.init.normal_(network.head.weight, std=0.5)
    return network


def _images(num: int, channels: int = 3, size: tuple[int, int] = (28, 28)) -> Tensor:
    draw = torch.Generator().manual_seed(2)
    return torch.randn(num, channels, *size, generator=draw)


def _build(subject: Subject) -> Explainer:
    explainer: Explainer = subject.build(head="head")
    require(callable(explainer), f"it built a {type(explainer).__name__}, which cannot be called")
    return explainer


def heat_of_the_images_size(subject: Subject) -> None:
    """Heat is float32 (B, H, W), as large as the images, square or not, for 1 and 3 channels."""
    explain = _build(subject)
    for channels in (3, 1):
        for size in _SIZES:
            images_BCHW = _images(2, channels, size)
            heat = explain(_network(channels), images_BCHW, torch.tensor([0, 3]))
            if not isinstance(heat, Tensor):
                raise AssertionError(f"it returned a {type(heat).__name__}, no tensor")
            fits = heat.shape == (2, *size) and heat.dtype == torch.float32
            shown = f"{heat.dtype} {tuple(heat.shape)}"
            require(fits, f"for two images of {size} heat is {shown}, not float32 {(2, *size)}")


def heat_in_range(subject: Subject) -> None:
    """Heat is finite, within 0..1, and not the same everywhere."""
    heat = _build(subject)(_network(), _images(4), torch.tensor([0, 1, 2, 3]))
    require(bool(heat.isfinite().all()), "there is heat that is not finite")
    low, high = float(heat.min()), float(heat.max())
    require(low >= 0 and high <= 1, f"heat goes from {low} to {high}, and must be within 0..1")
    require(high - low > 1e-3, "heat is the same everywhere")


def depends_on_the_class(subject: Subject) -> None:
    """Another class has other heat; explainers for which it has not carry the tag class-blind."""
    if _CLASS_BLIND in subject.component.tags:
        raise NotApplicable(f"it carries the tag {_CLASS_BLIND}")
    explain, network, images_BCHW = _build(subject), _network(), _images(3)
    heat = [explain(network, images_BCHW, torch.full((3,), index)) for index in range(3)]
    differing = any(not torch.allclose(heat[0], other, atol=1e-4) for other in heat[1:])
    require(differing, "three classes have the same heat")


def depends_on_the_image(subject: Subject) -> None:
    """Another image has other heat."""
    heat = _build(subject)(_network(), _images(3), torch.tensor([1, 1, 1]))
    require(not torch.allclose(heat[0], heat[1], atol=1e-4), "two images have the same heat")


def deterministic(subject: Subject) -> None:
    """Asked twice it gives the same bits, and uses no global generator."""
    explain, network, images_BCHW = _build(subject), _network(), _images(2)
    classes_B = torch.tensor([0, 4])
    with generators_untouched("it"):
        first = explain(network, images_BCHW, classes_B)
    same = equal_bits(first, explain(network, images_BCHW, classes_B))
    require(same, "asked twice it gives other heat")


def images_are_independent(subject: Subject) -> None:
    """An image has the same heat alone as among others, to 1e-4."""
    explain, network, images_BCHW = _build(subject), _network(), _images(4)
    classes_B = torch.tensor([0, 2, 4, 1])
    together = explain(network, images_BCHW, classes_B)
    for index in range(4):
        rows = slice(index, index + 1)
        alone = explain(network, images_BCHW[rows], classes_B[rows])
        off = float((alone - together[rows]).abs().max())
        require(off <= 1e-4, f"alone an image's heat is off by {off:.2g} from that among others")


def leaves_the_network_alone(subject: Subject) -> None:
    """Weights, modes, gradients, hooks and images are as they were, also where it was frozen."""
    explain, network, images_BCHW = _build(subject), _network(), _images(2)
    network.features[0].train()
    for parameter in network.features[0].parameters():
        parameter.requires_grad_(False)
    network.head.weight.grad = torch.ones_like(network.head.weight)
    before, given = Snapshot(network), images_BCHW.clone()
    with torch.no_grad():  # as evaluation is
        explain(network, images_BCHW, torch.tensor([0, 1]))
    changed = before.differences()
    require(not changed, f"it changed {', '.join(changed)}")
    require(equal_bits(given, images_BCHW), "it wrote into the images")


CHECKS = (
    heat_of_the_images_size,
    heat_in_range,
    depends_on_the_class,
    depends_on_the_image,
    deterministic,
    images_are_independent,
    leaves_the_network_alone,
)
