"""What is required of a loss: a number that parts of a batch, weights and precision agree on.

Numbers are compared in float32: within 1e-5 of the size of the loss, gradients within 1e-4.

B batch, K classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import UsageError
from zoo.protocols import SoftmaxCost
from zoo.registry import load_target
from zoo.testing.requiring import equal_bits, generators_untouched, require
from zoo.testing.subject import NotApplicable, Subject

__all__ = ["CHECKS"]

_BATCH, _CLASSES = 12, 5
_HALVES = (torch.float16, torch.bfloat16)
_CLASS_WEIGHTS = (0.0, 1.0, 2.0, 1.0, 3.0)
_TOLERANCE = 1e-5
_HARD_LABELS = "hard labels"
"""The tag of losses that take class indices alone: a run that mixes images refuses them."""
_EXTREMES = (
    (torch.float32, 1e4), (torch.float16, 1e4), (torch.bfloat16, 1e4), (torch.float16, 6e4),
    (torch.float32, 1e30), (torch.bfloat16, 1e30), (torch.float32, 90.0), (torch.float16, 17.0),
    (torch.float32, 0.0),
)  # fmt: skip
"""Precisions, and sizes of logits in them. At 17 and 90 exp() ends in float16 and float32."""


def _built(
    subject: Subject, *, num_classes: int = _CLASSES, class_weight_K: Tensor | None = None
) -> Callable[..., Any]:
    loss: Any = subject.build(num_classes=num_classes, class_weight_K=class_weight_K)
    require(callable(loss), f"the factory returns {type(loss).__name__}, which cannot be called")
    found: Callable[..., Any] = loss
    return found


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    """Returns logits_BK, target_B with every class, and soft targets_BK."""
    generator = torch.Generator().manual_seed(1)
    logits_BK = 3 * torch.randn(_BATCH, _CLASSES, generator=generator)
    target_B = torch.arange(_BATCH) % _CLASSES
    soft_BK = torch.rand(_BATCH, _CLASSES, generator=generator).softmax(1)
    return logits_BK, target_B, soft_BK


def _takes_soft(loss: Callable[..., Any]) -> bool:
    """Whether the loss takes soft targets; one that does not says so by a UsageError."""
    logits_BK, _, soft_BK = _batch()
    try:
        loss(logits_BK, soft_BK)
    except UsageError:
        return False
    return True


def _targets(loss: Callable[..., Any]) -> Iterator[tuple[str, Tensor]]:
    """Yields what the loss takes as a target: class indices, and soft ones if it does."""
    _, target_B, soft_BK = _batch()
    yield "class indices", target_B
    if _takes_soft(loss):
        yield "soft targets", soft_BK


def _require_same(one: Tensor, other: Tensor, what: str, *, tolerance: float = _TOLERANCE) -> None:
    apart = float((one.double() - other.double()).abs().max())
    size = max(1.0, float(other.double().abs().max()))
    require(
        apart <= tolerance * size,
        f"{what}: {one.flatten()[:3].tolist()} and {other.flatten()[:3].tolist()}",
    )


# ---- what it returns --------------------------------------------------------------------------


def scalar_in_float32(subject: Subject) -> None:
    """The loss is a finite scalar in float32, for 2 classes and for 10, for one sample and more."""
    for num_classes, num_samples in ((2, 1), (10, 6)):
        loss = _built(subject, num_classes=num_classes)
        generator = torch.Generator().manual_seed(2)
        logits_BK = torch.randn(num_samples, num_classes, generator=generator)
        found = loss(logits_BK, torch.arange(num_samples) % num_classes)
        require(isinstance(found, Tensor), f"the loss is {type(found).__name__}, not a tensor")
        require(
            found.shape == () and found.dtype == torch.float32 and bool(found.isfinite()),
            f"the loss of {num_samples} samples and {num_classes} classes is {found.dtype} of "
            f"shape {tuple(found.shape)}, not one finite number in float32",
        )


def has_no_parameters(subject: Subject) -> None:
    """It has no parameters that want a gradient: no optimizer is given them, no file keeps them."""
    loss = _built(subject)
    own = loss.named_parameters() if isinstance(loss, nn.Module) else ()
    names = [name for name, parameter in own if parameter.requires_grad]
    require(not names, f"it has parameters: {', '.join(names)}; a head can have them, and trains")


def half_precision_logits(subject: Subject) -> None:
    """Logits in float16 and bfloat16 give the float32 loss of the same numbers, and gradients."""
    loss = _built(subject)
    logits_BK, _, _ = _batch()
    for what, target in _targets(loss):
        for dtype in _HALVES:
            half_BK = logits_BK.to(dtype).requires_grad_()
            found = loss(half_BK, target)
            require(found.dtype == torch.float32, f"of logits in {dtype} the loss is {found.dtype}")
            wide = loss(half_BK.detach().float(), target)
            _require_same(found, wide, f"{what}: the loss of logits in {dtype} and in float32")
            (gradient_BK,) = torch.autograd.grad(found, half_BK)
            require(bool(gradient_BK.isfinite().all()), f"a gradient in {dtype} is not finite")


def extreme_logits(subject: Subject) -> None:
    """Logits of 10,000, right or wrong, give a finite loss and finite gradients in any precision.

    So do those of 60,000 in float16 and of 1e30 in the others: a network that diverges gives them
    before it overflows.
    """
    loss = _built(subject)
    signs_BK = torch.cat((2 * torch.eye(_CLASSES) - 1, 1 - 2 * torch.eye(_CLASSES)))
    soft = _takes_soft(loss)
    for dtype, size in _EXTREMES:
        for label in range(_CLASSES):
            logits_BK = (size * signs_BK).to(dtype).requires_grad_()
            target_B = torch.full((len(signs_BK),), label)
            targets = [target_B]
            if soft:
                targets += [
                    F.one_hot(target_B, _CLASSES).float(),
                    torch.full_like(signs_BK, 1 / _CLASSES),
                ]
            for target in targets:
                found = loss(logits_BK, target)
                (gradient_BK,) = torch.autograd.grad(found, logits_BK)
                require(
                    bool(found.isfinite()) and bool(gradient_BK.isfinite().all()),
                    f"of logits of {size:g} in {dtype} the loss is {float(found)}, and "
                    f"{int((~gradient_BK.isfinite()).sum())} gradients are not finite",
                )


# ---- its mean and its weights -----------------------------------------------------------------


def mean_of_samples(subject: Subject) -> None:
    """The loss of a batch is the mean of its parts, by their samples or by what ``mass`` says.

    So a batch that is accumulated in parts has the gradient of the whole.
    """
    logits_BK, target_B, _ = _batch()
    weight_B = torch.linspace(0.5, 2.0, _BATCH)
    # Positive ones, as the engine has them: a part of weight 0 would have no mean to speak of.
    for class_weight_K in (None, torch.tensor(_CLASS_WEIGHTS) + 0.5):
        if class_weight_K is not None and not _takes_class_weights(subject):
            continue
        loss = _built(subject, class_weight_K=class_weight_K)
        for weights in (None, weight_B):
            whole, total, added = loss(logits_BK, target_B, weights), 0.0, 0.0
            start = 0
            for size in (1, 4, 7):
                part = slice(start, start + size)
                start += size
                part_weights = None if weights is None else weights[part]
                mass = _mass(loss, target_B[part], part_weights)
                added += mass * float(loss(logits_BK[part], target_B[part], part_weights))
                total += mass
            _require_same(
                torch.tensor(added / total), whole,
                "the mean over parts of 1, 4 and 7 samples and the loss of the batch"
                + (" with class weights" if class_weight_K is not None else "")
                + (" with sample weights" if weights is not None else ""),
            )  # fmt: skip


def _mass(loss: Callable[..., Any], target: Tensor, weight_B: Tensor | None) -> float:
    """Returns the divisor of the mean, as the engine takes it."""
    own = getattr(loss, "mass", None)
    if own is not None:
        return float(own(target, weight_B))
    return float(len(target)) if weight_B is None else float(weight_B.sum())


def sample_weights(subject: Subject) -> None:
    """Whole sample weights act as if each sample stood there that many times."""
    loss = _built(subject)
    logits_BK, _, _ = _batch()
    times_B = torch.tensor([0, 1, 2, 3] * 3)
    for what, target in _targets(loss):
        weighted = loss(logits_BK, target, times_B.float())
        many_BK, many = (each.repeat_interleave(times_B, 0) for each in (logits_BK, target))
        _require_same(
            weighted,
            loss(many_BK, many),
            f"{what}: the loss with weights and with repeated samples",
        )


def class_weights(subject: Subject) -> None:
    """Whole class weights act as if each sample of a class stood there that many times."""
    if not _takes_class_weights(subject):
        raise NotApplicable("it has no argument class_weight_K, so class weights do not reach it")
    logits_BK, target_B, _ = _batch()
    class_weight_K = torch.tensor(_CLASS_WEIGHTS)
    times_B = class_weight_K[target_B].long()
    weighted = _built(subject, class_weight_K=class_weight_K)(logits_BK, target_B)
    repeated = _built(subject)(
        logits_BK.repeat_interleave(times_B, 0), target_B.repeat_interleave(times_B)
    )
    _require_same(weighted, repeated, "the loss with class weights and with repeated samples")


def _takes_class_weights(subject: Subject) -> bool:
    return "class_weight_K" in inspect.signature(load_target(subject.entry)).parameters


def nothing_counted_costs_nothing(subject: Subject) -> None:
    """A batch whose sample weights are all zero has the loss 0 and gradients of 0."""
    loss = _built(subject)
    logits_BK, _, _ = _batch()
    for what, target in _targets(loss):
        given_BK = logits_BK.clone().requires_grad_()
        found = loss(given_BK, target, torch.zeros(_BATCH))
        (gradient_BK,) = torch.autograd.grad(found, given_BK)
        require(
            float(found) == 0 and not gradient_BK.any(),
            f"{what}: with weights of zero the loss is {float(found)}, and its greatest gradient "
            f"{float(gradient_BK.abs().max())}",
        )


def soft_targets(subject: Subject) -> None:
    """Soft targets that are one-hot cost what the class indices cost, and other ones are finite."""
    loss = _built(subject)
    if not _takes_soft(loss):
        require(
            _HARD_LABELS in subject.component.tags,
            "it refuses soft targets, and does not carry the tag 'hard labels': a run that mixes "
            "images would only find out at its first batch",
        )
        raise NotApplicable("it refuses soft targets by a UsageError")
    logits_BK, target_B, soft_BK = _batch()
    one_hot_BK = F.one_hot(target_B, _CLASSES).float()
    _require_same(
        loss(logits_BK, one_hot_BK), loss(logits_BK, target_B),
        "the loss of one-hot targets and of class indices",
    )  # fmt: skip
    require(bool(loss(logits_BK, soft_BK).isfinite()), "the loss of soft targets is not finite")


def costs_what_it_says(subject: Subject) -> None:
    """Where it has a ``cost``, class indices without weights cost the mean of that formula.

    zoo may compute the formula in its place. With weights of classes it has none.
    """
    loss = _built(subject)
    cost = getattr(loss, "cost", None)
    if cost is None:
        raise NotApplicable("it has no attribute cost")
    require(
        isinstance(cost, SoftmaxCost),
        f"its cost is {type(cost).__name__}, not a zoo.protocols.SoftmaxCost",
    )
    logits_BK, target_B, _ = _batch()
    log_p_BK = logits_BK.double().log_softmax(1)
    log_p_B = log_p_BK.gather(1, target_B[:, None])[:, 0]
    others_B = 1 - log_p_B.exp()
    formula_B = cost.alpha * others_B**cost.gamma * -log_p_B + cost.epsilon * others_B
    if cost.smoothing:
        formula_B += cost.smoothing * (log_p_B - log_p_BK.mean(1))
    _require_same(loss(logits_BK, target_B), formula_B.mean(), "the loss and the mean of its cost")
    if _takes_class_weights(subject):
        weighed = _built(subject, class_weight_K=torch.tensor(_CLASS_WEIGHTS))
        require(
            getattr(weighed, "cost", None) is None,
            "with weights of classes it still has a cost, which knows none",
        )


# ---- its gradient -----------------------------------------------------------------------------


def gradient_is_the_derivative(subject: Subject) -> None:
    """The gradient is what finite differences of the loss say, for logits in float64."""
    loss = _built(subject)
    logits_BK = _batch()[0].double()
    for what, target in _targets(loss):
        target = target.double() if target.is_floating_point() else target
        given_BK = logits_BK.clone().requires_grad_()
        found = loss(given_BK, target)
        (gradient_BK,) = torch.autograd.grad(found, given_BK)
        size = max(1.0, abs(float(found)))  # of what is rounded away
        _require_same(
            gradient_BK / size, _differences(loss, logits_BK, target) / size,
            f"{what}: the gradient and finite differences of the loss", tolerance=1e-4,
        )  # fmt: skip


def _differences(loss: Callable[..., Any], at_BK: Tensor, target: Tensor) -> Tensor:
    """Returns the gradient by central differences of fourth order.

    The loss comes in float32, with seven digits: steps of 0.03 keep what is rounded below 1e-5, and
    the fourth order what is left out.
    """
    step, found_BK = 0.03, torch.zeros_like(at_BK)
    for place in range(at_BK.numel()):
        values = []
        for steps in (-2, -1, 1, 2):
            moved_BK = at_BK.clone()
            moved_BK.view(-1)[place] += steps * step
            values.append(float(loss(moved_BK, target)))
        found_BK.view(-1)[place] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (
            12 * step
        )
    return found_BK


def descent_finds_the_class(subject: Subject) -> None:
    """Going down its gradient lowers it and ends with the right class first."""
    loss = _built(subject)
    logits_BK = torch.zeros(_CLASSES, _CLASSES, requires_grad=True)
    target_B = torch.arange(_CLASSES)
    first = float(loss(logits_BK, target_B))
    for _ in range(50):
        (gradient_BK,) = torch.autograd.grad(loss(logits_BK, target_B), logits_BK)
        with torch.no_grad():
            logits_BK -= 2.0 * gradient_BK
    last = float(loss(logits_BK, target_B))
    require(last < first, f"after 50 steps of descent the loss is {last}, and was {first}")
    require(
        torch.equal(logits_BK.argmax(1), target_B),
        f"descent ends with the classes {logits_BK.argmax(1).tolist()} first",
    )


# ---- what it is -------------------------------------------------------------------------------


def equals_the_reference(subject: Subject) -> None:
    """The loss is what the author's independent reference says, on hard and on soft targets."""
    reference = subject.example.reference
    if reference is None:
        raise NotApplicable("no Example gives a reference")
    loss = _built(subject)
    logits_BK, _, _ = _batch()
    for what, target in _targets(loss):
        expected = torch.as_tensor(reference(logits_BK.clone(), target.clone()))
        _require_same(loss(logits_BK, target), expected, f"{what}: the loss and its reference")


def inputs_left_alone(subject: Subject) -> None:
    """It changes neither what it is given nor a global generator, and twice says the same."""
    loss = _built(subject)
    logits_BK, _, _ = _batch()
    weight_B = torch.linspace(0.5, 2.0, _BATCH)
    for what, target in _targets(loss):
        given = (logits_BK.clone(), target.clone(), weight_B.clone())
        with generators_untouched("the loss"):
            first = loss(*given)
            second = loss(*given)
        require(
            all(map(torch.equal, given, (logits_BK, target, weight_B))),
            f"{what}: the loss changes logits, target or weights in place",
        )
        require(
            equal_bits(first, second),
            f"{what}: the same batch costs {float(first)}, then {float(second)}",
        )


CHECKS = (
    scalar_in_float32,
    has_no_parameters,
    half_precision_logits,
    extreme_logits,
    mean_of_samples,
    sample_weights,
    class_weights,
    nothing_counted_costs_nothing,
    soft_targets,
    costs_what_it_says,
    gradient_is_the_derivative,
    descent_finds_the_class,
    equals_the_reference,
    inputs_left_alone,
)
