"""How far a stage is: tasks done, from Spark's status tracker, as a live line or a sparse one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tastemap.stages import START, Stage, StageEvent

if TYPE_CHECKING:
    from pyspark import StatusTracker

log = logging.getLogger(__name__)

POLL = 0.3
"""Seconds between two looks at a stage; more where Spark is slow to answer."""
POLLING_SHARE = 0.1
"""Share of the time that may go into asking Spark."""
FIRST = 0.5
"""Seconds until the first look: many a stage is over by then."""
SPARSE = 30.0
"""Seconds between two lines where there is no terminal."""
MIN_SECONDS = 2.0
"""Seconds that tasks must have run before anything is said of the remaining time."""


@dataclass(frozen=True)
class Tasks:
    """Tasks of a stage, as far as Spark has planned them."""

    done: int
    total: int
    """Of the passes so far; how many will follow Spark does not know."""
    remaining: float | None = None
    """Seconds that the tasks of the pass that runs will still take; None where nothing is to go by."""


@dataclass(frozen=True)
class ProgressEvent:
    """How far a stage is: the attribute `event` of a log record."""

    stage: Stage
    seconds: float
    tasks: Tasks

    kind = "stage_progress"


class TaskCounter:
    """Counts the tasks of a group of Spark jobs.

    A Spark stage that several jobs share counts once, one that is skipped not at all.
    """

    def __init__(
        self, tracker: StatusTracker, group: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tracker = tracker
        self._group = group
        self._clock = clock
        self._ended: set[int] = set()  # jobs that need not be asked for again
        self._seen: dict[int, tuple[int, int]] = {}  # Spark's stages: tasks done and in total
        self._running: frozenset[int] = frozenset()
        self._since = 0.0
        self._done_then = 0

    def count(self) -> Tasks:
        """Ask Spark; a call for each job and each Spark stage that has not ended."""
        active: dict[int, int] = {}  # Spark's stages that are not complete: tasks that run
        for job in self._tracker.getJobIdsForGroup(self._group):
            if job not in self._ended:
                active.update(self._look(job))
        done = sum(stage[0] for stage in self._seen.values())
        total = sum(stage[1] for stage in self._seen.values())
        return Tasks(done, total, self._remaining(active))

    def _look(self, job: int) -> dict[int, int]:
        info = self._tracker.getJobInfo(job)
        if info is None:
            return {}
        active = {}
        for number in info.stageIds:
            found = self._tracker.getStageInfo(number)
            if found is None or not (found.numActiveTasks or found.numCompletedTasks):
                continue  # planned, or skipped because an earlier job has done it
            self._seen[number] = (found.numCompletedTasks, found.numTasks)
            if found.numCompletedTasks < found.numTasks:
                active[number] = found.numActiveTasks
        if info.status != "RUNNING":
            self._ended.add(job)
        return active

    def _remaining(self, active: dict[int, int]) -> float | None:
        now = self._clock()
        done = sum(self._seen[number][0] for number in active)
        total = sum(self._seen[number][1] for number in active)
        if active.keys() != self._running:
            self._running, self._since, self._done_then = frozenset(active), now, done
        seconds, newly = now - self._since, done - self._done_then
        # Before as many tasks are done as run at a time, the first ones say nothing of their pace.
        if newly < max(1, sum(active.values())) or seconds < MIN_SECONDS:
            return None
        return seconds * (total - done) / newly


def text(stage: Stage, seconds: float, tasks: Tasks) -> str:
    """One line about a stage that runs."""
    parts = [f"{stage.name:<22}"]
    if tasks.total:
        parts.append(f"{tasks.done:,} of {tasks.total:,} tasks")
    if stage.rows:
        parts.append(f"{stage.rows:,} {stage.unit}")
    parts.append(clock_time(seconds))
    if tasks.remaining is not None:
        parts.append(f"about {clock_time(tasks.remaining)} left of this pass")
    return "  ".join(parts)


def clock_time(seconds: float) -> str:
    """Hours, minutes and seconds, as on a stopwatch."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class LiveLine(Protocol):
    """A line that is drawn over and over."""

    def show(self, line: str, stopped: threading.Event) -> bool:
        """Draw it, unless `stopped` is set; tells whether there is anybody to see it."""

    def clear(self) -> None:
        """Leave nothing of it."""


class Follower(threading.Thread):
    """Looks at a stage a few times a second and says how far it is, until it is stopped.

    A daemon that nobody waits for: neither a slow Spark nor one that is gone holds up the run.
    """

    def __init__(self, event: StageEvent, live: LiveLine | None) -> None:
        super().__init__(name="tastemap progress", daemon=True)
        self.stopped = threading.Event()
        self._stage = event.stage
        self._live = live
        self._counter: TaskCounter | None = TaskCounter(event.tracker, event.group)
        self._start = self._told = time.monotonic()

    def run(self) -> None:
        """Look, tell, wait."""
        wait = FIRST
        while not self.stopped.wait(wait):
            before = time.monotonic()
            tasks = self._count()
            now = time.monotonic()
            wait = max(POLL, (now - before) / POLLING_SHARE)
            if not self.stopped.is_set():
                self._tell(tasks, now)

    def _count(self) -> Tasks:
        try:
            return Tasks(0, 0) if self._counter is None else self._counter.count()
        except Exception:  # Spark stops, or is gone: whoever runs the stage will hear of it
            self._counter = None
            return Tasks(0, 0)

    def _tell(self, tasks: Tasks, now: float) -> None:
        line = text(self._stage, now - self._start, tasks)
        if self._live is not None and self._live.show(line, self.stopped):
            return
        if now - self._told >= SPARSE:
            self._told = now
            event = ProgressEvent(self._stage, round(now - self._start, 3), tasks)
            log.info("%s", line, extra={"event": event})


class Display(logging.Handler):
    """Follows the stages that `tastemap.stages` tells of in the log.

    It stands before the handler that writes the log's lines, so that the live line is gone by then.

    Parameters
    ----------
    live : LiveLine, optional
        Without one, or where nobody sees it, a plain line is logged every `SPARSE` seconds.
    """

    def __init__(self, live: LiveLine | None) -> None:
        super().__init__(logging.DEBUG)
        self._live = live
        self._follower: Follower | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Start and stop following as the record says, and clear the way for its line."""
        event = getattr(record, "event", None)
        if isinstance(event, StageEvent):
            self._stop()
            if event.kind == START:
                self._follower = Follower(event, self._live)
                self._follower.start()
        elif self._live is not None:
            self._live.clear()

    def close(self) -> None:
        """Stop; nothing is left on the terminal."""
        self._stop()
        super().close()

    def _stop(self) -> None:
        if self._follower is not None:
            self._follower.stopped.set()
            self._follower = None
        if self._live is not None:
            self._live.clear()
