"""Whole numbers looked up in bulk: by a table where they lie close together, else by hash.

Ids of catalogues lie close together, and there are millions of ratings in a block: a table takes a quarter of
the time of a hash.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Int = TypeVar("Int", bound=np.integer[Any])

PLACES = 2
"""Of a table, for each value at most: it takes about as much memory as the values then."""
MARKED = 4
"""The same where places are but marked, in a byte each."""
COUNTED = 1 << 16
"""Places of a table up to which those that are taken are counted, which takes half as long as to mark them:
the counts stay in a core's cache."""


def unique(values: npt.NDArray[Int]) -> npt.NDArray[Int]:
    """The different values of an array of shape (n,), ascending."""
    if values.size == 0:
        return values
    low, high = int(values.min()), int(values.max())
    if high - low >= MARKED * values.size:
        return np.sort(pd.unique(values))
    return (np.flatnonzero(_seen(_places(values, low))) + low).astype(values.dtype)


def ranks(values: npt.NDArray[Int]) -> tuple[npt.NDArray[np.int32], npt.NDArray[Int]]:
    """Where each of the values, of shape (n,), stands among the different ones, and these, ascending."""
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if high - low >= MARKED * values.size:
        found, different = pd.factorize(values, sort=True)
        return found.astype(np.int32), different
    places = _places(values, low)
    seen = np.flatnonzero(_seen(places))
    table = np.empty(high - low + 1, np.int32)  # of which nothing is touched but what is seen
    table[seen] = np.arange(seen.size)
    return table.take(places), (seen + low).astype(values.dtype)


def numbers(values: npt.NDArray[Int]) -> tuple[npt.NDArray[np.signedinteger[Any]], npt.NDArray[Int]]:
    """Numbers of the values, of shape (n,), in their order, and what value each number stands for, ascending.

    As `ranks`, but where values lie so close together that what is counted by their numbers stays in a core's
    cache, those between that do not occur have numbers, too: half the time.
    """
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if high - low >= min(COUNTED, PLACES * values.size):
        return ranks(values)
    return _places(values, low), (np.arange(high - low + 1) + low).astype(values.dtype)


def positions(values: npt.NDArray[Int], among: npt.NDArray[Int]) -> npt.NDArray[np.int32]:
    """Where each of the values, of shape (n,), stands in an ascending array; −1 where it does not."""
    low, high = (int(among[0]), int(among[-1])) if among.size else (0, -1)
    if not 0 < low <= high < max(values.size, PLACES * among.size):
        found = pc.index_in(pa.array(values), value_set=pa.array(among))
        return np.asarray(found.fill_null(-1))
    table = np.full(high + 2, -1, np.int32)  # with a place on either side for what is beyond
    table[among] = np.arange(among.size)
    return table.take(values, mode="clip")


def _places(values: npt.NDArray[Int], low: int) -> npt.NDArray[np.intp]:
    """Where in a table that begins with the lowest; beyond their own type where that is a narrow one."""
    places: npt.NDArray[np.intp] = np.subtract(values, low, dtype=np.intp)
    return places


def _seen(places: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Which places of a table are taken."""
    size = int(places.max(initial=-1)) + 1
    if size <= COUNTED:
        return np.bincount(places, minlength=size) > 0
    seen = np.zeros(size, np.bool_)
    seen[places] = True
    return seen
