"""Assembly: from a configuration to a job, all found, built and checked before the first batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from zoo.config.compatibility import check_data, check_options
from zoo.config.defaults import default_image_size, settle
from zoo.data.folder import read_folder
from zoo.data.randomness import Stream, key
from zoo.data.store import Store
from zoo.engine.phases import Phase, freeze_then_finetune
from zoo.errors import PluginError, UsageError, ZooError, printable
from zoo.network.head import find_head, proves_out, zero_head
from zoo.network.weights import Chosen, LoadReport, load, resolve
from zoo.protocols import DataSet, Preprocessing
from zoo.registry import Choice, Registry, build, parse_choice, parse_choices
from zoo.registry.loading import call, load_target

if TYPE_CHECKING:
    from torch import nn

    from zoo.config import RunConfig
    from zoo.protocols import BatchTransform, Loss, Schedule, Weights

__all__ = ["Choices", "Job", "assemble", "choose", "offered_weights", "preprocessing_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The components that a configuration names. ``data`` is None when it names a folder."""

    model: Choice
    loss: Choice
    optimizer: Choice
    scheduler: Choice
    transforms: tuple[Choice, ...]
    data: Choice | None

    def described(self) -> dict[str, dict[str, str]]:
        """Returns full spec and package of each component, as runs store them."""
        named = {
            "model": self.model, "loss": self.loss, "optimizer": self.optimizer,
            "scheduler": self.scheduler, "data": self.data,
            **{f"transform-{i}": choice for i, choice in enumerate(self.transforms)},
        }  # fmt: skip
        return {
            key: {"spec": choice.spec, "package": choice.entry.origin}
            for key, choice in named.items()
            if choice is not None
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that a run needs, built and checked.

    Args:
        config: The configuration with every open option decided.
        choices: The components it names.
        data: The data set.
        preprocessing: How images become the network's input.
        model: The network, weights loaded, on the CPU.
        head: Names of the head's modules.
        cacheable: Whether ``head(features(x)) == model(x)`` was proved.
        taken: Which weights were taken, and why.
        loaded: How the weights fitted; None with random weights.
        loss: The training loss.
        class_weight_K: Its class weights, None when all are equal.
        schedules: One schedule for the run, or one for each phase.
        transforms: The augmentation.
        phases: The plan.
        notes: What the user should know.
    """

    config: RunConfig
    choices: Choices
    data: DataSet
    preprocessing: Preprocessing
    model: nn.Module
    head: tuple[str, ...]
    cacheable: bool
    taken: Chosen
    loaded: LoadReport | None
    loss: Loss
    class_weight_K: torch.Tensor | None
    schedules: tuple[Schedule, ...]
    transforms: tuple[BatchTransform, ...]
    phases: tuple[Phase, ...]
    notes: tuple[str, ...]

    def store(self, split: str, *, progress: Any = lambda done, total: None) -> Store:
        """Opens the images of a split at the network's input size."""
        return Store.open(
            self.data.splits[split].images,
            preprocessing=self.preprocessing,
            channels=self.config.channels,
            budget_bytes=self.config.ram * 2**20 // 2,  # the other half is for features
            num_threads=self.config.workers
            if self.config.workers is not None
            else torch.get_num_threads(),
            progress=progress,
        )


def choose(config: RunConfig, registry: Registry) -> Choices:
    """Returns the components that a configuration names.

    Raises:
        UsageError: Names or arguments that do not resolve, all of them together.
    """
    problems: list[ZooError] = []

    def pick(kind: str, text: str) -> Any:
        try:
            return parse_choice(registry, kind, text)
        except UsageError as error:
            problems.append(error)

    picked = {
        "model": pick("model", config.model),
        "loss": pick("loss", config.loss),
        "optimizer": pick("optimizer", config.optim),
        "scheduler": pick("scheduler", config.sched),
    }
    try:
        picked["transforms"] = parse_choices(registry, "transform", config.aug or "none")
    except UsageError as error:
        problems.append(error)
    picked["data"] = None
    if not _names_a_path(config.data, registry):
        picked["data"] = pick("dataset", config.data)
    problems += check_options(config)
    if problems:
        raise UsageError.together(problems)
    return Choices(**picked)


def assemble(config: RunConfig, registry: Registry, *, resumed: Preprocessing | None = None) -> Job:
    """Finds, builds and checks everything that a run needs.

    Args:
        config: What the user asked for.
        registry: The components there are.
        resumed: The preprocessing of a run that is resumed. Its weights come from a checkpoint,
            so none are looked for.

    Raises:
        ZooError: Whatever cannot work, before anything is trained.
    """
    choices = choose(config, registry)
    data = _read_data(config, choices)
    if problems := check_data(data):
        raise UsageError.together(problems)
    if resumed:
        taken = Chosen(kind="random", reason="from the run's checkpoint")
    else:
        taken = resolve(config.weights, offered_weights(choices.model))
    preprocessing = resumed or preprocessing_of(choices.model, taken.weights)
    pretrained = taken.kind != "random"
    config = settle(
        config,
        pretrained=pretrained,
        num_train=len(data.splits["train"].images),
        sched_ends="to the end" in choices.scheduler.entry.component.tags,
        image_size=default_image_size(
            preferred=preprocessing.image_size, typical_side=data.typical_side
        ),
    )
    assert config.img_size is not None  # settled
    assert config.aug is not None
    choices = replace(choices, transforms=parse_choices(registry, "transform", config.aug))
    preprocessing = replace(preprocessing, image_size=config.img_size)

    torch.manual_seed(key(Stream.INIT, config.seed))
    num_classes = len(data.classes)
    model: nn.Module = build(
        choices.model, num_classes=num_classes, channels=config.channels, image_size=config.img_size
    )
    head = find_head(model, num_classes=num_classes)
    loaded = load(model, taken, head=head)
    proved = _try_forward(model, head, choices.model, config, num_classes)
    if proved and (loaded is None or loaded.head_replaced):
        zero_head(model, head=head)

    class_weight_K = _class_weights(config, data)
    loss = build(choices.loss, num_classes=num_classes, class_weight_K=class_weight_K)
    phases = freeze_then_finetune(
        freeze_epochs=config.freeze_epochs or 0, epochs=config.epochs or 0,
        hold_statistics=config.norm == "hold", warmup=config.warmup or 0.0,
        freeze_aug=config.freeze_aug,
    )  # fmt: skip
    return Job(
        config=config, choices=choices, data=data, preprocessing=preprocessing, model=model,
        head=head, cacheable=proved, taken=taken, loaded=loaded, loss=loss,
        class_weight_K=class_weight_K, schedules=_schedules(config, choices.scheduler, phases),
        transforms=tuple(build(choice) for choice in choices.transforms), phases=phases,
        notes=tuple(data.notes),
    )  # fmt: skip


def _names_a_path(text: str, registry: Registry) -> bool:
    """Whether ``--data`` means a path. A name wins over a folder of the same name in sight."""
    name = text.partition(":")[0]
    if registry.get("dataset", name) is not None:
        return False
    return "/" in text or "\\" in text or text in (".", "..") or Path(text).exists()


def _read_data(config: RunConfig, choices: Choices) -> DataSet:
    if choices.data is None:
        return read_folder(Path(config.data), seed=config.seed, fractions=config.split)
    found: DataSet | Any = build(choices.data, seed=config.seed, split=config.split)
    if not isinstance(found, DataSet):
        raise PluginError(
            f"the dataset {choices.data.entry.id} returned {type(found).__name__}, not a DataSet"
        )
    return found


def offered_weights(choice: Choice) -> Sequence[Weights]:
    """Returns the pretrained weights that a model knows of, the default first."""
    return _asked(choice, "weights") or ()


def preprocessing_of(choice: Choice, weights: Weights | None) -> Preprocessing:
    """Returns what the weights were trained with, or what fits the architecture."""
    if weights is not None:
        return weights.preprocessing
    return _asked(choice, "preprocessing") or Preprocessing()


def _asked(choice: Choice, method: str) -> Any:
    """Calls an optional method of a model factory with those arguments that it names."""
    function = getattr(load_target(choice.entry), method, None)
    if function is None:
        return None
    return call(choice.entry, function, {}, {**choice.entry.component.preset, **choice.arguments})


@torch.no_grad()
def _try_forward(
    model: nn.Module, head: tuple[str, ...], choice: Choice, config: RunConfig, num_classes: int
) -> bool:
    """Runs two random images through the network, and proves that its head is found."""
    side = config.img_size or 0
    torch.manual_seed(key(Stream.INIT, config.seed, 1))
    images_BCHW = torch.rand(2, config.channels, side, side)
    model.eval()
    try:
        logits_BK = model(images_BCHW)
    except ZooError:
        raise
    except Exception as error:
        raise UsageError(
            f"{choice.entry.id} does not take {side}x{side} pixels in {config.channels} channels",
            found=printable(" ".join(str(error).split())[:200]), hint="choose another --img-size",
        ) from error  # fmt: skip
    if getattr(logits_BK, "shape", None) != (2, num_classes):
        shape = tuple(getattr(logits_BK, "shape", ())) or type(logits_BK).__name__
        raise PluginError(
            f"the model {choice.entry.id} maps 2 images to {shape}, not to (2, {num_classes})",
            hint=f"report it to the authors of {choice.entry.origin}",
        )
    return len(head) == 1 and proves_out(model, head[0], images_BCHW)


def _class_weights(config: RunConfig, data: DataSet) -> torch.Tensor | None:
    """Returns n / (K * n_k), the weights that scikit-learn calls balanced."""
    if config.class_weights == "none":
        return None
    labels_N = torch.from_numpy(data.splits["train"].labels_N)
    counts_K = torch.bincount(labels_N, minlength=len(data.classes)).clamp(min=1)
    return len(labels_N) / (len(counts_K) * counts_K.float())


def _schedules(config: RunConfig, choice: Choice, phases: Sequence[Phase]) -> tuple[Schedule, ...]:
    """Builds the schedule that spans the run, or one that starts again in each phase."""
    scopes = [sum(p.epochs for p in phases)] * len(phases)
    if config.sched_scope == "phase":
        scopes = [phase.epochs for phase in phases]
        return tuple(build(choice, epochs=float(n), lr=config.lr) for n in scopes)
    return (build(choice, epochs=float(scopes[0]), lr=config.lr),) * len(phases)
