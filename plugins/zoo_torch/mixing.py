"""Transforms that mix each image with a partner: pure functions, then the classes that draw.

The share of the own image is drawn for each sample from Beta(alpha, alpha) and not folded to the
upper half: a sample may be mostly its partner. The engine picks the partners and mixes the targets
in the share that is returned.

B batch, C channels, H height, W width. Images are float32 in 0..1, all randomness comes in as
uniform numbers. :mod:`zoo_torch.drawing` says why a sample comes out alike in every batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo_torch.beta import SymmetricBeta
from zoo_torch.drawing import inside, per_image

__all__ = ["Cutmix", "Mixup", "MixupOrCutmix", "blended", "pasted"]


def blended(images_BCHW: Tensor, partners_BCHW: Tensor, share_B: Tensor) -> Tensor:
    """Returns ``share images + (1 - share) partners``. A share of 1 leaves an image as it is."""
    share_B111 = per_image(share_B)
    return images_BCHW * share_B111 + partners_BCHW * (1 - share_B111)


def pasted(
    images_BCHW: Tensor, partners_BCHW: Tensor, share_B: Tensor, down_B: Tensor, right_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns (images_BCHW, share_B): a box of the partner in each image, and what is left.

    Args:
        images_BCHW: The images.
        partners_BCHW: Where the boxes come from, from the same place.
        share_B: The share that is asked for. The box has the image's shape and the area
            ``(1 - share) H W``, before what lies outside the image is cut off. 1 leaves an image
            as it is.
        down_B: Centre of the box as a share of the height.
        right_B: Centre of the box as a share of the width.
    """
    height, width = images_BCHW.shape[2:]
    side_B = (1 - share_B).sqrt()
    inside_BH = inside(height, (down_B - side_B / 2) * height, side_B * height)
    inside_BW = inside(width, (right_B - side_B / 2) * width, side_B * width)
    mask_B1HW = (inside_BH[:, :, None] & inside_BW[:, None, :])[:, None]
    taken_B = (inside_BH.sum(1) * inside_BW.sum(1)).to(images_BCHW)
    left_B = (height * width - taken_B) / (height * width)
    return torch.where(mask_B1HW, partners_BCHW, images_BCHW), left_B


# ---- the classes that components name ---------------------------------------------------------


class Mixup:
    """Blends a share ``p`` of the images with their partners.

    Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization".
    """

    def __init__(self, *, alpha: float = 0.2, p: float = 1.0) -> None:
        self.num_random = 2
        self.p = p
        self._beta = SymmetricBeta(alpha)

    def mix(
        self, images_BCHW: Tensor, partners_BCHW: Tensor, random_BN: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns (images_BCHW, share_B): the blends and the share of the own image, 0..1."""
        share_B = _shares(self._beta, random_BN[:, 1], images_BCHW)
        share_B = torch.where(random_BN[:, 0] < self.p, share_B, 1.0)
        return blended(images_BCHW, partners_BCHW, share_B), share_B


class Cutmix:
    """Pastes a box of the partner into a share ``p`` of the images.

    The box's centre is uniform over the image, and the share is counted from the pixels that were
    left, so it is exact where the box was cut off at an edge.

    Source: Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with
    Localizable Features".
    """

    def __init__(self, *, alpha: float = 1.0, p: float = 1.0) -> None:
        self.num_random = 4
        self.p = p
        self._beta = SymmetricBeta(alpha)

    def mix(
        self, images_BCHW: Tensor, partners_BCHW: Tensor, random_BN: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns (images_BCHW, share_B): the images and the share of own pixels, 0..1."""
        share_B = _shares(self._beta, random_BN[:, 1], images_BCHW)
        share_B = torch.where(random_BN[:, 0] < self.p, share_B, 1.0)
        random_BN = random_BN.to(images_BCHW)
        return pasted(images_BCHW, partners_BCHW, share_B, random_BN[:, 2], random_BN[:, 3])


class MixupOrCutmix:
    """Treats a share ``p`` of the images with mixup or cutmix, each for half of them.

    timm chooses for each batch; here each sample has its own choice.
    """

    def __init__(
        self, *, mixup_alpha: float = 0.2, cutmix_alpha: float = 1.0, p: float = 1.0
    ) -> None:
        self.num_random = 5
        self.p = p
        self._mixup, self._cutmix = SymmetricBeta(mixup_alpha), SymmetricBeta(cutmix_alpha)

    def mix(
        self, images_BCHW: Tensor, partners_BCHW: Tensor, random_BN: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns (images_BCHW, share_B): the images and the share of the own image, 0..1."""
        chosen_B, blends_B = random_BN[:, 0] < self.p, random_BN[:, 1] < 0.5
        # Both are applied, each with a share of 1, which changes nothing, where it is not chosen.
        blend_B = _shares(self._mixup, random_BN[:, 2], images_BCHW)
        blend_B = torch.where(chosen_B & blends_B, blend_B, 1.0)
        paste_B = _shares(self._cutmix, random_BN[:, 2], images_BCHW)
        paste_B = torch.where(chosen_B & ~blends_B, paste_B, 1.0)
        random_BN = random_BN.to(images_BCHW)
        images_BCHW = blended(images_BCHW, partners_BCHW, blend_B)
        images_BCHW, left_B = pasted(
            images_BCHW, partners_BCHW, paste_B, random_BN[:, 3], random_BN[:, 4]
        )
        return images_BCHW, blend_B * left_B


def _shares(beta: SymmetricBeta, random_B: Tensor, like: Tensor) -> Tensor:
    """Returns share_B in the images' type. In float64 on the CPU: not every device has it."""
    return torch.from_numpy(beta.quantile(random_B.detach().cpu().double().numpy())).to(like)
