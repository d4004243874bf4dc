"""Geometries of depthwise convolutions, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


@st.composite
def geometries(draw: Any) -> tuple[tuple[int, ...], tuple[int, int], tuple[int, int], Any]:
    """Returns (size, kernel, stride, padding), each padding less than the filter is long."""
    kernel = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    columns = [draw(st.integers(0, kernel[1] - 1)) for _ in range(2)]
    rows = [draw(st.integers(0, kernel[0] - 1)) for _ in range(2)]
    size = tuple(
        draw(st.integers(max(1, k - sum(pads)), 13))
        for k, pads in zip(kernel, (rows, columns), strict=True)
    )
    return size, kernel, stride, (*columns, *rows)
