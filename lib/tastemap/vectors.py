"""`VectorUDT` columns as Arrow sees them, to and from SciPy and NumPy without a Python loop.

Through `mapInArrow` a vector is struct<type, size, indices, values>: type 0 is sparse, with size,
indices and values; type 1 is dense, with values only (`pyspark.ml.linalg.VectorUDT.sqlType`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

ARROW_TYPE = pa.struct(
    [
        ("type", pa.int8()),
        ("size", pa.int32()),
        ("indices", pa.list_(pa.int32())),
        ("values", pa.list_(pa.float64())),
    ]
)


def to_csr(vectors: pa.Array, size: int) -> sparse.csr_matrix:
    """Vectors, sparse and dense mixed, as a matrix of shape (n, size) in float64.

    Raises
    ------
    ValueError
        A vector is missing or has another length.
    """
    if vectors.null_count:
        raise ValueError(f"{vectors.null_count} of {len(vectors)} vectors are null; drop or fill them")
    dense = np.asarray(vectors.field("type")) == 1
    values = vectors.field("values")
    lengths = np.asarray(pc.list_value_length(values)).astype(np.int64)
    sizes = np.where(dense, lengths, np.asarray(vectors.field("size").fill_null(0)))
    if len(vectors) and np.any(sizes != size):
        found = int(sizes[sizes != size][0])
        raise ValueError(f"a vector has {found} features, the others have {size}")
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.tile(np.arange(size, dtype=np.int32), int(dense.sum()))
    if not dense.all():
        sparse_indices = np.asarray(vectors.field("indices").flatten())
        if dense.any():
            both = np.empty(indptr[-1], dtype=np.int32)
            is_dense = np.repeat(dense, lengths)
            both[is_dense], both[~is_dense] = indices, sparse_indices
            indices = both
        else:
            indices = sparse_indices
    return csr(np.asarray(values.flatten()), indices, indptr, size)


def csr(
    data: npt.NDArray[Any], indices: npt.NDArray[Any], indptr: npt.NDArray[Any], size: int
) -> sparse.csr_matrix:
    """A CSR matrix over the given arrays, without the checks and copies of SciPy's constructor."""
    matrix = sparse.csr_matrix((len(indptr) - 1, size), dtype=data.dtype)
    matrix.data, matrix.indices = data, indices
    matrix.indptr = indptr.astype(indices.dtype, copy=False)
    return matrix


def runs(
    matrix: sparse.csr_matrix, *, rows: int | None = None, values: int | None = None
) -> Iterator[tuple[slice, slice]]:
    """Rows one after the other: at most so many at a time, and of two or more at most so many stored values.

    Yields
    ------
    rows, values : slice
        Of the matrix, and of what it stores.
    """
    indptr, start = matrix.indptr, 0
    while start < matrix.shape[0]:
        stop = matrix.shape[0] if rows is None else min(start + rows, matrix.shape[0])
        if values is not None:
            stop = min(stop, int(np.searchsorted(indptr, indptr[start] + values, side="right")) - 1)
        stop = max(stop, start + 1)
        yield slice(start, stop), slice(indptr[start], indptr[stop])
        start = stop


def run_of(matrix: sparse.csr_matrix, rows: slice, values: slice) -> sparse.csr_matrix:
    """The rows of a run; nothing that they store is copied."""
    indptr = matrix.indptr[rows.start : rows.stop + 1] - values.start
    return csr(matrix.data[values], matrix.indices[values], indptr, matrix.shape[1])


def select(matrix: sparse.csr_matrix, chosen: npt.NDArray[np.bool_]) -> sparse.csr_matrix:
    """The stored values that are chosen (of shape (nnz,)), in a matrix of the same shape."""
    indptr = np.concatenate([[0], np.cumsum(chosen)])[matrix.indptr]
    return csr(matrix.data[chosen], matrix.indices[chosen], indptr, matrix.shape[1])


def row_sums(
    values: npt.NDArray[Any], pattern: sparse.csr_matrix, dtype: npt.DTypeLike = np.float64
) -> npt.NDArray[Any]:
    """Sums over the rows of values stored in a matrix's pattern, of shape (n,); 0 for empty rows."""
    filled = np.diff(pattern.indptr) > 0  # reduceat gives an empty range its first value
    sums = np.zeros(pattern.shape[0], dtype)
    sums[filled] = np.add.reduceat(values, pattern.indptr[:-1][filled], dtype=dtype)
    return sums


def with_values(
    matrix: sparse.csr_matrix | sparse.csc_matrix, values: npt.NDArray[Any]
) -> sparse.csr_matrix | sparse.csc_matrix:
    """Other values, of shape (nnz,), in the places of those that are stored; nothing is copied."""
    found = type(matrix)(matrix.shape, dtype=values.dtype)
    found.data, found.indices, found.indptr = values, matrix.indices, matrix.indptr
    return found


def ones_like(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """1 for every stored value."""
    return csr(np.ones(matrix.nnz), matrix.indices, matrix.indptr, matrix.shape[1])


def from_csr(matrix: sparse.csr_matrix) -> pa.Array:
    """Rows of a matrix as sparse vectors; stored zeros stay stored."""
    n, size = matrix.shape
    offsets = pa.array(matrix.indptr.astype(np.int32, copy=False))
    return pa.StructArray.from_arrays(
        [
            pa.array(np.zeros(n, dtype=np.int8)),
            pa.array(np.full(n, size, dtype=np.int32)),
            pa.ListArray.from_arrays(offsets, pa.array(matrix.indices.astype(np.int32, copy=False))),
            pa.ListArray.from_arrays(offsets, pa.array(matrix.data.astype(np.float64, copy=False))),
        ],
        fields=list(ARROW_TYPE),
    )


def from_dense(rows: npt.NDArray[np.float64]) -> pa.Array:
    """Rows of an array of shape (n, k) as dense vectors."""
    n, k = rows.shape
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * np.int32(k))
    return pa.StructArray.from_arrays(
        [
            pa.array(np.ones(n, dtype=np.int8)),
            pa.nulls(n, pa.int32()),
            pa.nulls(n, pa.list_(pa.int32())),
            pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(rows, dtype=np.float64).ravel())),
        ],
        fields=list(ARROW_TYPE),
    )
