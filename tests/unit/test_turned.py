"""Features by column: what is multiplied is the same, whichever way they lie."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from standins import block_matrix
from strategies import split_rows
from tastemap import schemas
from tastemap.blocks import Block, BlockMatrix, encode
from tastemap.decomposition import covariance, turned
from tastemap.decomposition.covariance import Covariance


def in_columns(matrix: BlockMatrix) -> BlockMatrix:
    """As `turned` keeps and loads it, without the files."""

    def load(batch: pa.RecordBatch) -> Iterator[Block]:
        for block in matrix.load(batch):
            row = encode(turned._turned(block))
            assert row.schema.names == schemas.BLOCKS.names
            yield from turned._decode(row)

    return matrix.loading(load)


@settings(derandomize=True, deadline=None)
@given(split_rows(), st.integers(1, 4), st.sampled_from([0, 1 << 20]))
def test_products_are_those_of_rows_in_single_precision_to_the_last_bit(
    drawn: tuple[sparse.csr_matrix, list[list[sparse.csr_matrix]]], width: int, wide: int
) -> None:
    rounded = [[batch.astype(np.float32) for batch in batches] for batches in drawn[1]]
    rows = block_matrix(rounded)
    block = np.random.default_rng(0).standard_normal((rows.n_columns, width))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(covariance, "WIDE_BYTES", wide)
        one, other = (Covariance(each, center=True, single=True) for each in (rows, in_columns(rows)))
        for _ in range(2):
            np.testing.assert_array_equal(one.multiply(block), other.multiply(block))
    assert one.moments.n_rows == other.moments.n_rows
    np.testing.assert_allclose(one.moments.mean, other.moments.mean, rtol=0, atol=1e-15)
    assert one.moments.total_variance == pytest.approx(other.moments.total_variance, rel=1e-12, abs=1e-15)


def test_moments_are_summed_in_double_precision() -> None:
    """Of values that single precision has, whose sum it has not."""
    rows = sparse.csr_matrix(np.full((1000, 2), 1 + 2.0**-20, np.float32))
    operator = Covariance(in_columns(block_matrix([[rows]])), center=True, single=True)
    operator.multiply(np.eye(2))
    np.testing.assert_allclose(operator.moments.mean, 1 + 2.0**-20, rtol=1e-15)
    assert operator.moments.total_variance == 0
