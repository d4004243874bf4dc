"""Component kinds that make a network and train it, and the records that pass to and from them.

Tensor names end in their shape: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor, nn

__all__ = [
    "EVENTS",
    "BatchTransform",
    "Callback",
    "CallbackFactory",
    "DataSet",
    "DataSetFactory",
    "Fit",
    "HeadFactory",
    "Images",
    "Interpolation",
    "MixTransform",
    "ModelFactory",
    "OnBad",
    "OptimizerFactory",
    "PixelImages",
    "Preprocessing",
    "ReactiveSchedule",
    "Schedule",
    "SourcedImages",
    "Split",
    "Weights",
]


Fit: TypeAlias = Literal["crop", "pad", "squash"]
Interpolation: TypeAlias = Literal["nearest", "bilinear", "bicubic"]
OnBad: TypeAlias = Literal["fail", "skip"]

# ---- model ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an image becomes the tensor that a network expects. Comes with the weights.

    Args:
        image_size: Side of the square input, pixels.
        mean: Per channel, of pixel values in 0..1.
        std: Per channel, of pixel values in 0..1.
        interpolation: How images are resized.
        crop_fraction: The shorter side is resized to ``image_size / crop_fraction`` and the
            centre is cut out. Only with ``fit="crop"``.
        fit: How an image that is not square becomes one. ``crop`` cuts out the centre, ``pad``
            keeps the whole image and adds borders of the mean colour, ``squash`` distorts it.
    """

    image_size: int = 224
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: Interpolation = "bilinear"
    crop_fraction: float = 1.0
    fit: Fit = "crop"

    @classmethod
    def from_mapping(cls, table: Mapping[str, Any]) -> Preprocessing:
        """Returns what :func:`dataclasses.asdict` and JSON made of a record."""
        plain: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in table.items()
        }
        return cls(**plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Pretrained weights that a model knows of, as data. Where the file is, and what comes with it.

    The first place that has the file is taken: an installed package, then the caches of torch and
    of the Hugging Face hub, then a download.

    Args:
        name: As ``--weights NAME`` says it.
        path: The file itself, where the user named the folder that it is in.
        package: ``(distribution, file within it)`` of a package that ships the file.
        url: Where it can be downloaded.
        hub: ``(repository, file, revision)`` on the Hugging Face hub.
        sha256: Start of the file's digest (at least 8 hex digits), checked after a download.
        license: SPDX name or the origin's own words.
        num_classes: Classes of the head in the file.
        preprocessing: What the weights were trained with.
        convert: ``package.module:function`` that turns the file's state dict into the model's:
            ``(state, model) -> state``.
    """

    name: str
    path: str | None = None
    package: tuple[str, str] | None = None
    url: str | None = None
    hub: tuple[str, str, str | None] | None = None
    sha256: str | None = None
    license: str = ""
    num_classes: int = 1000
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    convert: str | None = None


class ModelFactory(Protocol):
    """Builds a network with random weights.

    Facts: ``num_classes``, ``channels``, ``image_size`` (pixels).

    The network maps images_BCHW (float32) to logits_BK. Its head is found from a ``zoo_head``
    attribute (the name of a submodule), else from timm's ``pretrained_cfg``, else it is the last
    linear layer with ``num_classes`` outputs.

    A factory may also have these two, each called with the component's preset and arguments as far
    as the signature names them:

    - ``weights() -> Sequence[Weights]``: pretrained weights, the default first;
    - ``preprocessing() -> Preprocessing``: what fits the architecture when no weights are loaded.
    """

    def __call__(self, *, num_classes: int, channels: int, image_size: int) -> nn.Module: ...


class HeadFactory(Protocol):
    """Builds what takes the place of a network's own head, with random weights.

    Facts: ``num_features``, ``num_classes``.

    The module maps features_BF, what the network gives to its own head, to logits_BK. It leaves the
    features as they are: they may be kept ones, and come again in the next epoch. It trains in
    every phase, at the head's learning rate; its batch norms count in all of them.

    Where it ends with a linear layer with ``num_classes`` outputs, that layer starts at zero. The
    module's ``zoo_last`` says otherwise: the name of another layer, or None for no such start.
    """

    def __call__(self, *, num_features: int, num_classes: int) -> nn.Module: ...


# ---- optimizer, scheduler ---------------------------------------------------------------------


class OptimizerFactory(Protocol):
    """Builds an optimizer.

    Facts: ``params`` (groups, each with its own lr and weight decay), ``lr``, ``weight_decay``.
    """

    def __call__(
        self, params: Iterable[Mapping[str, object]], *, lr: float, weight_decay: float
    ) -> torch.optim.Optimizer: ...


class Schedule(Protocol):
    """The learning rate as a share of its base, as a function of time.

    A factory of schedules is called with the facts ``epochs`` (of the schedule's scope) and ``lr``
    (the base learning rate). A plain function is a schedule.
    """

    def __call__(self, epoch: float) -> float:
        """Returns the factor at ``epoch``: 0.0 at the start, 1.5 half-way through the second."""
        ...


@runtime_checkable
class ReactiveSchedule(Protocol):
    """A schedule that also reacts to the monitored metric at the end of each epoch."""

    def __call__(self, epoch: float) -> float: ...

    def observe(self, score: float) -> None:
        """Takes note of the monitored metric. Greater is better, whatever the metric."""
        ...

    def state_dict(self) -> dict[str, object]: ...

    def load_state_dict(self, state: Mapping[str, object]) -> None: ...


# ---- data -------------------------------------------------------------------------------------


class Images(Protocol):
    """The images of one split, decoded one at a time."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Image:
        """Returns the image as RGB with its orientation applied.

        Raises:
            DataError: The file is not a readable image. The message names it.
        """
        ...

    def name(self, index: int) -> str:
        """Returns what a person calls this image: its path below the data folder."""
        ...


@runtime_checkable
class SourcedImages(Protocol):
    """Images that also say where their encoded content is.

    With that the pipeline can decode large JPEGs at a fraction of their size, and keep on disk what
    it decoded from files.
    """

    def source(self, index: int) -> Path | bytes | None:
        """Returns the file or the content that ``read`` decodes; None where ``read`` has to."""
        ...


@runtime_checkable
class PixelImages(Protocol):
    """Images of one size that are already decoded. Spares the decoder."""

    pixels: NDArray[np.uint8]
    """Shape (N, H, W) grey or (N, H, W, 3) RGB."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One part of a data set.

    Args:
        images: The images, in a fixed order.
        labels_N: Index into the data set's classes for each image, int64. With ``targets_NK`` the
            class of the greatest share; of several whole labels the first.
        targets_NK: Share of each class, float32 in 0..1: rows sum to one, or hold a 1 for every
            label of the image where the data set is ``multi_label``. None: one label each.
        weights_N: How much each image counts in the training loss, float32, not negative. None:
            1 each.
        groups_N: What must stay together when the split is divided again, int64: the person or
            the animal on the photo. None: every image is by itself.
    """

    images: Images
    labels_N: NDArray[np.int64]
    targets_NK: NDArray[np.float32] | None = None
    weights_N: NDArray[np.float32] | None = None
    groups_N: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """What a dataset component returns. Class indices come from the training split.

    Args:
        name: As the user named it.
        classes: Class names, position is index.
        splits: At least ``train`` and ``val``; ``test`` where there is one.
        fingerprint: Hex digest that changes when an image, a label or the split changes.
        typical_side: Median of the shorter sides, pixels; None when it is not known.
        multi_label: Whether an image can have any number of labels.
        bad: Images that were left out because they cannot be read, name to reason.
        notes: What was noticed on the way and the user should know, a line each.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    fingerprint: str
    typical_side: int | None = None
    multi_label: bool = False
    bad: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


class DataSetFactory(Protocol):
    """Reads a data set.

    Facts: ``seed`` and ``split`` (shares) for data that is not split already; ``on_bad``, ``fail``
    or ``skip``: images that cannot be read are an error that names all, or left out and listed in
    :attr:`DataSet.bad`; ``unsplit``, if given: divide nothing, the split of what has none.
    """

    def __call__(self) -> DataSet: ...


class BatchTransform(Protocol):
    """Augments a batch on its device. Built by transform components.

    Randomness is counted: all of it comes from ``random_BN``, uniform numbers in [0, 1) that are a
    function of (seed, epoch, sample), so results do not depend on batching or on resuming.
    """

    num_random: int
    """How many uniform numbers each sample needs (N)."""

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the augmented images, float32 in 0..1, same shape."""
        ...


@runtime_checkable
class MixTransform(Protocol):
    """Mixes each image of a batch with a partner from the same batch.

    Built by transform components, and told from a :class:`BatchTransform` by its method ``mix``.
    Targets are mixed by the engine, in the share that ``mix`` returns.
    """

    num_random: int
    """How many uniform numbers each sample needs (N)."""

    def mix(
        self, images_BCHW: Tensor, partners_BCHW: Tensor, random_BN: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns (images_BCHW, share_B): the mixed images and the share of the own image, 0..1."""
        ...


# ---- callback ---------------------------------------------------------------------------------

EVENTS: Mapping[str, str] = MappingProxyType(
    {
        "run_started": "job, path, *, resumed_epoch",
        "resumed": "rows",
        "preparing": "what, done, total",
        "phase_started": "phase, *, trainable, total, cached",
        "sampled": "phase, sample, *, epoch",
        "step_ended": "phase, *, epoch, step, num_steps, loss",
        "step_measured": "*, steps_done, lr, loss",
        "epoch_ended": "row",
        "weights_shown": "weights, *, epoch",
        "noted": "text",
        "run_ended": "result",
        "closed": "error",
    }
)
"""What a callback can listen to, and how it is called: those after the star by name."""


class Callback(Protocol):
    """Listens to a run: an object with any of the methods of ``zoo.engine.events.Observer``.

    It is told of what it has a method for, in the main process only, and cannot change the run.
    The events and their arguments are those of :data:`EVENTS`, and never change: what is new comes
    as a new event.

    One that raises is named in a note, is told nothing more, and the run goes on. A component
    that declares the param ``essential`` lets the user say that the run stops instead.
    """


class CallbackFactory(Protocol):
    """Builds a callback. Facts: ``run_path``, the run folder, a path that exists.

    What it opens and whom it connects to waits for ``run_started``: that has a guard around it.
    """

    def __call__(self) -> Callback: ...
