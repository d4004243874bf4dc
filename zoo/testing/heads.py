"""What is required of a head: a module that takes the place of a network's own.

B batch, F features, K classes.
"""

from __future__ import annotations

import io
import pickle
import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import in_words
from zoo.network.head import zero_head
from zoo.testing.networks import CLASSES, logits, tensors
from zoo.testing.requiring import Snapshot, equal_bits, require, require_unseeded, seeded
from zoo.testing.subject import NotApplicable, Subject
from zoo.testing.unpickler import other_process

__all__ = ["CHECKS"]

_FEATURES = 24
_STEPS = 80


def _built(
    subject: Subject, *, num_features: int = _FEATURES, num_classes: int = CLASSES, seed: int = 0
) -> nn.Module:
    """Returns the head with random weights, in evaluation mode."""
    with seeded(seed):
        head = subject.build(num_features=num_features, num_classes=num_classes)
    require(
        isinstance(head, nn.Module),
        f"the factory returns {type(head).__name__}, not a torch.nn.Module",
    )
    made: nn.Module = head.eval()
    return made


def _features(count: int = 8, num_features: int = _FEATURES, *, seed: int = 1) -> Tensor:
    """Returns features_BF as backbones give them: of any sign, of other sizes, none about zero."""
    draw = torch.Generator().manual_seed(seed)
    sizes_F = torch.rand(num_features, generator=draw) * 2
    return torch.randn(count, num_features, generator=draw) * sizes_F + 0.5


def _started(subject: Subject) -> nn.Module:
    """Returns the head in training mode as the engine starts it: its last linear layer is zero."""
    network = nn.Sequential(_built(subject).train())
    zero_head(network, head=("0",), num_classes=CLASSES)
    return network[0]


def _step(head: nn.Module, features_BF: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """Trains the head by a step, and returns the loss before it."""
    optimizer.zero_grad()
    with seeded(5):
        found_BK = head(features_BF)
    loss = F.cross_entropy(found_BK.float(), torch.arange(len(features_BF)) % CLASSES)
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.detach()


# ---- what it takes and returns ----------------------------------------------------------------


def shapes(subject: Subject) -> None:
    """Rows of 16, 64 or 1,280 features become finite logits_BK in float32, for 2 to 101 classes."""
    for num_features, num_classes in ((16, 2), (64, 10), (1280, 101)):
        head = _built(subject, num_features=num_features, num_classes=num_classes)
        for training in (False, True):
            with seeded(2):
                found_BK = logits(head.train(training), _features(4, num_features))
            what = f"for 4 rows of {num_features} features and {num_classes} classes the head"
            shape, expected = tuple(found_BK.shape), (4, num_classes)
            require(shape == expected, f"{what} returns {shape}, not {expected}")
            require(found_BK.dtype == torch.float32, f"{what} returns {found_BK.dtype}")
            require(bool(found_BK.isfinite().all()), f"{what} returns values that are not finite")


def batch_of_one(subject: Subject) -> None:
    """A row gets the same logits alone as in a batch, when the head evaluates."""
    head, features_BF = _built(subject), _features()
    together_BK = logits(head, features_BF)
    for row in range(len(features_BF)):
        alone_K = logits(head, features_BF[row : row + 1]).reshape(-1)
        require(
            alone_K.shape == together_BK[row].shape
            and torch.allclose(alone_K, together_BK[row], rtol=1e-3, atol=1e-4),
            f"alone, row {row} gets other logits than among others",
        )


def features_left_alone(subject: Subject) -> None:
    """The features that it is given are not changed: kept ones come again in the next epoch."""
    head, features_BF = _built(subject), _features()
    for training in (False, True):
        given_BF = features_BF.clone()
        with seeded(2):
            logits(head.train(training), given_BF)
        require(
            torch.equal(given_BF, features_BF), "the head works in place on what it is given"
        )  # fmt: skip


def large_and_dead_features(subject: Subject) -> None:
    """Features that are all zero, and ones of 10,000, have finite logits and gradients."""
    for what, features_BF in (("0", torch.zeros(4, _FEATURES)), ("10,000", 1e4 * _features(4))):
        head, given_BF = _built(subject).train(), features_BF.requires_grad_()
        with seeded(2):
            found_BK = head(given_BF.clone())
        torch.autograd.backward(found_BK.sum())
        gradients = [given_BF.grad, *(parameter.grad for parameter in head.parameters())]
        finite = all(bool(grad.isfinite().all()) for grad in gradients if grad is not None)
        require(
            bool(found_BK.isfinite().all()) and finite,
            f"with features about {what} logits or gradients are not finite",
        )


# ---- how it trains ----------------------------------------------------------------------------


def gradients_reach_every_parameter(subject: Subject) -> None:
    """Started as the engine does, with its last linear layer at zero, all of it trains.

    What lies before a layer that is zero gets a gradient from the second step on.
    """
    head = _started(subject)
    named = dict(head.named_parameters())
    require(bool(named), "it has no parameters, so there is nothing to train")
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    for seed in range(4):
        _step(head, _features(28, seed=seed), optimizer)
    still = [name for name, one in named.items() if torch.equal(one, before[name])]
    require(
        not still,
        f"{', '.join(still[:3])} did not change in 4 steps: it is not used, or what stands behind "
        "it started at zero and is no last layer (zoo_last = None)",
    )


def learns(subject: Subject) -> None:
    """In 80 steps it learns to tell classes apart that a line tells apart."""
    centres_KF = 2.0 * _features(CLASSES, seed=3)
    head = _started(subject)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.02, weight_decay=0.0)
    for seed in range(_STEPS):
        _step(head, centres_KF.repeat(4, 1) + 0.2 * _features(4 * CLASSES, seed=seed), optimizer)
    held_out = centres_KF.repeat(4, 1) + 0.2 * _features(4 * CLASSES, seed=_STEPS)
    found_B = logits(head.eval(), held_out).argmax(1)
    share = float((found_B == torch.arange(4 * CLASSES) % CLASSES).float().mean())
    require(share > 0.9, f"after {_STEPS} steps it is right for {share:.0%} of easy rows")


def evaluation_is_deterministic(subject: Subject) -> None:
    """In evaluation mode logits depend on the features alone, and the head stays as it was."""
    head, features_BF = _built(subject), _features()
    before = Snapshot(head)
    found = []
    for seed in (1, 2):
        with seeded(seed):
            found.append(logits(head, features_BF))
    require(
        equal_bits(*found),
        "in evaluation mode two passes give other logits: what is random must look at `training`",
    )
    differences = before.differences()
    require(not differences, f"a pass in evaluation mode changed {', '.join(differences[:3])}")


def weights_follow_the_seed(subject: Subject) -> None:
    """The same seed of torch makes the same random weights, and building it sets no seed."""
    one, other = tensors(_built(subject)), tensors(_built(subject))
    differing = [name for name, tensor in one.items() if not equal_bits(tensor, other[name])]
    require(
        not differing,
        f"{', '.join(differing[:3])} differ though torch was seeded the same: draw them from "
        "torch's own generator",
    )
    require_unseeded(lambda: subject.build(num_features=_FEATURES, num_classes=CLASSES))


# ---- away from where it was made --------------------------------------------------------------


def state_dict_round_trips(subject: Subject) -> None:
    """A head with the same state dict gives the same logits to the bit."""
    head, features_BF = _started(subject), _features()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    _step(head, features_BF, optimizer)  # moves running statistics
    other = _built(subject, seed=9)
    other.load_state_dict({name: tensor.clone() for name, tensor in head.state_dict().items()})
    require(
        equal_bits(logits(head.eval(), features_BF), logits(other, features_BF)),
        "a head that was given the state dict of another returns other logits: something that "
        "matters is neither a parameter nor a persistent buffer",
    )


def bfloat16_is_finite(subject: Subject) -> None:
    """Under autocast to bfloat16, on features in bfloat16 too, its logits are finite."""
    _require_finite(subject, torch.bfloat16)


def float16_is_finite(subject: Subject) -> None:
    """Under autocast to float16, on features in float16 too, its logits are finite."""
    _require_finite(subject, torch.float16)


def _require_finite(subject: Subject, dtype: torch.dtype) -> None:
    head, features_BF = _built(subject), _features()
    for given_BF in (features_BF, features_BF.to(dtype)):
        try:
            with torch.autocast("cpu", dtype=dtype):
                found_BK = logits(head, given_BF)
        except RuntimeError as error:
            if "not implemented for" in str(error):  # an operator of torch, on this processor
                raise NotApplicable(f"torch {torch.__version__} on the CPU: {error}") from None
            raise
        require(
            bool(found_BK.isfinite().all()),
            f"in {dtype}, on features in {given_BF.dtype}, some logits are not finite",
        )


def picklable_under_spawn(subject: Subject) -> None:
    """Pickled here and read in a process that was spawned, it gives the same logits."""
    head, features_BF = _built(subject), _features()
    content = io.BytesIO()
    try:
        pickle.dump(head, content)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(
            f"the head cannot be pickled: {error}. A lambda or a local function or class in it "
            "has no name that another process could find"
        ) from error
    told = other_process(tuple(sys.path)).logits(content.getvalue(), features_BF.tolist())
    if isinstance(told, str):
        raise AssertionError(f"in a process that was spawned the head fails: {told}")
    require(
        torch.allclose(torch.tensor(told), logits(head, features_BF), rtol=1e-3, atol=1e-4),
        "in a process that was spawned the head gives other logits",
    )


def exports_with_torch(subject: Subject) -> None:
    """torch.export takes it, for batches of any size, and what it makes gives the same logits."""
    head, features_BF = _built(subject), _features()
    batch = torch.export.Dim("batch")
    try:
        program = torch.export.export(
            head, (features_BF,), dynamic_shapes=({0: batch},), strict=False
        )
    except Exception as error:  # exporters raise whatever the operator or the head raised
        raise AssertionError(f"torch.export cannot express it: {in_words(error)}") from error
    exported = program.module()
    for rows in (features_BF, features_BF[:1]):
        require(
            torch.allclose(logits(exported, rows), logits(head, rows), rtol=1e-3, atol=1e-4),
            f"what torch.export makes of it gives other logits for a batch of {len(rows)}",
        )


CHECKS = (
    shapes,
    batch_of_one,
    features_left_alone,
    large_and_dead_features,
    gradients_reach_every_parameter,
    learns,
    evaluation_is_deterministic,
    weights_follow_the_seed,
    state_dict_round_trips,
    bfloat16_is_finite,
    float16_is_finite,
    picklable_under_spawn,
    exports_with_torch,
)
