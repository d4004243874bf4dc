"""Names that imitate: what is pointed out, and that the rule is quiet where nobody imitates."""

from __future__ import annotations

import pytest

from zoo.plugin import KINDS
from zoo.registry.imitations import imitated

MODELS = ["resnet18", "resnet50", "mobilenetv3_large_100", "efficientnet_lite0", "vit-b-16",
          "resnest50", "lenet"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("resnet-18", "resnet18"),
        ("res.net_18", "resnet18"),
        ("renset18", "resnet18"),
        ("resnnet18", "resnet18"),
        ("reset18", "resnet18"),
        ("restnet18", "resnet18"),
        ("resmet18", "resnet18"),
        ("RESNETI8", "resnet18"),
        ("mobi1enetv3_large_100", "mobilenetv3_large_100"),
        ("mobilenetv3_large_l00", "mobilenetv3_large_100"),
        ("efficientnet_1ite0", "efficientnet_lite0"),
        ("efficientnet_liteo", "efficientnet_lite0"),
        ("vitb16", "vit-b-16"),
        ("lennet", "lenet"),
    ],
)
def test_imitations(name, like):
    assert imitated(name, MODELS) == like


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",  # the same name has rules of its own
        "ResNet_18".replace("_", ""),
        "resnet19",
        "resnet180",
        "resnest18",  # a sibling of resnest50
        "resnet18b",
        "aresnet18",
        "lenets",
        "lenet5",
        "vit-b-32",
        "triangle",
        "net",
    ],
)
def test_no_imitations(name):
    assert imitated(name, MODELS) is None


@pytest.mark.parametrize(("name", "like"), [("t0rch", "torch"), ("tirnm", None), ("tlmm", "timm")])
def test_namespaces(name, like):
    assert imitated(name, ["torch", "timm", "torchvision"]) == like


def test_the_rule_is_quiet_among_zoos_own_names(registry):
    """Pairs of different components, joiners aside: names that grew up side by side.

    Every twelfth model stands for all of them, as each is compared with all the others.
    """
    pairs: list[str] = []
    checked = 0
    for kind in KINDS:
        entries = list(registry.entries(kind, hidden=True))
        every = [entry.component.name for entry in entries]
        for entry in entries[:: 12 if kind == "model" else 2]:
            own = {entry.component.name, *entry.component.aliases}
            like = imitated(entry.component.name, [name for name in every if name not in own])
            checked += 1
            squeezed = entry.component.name.lower().replace("-", "").replace("_", "")
            if like and like.lower().replace("-", "").replace("_", "") != squeezed:
                pairs.append(f"{kind} {entry.component.name} {like}")
    assert checked > 250
    # adamw and adanw, adagrad and avagrad, convnext_xlarge and convnext_xxlarge...
    assert len(pairs) / checked < 0.05, pairs
    assert {pair.partition(" ")[0] for pair in pairs} <= {"model", "optimizer"}


def test_a_user_is_told_in_list_show_doctor_and_when_it_is_chosen(make_plugin, zoo_command):
    make_plugin(
        "t0rch",
        """
from zoo.plugin import Component, hookimpl
@hookimpl
def zoo_components():
    yield Component(kind="scheduler", name="cosnie", target="zoo_torch.schedules:constant")
""",
    )
    chosen = zoo_command("explain", "cosnie")
    assert chosen.code == 0
    told = "the scheduler t0rch/cosnie of zoo-t0rch 1.0 is named much like zoo's own cosine"
    assert chosen.err.count(told) == 1
    assert "cosine" not in zoo_command("explain", "cosine").err
    for command in (("plugins", "list"), ("plugins", "show", "t0rch"), ("doctor",)):
        said = zoo_command(*command)
        assert "the plugin t0rch is named much like zoo's own torch" in said.out
    assert "the scheduler t0rch/cosnie is named much like zoo's own cosine" in said.out
    assert said.code == 0, "a note, and no error"
