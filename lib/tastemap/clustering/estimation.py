"""Clusters by repeated estimation: what rows add up to for some clusters gives better ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from tastemap.clustering.assignment import Clusters

Array = npt.NDArray[np.float64]

TOLERANCE = 1e-4
"""Centres stand still when the sum of their squared moves is at most this share of the mean variance of a
column within clusters. scikit-learn's `tol` is a share of the variance over all rows, which is more."""


@dataclass(frozen=True)
class Clustering:
    """Fitted clusters, 0 the largest unless they continue earlier ones."""

    model: Clusters
    sizes: npt.NDArray[np.int64]
    """Rows in each cluster, of shape (k,)."""
    cost: float
    """What was minimised: the sum of squared distances to the centres (between vectors of length 1 for
    `cosine`); for `mixture` the negative logarithm of the likelihood."""
    iterations: int
    """Times that clusters were moved by what all rows add up to: passes over them, after the first."""

    def take(self, order: npt.NDArray[np.int64]) -> Clustering:
        """Some of the clusters, numbered in this order."""
        return Clustering(self.model.take(order), self.sizes[order], self.cost, self.iterations)


class Estimate(Protocol):
    """Clusters on their way: what the rows say of them, added up, gives better ones."""

    @property
    def n_components(self) -> int:
        """m, the leading scores of a row that are looked at."""

    def add_up(self, scores: Array) -> list[Array]:
        """Sums over rows of scores of shape (n, m): those of several groups of rows add."""

    def counts(self, sums: list[Array]) -> Array:
        """Rows of each cluster, of shape (k,), as `moved` weighs them."""

    def moved(self, sums: list[Array]) -> Self:
        """The next estimate, by the sums over all rows."""

    def still(self, sums: list[Array], tolerance: float) -> bool:
        """Whether the next estimate is this one but for `tolerance`, as `TOLERANCE` says."""

    def loss(self, sums: list[Array]) -> float:
        """What is minimised."""

    def clustering(self, sums: list[Array], iterations: int) -> Clustering:
        """The clusters, 0 the largest, without empty ones."""


E = TypeVar("E", bound=Estimate)
E_co = TypeVar("E_co", bound=Estimate, covariant=True)


@dataclass(frozen=True)
class Fitted(Generic[E_co]):
    """An estimate and the sums that belong to it."""

    estimate: E_co
    sums: list[Array]
    iterations: int

    @property
    def loss(self) -> float:
        """What was minimised."""
        return self.estimate.loss(self.sums)

    def clustering(self) -> Clustering:
        """The clusters."""
        return self.estimate.clustering(self.sums, self.iterations)


def converge(scores: Array, estimate: E, max_iterations: int, tolerance: float = 0.0) -> Fitted[E]:
    """Move an estimate on rows of shape (n, m) until it stands still."""
    sums = estimate.add_up(scores)
    for iteration in range(max_iterations):
        if estimate.still(sums, tolerance):
            return Fitted(estimate, sums, iteration)
        estimate = estimate.moved(sums)
        sums = estimate.add_up(scores)
    return Fitted(estimate, sums, max_iterations)


def by_size(sizes: npt.NDArray[np.int64], centres: Array) -> npt.NDArray[np.int64]:
    """Order of clusters, largest first; equal ones by their centres, so that it is the same every time.

    Clusters without rows are left out.
    """
    keys = [centres[:, column] for column in reversed(range(centres.shape[1]))]
    return np.lexsort([*keys, -sizes])[: np.count_nonzero(sizes)]
