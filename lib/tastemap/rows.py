"""Rows that executors make in Python, and where those stay that are passed over time and again."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from tastemap import row_files
from tastemap.executors import (
    ArrowFunction,
    Numbers,
    Source,
    chained,
    frame_of,
    in_one_process,
    made,
    map_in_arrow,
    sends_by_size,
)

STORAGE = StorageLevel.DISK_ONLY
"""Where a cluster keeps rows: read from the system's page cache while there is memory, else from disk.
Measured on a log of Netflix's size: a pass takes as long as from the heap, which then needs 1 GB less."""
KEPT_PER_CORE = 8
"""Partitions in which a cluster keeps what is made of rows at rest: each costs a task of 20 to 60 ms."""
JOINED = 16
"""Partitions that a task takes at most where Spark sends Python all of its rows at once: `sends_by_size`."""
PREFIX = "tastemap-rows-"
"""Of the names of folders in which workers keep rows."""


@dataclass(frozen=True)
class Rows:
    """Rows of a DataFrame, or what executors make of them or of numbers, partition by partition.

    What Python makes of what Python has made stays there: from one `mapInArrow` to the next it would go
    through the JVM, a second for a hundred million ratings.
    """

    source: Source
    n_partitions: int
    """Of the source: known to whoever made it, dear to ask Spark for at every pass."""
    schema: StructType | str
    """Of the rows."""
    make: ArrowFunction | None = None
    """Makes them, on executors, of the rows of a partition; None: the source's are they."""

    @property
    def frame(self) -> DataFrame:
        """The rows as a DataFrame."""
        return _made(self.source, self.make, self.schema)

    def select(self, *columns: str) -> DataFrame:
        """Some of the columns as a DataFrame: of rows that Python makes, the JVM gets no more."""
        if self.make is None:
            return self.frame.select(*columns)
        schema = self.frame.select(*columns).schema
        return self.mapped(partial(_selected, columns), schema).frame

    def mapped(
        self, function: ArrowFunction, schema: StructType | str, columns: Sequence[str] | None = None
    ) -> Rows:
        """What a function makes of these rows, in the same partitions.

        Parameters
        ----------
        function : callable
            Batches of a partition to batches of `schema`.
        schema : StructType or str
            Of the new rows.
        columns : sequence of str, optional
            Those that the function needs. It may see more.
        """
        if self.make is not None:
            return Rows(self.source, self.n_partitions, schema, chained(self.make, function))
        needed = self.source if columns is None else self.frame.select(*columns)
        return Rows(needed, self.n_partitions, schema, function)

    def in_few_tasks(self) -> Rows:
        """The same rows, where they are at rest, in no more partitions than there are cores.

        A task takes those of many partitions, which are alike in size: to start one costs 10 ms, on a cluster
        20 to 60, and to bring its sums to the driver a quarter of a second at 70,000 columns. What is still
        to be made needs memory by the partition, and is left as it is.
        """
        n_tasks = self._n_cores
        if self.make is None and not sends_by_size(self.source.sparkSession):
            n_tasks = max(n_tasks, math.ceil(self.n_partitions / JOINED))
        return self._in_at_most(n_tasks)

    def for_keeping(self) -> Rows:
        """The same rows, where they are at rest, in the partitions to keep in what is made of them.

        In local mode one a core. On a cluster more, for executors that are still to come to share in.
        """
        spark = self.source.sparkSession
        if in_one_process(spark):
            return self.in_few_tasks()
        return self._in_at_most(KEPT_PER_CORE * self._n_cores) if sends_by_size(spark) else self

    @property
    def _n_cores(self) -> int:
        return int(self.source.sparkSession.sparkContext.defaultParallelism)

    def _in_at_most(self, n_tasks: int) -> Rows:
        at_rest = self.make is None or isinstance(self.make, row_files.Reader)
        if n_tasks >= self.n_partitions or not at_rest:
            return self
        return replace(self, source=self.source.coalesce(n_tasks), n_partitions=n_tasks)

    def persisted(self) -> AbstractContextManager[Rows]:
        """The same rows, as `persisted` keeps them."""
        return persisted(self.source, self.make, self.schema)

    def collected(self) -> Iterator[pa.RecordBatch]:
        """The rows, as `collected` brings them."""
        return collected(self.source, self.make, self.schema)

    def run(self) -> list[dict[str, Any]]:
        """Make the rows now, for what is done on the way, and bring them: few, of plain values."""
        return made(self.source, self.make or iter, self.schema)

    def told(self, *columns: str) -> list[dict[str, Any]]:
        """Small columns of rows at rest, brought to the driver: for rows that are blocks, hence few.

        In local mode without asking Spark, which takes a quarter of a second to add up four numbers of each.
        """
        if isinstance(self.make, row_files.Reader):
            return [row for batch in self.make.all() for row in batch.select(columns).to_pylist()]
        return [row.asDict() for row in self.select(*columns).collect()]


def _selected(columns: Sequence[str], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.select(columns)


def _made(source: Source, make: ArrowFunction | None, schema: StructType | str) -> DataFrame:
    return frame_of(source) if make is None else map_in_arrow(source, make, schema)


def collected(
    source: Source, make: ArrowFunction | None, schema: StructType | str
) -> Iterator[pa.RecordBatch]:
    """Rows that are made now and brought to the driver: for whoever knows them to be few enough.

    In local mode it reads what the workers write: through the JVM sums of 35 MB take half a second.

    Parameters
    ----------
    source, make, schema
        As of `Rows`.
    """
    spark = source.sparkSession
    if in_one_process(spark):
        with folder(spark) as directory:
            yield from row_files.keep(source, make, directory).all()
    else:
        frame = _made(source, make, schema)
        yield pa.RecordBatch.from_pandas(frame.toPandas(), preserve_index=False)


def folder(spark: SparkSession) -> AbstractContextManager[str]:
    """A new folder for what workers keep; gone at the end of the context."""
    # In Spark's own for what does not outlive it, on the disk that spark.local.dir names.
    parent = spark.sparkContext._temp_dir
    return tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True)


@contextmanager
def persisted(source: Source, make: ArrowFunction | None, schema: StructType | str) -> Iterator[Rows]:
    """Rows that are made once and now, and stay until the end of the context.

    In local mode the workers keep them in files that they read themselves: through the JVM, which has to
    fetch, unpack and send them, a pass over a hundred million ratings takes a second more. On a cluster,
    whose tasks move from machine to machine, Spark persists them.

    Parameters
    ----------
    source, make, schema
        As of `Rows`.

    Raises
    ------
    UserError
        There is no room for the files.
    """
    spark = source.sparkSession
    if in_one_process(spark):
        with folder(spark) as directory:
            reader = row_files.keep(source, make, directory)
            numbers = Numbers(spark, reader.n_partitions, reader.n_partitions)
            yield Rows(numbers, reader.n_partitions, schema, reader)
    else:
        frame = _made(source, make, schema)
        frame.persist(STORAGE)
        try:
            _store(frame)
            yield Rows(frame, frame.rdd.getNumPartitions(), schema)
        finally:
            frame.unpersist()


def _store(frame: DataFrame) -> None:
    """Have Spark store all partitions of a frame that is to be persisted.

    Adaptive execution stores the whole of what is persisted before it plans the rest, here the first row. To
    count would read everything back: a second for a hundred million ratings. Where something else plans
    scans, and stores less, the rest is stored when it is first read.
    """
    if frame.sparkSession.conf.get("spark.sql.adaptive.enabled") == "true":
        frame.coalesce(1).limit(1).count()
    else:
        frame.count()
