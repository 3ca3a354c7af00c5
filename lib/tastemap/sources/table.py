"""Tables of your own, Parquet or CSV, whatever their columns are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DateType,
    DecimalType,
    LongType,
    NumericType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from tastemap import schemas
from tastemap.config import SourceConfig
from tastemap.errors import UserError
from tastemap.rows import Rows
from tastemap.sources import reasons, titles
from tastemap.sources.files import StoredFiles
from tastemap.sources.lines import FIRST_SECOND, LAST_SECOND, RAW_LENGTH

SCALE = (0.5, 5.0)
_MALFORMED = "_malformed_line"
_FIRST, _LAST = FIRST_SECOND * 1_000_000, LAST_SECOND * 1_000_000 + 999_999
"""Microseconds since 1970."""
_TIMES = (TimestampType, TimestampNTZType, DateType)


def read_csv(spark: SparkSession, files: StoredFiles, columns: Sequence[str], separator: str) -> DataFrame:
    """Read a CSV with a header, every column as text, and lines of the wrong number of fields apart.

    Raises
    ------
    UserError
        If the header names a column twice.
    """
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UserError(
            f"the header of {files.load[0]} names {', '.join(twice)} twice; rename one of the two"
        )
    schema = StructType([StructField(name, StringType()) for name in [*columns, _MALFORMED]])
    # A consumer that needs few columns must not make the reader overlook lines with too many or too few.
    reader = spark.read.options(**files.options).option("columnPruning", "false")
    return reader.csv(
        files.load,
        schema,
        sep=separator,
        header=True,
        quote='"',
        escape='"',
        # A file whose header differs from the others' stops the job instead of being read askew.
        enforceSchema=False,
        columnNameOfCorruptRecord=_MALFORMED,
    )


def parsed_table(
    rows: DataFrame, config: SourceConfig, scale: tuple[float, float], separator: str
) -> DataFrame:
    """Select `schemas.PARSED` from a table that has the configured columns.

    Parameters
    ----------
    rows : DataFrame
        Numbers may be of any numeric type or text. Times may be timestamps, dates, text, or numbers since
        1970 in UTC: seconds below 1e11 (the year 5138), milliseconds below 1e14, microseconds below 1e17,
        else nanoseconds.
    config : SourceConfig
        The names of the columns; one for times need not be there.
    scale : tuple of float
        Lowest and highest rating.
    separator : str
        Separator of the text in which rejects of a CSV are kept.

    Raises
    ------
    UserError
        If a column is of a type that cannot hold what it should.
    """
    types = {field.name: field.dataType for field in rows.schema.fields}
    names = {"user": config.user_column, "movie": config.movie_column, "stars": config.rating_column}
    if config.time_column in types:
        names["time"] = config.time_column
    _check_types(types, names)
    given = rows.select(
        *(_present(name, types[name]).alias(role) for role, name in names.items()),
        *([] if "time" in names else [F.lit(None).cast("timestamp").alias("time")]),
        F.col("_metadata.file_path").alias("source"),
        F.substring(_raw(types, names, separator), 1, RAW_LENGTH).alias("raw"),
        (_column(_MALFORMED).isNotNull() if _MALFORMED in types else F.lit(False)).alias("malformed"),
    )
    text = {role: isinstance(types[name], StringType) for role, name in names.items()}
    read = given.select(
        "*",
        F.expr(_whole_number("user", "bigint", text["user"])).alias("user_id"),
        F.expr(_whole_number("movie", "int", text["movie"])).alias("movie_id"),
        F.expr("try_cast(stars AS float)").alias("rating"),
        F.expr(_timestamp("time", types[names["time"]]) if "time" in names else "time").alias("rated_at"),
    )
    # The scale as floats too: 0.1 as a float is more than 0.1 as a double.
    low, high = (f"cast({bound!r} AS float)" for bound in scale)
    faults = [
        ("malformed", reasons.FIELDS),
        ("user IS NULL", reasons.USER_MISSING),
        ("user_id IS NULL", reasons.USER_UNREADABLE),
        ("movie IS NULL", reasons.MOVIE_MISSING),
        ("movie_id IS NULL", reasons.MOVIE_UNREADABLE),
        ("stars IS NULL", reasons.RATING_MISSING),
        ("rating IS NULL OR isnan(rating)", reasons.RATING_UNREADABLE),
        (f"rating < {low} OR rating > {high}", reasons.off_scale(scale)),
        (
            # Casts of milliseconds to timestamps are of the year 40,000; nothing shows, or sorts, such years.
            # As numbers: the year of a timestamp takes Spark 200 ns, half as long as all the rest.
            "time IS NOT NULL AND "
            f"(rated_at IS NULL OR unix_micros(rated_at) NOT BETWEEN {_FIRST} AND {_LAST})",
            reasons.TIME_UNREADABLE,
        ),
    ]
    reason = F.expr("CASE " + " ".join(f"WHEN {fault} THEN '{why}'" for fault, why in faults) + " END")
    kept = [F.expr(f"CASE WHEN reason IS NULL THEN {name} END").alias(name) for name in schemas.RATINGS.names]
    told = [F.expr(f"CASE WHEN reason IS NOT NULL THEN {name} END").alias(name) for name in ("source", "raw")]
    position = F.lit(None).cast("bigint").alias("position")
    return read.withColumn("reason", reason).select(*kept, told[0], position, told[1], "reason")


def read_movies(rows: DataFrame, config: SourceConfig) -> Rows:
    """Select `schemas.MOVIES` from a table of the movie column, `title`, perhaps `year` and `genres`.

    Lines of too many fields are left out: one whose title has a comma would have the year for its genre.

    Raises
    ------
    UserError
        If a column is of a type that cannot hold what it should.
    """
    types = {field.name: field.dataType for field in rows.schema.fields}
    name = config.movie_column
    _check_types(types, {"movie": name} | ({"year": "year"} if "year" in types else {}))
    if _MALFORMED in types:
        last = [column for column in types if column != _MALFORMED][-1]
        rows = rows.where(_column(_MALFORMED).isNull() | _column(last).isNull())
    genres = "array<string>" if isinstance(types.get("genres"), ArrayType) else "string"
    columns = {
        "movie_id": _whole_number(_quoted(name), "int", isinstance(types[name], StringType)),
        "title": "cast(title AS string)",
        "year": _year(types["year"]) if "year" in types else "cast(NULL AS int)",
        "genres": f"cast({'genres' if 'genres' in types else 'NULL'} AS {genres})",
    }
    return titles.of_columns(rows.select(*(F.expr(sql).alias(key) for key, sql in columns.items())))


def _check_types(types: Mapping[str, DataType], names: Mapping[str, str]) -> None:
    faults = []
    for role, name in names.items():
        timely = role in ("time", "year")
        kinds = (NumericType, StringType, *(_TIMES if timely else ()))
        if not isinstance(types[name], kinds):
            allowed = "a timestamp, a date, a number or text" if timely else "a number or text"
            faults.append(f"column {name} is of type {types[name].simpleString()}; allowed: {allowed}")
    if faults:
        raise UserError(faults)


def _raw(types: Mapping[str, DataType], names: Mapping[str, str], separator: str) -> Column:
    """Give the text of a record: its line if it is from a CSV, else the named columns as JSON."""
    if _MALFORMED not in types:
        return F.to_json(F.struct(*map(_column, names.values())))
    fields = F.struct(*(_column(name) for name in types if name != _MALFORMED))
    return F.coalesce(_column(_MALFORMED), F.to_csv(fields, {"sep": separator}))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _column(name: str) -> Column:
    return F.col(_quoted(name))


def _present(name: str, kind: DataType) -> Column:
    """Select a column, null where its text is blank."""
    column = _column(name)
    return F.when(F.trim(column) != "", F.trim(column)) if isinstance(kind, StringType) else column


def _whole_number(name: str, kind: str, text: bool) -> str:
    """Write SQL for a whole number, null where there is none that fits; 12.0 is one, 12.5 is not."""
    if text:
        return (
            f"coalesce(try_cast({name} AS {kind}), try_cast(regexp_replace({name}, '[.]0*$', '') AS {kind}))"
        )
    return f"CASE WHEN {name} = try_cast({name} AS bigint) THEN try_cast({name} AS {kind}) END"


def _year(kind: DataType) -> str:
    """Write SQL for the year of a movie, null where there is none."""
    if isinstance(kind, _TIMES):
        return "year(year)"
    number = _whole_number("year", "int", isinstance(kind, StringType))
    if isinstance(kind, LongType):  # dates of pandas', in nanoseconds
        date = "year(timestamp_micros(year div 1000))"
        return f"CASE WHEN year BETWEEN -1e11D AND 1e11D THEN {number} ELSE {date} END"
    return number


def _timestamp(name: str, kind: DataType) -> str:
    """Write SQL for a timestamp, null where there is none."""
    rounded = f"try_cast({name} AS decimal(28, 6))"
    if isinstance(kind, NumericType):
        return _since_1970(rounded if isinstance(kind, DecimalType) else name)
    plain = f"try_cast({name} AS timestamp)"
    if isinstance(kind, StringType):
        number = _since_1970(rounded)
        return f"CASE WHEN {name} RLIKE '^-?[0-9]+([.][0-9]+)?$' THEN {number} ELSE {plain} END"
    return plain


def _since_1970(number: str) -> str:
    def within(bound: str) -> str:  # `abs` of the smallest integer is none
        return f"{number} > -{bound} AND {number} < {bound}"

    return (
        f"CASE WHEN {within('1e11D')} THEN timestamp_seconds({number})"
        f" WHEN {within('1e14D')} THEN timestamp_millis(cast({number} AS bigint))"
        f" WHEN {within('1e17D')} THEN timestamp_micros(cast({number} AS bigint))"
        f" WHEN {number} BETWEEN 0 AND 9.2e18D THEN timestamp_micros(cast({number} AS bigint) div 1000) END"
    )
