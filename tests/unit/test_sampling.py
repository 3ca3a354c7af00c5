"""Where the iteration for principal components starts: what a sample of the rows knows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import oracles
from standins import block_matrix
from tastemap.blocks import Block, BlockMatrix
from tastemap.config import from_options
from tastemap.decomposition import principal, sampling
from tastemap.decomposition.krylov import Eigenpairs, leading_eigenpairs
from tastemap.decomposition.principal import Decomposition, decompose
from tastemap.features import GenreFeatures, loading
from tastemap.hashing import uniform
from tastemap.weighting import Weighting

Array = npt.NDArray[np.float64]

ANGLE, RELATIVE = 1e-6, 1e-8
"""What is promised at tol=1e-10: principal angles in radians, relative error of variances."""


def in_partitions(rows: sparse.csr_matrix, n_partitions: int = 3) -> BlockMatrix:
    bounds = np.linspace(0, rows.shape[0], n_partitions + 1).astype(int)
    return block_matrix([[rows[a:b]] for a, b in pairwise(bounds)])


def as_they_are(d: int) -> Weighting:
    return Weighting("stars", False, 0.0, np.zeros(d), 0.0)


def fitted(
    rows: sparse.csr_matrix, k: int, *, tol: float = 1e-10, partitions: int = 3, seed: int = 7
) -> tuple[Decomposition, Array]:
    """As a job does it but for the last correction, so that residuals are those of what is found."""
    matrix, features = in_partitions(rows, partitions), as_they_are(rows.shape[1])
    known = sampling.draw(matrix, features, k, (rows.shape[0], rows.nnz), tol=tol, seed=seed)
    assert known is not None
    weighted = loading(features, matrix)
    found = decompose(weighted, k, tol=tol, start=known.start, correct=known.correct, seed=seed)
    return found, known.start


@pytest.fixture(scope="module")
def ratings() -> sparse.csr_matrix:
    return oracles.sparse_ratings(1200, 150, density=0.15)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of a tenth of the rows."""
    monkeypatch.setattr(sampling, "ROWS", 120)


@pytest.mark.usefixtures("small")
def test_what_comes_out_does_not_depend_on_the_sample(ratings: sparse.csr_matrix) -> None:
    components, variance, ratio = oracles.arpack(ratings, 10)
    for seed in range(3):
        found, _ = fitted(ratings, 10, seed=seed)
        assert found.converged
        assert oracles.largest_angle(found.components, components) <= ANGLE
        np.testing.assert_allclose(found.variance, variance, rtol=RELATIVE)
        np.testing.assert_allclose(found.variance_ratio, ratio, rtol=RELATIVE)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("tol", [5e-3, 2e-4])
def test_a_sample_saves_passes_and_what_is_captured_is_within_a_fifth_of_the_tolerance(
    ratings: sparse.csr_matrix, tol: float
) -> None:
    found, start = fitted(ratings, 10, tol=tol)
    without = decompose(in_partitions(ratings), 10, tol=tol)
    assert found.passes < without.passes
    assert start.shape == (150, 10 + sampling.OVERSAMPLING + sampling.RANDOM)
    operator = oracles.covariance(ratings)
    captured = np.trace(found.components.T @ operator @ found.components)
    assert captured >= oracles.optimum(ratings, 10) * (1 - tol / 5)
    true = oracles.residuals(operator, found.variance, found.components)
    np.testing.assert_allclose(found.residuals, true, atol=1e-12 * operator.max())
    # Else the sample was the whole, and nothing is shown.
    assert oracles.largest_angle(start[:, :10], oracles.arpack(ratings, 10)[0]) > 0.1


def test_corrections_solve_for_what_is_left(
    ratings: sparse.csr_matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    covariance, rng = oracles.covariance(ratings), np.random.default_rng(0)
    known = sampling.Sample(np.empty((150, 0)), lambda columns: covariance @ columns)
    basis = np.linalg.eigh(covariance)[1][:, -20:]
    values = np.linalg.eigvalsh(covariance)[-1:-11:-1]
    off = np.eye(150) - basis @ basis.T
    residuals = off @ rng.standard_normal((150, 10))
    expected = np.column_stack(
        [
            np.linalg.solve(np.eye(150) - off @ covariance @ off / value, residual)
            for value, residual in zip(values, residuals.T, strict=True)
        ]
    )
    errors = []
    for steps in (1, 3, 60):
        monkeypatch.setattr(sampling, "STEPS", steps)
        found = known.correct(residuals, values, basis)
        np.testing.assert_allclose(basis.T @ found, 0, atol=1e-12)
        errors.append(float(np.abs(found - expected).max()))
    assert errors[0] > 3 * errors[1] and errors[2] < 1e-9


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_corrections_in_single_precision_are_the_same_whatever_the_unit(
    ratings: sparse.csr_matrix, size: float
) -> None:
    """Also of residuals down to 1e-30, whose squares single precision has no numbers for."""
    covariance, rng = oracles.covariance(ratings), np.random.default_rng(0)
    values, vectors = np.linalg.eigh(covariance)
    leading, largest = vectors[:, -10:], values[-10:]
    residuals = vectors[:, :-10] @ rng.standard_normal((140, 10)) * np.logspace(0, -30, 10)
    exact = sampling.Sample(np.empty((150, 0)), lambda columns: covariance @ columns)
    expected = exact.correct(residuals, largest, leading)
    multiplied = []

    def multiply(columns: Array) -> Array:
        multiplied.append(columns.dtype)
        return (size * covariance).astype(columns.dtype) @ columns

    single = sampling.Sample(np.empty((150, 0)), multiply, np.float32)
    found = single.correct(size * residuals, size * largest, leading)
    assert set(multiplied) == {np.dtype(np.float32)} and found.dtype == np.float64
    off = np.linalg.norm(found / size - expected, axis=0) / np.linalg.norm(expected, axis=0)
    assert 1e-12 < off.max() < 1e-4


def test_corrections_by_a_sample_that_is_off_are_finite(ratings: sparse.csr_matrix) -> None:
    """It has more variance where it should have less, and none at all."""
    covariance, rng = oracles.covariance(ratings), np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((150, 20)))[0]
    residuals = rng.standard_normal((150, 10)) * np.append(np.ones(9), 0.0)
    for factor, values in ((1e3, np.ones(10)), (0.0, np.ones(10)), (1.0, np.zeros(10))):
        found = sampling.Sample(basis, lambda columns, f=factor: f * covariance @ columns).correct(
            residuals, values, basis
        )
        assert np.isfinite(found).all()
        assert np.all(np.linalg.norm(found[:, :9], axis=0) > 0.1) and not found[:, 9].any()


@pytest.mark.parametrize("tol", [5e-3, 1e-4, 1e-9])
def test_corrections_save_passes(tol: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "ROWS", 1500)
    ratings = oracles.sparse_ratings(3000, 300, density=0.1)
    found, start = fitted(ratings, 10, tol=tol)
    without = decompose(in_partitions(ratings), 10, tol=tol, start=start)
    assert found.passes < without.passes
    assert found.variance.sum() >= oracles.optimum(ratings, 10) * (1 - tol / 5)


def of_job(
    rows: sparse.csr_matrix, k: int, *, tol: float, partitions: int = 3, seed: int = 7
) -> Decomposition:
    matrix, features = in_partitions(rows, partitions), as_they_are(rows.shape[1])
    size = rows.shape[0], rows.nnz
    return sampling.decompose_from_sample(matrix, features, k, size, tol=tol, seed=seed)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("tol", [5e-2, 1e-3, 1e-4])
def test_the_last_correction_takes_off_most_of_what_is_missing(
    tol: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "ROWS", 1500)
    ratings = oracles.sparse_ratings(3000, 300, density=0.1)
    (without, _), found = fitted(ratings, 10, tol=tol, seed=seed), of_job(ratings, 10, tol=tol, seed=seed)
    assert found.passes == without.passes and found.error == without.error <= tol
    np.testing.assert_array_equal(found.residuals, without.residuals)
    optimum, operator = oracles.optimum(ratings, 10), oracles.covariance(ratings)
    captured = float(np.trace(found.components.T @ operator @ found.components))
    assert 0 < optimum - captured < (optimum - without.variance.sum()) / 2
    # Estimated as well as a sample tells it, and no number beyond what there is.
    assert found.variance.sum() == pytest.approx(captured, abs=(captured - without.variance.sum()) / 4)
    assert optimum - captured <= optimum * tol / 100


@pytest.mark.parametrize("n_rows", [150, 600, 1200])
def test_the_default_tolerance_is_within_a_thousandth_whatever_the_sample(
    n_rows: int, ratings: sparse.csr_matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The promise is 1e-3 of the optimum, far more than is left."""
    monkeypatch.setattr(sampling, "ROWS", n_rows)
    found = of_job(ratings, 10, tol=from_options().decomposition.pca_tolerance)
    operator, optimum = oracles.covariance(ratings), oracles.optimum(ratings, 10)
    captured = np.trace(found.components.T @ operator @ found.components)
    assert optimum * (1 - 1e-5) <= captured <= optimum * (1 + 1e-12)
    assert found.variance.sum() == pytest.approx(captured, rel=1e-5)
    np.testing.assert_allclose(found.components.T @ found.components, np.eye(10), atol=1e-12)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_nor_do_partitions_matter_to_the_last_correction(ratings: sparse.csr_matrix, partitions: int) -> None:
    one, other = (of_job(ratings, 10, tol=1e-3, partitions=n) for n in (partitions, 3))
    np.testing.assert_allclose(one.components, other.components, atol=1e-9)
    np.testing.assert_allclose(one.variance, other.variance, rtol=1e-12)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns that count as more than a core's cache holds: where the tolerance allows, single precision."""
    monkeypatch.setattr(principal, "SINGLE_BYTES", 0)


@pytest.mark.usefixtures("small", "wide")
@pytest.mark.parametrize("tol", [5e-3, 2e-4])
def test_in_single_precision_it_is_within_a_fifth_of_the_tolerance_and_knows_how_far(
    ratings: sparse.csr_matrix, tol: float
) -> None:
    found, _ = fitted(ratings, 10, tol=tol)
    operator = oracles.covariance(ratings)
    captured = np.trace(found.components.T @ operator @ found.components)
    assert captured >= oracles.optimum(ratings, 10) * (1 - tol / 5)
    assert captured == pytest.approx(found.variance.sum(), rel=1e-7)
    true = oracles.residuals(operator, found.variance, found.components)
    off = np.abs(found.residuals - true).max()
    assert 1e-12 < off / found.variance[0] < 1e-7  # else it was double, and nothing is shown


@pytest.mark.usefixtures("small", "wide")
@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_in_single_precision_partitions_do_not_matter_either(
    ratings: sparse.csr_matrix, partitions: int
) -> None:
    test_the_number_of_partitions_does_not_matter(ratings, partitions)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(("tol", "precision"), [(2e-4, np.float32), (1e-4, np.float32), (9e-5, np.float64)])
def test_the_iteration_is_told_how_products_are_rounded(
    ratings: sparse.csr_matrix, monkeypatch: pytest.MonkeyPatch, tol: float, precision: type[np.floating]
) -> None:
    told = []

    def eigenpairs(*args: Any, rounding: float, **options: Any) -> Eigenpairs:
        told.append(rounding)
        return leading_eigenpairs(*args, rounding=rounding, **options)

    monkeypatch.setattr(principal, "leading_eigenpairs", eigenpairs)
    assert decompose(in_partitions(ratings), 10, tol=tol).converged
    assert told == [np.finfo(precision).eps]


@pytest.mark.usefixtures("small", "wide")
def test_a_tight_tolerance_takes_double_precision(ratings: sparse.csr_matrix) -> None:
    test_what_comes_out_does_not_depend_on_the_sample(ratings)


@pytest.mark.parametrize("tol", [5e-3, 1e-4, 1e-10])
def test_of_few_rows_all_are_looked_at_and_one_pass_is_left(ratings: sparse.csr_matrix, tol: float) -> None:
    found, _ = fitted(ratings, 10, tol=tol)
    assert found.passes == 1 and found.converged
    assert found.error <= min(tol, sampling.FINE)
    assert found.variance.sum() >= oracles.optimum(ratings, 10) * (1 - min(tol, sampling.FINE) / 5)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_the_number_of_partitions_does_not_matter(ratings: sparse.csr_matrix, partitions: int) -> None:
    one, start = fitted(ratings, 10, tol=2e-4, partitions=partitions)
    other, same = fitted(ratings, 10, tol=2e-4)
    np.testing.assert_array_equal(start, same)
    np.testing.assert_allclose(one.components, other.components, atol=1e-9)
    np.testing.assert_allclose(one.variance, other.variance, rtol=1e-12)


def test_what_nobody_in_the_sample_is_like_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group apart: movies that nobody else has rated, and nobody of it in the sample."""
    rng = np.random.default_rng(0)
    many = sparse.csr_matrix(rng.standard_normal((990, 100)))
    apart = sparse.csr_matrix(np.outer(rng.choice([-40.0, 40.0], 10), rng.standard_normal(20)))
    rows = sparse.csr_matrix(sparse.block_diag([many, apart]))
    whole = BlockMatrix.sample

    def without_them(matrix: BlockMatrix, share: float, seed: int) -> Iterator[Block]:
        for block in whole(matrix, share, seed):
            others = block.ids < 990
            yield Block(block.ids[others], block.matrix[others])

    monkeypatch.setattr(BlockMatrix, "sample", without_them)
    found, start = fitted(rows, 3, tol=5e-3)
    operator = oracles.covariance(rows)
    largest = np.linalg.eigh(operator)[1][:, -1]
    assert np.abs(largest[100:]).max() > 0.1  # the first component is theirs
    assert np.abs(start[100:, : -sampling.RANDOM]).max() < 1e-3  # of which the sample knew nothing
    assert found.variance.sum() >= oracles.optimum(rows, 3) * (1 - 1e-3)


@pytest.mark.parametrize("k", [1, 4, 5])
def test_as_many_components_as_features(k: int) -> None:
    rows = sparse.csr_matrix(np.random.default_rng(0).standard_normal((40, 5)))
    found, start = fitted(rows, k)
    assert start.shape == (5, 5)
    values = np.linalg.eigvalsh(oracles.covariance(rows))[::-1][:k]
    np.testing.assert_allclose(found.variance, values, rtol=RELATIVE)


@pytest.mark.parametrize("tol", [1e-10, 5e-3])
def test_rows_that_are_all_alike_vary_nowhere(tol: float) -> None:
    found, _ = fitted(sparse.csr_matrix(np.full((60, 20), 0.7)), 5, tol=tol)
    assert found.converged and found.total_variance == 0


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_rows_tell_nothing(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = oracles.sparse_ratings(30, 9)
    monkeypatch.setattr(BlockMatrix, "sample", lambda *_: iter([Block(np.arange(n), rows[:n])]))
    assert sampling.draw(in_partitions(rows), as_they_are(9), 3, (30, rows.nnz), tol=5e-3, seed=7) is None


def test_columns_that_would_take_too_much_memory_are_not_begun_with(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = oracles.sparse_ratings(60, 40)
    matrix, features, size = in_partitions(rows), as_they_are(40), (60, rows.nnz)
    monkeypatch.setattr(sampling, "COLUMNS_BYTES", 8 * 40 * (3 + sampling.OVERSAMPLING + sampling.RANDOM))
    assert sampling.draw(matrix, features, 3, size, tol=5e-3, seed=7) is not None
    monkeypatch.setattr(BlockMatrix, "sample", None)  # nor is anything fetched for them
    assert sampling.draw(matrix, features, 4, size, tol=5e-3, seed=7) is None


@pytest.mark.parametrize(("size", "share"), [((1200, 10), 0.1), ((10, 1 << 27), 0.125), ((1, 1), 1.0)])
@pytest.mark.usefixtures("small")
def test_the_sample_is_bounded_in_rows_and_values(
    size: tuple[int, int], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def sample(matrix: BlockMatrix, share: float, seed: int) -> Iterator[Block]:
        asked.append(share)
        return iter([])

    monkeypatch.setattr(BlockMatrix, "sample", sample)
    sampling.draw(in_partitions(oracles.sparse_ratings(30, 9)), as_they_are(9), 3, size, tol=5e-3, seed=7)
    assert asked == [share]


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(1, 9), st.floats(0, 1), st.integers(0, 99))
def test_rows_of_a_sample_are_those_of_the_hash(n_partitions: int, share: float, seed: int) -> None:
    rows, ids = oracles.sparse_ratings(200, 30, density=0.2), np.random.default_rng(seed).permutation(200)
    bounds = np.linspace(0, 200, n_partitions + 1).astype(int)
    found = list(block_matrix([[rows[ids[a:b]]] for a, b in pairwise(bounds)], ids).sample(share, seed))
    chosen = np.concatenate([block.ids for block in found])
    assert abs(chosen.size - 200 * share) <= 5 * np.sqrt(200 * share * (1 - share)) + 1e-9
    np.testing.assert_array_equal(np.sort(chosen), np.flatnonzero(uniform(np.arange(200), seed) < share))
    for block in found:
        np.testing.assert_array_equal(block.matrix.toarray(), rows[block.ids].toarray())


def test_features_of_genres_and_blocks_without_rows() -> None:
    ratings, rng = oracles.sparse_ratings(300, 40, density=0.3), np.random.default_rng(0)
    incidence = (rng.random((40, 6)) < 0.3).astype(np.float64)
    residual = Weighting("residual", False, 3.0, 0.1 * rng.standard_normal(40), 5.0)
    features = GenreFeatures(residual, incidence, np.zeros(12), np.ones(12), residual)
    matrix = block_matrix([[ratings[:0]], [ratings[:200], ratings[:0]], [ratings[200:]]])
    found = sampling.decompose_from_sample(matrix, features, 4, (300, ratings.nnz), tol=1e-10, seed=7)
    assert found.passes == 1  # of whose beginning the sample knew all
    rows = features.apply(ratings)
    assert oracles.largest_angle(found.components, oracles.arpack(rows, 4)[0]) <= ANGLE
    assert found.variance.sum() == pytest.approx(oracles.optimum(rows, 4), rel=RELATIVE)


def test_the_order_of_the_rows_does_not_matter(ratings: sparse.csr_matrix) -> None:
    features, size = as_they_are(150), (1200, ratings.nnz)
    ids = np.random.default_rng(0).permutation(1200)
    shuffled = block_matrix([[ratings[ids[:500]]], [ratings[ids[500:]]]], ids)
    one, other = (
        sampling.draw(matrix, features, 10, size, tol=5e-3, seed=7)
        for matrix in (shuffled, in_partitions(ratings))
    )
    assert one is not None and other is not None
    np.testing.assert_array_equal(one.start, other.start)
    columns = np.random.default_rng(1).standard_normal((150, 3))
    np.testing.assert_array_equal(one.multiply(columns), other.multiply(columns))
