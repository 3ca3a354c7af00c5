"""What tells each segment apart: a name, and the lines of its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tastemap.report.content import Content, Members
from tastemap.report.titles import plain, readable, shortened

N_LINES = 5
"""Movies under each heading of a card."""
MIN_SHARE = 0.05
"""A genre or decade that fewer of the ratings go to does not make a segment's name."""
MIN_LIFT = 1.1
NAME_WIDTH = 40
"""Characters of a movie's title in a name."""
N_LOVED = 3
"""Movies named of a typical member."""

Movie = Mapping[Any, Any]
"""A row of `cluster_movies`."""


@dataclass(frozen=True)
class Line:
    """One movie or genre on a card."""

    label: str
    title: str
    """In full."""
    value: float
    low: float
    high: float
    """95 % interval."""
    share: float
    """Of the segment's people who rated it."""


@dataclass(frozen=True)
class Typical:
    """A member near the centre, without an id unless ids are asked for."""

    label: str
    n_ratings: int
    loved: tuple[str, ...]
    """Titles of the movies rated best, of those the segment is known by."""


@dataclass(frozen=True)
class Card:
    """One segment."""

    cluster: int
    name: str
    n_users: int
    share: float
    n_ratings: int | None
    """None, as the next three, where it would tell of too few people."""
    mean_rating: float | None
    membership: float | None
    median_activity: int | None
    watch_more: tuple[Line, ...]
    """Lifts whose interval is above 1, the most telling first: the largest share · log(lower end)."""
    love_more: tuple[Line, ...]
    """Effects whose interval is above 0, the largest first."""
    like_less: tuple[Line, ...]
    """Effects whose interval is below 0, the lowest first."""
    typical: tuple[Typical, ...]


def cards(content: Content) -> list[Card]:
    """A card a segment, by number."""
    named = names(content)
    profiles = {row["cluster"]: row for row in content.profiles.to_dict("records")}
    result = []
    members = {one.cluster: one for one in content.sample.members}
    for cluster in content.clusters:
        row: Mapping[Any, Any] = profiles[cluster]
        movies = content.movies[content.movies["cluster"] == cluster]
        chosen = members.get(cluster)
        result.append(
            Card(
                cluster=cluster,
                name=named[cluster],
                n_users=int(row["n_users"]),
                share=float(row["share"]),
                n_ratings=None if pd.isna(row["n_ratings"]) else int(row["n_ratings"]),
                mean_rating=None if pd.isna(row["mean_rating"]) else float(row["mean_rating"]),
                membership=None if pd.isna(row["mean_membership"]) else float(row["mean_membership"]),
                median_activity=(row["activity"] or {}).get("median"),
                watch_more=_lines(_watched_more(movies), "lift"),
                love_more=_lines(_loved_more(movies), "effect"),
                like_less=_lines(movies[movies["effect_high"] < 0].sort_values("effect"), "effect"),
                typical=() if chosen is None else _typical(chosen, movies, content.user_ids),
            )
        )
    return result


def names(content: Content) -> dict[int, str]:
    """A short name for each segment: genres and decade, then a movie that no other name has.

    Genres and decades are those with the largest p · log(lift), p being their share of the segment's ratings:
    what they add to the Kullback-Leibler divergence of its ratings from everybody's.
    """
    result: dict[int, str] = {}
    taken: set[int] = set()
    decades = by_decade(content.years)
    for cluster in content.clusters:
        genres = distinctive(content.genres[content.genres["cluster"] == cluster], "genre")[:2]
        decade = distinctive(decades[decades["cluster"] == cluster], "decade")[:1]
        words = [" and ".join(genres), *(f"{first}s" for first in decade)]
        movies = content.movies[content.movies["cluster"] == cluster]
        movie = _signature(movies, taken)
        if movie is not None:
            taken.add(movie["movie_id"])
            words.append(shortened(label(movie), NAME_WIDTH))
        result[cluster] = ", ".join(word for word in words if word) or "No common taste"
    return result


def distinctive(table: pd.DataFrame, column: str) -> list[str]:
    """What a segment rates more often than everybody, the most telling first."""
    some = table[(table["share"] >= MIN_SHARE) & (table["lift"] >= MIN_LIFT)]
    telling = some["share"] * np.log(some["lift"])
    return [str(found) for found in some.loc[telling.sort_values(ascending=False).index, column]]


def by_decade(years: pd.DataFrame) -> pd.DataFrame:
    """`cluster_years` by decade: columns cluster, decade, share, lift."""
    shares = years.assign(decade=years["year"] // 10 * 10, everybody=years["share"] / years["lift"])
    # Everybody's share of a year is the same in every cluster, but a cluster may lack the year.
    everybody = shares.drop_duplicates("year").groupby("decade")["everybody"].sum()
    result = shares.groupby(["cluster", "decade"])["share"].sum().reset_index()
    result["lift"] = result["share"] / result["decade"].map(everybody)
    return result


def label(movie: Movie) -> str:
    """Title of a movie as people say it, or its number."""
    return f"movie {movie['movie_id']}" if pd.isna(movie["title"]) else plain(str(movie["title"]))


def in_full(movie: Movie) -> str:
    """Title of a movie with all its names, or its number."""
    return label(movie) if pd.isna(movie["title"]) else readable(str(movie["title"]))


def _signature(movies: pd.DataFrame, taken: set[int]) -> Movie | None:
    """The movie a segment goes by: loved and watched more for sure, else watched more, else the first.

    None that is liked less for sure: to watch it is not what unites them.
    """
    free = movies[~movies["movie_id"].isin(taken) & (movies["effect_high"] >= 0)].sort_values("rank")
    both = free[(free["effect_low"] > 0) & (free["lift_low"] > 1)]
    telling = both["effect"] * both["share_rated"] * np.log(both["lift_low"])
    both = both.iloc[np.argsort(-telling.to_numpy(), kind="stable")]
    for some in (both, _watched_more(free), free):
        for movie in _records(some.head(1)):
            return movie
    return None


def _watched_more(movies: pd.DataFrame) -> pd.DataFrame:
    sure: pd.DataFrame = movies[movies["lift_low"] > 1]
    telling = (sure["share_rated"] * np.log(sure["lift_low"])).to_numpy()
    return sure.iloc[np.argsort(-telling, kind="stable")]


def _loved_more(movies: pd.DataFrame) -> pd.DataFrame:
    return movies[movies["effect_low"] > 0].sort_values("effect", ascending=False, kind="stable")


def _lines(movies: pd.DataFrame, column: str) -> tuple[Line, ...]:
    return tuple(
        Line(
            label=label(movie),
            title=in_full(movie),
            value=movie[column],
            low=movie[f"{column}_low"],
            high=movie[f"{column}_high"],
            share=movie["share_rated"],
        )
        for movie in _records(movies.head(N_LINES))
    )


def _typical(members: Members, movies: pd.DataFrame, user_ids: bool) -> tuple[Typical, ...]:
    known = movies.set_index("movie_id").loc[members.movie_ids].reset_index()
    lift = known["lift"].to_numpy()
    result = []
    for place, (row, stars) in enumerate(
        zip(_records(members.typical), members.typical_ratings, strict=True), start=1
    ):
        rated = np.flatnonzero(~np.isnan(stars))
        best = rated[np.lexsort((-lift[rated], -stars[rated]))][:N_LOVED]
        name = f"user {row['user_id']}" if user_ids else f"Member {place}"
        titles = tuple(label(movie) for movie in _records(known.iloc[best]))
        result.append(Typical(name, row["n_ratings"], titles))
    return tuple(result)


def _records(table: pd.DataFrame) -> list[Movie]:
    return list(table.to_dict("records"))
