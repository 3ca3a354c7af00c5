"""The output directory: nothing is harmed, and it is complete or not there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.feature import Binarizer
from pyspark.sql import SparkSession

import tastemap
from tastemap import filesystem, schemas
from tastemap.errors import UserError
from tastemap.executors import find_directory
from tastemap.filesystem import FileSystem
from tastemap.runs import Run, versions

GENRES = pd.DataFrame(
    [(0, "War", 2, 3, 0.5, 0.75, 1.5, 4.0), (1, "Drama", 1, 1, 0.25, 0.5, 0.5, 3.0)],
    columns=schemas.CLUSTER_GENRES.names,
)


def finish(spark: SparkSession, output: Path, *, overwrite: bool = False, mark: int = 1) -> Run:
    with Run(spark, str(output), overwrite=overwrite) as run:
        run.write("numbers", spark.range(mark))
        run.finish({"mark": mark})
    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mark(output: Path) -> int:
    found = json.loads((output / "run.json").read_text())["mark"]
    assert len(pd.read_parquet(output / "numbers")) == found
    return found


@pytest.mark.smoke
def test_tables_models_and_manifest_are_put_in_place(spark: SparkSession, tmp_path: Path) -> None:
    output = tmp_path / "deep/er/out"
    with Run(spark, str(output), overwrite=False) as run:
        run.write("numbers", spark.range(5))
        assert run.read("numbers").count() == 5
        run.write_small("genres", GENRES, schemas.CLUSTER_GENRES)
        run.write_model("model", PipelineModel([Binarizer(threshold=2.5, inputCol="a", outputCol="b")]))
        assert not output.exists()  # not before it is complete
        run.finish({"counts": {"users": 5}, "title": "Señor"})
    assert run.output == f"file:{output}"
    assert [path.name for path in output.parent.iterdir()] == ["out"]
    pd.testing.assert_frame_equal(pd.read_parquet(output / "genres"), GENRES, check_dtype=False)
    assert len([path for path in (output / "genres").iterdir() if path.suffix == ".parquet"]) == 1
    (stage,) = PipelineModel.load(str(output / "model")).stages
    assert isinstance(stage, Binarizer) and stage.getThreshold() == 2.5


def test_manifest(spark: SparkSession, tmp_path: Path) -> None:
    with Run(spark, str(tmp_path / "out"), overwrite=False) as run:
        run.finish({"counts": {"users": 5}, "title": "Señor"})
    found = json.loads((tmp_path / "out/run.json").read_text(encoding="utf-8"))
    assert (found["counts"], found["title"]) == ({"users": 5}, "Señor")
    started, finished = (pd.Timestamp(found[name]) for name in ("started", "finished"))
    assert started.tz is not None and started <= finished <= pd.Timestamp.now("UTC")
    assert 0 <= found["seconds"] < 600
    assert found["versions"] == versions(spark)
    assert found["versions"]["spark"] == spark.version
    assert found["versions"]["tastemap"] == tastemap.__version__
    assert found["versions"]["pandas"] == pd.__version__


def test_manifest_is_written_last(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def watch(name: str) -> None:
        original = getattr(FileSystem, name)

        def recorded(self: FileSystem, path: str, *rest: str) -> None:
            done.append(f"{name} {re.sub('-[0-9a-f]{8}', '', path.rpartition('/')[2])}")
            original(self, path, *rest)

        monkeypatch.setattr(FileSystem, name, recorded)

    for name in ("make_directory", "rename", "write_text"):
        watch(name)
    finish(spark, tmp_path / "out")
    steps = [step for step in done if ".run.json" not in step]
    assert steps == ["make_directory .out.unfinished", "write_text run.json", "rename .out.unfinished"]


def test_an_earlier_run_is_replaced_only_when_told_to(spark: SparkSession, tmp_path: Path) -> None:
    output = tmp_path / "out"
    finish(spark, output, mark=1)
    before = content(output)
    with pytest.raises(UserError, match=f"--output {output} holds an earlier run; .* --overwrite"):
        Run(spark, str(output), overwrite=False)
    assert content(output) == before
    finish(spark, output, overwrite=True, mark=2)
    assert mark(output) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_directory_that_is_no_run_is_never_replaced(spark: SparkSession, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.tex").write_text("ten years of work")
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"holds other things \(thesis.tex\) and no run.json"):
            Run(spark, str(output), overwrite=overwrite)
    assert content(output) == {"thesis.tex": b"ten years of work"}


def test_a_hidden_file_is_something_too(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(UserError, match=r"\.git"):
        Run(spark, str(tmp_path), overwrite=True)


def test_a_file_is_no_directory(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("text")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="out is a file; give the name of a directory"):
            Run(spark, str(tmp_path / "out"), overwrite=overwrite)
    assert (tmp_path / "out").read_text() == "text"


def test_an_empty_directory_is_fine(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    finish(spark, tmp_path / "out", mark=3)
    assert mark(tmp_path / "out") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_trailing_slash(spark: SparkSession, tmp_path: Path) -> None:
    finish(spark, tmp_path / "out", mark=1)
    with Run(spark, f"{tmp_path}/out/", overwrite=True) as run:
        run.write("numbers", spark.range(2))
        run.finish({"mark": 2})
    assert run.output == f"file:{tmp_path}/out" and mark(tmp_path / "out") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["two words", "a[1]{b}*?", "100%", "żółć", "back\\slash"])
def test_names_that_mean_something_to_spark(spark: SparkSession, tmp_path: Path, name: str) -> None:
    with Run(spark, str(tmp_path / name), overwrite=False) as run:
        run.write("numbers", spark.range(4))
        assert run.read("numbers").count() == 4
        run.finish({"mark": 4})
    assert mark(tmp_path / name) == 4


@pytest.mark.parametrize("earlier", [True, False])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, UserError])
def test_a_failure_leaves_everything_as_it_was(
    spark: SparkSession, tmp_path: Path, earlier: bool, error: type[BaseException]
) -> None:
    output = tmp_path / "out"
    if earlier:
        finish(spark, output, mark=1)
    before = content(tmp_path)
    with pytest.raises(error, match="in the middle"), Run(spark, str(output), overwrite=True) as run:
        run.write("numbers", spark.range(2))
        assert content(tmp_path) != before
        raise error("in the middle")
    assert content(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if earlier else [])


@pytest.mark.parametrize("error", [UserError, KeyboardInterrupt])
def test_a_failure_while_results_are_put_in_place(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    output = tmp_path / "out"
    finish(spark, output, mark=1)
    before, rename = content(tmp_path), FileSystem.rename

    def refuse(self: FileSystem, source: str, target: str) -> None:
        if ".unfinished" in source and target.endswith("/out"):
            raise error("refused")
        rename(self, source, target)

    monkeypatch.setattr(FileSystem, "rename", refuse)
    with pytest.raises(error, match="refused"):
        finish(spark, output, overwrite=True, mark=2)
    assert content(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_old_run_that_cannot_be_deleted_spoils_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out"
    finish(spark, output, mark=1)
    delete = FileSystem.delete

    def refuse(self: FileSystem, path: str) -> None:
        if ".replaced" in path:
            raise UserError(f"{path} cannot be deleted: permission denied")
        delete(self, path)

    monkeypatch.setattr(FileSystem, "delete", refuse)
    finish(spark, output, overwrite=True, mark=2)
    assert mark(output) == 2
    assert "cannot be deleted: permission denied" in caplog.text


def test_cleaning_up_does_not_hide_the_failure(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: FileSystem, path: str) -> None:
        raise UserError("cannot be deleted")

    with pytest.raises(RuntimeError, match="the cause"), Run(spark, str(tmp_path / "out"), overwrite=False):
        monkeypatch.setattr(FileSystem, "delete", refuse)
        raise RuntimeError("the cause")


def test_two_runs_into_one_directory(spark: SparkSession, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with Run(spark, str(output), overwrite=False) as slow:
        slow.write("numbers", spark.range(1))
        finish(spark, output, mark=2)
        with pytest.raises(UserError, match="holds an earlier run"):
            slow.finish({"mark": 1})
    assert mark(output) == 2


def test_what_appeared_meanwhile_is_not_replaced(spark: SparkSession, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(UserError, match="holds other things"), Run(spark, str(output), overwrite=True) as run:
        output.mkdir()
        (output / "notes.txt").write_text("mine")
        run.finish({"mark": 1})
    assert content(tmp_path) == {"out/notes.txt": b"mine"}


def test_a_place_that_cannot_be_written_is_found_out_at_once(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    output = tmp_path / "file/out"
    with (
        pytest.raises(UserError, match=f"--output {output} cannot be written: "),
        Run(spark, str(output), overwrite=False),
    ):
        pytest.fail("nothing should be computed")
    assert content(tmp_path) == {"file": b"text"}


@pytest.mark.parametrize("output", ["/", "file:///"])
def test_the_root_of_a_file_system_is_no_output(spark: SparkSession, output: str) -> None:
    with pytest.raises(UserError, match="is the root of a file system; give a directory in it"):
        Run(spark, output, overwrite=True)


def test_a_file_system_that_is_not_there(spark: SparkSession) -> None:
    with pytest.raises(UserError, match="nowhere://host/out cannot be reached: "):
        Run(spark, "nowhere://host/out", overwrite=False)


def test_a_small_table_without_rows_and_one_that_lacks_a_column(spark: SparkSession, tmp_path: Path) -> None:
    with Run(spark, str(tmp_path / "out"), overwrite=False) as run:
        run.write_small("none", GENRES[:0], schemas.CLUSTER_GENRES)
        back = run.read("none")
        assert back.count() == 0 and back.columns == schemas.CLUSTER_GENRES.names
        run.write_small(
            "more", GENRES.assign(other=1)[["other", *reversed(GENRES.columns)]], schemas.CLUSTER_GENRES
        )
        assert run.read("more").columns == schemas.CLUSTER_GENRES.names
        with pytest.raises(KeyError, match="lift"):
            run.write_small("less", GENRES.drop(columns="lift"), schemas.CLUSTER_GENRES)


def test_files_that_are_to_be_read_are_not_replaced(spark: SparkSession, tmp_path: Path) -> None:
    output = tmp_path / "tables"
    with Run(spark, str(output), overwrite=False) as run:
        others = [(tmp_path / name).as_uri() for name in ("tables.csv", "log/1.csv", "log/2.csv")]
        run.refuse_to_replace(others, str(tmp_path / "movies"))
        for path in (output.as_uri(), f"file://{output}/ratings/part-0.parquet", f"{output}/ratings.csv"):
            for files, movies in (([*others, path], None), (others, path)):
                with pytest.raises(UserError, match=rf"--output {output} holds {path}, which is to be read"):
                    run.refuse_to_replace(files, None, movies)


def test_nor_are_files_that_a_link_leads_to(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "run 1").mkdir()
    (tmp_path / "latest").symlink_to(tmp_path / "run 1")
    for output, read in (("run 1", "latest"), ("latest", "run 1")):
        with Run(spark, str(tmp_path / output), overwrite=False) as run:
            run.refuse_to_replace([f"file:{tmp_path}/run 2/a.csv"], None)
            with pytest.raises(
                UserError, match=rf"--output .*/{output} holds file:.*/{read}/ratings/a.parquet"
            ):
                run.refuse_to_replace([f"file:{tmp_path}/{read}/ratings/a.parquet"], None)


def test_nor_is_one_of_several_files_that_links_lead_to(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for month in ("jan", "feb", "mar"):
        (tmp_path / month).mkdir()
        (tmp_path / month / "a.csv").write_text("x")
        (tmp_path / "log" / f"{month}.csv").symlink_to(tmp_path / month / "a.csv")
    with (
        Run(spark, str(tmp_path / "new"), overwrite=False) as new,
        pytest.raises(UserError, match=r"holds file:.*/log/feb\.csv, which is to be read"),
    ):
        new.output = f"file:{tmp_path}/feb"
        new.refuse_to_replace([f"file:{tmp_path}/log/{month}.csv" for month in ("jan", "feb", "mar")])


def test_a_log_of_many_files_is_not_looked_at_file_by_file(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []
    monkeypatch.setattr(FileSystem, "is_within", lambda self, path, directory: looked_at.append(path))
    with Run(spark, str(tmp_path / "out"), overwrite=False) as run:
        run.refuse_to_replace([f"{tmp_path}/log/mv_{number:07}.txt" for number in range(17_770)], None)
    assert len(looked_at) == 1


def test_a_disk_that_executors_do_not_see_is_no_output(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "in_one_process", lambda spark: False)
    with Run(spark, str(tmp_path / "run"), overwrite=False) as run:
        run.finish({})  # workers of this machine see it
    monkeypatch.setattr(filesystem, "find_directory", lambda spark, path: find_directory(spark, path + "x"))
    with pytest.raises(UserError, match="is on the driver's own disk, which executors do not see; give"):
        Run(spark, str(tmp_path / "other"), overwrite=False).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_a_killed_run_has_left_is_told(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a[b].unfinished-12345678", "a[b].replaced-12345678", "other.unfinished-12345678"):
        (tmp_path / f".{name}").mkdir()
    with caplog.at_level("WARNING"), Run(spark, str(tmp_path / "a[b]"), overwrite=False) as run:
        run.finish({})
    unfinished, replaced = caplog.messages
    assert unfinished.startswith(
        f"file:{tmp_path}/.a[b].unfinished-12345678 is from a run that still goes on"
    )
    assert replaced.startswith(f"file:{tmp_path}/.a[b].replaced-12345678 is an earlier run, put aside")
