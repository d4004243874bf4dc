"""Optional built-in plugin ``hf``: the image classifiers of Hugging Face transformers.

``hf/auto:source=google/vit-base-patch16-224`` or ``hf/auto:source=./folder`` is what is in the
source: its configuration, its preprocessing and its weights (safetensors). A family's own name
(``hf/vit``) is that architecture with random weights, of the library's default configuration or a
small one. Nothing that a source holds is run: no pickle is read, no code of a repository imported.

What the library counts among its image classifiers and is not declared:

============ ====================================================================================
dinat        needs the package natten, which is compiled for one build of torch
imagegpt     reads clusters of colours as tokens, no images
perceiver    is three classes in one, which take one number of channels and one image size
shieldgemma2 is a language model that answers questions about an image
siglip2      reads patches with their mask and shape, no images
timm_wrapper is a model of timm, which the plugin ``timm`` has
============ ====================================================================================

The table is that of version 5.24.0, and of 5.20.2, the oldest that was run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.plugin import hookimpl
from zoo_transformers._catalogue import model_components

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zoo.plugin import Component

__all__ = ["zoo_components"]


@hookimpl
def zoo_components() -> Iterable[Component]:
    """Yields the models. Imports neither transformers nor torch."""
    yield from model_components()
