"""Following a stage: with a tracker that is told what to say, and nobody's terminal."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tastemap import progress
from tastemap.progress import Display, Follower, ProgressEvent, TaskCounter, Tasks, clock_time, text
from tastemap.stages import END, FAILED, START, Stage, StageEvent


@dataclass
class Job:
    stageIds: list[int]
    status: str = "RUNNING"


@dataclass
class SparkStage:
    numTasks: int
    numCompletedTasks: int = 0
    numActiveTasks: int = 0


@dataclass
class Tracker:
    """Spark's status tracker for one group, with what it was asked."""

    jobs: dict[int, Job] = field(default_factory=dict)
    stages: dict[int, SparkStage] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def getJobIdsForGroup(self, group: str) -> list[int]:
        return list(self.jobs) if group == "ours" else []

    def getJobInfo(self, job: int) -> Job | None:
        self.asked.append(job)
        return self.jobs[job]

    def getStageInfo(self, stage: int) -> SparkStage | None:
        return self.stages.get(stage)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def counter(tracker: Any, clock: Clock | None = None, group: str = "ours") -> TaskCounter:
    return TaskCounter(tracker, group, clock or Clock())


def test_nothing_is_known_at_first_nor_of_other_groups() -> None:
    tracker = Tracker({1: Job([1])}, {1: SparkStage(5, 2, 1)})
    assert counter(Tracker()).count() == Tasks(0, 0)
    assert counter(tracker, group="theirs").count() == Tasks(0, 0)
    assert counter(tracker).count() == Tasks(2, 5)


def test_shared_skipped_planned_and_forgotten_stages() -> None:
    stages = {1: SparkStage(4, 4), 2: SparkStage(3, 1, 2), 3: SparkStage(9), 5: SparkStage(7)}
    # Stage 1 is done and skipped by the second job, 3 waits, 4 is forgotten, 5 was skipped.
    tracker = Tracker({1: Job([1], "SUCCEEDED"), 2: Job([1, 2, 3, 4]), 3: Job([5], "SUCCEEDED")}, stages)
    assert counter(tracker).count() == Tasks(5, 7)


def test_jobs_that_have_ended_are_not_asked_for_again() -> None:
    tracker = Tracker({1: Job([1], "SUCCEEDED"), 2: Job([2])}, {1: SparkStage(4, 4), 2: SparkStage(2, 0, 2)})
    counting = counter(tracker)
    assert counting.count() == Tasks(4, 6)
    tracker.stages[2].numCompletedTasks, tracker.asked = 1, []
    assert counting.count() == Tasks(5, 6)
    assert tracker.asked == [2]


def test_remaining_time_only_where_there_is_a_pace_to_go_by() -> None:
    clock, stage = Clock(), SparkStage(40, 0, 4)
    counting = counter(Tracker({1: Job([1])}, {1: stage}), clock)
    assert counting.count().remaining is None
    clock.now += 10
    stage.numCompletedTasks = 3  # fewer than run at a time
    assert counting.count().remaining is None
    stage.numCompletedTasks = 10
    assert counting.count().remaining == pytest.approx(30)  # a task a second
    clock.now += 10
    stage.numCompletedTasks, stage.numActiveTasks = 20, 0  # between two waves
    assert counting.count().remaining == pytest.approx(20)
    stage.numCompletedTasks = 40
    assert counting.count().remaining is None


def test_remaining_time_begins_anew_with_every_pass() -> None:
    clock, stages = Clock(), {1: SparkStage(8, 0, 2)}
    tracker = Tracker({1: Job([1])}, stages)
    counting = counter(tracker, clock)
    counting.count()
    clock.now += 1
    stages[1].numCompletedTasks = 4
    assert counting.count().remaining is None  # too short a time
    tracker.jobs[1].status, stages[1] = "SUCCEEDED", SparkStage(8, 8)
    tracker.jobs[2], stages[2] = Job([2]), SparkStage(6, 2, 2)
    clock.now += 50
    assert counting.count().remaining is None
    clock.now += 4
    assert counting.count().remaining is None  # none of its tasks was seen to end
    stages[2].numCompletedTasks = 4
    assert counting.count() == Tasks(12, 14, pytest.approx(4))


def test_text() -> None:
    stage = Stage("principal components", unit="passes")
    assert text(stage, 0.7, Tasks(0, 0)) == "principal components    0:00"
    stage.rows = 3
    line = text(stage, 125, Tasks(1_012, 2_040, 61.5))
    assert line == (
        "principal components    1,012 of 2,040 tasks  3 passes  2:05  about 1:01 left of this pass"
    )


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (59.9, "0:59"), (60, "1:00"), (3661, "1:01:01")])
def test_clock_time(seconds: float, shown: str) -> None:
    assert clock_time(seconds) == shown


class Line:
    """A live line in memory."""

    def __init__(self, seen: bool = True) -> None:
        self.drawn: list[str] = []
        self.now = ""
        self.seen = seen
        self.lock = threading.Lock()

    def show(self, line: str, stopped: threading.Event) -> bool:
        with self.lock:
            if self.seen and not stopped.is_set():
                self.drawn.append(line)
                self.now = line
            return self.seen

    def clear(self) -> None:
        with self.lock:
            self.now = ""


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST", 0.0)
    monkeypatch.setattr(progress, "POLL", 0.001)


def event(kind: str, stage: Stage, tracker: Any) -> StageEvent:
    return StageEvent(kind, stage, "ours", tracker)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    found = logging.getLogger("tastemap.test_progress")
    found.setLevel(logging.DEBUG)
    yield found
    found.setLevel(logging.NOTSET)


def tell(display: Display, event: object | None, message: str = "a line") -> None:
    record = logging.makeLogRecord({"msg": message, "event": event, "levelno": logging.INFO})
    display.handle(record)


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "not in ten seconds"
        time.sleep(0.002)


def followers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, Follower)]


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("last", [END, FAILED])
def test_a_stage_is_followed_until_it_ends(last: str) -> None:
    tracker, line, stage = Tracker({1: Job([1])}, {1: SparkStage(3, 1, 1)}), Line(), Stage("clean")
    display = Display(line)
    tell(display, event(START, stage, tracker))
    wait_for(lambda: any("1 of 3 tasks" in drawn for drawn in line.drawn))
    tell(display, event(last, stage, tracker))
    n_drawn = len(line.drawn)
    assert line.now == ""
    wait_for(lambda: not followers())
    assert line.now == "" and len(line.drawn) == n_drawn


@pytest.mark.usefixtures("fast")
def test_closing_ends_it_too() -> None:
    line = Line()
    display = Display(line)
    tell(display, event(START, Stage("clean"), Tracker()))
    wait_for(lambda: line.drawn)
    display.close()
    assert line.now == ""
    wait_for(lambda: not followers())


def test_every_line_of_the_log_finds_the_way_clear() -> None:
    line = Line()
    line.now = "drawn"
    tell(Display(line), None)
    assert line.now == ""


@pytest.mark.usefixtures("fast")
def test_a_spark_that_is_gone_spoils_nothing() -> None:
    class Gone:
        asked = 0

        def getJobIdsForGroup(self, group: str) -> list[int]:
            self.asked += 1
            raise ConnectionError("no answer")

    tracker, line = Gone(), Line()
    display = Display(line)
    tell(display, event(START, Stage("clean"), tracker))
    wait_for(lambda: len(line.drawn) > 3)
    display.close()
    assert tracker.asked == 1 and line.drawn[0].startswith("clean  ") and "tasks" not in line.drawn[0]


@pytest.mark.usefixtures("fast")
def test_a_spark_that_does_not_answer_holds_nobody_up() -> None:
    answer = threading.Event()

    class Slow:
        def getJobIdsForGroup(self, group: str) -> list[int]:
            answer.wait(10)
            return []

    line = Line()
    display = Display(line)
    start = time.monotonic()
    tell(display, event(START, Stage("clean"), Slow()))
    wait_for(followers)
    display.close()
    assert time.monotonic() - start < 5
    answer.set()
    wait_for(lambda: not followers())
    assert line.drawn == []


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("live", [None, Line(seen=False)])
def test_sparse_lines_where_nobody_sees_a_live_one(
    live: Line | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "SPARSE", 0.05)
    caplog.set_level(logging.INFO, "tastemap")
    display = Display(live)
    start = time.monotonic()
    tell(display, event(START, Stage("clean"), Tracker({1: Job([1])}, {1: SparkStage(3, 1, 1)})))
    wait_for(lambda: len(caplog.records) >= 3)
    display.close()
    n_lines, seconds = len(caplog.records), time.monotonic() - start
    assert n_lines <= seconds / 0.05 + 1
    told = caplog.records[0]
    assert told.getMessage() == "clean                   1 of 3 tasks  0:00"
    assert isinstance(told.event, ProgressEvent) and told.event.tasks == Tasks(1, 3)
