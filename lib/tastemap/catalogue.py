"""The movies behind the columns of the user vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from tastemap.cleaning import Movies
from tastemap.filesystem import reading
from tastemap.rows import Rows


@dataclass(frozen=True)
class Labels:
    """Genres and years that movies go by."""

    genres: tuple[str, ...]
    """In the order of the alphabet; g of them."""
    years: npt.NDArray[np.int32]
    """Ascending, of shape (y,)."""
    of_movies: sparse.csr_matrix
    """1 where a movie has a label, of shape (d, g + y): genres first, then years."""

    @property
    def of_genres(self) -> slice:
        """Columns of the genres."""
        return slice(0, len(self.genres))

    @property
    def of_years(self) -> slice:
        """Columns of the years."""
        return slice(len(self.genres), None)


@dataclass(frozen=True)
class Catalogue:
    """Ids, titles, genres and years of d movies, by column."""

    movie_ids: npt.NDArray[np.int32]
    """Ascending, of shape (d,)."""
    titles: npt.NDArray[np.object_]
    """None where not known, of shape (d,)."""
    genres: tuple[tuple[str, ...], ...]
    """Each once; empty where not known."""
    years: tuple[int | None, ...]
    """Years of release."""

    def labels(self) -> Labels:
        """What movies are grouped by in profiles."""
        genres = sorted({genre for found in self.genres for genre in found})
        years = sorted({year for year in self.years if year is not None})
        labels: list[str | int] = [*genres, *years]
        number = {label: column for column, label in enumerate(labels)}
        cells = [
            (movie, number[label])
            for movie, (found, year) in enumerate(zip(self.genres, self.years, strict=True))
            for label in (*found, *(() if year is None else (year,)))
        ]
        movies, columns = np.array(cells, dtype=np.int64).reshape(-1, 2).T
        matrix = sparse.csr_matrix(
            (np.ones(len(cells)), (movies, columns)), shape=(len(self.genres), len(number))
        )
        return Labels(tuple(genres), np.array(years, dtype=np.int32), matrix)


def describe(movie_ids: npt.NDArray[np.int32], movies: Rows | None) -> Catalogue:
    """Look up movies by id in `schemas.MOVIES`; collects a row a movie of those that are asked for."""
    titles = np.full(movie_ids.size, None, dtype=object)
    genres: list[tuple[str, ...]] = [()] * movie_ids.size
    years: list[int | None] = [None] * movie_ids.size
    if movies is not None:
        with reading("the list of movies"):
            found = list(movies.mapped(partial(_of_ids, movie_ids), movies.schema).collected())
        for row in (row for batch in found for row in batch.to_pylist()):
            column = int(np.searchsorted(movie_ids, row["movie_id"]))
            titles[column] = row["title"]
            years[column] = None if row["year"] is None else int(row["year"])  # a double by way of pandas
            genres[column] = tuple(row["genres"])
    return Catalogue(movie_ids, titles, tuple(genres), tuple(years))


def _of_ids(movie_ids: npt.NDArray[np.int32], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Executor function: the rows of these movies."""
    for batch in batches:
        yield batch.filter(pc.is_in(batch["movie_id"], value_set=pa.array(movie_ids)))


def movie_index(catalogue: Catalogue, movies: Movies) -> pd.DataFrame:
    """The `movie_index` table."""
    return pd.DataFrame(
        {
            "movie_index": np.arange(movies.ids.size, dtype=np.int32),
            "movie_id": movies.ids,
            "title": catalogue.titles,
            "n_ratings": movies.n_ratings,
            "mean_rating": movies.rating_sums / movies.n_ratings,
        }
    )
