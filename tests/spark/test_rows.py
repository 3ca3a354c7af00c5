"""Rows that stay while they are passed over: in files of the workers', and persisted by Spark."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import BinaryType, LongType, StructField, StructType

from tastemap import row_files, rows
from tastemap.compact import buffer_of
from tastemap.errors import UserError
from tastemap.executors import ArrowFunction
from tastemap.rows import PREFIX, Rows

in_both_ways = pytest.mark.usefixtures("in_both_ways")

SCHEMA = StructType([StructField("number", LongType(), False), StructField("cell", BinaryType(), False)])
N_PARTITIONS = 5


def numbers(spark: SparkSession) -> DataFrame:
    """0 to 19 in five partitions."""
    return spark.range(0, 20, 1, N_PARTITIONS)


def told(notes: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A row for each number but of 4 to 7, the second partition; a note for each time that they are made."""
    for batch in batches:
        for number in batch["id"].to_pylist():
            with open(notes, "a") as file:
                file.write(f"{number}\n")
            if not 4 <= number < 8:
                cell = pa.array([b"." * number], pa.binary())
                yield pa.record_batch([pa.array([number]), cell], names=SCHEMA.names)


def made(spark: SparkSession, notes: Path) -> Rows:
    return Rows(numbers(spark), N_PARTITIONS, SCHEMA, partial(told, str(notes)))


def lengths(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The length of each cell."""
    for batch in batches:
        yield pa.record_batch([pa.array([len(cell) for cell in batch["cell"].to_pylist()])], names=["n"])


def resident_bytes(address: int) -> int:
    """How much memory holds of the mapped file that an address is in."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        start, end = line.split()[0].split("-")
        if int(start, 16) <= address < int(end, 16):
            assert line.endswith(".arrow")
            return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
        while not line.startswith("VmFlags:"):
            line = next(lines)
    raise AssertionError("nothing is mapped there")


EXPECTED = [number for number in range(20) if not 4 <= number < 8]


@in_both_ways
def test_rows_are_made_once_and_read_often(spark: SparkSession, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with made(spark, notes).persisted() as kept:
        assert kept.n_partitions == kept.frame.rdd.getNumPartitions() == N_PARTITIONS
        assert kept.frame.schema == SCHEMA
        for _ in range(2):
            assert [row["number"] for row in kept.frame.collect()] == EXPECTED
            found = kept.in_few_tasks().mapped(lengths, "n long", ["cell"]).frame.collect()
            assert sorted(row["n"] for row in found) == EXPECTED
        assert kept.frame.agg({"number": "sum"}).head()[0] == sum(EXPECTED)  # type: ignore[index]
        only = kept.select("number")
        assert only.schema == SCHEMA[:1] and only.collect() == [(n,) for n in EXPECTED]
        assert sorted(map(int, notes.read_text().split())) == list(range(20))


def test_of_some_columns_workers_send_no_others(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark itself would take more, and drop them when they have been sent."""
    run, as_ever = [], rows.map_in_arrow

    def map_in_arrow(frame: DataFrame, function: ArrowFunction, schema: StructType) -> DataFrame:
        run.append(function)
        return as_ever(frame, function, schema)

    with made(spark, tmp_path / "notes").persisted() as kept:
        monkeypatch.setattr(rows, "map_in_arrow", map_in_arrow)
        assert kept.select("number").columns == ["number"]
        sent = run[-1](iter([pa.record_batch([pa.array([0])], names=["id"])]))
        assert [batch.schema.names for batch in sent] == [["number"]] * 4


@in_both_ways
def test_tasks_are_few_of_rows_at_rest_alone(spark: SparkSession, tmp_path: Path) -> None:
    cores = spark.sparkContext.defaultParallelism
    assert cores < N_PARTITIONS
    lazy = made(spark, tmp_path / "notes")
    assert lazy.in_few_tasks() is lazy
    with lazy.persisted() as kept:
        few = kept.in_few_tasks()
        assert few.n_partitions == few.frame.rdd.getNumPartitions() == cores
        assert sorted(row["number"] for row in few.frame.collect()) == EXPECTED


@in_both_ways
def test_what_is_made_of_rows_that_stay_can_stay(spark: SparkSession, tmp_path: Path) -> None:
    with made(spark, tmp_path / "notes").persisted() as kept:
        following = kept.mapped(lengths, "n long", ["cell"]).persisted()
        with following as more:
            assert [row["n"] for row in more.frame.collect()] == EXPECTED
            assert more.n_partitions == N_PARTITIONS


@in_both_ways
@pytest.mark.parametrize("per_core", [1, 2])
def test_what_is_kept_of_rows_that_stay_is_in_few_partitions(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_core: int
) -> None:
    cores = spark.sparkContext.defaultParallelism
    monkeypatch.setattr(rows, "KEPT_PER_CORE", per_core)
    with made(spark, tmp_path / "notes").persisted() as kept:
        in_files = isinstance(kept.make, row_files.Reader)
        with kept.for_keeping().mapped(lengths, "n long", ["cell"]).persisted() as more:
            assert sorted(row["n"] for row in more.frame.collect()) == EXPECTED
            expected = cores if in_files else min(per_core * cores, N_PARTITIONS)
            assert more.n_partitions == more.frame.rdd.getNumPartitions() == expected


@in_both_ways
def test_where_spark_sends_all_rows_of_a_task_it_takes_few_partitions(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Spark 3.5 does on a cluster."""
    cores = spark.sparkContext.defaultParallelism
    with made(spark, tmp_path / "notes").persisted() as kept:
        in_files = isinstance(kept.make, row_files.Reader)
        monkeypatch.setattr(rows, "sends_by_size", lambda spark: False)
        assert kept.in_few_tasks().n_partitions == cores < N_PARTITIONS
        assert kept.for_keeping().n_partitions == (cores if in_files else N_PARTITIONS)
        monkeypatch.setattr(rows, "JOINED", 1)
        assert kept.in_few_tasks().n_partitions == (cores if in_files else N_PARTITIONS)


@pytest.mark.parametrize("adaptive", ["true", "false"])
def test_spark_stores_every_partition_at_once(
    spark: SparkSession, tmp_path: Path, adaptive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "in_one_process", lambda spark: False)
    before = spark.conf.get("spark.sql.adaptive.enabled")
    spark.conf.set("spark.sql.adaptive.enabled", adaptive)
    try:
        with made(spark, tmp_path / "notes").persisted():
            (stored,) = spark.sparkContext._jsc.sc().getRDDStorageInfo()
            assert stored.numCachedPartitions() == stored.numPartitions() == N_PARTITIONS
    finally:
        spark.conf.set("spark.sql.adaptive.enabled", before)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_of_a_file_memory_holds_the_batch_that_is_looked_at(tmp_path: Path) -> None:
    n_bytes = 1 << 20
    batch = pa.record_batch([pa.array([b"." * n_bytes], pa.binary())], names=["cell"])
    with pa.ipc.new_file(tmp_path / "0.arrow", batch.schema) as file:
        for _ in range(8):
            file.write_batch(batch)
    held = []
    for found in row_files.Reader(str(tmp_path), 1).all():
        cell = buffer_of(found["cell"], 0)
        assert sum(memoryview(cell)[::1024]) == 1024 * ord(".")
        held.append(resident_bytes(cell.address))
    assert len(held) == 8 and n_bytes <= max(held) < 2 * n_bytes
    assert found == batch  # what is still looked at after the end is there


def test_files_are_written_a_piece_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    class Noted(row_files._InPieces):
        def write(self, data: Any, /) -> int:
            sizes.append(super().write(data))
            return sizes[-1]

    monkeypatch.setattr(row_files, "WRITE_BYTES", 64)
    monkeypatch.setattr(row_files, "_InPieces", Noted)
    monkeypatch.setattr(row_files.TaskContext, "get", lambda: SimpleNamespace(partitionId=lambda: 3))
    cells = [bytes(range(256)) * n for n in (4, 1, 0)]
    batch = pa.record_batch([pa.array(range(3)), pa.array(cells)], names=SCHEMA.names)
    (told,) = row_files._write(str(tmp_path), iter([batch, batch]))
    assert told["partition"].to_pylist() == [3]
    assert max(sizes) == 64 and sum(sizes) == (tmp_path / "3.arrow").stat().st_size
    with pa.ipc.open_file(tmp_path / "3.arrow") as file:
        assert [file.get_batch(i) for i in range(file.num_record_batches)] == [batch, batch]


@in_both_ways
def test_nothing_stays_of_what_cannot_be_made(spark: SparkSession, tmp_path: Path) -> None:
    """See also the fixture that looks after every test."""
    with pytest.raises(Exception, match="IsADirectoryError"), made(spark, tmp_path).persisted():
        pytest.fail("made")
    with pytest.raises(ZeroDivisionError), made(spark, tmp_path / "notes").persisted():
        1 / 0  # noqa: B018


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk at hand")
def test_a_full_disk_is_told_in_a_sentence(spark: SparkSession, tmp_path: Path) -> None:
    for number in range(N_PARTITIONS):
        (tmp_path / f"{number}.arrow").symlink_to("/dev/full")
    with pytest.raises(UserError, match=rf"no space is left in {tmp_path.parent} .* spark.local.dir"):
        row_files.keep(numbers(spark), None, str(tmp_path))


def test_a_file_that_is_gone_is_not_taken_for_no_rows(spark: SparkSession, tmp_path: Path) -> None:
    reader = row_files.keep(numbers(spark), partial(told, str(tmp_path / "notes")), str(tmp_path))
    (tmp_path / "2.arrow").unlink()
    partitions = spark.range(0, N_PARTITIONS, 1, N_PARTITIONS)
    stored = Rows(partitions, N_PARTITIONS, SCHEMA, reader)
    with pytest.raises(Exception, match=r"No such file or directory: .*/2\.arrow"):
        stored.frame.collect()


@in_both_ways
def test_rows_come_to_the_driver_in_order_and_leave_nothing(spark: SparkSession, tmp_path: Path) -> None:
    """See also the fixture that looks after every test."""

    def collected(rows: Rows) -> list[dict[str, object]]:
        return [row for batch in rows.collected() for row in batch.to_pylist()]

    of_python = made(spark, tmp_path / "notes")
    assert collected(of_python) == [{"number": n, "cell": b"." * n} for n in EXPECTED]
    of_spark = Rows(numbers(spark), N_PARTITIONS, "id long")
    assert collected(of_spark) == [{"id": n} for n in range(20)]
    none = numbers(spark).where("id < 0")
    assert collected(replace(of_spark, source=none)) == collected(replace(of_python, source=none)) == []


@in_both_ways
def test_the_folder_is_in_that_of_spark(spark: SparkSession, tmp_path: Path) -> None:
    folder = Path(spark.sparkContext._temp_dir)
    with made(spark, tmp_path / "notes").persisted() as kept:
        assert len(list(folder.glob(f"{PREFIX}*"))) == isinstance(kept.make, row_files.Reader)
