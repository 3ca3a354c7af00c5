"""Principal component scores as blocks: what is clustered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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

    @property
    def columns(self) -> list[str]:
        """What `load` needs."""
        return schemas.SCORES.names

    def sample(self, size: int, seed: int) -> Array:
        """About `size` rows, or all where there are no more, in the order of their ids: size · m · 8 bytes.

        Rows are chosen by the hash of their ids, so the sample is the same for any partitioning.
        """
        share = size / self.n_rows if self.n_rows > size else 1.0

        def choose(blocks: Iterator[ScoreBlock]) -> Iterator[pa.RecordBatch]:
            for block in blocks:
                chosen = uniform(block.ids, seed) < share
                yield encode(ScoreBlock(block.ids[chosen], block.scores[chosen]))

        rows = self.map_blocks(choose, schemas.SCORES).collect()  # bounded: see above
        cells = [[pa.scalar(bytes(row[name]), pa.binary()) for name in schemas.SCORES.names] for row in rows]
        blocks = [block for block in (_block(*pair) for pair in cells) if block.ids.size]
        order = np.argsort(np.concatenate([block.ids for block in blocks]))
        return np.concatenate([block.scores for block in blocks])[order]


def encode(block: ScoreBlock) -> pa.RecordBatch:
    """One DataFrame row, of `schemas.SCORES`: 4 bytes a score, a relative rounding of 6e-8."""
    cells = [compact.cell(block.ids), compact.cell(block.scores.astype(np.float32).ravel())]
    return pa.record_batch(cells, names=schemas.SCORES.names)


def decode(batch: pa.RecordBatch) -> Iterator[ScoreBlock]:
    """The blocks of a batch of encoded rows, without empty ones; their arrays are not to be written to."""
    for row in range(batch.num_rows):
        block = _block(batch["ids"][row], batch["scores"][row])
        if block.ids.size:
            yield block


def _block(ids: pa.Scalar, scores: pa.Scalar) -> ScoreBlock:
    numbers, values = compact.read(ids).values(), compact.read(scores).values().astype(np.float64)
    return ScoreBlock(numbers, values.reshape(numbers.size, values.size // max(numbers.size, 1)))
