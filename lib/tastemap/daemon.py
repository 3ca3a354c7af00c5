"""Spark's daemon in local mode: the process from which workers are forked, what they need already loaded.

Forked workers share what was loaded before them. Loaded in each, NumPy, SciPy, pandas and Arrow take 50 MB
and a second of CPU a worker. Spark's own daemon loads none of them, for a fork has none of the threads that
two of them start: OpenBLAS's, which workers can do without, each with a core of its own, and the one in
which Arrow's jemalloc tidies up, which it otherwise does in between.

`session` names it to Spark.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from pathlib import Path

PRELOADED = (
    "numpy",
    "pandas",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.parquet",
    "pyspark.sql.pandas.serializers",
    "pyspark.worker",
    "scipy.linalg",
    "scipy.sparse",
    "tastemap.pivot",
    "tastemap.sources",
)
"""What the first tasks of a run import. All that any task imports takes as much here as two workers save."""
WITHOUT_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Settings, in the environment, under which loading starts no thread."""


def load() -> None:
    """Load what is preloaded, and leave it to the garbage collector of no worker."""
    for name, value in WITHOUT_THREADS.items():
        os.environ.setdefault(name, value)
    for module in PRELOADED:
        import_module(module)
    gc.collect()
    gc.freeze()


def n_threads() -> int:
    """Threads of this process, those of libraries included; Linux alone tells."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def main() -> None:
    """Run Spark's daemon: preloaded on Linux, elsewhere as it is (macOS's own BLAS must not be forked)."""
    if sys.platform == "linux":
        load()
        if n_threads() > 1:  # other builds of the libraries, or other settings: begin again without them
            os.execv(sys.executable, [sys.executable, "-m", "pyspark.daemon", *sys.argv[1:]])
    import_module("pyspark.daemon").manager()


if __name__ == "__main__":
    main()
