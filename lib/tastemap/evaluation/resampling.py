"""Bootstrap samples of users, without moving any."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from scipy.special import pdtr

from tastemap.blocks import Block, Load
from tastemap.hashing import uniform

_STREAM = 1 << 32
"""Added to seeds: by the same chance KMeans chooses its sample, which must not be of those who come never."""
_AT_MOST = pdtr(np.arange(20), 1.0)
"""Chance that a user comes at most 0, 1, 2 ... times."""


def resampled(load: Load[Block], seed: int) -> Load[Block]:
    """A loader that yields each row as often as a draw from Poisson(1) by the hash of its id says.

    For many users that is the bootstrap (Oza & Russell 2001, AISTATS), and no task need know of another.
    """

    def load_resampled(batch: pa.RecordBatch) -> Iterator[Block]:
        for block in load(batch):
            times = np.searchsorted(_AT_MOST, uniform(block.ids, seed + _STREAM), side="right")
            rows = np.repeat(np.arange(block.ids.size), times)
            if rows.size:
                yield Block(block.ids[rows], block.matrix[rows])

    return load_resampled
