"""Assignment to the nearest centre, with how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.ml import Model
from pyspark.ml.param.shared import HasInputCol
from pyspark.ml.util import MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import DataFrame
from pyspark.sql.types import DoubleType, IntegerType, StructField
from scipy.special import softmax

from tastemap import vectors
from tastemap.columns import append_columns
from tastemap.persistence import ArraysReader, ArraysWriter

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Assignment:
    """Clusters of n rows."""

    clusters: npt.NDArray[np.int32]
    """Nearest centre, of shape (n,); of equally near ones the first."""
    distances: Array
    """Euclidean distance to it, of shape (n,)."""
    probabilities: Array
    """Of every cluster, of shape (n, k): 1 / k where all are equally near, towards 1 where one stands out."""

    @property
    def memberships(self) -> Array:
        """Probability of the cluster that was assigned, of shape (n,)."""
        chosen: Array = np.take_along_axis(self.probabilities, self.clusters[:, None], axis=1)[:, 0]
        return chosen


TEMPERATURE = 1.4
"""Of memberships, unless it is fitted: the best for held-out ratings on the logs in docs/evaluation.md."""


@dataclass(frozen=True)
class Centres:
    """Centres of clusters."""

    centres: Array
    """Of shape (k, m)."""
    spread: float
    """Mean squared distance of the rows to their centres when it was fitted: the unit of memberships."""
    temperature: float = TEMPERATURE
    """1: memberships as sure as the spread says; more: less sure."""

    def assign(self, scores: Array) -> Assignment:
        """Clusters of scores of shape (n, m).

        Probabilities are softmax(−m d² / (2 τ s)) with s the spread and τ the temperature: for τ = 1 the
        posterior of a mixture of equally likely round Gaussians whose variance the spread gives.
        """
        norms = (self.centres**2).sum(axis=1)
        squares = (scores**2).sum(axis=1)[:, None] - 2.0 * scores @ self.centres.T + norms
        np.maximum(squares, 0.0, out=squares)
        clusters = squares.argmin(axis=1)
        distances = np.sqrt(np.take_along_axis(squares, clusters[:, None], axis=1)[:, 0])
        # Where every row was a centre the spread is 0, and what the squares hold is rounding.
        spread = max(self.spread, np.finfo(np.float64).eps * norms.max(), 1e-300)
        probabilities = softmax(
            squares * (-0.5 * self.centres.shape[1] / (self.temperature * spread)), axis=1
        )
        return Assignment(clusters.astype(np.int32), distances, probabilities)


class CentresModel(Model, HasInputCol, MLReadable["CentresModel"], MLWritable):
    """`Centres` as a stage of a Spark ML pipeline: appends cluster, distance and membership."""

    def __init__(self, centres: Centres) -> None:
        super().__init__()
        self._centres = centres
        self._setDefault(inputCol="scores")

    @property
    def centres(self) -> Centres:
        """What rows are assigned to."""
        return self._centres

    def _transform(self, dataset: DataFrame) -> DataFrame:
        centres = self._centres
        fields = [
            StructField("cluster", IntegerType()),
            StructField("distance", DoubleType()),
            StructField("membership", DoubleType()),
        ]

        def assign(scores: pa.Array) -> list[pa.Array]:
            rows = vectors.to_csr(scores, centres.centres.shape[1]).toarray()
            found = centres.assign(rows)
            return [pa.array(found.clusters), pa.array(found.distances), pa.array(found.memberships)]

        return append_columns(dataset, self.getInputCol(), fields, assign)

    def write(self) -> MLWriter:
        """Writer of params as Spark ML metadata and of the centres as Parquet."""
        scalars = {name: getattr(self._centres, name) for name in ("spread", "temperature")}
        return ArraysWriter(self, {"centres": self._centres.centres}, scalars)

    @classmethod
    def read(cls) -> MLReader[CentresModel]:
        """Reader of what `write` has written."""

        def build(arrays: dict[str, Array], extra: dict[str, Any]) -> CentresModel:
            return cls(Centres(arrays["centres"], **extra))

        return ArraysReader(build)
