"""Properties that hold for all values: sizes, layouts, MATLAB's names, MAT files there and back.

Examples are derived from the tests alone (`derandomize`), so that every run tries the same ones.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from matnet import layout, shapes
from matnet.formats.mat import read_mat, write_mat
from matnet.formats.mat.values import Cell
from matnet.formats.names import KEYWORDS, identifiers

fixed = settings(derandomize=True, deadline=None, database=None, max_examples=60)
SMALL = st.integers(0, 4)
LENGTHS = st.integers(1, 6)
NUMBERS = st.sampled_from([np.float32, np.float64, np.uint8, np.int16, np.int64, np.bool_])


@pytest.mark.process
@fixed
@given(st.integers(1, 12), SMALL, SMALL, st.integers(1, 5), st.integers(1, 4))
def test_windows_are_the_places_where_a_kernel_fits(
    size: int, before: int, after: int, kernel: int, stride: int
) -> None:
    padded = before + size + after
    if padded >= kernel:
        fitting = [start for start in range(0, padded, stride) if start + kernel <= padded]
        assert shapes.windows(size, before, after, kernel, stride) == len(fitting)


@pytest.mark.process
@fixed
@given(st.integers(1, 6), st.integers(1, 4))
def test_extent_is_the_distance_of_the_outer_taps(kernel: int, dilate: int) -> None:
    taps = range(0, kernel * dilate, dilate)
    assert shapes.extent(kernel, dilate) == taps[-1] - taps[0] + 1


@pytest.mark.process
@fixed
@given(st.tuples(LENGTHS, LENGTHS, LENGTHS, LENGTHS))
def test_layouts_keep_every_value_at_its_place(shape: tuple[int, int, int, int]) -> None:
    h, w, c, n = shape
    matlab = np.arange(h * w * c * n).reshape(shape)
    images, filters, rows = layout.hwcn_to_nchw(matlab), layout.filters_to_kchw(matlab), layout.filters_to_rows(matlab)
    for i, j, k, m in np.ndindex(shape):
        assert images[m, k, i, j] == matlab[i, j, k, m]
        assert filters[m, k, i, j] == matlab[i, j, k, m]
        assert rows[m, (k * w + j) * h + i] == matlab[i, j, k, m]
    np.testing.assert_array_equal(layout.nchw_to_hwcn(images), matlab)
    np.testing.assert_array_equal(layout.kchw_to_filters(filters), matlab)


@pytest.mark.process
@fixed
@given(st.lists(st.one_of(st.text(max_size=80), st.sampled_from([*sorted(KEYWORDS), "a/b", "a_b", "1a"])), max_size=12))
def test_identifiers_are_valid_and_distinct(names: list[str]) -> None:
    found = identifiers(names)
    assert set(found) == set(names)
    assert len(set(found.values())) == len(found)
    for name, written in found.items():
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", written, re.ASCII)
        assert written not in KEYWORDS
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", name) and name not in KEYWORDS:
            assert written == name


@pytest.mark.process
@pytest.mark.parametrize("version", ["5", "7.3"])
@fixed
@given(data=st.data())
def test_arrays_come_back_from_a_mat_file(version: str, data: st.DataObject) -> None:
    """Values, class and size; MATLAB has no fewer than two axes and drops trailing ones of length 1."""
    dtype = data.draw(NUMBERS)
    value = data.draw(arrays(dtype, array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=4)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.mat")
        write_mat(path, {"x": value, "s": {"inside": value}}, version=version)
        read = read_mat(path)
        for found in (np.array(read["x"]), np.array(read["s"]["inside"])):
            axes = max(value.ndim, found.ndim)
            assert found.dtype == value.dtype
            np.testing.assert_array_equal(
                found.reshape(found.shape + (1,) * (axes - found.ndim)),
                value.reshape(value.shape + (1,) * (axes - value.ndim)),
                strict=True,
            )


CHARACTERS = st.characters(codec="utf-8", max_codepoint=0xFFFF, exclude_categories=("Cs", "Cc"))  # MATLAB's char
TEXTS = st.text(CHARACTERS, min_size=1, max_size=9)
FIELDS = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True)
NESTED = st.recursive(
    st.one_of(TEXTS, arrays(np.float64, (2, 3), elements=st.floats(width=64, allow_nan=False))),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(Cell), st.dictionaries(FIELDS, inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


def assert_alike(found: Any, expected: Any) -> None:
    assert isinstance(found, Mapping) == isinstance(expected, dict)
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert_alike(found[name], value)
    elif isinstance(expected, Cell):
        assert isinstance(found, Cell) and len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, str):
        assert found == expected
    else:
        np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.process
@pytest.mark.parametrize("version", ["5", "7.3"])
@fixed
@given(value=NESTED)
def test_structs_cells_and_text_come_back_from_a_mat_file(version: str, value: Any) -> None:
    """Nested in any way: names of fields, order of elements, text and numbers."""
    with tempfile.TemporaryDirectory() as folder:
        write_mat(Path(folder, "x.mat"), {"x": value}, version=version)
        assert_alike(read_mat(Path(folder, "x.mat"))["x"], value)
