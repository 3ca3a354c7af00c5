#!/usr/bin/env python3
"""Run the contenders in turn on one log and compare time and memory of their whole process trees.

    compare.py --ratings DIR --output results.json [--contenders ours,single-randomized,...] [--runs 3]
        [--memory-runs 1]

Every round runs each contender once, so that a machine whose speed drifts treats them alike; medians are
shown. Time and memory are of different rounds, for to look at memory takes time, and not from all alike. JSON
goes to --output after every run, a Markdown table to standard output at the end.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measure
import psutil

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COMPONENTS, CLUSTERS, ITERATIONS = 50, 12, 20
STOCK_MEMORY = "12g"  # half the machine, lest stock Spark's PCA fail for a laptop's settings


def contenders(ratings: str, scratch: Path) -> dict[str, list[str]]:
    """Command of each contender; 50 components, 12 clusters and 20 iterations for everyone."""
    python, submit = sys.executable, str(Path(sys.executable).parent / "spark-submit")
    ours = [
        submit,
        str(ROOT / "jobs/cluster_users.py"),
        *("--ratings", ratings, "--output", str(scratch / "ours")),
        *("--n-components", str(COMPONENTS), "--n-clusters", str(CLUSTERS)),
        *("--max-iterations", str(ITERATIONS), "--restarts", "1"),
    ]
    study = [*ours[:2], "--ratings", ratings, "--output", str(scratch / "ours"), "--n-clusters", "5"]
    single = [
        python,
        str(HERE / "single_machine.py"),
        "--ratings",
        ratings,
        "--output",
        str(scratch / "single"),
    ]
    stock = [submit, "--driver-memory", STOCK_MEMORY, str(HERE / "stock_spark.py"), "--ratings", ratings]
    notebook = [python, str(HERE / "notebook_way.py"), "--ratings", ratings]
    return {
        "ours": ours,
        **{f"study-{weighting}": [*study, "--weighting", weighting] for weighting in ("stars", "rated")},
        **{f"single-{solver}": [*single, "--solver", solver] for solver in ("arpack", "randomized")},
        # As many power iterations as bring the captured variance within 1e-3 of ARPACK's at Netflix's size.
        "single-randomized-14": [*single, "--solver", "randomized", "--power-iterations", "14"],
        **{f"stock-{n}": [*stock, "--n-columns", str(n)] for n in (1000, 2000, 5000, 17770)},
        "notebook": notebook,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ratings", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--contenders", default="ours,single-arpack,single-randomized")
    parser.add_argument("--runs", type=int, default=3, help="rounds for time")
    parser.add_argument("--memory-runs", type=int, default=1, help="rounds for memory, after them")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds a run may take")
    parser.add_argument("--max-gib", type=float, default=0.85 * psutil.virtual_memory().total / 2**30)
    options = parser.parse_args(argv)
    # For everyone, as our job sets it for itself: BLAS threads that wait shall not spin. ARPACK gains 3 %.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    names = options.contenders.split(",")
    known = contenders(options.ratings, Path())
    if unknown := [name for name in names if name not in known]:
        parser.error(f"--contenders {','.join(unknown)}: unknown; there are {', '.join(known)}")
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="tastemap-bench-") as folder:
        scratch = Path(folder)
        for number, looked_at in enumerate(["time"] * options.runs + ["memory"] * options.memory_runs, 1):
            for name in names:
                command = contenders(options.ratings, scratch)[name]
                print(f"round {number}, {looked_at}: {name}", file=sys.stderr, flush=True)
                found = measure.run(
                    command,
                    timeout=options.timeout,
                    max_bytes=options.max_gib * 2**30,
                    closely=looked_at == "memory",
                )
                output = scratch / "ours" if name == "ours" or "study" in name else None
                runs[name].append({"looked_at": looked_at} | describe(found, output))
                for leftover in scratch.iterdir():
                    shutil.rmtree(leftover)
                # At once: what hours have measured is not lost with the last contender.
                options.output.write_text(record(options.ratings, runs))
    print(table(runs))
    return 0


def record(ratings: str, runs: dict[str, list[dict[str, Any]]]) -> str:
    """JSON of the runs so far and the machine they ran on."""
    machine = {
        "cores": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "python": platform.python_version(),
    }
    found = {"machine": machine, "ratings": Path(ratings).name, "runs": runs}
    return json.dumps(found, indent=2) + "\n"


def describe(found: measure.Measured, output: Path | None) -> dict[str, Any]:
    """A run for the record: its figures, and what the contender says of itself."""
    described: dict[str, Any] = {
        "seconds": round(found.seconds, 2),
        "cpu_seconds": round(found.cpu_seconds, 2),
        "peak_bytes": found.peak_bytes,
        "peak_by_name": found.peak_by_name,
        "exit_code": found.exit_code,
    }
    if output is not None and (output / "run.json").exists():
        manifest = json.loads((output / "run.json").read_text())
        described["stages"] = {stage["name"]: stage["seconds"] for stage in manifest["stages"]}
        described["metrics"] = manifest["metrics"]
    else:
        try:
            described["says"] = json.loads(found.output[found.output.index("{") :])
        except ValueError:  # stopped before it said anything
            described["last_lines"] = found.output.strip().splitlines()[-40:]
    return described


def table(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Medians as Markdown."""
    lines = ["| contender | seconds | CPU seconds | peak memory, GiB | ended |", "|---|---|---|---|---|"]
    for name, found in runs.items():
        seconds, cpu = (_median(found, "time", key) for key in ("seconds", "cpu_seconds"))
        peak = _median(found, "memory", "peak_bytes") / 2**30  # nan without such rounds
        codes = {one["exit_code"] for one in found}
        ended = "finished" if codes == {0} else "stopped: time or memory" if None in codes else "failed"
        lines.append(f"| {name} | {seconds:.1f} | {cpu:.1f} | {peak:.2f} | {ended} |")
    return "\n".join(lines)


def _median(runs: list[dict[str, Any]], looked_at: str, key: str) -> float:
    """Of the runs in which it was looked at; nan if there are none."""
    found = [float(one[key]) for one in runs if one["looked_at"] == looked_at]
    return statistics.median(found) if found else math.nan


if __name__ == "__main__":
    sys.exit(main())
