"""Spark ML's ALS on the same ratings: what personal predictions reach, as a ceiling for those by cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
from pandas.util import hash_array
from pyspark import StorageLevel
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tastemap.blocks import Block, BlockMatrix
from tastemap.evaluation.holdout import Holdout
from tastemap.evaluation.residuals import Residuals
from tastemap.hashing import uniform
from tastemap.weighting import Weighting

RATINGS = 10_000_000
"""Ratings that ALS is fitted on at most, of users chosen by the hash of their ids."""
RANK, ITERATIONS = 16, 10
REGULARIZATIONS = (0.05, 0.15)
"""Tried; the best counts, for it is to be a ceiling."""
_FACTORS = ("userFactors", "itemFactors")
_SCHEMA = "user int, item int, rating float, held_out boolean"


def als(
    matrix: BlockMatrix, holdout: Holdout, effects: Weighting, n_ratings: int, seed: int
) -> dict[str, float]:
    """RMSE and MAE of ALS on what movie and user effects leave of the ratings.

    Residuals, because so it starts from where the clusters start, and knows 0 of users and movies that are
    new to it. Users are numbered by 31 bits of a hash, for ALS takes no longer ids: of a million one in 2,000
    shares a number.
    """
    share = min(1.0, RATINGS / max(n_ratings, 1))

    def rows(blocks: Iterator[Block]) -> Iterator[pa.RecordBatch]:
        for block in blocks:
            chosen = uniform(block.ids, seed) < share
            residuals = Residuals(holdout.split(Block(block.ids[chosen], block.matrix[chosen])), effects)
            users = (hash_array(residuals.split.ids) >> np.uint64(33)).astype(np.int32)
            for pattern, values, flag in (
                (residuals.training, residuals.training.data, False),
                (residuals.split.held_out, residuals.held_out, True),
            ):
                columns = (
                    np.repeat(users, np.diff(pattern.indptr)),
                    pattern.indices.astype(np.int32),
                    values.astype(np.float32),
                    np.full(values.size, flag),
                )
                yield pa.record_batch([pa.array(column) for column in columns], _SCHEMA.split()[::2])

    frame = matrix.map_blocks(rows, _SCHEMA).persist(StorageLevel.DISK_ONLY)
    try:
        with _factors_released(frame.sparkSession):
            found = [_fit(frame, strength, seed) for strength in REGULARIZATIONS]
    finally:
        frame.unpersist()
    return min(found, key=lambda one: one["rmse"])


@contextmanager
def _factors_released(spark: SparkSession) -> Iterator[None]:
    """Unpersist what ALS leaves persisted, the factors of its models, under these names of its own."""
    before = set(spark.sparkContext._jsc.getPersistentRDDs())
    try:
        yield
    finally:
        for number, rdd in spark.sparkContext._jsc.getPersistentRDDs().items():
            if number not in before and rdd.name() in _FACTORS:
                rdd.unpersist(False)


def _fit(frame: DataFrame, regularization: float, seed: int) -> dict[str, float]:
    solver = ALS(
        rank=RANK,
        regParam=regularization,
        maxIter=ITERATIONS,
        numUserBlocks=frame.sparkSession.sparkContext.defaultParallelism,
        numItemBlocks=frame.sparkSession.sparkContext.defaultParallelism,
        userCol="user",
        itemCol="item",
        ratingCol="rating",
        coldStartStrategy="nan",
        seed=seed,
    )
    predicted = solver.fit(frame.where(~F.col("held_out"))).transform(frame.where("held_out"))
    error = F.col("rating") - F.nanvl("prediction", F.lit(0.0))
    found = predicted.agg(F.sqrt(F.mean(error * error)), F.mean(F.abs(error))).head()
    assert found is not None
    return {"rmse": float(found[0]), "mae": float(found[1])}
