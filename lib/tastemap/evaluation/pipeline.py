"""From a raw rating log to a judgement of clusterings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pyspark.sql import SparkSession

from tastemap import catalogue, schemas
from tastemap.config import Config
from tastemap.evaluation import truth
from tastemap.evaluation.choice import verdict
from tastemap.evaluation.evaluate import Evaluation, ceiling, evaluate, hold_out
from tastemap.intake import cleaned
from tastemap.runs import Run
from tastemap.sources import open_log
from tastemap.stages import Stages

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a run tells on the terminal."""

    output: str
    manifest: dict[str, Any]
    figures: pd.DataFrame
    """The `evaluation` table."""


def evaluate_clusters(
    spark: SparkSession,
    ratings: Sequence[str],
    output: str,
    config: Config,
    *,
    movies: str | None = None,
    overwrite: bool = False,
) -> Result:
    """Compare settings on a rating log: every combination of weighting, components and clusters in `config`.

    Parameters
    ----------
    spark : SparkSession
    ratings : sequence of str
        Files, directories and globs of one rating log.
    output : str
        Directory for the tables `evaluation` and `cluster_stability`, and `run.json`.
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
    _tell_unused(config)
    stages = Stages(spark)
    with Run(spark, output, overwrite=overwrite) as run:
        with stages("open", "bytes") as stage:
            rating_log = open_log(spark, ratings, config.source, movies)
            stage.rows = rating_log.n_bytes
        run.refuse_to_replace(rating_log.files, movies, config.evaluation.truth)
        known = None if config.evaluation.truth is None else truth.read(spark, config.evaluation.truth)
        with cleaned(rating_log, run, config, stages) as kept:
            with stages("hold out", "ratings") as stage:
                titles = catalogue.describe(kept.movies.ids, rating_log.movies)
                data = hold_out(kept.matrix, titles, kept.size, config)
                stage.rows = kept.counts["ratings_kept"] - int(data.n_ratings.sum())
            with stages("fit and judge", "settings") as stage:
                found = evaluate(data, config, known)
                stage.rows = len(found.clusters.groupby(["weighting", "n_components", "n_clusters"]))
            with stages("ceiling by ALS", "figures") as stage:
                personal = ceiling(data, config.run.seed)
                stage.rows = len(personal)
        figures = pd.concat([found.figures, personal], ignore_index=True)
        write(run, Evaluation(figures, found.clusters))
        manifest = {
            "inputs": rating_log.describe(),
            "counts": kept.counts,
            "stages": stages.record(),
            "config": config.as_dict(),
            "metrics": {"verdict": verdict(figures)},
        }
        run.finish(manifest)
    return Result(run.output, manifest, figures)


def _tell_unused(config: Config) -> None:
    if config.clustering.warm_start is not None:
        log.warning(
            "--warm-start %s is not looked at: what is judged is fitted anew", config.clustering.warm_start
        )
    if config.decomposition.pca_solver == "spark":
        log.warning("--pca-solver spark is not looked at: here the solver is krylov")


def write(run: Run, found: Evaluation) -> None:
    """Write the tables."""
    run.write_small("evaluation", found.figures, schemas.EVALUATION)
    run.write_small("cluster_stability", found.clusters, schemas.CLUSTER_STABILITY)
