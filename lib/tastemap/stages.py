"""The stages of a run: a line for each while it runs, rows and seconds for the record."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

log = logging.getLogger(__name__)


@dataclass
class Stage:
    """A stage that runs or has run."""

    name: str
    seconds: float = 0.0
    rows: int = 0
    """What came out of it."""
    unit: str = "rows"


class Stages:
    """Times stages and says so in the log."""

    def __init__(self) -> None:
        self._done: list[Stage] = []

    @contextmanager
    def __call__(self, name: str, unit: str) -> Iterator[Stage]:
        """Time a stage; whoever runs it sets its `rows`."""
        stage = Stage(name, unit=unit)
        start = time.perf_counter()
        yield stage
        stage.seconds = round(time.perf_counter() - start, 3)
        self._done.append(stage)
        log.info("%-22s %15s %-10s %8.1f s", name, f"{stage.rows:,}", unit, stage.seconds)

    def record(self) -> list[dict[str, Any]]:
        """Plain dictionaries of name, seconds, rows and unit."""
        return [asdict(stage) for stage in self._done]
