"""One Spark for all tests, and the real data where it is at hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The Spark under test is the one that this Python imports, and its workers run on this Python.
for variable in ("SPARK_HOME", "SPARK_CONF_DIR"):
    os.environ.pop(variable, None)
os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
# Loopback only: no port open to others, and no look-up of a host name that may not resolve.
os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"

QUIET_JVM = [f"-Dlog4j2.configurationFile={(ROOT / 'conf/log4j2.properties').as_uri()}"]
QUIET_JVM += [f"-Ddev.ludovic.netlib.{library}.allowNative=false" for library in ("blas", "lapack", "arpack")]

# The first compiler alone: tests are over before what the second makes of them would pay. Its frames are
# larger, and those of Spark's ALS many.
JVM = [*QUIET_JVM, "-XX:TieredStopAtLevel=1", "-Xss4m"]

SPARK_SETTINGS = {
    # Two tasks at a time: what goes wrong only in parallel can go wrong, on every machine alike.
    "spark.master": "local[2]",
    "spark.app.name": "tastemap tests",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    # One JVM serves the whole suite: 70,000 columns and stock PCA's Gram matrix have to fit.
    "spark.driver.memory": "2g",
    # No web page: saves a second at the start, a port, and the memory for its history.
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # The default of 200 costs a second a shuffle; an odd few show what depends on the number of partitions.
    "spark.sql.shuffle.partitions": "3",
    "spark.default.parallelism": "3",
    # As in session.py: times mean the same everywhere, pandas' are read, and it goes through Arrow ...
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # ... and where it can't, the test fails instead of quietly taking the slow way.
    "spark.sql.execution.arrow.pyspark.fallback.enabled": "false",
    # As quiet as .venv, also on a Python that `make setup` has not made.
    "spark.driver.extraJavaOptions": " ".join(JVM),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by folder what takes long: real jobs are end to end, and most tests on Spark are slow."""
    for item in items:
        if item.path.is_relative_to(ROOT / "tests/jobs"):
            item.add_marker(pytest.mark.e2e)
        if item.path.is_relative_to(ROOT / "tests/spark") and not item.get_closest_marker("smoke"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Return the one SparkSession of all tests."""
    # Here and not above, so that unit tests start without it.
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    for name, value in SPARK_SETTINGS.items():
        builder = builder.config(name, value)
    # Tables and scratch files in the test run's own folder, which pytest removes, not in the checkout.
    scratch = tmp_path_factory.mktemp("spark")
    builder = builder.config("spark.sql.warehouse.dir", str(scratch / "warehouse"))
    builder = builder.config("spark.local.dir", str(scratch / "local"))
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="session")
def movielens_small() -> Path:
    """Return the folder of MovieLens ml-latest-small that TASTEMAP_DATA names; skip where it names none."""
    named = os.environ.get("TASTEMAP_DATA")
    if not named:
        pytest.skip(
            "TASTEMAP_DATA is not set: it names the folder of MovieLens ml-latest-small, or the one above"
        )
    for folder in (Path(named) / "ml-latest-small", Path(named)):
        if (folder / "ratings.csv").is_file():
            return folder.resolve()
    pytest.skip(f"TASTEMAP_DATA={named} holds no ml-latest-small/ratings.csv")
