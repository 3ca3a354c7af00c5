"""What holds for every test on Spark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tastemap import exchange, rows, segmentation
from tastemap.rows import PREFIX


@pytest.fixture(params=[True, False], ids=["in files", "by Spark"])
def in_both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test in local mode as it is, and as on a cluster, where workers share no disk."""
    for module in (rows, exchange, segmentation):
        monkeypatch.setattr(module, "in_one_process", lambda spark: request.param)


@pytest.fixture(autouse=True)
def _nothing_stays_persisted(spark: SparkSession) -> Iterator[None]:
    """Fail a test after which something is still persisted, and keep that from the tests that follow."""
    yield
    left = dict(spark.sparkContext._jsc.getPersistentRDDs())
    for rdd in left.values():
        rdd.unpersist(True)
    assert not left, [str(rdd) for rdd in left.values()]
    folders = list(Path(spark.sparkContext._temp_dir).glob(f"{PREFIX}*"))
    for folder in folders:
        shutil.rmtree(folder)
    assert not folders
