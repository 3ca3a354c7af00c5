"""What users are compared on: their movies, their genres, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

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

from tastemap import vectors, weighting
from tastemap.blocks import Block, BlockMatrix
from tastemap.catalogue import Catalogue
from tastemap.columns import append_columns
from tastemap.config import WeightingConfig
from tastemap.errors import UserError
from tastemap.persistence import ArraysReader, ArraysWriter
from tastemap.weighting import Weighting, WeightingModel

Array = npt.NDArray[np.float64]


class Features(Protocol):
    """A fitted step from ratings to features; a user's depend on no other user. A `Weighting` is one."""

    @property
    def n_features(self) -> int:
        """Columns of the features."""
        ...

    def apply(self, ratings: sparse.csr_matrix) -> sparse.csr_matrix:
        """Features of shape (n, n_features) for ratings of shape (n, d)."""
        ...

    def stage(self) -> Model:
        """Itself as a stage of a Spark ML pipeline, `features` (ratings) to `weights`."""
        ...


@dataclass(frozen=True)
class GenreFeatures:
    """Two features a genre: how much of it a user watches, and how much better than expected it is rated.

    The share is that of the user's ratings whose movie is of the genre. The liking is the mean of their
    residuals (what movie and user effects leave), pulled towards 0 as a user effect is: a genre that a user
    never rated is liked as much as expected, no more and no less, and one rated once hardly more than that.
    Each feature is standardised; all together have length 1 on average, as a movie vector has.
    """

    effects: Weighting
    """Of kind residual, not normalized."""
    incidence: Array
    """1 where a movie is of a genre, of shape (d, g)."""
    mean: Array
    """Of shares, then likings, of shape (2 g,)."""
    scale: Array
    """Their standard deviations, 1 where that is 0, of shape (2 g,)."""
    movies: Weighting | None = None
    """Also the movies' weights, before the genres."""

    @property
    def n_features(self) -> int:
        """Two a genre, and one a movie where these count too."""
        return int(self.mean.size + (0 if self.movies is None else self.movies.movie_effects.size))

    def apply(self, ratings: sparse.csr_matrix) -> sparse.csr_matrix:
        """The features; those of genres are all stored."""
        standardised = (self.tastes(ratings) - self.mean) / (self.scale * np.sqrt(self.mean.size))
        genres = sparse.csr_matrix(standardised)
        if self.movies is None:
            return genres
        both: sparse.csr_matrix = sparse.hstack([self.movies.apply(ratings), genres], format="csr")
        return both

    def tastes(self, ratings: sparse.csr_matrix) -> Array:
        """Shares and likings as they are, of shape (n, 2 g)."""
        numbers = vectors.ones_like(ratings) @ self.incidence
        residuals = self.effects.apply(ratings) @ self.incidence
        n_ratings = np.maximum(np.diff(ratings.indptr), 1)[:, None]
        prior = max(self.effects.user_shrinkage, 1e-300)
        return np.hstack([numbers / n_ratings, residuals / (numbers + prior)])

    def stage(self) -> Model:
        """A stage of its own."""
        return GenreFeaturesModel(self)


def loading(features: Features, matrix: BlockMatrix) -> BlockMatrix:
    """A matrix of ratings, loaded as features."""
    load = matrix.load

    def of_block(block: Block) -> Block:
        return Block(block.ids, features.apply(block.matrix))

    def load_features(batch: pa.RecordBatch) -> Iterator[Block]:
        return map(of_block, load(batch))

    return replace(matrix, load=load_features, n_columns=features.n_features)


def fit(
    matrix: BlockMatrix,
    n_ratings: npt.NDArray[np.int64],
    rating_sums: Array,
    config: WeightingConfig,
    catalogue: Callable[[], Catalogue],
) -> Features:
    """Features of the kinds that are asked for; those of genres take one pass for their standard deviations.

    Parameters
    ----------
    matrix : BlockMatrix
        Ratings of shape (n, d).
    n_ratings, rating_sums : ndarray of shape (d,)
        Number and sum of each movie's ratings.
    config : WeightingConfig
        With one weighting.
    catalogue : callable
        Gives the catalogue of the d movies: asked where genres are.

    Raises
    ------
    UserError
        Genres are asked for and none are known.
    """
    movies = weighting.fit(n_ratings, rating_sums, config)
    if "genres" not in config.features:
        return movies
    labels = catalogue().labels()
    if not labels.genres:
        raise UserError(
            "--features genres: no genres are known of these movies; give --movies a file that has them, or "
            "--features movies"
        )
    of_effects = replace(config, weighting=("residual",), normalize=False)
    unit = np.ones(2 * len(labels.genres))
    raw = GenreFeatures(
        weighting.fit(n_ratings, rating_sums, of_effects),
        labels.of_movies[:, labels.of_genres].toarray(),
        0 * unit,
        unit,
        movies if "movies" in config.features else None,
    )
    mean, deviation = _moments(matrix, raw)
    return replace(raw, mean=mean, scale=np.where(deviation > 0, deviation, 1.0))


def _moments(matrix: BlockMatrix, raw: GenreFeatures) -> tuple[Array, Array]:
    """Means and standard deviations of the tastes, of shape (2 g,) each."""
    size = raw.mean.size

    def partial(blocks: Iterator[Block]) -> Sequence[Array]:
        totals = [np.zeros(size), np.zeros(size), np.zeros(1)]
        for block in blocks:
            tastes = raw.tastes(block.matrix)
            for total, part in zip(totals, (tastes.sum(0), (tastes**2).sum(0), len(tastes)), strict=True):
                total += part
        return totals

    sums, squares, n = matrix.sum_over_blocks(partial, [(size,), (size,), (1,)])
    mean = sums / max(n[0], 1)
    variance = squares / max(n[0], 1) - mean**2
    # What is the same for all differs by rounding only.
    return mean, np.sqrt(np.where(variance > 1e-12 * mean**2, variance, 0.0))


def check_size(features: Features, n_components: Sequence[int]) -> None:
    """Refuse more components than there are features.

    Raises
    ------
    UserError
        Names both.
    """
    if max(n_components) > features.n_features:
        raise UserError(
            f"--n-components is {max(n_components)}, but there are only {features.n_features} features to "
            "compare users on; ask for at most that many"
        )


def check_variance(total_variance: float) -> None:
    """Refuse users who are all alike.

    Raises
    ------
    UserError
        Their features do not vary.
    """
    if total_variance == 0:
        raise UserError(
            "all users are alike in what ratings count, so there is nothing to cluster by; where every "
            "rating is the same, --weighting rated goes by what is rated"
        )


def labelled(features: Features, catalogue: Catalogue) -> Catalogue:
    """The catalogue with what the features are called, column by column.

    Genres are numbered from −1 downwards in the place of movie ids: shares first, then likings.
    """
    if isinstance(features, Weighting):
        return catalogue
    names = catalogue.labels().genres
    titles = [f"{name}, {what}" for what in ("share of ratings", "liking") for name in names]
    ids = -1 - np.arange(len(titles), dtype=np.int32)
    genres: tuple[tuple[str, ...], ...] = ((),) * len(titles)
    years: tuple[int | None, ...] = (None,) * len(titles)
    if features.n_features > len(titles):
        ids = np.concatenate([catalogue.movie_ids, ids])
        titles = [*catalogue.titles, *titles]
        genres, years = (*catalogue.genres, *genres), (*catalogue.years, *years)
    return Catalogue(ids, np.array(titles, dtype=object), genres, years)


class GenreFeaturesModel(Model, HasInputCol, HasOutputCol, MLReadable["GenreFeaturesModel"], MLWritable):
    """`GenreFeatures` as a stage of a Spark ML pipeline: vectors of ratings to vectors of features."""

    def __init__(self, features: GenreFeatures) -> None:
        super().__init__()
        self._features = features
        self._setDefault(inputCol="features", outputCol="weights")

    @property
    def features(self) -> GenreFeatures:
        """What is applied."""
        return self._features

    def _transform(self, dataset: DataFrame) -> DataFrame:
        features = self._features

        def apply(ratings: pa.Array) -> list[pa.Array]:
            matrix = vectors.to_csr(ratings, len(features.incidence))
            return [vectors.from_csr(features.apply(matrix))]

        field = StructField(self.getOutputCol(), VectorUDT())
        return append_columns(dataset, self.getInputCol(), [field], apply)

    def write(self) -> MLWriter:
        """Writer of params as Spark ML metadata and of the arrays as Parquet."""
        features, movies = self._features, self._features.movies
        arrays = {
            "movie_effects": features.effects.movie_effects,
            "incidence": features.incidence,
            "mean": features.mean,
            "scale": features.scale,
        }
        scalars: dict[str, Any] = {
            "global_mean": features.effects.global_mean,
            "user_shrinkage": features.effects.user_shrinkage,
            "movies": None if movies is None else {"kind": movies.kind, "normalize": movies.normalize},
        }
        return ArraysWriter(self, arrays, scalars)

    @classmethod
    def read(cls) -> MLReader[GenreFeaturesModel]:
        """Reader of what `write` has written."""

        def build(arrays: dict[str, Array], extra: dict[str, Any]) -> GenreFeaturesModel:
            movies = extra.pop("movies")
            effects = Weighting("residual", False, movie_effects=arrays["movie_effects"][0], **extra)
            return cls(
                GenreFeatures(
                    effects,
                    arrays["incidence"],
                    arrays["mean"][0],
                    arrays["scale"][0],
                    None if movies is None else replace(effects, **movies),
                )
            )

        return ArraysReader(build)


def of_stage(stage: Model) -> Features:
    """What a stage of a saved pipeline applies: the inverse of `Features.stage`."""
    if isinstance(stage, WeightingModel):
        return stage.weighting
    if isinstance(stage, GenreFeaturesModel):
        return stage.features
    raise TypeError(f"a {type(stage).__name__} makes no features of ratings")
