"""What the arguments of the library's optimizers are: type, range and a line of help.

One table for all of them, since a name means much the same wherever it occurs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from zoo.plugin import Param
from zoo.plugin import ParamType as _ParamType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zoo.plugin import Value

__all__ = ["param"]

_WITHOUT_DEFAULT = {
    "beta1_warmup": "int", "memory_length": "int", "t_max": "int",
}  # fmt: skip
"""Types of what may be none, where they are not ``float``."""

_CHOICES: Mapping[str, tuple[Value, ...]] = {
    "data_format": ("channels_first", "channels_last"),
    "hessian_distribution": ("gaussian", "rademacher"),
    "inverse_root_method": ("newton_db", "eigh"),
    "mars_type": ("adamw", "lion", "shampoo"),
    "matrix_scaling": ("power", "frobenius"),
    "mode": ("g", "m", "c"),
    "ns_method": ("newton_schulz", "gram_newton_schulz"),
    "rebound": ("constant", "belief"),
    "update_scale": ("preserve_norm", "match_rms"),
    "weight_decay_type": ("l2", "decoupled", "stable"),
}

_BELOW_1 = {"below": 1.0}
_SHARE = {"maximum": 1.0}
_ANY: dict[str, float] = {"minimum": float("-inf")}
_AT_LEAST_1 = {"minimum": 1.0}
_RANGES: Mapping[str, Mapping[str, float]] = {
    "beta3": _SHARE, "beta2": _SHARE, "decay_rate": _ANY, "lr_power": {**_ANY, "maximum": 0.0},
    "subset_size": {"minimum": -1.0}, "density": _SHARE, "momentum": _BELOW_1, "partial": _SHARE,
    "rho": _BELOW_1, "switch_rate": _SHARE, "theta": _BELOW_1,
    "k": _AT_LEAST_1, "ns_steps": _AT_LEAST_1, "rank": _AT_LEAST_1, "block_size": _AT_LEAST_1,
    "newton_steps": _AT_LEAST_1, "power_iteration_steps": _AT_LEAST_1,
    "power_iteration_vectors": _AT_LEAST_1, "update_interval": _AT_LEAST_1,
    "update_period": _AT_LEAST_1, "update_proj_gap": _AT_LEAST_1, "num_samples": _AT_LEAST_1,
    "precondition_frequency": _AT_LEAST_1, "preconditioning_compute_steps": _AT_LEAST_1,
    "max_precondition_dim": _AT_LEAST_1, "memory_length": _AT_LEAST_1, "t_max": _AT_LEAST_1,
    "start_preconditioning_step": _AT_LEAST_1, "leading_basis": _AT_LEAST_1,
    "grad_accu_steps": _AT_LEAST_1, "beta1_warmup": _AT_LEAST_1, "d0": {"above": 0.0},
    "eps_2": {"above": 0.0}, "g_norm_min": {"above": 0.0},
}  # fmt: skip
"""Where it is not "at least 0". ``minimum`` minus infinity stands for no bound."""

_SUMMARIES: Mapping[str, str] = {
    "adam": "leave the trust ratio out",
    "ams_bound": "use the largest second moment so far (Reddi 2018)",
    "bf16_sr": "round bfloat16 weights at random",
    "bias_correction": "correct the moments for their start from 0",
    "block_size": "side of the blocks that are preconditioned, at most",
    "cautious": "move only where the step agrees with the gradient",
    "centered": "divide by the standard deviation instead",
    "centralize": "take the mean out of the gradients of weight matrices",
    "check_numerics": "raise on numbers that are not finite",
    "clip": "largest root mean square of a step",
    "clip_threshold": "largest root mean square of a step",
    "compress_state_dict": "keep the state of 8 bits in checkpoints",
    "constraint": "keep the weights themselves within the norm",
    "constraints": "keep each neuron's weights normal",
    "correct_bias": "correct the moments for their start from 0",
    "d0": "first guess of the distance to the goal",
    "d_coef": "factor of the estimate",
    "dampening": "share of the gradient that stays out of the momentum",
    "data_format": "where images have their channels",
    "decay_rate": "decay of a running mean, as the paper has it",
    "decouple_lr": "leave the rate out of the weight decay",
    "degenerated_to_sgd": "make steps of SGD while the variance is unknown",
    "density": "share of the weights that are moved",
    "derivative": "weight of the derivative",
    "eps": "added to the denominator",
    "extra_l2": "L2 penalty besides the decay",
    "final_lr": "rate of the SGD that it closes in on",
    "fixed_decay": "leave the rate out of the weight decay",
    "g_norm_min": "smallest norm that is divided by",
    "gc_conv_only": "only in convolutions",
    "grad_accu_steps": "steps in which spikes are let through after a reset",
    "grad_averaging": "weigh the gradient by 1 - beta1",
    "grafting_beta": "decay of the grafted second moment; none: no grafting",
    "grokfast": "amplify slow gradients",
    "grokfast_after_step": "first step in which they are amplified",
    "grokfast_alpha": "decay of the mean of gradients",
    "grokfast_lamb": "how much the mean is amplified",
    "hessian_distribution": "of the noise that probes the Hessian",
    "hessian_power": "exponent of the Hessian",
    "init_lr": "rate at the start of its warm-up",
    "initial_accumulator": "the moments' first value",
    "integral": "weight of the integral",
    "inverse_root_method": "how roots of matrices are computed",
    "k": "steps per look ahead, or projections a step",
    "kahan_sum": "sum weights of 16 bits with compensation",
    "lambda_1": "L1 penalty",
    "lambda_2": "L2 penalty",
    "leading_basis": "directions of the subspace that are kept",
    "logarithmic_schedule": "let beta1 grow with the logarithm of the step",
    "lr_1d": "rate of vectors while optimize_1d is false",
    "lr_power": "exponent of the rate's decay",
    "mars_type": "what takes the corrected gradient",
    "matrix_eps": "added to the diagonal of matrices",
    "matrix_scaling": "how matrices are scaled before their roots",
    "max_grad_norm": "clip the norm of all gradients to this; 0: do not",
    "max_precondition_dim": "larger dimensions are not preconditioned",
    "memory_length": "gradients that are remembered",
    "merge_dims": "merge small dimensions",
    "min_beta1": "beta1 at the start of its warm-up",
    "beta1_warmup": "steps in which beta1 grows; none: it is constant",
    "mode": "what is estimated: g gradients, m momentum, c their correlation",
    "momentum": "momentum",
    "n_sma_threshold": "length of the mean from which steps are rectified",
    "nesterov": "look ahead along the momentum",
    "newton_steps": "steps of Newton's method a root",
    "normalize_gradient": "normalise each step",
    "normalize_lr": "divide the rate by 1 + grokfast_lamb",
    "ns_method": "how matrices are made orthogonal",
    "ns_steps": "Newton-Schulz steps that make a matrix orthogonal",
    "num_samples": "draws that estimate the Hessian",
    "optimize_1d": "treat vectors as matrices are",
    "p_bound": "how far a tensor's norm may grow; none: no bound",
    "partial": "exponent of the second moment: 0 SGD, 0.5 Adam",
    "power_iteration_steps": "steps that find the largest eigenvalue",
    "power_iteration_vectors": "vectors that look for it at once",
    "pre_norm": "normalise all gradients first",
    "precondition_1d": "precondition vectors too",
    "precondition_frequency": "steps from one preconditioner to the next",
    "preconditioning_compute_steps": "steps from one preconditioner to the next",
    "quantize": "keep the state in 8 bits",
    "rank": "dimensions of the subspace",
    "ratio_min": "smallest trust ratio",
    "rebound": "how the curvature is kept positive",
    "rectify": "rectify early steps as RAdam does",
    "relative_step": "take the rate from the step count",
    "safeguard_warmup": "leave the rate out of the estimate's denominator",
    "scale": "factor of each step",
    "scale_parameter": "make steps relative to the parameters' size",
    "shampoo_beta": "decay of the preconditioner; none: beta2",
    "simple_cond": "estimate without conditions",
    "stabilize": "divide by a stable range",
    "stable_weight_decay": "divide the weight decay by the mean second moment",
    "start_preconditioning_step": "first step that is preconditioned",
    "steps_before_using_centered": "steps before ``centered`` begins",
    "subset_size": "size of the subsets; -1: the root of the tensor's size",
    "switch_rate": "how fast the inverse fades",
    "t_alpha_beta3": "steps in which alpha and beta3 grow; none: they are constant",
    "t_max": "steps of its warm-up after a reset; none: none",
    "threshold": "how far above its mean a square is a spike",
    "trust_coefficient": "factor of the trust ratio",
    "update_interval": "steps from one subspace to the next",
    "update_period": "steps from one Hessian to the next",
    "update_proj_gap": "steps from one reset to the next",
    "update_scale": "how large the normalised step is",
    "use_adjusted_lr": "scale a matrix's rate by its size, so that one rate suits vectors too",
    "use_gc": "take the mean out of the gradients of weight matrices",
    "warmup_epoch": "steps of its warm-up after a reset",
    "warmup_init": "begin with a small relative step",
    "warmup_steps": "steps of its warm-up",
    "wd_ratio": "weight decay of scale-invariant weights, as a share of the others'",
    "wd_schedule": "scale the weight decay by the schedule",
    "weight_decay_1d": "weight decay of vectors while optimize_1d is false",
    "weight_decay_type": "how weights decay",
    "weight_decouple": "decay the weights themselves, not through the gradient (Loshchilov 2019)",
}


def param(text: str) -> Param:
    """Returns the record of an argument written ``name=default``.

    >>> made = param("beta1=0.9")
    >>> made.type, made.default, made.range
    ('float', 0.9, 'at least 0 and below 1')
    """
    name, _, written = text.partition("=")
    default = _read(written)
    kind: Any = type(default).__name__
    if default is None:
        kind = "str" if name in _CHOICES else "float"
        kind = _WITHOUT_DEFAULT.get(name, kind)
    assert kind in get_args(_ParamType)
    bounds: dict[str, Any] = dict(_bounds(name, default)) if kind in ("int", "float") else {}
    return Param(
        name=name,
        type=kind,
        default=default,
        summary=_summary(name, default),
        choices=_CHOICES.get(name, ()),
        optional=default is None,
        **bounds,
    )


def _read(text: str) -> Value:
    words: Mapping[str, Value] = {"true": True, "false": False, "none": None}
    if text in words:
        return words[text]
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _bounds(name: str, default: Value) -> Mapping[str, float]:
    """Returns the range of a number: at least 0, and below 1 for what decays a running mean."""
    if name in _CHOICES:
        return {}
    own = dict(_RANGES.get(name, _BELOW_1 if "beta" in name and _decays(default) else {}))
    if "minimum" not in own and "above" not in own:
        own["minimum"] = 0.0
    if own.get("minimum") == float("-inf"):
        del own["minimum"]
    return own


def _decays(default: Value) -> bool:
    return default is None or (isinstance(default, float) and default < 1)


def _summary(name: str, default: Value) -> str:
    bare = name.removeprefix("adamw_").removesuffix("_1d")
    known = _SUMMARIES.get(name) or _SUMMARIES.get(bare)
    if known is None and bare.startswith("beta"):
        known = "decay of a running mean"
    elif known is None and bare.startswith("eps"):
        known = "small number that keeps a division from growing"
    if known is None:
        known = f"what its paper calls {name}"
    if name.startswith("adamw_"):
        known += ", where vectors take AdamW's steps"
    if default is None and "none" not in known:
        known += "; none: the optimizer's own"
    return known
