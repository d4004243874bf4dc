"""The optimizers as data, generated from the signatures of pytorch_optimizer 4.1.0.

A row has the library's name, what it is in our words, and its arguments with their defaults. Pairs
are taken apart (``betas`` to ``beta1`` and ``beta2``). Left out are ``lr`` and ``weight_decay``,
which groups carry, and what no spec string can say: types, functions, infinite numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zoo.plugin import Component
from zoo_pytorch_optimizer._params import param

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["DIFFERENT", "NO_DECAY", "TAGS", "optimizer_components"]

TAGS: Mapping[str, tuple[str, ...]] = {
    "adahessian": ("needs-create-graph",),
    "sophiah": ("needs-create-graph",),
    "adamg": ("finds-its-rate",),
    "dadaptadagrad": ("finds-its-rate",),
    "dadaptadam": ("finds-its-rate",),
    "dadaptadan": ("finds-its-rate",),
    "dadaptlion": ("finds-its-rate",),
    "dadaptsgd": ("finds-its-rate",),
    "prodigy": ("finds-its-rate",),
}
"""What an optimizer needs of the engine, or of who chooses its rate."""

NO_DECAY = frozenset({"amos", "fromage", "ftrl", "msvag", "nero", "sm3", "srmm"})
"""These take no weight decay: what the run asks for has no effect on them."""

DIFFERENT: Mapping[tuple[str, str], str] = {
    ("adafactor", "relative_step"): "true ignores the learning rate of run and schedule",
    ("adago", "use_adjusted_lr"): "true lets one rate suit matrices and vectors",
    ("muon", "use_adjusted_lr"): "true lets one rate suit matrices and vectors",
    ("normuon", "use_adjusted_lr"): "true lets one rate suit matrices and vectors",
    ("radam", "degenerated_to_sgd"): "false leaves the first five steps out",
    ("ranger", "degenerated_to_sgd"): "false climbs in its first steps, by a wrong sign",
}
"""Whose default here is the opposite of the library's, and what speaks for it."""


class _Row(NamedTuple):
    name: str
    summary: str
    defaults: str


def optimizer_components() -> Iterator[Component]:
    """Yields a component for each row."""
    for row in _ROWS:
        summary = row.summary + ("; takes no weight decay" if row.name in NO_DECAY else "")
        yield Component(
            kind="optimizer",
            name=row.name,
            target="zoo_pytorch_optimizer.optimizers:build",
            summary=summary,
            tags=TAGS.get(row.name, ()),
            params=tuple(param(text) for text in row.defaults.split()),
            preset={"name": row.name},
            requires=("pytorch_optimizer",),
        )


_ROWS = (
    _Row("accsgd", "SGD with coupled short and long steps (Kidambi 2018)",
         "kappa=1000.0 xi=10.0 constant=0.7"),
    _Row("adabelief", "Adam whose step shrinks where gradients surprise (Zhuang 2020)",
         "beta1=0.9 beta2=0.999 weight_decouple=true fixed_decay=false rectify=false "
         "n_sma_threshold=5 degenerated_to_sgd=true ams_bound=false eps=1e-16"),
    _Row("adabound", "Adam within bounds that close in on SGD (Luo 2019)",
         "final_lr=0.1 beta1=0.9 beta2=0.999 gamma=0.001 weight_decouple=true fixed_decay=false "
         "ams_bound=false eps=1e-08"),
    _Row("adadelta", "Steps in the unit of the parameters; lr near 1 (Zeiler 2012)",
         "rho=0.9 weight_decouple=false fixed_decay=false eps=1e-06"),
    _Row("adafactor", "Adam with second moments kept by rows and columns (Shazeer 2018)",
         "beta1=0.9 beta2=0.999 decay_rate=-0.8 weight_decouple=true fixed_decay=false "
         "clip_threshold=1.0 ams_bound=false scale_parameter=true relative_step=false "
         "warmup_init=false eps1=1e-30 eps2=0.001"),
    _Row("adagc", "AdamW that clips each tensor's gradient by its own history (Wang 2025)",
         "beta1=0.9 beta2=0.999 beta=0.98 lambda_abs=1.0 lambda_rel=1.05 warmup_steps=100 "
         "weight_decouple=true fixed_decay=false eps=1e-08"),
    _Row("adago", "Orthogonal momentum with AdaGrad's step size (Zhang 2025)",
         "momentum=0.95 weight_decouple=true gamma=10.0 eps=0.0005 v=1e-06 nesterov=false "
         "ns_steps=5 use_adjusted_lr=true adamw_beta1=0.9 adamw_beta2=0.95 adamw_eps=1e-10"),
    _Row("adahessian", "Adam on the Hessian's diagonal, estimated from noise (Yao 2020)",
         "beta1=0.9 beta2=0.999 weight_decouple=true fixed_decay=false hessian_power=1.0 "
         "update_period=1 num_samples=1 hessian_distribution=rademacher eps=1e-16"),
    _Row("adai", "Momentum whose inertia adapts to each parameter (Xie 2020)",
         "beta1=0.1 beta2=0.99 weight_decouple=false fixed_decay=false stable_weight_decay=false "
         "dampening=1.0 eps=0.001"),
    _Row("adalite", "Adam with factored moments and a trust ratio a tensor",
         "beta1=0.9 beta2=0.999 weight_decouple=true fixed_decay=false g_norm_min=1e-10 "
         "ratio_min=0.0001 tau=1.0 eps1=1e-06 eps2=1e-10"),
    _Row("adamax", "Adam with the largest gradient in place of the second moment (Kingma 2015)",
         "beta1=0.9 beta2=0.999 weight_decouple=false fixed_decay=false eps=1e-08"),
    _Row("adamc", "AdamW with decay corrected by the rate (Defazio 2025)",
         "beta1=0.9 beta2=0.999 weight_decouple=true fixed_decay=false ams_bound=false eps=1e-08"),
    _Row("adamg", "Adam that finds its own rate; lr near 1 (Pan 2024)",
         "beta1=0.95 beta2=0.999 beta3=0.95 p=0.2 q=0.24 weight_decouple=false fixed_decay=false "
         "eps=1e-08"),
    _Row("adamod", "Adam whose steps are bounded by their own mean (Ding 2019)",
         "beta1=0.9 beta2=0.99 beta3=0.9999 weight_decouple=true fixed_decay=false eps=1e-08"),
    _Row("adamp", "Adam without the growth of scale-invariant weights (Heo 2021)",
         "beta1=0.9 beta2=0.999 weight_decouple=true fixed_decay=false delta=0.1 wd_ratio=0.1 "
         "nesterov=false eps=1e-08"),
    _Row("adams", "Adam with stable weight decay (Xie 2020)",
         "beta1=0.9 beta2=0.999 weight_decouple=true fixed_decay=false ams_bound=false eps=1e-08"),
    _Row("adamuon", "Orthogonal momentum with second moments (Si 2025)",
         "beta1=0.9 beta2=0.95 weight_decouple=true ns_steps=5 use_adjusted_lr=true "
         "adamw_beta1=0.9 adamw_beta2=0.999 eps=1e-10"),
    _Row("adamwsn", "AdamW with a second moment a subset of each tensor (Nguyen 2024)",
         "beta1=0.9 beta2=0.999 weight_decouple=true fixed_decay=false subset_size=-1 eps=1e-08"),
    _Row("adan", "Nesterov momentum with second moments (Xie 2022)",
         "beta1=0.98 beta2=0.92 beta3=0.99 weight_decouple=false max_grad_norm=0.0 eps=1e-08"),
    _Row("adanorm", "Adam that corrects short gradients by their past norm (Dubey 2022)",
         "beta1=0.9 beta2=0.99 r=0.95 weight_decouple=true fixed_decay=false ams_bound=false "
         "eps=1e-08"),
    _Row("adapnm", "Adam with positive-negative momentum (Xie 2021)",
         "beta1=0.9 beta2=0.999 beta3=1.0 weight_decouple=true fixed_decay=false ams_bound=true "
         "eps=1e-08"),
    _Row("adasmooth", "RMSprop whose window follows how straight the path is (Lu 2022)",
         "beta1=0.5 beta2=0.99 weight_decouple=false fixed_decay=false eps=1e-06"),
    _Row("adatam", "Adam with momentum damped by its angle to the gradient (Malviya 2024)",
         "beta1=0.9 beta2=0.999 decay_rate=0.9 weight_decouple=true fixed_decay=false eps=1e-08"),
    _Row("ademamix", "Adam with a fast and a slow momentum (Pagliardini 2024)",
         "beta1=0.9 beta2=0.999 beta3=0.9999 weight_decouple=false fixed_decay=false alpha=5.0 "
         "t_alpha_beta3=none eps=1e-08"),
    _Row("adopt", "Adam that divides by the last second moment (Taniguchi 2024)",
         "beta1=0.9 beta2=0.9999 weight_decouple=false fixed_decay=false eps=1e-06"),
    _Row("aggmo", "Mean of momenta of several decays (Lucas 2018)",
         "beta1=0.0 beta2=0.9 beta3=0.99 weight_decouple=false fixed_decay=false"),
    _Row("aida", "Adam with moments projected on each other (Zhang 2023)",
         "beta1=0.9 beta2=0.999 k=2 xi=1e-20 weight_decouple=false fixed_decay=false "
         "rectify=false n_sma_threshold=5 degenerated_to_sgd=true ams_bound=false eps=1e-08"),
    _Row("alice", "Adam in a subspace, with what lies outside compensated (Gong 2025)",
         "beta1=0.9 beta2=0.9 beta3=0.999 alpha=0.3 alpha_c=0.4 update_interval=200 rank=256 "
         "gamma=1.01 leading_basis=40 weight_decouple=true fixed_decay=false eps=1e-08"),
    _Row("amos", "Adam with a decay that follows the model's scale (Tian 2022)",
         "beta=0.999 momentum=0.0 extra_l2=0.0 c_coef=0.25 d_coef=0.25 eps=1e-18"),
    _Row("ano", "Sign of momentum times size of gradient (Kegreisz 2025)",
         "beta1=0.92 beta2=0.99 weight_decouple=true fixed_decay=false "
         "logarithmic_schedule=false eps=1e-08"),
    _Row("apollodqn", "Diagonal quasi-Newton (Ma 2020)",
         "init_lr=1e-05 beta=0.9 rebound=constant weight_decay_type=l2 warmup_steps=500 "
         "eps=0.0001"),
    _Row("avagrad", "Adam that divides before it looks (Savarese 2019)",
         "beta1=0.9 beta2=0.999 weight_decouple=true fixed_decay=false eps=0.1"),
    _Row("bcos", "Step sizes that are optimal for blocks of coordinates (Jiang 2025)",
         "beta=0.9 beta2=none mode=c simple_cond=false weight_decouple=true eps=1e-06"),
    _Row("came", "Adafactor guided by confidence (Luo 2023)",
         "beta1=0.9 beta2=0.999 beta3=0.9999 weight_decouple=true fixed_decay=false "
         "clip_threshold=1.0 ams_bound=false eps1=1e-30 eps2=1e-16"),
    _Row("dadaptadagrad", "AdaGrad that finds its own rate; lr 1 (Defazio 2023)",
         "momentum=0.0 d0=1e-06 weight_decouple=false fixed_decay=false eps=0.0"),
    _Row("dadaptadam", "Adam that finds its own rate; lr 1 (Defazio 2023)",
         "beta1=0.9 beta2=0.999 d0=1e-06 weight_decouple=false fixed_decay=false "
         "bias_correction=false eps=1e-08"),
    _Row("dadaptadan", "Adan that finds its own rate; lr 1 (Defazio 2023)",
         "beta1=0.98 beta2=0.92 beta3=0.99 weight_decouple=false d0=1e-06 eps=1e-08"),
    _Row("dadaptlion", "Lion that finds its own rate; lr 1 (Defazio 2023)",
         "beta1=0.9 beta2=0.999 d0=1e-06 weight_decouple=false fixed_decay=false"),
    _Row("dadaptsgd", "SGD that finds its own rate; lr 1 (Defazio 2023)",
         "momentum=0.9 d0=1e-06 weight_decouple=false fixed_decay=false"),
    _Row("dash", "Shampoo with batched blocks and faster roots (arXiv:2602.02016)",
         "beta1=0.9 beta2=0.95 grafting_beta=none block_size=1024 precondition_frequency=10 "
         "start_preconditioning_step=1 inverse_root_method=newton_db matrix_scaling=power "
         "newton_steps=10 power_iteration_steps=10 power_iteration_vectors=16 momentum=0.0 "
         "nesterov=true correct_bias=true eps=1e-08 matrix_eps=1e-10"),
    _Row("diffgrad", "Adam slowed where gradients stop changing (Dubey 2019)",
         "beta1=0.9 beta2=0.999 weight_decouple=true fixed_decay=false rectify=false "
         "n_sma_threshold=5 degenerated_to_sgd=true ams_bound=false eps=1e-08"),
    _Row("dualadam", "Adam that starts from its inverse",
         "beta1=0.9 beta2=0.999 switch_rate=0.01 weight_decouple=false fixed_decay=false "
         "eps=1e-08"),
    _Row("exadam", "Adam with moments that correct each other (Adly 2024)",
         "beta1=0.9 beta2=0.999 weight_decouple=true fixed_decay=false eps=1e-08"),
    _Row("fadam", "Adam as natural gradient (Hwang 2024)",
         "beta1=0.9 beta2=0.999 clip=1.0 p=0.5 eps=1e-08 eps_2=0.01"),
    _Row("flashadamw", "AdamW with moments of 8 bits",
         "beta1=0.9 beta2=0.999 decouple_lr=false quantize=true compress_state_dict=true "
         "check_numerics=false eps=1e-08"),
    _Row("focus", "Lion drawn to the mean of past parameters (Liu 2025)",
         "beta1=0.9 beta2=0.999 gamma=0.1"),
    _Row("fromage", "Steps relative to the norm of each tensor; lr near 0.01 (Bernstein 2020)",
         "p_bound=none"),
    _Row("ftrl", "Follow the regularised leader, with L1 and L2 (McMahan 2013)",
         "lr_power=-0.5 beta=0.0 lambda_1=0.0 lambda_2=0.0"),
    _Row("grams", "Sign of the gradient, size of Adam's step (Cao 2024)",
         "beta1=0.9 beta2=0.999 weight_decouple=true eps=1e-06"),
    _Row("grokfastadamw", "AdamW with slow gradients amplified (Lee 2024)",
         "beta1=0.9 beta2=0.99 grokfast=true grokfast_alpha=0.98 grokfast_lamb=2.0 "
         "grokfast_after_step=0 weight_decouple=true fixed_decay=false normalize_lr=true "
         "eps=1e-08"),
    _Row("lamb", "Adam with a trust ratio a tensor (You 2019)",
         "beta1=0.9 beta2=0.999 weight_decouple=true fixed_decay=false rectify=false "
         "degenerated_to_sgd=false n_sma_threshold=5 grad_averaging=true max_grad_norm=1.0 "
         "adam=false pre_norm=false eps=1e-06"),
    _Row("laprop", "Momentum of normalised gradients (Ziyin 2020)",
         "beta1=0.9 beta2=0.999 centered=false steps_before_using_centered=10 "
         "weight_decouple=true fixed_decay=false ams_bound=false eps=1e-15"),
    _Row("lars", "SGD with a trust ratio a tensor (You 2017)",
         "momentum=0.9 dampening=0.0 trust_coefficient=0.001 nesterov=false"),
    _Row("lion", "Steps by the sign of the momentum (Chen 2023)",
         "beta1=0.9 beta2=0.99 weight_decouple=true fixed_decay=false"),
    _Row("madgrad", "Dual averaging with momentum (Defazio 2021)",
         "momentum=0.9 weight_decouple=false eps=1e-06"),
    _Row("mars", "AdamW, Lion or Shampoo with reduced variance (Yuan 2024)",
         "beta1=0.95 beta2=0.99 gamma=0.025 mars_type=adamw optimize_1d=false lr_1d=0.003 "
         "beta1_1d=0.9 beta2_1d=0.95 weight_decay_1d=0.1 weight_decouple=true fixed_decay=false "
         "ams_bound=false cautious=false eps=1e-08"),
    _Row("msvag", "Momentum damped by its variance (Balles 2018)",
         "beta=0.9"),
    _Row("muon", "Orthogonal momentum for matrices, AdamW for the rest (Jordan 2024)",
         "momentum=0.95 weight_decouple=true nesterov=true ns_steps=5 use_adjusted_lr=true "
         "adamw_beta1=0.9 adamw_beta2=0.95 adamw_eps=1e-10 ns_method=newton_schulz"),
    _Row("nero", "Steps relative to each neuron, which are kept normal (Liu 2021)",
         "beta=0.999 constraints=true eps=1e-08"),
    _Row("normuon", "Muon normalised by neurons (Li 2025)",
         "momentum=0.95 beta2=0.95 weight_decouple=true nesterov=true ns_steps=5 "
         "update_scale=preserve_norm use_adjusted_lr=true adamw_beta1=0.9 adamw_beta2=0.95 "
         "adamw_eps=1e-10 eps=1e-10"),
    _Row("novograd", "Second moments a layer (Ginsburg 2019)",
         "beta1=0.95 beta2=0.98 weight_decouple=false fixed_decay=false grad_averaging=false "
         "eps=1e-08"),
    _Row("padam", "Adam between itself and SGD (Chen 2018)",
         "beta1=0.9 beta2=0.999 partial=0.25 weight_decouple=false fixed_decay=false eps=1e-08"),
    _Row("pid", "SGD as a PID controller (An 2018)",
         "momentum=0.0 dampening=0.0 derivative=10.0 integral=5.0 weight_decouple=false "
         "fixed_decay=false"),
    _Row("pnm", "SGD with positive-negative momentum (Xie 2021)",
         "beta1=0.9 beta2=1.0 weight_decouple=true fixed_decay=false eps=1e-08"),
    _Row("prodigy", "Adam that finds its own rate, faster; lr 1 (Mishchenko 2023)",
         "beta1=0.9 beta2=0.999 beta3=none d0=1e-06 d_coef=1.0 weight_decouple=true "
         "fixed_decay=false bias_correction=false safeguard_warmup=false eps=1e-08"),
    _Row("qhadam", "Adam with quasi-hyperbolic moments (Ma 2018)",
         "beta1=0.9 beta2=0.999 nu1=1.0 nu2=1.0 weight_decouple=false fixed_decay=false "
         "eps=1e-08"),
    _Row("qhm", "SGD with quasi-hyperbolic momentum (Ma 2018)",
         "momentum=0.0 nu=1.0 weight_decouple=false fixed_decay=false"),
    _Row("racs", "SGD scaled by rows and columns (Gong 2025)",
         "beta=0.9 alpha=0.05 gamma=1.01 weight_decouple=true fixed_decay=false eps=1e-08"),
    _Row("radam", "Adam with rectified early steps (Liu 2020)",
         "beta1=0.9 beta2=0.999 weight_decouple=true fixed_decay=false n_sma_threshold=5 "
         "degenerated_to_sgd=true eps=1e-08"),
    _Row("ranger", "RAdam + Lookahead + gradient centralisation (Wright 2019)",
         "beta1=0.95 beta2=0.999 alpha=0.5 k=6 n_sma_threshold=5 degenerated_to_sgd=true "
         "weight_decouple=true fixed_decay=false use_gc=true gc_conv_only=false eps=1e-05"),
    _Row("rose", "SGD scaled by the range of rows and columns",
         "wd_schedule=false weight_decouple=false fixed_decay=false centralize=true "
         "stabilize=true bf16_sr=true"),
    _Row("scion", "Steps of fixed norm, chosen by the shape of the tensor (Pethick 2025)",
         "momentum=0.1 constraint=false scale=1.0 weight_decouple=true"),
    _Row("scionlight", "Scion that keeps its momentum in the gradient (Pethick 2025)",
         "momentum=0.1 constraint=false scale=1.0 weight_decouple=true"),
    _Row("sgdp", "SGD without the growth of scale-invariant weights (Heo 2021)",
         "momentum=0.0 dampening=0.0 weight_decouple=true fixed_decay=false delta=0.1 "
         "wd_ratio=0.1 nesterov=false eps=1e-08"),
    _Row("sgdsai", "SGD with rates a tensor, set by its first gradient (Xu 2024)",
         "momentum=0.9 weight_decouple=true eps=1e-08"),
    _Row("sgdw", "SGD with decoupled weight decay (Loshchilov 2019)",
         "momentum=0.0 weight_decouple=true dampening=0.0 nesterov=false"),
    _Row("shampoo", "Preconditioned by every dimension of a tensor (Gupta 2018)",
         "momentum=0.0 weight_decouple=false fixed_decay=false preconditioning_compute_steps=1 "
         "matrix_eps=1e-06"),
    _Row("signsgd", "Steps by the sign of the gradient's mean (Bernstein 2018)",
         "momentum=0.9 weight_decouple=true"),
    _Row("simplifiedademamix", "AdEMAMix with one momentum (Morwani 2025)",
         "beta1=0.99 beta2=0.95 weight_decouple=true fixed_decay=false alpha=0.0 "
         "beta1_warmup=none min_beta1=0.9 eps=1e-08"),
    _Row("sm3", "AdaGrad with sums kept by rows and columns (Anil 2019)",
         "momentum=0.0 beta=0.0 eps=1e-30"),
    _Row("soap", "Adam in the eigenbasis of Shampoo (Vyas 2024)",
         "beta1=0.95 beta2=0.95 shampoo_beta=none precondition_frequency=10 "
         "max_precondition_dim=10000 merge_dims=false precondition_1d=false correct_bias=true "
         "normalize_gradient=false data_format=channels_first eps=1e-08"),
    _Row("sophiah", "Momentum clipped by the Hessian's diagonal (Liu 2023)",
         "beta1=0.96 beta2=0.99 weight_decouple=true fixed_decay=false p=0.01 update_period=10 "
         "num_samples=1 hessian_distribution=gaussian eps=1e-12"),
    _Row("spam", "Adam that clips spikes and forgets its momentum (Huang 2025)",
         "beta1=0.9 beta2=0.999 density=1.0 warmup_epoch=50 threshold=5000 grad_accu_steps=20 "
         "update_proj_gap=500 eps=1e-06"),
    _Row("srmm", "Stochastic majorisation-minimisation (Lyu 2022)",
         "beta=0.5 memory_length=100"),
    _Row("stableadamw", "AdamW with clipped updates (Wortsman 2023)",
         "beta1=0.9 beta2=0.99 kahan_sum=true weight_decouple=true eps=1e-08"),
    _Row("stablespam", "SPAM that adapts its clipping (Huang 2025)",
         "beta1=0.9 beta2=0.999 gamma1=0.7 gamma2=0.9 theta=0.999 t_max=none eta_min=0.5 "
         "update_proj_gap=1000 eps=1e-08"),
    _Row("swats", "Adam that switches to SGD (Keskar 2017)",
         "beta1=0.9 beta2=0.999 weight_decouple=false fixed_decay=false ams_bound=false "
         "nesterov=false eps=1e-06"),
    _Row("tam", "SGD with momentum damped by its angle to the gradient (Malviya 2024)",
         "momentum=0.9 decay_rate=0.9 weight_decouple=true fixed_decay=false eps=1e-08"),
    _Row("tiger", "Lion with one buffer (Su 2023)",
         "beta=0.965 weight_decouple=true fixed_decay=false"),
    _Row("vsgd", "SGD with gradients as random variables (Chen 2024)",
         "ghattg=30.0 ps=1e-08 tau1=0.81 tau2=0.9 weight_decouple=true eps=1e-08"),
    _Row("yogi", "Adam whose second moment grows slowly (Zaheer 2018)",
         "beta1=0.9 beta2=0.999 initial_accumulator=1e-06 weight_decouple=true fixed_decay=false "
         "eps=0.001"),
)  # fmt: skip
