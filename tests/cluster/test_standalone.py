"""The main job on a standalone cluster of real processes: a master and two workers on this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from submission import spark_submit, submit

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def start(folder: Path, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Start one of Spark's daemons in the foreground, its log in a file."""
    log = folder / f"{len(list(folder.glob('*.log')))}.log"
    environment = {
        **os.environ,
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "512m",
        # The library's own package must reach the workers with the job, not from the checkout.
        "PYTHONPATH": "",
    }
    command = [str(Path(spark_submit()).with_name("spark-class")), *arguments]
    with log.open("wb") as file:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file), log


def wait_for(log: Path, pattern: str) -> str:
    """Wait for a line in a daemon's log."""
    for _ in range(120):
        found = re.search(pattern, log.read_text(errors="replace"))
        if found:
            return found.group(1)
        time.sleep(0.5)
    raise AssertionError(f"{pattern!r} did not appear in 60 s:\n{log.read_text(errors='replace')}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The master's URL; two workers of one core each."""
    folder = tmp_path_factory.mktemp("cluster")
    quiet = folder / "log4j2.properties"
    lines = (
        "rootLogger.level = info",
        "rootLogger.appenderRef.out.ref = out",
        "appender.out.type = Console",
        "appender.out.name = out",
        "appender.out.target = SYSTEM_ERR",
        "appender.out.layout.type = PatternLayout",
        "appender.out.layout.pattern = %m%n",
    )
    quiet.write_text("\n".join(lines))
    os.environ["SPARK_DAEMON_JAVA_OPTS"] = f"-Dlog4j2.configurationFile={quiet.as_uri()}"
    daemons = []
    try:
        address = ("--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
        master, log = start(folder, "org.apache.spark.deploy.master.Master", *address)
        daemons.append(master)
        url = wait_for(log, r"Starting Spark master at (spark://\S+)")
        for number in range(2):
            limits = ("--cores", "1", "--memory", "1g", "--work-dir", str(folder / f"work-{number}"))
            worker, log = start(folder, "org.apache.spark.deploy.worker.Worker", *limits, *address, url)
            daemons.append(worker)
            wait_for(log, r"(Successfully registered) with master")
        yield url
    finally:
        del os.environ["SPARK_DAEMON_JAVA_OPTS"]
        for daemon in daemons:
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(timeout=30)


def test_two_workers_give_what_one_machine_gives(cluster: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = [
        (user, movie, rng.integers(1, 11) / 2, 10**9)
        for user in range(120)
        for movie in rng.choice(np.arange(user % 2 * 20, user % 2 * 20 + 40), 25, replace=False)
    ]
    log = tmp_path / "ratings.csv"
    pd.DataFrame(rows, columns=["userId", "movieId", "rating", "timestamp"]).to_csv(log, index=False)
    results = {}
    for name, master in (("one", "local[2]"), ("two", cluster)):
        options = ("--master", master, "--executor-memory", "512m")
        few = ("--n-components", 2, "--n-clusters", 2, "--weighting", "rated")
        done = submit(
            "cluster_users.py",
            "--ratings",
            log,
            "--output",
            tmp_path / name,
            *few,
            folder=tmp_path,
            options=options,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        results[name] = pq.read_table(tmp_path / name / "assignments").to_pandas().sort_values("user_id")
    one, two = results.values()
    assert np.array_equal(one.user_id, two.user_id) and np.array_equal(one.n_ratings, two.n_ratings)
    # Two groups watch different movies: whatever the start, KMeans finds them.
    for found in results.values():
        assert len(found.groupby(found.user_id % 2).cluster.unique().explode()) == 2
    assert np.allclose(one.distance, two.distance, atol=1e-6)
    variances = [pq.read_table(tmp_path / name / "components").to_pandas().variance for name in results]
    assert np.allclose(*variances, rtol=1e-6)
    counts = [json.loads((tmp_path / name / "run.json").read_text())["counts"] for name in results]
    assert counts[0] == counts[1]
