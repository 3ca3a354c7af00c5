"""The fitted chain from ratings to clusters, applied to blocks and saved as a Spark ML pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import methodcaller
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.ml import PipelineModel
from scipy import sparse

from tastemap import blocks, schemas, vectors
from tastemap.block_tables import BlockTable
from tastemap.blocks import Block, BlockFrame, BlockMatrix, DatedMatrix
from tastemap.clustering.assignment import Assignment, Clusters
from tastemap.clustering.scores import SCORES_PER_ROW, ScoreBlock, ScoreMatrix, decode, encode
from tastemap.decomposition.pca import PCAModel
from tastemap.decomposition.principal import Decomposition
from tastemap.executors import in_one_process
from tastemap.features import Features

Array = npt.NDArray[np.float64]

FLOOR = 0.01
"""Memberships below are left out of their table: of eight clusters one to five remain a user."""


@dataclass(frozen=True)
class Projection:
    """Ratings to scores: features, then principal components."""

    features: Features
    components: Array
    """Loadings of shape (d, m)."""
    offset: Array
    """Scores of the mean, of shape (m,)."""

    @classmethod
    def of(cls, features: Features, decomposition: Decomposition) -> Projection:
        """Join the two."""
        components = decomposition.components
        return cls(features, components, decomposition.mean @ components)

    def scores(self, ratings: sparse.csr_matrix) -> Array:
        """Scores of shape (n, m) for ratings of shape (n, d)."""
        return np.asarray(self.features.apply(ratings) @ self.components - self.offset)


@dataclass(frozen=True)
class Segmentation:
    """Ratings to clusters."""

    projection: Projection
    model: Clusters

    def assign(self, ratings: sparse.csr_matrix) -> Assignment:
        """Clusters of users with ratings of shape (n, d)."""
        return self.model.assign(self.projection.scores(ratings))


@dataclass(frozen=True)
class ScoredBlock:
    """Some users' ratings and scores."""

    ratings: Block
    scores: ScoreBlock

    def in_parts(self, n_users: int, n_values: int) -> Iterator[ScoredBlock]:
        """The users, at most so many at a time, with at most so many ratings if they are two."""
        start = 0
        for part in self.ratings.in_parts(n_users, n_values):
            yield ScoredBlock(part, self.scores[start : start + part.ids.size])
            start += part.ids.size


@dataclass(frozen=True)
class ScoredMatrix(BlockFrame[ScoredBlock]):
    """Ratings, with years, and scores of the same users, in rows of `schemas.SCORED`.

    Side by side, for in local mode to project takes longer than to copy the ratings.
    """

    n_rows: int
    columns: ClassVar[Sequence[str]] = tuple(dict.fromkeys([*DatedMatrix.columns, *ScoreMatrix.columns]))

    @property
    def scores(self) -> ScoreMatrix:
        """The scores alone."""
        return ScoreMatrix(self.rows, decode, self.n_rows)


def scored(matrix: BlockMatrix, projection: Projection, n_rows: int) -> ScoredMatrix:
    """The ratings of the `n_rows` users, as they are stored, and their scores; not persisted."""
    n_columns = matrix.n_columns
    at_most = _users_at_once(projection)

    def of_row(row: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        (block,) = blocks.decode(row, n_columns)
        for part in block.in_parts(at_most):
            ratings = row if part is block else blocks.encode(part)
            yield _side_by_side(ratings, encode(score_block(part, projection)))

    def project(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = (batch.slice(number, 1) for batch in batches for number in range(batch.num_rows))
        return chain.from_iterable(map(of_row, rows))

    rows = matrix.rows.for_keeping().mapped(project, schemas.SCORED, schemas.BLOCKS.names)
    return ScoredMatrix(rows, partial(_decode_scored, n_columns=n_columns), n_rows)


def _users_at_once(projection: Projection) -> int:
    return max(1, SCORES_PER_ROW // projection.offset.size)


def _side_by_side(ratings: pa.RecordBatch, scores: pa.RecordBatch) -> pa.RecordBatch:
    of_ratings = set(schemas.BLOCKS.names)
    found = [(ratings if name in of_ratings else scores)[name] for name in schemas.SCORED.names]
    return pa.record_batch(found, names=schemas.SCORED.names)


def _decode_scored(batch: pa.RecordBatch, n_columns: int) -> Iterator[ScoredBlock]:
    for ratings, scores in zip(blocks.decode(batch, n_columns), decode(batch), strict=True):
        yield ScoredBlock(ratings, scores)


@dataclass(frozen=True)
class ProjectedMatrix(BlockFrame[ScoredBlock]):
    """Ratings, with years, whose users' scores are computed whenever they are loaded."""

    columns: ClassVar[Sequence[str]] = DatedMatrix.columns


def _projecting(matrix: BlockMatrix, projection: Projection) -> ProjectedMatrix:
    load_ratings, in_parts = matrix.load, methodcaller("in_parts", _users_at_once(projection))

    def of_part(part: Block) -> ScoredBlock:
        return ScoredBlock(part, score_block(part, projection))

    def load(batch: pa.RecordBatch) -> Iterator[ScoredBlock]:
        return map(of_part, chain.from_iterable(map(in_parts, load_ratings(batch))))

    return ProjectedMatrix(matrix.rows, load)


@contextmanager
def projected(
    matrix: BlockMatrix, projection: Projection, n_rows: int
) -> Iterator[tuple[BlockFrame[ScoredBlock], ScoreMatrix]]:
    """Ratings and scores of the `n_rows` users, and scores alone, which stay until the end of the context.

    In local mode both are kept. On a cluster, where what is kept goes through the JVM, to copy the ratings
    takes longer than to project them once more.
    """
    if in_one_process(matrix.spark):
        with scored(matrix, projection, n_rows).persisted() as both:
            yield both, both.scores
    else:
        with scores(matrix, projection, n_rows).persisted() as alone:
            yield _projecting(matrix, projection), alone


def scores(matrix: BlockMatrix, projection: Projection, n_rows: int) -> ScoreMatrix:
    """Scores of the `n_rows` users, in blocks like theirs; not persisted."""

    def project(blocks: Iterator[Block]) -> Iterator[pa.RecordBatch]:
        # No loop, whose variable would keep a block while the next is loaded.
        return map(encode, map(partial(score_block, projection=projection), blocks))

    return ScoreMatrix(matrix.map_kept(project, schemas.SCORES), decode, n_rows)


def score_block(block: Block, projection: Projection) -> ScoreBlock:
    """Scores of a block's users."""
    ratings = block.matrix
    n_ratings = np.diff(ratings.indptr).astype(np.int32)
    mean_ratings = vectors.row_sums(ratings.data, ratings) / np.maximum(n_ratings, 1)
    return ScoreBlock(block.ids, projection.scores(ratings), n_ratings, mean_ratings)


def assignments(scores: ScoreMatrix, clusters: Clusters) -> BlockTable[ScoreBlock]:
    """The `assignments` table."""

    def assign(blocks: Iterator[ScoreBlock]) -> Iterator[pa.RecordBatch]:
        for block in blocks:
            found = clusters.assign(block.scores)
            columns = (block.ids, found.clusters, found.distances, found.memberships, block.n_ratings)
            yield pa.record_batch([pa.array(column) for column in columns], names=schemas.ASSIGNMENTS.names)

    return BlockTable(scores, assign, schemas.ASSIGNMENTS)


def memberships(scores: ScoreMatrix, clusters: Clusters) -> BlockTable[ScoreBlock]:
    """The `memberships` table: of each user the cluster and all others of at least `FLOOR`."""

    def assign(blocks: Iterator[ScoreBlock]) -> Iterator[pa.RecordBatch]:
        for block in blocks:
            found = clusters.assign(block.scores)
            users, likely = found.likely(FLOOR)
            probabilities = found.probabilities[users, likely].astype(np.float32)
            columns = (block.ids[users], likely.astype(np.int32), probabilities)
            yield pa.record_batch([pa.array(column) for column in columns], names=schemas.MEMBERSHIPS.names)

    return BlockTable(scores, assign, schemas.MEMBERSHIPS)


def pipeline_model(features: Features, decomposition: Decomposition, clusters: Clusters) -> PipelineModel:
    """The chain as a `PipelineModel`: `features` (ratings) to `cluster`, `distance` and `membership`."""
    pca = PCAModel(decomposition)
    pca._set(inputCol="weights", outputCol="scores")
    return PipelineModel([features.stage(), pca, clusters.stage()])
