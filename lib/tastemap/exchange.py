"""Rows brought to the partition that they are for: in files of the workers', or by Spark's shuffle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from tastemap import row_files
from tastemap.executors import ArrowFunction, Numbers, Source, in_one_process, map_in_arrow
from tastemap.rows import Rows, folder

Labels = npt.NDArray[np.int32]

TASKS_PER_CORE = 8
"""Tasks of local mode, each for several partitions, one after the other: to start one takes 10 ms."""


@contextmanager
def exchanged(
    spark: SparkSession,
    make: Callable[[Labels], tuple[Source, ArrowFunction]],
    sent: StructType,
    n_partitions: int,
    gather: ArrowFunction,
    schema: StructType,
) -> Iterator[Rows]:
    """What is made of rows in the partitions that they are for; they are there until the end of the context.

    In local mode they go through files that the workers write and read. Through the JVM and Spark's shuffle,
    as on a cluster, the ratings of Netflix's size take three seconds more, of thirty.

    Parameters
    ----------
    spark : SparkSession
        Where they are.
    make : callable
        Given the labels of the partitions, of shape (n_partitions,), what the rows are made of, and the
        executor function that makes them.
    sent : StructType
        Of the rows; one column, `row_files.TARGET`, has the label of the partition that a row is for.
    n_partitions : int
        Partitions to bring them to.
    gather : callable
        Executor function for all rows of a partition.
    schema : StructType
        Of what it makes.

    Raises
    ------
    UserError
        There is no room for the files.
    """
    if in_one_process(spark):
        with folder(spark) as directory:
            source, of_task = make(np.arange(n_partitions, dtype=np.int32))
            reader = row_files.spread(source, of_task, n_partitions, gather, directory)
            n_tasks = min(n_partitions, TASKS_PER_CORE * spark.sparkContext.defaultParallelism)
            yield Rows(Numbers(spark, n_partitions, n_tasks), n_tasks, schema, reader)
    else:
        rows = map_in_arrow(*make(_partition_keys(spark, n_partitions)), sent)
        yield Rows(rows.repartition(n_partitions, row_files.TARGET), n_partitions, schema, gather)


def _partition_keys(spark: SparkSession, n_partitions: int) -> Labels:
    """For each partition an integer that Spark's hash partitioning sends there.

    Partition numbers themselves would collide: a third of the partitions would stay empty and others
    get two or three times their share.
    """
    keys: dict[int, int] = {}
    start, step = 0, 16 * n_partitions
    while len(keys) < n_partitions:
        numbers = spark.range(start, start + step, numPartitions=1).select(
            F.col("id").cast("int").alias("key")
        )
        placed = numbers.select(F.expr(f"pmod(hash(key), {n_partitions})"), "key").toPandas()
        for partition, key in placed.itertuples(index=False):
            keys.setdefault(int(partition), int(key))
        start += step
    return np.array([keys[partition] for partition in range(n_partitions)], np.int32)
