"""What workers are like when this package's functions run in them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from tastemap import executors


def look(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Which worker this is, on how many rows it works, how many objects are out of the collector's sight."""
    rows = sum(batch.num_rows for batch in batches)
    yield pa.RecordBatch.from_pylist([{"worker": os.getpid(), "rows": rows, "frozen": gc.get_freeze_count()}])


@pytest.mark.smoke
def test_workers_do_not_look_through_what_they_have_imported_after_each_task(spark: SparkSession) -> None:
    frame = spark.range(100, numPartitions=4)
    schema = "worker long, rows long, frozen long"
    found = [executors.map_in_arrow(frame, look, schema).collect() for _ in range(2)]
    assert [sum(row["rows"] for row in rows) for rows in found] == [100, 100]
    assert all(row["frozen"] > 10_000 for rows in found for row in rows)
    # Once: what tasks leave behind later is still collected.
    first, second = ({row["worker"]: row["frozen"] for row in rows} for rows in found)
    assert all(second[worker] <= first[worker] for worker in first.keys() & second.keys())


def test_the_driver_is_left_as_it_is() -> None:
    before = gc.get_freeze_count()
    assert list(executors._run(iter, iter([]))) == []
    assert gc.get_freeze_count() == before
