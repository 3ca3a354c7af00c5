"""How far two clusterings of the same users agree, from the table of how many are where in both."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import comb, xlogy

Array = npt.NDArray[np.float64]


def contingency(first: npt.NDArray[np.int32], second: npt.NDArray[np.int32], shape: tuple[int, int]) -> Array:
    """Numbers of users by their clusters in two clusterings."""
    pairs = first.astype(np.int64) * shape[1] + second
    return np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def adjusted_rand_index(table: Array) -> float:
    """Share of pairs of users that are together in both or in neither, less what chance would give.

    1 for the same clusters, 0 on average for clusters that have nothing to do with each other
    (Hubert & Arabie 1985, J. of Classification 2).
    """
    pairs, rows, columns = (comb(t, 2).sum() for t in (table, table.sum(axis=1), table.sum(axis=0)))
    total = comb(table.sum(), 2)
    expected = rows * columns / total if total else 0.0
    most = (rows + columns) / 2
    return float((pairs - expected) / (most - expected)) if most != expected else 1.0


def normalized_mutual_information(table: Array) -> float:
    """Mutual information over the mean of both entropies: 1 for the same clusters, 0 for independent ones."""
    shares = table / max(table.sum(), 1)

    def entropy(probabilities: Array) -> float:
        return float(-xlogy(probabilities, probabilities).sum())

    of_rows, of_columns = entropy(shares.sum(axis=1)), entropy(shares.sum(axis=0))
    mean = (of_rows + of_columns) / 2
    return (of_rows + of_columns - entropy(shares)) / mean if mean > 0 else 1.0


def best_jaccard(table: Array) -> Array:
    """Of each row's cluster the largest Jaccard index with any of the columns', of shape (k,).

    Averaged over bootstrap samples: how sure it is that a cluster is found again; 0.75 and more is stable,
    below 0.5 it dissolves (Hennig 2007, CSDA 52).
    """
    unions = table.sum(axis=1)[:, None] + table.sum(axis=0) - table
    jaccard: Array = np.divide(table, unions, out=np.zeros(table.shape), where=unions > 0).max(axis=1)
    return jaccard
