"""Blocks, and products over them: the same for any way the rows are split."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import oracles
from standins import block_matrix
from strategies import split_rows
from tastemap import pivot, schemas, segmentation, vectors
from tastemap.blocks import NO_YEAR, Block, BlockMatrix, decode, encode, from_vectors
from tastemap.decomposition import covariance, turned
from tastemap.decomposition.covariance import Covariance
from tastemap.features import loading
from tastemap.segmentation import Projection
from tastemap.weighting import Weighting


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip(dtype: type) -> None:
    matrix = sparse.random(7, 5, density=0.4, format="csr", random_state=1, dtype=dtype)
    block = Block(np.array([5, -1, 1 << 40, 3, 2, 9, 0]), matrix)
    batch = encode(block)
    assert batch.schema.names == schemas.BLOCKS.names
    both = pa.Table.from_batches([batch, batch]).combine_chunks().to_batches()[0]
    for back in decode(both, 5):
        np.testing.assert_array_equal(back.ids, block.ids)
        assert back.matrix.dtype == dtype and back.matrix.shape == matrix.shape
        np.testing.assert_array_equal(back.matrix.toarray(), matrix.toarray())
        assert back.years is None
    assert len(list(decode(both, 5))) == 2


def test_years_are_read_where_their_column_is() -> None:
    matrix = sparse.csr_matrix(np.arange(1, 5).reshape(2, 2))
    years = np.array([35, NO_YEAR, -3, 35], dtype=np.int16)
    batch = encode(Block(np.arange(2), matrix, years))
    (back,) = decode(batch, 2)
    assert back.years is not None and back.years.dtype == np.int16
    np.testing.assert_array_equal(back.years, years)
    (back,) = decode(batch.select(BlockMatrix.columns), 2)
    assert back.years is None


def test_encode_narrows_the_indices_of_wide_arrays() -> None:
    matrix = sparse.csr_matrix(np.eye(3))
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    (back,) = decode(encode(Block(np.arange(3, dtype=np.int32), matrix)), 3)
    np.testing.assert_array_equal(back.matrix.toarray(), np.eye(3))


@pytest.mark.parametrize("n", [0, 4])
def test_blocks_without_values(n: int) -> None:
    (back,) = decode(encode(Block(np.arange(n), sparse.csr_matrix((n, 6)))), 6)
    assert back.ids.size == n and back.matrix.shape == (n, 6) and back.matrix.nnz == 0


@settings(derandomize=True, deadline=None)
@given(split_rows(), st.sampled_from([1, 5, 1 << 21]))
def test_vectors_become_blocks_in_order_whatever_the_batches(
    drawn: tuple[sparse.csr_matrix, list[list[sparse.csr_matrix]]], max_values: int
) -> None:
    matrix, partitions = drawn
    d = matrix.shape[1]
    found = []
    for batches in partitions:
        arrow = (pa.record_batch([vectors.from_csr(batch)], names=["features"]) for batch in batches)
        for row in from_vectors(d, max_values)(arrow):
            (block,) = decode(row, d)
            found.append(block.matrix)
    joined = sparse.vstack(found).toarray() if found else np.zeros((0, d))
    np.testing.assert_array_equal(joined, matrix.toarray())


def test_blocks_hold_about_as_many_values_as_asked_for() -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(10):
            yield pa.record_batch([vectors.from_dense(np.ones((2, 3)))], names=["features"])

    sizes = [next(decode(row, 3)).ids.size for row in from_vectors(3, 13)(batches())]
    assert sizes == [6, 6, 6, 2]
    assert sum(1 for _ in from_vectors(3)(batches())) == 1


@settings(derandomize=True, deadline=None)
@given(split_rows(), st.integers(1, 4), st.booleans())
def test_any_split_of_the_rows_gives_the_same_products(
    drawn: tuple[sparse.csr_matrix, list[list[sparse.csr_matrix]]], width: int, center: bool
) -> None:
    matrix, partitions = drawn
    operator = Covariance(block_matrix(partitions), center=center)
    oracle = oracles.covariance(matrix, center=center)
    rng = np.random.default_rng(0)
    for _ in range(2):  # the first product comes by another way than the following
        block = rng.standard_normal((matrix.shape[1], width))
        np.testing.assert_allclose(operator.multiply(block), oracle @ block, rtol=0, atol=1e-13)
    moments = operator.moments
    assert moments.n_rows == matrix.shape[0]
    mean = oracles.dense(matrix).mean(axis=0) if center else np.zeros(matrix.shape[1])
    np.testing.assert_allclose(moments.mean, mean, rtol=0, atol=1e-15)
    assert moments.total_variance == pytest.approx(np.trace(oracle), rel=1e-12, abs=1e-15)


@settings(derandomize=True, deadline=None)
@given(split_rows(), st.integers(1, 4), st.booleans())
def test_in_single_precision_products_are_rounded_and_depend_on_no_split(
    drawn: tuple[sparse.csr_matrix, list[list[sparse.csr_matrix]]], width: int, center: bool
) -> None:
    matrix, partitions = drawn
    operator = Covariance(block_matrix(partitions), center=center, single=True)
    unsplit = Covariance(block_matrix([[matrix]]), center=center, single=True)
    oracle = oracles.covariance(matrix, center=center)
    rng = np.random.default_rng(0)
    for _ in range(2):
        block = rng.standard_normal((matrix.shape[1], width))
        found = operator.multiply(block)
        np.testing.assert_allclose(found, unsplit.multiply(block), rtol=0, atol=1e-13)
        size = float(np.abs(oracles.dense(matrix)).max(initial=0.0) ** 2 * matrix.shape[1])
        np.testing.assert_allclose(found, oracle @ block, rtol=0, atol=4e-6 * size)


@settings(derandomize=True, deadline=None)
@given(split_rows(), st.booleans())
def test_products_of_rows_turned_into_columns_are_the_same_to_the_last_bit(
    drawn: tuple[sparse.csr_matrix, list[list[sparse.csr_matrix]]], single: bool
) -> None:
    matrix, partitions = drawn
    found = []
    for size in (1 << 20, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(covariance, "WIDE_BYTES", size)
            operator = Covariance(block_matrix(partitions), center=True, single=single)
            block = np.random.default_rng(0).standard_normal((matrix.shape[1], 3))
            found.append([operator.multiply(block) for _ in range(2)])
    np.testing.assert_array_equal(*found)


def test_products_of_a_reweighted_matrix() -> None:
    matrix = oracles.sparse_ratings(20, 6)
    stored = block_matrix([[matrix]])

    def doubled(batch: pa.RecordBatch) -> Iterator[Block]:
        for block in stored.load(batch):
            yield Block(block.ids, block.matrix * 2.0)

    block: npt.NDArray[np.float64] = np.eye(6)
    twice = Covariance(stored.loading(doubled), center=True).multiply(block)
    np.testing.assert_allclose(twice, 4 * oracles.covariance(matrix), atol=1e-12)


def test_the_shared_block_is_freed_after_each_product_and_after_a_failure() -> None:
    matrix = block_matrix([[sparse.csr_matrix(np.eye(3))]])
    Covariance(matrix, center=True).multiply(np.ones((3, 1)))
    assert matrix.spark.sparkContext.broadcasts == []
    with pytest.raises(ValueError):
        Covariance(matrix, center=True).multiply(np.ones((4, 1)))
    assert matrix.spark.sparkContext.broadcasts == []


@pytest.mark.parametrize("n", [0, 1])
def test_a_covariance_needs_two_rows(n: int) -> None:
    matrix = block_matrix([[sparse.csr_matrix((n, 3))]])
    with pytest.raises(ValueError, match=f"at least 2 rows, found {n}"):
        Covariance(matrix, center=True).multiply(np.ones((3, 1)))


WEIGHTS = Weighting("stars", True, 0.0, np.zeros(6), 0.0)
PROJECTION = Projection(WEIGHTS, np.eye(6)[:, :2], np.zeros(2))


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda rows: Covariance(rows, center=True).multiply(np.eye(6)), id="multiplied"),
        pytest.param(
            lambda rows: Covariance(loading(WEIGHTS, rows), center=True).multiply(np.eye(6)), id="weighed"
        ),
        pytest.param(
            lambda rows: pivot.index_columns(rows, np.arange(6, dtype=np.int32), 1).rows.frame, id="indexed"
        ),
        pytest.param(lambda rows: segmentation.scores(rows, PROJECTION, 80).rows.frame, id="projected"),
        pytest.param(lambda rows: turned.by_column(rows).rows.frame, id="turned"),
    ],
)
def test_no_block_is_kept_while_the_next_is_loaded(use: Callable[[BlockMatrix], object]) -> None:
    matrix = block_matrix([[oracles.sparse_ratings(20, 6, seed=seed) for seed in range(4)]])
    loaded: list[weakref.ref[Block]] = []

    def load(batch: pa.RecordBatch) -> Iterator[Block]:
        assert not any(block() for block in loaded)
        (block,) = matrix.load(batch)
        loaded.append(weakref.ref(block))
        return iter([block])

    use(matrix.loading(load))
    assert len(loaded) == 4


def test_a_block_without_rows_has_no_parts() -> None:
    empty = Block(np.zeros(0, np.int64), sparse.csr_matrix((0, 6)))
    assert list(empty.in_parts()) == list(empty.in_parts(3, 5)) == []


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("size", [1, 7, 19, 20, 50])
def test_parts_of_a_block(size: int, dated: bool) -> None:
    matrix = oracles.sparse_ratings(20, 6)
    years = np.arange(matrix.nnz, dtype=np.int16) if dated else None
    parts = list(Block(np.arange(100, 120), matrix, years).in_parts(size))
    assert [part.ids.size for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert np.concatenate([part.ids for part in parts]).tolist() == list(range(100, 120))
    assert (sparse.vstack([part.matrix for part in parts]) != matrix).nnz == 0
    few = list(Block(np.arange(100, 120), matrix, years).in_parts(size, 5))
    assert all(part.ids.size == 1 or part.matrix.nnz <= 5 for part in few)
    assert len(few) > 2
    assert (sparse.vstack([part.matrix for part in few]) != matrix).nnz == 0
    if dated:
        assert np.concatenate([part.years for part in parts]).tolist() == list(range(matrix.nnz))  # type: ignore[misc]
    else:
        assert all(part.years is None for part in parts)
