"""CSR blocks: many rows of a sparse matrix in one DataFrame row of binary columns.

Spark writes list columns element by element; a block crosses between the JVM and NumPy as a few
memory copies, and its arrays are compact: about three bytes a rating. Everything that passes over the
data many times passes over blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType
from scipy import sparse

from tastemap import compact, schemas, vectors
from tastemap.aggregation import Array, sum_arrays
from tastemap.executors import ArrowFunction, map_in_arrow
from tastemap.hashing import uniform

B = TypeVar("B")
T = TypeVar("T")

Load = Callable[[pa.RecordBatch], Iterator[B]]
"""Blocks out of a batch of rows: decoding, and whatever is to be done to the values on the way."""
BlockFunction = Callable[[Iterator[B]], Iterator[pa.RecordBatch]]
BlockSums = Callable[[Iterator[B]], Sequence[Array]]

NO_YEAR = np.iinfo(np.int16).min
"""Year of a value whose time is not known."""
STORAGE = StorageLevel.DISK_ONLY
"""Where blocks are persisted: read from the system's page cache while there is memory, else from disk.
Measured on a log of Netflix's size: a pass takes as long as from the heap, which then needs 1 GB less."""


@dataclass(frozen=True)
class Block:
    """Some rows of a sparse matrix with the ids of what they describe."""

    ids: npt.NDArray[np.int64]
    """Of shape (n,)."""
    matrix: sparse.csr_matrix
    """Of shape (n, d)."""
    years: npt.NDArray[np.int16] | None = None
    """Year of each value of the matrix, since 1970, or `NO_YEAR`; None where nobody needs them."""


@dataclass(frozen=True)
class BlockFrame(Generic[B]):
    """Blocks of some kind, spread over executors."""

    frame: DataFrame
    """A row a block; whoever passes over it more than once persists it."""
    n_partitions: int
    """Partitions of the frame: known to whoever made it, dear to ask Spark for at every pass."""
    load: Load[B]
    """How a batch of the frame becomes blocks; runs on executors."""
    columns: ClassVar[Sequence[str]]
    """Columns of the frame that `load` needs."""

    def loading(self, load: Load[B]) -> Self:
        """The same rows, their values loaded in another way."""
        return replace(self, load=load)

    @contextmanager
    def persisted(self) -> Iterator[Self]:
        """Itself, kept as `STORAGE` says after the first pass."""
        self.frame.persist(STORAGE)
        try:
            yield self
        finally:
            self.frame.unpersist()

    def map_blocks(self, function: BlockFunction[B], schema: StructType | str) -> DataFrame:
        """Rows out of blocks: `function` sees those of a task one after the other."""
        return map_in_arrow(self._few_tasks()[0], partial(_load_blocks, self.load, function), schema)

    def map_partitions(self, function: BlockFunction[B], schema: StructType | str) -> DataFrame:
        """The same with a task for each partition, for rows that are to be partitioned alike."""
        return map_in_arrow(
            self.frame.select(*self.columns), partial(_load_blocks, self.load, function), schema
        )

    def sum_over_blocks(self, function: BlockSums[B], shapes: Sequence[tuple[int, ...]]) -> list[Array]:
        """Sum the float64 arrays, of the given shapes, that `function` makes of the blocks of a task."""
        frame, n_tasks = self._few_tasks()
        return sum_arrays(frame, n_tasks, partial(_load_blocks, self.load, function), shapes)

    def _few_tasks(self) -> tuple[DataFrame, int]:
        frame = self.frame.select(*self.columns)
        # One task a core takes the blocks of many partitions, which are alike in size: to start one costs 20
        # to 60 ms, and to bring its sums to the driver a quarter of a second at 70,000 columns.
        n_tasks = frame.sparkSession.sparkContext.defaultParallelism
        if n_tasks >= self.n_partitions:
            return frame, self.n_partitions
        return frame.coalesce(n_tasks), n_tasks


@dataclass(frozen=True)
class BlockMatrix(BlockFrame[Block]):
    """A sparse matrix whose rows are spread over executors as blocks, in a frame of `schemas.BLOCKS`."""

    n_columns: int
    columns: ClassVar[Sequence[str]] = ("ids", "indptr", "indices", "values")

    def sample(self, share: float, seed: int) -> Iterator[Block]:
        """Blocks of a share of the rows, without years, in any order: one pass; they come to the driver.

        Rows are chosen by the hash of their ids, so they are the same for any partitioning.
        """

        def choose(blocks: Iterator[Block]) -> Iterator[pa.RecordBatch]:
            for block in blocks:
                chosen = uniform(block.ids, seed) < share
                yield encode(Block(block.ids[chosen], block.matrix[chosen]))

        rows = self.map_blocks(choose, schemas.BLOCKS).toPandas()  # bounded by the share
        return decode(pa.RecordBatch.from_pandas(rows), self.n_columns)

    def dated(self) -> DatedMatrix:
        """The same rows, with the years of their values."""
        return DatedMatrix(self.frame, self.n_partitions, self.load, self.n_columns)


@dataclass(frozen=True)
class DatedMatrix(BlockMatrix):
    """A matrix whose blocks have `years`: a byte a value that other passes need not read."""

    columns: ClassVar[Sequence[str]] = (*BlockMatrix.columns, "years")


def _load_blocks(load: Load[B], function: Callable[[Iterator[B]], T], batches: Iterator[pa.RecordBatch]) -> T:
    return function(block for batch in batches for block in load(batch))


def encode(block: Block) -> pa.RecordBatch:
    """One DataFrame row, of schema `schemas.BLOCKS`."""
    matrix = block.matrix
    arrays: list[npt.NDArray[Any]] = [
        block.ids.astype(np.int64, copy=False),
        matrix.indptr.astype(np.int32, copy=False),
        matrix.indices.astype(np.int32, copy=False),
        matrix.data,
    ]
    years = pa.nulls(1, pa.binary()) if block.years is None else compact.cell(block.years)
    counts = (pa.array([matrix.shape[0]], pa.int64()), pa.array([matrix.nnz], pa.int64()))
    return pa.record_batch([*map(compact.cell, arrays), years, *counts], names=schemas.BLOCKS.names)


def decode(batch: pa.RecordBatch, n_columns: int) -> Iterator[Block]:
    """The blocks of a batch of encoded rows, with years if these are among its columns.

    Their arrays are not to be written to.
    """
    for row in range(batch.num_rows):
        ids, indptr, indices, values = (
            compact.read(batch[name][row]).values() for name in BlockMatrix.columns
        )
        dated = "years" in batch.schema.names and batch["years"][row].is_valid
        years = compact.read(batch["years"][row]).values() if dated else None
        yield Block(ids, vectors.csr(values, indices, indptr, n_columns), years)


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
