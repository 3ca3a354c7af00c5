"""Clusters against groups that are known, such as those a synthetic log was made from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import NumericType, StringType

from tastemap.blocks import Block, BlockMatrix
from tastemap.errors import UserError
from tastemap.evaluation.judging import CHUNK, Judge
from tastemap.filesystem import FileSystem, escaped, reading

Array = npt.NDArray[np.float64]

GROUPS = 10_000
"""More are no groups but ids."""


def read(spark: SparkSession, path: str) -> DataFrame:
    """Columns `user_id` and `group` of a Parquet file or a CSV file with a header.

    Raises
    ------
    UserError
        There is none, columns are missing, there are too many groups, or users come twice.
    """
    FileSystem(spark, path)  # says what is wrong with a path that leads to none
    try:
        if path.lower().endswith((".csv", ".csv.gz")):
            table = spark.read.csv(escaped(path), header=True)
        else:
            table = spark.read.parquet(escaped(path))
    except (Py4JJavaError, PySparkException) as error:
        raise UserError(
            f"--truth {path} cannot be read as Parquet or CSV (.csv); give a file with the columns user_id "
            "and group"
        ) from error
    missing = {"user_id", "group"} - set(table.columns)
    if missing:
        raise UserError(
            f"--truth {path} has the columns {', '.join(table.columns)}; expected are user_id and group"
        )
    kind = table.schema["user_id"].dataType
    if not isinstance(kind, (NumericType, StringType)):
        raise UserError(f"--truth {path} has user_id of type {kind.simpleString()}; give numbers or text")
    groups = table.select(
        F.expr("try_cast(user_id AS long)").alias("user_id"), F.col("group").cast("string").alias("group")
    )
    by_user = groups.groupBy("user_id").count().where("user_id IS NOT NULL AND count > 1")
    with reading(f"--truth {path}"):
        n_groups = groups.select("group").distinct().limit(GROUPS + 1).count()
        twice = by_user.limit(1).collect()
    if n_groups > GROUPS:
        raise UserError(f"--truth {path} has more than {GROUPS:,} groups; give one with fewer")
    if twice:
        raise UserError(
            f"--truth {path} names user {twice[0]['user_id']} {twice[0]['count']} times; give a row a user"
        )
    return groups


def contingency(matrix: BlockMatrix, judge: Judge, truth: DataFrame) -> list[Array]:
    """Of every setting how many users of each cluster (row) are of each group (column).

    One pass, and one shuffle of a user's clusters by all settings to the user's group.

    Raises
    ------
    UserError
        No user of the log is in `truth`.
    """

    def label(blocks: Iterator[Block]) -> Iterator[pa.RecordBatch]:
        for rows in (rows for block in blocks for rows in block.in_parts(CHUNK)):
            judged = judge(rows)
            labels = np.column_stack([found.clusters for found in judged.assignments])
            offsets = np.arange(0, labels.size + 1, labels.shape[1], dtype=np.int32)
            cells = pa.ListArray.from_arrays(pa.array(offsets), pa.array(labels.ravel()))
            yield pa.record_batch([pa.array(judged.split.ids), cells], ["user_id", "labels"])

    labels = matrix.map_blocks(label, "user_id long, labels array<int>")
    joined = labels.join(truth, "user_id").select("group", F.posexplode("labels").alias("setting", "cluster"))
    counts = joined.groupBy("setting", "cluster", "group").count().toPandas()  # settings × clusters × groups
    if counts.empty:
        raise UserError("--truth: none of its users is in the log after cleaning; are the ids the same?")
    return [
        found.pivot(index="cluster", columns="group", values="count").fillna(0.0).to_numpy(np.float64)
        for _, found in counts.groupby("setting")
    ]
