"""The whole flow in local mode, as far as it is not seen from outside: what it asks of Spark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from logs import random_log
from tastemap import pipeline
from tastemap.config import Config

MOVIES = "1,1995,One, Two, Three\n4,NULL,Four\n7,2001,Seven\n"


def write_netflix(folder: Path, log: pd.DataFrame) -> None:
    """A file of ratings, movie by movie, and a list of movies."""
    lines = []
    for movie, ratings in log.groupby("movie_id"):
        stars = ratings["rating"].clip(1).astype(int)
        pairs = zip(ratings["user_id"], stars, strict=True)
        lines += [f"{movie}:", *(f"{user},{n},2005-01-01" for user, n in pairs)]
    (folder / "combined_data_1.txt").write_text("\n".join(lines) + "\n")
    (folder / "movie_titles.csv").write_text(MOVIES)


def write_movielens(folder: Path, log: pd.DataFrame) -> None:
    """Ratings, and a list of movies with genres."""
    columns = log.assign(timestamp=10**9)[["user_id", "movie_id", "rating", "timestamp"]]
    text = columns.to_csv(index=False, header=["userId", "movieId", "rating", "timestamp"])
    (folder / "ratings.csv").write_text(text)
    (folder / "movies.csv").write_text("movieId,title,genres\n1,One (1995),Drama|War\n4,Four (2001),War\n")


@pytest.mark.parametrize("write", [write_netflix, write_movielens])
def test_no_query_of_sql_is_planned_where_workers_see_the_text(
    spark: SparkSession, tmp_path: Path, write: object
) -> None:
    """Each would take 60 to 80 ms of a run, and the first one, before a log is read, a second."""
    log = random_log(200, 60, 5000, seed=3)
    (tmp_path / "log").mkdir()
    write(tmp_path / "log", log)  # type: ignore[operator]
    config = Config()
    config = replace(
        config,
        clustering=replace(config.clustering, n_clusters=(3,)),
        decomposition=replace(config.decomposition, n_components=(4,)),
    )
    queries = spark._jsparkSession.sharedState().statusStore().executionsCount
    before = queries()
    told = pipeline.cluster_users(spark, [str(tmp_path / "log")], str(tmp_path / "out"), config)
    assert queries() == before
    assert told.manifest["counts"]["users"] > 20
    assert pd.read_parquet(tmp_path / "out/assignments")["cluster"].nunique() == 3
    titles = pd.read_parquet(tmp_path / "out/movie_index")["title"].dropna()
    assert "Four" in set(titles)
