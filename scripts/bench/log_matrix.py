"""The user vectors of a log, as a job has them before its PCA: for benchmarks of what comes after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pyspark.sql import SparkSession

from tastemap import cleaning, pivot, weighting
from tastemap.blocks import BlockMatrix
from tastemap.config import Config
from tastemap.features import Features
from tastemap.sources import open_log


@contextmanager
def persisted(spark: SparkSession, ratings: str, config: Config) -> Iterator[tuple[BlockMatrix, Features]]:
    """Ratings of the users and movies that are kept, and their weighting, until the end of the context."""
    log = open_log(spark, [ratings], config.source, None)
    with ExitStack() as kept:
        with pivot.gathered(log) as gathered:
            movies = cleaning.frequent_movies(gathered, config.cleaning)
            indexed = pivot.index_columns(gathered, movies.ids, config.cleaning.min_user_ratings)
            matrix = kept.enter_context(indexed.persisted())
        yield matrix, weighting.fit(movies.n_ratings, movies.rating_sums, config.weighting)
