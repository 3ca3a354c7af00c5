"""From a raw rating log to the `ratings`, `movies` and `rejects` tables, for any other use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import Observation, SparkSession
from pyspark.sql import functions as F

from tastemap import cleaning, schemas
from tastemap.config import Config
from tastemap.filesystem import reading
from tastemap.runs import Run
from tastemap.sources import open_log
from tastemap.stages import Stages


def prepare_ratings(
    spark: SparkSession,
    ratings: Sequence[str],
    output: str,
    config: Config,
    *,
    movies: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Read a rating log of any form and write it as Parquet tables; returns the manifest.

    Ratings are as in the log: duplicates and rare users stay. Parameters and errors are those of
    `pipeline.cluster_users`.
    """
    stages = Stages(spark)
    with Run(spark, output, overwrite=overwrite) as run:
        log = open_log(spark, ratings, config.source, movies)
        run.refuse_to_replace(log.files, movies)
        parsed = log.parsed()
        with log.in_batches(), reading("the rating log"), stages("ratings", "rows") as stage:
            observed = Observation("records")
            counted = parsed.observe(observed, F.count(F.lit(1)).alias("n"), F.count("reason").alias("bad"))
            run.write("ratings", counted.where("reason is null").select(*schemas.RATINGS.names))
            n_records, n_bad = int(observed.get["n"]), int(observed.get["bad"])
            stage.rows = n_records - n_bad
        with log.in_batches(), stages("rejects", "rows") as stage:
            # Read again only if there are any: a log is mostly good.
            bad = parsed.where("reason is not null") if n_bad else spark.createDataFrame([], schemas.PARSED)
            rejects = bad.select(*schemas.REJECTS.names)
            cleaning.check_rejects(n_records, n_bad, rejects, config.source.max_bad_fraction)
            run.write("rejects", rejects)
            stage.rows = n_bad
        with reading("the list of movies"), stages("movies", "rows") as stage:
            listed = log.movies
            titles = spark.createDataFrame([], schemas.MOVIES) if listed is None else listed.frame
            run.write("movies", titles)
            stage.rows = run.read("movies").count()
        manifest = {
            "inputs": log.describe(),
            "counts": {"ratings_in": n_records, "rejects": n_bad, "movies": stage.rows},
            "stages": stages.record(),
            "config": config.as_dict(),
        }
        run.finish(manifest)
    return {**manifest, "output": run.output}
