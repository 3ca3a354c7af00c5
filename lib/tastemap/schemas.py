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
    ("years", BinaryType(), True),
    ("n_rows", _LONG),
    ("n_values", _LONG),
)
"""Rows of a sparse matrix: its CSR arrays as `compact` writes them, the years of the values, where somebody
needs them, and how many there are."""

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
        StructField("years_seen", ArrayType(_INT, False), False),
        StructField("rejects", ArrayType(REJECTS, False), False),
    ]
)
"""Blocks of all users with movie ids for columns, and what was left out of them."""

MOVIE_INDEX = _table(
    ("movie_index", _INT),
    ("movie_id", _INT),
    ("title", _STRING, True),
    ("n_ratings", _LONG, True),
    ("mean_rating", _DOUBLE, True),
)
"""One row a column of the user vectors, by movie_id; nulls are suppressed."""

USER_VECTORS = _table(("user_id", _LONG), ("features", VectorUDT()))
"""One row a user: the ratings, sparse, one feature a row of `MOVIE_INDEX`."""

ASSIGNMENTS = _table(
    ("user_id", _LONG), ("cluster", _INT), ("distance", _DOUBLE), ("membership", _DOUBLE), ("n_ratings", _INT)
)
"""One row a user: the nearest cluster, the distance to its centre, and how sure that is (0 to 1)."""

MEMBERSHIPS = _table(("user_id", _LONG), ("cluster", _INT), ("probability", _FLOAT))
"""One row a user and cluster that the user may belong to, probabilities below 0.01 left out."""

ACTIVITY = _table(*((name, _INT, True) for name in ("min", "q25", "median", "q75", "max")))
"""Quantiles of the number of ratings of a user; nulls are suppressed."""
_HISTOGRAM = ArrayType(_table(("rating", _DOUBLE), ("n_ratings", _LONG, True)), False)
_BY_YEAR = ArrayType(_table(("year", _INT), ("n_ratings", _LONG, True)), False)

PROFILES = _table(
    ("cluster", _INT),
    ("n_users", _LONG),
    ("share", _DOUBLE),
    ("n_ratings", _LONG, True),
    ("mean_rating", _DOUBLE, True),
    ("mean_distance", _DOUBLE, True),
    ("mean_membership", _DOUBLE, True),
    ("rating_histogram", _HISTOGRAM, True),
    ("rating_years", _BY_YEAR, True),
    ("activity", ACTIVITY, True),
)
"""One row a cluster; `activity` holds quantiles of the number of ratings of its users.

`rating_years` counts ratings by the year, by UTC, in which they were given, without those that have no time.
Nulls are suppressed.
"""

CLUSTER_MOVIES = _table(
    ("cluster", _INT),
    ("movie_id", _INT),
    ("title", _STRING, True),
    ("n_ratings", _LONG),
    ("share_rated", _DOUBLE),
    ("mean_rating", _DOUBLE),
    ("lift", _DOUBLE),
    ("lift_low", _DOUBLE),
    ("lift_high", _DOUBLE),
    ("effect", _DOUBLE),
    ("effect_low", _DOUBLE),
    ("effect_high", _DOUBLE),
    ("rank", _INT),
)
"""One row a cluster and movie that somebody in it rated.

`share_rated` is the share of the cluster's users, `lift` that share over the share of all users,
`effect` the mean rating minus everybody else's, shrunk towards 0; `_low` and `_high` are the ends of
95 % intervals (see `intervals`); `rank` 1 has the largest effect.
"""

CLUSTER_GENRES = _table(
    ("cluster", _INT),
    ("genre", _STRING),
    ("n_users", _LONG),
    ("n_ratings", _LONG),
    ("share", _DOUBLE),
    ("share_of_genre", _DOUBLE),
    ("lift", _DOUBLE),
    ("mean_rating", _DOUBLE),
)
"""One row a cluster and genre; a movie of several genres counts in each.

`n_users` are members who rated a movie of the genre, `share` is of the cluster's ratings: P(genre | cluster);
`share_of_genre` of the genre's: P(cluster | genre); `lift` is `share` over everybody's.
"""

CLUSTER_YEARS = _table(
    ("cluster", _INT),
    ("year", _INT),
    ("n_users", _LONG),
    ("n_ratings", _LONG),
    ("share", _DOUBLE),
    ("lift", _DOUBLE),
    ("mean_rating", _DOUBLE),
)
"""One row a cluster and year of release, of movies whose year is known; columns as in `CLUSTER_GENRES`."""

EVALUATION = _table(
    ("weighting", _STRING, True),
    ("n_components", _INT, True),
    ("n_clusters", _INT, True),
    ("repeat", _INT),
    ("predictor", _STRING),
    ("metric", _STRING),
    ("value", _DOUBLE),
)
"""One row a figure; the setting is null where it depends on none, `repeat` 0 where it is of all users."""

CLUSTER_STABILITY = _table(
    ("weighting", _STRING),
    ("n_components", _INT),
    ("n_clusters", _INT),
    ("cluster", _INT),
    ("n_users", _LONG),
    ("jaccard", _DOUBLE),
)
"""One row a setting and cluster; `jaccard` is how far the cluster is found again on resampled users."""

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

FLOWS = _table(
    ("before", _INT, True),
    ("after", _INT, True),
    ("n_users", _LONG),
    ("share_of_before", _DOUBLE, True),
    ("share_of_after", _DOUBLE, True),
)
"""One row a pair of clusters of two runs that somebody went between; null: in the other run only."""

_CHANGES = ArrayType(
    _table(("movie_id", _INT), ("title", _STRING, True), ("before", _DOUBLE), ("after", _DOUBLE)), False
)

SEGMENT_CHANGES = _table(
    ("before", _INT, True),
    ("after", _INT, True),
    ("change", _STRING),
    ("n_users_before", _LONG, True),
    ("n_users_after", _LONG, True),
    ("share_before", _DOUBLE, True),
    ("share_after", _DOUBLE, True),
    ("n_users_both", _LONG, True),
    ("jaccard", _DOUBLE, True),
    ("effects", _CHANGES),
    ("shares", _CHANGES),
)
"""One row a segment of two runs, which is `kept`, `new` or `gone`.

`jaccard` is the share of its users, of those in both runs, who are in it before and after; `effects` and
`shares` are the movies whose `effect` and `share_rated` rose most, then those that fell most.
"""

SCORES = _table(
    ("ids", BinaryType()),
    ("scores", BinaryType()),
    ("n_ratings", BinaryType()),
    ("mean_ratings", BinaryType()),
)
"""Blocks of users: their principal component scores, row by row, and their ratings' numbers and means.

All as `compact` writes them.
"""

SCORED = StructType([*BLOCKS.fields, *(field for field in SCORES.fields if field.name != "ids")])
"""Blocks of users: ratings and scores side by side."""
