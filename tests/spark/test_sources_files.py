"""Finding files: directories, patterns, odd names, and the sentences for what is not there."""

from __future__ import annotations

import errno
import gzip
import os
import sys
from operator import attrgetter
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tastemap.config import SourceConfig
from tastemap.errors import UserError
from tastemap.sources import files, open_log
from tastemap.sources.files import HEAD_BYTES, StoredFile, find_files, for_reader, read_head

LOG = "userId,movieId,rating,timestamp\n1,2,3.5,99\n"
AUTO = SourceConfig()


def relative(files: list[StoredFile]) -> list[str]:
    return [file.relative for file in files]


def test_a_directory_with_all_below_it_but_not_what_is_hidden(spark: SparkSession, tmp_path: Path) -> None:
    for name in ("a.csv", "sub/b.csv", "_SUCCESS", ".a.csv.crc", "_temporary/c.csv", "empty.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("" if name == "empty.txt" else "xyz")
    found = find_files(spark, [f"{tmp_path}/"], "--ratings")
    assert [(file.relative, file.size, file.explicit) for file in found] == [
        ("a.csv", 3, False),
        ("sub/b.csv", 3, False),
    ]
    assert {file.root for file in found} == {f"file:{tmp_path}"}


def test_files_of_this_machine_are_listed_as_spark_lists_them(spark: SparkSession, tmp_path: Path) -> None:
    names = ["a.csv", "_hidden/b", "_a=1/c", ".d", "e/_f", "e/g=2/h", "_metadata", "i._COPYING_"]
    for name in [*names, "50% ü [x]/{y} *?", "empty"]:
        (tmp_path / "log" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "log" / name).write_text("" if name == "empty" else name)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/j").write_text("j")
    (tmp_path / "log/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "log/k").symlink_to(tmp_path / "log/a.csv")
    (tmp_path / "log/nowhere").symlink_to(tmp_path / "gone")
    for root in (f"file:{tmp_path}/log", f"file:{tmp_path}/log/a.csv", f"file:{tmp_path}/log/_hidden"):
        found, expected = files._list(spark, {root: root}), files._list_by_spark(spark, {root: root}, "*")
        assert sorted(found, key=attrgetter("path")) == sorted(expected, key=attrgetter("path")) != []
    assert files._list(spark, {f"file:{tmp_path}/log/empty": "file:"}) == []


def test_hidden_files_that_a_pattern_matches_or_that_are_given(spark: SparkSession, tmp_path: Path) -> None:
    for name in ("a.csv", "_a.csv", ".a.csv", "_old/b.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("xyz")
    assert relative(find_files(spark, [f"{tmp_path}/*"], "--ratings")) == ["a.csv"]
    with pytest.raises(UserError, match=r"--ratings .*/_\* matches no file"):
        find_files(spark, [f"{tmp_path}/_*"], "--ratings")
    for name in ("_a.csv", ".a.csv"):
        with pytest.raises(
            UserError, match=rf"--ratings .*/{name} is a file that Spark passes over, .* rename"
        ):
            find_files(spark, [f"{tmp_path}/{name}"], "--ratings")
        root = f"file:{tmp_path}/{name}"
        assert files._list_by_spark(spark, {root: root}, "*") == []
    assert relative(find_files(spark, [f"{tmp_path}/_old"], "--ratings")) == ["b.csv"]


def test_links_without_end_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text("xyz")
    (tmp_path / "x/there").symlink_to(tmp_path / "y")
    assert relative(find_files(spark, [f"{tmp_path}/x"], "--ratings")) == ["a.csv", "there/a.csv"]
    (tmp_path / "y/back").symlink_to(tmp_path / "x")
    with pytest.raises(UserError, match=r"/x/there/back is a link to a directory it is in"):
        find_files(spark, [f"{tmp_path}/x"], "--ratings")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_names_that_are_not_utf8(spark: SparkSession, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.csv")
    Path(path).write_text("1,2,3\n")
    for given in (str(tmp_path), path):
        with pytest.raises(UserError, match=r"caf.\.csv cannot be reached: Java takes only names in UTF-8"):
            open_log(spark, [given], AUTO)


def test_a_directory_that_cannot_be_listed(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refused)  # root may read what it likes
    with pytest.raises(UserError, match=rf"^{tmp_path} cannot be listed: Permission denied$"):
        find_files(spark, [str(tmp_path)], "--ratings")


@pytest.mark.smoke
def test_paths_patterns_and_uris_without_counting_a_file_twice(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a1.csv", "a2.csv", "b.csv"):
        (tmp_path / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path)
    for paths in (
        [f"{here}/a1.csv", f"file://{here}/a2.csv", f"{here}/a1.csv"],
        [f"{here}/a?.csv"],
        [f"{here}/{{a1,a2}}.csv", f"{here}/a1.csv"],
    ):
        assert [Path(file.path).name for file in find_files(spark, paths, "--ratings")] == [
            "a1.csv",
            "a2.csv",
        ]
    found = find_files(spark, [here, f"{here}/a1.csv"], "--ratings")
    assert {file.relative: file.explicit for file in found} == {
        "a1.csv": True,
        "a2.csv": False,
        "b.csv": False,
    }


@pytest.mark.parametrize("name", ["a b", "50%", "a+b", "[x]", "{y}", "st*r", "wh?t", "é", "#1", "a=1"])
def test_names_that_mean_something_to_spark(spark: SparkSession, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / f"{name}.txt").write_text(LOG + "bad\n")
    for path in (folder, folder / f"{name}.txt"):
        log = open_log(spark, [str(path)], AUTO)
        found = log.parsed().orderBy("reason").collect()
        assert [row.user_id for row in found] == [1, None]
        assert log.files == (f"file:{folder}/{name}.txt",)


def test_many_files_are_named_by_their_directory(spark: SparkSession, tmp_path: Path) -> None:
    for i in range(101):
        (tmp_path / f"mv_{i}.txt").write_text("x")
    (tmp_path / "other.txt").write_text("x")
    found = find_files(spark, [str(tmp_path)], "--ratings")
    taken = [file for file in found if file.relative != "other.txt"]
    files = for_reader(taken, found)
    assert (files.load, files.options["pathGlobFilter"]) == ([f"file:{tmp_path}"], "mv_*.txt")
    # Not when the pattern would take in another.
    assert len(for_reader(taken[1:], found).load) == 100
    (tmp_path / "mv_x.txt").write_text("x")
    assert len(for_reader(taken, find_files(spark, [str(tmp_path)], "--ratings")).load) == 101


def test_commas_in_names_are_no_alternatives(spark: SparkSession, tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / f"ratings,{i}.csv").touch()
        (tmp_path / f"more-{i}.csv").write_text("1")
    listed = [StoredFile(f"file:{path}", 1, f"file:{tmp_path}") for path in sorted(tmp_path.iterdir())]
    files = for_reader(listed, listed)
    assert len(files.load) == 120 and not files.options


def test_every_path_that_leads_nowhere_is_told_at_once(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text(LOG)
    paths = [f"{tmp_path}/there.csv", f"{tmp_path}/missing.csv", f"{tmp_path}/*.dat", "nowhere://host/x"]
    with pytest.raises(UserError) as caught:
        open_log(spark, paths, AUTO)
    missing, pattern, scheme = caught.value.faults
    assert (
        missing == f"--ratings {tmp_path}/missing.csv does not exist; give a file, a directory or a pattern"
    )
    assert pattern == f"--ratings {tmp_path}/*.dat matches no file; give a file, a directory or a pattern"
    assert scheme.startswith("nowhere://host/x cannot be reached: ") and "\n" not in scheme


def test_empty_input(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leads to no files"):
        open_log(spark, [str(tmp_path)], AUTO)
    (tmp_path / "ratings.csv").write_text("")
    with pytest.raises(UserError, match="leads to no files, or only to empty ones"):
        open_log(spark, [str(tmp_path)], AUTO)
    with pytest.raises(UserError, match=r"ratings\.csv is empty"):
        open_log(spark, [str(tmp_path / "ratings.csv")], AUTO)
    (tmp_path / "ratings.csv").write_text("\n \n")
    with pytest.raises(UserError, match=r"ratings\.csv is empty"):
        open_log(spark, [str(tmp_path)], AUTO)
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\r\n")
    with pytest.raises(UserError, match=r"ratings\.csv is empty"):
        open_log(spark, [str(tmp_path / "ratings.csv")], AUTO)
    spark.createDataFrame([], "user_id long, movie_id int, rating float").write.parquet(f"{tmp_path}/none")
    with pytest.raises(UserError, match=r"none/part-.*\.parquet is empty"):
        open_log(spark, [f"{tmp_path}/none"], AUTO)


def test_unknown_and_broken_files(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Dear diary,\n" * 30)
    (tmp_path / "broken.csv.gz").write_bytes(gzip.compress(LOG.encode() * 1000)[:20])
    (tmp_path / "fake.gz").write_text(LOG)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1" + os.urandom(100))
    messages = {
        "notes.txt": r'notes\.txt is of no known form: it begins with "Dear diary,"; known: .*ratings\.dat',
        "broken.csv.gz": r"broken\.csv\.gz cannot be read: ",
        "fake.gz": r"fake\.gz cannot be read: ",
        "broken.parquet": r"broken\.parquet cannot be read as Parquet: ",
    }
    for name, message in messages.items():
        with pytest.raises(UserError, match=message) as caught:
            open_log(spark, [str(tmp_path / name)], AUTO)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "text",
    [
        b"1:\n2,3,2005-09-06\n",
        b"a\rb\r\nc\n\n \nlast",
        b"\xef\xbb\xbfuser,movie\r\n" + b"1,2\r\n" * 9000,
        b"caf\xe9|\x0b\x1c\xc2\x85x\n" * 30,
        b"x" * HEAD_BYTES + b"\nafter\n" * 30,
    ],
)
def test_the_head_of_a_file_is_what_spark_reads(spark: SparkSession, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "log").write_bytes(text)
    (file,) = find_files(spark, [str(tmp_path / "log")], "--ratings")
    assert read_head(spark, file, text[:HEAD_BYTES]) == read_head(spark, file, b"")


def test_several_forms(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(LOG)
    (tmp_path / "combined_data_1.txt").write_text("1:\n1488844,3,2005-09-06\n")
    with pytest.raises(
        UserError, match=r"several forms in one run: .*MovieLens ratings\.csv, .*Netflix Prize; give"
    ):
        open_log(spark, [str(tmp_path)], AUTO)
    log = open_log(spark, [str(tmp_path)], SourceConfig(format="netflix"))
    assert log.form == "netflix" and log.skipped == ("ratings.csv: not ratings of the form asked for",)
    with pytest.raises(
        UserError, match=r"--format is parquet, but .*ratings\.csv looks like MovieLens ratings\.csv"
    ):
        open_log(spark, [str(tmp_path / "ratings.csv")], SourceConfig(format="parquet"))


def test_movies_that_are_none(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(LOG)
    (tmp_path / "notes.txt").write_text("Dear diary,\n")
    (tmp_path / "empty.csv").write_text("")
    for name, message in {
        "notes.txt": r'notes\.txt is no known list of movies: .* begins with "Dear diary,"; known: mov',
        "empty.csv": r"empty\.csv is no known list of movies: empty; known",
        "missing.csv": r"--movies .*missing\.csv does not exist",
        "ratings.csv": r"ratings\.csv is no known list of movies",
    }.items():
        with pytest.raises(UserError, match=message):
            open_log(spark, [str(tmp_path / "ratings.csv")], AUTO, str(tmp_path / name))


def test_a_scale_that_is_none(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(LOG)
    with pytest.raises(
        UserError, match=r"ratings from 6 to 5 are no scale; set both --rating-min and --rating-max"
    ):
        open_log(spark, [str(tmp_path)], SourceConfig(rating_min=6))
