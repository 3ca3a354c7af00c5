#!/usr/bin/env python3
"""Contender 3: stock Spark ML, from a table of ratings to clusters, on the most rated movies.

    spark-submit stock_spark.py --ratings DIR --n-columns 1000

The table is Parquet, as `jobs/prepare_ratings.py` and `make_ratings.py --format parquet` write it: to parse
Netflix's text with stock Spark takes longer than all that follows, and is not what is compared. Then
groupBy/collect_list into sparse vectors, `pyspark.ml.feature.PCA` and KMeans. Prints JSON: seconds of every
stage, and the failure where it fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from pyspark.ml.clustering import KMeans
from pyspark.ml.feature import PCA
from pyspark.ml.linalg import SparseVector, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

COMPONENTS, CLUSTERS, ITERATIONS = 50, 12, 20


def read(spark: SparkSession, ratings: str) -> DataFrame:
    """Ratings out of the table, or out of the directory that holds it and others."""
    beside = [Path(ratings) / name for name in ("ratings", "ratings.parquet")]
    found = spark.read.parquet(str(next((path for path in beside if path.exists()), ratings)))
    return found.select("user_id", "movie_id", F.col("rating").cast("double").alias("rating"))


def vectors(ratings: DataFrame, n_columns: int) -> DataFrame:
    """Sparse vectors of the most rated movies."""
    counts = ratings.groupBy("movie_id").count().orderBy(F.desc("count"), "movie_id").limit(n_columns)
    kept = [row["movie_id"] for row in counts.collect()]
    index = ratings.sparkSession.createDataFrame(list(enumerate(kept)), "column int, movie_id int")
    pairs = ratings.join(F.broadcast(index), "movie_id")
    grouped = pairs.groupBy("user_id").agg(
        F.sort_array(F.collect_list(F.struct("column", "rating"))).alias("pairs")
    )

    @F.udf(VectorUDT())
    def sparse(found: list) -> SparseVector:
        return SparseVector(len(kept), [row[0] for row in found], [row[1] for row in found])

    return grouped.select("user_id", sparse("pairs").alias("features"))


def main() -> int:
    """Run as far as it goes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ratings", required=True)
    parser.add_argument("--n-columns", type=int, required=True)
    options = parser.parse_args()
    spark = SparkSession.builder.appName("stock Spark ML").getOrCreate()
    seconds: dict[str, float] = {}
    failure = None
    start = time.perf_counter()

    def done(name: str) -> None:
        seconds[name] = round(time.perf_counter() - start - sum(seconds.values()), 2)

    try:
        frame = vectors(read(spark, options.ratings), options.n_columns).persist()
        frame.count()
        done("vectors")
        pca = PCA(k=COMPONENTS, inputCol="features", outputCol="scores").fit(frame)
        done("pca")
        model = KMeans(k=CLUSTERS, featuresCol="scores", maxIter=ITERATIONS, seed=7).fit(pca.transform(frame))
        model.transform(pca.transform(frame)).groupBy("prediction").count().collect()
        done("cluster")
    except Exception as error:  # what it says is the result
        failure = str(error).strip().splitlines()[0][:500]
        done("failed after")
    print(json.dumps({"n_columns": options.n_columns, "seconds": seconds, "failure": failure}))
    spark.stop()
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
