"""The small tables of a run: clusters, components and movies, with nothing of too few people in them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from pyspark.sql.types import StructType

from tastemap import activity, catalogue, profiles, schemas
from tastemap.blocks import BlockFrame
from tastemap.catalogue import Catalogue
from tastemap.config import Config
from tastemap.executors import release_memory
from tastemap.features import labelled
from tastemap.fitting import Fit
from tastemap.intake import Cleaned
from tastemap.runs import Run
from tastemap.segmentation import ScoredBlock
from tastemap.suppression import Suppression

SCHEMAS: dict[str, StructType] = {
    "profiles": schemas.PROFILES,
    "cluster_movies": schemas.CLUSTER_MOVIES,
    "cluster_genres": schemas.CLUSTER_GENRES,
    "cluster_years": schemas.CLUSTER_YEARS,
    "components": schemas.COMPONENTS,
    "movie_index": schemas.MOVIE_INDEX,
}


@dataclass(frozen=True)
class Tables:
    """Tables by name, and how much was left out of them."""

    of: dict[str, pd.DataFrame]
    suppressed: dict[str, int]
    active: pd.DataFrame
    """Users by number of ratings, of `activity.counts`; nothing is left out."""


def describe(
    kept: Cleaned,
    scored: BlockFrame[ScoredBlock],
    fitted: Fit,
    titles: Catalogue,
    scale: tuple[float, float],
    config: Config,
) -> Tables:
    """All of `SCHEMAS`: one pass over the blocks."""
    axes = profiles.Axes(profiles.rating_bars(scale), titles.labels().of_movies, kept.years)
    reduction = fitted.reduction
    found = profiles.aggregate(scored, fitted.clusters, axes)
    active = activity.counts(found.users_by_n_ratings)
    shown = Suppression.of(found, titles, config.privacy.min_cell_users)
    of_clusters = profiles.profiles(found, axes).merge(activity.quantiles(active), on="cluster")
    of_movies = profiles.cluster_movies(found, titles, config.profiles.effect_shrinkage)
    tables = {
        "profiles": shown.profiles(of_clusters),
        "cluster_movies": shown.cluster_movies(of_movies),
        "cluster_genres": shown.cluster_genres(profiles.cluster_genres(found, titles)),
        "cluster_years": shown.cluster_years(profiles.cluster_years(found, titles)),
        "components": profiles.components(reduction.decomposition, labelled(reduction.features, titles)),
        "movie_index": shown.movie_index(catalogue.movie_index(titles, kept.movies)),
    }
    return Tables(tables, shown.counts(), active)


def write(run: Run, tables: Tables) -> None:
    """Write all of `SCHEMAS`."""
    for name, schema in SCHEMAS.items():
        run.write_small(name, tables.of[name], schema)
    release_memory()  # workers need it now
