"""Arrays as few bytes: nothing is lost, and what should be small is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tastemap.compact import buffer_of, cell, narrow, read

DAY, SECOND = 86_400_000_000, 1_000_000


def back(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return read(cell(values), 0).values()


def n_bytes(values: npt.NDArray[np.generic]) -> float:
    """Bytes of each code."""
    return narrow(values).codes.dtype.itemsize


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([np.int8, np.int16, np.int32, np.int64, np.uint8, np.float32, np.float64]).flatmap(
        lambda dtype: arrays.arrays(dtype, st.integers(0, 30))
    )
)
def test_whatever_comes_comes_back(values: npt.NDArray[np.generic]) -> None:
    found = back(values)
    assert found.dtype == values.dtype
    assert found.tobytes() == values.tobytes()  # to the bit: -0.0 and NaN too


@settings(max_examples=200, deadline=None)
@given(
    st.integers(-(2**62), 2**62),
    st.lists(st.integers(0, 2**33), min_size=1, max_size=9),
    st.sampled_from([1, SECOND, DAY]),
)
def test_integers_in_a_narrow_range_or_of_a_unit(low: int, steps: list[int], unit: int) -> None:
    whole = [low // unit * unit + unit * step for step in steps]
    values = np.array([number for number in whole if abs(number) < 2**63], dtype=np.int64)
    np.testing.assert_array_equal(back(values), values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(256) + 10**12, 1),
        (np.arange(65_536) - 2**62, 2),
        (np.array([7, 2_649_429]), 4),
        (np.array([0, 2**32 - 1]), 4),
        (np.array([0, 2**32]), 8),
        (np.arange(10_000, 13_000) * DAY, 2),
        (np.array([1, 2**32]) * SECOND - 2**62 // SECOND * SECOND, 4),
        (np.array([-(2**63), 2**63 - 1]), 8),
        (np.array([-(2**31), 2**31 - 1], dtype=np.int32), 4),
        (np.array([0, 65_535], dtype=np.int32), 2),
        (np.array([100_000, 165_535], dtype=np.int32), 2),
        (np.arange(1, 6, dtype=np.float32), 1),
        (np.arange(0.5, 5.5, 0.5, dtype=np.float32), 1),
        (np.array([0.1, 0.3, 0.7, 9.9], dtype=np.float32), 1),
        (np.array([0.1, 0.3, 0.7, 9.9], dtype=np.float64), 1),
        (np.array([1.0, 255.0, 256.0], dtype=np.float32), 4),
        (np.array([1.0, np.nan], dtype=np.float32), 4),
        (np.r_[np.ones(200), 1 / 3], 8),
    ],
)
def test_bytes_of_a_code(values: npt.NDArray[np.generic], expected: int) -> None:
    assert n_bytes(values) == expected
    np.testing.assert_array_equal(back(values), values)


def test_some_of_the_elements() -> None:
    values = np.array([5, 9, 7, 5]) * DAY
    found = narrow(values)
    np.testing.assert_array_equal(found[np.array([2, 0])].values(), values[[2, 0]])
    cells = found.cells([slice(1, 3), slice(0, 0), slice(3, 4)])
    for row, some in enumerate((values[1:3], [], values[3:])):
        np.testing.assert_array_equal(read(cells, row).values(), some)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("start", [0, 1, 2])
def test_bytes_of_a_cell_are_not_copied(kind: pa.DataType, start: int) -> None:
    texts = [b"a" * 7, b"", b"bcd" * 100]
    column = pa.array(texts, kind).slice(start)
    data = column.buffers()[2]
    for row, text in enumerate(texts[start:]):
        found = buffer_of(column, row)
        assert found.to_pybytes() == text
        assert data.address <= found.address <= found.address + found.size <= data.address + data.size
    assert buffer_of(pa.array([b""], kind), 0).size == 0


def test_arrays_as_they_are_lie_where_processors_want_them() -> None:
    """Wherever their cell begins."""
    values = np.array([0.1, 1 / 3])
    shifted = pa.concat_arrays([pa.array([b"xyz"], pa.binary()), cell(values)])
    found = read(shifted, 1)
    assert found.unit == 0 and not found.codes.flags.aligned
    assert found.values().flags.aligned
    np.testing.assert_array_equal(found.values(), values)
