"""Block Krylov iteration for the leading eigenpairs of a matrix that can only be multiplied with.

Pure NumPy on the driver: whoever calls it says how to multiply, so it is tested without Spark.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

Array = npt.NDArray[np.float64]
Correct = Callable[[Array, Array, Array], Array]
"""Residuals of shape (d, r), all outside of the basis, the Ritz values of their pairs, of shape (r,), and the
leading Ritz vectors, of shape (d, q), to directions that make these pairs better: of shape (d, r), about as
long as the residuals."""
Multiply = Callable[[Array], Array]
"""X of shape (d, b) to C X of shape (d, b)."""

INDEPENDENT = 1e-5
"""Least share of a column's length that is outside of the other columns of its block. What one with less has
beside them is looked at when they are orthonormal."""
SETTLED = 0.25
"""Share of the tolerance that residuals may take up together and be left as they are, the shortest first.
What follows is made of the others: in the last pass but half of the columns."""


@dataclass(frozen=True)
class Eigenpairs:
    """Leading eigenpairs of a symmetric positive semi-definite matrix C, and how good they are."""

    values: Array
    """Ritz values, descending, of shape (k,); with a surrogate estimates of those of `vectors`."""
    vectors: Array
    """Ritz vectors, orthonormal columns, of shape (d, k)."""
    residuals: Array
    """‖C v − θ v‖ of each pair, of shape (k,): an eigenvalue of C lies within it of θ. With a surrogate of
    the pairs of the last pass, before they were corrected once more."""
    passes: int
    """Products with C that were made."""
    error: float
    """Σ ‖C v − θ v‖ / Σ θ of the last pass: the relative error of the captured variance is of this order at
    most, and far below it once corrected."""
    converged: bool
    """Whether the error is at most the tolerance."""


@dataclass(frozen=True)
class Progress:
    """What is known after a pass: told to whoever wants to follow a long fit."""

    passes: int
    error: float
    """As in `Eigenpairs`; infinite while there are fewer than k values."""
    seconds: float
    """From the end of the pass before, or from the start."""


def leading_eigenpairs(
    multiply: Multiply,
    dimension: int,
    k: int,
    *,
    block_size: int,
    tol: float,
    max_passes: int,
    max_basis: int,
    seed: int,
    start: Array | None = None,
    correct: Correct | None = None,
    surrogate: Multiply | None = None,
    rounding: float = float(np.finfo(np.float64).eps),
    on_pass: Callable[[Progress], None] = lambda progress: None,
) -> Eigenpairs:
    """Leading k eigenpairs by block Lanczos with full reorthogonalisation and thick restarts.

    Musco & Musco 2015 (arXiv 1504.05477) for the block Krylov space and why it beats subspace
    iteration; Wu & Simon 2000 (SIAM J. Matrix Anal. Appl. 22:602) for the thick restart. The
    projected matrix is computed, not assumed banded, so rounding in `multiply` cannot pile up.

    The basis need not be a Krylov space: where something is known of C, `correct` makes better directions of
    the residuals than C makes of the last ones (Morgan & Scott 1986, SIAM J. Sci. Stat. Comput. 7:817).

    Parameters
    ----------
    multiply : callable
        C symmetric positive semi-definite. One pass each.
    dimension : int
        d, rows and columns of C.
    k : int
        Eigenpairs wanted, at most d.
    block_size : int
        b, columns multiplied in a pass. Fewer do less arithmetic, more need fewer passes. Of equal
        eigenvalues no more than b are sure to be found (k of them where k ≤ b).
    tol : float
        Stop when Σ ‖C v − θ v‖ ≤ tol · Σ θ over the k pairs. Up to a factor of 2 the left side bounds
        how far the sum of the Ritz values is from that of k eigenvalues (Mirsky 1960, applied to the
        perturbation R Vᵀ + V Rᵀ that makes the pairs exact). Near convergence it is pessimistic: on
        rating matrices the captured variance falls short by about a tenth of it.
    max_passes : int
        Stop at the latest after this many passes (never before there are k pairs).
    max_basis : int
        Columns of the basis kept on the driver, d · max_basis · 8 bytes, and where there are corrections as
        many of their products; at least k + 3 b are used, and 2 k + b.
    seed : int
        Of the random start.
    start : ndarray of shape (d, b), optional
        Columns to begin with instead, near to the leading eigenvectors; b is then their number.
    correct : callable, optional
        Makes the directions that follow of the residuals of k pairs, or of b where that is more, without
        those that are `SETTLED`. How good they are decides how many passes it takes, not what comes out.
    surrogate : callable, optional
        Product with an operator like C, which takes no pass; goes with `correct`. When passes have ended, the
        pairs are corrected once more, as by another pass: what C would make of the directions is known within
        the basis, for C is symmetric, and taken from the surrogate outside of it. A gain that Mirsky's bound
        rules out is not believed.
    rounding : float
        Relative rounding error of `multiply`: directions below it are noise.
    on_pass : callable
        Told the progress after every pass.
    """
    if surrogate is not None and correct is None:
        raise ValueError("a surrogate corrects once more, so it goes with `correct`")
    rng = np.random.default_rng(seed)
    if start is None:
        start = rng.standard_normal((dimension, min(block_size, dimension)))
    block_size = start.shape[1]
    max_basis = max(max_basis, 2 * max(k, block_size) + block_size, k + 3 * block_size)
    basis = _Basis(dimension, min(max_basis, dimension), with_products=correct is not None)
    block = orthonormal(start, basis.columns, 0.0)
    passes, begun = 0, time.perf_counter()
    while True:
        last = basis.append(block)
        del block  # in a pass memory is scarcest, for then workers need theirs
        basis.complete(np.asarray(multiply(last), dtype=np.float64))
        passes += 1
        ritz = basis.ritz(k if correct is None else max(k, block_size))
        values = ritz.values[:k]
        noise = 10 * rounding * max(ritz.values[0], np.finfo(np.float64).tiny)
        residuals = np.linalg.norm(ritz.left[:, :k], axis=0)
        complete = basis.width >= k
        error = float(residuals.sum() / max(values.sum(), noise)) if complete else np.inf
        now = time.perf_counter()
        on_pass(Progress(passes, error, now - begun))
        begun = now
        if complete and (error <= tol or passes >= max_passes or basis.width == dimension):
            break
        pairs = _unsettled(ritz, residuals, tol * values.sum()) if complete else slice(None)
        block = _directions(basis, ritz, pairs, correct, noise)
        if block.shape[1] == 0:  # the basis is invariant; what is missing lies outside of it
            unknown = outside_of(basis.columns, rng.standard_normal((dimension, block_size)))
            block = orthonormal(unknown, basis.columns, 0.0)
        if basis.width + block.shape[1] > basis.room:
            basis.restart(ritz, k + block_size)
        del ritz
    vectors = combined(basis.columns, ritz.rotation[:, :k])
    if surrogate is not None:
        block = _directions(basis, ritz, slice(None), correct, noise)
        estimates, corrected = basis.with_surrogate(block, surrogate, k)
        if estimates.sum() - values.sum() <= 2 * residuals.sum():
            values, vectors = estimates, corrected
    return Eigenpairs(np.maximum(values, 0.0), vectors, residuals, passes, error, error <= tol)


def _directions(
    basis: _Basis, ritz: _Ritz, pairs: npt.NDArray[np.int64] | slice, correct: Correct | None, noise: float
) -> Array:
    """Orthonormal columns outside of the basis: of what C makes of the last, or what corrects the pairs."""
    if correct is None:
        return orthonormal(basis.outside, basis.columns, noise)
    width = ritz.left.shape[1]
    leading = combined(basis.columns, ritz.rotation[:, :width])
    corrections = correct(ritz.left[:, pairs], ritz.values[:width][pairs], leading)
    return orthonormal(outside_of(basis.columns, corrections), basis.columns, noise)


@dataclass(frozen=True)
class _Ritz:
    """Eigenpairs of C in the span of a basis of q columns."""

    values: Array
    """Descending, of shape (q,)."""
    rotation: Array
    """Of the basis to the vectors, of shape (q, q)."""
    left: Array
    """C v − θ v of the leading ones, of shape (d, r)."""


class _Basis:
    """Orthonormal columns Q of shape (d, q), their products C Q where they are kept, and Qᵀ C Q."""

    def __init__(self, dimension: int, room: int, *, with_products: bool) -> None:
        self.room = room
        """Columns that it can have."""
        self.projected = np.zeros((0, 0))
        """Qᵀ C Q."""
        self.outside = np.zeros((dimension, 0))
        """C Q − Q (Qᵀ C Q) of the last columns, where products are not kept; of the others it is zero."""
        # Room for all, which takes memory when it is written to: to append columns would copy those before.
        self._columns = np.empty((dimension, room), order="F")
        self._products = np.empty((dimension, room), order="F") if with_products else None

    @property
    def width(self) -> int:
        """Columns that it has, q."""
        return len(self.projected)

    @property
    def columns(self) -> Array:
        """Q, not copied."""
        return self._columns[:, : self.width]

    def append(self, block: Array) -> Array:
        """Append orthonormal columns of shape (d, b), which it returns; `complete` is to follow."""
        new = self._columns[:, self.width : self.width + block.shape[1]]
        new[:] = block
        return new

    def complete(self, product: Array) -> None:
        """Take up what C makes of the columns that were appended, of shape (d, b)."""
        new = slice(self.width, self.width + product.shape[1])
        overlap = self._columns[:, : new.stop].T @ product
        self.projected = _extend(self.projected, overlap)
        if self._products is None:
            self.outside = product - combined(self.columns, overlap)
        else:
            self._products[:, new] = product

    def ritz(self, width: int) -> _Ritz:
        """Ritz pairs, and what is left of so many."""
        values, rotation = _descending_eigh(self.projected)
        if self._products is None:
            left = combined(self.outside, rotation[self.width - self.outside.shape[1] :, :width])
        else:
            left = outside_of(self.columns, combined(self._products[:, : self.width], rotation[:, :width]))
        return _Ritz(values, rotation, left)

    def with_surrogate(self, block: Array, surrogate: Multiply, k: int) -> tuple[Array, Array]:
        """Leading k Ritz values and vectors of the basis and a block outside of it, of shape (d, b).

        What C makes of the block is known in the basis; only its corner is taken from the surrogate.
        """
        assert self._products is not None, "kept where there are corrections"
        known = self._products[:, : self.width].T @ block
        corner = block.T @ np.asarray(surrogate(block), dtype=np.float64)
        values, rotation = _descending_eigh(_extend(self.projected, np.vstack([known, corner])))
        of_basis, of_block = rotation[: self.width, :k], rotation[self.width :, :k]
        return values[:k], combined(self.columns, of_basis) + combined(block, of_block)

    def restart(self, ritz: _Ritz, width: int) -> None:
        """Keep so many of the leading Ritz vectors alone."""
        rotation = ritz.rotation[:, :width]
        self._columns[:, :width] = combined(self.columns, rotation)
        if self._products is not None:
            self._products[:, :width] = combined(self._products[:, : self.width], rotation)
        self.projected = np.diag(ritz.values[:width])


def _unsettled(ritz: _Ritz, residuals: Array, allowed: float) -> npt.NDArray[np.int64]:
    """All pairs but those whose residuals can be left as they are, where so much is allowed of all."""
    order = np.argsort(residuals, kind="stable")
    settled = order[np.cumsum(residuals[order]) <= SETTLED * allowed]
    return np.setdiff1d(np.arange(ritz.left.shape[1]), settled)


def _extend(projected: Array, column: Array) -> Array:
    """Append the block column Qᵀ C X to the symmetric projected matrix Qᵀ C Q."""
    old, new = projected.shape[0], column.shape[1]
    extended = np.empty((old + new, old + new))
    extended[:old, :old] = projected
    extended[:, old:] = column
    extended[old:, :old] = column[:old].T
    corner = column[old:]
    extended[old:, old:] = (corner + corner.T) / 2
    return extended


def _descending_eigh(symmetric: Array) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(symmetric)
    return values[::-1], vectors[:, ::-1]


def outside_of(basis: Array, block: Array) -> Array:
    """What orthonormal columns of shape (d, q) leave of a block of shape (d, b)."""
    outside: Array = block - combined(basis, basis.T @ block)
    return outside


def combined(columns: Array, coefficients: Array) -> Array:
    """Columns of shape (d, q) times coefficients of shape (q, r), laid out column by column.

    Row by row OpenBLAS would take d for the size that it packs in a buffer of each thread, which stays: 34 MB
    for 17,594 rows and 248 columns, and twice the time.
    """
    return np.asarray((coefficients.T @ columns.T).T)


def orthonormal(outside: Array, basis: Array, noise: float) -> Array:
    """Orthonormal columns that span a block outside of the basis, without directions that are noise."""
    found = _orthonormal(outside, basis, noise)
    lengths = np.linalg.norm(outside, axis=0)
    noise = max(noise, 10 * float(np.finfo(np.float64).eps) * lengths.max(initial=0.0))
    # What columns that were left out have beside the others is a part of the residuals, if a small one.
    while found.shape[1] < np.count_nonzero(lengths > noise):
        more = _orthonormal(outside_of(found, outside), np.hstack([basis, found]), noise)
        if more.shape[1] == 0:
            break
        found = np.hstack([found, more])
    return found


def _orthonormal(outside: Array, basis: Array, noise: float) -> Array:
    """The same, without columns that are next to dependent on others."""
    found = _independent(outside, noise)
    # Once more: a column scaled up to length 1 carries what rounding left of the basis in it, scaled up as
    # well (Giraud et al. 2005: twice is enough). What is mostly taken away by that was nothing else.
    return _independent(outside_of(basis, found), 0.5)


def _independent(block: Array, least: float) -> Array:
    """Orthonormal columns that span those of a block, without directions in which it is shorter than `least`.

    By Cholesky's decomposition of scaled columns' inner products: products of matrices, in half the time of
    Householder's reflections. Orthonormal up to eps / `INDEPENDENT`², and to eps when done again
    (Stathopoulos & Wu 2002, SIAM J. Sci. Comput. 23:2165).
    """
    inner = block.T @ block
    lengths = np.sqrt(np.diag(inner))
    (long,) = np.nonzero(lengths > least)
    if long.size == 0:
        return block[:, :0]
    inner = inner[np.ix_(long, long)] / np.outer(lengths[long], lengths[long])
    # Of columns that point alike the longest comes first, for of that rounding has spoilt the least.
    place = np.argsort(np.argsort(-lengths[long], kind="stable"))
    weights = 1 - 1e-6 * place
    triangle, pivots, rank, _ = lapack.dpstrf(inner * np.outer(weights, weights), tol=INDEPENDENT**2)
    pivots = pivots[:rank] - 1
    # In the order in which they came: that of the pivots is decided by rounding.
    chosen = np.sort(pivots[np.diag(triangle)[:rank] * lengths[long[pivots]] > least])
    lower = np.linalg.cholesky(inner[np.ix_(chosen, chosen)])
    # One product with all columns, those left out times 0: no copy of the others, and it is NumPy's. SciPy's
    # BLAS would take memory of its own beside NumPy's, 20 MB.
    coefficients = np.zeros((block.shape[1], chosen.size))
    coefficients[long[chosen]] = np.linalg.inv(lower).T / lengths[long[chosen], None]
    return combined(block, coefficients)
