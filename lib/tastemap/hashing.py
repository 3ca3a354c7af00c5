"""Chance that depends on nothing but an id: the same in every run, whatever the partitions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def uniform(ids: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each id, of shape (n,): uniform over ids, independent between seeds.

    SplitMix64 (Steele, Lea & Flood 2014, OOPSLA) of the id's and the seed's.
    """
    with np.errstate(over="ignore"):
        mixed = _mix(ids.astype(np.uint64) ^ _mix(np.array([seed], np.uint64)))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    mixed = state + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
