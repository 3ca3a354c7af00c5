"""What of a log is kept, on Spark: rejects that stop a run, and thresholds."""

from __future__ import annotations

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from logs import frequent, latest, random_log, rating_log
from strategies import rating_frame
from tastemap import cleaning, pivot, schemas
from tastemap.config import CleaningConfig
from tastemap.errors import UserError

LOG = random_log(80, 60, 1500, seed=4, duplicates=0.1)


@pytest.mark.parametrize(
    ("n_partitions", "per_user", "per_movie"), [(1, 8, 6), (3, 8, 6), (7, 8, 6), (3, 1, 1)]
)
def test_movies_that_remain_against_pandas(
    spark: SparkSession, n_partitions: int, per_user: int, per_movie: int
) -> None:
    remains = frequent(latest(LOG), per_user, per_movie)
    with pivot.gathered(rating_log(spark, LOG, n_partitions)) as gathered:
        movies = cleaning.frequent_movies(gathered, CleaningConfig(per_user, per_movie))
        matrix = pivot.index_columns(gathered, movies.ids, per_user)
        assert pivot.size(matrix) == (remains["user_id"].nunique(), len(remains))
    expected = remains.groupby("movie_id")["rating"].agg(["size", "sum"]).sort_index()
    assert movies.ids.tolist() == expected.index.tolist()
    assert movies.n_ratings.tolist() == expected["size"].tolist()
    assert movies.rating_sums.tolist() == expected["sum"].astype(float).tolist()
    assert movies.n_seen == LOG["movie_id"].nunique()
    # Both ways of counting are taken: of all movies, and again of those that are left.
    assert movies.rounds == 1 if per_user == 1 else movies.rounds > 1


@pytest.mark.parametrize("log", [LOG[:0], LOG])
def test_nothing_remains(spark: SparkSession, log: pd.DataFrame) -> None:
    with (
        pivot.gathered(rating_log(spark, log, 2)) as gathered,
        pytest.raises(UserError, match=r"at least 10000 .* at least 3 .*--min-user-ratings"),
    ):
        cleaning.frequent_movies(gathered, CleaningConfig(10_000, 3))


REJECTS = [
    *(("a.csv", i, f"{i},oops", "the rating is no number") for i in range(6)),
    *(("a.csv", i, "long " * 50, "too few fields") for i in range(4)),
    *(("b.csv", i, f"5,{i},9", "rating is off the scale") for i in range(3)),
    ("b.csv", None, "?", "rare"),
]


@pytest.fixture
def rejects(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(REJECTS, schemas.REJECTS)


def test_a_few_bad_records_are_let_pass(rejects: DataFrame) -> None:
    cleaning.check_rejects(100, 0, rejects, 0.0)
    cleaning.check_rejects(1400, 14, rejects, 0.01)  # exactly as many as are allowed
    cleaning.check_rejects(14, 14, rejects, 1.0)


def test_too_many_bad_records_stop_with_the_commonest_reasons(rejects: DataFrame) -> None:
    with pytest.raises(UserError) as error:
        cleaning.check_rejects(1399, 14, rejects, 0.01)
    (told,) = error.value.faults
    assert told.startswith("14 of 1,399 records (1.001%) cannot be taken, allowed are 1%: ")
    assert "6 x the rating is no number, such as '0,oops'; 4 x too few fields, such as 'long long" in told
    assert "; 3 x rating is off the scale, such as '5,0,9'. " in told
    assert "rare" not in told and len(told) < 500
    assert "--format" in told and "--max-bad-fraction" in told


def test_a_log_without_records(rejects: DataFrame) -> None:
    with pytest.raises(UserError, match="no records; give --ratings"):
        cleaning.check_rejects(0, 0, rejects, 1.0)


@pytest.mark.smoke
def test_counts_and_rejects_of_what_was_gathered(spark: SparkSession) -> None:
    log = rating_frame([(1, 1, 3.0, 1), (1, 1, 4.0, 2), (2, 1, 4.0, None), (2, 3, 1.0, 5)])
    with pivot.gathered(rating_log(spark, log, 2, rejects=REJECTS)) as gathered:
        assert cleaning.count(gathered.rows) == cleaning.Counts(
            ratings_in=18, rejects=14, duplicates=1, users=2, ratings=3, years=(0,)
        )
        found = cleaning.rejects(gathered.rows)
        assert found.schema == schemas.REJECTS
        assert sorted(map(tuple, found.collect()), key=str) == sorted(REJECTS, key=str)
