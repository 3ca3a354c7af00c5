"""The covariance of sparse rows as an operator: multiplied with in passes, never formed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark import Broadcast
from scipy import sparse

from tastemap import vectors
from tastemap.blocks import Block, BlockMatrix
from tastemap.executors import release_memory

Array = npt.NDArray[np.float64]

WIDE_BYTES = 16 << 20
"""Columns that are multiplied, d · b · 8 bytes, beyond which rows are turned into columns before they are.
Ratings are then read movie by movie, and what they jump about in is the block's scores, which are fewer: the
products take half the time at 70,158 x 62, turning 8 ns a rating. Sums are the same to the last bit."""
_ROUNDING = 1e-12
"""Rows that differ by less, relative to their size, are equal: what their sums leave is no variance."""


@dataclass(frozen=True)
class Moments:
    """Moments of the rows."""

    n_rows: int
    mean: Array
    """Column means, of shape (d,); zeros where the data are not centred."""
    total_variance: float
    """Sum of the columns' sample variances (of their mean squares where not centred)."""


class Covariance:
    """C X = Aᵀ(A X)/(n−1) − n/(n−1) μ(μᵀX) for rows A of shape (n, d) spread over executors.

    One pass over the blocks for each product. Memory: d · b · 8 bytes a task for the sums, as much
    again for X an executor process; the driver holds a bounded number of such (`aggregation`). The
    first pass yields the moments as well.

    A X may be computed in single precision: X, of which a rating reads a row, is half as large then, and that
    product takes 60 % of the time. Each row of A X is a row of A's alone, so that it stays the same for any
    partitioning. What adds up over rows, Aᵀ(A X), is always summed in double precision.

    Parameters
    ----------
    matrix : BlockMatrix
        A, of shape (n, d), by row or by column, loaded as float64; as float32 where `single`.
    center : bool
        False leaves the means in: AᵀA/(n−1), hence truncated SVD.
    single : bool
        Whether A X is computed in single precision: C X is then known to 1e-7 of its size.
    """

    def __init__(self, matrix: BlockMatrix, *, center: bool, single: bool = False) -> None:
        self._matrix = matrix
        self._center = center
        self._dtype: type[np.floating] = np.float32 if single else np.float64
        self._moments: Moments | None = None

    @property
    def moments(self) -> Moments:
        """Known after the first product."""
        assert self._moments is not None, "multiply first"
        return self._moments

    def multiply(self, block: Array) -> Array:
        """C X for X of shape (d, b)."""
        block = np.ascontiguousarray(block, self._dtype)  # row by row, as sparse rows are multiplied with it
        if self._moments is None:
            return self._first(block)
        # A row's scores are shifted before they are multiplied back: the large part that the means
        # make would otherwise have to cancel between two sums.
        shift = self.moments.mean @ block
        (product,) = self._pass(block, shift, moments=False)
        return product / (self.moments.n_rows - 1)

    def _first(self, block: Array) -> Array:
        product, sums, squares, count = self._pass(block, np.zeros(block.shape[1]), moments=True)
        n = int(count[0])
        if n < 2:
            raise ValueError(f"a covariance needs at least 2 rows, found {n}")
        mean = sums / n if self._center else np.zeros_like(sums)
        spread = float(squares[0] - n * (mean @ mean))
        total = spread / (n - 1) if spread > _ROUNDING * squares[0] else 0.0
        self._moments = Moments(n, mean, total)
        return (product - n * np.outer(mean, mean @ block)) / (n - 1)

    def _pass(self, block: Array, shift: Array, *, moments: bool) -> list[Array]:
        d, b = block.shape
        shapes: list[tuple[int, ...]] = [(d, b)] + ([(d,), (1,), (1,)] if moments else [])
        context = self._matrix.spark.sparkContext
        shared: Broadcast[Any] = context.broadcast((block, shift))

        def partial(blocks: Iterator[Block]) -> Sequence[Array]:
            return _products(blocks, *shared.value, moments=moments)

        release_memory()  # workers need theirs now
        try:
            return self._matrix.sum_over_blocks(partial, shapes)
        finally:
            shared.destroy()


def _products(blocks: Iterator[Block], block: Array, shift: Array, *, moments: bool) -> Sequence[Array]:
    """Aᵀ(A X − 1 sᵀ) over the rows of blocks and, if wanted, their sums, sum of squares and count.

    A X is computed in the precision of X, all that is summed over rows in double.
    """
    product = np.zeros(block.shape)
    sums, squares, count = np.zeros(block.shape[0]), np.zeros(1), np.zeros(1)
    for loaded in blocks:
        matrix: sparse.csr_matrix | sparse.csc_matrix = loaded.matrix
        if moments:
            values = matrix.data.astype(np.float64, copy=False)
            sums += _column_sums(vectors.with_values(matrix, values))
            squares += values @ values
            count += matrix.shape[0]
            del values
        if 8 * block.size > WIDE_BYTES:
            matrix = matrix.tocsc()
        scores = vectors.with_values(matrix, matrix.data.astype(block.dtype, copy=False)) @ block
        summed = vectors.with_values(matrix, matrix.data.astype(np.float64, copy=False))
        product += summed.T @ (scores - shift)
        del loaded, matrix, summed, scores  # before the next is loaded
    return (product, sums, squares, count) if moments else (product,)


def _column_sums(matrix: sparse.csr_matrix | sparse.csc_matrix) -> Array:
    """Of shape (d,): the values of each column, added up in the order of the rows."""
    if matrix.format == "csc":
        return np.asarray(vectors.row_sums(matrix.data, matrix.T))
    return np.asarray(np.bincount(matrix.indices, weights=matrix.data, minlength=matrix.shape[1]), np.float64)
