"""Where people stand beside their neighbours: a picture of many components in the plane."""

from __future__ import annotations

import numpy as np

from tastemap.report.content import Array, Plane

PERPLEXITY = 30.0
ROUNDS = 500
"""Of t-SNE. A thousand, scikit-learn's default, take twice as long, 7 s for 2,000 people, and keep
neighbours no better (trustworthiness 0.9911 against 0.9909, 0.980 against 0.979, 0.783 against 0.784)."""
ANGLE = 0.8
"""How coarsely t-SNE sees people far away. 0.5, scikit-learn's default, takes 1.3 times as long and keeps
neighbours no better (trustworthiness 0.9426 against 0.9422)."""
MIN_PEOPLE = 8
"""With fewer there is nothing to embed."""


def neighbours(scores: Array, seed: int) -> Plane | None:
    """Neighbours of n people as neighbours in the plane, of shape (n, 2); None where people are few.

    t-SNE (van der Maaten & Hinton 2008, JMLR 9) by scikit-learn, begun at the principal components.

    Parameters
    ----------
    scores : ndarray of shape (n, m)
    seed : int
    """
    if len(scores) < MIN_PEOPLE:
        return None
    if not np.ptp(scores, axis=0).any():
        return np.zeros((len(scores), 2), np.float32)  # t-SNE would divide by how much they differ
    # Only here, for scikit-learn may be missing.
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(scores) - 1) / 3)
    # Its threads wait for each other in each round, spinning: on cores shared
    # with others two threads took 32 s for 600 people, one took 2 s.
    with threadpool_limits(1):
        tsne = TSNE(init="pca", perplexity=perplexity, angle=ANGLE, max_iter=ROUNDS, random_state=seed)
        fitted = tsne.fit_transform(scores)
    return np.asarray(fitted, dtype=np.float32)
