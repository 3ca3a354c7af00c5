"""Ratings kept from fitting, to be predicted afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pandas.util import hash_array
from scipy import sparse

from tastemap import vectors
from tastemap.blocks import Block, Load
from tastemap.hashing import uniform


@dataclass(frozen=True)
class Split:
    """Some users, their ratings parted in two, each of shape (n, d)."""

    ids: npt.NDArray[np.int64]
    training: sparse.csr_matrix
    held_out: sparse.csr_matrix


@dataclass(frozen=True)
class Holdout:
    """A share of the ratings, chosen by the hash of user and movie: the same in every pass and run."""

    share: float
    seed: int
    movie_ids: npt.NDArray[np.int32]
    """Of the columns, of shape (d,)."""

    def split(self, block: Block) -> Split:
        """Part a block's ratings."""
        ratings = block.matrix
        held_out = self._chance(block.ids, ratings, self.seed) < self.share
        return Split(block.ids, vectors.select(ratings, ~held_out), vectors.select(ratings, held_out))

    def halves(self, split: Split) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """The ratings for fitting, each in one of two halves of shape (n, d)."""
        first = self._chance(split.ids, split.training, self.seed + 1) < 0.5
        return vectors.select(split.training, first), vectors.select(split.training, ~first)

    def training(self, load: Load[Block]) -> Load[Block]:
        """A loader of what is fitted on, from one of all ratings."""

        def load_training(batch: pa.RecordBatch) -> Iterator[Block]:
            for block in load(batch):
                yield Block(block.ids, self.split(block).training)

        return load_training

    def _chance(
        self, ids: npt.NDArray[np.int64], ratings: sparse.csr_matrix, seed: int
    ) -> npt.NDArray[np.float64]:
        users = np.repeat(hash_array(ids).view(np.int64), np.diff(ratings.indptr))
        return uniform(users ^ self.movie_ids[ratings.indices], seed)
