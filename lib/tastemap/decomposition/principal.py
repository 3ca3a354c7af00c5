"""Principal components of blocks of sparse rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemap.blocks import BlockMatrix
from tastemap.decomposition.covariance import Covariance, Moments
from tastemap.decomposition.krylov import Correct, Eigenpairs, Multiply, Progress, leading_eigenpairs

Array = npt.NDArray[np.float64]

BASIS_BYTES = 512 << 20
"""Memory for the basis and its products on the driver; the iteration restarts when it is full."""
SINGLE_TOL = 1e-4
"""Down to this tolerance products with the covariance may be known to single precision."""
SINGLE_BYTES = 4 << 20
"""They then are where the columns that are multiplied, d · b · 8 bytes, outgrow the cache that a core has of
its own: from there on half as many bytes are read in 60 % of the time."""


@dataclass(frozen=True)
class Decomposition:
    """Principal components, and how well they are known."""

    components: Array
    """Loadings, orthonormal columns, of shape (d, k); in each the largest in magnitude is positive."""
    mean: Array
    """Column means that are subtracted before projecting, of shape (d,)."""
    variance: Array
    """Variance along each component, descending, of shape (k,); with a surrogate an estimate, off by a small
    part of what the last correction gains, which is no more than 2 Σ `residuals`."""
    residuals: Array
    """‖C v − θ v‖ of each component, of shape (k,), in units of variance: known to 1e-12 of the largest
    variance, or to 1e-7 of it where products were computed in single precision (`SINGLE_TOL`). With a
    surrogate before the last correction, which takes most of it away."""
    total_variance: float
    """Sum of the variances of all d columns."""
    n_rows: int
    passes: int
    """Passes over the data that were made, that for a `start` left out."""
    error: float
    """Σ residuals / Σ variance: the captured variance is below the optimum by about a tenth of it, with a
    surrogate by a thousandth."""
    converged: bool
    """Whether `error` is within the tolerance."""

    @property
    def variance_ratio(self) -> Array:
        """Share of the total variance along each component, of shape (k,)."""
        return self.variance / self.total_variance if self.total_variance > 0 else self.variance * 0.0


def decompose(
    matrix: BlockMatrix,
    k: int,
    *,
    center: bool = True,
    tol: float = 2e-4,
    max_passes: int = 60,
    block_size: int | None = None,
    start: Array | None = None,
    correct: Correct | None = None,
    surrogate: Multiply | None = None,
    seed: int = 7,
    on_pass: Callable[[Progress], None] = lambda progress: None,
) -> Decomposition:
    """Leading principal components of sparse rows, by block Krylov iteration on their covariance.

    Parameters
    ----------
    matrix : BlockMatrix
        Of shape (n, d), loaded as float64, or float32 where `in_single_precision`; read once a pass, so
        persist it.
    k : int
        Components; at most the number of rows and of columns.
    center : bool
        Whether the column means are subtracted (implicitly).
    tol, max_passes, block_size, start, correct, surrogate, seed, on_pass
        As for `leading_eigenpairs`; `block_size` None: between 16 and 32, k where that lies between. What
        `sampling` knows to start with and to correct by saves most of the passes.

    Raises
    ------
    ValueError
        k is above the number of rows or columns, or there are fewer than two rows.
    """
    n_features = matrix.n_columns
    if not 1 <= k <= n_features:
        raise ValueError(f"k is {k}, allowed are 1 to {n_features}, the number of features")
    block_size = min(max(k, 16), 32) if block_size is None else block_size
    width = block_size if start is None else start.shape[1]
    single = in_single_precision(n_features, width, tol)
    covariance = Covariance(matrix, center=center, single=single)
    pairs = leading_eigenpairs(
        covariance.multiply,
        n_features,
        k,
        block_size=block_size,
        tol=tol,
        max_passes=max_passes,
        max_basis=BASIS_BYTES // (16 * n_features),
        seed=seed,
        start=start,
        correct=correct,
        surrogate=surrogate,
        rounding=float(np.finfo(np.float32 if single else np.float64).eps),
        on_pass=on_pass,
    )
    return from_pairs(pairs, covariance.moments)


def in_single_precision(n_features: int, width: int, tol: float) -> bool:
    """Whether scores are computed in single precision, for so many columns at a time."""
    return tol >= SINGLE_TOL and 8 * n_features * width > SINGLE_BYTES


def evaluate(matrix: BlockMatrix, components: Array, *, center: bool = True) -> Decomposition:
    """What given orthonormal components of shape (d, k) capture: one pass, with honest residuals."""
    covariance = Covariance(matrix, center=center)
    product = covariance.multiply(components)
    values = np.einsum("ij,ij->j", components, product)
    residuals = np.linalg.norm(product - components * values, axis=0)
    error = float(residuals.sum() / values.sum()) if values.sum() > 0 else 0.0
    pairs = Eigenpairs(values, components, residuals, passes=1, error=error, converged=True)
    return from_pairs(pairs, covariance.moments)


def from_pairs(pairs: Eigenpairs, moments: Moments) -> Decomposition:
    """Fix the signs and join the pairs with the moments."""
    k = pairs.values.size
    if k > moments.n_rows:
        raise ValueError(f"k is {k}, allowed are 1 to {moments.n_rows}, the number of rows")
    return Decomposition(
        # Row by row, as they come back from a file: scores are then the same to the last bit.
        components=np.ascontiguousarray(fix_signs(pairs.vectors)),
        mean=moments.mean,
        variance=pairs.values,
        residuals=pairs.residuals,
        total_variance=moments.total_variance,
        n_rows=moments.n_rows,
        passes=pairs.passes,
        error=pairs.error,
        converged=pairs.converged,
    )


def fix_signs(components: Array) -> Array:
    """Flip columns so that in each the loading of largest magnitude is positive."""
    largest = np.abs(components).argmax(axis=0)
    signs = np.sign(components[largest, np.arange(components.shape[1])])
    return components * np.where(signs == 0, 1.0, signs)
