"""Bisecting KMeans: the widest cluster is split in two until there are enough."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tastemap.clustering.estimation import Fitted, converge
from tastemap.clustering.lloyd import Means, plus_plus

Array = npt.NDArray[np.float64]

MOVES = 1
"""Times that all centres are moved together after the splits: to the means of the rows nearest to them, which
are not all of their own branch. Until they stand still it would be KMeans from another start."""


def starts(sample: Array, k: int, *, max_iterations: int, restarts: int, seed: int) -> list[Fitted[Means]]:
    """The leaves of one tree, on a sample of shape (n, m).

    Steinbach, Karypis & Kumar 2000, "A comparison of document clustering techniques": of the cluster with
    the largest sum of squared distances the best of several splits by KMeans counts. Spark ML's
    BisectingKMeans wants a DataFrame row a vector, and passes over all of them at every level.
    """
    leaves = split(sample, k, max_iterations=max_iterations, restarts=restarts, seed=seed)
    return [converge(sample, Means(leaves), MOVES)]


def split(rows: Array, k: int, *, max_iterations: int, restarts: int, seed: int) -> Array:
    """Means of at most k leaves, of shape (k, m); fewer where fewer rows are different."""
    rngs = [np.random.default_rng(seed + number) for number in range(restarts)]
    leaves = [np.arange(len(rows))]
    costs = [_cost(rows)]
    while len(leaves) < k and max(costs) > 0:
        widest = int(np.argmax(costs))
        inside = leaves.pop(widest)
        del costs[widest]
        trials = [
            converge(rows[inside], Means(plus_plus(rows[inside], 2, rng)), max_iterations) for rng in rngs
        ]
        best = min(trials, key=lambda fitted: fitted.loss)
        side = best.estimate.nearest(rows[inside])
        halves = inside[side == 0], inside[side == 1]
        if min(map(len, halves)) == 0:  # all that differs is rounding
            leaves.append(inside)
            costs.append(0.0)
            continue
        for half in halves:
            leaves.append(half)
            costs.append(_cost(rows[half]))
    return np.array([rows[leaf].mean(axis=0) for leaf in leaves])


def _cost(rows: Array) -> float:
    moved = rows - rows[0]  # so that equal rows cost nothing, not even by rounding
    return float(((moved - moved.mean(axis=0)) ** 2).sum())
