"""Tables of integers against pandas, close together and far apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemap.lookup import numbers, positions, ranks, unique

EDGES = {np.int16: (-(2**15), 2**15 - 1), np.int32: (-(2**31), 2**31 - 1)}


def integers(dtype: type[np.integer]) -> st.SearchStrategy[npt.NDArray[np.integer]]:
    """Few numbers close to zero, and sometimes the ends of the type: tables and hashes are both used."""
    near = st.lists(st.integers(-3, 12), max_size=40)
    ends = st.lists(st.sampled_from(EDGES[dtype]), max_size=2)
    return st.builds(lambda a, b: np.array([*a, *b], dtype), near, ends)


@pytest.mark.parametrize("dtype", EDGES)
@given(data=st.data())
def test_as_pandas(dtype: type[np.integer], data: st.DataObject) -> None:
    values = data.draw(integers(dtype))
    among = np.unique(data.draw(integers(dtype)))
    found = unique(values)
    assert found.dtype == dtype and found.tolist() == sorted(set(values.tolist()))
    ranked, different = ranks(values)
    assert (ranked.dtype, different.dtype) == (np.int32, dtype)
    assert different.tolist() == found.tolist() and different[ranked].tolist() == values.tolist()
    numbered, stands_for = numbers(values)
    assert stands_for.dtype == dtype and stands_for[numbered].tolist() == values.tolist()
    assert stands_for.size <= max(2 * values.size, 1) and (np.diff(stands_for.astype(np.int64)) > 0).all()
    placed = positions(values, among)
    assert placed.dtype == np.int32
    assert placed.tolist() == pd.Index(among).get_indexer(pd.Index(values)).tolist()


def test_what_is_beyond_a_table_stands_nowhere() -> None:
    values = np.array([-7, 0, 1, 2, 3, 4, 50] * 3, np.int32)
    assert positions(values, np.array([0, 3], np.int32)).tolist() == [-1, 0, -1, -1, 1, -1, -1] * 3
    assert positions(values, np.array([1, 3], np.int32)).tolist() == [-1, -1, 0, -1, 1, -1, -1] * 3
    assert positions(values, np.array([], np.int32)).tolist() == [-1] * 21


@pytest.mark.parametrize("shift", [0, 5, 10**6])
def test_the_same_close_together_and_far_apart(shift: int) -> None:
    rng = np.random.default_rng(0)
    values = (rng.integers(0, 2000, 10_000) + shift).astype(np.int32)
    among = np.unique(rng.integers(1, 1900, 900)).astype(np.int32) + np.int32(shift)
    np.testing.assert_array_equal(unique(values), np.unique(values))
    for found, known in zip(ranks(values), np.unique(values, return_inverse=True)[::-1], strict=True):
        np.testing.assert_array_equal(found, known)
    expected = pd.Index(among).get_indexer(pd.Index(values))
    np.testing.assert_array_equal(positions(values, among), expected)


def test_distances_that_do_not_fit_into_a_narrow_type() -> None:
    """Ratings without a time are of the least year there is."""
    values = np.repeat(np.array([-(2**15), 28, 35], np.int16), 30_000)
    assert unique(values).tolist() == [-(2**15), 28, 35]
    ranked, different = ranks(values)
    assert different.tolist() == [-(2**15), 28, 35]
    assert ranked[[0, 30_000, 60_000]].tolist() == [0, 1, 2]
