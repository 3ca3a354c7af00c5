"""Stages on Spark: their jobs are found by their group, and the group of before comes back."""

from __future__ import annotations

import logging

import pytest
from pyspark.sql import SparkSession

from tastemap.progress import TaskCounter, Tasks
from tastemap.stages import END, FAILED, START, StageEvent, Stages


def events(caplog: pytest.LogCaptureFixture) -> list[StageEvent]:
    return [record.event for record in caplog.records if hasattr(record, "event")]


@pytest.mark.smoke
def test_jobs_of_a_stage_are_counted(spark: SparkSession, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "tastemap")
    stages = Stages(spark)
    spark.range(3, numPartitions=3).toPandas()  # before it, hence none of its own
    with stages("count", "rows") as stage:
        (start,) = events(caplog)
        counter = TaskCounter(start.tracker, start.group)
        assert counter.count() == Tasks(0, 0)
        stage.rows = len(spark.range(10, numPartitions=5).toPandas())
        assert counter.count() == Tasks(5, 5)
        assert spark.sparkContext.getLocalProperty("spark.job.description") == "count"
    assert [(event.kind, event.stage) for event in events(caplog)] == [(START, stage), (END, stage)]
    assert stages.record() == [{"name": "count", "seconds": stage.seconds, "rows": 10, "unit": "rows"}]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.INFO] == [
        f"count                               10 rows       {stage.seconds:8.1f} s"
    ]


def test_what_a_stage_has_freed_is_given_back(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[str] = []
    monkeypatch.setattr("tastemap.executors.release_memory", lambda: given_back.append("memory"))
    with Stages(spark)("count", "rows"):
        assert not given_back
    assert given_back == ["memory"]


def test_group_of_before_comes_back_even_after_an_error(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tastemap")
    context = spark.sparkContext
    context.setJobGroup("cell 7", "a notebook's")
    try:
        stages = Stages(spark)
        with pytest.raises(KeyboardInterrupt), stages("count", "rows"):
            assert context.getLocalProperty("spark.jobGroup.id") != "cell 7"
            raise KeyboardInterrupt
        assert context.getLocalProperty("spark.jobGroup.id") == "cell 7"
        assert context.getLocalProperty("spark.job.description") == "a notebook's"
    finally:
        for key in ("spark.jobGroup.id", "spark.job.description"):
            context.setLocalProperty(key, None)  # type: ignore[arg-type]
    with stages("next", "rows"):
        pass
    assert context.getLocalProperty("spark.jobGroup.id") is None
    assert [event.kind for event in events(caplog)] == [START, FAILED, START, END]
    assert [stage["name"] for stage in stages.record()] == ["next"]
