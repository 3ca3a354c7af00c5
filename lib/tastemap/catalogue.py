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


@dataclass(frozen=True)
class Catalogue:
    """Ids, titles and genres of d movies, by column."""

    movie_ids: npt.NDArray[np.int32]
    """Ascending, of shape (d,)."""
    titles: npt.NDArray[np.object_]
    """None where not known, of shape (d,)."""
    genres: tuple[tuple[str, ...], ...]
    """Each once; empty where not known."""

    def incidence(self) -> tuple[list[str], sparse.csr_matrix]:
        """Names of the g genres, in order, and 1 where a movie is of a genre, of shape (d, g)."""
        names = sorted({genre for genres in self.genres for genre in genres})
        number = {name: position for position, name in enumerate(names)}
        movie = np.repeat(np.arange(len(self.genres)), [len(genres) for genres in self.genres])
        genre = np.array([number[name] for genres in self.genres for name in genres], dtype=np.int64)
        shape = (len(self.genres), len(names))
        return names, sparse.csr_matrix((np.ones(movie.size), (movie, genre)), shape=shape)


def describe(movie_ids: npt.NDArray[np.int32], movies: DataFrame | None) -> Catalogue:
    """Look up movies by id; collects a row a movie of those that are asked for."""
    titles = np.full(movie_ids.size, None, dtype=object)
    genres: list[tuple[str, ...]] = [()] * movie_ids.size
    if movies is not None:
        wanted = movies.sparkSession.createDataFrame(pd.DataFrame({"movie_id": movie_ids}), "movie_id int")
        known = movies.join(F.broadcast(wanted), "movie_id", "left_semi").select(
            "movie_id", "title", "genres"
        )
        for row in known.collect():
            column = int(np.searchsorted(movie_ids, row["movie_id"]))
            titles[column] = row["title"]
            genres[column] = tuple(dict.fromkeys(filter(None, row["genres"] or ())))
    return Catalogue(movie_ids, titles, tuple(genres))


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
