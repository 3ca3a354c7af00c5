"""Tables of blocks on Spark: what Arrow writes is what Spark would have written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PythonException
from pyspark.sql import SparkSession

from logs import random_log, rating_log
from tastemap import pivot, schemas
from tastemap.block_tables import BlockTable
from tastemap.blocks import Block, BlockMatrix
from tastemap.errors import UserError
from tastemap.filesystem import FileSystem
from tastemap.runs import Run

LOG = random_log(80, 60, 1500, seed=1)
FAILED = (Py4JJavaError, PythonException)
"""What a function that fails on an executor raises, in Spark's versions."""


@contextmanager
def matrix_of(spark: SparkSession, n_partitions: int) -> Iterator[BlockMatrix]:
    movie_ids = np.unique(LOG["movie_id"]).astype(np.int32)
    with pivot.gathered(rating_log(spark, LOG, n_partitions)) as gathered:
        yield pivot.index_columns(gathered, movie_ids, 1)


def table_of(spark: SparkSession, folder: Path) -> pd.DataFrame:
    read = spark.read.parquet(str(folder))
    assert [(f.name, f.dataType) for f in read.schema] == [(f.name, f.dataType) for f in schemas.USER_VECTORS]
    return read.toPandas().sort_values("user_id", ignore_index=True)


@pytest.mark.parametrize("n_partitions", [1, pytest.param(3, marks=pytest.mark.smoke), 7])
def test_files_hold_what_spark_writes(spark: SparkSession, tmp_path: Path, n_partitions: int) -> None:
    (tmp_path / "by arrow").mkdir()
    with matrix_of(spark, n_partitions) as matrix:
        table = pivot.user_vectors(matrix)
        table.write_files(str(tmp_path / "by arrow"))
        table.frame().write.parquet(str(tmp_path / "by spark"))
    found = table_of(spark, tmp_path / "by arrow")
    assert len(found) == LOG["user_id"].nunique()
    pd.testing.assert_frame_equal(found, table_of(spark, tmp_path / "by spark"))
    names = sorted(path.name for path in (tmp_path / "by arrow").iterdir())
    assert names and all(name.startswith("part-") and name.endswith(".parquet") for name in names)
    group = pq.read_metadata(tmp_path / "by arrow" / names[0]).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    encodings = {column.path_in_schema: set(column.encodings) for column in columns}
    assert "DELTA_BINARY_PACKED" in encodings["features.indices.list.element"]
    assert "RLE_DICTIONARY" in encodings["features.values.list.element"]


def test_a_run_writes_by_arrow_where_workers_and_files_are_here(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with matrix_of(spark, 3) as matrix, Run(spark, str(tmp_path / "a run"), overwrite=False) as run:
        table = pivot.user_vectors(matrix)
        run.write("here", table)
        monkeypatch.setattr(FileSystem, "local_path", lambda *_: None)
        run.write("elsewhere", table)
        run.finish({})
    here, elsewhere = tmp_path / "a run" / "here", tmp_path / "a run" / "elsewhere"
    by_arrow, by_spark = (
        pq.read_metadata(next(folder.glob("*.parquet"))).created_by for folder in (here, elsewhere)
    )
    assert "arrow" in by_arrow and "parquet-mr" in by_spark
    pd.testing.assert_frame_equal(table_of(spark, here), table_of(spark, elsewhere))


def test_only_local_files_have_a_local_path(spark: SparkSession, tmp_path: Path) -> None:
    assert FileSystem(spark, str(tmp_path)).local_path(f"file:{tmp_path}/a b") == f"{tmp_path}/a b"
    assert FileSystem(spark, "hdfs://127.0.0.1:1/").local_path("hdfs://127.0.0.1:1/a") is None


def test_a_task_that_fails_leaves_no_file_to_read(spark: SparkSession, tmp_path: Path) -> None:
    def rows(blocks: Iterator[Block]) -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([pa.array(next(blocks).ids)], names=["user_id"])
        raise RuntimeError("the second batch cannot be made")

    with matrix_of(spark, 1) as matrix, pytest.raises(FAILED, match="second batch"):
        BlockTable(matrix, rows, schemas.USER_VECTORS).write_files(str(tmp_path))
    assert list(tmp_path.glob("part-*")) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk at hand")
def test_a_full_disk_is_told_in_a_sentence(spark: SparkSession, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with matrix_of(spark, 1) as matrix, Run(spark, str(output), overwrite=False) as run:
        table = Path(run.path("vectors").removeprefix("file:"))
        table.mkdir()
        (table / ".part-00000.parquet.unfinished").symlink_to("/dev/full")
        with pytest.raises(
            UserError, match=rf"^--output {output} cannot be written: no space is left on its disk"
        ):
            run.write("vectors", pivot.user_vectors(matrix))


def test_a_task_without_rows_writes_no_file(spark: SparkSession, tmp_path: Path) -> None:
    def rows(blocks: Iterator[Block]) -> Iterator[pa.RecordBatch]:
        for _ in blocks:
            pass
        yield from ()

    with matrix_of(spark, 1) as matrix:
        BlockTable(matrix, rows, schemas.USER_VECTORS).write_files(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
