"""Samples of people for the report against pandas, however the blocks are partitioned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from logs import matrix, random_log
from tastemap import aggregation
from tastemap.clustering.centres import Centres
from tastemap.hashing import uniform
from tastemap.report import sample
from tastemap.runs import Run
from tastemap.segmentation import Projection, Segmentation, assignments, scores
from tastemap.weighting import Weighting

LOG = random_log(200, 40, 4000, seed=3)
MOVIE_IDS = np.unique(LOG["movie_id"]).astype(np.int32)
D, M = len(MOVIE_IDS), 3
COMPONENTS = np.linalg.qr(np.random.default_rng(1).normal(size=(D, M)))[0]
TABLE = LOG.pivot(index="user_id", columns="movie_id", values="rating")
SCORES = TABLE.fillna(0).to_numpy() @ COMPONENTS
CENTRES = SCORES[[3, 40, 70]]
DISTANCES = np.linalg.norm(SCORES[:, None] - CENTRES, axis=2)
USERS = pd.DataFrame(
    {
        "cluster": DISTANCES.argmin(axis=1),
        "distance": DISTANCES.min(axis=1),
        "n_ratings": TABLE.notna().sum(axis=1).to_numpy(),
        "mean_rating": TABLE.mean(axis=1).to_numpy(),
    },
    index=TABLE.index,
)
SEGMENTS = Segmentation(
    Projection(Weighting("stars", False, 0.0, np.zeros(D), 0.0), COMPONENTS, np.zeros(M)),
    Centres(CENTRES, 2.0, temperature=1.0),
)


def cluster_movies() -> pd.DataFrame:
    """The columns that matter: ratings counted, and a rank by a number drawn by lot."""
    rated = LOG.assign(cluster=LOG["user_id"].map(USERS["cluster"]))
    counted = rated.groupby(["cluster", "movie_id"]).size().rename("n_ratings").reset_index()
    lot = counted["movie_id"].mul(7919).mod(101)
    return counted.assign(rank=lot.groupby(counted["cluster"]).rank(method="first").astype(int))


def test_the_log_is_worth_it() -> None:
    assert USERS["cluster"].value_counts().min() > 10 and len(USERS) > 150


@pytest.mark.smoke
@pytest.mark.parametrize("n_partitions", [1, 5])
def test_everybody_where_there_are_few(spark: SparkSession, n_partitions: int) -> None:
    scored = scores(matrix(spark, LOG, n_partitions), SEGMENTS.projection, len(USERS))
    people = sample.choose_people(scored, seed=7)
    found = sample.assigned(people, SEGMENTS.model)
    table = found.table.set_index("user_id")
    expected = USERS.loc[table.index]
    assert table.index.tolist() == sorted(USERS.index)
    assert table["cluster"].tolist() == expected["cluster"].tolist()
    assert table["n_ratings"].tolist() == expected["n_ratings"].tolist()
    np.testing.assert_allclose(table["mean_rating"], expected["mean_rating"], rtol=1e-6)
    kernel = np.exp(-(DISTANCES**2) * M / (2 * 2.0))
    membership = kernel.max(axis=1) / kernel.sum(axis=1)
    np.testing.assert_allclose(
        table["membership"], membership[TABLE.index.get_indexer(table.index)], rtol=1e-6
    )
    np.testing.assert_allclose(
        found.scores, SCORES[TABLE.index.get_indexer(table.index)], rtol=1e-9, atol=1e-9
    )


def test_a_sample_is_chosen_by_hash_alone(spark: SparkSession) -> None:
    found = [
        sample.choose_people(scores(matrix(spark, LOG, n), SEGMENTS.projection, len(USERS)), seed=7, size=60)
        for n in (1, 4)
    ]
    ids = np.sort(USERS.index.to_numpy())
    chosen = ids[uniform(ids, 7) < 60 / len(ids)]
    for one in found:
        assert one.table["user_id"].tolist() == chosen.tolist()
    assert 35 < len(chosen) < 85
    np.testing.assert_array_equal(found[0].scores, found[1].scores)


@pytest.mark.parametrize("on_driver", [True, False])
def test_members_against_pandas(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, on_driver: bool
) -> None:
    assert USERS["cluster"].value_counts().max() > sample.N_ACTIVE  # somebody is left out
    n_partitions = 2 * spark.sparkContext.defaultParallelism  # several blocks to a task
    if not on_driver:
        monkeypatch.setattr(aggregation, "MAX_PARTIALS_ON_DRIVER", 1)
    found = chosen_members(spark, n_partitions)
    for cluster, users in USERS.reset_index().groupby("cluster"):
        own = found[found["cluster"] == cluster]
        active = users.sort_values(["n_ratings", "user_id"], ascending=[False, True]).head(sample.N_ACTIVE)
        assert own[~own["typical"]]["user_id"].tolist() == active["user_id"].tolist()
        near = users.sort_values(["distance", "user_id"]).head(sample.N_TYPICAL)
        assert own[own["typical"]]["user_id"].tolist() == near["user_id"].tolist()
        assert own["place"].tolist() == [*range(1, len(active) + 1), *range(1, len(near) + 1)]


@pytest.mark.parametrize("n_partitions", [1, 5])
def test_ratings_that_are_looked_up(spark: SparkSession, n_partitions: int) -> None:
    rng = np.random.default_rng(2)
    columns = [rng.permutation(D)[:n] for n in (10, 4, D)]
    chosen = USERS.reset_index().sample(50, random_state=1)
    found = sample.look_up(matrix(spark, LOG, n_partitions), chosen, columns)
    assert set(found) == set(chosen["user_id"])
    for user, cluster in zip(chosen["user_id"], chosen["cluster"], strict=True):
        np.testing.assert_array_equal(found[user], TABLE.loc[user].to_numpy()[columns[cluster]])


def chosen_members(spark: SparkSession, n_partitions: int = 2) -> pd.DataFrame:
    scored = scores(matrix(spark, LOG, n_partitions), SEGMENTS.projection, len(USERS))
    return sample.choose_members(assignments(scored, SEGMENTS.model))


def test_members_of_all_clusters(spark: SparkSession) -> None:
    movies = cluster_movies()
    found = sample.members(matrix(spark, LOG, 3), chosen_members(spark), movies, MOVIE_IDS, 3)
    assert [one.cluster for one in found] == [0, 1, 2]
    for one in found:
        own = movies[movies["cluster"] == one.cluster]
        most = own.sort_values(["n_ratings", "movie_id"], ascending=[False, True])["movie_id"].head(50)
        assert one.movie_ids[: one.n_most_rated].tolist() == most.tolist()
        for users, ratings in ((one.active, one.active_ratings), (one.typical, one.typical_ratings)):
            np.testing.assert_array_equal(ratings, TABLE.loc[users["user_id"], one.movie_ids].to_numpy())


def test_a_cluster_that_nobody_is_in(spark: SparkSession) -> None:
    found = sample.members(matrix(spark, LOG, 2), chosen_members(spark), cluster_movies(), MOVIE_IDS, 4)
    last = found[3]
    assert len(last.active) == len(last.typical) == last.movie_ids.size == 0


def test_files_beside_the_tables(spark: SparkSession, tmp_path: Path) -> None:
    with Run(spark, str(tmp_path / "out"), overwrite=False) as run:
        run.write_text("report.html", "<p>ü</p>")
        run.write_bytes("figures/map.png", bytes(range(256)) * 1000)
        run.finish({})
    assert (tmp_path / "out/report.html").read_text(encoding="utf-8") == "<p>ü</p>"
    assert (tmp_path / "out/figures/map.png").read_bytes() == bytes(range(256)) * 1000
