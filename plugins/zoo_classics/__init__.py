"""The networks that courses start with, and famous names that no library spells that way."""

from __future__ import annotations

from collections.abc import Iterator

from zoo.plugin import Component, Param, hookimpl

_RATES = tuple(
    Param(
        name=name,
        optional=True,
        minimum=0.0,
        below=1.0,
        summary=f"{what}; none keeps the architecture's own",
    )
    for name, what in (
        ("drop_rate", "dropout before the head"),
        ("drop_path_rate", "stochastic depth (Huang 2016)"),
    )
)

_LAYERS = (
    Param(name="hidden", type="int list", optional=True, minimum=1, maximum=65_536,
          summary="widths of the hidden layers; none keeps its own"),
    Param(name="batch_norm", type="bool", default=True, summary="normalise each hidden layer"),
    Param(name="dropout", type="float", optional=True, minimum=0, below=1,
          summary="share of hidden units dropped; none keeps its own"),
)  # fmt: skip

_COURSE = (
    ("lenet", "LeNet (LeCun 1998) as in Caffe: 20 and 50 5x5 filters, 500 hidden", "cnn"),
    ("cifar-quick", "Caffe's cifar10_quick: 32, 32, 64 5x5 filters, 64 hidden", "cnn"),
    ("mlp-mnist", "perceptron of 256 and 128 hidden units with batch norm", "mlp"),
    ("mlp-cifar", "perceptron of 1024, 512, 256 hidden, batch norm, dropout 0.3", "mlp"),
)

# Names under which people know weights that timm keeps under another one. timm's architectures of
# the same spelling (efficientnet_b7, efficientnetv2_s, efficientnet_lite1 ...) have none, or, for
# lite0, others; they stay available as timm/NAME.
_FROM_TENSORFLOW = (
    *(f"efficientnet-lite{n}" for n in range(5)),
    *(f"efficientnet-b{n}" for n in (6, 7, 8)),
    *(f"efficientnetv2-{size}" for size in ("s", "m", "l", "xl")),
)


@hookimpl
def zoo_components() -> Iterator[Component]:
    """Yields the course networks, then TensorFlow's EfficientNets by their own names."""
    for name, summary, tag in _COURSE:
        yield Component(
            kind="model",
            name=name,
            target=f"zoo_classics.networks:{name.replace('-', '_')}",
            summary=summary,
            tags=(tag, "small"),
            params=_LAYERS if tag == "mlp" else (),
        )
    for name in _FROM_TENSORFLOW:
        architecture = "tf_" + name.replace("-", "_")
        yield _efficientnet(name, f"with TensorFlow's weights, timm's {architecture}", architecture)
    for n in range(9):
        yield _efficientnet(
            f"adv-efficientnet-b{n}",
            f"EfficientNet-B{n} with AdvProp weights (Xie 2020)",
            f"tf_efficientnet_b{n}",
            tag="ap_in1k",
        )


def _efficientnet(
    name: str, summary: str, architecture: str, *, tag: str | None = None
) -> Component:
    return Component(
        kind="model",
        name=name,
        target="zoo_timm.models:build",
        summary=summary,
        tags=("efficientnet",),
        params=_RATES,
        preset={"architecture": architecture, **({"tag": tag} if tag else {})},
        requires=("timm",),
    )
