"""What stands in for Spark where only the arithmetic is tested, without a JVM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from scipy import sparse

from tastemap import schemas
from tastemap.blocks import Block, BlockMatrix, decode, encode
from tastemap.clustering import scores
from tastemap.clustering.scores import ScoreBlock, ScoreMatrix
from tastemap.rows import Rows

ArrowFunction = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


@dataclass
class Cluster:
    """Counts what is asked of it."""

    defaultParallelism: int = 2
    shuffles: int = 0
    rows_collected: int = 0
    broadcasts: list[Any] = field(default_factory=list)

    def broadcast(self, value: Any) -> SimpleNamespace:
        self.broadcasts.append(value)
        return SimpleNamespace(value=value, destroy=lambda: self.broadcasts.pop())


@dataclass
class LocalFrame:
    """A DataFrame as far as `mapInArrow`, `repartition` by an int column and `collect` go.

    As in Spark, a partition without rows is mapped as well, and the function sees no batch there.
    """

    partitions: list[list[pa.RecordBatch]]
    cluster: Cluster = field(default_factory=Cluster)

    @property
    def sparkSession(self) -> SimpleNamespace:
        far_away = SimpleNamespace(isLocal=lambda: False)
        conf = SimpleNamespace(isModifiable=lambda key: True)
        return SimpleNamespace(sparkContext=self.cluster, conf=conf, _jsc=far_away)

    def mapInArrow(self, function: ArrowFunction, schema: object) -> LocalFrame:
        return LocalFrame([list(function(iter(batches))) for batches in self.partitions], self.cluster)

    def select(self, *names: str) -> LocalFrame:
        return LocalFrame([[b.select(names) for b in batches] for batches in self.partitions], self.cluster)

    def coalesce(self, n_partitions: int) -> LocalFrame:
        joined: list[list[pa.RecordBatch]] = [[] for _ in range(n_partitions)]
        for number, batches in enumerate(self.partitions):
            joined[number * n_partitions // len(self.partitions)] += batches
        return LocalFrame(joined, self.cluster)

    def repartition(self, n_partitions: int, column: str) -> LocalFrame:
        self.cluster.shuffles += 1
        partitions: list[list[pa.RecordBatch]] = [[] for _ in range(n_partitions)]
        for batch in (batch for batches in self.partitions for batch in batches):
            for row, key in enumerate(batch[column].to_pylist()):
                partitions[key % n_partitions].append(batch.slice(row, 1))
        return LocalFrame(partitions, self.cluster)

    def toPandas(self) -> pd.DataFrame:
        rows = [row for batches in self.partitions for batch in batches for row in batch.to_pylist()]
        self.cluster.rows_collected += len(rows)
        names = next((batch.schema.names for batches in self.partitions for batch in batches), None)
        return pd.DataFrame(rows, columns=names)


def block_matrix(
    partitions: Sequence[Sequence[sparse.csr_matrix]], ids: npt.NDArray[np.int64] | None = None
) -> BlockMatrix:
    """Spread the rows of a matrix, given as blocks in partitions, over a `LocalFrame`.

    By default the ids count them.
    """
    sizes = [block.shape[0] for blocks in partitions for block in blocks]
    of_blocks = iter(np.split(np.arange(sum(sizes)) if ids is None else ids, np.cumsum(sizes)[:-1]))
    batches = [[encode(Block(next(of_blocks), block)) for block in blocks] for blocks in partitions]
    d = next(block.shape[1] for blocks in partitions for block in blocks)
    load = partial(decode, n_columns=d)
    return BlockMatrix(rows_of(LocalFrame(batches)), load, d)


def score_matrix(rows: npt.NDArray[np.float64]) -> ScoreMatrix:
    """Scores of users 0 to n − 1, all in one block."""
    n = len(rows)
    block = ScoreBlock(np.arange(n), rows, np.ones(n, np.int32), np.zeros(n))
    return ScoreMatrix(rows_of(LocalFrame([[scores.encode(block)]])), scores.decode, n)


def rows_of(frame: LocalFrame) -> Rows:
    """The rows of a frame, as what passes over them takes them."""
    return Rows(frame, len(frame.partitions), schemas.BLOCKS)  # type: ignore[arg-type]
