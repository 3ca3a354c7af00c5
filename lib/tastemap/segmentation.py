"""The fitted chain from ratings to clusters, applied to blocks and saved as a Spark ML pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.ml import PipelineModel
from scipy import sparse

from tastemap import schemas, vectors
from tastemap.block_tables import BlockTable
from tastemap.blocks import Block, BlockMatrix
from tastemap.clustering.assignment import Assignment, Clusters
from tastemap.clustering.scores import ScoreBlock, ScoreMatrix, decode, encode
from tastemap.decomposition.pca import PCAModel
from tastemap.decomposition.principal import Decomposition
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


def scores(matrix: BlockMatrix, projection: Projection, n_rows: int) -> ScoreMatrix:
    """Scores of the `n_rows` users, in blocks like theirs; not persisted."""

    def project(blocks: Iterator[Block]) -> Iterator[pa.RecordBatch]:
        for block in blocks:
            yield encode(score_block(block, projection))

    return ScoreMatrix(matrix.map_partitions(project, schemas.SCORES), decode, n_rows)


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
