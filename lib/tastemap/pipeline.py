"""The whole flow, from a raw rating log to a finished run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from tastemap import catalogue, fitting, pivot, segmentation, sources, tables, warm_start
from tastemap.clustering.assignment import Clusters
from tastemap.clustering.scores import ScoreMatrix
from tastemap.config import Config
from tastemap.errors import UserError
from tastemap.evaluation import truth
from tastemap.evaluation.choice import Choice
from tastemap.intake import cleaned
from tastemap.pseudonyms import Pseudonyms, check_distinct, pseudonymised, user_table
from tastemap.report import reporter
from tastemap.runs import Run
from tastemap.stages import Stages

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a run tells on the terminal."""

    output: str
    manifest: dict[str, Any]
    profiles: pd.DataFrame
    cluster_movies: pd.DataFrame
    choice: Choice


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
    wanted = reporter.wanted(config.report)
    stages = Stages(spark)
    with (
        Run(spark, output, overwrite=overwrite) as run,
        # For what takes little of Spark, while it is busy with all ratings.
        ThreadPoolExecutor() as beside,
    ):
        with stages("open", "bytes") as stage:
            rating_log = sources.open_log(spark, ratings, config.source, movies)
            stage.rows = rating_log.n_bytes
        run.refuse_to_replace(rating_log.files, movies, config.evaluation.truth, key_file)
        beside.submit(getattr, rating_log, "movies")  # planned while ratings are read
        known = truth_to_choose_by(spark, config)
        directory = config.clustering.warm_start
        earlier = None if directory is None else warm_start.load(spark, directory, config)
        with cleaned(rating_log, run, config, stages) as kept:
            matrix, n_users = kept.matrix, kept.counts["users"]
            looked_up = beside.submit(catalogue.describe, kept.movies.ids, rating_log.movies)
            choice = fitting.choose_clusters(kept, looked_up, known, run, config, stages)
            reduction = fitting.reduce(kept, looked_up, config, stages)
            titles = looked_up.result()
            with ExitStack() as persisted:
                with stages("project", "users") as stage:
                    projected = segmentation.projected(matrix, reduction.projection, n_users)
                    scored, scores = persisted.enter_context(projected)
                    stage.rows = n_users
                report = None
                if wanted:
                    shown = pseudonymised(matrix, pseudonyms), pseudonymised(scores, pseudonyms)
                    report = reporter.Reporter(run, *shown, titles.movie_ids, config, beside)
                    persisted.callback(report.wait_for_reading)
                    report.choose_people()
                fitted = fitting.cluster(kept, reduction, scores, choice, earlier, config, stages)
                clusters = fitted.clusters
                model = segmentation.pipeline_model(reduction.features, reduction.decomposition, clusters)
                saved = [beside.submit(run.write_model, "model", model)]
                if report:
                    report.choose_members(clusters)
                with stages("profile", "cells") as stage:
                    told = tables.describe(kept, scored, fitted, titles, rating_log.scale, config)
                    stage.rows = len(told.of["cluster_movies"])
                saved.append(beside.submit(tables.write, run, told))
                if report:
                    with stages("look up members", "users") as stage:
                        stage.rows = report.look_up_members(told.of["cluster_movies"], clusters.n_clusters)
                manifest = {
                    "inputs": rating_log.describe(),
                    "counts": kept.counts | told.suppressed,
                    "stages": stages.record(),
                    "config": config.as_dict(),
                    "metrics": fitted.metrics(),
                }
                for each in saved:  # and what they took is free, before workers take as much
                    each.result()
                if report:
                    report.draw(clusters, told.of, told.active, choice.figures, manifest)
                # As late as here, for workers have nothing else to do while the driver draws.
                with stages("assign", "users") as stage:
                    assign(scores, clusters, pseudonyms, run, memberships=config.clustering.memberships)
                    stage.rows = n_users
            with stages("write user vectors", "users") as stage:
                run.write("user_vectors", user_table(pivot.user_vectors, matrix, pseudonyms))
                stage.rows = n_users
        if report:
            with stages("report", "bytes") as stage:
                stage.rows = report.write(manifest | {"stages": stages.record()})
        manifest["stages"] = stages.record()
        run.finish(manifest)
    return Result(run.output, manifest, told.of["profiles"], told.of["cluster_movies"], choice)


def assign(
    scores: ScoreMatrix, clusters: Clusters, pseudonyms: Pseudonyms | None, run: Run, *, memberships: bool
) -> None:
    """Write the table `assignments`, and `memberships` where it is asked for."""
    nearest = partial(segmentation.assignments, clusters=clusters)
    run.write("assignments", user_table(nearest, scores, pseudonyms))
    if pseudonyms is not None:
        check_distinct(run.read("assignments"), scores.n_rows)
    if memberships:
        likely = partial(segmentation.memberships, clusters=clusters)
        run.write("memberships", user_table(likely, scores, pseudonyms))


def truth_to_choose_by(spark: SparkSession, config: Config) -> DataFrame | None:
    """The groups that users are known to be of, if the number of clusters is to be chosen by them."""
    path = config.evaluation.truth
    if path is not None and len(config.clustering.n_clusters) == 1:
        log.warning(
            "--truth %s is not looked at: clusters are judged where there are several --n-clusters to choose "
            "from, or by jobs/evaluate_clusters.py",
            path,
        )
        return None
    return None if path is None else truth.read(spark, path)


def check_one(config: Config) -> None:
    """Refuse several values where one run has one.

    Raises
    ------
    UserError
        With every fault.
    """
    several: dict[str, tuple[Any, ...]] = {
        "--weighting": config.weighting.weighting,
        "--n-components": config.decomposition.n_components,
    }
    if config.clustering.warm_start is not None:
        several["--n-clusters"] = config.clustering.n_clusters
    faults = [
        f"{flag} names {len(values)} values, {', '.join(map(str, values))}; this run takes one: give it, and "
        "compare several with jobs/evaluate_clusters.py"
        for flag, values in several.items()
        if len(values) > 1
    ]
    if faults:
        raise UserError(faults)
