#!/usr/bin/env python3
"""Every stage with one core and with two, in local mode and on a standalone cluster.

    scaling.py --ratings DIR --output results.json [--places workers-1,workers-2] [--runs 3]
    scaling.py --script kmeans_alone.py --ratings DIR --output results.json

Places are `local-N`, a local master with N cores for tasks; `workers-N`, a standalone cluster of N workers,
each bound to a core with its executor's JVM and Python, while master and driver go where there is room; and
`cores-N`, the same with master and driver on the workers' cores as well: a machine of N cores. JSON goes to
--output after every run, a table of the medians to standard output at the end; other options go to the
script. Binding takes `taskset` (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import standalone

BIN = Path(sys.executable).parent
BENCHMARKS = Path(__file__).resolve().parent
SCRIPTS = ("stages.py", "kmeans_alone.py")
PLACE = re.compile(r"(local|workers|cores)-[1-9]\d*")
EXECUTOR_MEMORY = "2g"  # a billion ratings of Netflix's form have records of 50 MB, too large for one

Seconds = dict[str, float]


def on_cores(cores: str) -> list[str]:
    """What to start a command with that is to stay on some cores."""
    return ["taskset", "--cpu-list", cores]


def run(place: str, script: str, ratings: str, more: Sequence[str]) -> Seconds:
    """Seconds of each stage of a script at one of the places."""
    kind, n = place.rsplit("-", 1)
    workers = [on_cores(str(number)) for number in range(int(n))]
    bound = on_cores(f"0-{int(n) - 1}") if kind == "cores" else []
    with tempfile.TemporaryDirectory(prefix="tastemap-scaling-") as name, ExitStack() as running:
        folder = Path(name)
        output = folder / "stages.json"
        if kind == "local":
            where = ["--master", f"local[{n}]"]
        else:
            url = running.enter_context(standalone.cluster(folder, workers, bound))
            where = ["--master", url, "--executor-memory", EXECUTOR_MEMORY]
        command = [*bound, str(BIN / "spark-submit"), *where, str(BENCHMARKS / script), "--ratings", ratings]
        subprocess.run([*command, "--output", str(output), *more], check=True, stdout=sys.stderr)
        seconds: Seconds = json.loads(output.read_text())["seconds"]
        return seconds


def table(runs: dict[str, list[Seconds]]) -> str:
    """Medians as Markdown; after each place of the kind of the one before, how many times faster it is."""
    places = list(runs)
    heads = ["stage"]
    for before, place in pairwise(["", *places]):
        heads += [place, "times"] if alike(before, place) else [place]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for stage in runs[places[0]][0]:
        medians = [statistics.median(one[stage] for one in runs[place] if stage in one) for place in places]
        cells = [stage]
        for number, (place, median) in enumerate(zip(places, medians, strict=True)):
            cells.append(f"{median:.1f}")
            if number and alike(places[number - 1], place):
                # Where a stage has nothing to do, such as columns at rest on a cluster, it takes no time.
                cells.append(f"{medians[number - 1] / median:.2f}" if median else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def alike(before: str, place: str) -> bool:
    """Whether both are of a kind."""
    return before.split("-")[0] == place.split("-")[0]


def main() -> int:
    """Measure and print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--ratings", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--script", choices=SCRIPTS, default=SCRIPTS[0])
    parser.add_argument("--places", default="local-1,local-2,workers-1,workers-2,cores-1,cores-2")
    parser.add_argument("--runs", type=int, default=3)
    options, more = parser.parse_known_args()
    places = options.places.split(",")
    if unknown := [place for place in places if not PLACE.fullmatch(place)]:
        parser.error(f"--places {','.join(unknown)}: unknown; there are local-N, workers-N and cores-N")
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"  # driver and daemons alike: the host's name may lead nowhere
    runs: dict[str, list[Seconds]] = {place: [] for place in places}
    for number in range(options.runs):
        for place, found in runs.items():
            print(f"round {number + 1}: {place}", file=sys.stderr, flush=True)
            found.append(run(place, options.script, options.ratings, more))
            options.output.write_text(json.dumps(runs, indent=2) + "\n")
    print(table(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
