"""The schedules as data. Imports no torch; the code is in :mod:`zoo_torch.schedules`."""

from __future__ import annotations

from zoo.plugin import Component, Param

__all__ = ["SCHEDULES"]


def _gamma(default: float, summary: str) -> Param:
    return Param(name="gamma", default=default, above=0, maximum=1, summary=summary)


_ETA_MIN = Param(
    name="eta_min", default=0.0, minimum=0, summary="smallest rate, of a group at the base rate"
)

SCHEDULES: tuple[Component, ...] = (
    Component(
        kind="scheduler",
        name="plateau",
        aliases=("default",),
        target="zoo_torch.schedules:plateau",
        summary="Lower the rate when the monitored metric stops improving",
        params=(
            Param(
                name="factor",
                default=0.1,
                above=0,
                below=1,
                summary="what the rate is multiplied by",
            ),
            Param(
                name="patience",
                type="int",
                default=3,
                minimum=0,
                summary="epochs without improvement that are tolerated",
            ),
            Param(name="min_lr", default=1e-6, minimum=0, summary="smallest rate"),
            Param(
                name="threshold",
                default=1e-4,
                minimum=0,
                summary="relative gain that counts as an improvement",
            ),
            Param(
                name="cooldown",
                type="int",
                default=0,
                minimum=0,
                summary="epochs after a reduction in which nothing is counted",
            ),
        ),
        shorthand=("factor", "patience"),
        tags=("reactive",),
    ),
    Component(
        kind="scheduler",
        name="step",
        target="zoo_torch.schedules:step",
        summary="Multiply the rate by gamma every step_size epochs",
        params=(
            Param(
                name="step_size",
                type="int",
                minimum=1,
                optional=True,
                summary="epochs per step; none: a third of the epochs",
            ),
            _gamma(0.1, "what the rate is multiplied by at each step"),
        ),
        shorthand=("step_size", "gamma"),
    ),
    Component(
        kind="scheduler",
        name="sgdr",
        target="zoo_torch.schedules:sgdr",
        summary="Cosine with warm restarts (Loshchilov 2017)",
        params=(
            Param(
                name="t_0", type="int", default=10, minimum=1, summary="epochs of the first cycle"
            ),
            Param(
                name="t_mult",
                type="int",
                default=2,
                minimum=1,
                summary="how many times longer each cycle is than the one before",
            ),
            _ETA_MIN,
        ),
        shorthand=("t_0", "t_mult"),
    ),
    Component(
        kind="scheduler",
        name="multistep",
        aliases=("multi",),
        target="zoo_torch.schedules:multistep",
        summary="Multiply the rate by gamma at each milestone",
        params=(
            Param(
                name="milestones",
                type="int list",
                minimum=1,
                optional=True,
                summary="epochs; none: at one half and three quarters",
            ),
            _gamma(0.1, "what the rate is multiplied by at each milestone"),
        ),
        shorthand=("milestones", "gamma"),
    ),
    Component(
        kind="scheduler",
        name="cosine",
        target="zoo_torch.schedules:cosine",
        tags=("to the end",),
        summary="Half a cosine down to eta_min (Loshchilov 2017)",
        params=(_ETA_MIN,),
        shorthand=("eta_min",),
    ),
    Component(
        kind="scheduler",
        name="one-cycle",
        aliases=("onecycle",),
        target="zoo_torch.schedules:one_cycle",
        tags=("to the end",),
        summary="Up to the base rate, then down far below the start (Smith 2018)",
        params=(
            Param(
                name="pct_start",
                default=0.3,
                above=0,
                below=1,
                summary="share of the epochs in which the rate rises",
            ),
            Param(
                name="div_factor",
                default=25.0,
                minimum=1,
                summary="the first rate is the base rate divided by this",
            ),
            Param(
                name="final_div_factor",
                default=1e4,
                minimum=1,
                summary="the last rate is the first rate divided by this",
            ),
        ),
        shorthand=("pct_start", "div_factor"),
    ),
    Component(
        kind="scheduler",
        name="linear",
        target="zoo_torch.schedules:linear",
        tags=("to the end",),
        summary="Straight down to end_factor",
        params=(
            Param(
                name="end_factor",
                default=0.0,
                minimum=0,
                maximum=1,
                summary="share of the base rate at the end",
            ),
        ),
        shorthand=("end_factor",),
    ),
    Component(
        kind="scheduler",
        name="polynomial",
        aliases=("poly",),
        target="zoo_torch.schedules:polynomial",
        tags=("to the end",),
        summary="Down to zero as a power of the time that is left (Chen 2017)",
        params=(Param(name="power", default=0.9, above=0, summary="1 is a straight line"),),
        shorthand=("power",),
    ),
    Component(
        kind="scheduler",
        name="exponential",
        target="zoo_torch.schedules:exponential",
        summary="Multiply the rate by gamma each epoch, smoothly",
        params=(_gamma(0.9, "what the rate is multiplied by in one epoch"),),
        shorthand=("gamma",),
    ),
    Component(
        kind="scheduler",
        name="constant",
        aliases=("none",),
        target="zoo_torch.schedules:constant",
        summary="Keep the base rate",
    ),
)
