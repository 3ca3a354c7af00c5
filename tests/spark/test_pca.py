"""The PCA estimator, against scikit-learn, dense linear algebra, planted spectra and stock Spark ML."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.evaluation import Evaluator
from pyspark.ml.feature import PCA as StockPCA
from pyspark.ml.linalg import Vectors
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy import linalg, sparse
from sklearn.decomposition import TruncatedSVD

import oracles
from frames import array_of, vector_frame, vectors_of
from logs import matrix, random_log
from tastemap import fitting
from tastemap.aggregation import MAX_PARTIALS_ON_DRIVER, SLICE
from tastemap.blocks import BlockMatrix
from tastemap.config import from_options
from tastemap.decomposition import PCA, PCAModel, principal, sampling
from tastemap.decomposition.principal import Decomposition
from tastemap.intake import Cleaned
from tastemap.weighting import Weighting

Array = npt.NDArray[np.float64]

ANGLE, RELATIVE = 1e-6, 1e-8
"""What is promised at PCA(tol=1e-10): principal angles in radians, relative error of variances."""


@pytest.fixture(scope="module")
def ratings() -> sparse.csr_matrix:
    return oracles.sparse_ratings(400, 150, density=0.15)


@pytest.fixture(scope="module")
def frame(spark: SparkSession, ratings: sparse.csr_matrix) -> DataFrame:
    return vector_frame(spark, ratings)


@pytest.fixture(scope="module")
def model(frame: DataFrame) -> PCAModel:
    return PCA(k=10, tol=1e-10).fit(frame)


@pytest.fixture(scope="module")
def loose(frame: DataFrame) -> PCAModel:
    """As a user would fit it: at the default tolerance."""
    return PCA(k=10).fit(frame)


def test_a_run_takes_the_solver_that_is_asked_for(spark: SparkSession) -> None:
    log = random_log(120, 30, 2000, seed=4)
    blocks = matrix(spark, log, 2)
    counts = {"users": log["user_id"].nunique(), "ratings_kept": len(log)}
    movies: Any = None
    kept = Cleaned(blocks, movies, (), counts)
    found = {
        solver: fitting.principal_components(
            kept,
            Weighting("rated", False, 0.0, np.zeros(blocks.n_columns), 0.0),
            from_options(n_components=4, pca_solver=solver, pca_tolerance=1e-10),
            lambda _: None,
        )
        for solver in ("krylov", "spark")
    }
    np.testing.assert_allclose(found["spark"].variance, found["krylov"].variance, rtol=1e-9)
    np.testing.assert_allclose(found["spark"].components, found["krylov"].components, atol=1e-7)


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_in_local_mode_passes_are_over_columns_at_rest(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, n_partitions: int
) -> None:
    """Where scores are in single precision, and more than one pass follows: the same, to its rounding."""
    log = random_log(600, 80, 12_000, seed=5)
    size = (log["user_id"].nunique(), len(log))
    turned: list[BlockMatrix] = []
    as_ever = sampling.by_column
    monkeypatch.setattr(sampling, "by_column", lambda rows: turned.append(rows) or as_ever(rows))
    monkeypatch.setattr(principal, "SINGLE_BYTES", 0)
    weights = Weighting("stars", True, 0.0, np.zeros(log["movie_id"].nunique()), 0.0)

    def fitted(n_partitions: int, *, local: bool = True, rows: int = 150, tol: float = 1e-3) -> Decomposition:
        monkeypatch.setattr(sampling, "ROWS", rows)
        monkeypatch.setattr(sampling, "in_one_process", lambda spark: local)
        blocks = matrix(spark, log, n_partitions)
        return sampling.decompose_from_sample(blocks, weights, 5, size, tol=tol, seed=7)

    found = fitted(n_partitions)
    assert len(turned) == 1 and found.passes > 1
    np.testing.assert_allclose(found.components, fitted(2).components, atol=1e-9)
    of_rows = fitted(2, local=False)
    assert 0 < np.abs(found.components - of_rows.components).max() < 1e-5
    np.testing.assert_allclose(found.variance, of_rows.variance, rtol=1e-6)
    np.testing.assert_allclose(found.mean, of_rows.mean, rtol=1e-6)
    assert found.total_variance == pytest.approx(of_rows.total_variance, rel=1e-7)
    assert len(turned) == 2
    fitted(2, rows=10**6)  # one pass
    fitted(2, tol=1e-9)  # in double precision
    assert len(turned) == 2


def assert_same_fit(one: PCAModel, other: PCAModel) -> None:
    """Equal but for rounding: components too, as signs are fixed."""
    np.testing.assert_allclose(one.variance, other.variance, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(one.components, other.components, atol=1e-7)
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-13)
    assert one.decomposition.n_rows == other.decomposition.n_rows
    assert one.decomposition.total_variance == pytest.approx(other.decomposition.total_variance, rel=1e-12)


def assert_exact(found: PCAModel, matrix: object, *, center: bool = True) -> None:
    """Leading eigenpairs of the dense covariance matrix, to the promised precision."""
    k = found.getK()
    operator = oracles.covariance(matrix, center=center)
    values, vectors = np.linalg.eigh(operator)
    np.testing.assert_allclose(found.variance, values[::-1][:k], rtol=RELATIVE, atol=1e-13 * values[-1])
    assert oracles.largest_angle(found.components, vectors[:, ::-1][:, :k]) <= ANGLE
    assert found.decomposition.total_variance == pytest.approx(np.trace(operator), rel=RELATIVE)


@pytest.mark.smoke
def test_the_same_as_scikit_learn_on_the_same_sparse_matrix(
    model: PCAModel, ratings: sparse.csr_matrix
) -> None:
    components, variance, ratio = oracles.arpack(ratings, 10)
    assert oracles.largest_angle(model.components, components) <= ANGLE
    np.testing.assert_allclose(model.variance, variance, rtol=RELATIVE)
    np.testing.assert_allclose(model.variance_ratio, ratio, rtol=RELATIVE)
    np.testing.assert_allclose(model.mean, oracles.dense(ratings).mean(axis=0), atol=1e-14)
    fitted = model.decomposition
    assert fitted.converged and fitted.error <= 1e-10 and fitted.n_rows == 400
    largest = np.abs(model.components).argmax(axis=0)
    assert np.all(model.components[largest, np.arange(10)] > 0)


def test_the_default_tolerance_is_within_what_is_promised_and_honest(
    model: PCAModel, loose: PCAModel, ratings: sparse.csr_matrix
) -> None:
    found = loose
    operator = oracles.covariance(ratings)
    captured = np.trace(found.components.T @ operator @ found.components)
    optimum = oracles.optimum(ratings, 10)
    assert optimum * (1 - 4e-5) <= captured <= optimum * (1 + 1e-12)
    assert found.variance.sum() == pytest.approx(captured, rel=1e-12)
    fitted = found.decomposition
    true = oracles.residuals(operator, found.variance, found.components)
    np.testing.assert_allclose(fitted.residuals, true, atol=1e-12 * operator.max())
    assert fitted.error == pytest.approx(true.sum() / found.variance.sum(), rel=1e-6)
    assert fitted.converged and fitted.error <= 2e-4
    assert true.max() > 1e-6  # else this has shown nothing
    assert fitted.passes < model.decomposition.passes


@pytest.mark.parametrize("partitions", [1, 7, MAX_PARTIALS_ON_DRIVER + 1])
def test_the_number_of_partitions_does_not_matter(
    spark: SparkSession, ratings: sparse.csr_matrix, loose: PCAModel, partitions: int
) -> None:
    assert_same_fit(PCA(k=10).fit(vector_frame(spark, ratings, partitions=partitions)), loose)


def test_the_order_of_the_rows_and_empty_partitions_do_not_matter(frame: DataFrame, loose: PCAModel) -> None:
    in_one_of_five = frame.repartition(5, F.lit(1)).sortWithinPartitions(F.hash("row"))
    assert_same_fit(PCA(k=10).fit(in_one_of_five), loose)


@pytest.mark.slow
def test_wider_than_stock_spark_ml_can_go(spark: SparkSession) -> None:
    n, d, k = 60, 70_000, 5
    tastes = sparse.random(n, 5, density=0.6, random_state=1) @ sparse.random(5, d, 0.01, random_state=2)
    matrix = sparse.csr_matrix(tastes + sparse.random(n, d, density=0.001, random_state=0) * 0.1)
    centred = matrix.toarray() - np.asarray(matrix.mean(axis=0))
    _, singular, right = linalg.svd(centred, full_matrices=False)
    assert d * 16 > SLICE  # sums of a pass, cut into slices
    fits = [
        PCA(k=k, tol=1e-10).fit(vector_frame(spark, matrix, partitions=partitions))
        for partitions in (2, MAX_PARTIALS_ON_DRIVER + 1)  # sums straight to the driver, and shuffled
    ]
    for found in fits:
        assert oracles.largest_angle(found.components, right[:k].T) <= ANGLE
        np.testing.assert_allclose(found.variance, singular[:k] ** 2 / (n - 1), rtol=RELATIVE)
        assert found.decomposition.total_variance == pytest.approx((centred**2).sum() / (n - 1), rel=RELATIVE)
    scores = array_of(fits[0].transform(vector_frame(spark, matrix)), "scores")
    np.testing.assert_allclose(scores, centred @ fits[0].components, atol=1e-10)


def test_stock_spark_ml_still_cannot_do_it(spark: SparkSession) -> None:
    """When this fails, stock PCA has learned to: see whether this project's is still wanted."""
    rows = vector_frame(spark, [Vectors.sparse(70_000, {row: 1.0}) for row in range(4)], partitions=1)
    with pytest.raises(Exception, match="axpy only supports adding to a dense vector"):
        StockPCA(k=2, inputCol="features", outputCol="scores").fit(rows)


def test_without_centring_it_is_truncated_svd(frame: DataFrame, ratings: sparse.csr_matrix) -> None:
    found = PCA(k=6, center=False, tol=1e-10).fit(frame)
    svd = TruncatedSVD(6, algorithm="arpack", random_state=0).fit(ratings)
    assert oracles.largest_angle(found.components, svd.components_.T) <= ANGLE
    np.testing.assert_allclose(found.variance * (400 - 1), svd.singular_values_**2, rtol=RELATIVE)
    assert_exact(found, ratings, center=False)
    assert not found.mean.any()
    scores = array_of(found.transform(frame), "scores")
    np.testing.assert_allclose(scores, ratings @ found.components, atol=1e-11)


def test_scores_are_centred_uncorrelated_and_vary_as_said(
    frame: DataFrame, model: PCAModel, ratings: sparse.csr_matrix
) -> None:
    scores = array_of(model.transform(frame), "scores")
    centred = oracles.dense(ratings) - oracles.dense(ratings).mean(axis=0)
    np.testing.assert_allclose(scores, centred @ model.components, atol=1e-11)
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(oracles.covariance(scores), np.diag(model.variance), atol=1e-8)


def test_dense_and_sparse_vectors_mixed(
    spark: SparkSession, ratings: sparse.csr_matrix, loose: PCAModel
) -> None:
    as_sparse, as_dense = vectors_of(ratings), vectors_of(ratings.toarray())
    mixed = [as_sparse[row] if row % 3 else as_dense[row] for row in range(len(as_sparse))]
    frame = vector_frame(spark, mixed)
    assert_same_fit(PCA(k=10).fit(frame), loose)
    expected = (ratings.toarray() - loose.mean) @ loose.components
    np.testing.assert_allclose(array_of(loose.transform(frame), "scores"), expected, atol=1e-11)


def test_both_solvers_find_the_same(frame: DataFrame, model: PCAModel) -> None:
    stock = PCA(k=10, solver="spark").fit(frame)
    assert oracles.largest_angle(stock.components, model.components) <= ANGLE
    np.testing.assert_allclose(stock.variance, model.variance, rtol=RELATIVE)
    np.testing.assert_allclose(stock.variance_ratio, model.variance_ratio, rtol=RELATIVE)
    np.testing.assert_allclose(stock.mean, model.mean, atol=1e-13)
    assert stock.decomposition.converged and stock.decomposition.passes == 1
    assert stock.decomposition.error < 1e-10


def test_too_few_passes_are_reported(
    frame: DataFrame, ratings: sparse.csr_matrix, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="tastemap"):
        found = PCA(k=10, tol=1e-10, maxIter=3).fit(frame)
    fitted = found.decomposition
    assert fitted.passes == 3 and not fitted.converged and fitted.error > 1e-10
    assert "PCA stopped after 3 passes" in caplog.text and "raise maxIter or tol" in caplog.text
    true = oracles.residuals(oracles.covariance(ratings), found.variance, found.components)
    np.testing.assert_allclose(fitted.residuals, true, atol=1e-11)
    caplog.clear()
    PCA(k=1, tol=0.5).fit(frame)
    assert not caplog.records


def test_the_seed_decides_and_results_repeat(frame: DataFrame) -> None:
    one, same, other = (PCA(k=3, tol=1e-2, seed=seed).fit(frame).components for seed in (1, 1, 2))
    np.testing.assert_allclose(one, same, atol=1e-12)
    assert not np.allclose(one, other, atol=1e-9)


def test_saved_and_loaded_with_the_same_numbers(frame: DataFrame, model: PCAModel, tmp_path: object) -> None:
    model.write().save(f"{tmp_path}/model")
    loaded = PCAModel.load(f"{tmp_path}/model")
    for name in ("components", "mean", "variance", "residuals"):
        found, right = getattr(loaded.decomposition, name), getattr(model.decomposition, name)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, right)
    for name in ("total_variance", "n_rows", "passes", "error", "converged"):
        assert getattr(loaded.decomposition, name) == getattr(model.decomposition, name)
    np.testing.assert_array_equal(loaded.variance_ratio, model.variance_ratio)
    np.testing.assert_array_equal(
        array_of(loaded.transform(frame), "scores"), array_of(model.transform(frame), "scores")
    )


class MeanSquare(Evaluator):
    """Mean squared length of the scores: what was captured of rows that were not fitted to."""

    def _evaluate(self, dataset: DataFrame) -> float:
        return float((array_of(dataset, "scores") ** 2).sum(axis=1).mean())


def test_cross_validation_over_k_in_a_pipeline(spark: SparkSession, ratings: sparse.csr_matrix) -> None:
    rows = ratings[:90, :40]
    frame = vector_frame(spark, rows, partitions=1).withColumn("fold", (F.col("row") % 2).cast("int"))
    pca = PCA(tol=1e-10)
    grid = ParamGridBuilder().addGrid(pca.k, [1, 4]).build()
    validator = CrossValidator(
        estimator=Pipeline(stages=[pca]),
        estimatorParamMaps=grid,
        evaluator=MeanSquare(),
        numFolds=2,
        foldCol="fold",
    )
    fitted = validator.fit(frame)
    dense = rows.toarray()
    for k, metric in zip([1, 4], fitted.avgMetrics, strict=True):
        expected = []
        for fold in range(2):
            held_out = np.arange(90) % 2 == fold
            components = oracles.arpack(sparse.csr_matrix(dense[~held_out]), k)[0]
            scores = (dense[held_out] - dense[~held_out].mean(axis=0)) @ components
            expected.append((scores**2).sum(axis=1).mean())
        assert metric == pytest.approx(np.mean(expected), rel=1e-6)
    best = fitted.bestModel.stages[0]
    assert best.getK() == 4 and best.components.shape == (40, 4)
    assert_exact(best, rows)


def test_params_reach_the_fit_and_the_model(frame: DataFrame, ratings: sparse.csr_matrix) -> None:
    pca = PCA(inputCol="rated", outputCol="tastes").setParams(k=2, tol=1e-9)
    renamed = frame.withColumnRenamed("features", "rated")
    found = pca.fit(renamed, {pca.k: 3, pca.tol: 0.1})
    assert found.getK() == 3 and pca.getK() == 2 and found.uid == pca.uid
    assert found.getTol() == 0.1 and found.getOutputCol() == "tastes"
    assert found.transform(renamed).columns == ["row", "rated", "tastes"]


@pytest.mark.parametrize("k", [0, -1, 151])
@pytest.mark.parametrize("solver", ["auto", "spark"])
def test_k_above_the_features(frame: DataFrame, k: int, solver: str) -> None:
    with pytest.raises(ValueError, match=f"k is {k}, allowed are 1 to 150, the number of features"):
        PCA(k=k, solver=solver).fit(frame)


@pytest.mark.parametrize("solver", ["auto", "spark"])
def test_k_above_the_rows(spark: SparkSession, solver: str) -> None:
    rows = np.random.default_rng(0).standard_normal((4, 9))
    with pytest.raises(ValueError, match="k is 5, allowed are 1 to 4, the number of rows"):
        PCA(k=5, solver=solver).fit(vector_frame(spark, rows))


def test_unknown_solver_and_unknown_params(frame: DataFrame) -> None:
    with pytest.raises(ValueError, match="solver is 'svd', allowed are krylov, spark, auto"):
        PCA(solver="svd").fit(frame)
    with pytest.raises(ValueError, match="always centres; use solver='krylov'"):
        PCA(k=2, solver="spark", center=False).fit(frame)
    with pytest.raises(ValueError, match="PCA has no parameter 'n_components'"):
        PCA().setParams(n_components=3)
    with pytest.raises(TypeError):
        PCA(3)


def test_the_stock_solver_refuses_what_it_cannot_do(spark: SparkSession) -> None:
    wide = vector_frame(spark, [Vectors.sparse(20_000, {row: 1.0}) for row in range(4)])
    with pytest.raises(ValueError, match="works on a dense 20,000 x 20,000 matrix"):
        PCA(k=2, solver="spark").fit(wide)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows to fit"),
        ([Vectors.dense([1.0, 2.0])], "at least 2 rows, found 1"),
        ([None, Vectors.dense([1.0, 2.0])], "'features' holds null vectors"),
    ],
)
def test_too_little_to_fit(spark: SparkSession, rows: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PCA(k=1).fit(vector_frame(spark, rows, partitions=1))


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (None, "1 of 3 vectors are null; drop or fill them"),
        (Vectors.dense([1.0]), "a vector has 1 features, the others have 2"),
        (Vectors.sparse(3, {}), "a vector has 3 features, the others have 2"),
    ],
)
def test_vectors_that_do_not_fit(spark: SparkSession, odd: object, message: str) -> None:
    good = Vectors.dense([1.0, 2.0])
    frame = vector_frame(spark, [good, good, odd], partitions=1)
    with pytest.raises(Exception, match=message):
        PCA(k=1).fit(frame)
