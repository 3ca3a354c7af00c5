"""A standalone cluster of real processes on this machine: for `scaling.py`, and for the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent
PATIENCE = 60.0  # seconds until a daemon of Spark's is there
WORKER_MEMORY = "4g"  # what executors may ask a worker for


@contextmanager
def daemon(folder: Path, pattern: str, command: Sequence[str]) -> Iterator[str]:
    """One of Spark's daemons, and what a pattern finds in its log."""
    log = folder / f"{len(list(folder.glob('*.log')))}.log"
    environment = {
        **os.environ,
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        # The library's own package must reach the workers with the job, not from the checkout.
        "PYTHONPATH": "",
        "SPARK_DAEMON_MEMORY": "512m",
        "SPARK_DAEMON_JAVA_OPTS": f"-Dlog4j2.configurationFile={(folder / 'log4j2.properties').as_uri()}",
    }
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, log.read_text(errors="replace"))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command}:\n{log.read_text(errors='replace')}")
            time.sleep(0.2)
        yield found.group(1)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def cluster(folder: Path, workers: Sequence[Sequence[str]], master: Sequence[str] = ()) -> Iterator[str]:
    """A master, and workers of one core each; the master's address.

    Parameters
    ----------
    folder : Path
        Empty: for logs and the workers' files.
    workers : sequence of sequence of str
        For each worker what its command is to begin with, such as `taskset` and its options; mostly nothing.
    master : sequence of str
        The same for the master.
    """
    lines = (
        "rootLogger.level = info",
        "rootLogger.appenderRef.out.ref = out",
        "appender.out.type = Console",
        "appender.out.name = out",
        "appender.out.target = SYSTEM_ERR",
        "appender.out.layout.type = PatternLayout",
        "appender.out.layout.pattern = %m%n",
    )
    (folder / "log4j2.properties").write_text("\n".join(lines))
    start = [str(BIN / "spark-class")]
    address = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
    with ExitStack() as daemons:
        command = [*master, *start, "org.apache.spark.deploy.master.Master", *address]
        url = daemons.enter_context(daemon(folder, r"Starting Spark master at (spark://\S+)", command))
        for number, bound in enumerate(workers):
            limits = ["--cores", "1", "--memory", WORKER_MEMORY, "--work-dir", str(folder / str(number))]
            worker = [*start, "org.apache.spark.deploy.worker.Worker", *limits, *address, url]
            daemons.enter_context(daemon(folder, r"(Successfully registered) with master", [*bound, *worker]))
        yield url
