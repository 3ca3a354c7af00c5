"""Tables of one's own, Parquet and CSV, and what `prepare_ratings` writes."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tastemap import schemas
from tastemap.config import SourceConfig
from tastemap.errors import UserError
from tastemap.executors import map_in_arrow
from tastemap.filesystem import reading
from tastemap.sources import RatingLog, open_log, reasons
from tastemap.sources.lines import RAW_LENGTH

WHEN = datetime(2005, 9, 6, 12, 30, 0, tzinfo=UTC)


def taken(log: RatingLog) -> list[tuple]:
    found = log.parsed().where("reason IS NULL").orderBy("user_id", "movie_id").collect()
    return [(r.user_id, r.movie_id, r.rating, r.rated_at and r.rated_at.astimezone(UTC)) for r in found]


def as_they_are(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches


def rejected(log: RatingLog) -> dict[str, str]:
    found = log.parsed().collect()
    passed = map_in_arrow(*log.passed_to(as_they_are), schemas.PARSED)
    assert Counter(passed.collect()) == Counter(found)
    return {row.raw: row.reason for row in found if row.reason is not None}


def parquet(path: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


NAMED = SourceConfig(
    user_column="viewer", movie_column="film.id", rating_column="stars", time_column="seen at"
)


@pytest.mark.smoke
def test_the_text_of_a_reject_is_cut(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(f"userId,movieId,rating,review\n1,2,x,{'long ' * 1000}\n1,2,3,\n")
    config = SourceConfig(format="csv", user_column="userId", movie_column="movieId")
    found = open_log(spark, [str(tmp_path / "r.csv")], config, None).parsed().toPandas()
    (raw,) = found["raw"].dropna()
    assert raw == f"1,2,x,{'long ' * 1000}"[:RAW_LENGTH]


def test_csv_with_names_of_ones_own(spark: SparkSession, tmp_path: Path) -> None:
    lines = [
        'stars;title;viewer;"film.id";seen at',
        '4.5;"Heat; or ""not""";1;10;2005-09-06T12:30:00Z',
        "3;;2.0;10;1126009800",
        "5;;3;11;",
    ]
    bad = {
        "5;x;3": reasons.FIELDS,
        "5;x;4;12;2005-09-06;more": reasons.FIELDS,
        '"Señor";"\\n 東京";7': reasons.FIELDS,
        "5;x;anna;12;2005-09-06": reasons.USER_UNREADABLE,
        "5;x;1.5;12;2005-09-06": reasons.USER_UNREADABLE,
        "5;x;;12;2005-09-06": reasons.USER_MISSING,
        "5;x;4;99999999999;2005-09-06": reasons.MOVIE_UNREADABLE,
        "5;x;4;;2005-09-06": reasons.MOVIE_MISSING,
        ";x;4;12;2005-09-06": reasons.RATING_MISSING,
        "good;x;4;12;2005-09-06": reasons.RATING_UNREADABLE,
        "NaN;x;4;12;2005-09-06": reasons.RATING_UNREADABLE,
        "7;x;4;12;2005-09-06": "rating is off the scale 0.5 to 5",
        "4;x;4;12;yesterday": reasons.TIME_UNREADABLE,
    }
    (tmp_path / "log.csv").write_text("\r\n".join([*lines, *bad]) + "\r\n")
    log = open_log(spark, [str(tmp_path / "log.csv")], NAMED)
    assert (log.form, log.parse) == ("csv", None)
    assert [field.dataType for field in log.parsed().schema] == [field.dataType for field in schemas.PARSED]
    assert log.parsed().columns == schemas.PARSED.names
    assert taken(log) == [(1, 10, 4.5, WHEN), (2, 10, 3.0, WHEN), (3, 11, 5.0, None)]
    assert rejected(log) == bad
    # A consumer that asks for little must not make the reader overlook what is malformed.
    assert log.parsed().where("reason IS NULL").count() == 3
    assert log.parsed().groupBy("reason").count().count() == 1 + len(set(bad.values()))
    assert 0.5 < log.n_ratings_estimate / 15 < 2


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (None, None),
        (pa.array([WHEN], pa.timestamp("us", tz="UTC")), WHEN),
        (pa.array([WHEN.replace(tzinfo=None)], pa.timestamp("ms")), WHEN),
        (pa.array([WHEN], pa.timestamp("ns", tz="UTC")), WHEN),
        (pa.array([WHEN.replace(tzinfo=None)], pa.timestamp("ns")), WHEN),
        (pa.array([date(2005, 9, 6)]), WHEN.replace(hour=0, minute=0)),
        (pa.array([1126009800], pa.int32()), WHEN),
        (pa.array([1126009800.0]), WHEN),
        (pa.array([1126009800_000]), WHEN),
        (pa.array([1126009800_000_000]), WHEN),
        (pa.array([1126009800_000_000_999]), WHEN),
        (pa.array([1126009800_000_000_999], pa.uint64()), WHEN),
        (pa.array(["1126009800000000999"]), WHEN),
        (pa.array([Decimal("1126009800000000999")]), WHEN),
        (pa.array([Decimal("1126009800")]), WHEN),
        (pa.array([Decimal("1126009800.00000001")]), WHEN),
        (pa.array(["2005-09-06 12:30:00"]), WHEN),
        (pa.array(["1126009800"]), WHEN),
        (pa.array(["2005-09-06"]), WHEN.replace(hour=0, minute=0)),
        (pa.array([None], pa.string()), None),
        (pa.array([" "]), None),
    ],
    ids=lambda value: str(getattr(value, "type", ""))[:20],
)
def test_times_of_every_type(
    spark: SparkSession, tmp_path: Path, times: Any, expected: datetime | None
) -> None:
    columns = {"user_id": [1], "movie_id": [2], "rating": [3]} | (
        {} if times is None else {"rated_at": times}
    )
    log = open_log(spark, [parquet(tmp_path / "x.parquet", **columns)], SourceConfig())
    assert taken(log) == [(1, 2, 3.0, expected)]


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.int64(), pa.uint32(), pa.float32(), pa.float64(), pa.decimal128(21, 2), pa.string()],
    ids=str,
)
def test_numbers_of_every_type(spark: SparkSession, tmp_path: Path, kind: pa.DataType) -> None:
    column = pa.array([1, 2, 3]).cast(pa.int64()).cast(kind)
    path = parquet(tmp_path / "x.parquet", user_id=column, movie_id=column, rating=column)
    log = open_log(spark, [path], SourceConfig())
    assert taken(log) == [(1, 1, 1.0, None), (2, 2, 2.0, None), (3, 3, 3.0, None)]
    assert log.n_ratings_estimate == 3


def test_parquet_rejects(spark: SparkSession, tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "x.parquet",
        user_id=[1.0, 2.5, None, float("nan"), 1e300, 5.0, 6.0, 7.0],
        movie_id=pa.array([1, 1, 1, 1, 1, 2**31, None, 1], pa.int64()),
        rating=[3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, float("nan")],
    )
    log = open_log(spark, [path], SourceConfig())
    found = [(json.loads(raw).get("user_id"), reason) for raw, reason in rejected(log).items()]
    assert dict(found) == {
        "NaN": reasons.USER_UNREADABLE,
        1e300: reasons.USER_UNREADABLE,
        2.5: reasons.USER_UNREADABLE,
        None: reasons.USER_MISSING,
        5.0: reasons.MOVIE_UNREADABLE,
        6.0: reasons.MOVIE_MISSING,
        7.0: reasons.RATING_UNREADABLE,
    }
    assert taken(log) == [(1, 1, 3.0, None)]
    assert {row.source for row in log.parsed().where("reason IS NOT NULL").collect()} == {f"file:{path}"}


def test_numbers_that_are_no_times(spark: SparkSession, tmp_path: Path) -> None:
    """What pandas makes of a missing time, when it is cast to whole numbers, and the largest there is."""
    times = pa.array([-(2**63), 2**63 - 1, 1126009800])
    columns = {"user_id": [1, 2, 3], "movie_id": [1, 1, 1], "rating": [3, 3, 3]}
    log = open_log(spark, [parquet(tmp_path / "x.parquet", **columns, rated_at=times)], SourceConfig())
    assert taken(log) == [(3, 1, 3.0, WHEN)]
    assert set(rejected(log).values()) == {reasons.TIME_UNREADABLE}


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_times_that_are_not_there(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str
) -> None:
    frame = pd.DataFrame({"user_id": [1], "movie_id": [2], "rating": [3], "seen": [1126009800]})
    path = tmp_path / f"log.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    with caplog.at_level("INFO"):
        assert taken(open_log(spark, [str(path)], SourceConfig())) == [(1, 2, 3.0, None)]
    told = "no times are read, for there is no column rated_at; name it by --time-column"
    assert caplog.messages.count(told) == 1
    caplog.clear()
    with caplog.at_level("INFO"):
        assert taken(open_log(spark, [str(path)], SourceConfig(time_column="seen"))) == [(1, 2, 3.0, WHEN)]
    assert not any("no times" in message for message in caplog.messages)
    with pytest.raises(UserError, match=r"has no column sene; .* name yours with --time-column"):
        open_log(spark, [str(path)], SourceConfig(time_column="sene"))


def test_a_scale_that_floats_cannot_hold(spark: SparkSession, tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", user_id=[1, 2, 3], movie_id=[1, 1, 1], rating=[0.1, 0.7, 0.71])
    log = open_log(spark, [path], SourceConfig(rating_min=0.1, rating_max=0.7))
    assert [row[0] for row in taken(log)] == [1, 2]


def test_pandas_writes_what_we_read(spark: SparkSession, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"user_id": [1, None], "movie_id": [5, 6], "rating": [4, 5], "rated_at": [WHEN, WHEN]}
    )
    frame.to_csv(tmp_path / "log.csv", index=False)  # 1.0,5,4,2005-09-06 12:30:00+00:00
    log = open_log(spark, [str(tmp_path / "log.csv")], SourceConfig())
    assert taken(log) == [(1, 5, 4.0, WHEN)]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_missing_columns_are_named_with_their_options(
    spark: SparkSession, tmp_path: Path, suffix: str
) -> None:
    frame = pd.DataFrame({"customer": [1], "movie_id": [2], "stars": [3]})
    path = tmp_path / f"log.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    with pytest.raises(UserError) as caught:
        open_log(spark, [str(path)], SourceConfig())
    assert str(caught.value) == (
        f"file:{path} has no column user_id, rating; its columns are customer, movie_id, stars; "
        "name yours with --user-column, --rating-column"
    )


def test_a_column_of_an_impossible_type(spark: SparkSession, tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", user_id=[[1]], movie_id=[True], rating=[3])
    with pytest.raises(UserError) as caught:
        open_log(spark, [path], SourceConfig())
    assert caught.value.faults == (
        "column user_id is of type array<bigint>; allowed: a number or text",
        "column movie_id is of type boolean; allowed: a number or text",
    )


def test_a_header_that_names_a_column_twice(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,movie_id,rating,x,x\n1,2,3,4,5\n")
    with pytest.raises(UserError, match=r"log\.csv names x twice"):
        open_log(spark, [str(tmp_path / "log.csv")], SourceConfig())


def test_files_whose_columns_stand_in_another_order_are_not_read_askew(
    spark: SparkSession, tmp_path: Path
) -> None:
    for i in range(6):  # so many that one speaks for all
        (tmp_path / f"part{i}.csv").write_text("user_id,movie_id,rating\n1,2,3\n")
    (tmp_path / "part6.csv").write_text("movie_id,user_id,rating\n2,1,3\n")
    log = open_log(spark, [str(tmp_path)], SourceConfig())
    with (
        pytest.raises(UserError, match=r"^the log cannot be read: .*CSV header") as error,
        reading("the log"),
    ):
        log.parsed().collect()
    assert "part6.csv" in str(error.value)


def test_an_archive_that_breaks_off(spark: SparkSession, tmp_path: Path) -> None:
    lines = "user_id,movie_id,rating\n" + "".join(f"{i},{i * i},3.5\n" for i in range(40_000))
    whole = gzip.compress(lines.encode())
    (tmp_path / "log.csv.gz").write_bytes(whole[: len(whole) // 2])
    log = open_log(spark, [str(tmp_path)], SourceConfig())
    told = "the log cannot be read: .*Unexpected end of input stream"
    with pytest.raises(UserError, match=told), reading("the log"):
        log.parsed().collect()


def test_what_is_no_fault_of_files_is_not_said_to_be() -> None:
    with pytest.raises(ZeroDivisionError), reading("the log"):
        1 / 0  # noqa: B018


def test_times_of_no_year_that_is_written(spark: SparkSession, tmp_path: Path) -> None:
    """Milliseconds cast to timestamps as if they were seconds, and the last time there is."""
    times = pa.array([10**6 * 1_100_000_000_000, 2**63 - 1, 10**6 * 1_100_000_000], pa.timestamp("us"))
    columns = {"user_id": [1, 2, 3], "movie_id": [1, 1, 1], "rating": [3, 3, 3]}
    path = parquet(tmp_path / "x.parquet", **columns, rated_at=times)
    log = open_log(spark, [path], SourceConfig())
    assert [row[0] for row in taken(log)] == [3]
    assert log.parsed().where(F.col("reason") == reasons.TIME_UNREADABLE).count() == 2


@pytest.mark.parametrize("named", ["", "/ratings"])
def test_prepared_tables_come_with_their_movies(spark: SparkSession, tmp_path: Path, named: str) -> None:
    ratings = spark.createDataFrame([(1, 2, 3.5, WHEN), (2, 2, 4.0, None)], schemas.RATINGS)
    movies = spark.createDataFrame([(2, "Heat", 1995, ["Crime"]), (3, "Untitled", None, [])], schemas.MOVIES)
    ratings.write.parquet(str(tmp_path / "out/ratings"))
    movies.write.parquet(str(tmp_path / "out/movies"))
    spark.createDataFrame([("f", None, "x", "y")], schemas.REJECTS).write.parquet(
        str(tmp_path / "out/rejects")
    )
    (tmp_path / "out/run.json").write_text("{}")
    log = open_log(spark, [f"{tmp_path}/out{named}"], SourceConfig())
    assert log.form == "parquet"
    assert taken(log) == [(1, 2, 3.5, WHEN), (2, 2, 4.0, None)]
    assert log.n_ratings_estimate == 2
    assert log.movies is not None
    assert sorted(map(tuple, log.movies.frame.collect())) == [
        (2, "Heat", 1995, ["Crime"]),
        (3, "Untitled", None, []),
    ]
    assert all("rejects/" in line or "run.json" in line for line in log.skipped)


def test_movies_of_ones_own(spark: SparkSession, tmp_path: Path) -> None:
    ratings = parquet(tmp_path / "log.parquet", user_id=[1], movie_id=[2], rating=[3])
    (tmp_path / "films.csv").write_text(
        'movie_id,title,year,genres\n2,"Heat, the",1995,Crime|Drama\nx,Lost,,\n3,,,\n'
    )
    (tmp_path / "films2.csv").write_text("movie_id,title\n2,Zulu\n2,Alien\n")
    log = open_log(spark, [ratings], SourceConfig(), str(tmp_path / "films.csv"))
    assert log.movies is not None
    assert list(map(tuple, log.movies.frame.collect())) == [(2, "Heat, the", 1995, ["Crime", "Drama"])]
    parquet(tmp_path / "films.parquet", movie_id=[2.0, -7.0, 2.5], title=["Zulu", "Below", "Half"])
    log = open_log(spark, [ratings], SourceConfig(), str(tmp_path / "films.parquet"))
    assert log.movies is not None
    found = {row.movie_id: row.title for row in log.movies.frame.collect()}
    assert found == {-7: "Below", 2: "Zulu"}
    log = open_log(spark, [ratings], SourceConfig(), str(tmp_path / "films2.csv"))
    assert log.movies is not None
    assert list(map(tuple, log.movies.frame.collect())) == [(2, "Alien", None, [])]


@pytest.mark.parametrize(
    ("years", "expected"),
    [
        (["1995.0", "1995", "20030101", "0", "MCMXCV"], [1995, 1995, None, None, None]),
        ([1995.0, 1995.5, None, 1e300, 1800.0], [1995, None, None, None, 1800]),
        ([date(1995, 5, 6), None, date(1799, 1, 1), None, None], [1995, None, None, None, None]),
        (pa.array([WHEN, None, None, None, None], pa.timestamp("us", tz="UTC")), [2005] + 4 * [None]),
        (
            pa.array([WHEN, None, datetime(1950, 1, 1), datetime(1971, 1, 1), None], pa.timestamp("ns")),
            [2005, None, 1950, 1971, None],
        ),
    ],
)
def test_years_of_every_type(spark: SparkSession, tmp_path: Path, years: Any, expected: list) -> None:
    ratings = parquet(tmp_path / "log.parquet", user_id=[1], movie_id=[2], rating=[3])
    titles = [f"title {n}" for n in range(len(years))]
    films = parquet(tmp_path / "films.parquet", movie_id=list(range(len(years))), title=titles, year=years)
    movies = open_log(spark, [ratings], SourceConfig(), films).movies
    assert movies is not None
    assert [row.year for row in movies.frame.orderBy("movie_id").collect()] == expected


def test_a_year_of_an_impossible_type(spark: SparkSession, tmp_path: Path) -> None:
    ratings = parquet(tmp_path / "log.parquet", user_id=[1], movie_id=[2], rating=[3])
    films = parquet(tmp_path / "films.parquet", movie_id=[2], title=["Heat"], year=[[1995]])
    with pytest.raises(UserError, match=r"column year is of type array<bigint>; allowed: "):
        open_log(spark, [ratings], SourceConfig(), films)


def test_lines_of_movies_with_a_comma_too_many(spark: SparkSession, tmp_path: Path) -> None:
    ratings = parquet(tmp_path / "log.parquet", user_id=[1], movie_id=[2], rating=[3])
    (tmp_path / "films.csv").write_text(
        "movie_id,title,year,genres\n2,Heat, the,1995,Crime\n3,Zulu,1964,War\n4,Alien\n"
    )
    movies = open_log(spark, [ratings], SourceConfig(), str(tmp_path / "films.csv")).movies
    assert movies is not None
    found = sorted(map(tuple, movies.frame.collect()))
    assert found == [(3, "Zulu", 1964, ["War"]), (4, "Alien", None, [])]


def test_a_large_list_of_movies_is_no_single_tasks(spark: SparkSession, tmp_path: Path) -> None:
    ratings = parquet(tmp_path / "log.parquet", user_id=[1], movie_id=[2], rating=[3])
    listed = [(n % 50, f"title {n}", 1990 + n % 7, ["War", None, "", "War"]) for n in range(200)]
    schema = "movie_id int, title string, year int, genres array<string>"
    spark.createDataFrame([*listed, (None, "nobody's", None, None)], schema).repartition(7).write.parquet(
        str(tmp_path / "films")
    )
    movies = open_log(spark, [ratings], SourceConfig(), str(tmp_path / "films")).movies
    assert movies is not None
    first = {movie: min(f"title {n}" for n in range(movie, 200, 50)) for movie in range(50)}
    found = {row.movie_id: (row.title, row.genres) for row in movies.frame.collect()}
    assert found == {movie: (title, ["War"]) for movie, title in first.items()}
    assert movies.frame.count() == 50  # though those of a movie were in several files
    n_tasks = movies.source.rdd.glom().map(len).collect()
    assert len(n_tasks) == movies.n_partitions == spark.sparkContext.defaultParallelism
    assert max(n_tasks) < 200
