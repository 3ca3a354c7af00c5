"""From a rating log to user vectors on Spark, against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.ml.linalg import SparseVector, VectorUDT
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from logs import block_triples, frequent, latest, random_log, rating_log, triples, years
from strategies import MOVIE_IDS, USER_IDS, rating_frame
from tastemap import cleaning, pivot, schemas
from tastemap.blocks import NO_YEAR, Block, BlockMatrix
from tastemap.cleaning import Counts
from tastemap.pivot import _n_partitions
from tastemap.sources.log import RatingLog

LOG = random_log(80, 60, 1500, seed=1, duplicates=0.2)
REJECTS = [
    ("b.csv", None, "what?", "not a rating"),
    *(("a.csv", i, f"{i},x", "no number") for i in range(40)),
]


def blocks_of(matrix: BlockMatrix) -> list[Block]:
    rows = matrix.rows.frame.select(*matrix.columns).collect()
    columns = [pa.array([bytes(row[name]) for row in rows], pa.binary()) for name in matrix.columns]
    return list(matrix.load(pa.record_batch(columns, names=matrix.columns)))


@pytest.mark.parametrize("n_partitions", [1, pytest.param(3, marks=pytest.mark.smoke), 7])
def test_user_vectors_against_pandas(spark: SparkSession, n_partitions: int) -> None:
    remains = frequent(latest(LOG), 5, 4)
    movie_ids = np.unique(remains["movie_id"]).astype(np.int32)
    with pivot.gathered(rating_log(spark, LOG, n_partitions)) as gathered:
        matrix = pivot.index_columns(gathered, movie_ids, 5)
        rows = pivot.user_vectors(matrix).frame().collect()
        number = {movie_id: column for column, movie_id in enumerate(movie_ids.tolist())}
        expected = {
            user: SparseVector(len(movie_ids), {number[m]: r for _, m, r in triples(rated)})
            for user, rated in remains.groupby("user_id")
        }
        assert len(rows) == len(expected) > 20
        assert {row["user_id"]: row["features"] for row in rows} == expected
        assert pivot.size(matrix) == (len(expected), len(remains))
        assert matrix.n_columns == len(movie_ids)
        assert matrix.rows.frame.rdd.getNumPartitions() == matrix.rows.n_partitions
        assert all(block.years is None for block in blocks_of(matrix))
        found = np.concatenate(
            [np.c_[np.repeat(b.ids, np.diff(b.matrix.indptr)), b.years] for b in blocks_of(matrix.dated())]
        )
        expected_years = np.c_[remains["user_id"], years(remains)]
        assert sorted(found.tolist()) == sorted(expected_years.tolist())


def test_table_of_user_vectors_has_its_schema(spark: SparkSession) -> None:
    with pivot.gathered(rating_log(spark, LOG)) as gathered:
        matrix = pivot.index_columns(gathered, np.array([1, 4], dtype=np.int32), 1)
        table = pivot.user_vectors(matrix).frame()
    assert table.schema == schemas.USER_VECTORS and table.schema["features"].dataType == VectorUDT()


@pytest.mark.usefixtures("in_both_ways")
@pytest.mark.parametrize("n_partitions", [1, 3, 7])
def test_gathered_against_pandas(spark: SparkSession, n_partitions: int) -> None:
    with pivot.gathered(rating_log(spark, LOG, n_partitions, rejects=REJECTS)) as gathered:
        blocks = blocks_of(gathered)
        found = sorted(triple for block in blocks for triple in block_triples(block))
        counts = cleaning.count(gathered.rows)
        bad = sorted(map(tuple, cleaning.rejects(gathered.rows).collect()), key=str)
    expected = latest(LOG)
    assert found == triples(expected)
    n_users, n_bad = LOG["user_id"].nunique(), len(REJECTS)
    given = tuple(sorted(set(years(expected).tolist()) - {NO_YEAR}))
    assert len(given) > 20
    assert counts == Counts(len(LOG) + n_bad, n_bad, len(LOG) - len(expected), n_users, len(expected), given)
    assert counts.duplicates > 100
    assert bad == sorted(REJECTS, key=str)


def test_ids_from_one_end_to_the_other(spark: SparkSession) -> None:
    rows = [(user, movie, 1 + i % 5, i) for i, user in enumerate(USER_IDS) for movie in MOVIE_IDS]
    log = rating_frame(rows).sample(frac=1, random_state=0)
    with pivot.gathered(rating_log(spark, log, 2)) as gathered:
        assert sorted(t for block in blocks_of(gathered) for t in block_triples(block)) == triples(log)
        movies = np.array(sorted(MOVIE_IDS), dtype=np.int32)
        vectors = pivot.user_vectors(pivot.index_columns(gathered, movies, 1)).frame().collect()
        assert sorted(row["user_id"] for row in vectors) == sorted(USER_IDS)
        assert all(row["features"].numNonzeros() == len(MOVIE_IDS) for row in vectors)


def test_which_rating_stays_does_not_depend_on_order_or_partitions(spark: SparkSession) -> None:
    twice = [(u, m, r, t) for u in range(6) for m in range(4) for r, t in ((5, None), (1, 7), (2, 7), (4, 3))]
    log = rating_frame(twice)
    expected = triples(latest(log))
    assert {rating for _, _, rating in expected} == {2.0}
    for n_partitions in (1, 4):
        for seed in (0, 1):
            shuffled = log.sample(frac=1, random_state=seed)
            with pivot.gathered(rating_log(spark, shuffled, n_partitions)) as gathered:
                assert sorted(t for b in blocks_of(gathered) for t in block_triples(b)) == expected


@pytest.mark.usefixtures("in_both_ways")
def test_an_empty_log(spark: SparkSession) -> None:
    with pivot.gathered(rating_log(spark, LOG[:0], 2)) as gathered:
        assert blocks_of(gathered) == []
        assert cleaning.count(gathered.rows) == Counts(0, 0, 0, 0, 0)
        matrix = pivot.index_columns(gathered, np.array([1], dtype=np.int32), 1)
        assert pivot.size(matrix) == (0, 0) and pivot.user_vectors(matrix).frame().count() == 0


def test_a_log_of_nothing_but_rejects(spark: SparkSession) -> None:
    with pivot.gathered(rating_log(spark, LOG[:0], 2, rejects=REJECTS)) as gathered:
        assert cleaning.count(gathered.rows) == Counts(len(REJECTS), len(REJECTS), 0, 0, 0)
        assert cleaning.rejects(gathered.rows).schema == schemas.REJECTS
        assert sorted(map(tuple, cleaning.rejects(gathered.rows).collect()), key=str) == sorted(
            REJECTS, key=str
        )


def test_a_log_that_is_parsed_on_the_way(spark: SparkSession) -> None:
    def parse(batches):  # type: ignore[no-untyped-def]
        import pyarrow as pa

        for batch in batches:
            texts = [text.split(",") for text in batch.column(0).to_pylist()]
            users, movies = ([int(fields[i]) for fields in texts] for i in (0, 1))
            columns = [
                pa.array(users, pa.int64()),
                pa.array(movies, pa.int32()),
                pa.array([float(fields[2]) for fields in texts], pa.float32()),
                pa.nulls(len(texts), pa.timestamp("us", "UTC")),
                *(pa.nulls(len(texts), kind) for kind in (pa.string(), pa.int64(), pa.string(), pa.string())),
            ]
            names = ["user_id", "movie_id", "rating", "rated_at", "source", "position", "raw", "reason"]
            yield pa.record_batch(columns, names=names)

    log = latest(LOG)
    lines = [f"{user},{movie},{rating}" for user, movie, rating in triples(log)]
    frame = spark.createDataFrame(pd.DataFrame({"value": lines})).repartition(3)
    made = RatingLog("csv", spark, lambda: frame, parse, None, (0.5, 5.0), 0, len(lines), (), ())
    with pivot.gathered(made) as gathered:
        found = blocks_of(gathered)
    assert sorted(t for block in found for t in block_triples(block)) == triples(log)


@pytest.mark.usefixtures("in_both_ways")
def test_every_partition_gets_its_share(spark: SparkSession) -> None:
    users = np.arange(6_000) * 1024  # ids that plain hashing by remainder would heap up
    log = rating_frame([(user, 1, 3.0, None) for user in users])
    # More than one task a core can hold: another round of tasks.
    large = RatingLog(**{**vars(rating_log(spark, log, 1)), "n_ratings_estimate": 3_000_001})
    with pivot.gathered(large) as gathered:
        assert gathered.rows.n_partitions == gathered.rows.frame.rdd.getNumPartitions() == 6
        shares = gathered.rows.frame.select(F.spark_partition_id(), "n_rows").collect()
        assert sorted(partition for partition, _ in shares) == list(range(6))
        assert all(850 <= n <= 1150 for _, n in shares)


@pytest.mark.parametrize(
    ("n_ratings", "cores", "expected"),
    [
        *[(0, 8, 1), (9_999, 8, 1), (25_000, 8, 3), (10**6, 8, 8), (8_000_000, 8, 8), (8_000_001, 8, 16)],
        *[(5 * 10**8, 10, 500), (10**9, 10, 500), (4 * 10**9, 10, 2000)],
    ],
)
def test_partitions_are_few_for_few_ratings_and_else_a_multiple_of_the_cores(
    n_ratings: int, cores: int, expected: int
) -> None:
    assert _n_partitions(n_ratings, cores) == expected
