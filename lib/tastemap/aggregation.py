"""Sums over the partitions of a DataFrame, of arrays or by a key: what every pass over the data ends in."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from tastemap.compact import buffer_of
from tastemap.executors import ArrowFunction, chained, releasing
from tastemap.rows import Rows

Array = npt.NDArray[np.float64]
Partial = Callable[[Iterator[pa.RecordBatch]], Sequence[Array]]

SLICE = 1 << 19
"""Elements of a slice, 4 MiB: small enough to spread over executors, far below Arrow's 2 GiB a cell."""
MAX_PARTIALS_ON_DRIVER = 16
"""More partial sums than this are first added on the executors, so that the driver receives few."""

_SCHEMA = "slice int, sums binary"


def sum_arrays(
    rows: Rows, columns: Sequence[str], partial: Partial, shapes: Sequence[tuple[int, ...]]
) -> list[Array]:
    """Sum the arrays that `partial` makes of each partition.

    The driver receives at most `MAX_PARTIALS_ON_DRIVER` times the size of the result, whatever the
    number of partitions; beyond that one shuffle moves each slice to the executor that adds it up
    (bytes shuffled: partitions × size of the result).

    Parameters
    ----------
    rows : Rows
        Read once.
    columns : sequence of str
        Those that are needed of them.
    partial : callable
        Batches of a partition to float64 arrays of the given shapes. Runs on executors.
    shapes : sequence of tuple of int
        Shapes of the arrays.

    Returns
    -------
    list of ndarray
        The sums, of the given shapes.
    """
    sizes = [math.prod(shape) for shape in shapes]
    total = sum(sizes)

    def slices(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        flat = np.concatenate([np.ravel(array) for array in partial(batches)])
        yield from _to_slices(flat.astype(np.float64, copy=False))

    partials = rows.mapped(releasing(slices), _SCHEMA, columns)
    few = _few(partials, _add_slices, math.ceil(total / SLICE), "slice")
    flat = np.zeros(total)
    for batch in few.collected():  # bounded: see above
        for row, number in enumerate(batch["slice"].to_pylist()):
            values = np.frombuffer(buffer_of(batch["sums"], row), dtype=np.float64)
            flat[number * SLICE : number * SLICE + values.size] += values
    bounds = np.cumsum(sizes)[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(flat, bounds), shapes, strict=True)]


def sum_by_key(rows: Rows, columns: Sequence[str], partial: ArrowFunction, schema: pa.Schema) -> pa.Table:
    """Sum the rows that `partial` makes of each partition by their first column: a row a key, ascending.

    As `sum_arrays`: where there are many partitions, executors add up before the driver does.

    Parameters
    ----------
    rows : Rows
        Read once.
    columns : sequence of str
        Those that are needed of them.
    partial : callable
        Batches of a partition to batches of `schema`. Runs on executors.
    schema : pa.Schema
        A key, and numbers.
    """
    add, spark_schema = functools.partial(_add_by_key, schema), from_arrow_schema(schema)
    partials = rows.mapped(releasing(chained(partial, add)), spark_schema, columns)
    few = _few(partials, add, math.inf, schema.names[0])
    found = pa.Table.from_batches(add(few.collected()), schema)  # bounded: see above
    return found.sort_by(schema.names[0])


def foremost(
    rows: Rows, columns: Sequence[str], partial: ArrowFunction, choose: ArrowFunction, schema: StructType
) -> Iterator[pa.RecordBatch]:
    """Of the rows that `partial` makes of each partition those that `choose` keeps of all: few.

    As `sum_arrays`: where there are many partitions, an executor chooses before the driver does.

    Parameters
    ----------
    rows : Rows
        Read once.
    columns : sequence of str
        Those that are needed of them.
    partial : callable
        Batches of a partition to batches of `schema`. Runs on executors.
    choose : callable
        Keeps some rows: of all the same as of those that it keeps of parts. Runs on executors and the driver.
    schema : StructType
        Of what is chosen.
    """
    partials = rows.mapped(releasing(chained(partial, choose)), schema, columns)
    return choose(_few(partials, choose, 1).collected())  # bounded: see above


def _few(partials: Rows, merge: ArrowFunction, n_reducers: float, *by: str) -> Rows:
    """What partitions have made; of more than the driver is to receive, what executors merge of it.

    One shuffle brings rows that are alike in the columns `by` to one of at most `n_reducers` tasks.
    """
    if partials.n_partitions <= MAX_PARTIALS_ON_DRIVER:
        return partials
    n_tasks = int(min(n_reducers, partials.source.sparkSession.sparkContext.defaultParallelism))
    return Rows(partials.frame.repartition(n_tasks, *by), n_tasks, partials.schema, merge)


def _add_by_key(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    key, *numbers = schema.names
    tables = [pa.Table.from_batches([batch]).cast(schema) for batch in batches if batch.num_rows]
    table = pa.concat_tables([schema.empty_table(), *tables])
    sums = table.group_by(key).aggregate([(number, "sum") for number in numbers])
    sums = sums.select([key, *(f"{number}_sum" for number in numbers)]).rename_columns(schema.names)
    yield from sums.combine_chunks().to_batches()


def _to_slices(flat: Array) -> Iterator[pa.RecordBatch]:
    for number, start in enumerate(range(0, flat.size, SLICE)):
        cell = pa.array([flat[start : start + SLICE].tobytes()], pa.binary())
        yield pa.record_batch([pa.array([number], pa.int32()), cell], names=["slice", "sums"])


def _add_slices(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    sums: dict[int, Array] = {}
    for batch in batches:
        for row, number in enumerate(batch["slice"].to_pylist()):
            values = np.frombuffer(buffer_of(batch["sums"], row), dtype=np.float64)
            if number in sums:
                sums[number] += values
            else:
                sums[number] = values.copy()
    for number, values in sums.items():
        cell = pa.array([values.tobytes()], pa.binary())
        yield pa.record_batch([pa.array([number], pa.int32()), cell], names=["slice", "sums"])
