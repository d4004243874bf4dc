"""What is required of a model: a network as the engine builds, freezes, trains and stores it.

B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from zoo.errors import UsageError
from zoo.network.blocks import within
from zoo.network.freeze import set_modes, set_trainable
from zoo.network.head import head_input, proves_out
from zoo.network.loading import restore
from zoo.protocols import Preprocessing, Weights
from zoo.testing.networks import (
    CLASSES,
    asked,
    built,
    built_for,
    changed,
    head_of,
    logits,
    own_size,
    random_images,
    step,
    tensors,
)
from zoo.testing.portability import CHECKS as PORTABILITY
from zoo.testing.requiring import Snapshot, equal_bits, require, require_unseeded, seeded
from zoo.testing.subject import NotApplicable, Subject

__all__ = ["CHECKS"]

_SHARE_THAT_TRAINS = 0.9
_STATISTICS = nn.modules.batchnorm._NormBase
_DROPS = nn.modules.dropout._DropoutNd


# ---- what it takes and returns ----------------------------------------------------------------


def shapes(subject: Subject) -> None:
    """Images of several sizes, its own among them, become finite logits_BK in float32.

    A size that it does not take is refused by a UsageError when the network is built.
    """
    _, images_BCHW = built(subject)
    smallest = images_BCHW.shape[-1]
    taken = []
    for size in dict.fromkeys((smallest, smallest + 32, own_size(subject))):
        try:
            network = built_for(subject, size)
        except UsageError:
            continue
        _require_logits(network, random_images(2, size), f"images of {size} pixels")
        taken.append(size)
    require(
        own_size(subject) in taken,
        f"it refuses images of {own_size(subject)} pixels, the size of its own preprocessing",
    )


def channels(subject: Subject) -> None:
    """Images of three channels become logits, and those of one do or are refused by UsageError."""
    _, images_BCHW = built(subject)
    size = images_BCHW.shape[-1]
    for count in (3, 1):
        try:
            network = built_for(subject, size, channels=count)
        except UsageError:
            require(count != 3, "it refuses images of three channels")
            continue
        _require_logits(
            network, random_images(2, size, channels=count), f"images of {count} channels"
        )


def class_counts(subject: Subject) -> None:
    """It has as many logits as the data has classes: 2, 10 or 101."""
    _, images_BCHW = built(subject)
    for count in (2, 10, 101):
        network = built_for(subject, images_BCHW.shape[-1], num_classes=count)
        _require_logits(network, images_BCHW, f"{count} classes", num_classes=count)


def _require_logits(
    network: nn.Module, images_BCHW: torch.Tensor, what: str, *, num_classes: int = CLASSES
) -> None:
    expected = (len(images_BCHW), num_classes)
    found_BK = logits(network, images_BCHW)
    require(
        tuple(found_BK.shape) == expected,
        f"for {what} the network returns {tuple(found_BK.shape)}, not {expected}",
    )
    require(found_BK.dtype == torch.float32, f"for {what} the logits are {found_BK.dtype}")
    require(bool(found_BK.isfinite().all()), f"for {what} some logits are not finite")


def batch_of_one(subject: Subject) -> None:
    """An image gets the same logits alone as in a batch, when the network evaluates."""
    network, images_BCHW = built(subject, count=3)
    together_BK = logits(network, images_BCHW)
    for index in range(len(images_BCHW)):
        alone_BK = logits(network, images_BCHW[index : index + 1])
        require(
            tuple(alone_BK.shape) == (1, CLASSES),
            f"for one image the network returns {tuple(alone_BK.shape)}, not {(1, CLASSES)}",
        )
        apart = _apart(alone_BK, together_BK[index : index + 1])
        require(apart < 1e-3, f"alone, image {index} gets logits that differ by a share of {apart}")


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Returns the largest difference as a share of the largest value."""
    size = max(float(other.abs().max()), 1e-6)
    return float((one - other).abs().max()) / size


def images_left_alone(subject: Subject) -> None:
    """The images that it is given are not changed, whether it trains or evaluates."""
    network, images_BCHW = built(subject)
    for training in (False, True):
        given_BCHW = images_BCHW.clone()
        with seeded(2):
            logits(network.train(training), given_BCHW)
        require(
            torch.equal(given_BCHW, images_BCHW),
            "the network works in place on the images that it is given",
        )


# ---- its head, freezing -----------------------------------------------------------------------


def head_found(subject: Subject) -> None:
    """Its head is found, and nothing outside it depends on the number of classes."""
    network, images_BCHW = built(subject)
    head = head_of(network)
    other = built_for(subject, images_BCHW.shape[-1], num_classes=CLASSES + 4)
    shapes_of = {name: tensor.shape for name, tensor in tensors(other).items()}
    strays = [
        name
        for name, tensor in tensors(network).items()
        if not within(name, head) and shapes_of.get(name) != tensor.shape
    ]
    require(
        not strays,
        f"the head is {', '.join(head)}, but {', '.join(strays[:3])} change with the number of "
        "classes too: set zoo_head to the name of the module that holds them",
    )


def features_can_be_cached(subject: Subject) -> None:
    """What goes into its head is the same in any batch, so that it may be computed once.

    Where the head's output is not the network's, the engine trains without the cache.
    """
    network, images_BCHW = built(subject, count=4)
    head = head_of(network)
    if len(head) != 1:
        raise NotApplicable(f"it has {len(head)} heads, so the engine trains it without the cache")
    if not proves_out(network, head[0], images_BCHW):
        raise NotApplicable(
            f"{head[0]}(features) is not the network's output, so the engine trains it without "
            "the cache"
        )
    set_modes(network, head, hold_statistics=True)
    with torch.no_grad():
        together = head_input(network, head[0], images_BCHW)
        first, *rest = images_BCHW.flip(0)
        parts = [head_input(network, head[0], part) for part in (first[None], torch.stack(rest))]
    apart = _apart(torch.cat(parts).flip(0), together)
    require(
        apart < 1e-3,
        f"the features of an image depend on its batch: they differ by a share of {apart}",
    )


def freeze_holds(subject: Subject) -> None:
    """While the head alone trains, every tensor outside it keeps each bit."""
    network, images_BCHW = built(subject)
    head = head_of(network)
    set_trainable(network, head)
    set_modes(network, head, hold_statistics=True)
    before = tensors(network)
    for _ in range(2):
        step(network, images_BCHW)
    moved = [name for name in changed(before, tensors(network)) if not within(name, head)]
    require(
        not moved,
        f"{', '.join(moved[:3])} changed in the frozen part in two steps of the head: what "
        "changes in a pass must look at its own module's `training`",
    )


def head_only_step_changes_the_head(subject: Subject) -> None:
    """A step of the frozen phase has gradients for the head's parameters, all and alone."""
    network, images_BCHW = built(subject)
    head = head_of(network)
    set_trainable(network, head)
    set_modes(network, head, hold_statistics=True)
    before = tensors(network)
    step(network, images_BCHW, lr=1.0)
    inside = {name: p for name, p in network.named_parameters() if within(name, head)}
    require(bool(inside), f"the head {', '.join(head)} has no parameters")
    # Not whether they moved: next to features of a random network a step can be rounded away.
    idle = [name for name, p in inside.items() if p.grad is None or not p.grad.any()]
    require(
        not idle,
        f"{', '.join(idle[:3])} of the head get no gradient: it is not what makes the logits",
    )
    moved = set(changed(before, tensors(network))) & {n for n, _ in network.named_parameters()}
    strays = sorted(moved - inside.keys())
    require(not strays, f"a step of the head changed {', '.join(strays[:3])}")


def unfrozen_trains_everything(subject: Subject) -> None:
    """With all of it unfrozen, nine of ten parameters get a gradient, and all finite ones."""
    network, images_BCHW = built(subject)
    set_trainable(network, ("",))
    set_modes(network, ("",), hold_statistics=True)
    step(network, images_BCHW, lr=0.0)
    parameters = dict(network.named_parameters())
    without = [name for name, parameter in parameters.items() if parameter.grad is None]
    require(
        len(parameters) - len(without) >= _SHARE_THAT_TRAINS * len(parameters),
        f"{len(without)} of {len(parameters)} parameters get no gradient: {', '.join(without[:3])}",
    )
    wrong = [n for n, p in parameters.items() if p.grad is not None and not p.grad.isfinite().all()]
    require(not wrong, f"the gradients of {', '.join(wrong[:3])} are not finite")


# ---- its state and modes ----------------------------------------------------------------------


def state_dict_round_trips(subject: Subject) -> None:
    """Another network with the same state dict gives the same logits to the bit."""
    network, images_BCHW = built(subject)
    with seeded(4):
        logits(network.train(), images_BCHW)  # moves the running statistics
    network.eval()
    other = built_for(subject, images_BCHW.shape[-1], seed=9)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    restore(other, state)
    require(
        equal_bits(logits(network, images_BCHW), logits(other, images_BCHW)),
        "a network that was given the state dict of another returns other logits: something that "
        "matters is neither a parameter nor a persistent buffer",
    )


def weights_follow_the_seed(subject: Subject) -> None:
    """The same seed of torch makes the same random weights, and building it sets no seed."""
    _, images_BCHW = built(subject)
    size = images_BCHW.shape[-1]
    one, other = built_for(subject, size), built_for(subject, size)
    differing = changed(tensors(one), tensors(other))
    require(
        not differing,
        f"{', '.join(differing[:3])} differ though torch was seeded the same: draw them from "
        "torch's own generator",
    )
    require_unseeded(lambda: subject.build(num_classes=CLASSES, channels=3, image_size=size))


def evaluation_is_deterministic(subject: Subject) -> None:
    """In evaluation mode logits depend on the images alone, and the network stays as it was."""
    network, images_BCHW = built(subject)
    before = Snapshot(network)
    found = []
    for seed in (1, 2):
        with seeded(seed):
            found.append(logits(network, images_BCHW))
    require(
        equal_bits(*found),
        "in evaluation mode two passes give other logits: dropout, or whatever it is, must look "
        "at its module's `training`",
    )
    differences = before.differences()
    require(not differences, f"a pass in evaluation mode changed {', '.join(differences[:3])}")


def training_differs_as_it_should(subject: Subject) -> None:
    """In training mode only dropout, the like, and batch statistics make the logits differ."""
    network, images_BCHW = built(subject)
    evaluated_BK = logits(network, images_BCHW)
    for module in network.modules():
        module.training = not isinstance(module, (_STATISTICS, _DROPS))
    found = []
    for seed in (1, 2):
        with seeded(seed):
            found.append(logits(network, images_BCHW))
    if equal_bits(*found):  # else it has randomness of its own, and may differ
        apart = _apart(found[0], evaluated_BK)
        require(
            apart < 1e-3,
            "without dropout and batch statistics its logits in training mode differ from those "
            f"in evaluation mode by a share of {apart}: softmax belongs to the loss",
        )
    parameters = dict(network.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    network.train()
    with seeded(1):
        _require_logits(network, images_BCHW, "training mode")
    moved = changed(before, parameters)
    require(not moved, f"a pass in training mode changed the parameters {', '.join(moved[:3])}")


def preprocessing_is_whole(subject: Subject) -> None:
    """What it says of its preprocessing and its pretrained weights can be used."""
    told, weights = asked(subject, "preprocessing"), asked(subject, "weights")
    if told is None and weights is None:
        raise NotApplicable("the factory has neither weights() nor preprocessing()")
    offered = tuple(weights or ())
    for each in offered:
        require(isinstance(each, Weights), f"weights() has {type(each).__name__}, not Weights")
        require(
            any((each.package, each.url, each.hub)),
            f"the weights {each.name!r} have neither a package nor a url nor a hub",
        )
        digits = each.sha256
        require(
            digits is None or (len(digits) >= 8 and set(digits) <= set("0123456789abcdef")),
            f"sha256 of the weights {each.name!r} is {digits!r}, not 8 to 64 hex digits",
        )
    names = [each.name.lower() for each in offered]
    require(len(set(names)) == len(names), f"weights() names some twice: {', '.join(names)}")
    for record in (*((told,) if told is not None else ()), *(w.preprocessing for w in offered)):
        require(
            isinstance(record, Preprocessing),
            f"preprocessing() returns {type(record).__name__}, not Preprocessing",
        )
        numbers = (*record.mean, *record.std)
        require(
            len(record.mean) == len(record.std) > 0
            and all(map(math.isfinite, numbers))
            and min(record.std) > 0
            and record.image_size > 0
            and 0 < record.crop_fraction <= 1,
            f"the preprocessing {record} has a size, a fraction, a mean or a std that cannot be",
        )


CHECKS = (
    shapes,
    channels,
    class_counts,
    batch_of_one,
    images_left_alone,
    head_found,
    features_can_be_cached,
    freeze_holds,
    head_only_step_changes_the_head,
    unfrozen_trains_everything,
    state_dict_round_trips,
    weights_follow_the_seed,
    evaluation_is_deterministic,
    training_differs_as_it_should,
    preprocessing_is_whole,
    *PORTABILITY,
)
