"""Profiles from one pass over blocks on Spark, and their tables in Parquet."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from scipy import sparse

from logs import matrix, random_log, to_block
from tastemap import profiles, schemas, segmentation, vectors
from tastemap.aggregation import MAX_PARTIALS_ON_DRIVER
from tastemap.blocks import Block
from tastemap.catalogue import Catalogue, movie_index
from tastemap.cleaning import Movies
from tastemap.clustering.centres import Centres
from tastemap.decomposition.principal import Decomposition
from tastemap.profiles import Aggregates
from tastemap.row_files import Reader
from tastemap.runs import Run
from tastemap.segmentation import Projection, ScoredBlock, ScoredMatrix, Segmentation, assignments, scored
from tastemap.weighting import Weighting

K, M = 3, 2
LOG = random_log(90, 30, 1200, seed=8)
MOVIE_IDS = np.unique(LOG["movie_id"]).astype(np.int32)
D = len(MOVIE_IDS)
COMPONENTS = np.linalg.qr(np.random.default_rng(1).normal(size=(D, M)))[0]
TABLE = LOG.pivot(index="user_id", columns="movie_id", values="rating").fillna(0)
CENTRES = TABLE.to_numpy()[[3, 40, 70]] @ COMPONENTS
SEGMENTS = Segmentation(
    Projection(Weighting("stars", False, 0.0, np.zeros(D), 0.0), COMPONENTS, np.zeros(M)),
    Centres(CENTRES, 2.0),
)
BARS = profiles.rating_bars((0.5, 5.0))
CATALOGUE = Catalogue(
    MOVIE_IDS,
    np.array([f"Ü {i}" if i % 4 else None for i in range(D)], dtype=object),
    tuple(("War",) if i % 2 else () for i in range(D)),
    tuple(None if i % 3 else 1990 + i for i in range(D)),
)
AXES = profiles.Axes(
    BARS,
    CATALOGUE.labels().of_movies,
    tuple(int(year) - 1970 for year in sorted(LOG["rated_at"].dt.year.dropna().unique())),
)
BLOCK = to_block(LOG, MOVIE_IDS)


def together(spark: SparkSession, n_partitions: int) -> ScoredMatrix:
    """Ratings and scores of the log."""
    return scored(matrix(spark, LOG, n_partitions), SEGMENTS.projection, len(TABLE))


def year_cells(block: Block) -> sparse.csr_matrix:
    """Years of the ratings in place of these."""
    assert block.years is not None
    return vectors.csr(block.years, block.matrix.indices, block.matrix.indptr, D)


def expected_clusters() -> pd.Series:
    distances = np.linalg.norm((TABLE.to_numpy() @ COMPONENTS)[:, None] - CENTRES, axis=2)
    return pd.Series(distances.argmin(axis=1), index=TABLE.index)


@pytest.mark.parametrize("n_partitions", [1, 3, 7, MAX_PARTIALS_ON_DRIVER + 1])
def test_aggregates_against_pandas_however_partitioned(
    spark: SparkSession, n_partitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "VALUES", 1)
    assert len(LOG) > 2 * SEGMENTS.model.n_clusters * D  # hence several parts of a block
    found = profiles.aggregate(together(spark, n_partitions), SEGMENTS.model, AXES)
    rated = LOG.assign(cluster=LOG["user_id"].map(expected_clusters()), rating=LOG["rating"].astype(float))
    cells = rated.pivot_table(index="cluster", columns="movie_id", values="rating", aggfunc=["size", "sum"])
    np.testing.assert_array_equal(found.n_ratings, cells["size"].fillna(0))
    np.testing.assert_array_equal(found.rating_sums, cells["sum"].fillna(0))
    np.testing.assert_array_equal(found.n_users, np.bincount(expected_clusters()))
    bars = pd.crosstab(rated["cluster"], rated["rating"]).reindex(columns=BARS, fill_value=0)
    np.testing.assert_array_equal(found.histogram, bars)
    years = pd.crosstab(rated["cluster"], rated["rated_at"].dt.year)
    np.testing.assert_array_equal(found.year_ratings, years)
    odd = rated[rated["movie_id"].map({movie: i % 2 for i, movie in enumerate(MOVIE_IDS)}) == 1]
    np.testing.assert_array_equal(found.label_users[:, 0], odd.groupby("cluster")["user_id"].nunique())


@pytest.mark.usefixtures("in_both_ways")
@pytest.mark.parametrize("users_a_row", [7, 1000])
@pytest.mark.parametrize("n_partitions", [1, 3])
def test_ratings_and_scores_stay_together(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, n_partitions: int, users_a_row: int
) -> None:
    monkeypatch.setattr(segmentation, "SCORES_PER_ROW", users_a_row * M + 1)
    with together(spark, n_partitions).persisted() as kept:
        rows = kept.rows.frame.toPandas()
        alone = kept.scores.sample(len(TABLE), 0)
    blocks = list(kept.load(pa.RecordBatch.from_pandas(rows, preserve_index=False)))
    assert max(block.ratings.ids.size for block in blocks) <= users_a_row
    assert len(blocks) >= max(n_partitions, len(TABLE) // users_a_row)
    for block in blocks:
        np.testing.assert_array_equal(block.scores.ids, block.ratings.ids)
        expected = segmentation.score_block(block.ratings, SEGMENTS.projection)
        np.testing.assert_array_equal(block.scores.scores, expected.scores)
        np.testing.assert_array_equal(block.scores.n_ratings, expected.n_ratings)
    order = np.argsort(np.concatenate([block.ratings.ids for block in blocks]))
    for cells in (attrgetter("matrix"), year_cells):
        stacked = sparse.vstack([cells(block.ratings) for block in blocks], format="csr")[order]
        np.testing.assert_array_equal(stacked.toarray(), cells(BLOCK).toarray())
    np.testing.assert_array_equal(alone.ids, TABLE.index)
    np.testing.assert_allclose(alone.scores, TABLE.to_numpy() @ COMPONENTS, atol=1e-12)


@pytest.mark.usefixtures("in_both_ways")
def test_projected_ratings_and_scores_are_those_of_the_users(spark: SparkSession) -> None:
    with segmentation.projected(matrix(spark, LOG, 3), SEGMENTS.projection, len(TABLE)) as (both, alone):
        # On a cluster the ratings are not kept twice.
        in_files = isinstance(alone.rows.make, Reader)
        assert isinstance(both.rows.make, Reader) == in_files and (alone.rows.make is None) != in_files
        found = alone.sample(len(TABLE), 0)
        counts = profiles.aggregate(both, SEGMENTS.model, AXES)
    np.testing.assert_array_equal(found.ids, TABLE.index)
    np.testing.assert_allclose(found.scores, TABLE.to_numpy() @ COMPONENTS, atol=1e-12)
    np.testing.assert_array_equal(counts.n_users, np.bincount(expected_clusters()))


@pytest.mark.parametrize("size", [1, 7, len(TABLE) - 1, len(TABLE), 1000])
@pytest.mark.parametrize("n_values", [1, 1 << 20])
def test_parts_of_a_block_have_the_scores_of_their_users(size: int, n_values: int) -> None:
    block = ScoredBlock(BLOCK, segmentation.score_block(BLOCK, SEGMENTS.projection))
    parts = list(block.in_parts(size, n_values))
    assert max(part.ratings.ids.size for part in parts) <= size
    assert sum(part.ratings.ids.size for part in parts) == len(TABLE)
    for part in parts:
        expected = segmentation.score_block(part.ratings, SEGMENTS.projection)
        np.testing.assert_array_equal(part.scores.ids, expected.ids)
        np.testing.assert_array_equal(part.scores.scores, expected.scores)


def test_sums_of_distances_and_memberships(spark: SparkSession) -> None:
    found = profiles.aggregate(together(spark, 3), SEGMENTS.model, AXES)
    users = assignments(together(spark, 2).scores, SEGMENTS.model).frame().toPandas()
    pd.testing.assert_series_equal(
        users.set_index("user_id")["cluster"].sort_index(),
        expected_clusters(),
        check_names=False,
        check_dtype=False,
    )
    sums = users.groupby("cluster")[["distance", "membership"]].sum()
    np.testing.assert_allclose(found.distance_sums, sums["distance"], rtol=1e-12)
    np.testing.assert_allclose(found.membership_sums, sums["membership"], rtol=1e-12)
    n_ratings = LOG.groupby("user_id").size()
    assert users.set_index("user_id")["n_ratings"].to_dict() == n_ratings.to_dict()


def tables() -> dict[str, tuple[pd.DataFrame, object]]:
    found = Aggregates(*profiles.aggregate_block(BLOCK, SEGMENTS.assign(BLOCK.matrix), AXES))
    unknown = Catalogue(MOVIE_IDS, CATALOGUE.titles, ((),) * D, (None,) * D)
    variance = np.array([2.0, 1.0])
    fitted = Decomposition(COMPONENTS, np.zeros(D), variance, variance / 9, 8.0, 90, 4, 0.1, True)
    activity = dict.fromkeys(("min", "q25", "median", "q75", "max"), 4)
    sums = Movies(
        MOVIE_IDS, found.n_ratings.sum(axis=0).astype(np.int64), found.rating_sums.sum(axis=0), D, 1
    )
    return {
        "profiles": (profiles.profiles(found, AXES).assign(activity=[activity] * K), schemas.PROFILES),
        "cluster_movies": (profiles.cluster_movies(found, CATALOGUE, 25.0), schemas.CLUSTER_MOVIES),
        "cluster_genres": (profiles.cluster_genres(found, CATALOGUE), schemas.CLUSTER_GENRES),
        "cluster_years": (profiles.cluster_years(found, CATALOGUE), schemas.CLUSTER_YEARS),
        "no_genres": (profiles.cluster_genres(found, unknown), schemas.CLUSTER_GENRES),
        "components": (profiles.components(fitted, CATALOGUE), schemas.COMPONENTS),
        "movie_index": (movie_index(CATALOGUE, sums), schemas.MOVIE_INDEX),
    }


def plain(value: object) -> object:
    """Rows, arrays and NumPy numbers as Python's own."""
    if hasattr(value, "asDict"):
        value = value.asDict()
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


@pytest.mark.parametrize("name", list(tables()))
def test_tables_survive_parquet(spark: SparkSession, tmp_path: Path, name: str) -> None:
    table, schema = tables()[name]
    with Run(spark, str(tmp_path / "out"), overwrite=False) as run:
        run.write_small(name, table, schema)
        back = run.read(name)
        assert [(f.name, f.dataType.simpleString()) for f in back.schema] == [
            (f.name, f.dataType.simpleString()) for f in schema
        ]
        assert back.rdd.getNumPartitions() <= 1
        rows = [plain(row) for row in back.collect()]
    assert rows == [plain(row) for row in table[schema.names].to_dict("records")]
