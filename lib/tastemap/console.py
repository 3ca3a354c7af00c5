"""What a job says while it runs: lines, plain or JSON, on standard error, and a live one on the terminal."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tastemap.progress import Display, ProgressEvent
from tastemap.stages import END, FAILED, StageEvent

SETTLE = 0.5
"""Seconds that the live line makes way for a line of the log. Under spark-submit that goes through a pipe and
the JVM, and must be on the terminal before the live line is drawn again below it."""


@dataclass(frozen=True)
class Console:
    """How a job talks."""

    quiet: bool = False
    """Warnings and errors only."""
    json: bool = False
    """One JSON object a line."""

    @classmethod
    def of(cls, argv: Sequence[str]) -> Console:
        """As the command line says, even where it is at fault: that is told in this way too."""
        return cls("--quiet" in argv, "--log-json" in argv)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Send the log of this package, and as JSON everybody's warnings, to standard error."""
        lines = logging.StreamHandler(sys.stderr)
        lines.setFormatter(JsonLines() if self.json else logging.Formatter("%(message)s"))
        level = logging.DEBUG if self.json else logging.INFO
        lines.setLevel(logging.WARNING if self.quiet else level)
        handlers: list[logging.Handler] = [lines]
        if not self.quiet:
            handlers.insert(0, Display(None if self.json else Terminal.open()))
        ours = logging.getLogger("tastemap")
        heard = logging.getLogger() if self.json else ours
        before = ours.level, ours.propagate
        ours.setLevel(logging.DEBUG)
        # Py4J configures the root logger when Spark goes away: as plain lines ours must not be told twice.
        ours.propagate = self.json
        logging.captureWarnings(self.json)
        for handler in handlers:
            heard.addHandler(handler)
        try:
            yield
        finally:
            for handler in handlers:
                heard.removeHandler(handler)
                handler.close()
            logging.captureWarnings(False)
            ours.setLevel(before[0])
            ours.propagate = before[1]


class JsonLines(logging.Formatter):
    """A log record as a JSON object: time, level, event, message; of stages their name, seconds and rows."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; what is not ASCII is escaped."""
        level = {logging.WARNING: "warning", logging.ERROR: "error", logging.CRITICAL: "error"}
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": level.get(record.levelno, "info"),
            "event": "message",
            "message": " ".join(record.getMessage().split()),
        }
        event = getattr(record, "event", None)
        if isinstance(event, StageEvent):
            found |= {"event": event.kind, "stage": event.stage.name}
            if event.kind in (END, FAILED):
                found["seconds"] = event.stage.seconds
            if event.kind == END:
                found |= {"rows": event.stage.rows, "unit": event.stage.unit}
        elif isinstance(event, ProgressEvent):
            found |= {"event": event.kind, "stage": event.stage.name, "seconds": event.seconds}
            found |= {"tasks_done": event.tasks.done, "tasks_total": event.tasks.total}
        elif isinstance(event, JobEnd):
            found |= {"event": "end", "exit_code": event.exit_code, "seconds": event.seconds}
        if record.exc_info:
            found["trace"] = self.formatException(record.exc_info)
        return json.dumps(found)


@dataclass(frozen=True)
class JobEnd:
    """The end of a job: the attribute `event` of a log record."""

    exit_code: int
    seconds: float


class Terminal:
    """The terminal that a job was started from, whatever has become of its standard streams.

    spark-submit passes them through pipes, so that they are no terminal even where somebody looks on.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._shown = False
        self._not_before = 0.0

    @classmethod
    def open(cls) -> Terminal | None:
        """The terminal, where there is one that understands how to clear a line."""
        if os.environ.get("TERM", "dumb") == "dumb":
            return None
        try:
            # Not to wait for a terminal that is halted (Ctrl-S): a run has to go on.
            return cls(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
        except OSError:
            return None

    def show(self, line: str, stopped: threading.Event) -> bool:
        """Draw the line over the one before; nobody sees it where the job runs in the background."""
        with self._lock:
            try:
                if os.tcgetpgrp(self._descriptor) != os.getpgrp():
                    return False
                if stopped.is_set() or time.monotonic() < self._not_before:
                    return True
                width = os.get_terminal_size(self._descriptor).columns or 80
                # The cursor goes back to the start, so that whatever else is printed overwrites the line.
                self._write(f"\r{line[: width - 1]}\x1b[K\r")
            except OSError:  # the terminal has been closed
                return False
            self._shown = True
            return True

    def clear(self) -> None:
        """Leave nothing of the line, and draw none for `SETTLE` seconds."""
        with self._lock:
            if self._shown:
                with suppress(OSError):
                    self._write("\r\x1b[K")
            self._shown = False
            self._not_before = time.monotonic() + SETTLE

    def _write(self, text: str) -> None:
        with suppress(BlockingIOError):
            os.write(self._descriptor, text.encode("ascii", "replace"))
