"""KMeans against scikit-learn on the same scores, and taste groups found again, from ratings to clusters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.linalg import Vectors
from pyspark.sql import SparkSession
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import make_ratings
from logs import rating_log
from tastemap import cleaning, pivot, rows, schemas, segmentation, weighting
from tastemap.clustering import algorithms, bisecting, cosine, mixture, refinement
from tastemap.clustering.centres import Centres, CentresModel
from tastemap.clustering.estimation import Clustering
from tastemap.clustering.scores import ScoreBlock, ScoreMatrix, decode, encode
from tastemap.config import ClusteringConfig, from_options
from tastemap.decomposition.principal import decompose
from tastemap.features import loading
from tastemap.rows import Rows
from tastemap.segmentation import Projection

Array = npt.NDArray[np.float64]


@pytest.fixture(
    params=[(1 << 15, 1 << 15), (1 << 15, 75), (100, 100)], ids=["whole", "begun on few", "sampled"]
)
def sample_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Whether all rows fit into the sample and starts are made on all of it, or passes over others follow."""
    size, starts = request.param
    monkeypatch.setattr(refinement, "SAMPLE", size)
    monkeypatch.setattr(refinement, "START_ROWS", starts)
    monkeypatch.setattr(refinement, "ROWS_PER_CLUSTER", 8)
    return int(size)


def frame(spark: SparkSession, rows: Array, n_partitions: int = 3) -> ScoreMatrix:
    """Rows in five blocks, one of them empty; `rows` are floats of four bytes."""
    shares = [*np.array_split(np.arange(len(rows)), 4), np.arange(0)]
    blocks = [
        encode(ScoreBlock(1000 + share, rows[share], share.astype(np.int32), -rows[share, 0]))
        for share in shares
    ]
    cells = [tuple(cell[0].as_py() for cell in block.columns) for block in blocks]
    blocks_frame = spark.createDataFrame(cells, schemas.SCORES).repartition(n_partitions)
    return ScoreMatrix(Rows(blocks_frame, n_partitions, schemas.SCORES), decode, len(rows))


def fit(scores: ScoreMatrix, k: int, seed: int = 7, restarts: int = 1) -> Clustering:
    return algorithms.fit(scores, k, ClusteringConfig(restarts=restarts), seed)


RELATIVES = {"bisecting": bisecting, "mixture": mixture, "cosine": cosine}


@pytest.mark.parametrize("algorithm", RELATIVES)
def test_relatives_over_all_rows_as_on_the_driver(
    spark: SparkSession, sample_size: int, algorithm: str
) -> None:
    """From a sample of 100 rows on, passes over all 600 end where the driver ends that sees all of them."""
    rows = blobs((250, 150, 120, 80), distance=4)
    config = ClusteringConfig(algorithm=algorithm)
    found, narrow = algorithms.fit_many(frame(spark, rows), [(None, 4), (3, 2)], config, 7)
    expected = min(
        RELATIVES[algorithm].starts(rows, 4, max_iterations=40, restarts=4, seed=7),
        key=lambda one: one.loss,
    ).clustering()
    assert (found.model.n_clusters, found.model.n_components) == (4, 5)
    assert (narrow.model.n_clusters, narrow.model.n_components) == (2, 3)
    assert found.cost == pytest.approx(expected.cost, rel=1e-4)
    labels = found.model.assign(rows).clusters
    assert adjusted_rand_score(labels, expected.model.assign(rows).clusters) > 0.99
    assert found.sizes.tolist() == np.bincount(labels).tolist() == sorted(found.sizes, reverse=True)


def test_many_shapes_at_once_as_one_by_one(spark: SparkSession, sample_size: int) -> None:
    rows = like_real_scores(600, 6)
    shapes = [(2, 3), (None, 5), (4, 5)]
    config = ClusteringConfig(restarts=2)
    found = algorithms.fit_many(frame(spark, rows), shapes, config, 7)
    for (m, k), together in zip(shapes, found, strict=True):
        alone = algorithms.fit(frame(spark, rows[:, :m]), k, config, 7)
        np.testing.assert_allclose(together.model.centres, alone.model.centres, atol=1e-9)
        assert together.cost == pytest.approx(alone.cost) and together.sizes.tolist() == alone.sizes.tolist()
        assert together.model.centres.shape == (k, m or 6)


def rounded(rows: Array) -> Array:
    """As blocks in single precision hold them."""
    return rows.astype(np.float32).astype(np.float64)


def blobs(sizes: tuple[int, ...], *, distance: float, m: int = 5, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    middles = distance * rng.normal(size=(len(sizes), m))
    return rounded(np.vstack([m + rng.normal(size=(n, m.size)) for n, m in zip(sizes, middles, strict=True)]))


def like_real_scores(n: int = 3000, m: int = 16) -> Array:
    """Rows of length 1 in a few directions that overlap, with variances that fall off slowly."""
    rng = np.random.default_rng(3)
    tastes = rng.normal(size=(6, m))[rng.integers(0, 6, n)] + 1.5 * rng.normal(size=(n, m))
    return rounded(tastes / np.linalg.norm(tastes, axis=1, keepdims=True) * np.arange(1, m + 1) ** -0.25)


def test_separated_blobs_as_scikit_learn_finds_them(spark: SparkSession, sample_size: int) -> None:
    rows = blobs((400, 300, 200, 150, 100, 50), distance=12)
    found = min((fit(frame(spark, rows), 6, seed) for seed in (1, 2, 3)), key=lambda fitted: fitted.cost)
    expected = KMeans(6, n_init=10, random_state=0).fit(rows)
    assert found.cost == pytest.approx(expected.inertia_, rel=1e-6)
    assert found.sizes.tolist() == [400, 300, 200, 150, 100, 50]
    distances = cdist(found.model.centres, expected.cluster_centers_)
    np.testing.assert_allclose(distances.min(axis=1), 0, atol=1e-6)


def test_overlapping_scores_as_well_as_scikit_learn(spark: SparkSession, sample_size: int) -> None:
    rows = like_real_scores()
    scores = frame(spark, rows)
    found = min(fit(scores, 8, seed).cost for seed in range(4))
    expected = KMeans(8, n_init=4, random_state=0).fit(rows).inertia_
    assert found <= 1.01 * expected


def test_what_is_reported_is_true(spark: SparkSession, sample_size: int) -> None:
    rows = like_real_scores(800, 6)
    found = fit(frame(spark, rows), 5)
    distances = cdist(rows, found.model.centres)
    assert found.cost == pytest.approx((distances.min(axis=1) ** 2).sum(), rel=1e-9)
    assert found.model.spread == pytest.approx((distances.min(axis=1) ** 2).mean(), rel=1e-9)
    assert found.sizes.tolist() == np.bincount(distances.argmin(axis=1), minlength=5).tolist()
    assert found.sizes.tolist() == sorted(found.sizes, reverse=True)
    assert 1 <= found.iterations <= 40
    assert found.model.assign(rows).clusters.tolist() == distances.argmin(axis=1).tolist()


def test_numbers_of_clusters_do_not_depend_on_the_seed(spark: SparkSession, sample_size: int) -> None:
    rows = blobs((60, 100, 60, 60), distance=30, m=2)
    scores = frame(spark, rows)
    first, *others = [fit(scores, 4, seed) for seed in (1, 2, 3)]
    assert first.sizes.tolist() == [100, 60, 60, 60]
    assert first.model.centres[1:, 0].tolist() == sorted(first.model.centres[1:, 0])
    for other in others:
        np.testing.assert_allclose(other.model.centres, first.model.centres, atol=1e-9)


def test_the_same_seed_gives_the_same_clusters(spark: SparkSession, sample_size: int) -> None:
    scores = frame(spark, like_real_scores(500, 4))
    first, second = fit(scores, 6, 5), fit(scores, 6, 5)
    np.testing.assert_array_equal(first.model.centres, second.model.centres)


@pytest.mark.smoke
def test_fewer_different_rows_than_clusters(spark: SparkSession, sample_size: int) -> None:
    rows = np.repeat([[0.0, 1.0], [2.0, 3.0], [5.0, 5.0]], [5, 7, 3], axis=0)
    found = fit(frame(spark, rows), 6)
    assert found.sizes.tolist() == [7, 5, 3]
    np.testing.assert_allclose(found.model.centres, [[2, 3], [0, 1], [5, 5]])
    assert found.cost == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(found.model.assign(rows).memberships, 1, atol=1e-9)


@pytest.mark.parametrize("spherical", [False, True])
def test_centres_as_a_stage_of_a_pipeline(spark: SparkSession, tmp_path: Path, spherical: bool) -> None:
    rng = np.random.default_rng(0)
    rows, middles = rng.normal(size=(40, 3)), rng.normal(size=(4, 3))
    centres = Centres(middles, 0.7, temperature=2.5, spherical=spherical)
    expected = centres.assign(rows)
    data = [(i, Vectors.dense(row)) for i, row in enumerate(rows)]
    dataset = spark.createDataFrame(data, ["id", "scores"]).repartition(3)
    CentresModel(centres).write().save(str(tmp_path / "model"))
    for model in (CentresModel(centres), CentresModel.load(str(tmp_path / "model"))):
        found = model.clusters
        assert (found.spread, found.temperature, found.spherical) == (0.7, 2.5, spherical)
        out = model.transform(dataset).orderBy("id").toPandas()
        assert list(out.columns) == ["id", "scores", "cluster", "distance", "membership"]
        np.testing.assert_array_equal(out["cluster"], expected.clusters)
        np.testing.assert_allclose(out["distance"], expected.distances, rtol=1e-12)
        np.testing.assert_allclose(out["membership"], expected.memberships, rtol=1e-12)


def segment(spark: SparkSession, log: pd.DataFrame, n_clusters: int, folder: Path) -> pd.DataFrame:
    """Clusters of all users, by the library from log to assignments, checked against the saved model."""
    config = from_options(min_user_ratings=5, n_components=12)
    with pivot.gathered(rating_log(spark, log, 3)) as gathered:
        movies = cleaning.frequent_movies(gathered, config.cleaning)
        with pivot.index_columns(
            gathered, movies.ids, config.cleaning.min_user_ratings
        ).persisted() as matrix:
            features = weighting.fit(movies.n_ratings, movies.rating_sums, config.weighting)
            found = decompose(loading(features, matrix), config.decomposition.n_components[0])
            projection = Projection.of(features, found)
            scores = segmentation.scores(matrix, projection, pivot.size(matrix)[0])
            clustering = fit(scores, n_clusters, restarts=config.clustering.restarts)
            assignments = segmentation.assignments(scores, clustering.model).frame()
            assert assignments.schema == schemas.ASSIGNMENTS
            table = assignments.toPandas().set_index("user_id").sort_index()
            model = segmentation.pipeline_model(features, found, clustering.model)
            model.write().save(str(folder / "model"))
            again = PipelineModel.load(str(folder / "model")).transform(pivot.user_vectors(matrix).frame())
            scored = (
                again.select("user_id", "cluster", "distance", "membership").toPandas().set_index("user_id")
            )
        assert table["cluster"].value_counts().sort_index().tolist() == clustering.sizes.tolist()
        n_ratings = log.groupby("user_id").size()
        assert (table["n_ratings"] <= n_ratings.reindex(table.index)).all()
        pd.testing.assert_frame_equal(scored.sort_index(), table.drop(columns="n_ratings"), rtol=1e-9)
        return table


def test_planted_taste_groups_are_found_again(spark: SparkSession, tmp_path: Path) -> None:
    size = ("--users", "400", "--movies", "400", "--ratings", "20000", "--groups", "4")
    make_ratings.main(["--format", "parquet", *size, "--seed", "11", "--output", str(tmp_path / "log")])
    log = pd.read_parquet(tmp_path / "log/ratings.parquet")
    groups = pd.read_parquet(tmp_path / "log/groups.parquet").set_index("user_id")["group"]
    table = segment(spark, log, 4, tmp_path)
    assert len(table) > 350
    assert adjusted_rand_score(groups.reindex(table.index), table["cluster"]) >= 0.95


@pytest.mark.parametrize("local", [True, False])
def test_the_same_clusters_wherever_scores_stay(
    spark: SparkSession, sample_size: int, local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = frame(spark, blobs((80, 70), distance=4))
    once = fit(scores, 2)
    monkeypatch.setattr(rows, "in_one_process", lambda spark: local)
    with scores.persisted() as kept:
        again = fit(kept, 2)
    assert again.sizes.tolist() == once.sizes.tolist() == [80, 70]
    np.testing.assert_allclose(again.model.centres, once.model.centres, rtol=1e-6)  # type: ignore[attr-defined]


def test_scores_in_single_precision(spark: SparkSession) -> None:
    rows = np.random.default_rng(0).normal(size=(90, 3))
    exact = frame(spark, rows)
    found, told = exact.single_precision().sample(100, seed=1), exact.sample(100, seed=1)
    np.testing.assert_array_equal(found.scores, rounded(rows))
    np.testing.assert_array_equal(told.scores, rows)
    np.testing.assert_array_equal(found.ids, told.ids)
    # As under pseudonyms: what loading does to the blocks is done once.
    shifted = exact.loading(lambda batch: (replace(one, ids=one.ids + 7) for one in decode(batch)))
    np.testing.assert_array_equal(shifted.single_precision().sample(100, seed=1).ids, told.ids + 7)


def test_a_sample_of_users_is_the_same_however_partitioned(spark: SparkSession) -> None:
    rows = blobs((300, 200), distance=4)
    few, many = (frame(spark, rows, n).sample(100, seed=3) for n in (1, 4))
    assert 70 < len(few.ids) < 130 and (np.diff(few.ids) > 0).all()
    for found in (few, many):
        position = few.ids - 1000
        np.testing.assert_array_equal(found.ids, few.ids)
        np.testing.assert_array_equal(found.scores, rows[position])
        np.testing.assert_array_equal(found.n_ratings, position)
        np.testing.assert_array_equal(found.mean_ratings, -rows[position, 0])


def test_the_best_of_several_starts_is_taken(spark: SparkSession, sample_size: int) -> None:
    scores = frame(spark, np.random.default_rng(5).standard_normal((150, 4)))
    costs = [fit(scores, 6, seed=3, restarts=n).cost for n in (1, 2, 3, 4, 5)]
    assert costs == sorted(costs, reverse=True) and costs[-1] < costs[0]
