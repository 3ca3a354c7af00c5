"""What the right answer is, computed another way: densely, on one machine, by somebody else's code."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse
from sklearn.decomposition import PCA

Array = npt.NDArray[np.float64]


def sparse_ratings(n: int, d: int, *, density: float = 0.1, seed: int = 0) -> sparse.csr_matrix:
    """Half stars of n users for d movies: some movies far more popular than others, tastes of rank 3."""
    rng = np.random.default_rng(seed)
    popularity = rng.pareto(2.0, d) + 0.2
    rated = rng.random((n, d)) < np.minimum(density * popularity / popularity.mean(), 0.9)
    tastes = rng.standard_normal((n, 3)) @ rng.standard_normal((3, d))
    stars = np.clip(np.round(7 + 2 * tastes + rng.standard_normal((n, d))) / 2, 0.5, 5.0)
    return sparse.csr_matrix(np.where(rated, stars, 0.0))


def planted(n: int, variances: Array, *, mean: float = 0.0, seed: int = 0) -> tuple[Array, Array]:
    """Rows of shape (n, d) whose sample covariance has exactly these d eigenvalues, and its eigenvectors."""
    rng = np.random.default_rng(seed)
    d = variances.size
    directions = linalg.qr(rng.standard_normal((d, d)))[0]
    noise = rng.standard_normal((n, d))
    scores = linalg.qr(noise - noise.mean(axis=0), mode="economic")[0]
    return mean + np.sqrt(n - 1) * (scores * np.sqrt(variances)) @ directions.T, directions


def dense(matrix: Any) -> Array:
    """Any matrix, as an array in float64."""
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix, dtype=np.float64)


def covariance(matrix: Any, *, center: bool = True) -> Array:
    """Sample covariance of shape (d, d); not centred: AᵀA / (n - 1)."""
    rows = dense(matrix)
    if center:
        rows = rows - rows.mean(axis=0)
    return rows.T @ rows / (len(rows) - 1)


def optimum(matrix: Any, k: int, *, center: bool = True) -> float:
    """Sum up the k largest variances: the most that k directions can capture."""
    return float(np.linalg.eigvalsh(covariance(matrix, center=center))[::-1][:k].sum())


def arpack(matrix: sparse.csr_matrix, k: int) -> tuple[Array, Array, Array]:
    """Fit scikit-learn's PCA to machine precision: components of shape (d, k), variances, their shares."""
    fitted = PCA(k, svd_solver="arpack", tol=0.0, random_state=0).fit(matrix)
    return fitted.components_.T, fitted.explained_variance_, fitted.explained_variance_ratio_


def largest_angle(one: Array, other: Array) -> float:
    """Largest principal angle between the spans of the columns, in radians."""
    return float(linalg.subspace_angles(one, other).max())


def residuals(operator: Array, values: Array, vectors: Array) -> Array:
    """‖C v - θ v‖ of each pair, of shape (k,)."""
    return np.linalg.norm(operator @ vectors - vectors * values, axis=0)
