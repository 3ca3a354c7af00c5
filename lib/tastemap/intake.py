"""From an opened log to the ratings that are kept, as persisted blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pandas as pd

from tastemap import cleaning, pivot, schemas
from tastemap.blocks import BlockMatrix
from tastemap.config import Config
from tastemap.errors import UserError
from tastemap.filesystem import reading
from tastemap.pseudonyms import withheld
from tastemap.runs import Run
from tastemap.sources.log import RatingLog
from tastemap.stages import Stages


@dataclass(frozen=True)
class Cleaned:
    """Ratings that are kept, persisted, and what is known of them."""

    matrix: BlockMatrix
    movies: cleaning.Movies
    years: tuple[int, ...]
    """Years since 1970 that ratings were given in, ascending."""
    counts: dict[str, int]

    @property
    def size(self) -> tuple[int, int]:
        """Users and ratings."""
        return self.counts["users"], self.counts["ratings_kept"]


@contextmanager
def cleaned(log: RatingLog, run: Run, config: Config, stages: Stages) -> Iterator[Cleaned]:
    """Ratings that are kept, as persisted blocks; what is not kept is counted and quarantined."""
    with ExitStack() as persisted:
        of_log = persisted.enter_context(ExitStack())
        with reading("the rating log"), stages("read and pivot", "ratings") as stage:
            gathered = of_log.enter_context(pivot.gathered(log))
            counts = cleaning.count(gathered.rows)
            stage.rows = counts.ratings_in
        rejects = cleaning.rejects(gathered.rows)
        if config.privacy.pseudonymise_key_file is not None:
            rejects = withheld(rejects)
        cleaning.check_rejects(counts.ratings_in, counts.rejects, rejects, config.source.max_bad_fraction)
        with stages("clean", "ratings") as stage:
            if counts.rejects:
                run.write("rejects", rejects)
            else:  # not to read all blocks for none
                run.write_small("rejects", pd.DataFrame(columns=rejects.columns), schemas.REJECTS)
            movies = cleaning.frequent_movies(gathered, config.cleaning)
            indexed = pivot.index_columns(gathered, movies.ids, config.cleaning.min_user_ratings)
            matrix = persisted.enter_context(indexed.persisted())
            users, ratings = pivot.size(matrix)
            stage.rows = ratings
        of_log.close()  # its successor is complete
        check_size(users, movies.ids.size, config)
        found = {
            "ratings_in": counts.ratings_in,
            "users_in": counts.users,
            "movies_in": movies.n_seen,
            "rejects": counts.rejects,
            "duplicates": counts.duplicates,
            "ratings_dropped": counts.ratings - ratings,
            "users_dropped": counts.users - users,
            "movies_dropped": movies.n_seen - movies.ids.size,
            "ratings_kept": ratings,
            "users": users,
            "movies": movies.ids.size,
        }
        yield Cleaned(matrix, movies, counts.years, found)


def check_size(users: int, movies: int, config: Config) -> None:
    """Refuse settings that the data are too small for.

    Raises
    ------
    UserError
        With every fault.
    """
    faults = []
    n_clusters, n_components = max(config.clustering.n_clusters), max(config.decomposition.n_components)
    if n_clusters > users:
        faults.append(
            f"--n-clusters is {n_clusters}, but only {users:,} users remain after cleaning; ask for at most "
            "that many, or lower --min-user-ratings"
        )
    if n_components > min(users, movies):
        faults.append(
            f"--n-components is {n_components}, but only {movies:,} movies and {users:,} users remain after "
            f"cleaning; ask for at most {min(users, movies):,}, or lower --min-movie-ratings"
        )
    if faults:
        raise UserError(faults)
