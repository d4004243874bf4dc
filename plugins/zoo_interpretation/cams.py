"""Class activation maps of the package ``grad-cam``, at a layer that zoo finds.

Of the libraries with such maps, captum is the lighter one and has a single method of the family;
``grad-cam`` has all of them. Its 1.5.7 is the first that comes with OpenCV without a window system.

Shapes: B batch, C channels, H W the image's height and width, h w the layer's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import PluginError
from zoo_interpretation.layers import Place, find_place, untouched

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Cam", "cam"]

_BATCH = 16
# Images, or masked copies of one, that go through the network at once.


def cam(*, method: str, layer: str | None, head: str) -> Cam:
    """Returns an explainer.

    Args:
        method: A class of ``pytorch_grad_cam``.
        layer: Name of the module to explain at; None takes the last with height and width.
        head: Name of the network's head module.

    Raises:
        PluginError: The package is not installed.
    """
    try:
        import pytorch_grad_cam
    except ImportError as error:
        raise PluginError(
            "heat maps need the package grad-cam, which cannot be imported",
            found=f"{type(error).__name__}: {error}",
            hint="pip install 'classifier-zoo[interpret]'",
        ) from None
    return Cam(method=getattr(pytorch_grad_cam, method), layer=layer, head=head)


class Cam:
    """Heat maps by one method.

    Args:
        method: The library's class.
        layer: Name of the module to explain at, or None.
        head: Name of the network's head module.
    """

    def __init__(self, *, method: Callable[..., Any], layer: str | None, head: str) -> None:
        self._method, self._layer, self._head = method, layer, head

    def __call__(self, model: nn.Module, images_BCHW: Tensor, classes_B: Tensor) -> Tensor:
        """Returns heat_BHW, float32 in 0..1, as large as the images. See the protocol.

        Raises:
            UsageError: The network has no layer with height and width.
        """
        if not len(images_BCHW):
            return torch.zeros(0, *images_BCHW.shape[2:])
        with untouched(model):
            images_BCHW = images_BCHW.detach().clone()
            place = find_place(model, images_BCHW[:1], head=self._head, layer=self._layer)
            heat = [
                self._heat(model, place, images_BCHW[rows], classes_B[rows])
                for first in range(0, len(images_BCHW), _BATCH)
                for rows in (slice(first, first + _BATCH),)
            ]
            return torch.cat(heat)

    def _heat(
        self, model: nn.Module, place: Place, images_BCHW: Tensor, classes_B: Tensor
    ) -> Tensor:
        target = model.get_submodule(place.layer)
        # Before the library's hooks: the gradient need not go further down than this layer.
        first = target.register_forward_hook(lambda _, __, output: output.detach().requires_grad_())
        library = self._method(model, [target], reshape_transform=place.as_map)
        # And after them: what comes next may work in place, on what the library has kept.
        last = target.register_forward_hook(lambda _, __, output: output.clone())
        if self._method.__name__ == "ScoreCAM":
            library.get_cam_weights = partial(_score_weights, library)
        elif self._method.__name__ == "EigenCAM":
            library.get_cam_image = partial(_first_component, gradient=False)
        elif self._method.__name__ == "EigenGradCAM":
            library.get_cam_image = partial(_first_component, gradient=True)
        try:
            targets = [_Logit(int(index)) for index in classes_B]
            heat_BHW: NDArray[np.float32] = library(images_BCHW, targets)
        finally:
            library.activations_and_grads.release()
            first.remove()
            last.remove()
        return torch.from_numpy(heat_BHW)


class _Logit:
    """What is explained: the logit of one class."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __call__(self, logits_K: Tensor) -> Tensor:
        return logits_K[self._index]


def _score_weights(
    library: Any, images_BCHW: Tensor, target_layer: nn.Module, targets: Sequence[_Logit],
    activations_BChw: NDArray[np.float32], grads: object,
) -> NDArray[np.float32]:  # fmt: skip
    """Returns Score-CAM's weights_BC: softmax of the logits of the image seen through each channel.

    The library's numbers. Its own loop holds a masked image for every channel, 1.2 GB for one
    image of a ResNet-50, and draws a bar for each.
    """
    library.activations_and_grads.release()  # or it keeps the activations of every masked image
    weights = []
    with torch.no_grad():
        for image_CHW, target, activations_Chw in zip(
            images_BCHW, targets, torch.from_numpy(activations_BChw), strict=True
        ):
            scores = []
            for part_1Mhw in torch.split(activations_Chw.unsqueeze(0), _BATCH, dim=1):
                masks_MHW = functional.interpolate(
                    part_1Mhw, image_CHW.shape[-2:], mode="bilinear", align_corners=True
                )[0]
                low_M11, high_M11 = masks_MHW.amin((1, 2), True), masks_MHW.amax((1, 2), True)
                masks_M1HW = ((masks_MHW - low_M11) / (high_M11 - low_M11 + 1e-8)).unsqueeze(1)
                scores += [target(logits_K) for logits_K in library.model(image_CHW * masks_M1HW)]
            weights.append(torch.stack(scores).softmax(0))
    return torch.stack(weights).numpy()


def _first_component(
    images_BCHW: Tensor, target_layer: nn.Module, targets: object,
    activations_BChw: NDArray[np.float32], grads_BChw: NDArray[np.float32], eigen_smooth: bool,
    *, gradient: bool,
) -> NDArray[np.float32]:  # fmt: skip
    """Returns Eigen-CAM's heat_Bhw with its larger side positive.

    A principal component has no sign: which of the two a linear algebra package returns is chance,
    and the other one is the heat map's negative.
    """
    from pytorch_grad_cam.utils import svd_on_activations

    maps_BChw = grads_BChw * activations_BChw if gradient else activations_BChw
    heat_Bhw: NDArray[np.float32] = svd_on_activations.get_2d_projection_with_sign_correction(
        maps_BChw
    )
    return heat_Bhw
