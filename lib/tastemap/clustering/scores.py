"""Users by their principal component scores, in blocks: what is clustered, assigned and shown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tastemap import compact, schemas
from tastemap.blocks import BlockFrame
from tastemap.hashing import uniform

Array = npt.NDArray[np.float64]

SCORES_PER_ROW = 1 << 19
"""Scores in a DataFrame row, 4 MB: where users rate little a block holds very many of them."""


@dataclass(frozen=True)
class ScoreBlock:
    """Some users' scores, and what else is told of each without reading the ratings again."""

    ids: npt.NDArray[np.int64]
    """Of shape (n,)."""
    scores: Array
    """Of shape (n, m)."""
    n_ratings: npt.NDArray[np.int32]
    """Number of ratings, of shape (n,)."""
    mean_ratings: Array
    """Mean rating, of shape (n,)."""

    def __getitem__(self, chosen: slice | npt.NDArray[np.bool_ | np.int64]) -> ScoreBlock:
        """Some of the users."""
        return ScoreBlock(
            self.ids[chosen], self.scores[chosen], self.n_ratings[chosen], self.mean_ratings[chosen]
        )


@dataclass(frozen=True)
class ScoreMatrix(BlockFrame[ScoreBlock]):
    """Scores whose rows are spread over executors, in rows of `schemas.SCORES`."""

    n_rows: int
    columns: ClassVar[Sequence[str]] = tuple(schemas.SCORES.names)

    def single_precision(self) -> ScoreMatrix:
        """The same in 4 bytes a score, a relative rounding of 6e-8: half as much to read time and again."""
        return ScoreMatrix(self.map_kept(partial(map, _rounded), schemas.SCORES), decode, self.n_rows)

    def sample(self, size: int, seed: int) -> ScoreBlock:
        """About `size` rows, or all where there are no more, in the order of their ids: size · m · 8 bytes.

        Rows are chosen by the hash of their ids, so the sample is the same for any partitioning.
        """
        share = size / self.n_rows if self.n_rows > size else 1.0

        def choose(blocks: Iterator[ScoreBlock]) -> Iterator[pa.RecordBatch]:
            chosen = [block[uniform(block.ids, seed) < share] for block in blocks]
            if chosen:
                yield encode(_joined(chosen))

        rows = self.collect_blocks(choose, schemas.SCORES)  # bounded: see above
        whole = _joined([block for batch in rows for block in decode(batch)])
        return whole[np.argsort(whole.ids)]


def _joined(blocks: Sequence[ScoreBlock]) -> ScoreBlock:
    return ScoreBlock(
        np.concatenate([block.ids for block in blocks]),
        np.concatenate([block.scores for block in blocks]),
        np.concatenate([block.n_ratings for block in blocks]),
        np.concatenate([block.mean_ratings for block in blocks]),
    )


def _rounded(block: ScoreBlock) -> pa.RecordBatch:
    return encode(replace(block, scores=block.scores.astype(np.float32)))


def encode(block: ScoreBlock) -> pa.RecordBatch:
    """DataFrame rows of `schemas.SCORES`: one, or more where it would hold too much."""
    arrays: list[npt.NDArray[Any]] = [block.ids, block.scores, block.n_ratings, block.mean_ratings]
    n_rows = max(1, min(block.ids.size, math.ceil(block.scores.size / SCORES_PER_ROW)))
    columns = [
        pa.concat_arrays([compact.cell(part.ravel()) for part in np.array_split(array, n_rows)])
        for array in arrays
    ]
    return pa.record_batch(columns, names=schemas.SCORES.names)


def decode(batch: pa.RecordBatch) -> Iterator[ScoreBlock]:
    """The blocks of a batch of encoded rows, without empty ones; their arrays are not to be written to."""
    for row in range(batch.num_rows):
        ids, scores, *told = (compact.read(batch[name], row).values() for name in schemas.SCORES.names)
        if ids.size:
            yield ScoreBlock(ids, scores.astype(np.float64, copy=False).reshape(ids.size, -1), *told)
