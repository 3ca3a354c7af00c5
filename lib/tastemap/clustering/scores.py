"""Principal component scores as blocks: what is clustered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tastemap import compact, schemas
from tastemap.blocks import BlockFrame
from tastemap.hashing import uniform

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoreBlock:
    """Some rows of scores with the ids of what they describe."""

    ids: npt.NDArray[np.int64]
    """Of shape (n,)."""
    scores: Array
    """Of shape (n, m)."""


@dataclass(frozen=True)
class ScoreMatrix(BlockFrame[ScoreBlock]):
    """Scores whose rows are spread over executors, in a frame of `schemas.SCORES`."""

    n_rows: int
    columns: ClassVar[Sequence[str]] = tuple(schemas.SCORES.names)

    def sample(self, size: int, seed: int) -> Array:
        """About `size` rows, or all where there are no more, in the order of their ids: size · m · 8 bytes.

        Rows are chosen by the hash of their ids, so the sample is the same for any partitioning.
        """
        share = size / self.n_rows if self.n_rows > size else 1.0

        def choose(blocks: Iterator[ScoreBlock]) -> Iterator[pa.RecordBatch]:
            for block in blocks:
                chosen = uniform(block.ids, seed) < share
                yield encode(ScoreBlock(block.ids[chosen], block.scores[chosen]))

        rows = self.map_blocks(choose, schemas.SCORES).toPandas()  # bounded: see above
        blocks = list(decode(pa.RecordBatch.from_pandas(rows)))
        order = np.argsort(np.concatenate([block.ids for block in blocks]))
        return np.concatenate([block.scores for block in blocks])[order]


def encode(block: ScoreBlock) -> pa.RecordBatch:
    """One DataFrame row, of `schemas.SCORES`: 4 bytes a score, a relative rounding of 6e-8."""
    cells = [compact.cell(block.ids), compact.cell(block.scores.astype(np.float32).ravel())]
    return pa.record_batch(cells, names=schemas.SCORES.names)


def decode(batch: pa.RecordBatch) -> Iterator[ScoreBlock]:
    """The blocks of a batch of encoded rows, without empty ones; their arrays are not to be written to."""
    for row in range(batch.num_rows):
        ids, scores = (compact.read(batch[name][row]).values() for name in schemas.SCORES.names)
        if ids.size:
            yield ScoreBlock(ids, scores.astype(np.float64).reshape(ids.size, -1))
