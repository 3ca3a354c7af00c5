"""MovieLens files as they are published, byte for byte."""

from __future__ import annotations

import bz2
import gzip
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import Row, SparkSession

from sources_oracle import read_line
from tastemap import schemas
from tastemap.config import SourceConfig
from tastemap.errors import UserError
from tastemap.filesystem import reading
from tastemap.sources import RatingLog, open_log, reasons

FIELDS = ("user_id", "movie_id", "rating", "seconds")
# ml-latest, ml-20m, ml-25m, ml-32m; CRLF as in ml-latest-small.
RATINGS_CSV = (
    b"userId,movieId,rating,timestamp\r\n"
    b"1,31,2.5,1260759144\r\n1,1029,3.0,1260759179\r\n671,6565,3.5,1074784724\r\n"
)
MOVIES_CSV = (
    "movieId,title,genres\r\n"
    "1,Toy Story (1995),Adventure|Animation|Children|Comedy|Fantasy\r\n"
    '11,"American President, The (1995)",Comedy|Drama|Romance\r\n'
    '2572,"""Great Performances"" Cats (1998)",Musical\r\n'
    "2160,Misérables in Concert — 東京 (1998) ,Drama\r\n"
    "171749,Death Note: Desu nôto (2006–2007),(no genres listed)\r\n"
    "40697,Babylon 5,Sci-Fi\r\n"
    "9000,(2001),Drama\r\n"
).encode()
CSV_MOVIES = [
    (1, "Toy Story", 1995, ["Adventure", "Animation", "Children", "Comedy", "Fantasy"]),
    (11, "American President, The", 1995, ["Comedy", "Drama", "Romance"]),
    (2160, "Misérables in Concert — 東京", 1998, ["Drama"]),
    (2572, '"Great Performances" Cats', 1998, ["Musical"]),
    (9000, "(2001)", 2001, ["Drama"]),
    (40697, "Babylon 5", None, ["Sci-Fi"]),
    (171749, "Death Note: Desu nôto", 2006, []),
]
RATINGS_DAT = b"1::1193::5::978300760\n1::661::3::978302109\n6040::1097::4::956715569\n"
U_DATA = b"196\t242\t3\t881250949\n186\t302\t3\t891717742\n943\t1330\t3\t888692465\n"
FLAGS = {1: (3, 4, 5), 2: (1, 2, 16), 267: (0,)}
U_ITEM = "".join(
    f"{movie}|{title}|{released}||{url}|{'|'.join(str(int(i in FLAGS[movie])) for i in range(19))}\n"
    for movie, title, released, url in (
        (1, "Toy Story (1995)", "01-Jan-1995", "http://us.imdb.com/M/title-exact?Toy%20Story%20(1995)"),
        (2, "Cité des enfants perdus, La (1995)", "01-Jan-1995", "http://us.imdb.com/M/title-exact"),
        (267, "unknown", "", ""),
    )
).encode("latin-1")


def taken(log: RatingLog) -> list[tuple]:
    """Ratings, which are the same whether workers read the files themselves or Spark does."""
    found = read(log)
    if log.local is not None:
        assert found == read(replace(log, local=None))
    return found


def rejects_of(log: RatingLog) -> list[Row]:
    found = log.parsed().where("reason IS NOT NULL").orderBy("raw").collect()
    if log.local is not None:
        assert found == replace(log, local=None).parsed().where("reason IS NOT NULL").orderBy("raw").collect()
    return found


def read(log: RatingLog) -> list[tuple]:
    found = log.parsed().where("reason IS NULL").orderBy("user_id", "movie_id").collect()
    return [(r.user_id, r.movie_id, r.rating, r.rated_at.astimezone(UTC)) for r in found]


def movies(log: RatingLog) -> list[tuple]:
    assert log.movies is not None
    return sorted((r.movie_id, r.title, r.year, r.genres) for r in log.movies.frame.collect())


def oracle(text: bytes, separator: str) -> list[tuple]:
    lines = [line for line in text.decode().splitlines() if line[0].isdigit()]
    return sorted(read_line(line, separator, FIELDS, (0.5, 5.0))[:4] for line in lines)


def write(folder: Path, **files: bytes) -> str:
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return str(folder)


@pytest.mark.parametrize("end", [b"\r\n", pytest.param(b"\n", marks=pytest.mark.smoke)])
def test_csv(spark: SparkSession, tmp_path: Path, end: bytes) -> None:
    text, titles = RATINGS_CSV.replace(b"\r\n", end), MOVIES_CSV.replace(b"\r\n", end)
    path = write(tmp_path, ratings__csv=text, movies__csv=titles, tags__csv=b"userId,movieId,tag,timestamp\n")
    log = open_log(spark, [path], SourceConfig())
    assert log.local is not None
    assert (log.form, log.scale, log.n_bytes) == ("movielens", (0.5, 5.0), len(text))
    assert log.parsed().schema == schemas.PARSED
    assert taken(log) == oracle(text, ",")
    assert taken(log)[0] == (1, 31, 2.5, datetime(2009, 12, 14, 2, 52, 24, tzinfo=UTC))
    assert movies(log) == CSV_MOVIES
    assert log.movies is not None and log.movies.frame.schema == schemas.MOVIES
    assert log.skipped == ("tags.csv: not needed beside the published files",)


def test_a_list_of_movies_that_is_gone_when_it_is_needed(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path, ratings__csv=RATINGS_CSV, movies__csv=MOVIES_CSV)
    log = open_log(spark, [path], SourceConfig())
    Path(path, "movies.csv").unlink()
    with pytest.raises(UserError, match=r"the list of movies cannot be read: .*/movies\.csv"):
        log.movies  # noqa: B018


def test_dat_in_latin_1_and_in_utf_8(spark: SparkSession, tmp_path: Path) -> None:
    title = (
        "1::Misérables, Les (1995)::Drama|Musical\n2::Star Wars: Episode I (1999)::Sci-Fi\n3::a::b (1980)::\n"
    )
    expected = [
        (1, "Misérables, Les", 1995, ["Drama", "Musical"]),
        (2, "Star Wars: Episode I", 1999, ["Sci-Fi"]),
        (3, "a::b", 1980, []),
    ]
    for encoding in ("latin-1", "utf-8"):  # ml-1m and ml-10m
        path = write(tmp_path, ratings__dat=RATINGS_DAT, movies__dat=title.encode(encoding))
        log = open_log(spark, [path], SourceConfig())
        assert taken(log) == oracle(RATINGS_DAT, "::")
        assert movies(log) == expected


def test_u_data_beside_its_splits(spark: SparkSession, tmp_path: Path) -> None:
    path = write(
        tmp_path, u__data=U_DATA, u__item=U_ITEM, u1__base=U_DATA, ua__test=U_DATA, u__genre=b"unknown|0\n"
    )
    log = open_log(spark, [path], SourceConfig())
    assert taken(log) == oracle(U_DATA, "\t")
    assert movies(log) == [
        (1, "Toy Story", 1995, ["Animation", "Children's", "Comedy"]),
        (2, "Cité des enfants perdus, La", 1995, ["Action", "Adventure", "Thriller"]),
        (267, "unknown", None, []),
    ]
    assert [line.split(":")[0] for line in log.skipped] == ["u.genre", "u1.base", "ua.test"]


def test_rejects_keep_line_file_and_reason(spark: SparkSession, tmp_path: Path) -> None:
    bad = {
        "1,2,5.5,964982703": "rating is off the scale 0.5 to 5",
        "1,,3.5,964982703": reasons.MOVIE_MISSING,
        "1,2,3.5": reasons.FIELDS,
        "Zoë,2,3.5,964982703": reasons.USER_UNREADABLE,
    }
    text = RATINGS_CSV + "".join(line + "\r\n" for line in bad).encode() + b"\r\n"
    (tmp_path / "ratings.csv").write_bytes(text)
    log = open_log(spark, [str(tmp_path / "ratings.csv")], SourceConfig())
    rejects = rejects_of(log)
    assert {row.raw: row.reason for row in rejects} == bad
    assert {row.source for row in rejects} == {f"file:{tmp_path}/ratings.csv"}
    assert all(row.user_id is None and row.rating is None and row.position is None for row in rejects)
    assert taken(log) == oracle(RATINGS_CSV, ",")
    assert log.movies is None


def test_a_scale_of_ones_own(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_bytes(RATINGS_CSV)
    log = open_log(spark, [str(tmp_path)], SourceConfig(rating_min=3, rating_max=3.2))
    assert log.scale == (3, 3.2)
    assert [row[2] for row in taken(log)] == [3.0]


@pytest.mark.parametrize("bytes_a_split", [19, 100])
def test_split_borders_anywhere(spark: SparkSession, tmp_path: Path, bytes_a_split: int) -> None:
    text = b"userId,movieId,rating,timestamp\r\n" + b"".join(
        b"%d,%d,%.1f,%d\r\n" % (i % 13, i, 0.5 + i % 10 / 2, 10**9 + i) for i in range(30)
    )
    (tmp_path / "ratings.csv").write_bytes(text)
    previous = spark.conf.get("spark.sql.files.maxPartitionBytes")
    spark.conf.set("spark.sql.files.maxPartitionBytes", str(bytes_a_split))
    try:
        log = open_log(spark, [str(tmp_path)], SourceConfig())
        assert log.records.rdd.getNumPartitions() > 5
        assert taken(log) == oracle(text, ",")
        assert log.parsed().count() == 30
    finally:
        spark.conf.set("spark.sql.files.maxPartitionBytes", previous)


def test_several_files_with_headers_compressed_or_not(spark: SparkSession, tmp_path: Path) -> None:
    lines = [b"userId,movieId,rating,timestamp\n%d,1,3.0,99\nbad %d\n" % (i, i) for i in range(5)]
    for name in "abcde":
        (tmp_path / name).mkdir()
    (tmp_path / "a/ratings.csv").write_bytes(lines[0])
    (tmp_path / "b/ratings.csv.gz").write_bytes(gzip.compress(lines[1]))
    (tmp_path / "c/ratings.csv.bz2").write_bytes(bz2.compress(lines[2]))
    (tmp_path / "d/ratings.csv").write_bytes(b"\xef\xbb\xbf" + lines[3])
    (tmp_path / "e/ratings.csv.deflate").write_bytes(zlib.compress(lines[4]))
    log = open_log(spark, [str(tmp_path)], SourceConfig())
    assert [row[0] for row in taken(log)] == [0, 1, 2, 3, 4]
    assert log.local is None  # workers do not undo compression
    rejects = {row.raw: row.source for row in rejects_of(log)}
    assert {raw: Path(source).parent.name for raw, source in rejects.items()} == {
        "bad 0": "a", "bad 1": "b", "bad 2": "c", "bad 3": "d", "bad 4": "e",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["log", "o'brien"])
def test_a_file_that_is_gone_when_it_is_read(spark: SparkSession, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "ratings.csv").write_bytes(RATINGS_CSV)
    log = open_log(spark, [str(folder)], SourceConfig())
    (folder / "ratings.csv").unlink()
    told = rf"^the log cannot be read: No such file or directory: .*/{name}/ratings\.csv['\"]$"
    with pytest.raises(UserError, match=told), reading("the log"):
        log.parsed().collect()


def test_the_estimate_is_near(spark: SparkSession, movielens_small: Path) -> None:
    log = open_log(spark, [str(movielens_small)], SourceConfig())
    assert log.parsed().where("reason IS NULL").count() == 100_836
    assert 0.5 < log.n_ratings_estimate / 100_836 < 2
    assert log.movies is not None and log.movies.frame.count() == 9742
