"""The schema of every table, in one place."""

from __future__ import annotations

from pyspark.ml.linalg import VectorUDT
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)


def _table(*columns: tuple[str, object] | tuple[str, object, bool]) -> StructType:
    return StructType([StructField(c[0], c[1], *(c[2:] or (False,))) for c in columns])  # type: ignore[arg-type]


_STRING, _INT, _LONG, _FLOAT, _DOUBLE = StringType(), IntegerType(), LongType(), FloatType(), DoubleType()

RATINGS = _table(
    ("user_id", _LONG), ("movie_id", _INT), ("rating", _FLOAT), ("rated_at", TimestampType(), True)
)
"""One row a rating."""

MOVIES = _table(
    ("movie_id", _INT), ("title", _STRING), ("year", _INT, True), ("genres", ArrayType(_STRING, False))
)
"""One row a movie; `genres` is empty where none are known."""

REJECTS = _table(("source", _STRING), ("position", _LONG, True), ("raw", _STRING), ("reason", _STRING))
"""One row a record that could not be taken: the file, where in it (if known), its text, and why."""

PARSED = StructType([StructField(f.name, f.dataType, True) for f in [*RATINGS.fields, *REJECTS.fields]])
"""What a source yields: a rating where `reason` is null, a reject where it is not.

Both come from one reading of the log, so that nothing can get lost between two.
"""

BLOCKS = _table(
    *((name, BinaryType()) for name in ("ids", "indptr", "indices", "values")),
    ("n_rows", _LONG),
    ("n_values", _LONG),
)
"""Rows of a sparse matrix: its CSR arrays as `compact` writes them, and how many there are."""

PIECES = _table(
    ("target", _INT),
    *((name, BinaryType()) for name in ("user_ids", "movie_ids", "ratings", "times")),
    ("rejects", ArrayType(REJECTS, False)),
)
"""Ratings on their way to the partition of their users, as `compact` writes them; times in microseconds."""

GATHERED = StructType(
    [
        *BLOCKS.fields,
        StructField("n_records", _LONG, False),
        StructField("n_duplicates", _LONG, False),
        StructField("rejects", ArrayType(REJECTS, False), False),
    ]
)
"""Blocks of all users with movie ids for columns, and what was left out of them."""

MOVIE_INDEX = _table(
    ("movie_index", _INT),
    ("movie_id", _INT),
    ("title", _STRING, True),
    ("n_ratings", _LONG),
    ("mean_rating", _DOUBLE),
)
"""One row a column of the user vectors, by movie_id."""

USER_VECTORS = _table(("user_id", _LONG), ("features", VectorUDT()))
"""One row a user: the ratings, sparse, one feature a row of `MOVIE_INDEX`."""

ASSIGNMENTS = _table(
    ("user_id", _LONG), ("cluster", _INT), ("distance", _DOUBLE), ("membership", _DOUBLE), ("n_ratings", _INT)
)
"""One row a user: the nearest cluster, the distance to its centre, and how sure that is (0 to 1)."""

MEMBERSHIPS = _table(("user_id", _LONG), ("cluster", _INT), ("probability", _FLOAT))
"""One row a user and cluster that the user may belong to, probabilities below 0.01 left out."""

ACTIVITY = _table(("min", _INT), ("q25", _INT), ("median", _INT), ("q75", _INT), ("max", _INT))
"""Quantiles of the number of ratings of a user."""
_HISTOGRAM = ArrayType(_table(("rating", _DOUBLE), ("n_ratings", _LONG)), False)

PROFILES = _table(
    ("cluster", _INT),
    ("n_users", _LONG),
    ("share", _DOUBLE),
    ("n_ratings", _LONG),
    ("mean_rating", _DOUBLE),
    ("mean_distance", _DOUBLE),
    ("mean_membership", _DOUBLE),
    ("rating_histogram", _HISTOGRAM),
    ("activity", ACTIVITY),
)
"""One row a cluster; `activity` holds quantiles of the number of ratings of its users."""

CLUSTER_MOVIES = _table(
    ("cluster", _INT),
    ("movie_id", _INT),
    ("title", _STRING, True),
    ("n_ratings", _LONG),
    ("share_rated", _DOUBLE),
    ("mean_rating", _DOUBLE),
    ("lift", _DOUBLE),
    ("effect", _DOUBLE),
    ("rank", _INT),
)
"""One row a cluster and movie that somebody in it rated.

`share_rated` is the share of the cluster's users, `lift` that share over the share of all users,
`effect` the mean rating minus everybody else's, shrunk towards 0; `rank` 1 has the largest effect.
"""

CLUSTER_GENRES = _table(
    ("cluster", _INT),
    ("genre", _STRING),
    ("n_ratings", _LONG),
    ("share", _DOUBLE),
    ("lift", _DOUBLE),
    ("mean_rating", _DOUBLE),
)
"""One row a cluster and genre; a movie of several genres counts in each. `share` is of the ratings."""

_LOADINGS = ArrayType(_table(("movie_id", _INT), ("title", _STRING, True), ("loading", _DOUBLE)), False)

COMPONENTS = _table(
    ("component", _INT),
    ("variance", _DOUBLE),
    ("variance_ratio", _DOUBLE),
    ("residual", _DOUBLE),
    ("positive", _LOADINGS),
    ("negative", _LOADINGS),
)
"""One row a principal component, with the movies at both of its ends."""

SCORES = _table(("ids", BinaryType()), ("scores", BinaryType()))
"""Blocks of principal component scores, row by row, as `compact` writes them."""
