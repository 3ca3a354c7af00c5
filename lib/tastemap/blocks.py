"""CSR blocks: many rows of a sparse matrix in one DataFrame row of binary columns.

Spark writes list columns element by element; a block crosses between the JVM and NumPy as a few
memory copies. Everything that passes over the data many times passes over blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from scipy import sparse

from tastemap import vectors

ArrowFunction = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""What `mapInArrow` takes: the batches of a partition to batches of the result."""


@dataclass(frozen=True)
class Block:
    """Some rows of a sparse matrix with the ids of what they describe."""

    ids: npt.NDArray[np.int64]
    """Of shape (n,)."""
    matrix: sparse.csr_matrix
    """Of shape (n, d)."""


Load = Callable[[pa.RecordBatch], Iterator[Block]]
"""Blocks out of a batch of rows: decoding, and whatever is to be done to the values on the way."""


@dataclass(frozen=True)
class BlockMatrix:
    """A sparse matrix whose rows are spread over executors as blocks."""

    frame: DataFrame
    """Of `schemas.BLOCKS`; whoever passes over it more than once persists it."""
    n_partitions: int
    """Partitions of the frame: known to whoever made it, dear to ask Spark for at every pass."""
    n_columns: int
    load: Load
    """How a batch of the frame becomes blocks; runs on executors."""

    def loading(self, load: Load) -> BlockMatrix:
        """The same rows, their values loaded in another way."""
        return replace(self, load=load)


def encode(block: Block) -> pa.RecordBatch:
    """One DataFrame row, of schema `schemas.BLOCKS`."""
    matrix = block.matrix
    cells: list[npt.NDArray[Any]] = [
        block.ids.astype(np.int64, copy=False),
        matrix.indptr.astype(np.int32, copy=False),
        matrix.indices.astype(np.int32, copy=False),
        matrix.data,
    ]
    return pa.record_batch(
        [pa.array([cell.tobytes()], pa.binary()) for cell in cells],
        names=["ids", "indptr", "indices", "values"],
    )


def decode(batch: pa.RecordBatch, n_columns: int, dtype: npt.DTypeLike) -> Iterator[Block]:
    """The blocks of a batch of encoded rows: one copy of their bytes, which is not to be written to."""
    for row in range(batch.num_rows):
        ids = _array(batch["ids"], row, np.int64)
        indptr = _array(batch["indptr"], row, np.int32)
        indices = _array(batch["indices"], row, np.int32)
        values = _array(batch["values"], row, dtype)
        yield Block(ids, vectors.csr(values, indices, indptr, n_columns))


def _array(column: pa.Array, row: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.frombuffer(column[row].as_buffer(), dtype=dtype)


def from_vectors(n_columns: int, max_values: int = 1 << 21) -> ArrowFunction:
    """Executor function: batches of one `VectorUDT` column to float64 blocks of about `max_values`.

    Rows have no ids then: they are numbered within the partition.
    """

    def convert(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        waiting: list[sparse.csr_matrix] = []
        for batch in batches:
            waiting.append(vectors.to_csr(batch.column(0), n_columns))
            if sum(matrix.nnz for matrix in waiting) >= max_values:
                yield _stack(waiting)
                waiting = []
        if waiting:
            yield _stack(waiting)

    return convert


def _stack(matrices: list[sparse.csr_matrix]) -> pa.RecordBatch:
    matrix = matrices[0] if len(matrices) == 1 else sparse.vstack(matrices, format="csr")
    return encode(Block(np.arange(matrix.shape[0]), matrix))
