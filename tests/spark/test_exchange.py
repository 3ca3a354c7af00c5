"""Rows that are brought to the partition they are for: in files of the workers', and by Spark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BinaryType, IntegerType, StringType, StructField, StructType

from tastemap import exchange, row_files
from tastemap.exchange import Labels, _partition_keys, exchanged
from tastemap.executors import ArrowFunction

in_both_ways = pytest.mark.usefixtures("in_both_ways")

SCHEMA = StructType(
    [
        StructField("target", IntegerType(), False),
        StructField("cell", BinaryType(), False),
        StructField("words", ArrayType(StringType(), False), False),
    ]
)
GATHERED = StructType([StructField("numbers", ArrayType(IntegerType(), False), False)])
N = 300


def sent(labels: Labels) -> ArrowFunction:
    """Row i is for partition i² mod n; all of a task's go in batches of up to 40."""

    def send(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            numbers = batch["id"].to_numpy()
            columns = [
                pa.array(labels[numbers**2 % labels.size]),
                pa.array([b"%d" % i for i in numbers], pa.binary()),
                pa.array([["w"] * (i % 3) for i in numbers], pa.list_(pa.string())),
            ]
            whole = pa.record_batch(columns, names=SCHEMA.names)
            yield whole.slice(0, 0)
            for start in range(0, numbers.size, 40):
                yield whole.slice(start, 40)

    return send


def gather(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A row of all that came together, checked; none where nothing did."""
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert all(row["words"] == ["w"] * (int(row["cell"]) % 3) for row in rows)
    if rows:
        numbers = pa.array([[int(row["cell"]) for row in rows]], pa.list_(pa.int32()))
        yield pa.record_batch([numbers], names=GATHERED.names)


def source(spark: SparkSession, n: int = N, n_tasks: int = 3) -> DataFrame:
    return spark.range(0, n, 1, n_tasks)


@in_both_ways
@pytest.mark.parametrize("n_partitions", [1, 4, 23])
@pytest.mark.parametrize("at_once", [1, 2**40])
def test_every_row_arrives_where_it_is_for(
    spark: SparkSession, n_partitions: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_files, "SPREAD_BYTES", at_once)  # one set of batches a task, or very many
    monkeypatch.setattr(exchange, "TASKS_PER_CORE", 2)  # one for several partitions, or for one
    by_partition = defaultdict(list)
    for number in range(N):
        by_partition[number**2 % n_partitions].append(number)
    with exchanged(
        spark, lambda labels: (source(spark), sent(labels)), SCHEMA, n_partitions, gather, GATHERED
    ) as rows:
        few = min(n_partitions, 2 * spark.sparkContext.defaultParallelism)
        expected = few if isinstance(rows.make, row_files.SpreadReader) else n_partitions
        assert rows.n_partitions == rows.frame.rdd.getNumPartitions() == expected
        assert rows.frame.schema == GATHERED
        for _ in range(2):
            found = [sorted(row["numbers"]) for row in rows.frame.collect()]
            assert sorted(found) == sorted(by_partition.values())


@in_both_ways
@pytest.mark.parametrize("n_tasks", [1, 3])
def test_nothing_is_sent(spark: SparkSession, n_tasks: int) -> None:
    with exchanged(
        spark, lambda labels: (source(spark, 0, n_tasks), sent(labels)), SCHEMA, 4, gather, GATHERED
    ) as rows:
        assert rows.frame.collect() == [] and rows.n_partitions == 4


@in_both_ways
def test_nothing_stays_of_what_cannot_be_sent(spark: SparkSession) -> None:
    """See also the fixture that looks after every test."""

    def fail(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        raise RuntimeError("cannot be sent")

    with (
        pytest.raises(Exception, match="cannot be sent"),
        exchanged(spark, lambda _: (source(spark), fail), SCHEMA, 4, gather, GATHERED) as rows,
    ):
        rows.frame.collect()


def test_a_file_that_is_gone_is_not_taken_for_no_rows(spark: SparkSession, tmp_path: Path) -> None:
    labels = np.arange(4, dtype=np.int32)
    reader = row_files.spread(source(spark), sent(labels), 4, gather, str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.arrow", "1.arrow", "2.arrow"]
    (tmp_path / "1.arrow").unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.arrow"):
        list(reader(iter([pa.record_batch([pa.array([2])], names=["id"])])))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 24, 200, 1000])
def test_every_key_lands_in_a_partition_of_its_own(spark: SparkSession, n: int) -> None:
    keys = _partition_keys(spark, n)
    assert keys.dtype == np.int32 and np.unique(keys).size == n
    frame = spark.createDataFrame(pd.DataFrame({"target": keys}), "target int")
    placed = frame.repartition(n, "target").select("target", F.spark_partition_id().alias("partition"))
    assert sorted((row["partition"], row["target"]) for row in placed.collect()) == list(
        enumerate(keys.tolist())
    )
