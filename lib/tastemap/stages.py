"""The stages of a run: told in the log as they start and end, rows and seconds for the record."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what follows stages, as the command line does, starts no Spark
    from pyspark import SparkContext, StatusTracker
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

START, END, FAILED = "stage_start", "stage_end", "stage_failed"

_GROUP = ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel")
"""What `SparkContext.setJobGroup` sets in a thread."""


@dataclass
class Stage:
    """A stage that runs or has run."""

    name: str
    seconds: float = 0.0
    rows: int = 0
    """What came out of it; while it runs, as far as it is known."""
    unit: str = "rows"


@dataclass(frozen=True)
class StageEvent:
    """What happened to a stage: the attribute `event` of a log record."""

    kind: str
    """`START`, `END` or `FAILED`."""
    stage: Stage
    group: str
    """Group of its Spark jobs."""
    tracker: StatusTracker
    """Knows the jobs of the group."""


class Stages:
    """Times stages, says so in the log, and gives the Spark jobs of each a group of their own.

    The group bears the stage's name, which Spark's web page shows beside its jobs. What a stage has freed is
    given back to the system: the next may need it elsewhere.
    """

    def __init__(self, spark: SparkSession) -> None:
        self._context: SparkContext = spark.sparkContext
        self._done: list[Stage] = []

    @contextmanager
    def __call__(self, name: str, unit: str) -> Iterator[Stage]:
        """Time a stage; whoever runs it sets its `rows`."""
        from tastemap.executors import release_memory  # only here, for it comes with Spark

        stage = Stage(name, unit=unit)
        group = f"tastemap-{uuid.uuid4().hex}"

        def event(kind: str) -> dict[str, StageEvent]:
            return {"event": StageEvent(kind, stage, group, self._context.statusTracker())}

        start = time.perf_counter()
        try:
            with _job_group(self._context, group, name):
                log.debug("%s", name, extra=event(START))
                yield stage
        except BaseException:
            stage.seconds = round(time.perf_counter() - start, 3)
            log.debug("%s failed", name, extra=event(FAILED))
            raise
        release_memory()
        stage.seconds = round(time.perf_counter() - start, 3)
        self._done.append(stage)
        line = "%-22s %15s %-10s %8.1f s"
        log.info(line, name, f"{stage.rows:,}", unit, stage.seconds, extra=event(END))

    def record(self) -> list[dict[str, Any]]:
        """Plain dictionaries of name, seconds, rows and unit."""
        return [asdict(stage) for stage in self._done]


@contextmanager
def _job_group(context: SparkContext, group: str, description: str) -> Iterator[None]:
    """Put the jobs that this thread starts into a group; afterwards into the one of before.

    A notebook has its own, to cancel by.
    """
    before = [(key, context.getLocalProperty(key)) for key in _GROUP]
    context.setJobGroup(group, description)
    try:
        yield
    finally:
        with suppress(Exception):  # where Spark is gone, what went wrong before is what is to be seen
            for key, value in before:
                context.setLocalProperty(key, value)  # type: ignore[arg-type]  # None clears it
