"""What holds for every test on Spark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tastemap.rows import PREFIX


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
