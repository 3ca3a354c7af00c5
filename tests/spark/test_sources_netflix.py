"""Netflix Prize files as they were published, with the borders of splits everywhere."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from sources_oracle import Row, read_netflix
from tastemap import schemas
from tastemap.config import SourceConfig
from tastemap.executors import map_in_arrow
from tastemap.filesystem import FileSystem
from tastemap.sources import RatingLog, netflix, open_log, reasons
from tastemap.sources.files import splits_of

COMBINED = b"1:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n885013,4,2005-10-19\n2:\n2059652,4,2005-09-05\n"
TITLES = (
    "1,2003,Dinosaur Planet\n"
    "2,2004,Isle of Man TT 2004 Review\n"
    "72,1974,At Home Among Strangers, A Stranger Among His Own\n"
    "4388,NULL,Ancient Civilizations: Rome, Pompeii\n"
    "17764,1998,Shakespeare, Gwyneth & Déjà Vu\n"
)


def log_text(n_movies: int, mean: float, seed: int = 0, end: bytes = b"\n") -> bytes:
    """Make a file of movies with many, few and no ratings, and of lines that are none."""
    rng = np.random.default_rng(seed)
    lines: list[bytes] = []
    for movie in range(1, n_movies + 1):
        lines.append(b"%d:" % movie)
        for _ in range(int(rng.exponential(mean)) if movie % 5 else 0):
            user, stars, day = rng.integers(1, 2649430), rng.integers(1, 6), rng.integers(1, 29)
            lines.append(b"%d,%d,2004-0%d-%02d" % (user, stars, rng.integers(1, 10), day))
        if movie % 7 == 0:
            lines.append([b"12:34,foo", b"bad", b"5,9,2004-01-01", b"x1:", b""][movie // 7 % 5])
    return end.join(lines) + end


def rows(log: RatingLog) -> list[Row]:
    """Ratings and rejects, which are the same whether workers read the files themselves or Spark does."""
    found = read(log)
    if log.local is not None:
        assert found == read(replace(log, local=None))
    return found


def read(log: RatingLog) -> list[Row]:
    found = log.parsed().collect()
    times = (row.rated_at and row.rated_at.astimezone(UTC) for row in found)
    read = [(r.user_id, r.movie_id, r.rating, t, r.raw, r.reason) for r, t in zip(found, times, strict=True)]
    return in_order(read)


def in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=repr)


@pytest.fixture
def split_bytes(spark: SparkSession) -> Iterator[object]:
    """Set the size of splits for one test."""
    keys = ("spark.sql.files.maxPartitionBytes", "spark.sql.files.openCostInBytes")
    previous = [spark.conf.get(key) for key in keys]

    def set_bytes(n: int) -> None:
        spark.conf.set(keys[0], str(n))
        spark.conf.set(keys[1], "1")

    yield set_bytes
    for key, value in zip(keys, previous, strict=True):
        spark.conf.set(key, value)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("final", [pytest.param(True, marks=pytest.mark.smoke), False])
def test_combined_data_and_titles(spark: SparkSession, tmp_path: Path, end: bytes, final: bool) -> None:
    text = COMBINED.replace(b"\n", end) if final else COMBINED.replace(b"\n", end).removesuffix(end)
    (tmp_path / "combined_data_1.txt").write_bytes(text)
    (tmp_path / "combined_data_2.txt").write_bytes(text.replace(b"2:", b"17764:").replace(b"1:", b"4388:", 1))
    (tmp_path / "movie_titles.csv").write_bytes(TITLES.encode("latin-1"))
    (tmp_path / "probe.txt").write_bytes(b"1:\n30878\n2647871\n")
    (tmp_path / "qualifying.txt").write_bytes(b"1:\n1046323,2005-12-19\n")
    log = open_log(spark, [str(tmp_path)], SourceConfig())
    assert (log.form, log.scale) == ("netflix", (1.0, 5.0))
    assert log.parsed().schema == schemas.PARSED
    expected = read_netflix(text)
    assert expected[0][:3] == (1488844, 1, 3.0)
    renamed = [(row[0], {1: 4388, 2: 17764}[row[1]], *row[2:]) for row in expected]
    assert rows(log) == in_order(expected + renamed)
    assert [line.split(":")[0] for line in log.skipped] == ["probe.txt", "qualifying.txt"]
    assert log.movies is not None
    assert sorted(map(tuple, log.movies.frame.collect())) == [
        (1, "Dinosaur Planet", 2003, []),
        (2, "Isle of Man TT 2004 Review", 2004, []),
        (72, "At Home Among Strangers, A Stranger Among His Own", 1974, []),
        (4388, "Ancient Civilizations: Rome, Pompeii", None, []),
        (17764, "Shakespeare, Gwyneth & Déjà Vu", 1998, []),
    ]


@pytest.mark.parametrize(
    ("n_movies", "mean", "size"), [(8, 2.0, 23), (30, 4.0, 150), (3, 60.0, 120), (60, 30.0, 4000)]
)
@pytest.mark.parametrize("seen", [True, False])  # by workers, as on a disk of this machine
def test_split_borders_anywhere(
    spark: SparkSession,
    tmp_path: Path,
    split_bytes: object,
    monkeypatch: pytest.MonkeyPatch,
    n_movies: int,
    mean: float,
    size: int,
    seen: bool,
) -> None:
    if not seen:
        monkeypatch.setattr(FileSystem, "local_path", lambda self, path: None)
    texts = [log_text(n_movies, mean, seed, [b"\n", b"\r\n"][seed]) for seed in range(2)]
    folder = tmp_path / "50% of it, ünd mehr"
    folder.mkdir()
    for i, text in enumerate(texts):
        (folder / f"combined_data_{i + 1}.txt").write_bytes(text)
    split_bytes(size)  # type: ignore[operator]
    log = open_log(spark, [str(folder)], SourceConfig())
    assert isinstance(log.parse, netflix.NetflixParser) and (log.local is not None) is seen
    # A split that begins inside a record has none of its own if the record outlasts it.
    assert len(log.parse.borders) > 4
    assert {path.rpartition("/")[2] for path, _ in log.parse.borders} == {
        "combined_data_1.txt",
        "combined_data_2.txt",
    }
    assert rows(log) == in_order([row for text in texts for row in read_netflix(text)])


def test_files_that_are_not_split_are_not_read_for_borders(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "combined_data_1.txt").write_bytes(COMBINED)
    log = open_log(spark, [str(tmp_path)], SourceConfig())
    assert isinstance(log.parse, netflix.NetflixParser) and log.parse.borders == {}


def test_splits_stay_when_cores_arrive(spark: SparkSession, tmp_path: Path, split_bytes: object) -> None:
    """The number of cores decides on the size of splits until it is pinned."""
    text = log_text(20, 5.0)
    (tmp_path / "combined_data_1.txt").write_bytes(text)
    split_bytes(200)  # type: ignore[operator]
    log = open_log(spark, [str(tmp_path)], SourceConfig())
    assert spark.conf.get("spark.sql.files.minPartitionNum") is not None
    spark.conf.set("spark.sql.leafNodeDefaultParallelism", "50")
    try:
        assert rows(log) == in_order(read_netflix(text))
    finally:
        spark.conf.unset("spark.sql.leafNodeDefaultParallelism")


def test_bzip2_is_split_and_gzip_is_not(spark: SparkSession, tmp_path: Path, split_bytes: object) -> None:
    text = log_text(40, 800.0)
    assert len(text) > 400_000  # several blocks of bzip2 at level 1
    for name, content in (("bz2", bz2.compress(text, 1)), ("gz", gzip.compress(text))):
        (tmp_path / f"{name} file").mkdir()
        (tmp_path / f"{name} file" / f"combined_data_1.txt.{name}").write_bytes(content)
    expected = in_order(read_netflix(text))
    split_bytes(30_000)  # type: ignore[operator]
    log = open_log(spark, [str(tmp_path / "bz2 file")], SourceConfig())
    assert isinstance(log.parse, netflix.NetflixParser)
    assert len(log.parse.borders) > 2
    assert rows(log) == expected
    assert 1 / 3 < log.n_ratings_estimate / len(expected) < 3
    log = open_log(spark, [str(tmp_path / "gz file")], SourceConfig())
    assert rows(log) == expected
    assert 1 / 3 < log.n_ratings_estimate / len(expected) < 3


def test_mv_files_in_a_directory_below(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "training_set"
    folder.mkdir()
    texts = [b"%d:\n" % i + b"%d,3,2005-01-01\n" % (i * 10) * (i % 3) for i in range(1, 121)]
    for i, text in enumerate(texts):
        (folder / f"mv_{i + 1:07d}.txt").write_bytes(text)
    (tmp_path / "movie_titles.txt").write_bytes(TITLES.encode("latin-1"))
    (tmp_path / "README").write_bytes(b"SUMMARY\n")
    log = open_log(spark, [str(tmp_path)], SourceConfig())
    assert len(log.files) == 120 and log.skipped == ("README: not needed beside the published files",)
    assert rows(log) == in_order([row for text in texts for row in read_netflix(text)])
    assert log.movies is not None and log.movies.frame.count() == 5
    # The same files, by a pattern and one by one.
    pattern = open_log(spark, [f"{folder}/mv_*.txt"], SourceConfig())
    single = open_log(spark, sorted(map(str, folder.iterdir())), SourceConfig())
    assert pattern.files == single.files == log.files
    assert rows(pattern) == rows(single) == rows(log)


@pytest.mark.parametrize("open_cost", [1, 60])
def test_workers_give_what_spark_gives(
    spark: SparkSession, tmp_path: Path, split_bytes: object, open_cost: int
) -> None:
    """Record by record, with the place of its split; and in the same tasks."""
    folder = tmp_path / "50% of it, %20 ünd mehr"
    folder.mkdir()
    for i, n_movies in enumerate([20, 3, 11, 1, 2, 4, 6]):
        (folder / f"combined_data_{i}.txt").write_bytes(log_text(n_movies, 5.0, i))
    split_bytes(300)  # type: ignore[operator]
    spark.conf.set("spark.sql.files.openCostInBytes", str(open_cost))
    log = open_log(spark, [str(folder)], SourceConfig())
    assert log.local is not None
    expected = log.records.withColumn("value", F.col("value").cast("binary"))
    records = map_in_arrow(log.local.task_numbers(spark), log.local, expected.schema)
    assert len(log.local.tasks) == log.records.rdd.getNumPartitions() > 10
    assert log.local.splits == splits_of(log.records)
    found = [(record, *row[1:]) for row in records.collect() for record in bytes(row[0]).split(b":")]
    assert sorted(found) == sorted((bytes(row[0]), *row[1:]) for row in expected.collect())


def test_rejects_come_with_their_file(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "combined_data_1.txt").write_bytes(COMBINED)
    (tmp_path / "combined_data_2.txt").write_bytes(b"7,3,2005-01-01\n9:\n7,6,2005-01-01\n\xe9t\xe9\n")
    log = open_log(spark, [str(tmp_path)], SourceConfig())
    assert rows(log)
    rejects = log.parsed().where("reason IS NOT NULL").orderBy("raw").collect()
    assert replace(log, local=None).parsed().where("reason IS NOT NULL").orderBy("raw").collect() == rejects
    assert [(row.raw, row.reason) for row in rejects] == [
        ("7,3,2005-01-01", reasons.NO_HEADER),
        ("7,6,2005-01-01", "rating is off the scale 1 to 5"),
        ("�t�", reasons.FIELDS),
    ]
    assert {row.source for row in rejects} == {f"file:{tmp_path}/combined_data_2.txt"}


def test_one_python_pass_and_no_shuffle(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "combined_data_1.txt").write_bytes(COMBINED)
    log = open_log(spark, [str(tmp_path)], SourceConfig())

    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"n": [sum(batch.num_rows for batch in batches)]})

    counted = map_in_arrow(*log.passed_to(count), "n long")
    assert sum(row.n for row in counted.collect()) == 4
    counted.explain()
    plan = capsys.readouterr().out
    assert plan.count("MapInArrow") == 1 and "Exchange" not in plan
