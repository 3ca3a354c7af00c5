"""What a job prints: plain, quiet, JSON, and on a terminal of our own making."""

from __future__ import annotations

import json
import logging
import os
import pty
import select
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tastemap import cli, console
from tastemap.console import Console, JsonLines, Terminal
from tastemap.errors import UserError
from tastemap.progress import Display, ProgressEvent, Tasks
from tastemap.stages import END, FAILED, START, Stage, StageEvent

LIBRARY = Path(cli.__file__).resolve().parents[1]
LOG = logging.getLogger("tastemap.anything")


class NoJobs:
    def getJobIdsForGroup(self, group: str) -> list[int]:
        return []


def job() -> str:
    """Everything a job may tell."""
    stage = Stage("clean", seconds=1.25, rows=7, unit="ratings")
    LOG.debug("clean", extra={"event": StageEvent(START, stage, "group", NoJobs())})
    LOG.warning("rough %s", "components")
    LOG.info("clean  7 ratings", extra={"event": StageEvent(END, stage, "group", NoJobs())})
    return "the summary"


def objects(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def run(monkeypatch: pytest.MonkeyPatch, job: object, *flags: str) -> int:
    monkeypatch.setattr(sys, "argv", ["job", *flags])
    return cli.run(job)  # type: ignore[arg-type]


def test_plain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, job) == 0
    assert capsys.readouterr() == ("the summary\n", "rough components\nclean  7 ratings\n")


def test_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, job, "--quiet") == 0
    assert capsys.readouterr() == ("", "rough components\n")


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = datetime.now(UTC)
    assert run(monkeypatch, job, "--log-json") == 0
    out, err = capsys.readouterr()
    found = objects(err)
    assert out == "" and [each["event"] for each in found] == ["stage_start", "message", "stage_end", "end"]
    for each in found:
        seconds = (datetime.fromisoformat(str(each.pop("time"))) - before).total_seconds()
        assert -0.01 < seconds < 60
    assert found[0] == {"level": "info", "event": "stage_start", "message": "clean", "stage": "clean"}
    assert found[1] == {"level": "warning", "event": "message", "message": "rough components"}
    assert found[2] == {
        **{"level": "info", "event": "stage_end", "message": "clean 7 ratings", "stage": "clean"},
        **{"seconds": 1.25, "rows": 7, "unit": "ratings"},
    }
    assert found[3]["exit_code"] == 0 and 0 <= float(str(found[3]["seconds"])) < 60


def test_quiet_json_of_faults(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def faulty() -> str:
        raise UserError(["one\nthing", "another"])

    assert run(monkeypatch, faulty, "--log-json", "--quiet") == 2
    found = objects(capsys.readouterr().err)
    assert [(each["level"], each["message"]) for each in found] == [
        ("error", "error: one thing"),
        ("error", "error: another"),
    ]


def test_json_of_a_bug_holds_its_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> str:
        raise RuntimeError("a bug")

    assert run(monkeypatch, broken, "--log-json") == 1
    failed, end = objects(capsys.readouterr().err)
    assert failed["level"] == "error" and str(failed["trace"]).endswith("RuntimeError: a bug")
    assert end["exit_code"] == 1


def test_json_of_everybodys_warnings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warned() -> str:
        warnings.warn("soon gone", FutureWarning, stacklevel=1)
        logging.getLogger("py4j").error("no answer")
        return ""

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run(monkeypatch, warned, "--log-json") == 0
    found = objects(capsys.readouterr().err)
    assert "soon gone" in str(found[0]["message"]) and found[1]["message"] == "no answer"


def test_json_of_a_stage_on_its_way_and_of_one_that_failed() -> None:
    stage = Stage("clean", seconds=3.0)
    progress = ProgressEvent(stage, 31.5, Tasks(3, 8, 12.0))
    record = logging.makeLogRecord({"msg": "x", "event": progress})
    told = json.loads(JsonLines().format(record))
    assert told["event"] == "stage_progress"
    assert (told["seconds"], told["tasks_done"], told["tasks_total"]) == (31.5, 3, 8)
    record = logging.makeLogRecord({"msg": "x", "event": StageEvent(FAILED, stage, "group", NoJobs())})
    told = json.loads(JsonLines().format(record))
    assert (told["event"], told["seconds"]) == ("stage_failed", 3.0) and "rows" not in told


def test_quiet_follows_no_stages() -> None:
    for quiet in (False, True):
        with Console(quiet=quiet).open():
            handlers = logging.getLogger("tastemap").handlers
            assert any(isinstance(handler, Display) for handler in handlers) is not quiet


def test_everything_is_as_before_afterwards() -> None:
    ours, root = logging.getLogger("tastemap"), logging.getLogger()
    ours.setLevel(logging.NOTSET)
    ours.propagate = True
    before = (list(ours.handlers), ours.level, ours.propagate, list(root.handlers), warnings.showwarning)
    for mode in (Console(json=True), Console(quiet=True, json=True), Console(quiet=True), Console()):
        with pytest.raises(KeyboardInterrupt), mode.open():
            raise KeyboardInterrupt
    after = (list(ours.handlers), ours.level, ours.propagate, list(root.handlers), warnings.showwarning)
    assert after == before


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Terminal, int]]:
    """A terminal 20 characters wide that we are in the foreground of, and its other end."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    os.set_blocking(theirs, False)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp())
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((20, 5)))
    monkeypatch.setattr(console, "SETTLE", 0.0)
    yield Terminal(theirs), ours
    os.close(ours)
    os.close(theirs)


GO = threading.Event()


def arrived(other: int, n_bytes: int) -> bytes:
    """What has come to the other end of a terminal: not at once where the machine is busy."""
    found = b""
    while len(found) < n_bytes and select.select([other], [], [], 10)[0]:
        found += os.read(other, 1000)
    return found


def test_lines_are_drawn_over_each_other_and_cut(screen: tuple[Terminal, int]) -> None:
    terminal, other = screen
    assert terminal.show("one", GO) and terminal.show("x" * 30, GO)
    drawn = b"\rone\x1b[K\r\r" + b"x" * 19 + b"\x1b[K\r"
    assert arrived(other, len(drawn)) == drawn
    terminal.clear()
    terminal.clear()  # there is nothing left to clear
    assert arrived(other, 4) == b"\r\x1b[K"


def test_nothing_is_drawn_once_stopped_or_in_the_background(
    screen: tuple[Terminal, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, other = screen
    stopped = threading.Event()
    stopped.set()
    assert terminal.show("late", stopped)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp() + 1)
    assert not terminal.show("unseen", GO)
    with pytest.raises(BlockingIOError):
        os.read(other, 1000)


def test_lines_of_the_log_have_time_to_arrive(
    screen: tuple[Terminal, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, other = screen
    monkeypatch.setattr(console, "SETTLE", 60.0)
    terminal.clear()
    assert terminal.show("too early", GO)
    with pytest.raises(BlockingIOError):
        os.read(other, 1000)


def test_a_terminal_that_is_full_or_closed_holds_nobody_up(screen: tuple[Terminal, int]) -> None:
    terminal, _ = screen
    for _ in range(20_000):
        assert terminal.show("y" * 19, GO)
    terminal.clear()
    reader, writer = os.pipe()
    os.close(reader)
    assert Terminal(writer).show("x", GO) in (True, False)
    os.close(writer)


def test_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for term in ("dumb", None):
        if term is None:
            monkeypatch.delenv("TERM")
        else:
            monkeypatch.setenv("TERM", term)
        assert Terminal.open() is None
    program = "from tastemap.console import Terminal; print(Terminal.open())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(LIBRARY), "TERM": "xterm"},
        capture_output=True,
        text=True,
        start_new_session=True,  # which has none
    )
    assert done.stdout == "None\n", done.stderr
