"""Where the iteration for principal components starts: at those of a sample of the rows.

A pass over all rows costs what a dozen cost over a sample, and the sample knows the leading directions
nearly as well. It decides how many passes follow, not what comes out: residuals over all rows end them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tastemap.blocks import BlockMatrix
from tastemap.decomposition.krylov import leading_eigenpairs
from tastemap.decomposition.principal import BASIS_BYTES
from tastemap.features import Features

Array = npt.NDArray[np.float64]

ROWS = 1 << 16
"""Rows of the sample, of fewer all. What a sample knows depends on its own size, not on that of the whole."""
VALUES = 1 << 24
"""Stored values of the sample: 8 bytes each on the driver."""
OVERSAMPLING = 12
"""Directions beyond k to start with: a sample hardly tells the k-th from the next. They save a pass: 50
components of Netflix's size take three of 66 columns, or four of 50."""
RANDOM = 4
"""Columns beside them that know nothing of the sample: what nobody in it is like is found from these."""
BLOCK = 32
"""Columns multiplied at a time."""
PASSES = 60
"""Over the sample, at most."""
ROUGH = 1e-2
"""Tolerance on a part of the rows: a closer look would tell more of the sample, not of the rest."""
FINE = 1e-4
"""Tolerance, or less where less is asked for, on all of them: what they fit into makes passes cheap. Down to
here single precision serves, in half the time."""


def start(
    matrix: BlockMatrix, features: Features, k: int, size: tuple[int, int], *, tol: float, seed: int
) -> Array | None:
    """Columns for `decompose` to start with, of shape (d, b), k < b where d allows: one pass.

    Parameters
    ----------
    matrix : BlockMatrix
        Ratings, whose rows have ids of their own.
    features : Features
        d columns of them, whose components are wanted.
    k : int
        Components wanted.
    size : pair of int
        About how many rows and stored values the ratings have.
    tol : float
        As for `decompose`. Where the sample is the whole, one pass is then all that follows.
    seed : int
        Of the sample and of its own start.

    Returns
    -------
    ndarray or None
        None where the sample has too few rows to tell anything.
    """
    share = min(1.0, ROWS / max(size[0], 1), VALUES / max(size[1], 1))
    ratings = matrix.sample(share, seed)
    if ratings.shape[0] < 2:
        return None
    d, tol = features.n_features, min(tol, FINE) if share == 1 else max(tol, ROUGH)
    dtype = np.float32 if tol >= FINE else np.float64
    wanted = min(k + OVERSAMPLING, d)
    pairs = leading_eigenpairs(
        _covariance(features.apply(ratings).astype(dtype)),
        d,
        wanted,
        block_size=min(BLOCK, wanted),
        tol=tol,
        max_passes=PASSES,
        max_basis=BASIS_BYTES // (8 * d),
        seed=seed,
        rounding=float(np.finfo(dtype).eps),
    )
    rng = np.random.default_rng([seed, 1])  # not what the iteration over the sample began with
    return np.hstack([pairs.vectors, rng.standard_normal((d, min(RANDOM, d - wanted)))])


def _covariance(rows: sparse.csr_matrix) -> Callable[[Array], Array]:
    """Product with the covariance of rows, in their precision."""
    mean = np.asarray(rows.mean(axis=0, dtype=np.float64)).ravel()

    def multiply(block: Array) -> Array:
        scores = rows @ block.astype(rows.dtype) - (mean @ block).astype(rows.dtype)
        return np.asarray(rows.T @ scores, dtype=np.float64) / (rows.shape[0] - 1)

    return multiply
