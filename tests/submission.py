"""Submitting jobs as a user would: spark-submit, in a process of its own, from another folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def spark_submit() -> str:
    """Find the spark-submit that belongs to this Python."""
    beside = Path(sys.executable).parent / "spark-submit"
    found = str(beside) if beside.exists() else shutil.which("spark-submit")
    assert found, "spark-submit is installed with pyspark"
    return found


def submit(
    job: str | Path, *arguments: object, folder: Path, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a job of the checkout (or any, by its path) in a folder, without the checkout on PYTHONPATH."""
    environment = {
        **{key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "SPARK_HOME")},
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    command = [spark_submit(), *options, str(ROOT / "jobs" / job), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
