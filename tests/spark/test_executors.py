"""What workers are like when this package's functions run in them."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from tastemap import executors
from tastemap.sources import RatingLog

NO_BOUND = str(2**31 - 1)


def look(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Which worker this is, on how many rows it works, how many objects are out of the collector's sight."""
    rows = sum(batch.num_rows for batch in batches)
    yield pa.RecordBatch.from_pylist([{"worker": os.getpid(), "rows": rows, "frozen": gc.get_freeze_count()}])


@pytest.mark.smoke
def test_workers_do_not_look_through_what_they_have_imported_after_each_task(spark: SparkSession) -> None:
    frame = spark.range(100, numPartitions=1)
    schema = "worker long, rows long, frozen long"
    by_worker: dict[int, list[int]] = {}
    for _ in range(20):  # more tasks than there are workers
        (row,) = executors.map_in_arrow(frame, look, schema).collect()
        assert row["rows"] == 100 and row["frozen"] > 10_000
        by_worker.setdefault(row["worker"], []).append(row["frozen"])
    # Once: what tasks leave behind later is still collected.
    assert len(by_worker) < 20 and all(found == sorted(found, reverse=True) for found in by_worker.values())


def test_the_driver_is_left_as_it_is() -> None:
    before = gc.get_freeze_count()
    assert list(executors._run(iter, iter([]))) == []
    assert gc.get_freeze_count() == before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another libc gives back what it likes to")
def test_what_was_freed_between_arrays_that_stay_goes_back_to_the_system() -> None:
    program = """
import resource
import numpy as np
from tastemap.executors import release_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

arrays = [np.ones(12_000) for _ in range(1000)]  # 96 MB, each too small for memory of its own
stays = np.ones(12_000)
del arrays
before = resident()
release_memory()
print((before - resident()) >> 20)
"""
    own = {"PYTHONPATH": str(Path(executors.__file__).parents[1]), "ARROW_DEFAULT_MEMORY_POOL": "system"}
    environment = os.environ | own
    command = [sys.executable, "-c", program]
    told = subprocess.check_output(command, env=environment, text=True)
    assert int(told) > 80  # MiB


def test_a_task_of_seconds_gives_back_what_it_has_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(executors, "release_memory", lambda: told.append("released"))
    batches = [pa.record_batch({"n": [number]}) for number in range(2)]
    for batch in executors.releasing(iter)(iter(batches)):
        told.append(batch["n"][0].as_py())
    assert told == [0, 1, "released"]


def batches_of(frame: DataFrame) -> int:
    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([{"n": sum(1 for _ in batches)}])

    (row,) = executors.map_in_arrow(frame, count, "n long").collect()
    return int(row["n"])


@pytest.mark.parametrize("before", [None, "1k"])
def test_small_rows_go_to_python_by_their_number(spark: SparkSession, before: str | None) -> None:
    key = "spark.sql.execution.arrow.maxBytesPerBatch"
    found = spark.conf.get(key, None)
    frame = spark.range(5000, numPartitions=1)
    try:
        spark.conf.unset(key) if before is None else spark.conf.set(key, before)
        with pytest.raises(LookupError), executors.rows_of_few_bytes(spark):
            assert batches_of(frame) == 1
            raise LookupError
        assert spark.conf.get(key, None) == before
        if before is not None and not spark.version.startswith("3."):  # which knows no bound in bytes
            assert batches_of(frame) > 10
    finally:
        spark.conf.unset(key) if found is None else spark.conf.set(key, found)


def test_where_spark_is_gone_what_went_wrong_before_is_seen() -> None:
    class Conf:
        """As of a session that ends meanwhile."""

        def get(self, key: str, default: None) -> str:
            return "8m"

        def set(self, key: str, value: str) -> None:
            if value == "8m":
                raise ConnectionError("no JVM")

    with pytest.raises(LookupError), executors.rows_of_few_bytes(SimpleNamespace(conf=Conf())):
        raise LookupError


@pytest.mark.parametrize(("form", "bound"), [("netflix", "8m"), ("movielens", NO_BOUND), ("csv", NO_BOUND)])
def test_only_logs_of_long_records_keep_the_bound_in_bytes(
    spark: SparkSession, form: str, bound: str
) -> None:
    key = "spark.sql.execution.arrow.maxBytesPerBatch"
    found = spark.conf.get(key, None)
    log = RatingLog(form, spark, lambda: spark.range(1), None, None, (1.0, 5.0), 1, 1, (), ())
    try:
        spark.conf.set(key, "8m")
        with log.in_batches():
            assert spark.conf.get(key).rstrip("b") == bound
        assert spark.conf.get(key) == "8m"
    finally:
        spark.conf.unset(key) if found is None else spark.conf.set(key, found)


TWICE = "twice long, of long, batches long"


def doubled(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A row for each number, and one for each partition: how many it has, and in how many batches."""
    found = [batch["id"].to_pylist() for batch in batches]
    ids = [number for batch in found for number in batch]
    rows: list[dict[str, int | None]] = [{"twice": 2 * number, "of": None, "batches": None} for number in ids]
    rows.append({"twice": None, "of": len(ids), "batches": len(found)})
    yield pa.RecordBatch.from_pylist(rows, pa.schema([(name, pa.int64()) for name in rows[0]]))


@pytest.mark.parametrize(("n", "n_partitions"), [(7, 3), (1, 1), (2, 4), (3, 3)])
def test_of_numbers_is_made_what_is_made_of_rows(spark: SparkSession, n: int, n_partitions: int) -> None:
    numbers, schema = executors.Numbers(spark, n, n_partitions), TWICE
    found = executors.made(numbers, doubled, schema)
    assert found == executors.made(numbers.frame, doubled, schema)
    assert [row["twice"] for row in found if row["of"] is None] == [2 * number for number in range(n)]
    parts = [row["of"] for row in found if row["twice"] is None]
    assert len(parts) == n_partitions and max(parts) - min(parts) <= 1
    assert [row["of"] for row in executors.made(numbers.coalesce(1), doubled, schema)][-1] == n


def test_of_no_numbers_nothing_is_made(spark: SparkSession) -> None:
    assert executors.made(executors.Numbers(spark, 0, 0), doubled, TWICE) == []


def queries(spark: SparkSession) -> int:
    """How many queries Spark's SQL has run."""
    return int(spark._jsparkSession.sharedState().statusStore().executionsCount())


def test_numbers_are_no_query_of_sql(spark: SparkSession) -> None:
    before = queries(spark)
    executors.made(executors.Numbers(spark, 4, 2), doubled, TWICE)
    assert queries(spark) == before
    executors.made(executors.Numbers(spark, 4, 2).frame, doubled, TWICE)
    assert queries(spark) == before + 1


def test_workers_settle_in_with_numbers_as_with_rows(spark: SparkSession) -> None:
    schema = "worker long, rows long, frozen long"
    found = executors.made(executors.Numbers(spark, 6, 2), look, schema)
    assert [row["rows"] for row in found] == [3, 3] and all(row["frozen"] > 10_000 for row in found)
