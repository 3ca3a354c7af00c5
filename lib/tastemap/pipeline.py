"""The whole flow, from a raw rating log to a finished run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tastemap import catalogue, cleaning, pivot, profiles, schemas, segmentation, warm_start
from tastemap.blocks import STORAGE, BlockMatrix
from tastemap.catalogue import Catalogue
from tastemap.clustering import algorithms
from tastemap.clustering.estimation import Clustering
from tastemap.config import Config
from tastemap.decomposition.krylov import Progress
from tastemap.decomposition.pca import PCA
from tastemap.decomposition.principal import Decomposition, decompose
from tastemap.errors import UserError
from tastemap.evaluation.choice import Choice, choose
from tastemap.evaluation.evaluate import evaluate, hold_out
from tastemap.features import Features, labelled, loading
from tastemap.features import check_size as check_features
from tastemap.features import fit as fit_features
from tastemap.pseudonyms import Pseudonyms, check_distinct, user_table, withheld
from tastemap.report import sample, writing
from tastemap.runs import Run
from tastemap.segmentation import Projection, Segmentation
from tastemap.sources import open_log
from tastemap.stages import Stages
from tastemap.suppression import Suppression
from tastemap.warm_start import Continuation

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a run tells on the terminal."""

    output: str
    manifest: dict[str, Any]
    profiles: pd.DataFrame
    cluster_movies: pd.DataFrame
    choice: Choice


@dataclass(frozen=True)
class Cleaned:
    """Ratings that are kept, persisted, and what is known of them."""

    matrix: BlockMatrix
    movies: cleaning.Movies
    counts: dict[str, int]


def cluster_users(
    spark: SparkSession,
    ratings: Sequence[str],
    output: str,
    config: Config,
    *,
    movies: str | None = None,
    overwrite: bool = False,
) -> Result:
    """Turn a rating log into clusters of users and their profiles.

    Parameters
    ----------
    spark : SparkSession
    ratings : sequence of str
        Files, directories and globs of one rating log.
    output : str
        Directory for the tables, the model and `run.json`.
    config : Config
    movies : str, optional
        Titles and genres; default: found beside the ratings.
    overwrite : bool
        Whether an earlier run in `output` may be replaced.

    Raises
    ------
    UserError
        The log, the options or the output cannot be used; nothing has been changed then.
    """
    check_one(config)
    key_file = config.privacy.pseudonymise_key_file
    pseudonyms = None if key_file is None else Pseudonyms.read(key_file)
    report = writing.wanted(config.report)
    stages = Stages(spark)
    with Run(spark, output, overwrite=overwrite) as run:
        with stages("open", "bytes") as stage:
            rating_log = open_log(spark, ratings, config.source, movies)
            stage.rows = rating_log.n_bytes
        directory = config.clustering.warm_start
        earlier = None if directory is None else warm_start.load(spark, directory, config)
        with cleaned(pivot.gather(rating_log), run, config, stages) as kept:
            matrix, counts = kept.matrix, kept.counts
            with stages("write user vectors", "users") as stage:
                run.write("user_vectors", user_table(pivot.user_vectors, matrix, pseudonyms))
                stage.rows = counts["users"]
            titles = catalogue.describe(kept.movies.ids, rating_log.movies)
            choice = choose_clusters(kept, titles, run, config, stages)
            features = fit_features(
                matrix, kept.movies.n_ratings, kept.movies.rating_sums, config.weighting, titles
            )
            check_features(features, config.decomposition.n_components)
            with stages("principal components", "passes") as stage:
                passes: list[Progress] = []

                def passed(one: Progress) -> None:
                    passes.append(one)
                    stage.rows = one.passes

                decomposition = principal_components(matrix, features, run, config, passed)
                stage.rows = decomposition.passes
            projection = Projection.of(features, decomposition)
            with stages("cluster", "clusters") as stage:
                scores = segmentation.scores(matrix, projection, counts["users"])
                settings, seed, continuation = config.clustering, config.run.seed, None
                if earlier is None:
                    clustering = algorithms.fit(scores, choice.n_clusters, settings, seed)
                else:
                    clustering, continuation = warm_start.fit(
                        earlier, matrix, kept.movies.ids, projection, scores, choice.n_clusters, config
                    )
                stage.rows = len(clustering.sizes)
            clusters = clustering.model
            if choice.temperature is not None:
                clusters = clusters.tempered(choice.temperature)
            segments = Segmentation(projection, clusters)
            with stages("assign", "users") as stage:
                assign = partial(segmentation.assignments, segmentation=segments)
                run.write("assignments", user_table(assign, matrix, pseudonyms))
                if pseudonyms is not None:
                    check_distinct(run.read("assignments"), counts["users"])
                if config.clustering.memberships:
                    belong = partial(segmentation.memberships, segmentation=segments)
                    run.write("memberships", user_table(belong, matrix, pseudonyms))
                stage.rows = counts["users"]
            with stages("profile", "cells") as stage:
                bars = profiles.rating_bars(rating_log.scale)
                aggregates = profiles.aggregate(matrix, segments, bars, titles.labels().of_movies)
                shown = Suppression.of(aggregates, titles, config.privacy.min_cell_users)
                counts |= shown.counts()
                table = profiles.profiles(aggregates, bars).merge(
                    activity(run.read("assignments")), on="cluster"
                )
                table = shown.profiles(table)
                movie_table = profiles.cluster_movies(aggregates, titles, config.profiles.effect_shrinkage)
                movie_table = shown.cluster_movies(movie_table)
                genre_table = shown.cluster_genres(profiles.cluster_genres(aggregates, titles))
                year_table = shown.cluster_years(profiles.cluster_years(aggregates, titles))
                stage.rows = len(movie_table)
            if report:
                with stages("sample for the report", "users") as stage:
                    sampled = sample.take(
                        matrix,
                        segments,
                        run.read("assignments"),
                        movie_table,
                        titles.movie_ids,
                        config.run.seed,
                    )
                    stage.rows = len(sampled.people.table)
        with stages("write results", "tables") as stage:
            small = {
                "profiles": (table, schemas.PROFILES),
                "cluster_movies": (movie_table, schemas.CLUSTER_MOVIES),
                "cluster_genres": (genre_table, schemas.CLUSTER_GENRES),
                "cluster_years": (year_table, schemas.CLUSTER_YEARS),
                "components": (
                    profiles.components(decomposition, labelled(features, titles)),
                    schemas.COMPONENTS,
                ),
                "movie_index": (
                    shown.movie_index(catalogue.movie_index(titles, kept.movies)),
                    schemas.MOVIE_INDEX,
                ),
            }
            for name, (rows, schema) in small.items():
                run.write_small(name, rows, schema)
            run.write_model("model", segmentation.pipeline_model(features, decomposition, clusters))
            stage.rows = len(small)
        manifest = {
            "inputs": rating_log.describe(),
            "counts": counts,
            "stages": stages.record(),
            "config": config.as_dict(),
            "metrics": metrics(decomposition, passes, clustering, choice, continuation),
        }
        if report:
            with stages("report", "bytes") as stage:
                tables = {name: rows for name, (rows, _) in small.items()}
                stage.rows = writing.write(run, sampled, tables, manifest, config.report)
            manifest["stages"] = stages.record()
        run.finish(manifest)
    return Result(run.output, manifest, table, movie_table, choice)


def check_one(config: Config) -> None:
    """Refuse several values where one run has one.

    Raises
    ------
    UserError
        With every fault.
    """
    several = {"--weighting": config.weighting.weighting, "--n-components": config.decomposition.n_components}
    faults = [
        f"{flag} names {len(values)} values, {', '.join(map(str, values))}; clusters are made with one: give "
        "one, and compare several with jobs/evaluate_clusters.py"
        for flag, values in several.items()
        if len(values) > 1
    ]
    if faults:
        raise UserError(faults)


def choose_clusters(kept: Cleaned, titles: Catalogue, run: Run, config: Config, stages: Stages) -> Choice:
    """The number of clusters that is asked for, or of several the one that earns it, with what speaks for it.

    To choose, every number is fitted without some of the ratings and judged by them; the tables `evaluation`
    and `cluster_stability` hold the whole curve. The clusters themselves are then fitted on all ratings.
    """
    if len(config.clustering.n_clusters) == 1:
        return Choice(config.clustering.n_clusters[0], reason="as asked for")
    with stages("choose clusters", "numbers") as stage:
        data = hold_out(kept.matrix, titles, kept.counts["users"], config)
        found = evaluate(data, config)
        run.write_small("evaluation", found.figures, schemas.EVALUATION)
        run.write_small("cluster_stability", found.clusters, schemas.CLUSTER_STABILITY)
        stage.rows = len(config.clustering.n_clusters)
    return choose(found.figures)


@contextmanager
def cleaned(gathered: BlockMatrix, run: Run, config: Config, stages: Stages) -> Iterator[Cleaned]:
    """Ratings that are kept, as persisted blocks; what is not kept is counted and quarantined."""
    with ExitStack() as persisted:
        gathered.frame.persist(STORAGE)
        persisted.callback(gathered.frame.unpersist)
        with stages("read and pivot", "ratings") as stage:
            counts = cleaning.count(gathered.frame)
            stage.rows = counts.ratings_in
        rejects = cleaning.rejects(gathered.frame)
        if config.privacy.pseudonymise_key_file is not None:
            rejects = withheld(rejects)
        cleaning.check_rejects(counts.ratings_in, counts.rejects, rejects, config.source.max_bad_fraction)
        with stages("clean", "ratings") as stage:
            # Where there are none, not to read all blocks for them.
            run.write("rejects", rejects if counts.rejects else rejects.limit(0))
            movies = cleaning.frequent_movies(gathered, config.cleaning)
            matrix = pivot.index_columns(gathered, movies.ids, config.cleaning.min_user_ratings)
            matrix.frame.persist(STORAGE)
            persisted.callback(matrix.frame.unpersist)
            users, ratings = pivot.size(matrix)
            stage.rows = ratings
        gathered.frame.unpersist()  # its successor is complete
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
        yield Cleaned(matrix, movies, found)


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


def principal_components(
    matrix: BlockMatrix,
    features: Features,
    run: Run,
    config: Config,
    on_pass: Callable[[Progress], None],
) -> Decomposition:
    """Principal components of the weighted ratings, by the solver that is configured."""
    settings = config.decomposition
    (n_components,) = settings.n_components
    if settings.pca_solver == "spark":
        vectors = features.stage().transform(run.read("user_vectors"))
        pca = PCA(k=n_components, inputCol="weights", solver="spark", seed=config.run.seed)
        try:
            return pca.fit(vectors).decomposition
        except ValueError as error:
            raise UserError(f"--pca-solver spark: {error}") from error
    found = decompose(
        loading(features, matrix),
        n_components,
        tol=settings.pca_tolerance,
        seed=config.run.seed,
        on_pass=on_pass,
    )
    if not found.converged:
        log.warning(
            "the PCA stopped after %d passes at a residual share of %.1e, above --pca-tolerance %.1e: its "
            "last components are rough; raise the tolerance or ask for fewer by --n-components",
            found.passes,
            found.error,
            settings.pca_tolerance,
        )
    return found


def activity(assignments: DataFrame) -> pd.DataFrame:
    """Quantiles of the number of ratings of each cluster's users."""
    names = schemas.ACTIVITY.names
    shares = F.array(*(F.lit(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)))
    quantiles = assignments.groupBy("cluster").agg(
        F.percentile_approx("n_ratings", shares).alias("quantiles")
    )
    rows = quantiles.collect()  # a row a cluster
    return pd.DataFrame(
        {
            "cluster": [row["cluster"] for row in rows],
            "activity": [dict(zip(names, row["quantiles"], strict=True)) for row in rows],
        }
    )


def metrics(
    decomposition: Decomposition,
    passes: Sequence[Progress],
    clustering: Clustering,
    choice: Choice,
    continuation: Continuation | None,
) -> dict[str, Any]:
    """Figures of merit for the record."""
    return {
        "pca_passes": decomposition.passes,
        "pca_pass_seconds": [round(one.seconds, 3) for one in passes],
        "pca_residual_share": decomposition.error,
        "pca_converged": decomposition.converged,
        "variance_ratio": float(decomposition.variance_ratio.sum()),
        "clustering_cost": clustering.cost,
        "clustering_iterations": clustering.iterations,
        "cluster_sizes": clustering.sizes.tolist(),
        "temperature": choice.temperature,
        "choice": choice.reason,
        "warm_start": None if continuation is None else continuation.record(),
    }
