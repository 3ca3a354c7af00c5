"""Principal components of blocks, against dense linear algebra and planted spectra."""

from __future__ import annotations

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
from tastemap.decomposition import principal
from tastemap.decomposition.principal import Decomposition, decompose, evaluate, fix_signs

Array = npt.NDArray[np.float64]

ANGLE, RELATIVE = 1e-6, 1e-8
"""What is promised at tol=1e-10: principal angles in radians, relative error of variances."""


def fitted(rows: Any, k: int, *, tol: float = 1e-10, partitions: int = 2, **options: Any) -> Decomposition:
    matrix, n = sparse.csr_matrix(rows), rows.shape[0]
    bounds = np.linspace(0, n, partitions + 1).astype(int)
    parts = [[matrix[a:b]] for a, b in pairwise(bounds)]
    return decompose(block_matrix(parts), k, tol=tol, **options)


def assert_exact(found: Decomposition, rows: Any, *, center: bool = True) -> None:
    """Leading eigenpairs of the dense covariance matrix, to the promised precision."""
    k = found.variance.size
    operator = oracles.covariance(rows, center=center)
    values, vectors = np.linalg.eigh(operator)
    np.testing.assert_allclose(found.variance, values[::-1][:k], rtol=RELATIVE)
    assert oracles.largest_angle(found.components, vectors[:, ::-1][:, :k]) <= ANGLE
    assert found.total_variance == pytest.approx(np.trace(operator), rel=RELATIVE)
    np.testing.assert_allclose(found.variance_ratio, found.variance / np.trace(operator), rtol=RELATIVE)


def test_planted_spectrum() -> None:
    variances = np.concatenate([[100.0, 50.0, 20.0, 10.0, 5.0], np.linspace(1.0, 0.5, 75)])
    rows, directions = oracles.planted(200, variances, mean=3.0)
    exact = fitted(rows, 5)
    np.testing.assert_allclose(exact.variance, variances[:5], rtol=RELATIVE)
    np.testing.assert_allclose(exact.variance_ratio, variances[:5] / variances.sum(), rtol=RELATIVE)
    assert oracles.largest_angle(exact.components, directions[:, :5]) <= ANGLE
    # k = 8 ends within the flat tail, where single directions are ill-determined: what is left over is still
    # bounded by the next singular value (the guarantee of Musco & Musco 2015).
    loose = fitted(rows, 8, tol=5e-3)
    centred = rows - rows.mean(axis=0)
    left_over = centred - centred @ loose.components @ loose.components.T
    assert np.linalg.norm(left_over, 2) <= 1.1 * np.sqrt(199 * variances[8])
    assert np.linalg.norm(left_over) ** 2 / 199 <= variances[8:].sum() + 1e-3 * variances[:8].sum()


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("density", [0.02, 0.2, 0.6])
def test_ratings_to_the_promised_precision_and_at_the_default(density: float, center: bool) -> None:
    ratings = oracles.sparse_ratings(300, 120, density=density, seed=1)
    operator = oracles.covariance(ratings, center=center)
    assert_exact(fitted(ratings, 8, center=center), ratings, center=center)
    loose = fitted(ratings, 8, center=center, tol=2e-4)
    captured = np.trace(loose.components.T @ operator @ loose.components)
    assert captured >= oracles.optimum(ratings, 8, center=center) * (1 - 4e-5)
    true = oracles.residuals(operator, loose.variance, loose.components)
    np.testing.assert_allclose(loose.residuals, true, atol=1e-12 * operator.max())
    assert loose.error == pytest.approx(true.sum() / loose.variance.sum(), rel=1e-6, abs=1e-12)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(1, 25), st.integers(1, 40), st.integers(0, 99))
def test_any_number_of_partitions_and_width_of_block_gives_the_same(
    partitions: int, block_size: int, seed: int
) -> None:
    ratings = oracles.sparse_ratings(60, 30, density=0.2)
    found = fitted(ratings, 4, partitions=partitions, block_size=block_size, seed=seed)
    plain = fitted(ratings, 4)
    np.testing.assert_allclose(found.variance, plain.variance, rtol=RELATIVE)
    np.testing.assert_allclose(found.components, plain.components, atol=1e-6)
    np.testing.assert_allclose(found.mean, plain.mean, atol=1e-14)


def test_restarts_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    ratings = oracles.sparse_ratings(400, 150, density=0.15)
    free = fitted(ratings, 10, block_size=4)
    monkeypatch.setattr(principal, "BASIS_BYTES", 0)  # the least that works: k + 3 blocks
    restarted = fitted(ratings, 10, block_size=4)
    assert 4 * free.passes > 10 + 3 * 4  # else nothing was restarted
    assert restarted.passes > free.passes and restarted.converged
    np.testing.assert_allclose(restarted.variance, free.variance, rtol=1e-12)
    assert oracles.largest_angle(restarted.components, free.components) <= 1e-8


def test_means_that_are_large_against_the_spread() -> None:
    variances = 2.0 ** -np.arange(20.0)
    rows, directions = oracles.planted(150, variances, mean=1000.0)
    found = fitted(rows, 5)
    assert oracles.largest_angle(found.components, directions[:, :5]) <= ANGLE
    np.testing.assert_allclose(found.variance, variances[:5], rtol=RELATIVE)
    assert found.total_variance == pytest.approx(variances.sum(), rel=RELATIVE)


def test_rank_below_k() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 60)) + 2.0
    found = fitted(rows, 24)
    values, vectors = np.linalg.eigh(oracles.covariance(rows))
    np.testing.assert_allclose(found.variance[:3], values[::-1][:3], rtol=RELATIVE)
    np.testing.assert_allclose(found.variance[3:], 0, atol=1e-12)
    assert oracles.largest_angle(found.components[:, :3], vectors[:, ::-1][:, :3]) <= ANGLE
    np.testing.assert_allclose(found.components.T @ found.components, np.eye(24), atol=1e-12)
    assert found.converged
    assert found.variance_ratio.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("n", "d", "k"), [(6, 6, 6), (6, 5, 5), (6, 90, 6), (40, 3, 3), (2, 1, 1)])
def test_as_many_components_as_rows_or_features(n: int, d: int, k: int) -> None:
    rows = np.random.default_rng(0).standard_normal((n, d))
    found = fitted(rows, k)
    values = np.linalg.eigvalsh(oracles.covariance(rows))[::-1][:k]
    np.testing.assert_allclose(found.variance, np.maximum(values, 0), atol=1e-11)
    assert found.variance_ratio.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("k", [0, -1, 10])
def test_more_components_than_features(k: int) -> None:
    with pytest.raises(ValueError, match=f"k is {k}, allowed are 1 to 9, the number of features"):
        fitted(np.ones((20, 9)), k)


def test_more_components_than_rows() -> None:
    with pytest.raises(ValueError, match="k is 5, allowed are 1 to 4, the number of rows"):
        fitted(np.random.default_rng(0).standard_normal((4, 9)), 5)


def test_constant_and_unused_columns_and_empty_rows() -> None:
    rows = oracles.dense(oracles.sparse_ratings(80, 40, density=0.3))
    rows[10:20, :], rows[:, 3], rows[:, 5] = 0.0, 4.0, 0.0
    found = fitted(rows, 4)
    assert_exact(found, rows)
    np.testing.assert_allclose(found.components[[3, 5]], 0, atol=1e-10)


@pytest.mark.parametrize("n", [30, 1001])
@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, 4.1, -1e3])
def test_rows_that_are_all_alike_vary_nowhere(value: float, n: int) -> None:
    found = fitted(np.full((n, 20), value), 5)
    assert found.converged
    np.testing.assert_allclose(found.variance, 0, atol=1e-12 * 20 * value**2)
    assert found.total_variance == 0
    assert not found.variance_ratio.any()


def test_evaluating_given_components() -> None:
    ratings = oracles.sparse_ratings(100, 30, density=0.3)
    components = np.linalg.qr(np.random.default_rng(0).standard_normal((30, 4)))[0]
    found = evaluate(block_matrix([[ratings]]), components)
    operator = oracles.covariance(ratings)
    values = np.diag(components.T @ operator @ components)
    np.testing.assert_allclose(found.variance, values, rtol=1e-12)
    np.testing.assert_allclose(found.residuals, oracles.residuals(operator, values, components), rtol=1e-10)
    assert found.passes == 1
    assert found.error == pytest.approx(found.residuals.sum() / values.sum())


def test_signs_follow_the_largest_loading() -> None:
    components = np.array([[0.6, 0.0, -0.8], [-0.8, 0.0, -0.6]])
    np.testing.assert_array_equal(fix_signs(components), [[-0.6, 0.0, 0.8], [0.8, 0.0, 0.6]])
