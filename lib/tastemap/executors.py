"""Running this package's functions in Spark's Python workers."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

ArrowFunction = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""What `mapInArrow` takes: the batches of a partition to batches of the result."""

_BATCH_BYTES = "spark.sql.execution.arrow.maxBytesPerBatch"
_NO_BOUND = str(2**31 - 1)
_settled = False


def map_in_arrow(frame: DataFrame, function: ArrowFunction, schema: StructType | str) -> DataFrame:
    """`DataFrame.mapInArrow`, in workers that settle in at their first task."""
    return frame.mapInArrow(partial(_run, function), schema)


def chained(first: ArrowFunction, second: ArrowFunction) -> ArrowFunction:
    """One function after the other, in the same worker."""
    return partial(_chain, first, second)


def _chain(
    first: ArrowFunction, second: ArrowFunction, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    return second(first(batches))


def releasing(function: ArrowFunction) -> ArrowFunction:
    """The same, and memory given back at the end, for tasks of seconds: workers outlive them."""
    return chained(function, _release_after)


def _release_after(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches
    release_memory()


def grouped(batches: Iterator[pa.RecordBatch], n_bytes: int) -> Iterator[list[pa.RecordBatch]]:
    """Batches in lists of at least so many bytes each; of the last there may be fewer."""
    group: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        group.append(batch)
        size += batch.nbytes
        if size >= n_bytes:
            yield group
            group, size = [], 0
    if group:
        yield group


def in_one_process(spark: SparkSession) -> bool:
    """Whether Spark runs in local mode, all workers on this machine."""
    return bool(spark._jsc.isLocal())


def find_directory(spark: SparkSession, path: str) -> bool:
    """Whether every executor finds a local directory, as far as twice as many tasks as cores can tell."""
    n_tasks = 2 * spark.sparkContext.defaultParallelism
    looks = map_in_arrow(spark.range(0, n_tasks, 1, n_tasks), partial(_is_directory, path), "found boolean")
    return all(row["found"] for row in looks.collect())


def _is_directory(path: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield pa.record_batch([pa.array([os.path.isdir(path)])], names=["found"])


def sends_by_size(spark: SparkSession) -> bool:
    """Whether Spark bounds in bytes what it sends to Python at once; 3.5 knows a number of rows alone."""
    return bool(spark.conf.isModifiable(_BATCH_BYTES))


@contextmanager
def rows_of_few_bytes(spark: SparkSession) -> Iterator[None]:
    """While rows are planned and sent that are small and many: by their number alone, not by bytes.

    Where batches are bounded in bytes, as Spark 4.3 bounds them by default, it adds up the size of a batch at
    each of its rows, which takes longer than all the rest: ten million ratings of a table take 7.6 s to
    become blocks, and 1.9 s without it.
    """
    before = spark.conf.get(_BATCH_BYTES, None)
    spark.conf.set(_BATCH_BYTES, _NO_BOUND)
    try:
        yield
    finally:
        with suppress(Py4JError, OSError):  # where Spark is gone, what went wrong before is to be seen
            if before is None:
                spark.conf.unset(_BATCH_BYTES)
            else:
                spark.conf.set(_BATCH_BYTES, before)


def _run(function: ArrowFunction, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    global _settled
    if not _settled and TaskContext.get() is not None:
        _settled = True
        _settle()
    return function(batches)


def release_memory() -> None:
    """Give back to the system what this process has freed, after what took much of it.

    What lies between arrays that stay is of use to smaller ones alone, and otherwise no other process has it.
    Arrow gives back its own; where that is the system's (`ARROW_DEFAULT_MEMORY_POOL=system`, as `make setup`
    sets it), glibc gives back all.
    """
    pa.default_memory_pool().release_unused()


def warm_up(spark: SparkSession, modules: Sequence[ModuleType]) -> None:
    """Start the workers of local mode, and have them import what their first tasks need: a second for each.

    Executors of a cluster may not be there yet, or not stay. What is wrong with workers is told again by
    whoever needs them first.
    """
    if in_one_process(spark):
        n_workers = spark.sparkContext.defaultParallelism
        numbers = spark.range(0, n_workers, 1, n_workers)
        map_in_arrow(numbers, partial(_pass_on, tuple(modules)), "id long").collect()


def _pass_on(_: tuple[ModuleType, ...], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    # What is sent to a worker as a module is imported there, before the worker settles in.
    return batches


def _settle() -> None:
    """Make a worker fit for many short tasks.

    Spark's workers collect garbage after every task. With NumPy, SciPy, pandas and Arrow loaded that looks
    through half a million objects that live as long as the worker: 30 ms, more than many a task has to
    compute. Frozen once they are not looked at again.

    And on unix sockets a worker whose Spark is gone ends silently, as other programs do, instead of with a
    traceback. On TCP there is none, and other functions in the same worker may want to see broken pipes.
    """
    gc.freeze()
    if os.environ.get("PYTHON_UNIX_DOMAIN_ENABLED", "").lower() == "true":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
