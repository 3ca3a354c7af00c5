"""Running this package's functions in Spark's Python workers."""

from __future__ import annotations

import errno
import gc
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark import RDD, SparkContext, TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

ArrowFunction = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""What `mapInArrow` takes: the batches of a partition to batches of the result."""

_BATCH_BYTES = "spark.sql.execution.arrow.maxBytesPerBatch"
_NO_BOUND = str(2**31 - 1)
_DISK_FULL = re.compile(rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT})\]")
"""In what Python and Arrow say on an executor."""
_settled = False


@dataclass(frozen=True)
class Numbers:
    """The numbers 0 to n − 1, spread over partitions: what workers need that find their data themselves.

    Spark has nothing to plan then: `made` runs them as an RDD. A query of its SQL takes 60 to 80 ms more, and
    as much of Java's time to be compiled; the first one of a process takes a second.
    """

    sparkSession: SparkSession  # as a DataFrame has it
    n: int
    n_partitions: int

    @property
    def frame(self) -> DataFrame:
        """The same as a DataFrame, whose column is `id`."""
        return self.sparkSession.range(0, self.n, 1, self.n_partitions)

    @cached_property
    def rdd(self) -> RDD[int]:
        """The same as an RDD, one for all passes: another takes 10 of the 48 ms of a pass over nothing."""
        return self.sparkSession.sparkContext.range(0, self.n, numSlices=self.n_partitions)

    def coalesce(self, n_partitions: int) -> Numbers:
        """The same numbers in fewer partitions."""
        return Numbers(self.sparkSession, self.n, n_partitions)


Source = DataFrame | Numbers
"""What functions make rows of."""


def map_in_arrow(source: Source, function: ArrowFunction, schema: StructType | str) -> DataFrame:
    """`DataFrame.mapInArrow`, in workers that settle in at their first task."""
    return frame_of(source).mapInArrow(partial(_run, function), schema)


def frame_of(source: Source) -> DataFrame:
    """The rows that functions make others of."""
    return source.frame if isinstance(source, Numbers) else source


def made(source: Source, function: ArrowFunction, schema: StructType | str) -> list[dict[str, Any]]:
    """The rows that a function makes of all partitions, brought to the driver: few, of plain values."""
    if not isinstance(source, Numbers):
        return [row.asDict() for row in map_in_arrow(source, function, schema).collect()]
    return _made_of_numbers(source.rdd, function) if source.n else []  # of none Spark makes no RDD


def _made_of_numbers(numbers: RDD[int], function: ArrowFunction) -> list[dict[str, Any]]:
    return numbers.mapPartitions(partial(_of_numbers, partial(_run, function))).collect()


def _of_numbers(function: ArrowFunction, numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
    ids = pa.array(numbers, pa.int64())
    for batch in function(iter([pa.record_batch([ids], names=["id"])] if len(ids) else [])):
        yield from batch.to_pylist()


def disk_is_full(error: Exception) -> bool:
    """Whether a function failed on an executor because no space is left for it, or a quota is used up."""
    return _DISK_FULL.search(str(error)) is not None


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
    looks = made(Numbers(spark, n_tasks, n_tasks), partial(_is_directory, path), "found boolean")
    return all(look["found"] for look in looks)


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


def warm_up(context: SparkContext) -> None:
    """Start the workers of local mode, which takes seconds: they are forked from what they need, loaded once.

    What is wrong with workers is told again by whoever needs them first.
    """
    n_workers = context.defaultParallelism
    _made_of_numbers(context.range(n_workers, numSlices=n_workers), iter)


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
