"""What `make setup` promises: Spark runs by itself, quietly, from anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

ENVIRONMENT = Path(sys.prefix)

pytestmark = pytest.mark.skipif(
    not (Path(pyspark.__file__).parent / "conf/spark-env.sh").exists(),
    reason="this Python was not set up by `make setup`",
)

JOB = """
import sys
import pyarrow as pa
from pyspark.ml.clustering import KMeans
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession, functions as F

# No worker outlives its task: one that is killed when Spark stops may have begun to complain.
builder = SparkSession.builder.master("local[2]").config("spark.python.worker.reuse", "false")
spark = builder.getOrCreate()

def double(batches):
    import tastemap
    for batch in batches:
        if "fail" in sys_argv:
            raise ValueError("this job fails")
        yield pa.record_batch([pa.compute.multiply(batch["id"], 2)], names=["id"])

sys_argv = sys.argv[1:]
doubled = spark.range(1000).mapInArrow(double, "id long")
vectors = doubled.select(array_to_vector(F.array("id", "id")).alias("features"))
KMeans(k=2, seed=7).fit(vectors)
open("résumé.txt", "w").write("ü")
print(doubled.groupBy().sum().first()[0], spark.read.text("résumé.txt").first()[0], *sys_argv)
spark.stop()
"""


def run(
    program: str, folder: Path, *arguments: str, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the job where the environment is bare, and PATH offers a Java and a Python that are of no use."""
    (folder / "job.py").write_text(JOB)
    useless = folder / "useless"
    useless.mkdir()
    for name in ("java", "python", "python3"):
        (useless / name).write_text("#!/bin/sh\necho $0 was started >&2\nexit 1\n")
        (useless / name).chmod(0o755)
    # A host name that does not resolve is not what this is about.
    bare = {"HOME": str(folder), "PATH": f"{useless}:/usr/bin:/bin", "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [str(ENVIRONMENT / "bin" / program), *before, "job.py", *arguments]
    return subprocess.run(command, cwd=folder, env=bare, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("program", ["spark-submit", "python"])
def test_spark_needs_nothing_and_says_nothing(program: str, tmp_path: Path) -> None:
    done = run(program, tmp_path, "größe")
    assert (done.stdout, done.stderr) == ("999000 ü größe\n", "")
    assert done.returncode == 0


def test_what_goes_wrong_in_spark_is_shown(tmp_path: Path) -> None:
    done = run("spark-submit", tmp_path, "fail")
    assert done.returncode != 0
    assert " Spark ERROR Executor: Exception in task" in done.stderr
    assert "this job fails" in done.stderr


def test_spark_starts_from_the_classes_that_java_kept(tmp_path: Path) -> None:
    loaded = tmp_path / "classes.txt"
    done = run("spark-submit", tmp_path, before=("--driver-java-options", f"-Xlog:class+load:file={loaded}"))
    assert done.returncode == 0
    of_spark = [line for line in loaded.read_text().splitlines() if " org.apache.spark.sql." in line]
    kept = [line for line in of_spark if line.endswith("source: shared objects file (top)")]
    assert len(kept) > len(of_spark) / 2
