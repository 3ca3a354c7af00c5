"""Results are written while the report is drawn; Spark is stood in for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

import contents
from tastemap import pipeline, tables
from tastemap.config import Config

WAIT = 20.0
"""Seconds; nothing here takes one."""


class Stages:
    """As `tastemap.stages.Stages`, without Spark."""

    def __init__(self) -> None:
        self.names: list[str] = []

    @contextmanager
    def __call__(self, name: str, unit: str) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(rows=0)
        self.names.append(name)

    def record(self) -> list[dict[str, Any]]:
        return [{"name": name} for name in self.names]


class Run:
    """Remembers what is written; the first table waits until the drawing has begun."""

    def __init__(self, begun: threading.Event) -> None:
        self.begun, self.written = begun, []

    def write_small(self, name: str, table: object, schema: object) -> None:
        assert self.begun.wait(WAIT), "nothing is drawn meanwhile"
        self.written.append(name)


def publish(run: Run, stages: Stages, *, report: bool = True) -> None:
    shown = contents.content() if report else None
    found = dict.fromkeys(tables.SCHEMAS)
    with ThreadPoolExecutor(max_workers=1) as beside:
        pipeline.publish(found, shown, run, Config(), stages, beside)  # type: ignore[arg-type]


def test_the_report_is_drawn_while_tables_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, told = threading.Event(), []
    run, stages = Run(begun), Stages()

    def draw(shown: object) -> list[str]:
        begun.set()
        return ["a figure"]

    monkeypatch.setattr(pipeline.writing, "draw", draw)
    monkeypatch.setattr(pipeline.writing, "write", lambda *given: told.append(given) or 1)
    publish(run, stages)
    assert run.written == [*tables.SCHEMAS]
    assert stages.names == ["write results", "report"]
    ((_, shown, drawn, _),) = told
    assert drawn == ["a figure"]
    assert shown.manifest["stages"] == [{"name": "write results"}]  # what the page tells of


def test_what_goes_wrong_in_drawing_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def draw(shown: object) -> list[str]:
        begun.set()
        raise RuntimeError("no ink")

    monkeypatch.setattr(pipeline.writing, "draw", draw)
    with pytest.raises(RuntimeError, match="no ink"):
        publish(Run(begun), Stages())


def test_without_a_report_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    begun.set()
    run, stages = Run(begun), Stages()
    monkeypatch.setattr(pipeline.writing, "draw", None)
    publish(run, stages, report=False)
    assert run.written == [*tables.SCHEMAS] and stages.names == ["write results"]
