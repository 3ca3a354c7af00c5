"""Vectors as Arrow sees them, against what pyspark's own VectorUDT makes of the same vectors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.ml.linalg import DenseVector, SparseVector, Vector, Vectors, VectorUDT
from scipy import sparse

from tastemap import vectors

FIELDS = ("type", "size", "indices", "values")


def to_arrow(rows: list[Vector | None]) -> pa.Array:
    """As Spark hands vectors to `mapInArrow`."""
    udt = VectorUDT()
    cells = [None if row is None else dict(zip(FIELDS, udt.serialize(row), strict=True)) for row in rows]
    return pa.array(cells, vectors.ARROW_TYPE)


def from_arrow(array: pa.Array) -> list[Vector]:
    """As Spark reads what `mapInArrow` has made."""
    udt = VectorUDT()
    return [udt.deserialize(tuple(cell[field] for field in FIELDS)) for cell in array.to_pylist()]


@st.composite
def mixed_vectors(draw: st.DrawFn) -> tuple[list[Vector], int]:
    """Sparse and dense vectors of one size in any order; explicit zeros, none at all, everything."""
    size = draw(st.integers(1, 8))
    numbers = st.floats(-1e6, 1e6, allow_subnormal=False)
    dense = st.lists(numbers, min_size=size, max_size=size).map(DenseVector)
    some = st.dictionaries(st.integers(0, size - 1), numbers).map(lambda cells: SparseVector(size, cells))
    return draw(st.lists(st.one_of(dense, some), max_size=12)), size


def stacked(rows: list[Vector], size: int) -> np.ndarray:
    return np.array([row.toArray() for row in rows]).reshape(len(rows), size)


@settings(derandomize=True, deadline=None)
@given(mixed_vectors(), st.integers(0, 3), st.integers(0, 3))
def test_any_mix_of_sparse_and_dense_becomes_the_matrix_it_stands_for(
    drawn: tuple[list[Vector], int], before: int, after: int
) -> None:
    rows, size = drawn
    matrix = vectors.to_csr(to_arrow(rows), size)
    assert matrix.shape == (len(rows), size) and matrix.dtype == np.float64
    np.testing.assert_array_equal(matrix.toarray(), stacked(rows, size))
    # Arrow arrays are often windows on longer ones.
    window = to_arrow(rows).slice(before, max(len(rows) - before - after, 0))
    part = rows[before : before + len(window)]
    np.testing.assert_array_equal(vectors.to_csr(window, size).toarray(), stacked(part, size))


@settings(derandomize=True, deadline=None)
@given(mixed_vectors())
def test_round_trip(drawn: tuple[list[Vector], int]) -> None:
    rows, size = drawn
    matrix = vectors.to_csr(to_arrow(rows), size)
    sparse_array, dense_array = vectors.from_csr(matrix), vectors.from_dense(matrix.toarray())
    assert sparse_array.type == dense_array.type == vectors.ARROW_TYPE
    for array, kind in ((sparse_array, SparseVector), (dense_array, DenseVector)):
        back = from_arrow(array)
        assert all(type(row) is kind for row in back)
        np.testing.assert_array_equal(stacked(back, size), stacked(rows, size))
        np.testing.assert_array_equal(vectors.to_csr(array, size).toarray(), stacked(rows, size))


def test_sparse_stays_sparse_and_stored_zeros_stay_stored() -> None:
    rows = [Vectors.sparse(100_000, {3: 0.0, 99_999: 2.0}), Vectors.sparse(100_000, {})]
    matrix = vectors.to_csr(to_arrow(rows), 100_000)
    assert matrix.nnz == 2
    assert from_arrow(vectors.from_csr(matrix)) == rows
    assert from_arrow(vectors.from_csr(matrix))[0].indices.tolist() == [3, 99_999]


def test_values_are_not_copied() -> None:
    array = to_arrow([Vectors.sparse(5, {1: 2.0, 4: 3.0}), Vectors.sparse(5, {0: 1.0})])
    matrix = vectors.to_csr(array, 5)
    assert np.shares_memory(matrix.data, np.asarray(array.field("values").flatten()))
    assert np.shares_memory(matrix.indices, np.asarray(array.field("indices").flatten()))


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_from_csr_takes_other_types(dtype: type) -> None:
    matrix = sparse.csr_matrix(np.array([[0, 3], [1, 0]], dtype=dtype))
    np.testing.assert_array_equal(vectors.to_csr(vectors.from_csr(matrix), 2).toarray(), [[0, 3], [1, 0]])


def test_from_dense_takes_any_memory_order() -> None:
    rows = np.arange(12.0).reshape(3, 4)
    for array in (np.asfortranarray(rows), rows[:, ::-1][:, ::-1], rows.astype(np.float32)):
        np.testing.assert_array_equal(stacked(from_arrow(vectors.from_dense(array)), 4), rows)


def test_null_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 3 vectors are null; drop or fill them"):
        vectors.to_csr(to_arrow([Vectors.dense([1.0]), None, Vectors.dense([1.0])]), 1)


@pytest.mark.parametrize("odd", [Vectors.dense([1.0, 2.0]), Vectors.sparse(2, {0: 1.0})])
def test_vectors_of_another_length_are_refused(odd: Vector) -> None:
    rows = [Vectors.sparse(3, {0: 1.0}), Vectors.dense([1.0, 2.0, 3.0]), odd]
    with pytest.raises(ValueError, match="a vector has 2 features, the others have 3"):
        vectors.to_csr(to_arrow(rows), 3)


def test_no_vectors_at_all() -> None:
    assert vectors.to_csr(to_arrow([]), 7).shape == (0, 7)
    assert len(vectors.from_csr(sparse.csr_matrix((0, 7)))) == 0
    assert len(vectors.from_dense(np.zeros((0, 7)))) == 0


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_runs_of_rows_are_all_rows_in_parts_of_bounded_size(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, 6), max_size=20))
    n_rows = data.draw(st.none() | st.integers(1, 8))
    n_values = data.draw(st.none() | st.integers(1, 12))
    indptr = np.concatenate([[0], np.cumsum(lengths, dtype=np.int32)]).astype(np.int32)
    columns = np.concatenate([np.arange(length) for length in [0, *lengths]]).astype(np.int32)
    matrix = vectors.csr(np.arange(1.0, columns.size + 1), columns, indptr, 6)
    runs = list(vectors.runs(matrix, rows=n_rows, values=n_values))
    parts = [vectors.run_of(matrix, *run) for run in runs]
    assert sum(part.shape[0] for part in parts) == len(lengths)
    for (rows, values), part in zip(runs, parts, strict=True):
        np.testing.assert_array_equal(part.toarray(), matrix.toarray()[rows])
        np.testing.assert_array_equal(part.data, matrix.data[values])
        assert 0 < part.shape[0] <= (n_rows or len(lengths))
        assert part.shape[0] == 1 or part.nnz <= (n_values or matrix.nnz)
    for (rows, _), part in zip(runs[:-1], parts, strict=False):  # none could have taken one more
        more = part.nnz + lengths[rows.stop]
        assert part.shape[0] == n_rows or (n_values is not None and more > n_values)
