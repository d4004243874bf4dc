"""A network as a program of ``torch.export``: a graph of operators and its weights in one archive.

torch keeps the example images in the archive as a pickle and reads them, and tensors of special
types, with the full unpickler. So the example is left out, and an archive with a pickle in it is
neither written nor read.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from typing import TYPE_CHECKING

import torch

from zoo.errors import PluginError, RefusedError, in_words, printable
from zoo.network.modes import evaluation_mode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

__all__ = ["Pt2Exporter"]


class Pt2Exporter:
    """One archive that torch opens without the network's code: ``torch.export.load``."""

    suffix = ".pt2"

    def __call__(self, network: nn.Module, example_BCHW: Tensor, target: Path) -> None:
        """Writes the archive.

        Raises:
            PluginError: A decision in the network hangs on the images, or it holds what cannot be
                written without pickle.
        """
        # Two images: a batch of one would be taken for a batch that is always one.
        pair_BCHW = example_BCHW[[0, -1]]
        shapes = ({0: torch.export.Dim("batch")},)
        with (
            evaluation_mode(network),
            torch.inference_mode(mode=False),
            torch.no_grad(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            try:
                program = torch.export.export(
                    network, (pair_BCHW,), dynamic_shapes=shapes, strict=False
                )
            # Whatever the operator, the tracer or the network raised.
            except Exception as error:
                raise PluginError(
                    f"{printable(type(network).__name__)} cannot be exported by torch.export",
                    found=in_words(error, kind=False),
                ) from error
            program._example_inputs = None  # the public setter takes no "none"
            torch.export.save(program, target)
        if pickled := _pickled(target):
            target.unlink()
            raise PluginError(
                f"{printable(type(network).__name__)} cannot be exported without pickle",
                found=f"torch pickles {printable(pickled[0])}",
            )

    def load(self, target: Path) -> Callable[[Tensor], Tensor]:
        """Returns the program as a function.

        An archive is a program, and torch's reader evaluates the formulas of its shapes as Python:
        open those only that you would run.

        Raises:
            RefusedError: There is a pickle in the archive.
        """
        if pickled := _pickled(target):
            raise RefusedError(
                f"{printable(target)} has a pickle in it",
                found=printable(pickled[0]), hint="export it again with zoo export --to pt2",
            )  # fmt: skip
        module = torch.export.load(target).module()

        def forward(images_BCHW: Tensor) -> Tensor:
            with torch.inference_mode():
                logits_BK: Tensor = module(images_BCHW)
            return logits_BK

        return forward


def _pickled(archive: Path) -> list[str]:
    """Returns the members of an archive that torch would unpickle."""
    found = []
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            name = member.filename
            if "/sample_inputs/" in name and member.file_size:
                found.append(name)
            if name.endswith("_config.json"):
                table = json.loads(opened.read(member))["config"]
                found += [f"{name}: {key}" for key, meta in table.items() if meta["use_pickle"]]
    return found
