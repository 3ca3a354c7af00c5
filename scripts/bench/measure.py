"""Wall time, CPU time and peak memory of a command and everything it starts."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

INTERVAL = 0.25  # seconds between two looks at the process tree


@dataclass
class Measured:
    """What a run took."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    """Largest sum over the process tree of proportional set sizes (PSS), of which shared pages count once; of
    resident sets, which is more, where memory was not looked at closely."""
    peak_by_name: dict[str, int] = field(default_factory=dict)
    """What of it which programs held."""
    exit_code: int | None = None
    """None where it was stopped for time or memory."""
    output: str = ""
    _cpu: dict[int, float] = field(default_factory=dict, repr=False)


def run(
    command: list[str], *, timeout: float, max_bytes: float, closely: bool, cwd: Path | None = None
) -> Measured:
    """Run a command to its end, or until it exceeds its time or memory, and measure its process tree.

    Memory is looked at closely or not: for PSS Linux goes through all pages of all processes, 30 ms for Spark
    and its workers, which wait for their pages meanwhile. Whoever uses all cores takes 5 % longer by that,
    whoever leaves one idle does not, so that the time of such a run says little.
    """
    measured = Measured()
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    stopped = threading.Event()

    def watch() -> None:
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            _sample(tree, measured, closely)
            if time.perf_counter() - start > timeout or measured.peak_bytes > max_bytes:
                stopped.set()
                for one in [tree, *tree.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess):  # ended by itself meanwhile
                        one.kill()
                return
            time.sleep(INTERVAL)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    measured.output = process.communicate()[0]
    measured.seconds = time.perf_counter() - start
    watcher.join()
    measured.cpu_seconds = sum(measured._cpu.values())
    measured.exit_code = None if stopped.is_set() else process.returncode
    return measured


def _sample(tree: psutil.Process, measured: Measured, closely: bool) -> None:
    held: Counter[str] = Counter()
    try:
        processes = [tree, *tree.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in processes:
        try:
            held[one.name()] += one.memory_full_info().pss if closely else one.memory_info().rss
            times = one.cpu_times()
            measured._cpu[one.pid] = times.user + times.system
        except psutil.NoSuchProcess:
            continue
    if held.total() > measured.peak_bytes:
        measured.peak_bytes, measured.peak_by_name = held.total(), dict(held)
