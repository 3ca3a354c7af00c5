"""Which clusters rows belong to and how sure that is, for every kind of cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.ml import Model
from pyspark.ml.param.shared import HasInputCol
from pyspark.ml.util import MLWritable
from pyspark.sql import DataFrame
from pyspark.sql.types import DoubleType, IntegerType, StructField

from tastemap import vectors
from tastemap.columns import append_columns

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Assignment:
    """Clusters of n rows."""

    clusters: npt.NDArray[np.int32]
    """The cluster of each row, of shape (n,); of equally good ones the first."""
    distances: Array
    """Euclidean distance to its centre, of shape (n,)."""
    probabilities: Array
    """Of every cluster, of shape (n, k): 1 / k where all are equally good, towards 1 where one stands out."""

    @property
    def memberships(self) -> Array:
        """Probability of the cluster that was assigned, of shape (n,)."""
        chosen: Array = np.take_along_axis(self.probabilities, self.clusters[:, None], axis=1)[:, 0]
        return chosen

    def likely(self, floor: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows and clusters of all probabilities of at least `floor`, and of those that were assigned.

        Of very many clusters none may reach the floor.
        """
        shown = self.probabilities >= floor
        shown[np.arange(len(shown)), self.clusters] = True
        rows, clusters = np.nonzero(shown)
        return rows, clusters


class Clusters(Protocol):
    """Clusters that were fitted: what rows are assigned to."""

    @property
    def n_clusters(self) -> int:
        """Number of clusters, k."""

    @property
    def n_components(self) -> int:
        """Number of scores of a row, m."""

    def assign(self, scores: Array) -> Assignment:
        """Clusters of scores of shape (n, m)."""

    def take(self, order: npt.NDArray[np.int64]) -> Self:
        """Some of the clusters, numbered in this order."""

    def tempered(self, temperature: float) -> Self:
        """The same clusters with memberships that are less sure the higher the temperature."""

    def stage(self) -> Model:
        """A stage for a Spark ML pipeline, which can be saved."""


C = TypeVar("C", bound=Clusters)


class ClustersModel(Model, HasInputCol, MLWritable, Generic[C]):
    """Clusters as a stage of a Spark ML pipeline: appends cluster, distance and membership."""

    def __init__(self, clusters: C) -> None:
        super().__init__()
        self._clusters = clusters
        self._setDefault(inputCol="scores")

    @property
    def clusters(self) -> C:
        """What rows are assigned to."""
        return self._clusters

    def _transform(self, dataset: DataFrame) -> DataFrame:
        clusters = self._clusters
        fields = [
            StructField("cluster", IntegerType()),
            StructField("distance", DoubleType()),
            StructField("membership", DoubleType()),
        ]

        def assign(scores: pa.Array) -> list[pa.Array]:
            found = clusters.assign(vectors.to_csr(scores, clusters.n_components).toarray())
            return [pa.array(found.clusters), pa.array(found.distances), pa.array(found.memberships)]

        return append_columns(dataset, self.getInputCol(), fields, assign)
