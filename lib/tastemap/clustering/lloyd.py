"""Lloyd's algorithm and its seeding in NumPy: on a sample, and as the arithmetic of a pass over all rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial.distance import cdist

from tastemap.clustering.centres import Centres, unit
from tastemap.clustering.estimation import Clustering, by_size

Array = npt.NDArray[np.float64]

_ROUNDING = (4 * float(np.finfo(np.float32).eps)) ** 2
"""Rows whose squared distance is less, relative to the longest one's squared length, are equal but for
rounding: scores are kept in single precision where they are many."""


@dataclass(frozen=True)
class Means:
    """Centres on their way: each moves to the mean of the rows that it is nearest to.

    Sums are those of the rows of each centre, of shape (k, m), their numbers (k,), and the sum of squared
    distances to the nearest centre (1,).
    """

    centres: Array
    """Of shape (k, m)."""
    spherical: bool = False
    """Whether rows and centres are scaled to length 1: the nearest centre is the one of the largest cosine
    then, and the best for given rows has the direction of their sum (Dhillon & Modha 2001)."""

    @property
    def n_components(self) -> int:
        """Number of scores of a row, m."""
        return int(self.centres.shape[1])

    def add_up(self, scores: Array) -> list[Array]:
        """Assign scores of shape (n, m) and add them up."""
        rows = unit(scores) if self.spherical else scores
        n, k = len(rows), len(self.centres)
        nearest = self.nearest(rows)
        members = sparse.csc_matrix((np.ones(n), nearest, np.arange(n + 1)), shape=(k, n))
        totals, sizes = np.asarray(members @ rows), np.bincount(nearest, minlength=k).astype(np.float64)
        # |x|² − 2 x·c + |c|² of all rows, without another look at what each has.
        cost = float(np.vdot(rows, rows)) - 2.0 * float(np.vdot(self.centres, totals) - self._halves @ sizes)
        return [totals, sizes, np.array([max(cost, 0.0)])]

    def nearest(self, rows: Array) -> npt.NDArray[np.unsignedinteger]:
        """The centre nearest to each row, of shape (n,), of equally near ones the first.

        Where `spherical`, rows are of length 1 already.
        """
        near = self.centres @ rows.T
        near -= self._halves[:, None]  # x·c − |c|² / 2 = (|x|² − d²) / 2 is largest where d is least
        return column_argmax(near)

    @property
    def _halves(self) -> Array:
        halves: Array = 0.5 * np.einsum("ij,ij->i", self.centres, self.centres)
        return halves

    def counts(self, sums: list[Array]) -> Array:
        """Rows of each centre."""
        return sums[1]

    def moved(self, sums: list[Array]) -> Means:
        """Means of the rows; a centre without rows, or whose rows cancel out, stays."""
        totals, sizes, _ = sums
        lengths = np.linalg.norm(totals, axis=1) if self.spherical else sizes
        filled = lengths > 0
        centres = self.centres.copy()
        centres[filled] = totals[filled] / lengths[filled, None]
        return replace(self, centres=centres)

    def still(self, sums: list[Array], tolerance: float) -> bool:
        """Whether the means are where the centres were."""
        _, sizes, cost = sums
        moved = float(((self.moved(sums).centres - self.centres) ** 2).sum())
        return bool(moved <= tolerance * cost[0] / max(sizes.sum(), 1.0) / self.n_components)

    def loss(self, sums: list[Array]) -> float:
        """Sum of squared distances."""
        return float(sums[2][0])

    def clustering(self, sums: list[Array], iterations: int) -> Clustering:
        """The centres, that of the most rows first."""
        sizes, cost = sums[1].astype(np.int64), self.loss(sums)
        model = Centres(self.centres, spread=cost / max(int(sizes.sum()), 1), spherical=self.spherical)
        return Clustering(model, sizes, cost, iterations).take(by_size(sizes, self.centres))


def column_argmax(columns: Array) -> npt.NDArray[np.unsignedinteger]:
    """The row of the largest number of each column, of equal ones the first: `columns.argmax(axis=0)`.

    NumPy's takes a branch for each number, which processors guess wrong: with 12 of them it takes 60 to 80 ns
    a column more. There are no nans.
    """
    k = len(columns)
    falling = np.arange(k, 0, -1, dtype=np.min_scalar_type(k))[:, None]
    found: npt.NDArray[np.unsignedinteger] = k - ((columns == columns.max(axis=0)) * falling).max(axis=0)
    return found


def plus_plus(scores: Array, k: int, rng: np.random.Generator, given: Array | None = None) -> Array:
    """At most k first centres, far from each other: rows after those `given`; fewer where fewer differ.

    Greedy k-means++ (Arthur & Vassilvitskii 2007, SODA): each is drawn by the squared distance to
    those before it, the best of 2 + ln k draws.
    """
    centres = scores[[int(rng.integers(len(scores)))]] if given is None else given
    squares = cdist(scores, centres, "sqeuclidean").min(axis=1)
    same = _ROUNDING * np.einsum("ij,ij->i", scores, scores).max()
    while len(centres) < k and squares.max() > same:
        bounds = np.cumsum(squares)
        drawn = np.searchsorted(bounds, rng.random(2 + int(np.log(k))) * bounds[-1], side="right")
        drawn = drawn.clip(max=len(scores) - 1)
        candidates = np.minimum(squares[:, None], cdist(scores, scores[drawn], "sqeuclidean"))
        best = candidates.sum(axis=0).argmin()
        centres = np.vstack([centres, scores[drawn[best]]])
        squares = candidates[:, best]
    return centres
