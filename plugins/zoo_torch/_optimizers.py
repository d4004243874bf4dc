"""The optimizers as data. Imports no torch; the code is in :mod:`zoo_torch.optimizers`."""

from __future__ import annotations

from zoo.plugin import Component, Param

__all__ = ["OPTIMIZERS"]


def _beta(index: int, default: float) -> Param:
    moment = ("first", "second")[index - 1]
    return Param(
        name=f"beta{index}",
        default=default,
        minimum=0,
        below=1,
        summary=f"decay of the {moment} moment's running mean",
    )


def _eps(default: float) -> Param:
    return Param(name="eps", default=default, minimum=0, summary="added to the denominator")


def _momentum(default: float) -> Param:
    return Param(name="momentum", default=default, minimum=0, below=1, summary="momentum")


def _switch(name: str, summary: str) -> Param:
    return Param(name=name, type="bool", default=False, summary=summary)


OPTIMIZERS: tuple[Component, ...] = (
    Component(
        kind="optimizer",
        name="adam",
        target="zoo_torch.optimizers:adam",
        summary="Adam; weight decay is added to the gradient (Kingma 2015)",
        params=(
            _beta(1, 0.9),
            _beta(2, 0.999),
            _eps(1e-8),
            _switch("amsgrad", "use the largest second moment so far (Reddi 2018)"),
        ),
        tags=("adaptive",),
    ),
    Component(
        kind="optimizer",
        name="adamw",
        target="zoo_torch.optimizers:adamw",
        summary="Adam with decoupled weight decay (Loshchilov 2019)",
        params=(
            _beta(1, 0.9),
            _beta(2, 0.999),
            _eps(1e-8),
            _switch("amsgrad", "use the largest second moment so far (Reddi 2018)"),
        ),
        tags=("adaptive", "decoupled-decay"),
    ),
    Component(
        kind="optimizer",
        name="sgd",
        target="zoo_torch.optimizers:sgd",
        summary="Stochastic gradient descent with momentum (Sutskever 2013)",
        params=(_momentum(0.9), _switch("nesterov", "look ahead along the momentum")),
        shorthand=("momentum",),
    ),
    Component(
        kind="optimizer",
        name="nadam",
        target="zoo_torch.optimizers:nadam",
        summary="Adam with Nesterov momentum (Dozat 2016)",
        params=(
            _beta(1, 0.9),
            _beta(2, 0.999),
            _eps(1e-8),
            Param(
                name="momentum_decay",
                default=4e-3,
                minimum=0,
                summary="how fast the momentum approaches beta1",
            ),
        ),
        tags=("adaptive",),
    ),
    Component(
        kind="optimizer",
        name="radam",
        target="zoo_torch.optimizers:radam",
        summary="Adam with rectified early steps (Liu 2020)",
        params=(_beta(1, 0.9), _beta(2, 0.999), _eps(1e-8)),
        tags=("adaptive",),
    ),
    Component(
        kind="optimizer",
        name="rmsprop",
        target="zoo_torch.optimizers:rmsprop",
        summary="Steps divided by the root of the mean squared gradient (Hinton 2012)",
        params=(
            Param(
                name="alpha",
                default=0.99,
                minimum=0,
                below=1,
                summary="decay of the mean squared gradient",
            ),
            _momentum(0.0),
            _eps(1e-8),
            _switch("centered", "divide by the standard deviation instead"),
        ),
        tags=("adaptive",),
    ),
    Component(
        kind="optimizer",
        name="adabelief",
        target="zoo_torch.optimizers:adabelief",
        summary="Adam whose step shrinks where gradients surprise (Zhuang 2020)",
        params=(
            _beta(1, 0.9),
            _beta(2, 0.999),
            _eps(1e-16),
            _switch("rectify", "rectify early steps as RAdam does"),
        ),
        tags=("adaptive", "decoupled-decay"),
    ),
    Component(
        kind="optimizer",
        name="ranger",
        target="zoo_torch.optimizers:ranger",
        summary="RAdam + Lookahead + gradient centralisation (Wright 2019)",
        params=(
            _beta(1, 0.95),
            _beta(2, 0.999),
            _eps(1e-5),
            Param(name="k", type="int", default=6, minimum=1, summary="steps per look ahead"),
            Param(
                name="alpha",
                default=0.5,
                minimum=0,
                maximum=1,
                summary="how far the slow weights follow the fast ones",
            ),
            Param(
                name="centralize",
                type="bool",
                default=True,
                summary="take the mean out of the gradients of weight matrices",
            ),
        ),
        tags=("adaptive", "decoupled-decay"),
    ),
    Component(
        kind="optimizer",
        name="lion",
        target="zoo_torch.optimizers:lion",
        summary="Steps by the sign of the momentum; lr 3 to 10 times below AdamW's (Chen 2023)",
        params=(_beta(1, 0.9), _beta(2, 0.99)),
        tags=("decoupled-decay",),
    ),
)
