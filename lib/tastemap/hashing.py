"""Chance that depends on nothing but an id: the same in every run, whatever the partitions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pandas.util import hash_array


def uniform(ids: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each id, of shape (n,): uniform over ids, independent between seeds.

    pandas' hash of the id and the hash of the seed: SplitMix64, which pandas keeps from version to version.
    """
    mixed = hash_array(ids.astype(np.uint64) ^ hash_array(np.array([seed], np.uint64)))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
