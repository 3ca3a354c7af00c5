"""Contents of a report about a small audience whose segments are planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from tastemap import profiles
from tastemap.blocks import Block
from tastemap.catalogue import Catalogue
from tastemap.clustering.centres import Centres
from tastemap.config import Config
from tastemap.decomposition.principal import Decomposition
from tastemap.profiles import Aggregates, Axes
from tastemap.report import embedding, page, sample
from tastemap.report.content import Content, Members, People, Sample
from tastemap.segmentation import Projection, Segmentation, score_block
from tastemap.weighting import Weighting

GENRES = ("Comedy", "Horror", "Romance", "War")
DECADES = (1980, 1990, 2000, 2010)
PER_GENRE = 15
K, M = len(GENRES), 5
D = K * PER_GENRE
MOVIE_IDS = np.arange(1, D + 1, dtype=np.int32) * 3
FIRST_USER = 9_000_000_001
"""Ids that no other number on the page can be taken for."""
COUNTS = ("ratings_in", "users_in", "movies_in", "rejects", "duplicates", "ratings_dropped", "users_dropped")


def catalogue() -> Catalogue:
    """Fifteen movies of each genre, which all are of one decade; some have no title."""
    names = [f"{GENRES[movie // PER_GENRE]} Story {movie % PER_GENRE + 1}, The" for movie in range(D)]
    names[0] = '<b>Comedy</b> & "Quotes", A </script> (a.k.a. Markup)'
    names[1] = "The Comedy with a Title so Long that it has to be Cut Somewhere Sensible: Part the Second"
    titles = np.array([None if movie % 20 == 19 else name for movie, name in enumerate(names)], dtype=object)
    return Catalogue(
        MOVIE_IDS,
        titles,
        tuple((GENRES[movie // PER_GENRE],) for movie in range(D)),
        tuple(DECADES[movie // PER_GENRE] + movie % 10 for movie in range(D)),
    )


def ratings(n_users: int = 240, seed: int = 4) -> sparse.csr_matrix:
    """Half stars of n users; user i rates many movies of genre i mod 4, and likes them, and few others."""
    rng = np.random.default_rng(seed)
    own = np.arange(n_users)[:, None] % K == np.arange(D)[None, :] // PER_GENRE
    rated = rng.random((n_users, D)) < np.where(own, 0.8, 0.3)
    stars = np.clip(np.round(2 * rng.normal(np.where(own, 4.2, 2.8), 0.7)) / 2, 0.5, 5)
    return sparse.csr_matrix(np.where(rated, stars, 0.0).astype(np.float32))


def content(
    *,
    user_ids: bool = False,
    genres: bool = True,
    n_users: int = 240,
    evaluation: pd.DataFrame | None = None,
    **counts: int,
) -> Content:
    """What a run over these ratings would show."""
    known = catalogue()
    if not genres:
        known = Catalogue(MOVIE_IDS, known.titles, ((),) * D, (None,) * D)
    stars = ratings(n_users)
    # People of the later segments came later.
    years = 30 + np.arange(stars.nnz) % 3 + np.repeat(np.arange(n_users) % K, np.diff(stars.indptr))
    block = Block(FIRST_USER + np.arange(n_users), stars, years.astype(np.int16))
    segments = segmentation(block)
    axes = Axes(profiles.rating_bars((0.5, 5.0)), known.labels().of_movies, tuple(range(30, 36)))
    aggregates = Aggregates(*profiles.aggregate_block(block, segments.assign(block.matrix), axes))
    movies = profiles.cluster_movies(aggregates, known, 25.0)
    shown = sample.people(score_block(block, segments.projection))
    people = sample.assigned(shown, segments.model).table
    of_activity = (
        people.groupby("cluster")["n_ratings"].quantile([0, 0.25, 0.5, 0.75, 1]).unstack().astype(int)
    )
    activity = [
        dict(zip(("min", "q25", "median", "q75", "max"), row, strict=True)) for row in of_activity.to_numpy()
    ]
    return Content(
        manifest=manifest(n_users, block.matrix.nnz, counts),
        rejects=pd.DataFrame({"reason": ["rating off the scale", "no user id"], "n": [12, 3]}),
        profiles=profiles.profiles(aggregates, axes).assign(activity=activity),
        movies=movies,
        genres=profiles.cluster_genres(aggregates, known),
        years=profiles.cluster_years(aggregates, known),
        components=profiles.components(decomposition(segments), known),
        sample=Sample(
            People(people, shown.scores),
            tuple(members(cluster, movies, people, block) for cluster in range(K)),
            bars_of_activity(people),
        ),
        neighbours=embedding.neighbours(shown.scores, seed=7),
        evaluation=evaluation,
        user_ids=user_ids,
    )


def segmentation(block: Block) -> Segmentation:
    """Components by SVD of the stars, and the means of the planted groups for centres."""
    dense = block.matrix.toarray().astype(np.float64)
    components = np.linalg.svd(dense - dense.mean(axis=0), full_matrices=False)[2][:M].T
    projection = Projection(
        Weighting("stars", False, 0.0, np.zeros(D), 0.0), components, dense.mean(axis=0) @ components
    )
    scores = projection.scores(block.matrix)
    group = np.arange(len(scores)) % K
    return Segmentation(
        projection, Centres(np.array([scores[group == c].mean(axis=0) for c in range(K)]), 9.0)
    )


def decomposition(segments: Segmentation) -> Decomposition:
    """The components with made-up variances."""
    variance = np.arange(M, 0, -1.0)
    return Decomposition(
        segments.projection.components, np.zeros(D), variance, variance / 1e3, 40.0, 240, 4, 1e-3, True
    )


def members(cluster: int, movies: pd.DataFrame, people: pd.DataFrame, block: Block) -> Members:
    """Chosen members as `sample` would choose them, by pandas."""
    shown = sample.movies_to_show(movies, cluster)
    own = people[people["cluster"] == cluster]
    active = own.sort_values(["n_ratings", "user_id"], ascending=[False, True]).head(sample.N_ACTIVE)
    dense = block.matrix.toarray().astype(np.float64)
    stars = np.where(dense == 0, np.nan, dense)[:, np.searchsorted(MOVIE_IDS, shown)]

    def of(some: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
        return some[["user_id", "n_ratings"]].reset_index(drop=True), stars[some["user_id"] - FIRST_USER]

    return Members(cluster, shown, min(sample.N_MOST_RATED, shown.size), *of(active), *of(own.head(3)))


def bars_of_activity(people: pd.DataFrame) -> pd.DataFrame:
    low = 2 ** (np.floor(2 * np.log2(people["n_ratings"])) / 2)
    return people.assign(low=low).groupby(["cluster", "low"]).size().rename("n_users").reset_index()


def manifest(n_users: int, n_ratings: int, counts: dict[str, int]) -> dict[str, Any]:
    stages = ("open", "read and pivot", "clean", "cluster", "assign")
    return {
        "started": "2026-03-04T05:06:07+00:00",
        "inputs": {"form": "movielens", "files": 2, "bytes": 123_456_789, "scale": [0.5, 5.0], "skipped": []},
        "counts": {
            **dict.fromkeys(COUNTS, 0),
            "movies_dropped": 1234,
            "ratings_kept": n_ratings,
            "users": n_users,
            "movies": D,
            **counts,
        },
        "stages": [{"name": name, "seconds": 1.25, "rows": 4321, "unit": "rows"} for name in stages],
        "config": Config().as_dict(),
        "metrics": {},
    }


def drawn(content: Content) -> page.Drawn:
    """All figures of it."""
    return page.draw(content)
