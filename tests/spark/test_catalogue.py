"""Titles and genres of the movies behind the columns."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import SparkSession

from tastemap import schemas
from tastemap.catalogue import Catalogue, describe, movie_index
from tastemap.cleaning import Movies
from tastemap.rows import Rows

IDS = np.array([-4, 2, 30, 31, 2**31 - 1], dtype=np.int32)


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_movies_are_looked_up_by_id(spark: SparkSession, n_partitions: int) -> None:
    rows = [
        (31, "Heat", 1995, ["Action", "Crime"]),
        (2**31 - 1, "Señor Último", None, []),
        (-4, "Below", 2002, ["Horror"]),
        (5, "Nobody rated it", 1990, ["Drama"]),
        (2, "Twice said", 1990, ["Drama", "War"]),
    ]
    movies = spark.createDataFrame(rows, schemas.MOVIES).repartition(n_partitions)
    found = describe(IDS, Rows(movies, n_partitions, schemas.MOVIES))
    assert found.movie_ids is IDS
    assert found.titles.tolist() == ["Below", "Twice said", None, "Heat", "Señor Último"]
    assert found.genres == (("Horror",), ("Drama", "War"), (), ("Action", "Crime"), ())
    assert found.years == (2002, 1990, None, 1995, None)


def test_no_movies_are_known(spark: SparkSession) -> None:
    nothing = Rows(spark.createDataFrame([], schemas.MOVIES), 1, schemas.MOVIES)
    for found in (describe(IDS, None), describe(IDS, nothing)):
        assert found.titles.tolist() == [None] * 5 and found.genres == ((),) * 5
        assert found.years == (None,) * 5


def test_movie_index() -> None:
    movies = Movies(IDS, np.array([1, 2, 3, 4, 5]), np.array([5.0, 5.0, 3.0, 18.0, 2.5]), n_seen=9, rounds=1)
    titles = np.array(["a", None, "c", "d", "e"], dtype=object)
    table = movie_index(Catalogue(IDS, titles, ((),) * 5, (None,) * 5), movies)
    assert list(table.columns) == schemas.MOVIE_INDEX.names
    assert table.values.tolist() == [
        [0, -4, "a", 1, 5.0],
        [1, 2, None, 2, 2.5],
        [2, 30, "c", 3, 1.0],
        [3, 31, "d", 4, 4.5],
        [4, 2**31 - 1, "e", 5, 0.5],
    ]
