"""Spherical KMeans: clusters of directions, whatever the length of the rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tastemap.clustering.centres import unit
from tastemap.clustering.estimation import Fitted, converge
from tastemap.clustering.lloyd import Means, plus_plus

Array = npt.NDArray[np.float64]


def starts(sample: Array, k: int, *, max_iterations: int, restarts: int, seed: int) -> list[Fitted[Means]]:
    """Centres of length 1, seeded by k-means++ several times, that have converged on a sample (n, m).

    Dhillon & Modha 2001, "Concept decompositions for large sparse text data using clustering", Machine
    Learning 42: between vectors of length 1 the squared distance is 2 − 2 cos.
    """
    directions = unit(sample)
    return [
        converge(sample, begin(sample, plus_plus(directions, k, rng)), max_iterations)
        for rng in map(np.random.default_rng, range(seed, seed + restarts))
    ]


def begin(sample: Array, centres: Array) -> Means:
    """The algorithm about to start from given centres of shape (k, m)."""
    return Means(unit(centres), spherical=True)
