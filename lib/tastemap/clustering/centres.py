"""Assignment to the nearest centre, with how sure it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.ml.util import MLReadable, MLReader, MLWriter
from scipy.special import softmax

from tastemap.clustering.assignment import Assignment, ClustersModel
from tastemap.persistence import ArraysReader, ArraysWriter

Array = npt.NDArray[np.float64]

TEMPERATURE = 1.4
"""Of memberships, unless it is fitted: the best for held-out ratings on the logs in docs/evaluation.md."""


def unit(rows: Array) -> Array:
    """Rows of shape (n, m) scaled to length 1; those of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Array = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return scaled


@dataclass(frozen=True)
class Centres:
    """Centres of clusters."""

    centres: Array
    """Of shape (k, m)."""
    spread: float
    """Mean squared distance of the rows to their centres when it was fitted: the unit of memberships."""
    temperature: float = TEMPERATURE
    """1: memberships as sure as the spread says; more: less sure."""
    spherical: bool = False
    """Whether rows are scaled to length 1 before; the centres are of length 1 then."""

    @property
    def n_clusters(self) -> int:
        """Number of clusters, k."""
        return len(self.centres)

    @property
    def n_components(self) -> int:
        """Number of scores of a row, m."""
        return int(self.centres.shape[1])

    def assign(self, scores: Array) -> Assignment:
        """Clusters of scores of shape (n, m): the nearest.

        Probabilities are softmax(−m d² / (2 τ s)) with s the spread and τ the temperature: for τ = 1 the
        posterior of a mixture of equally likely round Gaussians whose variance the spread gives.
        """
        rows = unit(scores) if self.spherical else scores
        norms = (self.centres**2).sum(axis=1)
        squares = (rows**2).sum(axis=1)[:, None] - 2.0 * rows @ self.centres.T + norms
        np.maximum(squares, 0.0, out=squares)
        clusters = squares.argmin(axis=1)
        distances = np.sqrt(np.take_along_axis(squares, clusters[:, None], axis=1)[:, 0])
        # Where every row was a centre the spread is 0, and what the squares hold is rounding.
        spread = max(self.spread, np.finfo(np.float64).eps * norms.max(), 1e-300)
        probabilities = softmax(
            squares * (-0.5 * self.centres.shape[1] / (self.temperature * spread)), axis=1
        )
        return Assignment(clusters.astype(np.int32), distances, probabilities)

    def tempered(self, temperature: float) -> Centres:
        """The same centres at another temperature."""
        return replace(self, temperature=temperature)

    def take(self, order: npt.NDArray[np.int64]) -> Centres:
        """Some of the centres, numbered in this order."""
        return replace(self, centres=self.centres[order])

    def stage(self) -> CentresModel:
        """A stage for a Spark ML pipeline."""
        return CentresModel(self)


class CentresModel(ClustersModel[Centres], MLReadable["CentresModel"]):
    """`Centres` as a stage of a Spark ML pipeline: appends cluster, distance and membership."""

    def write(self) -> MLWriter:
        """Writer of params as Spark ML metadata and of the centres as Parquet."""
        scalars = {name: getattr(self.clusters, name) for name in ("spread", "temperature", "spherical")}
        return ArraysWriter(self, {"centres": self.clusters.centres}, scalars)

    @classmethod
    def read(cls) -> MLReader[CentresModel]:
        """Reader of what `write` has written."""

        def build(arrays: dict[str, Array], extra: dict[str, Any]) -> CentresModel:
            return cls(Centres(arrays["centres"], **extra))

        return ArraysReader(build)
