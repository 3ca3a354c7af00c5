"""Pseudonyms on Spark: nothing else changes, and no place of a row tells what it is of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from logs import random_log, rating_log
from tastemap import pivot
from tastemap.block_tables import BlockTable
from tastemap.errors import UserError
from tastemap.pseudonyms import Pseudonyms, check_distinct, user_table

LOG = random_log(200, 30, 2000, seed=2)
SECRET = Pseudonyms(b"s3cret" * 10)


def vectors(spark: SparkSession, secret: Pseudonyms | None) -> pd.DataFrame:
    with pivot.gathered(rating_log(spark, LOG)) as gathered:
        matrix = pivot.index_columns(gathered, np.unique(LOG["movie_id"]).astype(np.int32), 1)
        table = user_table(pivot.user_vectors, matrix, secret)
        table = table.frame() if isinstance(table, BlockTable) else table
        plan = table._jdf.queryExecution().toString()
        assert "s3cret" not in plan
        return table.toPandas()


@pytest.mark.smoke
def test_vectors_are_the_same_under_other_ids_in_another_order(spark: SparkSession) -> None:
    plain, renamed = vectors(spark, None), vectors(spark, SECRET)
    again = vectors(spark, SECRET)
    assert renamed.user_id.tolist() == again.user_id.tolist()
    ids = dict(zip(SECRET.of(plain.user_id.to_numpy()).tolist(), plain.user_id, strict=True))
    assert len(ids) == LOG["user_id"].nunique()
    by_id = renamed.assign(user_id=renamed.user_id.map(ids)).set_index("user_id").features
    assert by_id.sort_index().tolist() == plain.set_index("user_id").features.sort_index().tolist()
    # Neighbours by id are no neighbours by pseudonym, as they are in blocks.
    ranks = renamed.user_id.map(ids).rank().to_numpy()
    assert (np.diff(ranks) == 1).mean() < 0.05 < (np.diff(plain.user_id.rank()) > 0).mean()
    assert abs(np.corrcoef(ranks, np.arange(ranks.size))[0, 1]) < 0.3


def test_two_users_of_one_pseudonym_are_found(spark: SparkSession) -> None:
    table = spark.createDataFrame(pd.DataFrame({"user_id": [5, 6, 7, 6]}))
    check_distinct(table.limit(3), 3)
    with pytest.raises(
        UserError, match=r"1 of 4 users have the pseudonym of another.* about 4e-19; give ano"
    ):
        check_distinct(table, 4)
