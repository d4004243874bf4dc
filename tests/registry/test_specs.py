"""Spec strings: one grammar for every kind."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import UnknownName, UsageError
from zoo.plugin import Component, Param
from zoo.registry import PluginRecord, Registry, parse_choice, parse_choices
from zoo.registry.specs import format_value, parse_value


def declare(**fields: object) -> Component:
    return Component(**{"kind": "scheduler", "target": "a.b:c", **fields})


COMPONENTS = (
    declare(
        name="SGDR",
        params=(
            Param(name="t_0", type="int", default=10, minimum=1),
            Param(name="t_mult", type="int", default=2, minimum=1),
        ),
        shorthand=("t_0", "t_mult"),
    ),
    declare(
        name="multistep",
        aliases=("multi",),
        params=(
            Param(name="milestones", type="int list", default=(30, 80), minimum=1),
            Param(name="gamma", default=0.1, above=0),
        ),
        shorthand=("milestones", "gamma"),
    ),
    declare(
        name="plateau",
        aliases=("default",),
        params=(
            Param(name="factor", default=0.1, above=0, below=1),
            Param(name="patience", type="int", default=3, minimum=0),
            Param(name="min_lr", default=1e-6, minimum=0),
        ),
        shorthand=("factor", "patience"),
    ),
    declare(name="constant"),
    declare(name="vit-b", params=(Param(name="size", type="int"),), shorthand=("size",)),
    declare(name="vit-b-16"),
    declare(name="texts", params=(Param(name="text", type="str", optional=True),)),
    declare(name="free", params=(Param(name="any", default=1.0),)),
    declare(
        name="words",
        params=(
            Param(name="mode", type="str", default="min", choices=("min", "max")),
            Param(name="on", type="bool", default=False),
            Param(name="limit", type="float", optional=True),
        ),
    ),
)


@pytest.fixture(scope="module")
def small() -> Registry:
    return Registry(
        [
            PluginRecord(
                namespace="acme",
                module="m",
                distribution="zoo-acme",
                version="1",
                components=COMPONENTS,
            )
        ]
    )


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("SGDR-10-2", "SGDR", {"t_0": 10, "t_mult": 2}),
        ("sgdr-5", "SGDR", {"t_0": 5, "t_mult": 2}),
        ("acme/SGDR-10-2", "SGDR", {"t_0": 10, "t_mult": 2}),
        ("multi-30,80-0.1", "multistep", {"milestones": (30, 80), "gamma": 0.1}),
        ("multi-30-0.1", "multistep", {"milestones": (30,), "gamma": 0.1}),
        ("default-0.1-3", "plateau", {"factor": 0.1, "patience": 3, "min_lr": 1e-6}),
        ("default-1e-1-3", "plateau", {"factor": 0.1, "patience": 3, "min_lr": 1e-6}),
        ("plateau:min_lr=1e-3", "plateau", {"factor": 0.1, "patience": 3, "min_lr": 1e-3}),
        ("plateau:min-lr=1e-3", "plateau", {"factor": 0.1, "patience": 3, "min_lr": 1e-3}),
        ("multistep:milestones=[1,2],gamma=.5", "multistep", {"milestones": (1, 2), "gamma": 0.5}),
        ("words:mode=max,on=true,limit=2", "words", {"mode": "max", "on": True, "limit": 2.0}),
        ("words:limit=none", "words", {"mode": "min", "on": False, "limit": None}),
        ("texts:text=007", "texts", {"text": "007"}),  # no number: it may be a folder's name
        ("texts:text=1.10", "texts", {"text": "1.10"}),
        ("texts:text= 1e5 ", "texts", {"text": "1e5"}),
        ("texts:text=true", "texts", {"text": "true"}),
        ("texts:text=None", "texts", {"text": None}),
        ("vit-b-16", "vit-b-16", {}),  # an exact name wins over the shorthand
        ("VIT_B_16", "vit-b-16", {}),
        ("vit-b-32", "vit-b", {"size": 32}),
        (" constant ", "constant", {}),
    ],
)
def test_reads(small, text, name, arguments):
    choice = parse_choice(small, "scheduler", text)
    assert choice.entry.component.name == name
    assert choice.arguments == arguments


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("SGDR-0-0", "t_0 is 0, and must be at least 1"),
        ("SGDR--1", "t_0 is -1, and must be at least 1"),
        ("SGDR-1e9-2.5", "t_mult is 2.5, and must be an int"),
        ("SGDR-10-2-3", "does not read as SGDR-<t_0>-<t_mult>"),
        ("SGDR-", "does not read"),
        ("SGDR-ten", "does not read"),
        ("SGDR-٣", "does not read"),
        ("SGDR:t_0", "is not key=value"),
        ("SGDR:t_0=1,t_0=2", "is given twice"),
        ("SGDR:t0=1", "has no argument 't0'"),
        ("constant-3", "takes no values"),
        ("words:mode=mean", "must be one of min, max"),
        ("words:on=1", "must be a bool"),
        ("plateau:factor=none", "is none, and must be a float"),
        ("multi-30,x-0.1", "does not read"),
        ("plateau:factor=" + "9" * 400, "must be"),
        ("free:any=1e999", "any is inf, and must be finite"),
        ("sgrd-10-2", "no scheduler is named 'sgrd-10-2'"),
        ("", "is empty"),
        ("nope/SGDR", "no scheduler is named"),
    ],
)
def test_refuses_with_a_reason(small, text, says):
    with pytest.raises(UsageError) as caught:
        parse_choice(small, "scheduler", text)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_problems_are_listed_together(small):
    with pytest.raises(UsageError) as caught:
        parse_choice(small, "scheduler", "SGDR:t_0=0,t_mult=0,cycle=1")
    assert all(word in str(caught.value) for word in ("t_0 is 0", "t_mult is 0", "'cycle'"))


def test_joined_specs(small):
    names = [c.entry.component.name for c in parse_choices(small, "scheduler", "constant+SGDR-5")]
    assert names == ["constant", "SGDR"]
    (choice,) = parse_choices(small, "scheduler", "plateau:min_lr=1e+0")
    assert choice.arguments["min_lr"] == 1.0


@given(st.text(max_size=60))
def test_any_text_ends_in_a_choice_or_one_clear_error(small, text):
    with contextlib.suppress(UsageError):
        parse_choice(small, "scheduler", text)


@given(
    st.sampled_from(["SGDR", "multi", "default", "words", "vit-b"]),
    st.lists(
        st.sampled_from(["-", "-1", "-0.5", "-1e-3", ":", "t_0=", "=", ",", "[", "]", "x", "9"])
    ),
)
def test_near_misses_end_in_a_choice_or_one_clear_error(small, name, tail):
    with contextlib.suppress(UsageError):
        parse_choice(small, "scheduler", name + "".join(tail))


scalars = (
    st.booleans()
    | st.none()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
)


@given(scalars | st.lists(scalars, max_size=4).map(tuple))
def test_values_survive_being_written_and_read(value):
    read = parse_value(format_value(value))
    assert read == value
    assert type(read) is type(value)


@given(st.integers(1, 10**6), st.integers(1, 50))
def test_the_full_form_says_the_same(small, t_0, t_mult):
    short = parse_choice(small, "scheduler", f"sgdr-{t_0}-{t_mult}")
    assert parse_choice(small, "scheduler", short.spec) == short


@given(st.floats(1e-12, 0.999), st.integers(0, 10**6))
def test_numbers_in_any_notation(small, factor, patience):
    for text in (f"default-{factor!r}-{patience}", f"default-{factor:e}-{patience}"):
        choice = parse_choice(small, "scheduler", text)
        assert math.isclose(choice.arguments["factor"], factor, rel_tol=1e-6)
        assert choice.arguments["patience"] == patience


def test_a_hyphen_too_many_is_no_value(registry):
    with pytest.raises(UnknownName) as caught:
        parse_choice(registry, "model", "resnet-50")
    assert "resnet50" in str(caught.value)


def test_a_library_of_another_takes_no_bare_name(registry):
    assert registry.find("model", "convnext").plugin.namespace != "hf"
    assert registry.find("model", "hf/convnext").id == "hf/convnext"
    assert registry.find("optimizer", "adamw").id == "torch/adamw"
