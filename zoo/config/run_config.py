"""RunConfig: every option of a run, once.

The flags of ``zoo run`` and the keys of config.toml are made from this table, so they cannot
differ.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo.config.rules import MOST_EPOCHS, broken_rules, plain_value
from zoo.errors import UsageError, ZooError, printable
from zoo.plugin import Param, Value
from zoo.registry.specs import coerce

__all__ = ["GROUPS", "RunConfig", "option_of"]

GROUPS = ("What to train", "How long", "Learning rate", "Data", "Training", "Machine", "Output")
"""The headings under which ``zoo run --help`` shows the options."""

_RENAMED = {"fast_depthwise": "fast_convolutions"}
# Names of earlier versions, which stand in the configurations of their runs.

_NO_OPTIONS = ("plugin", "plugins", "plugin_path")
# Code comes from who types a command, never from a file: a configuration is read as data.


def _option(
    default: Value,
    summary: str,
    group: str,
    type: str = "",
    *,
    optional: bool = False,
    **limits: Any,
) -> Any:
    """Declares one option. The type is the default's unless it is named."""
    name = type or {bool: "bool", int: "int", float: "float", str: "str"}[default.__class__]
    param = Param(
        name="?", type=name, default=default, summary=summary,  # type: ignore[arg-type]  # a ParamType
        optional=optional or default is None, **limits,
    )  # fmt: skip
    return dataclasses.field(default=default, metadata={"param": param, "group": group})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Every option of a run. ``None`` means that zoo decides from the model, weights and data.

    Each field is the key of the same name in config.toml and the flag ``--name`` of ``zoo run``.
    """

    recipe: str | None = _option(
        None, "a named configuration that the other options change: zoo list recipes", GROUPS[0],
        type="str",
    )  # fmt: skip
    model: str = _option("efficientnet-lite0", "network: zoo list models", GROUPS[0])
    head: str | None = _option(
        None, "classifier in the place of the network's own: zoo list heads", GROUPS[0], type="str"
    )
    weights: str = _option("auto", "auto, none, a name (zoo show model NAME) or a file", GROUPS[0])
    data: str = _option("fashion-mini", "folder of images, or a name: zoo list datasets", GROUPS[0])
    loss: str | None = _option(
        None, "loss: zoo list losses; ce, or bce where images have several labels", GROUPS[0],
        type="str",
    )  # fmt: skip
    optim: str = _option("adamw", "optimizer: zoo list optimizers", GROUPS[0])
    sched: str = _option("cosine", "learning-rate schedule: zoo list schedulers", GROUPS[0])
    aug: str | None = _option(
        None, "augmentation and mixing, joined by +: zoo list transforms; none with pretrained "
        "weights, else light", GROUPS[0], type="str",
    )  # fmt: skip

    epochs: int | None = _option(
        None, "epochs that train the whole network; 3 with pretrained weights, else 10; of few "
        "images up to 20 and 30", GROUPS[1], type="int", minimum=0, maximum=MOST_EPOCHS,
    )  # fmt: skip
    freeze_epochs: int | None = _option(
        None, "epochs before that train the head alone; 1 with pretrained weights, else 0",
        GROUPS[1], type="int", minimum=0, maximum=MOST_EPOCHS,
    )  # fmt: skip
    phases: str | None = _option(
        None, "the plan in full, as head:epochs=1+last-2:epochs=2+all:epochs=5",
        GROUPS[1], type="str",
    )  # fmt: skip
    max_minutes: float = _option(
        0.0, "end training after this time and keep the best; 0 has no limit", GROUPS[1], minimum=0
    )
    metric: str | None = _option(
        None, "what else is measured in each epoch and on the test split, as f1,auroc: "
        "zoo list metrics", GROUPS[1], type="str",
    )  # fmt: skip
    monitor: str = _option(
        "val_accuracy",
        "what decides which epoch is best: val_accuracy, val_loss, or any metric",
        GROUPS[1],
    )
    patience: int = _option(
        0, "stop a phase after this many epochs without improvement; 0 never", GROUPS[1], minimum=0
    )
    min_delta: float = _option(0.0, "smallest change that counts as better", GROUPS[1], minimum=0)
    restore_best: bool = _option(True, "end with the weights of the best epoch", GROUPS[1])

    lr: float | None = _option(
        None, "learning rate of the head; 3e-3 with pretrained weights, else 2e-3", GROUPS[2],
        type="float", above=0,
    )  # fmt: skip
    backbone_lr: float | None = _option(
        None, "learning rate of the rest, as a share of lr; 0.1 with pretrained weights, else 1",
        GROUPS[2], type="float", minimum=0,
    )  # fmt: skip
    layer_decay: float = _option(
        1.0, "each block's rate as a share of the next one's", GROUPS[2], above=0, maximum=1
    )
    warmup: float | None = _option(
        None, "epochs of rising rate at the start of each phase that trains more than the head; "
        "0.5 if not said", GROUPS[2], type="float", minimum=0,
    )  # fmt: skip
    sched_scope: str = _option(
        "auto", "the schedule spans the run, or starts again in each phase", GROUPS[2],
        choices=("auto", "run", "phase"),
    )  # fmt: skip
    weight_decay: float | None = _option(
        None, "weight decay, none on biases and norms; 0.01 with pretrained weights, else 0.05",
        GROUPS[2], type="float", minimum=0,
    )  # fmt: skip

    img_size: int | None = _option(
        None, "side of the input, pixels; that of the weights, smaller (64 or more) for small "
        "images", GROUPS[3], type="int", minimum=1, maximum=4096,
    )  # fmt: skip
    channels: int = _option(3, "3 for colour, 1 for grey", GROUPS[3], choices=(1, 3))
    fit: str | None = _option(
        None, "how an image that is not square becomes one; crop unless the weights say otherwise",
        GROUPS[3], type="str", choices=("crop", "pad", "squash"),
    )  # fmt: skip
    crop_fraction: float | None = _option(
        None, "share of the shorter side that the centre crop keeps; the weights say", GROUPS[3],
        type="float", minimum=0.01, maximum=1,
    )  # fmt: skip
    interpolation: str | None = _option(
        None, "how images are resized; the weights say", GROUPS[3], type="str",
        choices=("nearest", "bilinear", "bicubic"),
    )  # fmt: skip
    normalize: str = _option(
        "weights", "mean and deviation: of the weights, or of the training data", GROUPS[3],
        choices=("weights", "data"),
    )  # fmt: skip
    mean: tuple[float, ...] | None = _option(
        None, "per channel, of pixels in 0..1, as 0.485,0.456,0.406; overrides --normalize",
        GROUPS[3], type="float list", minimum=0, maximum=1,
    )  # fmt: skip
    std: tuple[float, ...] | None = _option(None, "likewise", GROUPS[3], type="float list", above=0)
    split: tuple[float, ...] = _option(
        (0.8, 0.1, 0.1), "train, val and test shares of data that has no splits", GROUPS[3],
        type="float list", minimum=0, maximum=1,
    )  # fmt: skip
    limit: int | None = _option(
        None, "use at most this many images of each split, stratified", GROUPS[3], type="int",
        minimum=2,
    )  # fmt: skip
    fraction: float = _option(
        1.0, "use this share of the training images, stratified", GROUPS[3], above=0, maximum=1
    )
    fold: str | None = _option(
        None, "validate on one part of train and val together, as 2/5: zoo kfold runs them all",
        GROUPS[3], type="str",
    )  # fmt: skip
    on_bad: str = _option(
        "fail", "images that cannot be read: name them all and stop, or leave them out", GROUPS[3],
        choices=("fail", "skip"),
    )  # fmt: skip
    balance: str = _option(
        "none", "rare classes: drawn more often, or weighed more in the loss", GROUPS[3],
        choices=("none", "sampler", "loss"),
    )  # fmt: skip
    repeats: int = _option(
        1, "times that an image stands in a batch, augmented differently each time", GROUPS[3],
        minimum=1,
    )  # fmt: skip
    freeze_aug: bool = _option(False, "augment while frozen too (no feature cache then)", GROUPS[3])
    freeze_views: int = _option(
        1, "augmented views of each image that frozen phases go through, computed once; 1 is plain",
        GROUPS[3], minimum=1,
    )  # fmt: skip
    ram: int = _option(4096, "MiB for decoded images and features", GROUPS[3], minimum=0)
    keep_decoded: bool = _option(
        False, "keep decoded images on disk, for later epochs and runs", GROUPS[3]
    )

    batch_size: int = _option(64, "images in an optimizer step", GROUPS[4], minimum=1)
    accumulate: int = _option(
        1, "parts in which a batch is computed, to save memory", GROUPS[4], minimum=1
    )
    auto_batch: bool = _option(
        True, "when memory runs out, compute the batch in twice as many parts and go on", GROUPS[4]
    )
    clip_norm: float = _option(
        0.0, "largest norm of the gradient; 0 does not clip", GROUPS[4], minimum=0
    )
    clip_value: float = _option(
        0.0, "largest size of each entry of the gradient; 0 does not clip", GROUPS[4], minimum=0
    )
    clip_agc: float = _option(
        0.0, "largest norm of a unit's gradient as a share of its weights' (0.01); 0 does not clip",
        GROUPS[4], minimum=0,
    )  # fmt: skip
    l1: float = _option(0.0, "penalty on the sum of the weights' sizes", GROUPS[4], minimum=0)
    l2: float = _option(
        0.0, "penalty on half the sum of the weights' squares", GROUPS[4], minimum=0
    )
    sam: float = _option(
        0.0, "sharpness-aware minimisation with this radius (0.05); 0 is off", GROUPS[4], minimum=0
    )
    ema: float = _option(
        0.0, "evaluate a moving average of the weights with this decay (0.999); 0 is off",
        GROUPS[4], minimum=0, below=1,
    )  # fmt: skip
    swa: int = _option(
        0, "at the end try the plain average of the last so many epochs' weights", GROUPS[4],
        minimum=0,
    )  # fmt: skip
    soup: int = _option(
        0, "at the end try a greedy soup of so many best epochs' weights", GROUPS[4], minimum=0
    )
    dropout: float | None = _option(
        None, "override the network's dropout", GROUPS[4], type="float", minimum=0, below=1
    )
    drop_path: float | None = _option(
        None, "override the network's stochastic depth", GROUPS[4], type="float", minimum=0, below=1
    )
    distill: str | None = _option(
        None, "learn from a teacher as well: a run folder, or MODEL@WEIGHTS", GROUPS[4], type="str"
    )
    distill_weight: float = _option(
        0.5, "share of the teacher in the loss", GROUPS[4], minimum=0, maximum=1
    )
    distill_temperature: float = _option(
        4.0, "softens both before they are compared", GROUPS[4], above=0
    )
    frozen_norm: str = _option(
        "eval", "batch-norm statistics of the frozen part: held, or moving (no feature cache then)",
        GROUPS[4], choices=("eval", "train"),
    )  # fmt: skip
    norm: str = _option(
        "auto", "batch-norm statistics while fine-tuning; auto holds pretrained ones",
        GROUPS[4], choices=("auto", "hold", "train"),
    )  # fmt: skip
    seed: int = _option(0, "of everything random", GROUPS[4], minimum=0, maximum=2**31 - 1)

    device: str = _option("auto", "auto, cpu, cuda, cuda:1, mps", GROUPS[5])
    precision: str = _option(
        "auto", "mixed precision; auto is bf16 where CUDA has it", GROUPS[5],
        choices=("auto", "no", "bf16", "fp16"),
    )  # fmt: skip
    threads: int | None = _option(
        None, "compute threads; as many as torch takes", GROUPS[5], "int", minimum=1, maximum=1024
    )
    workers: int | None = _option(
        None, "decoding threads; as many as there are cores", GROUPS[5], type="int", minimum=0
    )
    deterministic: bool = _option(
        False, "refuse operations that do not repeat to the bit (matters on GPUs)", GROUPS[5]
    )
    compile: bool = _option(False, "compile the network with torch.compile", GROUPS[5])
    compile_mode: str = _option(
        "default", "how --compile does it; reduce-overhead replays steps as CUDA graphs", GROUPS[5],
        choices=("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    )  # fmt: skip
    channels_last: bool = _option(
        True, "memory format of images; faster for convolutions", GROUPS[5]
    )
    cache: bool = _option(True, "compute frozen features once and train on them", GROUPS[5])
    keep_features: bool = _option(
        True, "keep frozen features on disk for later runs (zoo cache list)", GROUPS[5]
    )
    feature_dtype: str = _option(
        "fp32", "how frozen features are stored; bf16 takes half the room", GROUPS[5],
        choices=("fp32", "bf16"),
    )  # fmt: skip
    engine: str = _option(
        "auto", "what computes frozen features; auto takes the fastest of this machine", GROUPS[5],
        choices=("auto", "torch", "folded", "onnx", "openvino"),
    )  # fmt: skip
    fast_convolutions: bool = _option(
        True,
        "own code for convolutions, what is around them, and linear heads on a CPU, where faster",
        GROUPS[5],
    )
    tune: bool = _option(
        False, "try a few steps with each of these settings first and take the fastest; what was "
        "found is kept for the machine, model and size", GROUPS[5],
    )  # fmt: skip

    runs: str = _option("runs", "folder of run folders", GROUPS[6])
    name: str | None = _option(None, "name of the run folder", GROUPS[6], type="str")
    save_every: float = _option(
        10.0,
        "minutes between checkpoints inside an epoch; 0 at epoch ends only",
        GROUPS[6],
        minimum=0,
    )
    save_steps: int = _option(
        0, "steps between checkpoints inside an epoch; 0 by time only", GROUPS[6], minimum=0
    )
    resume: str = _option(
        "never", "auto goes on with the run of that name, or of these options, if it was cut short",
        GROUPS[6], choices=("never", "auto"),
    )  # fmt: skip
    callback: str | None = _option(
        None, "who else listens, joined by +: zoo list callbacks", GROUPS[6], type="str"
    )

    @classmethod
    def from_mapping(cls, table: Mapping[str, object], *, source: str = "") -> RunConfig:
        """Returns the configuration that a table of keys and values says.

        Args:
            table: Keys as the fields; a missing key has its default.
            source: Where it comes from, for messages.

        Raises:
            UsageError: Unknown keys and values of a wrong type or range, all together.
        """
        problems: list[ZooError] = []
        values: dict[str, Value] = {}
        for raw_key, value in table.items():
            key = str(raw_key).replace("-", "_")
            key = _RENAMED.get(key, key)
            try:
                param = option_of(key)
            except UsageError as error:
                problems.append(error)
                continue
            try:
                values[key] = coerce(param, plain_value(value))  # type: ignore[arg-type]  # coerce checks
            except ValueError as error:
                problems.append(UsageError(f"{_shown(key, source)} {error}"))
        problems += broken_rules(values)
        if problems:
            raise UsageError.together(problems)
        return cls(**values)  # type: ignore[arg-type]  # coerce gave each its type

    def changed(self, **changes: object) -> RunConfig:
        """Returns a copy with some options changed, checked like a file's."""
        return self.from_mapping({**self.as_mapping(), **changes})

    def as_mapping(self) -> dict[str, object]:
        """Returns keys and values, without those that are None."""
        pairs = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {key: value for key, value in pairs if value is not None}

    def to_toml(self) -> str:
        """Returns the text of the config.toml that repeats this run."""
        import tomli_w

        table = {k: list(v) if isinstance(v, tuple) else v for k, v in self.as_mapping().items()}
        return "# zoo run --config THIS_FILE repeats the run.\n" + tomli_w.dumps(table)


def option_of(key: str) -> Param:
    """Returns the declaration of an option.

    Raises:
        UsageError: There is no such option. The message has the close matches.
    """
    key = _RENAMED.get(key, key)
    if key in _options():
        return _options()[key]
    if key in _NO_OPTIONS:
        raise UsageError(
            f"a configuration names no plugin, and this has {printable(key)!r}",
            found="a plugin is code, and no file that is read may bring code along",
            hint="zoo run --plugin PATH, or zoo plugins install NAME; then name its components",
        )
    import difflib

    close = difflib.get_close_matches(key, list(_options()), n=3, cutoff=0.5)
    raise UsageError(
        f"there is no option {printable(key)!r}",
        found=f"close: {', '.join(close)}" if close else "",
        hint=f"did you mean {close[0]}?" if close else "zoo run --help lists all",
    )


@functools.cache
def _options() -> Mapping[str, Param]:
    """Returns the declarations of all options by key."""
    return {
        field.name: dataclasses.replace(field.metadata["param"], name=field.name)
        for field in dataclasses.fields(RunConfig)
    }


def _shown(key: str, source: str) -> str:
    return f"{source}: {key}" if source else f"--{key.replace('_', '-')}"
