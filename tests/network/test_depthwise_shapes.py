"""Where the fast gradient of depthwise convolutions is used, and what is asked of torch."""

from __future__ import annotations

import pytest

from zoo.network.fast.depthwise_shapes import Axis, wins

SAME = (1, 2, 1, 2)  # TensorFlow's padding for 5x5 with stride 2 on an even map


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "expected"),
    [
        (32, 3, 2, (0, 1), (1, 4)),  # 0 a b c with padding 1
        (16, 5, 2, (1, 2), (2, 6)),
        (16, 5, 2, (2, 2), (2, 5)),  # nothing to do
        (7, 3, 1, (1, 1), (1, 3)),
        (1, 5, 1, (2, 2), (0, 1)),  # one live tap
        (2, 5, 2, (1, 2), (0, 2)),  # the two that are left see the map alone
    ],
    ids=str,
)
def test_a_filter_with_the_same_padding_on_both_sides(size, kernel, stride, padding, expected):
    axis = Axis(size=size, kernel=kernel, stride=stride, before=padding[0], after=padding[1])
    assert axis.embedded == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"batch": 15}, False),
        ({"channels": 20}, False),
        ({"capability": "AVX512"}, True),
        ({"capability": "DEFAULT"}, False),
        ({"size": (7, 7)}, True),
        ({"size": (7, 7), "capability": "AVX512"}, True),
        ({"size": (8, 8), "stride": (2, 2)}, False),
        ({"size": (4, 4), "stride": (2, 2)}, True),
        ({"kernel": (3, 3), "padding": (1, 1, 1, 1)}, True),
        ({"kernel": (3, 3), "padding": (1, 1, 1, 1), "size": (3, 3)}, False),
        ({"kernel": (3, 3), "padding": (1, 1, 1, 1), "size": (3, 3), "stride": (2, 2)}, True),
        ({"kernel": (3, 3), "padding": (0, 1, 0, 1), "stride": (2, 2)}, False),
        ({"kernel": (7, 7), "padding": (3, 3, 3, 3), "size": (6, 6), "stride": (2, 2)}, True),
        ({"kernel": (7, 7), "padding": (3, 3, 3, 3), "size": (7, 7), "stride": (2, 2)}, False),
        ({"padding": (0, 0, 0, 0)}, False),
        ({"kernel": (3, 3), "padding": (1, 1, 1, 1), "capability": "AVX512"}, True),
        (
            {"kernel": (3, 3), "padding": (1, 1, 1, 1), "capability": "AVX512", "channels": 120},
            False,
        ),
        ({"capability": "AVX512", "channels": 120}, True),
    ],
    ids=str,
)
def test_where_it_is_used(change, expected):
    layer = {"batch": 64, "channels": 960, "size": (2, 2), "kernel": (5, 5), "stride": (1, 1)}
    layer |= {"padding": (2, 2, 2, 2), "capability": "AVX2"}
    assert wins(**(layer | change)) is expected


STEM = {"size": (32, 32), "channels": 96, "kernel": (3, 3)}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"padding": (2, 2, 2, 2)}, True),
        ({"kernel": (7, 7), "padding": (3, 3, 3, 3)}, True),
        ({"capability": "AVX2"}, False),
        ({"batch": 15}, False),
        ({"channels": 20}, False),
        ({"stride": (3, 3)}, False),
        ({"size": (6, 6), "channels": 40}, False),  # too little work
        ({"size": (4, 4), "channels": 672}, True),
        (STEM | {"padding": (0, 1, 0, 1)}, True),
        (STEM | {"padding": (1, 1, 1, 1)}, False),  # nothing is copied by torch
        (STEM | {"padding": (0, 1, 0, 1), "size": (16, 16)}, False),
        (STEM | {"padding": (0, 1, 0, 1), "capability": "AVX2"}, False),
        (STEM | {"padding": (1, 1, 1, 1), "stride": (1, 1)}, False),
    ],
    ids=str,
)
def test_where_it_is_used_with_stride_2(change, expected):
    layer = {"batch": 32, "channels": 144, "size": (16, 16), "kernel": (5, 5), "stride": (2, 2)}
    layer |= {"padding": SAME, "capability": "AVX512"}
    assert wins(**(layer | change)) is expected
