"""What all files of movies need: text in two encodings, years in titles, one row a movie."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_YEAR = r"\s*\((\d{4})(?:\s*[\u2013-]\s*(?:\d{4})?)?\s*\)\s*$"
_NO_GENRES = ("", "(no genres listed)", "unknown")


def decoded(value: Column) -> Column:
    """Decode a line of `spark.read.text` as UTF-8, or as Latin-1 if it is not valid UTF-8.

    Published files are in either, without saying which.
    """
    latin = F.decode(value.cast("binary"), "ISO-8859-1")
    return F.when(value.rlike("\ufffd"), latin).otherwise(value)


def without_year(title: Column) -> tuple[Column, Column]:
    """Take the year off the end of a title: "Heat (1995)" is "Heat" and 1995, "(2006-2007)" counts as 2006.

    A title that is nothing but a year in parentheses stays as it is.
    """
    year, rest = F.regexp_extract(title, _YEAR, 1), F.trim(F.regexp_replace(title, _YEAR, ""))
    return F.when(rest == "", F.trim(title)).otherwise(rest), F.when(year != "", year.cast("int"))


def split_genres(text: Column) -> Column:
    """Split genres at the bars between them; MovieLens's words for none give none."""
    return F.array_except(F.split(text, r"\|"), F.array(*map(F.lit, _NO_GENRES)))


def movie_table(
    rows: DataFrame, movie_id: Column, title: Column, year: Column | None, genres: Column | None
) -> DataFrame:
    """Select `schemas.MOVIES`, one row a movie.

    Rows without a readable id or a title are left out. Of several rows of one movie, the first by title,
    year and genres stays, so that the choice is the same every time.
    """
    none = F.array().cast("array<string>")
    columns = rows.select(
        F.when(movie_id.cast("string").rlike(r"^\s*-?\d{1,10}\s*$"), movie_id.cast("string"))
        .cast("long")
        .alias("movie_id"),
        F.struct(
            F.when(F.trim(title) != "", title).alias("title"),
            (F.lit(None) if year is None else year).cast("int").alias("year"),
            (none if genres is None else F.coalesce(genres, none)).alias("genres"),
        ).alias("movie"),
    ).where("movie_id BETWEEN -2147483648 AND 2147483647 AND movie.title IS NOT NULL")
    chosen = columns.groupBy("movie_id").agg(F.min("movie").alias("movie"))
    return chosen.select(
        F.col("movie_id").cast("int").alias("movie_id"), "movie.title", "movie.year", "movie.genres"
    )
