"""Sparse matrices in few bytes a value: what comes back, and how near it is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from tastemap.decomposition.packed import Packed


def matrix(n: int, d: int, dtype: type[np.floating], seed: int = 0) -> sparse.csr_matrix:
    found = sparse.random(n, d, 0.2, "csr", dtype=dtype, random_state=seed)
    found.data -= dtype(0.5)
    return found


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (30, 256), (30, 257), (40, 70_000)])
def test_a_matrix_comes_back_as_it_was(
    shape: tuple[int, int], dtype: type[np.floating], kind: type[sparse.csr_matrix]
) -> None:
    before = kind(matrix(*shape, dtype))
    packed = Packed.of(before, rough=False)
    after = packed.unpacked()
    assert type(after) is kind and after.shape == shape and after.dtype == dtype
    assert after.indices.dtype == before.indices.dtype
    np.testing.assert_array_equal(after.toarray(), before.toarray())
    minor = shape[1] if kind is sparse.csr_matrix else shape[0]
    assert packed.indices.itemsize == (1 if minor <= 256 else 2 if minor <= 65_536 else 4)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e6, 1e30])
def test_rough_values_are_near_whatever_their_size(scale: float) -> None:
    before = matrix(200, 300, np.float32)
    before.data *= np.float32(scale)
    packed = Packed.of(before, rough=True)
    after = packed.unpacked()
    assert packed.values.nbytes + packed.indices.nbytes == 4 * before.nnz
    off = np.abs(after.data / before.data - 1)
    assert 1e-3 < off.max() <= 2.0**-8  # half of the last of seven bits
    assert abs(np.mean(after.data / before.data - 1)) < 1e-4  # rounded, not cut off


def test_numbers_of_seven_bits_are_exact() -> None:
    values = np.array([0.0, 1.0, -1.5, 0.5, 127.0, -(2.0**-100), 2.0**100], np.float32)
    row = sparse.csr_matrix(values[None])
    row.data[-1] = 0  # a stored zero stays stored
    after = Packed.of(row, rough=True).unpacked()
    np.testing.assert_array_equal(after.data, row.data)
