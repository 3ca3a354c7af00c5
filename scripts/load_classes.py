#!/usr/bin/env python3
"""What every job does with Spark, on a few rows: setup_env.py has Java keep the classes that this takes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def as_they_are(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Executor function that passes everything on."""
    yield from batches


def main() -> None:
    spark = SparkSession.builder.master("local[2]").getOrCreate()
    with tempfile.TemporaryDirectory() as folder:
        numbers = spark.range(0, 100, 1, 2).withColumn("group", F.col("id") % 7)
        spread = numbers.mapInArrow(as_they_are, "id long, group long").repartition(2, "group")
        spread.write.parquet(f"{folder}/numbers")
        spark.read.parquet(f"{folder}/numbers").groupBy("group").agg(F.sum("id")).toPandas()
        numbers.select(F.to_json(F.struct("*"))).write.text(f"{folder}/lines")
        spark.read.text(f"{folder}/lines").select("value", "_metadata.file_path").collect()
    spark.stop()


if __name__ == "__main__":
    main()
