"""Lloyd's algorithm and its seeding in NumPy: on a sample, and as the arithmetic of a pass over all rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.cluster.vq import vq
from scipy.spatial.distance import cdist

Array = npt.NDArray[np.float64]

TOLERANCE = 1e-4
"""Centres stand still when the sum of their squared moves is at most this share of the mean variance of a
column within clusters. scikit-learn's `tol` is a share of the variance over all rows, which is more."""


@dataclass(frozen=True)
class Sums:
    """What rows say of the centres they are nearest to."""

    scores: Array
    """Sums of the rows of each centre, of shape (k, m)."""
    sizes: Array
    """Numbers of them, of shape (k,)."""
    cost: float
    """Sum of squared distances to the nearest centre."""

    def centres(self, before: Array) -> Array:
        """Means, of shape (k, m); a centre without rows stays."""
        filled = self.sizes > 0
        means = before.copy()
        means[filled] = self.scores[filled] / self.sizes[filled, None]
        return means

    def still(self, before: Array) -> bool:
        """Whether the means are where the centres were."""
        moved = float(((self.centres(before) - before) ** 2).sum())
        return bool(moved <= TOLERANCE * self.cost / max(float(self.sizes.sum()), 1.0) / before.shape[1])


def add_up(scores: Array, centres: Array) -> Sums:
    """Assign scores of shape (n, m) to centres of shape (k, m) and add them up."""
    n, k = len(scores), len(centres)
    nearest, distances = vq(scores, centres, check_finite=False)
    members = sparse.csr_matrix((np.ones(n), nearest, np.arange(n + 1)), shape=(n, k))
    sizes = np.bincount(nearest, minlength=k).astype(np.float64)
    return Sums(np.asarray(members.T @ scores), sizes, float(distances @ distances))


def converge(scores: Array, centres: Array, max_iterations: int) -> tuple[Array, Sums, int]:
    """Centres after Lloyd's algorithm, what the rows say of them, and how many times they were moved."""
    sums = add_up(scores, centres)
    for iteration in range(max_iterations):
        moved = sums.centres(centres)
        if np.array_equal(moved, centres):
            return centres, sums, iteration
        centres, sums = moved, add_up(scores, moved)
    return centres, sums, max_iterations


def plus_plus(scores: Array, k: int, rng: np.random.Generator) -> Array:
    """At most k rows, far from each other, as first centres; fewer where fewer are different.

    Greedy k-means++ (Arthur & Vassilvitskii 2007, SODA): each is drawn by the squared distance to
    those before it, the best of 2 + ln k draws.
    """
    chosen = [int(rng.integers(len(scores)))]
    squares = cdist(scores, scores[chosen], "sqeuclidean")[:, 0]
    while len(chosen) < k and squares.max() > 0:
        bounds = np.cumsum(squares)
        drawn = np.searchsorted(bounds, rng.random(2 + int(np.log(k))) * bounds[-1], side="right")
        drawn = drawn.clip(max=len(scores) - 1)
        candidates = np.minimum(squares[:, None], cdist(scores, scores[drawn], "sqeuclidean"))
        best = candidates.sum(axis=0).argmin()
        chosen.append(int(drawn[best]))
        squares = candidates[:, best]
    return scores[chosen]
