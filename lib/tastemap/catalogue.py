"""The movies behind the columns of the user vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import sparse

from tastemap.cleaning import Movies
from tastemap.filesystem import reading


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


def describe(movie_ids: npt.NDArray[np.int32], movies: DataFrame | None) -> Catalogue:
    """Look up movies by id; collects a row a movie of those that are asked for."""
    titles = np.full(movie_ids.size, None, dtype=object)
    genres: list[tuple[str, ...]] = [()] * movie_ids.size
    years: list[int | None] = [None] * movie_ids.size
    if movies is not None:
        wanted = movies.sparkSession.createDataFrame(pd.DataFrame({"movie_id": movie_ids}), "movie_id int")
        known = movies.join(F.broadcast(wanted), "movie_id", "left_semi")
        with reading("the list of movies"):
            found = known.select("movie_id", "title", "year", "genres").collect()
        for row in found:
            column = int(np.searchsorted(movie_ids, row["movie_id"]))
            titles[column], years[column] = row["title"], row["year"]
            genres[column] = tuple(dict.fromkeys(filter(None, row["genres"] or ())))
    return Catalogue(movie_ids, titles, tuple(genres), tuple(years))


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
