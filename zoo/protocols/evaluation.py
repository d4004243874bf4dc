"""Component kinds around the training: metrics, interpretation, exports, recipes, commands.

Tensor names end in their shape: N samples, B batch, C channels, H height, W width, K classes,
D features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = [
    "Command",
    "Explainer",
    "ExplainerFactory",
    "Exporter",
    "ExporterFactory",
    "Metric",
    "MetricFactory",
    "Projector",
    "ProjectorFactory",
    "RecipeFactory",
    "Reviewer",
    "ReviewerFactory",
]


class Metric(Protocol):
    """A number for how good predictions are: a pure function of all of them at once.

    Two things are optional, for bootstrap intervals. ``reweighted(probabilities_NK, target)``
    returns the function from weights_NR (how often each image counts in each resample) to
    values_R; without it the metric is computed again for each resample, and for fewer of them.
    ``biased = True`` says that it is a distance which any noise makes greater.
    """

    greater_is_better: bool
    """Whether the greater of two values is the better one."""

    def __call__(self, probabilities_NK: Tensor, target: Tensor) -> Tensor:
        """Returns a scalar, or one number for each class (K); NaN where it is not defined.

        Args:
            probabilities_NK: Float32 in 0..1; rows sum to one unless an image can have several
                labels.
            target: Class indices_N (int64), or targets_NK of 0 and 1 where it can.
        """
        ...


class MetricFactory(Protocol):
    """Builds a metric. Facts: ``num_classes``, ``multi_label``."""

    def __call__(self) -> Metric: ...


class Explainer(Protocol):
    """Says which parts of an image speak for a class. Grad-CAM and its relatives."""

    def __call__(self, model: nn.Module, images_BCHW: Tensor, classes_B: Tensor) -> Tensor:
        """Returns heat_BHW, float32 in 0..1, as large as the images.

        Args:
            model: A trained network in evaluation mode, on the CPU. It is left as it was.
            images_BCHW: Normalised, as the network takes them.
            classes_B: The class that each image is explained for, int64.
        """
        ...


class ExplainerFactory(Protocol):
    """Builds an explainer. Facts: ``head``, the name of the network's head module."""

    def __call__(self) -> Explainer: ...


class Projector(Protocol):
    """Places embeddings on a plane, to be looked at."""

    def __call__(self, embeddings_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns points_N2."""
        ...


class ProjectorFactory(Protocol):
    """Builds a projector. Facts: ``seed``."""

    def __call__(self) -> Projector: ...


class Reviewer(Protocol):
    """Finds images whose label may be wrong."""

    def __call__(
        self, probabilities_NK: NDArray[np.float32], labels_N: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Returns suspicion_N in 0..1: 0 for no candidate, greater for one to look at sooner.

        Args:
            probabilities_NK: Of a classifier that did not train on these images, best of all.
            labels_N: What the data says they are.
        """
        ...


class ReviewerFactory(Protocol):
    """Builds a reviewer. No facts."""

    def __call__(self) -> Reviewer: ...


class Exporter(Protocol):
    """Writes a trained network in another format, and reads it back to prove that it is the same.

    A network that it cannot write ends in a ``PluginError`` that says why; packages that it needs
    are declared by the component's ``requires``. Where a format names inputs and outputs they are
    ``images`` and ``outputs``.
    """

    suffix: str
    """The ending of the file that is written, such as ``.onnx``; empty for a folder."""

    def __call__(self, network: nn.Module, example_BCHW: Tensor, target: Path) -> None:
        """Writes the network, from normalised images to logits, for batches of any size.

        Args:
            network: In evaluation mode, on the CPU. It is left as it was.
            example_BCHW: Normalised images, float32, two at least, of the size that the file takes.
            target: The file or folder. It does not exist; the folder that it lies in does. Nothing
                else is written.
        """
        ...

    def load(self, target: Path) -> Callable[[Tensor], Tensor]:
        """Opens what was written and returns its function from images_BCHW to logits_BK.

        It reads ``target`` alone, without running code from it, and leaves the images as they are.
        """
        ...


class ExporterFactory(Protocol):
    """Builds an exporter.

    Facts: ``classes``, their names, position is index; ``preprocessing``, how images become what
    the network takes; ``rebuild``, a function that returns the network with random weights, for
    formats that hold weights and no network.
    """

    def __call__(self) -> Exporter: ...


class Command(Protocol):
    """A command of the command line: the target is a ``click.Command`` itself, and no factory.

    ``click.command`` makes one of a function, ``click.group`` one with commands below it. No facts,
    and the component has neither params nor a preset: a command declares its own options.

    It is called as ``zoo NAME`` and imported only then, so the line in ``zoo --help`` is the
    component's summary. What it returns is the exit code, None for 0; a ``ZooError`` ends it with
    that error's message and code.
    """

    name: str | None
    """Its own name. The component's counts."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        *,
        standalone_mode: bool = True,
    ) -> object:
        """Runs it with these arguments."""
        ...


class RecipeFactory(Protocol):
    """Returns options of a run and their values, as config.toml has them. No facts.

    The value None leaves an option open. ``needs`` lists options that only the user can say. Where
    runs go (``runs``, ``name``, ``resume``) is not for a recipe. A mapping will do as a target.
    """

    def __call__(self) -> Mapping[str, object]: ...
