"""What a rating counts in the vectors that are compared: four weightings of a user's ratings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.ml import Model
from pyspark.ml.linalg import VectorUDT
from pyspark.ml.param.shared import HasInputCol, HasOutputCol
from pyspark.ml.util import MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import DataFrame
from pyspark.sql.types import StructField
from scipy import sparse

from tastemap import vectors
from tastemap.columns import append_columns
from tastemap.config import WeightingConfig
from tastemap.persistence import ArraysReader, ArraysWriter

Array = npt.NDArray[np.float64]

VALUES = 1 << 17
"""Ratings that are weighed at a time: what it takes beside the weights, 16 bytes each, stays in the cache."""
ROUNDING = 1e-9
"""Vectors that are shorter are zeros but for rounding: of length 1 they would be noise for taste."""


@dataclass(frozen=True)
class Weighting:
    """Weights of ratings; a user's depend on no other user once this is fitted.

    residual
        r − μ − b_m − b_u with b_m = Σ(r − μ) / (n_m + λ_m) over the movie's ratings and
        b_u = Σ(r − μ − b_m) / (n_u + λ_u) over the user's: what taste adds to quality and mood
        (baseline predictors of Koren 2008, fitted one after the other).
    centered
        r minus the user's mean.
    stars
        r; movies that are not rated count 0.
    rated
        1.
    """

    kind: str
    normalize: bool
    """Whether each user's vector is scaled to length 1; one of zeros stays."""
    global_mean: float
    movie_effects: Array
    """b_m, of shape (d,)."""
    user_shrinkage: float
    """λ_u, in ratings."""

    def apply(self, ratings: sparse.csr_matrix) -> sparse.csr_matrix:
        """Weights in float64 for ratings of shape (n, d); the pattern of what is stored stays.

        It runs in every pass over the data, so it is written to read each value few times, and to take little
        memory beside the weights.
        """
        weights = np.empty(ratings.nnz)
        for rows, values in vectors.runs(ratings, values=VALUES):
            weights[values] = self._of_users(vectors.run_of(ratings, rows, values))
        return vectors.csr(weights, ratings.indices, ratings.indptr, ratings.shape[1])

    @property
    def n_features(self) -> int:
        """One a movie."""
        return int(self.movie_effects.size)

    def stage(self) -> Model:
        """Itself as a stage of a Spark ML pipeline."""
        return WeightingModel(self)

    def user_effects(self, ratings: sparse.csr_matrix) -> Array:
        """b_u of the users with ratings of shape (n, d), of shape (n,); 0 of those without."""
        return _row_means(self._without_movies(ratings), ratings, self.user_shrinkage)

    def _without_movies(self, ratings: sparse.csr_matrix) -> Array:
        expected: Array = (self.global_mean + self.movie_effects)[ratings.indices]
        np.subtract(ratings.data, expected, out=expected)  # in place: a block has millions
        return expected

    def _of_users(self, ratings: sparse.csr_matrix) -> Array:
        weights = self._weights(ratings)
        if self.normalize:
            lengths = np.sqrt(vectors.row_sums(weights * weights, ratings))
            scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > ROUNDING)
            weights *= _spread(scale, ratings)
        return weights

    def _weights(self, ratings: sparse.csr_matrix) -> Array:
        if self.kind == "rated":
            return np.ones(ratings.nnz)
        if self.kind == "stars":
            return ratings.data.astype(np.float64)
        if self.kind == "centered":
            weights, prior = ratings.data.astype(np.float64), 0.0
        else:
            weights, prior = self._without_movies(ratings), self.user_shrinkage
        weights -= _spread(_row_means(weights, ratings, prior), ratings)
        return weights


def fit(n_ratings: npt.NDArray[np.int64], rating_sums: Array, config: WeightingConfig) -> Weighting:
    """Weighting from the number and the sum of the ratings of each movie, of shape (d,) each; one kind."""
    mean = float(rating_sums.sum() / max(n_ratings.sum(), 1))
    denominators = np.maximum(n_ratings + config.movie_shrinkage, 1e-300)
    effects = (rating_sums - n_ratings * mean) / denominators
    (kind,) = config.weighting
    return Weighting(kind, config.normalize, mean, effects, config.user_shrinkage)


def _row_means(values: Array, pattern: sparse.csr_matrix, prior: float) -> Array:
    """Means over the rows, shrunk towards 0 by so many values of 0; 0 for empty rows."""
    sums, counts = vectors.row_sums(values, pattern), np.diff(pattern.indptr)
    means: Array = np.divide(sums, counts + prior, out=np.zeros_like(sums), where=counts > 0)
    return means


def _spread(row_values: npt.NDArray[Any], pattern: sparse.csr_matrix) -> npt.NDArray[Any]:
    """A value a row, repeated for each of the row's stored values."""
    return np.repeat(row_values, np.diff(pattern.indptr))


class WeightingModel(Model, HasInputCol, HasOutputCol, MLReadable["WeightingModel"], MLWritable):
    """A `Weighting` as a stage of a Spark ML pipeline: vectors of ratings to vectors of weights."""

    def __init__(self, weighting: Weighting) -> None:
        super().__init__()
        self._weighting = weighting
        self._setDefault(inputCol="features", outputCol="weights")

    @property
    def weighting(self) -> Weighting:
        """What is applied."""
        return self._weighting

    def _transform(self, dataset: DataFrame) -> DataFrame:
        weighting = self._weighting

        def weights(features: pa.Array) -> list[pa.Array]:
            ratings = vectors.to_csr(features, weighting.movie_effects.size)
            return [vectors.from_csr(weighting.apply(ratings))]

        return append_columns(
            dataset, self.getInputCol(), [StructField(self.getOutputCol(), VectorUDT())], weights
        )

    def write(self) -> MLWriter:
        """Writer of params as Spark ML metadata and of the effects as Parquet."""
        scalars = {
            name: getattr(self._weighting, name)
            for name in ("kind", "normalize", "global_mean", "user_shrinkage")
        }
        return ArraysWriter(self, {"movie_effects": self._weighting.movie_effects}, scalars)

    @classmethod
    def read(cls) -> MLReader[WeightingModel]:
        """Reader of what `write` has written."""

        def build(arrays: dict[str, Array], extra: dict[str, Any]) -> WeightingModel:
            return cls(Weighting(movie_effects=arrays["movie_effects"][0], **extra))

        return ArraysReader(build)
