"""Cells of few people, left out of what is published, and with them what they could be computed from.

A cluster × movie cell of three people tells those who know two of them about the third. Leaving it out is
not enough where a total is known: the movie's ratings minus those of the other clusters are the cell. So
in every row and column with a total, hidden cells are at least two and together of enough people; the next
smallest are hidden until they are (complementary suppression: L. H. Cox, 1980, "Suppression methodology and
statistical disclosure control", JASA 75, 370). Cells of a column are of different people, which add up; those
of a row may all be of the same, so that one of them has to be of enough. That withstands subtraction in any
one row or column; it does not withstand bounds from solving all of them at once, nor knowledge of many of the
people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from tastemap import schemas
from tastemap.catalogue import Catalogue
from tastemap.profiles import Aggregates

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_QUANTILES = dict(zip(schemas.ACTIVITY.names, (0.0, 0.25, 0.5, 0.75, 1.0), strict=True))


def hidden_cells(
    people: Array,
    minimum: int,
    *,
    rows: bool = True,
    columns: bool = True,
    also: Mask | None = None,
    in_row: int = 2,
) -> Mask:
    """Cells to hide of a table of counts of people whose totals are known.

    Whoever is in a row is in one column or in several, and in a column once.

    Parameters
    ----------
    people : ndarray of shape (k, d)
        0 where there is no cell.
    minimum : int
        Cells of fewer are hidden; of 1, none.
    rows, columns : bool
        Whether the totals of rows, and of columns, are known.
    also : ndarray of shape (k, d), optional
        Cells to hide for other reasons.
    in_row : int
        As many cells of a row at least as tell nothing together with what is known of the row.

    Returns
    -------
    ndarray of shape (k, d)
        In each row and column of known total either no cell, or at least two (`in_row`), of at least
        `minimum` people (in a row one of them), or all there are.
    """
    hidden = (people > 0) & (people < minimum)
    if also is not None:
        hidden |= also & (people > 0)
    while people.size:
        before = hidden
        if columns:
            n_hidden, of = hidden.sum(axis=0), np.where(hidden, people, 0).sum(axis=0)
            told = (n_hidden > 0) & ((n_hidden < 2) | (of < minimum))
            hidden = _hide_one_more(people.T, hidden.T, people.T > 0, told).T
        if rows:
            # A cell that is alone in its column is that column's total, and hides nothing.
            useful = (people > 0) & ((people > 0).sum(axis=0) > 1) if columns else people > 0
            n_hidden, of = hidden.sum(axis=1), np.where(hidden, people, 0).max(axis=1)
            told = (n_hidden > 0) & ((n_hidden < in_row) | (of < minimum))
            hidden = _hide_one_more(people, hidden, useful, told)
        if np.array_equal(hidden, before):
            break
    return hidden


def _hide_one_more(people: Array, hidden: Mask, may: Mask, told: Mask) -> Mask:
    """Hide the smallest cell that may be, in each row whose hidden cells would be told."""
    left = np.where(may & ~hidden, people, np.inf)
    smallest = left.argmin(axis=1)
    row = np.flatnonzero(told & np.isfinite(left.min(axis=1)))
    more = hidden.copy()
    more[row, smallest[row]] = True
    return more


@dataclass(frozen=True)
class Suppression:
    """What is not shown of k clusters, d movies, g genres, y years, and h bars and r years of ratings."""

    minimum: int
    cells: Mask
    """Cluster × movie, of shape (k, d)."""
    movies: Mask
    """Movies with too few people in all, of shape (d,)."""
    genres: Mask
    """Cluster × genre, of shape (k, g)."""
    years: Mask
    """Cluster × year of release, of shape (k, y)."""
    clusters: Mask
    """Clusters with too few people in all, of shape (k,)."""
    bars: Mask
    """Cluster × bar, of shape (k, h)."""
    rating_years: Mask
    """Cluster × year of rating, of shape (k, r)."""
    catalogue: Catalogue

    @classmethod
    def of(cls, aggregates: Aggregates, catalogue: Catalogue, minimum: int) -> Suppression:
        """Decide what is hidden; in cluster × movie a rating is a person."""
        people = aggregates.n_ratings
        movies = hidden_cells(people.sum(axis=0)[None], minimum, columns=False)[0]
        # Whose total is not told must not be told by `lift` either, which is a share of the total.
        cells = hidden_cells(people, minimum) | (movies & (people > 0))
        clusters = hidden_cells(aggregates.n_users[:, None], minimum, rows=False)[:, 0]
        labels = catalogue.labels()

        def hidden(columns: slice, rows: bool) -> Mask:
            """Of cluster × label: what is of few people, or tells a cell, a movie's or a cluster's total."""
            of_label, users = labels.of_movies[:, columns], aggregates.label_users[:, columns]
            told = _told(cells, people, of_label, minimum)
            # Shares and lifts tell the label's own total.
            told |= _told(movies[None], people.sum(axis=0)[None], of_label, minimum)
            return hidden_cells(users, minimum, rows=rows, also=told | clusters[:, None])

        return cls(
            minimum,
            cells,
            movies,
            # A movie has several genres, whose cells do not add up to the cluster, but one year.
            hidden(labels.of_genres, rows=False),
            hidden(labels.of_years, rows=True),
            clusters,
            # Of a row of bars the number of ratings and their mean are told: two bars would be solved for.
            hidden_cells(aggregates.bar_users, minimum, columns=False, in_row=3),
            hidden_cells(aggregates.year_users, minimum, columns=False),
            catalogue,
        )

    def counts(self) -> dict[str, int]:
        """How much is hidden."""
        return {
            "movie_cells_suppressed": int(self.cells.sum()),
            "genre_cells_suppressed": int(self.genres.sum()),
            "year_cells_suppressed": int(self.years.sum()),
            "clusters_suppressed": int(self.clusters.sum()),
            "movies_suppressed": int(self.movies.sum()),
        }

    def cluster_movies(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table without hidden cells, ranked anew: gaps would tell the rank of what is not there."""
        column = np.searchsorted(self.catalogue.movie_ids, table["movie_id"])
        shown = table[~self.cells[table["cluster"], column]].reset_index(drop=True)
        return shown.assign(rank=(shown.groupby("cluster").cumcount() + 1).astype(np.int32))

    def cluster_genres(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table without hidden cells."""
        names = np.array(self.catalogue.labels().genres, dtype=object)
        column = np.searchsorted(names, table["genre"])
        return table[~self.genres[table["cluster"], column]].reset_index(drop=True)

    def cluster_years(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table without hidden cells."""
        column = np.searchsorted(self.catalogue.labels().years, table["year"])
        return table[~self.years[table["cluster"], column]].reset_index(drop=True)

    def movie_index(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table without numbers for hidden movies; the rows are needed to read vectors by."""
        mean = table["mean_rating"].mask(self.movies)
        return table.assign(n_ratings=table["n_ratings"].astype("Int64").mask(self.movies), mean_rating=mean)

    def profiles(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table, of hidden clusters with their size only, of the others without telling single people.

        Bars of few people are null, and so are quantiles that fewer than `minimum` people lie beyond:
        the least and the largest number of ratings are those of one person.
        """
        numbers = table["cluster"].to_numpy()
        hidden = self.clusters[numbers]
        changed: dict[str, Any] = {"n_ratings": table["n_ratings"].astype("Int64").mask(hidden)}
        for name in ("mean_rating", "mean_distance", "mean_membership"):
            changed[name] = table[name].mask(hidden)
        for name, gone in (("rating_histogram", self.bars), ("rating_years", self.rating_years)):
            changed[name] = [
                None if self.clusters[number] else _without(bars, gone[number])
                for number, bars in zip(numbers, table[name], strict=True)
            ]
        changed["activity"] = [
            None if self.clusters[number] else self._safe(quantiles, n_users)
            for number, quantiles, n_users in zip(numbers, table["activity"], table["n_users"], strict=True)
        ]
        return table.assign(**changed)

    def _safe(self, quantiles: dict[str, int], n_users: int) -> dict[str, int | None]:
        beyond = {name: max(1, int(min(at, 1 - at) * n_users)) for name, at in _QUANTILES.items()}
        return {name: value if beyond[name] >= self.minimum else None for name, value in quantiles.items()}


def _told(hidden: Mask, n_ratings: Array, of_label: sparse.csr_matrix, minimum: int) -> Mask:
    """Labels, of each row, whose number of ratings tells what is hidden of their movies.

    Hidden movies count by their ratings: how many people they are of together is not known.
    """
    n_hidden = np.asarray(hidden.astype(np.float64) @ of_label)
    ratings_hidden = np.asarray(np.where(hidden, n_ratings, 0) @ of_label)
    return (n_hidden > 0) & ((n_hidden < 2) | (ratings_hidden < minimum))


def _without(bars: list[dict[str, Any]], hidden: Mask) -> list[dict[str, Any]]:
    return [{**bar, "n_ratings": None} if gone else bar for bar, gone in zip(bars, hidden, strict=True)]
