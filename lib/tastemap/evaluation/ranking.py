"""How much of what users rate next is among the most rated movies of their cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tastemap.evaluation.judging import Judged

Array = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.int32]

TOP = 20
"""Movies of a list."""
PRIOR = 5.0
"""Members of prior weight, who watch what everybody does: a cluster of few has no order of its own."""


def movie_ranks(n_ratings: Array) -> Ranks:
    """Place of each movie in each cluster's list, 0 the first, of shape (k, d), from numbers of that shape.

    By the share of members who rated it, pulled towards everybody's; equals by their column.
    """
    everybody = n_ratings.sum(axis=0)
    everybody = everybody / max(everybody.max(initial=0.0), 1.0)
    order = np.argsort(-(n_ratings + PRIOR * everybody), axis=1, kind="stable")
    ranks = np.empty(order.shape, np.int32)
    np.put_along_axis(ranks, order, np.arange(order.shape[1], dtype=np.int32)[None], axis=1)
    return ranks


@dataclass(frozen=True)
class Lists:
    """Measure: recall and NDCG of the lists of popularity, one for all, and of the clusters of every setting.

    A user's list is that of the cluster without what the user has rated already. Recall is the share of the
    held-out movies that are among the first `TOP`; NDCG is Σ 1/log₂(1 + place) over these, over what it
    would be were they first (Järvelin & Kekäläinen 2002, TOIS). Both are means over users who have some.
    """

    popularity: Ranks
    """Of shape (1, d)."""
    clusters: Sequence[Ranks]
    """Of shape (k, d), one a setting."""

    def shapes(self) -> list[tuple[int, ...]]:
        """Sums of recall and of NDCG, popularity first, and the number of users."""
        return [(1 + len(self.clusters),), (1 + len(self.clusters),), (1,)]

    def add_up(self, judged: Judged) -> list[Array]:
        """The sums."""
        everybody = np.zeros(judged.split.ids.size, np.int32)
        lists = [(self.popularity, everybody)]
        lists += [(r, one.clusters) for r, one in zip(self.clusters, judged.assignments, strict=True)]
        found = [
            ranking(judged.split.training, judged.split.held_out, ranks, clusters)
            for ranks, clusters in lists
        ]
        users = np.count_nonzero(np.diff(judged.split.held_out.indptr))
        return [np.array([r for r, _ in found]), np.array([n for _, n in found]), np.array([float(users)])]


def ranking(
    training: sparse.csr_matrix,
    held_out: sparse.csr_matrix,
    ranks: Ranks,
    clusters: npt.NDArray[np.int32],
) -> tuple[float, float]:
    """Sums over users of recall and NDCG at `TOP` of their clusters' lists.

    No list is ever made: the place of a held-out movie is its rank less the number of movies ahead of it
    that the user has rated before.
    """
    size = ranks.shape[1]
    numbers = np.diff(held_out.indptr)
    rows, seen_rows = (np.repeat(np.arange(m.shape[0]), np.diff(m.indptr)) for m in (held_out, training))
    rank = ranks[clusters[rows], held_out.indices]
    seen = np.sort(seen_rows * size + ranks[clusters[seen_rows], training.indices])
    ahead = np.searchsorted(seen, rows * size + rank) - training.indptr[rows]
    places = rank - ahead
    hits = places < TOP
    recall = np.bincount(rows[hits], minlength=numbers.size) / np.maximum(numbers, 1)
    discounts = np.append(0.0, np.cumsum(1 / np.log2(np.arange(TOP) + 2)))
    gains = np.bincount(rows[hits], weights=1 / np.log2(places[hits] + 2.0), minlength=numbers.size)
    ndcg = gains / np.maximum(discounts[np.minimum(numbers, TOP)], discounts[1])
    return float(recall.sum()), float(ndcg.sum())
