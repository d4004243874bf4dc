"""Knowledge distillation: a student learns the softened answers of a teacher.

Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network".
Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.errors import UsageError, ZooError, printable
from zoo.network.freeze import digest
from zoo.protocols import Preprocessing

__all__ = ["Teacher", "class_columns", "distillation_loss", "multi_label_distillation_loss"]


def distillation_loss(
    student_BK: Tensor,
    teacher_BK: Tensor,
    *,
    temperature: float,
    sample_weight_B: Tensor | None = None,
) -> Tensor:
    """Returns ``T**2 * KL(softmax(teacher / T) || softmax(student / T))``, a scalar in float32.

    The factor keeps the size of the gradient when the temperature changes (section 2 there). At
    least 0, and 0 when both agree.

    Args:
        student_BK: Logits in any float type; they get the gradient.
        teacher_BK: Logits; they get none.
        temperature: Softens both; above 0, mostly 1 to 20.
        sample_weight_B: Weight of each sample. The mean is weighted by it.
    """
    student_BK = (student_BK.float() / temperature).log_softmax(1)
    teacher_BK = (teacher_BK.detach().float() / temperature).log_softmax(1)
    apart_BK = nn.functional.kl_div(student_BK, teacher_BK, reduction="none", log_target=True)
    return _mean(apart_BK.sum(1), sample_weight_B) * temperature**2


def multi_label_distillation_loss(
    student_BK: Tensor,
    teacher_BK: Tensor,
    *,
    temperature: float,
    sample_weight_B: Tensor | None = None,
) -> Tensor:
    """Returns the same where an image can have several labels: one yes-or-no question a class.

    The divergence of each class's two probabilities, summed over classes.
    """
    pairs = [
        torch.stack((logits, torch.zeros_like(logits)), dim=1).float() / temperature
        for logits in (student_BK, teacher_BK.detach())
    ]
    student_B2K, teacher_B2K = (pair.log_softmax(1) for pair in pairs)
    apart_B2K = nn.functional.kl_div(student_B2K, teacher_B2K, reduction="none", log_target=True)
    return _mean(apart_B2K.sum((1, 2)), sample_weight_B) * temperature**2


def _mean(values_B: Tensor, weight_B: Tensor | None) -> Tensor:
    if weight_B is None:
        return values_B.mean()
    total = weight_B.sum()
    # A batch in which nothing counts must become 0 and not NaN, and so must its gradient.
    return (values_B * weight_B).sum() / torch.where(total > 0, total, 1)


def class_columns(*, teacher: Sequence[str], student: Sequence[str]) -> tuple[int, ...]:
    """Returns the teacher's column for each class of the student.

    Args:
        teacher: Class names, position is column.
        student: Likewise.

    Raises:
        UsageError: The two do not have the same classes.
    """
    columns = {name: column for column, name in enumerate(teacher)}
    missing = [name for name in student if name not in columns]
    extra = sorted(set(teacher) - set(student))
    if missing or extra:
        parts = [
            f"{text} {', '.join(map(printable, names[:5]))}" + (", ..." if len(names) > 5 else "")
            for text, names in (("it lacks", missing), ("it alone has", extra))
            if names
        ]
        raise UsageError(
            f"the teacher knows {len(teacher)} classes, which are not the {len(student)} of the "
            "data",
            found="; ".join(parts), hint="--distill needs a run on the same classes",
        )  # fmt: skip
    return tuple(columns[name] for name in student)


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A trained network that gives its logits for the student's batches.

    Args:
        module: The network, in evaluation mode and without gradients.
        columns_K: Its column for each class of the student; None when the order is the same.
        image_size: Side of the images it was trained with, pixels.
        scale_1C11: What the student's normalised images are multiplied with for the teacher...
        shift_1C11: ... and what is added.
    """

    module: nn.Module
    columns_K: Tensor | None
    image_size: int
    scale_1C11: Tensor
    shift_1C11: Tensor

    @classmethod
    def of(
        cls,
        module: nn.Module,
        *,
        classes: Sequence[str],
        preprocessing: Preprocessing,
        channels: int,
        student_classes: Sequence[str],
        student_preprocessing: Preprocessing,
        student_channels: int,
        device: torch.device,
    ) -> Teacher:
        """Puts a network on the device as a teacher, for students of another preprocessing too.

        Args:
            module: The network, its weights loaded. It is changed: moved, frozen, in evaluation.
            classes: Its class names.
            preprocessing: What it was trained with.
            channels: Of its input.
            student_classes: Class names of the data, in the student's order.
            student_preprocessing: How the student's batches were normalised.
            student_channels: Of the student's input.
            device: Where the student computes.

        Raises:
            UsageError: Classes or channels differ; both problems together.
        """
        problems: list[ZooError] = []
        columns: tuple[int, ...] = ()
        try:
            columns = class_columns(teacher=classes, student=student_classes)
        except UsageError as error:
            problems.append(error)
        if channels != student_channels:
            problems.append(UsageError(
                f"the teacher takes images of {channels} channels, the student of "
                f"{student_channels}",
                hint=f"--channels {channels}",
            ))  # fmt: skip
        if problems:
            raise UsageError.together(problems)
        own_mean, own_std = _per_channel(preprocessing, channels, device)
        mean, std = _per_channel(student_preprocessing, channels, device)
        in_order = columns == tuple(range(len(columns)))
        return cls(
            module=module.to(device).eval().requires_grad_(False),
            columns_K=None if in_order else torch.tensor(columns, device=device),
            image_size=preprocessing.image_size,
            scale_1C11=std / own_std,
            shift_1C11=(mean - own_mean) / own_std,
        )

    @property
    def digest(self) -> str:
        """The SHA-256 of its weights."""
        return digest(self.module.state_dict())

    @torch.no_grad()
    def logits(self, images_BCHW: Tensor) -> Tensor:
        """Returns logits_BK in the student's class order.

        Draws no random number, so a run with a teacher resumes like one without.

        Args:
            images_BCHW: As the student gets them, augmented and normalised for it.
        """
        images_BCHW = torch.addcmul(self.shift_1C11, images_BCHW, self.scale_1C11)
        size = (self.image_size, self.image_size)
        if images_BCHW.shape[-2:] != size:
            images_BCHW = nn.functional.interpolate(
                images_BCHW, size, mode="bilinear", antialias=True, align_corners=False
            )
        logits_BK: Tensor = self.module(images_BCHW)
        return logits_BK if self.columns_K is None else logits_BK[:, self.columns_K]


def _per_channel(
    preprocessing: Preprocessing, channels: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Returns mean_1C11 and std_1C11; grey images take the mean of the colours."""
    mean, std = (
        values if len(values) == channels else (sum(values) / len(values),) * channels
        for values in (preprocessing.mean, preprocessing.std)
    )
    return (
        torch.tensor(mean, device=device).view(1, -1, 1, 1),
        torch.tensor(std, device=device).view(1, -1, 1, 1),
    )
