"""The only place that makes a SparkSession."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Thread

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from tastemap.executors import in_one_process, warm_up

SETTINGS = {
    # Times in logs are UTC; a machine's own zone must not move a rating to another day.
    "spark.sql.session.timeZone": "UTC",
    # pandas writes nanoseconds to Parquet, which Spark would refuse to read at all.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # Models and tables move between pandas and Spark as Arrow columns, not row by row.
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # A row of ours may hold a whole movie's ratings or a block of users: by their number alone, ten thousand,
    # batches on their way to Python would be as large as a split of a file. (Spark 3.5 does not know it.)
    # Where rows are ratings it is taken away: `executors.rows_of_few_bytes`.
    "spark.sql.execution.arrow.maxBytesPerBatch": "8m",
    # By this alone Spark tells workers of DataFrames from those of RDDs, which PySpark makes to write models:
    # each kind would have a daemon and workers of its own.
    "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "false",
    # A live line of Spark's stages would garble the job's own lines.
    "spark.ui.showConsoleProgress": "false",
}

_DAEMON = "spark.python.daemon.module"
_PYTHON_PATH = "spark.executorEnv.PYTHONPATH"


@contextmanager
def session(name: str, *, loading: str | None = None, workers: bool = True) -> Iterator[SparkSession]:
    """A session for a job, stopped at its end; master and resources come from spark-submit.

    Parameters
    ----------
    name : str
        Of the application.
    loading : str, optional
        Module to import while Spark starts, with all that the job needs: either takes seconds on one core.
        What is wrong with it is told to whoever imports it.
    workers : bool
        Whether the job needs Python's workers: in local mode they are started while Spark loads its SQL,
        which takes a second and a half on one core.
    """
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        # Not under spark-submit, hence local: workers must be this Python, which has the packages.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    with ThreadPoolExecutor() as beside:
        loaded = [] if loading is None else [beside.submit(import_module, loading)]
        SparkContext._ensure_initialized()  # before, nobody knows what spark-submit was told
        settings = {"spark.app.name": name} | SETTINGS | settings_of_workers(SparkConf())
        context = SparkContext.getOrCreate(SparkConf().setAll(list(settings.items())))
        started = _start_workers(beside, context) if workers else []
        spark = SparkSession.builder.config(map={**settings}).getOrCreate()
        wait(loaded)
        try:
            with tempfile.TemporaryDirectory(prefix="tastemap-") as folder:
                _ship_package(spark, Path(folder))
                yield spark
        finally:
            wait(started)  # tasks that are cut short would be told of
            _stop(spark)


def _start_workers(beside: Executor, context: SparkContext) -> list[Future[None]]:
    """Have the workers of local mode start; executors of a cluster may not be there yet, or not stay."""
    return [beside.submit(warm_up, context)] if context._jsc.isLocal() else []


def _stop(spark: SparkSession) -> None:
    """Stop Spark without waiting for PySpark's thread of accumulators, of which nobody here has any.

    It looks once a second whether it is to end: half a second to a second and a half at the end of every job.
    """
    context = spark.sparkContext
    server = getattr(context, "_accumulatorServer", None)
    context._accumulatorServer = None  # type: ignore[assignment]  # so `stop` leaves it alone
    spark.stop()
    if server is not None:
        if isinstance(server.server_address, str):  # a socket's file, which it may not live to remove
            Path(server.server_address).unlink(missing_ok=True)
        Thread(target=server.shutdown, daemon=True).start()


def settings_of_workers(conf: SparkConf) -> dict[str, str]:
    """Settings by which the workers of local mode find this package, and are forked from `tastemap.daemon`.

    On a cluster it is not there before the package is sent; nor is it where this package is no folder.
    """
    package = Path(__file__).parent
    master = conf.get("spark.master") or "local"
    if not (master == "local" or master.startswith("local[")) or not package.is_dir():
        return {}
    paths = [path for path in (conf.get(_PYTHON_PATH), str(package.parent)) if path]
    return {_DAEMON: conf.get(_DAEMON) or "tastemap.daemon", _PYTHON_PATH: os.pathsep.join(paths)}


def _ship_package(spark: SparkSession, folder: Path) -> None:
    """Give the executors of a cluster this package, unless it came by --py-files.

    Workers of local mode find it where it is, and Python's compiled modules beside it.
    """
    package = Path(__file__).parent
    if package.is_dir() and not in_one_process(spark):
        archive = shutil.make_archive(
            str(folder / "tastemap"), "zip", root_dir=package.parent, base_dir=package.name
        )
        spark.sparkContext.addPyFile(archive)
