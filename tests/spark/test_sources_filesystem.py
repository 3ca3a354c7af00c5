"""Hadoop's file systems, on the local disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from tastemap.errors import UserError
from tastemap.filesystem import PORTION, FileSystem


@pytest.fixture(params=[True, False], ids=["this machine's", "Hadoop's"])
def files(spark: SparkSession, tmp_path: Path, request: pytest.FixtureRequest) -> FileSystem:
    """As it is in local mode, and as it is for whoever asks Hadoop for everything."""
    made = FileSystem(spark, str(tmp_path))
    made._in_one_process = request.param
    return made


def test_what_is_there(files: FileSystem, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in (".hidden", "b", "a"):
        (tmp_path / "folder" / name).touch()
    assert files.exists(f"{tmp_path}/folder") and files.is_directory(f"{tmp_path}/folder")
    assert files.exists(f"{tmp_path}/folder/a") and not files.is_directory(f"{tmp_path}/folder/a")
    assert not files.exists(f"{tmp_path}/missing") and not files.is_directory(f"{tmp_path}/missing")
    assert files.names(f"{tmp_path}/folder") == [".hidden", "a", "b"]
    assert files.qualified(f"{tmp_path}/folder/") == f"file:{tmp_path}/folder"
    count, paths = files.matches(f"{tmp_path}/folder/[ab]", 1)
    assert (count, paths) == (2, [f"file:{tmp_path}/folder/a"])
    assert files.matches(f"{tmp_path}/none*/x", 9) == (0, [])


@pytest.mark.smoke
def test_text_is_written_and_replaced(files: FileSystem, tmp_path: Path) -> None:
    path = f"{tmp_path}/run.json"
    for text in ('{"name": "Amélie 東京"}\n', "second"):
        files.write_text(path, text)
        assert files.read_text(path) == text == Path(path).read_text(encoding="utf-8")
    assert [name for name in files.names(str(tmp_path)) if not name.endswith(".crc")] == ["run.json"]


def test_a_file_of_hadoops_is_replaced_with_its_checksum(spark: SparkSession, tmp_path: Path) -> None:
    path, hadoops = f"{tmp_path}/run.json", FileSystem(spark, str(tmp_path))
    hadoops._in_one_process = False
    hadoops.write_text(path, "first")
    assert (tmp_path / ".run.json.crc").exists()
    FileSystem(spark, path).write_text(path, "second")
    assert hadoops.read_text(path) == "second"  # against the checksum, if there were one


@pytest.mark.parametrize("size", [0, 1, PORTION, PORTION + 1, 3 * PORTION - 1])
def test_bytes_of_any_number_are_written(files: FileSystem, tmp_path: Path, size: int) -> None:
    content = np.random.default_rng(0).bytes(size)
    files.write_bytes(f"{tmp_path}/bytes", content)
    assert (tmp_path / "bytes").read_bytes() == content


def test_tables_are_written_for_whoever_reads_directories(
    spark: SparkSession, files: FileSystem, tmp_path: Path
) -> None:
    table = pa.table({"id": [3, 4], "names": pa.array([["a", None], None], pa.list_(pa.string()))})
    files.write_parquet(f"{tmp_path}/table", table)
    assert spark.read.parquet(f"{tmp_path}/table").collect() == [(3, ["a", None]), (4, None)]
    assert pq.read_table(tmp_path / "table").equals(table)


def test_parts_of_files_are_read(files: FileSystem, tmp_path: Path) -> None:
    path = f"{tmp_path}/parts"
    Path(path).write_bytes(b"1:\n\xff\x00:end")
    assert files.read_bytes(path, 3, 2) == b"\xff\x00" and files.read_bytes(path, 6, 99) == b"end"
    assert files.read_bytes(path, 9, 5) == files.read_bytes(path, 0, 0) == b""
    assert [files.find(path, b":", start) for start in (0, 1, 2, 6, 9)] == [2, 2, 6, 9, 9]
    for read in (lambda: files.read_bytes(f"{path}2", 0, 1), lambda: files.find(f"{path}2", b":", 0)):
        with pytest.raises(UserError, match="parts2 cannot be read"):
            read()


def test_directories_are_made_moved_and_deleted(files: FileSystem, tmp_path: Path) -> None:
    files.make_directory(f"{tmp_path}/a/b")
    files.make_directory(f"{tmp_path}/a/b")
    files.write_text(f"{tmp_path}/a/b/x", "1")
    files.rename(f"{tmp_path}/a", f"{tmp_path}/c")
    assert files.read_text(f"{tmp_path}/c/b/x") == "1" and not files.exists(f"{tmp_path}/a")
    files.delete(f"{tmp_path}/c")
    files.delete(f"{tmp_path}/c")
    assert not (tmp_path / "c").exists()


def test_a_rename_never_lands_inside_its_target(files: FileSystem, tmp_path: Path) -> None:
    files.make_directory(f"{tmp_path}/a")
    files.make_directory(f"{tmp_path}/b")
    with pytest.raises(UserError, match="the target exists"):
        files.rename(f"{tmp_path}/a", f"{tmp_path}/b")
    assert files.names(f"{tmp_path}/b") == []


def test_refusals_are_sentences(spark: SparkSession, files: FileSystem, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for act, message in (
        (lambda: files.read_text(f"{tmp_path}/missing"), "missing cannot be read: "),
        (lambda: files.names(f"{tmp_path}/missing"), "missing cannot be listed: "),
        (lambda: files.rename(f"{tmp_path}/missing", f"{tmp_path}/x"), "missing cannot be renamed to "),
        (lambda: files.write_text(f"{tmp_path}/file/x", "1"), "file/x cannot be written: "),
        (lambda: files.make_directory(f"{tmp_path}/file/x"), "file/x cannot be made: "),
        (lambda: FileSystem(spark, "nowhere://host/x"), "nowhere://host/x cannot be reached: "),
    ):
        with pytest.raises(UserError, match=message) as caught:
            act()
        assert "\n" not in str(caught.value)
