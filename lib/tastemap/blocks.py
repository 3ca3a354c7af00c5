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
from itertools import chain
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType
from scipy import sparse

from tastemap import compact, schemas, vectors
from tastemap.aggregation import Array, foremost, sum_arrays, sum_by_key
from tastemap.executors import ArrowFunction, releasing
from tastemap.hashing import uniform
from tastemap.rows import Rows

B = TypeVar("B")
T = TypeVar("T")

Load = Callable[[pa.RecordBatch], Iterator[B]]
"""Blocks out of a batch of rows: decoding, and whatever is to be done to the values on the way."""
BlockFunction = Callable[[Iterator[B]], Iterator[pa.RecordBatch]]
BlockSums = Callable[[Iterator[B]], Sequence[Array]]

NO_YEAR = np.iinfo(np.int16).min
"""Year of a value whose time is not known."""


@dataclass(frozen=True)
class Block:
    """Some rows of a sparse matrix with the ids of what they describe."""

    ids: npt.NDArray[np.int64]
    """Of shape (n,)."""
    matrix: sparse.csr_matrix
    """Of shape (n, d)."""
    years: npt.NDArray[np.int16] | None = None
    """Year of each value of the matrix, since 1970, or `NO_YEAR`; None where nobody needs them."""

    def in_parts(self, n_rows: int | None = None, n_values: int | None = None) -> Iterator[Block]:
        """The rows, if there are any: at most so many at a time, and of two or more at most so many values.

        Where users rate little, a block has very many rows.
        """
        for rows, values in vectors.runs(self.matrix, rows=n_rows, values=n_values):
            if rows.stop - rows.start == self.ids.size:
                yield self
                return
            years = None if self.years is None else self.years[values]
            yield Block(self.ids[rows], vectors.run_of(self.matrix, rows, values), years)


@dataclass(frozen=True)
class BlockFrame(Generic[B]):
    """Blocks of some kind, spread over executors."""

    rows: Rows
    """A row a block; whoever passes over them more than once persists them."""
    load: Load[B]
    """How a batch of the rows becomes blocks; runs on executors."""
    columns: ClassVar[Sequence[str]]
    """Columns of the rows that `load` needs."""

    @property
    def spark(self) -> SparkSession:
        """The session they are of."""
        return self.rows.source.sparkSession

    def loading(self, load: Load[B]) -> Self:
        """The same rows, their values loaded in another way."""
        return replace(self, load=load)

    @contextmanager
    def persisted(self) -> Iterator[Self]:
        """The same blocks, made once and now; they stay until the end of the context."""
        with self.rows.persisted() as rows:
            yield replace(self, rows=rows)

    def map_blocks(self, function: BlockFunction[B], schema: StructType | str) -> DataFrame:
        """Rows out of blocks: `function` sees those of a task one after the other."""
        return self._mapped(function, schema).frame

    def collect_blocks(
        self, function: BlockFunction[B], schema: StructType | str
    ) -> Iterator[pa.RecordBatch]:
        """Rows out of blocks, brought to the driver: few, as the function makes them."""
        return self._mapped(function, schema).collected()

    def run_over_blocks(self, function: BlockFunction[B], schema: StructType | str) -> list[dict[str, Any]]:
        """What `function` tells of what it does with the blocks of a task: few rows, of plain values."""
        return self._mapped(function, schema).run()

    def map_kept(self, function: BlockFunction[B], schema: StructType) -> Rows:
        """Rows out of blocks, which are to be kept, in the partitions for that."""
        loaded = releasing(partial(_load_blocks, self.load, function))
        return self.rows.for_keeping().mapped(loaded, schema, self.columns)

    def _mapped(self, function: BlockFunction[B], schema: StructType | str) -> Rows:
        loaded = releasing(partial(_load_blocks, self.load, function))
        return self.rows.in_few_tasks().mapped(loaded, schema, self.columns)

    def sum_over_blocks(self, function: BlockSums[B], shapes: Sequence[tuple[int, ...]]) -> list[Array]:
        """Sum the float64 arrays, of the given shapes, that `function` makes of the blocks of a task."""
        rows = self.rows.in_few_tasks()
        return sum_arrays(rows, self.columns, partial(_load_blocks, self.load, function), shapes)

    def sum_by_key(self, function: BlockFunction[B], schema: pa.Schema) -> pa.Table:
        """Sum the rows, of the given schema, that `function` makes of blocks, by their first column."""
        rows = self.rows.in_few_tasks()
        return sum_by_key(rows, self.columns, partial(_load_blocks, self.load, function), schema)

    def foremost(
        self, function: BlockFunction[B], choose: ArrowFunction, schema: StructType
    ) -> Iterator[pa.RecordBatch]:
        """Of the rows, of a schema, that `function` makes of blocks those that `choose` keeps of all."""
        rows = self.rows.in_few_tasks()
        return foremost(rows, self.columns, partial(_load_blocks, self.load, function), choose, schema)


@dataclass(frozen=True)
class BlockMatrix(BlockFrame[Block]):
    """A sparse matrix whose rows are spread over executors as blocks, in rows of `schemas.BLOCKS`."""

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

        for batch in self.collect_blocks(choose, schemas.BLOCKS):  # bounded by the share
            yield from decode(batch, self.n_columns)

    def dated(self) -> DatedMatrix:
        """The same rows, with the years of their values."""
        return DatedMatrix(self.rows, self.load, self.n_columns)


@dataclass(frozen=True)
class DatedMatrix(BlockMatrix):
    """A matrix whose blocks have `years`: a byte a value that other passes need not read."""

    columns: ClassVar[Sequence[str]] = (*BlockMatrix.columns, "years")


def _load_blocks(load: Load[B], function: Callable[[Iterator[B]], T], batches: Iterator[pa.RecordBatch]) -> T:
    # No loop, whose variable would keep a block while the next is loaded.
    return function(chain.from_iterable(map(load, batches)))


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
    return (_decoded(batch, row, n_columns) for row in range(batch.num_rows))


def _decoded(batch: pa.RecordBatch, row: int, n_columns: int) -> Block:
    ids, indptr, indices, values = (compact.read(batch[name], row).values() for name in BlockMatrix.columns)
    dated = "years" in batch.schema.names and batch["years"].slice(row, 1).null_count == 0
    years = compact.read(batch["years"], row).values() if dated else None
    return Block(ids, vectors.csr(values, indices, indptr, n_columns), years)


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
