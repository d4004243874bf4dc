"""Trained networks that are asked together: views of an image, several runs, one answer.

Probabilities are averaged, over the views of an image and over networks. One network that sees one
view gives its logits as they are.

Shapes: B batch, C channels, S side, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.data.pixels.normalise import as_floats, normalise_
from zoo.data.reading.scan import listed
from zoo.errors import NonFiniteError, UsageError, printable
from zoo.evaluation.predict.pictures import BATCH, Geometry
from zoo.evaluation.predict.views import Views, make_views
from zoo.network.inference import Forward, fast_forward

if TYPE_CHECKING:
    from zoo.evaluation.trained import Trained
    from zoo.registry import Registry

__all__ = ["Predictor", "has_numbers", "probabilities_of", "refuse_non_finite"]


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One network of several.

    Args:
        trained: The network.
        views: What it is shown of an image.
        square: Which of the squares they are taken from.
        order_K: Where each class of the answer is among its own; None if in the same order.
        forward: Its forward pass, chosen at the first batch.
    """

    trained: Trained
    views: Views
    square: int
    order_K: Tensor | None
    forward: Forward | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Predictor:
    """One or more trained networks that give one answer.

    Args:
        classes: Class names, position is index: those of the first network.
        multi_label: Whether an image can have any number of labels.
        geometries: The squares that they need of an image.
        members: The networks.
        engine: ``auto``, ``torch``, ``folded``, ``onnx`` or ``openvino``.
        num_images: How many images are going to be asked about.
        noted: Told which engine was chosen, and why.
    """

    classes: tuple[str, ...]
    multi_label: bool
    geometries: tuple[Geometry, ...]
    members: Sequence[Member]
    engine: str
    num_images: int
    noted: Callable[[str], None] = field(default=lambda line: None)

    @classmethod
    def of(
        cls,
        trained: Sequence[Trained],
        *,
        registry: Registry | None = None,
        tta: str | None = None,
        tta_views: int | None = None,
        engine: str = "auto",
        num_images: int = 1,
        noted: Callable[[str], None] = lambda line: None,
    ) -> Predictor:
        """Returns a predictor of these networks.

        Args:
            trained: At least one.
            registry: Where ``tta`` may find a transform; by default all that are installed.
            tta: Test-time augmentation, see :mod:`zoo.evaluation.predict.views`.
            tta_views: How many views, where that is a transform.
            engine: How networks are computed.
            num_images: How many images are going to be asked about: what an engine has to repay.
            noted: Told which engine was chosen, and why.

        Raises:
            UsageError: They do not have the same classes, or there is no such view.
        """
        first, geometries, members = trained[0], list[Geometry](), list[Member]()
        for one in trained:
            order_K = _order(first, one)
            views = make_views(one.preprocessing, tta=tta, draws=tta_views, registry=registry)
            geometry = Geometry.of(views.preprocessing, one.channels)
            if geometry not in geometries:
                geometries.append(geometry)
            members.append(
                Member(trained=one, views=views, square=geometries.index(geometry), order_K=order_K)
            )
        return cls(
            classes=first.classes, multi_label=first.multi_label, geometries=tuple(geometries),
            members=members, engine=engine, num_images=num_images, noted=noted,
        )  # fmt: skip

    @property
    def engine_name(self) -> str:
        """How the networks are computed, as records keep it; empty before the first batch."""
        chosen = [m.forward for m in self.members if m.forward is not None]
        return ", ".join(dict.fromkeys(f"{one.name} ({one.version})" for one in chosen))

    def close(self) -> None:
        """Frees what engines hold. The next question chooses them anew."""
        for member in self.members:
            if member.forward is not None:
                member.forward.close()
            member.forward = None

    def logits(self, squares: Sequence[Tensor]) -> Tensor:
        """Returns logits_BK, float32 on the CPU.

        Of several views or networks: the logarithm of the mean probability, or its logit where an
        image can have several labels.

        Args:
            squares: Uint8 (B, C, S, S) for each of ``geometries``.
        """
        with torch.inference_mode():
            floats = [as_floats(square) for square in squares]
            if len(self.members) == 1 and len(self.members[0].views) == 1:
                (member,) = self.members
                return self._shown(member, floats[0]).clone()
            means = [self._mean(member, floats[member.square]) for member in self.members]
            mean_BK = torch.stack(means).mean(0)
            if self.multi_label:
                return mean_BK.logit(eps=1e-15).float()
            return mean_BK.clamp_min(1e-300).log().float()

    def _mean(self, member: Member, floats_BCLL: Tensor) -> Tensor:
        """Returns a network's mean probability over its views, float64, classes of the answer."""
        total_BK: Tensor | None = None
        for view in member.views.views:
            images_BCSS = view(floats_BCLL).clone(memory_format=torch.channels_last)
            logits_BK = self._shown(member, images_BCSS).double()
            answer_BK = probabilities_of(logits_BK, multi_label=self.multi_label)
            total_BK = answer_BK if total_BK is None else total_BK + answer_BK
        assert total_BK is not None
        mean_BK = total_BK / len(member.views)
        return mean_BK if member.order_K is None else mean_BK[:, member.order_K]

    def _shown(self, member: Member, images_BCSS: Tensor) -> Tensor:
        """Returns a network's logits of images in 0..1, which are changed in place."""
        trained = member.trained
        normalise_(images_BCSS, trained.preprocessing.mean, trained.preprocessing.std)
        if member.forward is None:
            member.forward = self._forward(member, images_BCSS)
        return member.forward(images_BCSS).float().cpu()

    def _forward(self, member: Member, example_BCSS: Tensor) -> Forward:
        """Returns the fastest way to compute a network that gives what it gives."""
        asked = self.num_images * len(member.views)
        # For one batch no engine is tried: trying takes a batch or two.
        engine = "torch" if self.engine == "auto" and asked <= BATCH else self.engine
        return fast_forward(
            member.trained.model, example=example_BCSS, num_images=asked, engine=engine,
            noted=self.noted,
        )  # fmt: skip


def probabilities_of(logits_BK: Tensor, *, multi_label: bool) -> Tensor:
    """Returns probabilities_BK; rows sum to one unless an image can have several labels."""
    return logits_BK.sigmoid() if multi_label else logits_BK.softmax(1)


def has_numbers(probabilities_NK: Tensor) -> Tensor:
    """Returns bool_N: whether all of an image's probabilities are numbers.

    They are NaN where a network divides by what is zero in an image, as the deviation of one of a
    single colour is.
    """
    return probabilities_NK.isfinite().all(1)


def refuse_non_finite(probabilities_NK: Tensor, name: Callable[[int], str]) -> None:
    """Refuses answers that are NaN, which would be taken for the first class.

    Args:
        probabilities_NK: What a network says about images.
        name: Returns what the image of a row is called.

    Raises:
        NonFiniteError: There are such answers. The message names the first image.
    """
    rows = (~has_numbers(probabilities_NK)).nonzero().flatten().tolist()
    if rows:
        raise NonFiniteError(
            f"the network gives NaN for {len(rows):,} of {len(probabilities_NK):,} images",
            found=f"the first is {printable(name(rows[0]))}",
            hint="zoo predict names them all; leave them out",
        )


def _order(first: Trained, other: Trained) -> Tensor | None:
    """Returns where each class of the first network is in another one; None where in its place.

    Raises:
        UsageError: They have other classes, or one gives several labels and the other one.
    """
    if first.multi_label != other.multi_label:
        raise UsageError(
            f"{printable(first.path)} and {printable(other.path)} cannot answer together",
            found="an image has one label in one of them, several in the other",
        )
    if first.classes == other.classes:
        return None
    if set(first.classes) != set(other.classes):
        only = [
            f"only {printable(one.path)} has {listed(lacking, most=5)}"
            for one, two in ((first, other), (other, first))
            if (lacking := [name for name in one.classes if name not in two.classes])
        ]
        raise UsageError(
            f"{printable(first.path)} and {printable(other.path)} have other classes",
            found="; ".join(only), hint="runs that answer together know the same classes",
        )  # fmt: skip
    place = {name: index for index, name in enumerate(other.classes)}
    return torch.tensor([place[name] for name in first.classes])
